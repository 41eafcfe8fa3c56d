//! Which idempotency keys were ever used by calls that are over: for each the place of its call, and not the key itself.
//!
//! A server never forgets a key, so what it keeps of one must be small: 16 bytes, and the room that a hash
//! table leaves free (19 to 39 bytes a key; measured with two millions: 37). What is not here is certainly new. What is here was
//! probably used; the record at its position says by whom, and is read only then.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// Positions of proposals by the fingerprints of their keys.
#[derive(Default)]
pub(super) struct Spent {
    /// Its secret makes fingerprints that nobody outside can make collide.
    secret: RandomState,
    marks: HashMap<u64, Packed, BuildHasherDefault<Itself>>,
}

/// What is left of a key whose call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where the proposal stands in the log.
    pub position: u64,
    /// Its call changed nothing, and the same action may come again under this key.
    pub may_come_again: bool,
}

/// A mark in the room of its position.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed(u64);

impl From<Mark> for Packed {
    fn from(mark: Mark) -> Self {
        Self(mark.position << 1 | u64::from(mark.may_come_again))
    }
}

impl From<Packed> for Mark {
    fn from(Packed(packed): Packed) -> Self {
        Self { position: packed >> 1, may_come_again: packed & 1 == 1 }
    }
}

impl Spent {
    /// Where the key was probably used; `None` if it certainly was not.
    pub(super) fn mark(&self, tenant: &str, key: &str) -> Option<Mark> {
        self.marks.get(&self.fingerprint(tenant, key)).map(|packed| Mark::from(*packed))
    }

    /// Notes where a key was used. False if its fingerprint is taken, by another key or by an earlier call of
    /// this one: then it must be kept in another way.
    pub(super) fn note(&mut self, tenant: &str, key: &str, mark: Mark) -> bool {
        let packed = Packed::from(mark);
        *self.marks.entry(self.fingerprint(tenant, key)).or_insert(packed) == packed
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

    fn at(position: u64) -> Mark {
        Mark { position, may_come_again: position % 3 == 1 }
    }

    #[test]
    fn a_key_costs_few_bytes_and_none_is_forgotten() {
        const KEYS: u64 = 2_000_000;
        let before = resident();
        let mut spent = Spent::default();
        let clashes = (0..KEYS).filter(|key| !spent.note("tenant", &key.to_string(), at(*key))).count();
        let each = (resident() - before) as f64 / KEYS as f64;
        println!("{each:.1} bytes a key");
        assert!(each < 64.0, "{each} bytes a key");
        assert_eq!(clashes, 0);
        assert!((0..KEYS).all(|key| spent.mark("tenant", &key.to_string()) == Some(at(key))));
        assert_eq!(spent.mark("another", "1"), None);
    }

    #[test]
    fn what_has_the_fingerprint_of_another_is_not_noted_over_it() {
        let mut spent = Spent::default();
        assert!(spent.note("tenant", "key", at(1)));
        assert!(spent.note("tenant", "key", at(1)));
        assert!(!spent.note("tenant", "key", at(2)));
        assert_eq!(spent.mark("tenant", "key"), Some(at(1)));
    }
}
