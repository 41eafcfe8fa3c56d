//! The bound of an analysis, counted in steps of work: the same text gets the same answer on any machine.

use std::cell::Cell;

/// What the analysis of one action may spend, nested scripts included. A unit is about a microsecond of an optimised build.
const FUEL: u64 = 250_000;

/// How many bytes are copied, compared or searched for one unit.
const BYTES_PER_UNIT: usize = 64;

/// Work that may still be done.
#[derive(Debug)]
pub(crate) struct Fuel(Cell<u64>);

impl Fuel {
    pub(crate) fn full() -> Self {
        Self(Cell::new(FUEL))
    }

    /// Pays for work before it is done. False when there is not enough, and from then on.
    pub(super) fn spend(&self, units: u64) -> bool {
        let left = self.0.get().saturating_sub(units);
        self.0.set(left);
        left > 0
    }

    /// Pays for passing over text once.
    pub(super) fn spend_bytes(&self, bytes: usize) -> bool {
        self.spend(1 + (bytes / BYTES_PER_UNIT) as u64)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}
