//! What was refused to a run or a session: it binds whoever acts in it afterwards.

use std::collections::HashMap;

use cmdop_contract::effect::{Class, class};
use cmdop_contract::v1::{
    Actor, Approval, ApprovalDecision, ApprovalSubject, EffectKind, Error, PolicyRef, Reason, remedy,
};

use super::Ledger;

/// Who decides when a held call is taken back by its own caller: that is no refusal.
pub const CANCELLED: &str = "cancelled";

/// Refusals of policy that are kept for each run and session. Those of people are all kept.
const KEPT: usize = 256;

/// An effect that was refused to a run or session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// `file.delete:/srv/db`.
    pub effect: String,
    /// A person said no; else policy did.
    pub by_person: bool,
    /// The call that was refused.
    pub call_id: String,
    /// The policy that was in force: another one decides anew.
    pub policy_version: String,
}

/// Runs and sessions, as denials know them.
pub(super) type Scopes = Vec<String>;

/// The run and the session that an agent's call belongs to. A person's binds nobody.
pub(super) fn scopes(actor: &Actor) -> Scopes {
    let mut scopes = Scopes::new();
    if !actor.agent.is_empty() && !actor.run.is_empty() {
        scopes.push(format!("run {}", actor.run));
    }
    if !actor.agent.is_empty() && !actor.session.is_empty() {
        scopes.push(format!("session {} {} {}", actor.tenant, actor.user, actor.session));
    }
    scopes
}

/// The memory of what was refused.
#[derive(Default)]
pub(super) struct Denials {
    by_scope: HashMap<String, Vec<Denial>>,
    /// Scopes and policy version of each open call that has a scope.
    open: HashMap<String, (Scopes, String)>,
}

impl Denials {
    pub(super) fn proposed(&mut self, call_id: &str, scopes: Scopes) {
        if !scopes.is_empty() {
            self.open.insert(call_id.to_owned(), (scopes, String::new()));
        }
    }

    pub(super) fn decided(&mut self, call_id: &str, policy_version: &str) {
        if let Some((_, version)) = self.open.get_mut(call_id) {
            policy_version.clone_into(version);
        }
    }

    /// Notes effects that were refused to a call, if it belongs to a run or a session.
    pub(super) fn denied(&mut self, call_id: &str, effects: &[String], by_person: bool) {
        let Some((scopes, policy_version)) = self.open.get(call_id) else { return };
        for scope in scopes {
            let known = self.by_scope.entry(scope.clone()).or_default();
            // Of an earlier policy: it binds nobody any more.
            known.retain(|denial| denial.policy_version == *policy_version);
            for effect in effects {
                if known.iter().any(|it| it.effect == *effect && it.by_person == by_person) {
                    continue;
                }
                if let Some(oldest) = known.iter().position(|it| !it.by_person).filter(|_| known.len() >= KEPT) {
                    known.remove(oldest);
                }
                known.push(Denial {
                    effect: effect.clone(),
                    by_person,
                    call_id: call_id.to_owned(),
                    policy_version: policy_version.clone(),
                });
            }
        }
    }

    pub(super) fn close(&mut self, call_id: &str) {
        self.open.remove(call_id);
    }

    /// Run and session of an open call.
    pub(super) fn scopes_of(&self, call_id: &str) -> &[String] {
        self.open.get(call_id).map_or(&[], |(scopes, _)| scopes)
    }

    pub(super) fn forget(&mut self, scope: &str) {
        self.by_scope.remove(scope);
    }
}

/// The effects that a person refused with an approval: what it was held for, or the diff that they saw.
pub(super) fn rejected(approval: &Approval, decision: Option<&ApprovalDecision>) -> Vec<String> {
    if decision.is_some_and(|decision| decision.approver == CANCELLED) {
        return Vec::new();
    }
    let text = |kind: EffectKind, target: &str| format!("{}:{target}", cmdop_contract::effect::kind_name(kind));
    let is_meant = |kind: EffectKind| class(kind) != Class::Look;
    let mut effects: Vec<String> = match approval.subject() {
        ApprovalSubject::Diff => {
            let seen = approval.diff.iter().flat_map(|diff| &diff.effects);
            seen.filter(|it| is_meant(it.kind())).map(|it| text(it.kind(), &it.target)).collect()
        }
        _ => spoken_of(&approval.policies),
    };
    if effects.is_empty() {
        let asked = approval.effects.iter().filter(|it| is_meant(it.kind()));
        effects = asked.map(|it| text(it.kind(), &it.target)).collect();
    }
    effects
}

/// The effects that policy refused with an error.
pub(super) fn refused(error: &Error) -> Vec<String> {
    let is_denial = matches!(
        error.reason(),
        Reason::FloorDenied | Reason::PolicyDenied | Reason::NotPermitted | Reason::EffectNotPermitted
    );
    if !is_denial {
        return Vec::new();
    }
    let mut effects = spoken_of(&error.policies);
    if effects.is_empty() {
        effects.clone_from(&error.refused);
    }
    if let Some(remedy::Kind::NarrowEffect(narrow)) = error.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref())
        && effects.is_empty()
        && !narrow.predicted.is_empty()
    {
        effects.push(narrow.predicted.clone());
    }
    effects
}

/// Of a point that is only possible, policy says so in words; that is no target.
fn spoken_of(policies: &[PolicyRef]) -> Vec<String> {
    let is_target = |effect: &&str| !effect.contains(" where it meets ") && !effect.contains(" (what it may hold");
    policies.iter().map(|policy| policy.effect.as_str()).filter(is_target).map(str::to_owned).collect()
}

impl Ledger {
    /// What was refused to an actor's run and session under this policy. Nothing for a person.
    #[must_use]
    pub fn denials(&self, actor: &Actor, policy_version: &str) -> Vec<Denial> {
        let memory = self.inner.memory.lock();
        let scopes = memory.words.with_parents(scopes(actor));
        let known = scopes.iter().filter_map(|scope| memory.denials.by_scope.get(scope));
        known.flatten().filter(|denial| denial.policy_version == policy_version).cloned().collect()
    }
}
