//! What must be decided at once: the fold of the log into keys, approvals and permits.

use std::collections::{BTreeMap, HashMap, HashSet};

use cmdop_contract::approval;
use cmdop_contract::reason::may_come_again;
use cmdop_contract::v1::{
    Approval, ApprovalDecided, ApprovalStatus, ApprovalVerdict, Error, Event, Freeze, FreezeLifted, GrantRevocation,
    Outcome, Stage, StandingGrant, event::Kind,
};
use cmdop_policy::decide::Measured;

use super::Claim;
use super::deeds::{self, Acting, Doings, End};
use super::denials::{self, Denials, Scopes};
use super::freezes::Standing;
use super::grants::Grants;
use super::scope::{self, Words};
use super::spent::{Mark, Spent};

/// What an event says to the memory, so that the event itself need not be kept until it is durable.
#[derive(Debug)]
pub(super) enum Note {
    Nothing,
    Proposed {
        /// Tenant and key.
        place: (String, String),
        action_digest: String,
        call_id: String,
        /// Run and session of an agent's call.
        scopes: Scopes,
    },
    Judged {
        call_id: String,
        policy_version: String,
    },
    RunBegun {
        run_id: String,
        parent: String,
    },
    RunEnded(String),
    Instructed {
        scope: String,
        at: i64,
    },
    Held(Box<Approval>),
    Decided(Box<ApprovalDecided>),
    Permitted {
        call_id: String,
        attempt: u32,
        stage: Stage,
        approval_id: String,
        acting: Option<Acting>,
        /// Standing grants that it used.
        grants: Vec<String>,
    },
    Granted(Box<StandingGrant>),
    GrantRevoked {
        grant_id: String,
        revocation: Option<GrantRevocation>,
    },
    Frozen(Box<Freeze>),
    Lifted(Box<FreezeLifted>),
    /// Nobody can tell what became of it.
    Lost {
        call_id: String,
    },
    Closed {
        call_id: String,
        /// It changed nothing, and the same action may come again under its key.
        may_come_again: bool,
        /// Effects that policy refused.
        denied: Vec<String>,
        end: End,
        measured: Option<Box<Measured>>,
        /// Its host may still report what it measured: a person's word settled it.
        may_be_measured: bool,
    },
}

