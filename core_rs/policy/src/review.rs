//! For the authors of policies: what policy says about one effect, and about its near neighbours.
//!
//! Everything here asks the same engine, point by point, that decides calls.

use std::collections::BTreeSet;

use cmdop_contract::effect::{Class, Effect, Target, class, is_held_back};
use cmdop_contract::v1::{Decision, EffectKind, Error, PolicyRef, Prediction};
use cmdop_contract::validate::Validated;

use crate::classes::Classes;
use crate::decide::{Decided, Facts, authorise, bind, decide};
use crate::engine::{Engine, Inquiry, Verdict, effect_text};

pub use crate::engine::Finding;

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
    let known = inquiry.asked(facts.past.foretold(&facts.host.name, kind, &target));
    let (verdict, uncertain) = authorise(engine, &inquiry, &Classes::of(facts.host), (kind, &target, max_count), known);
    Ok(ruling(bind(verdict, kind, &target, facts), uncertain))
}

fn ruling(verdict: Verdict, uncertain: Option<Verdict>) -> Ruling {
    // One policy may have spoken about several points of the target.
    let of = |word, mut policies: Vec<PolicyRef>| {
        let mut seen = BTreeSet::new();
        policies.retain(|policy| seen.insert(policy.id.clone()));
        Ruling { word, policies, failed: String::new() }
    };
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

/// What policy says about a whole call.
#[derive(Debug)]
pub struct Review {
    /// `allow`, `preview`, `ask` or `deny`, whatever the level.
    pub word: &'static str,
    /// Every predicted and every declared effect, each once.
    pub effects: Vec<Reviewed>,
    /// The decision as a server would make it, the level counted in.
    pub decision: Decision,
    /// The refusal, if it is one.
    pub error: Option<Error>,
}

/// One effect of a call.
#[derive(Debug)]
pub struct Reviewed {
    /// `file.delete:/srv/app/x`.
    pub effect: String,
    /// It was declared.
    pub declared: bool,
    /// It was predicted.
    pub predicted: bool,
    /// What policy says about it.
    pub ruling: Ruling,
}

/// Decides about a call before anything runs, and says of each of its effects who decided.
#[must_use]
pub fn review(engine: &Engine, validated: &Validated, prediction: &Prediction, facts: &Facts<'_>) -> Review {
    let tool = validated.tool().name();
    let mut effects: Vec<Reviewed> = Vec::new();
    let count = validated.declared().len() + prediction.effects.len();
    let mut loose = false;
    let mut add = |kind: EffectKind, target: &str, max_count: Option<u32>, is_declared: bool| {
        let text = effect_text(kind, target);
        if let Some(known) = effects.iter_mut().find(|known| known.effect == text) {
            known.declared |= is_declared;
            known.predicted |= !is_declared;
            return;
        }
        let ruling = rule(engine, facts, tool, count, (kind, target, max_count));
        let ruling = ruling.unwrap_or_else(|why| Ruling { word: Word::Deny, policies: Vec::new(), failed: why });
        effects.push(Reviewed { effect: text, declared: is_declared, predicted: !is_declared, ruling });
    };
    for effect in &prediction.effects {
        loose |= class(effect.kind()) != Class::Look && !(effect.containable && is_held_back(tool, effect.kind()));
        add(effect.kind(), &effect.target, None, false);
    }
    for Effect { kind, target, max_count, .. } in validated.declared() {
        loose |= class(*kind) != Class::Look && !is_held_back(tool, *kind);
        add(*kind, &target.to_string(), *max_count, true);
    }
    let (decision, error) = match decide(engine, validated, prediction, facts) {
        Decided::Refuse(refusal) => (refusal.decision().clone(), Some(refusal.error().clone())),
        Decided::Ask(ask) => (ask.decision().clone(), None),
        Decided::Go(grant) => (grant.decision().clone(), None),
    };
    let is = |word| effects.iter().any(|effect| effect.ruling.word == word);
    let word = if error.is_some() {
        "deny"
    } else if loose || is(Word::Ask) {
        "ask"
    } else if is(Word::Depends) || is(Word::Deny) || !prediction.unanalysable.is_empty() {
        "preview"
    } else {
        "allow"
    };
    Review { word, effects, decision, error }
}
