//! Pauses between attempts: exponential with jitter, so that hosts do not come back in step.
//! See Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), "equal jitter".

use std::time::Duration;

pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    attempt: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempt: 0 }
    }

    /// The next pause: between half and all of the doubled one. `random` is in 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(self.attempt)).min(self.longest);
        self.attempt = self.attempt.saturating_add(1);
        doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(100 * MS, 5_000 * MS);
        let pauses: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        for _ in 0..100 {
            assert_eq!(backoff.next(0.0), 2_500 * MS);
        }
        backoff.reset();
        assert_eq!(backoff.next(0.0), 50 * MS);
    }
}
