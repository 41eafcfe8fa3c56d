//! Admission: the only way from a signed permit to the machine.
//!
//! [`Keys`] checks a permit and makes it durable in the host's own ledger. Only then is there an
//! [`Admitted`], and only an `Admitted` opens a door to the machine:
//!
//! ```
//! fn run(native: &cmdop_host::native::Native, admitted: &cmdop_host::Admitted) {
//!     let _done = native.apply(admitted);
//! }
//! ```
//!
//! A permit alone does not:
//!
//! ```compile_fail,E0308
//! fn run(native: &cmdop_host::native::Native, admitted: &cmdop_contract::v1::Permit) {
//!     let _done = native.apply(admitted);
//! }
//! ```
//!
//! ```
//! fn run(admitted: &cmdop_host::Admitted, layer: &std::path::Path, journals: &cmdop_host::journal::Journals) {
//!     let _applied = cmdop_host::commit::commit(admitted, layer, journals);
//! }
//! ```
//!
//! ```compile_fail,E0308
//! fn run(admitted: &cmdop_contract::v1::Permit, layer: &std::path::Path, journals: &cmdop_host::journal::Journals) {
//!     let _applied = cmdop_host::commit::commit(admitted, layer, journals);
//! }
//! ```
//!
//! ```
//! # use cmdop_host::{Spawner, exec::{self, Command}, sandbox::Layer};
//! # use tokio_util::sync::CancellationToken as Stop;
//! async fn run(spawner: &Spawner, admitted: &cmdop_host::Admitted, layer: &Layer, command: &Command, stop: &Stop) {
//!     let _finished = exec::run(spawner, admitted, layer, command, stop, |_, _| {}).await;
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use cmdop_host::{Spawner, exec::{self, Command}, sandbox::Layer};
//! # use tokio_util::sync::CancellationToken as Stop;
//! async fn run(spawner: &Spawner, admitted: &cmdop_contract::v1::Permit, layer: &Layer, command: &Command, stop: &Stop) {
//!     let _finished = exec::run(spawner, admitted, layer, command, stop, |_, _| {}).await;
//! }
//! ```
//!
//! What an earlier life left is brought to rest only by what [`Keys`] found in the ledger, and only at a start:
//!
//! ```
//! # use cmdop_host::{admit::{Interrupted, Start}, journal::Journals};
//! fn rest(journals: &Journals, interrupted: &Interrupted, start: &Start) {
//!     let _became = journals.recover(interrupted);
//!     let _became = journals.recover_undo("call", interrupted);
//!     journals.settle_all(start);
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use cmdop_host::journal::Journals;
//! fn rest(journals: &Journals, permit: &cmdop_contract::v1::Permit) {
//!     let _became = journals.recover(permit);
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use cmdop_host::journal::Journals;
//! fn rest(journals: &Journals, permit: &cmdop_contract::v1::Permit) {
//!     let _became = journals.recover_undo("call", permit);
//! }
//! ```
//!
//! ```compile_fail,E0061
//! # use cmdop_host::journal::Journals;
//! fn rest(journals: &Journals) {
//!     journals.settle_all();
//! }
//! ```
//!
//! ```compile_fail,E0423
//! fn start() -> cmdop_host::admit::Start {
//!     cmdop_host::admit::Start(())
//! }
//! ```
//!
//! ```compile_fail,E0451
//! fn interrupted(permit: cmdop_contract::v1::Permit) -> cmdop_host::admit::Interrupted {
//!     cmdop_host::admit::Interrupted { permit }
//! }
//! ```
//!
//! ```compile_fail,E0624
//! # use cmdop_contract::v1::PermittedEffect;
//! async fn contact(effects: &[PermittedEffect]) {
//!     let _network = cmdop_host::network::Network::open("call", effects, &[]).await;
//! }
//! ```
//!
//! Reading what was admitted is free, and making one outside is impossible:
//!
//! ```
//! fn id(admitted: &cmdop_host::Admitted) -> cmdop_contract::v1::Permit {
//!     cmdop_contract::v1::Permit { ..(**admitted).clone() }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! fn id(admitted: &cmdop_host::Admitted) -> cmdop_host::Admitted {
//!     cmdop_host::Admitted { permit: Box::new((**admitted).clone()) }
//! }
//! ```
//!
//! Nor can one be doubled:
//!
//! ```
//! fn double(admitted: &cmdop_host::Admitted) -> String {
//!     admitted.permit_id.clone()
//! }
//! ```
//!
//! ```compile_fail,E0308
//! fn double(admitted: &cmdop_host::Admitted) -> cmdop_host::Admitted {
//!     admitted.clone()
//! }
//! ```

