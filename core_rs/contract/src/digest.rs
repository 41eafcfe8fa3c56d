//! Digests that approvals, permits and idempotency keys bind to.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::v1::{Action, ObservedEffect};

/// SHA-256 over an action's canonical encoding, lower-case hex.
///
/// Canonical is the prost encoding: fields in number order, no unknown fields, no maps in an action.
#[must_use]
pub fn action_digest(action: &Action) -> String {
    hex(&Sha256::digest(action.encode_to_vec()))
}

/// SHA-256 over observed effects in their order, lower-case hex. Each is length-prefixed, so that
/// no two lists have the same bytes.
#[must_use]
pub fn observation_digest(effects: &[ObservedEffect]) -> String {
    let mut hash = Sha256::new();
    for effect in effects {
        hash.update(effect.encode_length_delimited_to_vec());
    }
    hex(&hash.finalize())
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_field_changes_the_digest() {
        let action = Action { tool: "a".into(), host: "b".into(), ..Action::default() };
        let other = Action { tool: "ab".into(), host: String::new(), ..Action::default() };
        assert_ne!(action_digest(&action), action_digest(&other));
        assert_eq!(action_digest(&action), action_digest(&action.clone()));
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
