//! What the host's ledger says, kept in memory: the fold of its events.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use cmdop_contract::effect::{Class, class};
use cmdop_contract::v1::{Event, Observation, ObservedEffect, Outcome, Permit, Report, Stage, Unobserved, event};
use prost::Message;

use super::refusal::{not_valid, preview_lost};
use super::{is_harmless, may_contact};
use crate::Error;

/// How long what is over is remembered after its permit expired. A permit is refused by its expiry
/// alone then, and a server that asks so late is told that the host forgot.
const RETENTION_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// What is known of one permit.
#[derive(Debug)]
pub(super) enum Seen {
    Noted,
    Reported(Box<Report>),
}

#[derive(Debug)]
struct Record {
    permit: Permit,
    seen: Seen,
    is_acknowledged: bool,
    /// An earlier life noted it.
    is_earlier: bool,
}

impl Record {
    /// Did something come of it that the same key must not bring about again, or may it still?
    fn may_have_acted(&self) -> bool {
        if is_harmless(&self.permit) && !may_contact(&self.permit) {
            return false;
        }
        match &self.seen {
            Seen::Noted => true,
            Seen::Reported(report) => {
                report.outcome() != Outcome::NotApplied || report.observation.as_ref().is_some_and(tells_of_contacts)
            }
        }
    }
}

fn tells_of_contacts(observation: &Observation) -> bool {
    let mut seen = observation.effects.iter().map(ObservedEffect::kind);
    let mut unseen = observation.unobserved.iter().map(Unobserved::kind);
    seen.any(|kind| class(kind) == Class::Contact) || unseen.any(|kind| class(kind) == Class::Contact)
}

/// Everything that decides whether a permit may run.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By number of arrival, so that reports are sent again in order.
    records: BTreeMap<u64, Record>,
    by_id: HashMap<String, u64>,
    /// Each attempt of a call has at most one permit per stage.
    stages: HashSet<(String, u32, i32)>,
    /// Numbers of the records under each idempotency key, by tenant and key.
    keys: HashMap<(String, String), Vec<u64>>,
    /// Digest of the observation of each held layer, by call.
    layers: HashMap<String, String>,
    /// Nothing that expired before is known any more, so none of it is new, whatever the clock says now.
    forgotten: i64,
    next: u64,
}

impl Memory {
    /// Takes an event of an earlier life.
    pub(super) fn take(&mut self, event: Event) {
        match event.kind {
            Some(event::Kind::PermitNoted(noted)) => {
                let signed = noted.permit.unwrap_or_default();
                // It was checked before it was noted.
                if let Ok(permit) = Permit::decode(signed.permit.as_slice()) {
                    self.note(&permit);
                    if let Some(record) = self.record(&permit.permit_id) {
                        record.is_earlier = true;
                    }
                }
            }
            Some(event::Kind::PermitReported(reported)) => self.report(reported.report.unwrap_or_default()),
            Some(event::Kind::LayerDropped(dropped)) => self.drop_layer(&dropped.call_id),
            Some(event::Kind::ReportAcknowledged(acknowledged)) => {
                self.acknowledge(&acknowledged.permit_id);
            }
            _ => {}
        }
    }

    pub(super) fn seen(&self, permit_id: &str) -> Option<&Seen> {
        self.by_id.get(permit_id).and_then(|number| self.records.get(number)).map(|record| &record.seen)
    }