impl Note {
    pub(super) fn of(event: &Event) -> Self {
        let closed = |may_come_again, error: Option<&Error>, measured: Option<Measured>| Self::Closed {
            call_id: event.subject.clone(),
            may_come_again,
            denied: error.map(denials::refused).unwrap_or_default(),
            end: End::of(error),
            measured: measured.map(Box::new),
            may_be_measured: false,
        };
        match &event.kind {
            Some(Kind::CallProposed(proposed)) => {
                let proposal = proposed.proposal.as_ref();
                let tenant = proposal.and_then(|it| it.actor.as_ref()).map_or("", |actor| &actor.tenant);
                Self::Proposed {
                    place: (tenant.to_owned(), proposal.map_or("", |it| &it.idempotency_key).to_owned()),
                    action_digest: proposed.action_digest.clone(),
                    call_id: event.subject.clone(),
                    scopes: proposal.and_then(|it| it.actor.as_ref()).map(denials::scopes).unwrap_or_default(),
                }
            }
            Some(Kind::CallDecided(decided)) => Self::Judged {
                call_id: event.subject.clone(),
                policy_version: decided.decision.as_ref().map_or_else(String::new, |it| it.policy_version.clone()),
            },
            Some(Kind::RunStarted(started)) => started
                .run
                .as_ref()
                .map_or(Self::Nothing, |run| Self::RunBegun { run_id: run.run_id.clone(), parent: run.parent.clone() }),
            Some(Kind::RunFinished(finished)) => Self::RunEnded(finished.run_id.clone()),
            Some(Kind::InstructionGiven(given)) => {
                let scope = given.actor.as_ref().map(scope::scope_of).unwrap_or_default();
                Self::Instructed { scope, at: event.at }
            }
            Some(Kind::CallHeld(held)) => Self::Held(Box::new(held.approval.clone().unwrap_or_default())),
            Some(Kind::ApprovalDecided(decided)) => Self::Decided(Box::new(decided.clone())),
            Some(Kind::CallPermitted(permitted)) => {
                permitted.permit.as_ref().map_or(Self::Nothing, |permit| Self::Permitted {
                    call_id: permit.call_id.clone(),
                    attempt: permit.attempt,
                    stage: permit.stage(),
                    approval_id: permitted.approval_id.clone(),
                    acting: Acting::under(permit),
                    grants: permitted.grants.clone(),
                })
            }
            Some(Kind::GrantCreated(created)) => {
                created.grant.clone().map_or(Self::Nothing, |grant| Self::Granted(Box::new(grant)))
            }
            Some(Kind::GrantRevoked(revoked)) => {
                Self::GrantRevoked { grant_id: revoked.grant_id.clone(), revocation: revoked.revocation.clone() }
            }
            Some(Kind::FreezeCreated(created)) => {
                created.freeze.clone().map_or(Self::Nothing, |freeze| Self::Frozen(Box::new(freeze)))
            }
            Some(Kind::FreezeLifted(lifted)) => Self::Lifted(Box::new(lifted.clone())),
            Some(Kind::CallRefused(refused)) => closed(true, refused.error.as_ref(), None),
            Some(Kind::CallSettled(settled)) if settled.outcome() != Outcome::Unknown => {
                let nothing = settled.outcome() == Outcome::NotApplied;
                let comes_again = nothing && settled.error.as_ref().is_some_and(may_come_again);
                let mut note = closed(comes_again, settled.error.as_ref(), deeds::measured(settled));
                if let Self::Closed { may_be_measured, .. } = &mut note {
                    *may_be_measured = settled
                        .reconciliation
                        .as_ref()
                        .is_some_and(|word| matches!(word.measured(), Outcome::Unspecified | Outcome::Unknown));
                }
                note
            }
            Some(Kind::CallSettled(_)) => Self::Lost { call_id: event.subject.clone() },
            _ => Self::Nothing,
        }
    }
}

/// Who has a key.
struct Holder {
    action_digest: String,
    call_id: String,
    /// Where its last durable proposal stands in the log.
    position: Option<u64>,
    /// Its call is over and changed nothing: the same action may have the key anew.
    may_come_again: bool,
}

#[derive(Default)]
pub(super) struct Memory {
    /// Keys of open calls, by tenant and key, and those of over ones that [`Spent`] has no room for.
    keys: HashMap<(String, String), Holder>,
    /// Keys of calls that are over.
    spent: Spent,
    /// The key of each open call.
    key_of: HashMap<String, (String, String)>,
    pub(super) denials: Denials,
    /// What runs and sessions did.
    pub(super) doings: Doings,
    /// What people said to runs and sessions as wholes.
    pub(super) words: Words,
    /// Every freeze by its id, lifted ones too: there are few.
    pub(super) freezes: BTreeMap<String, Freeze>,
    pub(super) grants: Grants,
    /// Approvals of open calls.
    pub(super) approvals: HashMap<String, Approval>,
    /// Which of them each call asked for.
    asked: HashMap<String, Vec<String>>,
    /// Attempts and stages for which an open call has a permit.
    permitted: HashMap<String, HashSet<(u32, i32)>>,
}

impl Memory {
    /// `clear` is a position of which it was found that nothing stands in the way there.
    pub(super) fn claim(
        &mut self,
        (tenant, key): (&str, &str),
        action_digest: &str,
        call_id: &str,
        clear: Option<u64>,
    ) -> Claim {
        let place = (tenant.to_owned(), key.to_owned());
        // The position of the earlier call stays until this one's is durable: it may never be recorded.
        let position = match self.keys.get(&place) {
            Some(holder) if !holder.may_come_again || holder.action_digest != action_digest => {
                return Claim::of(&holder.action_digest, &holder.call_id, action_digest);
            }
            Some(holder) => holder.position,
            None => match self.spent.mark(tenant, key) {
                Some(mark) if Some(mark.position) != clear => return Claim::Spent(mark),
                _ => None,
            },
        };
        let (action_digest, holds) = (action_digest.to_owned(), call_id.to_owned());
        let holder = Holder { action_digest, call_id: holds, position, may_come_again: false };
        self.keys.insert(place.clone(), holder);
        self.key_of.insert(call_id.to_owned(), place);
        Claim::New
    }

