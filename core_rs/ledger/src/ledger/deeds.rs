//! What runs and sessions did, folded from what hosts measured in calls that were applied.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cmdop_contract::effect::{Class, class};
use cmdop_contract::v1::{Actor, CallSettled, Error, Outcome, Permit, PermittedEffect, Reason, Stage};
use cmdop_policy::decide::{Deeds, Measured, Past};

use super::Ledger;
use super::denials::{Scopes, scopes};

/// Runs and sessions of which something is remembered. Beyond that the one that did nothing for longest is forgotten;
/// one that moved things away is forgotten last.
const MOST_SCOPES: usize = 1_024;

/// Runs that ended and are remembered: whoever goes on in one is bound as before.
const MOST_ENDED: usize = 256;

/// Lookups for which one call may keep everybody else waiting. If it would need more, what others made on its host is
/// taken for replaced.
const MOST_LOOKUPS: usize = 100_000;

/// A call that may be changing files now.
#[derive(Debug)]
pub(super) struct Acting {
    host: String,
    pub(super) scopes: Scopes,
    is_undo: bool,
}

impl Acting {
    /// `None` if no file can be changed under the permit.
    pub(super) fn under(permit: &Permit) -> Option<Self> {
        let is_change = |effect: &PermittedEffect| class(effect.kind()) == Class::Change;
        let may_change = match permit.stage() {
            Stage::Preview => false,
            _ => permit.effects.iter().any(is_change),
        };
        may_change.then(|| Self {
            host: permit.host.clone(),
            scopes: permit.actor.as_ref().map(scopes).unwrap_or_default(),
            is_undo: permit.action.as_ref().is_some_and(|action| action.tool == "files.undo"),
        })
    }
}

/// What a settled call did; `None` if it changed nothing.
pub(super) fn measured(settled: &CallSettled) -> Option<Measured> {
    let report = settled.report.as_ref();
    if settled.reconciliation.as_ref().is_some_and(|word| word.measured() == Outcome::Unknown) {
        return Some(Measured::unknown());
    }
    let measured = match (settled.outcome(), report.and_then(|report| report.observation.as_ref())) {
        (Outcome::NotApplied, None) => return None,
        (Outcome::NotApplied, Some(_)) if report.is_some_and(|report| report.stage() != Stage::Apply) => return None,
        (Outcome::Unknown | Outcome::Unspecified, _) => Measured::unknown(),
        (_, Some(observation)) => Measured::of(observation),
        (Outcome::Applied, None) => return None,
    };
    (!measured.is_nothing()).then_some(measured)
}

/// What an end says of a run: did the call fail, and was it refused?
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    failed: bool,
    denied: bool,
}

impl End {
    pub(super) fn of(error: Option<&Error>) -> Self {
        let denied = error.is_some_and(|error| {
            matches!(
                error.reason(),
                Reason::FloorDenied
                    | Reason::PolicyDenied
                    | Reason::NotPermitted
                    | Reason::EffectNotPermitted
                    | Reason::DeniedBefore
                    | Reason::ApprovalRejected
                    | Reason::ApprovalExpired
            )
        });
        Self { failed: error.is_some() && !denied, denied }
    }
}

struct Remembered {
    deeds: Arc<Deeds>,
    /// Grows with every call of any scope.
    last: u64,
}

/// The memory of what was done.
#[derive(Default)]
pub(super) struct Doings {
    by_scope: HashMap<String, Remembered>,
    acting: HashMap<String, Acting>,
    /// Runs that ended, oldest first.
    ended: VecDeque<String>,
    clock: u64,
}

impl Doings {
    pub(super) fn permitted(&mut self, call_id: &str, acting: Acting) {
        self.acting.insert(call_id.to_owned(), acting);
    }

