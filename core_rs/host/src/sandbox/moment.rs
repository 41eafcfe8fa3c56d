//! When a layer was laid out, so that what others change meanwhile can be told from what was there.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::time::ClockId;

use super::plan::Layer;

/// Longest that the clock of files lags behind.
const TICK: Duration = Duration::from_millis(10);
/// How far a clock that is only corrected may fall behind: so much, and a thousandth of what passed.
const CORRECTED_NS: i128 = 10_000_000;
/// Two clocks that are read within this time agree.
const HELD_UP: Duration = Duration::from_millis(5);
/// On a machine too busy for that, a clock that seems to have been set back is what remains.
const READINGS: u32 = 20;

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// By the clock of files, nanoseconds since the Unix epoch.
    real_ns: i64,
    steady: Instant,
    /// Whatever changes from now on has a later time already.
    is_past: bool,
}

impl Moment {
    /// Who is held up between the two clocks reads both again: one would seem to have been set back.
    pub(super) fn now() -> Self {
        let mut readings = 0;
        loop {
            let (steady, sharp_ns) = (Instant::now(), sharp_ns());
            let real_ns = sharp_ns.map_or_else(|| nanoseconds(ClockId::Realtime), |first| first - 1);
            readings += 1;
            if steady.elapsed() < HELD_UP || readings == READINGS {
                return Self { real_ns, steady, is_past: sharp_ns.is_some() };
            }
        }
    }
}

/// A time that no earlier change has and every later one has, or a later one: since Linux 6.13 (multigrain
/// timestamps) a file whose time was read takes an exact one at its next change, and no file anywhere
/// takes an earlier one after that. None if this kernel was not seen to do so.
fn sharp_ns() -> Option<i64> {
    let file = || rustix::fs::memfd_create("clock", rustix::fs::MemfdFlags::CLOEXEC);
    let changed_ns = |file: &OwnedFd| {
        let found = rustix::fs::fstat(file).ok()?;
        found.st_ctime.checked_mul(1_000_000_000)?.checked_add(i64::try_from(found.st_ctime_nsec).ok()?)
    };
    let first = file().ok()?;
    changed_ns(&first)?;
    rustix::fs::fchmod(&first, Mode::RUSR).ok()?;
    let sharp = changed_ns(&first)?;
    // An exact time is ahead of the last tick, which is what another file would take else.
    let is_exact = nanoseconds(ClockId::RealtimeCoarse) < sharp;
    let holds = changed_ns(&file().ok()?)? >= sharp;
    (is_exact && holds).then_some(sharp)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

impl Layer {
    /// Waits until whatever changes from now on has a later time than what changed before the layer was
    /// laid out: times of files are those of the kernel's last tick, unless they are sharp.
    pub(crate) async fn settle(&self) {
        let mut waited = Duration::ZERO;
        while !self.begun.is_past && nanoseconds(ClockId::RealtimeCoarse) <= self.begun.real_ns && waited < TICK {
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
        // Between two ticks and over some.
        for number in 0..200 {
            let before = changed(&format!("before {number}"));
            let layers = tempfile::tempdir().expect("directory");
            let layer = Layer::empty(layers.path());
            layer.settle().await;
            let after = changed(&format!("after {number}"));
            let begun = layer.begun_ns().expect("a steady clock");
            assert!(before <= begun && begun < after, "{before} {begun} {after}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_tells_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let mut layer = Layer::empty(dir.path());
        layer.begun.real_ns += 3_600_000_000_000;
        assert_eq!(layer.begun_ns(), None);
    }
}
