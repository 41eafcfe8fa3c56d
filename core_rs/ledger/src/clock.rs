//! The time that decides what is over: the machine's, but it never goes back.
//!
//! A machine's clock is set: by a person, by a time server, by a snapshot that is resumed. Set ahead, whatever
//! has a deadline is over sooner. Set back, nothing may last longer for it, and nothing that was over may hold again:
//! the time then goes on from where it was, as fast as time passes, until the machine's clock is ahead of it.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where the time comes from.
pub trait Time: Debug + Send + Sync {
    /// Nanoseconds since the Unix epoch, as the machine has it now.
    fn wall(&self) -> i64;

    /// What passed since some moment, which nobody can set.
    fn steady(&self) -> Duration;
}

/// This machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Time for Machine {
    fn wall(&self) -> i64 {
        crate::now()
    }

    fn steady(&self) -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that never goes back. What it showed last is known to its ledger, so that a restart does not turn it back.
#[derive(Debug)]
pub struct Clock {
    time: Arc<dyn Time>,
    shown: Mutex<Shown>,
}

#[derive(Debug, Clone, Copy)]
struct Shown {
    at: i64,
    /// What [`Time::steady`] said then.
    steady: Duration,
}

impl Clock {
    /// A clock that shows no time before `since`.
    #[must_use]
    pub fn new(time: Arc<dyn Time>, since: i64) -> Self {
        let shown = Shown { at: since, steady: time.steady() };
        Self { time, shown: Mutex::new(shown) }
    }

    /// Nanoseconds since the Unix epoch: later than all that was shown before, or the same.
    #[must_use]
    pub fn now(&self) -> i64 {
        let mut shown = self.shown.lock();
        let steady = self.time.steady();
        let passed = i64::try_from(steady.saturating_sub(shown.steady).as_nanos()).unwrap_or(i64::MAX);
        let at = self.time.wall().max(shown.at.saturating_add(passed));
        *shown = Shown { at, steady };
        at
    }

    /// The machine's time as it is, for others who compare it with theirs.
    #[must_use]
    pub fn wall(&self) -> i64 {
        self.time.wall()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Set(Mutex<(i64, u64)>);

    impl Time for Set {
        fn wall(&self) -> i64 {
            self.0.lock().0
        }

        fn steady(&self) -> Duration {
            Duration::from_nanos(self.0.lock().1)
        }
    }

    #[test]
    fn it_follows_the_machine_ahead_and_goes_on_by_itself_when_that_is_set_back() {
        let time = Arc::new(Set::default());
        let clock = Clock::new(time.clone(), 50);
        let at = |wall, steady| {
            *time.0.lock() = (wall, steady);
            clock.now()
        };
        assert_eq!(at(10, 0), 50, "nothing was before");
        assert_eq!(at(10, 5), 55, "and it does not stand");
        assert_eq!(at(100, 6), 100);
        assert_eq!(at(1_000, 7), 1_000, "set ahead");
        assert_eq!(at(100, 8), 1_001, "set back");
        assert_eq!(at(900, 808), 1_801, "as fast as time passes");
        assert_eq!(at(2_000, 809), 2_000, "until the machine is ahead again");
        assert_eq!(clock.wall(), 2_000);
        assert_eq!(at(i64::MAX, 810), i64::MAX);
        assert_eq!(at(0, 900), i64::MAX);
    }
}
