//! Calls, approvals, runs and traces cut to what a message may hold. What is cut is marked with its full size and digest.

mod knife;
mod trace;

use prost::Message;

use crate::v1::{
    self, Abridged, Action, Approval, ApprovalDecision, Call, Decision, Error, Observation, ObservedEffect, Permit,
    Prediction, Proposal, SideEffect, ToolResult, remedy,
};
use knife::Knife;

pub use trace::{run, trace};

/// Bytes of an answer to a client that does not say how many it takes: gRPC's default is 4 MiB.
pub const ANSWER_BYTES: usize = 3 << 20;

/// Bytes of one page of a list.
pub const PAGE_BYTES: usize = 2 << 20;

/// Bytes of one entry of a list.
pub const ENTRY_BYTES: usize = 16 << 10;

/// Bytes into which everything can be cut.
pub const LEAST_BYTES: usize = 8 << 10;

/// Bytes that one text or list may keep, from the first try to the last.
const CAPS: [usize; 8] = [2 << 20, 1 << 20, 256 << 10, 64 << 10, 16 << 10, 4 << 10, 1 << 10, 256];

/// A text that stands a second time is left out before anything else is cut, unless it is as short as this.
const REPEATED: usize = 1 << 10;

/// The call in at most `most` bytes, which are [`LEAST_BYTES`] or more.
#[must_use]
pub fn call(call: Call, most: usize) -> Call {
    cut(call, most, cut_call, |call| &mut call.abridged, bare_call)
}

/// The approval in at most `most` bytes, which are [`LEAST_BYTES`] or more.
#[must_use]
pub fn approval(approval: Approval, most: usize) -> Approval {
    let cut_it = |knife: &mut Knife, approval: &mut Approval| cut_approval(knife, "", approval);
    cut(approval, most, cut_it, |approval| &mut approval.abridged, bare_approval)
}

fn cut<M: Message>(
    mut message: M,
    most: usize,
    cut_it: impl Fn(&mut Knife, &mut M),
    marks: impl Fn(&mut M) -> &mut Vec<Abridged>,
    bare: impl Fn(M) -> M,
) -> M {
    let bytes = message.encoded_len();
    if bytes <= most {
        return message;
    }
    let mut knife = Knife::default();
    for cap in CAPS.into_iter().filter(|cap| *cap < most) {
        knife.cap = cap;
        cut_it(&mut knife, &mut message);
        *marks(&mut message) = knife.marks();
        if message.encoded_len() <= most {
            return message;
        }
    }
    let mut message = bare(message);
    *marks(&mut message) = vec![Abridged { bytes: bytes as u64, ..Abridged::default() }];
    message
}

fn cut_call(knife: &mut Knife, call: &mut Call) {
    let arguments = call.proposal.as_ref().and_then(|it| it.action.as_ref()).map(|it| it.arguments_json.clone());
    let arguments = arguments.filter(|text| text.len() > REPEATED).unwrap_or_default();
    for (at, permit) in call.permits.iter_mut().enumerate() {
        let pointer = format!("/permits/{at}");
        if let Some(action) = &mut permit.action {
            knife.once(&format!("{pointer}/action"), &arguments, action);
        }
        cut_permit(knife, &pointer, permit);
    }
    if let Some(approval) = &mut call.approval {
        if let Some(action) = &mut approval.action {
            knife.once("/approval/action", &arguments, action);
        }
        cut_approval(knife, "/approval", approval);
    }
    if let Some(Proposal { action: Some(action), .. }) = &mut call.proposal {
        cut_action(knife, "/proposal/action", action);
    }
    if let Some(Decision { policies, reason, permitted, .. }) = &mut call.decision {
        knife.list("/decision/policies", policies);
        knife.text("/decision/reason", reason);
        knife.list("/decision/permitted", permitted);
    }
    if let Some(Prediction { effects, unanalysable, .. }) = &mut call.prediction {
        knife.list("/prediction/effects", effects);
        knife.texts("/prediction/unanalysable", unanalysable);
    }
    knife.list("/declared", &mut call.declared);
    if let Some(observation) = &mut call.observation {
        cut_observation(knife, "/observation", observation);
    }
    cut_side_effects(knife, "/side_effects", &mut call.side_effects);
    if let Some(ToolResult { result_json, error, .. }) = &mut call.result {
        knife.json("/result/result_json", result_json);
        cut_error(knife, "/result/error", error.as_mut());
    }
    cut_error(knife, "/error", call.error.as_mut());
}

fn cut_permit(knife: &mut Knife, pointer: &str, permit: &mut Permit) {
    if let Some(action) = &mut permit.action {
        cut_action(knife, &format!("{pointer}/action"), action);
    }
    knife.list(&format!("{pointer}/effects"), &mut permit.effects);
    if let Some(masks) = &mut permit.masks {
        knife.texts(&format!("{pointer}/masks/shown"), &mut masks.shown);
    }
}

fn cut_action(knife: &mut Knife, pointer: &str, action: &mut Action) {
    knife.json(&format!("{pointer}/arguments_json"), &mut action.arguments_json);
    knife.text(&format!("{pointer}/intent"), &mut action.intent);
    knife.list(&format!("{pointer}/expect"), &mut action.expect);
}