    /// A call that had a permit is over, or nobody can tell what it did.
    pub(super) fn settled(&mut self, call_id: &str, measured: Option<&Measured>, is_over: bool) {
        let acting = if is_over { self.acting.remove(call_id) } else { None };
        let Some(acting) = acting.as_ref().or_else(|| self.acting.get(call_id)) else { return };
        let Some(measured) = measured else { return };
        let is_own = |scope: &String| acting.scopes.contains(scope);
        let is_costly = self.by_scope.len().saturating_mul(measured.len()) > MOST_LOOKUPS;
        for (_, other) in self.by_scope.iter_mut().filter(|(scope, it)| !is_own(scope) && it.deeds.is_on(&acting.host))
        {
            let deeds = Arc::make_mut(&mut other.deeds);
            if is_costly { deeds.forget_made(&acting.host) } else { deeds.others(&acting.host, measured) }
        }
        let (host, is_undo, scopes) = (acting.host.clone(), acting.is_undo, acting.scopes.clone());
        for scope in &scopes {
            self.deeds(scope).own(&host, measured, is_undo);
        }
    }

    /// Counts how calls of a scope ended.
    pub(super) fn ended(&mut self, scopes: &[String], end: End) {
        if !end.failed && !end.denied {
            return;
        }
        for scope in scopes {
            let deeds = self.deeds(scope);
            deeds.failed = deeds.failed.saturating_add(end.failed.into());
            deeds.denials = deeds.denials.saturating_add(end.denied.into());
        }
    }

    /// Notes that a run ended; returns one that is not remembered any more.
    pub(super) fn run_ended(&mut self, run_id: &str) -> Option<String> {
        let scope = format!("run {run_id}");
        if self.ended.contains(&scope) {
            return None;
        }
        self.ended.push_back(scope);
        let forgotten = if self.ended.len() > MOST_ENDED { self.ended.pop_front() } else { None };
        forgotten.inspect(|scope| drop(self.by_scope.remove(scope)))
    }

    fn deeds(&mut self, scope: &str) -> &mut Deeds {
        self.clock += 1;
        if !self.by_scope.contains_key(scope) && self.by_scope.len() >= MOST_SCOPES {
            let oldest = self.by_scope.iter().min_by_key(|(_, it)| (it.deeds.holds_copies(), it.last));
            if let Some(oldest) = oldest.map(|(scope, _)| scope.clone()) {
                self.by_scope.remove(&oldest);
            }
        }
        let clock = self.clock;
        let known =
            self.by_scope.entry(scope.to_owned()).or_insert_with(|| Remembered { deeds: Arc::default(), last: clock });
        known.last = clock;
        Arc::make_mut(&mut known.deeds)
    }
}

impl Ledger {
    /// What an actor's run and session did. Nothing for a person.
    #[must_use]
    pub fn past(&self, actor: &Actor) -> Past {
        let memory = self.inner.memory.lock();
        let scopes = memory.words.with_parents(scopes(actor));
        let known = scopes.iter().filter_map(|scope| memory.doings.by_scope.get(scope));
        Past { scopes: known.map(|it| it.deeds.clone()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_runs_is_bounded() {
        let mut doings = Doings::default();
        let end = End { failed: true, denied: false };
        for at in 0..MOST_SCOPES + 50 {
            doings.ended(&[format!("run {at}")], end);
        }
        assert_eq!(doings.by_scope.len(), MOST_SCOPES);
        assert!(!doings.by_scope.contains_key("run 0") && doings.by_scope.contains_key("run 1000"));
    }

    #[test]
    fn runs_that_ended_are_forgotten_after_others_ended() {
        let mut doings = Doings::default();
        doings.ended(&["run first".to_owned()], End { failed: true, denied: false });
        assert_eq!(doings.run_ended("first"), None);
        assert_eq!(doings.run_ended("first"), None, "it ends once");
        let forgotten: Vec<_> = (0..MOST_ENDED).filter_map(|at| doings.run_ended(&at.to_string())).collect();
        assert_eq!(forgotten, ["run first"]);
        assert!(doings.by_scope.is_empty() && doings.ended.len() == MOST_ENDED);
    }
}