    /// Checks a permit against what happened before.
    pub(super) fn check(&self, permit: &Permit) -> Result<(), Error> {
        if permit.expires_at < self.forgotten {
            return Err(not_valid("it is older than what this host remembers"));
        }
        if self.stages.contains(&stage_of(permit)) {
            return Err(not_valid("this attempt of the call has run under another permit"));
        }
        let mut under = self.keys.get(&key_of(permit)).into_iter().flatten().filter_map(|it| self.records.get(it));
        if under.any(|record| record.permit.call_id != permit.call_id && record.may_have_acted()) {
            return Err(not_valid("another call acted under its idempotency key, or may have"));
        }
        if permit.stage() == Stage::Commit {
            match self.layers.get(&permit.call_id) {
                None => return Err(preview_lost("the host no longer holds the preview")),
                Some(digest) if *digest != permit.preview_digest => {
                    return Err(not_valid("it is for another diff than the one that is held"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn note(&mut self, permit: &Permit) {
        self.next += 1;
        self.by_id.insert(permit.permit_id.clone(), self.next);
        self.stages.insert(stage_of(permit));
        self.keys.entry(key_of(permit)).or_default().push(self.next);
        if permit.stage() == Stage::Commit {
            // Whatever becomes of it: a layer is committed at most once.
            self.layers.remove(&permit.call_id);
        }
        let record = Record { permit: permit.clone(), seen: Seen::Noted, is_acknowledged: false, is_earlier: false };
        self.records.insert(self.next, record);
    }

    /// Takes back a note that did not become durable. The layer of a commit stays lost: the ledger
    /// takes no more records until a restart anyway.
    pub(super) fn unnote(&mut self, permit: &Permit) {
        if let Some(number) = self.by_id.get(&permit.permit_id) {
            self.forget(*number);
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        if report.layer_held {
            let digest = report.observation.as_ref().map_or_else(String::new, |observed| observed.digest.clone());
            self.layers.insert(report.call_id.clone(), digest);
        }
        if let Some(record) = self.record(&report.permit_id.clone()) {
            record.seen = Seen::Reported(Box::new(report));
            // An unknown outcome may be settled later: that is news again.
            record.is_acknowledged = false;
        }
    }

    pub(super) fn drop_layer(&mut self, call_id: &str) {
        self.layers.remove(call_id);
    }

    /// The call of the report, if it was not acknowledged before.
    pub(super) fn acknowledge(&mut self, permit_id: &str) -> Option<String> {
        let record = self.record(permit_id)?;
        if record.is_acknowledged || matches!(record.seen, Seen::Noted) {
            return None;
        }
        record.is_acknowledged = true;
        Some(record.permit.call_id.clone())
    }

    pub(super) fn unacknowledged(&self) -> Vec<Report> {
        let waiting = self.records.values().filter(|record| !record.is_acknowledged);
        waiting
            .filter_map(|record| match &record.seen {
                Seen::Reported(report) => Some((**report).clone()),
                Seen::Noted => None,
            })
            .collect()
    }

    /// What an earlier life noted and never reported, or could not tell the outcome of.
    pub(super) fn interrupted(&self) -> Vec<Permit> {
        let is_open = |record: &&Record| match &record.seen {
            _ if !record.is_earlier => false,
            Seen::Noted => true,
            Seen::Reported(report) => report.outcome() == Outcome::Unknown,
        };
        self.records.values().filter(is_open).map(|record| record.permit.clone()).collect()
    }

    pub(super) fn held(&self) -> Vec<String> {
        self.layers.keys().cloned().collect()
    }

    pub(super) fn is_held(&self, call_id: &str) -> bool {
        self.layers.contains_key(call_id)
    }

    /// Forgets what is over, acknowledged and long expired.
    pub(super) fn forget_before(&mut self, now: i64) {
        let forgotten = now.saturating_sub(RETENTION_NS);
        self.forgotten = forgotten.max(self.forgotten);
        let is_over = |record: &Record| record.is_acknowledged && record.permit.expires_at < forgotten;
        let over: Vec<_> =
            self.records.iter().filter(|(_, record)| is_over(record)).map(|(number, _)| *number).collect();
        for number in over {
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(Record { permit, .. }) = self.records.remove(&number) else { return };
        self.by_id.remove(&permit.permit_id);
        self.stages.remove(&stage_of(&permit));
        if let Entry::Occupied(mut under) = self.keys.entry(key_of(&permit)) {
            under.get_mut().retain(|it| *it != number);
            if under.get().is_empty() {
                under.remove();
            }
        }
    }

    fn record(&mut self, permit_id: &str) -> Option<&mut Record> {
        self.by_id.get(permit_id).and_then(|number| self.records.get_mut(number))
    }
}

fn stage_of(permit: &Permit) -> (String, u32, i32) {
    (permit.call_id.clone(), permit.attempt, permit.stage)
}

fn key_of(permit: &Permit) -> (String, String) {
    let tenant = permit.actor.as_ref().map_or("", |actor| actor.tenant.as_str());
    (tenant.to_owned(), permit.idempotency_key.clone())
}

#[cfg(test)]
mod tests {
    use cmdop_contract::v1::Reason;

    use super::*;

    #[test]
    fn what_was_forgotten_is_not_new_when_the_clock_is_set_back() {
        let mut memory = Memory::default();
        let permit = Permit { permit_id: "p".into(), call_id: "c".into(), expires_at: 100, ..Permit::default() };
        memory.check(&permit).expect("it is new");
        memory.note(&permit);
        memory.report(Report { permit_id: "p".into(), ..Report::default() });
        memory.acknowledge("p");
        memory.forget_before(100 + RETENTION_NS);
        assert!(memory.seen("p").is_some());
        memory.forget_before(101 + RETENTION_NS);
        assert!(memory.seen("p").is_none());
        memory.forget_before(50);
        assert_eq!(memory.check(&permit).expect_err("it ran").reason(), Reason::PermitInvalid);
        memory.check(&Permit { expires_at: 101, ..permit }).expect("nothing of its time is forgotten");
    }
}
