//! The driver of one call: it takes the call from state to state until it is settled.
//!
//! One task per open call owns the call's document and its queue of inputs. Every state knows what
//! it waits for, so a driver can start in any of them: after a restart the ledger's open calls get
//! drivers that go on where the last life stopped.

mod decide;
mod execute;
mod held;
mod reconcile;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::redact::{self, Known, Redacted};
use cmdop_contract::v1::{self, Call, CallState, Event, Reason, event, server_to_host};
use cmdop_contract::{fold, reason};
use cmdop_ledger::Entry;
use futures::FutureExt;
use tokio::sync::watch;

use crate::gate::Gate;
use crate::live::{Input, Live, Progress, Reins};
use crate::output::OutputReader;
use decide::Considered;
pub(crate) use reconcile::awaits_measurement;

/// Time between two tries to record what became of a call while the disk is full.
const FULL: Duration = Duration::from_millis(500);

/// A claim on a call's answer. Dropping it does not stop the call.
pub struct Ticket {
    progress: watch::Receiver<Progress>,
    live: Option<Arc<Live>>,
    /// The call as it was recorded, for as long as its driver has shown nobody how far it is.
    recorded: Option<Arc<Call>>,
}

impl Ticket {
    /// A ticket for whoever waits for an end.
    pub(crate) fn wait(live: Arc<Live>) -> Self {
        Self { progress: live.progress.clone(), live: Some(live), recorded: None }
    }

    /// A ticket for whoever wants every step from now on.
    pub(crate) fn follow(live: Arc<Live>) -> Self {
        live.watch();
        Self::wait(live)
    }

    /// A ticket for a call that is settled already.
    pub(crate) fn settled(call: Call) -> Self {
        let (_, progress) = watch::channel(Progress::of(Arc::new(call)));
        Self { progress, live: None, recorded: None }
    }

    /// Has the call taken steps that were shown to nobody, because nobody watched?
    pub(crate) fn lags(&self) -> bool {
        self.progress.borrow().lags
    }

    /// With what the ledger says of it, which a watcher must be shown first.
    pub(crate) fn caught_up(self, call: Call) -> Self {
        Self { recorded: Some(Arc::new(call)), ..self }
    }

    /// Id of the call.
    #[must_use]
    pub fn call_id(&self) -> String {
        self.progress.borrow().call.call_id.clone()
    }

    /// The call as it is now. Whoever only waits for its end sees how far it is, and the rest of it at the end.
    #[must_use]
    pub fn now(&self) -> Arc<Call> {
        let seen = self.progress.borrow();
        match &self.recorded {
            Some(recorded) if seen.lags => seen.document_from(recorded),
            _ => seen.document(),
        }
    }

    /// Its output from a sequence number on; `None` once the call is settled.
    #[must_use]
    pub fn output(&self, from: u64) -> Option<OutputReader> {
        self.live.as_ref().map(|live| live.output.reader(from))
    }

    /// Waits until the call is settled, unknown, or held for a person.
    ///
    /// # Errors
    /// Why the call could not be taken or recorded.
    pub async fn held_or_settled(&mut self) -> Result<Arc<Call>, v1::Error> {
        self.until(|state| is_over(state) || is_held(state)).await
    }

    /// Waits until the call is settled or unknown.
    ///
    /// # Errors
    /// Why the call could not be taken or recorded.
    pub async fn settled_or_unknown(&mut self) -> Result<Arc<Call>, v1::Error> {
        self.until(is_over).await
    }

    /// Waits for the next change; `None` when nothing more will come.
    pub async fn changed(&mut self) -> Option<Arc<Call>> {
        self.live.as_ref()?.watch();
        self.progress.changed().await.ok()?;
        Some(self.progress.borrow_and_update().document())
    }

    async fn until(&mut self, reached: impl Fn(CallState) -> bool) -> Result<Arc<Call>, v1::Error> {
        // An end is always shown whole.
        let waited = self.progress.wait_for(|seen| seen.failure.is_some() || reached(seen.state)).await;
        match waited.as_deref() {
            Ok(Progress { failure: Some(failure), .. }) => Err(failure.clone()),
            Ok(seen) => Ok(seen.call.clone()),
            // The driver is gone without a final word: the server stops.
            Err(_) => Err(reason::error(Reason::Draining, "the server is stopping; ask again with the same key")),
        }
    }
}

fn is_held(state: CallState) -> bool {
    matches!(state, CallState::Held | CallState::DiffHeld)
}

pub(crate) fn is_over(state: CallState) -> bool {
    matches!(state, CallState::Applied | CallState::NotApplied | CallState::Unknown)
}

/// What a call that was proposed just now begins with.
pub(crate) struct Fresh {
    /// Its proposal as it is recorded.
    pub(crate) entry: Entry,
    /// The proposal as it came, if it is too large to be recorded. It is refused.
    pub(crate) oversized: Option<Box<v1::Proposal>>,
    /// The proposal as it came, if it has secrets, which are not recorded.
    pub(crate) whole: Option<Box<v1::Proposal>>,
}

