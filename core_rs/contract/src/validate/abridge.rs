//! What is refused for its size leaves its length and digest behind, and not itself.

use sha2::{Digest as _, Sha256};

use super::Limits;
use super::envelope::is_longer;
use crate::digest::hex;
use crate::name;
use crate::v1::{Action, ExpectedEffect, Proposal};

/// The proposal as it may be recorded, if it is larger than accepted: each oversized field as its length and digest.
/// [`super::validate`] refuses every proposal for which this is one.
#[must_use]
pub fn abridged(proposal: &Proposal, limits: &Limits) -> Option<Proposal> {
    if !is_oversized(proposal, limits) {
        return None;
    }
    let mut short = proposal.clone();
    if let Some(action) = &mut short.action {
        abridge_action(action, limits);
    }
    let actor = short.actor.get_or_insert_default();
    let names = [
        &mut actor.tenant,
        &mut actor.user,
        &mut actor.agent,
        &mut actor.run,
        &mut actor.session,
        &mut short.idempotency_key,
    ];
    for name in names {
        shrink(name, name::MAX_CHARS);
    }
    shrink(&mut short.model_call_id, limits.model_call_id_chars);
    Some(short)
}

fn is_oversized(proposal: &Proposal, limits: &Limits) -> bool {
    let long = |text: &String| is_longer(text, name::MAX_CHARS);
    proposal.action.as_ref().is_some_and(|action| {
        long(&action.tool)
            || long(&action.host)
            || is_longer(&action.intent, limits.intent_chars)
            || action.arguments_json.len() > limits.arguments_bytes
            || action.expect.len() > limits.expected_effects
            || action.expect.iter().any(|it| it.target.len() > limits.target_bytes || long(&it.unknown_kind))
    }) || proposal.actor.as_ref().is_some_and(|actor| {
        [&actor.tenant, &actor.user, &actor.agent, &actor.run, &actor.session].into_iter().any(long)
    }) || long(&proposal.idempotency_key)
        || is_longer(&proposal.model_call_id, limits.model_call_id_chars)
}

fn abridge_action(action: &mut Action, limits: &Limits) {
    shrink(&mut action.tool, name::MAX_CHARS);
    shrink(&mut action.host, name::MAX_CHARS);
    shrink(&mut action.intent, limits.intent_chars);
    if action.arguments_json.len() > limits.arguments_bytes {
        // Still the text of one object, for whoever shows it.
        action.arguments_json = format!(r#"{{"refused for its size":"{}"}}"#, stand_in(&action.arguments_json));
    }
    if action.expect.len() > limits.expected_effects {
        let bytes: Vec<u8> = action.expect.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
        let target = format!("{} effects, {}", action.expect.len(), measure(&bytes));
        action.expect = vec![ExpectedEffect { target, ..ExpectedEffect::default() }];
    }
    for effect in &mut action.expect {
        if effect.target.len() > limits.target_bytes {
            effect.target = stand_in(&effect.target);
        }
        shrink(&mut effect.unknown_kind, name::MAX_CHARS);
    }
}

fn shrink(text: &mut String, chars: usize) {
    if is_longer(text, chars) {
        *text = stand_in(text);
    }
}

/// A text that is too long, as its length and digest. It has the form of a name.
pub(super) fn stand_in(text: &str) -> String {
    measure(text.as_bytes())
}

/// What stood where a name should, if it is not its length that is wrong.
pub(super) fn quoted(text: &str) -> String {
    if is_longer(text, name::MAX_CHARS) { stand_in(text) } else { text.to_owned() }
}

fn measure(bytes: &[u8]) -> String {
    format!("{}-bytes:sha256:{}", bytes.len(), hex(&Sha256::digest(bytes)))
}
