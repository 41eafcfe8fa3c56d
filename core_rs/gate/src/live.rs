//! Calls that are not settled: how others reach their drivers and follow them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cmdop_contract::v1::{self, Approval, Call, CallState, Reconciliation};
use tokio::sync::{mpsc, oneshot, watch};

use crate::output::OutputHub;

/// Inputs that may wait for a driver. More can only come from a host that repeats itself.
const INPUT_QUEUE: usize = 64;

/// What can happen to a call from outside.
pub(crate) enum Input {
    Started {
        permit_id: String,
    },
    Report(Box<v1::Report>),
    Forgotten {
        permit_id: String,
        /// Which ledger of the host that is.
        ledger: i64,
    },
    /// Its host attached again.
    Attached,
    /// Its host went away.
    Detached,
    Decided(Box<Approval>),
    /// What a person wants done instead, with its secrets. Their answer follows.
    Instead(Box<v1::Action>),
    /// Its host is frozen.
    Frozen,
    /// Calls are decided by another policy from now on.
    PolicyChanged,
    /// A person ended its run or session.
    Terminated,
    Cancel {
        why: String,
    },
    /// A person says what became of it.
    Reconciled(Box<Found>),
}

/// What a person found of a call whose outcome was unknown.
pub(crate) struct Found {
    pub(crate) word: Reconciliation,
    /// Told once it is durable; dropped where nothing is unknown.
    pub(crate) taken: oneshot::Sender<Arc<Call>>,
}

/// How far a call has come, as those who wait for it see it.
#[derive(Clone)]
pub(crate) struct Progress {
    /// The call's document. While nobody watches it stays as it was at first: most calls are over before
    /// anyone looks, and what is shown must be copied to be changed.
    pub(crate) call: Arc<Call>,
    /// The state now.
    pub(crate) state: CallState,
    /// The document is not that of the last durable step.
    pub(crate) lags: bool,
    /// Set if the call could not be taken, or could not be recorded.
    pub(crate) failure: Option<v1::Error>,
}

/// The outside of a driver.
pub(crate) struct Live {
    pub(crate) call_id: String,
    pub(crate) host: String,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) output: OutputHub,
    /// Someone wants to hear of every step, not only of the ends that most wait for.
    watched: AtomicBool,
}

/// The inside of a driver.
pub(crate) struct Reins {
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) progress: watch::Sender<Progress>,
}

impl Live {
    pub(crate) fn new(call: Arc<Call>) -> (Arc<Self>, Reins) {
        let (input_tx, input_rx) = mpsc::channel(INPUT_QUEUE);
        let (progress_tx, progress_rx) = watch::channel(Progress::of(call.clone()));
        let host =
            call.proposal.as_ref().and_then(|proposal| proposal.action.as_ref()).map(|action| action.host.clone());
        let live = Self {
            call_id: call.call_id.clone(),
            host: host.unwrap_or_default(),
            inputs: input_tx,
            progress: progress_rx,
            output: OutputHub::new(),
            watched: AtomicBool::new(false),
        };
        (Arc::new(live), Reins { inputs: input_rx, progress: progress_tx })
    }

    /// Who proposed it.
    pub(crate) fn actor(&self) -> Option<v1::Actor> {
        self.progress.borrow().call.proposal.as_ref()?.actor.clone()
    }

    /// From now on every step is told to who follows.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Release);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }
}

impl Progress {
    /// How far a call is of which this is all.
    pub(crate) fn of(call: Arc<Call>) -> Self {
        Self { state: call.state(), call, lags: false, failure: None }
    }

    /// The call's document in the state that it has now.
    pub(crate) fn document(&self) -> Arc<Call> {
        in_state(&self.call, self.state)
    }

    /// The same, of what was recorded while the document here lagged behind.
    pub(crate) fn document_from(&self, recorded: &Arc<Call>) -> Arc<Call> {
        // That the host started is recorded later; any other step is recorded before it is told.
        let begun = self.state == CallState::Running && recorded.state() == CallState::Permitted;
        if begun { in_state(recorded, self.state) } else { recorded.clone() }
    }
}

fn in_state(call: &Arc<Call>, state: CallState) -> Arc<Call> {
    if call.state() == state { call.clone() } else { Arc::new(Call { state: state.into(), ..Call::clone(call) }) }
}
