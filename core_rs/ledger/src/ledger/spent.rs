//! Which idempotency keys were ever spent: for each the place of its call, and not the key itself.
//!
//! A server never forgets a key, so what it keeps of one must be small: 16 bytes, and the room that a hash
//! table leaves free (19 to 39 bytes a key; measured with two millions: 37). What is not here is certainly new. What is here was
//! probably spent; the record at its position says by whom, and is read only then.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// Positions of proposals by the fingerprints of their keys.
#[derive(Default)]
pub(super) struct Spent {
    /// Its secret makes fingerprints that nobody outside can make collide.
    secret: RandomState,
    positions: HashMap<u64, u64, BuildHasherDefault<Itself>>,
}

impl Spent {
    /// Where the key was probably spent; `None` if it certainly was not.
    pub(super) fn position(&self, tenant: &str, key: &str) -> Option<u64> {
        self.positions.get(&self.fingerprint(tenant, key)).copied()
    }

    /// Notes where a key was spent. False if another key has its fingerprint: it must be kept in another way.
    pub(super) fn note(&mut self, tenant: &str, key: &str, position: u64) -> bool {
        *self.positions.entry(self.fingerprint(tenant, key)).or_insert(position) == position
    }

    fn fingerprint(&self, tenant: &str, key: &str) -> u64 {
        self.secret.hash_one((tenant, key))
    }
}

/// A fingerprint is as random as a hash of it.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this process that are in memory (proc(5), `statm`).
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
        let pages: usize = statm.split(' ').nth(1).expect("resident").parse().expect("a number");
        pages * rustix::param::page_size()
    }

    #[test]
    fn a_key_costs_few_bytes_and_none_is_forgotten() {
        const KEYS: u64 = 2_000_000;
        let before = resident();
        let mut spent = Spent::default();
        let clashes = (0..KEYS).filter(|at| !spent.note("tenant", &at.to_string(), *at)).count();
        let each = (resident() - before) as f64 / KEYS as f64;
        println!("{each:.1} bytes a key");
        assert!(each < 64.0, "{each} bytes a key");
        assert_eq!(clashes, 0);
        assert!((0..KEYS).all(|at| spent.position("tenant", &at.to_string()) == Some(at)));
        assert_eq!(spent.position("another", "1"), None);
    }

    #[test]
    fn what_has_the_fingerprint_of_another_is_not_noted_over_it() {
        let mut spent = Spent::default();
        assert!(spent.note("tenant", "key", 1));
        assert!(spent.note("tenant", "key", 1));
        assert!(!spent.note("tenant", "key", 2));
        assert_eq!(spent.position("tenant", "key"), Some(1));
    }
}
