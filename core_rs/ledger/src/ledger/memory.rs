//! What must be decided at once: the fold of the log into keys, approvals and permits.

use std::collections::{HashMap, HashSet};

use cmdop_contract::reason::spec;
use cmdop_contract::v1::{Approval, ApprovalStatus, Error, Event, Outcome, RetryClass, Stage, event::Kind};

use super::Claim;

#[derive(Default)]
pub(super) struct Memory {
    /// By tenant and key: the action's digest and the call.
    keys: HashMap<(String, String), (String, String)>,
    /// The key of each open call, to release it if the call never ran.
    key_of: HashMap<String, (String, String)>,
    /// Approvals of open calls.
    pub(super) approvals: HashMap<String, Approval>,
    /// Attempts and stages for which an open call has a permit.
    permitted: HashMap<String, HashSet<(u32, i32)>>,
}

impl Memory {
    pub(super) fn claim(&mut self, tenant: &str, key: &str, action_digest: &str, call_id: &str) -> Claim {
        let place = (tenant.to_owned(), key.to_owned());
        match self.keys.get(&place) {
            Some((digest, earlier)) if digest == action_digest => Claim::Same(earlier.clone()),
            Some((_, earlier)) => Claim::Conflict(earlier.clone()),
            None => {
                self.keys.insert(place.clone(), (action_digest.to_owned(), call_id.to_owned()));
                self.key_of.insert(call_id.to_owned(), place);
                Claim::New
            }
        }
    }

    /// Takes the one permit of an attempt's stage. False if it was taken.
    pub(super) fn take_permit(&mut self, call_id: &str, attempt: u32, stage: Stage) -> bool {
        self.permitted.entry(call_id.to_owned()).or_default().insert((attempt, stage.into()))
    }

    /// Takes back that an attempt's stage has its permit: nothing of it was recorded.
    pub(super) fn give_permit_back(&mut self, call_id: &str, attempt: u32, stage: Stage) {
        if let Some(taken) = self.permitted.get_mut(call_id) {
            taken.remove(&(attempt, stage.into()));
        }
    }

    /// Folds a durable event in. Taking in again what was decided here changes nothing.
    pub(super) fn note(&mut self, event: &Event) {
        match &event.kind {
            Some(Kind::CallProposed(proposed)) => {
                let proposal = proposed.proposal.as_ref();
                let tenant = proposal.and_then(|it| it.actor.as_ref()).map_or("", |actor| &actor.tenant);
                let place = (tenant.to_owned(), proposal.map_or("", |it| &it.idempotency_key).to_owned());
                self.keys.insert(place.clone(), (proposed.action_digest.clone(), event.subject.clone()));
                self.key_of.insert(event.subject.clone(), place);
            }
            Some(Kind::CallHeld(held)) => {
                let approval = held.approval.clone().unwrap_or_default();
                self.approvals.entry(approval.approval_id.clone()).or_insert(approval);
            }
            Some(Kind::ApprovalDecided(decided)) => {
                if let Some(approval) = self
                    .approvals
                    .get_mut(&decided.approval_id)
                    .filter(|it| it.status != i32::from(ApprovalStatus::Used))
                {
                    approval.status = decided.status;
                    approval.decision.clone_from(&decided.decision);
                }
            }
            Some(Kind::CallPermitted(permitted)) => {
                if let Some(permit) = &permitted.permit {
                    self.take_permit(&permit.call_id, permit.attempt, permit.stage());
                }
                if let Some(approval) = self.approvals.get_mut(&permitted.approval_id) {
                    approval.status = ApprovalStatus::Used.into();
                }
            }
            Some(Kind::CallRefused(_)) => self.close(&event.subject, true),
            Some(Kind::CallSettled(settled)) if settled.outcome() != Outcome::Unknown => {
                let again =
                    settled.outcome() == Outcome::NotApplied && settled.error.as_ref().is_some_and(may_come_again);
                self.close(&event.subject, again);
            }
            _ => {}
        }
    }

    /// Forgets what only an open call needs. A key whose call changed nothing and may come again is
    /// free again; any other stays spent for ever.
    pub(super) fn close(&mut self, call_id: &str, release_key: bool) {
        self.permitted.remove(call_id);
        self.approvals.retain(|_, approval| approval.call_id != call_id);
        let place = self.key_of.remove(call_id);
        if let Some(place) = place.filter(|_| release_key)
            && self.keys.get(&place).is_some_and(|(_, holder)| holder == call_id)
        {
            self.keys.remove(&place);
        }
    }
}

fn may_come_again(error: &Error) -> bool {
    matches!(spec(error.reason()).retry, RetryClass::SameKey | RetryClass::AfterDelay)
}
