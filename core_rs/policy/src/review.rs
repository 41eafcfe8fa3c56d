//! For the authors of policies: what policy says about one effect, and about its near neighbours.
//!
//! Everything here asks the same engine, point by point, that decides calls.

use cmdop_contract::effect::Target;
use cmdop_contract::v1::{EffectKind, PolicyRef};

use crate::classes::Classes;
use crate::decide::{Facts, authorise};
use crate::engine::{Engine, Inquiry, Verdict};

/// What policy says about an effect, whatever the level and the declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Nothing stands in the way.
    Allow,
    /// What the target reaches decides: it is tried on a private copy, and what is observed decides.
    Depends,
    /// A person must agree.
    Ask,
    /// Forbidden, or permitted by nothing.
    Deny,
}

impl Word {
    /// `allow`, `depends`, `ask`, `deny`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Depends => "depends",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// What policy says about an effect, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The verdict.
    pub word: Word,
    /// The policies that decided; none if nothing permits it.
    pub policies: Vec<PolicyRef>,
    /// An error of evaluation, which is a refusal; else empty.
    pub failed: String,
}

/// Rules on one effect of a call with this tool that has `effects` of them.
///
/// # Errors
/// What is wrong with the target.
pub fn rule(
    engine: &Engine,
    facts: &Facts<'_>,
    tool: &str,
    effects: usize,
    (kind, target, max_count): (EffectKind, &str, Option<u32>),
) -> Result<Ruling, String> {
    let target = Target::parse(kind, target, &Default::default()).map_err(|error| error.to_string())?;
    let inquiry = Inquiry::new(engine, facts, tool, effects);
    let (verdict, uncertain) = authorise(engine, &inquiry, &Classes::of(facts.host), kind, &target, max_count);
    Ok(ruling(verdict, uncertain))
}

fn ruling(verdict: Verdict, uncertain: Option<Verdict>) -> Ruling {
    let of = |word, policies| Ruling { word, policies, failed: String::new() };
    match (verdict, uncertain) {
        (Verdict::Allowed(_), Some(doubt)) if !doubt.is_allowed() => of(Word::Depends, named(doubt)),
        (Verdict::Allowed(by), _) => of(Word::Allow, by),
        (Verdict::Held(by), _) => of(Word::Ask, by),
        (Verdict::NotPermitted, _) => of(Word::Deny, Vec::new()),
        (Verdict::Forbidden(by), _) => of(Word::Deny, by),
        (Verdict::Failed(why), _) => Ruling { word: Word::Deny, policies: Vec::new(), failed: why },
    }
}

fn named(verdict: Verdict) -> Vec<PolicyRef> {
    match verdict {
        Verdict::Allowed(by) | Verdict::Held(by) | Verdict::Forbidden(by) => by,
        Verdict::NotPermitted | Verdict::Failed(_) => Vec::new(),
    }
}
