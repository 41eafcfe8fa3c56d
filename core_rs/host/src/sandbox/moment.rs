//! When a layer was laid out, so that what others change meanwhile can be told from what was there.

use std::time::{Duration, Instant};

use rustix::time::ClockId;

use super::plan::Layer;

/// Longest that the clock of files lags behind.
const TICK: Duration = Duration::from_millis(10);
/// How far a clock that is only corrected may fall behind: so much, and a thousandth of what passed.
const CORRECTED_NS: i128 = 10_000_000;

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// By the clock of files, nanoseconds since the Unix epoch.
    real_ns: i64,
    steady: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { real_ns: nanoseconds(ClockId::Realtime), steady: Instant::now() }
    }
}

fn nanoseconds(clock: ClockId) -> i64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

impl Layer {
    /// Waits until whatever changes from now on has a later time than what changed before the layer was
    /// laid out: times of files are those of the kernel's last tick.
    pub(crate) async fn settle(&self) {
        let mut waited = Duration::ZERO;
        while nanoseconds(ClockId::RealtimeCoarse) <= self.begun.real_ns && waited < TICK {
            let step = Duration::from_millis(1);
            tokio::time::sleep(step).await;
            waited += step;
        }
    }

    /// What changed on the machine after this time changed while the layer's command could run, in
    /// nanoseconds since the Unix epoch; none if the clock was set back since, so that no time tells.
    pub(crate) fn begun_ns(&self) -> Option<i64> {
        let passed = i128::try_from(self.begun.steady.elapsed().as_nanos()).unwrap_or(i128::MAX);
        let told = i128::from(nanoseconds(ClockId::Realtime)) - i128::from(self.begun.real_ns);
        (told + CORRECTED_NS + passed / 1_000 >= passed).then_some(self.begun.real_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changes_after_a_layer_settled_is_later_than_what_was_there() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("directory");
        let changed = |name: &str| {
            std::fs::write(dir.path().join(name), "").expect("write");
            let found = dir.path().join(name).metadata().expect("metadata");
            found.ctime() * 1_000_000_000 + found.ctime_nsec()
        };
        for number in 0..20 {
            let before = changed(&format!("before {number}"));
            let layers = tempfile::tempdir().expect("directory");
            let layer = Layer::empty(layers.path()).expect("layer");
            layer.settle().await;
            let after = changed(&format!("after {number}"));
            let begun = layer.begun_ns().expect("a steady clock");
            assert!(before <= begun && begun < after, "{before} {begun} {after}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_tells_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let mut layer = Layer::empty(dir.path()).expect("layer");
        layer.begun.real_ns += 3_600_000_000_000;
        assert_eq!(layer.begun_ns(), None);
    }
}
