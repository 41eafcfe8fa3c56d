//! Signing permits, and checking them without trusting whoever carried them.
//!
//! Outside this crate a permit cannot be made, only decoded from what a ledger signed:
//!
//! ```
//! # use cmdop_ledger::permit::{VerifiedPermit, PermitError, verify};
//! # use cmdop_contract::v1::SignedPermit;
//! fn admit(signed: &SignedPermit) -> Result<VerifiedPermit, PermitError> {
//!     verify(signed, &[0; 32], "web-1", 0)
//! }
//! ```
//!
//! ```compile_fail,E0451
//! # use cmdop_ledger::permit::{VerifiedPermit, PermitError, verify};
//! # use cmdop_contract::v1::SignedPermit;
//! fn admit(signed: &SignedPermit) -> Result<VerifiedPermit, PermitError> {
//!     Ok(VerifiedPermit { permit: cmdop_contract::v1::Permit::default() })
//! }
//! ```

mod tree;

use std::ops::Deref;
use std::path::Path;

use cmdop_contract::digest::action_digest;
use cmdop_contract::v1::{Permit, SignedPermit, Stage};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::Error;

/// What every signed permit begins with, so that no other signed bytes pass for one.
const DOMAIN: &[u8] = b"cmdop.permit.v1\0";

/// What the root of permits that are signed together follows.
const TOGETHER: &[u8] = b"cmdop.permits.v1\0";

/// The key that signs permits. It never leaves the ledger.
pub(crate) struct Key {
    key: SigningKey,
    id: Vec<u8>,
}

impl Key {
    /// Reads the key of a file, or makes one that only its owner can read.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let seed = crate::disk::secret(path).map_err(Error::io(format!("read the signing key {}", path.display())))?;
        Ok(Self::new(&seed))
    }

    fn new(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let id = key_id(&key.verifying_key().to_bytes());
        Self { key, id }
    }

    pub(crate) fn verifying_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs encoded permits with one signature, in their order.
    pub(crate) fn sign(&self, permits: Vec<Vec<u8>>) -> Vec<SignedPermit> {
        let signed = |permit, signature: &Signature, way: tree::Way| SignedPermit {
            permit,
            signature: signature.to_bytes().into(),
            key_id: self.id.clone(),
            path: way.path,
            left: way.left,
        };
        if let [_] = &permits[..] {
            let alone = permits.into_iter().map(|permit| {
                let signature = self.key.sign(&[DOMAIN, &permit].concat());
                signed(permit, &signature, tree::Way::default())
            });
            return alone.collect();
        }
        let leaves = permits.iter().map(|permit| tree::leaf(DOMAIN, permit)).collect();
        let (root, ways) = tree::grow(leaves);
        let signature = self.key.sign(&[TOGETHER, &root].concat());
        permits.into_iter().zip(ways).map(|(permit, way)| signed(permit, &signature, way)).collect()
    }
}

/// What a permit's signature is over. `None` if its way leads nowhere.
fn signed_content(signed: &SignedPermit) -> Option<Vec<u8>> {
    if signed.path.is_empty() && signed.left == 0 {
        return Some([DOMAIN, &signed.permit].concat());
    }
    let root = tree::root(tree::leaf(DOMAIN, &signed.permit), &signed.path, signed.left)?;
    Some([TOGETHER, &root].concat())
}

fn key_id(key: &[u8; 32]) -> Vec<u8> {
    Sha256::digest(key)[..8].to_vec()
}

/// How far the clock that a permit was issued by may be ahead of its host's, in nanoseconds: a minute.
///
/// A permit is taken that much longer than it says at most, and not years longer where a clock is wrong by years.
const AHEAD: i64 = 60_000_000_000;

