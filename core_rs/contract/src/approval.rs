//! An approval is the fold of its question and the answers to it: here and nowhere else.

use crate::v1::{Approval, ApprovalDecided, ApprovalStatus, Quorum, VoidCause};

/// Can a permit still come of it?
#[must_use]
pub fn is_open(approval: &Approval) -> bool {
    matches!(approval.status(), ApprovalStatus::Pending | ApprovalStatus::Approved)
}

/// Takes in an answer. Taking in the last one again changes nothing.
pub fn answered(approval: &mut Approval, answer: &ApprovalDecided) {
    approval.status = answer.status;
    approval.void_cause = answer.void_cause;
    if !answer.quorums.is_empty() {
        approval.quorums.clone_from(&answer.quorums);
    }
    if answer.expires_at != 0 {
        approval.expires_at = answer.expires_at;
    }
    if let Some(decision) = &answer.decision {
        if approval.answers.last() != Some(decision) {
            approval.answers.push(decision.clone());
        }
        approval.decision = Some(decision.clone());
    }
}

/// Its call is over: a question that nobody needs answered any more must not be answered.
pub fn call_ended(approval: &mut Approval) {
    if is_open(approval) {
        approval.status = ApprovalStatus::Void.into();
        approval.void_cause = VoidCause::CallEnded.into();
    }
}

/// How many more people must agree because of one policy.
#[must_use]
pub fn missing_of(quorum: &Quorum) -> u32 {
    quorum.needed.saturating_sub(u32::try_from(quorum.approved_by.len()).unwrap_or(u32::MAX))
}

/// How many more people must agree at least: one person may count for several policies.
#[must_use]
pub fn missing(approval: &Approval) -> u32 {
    approval.quorums.iter().map(missing_of).max().unwrap_or_default()
}