/// Takes one call to its end.
pub(crate) struct Driver {
    gate: Gate,
    live: Arc<Live>,
    reins: Reins,
    /// The document is copied only when it changes after someone was shown it.
    call: Arc<Call>,
    /// The host's note that it started, which waits for the next change of the document.
    begun: Option<Box<Event>>,
    /// What happened and is not durable yet, in order.
    pending: Vec<Entry>,
    /// The ledger knows of the call: whatever becomes of it is recorded, however long that takes.
    is_recorded: bool,
    /// Reports to acknowledge once `pending` is durable.
    unacknowledged: Vec<String>,
    considered: Option<Box<Considered>>,
    oversized: Option<Box<v1::Proposal>>,
    /// What was proposed, if it has secrets: nobody but this driver knows them, for as long as it lives.
    whole: Option<Box<v1::Proposal>>,
    /// Its secrets, wherever they come again.
    known: Known,
    /// What a person wants done instead, with its secrets.
    instead: Option<Box<v1::Action>>,
    /// The permit that this life handed to the host, or asked it about.
    dispatched: Option<String>,
    /// The permit that the host said it started.
    started: Option<String>,
    /// The host reported that it cannot tell the outcome, and that is recorded.
    evidence: bool,
    /// The call that a person put in this one's place.
    replaced_by: Option<String>,
    /// The person by whose word it is settled.
    reconciliation: Option<v1::Reconciliation>,
    /// Why someone wants this call to stop. It holds until the call is settled.
    cancelled: Option<v1::Error>,
}

impl Driver {
    pub(crate) fn new(gate: Gate, live: Arc<Live>, reins: Reins, call: Arc<Call>, fresh: Option<Fresh>) -> Box<Self> {
        let (proposed, oversized, whole) =
            fresh.map_or((None, None, None), |fresh| (Some(fresh.entry), fresh.oversized, fresh.whole));
        let proposed_action = whole.as_ref().and_then(|whole| whole.action.as_ref());
        Box::new(Self {
            known: proposed_action.map(redact::known).unwrap_or_default(),
            gate,
            live,
            reins,
            call,
            begun: None,
            is_recorded: proposed.is_none(),
            pending: proposed.into_iter().collect(),
            unacknowledged: Vec::new(),
            considered: None,
            oversized,
            whole,
            instead: None,
            dispatched: None,
            started: None,
            evidence: false,
            replaced_by: None,
            reconciliation: None,
            cancelled: None,
        })
    }

    pub(crate) async fn run(mut self: Box<Self>) {
        // A defect ends one call, whose caller hears of it: the next life takes up what is recorded.
        let driven = AssertUnwindSafe(self.drive()).catch_unwind().await;
        let failure = driven.unwrap_or_else(|_| Err(internal("whatever worked on the call failed"))).err();
        if let Some(error) = failure {
            tracing::error!(call = %self.call.call_id, state = ?self.call.state(), error = %error.message, "call left unrecorded");
            // Whoever comes with the same key again finds it free.
            if !self.is_recorded && error.reason() == Reason::StorageFull {
                self.gate.shared().ledger.release(&self.call.call_id);
            }
            self.publish(Some(error));
        }
        self.gate.retire(&self.live.call_id);
        // A report that came while a person settled the call: what it says is more than their word.
        while let Ok(input) = self.reins.inputs.try_recv() {
            if let Input::Report(report) = input {
                self.gate.answer_late(&self.live.host, &report).await;
            }
        }
    }

    /// # Errors
    /// Only what keeps the call from being recorded; everything else is an outcome.
    async fn drive(&mut self) -> Result<(), v1::Error> {
        // What few calls come to is in a box of its own: with thousands of calls, what each takes in memory is
        // what they cost.
        loop {
            match self.call.state() {
                CallState::Proposed => self.decide().await?,
                CallState::Held | CallState::DiffHeld => Box::pin(self.await_person()).await?,
                CallState::Permitted | CallState::Running | CallState::Committing | CallState::Unknown => {
                    self.await_host().await?;
                }
                CallState::Previewed => Box::pin(self.compare()).await?,
                CallState::Applied | CallState::NotApplied => return Ok(()),
                CallState::Unspecified => return Err(internal("a call without a state")),
            }
        }
    }

    /// Notes what happened. It becomes durable with the next [`Self::flush`] or permit.
    fn record(&mut self, kind: event::Kind) -> Result<(), v1::Error> {
        let event = Redacted::knowing(self.event(kind), &self.known);
        self.pending.push(Entry::from(&event));
        self.fold(event.into_inner())
    }