/// Why a permit is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// Signed by another server, or by nobody.
    #[error("it is not signed with the key that this host trusts")]
    WrongKey,
    /// The signature does not fit the content.
    #[error("its signature does not fit its content")]
    Forged,
    /// The content cannot be read.
    #[error("its content cannot be read")]
    Unreadable,
    /// Meant for another host.
    #[error("it is for another host")]
    OtherHost,
    /// Too old, or from a future that this host's clock does not know.
    #[error("it has expired, or the clocks of server and host are a minute apart")]
    Expired,
    /// The action is not the one that was decided on.
    #[error("its action does not have the digest that was decided on")]
    OtherAction,
    /// No known stage.
    #[error("it names no stage that this host knows")]
    UnknownStage,
}

/// A permit whose signature, host, time and action were checked. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedPermit {
    permit: Permit,
}

impl VerifiedPermit {
    /// The permit itself; what comes out proves nothing any more.
    #[must_use]
    pub fn into_inner(self) -> Permit {
        self.permit
    }
}

impl Deref for VerifiedPermit {
    type Target = Permit;

    fn deref(&self) -> &Permit {
        &self.permit
    }
}

/// Checks a permit for a host at a time (nanoseconds since the Unix epoch) under a trusted key.
///
/// # Errors
/// What is wrong with it; it then permits nothing.
pub fn verify(signed: &SignedPermit, key: &[u8; 32], host: &str, now: i64) -> Result<VerifiedPermit, PermitError> {
    if signed.key_id != key_id(key) {
        return Err(PermitError::WrongKey);
    }
    let key = VerifyingKey::from_bytes(key).map_err(|_| PermitError::WrongKey)?;
    let signature = Signature::from_slice(&signed.signature).map_err(|_| PermitError::Forged)?;
    let content = signed_content(signed).ok_or(PermitError::Forged)?;
    key.verify_strict(&content, &signature).map_err(|_| PermitError::Forged)?;
    let permit = Permit::decode(&*signed.permit).map_err(|_| PermitError::Unreadable)?;
    if permit.host != host {
        return Err(PermitError::OtherHost);
    }
    if now >= permit.expires_at || permit.issued_at > now.saturating_add(AHEAD) {
        return Err(PermitError::Expired);
    }
    if permit.stage() == Stage::Unspecified {
        return Err(PermitError::UnknownStage);
    }
    if permit.action.as_ref().map(action_digest).as_ref() != Some(&permit.action_digest) {
        return Err(PermitError::OtherAction);
    }
    Ok(VerifiedPermit { permit })
}

#[cfg(test)]
mod tests {
    use cmdop_contract::v1::Action;

    use super::*;

    fn permit(change: impl FnOnce(&mut Permit)) -> Vec<u8> {
        let action = Action { tool: "files.delete".into(), ..Action::default() };
        let mut permit = Permit {
            host: "web-1".into(),
            stage: Stage::Apply.into(),
            expires_at: 100,
            action_digest: action_digest(&action),
            action: Some(action),
            ..Permit::default()
        };
        change(&mut permit);
        permit.encode_to_vec()
    }

    fn signed(change: impl FnOnce(&mut Permit)) -> (SignedPermit, [u8; 32]) {
        let key = Key::new(&[3; 32]);
        (key.sign(vec![permit(change)]).remove(0), key.verifying_key())
    }

