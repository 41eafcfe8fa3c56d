//! Requests of Python that run on the runtime: each gets an id and ends in exactly one final item.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use cmdop_contract::v1::{self, Reason};
use futures::FutureExt;
use parking_lot::Mutex;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::queue::{Closed, Item, Kind, Queue};

/// Items of one stream that may be on their way before Python has taken one.
pub const STREAM_WINDOW: usize = 64;

/// What a request ends with.
pub type Answer = Result<Bytes, v1::Error>;

/// The requests that are open, and the queue their items go to.
#[derive(Debug)]
pub struct Requests {
    queue: Queue,
    next_id: AtomicU64,
    /// Requests whose final item Python has not drained.
    in_flight: AtomicUsize,
    limit: usize,
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug, Clone)]
struct Open {
    cancel: CancellationToken,
    credits: Arc<Semaphore>,
}

/// The way of one stream's items to Python.
#[derive(Debug)]
pub struct Emitter {
    id: u64,
    requests: Arc<Requests>,
    credits: Arc<Semaphore>,
}

impl Emitter {
    /// Sends an item as soon as Python has taken enough of those before it.
    ///
    /// # Errors
    /// `Closed` if nobody listens any more.
    pub async fn emit(&self, payload: Bytes) -> Result<(), Closed> {
        self.credits.acquire().await.map_err(|_| Closed)?.forget();
        self.requests.queue.push(Item { kind: Kind::Item, id: self.id, payload }).await
    }
}

impl Requests {
    /// At most `limit` requests at once over this queue.
    #[must_use]
    pub fn new(queue: Queue, limit: usize) -> Self {
        Self {
            queue,
            next_id: AtomicU64::new(1),
            in_flight: AtomicUsize::new(0),
            limit: limit.max(1),
            open: Mutex::default(),
        }
    }

    /// The queue to Python.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Requests whose final item Python has not drained.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests there may be at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Starts a request on the runtime; `None` if there are as many as may be. Never waits.
    pub fn submit<W, F>(self: &Arc<Self>, runtime: &Handle, work: W) -> Option<u64>
    where
        W: FnOnce(Emitter) -> F,
        F: Future<Output = Answer> + Send + 'static,
    {
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= self.limit {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let cancel = CancellationToken::new();
        let credits = Arc::new(Semaphore::new(STREAM_WINDOW));
        self.open.lock().insert(id, Open { cancel: cancel.clone(), credits: Arc::clone(&credits) });
        let work = work(Emitter { id, requests: Arc::clone(self), credits });
        let requests = Arc::clone(self);
        runtime.spawn(async move {
            let answer = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(defect(Reason::Cancelled, "the request was cancelled by its caller")),
                answer = AssertUnwindSafe(work).catch_unwind() => answer.unwrap_or_else(|_| {
                    Err(defect(Reason::Internal, "the core panicked in this request; its standard error says where"))
                }),
            };
            requests.open.lock().remove(&id);
            let (kind, payload) = match answer {
                Ok(payload) => (Kind::Done, payload),
                Err(error) => (Kind::Failed, error.encode_to_vec().into()),
            };
            // A closed queue has no consumer that could wait for this.
            let _closed = requests.queue.push(Item { kind, id, payload }).await;
        });
        Some(id)
    }

    /// Stops a request. It still ends in its final item.
    pub fn cancel(&self, id: u64) {
        if let Some(open) = self.open.lock().get(&id) {
            open.cancel.cancel();
        }
    }

    /// Python has taken this many items of a stream.
    pub fn credit(&self, id: u64, items: usize) {
        if let Some(open) = self.open.lock().get(&id) {
            // More than the window can only be granted by a defect; it must not grow without end.
            let missing = STREAM_WINDOW.saturating_sub(open.credits.available_permits());
            open.credits.add_permits(items.min(missing));
        }
    }

    /// Takes items for Python. Each final one makes room for a request.
    pub fn drain(&self, max: usize) -> Vec<Item> {
        let batch = self.queue.drain(max);
        let ended = batch.iter().filter(|item| item.kind.is_final()).count();
        self.in_flight.fetch_sub(ended, Ordering::AcqRel);
        batch
    }
}

fn defect(reason: Reason, message: &str) -> v1::Error {
    cmdop_contract::reason::error(reason, message)
}
