//! A server as a host sees one: somebody with the key that signs permits.
#![allow(dead_code)]

pub mod cases;
pub mod host;
pub mod inside;
pub mod random;
pub mod supervised;
pub mod trial;

use cmdop_contract::digest::action_digest;
use cmdop_contract::v1::{Action, Actor, EffectKind, Permit, PermittedEffect, Report, SignedPermit, Stage};
use ed25519_dalek::{Signer, SigningKey};
use prost::Message;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Name of the host under test.
pub const HOST: &str = "web-1";

/// Signs permits for [`HOST`].
pub struct Server {
    key: SigningKey,
}

impl Server {
    pub fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_bytes(&[seed; 32]) }
    }

    pub fn verifying_key(&self) -> Vec<u8> {
        self.key.verifying_key().to_bytes().to_vec()
    }

    pub fn sign(&self, permit: &Permit) -> SignedPermit {
        let permit = permit.encode_to_vec();
        let signature = self.key.sign(&[b"cmdop.permit.v1\0", &permit[..]].concat()).to_bytes().to_vec();
        let key_id = Sha256::digest(self.key.verifying_key().to_bytes())[..8].to_vec();
        SignedPermit { permit, signature, key_id, ..SignedPermit::default() }
    }
}

/// A good permit of a call's first attempt, with no effects.
pub fn permit(call: &str, stage: Stage, tool: &str, arguments: &Value) -> Permit {
    let action =
        Action { tool: tool.into(), host: HOST.into(), arguments_json: arguments.to_string(), ..Action::default() };
    let now = cmdop_ledger::now();
    Permit {
        permit_id: format!("{call}-{stage:?}"),
        call_id: call.into(),
        attempt: 1,
        host: HOST.into(),
        stage: stage.into(),
        action_digest: action_digest(&action),
        action: Some(action),
        idempotency_key: format!("key-{call}"),
        actor: Some(Actor { tenant: "local".into(), user: "me".into(), ..Actor::default() }),
        issued_at: now,
        expires_at: now + 60_000_000_000,
        ..Permit::default()
    }
}

/// The same permit with effects on one target.
pub fn with_effects(mut permit: Permit, kinds: &[EffectKind], target: &str) -> Permit {
    let effect = |kind: &EffectKind| PermittedEffect { kind: (*kind).into(), target: target.into(), max_count: None };
    permit.effects = kinds.iter().map(effect).collect();
    permit
}

/// The permit to commit what a preview reported.
pub fn commit_of(mut preview: Permit, report: &Report) -> Permit {
    preview.permit_id.push_str("-commit");
    preview.stage = Stage::Commit.into();
    preview.preview_digest = report.observation.as_ref().expect("an observation").digest.clone();
    preview
}