    /// A freeze that is in force on a host.
    pub(super) fn frozen(&self, standing: &Standing) -> Option<&Freeze> {
        self.freezes.values().find(|freeze| freeze.lift.is_none() && standing.is_in(freeze))
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
    pub(super) fn take_in(&mut self, note: Note, position: u64) {
        match note {
            Note::Nothing => {}
            Note::Proposed { place, action_digest, call_id, scopes } => {
                self.denials.proposed(&call_id, self.words.with_parents(scopes));
                let (holds, position) = (call_id.clone(), Some(position));
                let holder = Holder { action_digest, call_id: holds, position, may_come_again: false };
                self.keys.insert(place.clone(), holder);
                self.key_of.insert(call_id, place);
            }
            Note::Judged { call_id, policy_version } => self.denials.decided(&call_id, &policy_version),
            Note::RunBegun { run_id, parent } => self.words.begun(&run_id, &parent),
            Note::RunEnded(run_id) => {
                if let Some(forgotten) = self.doings.run_ended(&run_id) {
                    self.denials.forget(&forgotten);
                    self.words.forget(&forgotten);
                }
            }
            Note::Instructed { scope, at } => {
                self.words.instruct(&scope, at);
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
                    approval::answered(approval, &decided);
                    if approval.status() == ApprovalStatus::Rejected {
                        let effects = denials::rejected(approval, approval.decision.as_ref());
                        self.denials.denied(&approval.call_id, &effects, true);
                    }
                    if decided.decision.is_some_and(|it| it.verdict() == ApprovalVerdict::Terminate) {
                        self.words.end(&scope::scope_of(&approval.requester.clone().unwrap_or_default()));
                    }
                }
            }
            Note::Permitted { call_id, attempt, stage, approval_id, acting, grants } => {
                self.grants.used(&grants, &(call_id.clone(), attempt, stage.into()));
                if let Some(mut acting) = acting {
                    acting.scopes = self.words.with_parents(acting.scopes);
                    self.doings.permitted(&call_id, acting);
                }
                self.permitted.entry(call_id).or_default().insert((attempt, stage.into()));
                if let Some(approval) = self.approvals.get_mut(&approval_id) {
                    approval.status = ApprovalStatus::Used.into();
                }
            }
            Note::Granted(grant) => self.grants.created(*grant),
            Note::GrantRevoked { grant_id, revocation } => self.grants.revoked(&grant_id, revocation),
            Note::Frozen(freeze) => {
                self.freezes.entry(freeze.freeze_id.clone()).or_insert(*freeze);
            }
            Note::Lifted(lifted) => {
                if let Some(freeze) = self.freezes.get_mut(&lifted.freeze_id) {
                    freeze.lift = lifted.lift;
                }
            }
            Note::Lost { call_id } => self.doings.settled(&call_id, Some(&Measured::unknown()), false),
            Note::Closed { call_id, may_come_again, denied, end, measured, may_be_measured } => {
                self.doings.settled(&call_id, measured.as_deref(), !may_be_measured);
                self.doings.ended(self.denials.scopes_of(&call_id), end);
                self.denials.denied(&call_id, &denied, false);
                self.close(&call_id, may_come_again);
            }
        }
    }