    #[test]
    fn a_permit_holds_only_as_it_was_signed() {
        let (good, key) = signed(|_| {});
        assert_eq!(verify(&good, &key, "web-1", 99).expect("good").host, "web-1");
        assert_eq!(verify(&good, &key, "web-2", 99).expect_err("refused"), PermitError::OtherHost);
        assert_eq!(verify(&good, &key, "web-1", 100).expect_err("refused"), PermitError::Expired);
        let (early, _) = signed(|permit| (permit.issued_at, permit.expires_at) = (AHEAD + 5, AHEAD + 100));
        assert!(verify(&early, &key, "web-1", 5).is_ok(), "a minute apart");
        assert_eq!(verify(&early, &key, "web-1", 4).expect_err("refused"), PermitError::Expired, "more");
        assert_eq!(verify(&good, &[7; 32], "web-1", 99).expect_err("refused"), PermitError::WrongKey);
        for at in 0..good.permit.len() {
            let mut forged = good.clone();
            forged.permit[at] ^= 1;
            assert_eq!(verify(&forged, &key, "web-1", 99).expect_err("refused"), PermitError::Forged, "byte {at}");
        }
        let (other, key) = signed(|permit| permit.action_digest = "x".into());
        assert_eq!(verify(&other, &key, "web-1", 99).expect_err("refused"), PermitError::OtherAction);
        let (stage, key) = signed(|permit| permit.stage = 99);
        assert_eq!(verify(&stage, &key, "web-1", 99).expect_err("refused"), PermitError::UnknownStage);
    }

    #[test]
    fn permits_that_are_signed_together_hold_each_by_itself_and_only_as_they_were_signed() {
        let key = Key::new(&[3; 32]);
        let check = |signed: &SignedPermit| verify(signed, &key.verifying_key(), "web-1", 99);
        for many in (1..=9).chain([64, 65, 300]) {
            let id = |number: usize| format!("permit {number}");
            let permits = (0..many).map(|number| permit(|permit| permit.permit_id = id(number)));
            let together = key.sign(permits.collect());
            assert_eq!(together.len(), many);
            for (number, good) in together.iter().enumerate() {
                assert_eq!(check(good).expect("good").permit_id, id(number));
                assert_eq!(good.signature, together[0].signature, "one for all");
            }
            if many > 9 {
                continue;
            }
            for (number, good) in together.iter().enumerate() {
                let other = &together[(number + 1) % many];
                let mut forged = vec![
                    SignedPermit { left: good.left ^ 1, ..good.clone() },
                    SignedPermit { left: good.left | 1 << (good.path.len() / 32), ..good.clone() },
                    SignedPermit { path: [&good.path[..], &[0; 32]].concat(), ..good.clone() },
                    SignedPermit { path: [&good.path[..], &[0]].concat(), ..good.clone() },
                ];
                forged.extend((0..good.path.len()).map(|at| {
                    let mut forged = good.clone();
                    forged.path[at] ^= 1;
                    forged
                }));
                forged.extend((0..good.permit.len()).map(|at| {
                    let mut forged = good.clone();
                    forged.permit[at] ^= 1;
                    forged
                }));
                if many > 1 {
                    forged.push(SignedPermit { permit: other.permit.clone(), ..good.clone() });
                    forged.push(SignedPermit { path: Vec::new(), left: 0, ..good.clone() });
                    forged.push(SignedPermit { path: good.path[32..].into(), left: good.left >> 1, ..good.clone() });
                }
                for forged in forged {
                    assert_eq!(check(&forged).expect_err("refused"), PermitError::Forged, "{many}: {forged:?}");
                }
            }
        }
    }

    #[test]
    fn the_inside_of_a_tree_is_no_permit() {
        let key = Key::new(&[3; 32]);
        let together = key.sign((0..4_u8).map(|number| vec![number]).collect());
        let first = &together[0];
        // What is hashed one level up, offered as if it were a permit.
        let inner = [&tree::leaf(DOMAIN, &first.permit)[..], &first.path[..32]].concat();
        let forged = SignedPermit { permit: inner, path: first.path[32..].into(), left: 0, ..first.clone() };
        let refused = verify(&forged, &key.verifying_key(), "web-1", 99).expect_err("refused");
        assert_eq!(refused, PermitError::Forged);
    }

    #[test]
    fn the_key_is_kept_and_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        let first = Key::load(&path).expect("made").verifying_key();
        assert_eq!(Key::load(&path).expect("read").verifying_key(), first);
        assert_eq!(path.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, b"short").expect("damage");
        assert!(Key::load(&path).is_err());
    }
}
