//! From text to a tree that can be trusted: guards, then two parsers that must agree.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::grammar::{Grammar, Seen};
use super::guard;
use super::lower::{self, Refused};
use super::syntax::Script;

/// Longest text that only one of the parsers accepts and that the other is still asked about.
const MAX_DISPUTED: usize = 4 * 1024;

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
pub(super) fn read(text: &str, deadline: Instant) -> Result<Rc<Script>, Refusal> {
    guard::check(text).map_err(Refusal::Malformed)?;
    if let Some(why) = guard::hazard(text) {
        return Err(Refusal::Unanalysable(why.to_owned()));
    }
    let seen = GRAMMAR.with_borrow_mut(|grammar| grammar.read(text, deadline));
    let mut names = match seen {
        Seen::Clean(names) => names,
        Seen::Slow => return Err(Refusal::Unanalysable("it takes too long to parse".to_owned())),
        Seen::Unclean => return Err(dispute(text)),
    };
    let lowered = match lower::lower(text) {
        Ok(lowered) => lowered,
        Err(Refused::Syntax(why) | Refused::Unsupported(why)) => return Err(Refusal::Unanalysable(why)),
    };
    let mut others = lowered.names;
    for name in names.iter_mut().chain(&mut others) {
        *name = name.replace("\\\n", "");
    }
    names.sort_unstable();
    others.sort_unstable();
    if names != others {
        return Err(Refusal::Unanalysable("two parsers disagree about the commands in it".to_owned()));
    }
    Ok(Rc::new(lowered.script))
}

/// One parser found no bash in it. Only if the other finds none either is it malformed.
fn dispute(text: &str) -> Refusal {
    let accepted = text.len() <= MAX_DISPUTED && !guard::has_here_document(text) && lower::lower(text).is_ok();
    if accepted {
        Refusal::Unanalysable("only one of two parsers understands it".to_owned())
    } else {
        Refusal::Malformed("it is not a complete bash command; check quotes, brackets and keywords".to_owned())
    }
}
