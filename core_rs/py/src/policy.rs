//! The gate's source of policy: has Python read the files, and hears of them by id.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cmdop_contract::reason;
use cmdop_contract::v1::{self, PolicySet, Reason};
use cmdop_gate::{BoxFuture, PolicySource};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::queue::{Item, Kind};
use crate::requests::Requests;

/// How long Python may read.
const READ: Duration = Duration::from_secs(10);

/// What came of reading.
pub type Read = Result<PolicySet, v1::Error>;

/// Files that Python was asked to read and has not read.
pub struct PythonPolicy {
    requests: Arc<Requests>,
    asked: Arc<Mutex<HashMap<u64, oneshot::Sender<Read>>>>,
    next: AtomicU64,
}

impl PythonPolicy {
    /// Asks over this queue.
    #[must_use]
    pub fn new(requests: Arc<Requests>) -> Self {
        Self { requests, asked: Arc::default(), next: AtomicU64::new(1) }
    }

    /// Hands in what was read. False if nobody waits for it any more.
    pub fn answer(&self, id: u64, read: Read) -> bool {
        let waiting = self.asked.lock().remove(&id);
        waiting.is_some_and(|waiting| waiting.send(read).is_ok())
    }
}

impl PolicySource for PythonPolicy {
    fn read(&self) -> BoxFuture<Read> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (requests, asked) = (Arc::clone(&self.requests), Arc::clone(&self.asked));
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            asked.lock().insert(id, answer);
            let gone = || reason::error(Reason::Draining, "the server is stopping and reads no policy");
            let item = Item { kind: Kind::Policy, id, payload: Bytes::new() };
            let read = async {
                requests.queue().push(item).await.map_err(|_| gone())?;
                answered.await.map_err(|_| gone())?
            };
            let read = tokio::time::timeout(READ, read).await;
            asked.lock().remove(&id);
            read.unwrap_or_else(|_| {
                Err(reason::error(Reason::Internal, "the policy's files were not read in time; try again"))
            })
        })
    }
}
