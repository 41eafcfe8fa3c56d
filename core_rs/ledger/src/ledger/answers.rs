//! What an answer does to a question: who may give it, whom it counts for, and what then is still missing.

use std::time::Duration;

use cmdop_contract::approval::{missing, missing_of};
use cmdop_contract::reason;
use cmdop_contract::v1::{
    self, Approval, ApprovalDecision, ApprovalStatus, ApprovalVerdict, Quorum, Reason, VoidCause,
};

use crate::Error;

/// A person who answers.
#[derive(Debug, Clone, Copy)]
pub struct Approver<'a> {
    /// Their name.
    pub name: &'a str,
    /// Groups of users that they are in now.
    pub groups: &'a [String],
}

/// Begins the first step of every quorum.
pub(super) fn begin(quorums: &mut [Quorum], at: i64, ttl: Duration) {
    let default = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    for quorum in quorums {
        for step in &mut quorum.chain {
            step.ttl_ms = if step.ttl_ms == 0 { default } else { step.ttl_ms };
        }
        quorum.expires_at = end_of_step(quorum, at);
    }
}

/// When the first of those that still wait ends.
pub(super) fn deadline(quorums: &[Quorum]) -> Option<i64> {
    quorums.iter().filter(|quorum| missing_of(quorum) > 0).map(|quorum| quorum.expires_at).min()
}

/// Puts a person's answer into the approval.
///
/// # Errors
/// NOT_APPROVER, CONFIRMATION_REQUIRED, INVALID_ACTION; the approval is then as it was.
pub(super) fn answer(
    approval: &mut Approval,
    decision: &ApprovalDecision,
    by: Approver<'_>,
    confirm: &str,
) -> Result<(), Error> {
    match decision.verdict() {
        ApprovalVerdict::Approve => approve(approval, by, confirm)?,
        ApprovalVerdict::Reject | ApprovalVerdict::Terminate => {
            check_refuses(approval, by)?;
            approval.status = ApprovalStatus::Rejected.into();
        }
        ApprovalVerdict::Modify => {
            if !approval.quorums.iter().any(|quorum| may(quorum, approval, by)) {
                return Err(not_approver(approval, by));
            }
            approval.status = ApprovalStatus::Void.into();
            approval.void_cause = VoidCause::Modified.into();
        }
        ApprovalVerdict::Escalate => escalate(approval, by, decision.decided_at)?,
        ApprovalVerdict::Unspecified => {
            let error = reason::error(Reason::InvalidAction, "an answer says what it is");
            let verdicts = "approve, modify, reject, escalate or terminate";
            return Err(Error::Typed(Box::new(error.fix_arguments("/verdict", verdicts))));
        }
    }
    approval.answers.push(decision.clone());
    approval.decision = Some(decision.clone());
    Ok(())
}

/// Counts an approval for every policy that this person may answer.
fn approve(approval: &mut Approval, by: Approver<'_>, confirm: &str) -> Result<(), Error> {
    let waits = |quorum: &Quorum| missing_of(quorum) > 0;
    let may = |quorum: &Quorum| waits(quorum) && may(quorum, approval, by);
    let counts: Vec<usize> = (0..approval.quorums.len()).filter(|index| may(&approval.quorums[*index])).collect();
    let is_new = |index: &&usize| !approval.quorums[**index].approved_by.iter().any(|name| name == by.name);
    if counts.is_empty() {
        return Err(not_approver(approval, by));
    }
    let counts: Vec<usize> = counts.iter().filter(is_new).copied().collect();
    if counts.is_empty() {
        let message = format!("{} approved already; {} more must, {}", by.name, missing(approval), whoever(approval));
        return Err(Error::typed(Reason::NotApprover, message));
    }
    if approval.confirm.is_empty() && !confirm.is_empty() {
        let message = format!("there is nothing to confirm, so `{confirm}` was meant for another approval");
        let error = reason::error(Reason::InvalidAction, message);
        return Err(Error::Typed(Box::new(error.fix_arguments("/confirm", "no confirmation"))));
    }
    if confirm != approval.confirm {
        let message = format!(
            "it cannot be taken back: {}; type `{}` to approve it",
            approval.irreversible.join(", "),
            approval.confirm
        );
        let error = reason::error(Reason::ConfirmationRequired, message);
        return Err(Error::Typed(Box::new(error.fix_arguments("/confirm", &approval.confirm))));
    }
    for index in counts {
        approval.quorums[index].approved_by.push(by.name.to_owned());
    }
    match deadline(&approval.quorums) {
        Some(deadline) => approval.expires_at = deadline,
        None => approval.status = ApprovalStatus::Approved.into(),
    }
    Ok(())
}

/// Passes the question on to the next group of each chain that this person may answer.
fn escalate(approval: &mut Approval, by: Approver<'_>, at: i64) -> Result<(), Error> {
    let snapshot = approval.clone();
    let mut is_theirs = false;
    let mut is_passed_on = false;
    for quorum in approval.quorums.iter_mut().filter(|quorum| missing_of(quorum) > 0) {
        if may(quorum, &snapshot, by) {
            is_theirs = true;
            is_passed_on |= pass_on(quorum, at);
        }
    }
    if !is_theirs {
        return Err(not_approver(approval, by));
    }
    if !is_passed_on {
        let error = reason::error(Reason::InvalidAction, "nobody stands behind whom this is put to");
        return Err(Error::Typed(Box::new(error.fix_arguments("/verdict", "approve, modify, reject or terminate"))));
    }
    approval.expires_at = deadline(&approval.quorums).unwrap_or(approval.expires_at);
    Ok(())
}