mod memory;
mod refusal;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cmdop_contract::effect::{Class, class, is_held_back};
use cmdop_contract::redact::Redacted;
use cmdop_contract::v1::{
    self, Event, LayerDropped, Outcome, Permit, PermitNoted, PermitReported, Report, ReportAcknowledged, SignedPermit,
    Stage, event,
};
use cmdop_ledger::log::Log;
use cmdop_ledger::permit::{PermitError, verify};
use parking_lot::Mutex;
use prost::Message;

use crate::Error;
use memory::{Memory, Seen};
#[cfg(not(portable))]
pub(crate) use refusal::contacts as unseen_contacts;

/// Tools that only look: those whose contracts are `pure`, which a test holds this to.
const LOOKS: [&str; 8] = [
    "deploy.plan",
    "files.list",
    "files.read",
    "files.search",
    "files.stat",
    "process.list",
    "service.logs",
    "service.status",
];

/// Time between two tries to record something while the disk is full.
const FULL: Duration = Duration::from_millis(500);

/// A permit that this host checked and durably noted, for one execution.
///
/// Every function that touches the machine takes one. It is neither `Clone` nor `Copy`.
#[derive(Debug)]
pub struct Admitted {
    permit: Box<Permit>,
}

impl Admitted {
    /// For tests of this crate that are not about admission.
    #[cfg(test)]
    pub(crate) fn for_tests(permit: Permit) -> Self {
        Self { permit: Box::new(permit) }
    }
}

impl Deref for Admitted {
    type Target = Permit;

    fn deref(&self) -> &Permit {
        &self.permit
    }
}

/// An admitted permit of an earlier life whose outcome is not known: good for finding out what became
/// of it, not for running it again.
#[derive(Debug)]
pub struct Interrupted {
    permit: Permit,
}

/// What was found out about something that an earlier life left.
#[derive(Debug, Clone)]
pub struct Became {
    /// Whether its effects are on the machine.
    pub outcome: Outcome,
    /// What is to be told of it beside that its result is lost.
    pub error: Option<v1::Error>,
}

impl From<Outcome> for Became {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, error: None }
    }
}

impl Interrupted {
    /// For tests of this crate that are not about admission.
    #[cfg(test)]
    pub(crate) fn for_tests(permit: Permit) -> Self {
        Self { permit }
    }

    /// The permit.
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }
}

/// The start of a host, when nothing is at work yet: good for bringing to rest what an earlier life left.
///
/// Each opening of the host's own ledger, which no other process can have open, gives one and no second.
#[derive(Debug)]
pub struct Start(());

/// What became of a permit that came.
#[derive(Debug)]
pub enum Admission {
    /// It is good and was never seen: it may run, once.
    Fresh(Admitted),
    /// It came before, and this is what became of it.
    Settled(Box<Report>),
    /// It came before and runs now; its report follows.
    Running,
}

/// What the host knows of a permit.
#[derive(Debug)]
pub enum Known {
    /// This became of it.
    Settled(Box<Report>),
    /// It runs now.
    Running,
    /// It was never noted: it never started.
    Nothing,
}

/// The host's own durable ledger: which permits it noted, and what became of them.
///
/// A cheap handle.
#[derive(Debug, Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: String,
    key: [u8; 32],
    log: Log,
    memory: Mutex<Memory>,
    /// True once [`Keys::start`] gave what it gives.
    is_started: AtomicBool,
}

