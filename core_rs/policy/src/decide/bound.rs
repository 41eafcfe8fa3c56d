//! A refusal binds the effect, not the way to it: another tool, another directory, a sub-agent or
//! smaller steps do not get what was refused to the same run or session.
//!
//! Policy alone decides about an effect the same way whatever tool has it. This is for what policy
//! does not see by itself: that a person said no, or that another of the same run was refused.

use cmdop_contract::effect::{Effect, Target};
use cmdop_contract::v1::{EffectKind, PolicyRef};

use super::Facts;
use crate::engine::{Verdict, effect_text};
use crate::points::carries_subtree;

/// An effect that was refused to the run or session before.
#[derive(Clone, Debug)]
pub struct Denied {
    /// What was refused.
    pub effect: Effect,
    /// A person said no; else policy did.
    pub by_person: bool,
    /// The call that was refused.
    pub call_id: String,
}

/// Ids of what is said here; loading refuses them in a file.
const SAME: &str = "session.denied";
const PART: &str = "session.rejected_part";

/// The verdict on an agent's effect with the refusals of its run and session counted in.
///
/// The same effect or a wider one is refused. Of what a person refused, a part is not refused
/// (they may have meant: less), but a person looks at it again. Of what policy refused, policy
/// decides about a part.
pub(crate) fn bind(verdict: Verdict, kind: EffectKind, target: &Target, facts: &Facts<'_>) -> Verdict {
    let is_worst = matches!(verdict, Verdict::Forbidden(_) | Verdict::Failed(_));
    if facts.denied.is_empty() || facts.actor.agent.is_empty() || is_worst {
        return verdict;
    }
    let effect = &Effect::new(kind, target.clone());
    let taken = reach(effect);
    let alike = || facts.denied.iter().filter(|denied| family(denied.effect.kind) == family(effect.kind));
    if let Some(denied) = alike().find(|denied| taken.covers(&denied.effect.target)) {
        let remedy = "Leave it; a person may do it under their own name.";
        return Verdict::Forbidden(vec![said(SAME, remedy, effect, denied)]);
    }
    match alike().find(|denied| denied.by_person && reach(&denied.effect).overlaps(&taken)) {
        Some(denied) => {
            let remedy = "A person looks at each part of what a person refused.";
            verdict.worst(Verdict::Held(vec![said(PART, remedy, effect, denied)]))
        }
        None => verdict,
    }
}

/// Everything that an effect takes along: of what is deleted or moved, whatever lies beneath.
fn reach(effect: &Effect) -> Target {
    match &effect.target {
        Target::Path(region) if carries_subtree(effect.kind) => Target::Path(region.tree()),
        _ => effect.reach().clone(),
    }
}

/// True if nothing but an earlier refusal stands in the way.
pub(super) fn is_bound(policies: &[PolicyRef]) -> bool {
    !policies.is_empty() && policies.iter().all(|policy| policy.id == SAME)
}

/// Does what happened before in the run or session speak, and no policy?
pub(super) fn is_of_session(policy: &PolicyRef) -> bool {
    [SAME, PART].contains(&&*policy.id)
}

fn said(id: &str, remedy: &str, effect: &Effect, denied: &Denied) -> PolicyRef {
    let who = if denied.by_person { "a person" } else { "policy" };
    let before = effect_text(denied.effect.kind, &denied.effect.target.to_string());
    PolicyRef {
        id: id.to_owned(),
        reason: format!("In this run or session {who} refused {before} (call {}).", denied.call_id),
        remedy: remedy.to_owned(),
        effect: effect_text(effect.kind, &effect.target.to_string()),
    }
}

/// Kinds by which one gets the same: who may not delete a file may not empty or move it away.
fn family(kind: EffectKind) -> EffectKind {
    use EffectKind as K;
    match kind {
        K::FileModify | K::FileDelete | K::FileRename => K::FileDelete,
        K::ServiceStop | K::ServiceRestart => K::ServiceStop,
        K::DeployRelease | K::DeployRollback => K::DeployRelease,
        other => other,
    }
}