    /// Forgets what only an open call needs. The key of a recorded call is marked for ever, and the log says whose
    /// it was; one that nothing was recorded of is as it was before.
    pub(super) fn close(&mut self, call_id: &str, may_come_again: bool) {
        self.permitted.remove(call_id);
        self.denials.close(call_id);
        for approval_id in self.asked.remove(call_id).unwrap_or_default() {
            self.approvals.remove(&approval_id);
        }
        let Some(place) = self.key_of.remove(call_id) else { return };
        let Some(holder) = self.keys.get_mut(&place).filter(|holder| holder.call_id == call_id) else { return };
        holder.may_come_again = may_come_again;
        let is_kept = match holder.position {
            Some(position) => !self.spent.note(&place.0, &place.1, Mark { position, may_come_again }),
            None => !may_come_again,
        };
        if !is_kept {
            self.keys.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("tenant", "key");

    fn proposed(call_id: &str, position: u64, memory: &mut Memory) {
        let place = (KEY.0.to_owned(), KEY.1.to_owned());
        memory.take_in(
            Note::Proposed { place, action_digest: "one".into(), call_id: call_id.into(), scopes: Scopes::default() },
            position,
        );
    }

    fn spent(position: u64, may_come_again: bool) -> Claim {
        Claim::Spent(Mark { position, may_come_again })
    }

    #[test]
    fn a_key_is_held_while_its_call_is_open_and_only_marked_when_it_is_over() {
        let mut memory = Memory::default();
        assert_eq!(memory.claim(KEY, "one", "first", None), Claim::New);
        assert_eq!(memory.claim(KEY, "one", "second", None), Claim::Same("first".into()));
        assert_eq!(memory.claim(KEY, "another", "second", None), Claim::Conflict("first".into()));
        proposed("first", 7, &mut memory);
        memory.close("first", false);
        assert!(memory.keys.is_empty() && memory.key_of.is_empty());
        assert_eq!(memory.claim(KEY, "one", "second", None), spent(7, false));
        assert_eq!(memory.claim(("another", "key"), "one", "second", None), Claim::New);
    }

    #[test]
    fn the_key_of_a_call_of_which_nothing_was_recorded_leaves_no_mark() {
        let mut memory = Memory::default();
        assert_eq!(memory.claim(KEY, "one", "first", None), Claim::New);
        memory.close("first", true);
        assert_eq!(memory.claim(KEY, "another", "second", None), Claim::New);
    }

    #[test]
    fn a_key_whose_call_changed_nothing_is_free_for_the_same_action_alone() {
        let mut memory = Memory::default();
        assert_eq!(memory.claim(KEY, "one", "first", None), Claim::New);
        proposed("first", 7, &mut memory);
        memory.close("first", true);
        assert_eq!(memory.claim(KEY, "one", "second", None), spent(7, true));
        // The log said that it is this key, and this action.
        assert_eq!(memory.claim(KEY, "one", "second", Some(7)), Claim::New);
        assert_eq!(memory.claim(KEY, "one", "third", Some(7)), Claim::Same("second".into()));
        // The second is never recorded: all is as before.
        memory.close("second", true);
        assert_eq!(memory.claim(KEY, "one", "third", None), spent(7, true));
        assert_eq!(memory.claim(KEY, "one", "third", Some(7)), Claim::New);
        proposed("third", 9, &mut memory);
        memory.close("third", true);
        assert_eq!(memory.claim(KEY, "another", "fourth", Some(7)), Claim::Conflict("third".into()));
        assert_eq!(memory.claim(KEY, "one", "fourth", None), Claim::New);
        memory.close("fourth", true);
        assert_eq!(memory.claim(KEY, "another", "fifth", Some(7)), Claim::Conflict("fourth".into()));
        assert_eq!(memory.claim(KEY, "one", "fifth", None), Claim::New);
        proposed("fifth", 11, &mut memory);
        memory.close("fifth", false);
        assert_eq!(memory.claim(KEY, "one", "sixth", Some(7)), Claim::Same("fifth".into()));
    }

    #[test]
    fn a_key_with_the_fingerprint_of_another_is_kept_whole() {
        let mut memory = Memory::default();
        // As if another key had this one's fingerprint.
        assert!(memory.spent.note(KEY.0, KEY.1, Mark { position: 3, may_come_again: false }));
        assert_eq!(memory.claim(KEY, "one", "first", None), spent(3, false));
        assert_eq!(memory.claim(KEY, "one", "first", Some(3)), Claim::New);
        proposed("first", 7, &mut memory);
        memory.close("first", false);
        assert_eq!(memory.claim(KEY, "one", "second", Some(3)), Claim::Same("first".into()));
        assert_eq!(memory.claim(KEY, "one", "second", None), Claim::Same("first".into()));
    }
}
