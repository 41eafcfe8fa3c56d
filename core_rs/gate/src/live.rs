//! Calls that are not settled: how others reach their drivers and follow them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cmdop_contract::v1::{self, Approval, Call, CallState};
use tokio::sync::{mpsc, watch};

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
    },
    /// Its host attached again.
    Attached,
    /// Its host went away.
    Detached,
    Decided(Box<Approval>),
    /// Calls are decided by another policy from now on.
    PolicyChanged,
    Cancel {
        why: String,
    },
}

/// How far a call has come, as those who wait for it see it.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) call: Arc<Call>,
    /// The host started since. This changes nothing of a call but its state, and most calls are over
    /// before anyone looks: the document is not made anew for it.
    pub(crate) running: bool,
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
        let (progress_tx, progress_rx) = watch::channel(Progress { call: call.clone(), running: false, failure: None });
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

    /// From now on every step is told to who follows.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Release);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }
}

impl Progress {
    pub(crate) fn state(&self) -> CallState {
        match self.call.state() {
            CallState::Permitted if self.running => CallState::Running,
            state => state,
        }
    }

    /// The call's document as of now.
    pub(crate) fn document(&self) -> Arc<Call> {
        let state = self.state();
        if state == self.call.state() {
            return self.call.clone();
        }
        Arc::new(Call { state: state.into(), ..Call::clone(&self.call) })
    }
}
