//! The Merkle tree over permits that one signature covers (RFC 9162, section 2.1), and the way of each
//! to its root.

use sha2::{Digest, Sha256};

type Hash = [u8; 32];

/// Most hashes on a way: a tree of 65,536 permits.
const MOST: usize = 16;
/// What keeps a leaf from passing for what is above leaves.
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// The way from a leaf to the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// The hashes beside it, from below.
    pub(super) path: Vec<u8>,
    /// Bit n is set if the nth of them stands on the left.
    pub(super) left: u32,
}

pub(super) fn leaf(domain: &[u8], content: &[u8]) -> Hash {
    Sha256::new().chain_update(LEAF).chain_update(domain).chain_update(content).finalize().into()
}

fn node(left: &[u8], right: &[u8]) -> Hash {
    Sha256::new().chain_update(NODE).chain_update(left).chain_update(right).finalize().into()
}

/// The root over leaves, and the way of each. There is at least one leaf and no more than a tree holds.
pub(super) fn grow(leaves: Vec<Hash>) -> (Hash, Vec<Way>) {
    debug_assert!((1..=1 << MOST).contains(&leaves.len()), "no tree has {} leaves", leaves.len());
    let height = leaves.len().next_power_of_two().trailing_zeros() as usize;
    let mut ways = vec![Way { path: Vec::with_capacity(height * 32), left: 0 }; leaves.len()];
    let mut level = leaves;
    let mut above = 0;
    while level.len() > 1 {
        for (number, way) in ways.iter_mut().enumerate() {
            let at = number >> above;
            // One that stands alone at the end goes up as it is.
            if let Some(beside) = level.get(at ^ 1) {
                way.left |= ((at & 1) as u32) << (way.path.len() / 32);
                way.path.extend_from_slice(beside);
            }
        }
        level =
            level.chunks(2).map(|pair| if let [left, right] = pair { node(left, right) } else { pair[0] }).collect();
        above += 1;
    }
    (level[0], ways)
}

/// The root to which a way leads from a leaf. `None` if it is no way.
pub(super) fn root(leaf: Hash, path: &[u8], left: u32) -> Option<Hash> {
    let (beside, rest) = path.as_chunks::<32>();
    if !rest.is_empty() || beside.len() > MOST || left.checked_shr(beside.len() as u32) != Some(0) {
        return None;
    }
    let climb = |below: Hash, (height, beside): (usize, &Hash)| {
        if left >> height & 1 == 1 { node(beside, &below) } else { node(&below, beside) }
    };
    Some(beside.iter().enumerate().fold(leaf, climb))
}
