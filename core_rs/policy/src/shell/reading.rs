//! From text to a tree that can be trusted: guards, then two parsers that must agree.

mod effort;
mod grammar;
pub(super) mod guard;
mod lower;
pub(super) mod parameter;
mod quote;
pub(super) mod scan;
pub(super) mod syntax;
mod word;

use std::cell::RefCell;
use std::rc::Rc;

use grammar::{Grammar, Seen};
use lower::Refused;
use syntax::Script;

use super::fuel::Fuel;

/// Longest text that only one of the parsers accepts and that the other is still asked about.
const MAX_DISPUTED: usize = 4 * 1024;

/// Said when there is no fuel left.
const TOO_COSTLY: &str = "it takes too much work to parse";

/// Why there is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It must be written differently.
    Malformed(String),
    /// It may be fine, but nobody can say what it does.
    Unanalysable(String),
}

impl Refusal {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Malformed(why) | Self::Unanalysable(why) => why,
        }
    }
}

thread_local! {
    /// Building a parser costs more than using it.
    static GRAMMAR: RefCell<Grammar> = RefCell::new(Grammar::new());
}

/// # Errors
/// Why the text is refused.
pub(super) fn read(text: &str, fuel: &Fuel) -> Result<Rc<Script>, Refusal> {
    guard::check(text).map_err(Refusal::Malformed)?;
    if let Some(why) = guard::hazard(text) {
        return Err(Refusal::Unanalysable(why.to_owned()));
    }
    let seen = GRAMMAR.with_borrow_mut(|grammar| grammar.read(text, fuel));
    let mut names = match seen {
        Seen::Clean(names) => names,
        Seen::Costly => return Err(Refusal::Unanalysable(TOO_COSTLY.to_owned())),
        Seen::Deep => return Err(Refusal::Malformed("it is nested too deep".to_owned())),
        Seen::Unclean => return Err(dispute(text, fuel)),
    };
    let lowered = match lower::lower(text, fuel) {
        Ok(lowered) => lowered,
        Err(Refused::Syntax(why) | Refused::Unsupported(why)) => return Err(Refusal::Unanalysable(why)),
    };
    let mut others = lowered.names;
    for name in names.iter_mut().chain(&mut others).filter(|name| name.contains("\\\n")) {
        *name = name.replace("\\\n", "");
    }
    names.sort_unstable();
    others.sort_unstable();
    if names != others {
        return Err(Refusal::Unanalysable("two parsers disagree about the commands in it".to_owned()));
    }
    Ok(Rc::new(lowered.script))
}

/// May the parser that recurses, and hangs on what is not closed, be given this part of a text?
///
/// The guards' estimate of the nesting can be misled by quotes in comments and documents. Only what
/// is shallow however it is read, or was measured by the other parser, passes.
pub(super) fn is_measured(text: &str, fuel: &Fuel) -> bool {
    guard::is_surely_shallow(text)
        || matches!(GRAMMAR.with_borrow_mut(|grammar| grammar.read(text, fuel)), Seen::Clean(_))
}

/// One parser found no bash in it. Only if the other finds none either is it malformed.
fn dispute(text: &str, fuel: &Fuel) -> Refusal {
    let harmless = text.len() <= MAX_DISPUTED && !guard::has_here_document(text) && guard::is_surely_shallow(text);
    let accepted = harmless && lower::lower(text, fuel).is_ok();
    if accepted {
        Refusal::Unanalysable("only one of two parsers understands it".to_owned())
    } else {
        Refusal::Malformed("it is not a complete bash command; check quotes, brackets and keywords".to_owned())
    }
}
