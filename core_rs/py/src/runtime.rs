//! `Runtime`: the threads of the core, and the Python end of the queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::create_exception;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::runtime::{Builder, Handle};

use crate::bell::Descriptor;
use crate::home::Homebound;
use crate::queue::Queue;
use crate::requests::{Answer, Emitter, Requests};

create_exception!(cmdop._core, ClosedError, PyRuntimeError, "The runtime was closed.");

/// The threads of the core and the queue from them. One for each event loop.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Runtime {
    inner: Homebound<Inner>,
}

struct Inner {
    tokio: Mutex<Option<tokio::runtime::Runtime>>,
    handle: Handle,
    requests: Arc<Requests>,
}

/// How a runtime has been used since it was made.
#[pyclass(frozen, get_all, module = "cmdop._core")]
pub struct Statistics {
    in_flight: u64,
    in_flight_limit: u64,
    queued: u64,
    capacity: u64,
    pushed: u64,
    drained: u64,
    batches: u64,
    rings: u64,
    waits: u64,
}

#[pymethods]
impl Runtime {
    /// Starts `threads` threads with a queue for `capacity` items and at most `in_flight` requests.
    #[new]
    #[pyo3(signature = (*, threads = 1, capacity = 4096, in_flight = 1024))]
    fn new(threads: usize, capacity: usize, in_flight: usize) -> PyResult<Self> {
        let queue = Queue::new(capacity)?;
        let tokio = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("cmdop")
            // Commands are resolved on these threads, without getting a stack for each.
            .thread_stack_size(cmdop_policy::shell::THREAD_STACK_BYTES)
            .enable_all()
            // With the default, a busy worker starves what other threads hand in (FINDINGS: p99
            // 90 ms and more against 8).
            .global_queue_interval(1)
            .build()
            .map_err(|error| PyOSError::new_err(format!("the core's threads cannot be started: {error}")))?;
        let handle = tokio.handle().clone();
        let requests = Arc::new(Requests::new(queue, in_flight));
        Ok(Self { inner: Homebound::new(Inner { tokio: Mutex::new(Some(tokio)), handle, requests }) })
    }

    /// Descriptor to wait on until it is readable. It stays valid until the runtime is collected.
    fn fileno(&self) -> PyResult<Descriptor> {
        Ok(self.inner.get()?.requests.queue().descriptor())
    }

    /// Takes at most `max` items: (kind, request id, payload).
    fn drain<'py>(&self, py: Python<'py>, max: usize) -> PyResult<Vec<(u8, u64, Bound<'py, PyBytes>)>> {
        let batch = self.inner.get()?.requests.drain(max);
        Ok(batch.into_iter().map(|item| (item.kind as u8, item.id, PyBytes::new(py, &item.payload))).collect())
    }

    /// Stops a request; its final item still comes. Unknown ids are ignored.
    fn cancel(&self, id: u64) -> PyResult<()> {
        self.inner.get()?.requests.cancel(id);
        Ok(())
    }

    /// Lets a stream send this many items more.
    fn credit(&self, id: u64, items: usize) -> PyResult<()> {
        self.inner.get()?.requests.credit(id, items);
        Ok(())
    }

    /// Sends `payload` back `times` times as a stream: proves that the bridge works.
    fn echo(&self, payload: &[u8], times: u64) -> PyResult<Option<u64>> {
        let payload = Bytes::copy_from_slice(payload);
        self.submit(|emitter| async move {
            for _ in 0..times {
                if emitter.emit(payload.clone()).await.is_err() {
                    break;
                }
            }
            Ok(Bytes::new())
        })
    }

    /// How the runtime has been used.
    fn statistics(&self) -> PyResult<Statistics> {
        let requests = &self.inner.get()?.requests;
        let counts = requests.queue().counts();
        Ok(Statistics {
            in_flight: requests.in_flight() as u64,
            in_flight_limit: requests.limit() as u64,
            queued: counts.queued,
            capacity: counts.capacity,
            pushed: counts.pushed,
            drained: counts.drained,
            batches: counts.batches,
            rings: counts.rings,
            waits: counts.waits,
        })
    }

    /// Closes the queue and stops the threads, waiting for them at most `deadline_s` seconds.
    /// Requests that are open are dropped. A second call does nothing.
    fn close(&self, py: Python<'_>, deadline_s: f64) -> PyResult<()> {
        let inner = self.inner.get()?;
        inner.requests.queue().close();
        let tokio = inner.tokio.lock().take();
        if let Some(tokio) = tokio {
            let deadline = Duration::try_from_secs_f64(deadline_s.max(0.0)).unwrap_or(Duration::MAX);
            py.detach(|| tokio.shutdown_timeout(deadline));
        }
        Ok(())
    }
}

impl Runtime {
    /// Starts a request; `None` if there are as many as may be.
    pub(crate) fn submit<W, F>(&self, work: W) -> PyResult<Option<u64>>
    where
        W: FnOnce(Emitter) -> F,
        F: Future<Output = Answer> + Send + 'static,
    {
        let inner = self.inner.get()?;
        if inner.requests.queue().is_closed() {
            return Err(ClosedError::new_err("the runtime was closed"));
        }
        Ok(inner.requests.submit(&inner.handle, work))
    }

    /// The requests, for what pushes items of its own.
    pub(crate) fn requests(&self) -> PyResult<Arc<Requests>> {
        Ok(Arc::clone(&self.inner.get()?.requests))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.requests.queue().close();
        if let Some(tokio) = self.tokio.get_mut().take() {
            // Collected by Python without `close`: nobody may be made to wait here.
            tokio.shutdown_background();
        }
    }
}