    /// Is this what the document of a call says already of which nobody can tell the outcome? Its host is asked in every
    /// life of the server, and may say the same each time.
    fn is_known(&self, kind: &event::Kind) -> bool {
        if self.call.state() != CallState::Unknown {
            return false;
        }
        let event = Redacted::of(self.event(kind.clone())).into_inner();
        let mut after = (*self.call).clone();
        fold::apply(&mut after, event).is_ok() && after == *self.call
    }

    fn event(&self, kind: event::Kind) -> Event {
        Event { at: self.gate.shared().ledger.now(), subject: self.call.call_id.clone(), kind: Some(kind) }
    }

    fn fold(&mut self, event: Event) -> Result<(), v1::Error> {
        let call = Arc::make_mut(&mut self.call);
        let mut events = self.begun.take().map(|begun| *begun).into_iter().chain([event]);
        events.try_for_each(|event| fold::apply(call, event)).map_err(|error| internal(&error.to_string()))
    }

    /// Makes everything recorded durable, then tells everyone.
    async fn flush(&mut self) -> Result<(), v1::Error> {
        self.store().await?;
        self.tell();
        Ok(())
    }

    async fn store(&mut self) -> Result<(), v1::Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let ledger = &self.gate.shared().ledger;
        let stored = loop {
            let stored = match self.is_recorded {
                true => ledger.append(&mut self.pending).await,
                false => ledger.append_sparing(&mut self.pending).await,
            };
            match stored {
                // What has begun has an end that somebody must hear of, once it can be recorded.
                Err(cmdop_ledger::Error::Full(_)) if self.is_recorded => tokio::time::sleep(FULL).await,
                stored => break stored,
            }
        };
        stored.map_err(|error| self.unrecorded(error))?;
        self.is_recorded = true;
        Ok(())
    }

    /// Why the call is to stop, if someone asked for it by now. Nothing else that waits in the queue
    /// matters while no permit is out: whoever asks does so right before one is made.
    fn stop_asked(&mut self) -> Option<v1::Error> {
        while let Ok(input) = self.reins.inputs.try_recv() {
            match input {
                Input::Cancel { why } => self.cancelled = Some(cancelled(&why)),
                Input::Terminated => self.cancelled = self.terminated(),
                _ => {}
            }
        }
        self.cancelled.clone()
    }

    /// Why nothing more of the call happens, if a person ended its run or session.
    fn terminated(&self) -> Option<v1::Error> {
        let actor = self.call.proposal.as_ref().and_then(|proposal| proposal.actor.as_ref())?;
        self.gate.shared().ledger.check_ended(actor).err().map(|error| *error)
    }

    /// Acknowledges a report that came again, if it is one whose permit this call is done with.
    fn acknowledge_earlier(&self, permit_id: String) {
        if self.unacknowledged.contains(&permit_id) {
            // It is, as soon as what it said is durable.
        } else if self.call.permits.iter().any(|permit| permit.permit_id == permit_id) {
            self.gate.acknowledge(&self.live.host, permit_id);
        } else {
            tracing::warn!(call = %self.call.call_id, permit = %permit_id, "a report for a permit that the call never had");
        }
    }

    /// Publishes the state and acknowledges reports, now that both are durable.
    fn tell(&mut self) {
        self.publish(None);
        for permit_id in std::mem::take(&mut self.unacknowledged) {
            self.gate.acknowledge(&self.live.host, permit_id);
        }
    }

    /// Shows how far the call is to those who wait. The document itself is shown to who watches it, and
    /// at an end.
    fn publish(&self, failure: Option<v1::Error>) {
        let state = match self.call.state() {
            CallState::Permitted if self.begun.is_some() => CallState::Running,
            state => state,
        };
        self.reins.progress.send_if_modified(|seen| {
            // Under the lock: whoever begins to watch after this finds that the document lags.
            let is_shown = failure.is_some() || is_over(state) || is_held(state) || self.live.is_watched();
            seen.state = state;
            seen.lags |= self.is_recorded;
            if is_shown {
                *seen = Progress { failure, ..Progress { state, ..Progress::of(self.call.clone()) } };
            }
            is_shown
        });
    }

    fn send(&self, frame: server_to_host::Kind) -> Result<(), v1::Error> {
        self.gate.shared().hosts.send(&self.live.host, frame)
    }

    /// What the ledger's failure means for those who wait: nothing ran, or nobody can tell.
    fn unrecorded(&self, error: cmdop_ledger::Error) -> v1::Error {
        let mut error = v1::Error::from(error);
        if self.dispatched.is_some() {
            error = reason::error(
                Reason::OutcomeUnknown,
                format!("the host was told to act, but its answer could not be recorded: {}", error.message),
            )
            .reconcile(&self.call.call_id);
        }
        error.call_id.clone_from(&self.call.call_id);
        error
    }
}

pub(crate) fn cancelled(why: &str) -> v1::Error {
    reason::error(Reason::Cancelled, format!("cancelled before anything was applied: {why}"))
}

pub(crate) fn internal(message: &str) -> v1::Error {
    reason::error(Reason::Internal, message)
}
