//! Approvals: asked durably, decided once, expired when nobody decides.

use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::v1::{
    Approval, ApprovalDecided, ApprovalDecision, ApprovalStatus, ApprovalSubject, ApprovalVerdict, CallHeld,
    DecideApprovalRequest, Event, Observation, Proposal, Reason, event::Kind,
};
use cmdop_contract::validate::Violations;
use cmdop_policy::decide::Ask;

use super::{Entry, Ledger};
use crate::{Error, now};

/// Characters of what an approver says.
const MAX_COMMENT_CHARS: usize = 2_000;

/// What a person is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The call.
    pub call_id: &'a str,
    /// What was proposed.
    pub proposal: &'a Proposal,
    /// What its preview measured, if there was one.
    pub diff: Option<&'a Observation>,
}

impl Ledger {
    /// Asks a person: records `entries` and the question in one durable batch.
    ///
    /// Returns the event that holds the call.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub async fn hold(
        &self,
        ask: Ask,
        about: Held<'_>,
        ttl: Duration,
        entries: &mut Vec<Entry>,
    ) -> Result<Event, Error> {
        let Held { call_id, proposal, diff } = about;
        let created_at = now();
        let approval = Approval {
            approval_id: uuid::Uuid::now_v7().simple().to_string(),
            call_id: call_id.to_owned(),
            subject: ask.subject().into(),
            status: ApprovalStatus::Pending.into(),
            digest: ask.digest(),
            action: proposal.action.clone(),
            requester: proposal.actor.clone(),
            why: ask.why().to_owned(),
            policies: ask.decision().policies.clone(),
            effects: ask.decision().permitted.clone(),
            diff: diff.filter(|_| ask.subject() == ApprovalSubject::Diff).cloned(),
            beyond: ask.beyond().to_vec(),
            created_at,
            expires_at: created_at + i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX / 2),
            decision: None,
        };
        let held = Kind::CallHeld(CallHeld { approval: Some(approval) });
        let event = Event { at: created_at, subject: call_id.to_owned(), kind: Some(held) };
        entries.push(Entry::from(&event));
        if let Err(error) = self.append_sparing(entries).await {
            entries.pop();
            return Err(error);
        }
        Ok(event)
    }

    /// Records a person's verdict on a pending approval. Of two people one decides.
    ///
    /// # Errors
    /// UNKNOWN_APPROVAL, APPROVAL_NOT_PENDING, APPROVAL_VOID for another digest or after its time,
    /// OWN_APPROVAL for an agent that decides on its own call, INVALID_ACTION for a verdict that is not available or
    /// a missing approver.
    pub async fn decide_approval(&self, request: DecideApprovalRequest) -> Result<Approval, Error> {
        let status = match request.verdict() {
            ApprovalVerdict::Approve => ApprovalStatus::Approved,
            ApprovalVerdict::Reject | ApprovalVerdict::Terminate => ApprovalStatus::Rejected,
            _ => return Err(Error::typed(Reason::InvalidAction, "the verdict is approve, reject or terminate")),
        };
        let mut found = Violations::new(2);
        found.check_name("/approver", &request.approver);
        found.check_length("/comment", &request.comment, MAX_COMMENT_CHARS);
        found.into_result().map_err(|error| Error::Typed(Box::new(error)))?;
        let decision = ApprovalDecision {
            verdict: request.verdict,
            approver: request.approver.clone(),
            comment: request.comment.clone(),
            decided_at: now(),
        };
        let approval = match self.decide_in_memory(&request, status, &decision) {
            Ok(approval) => approval,
            // A settled call's approvals are known to the index alone.
            Err(Error::Typed(error)) if error.reason() == Reason::UnknownApproval => {
                return Err(match self.approval(&request.approval_id).await? {
                    Some(_) => {
                        Error::typed(Reason::ApprovalNotPending, "the approval was decided, used or expired already")
                    }
                    None => Error::Typed(error),
                });
            }
            Err(error) => return Err(error),
        };
        let recorded = self.append(&mut vec![Entry::from(&decided(&approval))]).await;
        recorded.inspect_err(|error| self.undecide(std::slice::from_ref(&approval), error))?;
        Ok(approval)
    }

    fn decide_in_memory(
        &self,
        request: &DecideApprovalRequest,
        status: ApprovalStatus,
        decision: &ApprovalDecision,
    ) -> Result<Approval, Error> {
        let mut memory = self.inner.memory.lock();
        let unknown = || Error::typed(Reason::UnknownApproval, format!("no approval `{}`", request.approval_id));
        let approval = memory.approvals.get_mut(&request.approval_id).ok_or_else(unknown)?;
        if approval.status() != ApprovalStatus::Pending {
            return Err(Error::typed(Reason::ApprovalNotPending, "the approval was decided, used or expired already"));
        }
        if decision.decided_at >= approval.expires_at {
            return Err(Error::typed(Reason::ApprovalNotPending, "the approval's time is over; silence was a refusal"));
        }
        if request.digest != approval.digest {
            let message = format!(
                "you decided on the digest `{}`, but it is `{}`: look at it again",
                request.digest, approval.digest
            );
            let error = reason::error(Reason::ApprovalVoid, message).fix_arguments("/digest", &approval.digest);
            return Err(Error::Typed(Box::new(error)));
        }
        let requester = approval.requester.clone().unwrap_or_default();
        if !requester.agent.is_empty() && requester.agent == request.approver {
            let message = format!("`{}` made the call; somebody else decides on it", requester.agent);
            let error = reason::error(Reason::OwnApproval, message).request_approval(&approval.approval_id);
            let error = error.call_id(&approval.call_id);
            return Err(Error::Typed(Box::new(error)));
        }
        approval.status = status.into();
        approval.decision = Some(decision.clone());
        Ok(approval.clone())
    }

    /// Expires pending approvals whose time is over, durably, and returns them.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub async fn expire_due(&self, at: i64) -> Result<Vec<Approval>, Error> {
        let mut expired = Vec::new();
        for approval in self.inner.memory.lock().approvals.values_mut() {
            if approval.status() == ApprovalStatus::Pending && approval.expires_at <= at {
                approval.status = ApprovalStatus::Expired.into();
                expired.push(approval.clone());
            }
        }
        if !expired.is_empty() {
            let mut entries = expired.iter().map(|approval| Entry::from(&decided(approval))).collect();
            self.append(&mut entries).await.inspect_err(|error| self.undecide(&expired, error))?;
        }
        Ok(expired)
    }

    /// Verdicts of which nothing was recorded were none. What is uncertain stays decided.
    fn undecide(&self, approvals: &[Approval], error: &Error) {
        if !matches!(error, Error::Full(_)) {
            return;
        }
        let mut memory = self.inner.memory.lock();
        for decided in approvals {
            if let Some(approval) = memory.approvals.get_mut(&decided.approval_id) {
                approval.status = ApprovalStatus::Pending.into();
                approval.decision = None;
            }
        }
    }
}

fn decided(approval: &Approval) -> Event {
    let decided = ApprovalDecided {
        approval_id: approval.approval_id.clone(),
        status: approval.status,
        decision: approval.decision.clone(),
    };
    Event { at: now(), subject: approval.call_id.clone(), kind: Some(Kind::ApprovalDecided(decided)) }
}