impl Keys {
    /// Opens the ledger of the host `host` in a directory. `key` verifies the server's permits.
    ///
    /// # Errors
    /// A broken or locked ledger; `INVALID_CONFIGURATION` if the key is not 32 bytes.
    pub fn open(dir: &Path, host: &str, key: &[u8]) -> Result<Self, Error> {
        let key = key.try_into().map_err(|_| refusal::bad_key(key.len()))?;
        let mut memory = Memory::default();
        let mut latest = 0;
        let (log, _) = Log::open(dir, |_, record| {
            // What is not understood was written by a newer host: forgetting it could run it twice.
            let event = Event::decode(record).map_err(|error| refusal::unreadable(&error))?;
            latest = event.at.max(latest);
            memory.take(event);
            Ok(())
        })?;
        // A clock that is ahead for once makes nothing be forgotten.
        memory.forget_before(latest.min(cmdop_ledger::now()));
        let (host, memory) = (host.to_owned(), Mutex::new(memory));
        Ok(Self { inner: Arc::new(Inner { host, key, log, memory, is_started: AtomicBool::new(false) }) })
    }

    /// Checks a permit and notes it durably.
    ///
    /// # Errors
    /// Why it does not run: `PERMIT_INVALID`, `PREVIEW_LOST`, or `HOST_STORAGE_FULL` and
    /// `STORAGE_ERROR` if it could not be noted. Nothing was done.
    pub async fn admit(&self, signed: &SignedPermit) -> Result<Admission, Error> {
        let inner = &*self.inner;
        let permit = match verify(signed, &inner.key, &inner.host, cmdop_ledger::now()) {
            Ok(verified) => verified.into_inner(),
            Err(PermitError::Expired) => return self.expired(signed),
            Err(error) => return Err(refusal::not_valid(&error.to_string())),
        };
        refusal::check(&permit)?;
        if permit.ledger != 0 && permit.ledger != self.since() {
            return Err(refusal::not_valid("it is for another ledger of this host"));
        }
        {
            let mut memory = inner.memory.lock();
            match memory.seen(&permit.permit_id) {
                Some(Seen::Reported(report)) => return Ok(Admission::Settled(report.clone())),
                Some(Seen::Noted) => return Ok(Admission::Running),
                None => {}
            }
            memory.check(&permit)?;
            memory.note(&permit);
        }
        let noted = PermitNoted { permit: Some(signed.clone()) };
        let event = recorded(&permit.call_id, event::Kind::PermitNoted(noted));
        let durable = inner.log.append_sparing(vec![event]).await.map_err(Error::from);
        if let Err(error) = durable {
            inner.memory.lock().unnote(&permit);
            return Err(error);
        }
        Ok(Admission::Fresh(Admitted { permit: Box::new(permit) }))
    }

    /// A permit that ran while it was valid still has its answer.
    fn expired(&self, signed: &SignedPermit) -> Result<Admission, Error> {
        let permit = Permit::decode(signed.permit.as_slice()).unwrap_or_default();
        match self.inner.memory.lock().seen(&permit.permit_id) {
            Some(Seen::Reported(report)) => Ok(Admission::Settled(report.clone())),
            Some(Seen::Noted) => Ok(Admission::Running),
            None => Err(refusal::not_valid(&PermitError::Expired.to_string())),
        }
    }

    /// Since when this ledger is kept, in nanoseconds since 1970, which names it. Of what was permitted for another one
    /// it knows nothing.
    #[must_use]
    pub fn since(&self) -> i64 {
        self.inner.log.born()
    }

    /// What became of a permit.
    #[must_use]
    pub fn inquire(&self, permit_id: &str) -> Known {
        match self.inner.memory.lock().seen(permit_id) {
            Some(Seen::Reported(report)) => Known::Settled(report.clone()),
            Some(Seen::Noted) => Known::Running,
            None => Known::Nothing,
        }
    }

    /// Makes a report durable. Only after this may anyone hear of it. A report for which the disk has no
    /// room, not even in the ledger's reserve, waits for it.
    ///
    /// # Errors
    /// `STORAGE_ERROR`: the report may be lost, and the outcome is then unknown after a restart.
    pub async fn report(&self, report: Report) -> Result<(), Error> {
        let reported = PermitReported { report: Some(report.clone()) };
        self.append(&report.call_id, event::Kind::PermitReported(reported)).await?;
        self.inner.memory.lock().report(report);
        Ok(())
    }

    /// Notes that a held layer is gone.
    ///
    /// # Errors
    /// `STORAGE_ERROR`.
    pub async fn layer_dropped(&self, call_id: &str, why: &str) -> Result<(), Error> {
        self.inner.memory.lock().drop_layer(call_id);
        let dropped = LayerDropped { call_id: call_id.to_owned(), why: why.to_owned() };
        self.append(call_id, event::Kind::LayerDropped(dropped)).await
    }