/// What is due goes to the next group of its chain, and where there is none, the question expires.
pub(super) fn run_out(approval: &mut Approval, at: i64) {
    let mut asked = Vec::new();
    for quorum in &mut approval.quorums {
        if missing_of(quorum) == 0 || quorum.expires_at > at {
            continue;
        }
        let group = group_of(quorum).to_owned();
        if !pass_on(quorum, at) {
            approval.status = ApprovalStatus::Expired.into();
            return;
        }
        asked.push(format!("nobody of `{group}` decided in time, so `{}` is asked", group_of(quorum)));
    }
    let Some(deadline) = deadline(&approval.quorums).filter(|_| !asked.is_empty()) else {
        approval.status = ApprovalStatus::Expired.into();
        return;
    };
    approval.expires_at = deadline;
    let decision = ApprovalDecision {
        verdict: ApprovalVerdict::Escalate.into(),
        comment: asked.join("; "),
        decided_at: at,
        ..ApprovalDecision::default()
    };
    approval.answers.push(decision.clone());
    approval.decision = Some(decision);
}

/// False if there is nobody behind.
fn pass_on(quorum: &mut Quorum, at: i64) -> bool {
    if quorum.step as usize + 1 >= quorum.chain.len() {
        return false;
    }
    quorum.step += 1;
    quorum.expires_at = end_of_step(quorum, at);
    true
}

fn end_of_step(quorum: &Quorum, at: i64) -> i64 {
    let ttl = quorum.chain.get(quorum.step as usize).map_or(0, |step| step.ttl_ms);
    at.saturating_add(i64::try_from(ttl.saturating_mul(1_000_000)).unwrap_or(i64::MAX / 2))
}

fn group_of(quorum: &Quorum) -> &str {
    quorum.chain.get(quorum.step as usize).map_or("", |step| &step.group)
}

/// May this person agree? Where a policy says who approves, whoever wants it done has no say: the user it is done
/// for, and who wrote the action. The agent never has.
fn may(quorum: &Quorum, approval: &Approval, by: Approver<'_>) -> bool {
    let group = group_of(quorum);
    let is_asked = group.is_empty() || by.groups.iter().any(|known| known == group);
    let requester = approval.requester.as_ref();
    let wants_it = requester.is_some_and(|it| it.user == by.name) || approval.author == by.name;
    is_asked && (quorum.policy.is_empty() || !wants_it)
}

/// Whoever is asked, now or later, may say no, and so may whoever wanted it.
fn check_refuses(approval: &Approval, by: Approver<'_>) -> Result<(), Error> {
    let in_chain =
        |quorum: &Quorum| quorum.chain.iter().any(|step| step.group.is_empty() || by.groups.contains(&step.group));
    let requester = approval.requester.clone().unwrap_or_default();
    let may = requester.user == by.name || approval.quorums.iter().any(in_chain);
    if may { Ok(()) } else { Err(not_approver(approval, by)) }
}

fn not_approver(approval: &Approval, by: Approver<'_>) -> Error {
    let requester = approval.requester.clone().unwrap_or_default();
    let why = if requester.user == by.name {
        "nobody approves what they want done themselves"
    } else if approval.author == by.name {
        "nobody approves what they wrote themselves"
    } else {
        "it is not put to them"
    };
    let message = format!("{} may not answer this: {why}; it waits for {}", by.name, whoever(approval));
    Error::typed(Reason::NotApprover, message)
}

/// Whom it waits for, in words.
fn whoever(approval: &Approval) -> String {
    let waiting = approval.quorums.iter().filter(|quorum| missing_of(quorum) > 0);
    let mut groups: Vec<String> = waiting
        .map(|quorum| match group_of(quorum) {
            "" => "somebody else".to_owned(),
            group => format!("somebody else of `{group}`"),
        })
        .collect();
    groups.sort();
    groups.dedup();
    groups.join(" and ")
}

/// Why a call whose question is void goes no further.
#[must_use]
pub fn voided(approval: &Approval) -> v1::Error {
    let by = approval.decision.as_ref().map_or("a person", |decision| &decision.approver);
    match approval.void_cause() {
        VoidCause::PolicyChanged => {
            reason::error(Reason::ApprovalVoid, "the policy changed since this was asked; propose the call again")
        }
        VoidCause::StateChanged => reason::error(
            Reason::ApprovalVoid,
            "policy would decide otherwise now than when this was asked; propose the call again",
        ),
        VoidCause::Modified => {
            reason::error(Reason::CallModified, format!("{by} put another action in the place of this one"))
        }
        VoidCause::Superseded => reason::error(
            Reason::Superseded,
            "the user gave a newer instruction while this waited for a person; nothing of it happens",
        ),
        VoidCause::Terminated => {
            reason::error(Reason::RunTerminated, "a person ended the run or session while this waited")
        }
        VoidCause::CallEnded | VoidCause::Unspecified => {
            reason::error(Reason::ApprovalVoid, "the approval no longer holds; propose the call again")
        }
    }
}
