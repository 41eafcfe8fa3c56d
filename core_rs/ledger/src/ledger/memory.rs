//! What must be decided at once: the fold of the log into keys, approvals and permits.

use std::collections::{HashMap, HashSet};

use cmdop_contract::reason::spec;
use cmdop_contract::v1::{
    Approval, ApprovalDecided, ApprovalStatus, Error, Event, Outcome, RetryClass, Stage, event::Kind,
};

use super::Claim;

/// What an event says to the memory, so that the event itself need not be kept until it is durable.
#[derive(Debug)]
pub(super) enum Note {
    Nothing,
    Proposed {
        /// Tenant and key.
        place: (String, String),
        action_digest: String,
        call_id: String,
    },
    Held(Box<Approval>),
    Decided(Box<ApprovalDecided>),
    Permitted {
        call_id: String,
        attempt: u32,
        stage: Stage,
        approval_id: String,
    },
    Closed {
        call_id: String,
        /// It changed nothing and may come again.
        release_key: bool,
    },
}

impl Note {
    pub(super) fn of(event: &Event) -> Self {
        let closed = |release_key| Self::Closed { call_id: event.subject.clone(), release_key };
        match &event.kind {
            Some(Kind::CallProposed(proposed)) => {
                let proposal = proposed.proposal.as_ref();
                let tenant = proposal.and_then(|it| it.actor.as_ref()).map_or("", |actor| &actor.tenant);
                Self::Proposed {
                    place: (tenant.to_owned(), proposal.map_or("", |it| &it.idempotency_key).to_owned()),
                    action_digest: proposed.action_digest.clone(),
                    call_id: event.subject.clone(),
                }
            }
            Some(Kind::CallHeld(held)) => Self::Held(Box::new(held.approval.clone().unwrap_or_default())),
            Some(Kind::ApprovalDecided(decided)) => Self::Decided(Box::new(decided.clone())),
            Some(Kind::CallPermitted(permitted)) => {
                permitted.permit.as_ref().map_or(Self::Nothing, |permit| Self::Permitted {
                    call_id: permit.call_id.clone(),
                    attempt: permit.attempt,
                    stage: permit.stage(),
                    approval_id: permitted.approval_id.clone(),
                })
            }
            Some(Kind::CallRefused(_)) => closed(true),
            Some(Kind::CallSettled(settled)) if settled.outcome() != Outcome::Unknown => {
                let nothing = settled.outcome() == Outcome::NotApplied;
                closed(nothing && settled.error.as_ref().is_some_and(may_come_again))
            }
            _ => Self::Nothing,
        }
    }
}

#[derive(Default)]
pub(super) struct Memory {
    /// By tenant and key: the action's digest and the call.
    keys: HashMap<(String, String), (String, String)>,
    /// The key of each open call, to release it if the call never ran.
    key_of: HashMap<String, (String, String)>,
    /// Approvals of open calls.
    pub(super) approvals: HashMap<String, Approval>,
    /// Which of them each call asked for.
    asked: HashMap<String, Vec<String>>,
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

    /// Folds in what a durable event says. Taking in again what was decided here changes nothing.
    pub(super) fn take_in(&mut self, note: Note) {
        match note {
            Note::Nothing => {}
            // Of this life: it was claimed before it was recorded.
            Note::Proposed { call_id, .. } if self.key_of.contains_key(&call_id) => {}
            Note::Proposed { place, action_digest, call_id } => {
                self.keys.insert(place.clone(), (action_digest, call_id.clone()));
                self.key_of.insert(call_id, place);
            }
            Note::Held(approval) => {
                self.asked.entry(approval.call_id.clone()).or_default().push(approval.approval_id.clone());
                self.approvals.entry(approval.approval_id.clone()).or_insert(*approval);
            }
            Note::Decided(decided) => {
                if let Some(approval) = self
                    .approvals
                    .get_mut(&decided.approval_id)
                    .filter(|it| it.status != i32::from(ApprovalStatus::Used))
                {
                    approval.status = decided.status;
                    approval.decision = decided.decision;
                }
            }
            Note::Permitted { call_id, attempt, stage, approval_id } => {
                self.permitted.entry(call_id).or_default().insert((attempt, stage.into()));
                if let Some(approval) = self.approvals.get_mut(&approval_id) {
                    approval.status = ApprovalStatus::Used.into();
                }
            }
            Note::Closed { call_id, release_key } => self.close(&call_id, release_key),
        }
    }

    /// Forgets what only an open call needs. A key whose call changed nothing and may come again is
    /// free again; any other stays spent for ever.
    pub(super) fn close(&mut self, call_id: &str, release_key: bool) {
        self.permitted.remove(call_id);
        for approval_id in self.asked.remove(call_id).unwrap_or_default() {
            self.approvals.remove(&approval_id);
        }
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