    /// Notes that the server has a report.
    ///
    /// # Errors
    /// `STORAGE_ERROR`.
    pub async fn acknowledged(&self, permit_id: &str) -> Result<(), Error> {
        let Some(call_id) = self.inner.memory.lock().acknowledge(permit_id) else { return Ok(()) };
        let acknowledged = ReportAcknowledged { permit_id: permit_id.to_owned() };
        self.append(&call_id, event::Kind::ReportAcknowledged(acknowledged)).await
    }

    /// Reports that the server has not acknowledged, oldest first.
    #[must_use]
    pub fn unacknowledged(&self) -> Vec<Report> {
        self.inner.memory.lock().unacknowledged()
    }

    /// Permits that an earlier life noted, and never reported or could not tell the outcome of.
    #[must_use]
    pub fn interrupted(&self) -> Vec<Interrupted> {
        let interrupted = self.inner.memory.lock().interrupted();
        interrupted.into_iter().map(|permit| Interrupted { permit }).collect()
    }

    /// The start of this host, the first time and no other.
    #[must_use]
    pub fn start(&self) -> Option<Start> {
        (!self.inner.is_started.swap(true, Ordering::AcqRel)).then_some(Start(()))
    }

    /// Calls whose preview is held, by id.
    #[must_use]
    pub fn held(&self) -> Vec<String> {
        self.inner.memory.lock().held()
    }

    /// True if the call's preview is held and not being committed.
    #[must_use]
    pub fn is_held(&self, call_id: &str) -> bool {
        self.inner.memory.lock().is_held(call_id)
    }

    /// Settles what an earlier life left without a report. `settled` may have found out what became
    /// of one; else everything that could have changed the machine is unknown.
    ///
    /// # Errors
    /// `STORAGE_ERROR`.
    pub async fn settle_interrupted(&self, settled: impl Fn(&Interrupted) -> Option<Became>) -> Result<(), Error> {
        for interrupted in self.interrupted() {
            let found = settled(&interrupted);
            if found.is_none() && matches!(self.inquire(&interrupted.permit.permit_id), Known::Settled(_)) {
                // Unknown as before.
                continue;
            }
            let report = refusal::interrupted(&interrupted.permit, found);
            tracing::warn!(permit = report.permit_id, outcome = ?report.outcome(), "settled what an earlier life left");
            self.report(report).await?;
        }
        Ok(())
    }

    /// Records what became of something.
    async fn append(&self, subject: &str, kind: event::Kind) -> Result<(), Error> {
        let event = recorded(subject, kind);
        loop {
            match self.inner.log.append(vec![event.clone()]).await {
                Err(cmdop_ledger::Error::Full(_)) => tokio::time::sleep(FULL).await,
                appended => return Ok(appended.map(|_| ())?),
            }
        }
    }
}

fn recorded(subject: &str, kind: event::Kind) -> Vec<u8> {
    let event = Event { at: cmdop_ledger::now(), subject: subject.to_owned(), kind: Some(kind) };
    Redacted::of(event).encode_to_vec()
}

/// True if the stage changes nothing of the machine.
fn is_harmless(permit: &Permit) -> bool {
    permit.stage() == Stage::Preview || LOOKS.contains(&tool(permit))
}

/// May somebody be contacted? Tools that plan their contacts make none in a preview.
fn may_contact(permit: &Permit) -> bool {
    let waits = |kind| permit.stage() == Stage::Preview && is_held_back(tool(permit), kind);
    permit.effects.iter().any(|effect| class(effect.kind()) == Class::Contact && !waits(effect.kind()))
}

fn tool(permit: &Permit) -> &str {
    permit.action.as_ref().map_or("", |action| &action.tool)
}

#[cfg(test)]
mod tests {
    use cmdop_contract::tool::Registry;
    use cmdop_contract::v1::Idempotency;

    use super::*;

    #[test]
    fn only_those_look_whose_contracts_say_so() {
        let registry = Registry::builtin();
        let pure = registry.list().filter(|tool| tool.contract().idempotency() == Idempotency::Pure);
        assert_eq!(pure.map(|tool| tool.name()).collect::<Vec<_>>(), LOOKS);
    }
}