fn cut_approval(knife: &mut Knife, pointer: &str, approval: &mut Approval) {
    if let Some(action) = &mut approval.action {
        cut_action(knife, &format!("{pointer}/action"), action);
    }
    knife.text(&format!("{pointer}/why"), &mut approval.why);
    knife.list(&format!("{pointer}/policies"), &mut approval.policies);
    knife.list(&format!("{pointer}/effects"), &mut approval.effects);
    if let Some(diff) = &mut approval.diff {
        cut_observation(knife, &format!("{pointer}/diff"), diff);
    }
    cut_side_effects(knife, &format!("{pointer}/beyond"), &mut approval.beyond);
    if let Some(ApprovalDecision { action: Some(action), .. }) = &mut approval.decision {
        cut_action(knife, &format!("{pointer}/decision/action"), action);
    }
    knife.list(&format!("{pointer}/quorums"), &mut approval.quorums);
    knife.list(&format!("{pointer}/answers"), &mut approval.answers);
    knife.texts(&format!("{pointer}/irreversible"), &mut approval.irreversible);
}

fn cut_observation(knife: &mut Knife, pointer: &str, observation: &mut Observation) {
    let lists =
        [("effects", &mut observation.effects), ("looks", &mut observation.looks), ("ended", &mut observation.ended)];
    for (name, effects) in lists {
        let pointer = format!("{pointer}/{name}");
        knife.lightened(&pointer, effects, without_text);
        knife.list(&pointer, effects);
    }
    knife.list(&format!("{pointer}/unobserved"), &mut observation.unobserved);
    knife.list(&format!("{pointer}/refused"), &mut observation.refused);
    knife.texts(&format!("{pointer}/masked"), &mut observation.masked);
    knife.list(&format!("{pointer}/attempts"), &mut observation.attempts);
}

fn cut_side_effects(knife: &mut Knife, pointer: &str, side_effects: &mut Vec<SideEffect>) {
    let lighten = |side_effect: &mut SideEffect| side_effect.effect.as_mut().into_iter().for_each(without_text);
    knife.lightened(pointer, side_effects, lighten);
    knife.list(pointer, side_effects);
}

/// What a file's text and attributes became is the largest part of an effect, and the first that can be missed.
fn without_text(effect: &mut ObservedEffect) {
    let Some(file) = &mut effect.file else { return };
    if !file.text_diff.is_empty() {
        file.text_diff.clear();
        file.text_diff_truncated = true;
    }
    let states = file.before.iter_mut().chain(&mut file.after);
    states.flat_map(|state| &mut state.xattrs).for_each(|xattr| xattr.shown = None);
}

fn cut_error(knife: &mut Knife, pointer: &str, error: Option<&mut Error>) {
    let Some(error) = error else { return };
    knife.text(&format!("{pointer}/message"), &mut error.message);
    knife.list(&format!("{pointer}/violations"), &mut error.violations);
    knife.list(&format!("{pointer}/policies"), &mut error.policies);
    match error.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()) {
        Some(remedy::Kind::DeclareEffect(declare)) => {
            knife.list(&format!("{pointer}/remedy/declare_effect/effects"), &mut declare.effects);
        }
        Some(remedy::Kind::NarrowEffect(narrow)) => {
            let pointer = format!("{pointer}/remedy/narrow_effect");
            knife.text(&format!("{pointer}/predicted"), &mut narrow.predicted);
            knife.text(&format!("{pointer}/declared"), &mut narrow.declared);
            knife.texts(&format!("{pointer}/allowed_beneath"), &mut narrow.allowed_beneath);
        }
        _ => {}
    }
}

/// What no size of its parts can make too large.
fn bare_call(call: Call) -> Call {
    let proposal = call.proposal.map(|proposal| Proposal {
        action: proposal.action.map(|action| Action { tool: action.tool, host: action.host, ..Action::default() }),
        ..proposal
    });
    let error = call.error.map(|error| Error { reason: error.reason, call_id: error.call_id, ..Error::default() });
    Call {
        call_id: call.call_id,
        proposal,
        state: call.state,
        outcome: call.outcome,
        score: call.score,
        error,
        attempt: call.attempt,
        proposed_at: call.proposed_at,
        settled_at: call.settled_at,
        action_digest: call.action_digest,
        replaced_by: call.replaced_by,
        reconciliation: call.reconciliation,
        ..Call::default()
    }
}

fn bare_approval(approval: Approval) -> Approval {
    Approval {
        approval_id: approval.approval_id,
        call_id: approval.call_id,
        subject: approval.subject,
        status: approval.status,
        digest: approval.digest,
        requester: approval.requester.map(|requester| v1::Actor { ..requester }),
        created_at: approval.created_at,
        expires_at: approval.expires_at,
        void_cause: approval.void_cause,
        policy_version: approval.policy_version,
        author: approval.author,
        ..Approval::default()
    }
}

#[cfg(test)]
mod tests;
