//! A thread with a known stack on which parsing and walking happen.
//!
//! The second parser recurses, cannot be interrupted, and a stack overflow would abort the process.
//! So it runs on a stack that the guards' nesting limit can never fill, and its caller waits only
//! for a bounded time. A thread that does not answer is abandoned, and few may be.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Nesting of 10 needs well under 1 MiB, in a debug build too.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Threads that may be stuck at a time before nothing is analysed any more.
const MAX_ABANDONED: usize = 4;

static ABANDONED: AtomicUsize = AtomicUsize::new(0);

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// One worker for each thread that asks, so that nobody queues behind another's command.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

struct Worker {
    jobs: SyncSender<Job>,
}

/// Why a worker gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Panicked,
    TooSlow,
    /// Too many threads are stuck, or none can be started.
    Exhausted,
}

impl Failure {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Panicked => "the analysis failed on it",
            Self::TooSlow => "the analysis took too long",
            Self::Exhausted => "the analysis is not available",
        }
    }
}

/// Runs `work` on this thread's worker and waits for it.
///
/// # Errors
/// Why there is no answer.
pub(super) fn run<T, F>(patience: Duration, work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if ABANDONED.load(Ordering::Relaxed) >= MAX_ABANDONED {
        return Err(Failure::Exhausted);
    }
    WORKER.with_borrow_mut(|slot| {
        let worker = match slot {
            Some(worker) => worker,
            None => slot.insert(Worker::start()?),
        };
        let (answer, answered) = sync_channel(1);
        let abandoned = Arc::new(AtomicUsize::new(0));
        let noticed = abandoned.clone();
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(|_| Failure::Panicked);
            // Whoever comes second knows how it ended.
            if noticed.swap(1, Ordering::AcqRel) == 1 {
                ABANDONED.fetch_sub(1, Ordering::Relaxed);
            }
            // Nobody may be waiting any more.
            let _ = answer.try_send(result);
        });
        if worker.jobs.send(job).is_err() {
            *slot = None;
            return Err(Failure::Exhausted);
        }
        answered.recv_timeout(patience).unwrap_or_else(|_| {
            ABANDONED.fetch_add(1, Ordering::Relaxed);
            if abandoned.swap(1, Ordering::AcqRel) == 1 {
                ABANDONED.fetch_sub(1, Ordering::Relaxed);
            }
            *slot = None;
            Err(Failure::TooSlow)
        })
    })
}

impl Worker {
    fn start() -> Result<Self, Failure> {
        let (jobs, queue): (SyncSender<Job>, Receiver<Job>) = sync_channel(1);
        let serve = move || {
            for job in queue {
                job();
            }
        };
        let thread = std::thread::Builder::new().name("shell-analysis".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(serve).map_err(|_| Failure::Exhausted)?;
        Ok(Self { jobs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_panic_ends_the_work_and_not_the_worker() {
        assert_eq!(run(PATIENCE, || -> u8 { panic!("on purpose") }), Err(Failure::Panicked));
        assert_eq!(run(PATIENCE, || 7), Ok(7));
    }

    #[test]
    fn whoever_waits_is_told_in_time_and_served_again() {
        let (release, held) = sync_channel::<()>(0);
        let stuck = run(Duration::from_millis(5), move || {
            let _ = held.recv();
        });
        assert_eq!(stuck, Err(Failure::TooSlow));
        assert_eq!(run(PATIENCE, || 7), Ok(7));
        drop(release);
    }
}
