//! Waiting for a person, and going on with exactly what was approved.

use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Approval, ApprovalStatus, ApprovalVerdict, CallState, Outcome, Reason, server_to_host};
use cmdop_ledger::{CANCELLED, Clearance};
use cmdop_policy::decide::{Ask, Decided, DiffDecided};

use super::{Driver, FULL};
use crate::gate::now;
use crate::live::Input;

/// Time between two looks at an approval that is being decided at its last moment.
const AGAIN: Duration = Duration::from_millis(20);

impl Driver {
    /// HELD and DIFF_HELD: waits for the verdict. Silence is a refusal.
    pub(super) async fn await_person(&mut self) -> Result<(), v1::Error> {
        let mut approval = self.call.approval.clone().unwrap_or_default();
        let mut least = Duration::ZERO;
        loop {
            match approval.status() {
                ApprovalStatus::Pending => {}
                ApprovalStatus::Approved => return self.proceed(&approval).await,
                _ => return self.turn_down(&approval).await,
            }
            let left = Duration::from_nanos(u64::try_from(approval.expires_at - now()).unwrap_or(0));
            tokio::select! {
                input = self.reins.inputs.recv() => match input {
                    Some(Input::Decided(decided)) if decided.approval_id == approval.approval_id => {
                        approval = *decided;
                        Arc::make_mut(&mut self.call).approval = Some(approval.clone());
                    }
                    Some(Input::Cancel { why }) => {
                        if self.cancel_held(&approval, why).await? {
                            return Ok(());
                        }
                    }
                    // An approval is about the policy under which it was asked.
                    Some(Input::PolicyChanged) => {
                        self.discard();
                        return self.void("the policy changed since this was asked; propose the call again").await;
                    }
                    Some(Input::Report(report)) => self.acknowledge_earlier(report.permit_id),
                    Some(_) => {}
                    None => return Err(super::internal("the server is stopping")),
                },
                () = tokio::time::sleep(left.max(least)) => {
                    least = match self.gate.expire_approvals(&approval.approval_id).await {
                        Ok(found) => {
                            if let Some(now) = found {
                                approval = now;
                                Arc::make_mut(&mut self.call).approval = Some(approval.clone());
                            }
                            // Whoever decides it at this very moment is not durable yet.
                            AGAIN
                        }
                        // It expires as soon as that can be recorded and read.
                        Err(error) if matches!(error.reason(), Reason::StorageFull | Reason::StorageError) => FULL,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// Decides anew and goes on only if the answer is still the question that was approved.
    async fn proceed(&mut self, approval: &Approval) -> Result<(), v1::Error> {
        if let Err(error) = self.await_attached().await {
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        if let Err(error) = self.consider().await {
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        let ask: Option<Ask> = if self.call.state() == CallState::DiffHeld {
            match self.judge_observed()? {
                DiffDecided::Ask(ask) => Some(ask),
                _ => None,
            }
        } else {
            match self.judge()? {
                Decided::Ask(ask) => Some(ask),
                _ => None,
            }
        };
        match ask {
            Some(ask) if ask.digest() == approval.digest => {
                self.permit(Clearance::Approved(ask, approval.approval_id.clone())).await
            }
            _ => self.void("policy would decide otherwise now than when this was asked; propose the call again").await,
        }
    }

    async fn turn_down(&mut self, approval: &Approval) -> Result<(), v1::Error> {
        let decision = approval.decision.clone().unwrap_or_default();
        let by = |what: &str| match decision.comment.as_str() {
            "" => format!("{} {what} the call", decision.approver),
            comment => format!("{} {what} the call: {comment}", decision.approver),
        };
        let (why, message) = match approval.status() {
            ApprovalStatus::Rejected if decision.verdict() == ApprovalVerdict::Terminate => {
                (Reason::ApprovalRejected, by("rejected and ended the run of"))
            }
            ApprovalStatus::Rejected => (Reason::ApprovalRejected, by("rejected")),
            ApprovalStatus::Expired => (Reason::ApprovalExpired, "nobody decided in time, which is a refusal".into()),
            _ => (Reason::ApprovalVoid, "the approval no longer holds; propose the call again".into()),
        };
        self.discard();
        self.settle(Outcome::NotApplied, None, Some(reason::error(why, message))).await
    }

    /// Rejects what is held. False if somebody else was faster: their verdict comes through the queue
    /// once it is durable, and nothing is settled before it.
    async fn cancel_held(&mut self, approval: &Approval, why: String) -> Result<bool, v1::Error> {
        let request = v1::DecideApprovalRequest {
            approval_id: approval.approval_id.clone(),
            verdict: ApprovalVerdict::Reject.into(),
            approver: CANCELLED.into(),
            comment: why.clone(),
            digest: approval.digest.clone(),
        };
        let decided = loop {
            match self.gate.shared().ledger.decide_approval(request.clone()).await {
                Err(cmdop_ledger::Error::Full(_)) => tokio::time::sleep(FULL).await,
                decided => break decided,
            }
        };
        match decided {
            Ok(approval) => {
                Arc::make_mut(&mut self.call).approval = Some(approval.clone());
                self.gate.announce(approval);
            }
            Err(cmdop_ledger::Error::Typed(_)) => {
                self.cancelled = Some(why);
                return Ok(false);
            }
            Err(error) => return Err(self.unrecorded(error)),
        }
        self.discard();
        let error = reason::error(Reason::Cancelled, format!("cancelled while held: {why}"));
        self.settle(Outcome::NotApplied, None, Some(error)).await?;
        Ok(true)
    }

    /// Lets the host throw the private layer away. If it is not there now, its retention does.
    pub(super) fn discard(&self) {
        if self.call.observation.is_some() {
            let discard = v1::Discard { call_id: self.call.call_id.clone() };
            let _ = self.send(server_to_host::Kind::Discard(discard));
        }
    }

    /// Waits for the host within its grace.
    pub(super) async fn await_attached(&mut self) -> Result<(), v1::Error> {
        let deadline = tokio::time::Instant::now() + self.gate.shared().options.host_grace;
        loop {
            let attached = self.gate.shared().hosts.attached(&self.live.host);
            let Err(error) = attached else { return Ok(()) };
            tokio::select! {
                input = self.reins.inputs.recv() => match input {
                    Some(Input::Report(report)) => self.acknowledge_earlier(report.permit_id),
                    Some(Input::Cancel { why }) => {
                        // No permit will be made: there is nobody to wait for.
                        self.cancelled = Some(why);
                        return Ok(());
                    }
                    Some(_) => {}
                    None => return Err(error),
                },
                () = tokio::time::sleep_until(deadline) => return Err(error),
            }
        }
    }
}
