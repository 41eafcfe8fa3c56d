//! Shell resolution: a command line becomes the program runs that bash would make of it.
//!
//! | module | step |
//! |---|---|
//! | `reading` | guards, then two parsers that must agree; the tree and the pieces of its words |
//! | `walk` | the tree in bash's order: what is known on every path, what every command does |
//! | `fuel` | bounded work, counted: no clock decides what a command does |
//! | `stack` | room for what recurses |
//!
//! The rule of all of them: what is not known is said to be `unanalysable`, never assumed harmless.
//! Whatever is listed besides is then a lower bound. The executor must be bash: none of this is true
//! of other shells.

mod fuel;
mod reading;
mod stack;
mod walk;

use std::collections::BTreeMap;

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Invocation, PredictedEffect, Reason};

pub(crate) use fuel::Fuel;
use reading::Refusal;
pub use stack::THREAD_STACK_BYTES;
pub(crate) use walk::PRIVATE_DIRECTORY;
use walk::Walker;

/// Where a command line starts.
#[derive(Debug, Clone, Copy)]
pub struct ShellContext<'a> {
    /// Absolute working directory; empty if it is not known.
    pub cwd: &'a str,
    /// Home directory of the user; empty if it is not known.
    pub home: &'a str,
    /// Variables that the caller sets for the command.
    pub env: &'a BTreeMap<String, String>,
}

/// What a command line would run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolution {
    /// Program runs in bash's order, builtins without effect on the shell included.
    pub invocations: Vec<Invocation>,
    /// Effects of redirections, and of what the shell itself does.
    pub effects: Vec<PredictedEffect>,
    /// Why the list is not complete; empty if it is.
    pub unanalysable: Vec<String>,
    /// What a reader should know, though it changes nothing.
    pub notes: Vec<String>,
}

/// A text that is no acceptable command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the command cannot be parsed safely: {why}")]
pub struct Malformed {
    why: String,
}

impl From<Malformed> for v1::Error {
    fn from(malformed: Malformed) -> Self {
        let expected = "a complete bash command of at most 64 KiB, without control or invisible characters, nested at most 10 deep";
        reason::error(Reason::MalformedCommand, malformed.to_string()).fix_arguments("/arguments/command", expected)
    }
}

/// Resolves a command line as bash would run it.
///
/// Does a bounded amount of work, whatever the text, and the same for the same text. An `Err` never means that bash would run nothing:
/// bash executes complete commands before it meets a later syntax error.
///
/// # Errors
/// [`Malformed`] if the text has to be written differently.
pub fn resolve(command: &str, ctx: &ShellContext<'_>) -> Result<Resolution, Malformed> {
    resolve_with(command, ctx, &Fuel::full())
}

/// Resolves with the fuel that is left.
///
/// # Errors
/// [`Malformed`] if the text has to be written differently.
pub(crate) fn resolve_with(command: &str, ctx: &ShellContext<'_>, fuel: &Fuel) -> Result<Resolution, Malformed> {
    let resolved = stack::with_room(|| {
        let script = reading::read(command, fuel)?;
        let mut walker = Walker::new(*ctx, fuel);
        walker.script(&script);
        Ok(walker.found)
    });
    match resolved {
        Some(Ok(resolution)) => Ok(resolution),
        Some(Err(Refusal::Malformed(why))) => Err(Malformed { why }),
        Some(Err(Refusal::Unanalysable(why))) => Ok(unanalysable(&why)),
        None => Ok(unanalysable("the analysis failed on it")),
    }
}

fn unanalysable(why: &str) -> Resolution {
    Resolution { unanalysable: vec![why.to_owned()], ..Resolution::default() }
}
