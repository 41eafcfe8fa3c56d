//! What is at stake in a question: who must agree to it, and what nothing can take back.

use cmdop_contract::v1::{Decision, EffectKind};

use super::verdict::Stakes;
use crate::engine::{Engine, Subject, effect_text};

/// Effects that are listed; the decision has them all.
const LISTED: usize = 64;

pub(super) fn of(engine: &Engine, decision: &Decision, lost: impl Iterator<Item = (EffectKind, String)>) -> Stakes {
    let mut stakes = Stakes { quorums: engine.quorums(&decision.policies), ..Stakes::default() };
    for (kind, target) in lost {
        // What is named outright says more than a pattern.
        if stakes.confirm.is_empty() || (stakes.confirm.contains('*') && !target.contains('*')) {
            stakes.confirm = name(kind, &target);
        }
        let text = effect_text(kind, &target);
        if stakes.irreversible.len() < LISTED && !stakes.irreversible.contains(&text) {
            stakes.irreversible.push(text);
        }
    }
    stakes
}

/// What a person types for a target: the last name of a path, and anything else whole.
fn name(kind: EffectKind, target: &str) -> String {
    let last = target.trim_end_matches('/').rsplit('/').next().filter(|last| !last.is_empty());
    match (Subject::of(kind), last) {
        (Some(Subject::Path), Some(last)) => last.to_owned(),
        _ => target.to_owned(),
    }
}
