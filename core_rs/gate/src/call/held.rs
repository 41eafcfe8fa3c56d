//! Waiting for a person, and going on with exactly what was approved.

use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::approval::is_open;
use cmdop_contract::v1::{
    self, Approval, ApprovalStatus, ApprovalVerdict, AutonomyLevel, CallState, Outcome, Reason, VoidCause,
    server_to_host,
};
use cmdop_contract::{reason, redact};
use cmdop_ledger::{Clearance, voided};
use cmdop_policy::decide::{Ask, Decided, DiffDecided};

use super::decide::forgotten;
use super::{Driver, FULL};
use crate::live::Input;

/// How long nobody looks at the clock, which may have been set ahead meanwhile.
const LOOK: Duration = Duration::from_secs(60);

/// Time between two looks at an approval that is being decided at its last moment.
const AGAIN: Duration = Duration::from_millis(20);

impl Driver {
    /// HELD and DIFF_HELD: waits until everybody agreed who must. Silence is a refusal.
    pub(super) async fn await_person(&mut self) -> Result<(), v1::Error> {
        let mut least = Duration::ZERO;
        if let Some(cause) = self.outlived() {
            return self.void(cause).await;
        }
        loop {
            let approval = self.call.approval.clone().unwrap_or_default();
            match approval.status() {
                ApprovalStatus::Pending => {}
                ApprovalStatus::Approved => return self.proceed(&approval).await,
                _ => return self.turn_down(&approval).await,
            }
            let left = approval.expires_at.saturating_sub(self.gate.shared().ledger.now());
            let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0));
            tokio::select! {
                input = self.reins.inputs.recv() => match input {
                    Some(Input::Decided(answered)) if answered.approval_id == approval.approval_id => {
                        self.take_answer(*answered);
                    }
                    Some(Input::Instead(action)) => self.instead = Some(action),
                    Some(Input::Cancel { why }) => {
                        if self.cancel_held(&approval, why).await? {
                            return Ok(());
                        }
                    }
                    // An approval is about the policy under which it was asked.
                    Some(Input::PolicyChanged) => return self.void(VoidCause::PolicyChanged).await,
                    Some(Input::Terminated) => return self.void(VoidCause::Terminated).await,
                    Some(Input::Report(report)) => self.acknowledge_earlier(report.permit_id),
                    Some(_) => {}
                    None => return Err(super::internal("the server is stopping")),
                },
                () = tokio::time::sleep(left.max(least).min(LOOK)) => {
                    if left > LOOK && self.gate.shared().ledger.now() < approval.expires_at {
                        continue;
                    }
                    least = match self.gate.expire_approvals(&approval.approval_id).await {
                        Ok(found) => {
                            found.into_iter().for_each(|answered| self.take_answer(answered));
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

    /// Why the question is void already: what it is about changed while nobody waited here, or just before it was
    /// asked.
    fn outlived(&self) -> Option<VoidCause> {
        let approval = self.call.approval.as_ref().filter(|approval| is_open(approval))?;
        if self.has_forgotten() {
            return Some(VoidCause::CallEnded);
        }
        let requester = approval.requester.clone().unwrap_or_default();
        let shared = self.gate.shared();
        if approval.policy_version != shared.policy.engine().version() {
            return Some(VoidCause::PolicyChanged);
        }
        if shared.ledger.check_ended(&requester).is_err() {
            return Some(VoidCause::Terminated);
        }
        shared.ledger.is_superseded(&requester, self.call.proposed_at).then_some(VoidCause::Superseded)
    }

    /// Takes in what somebody answered, unless it is older than what is known.
    fn take_answer(&mut self, answered: Approval) {
        let known = self.call.approval.as_ref().map_or(0, |approval| approval.answers.len());
        if answered.answers.len() < known {
            return;
        }
        let is_open = answered.status() == ApprovalStatus::Pending;
        Arc::make_mut(&mut self.call).approval = Some(answered);
        if is_open {
            // Whoever watches sees who agreed so far.
            self.publish(None);
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
        let mut ask = self.asked_under(None)?;
        let is_it = |ask: &Ask| ask.digest() == approval.digest;
        let decided = self.call.decision.as_ref().map(|decision| decision.level());
        if let Some(level) = decided.filter(|level| *level != AutonomyLevel::Unspecified)
            && !ask.as_ref().is_some_and(is_it)
        {
            // The agent may have another level by now: a person was asked, and what they saw is the same.
            ask = self.asked_under(Some(level))?.filter(is_it).or(ask);
        }
        match ask {
            Some(ask) if ask.digest() == approval.digest => {
                self.permit(Clearance::Approved(ask, approval.approval_id.clone())).await
            }
            Some(ask) if ask.decision().policy_version != approval.policy_version => {
                self.void(VoidCause::PolicyChanged).await
            }
            _ => self.void(VoidCause::StateChanged).await,
        }
    }

    /// What a person is asked about the call now, if anything.
    fn asked_under(&self, level: Option<AutonomyLevel>) -> Result<Option<Ask>, v1::Error> {
        if self.call.state() == CallState::DiffHeld {
            return Ok(match self.judge_observed(level)? {
                DiffDecided::Ask(ask) => Some(ask),
                _ => None,
            });
        }
        Ok(match self.judge(level)? {
            Decided::Ask(ask) => Some(ask),
            _ => None,
        })
    }

    async fn turn_down(&mut self, approval: &Approval) -> Result<(), v1::Error> {
        let decision = approval.decision.clone().unwrap_or_default();
        let by = |what: &str| match decision.comment.as_str() {
            "" => format!("{} {what} the call", decision.approver),
            comment => format!("{} {what} the call: {comment}", decision.approver),
        };
        let error = match approval.status() {
            ApprovalStatus::Rejected if decision.verdict() == ApprovalVerdict::Terminate => {
                reason::error(Reason::RunTerminated, by("rejected and ended the run of"))
            }
            ApprovalStatus::Rejected => reason::error(Reason::ApprovalRejected, by("rejected")),
            ApprovalStatus::Expired => {
                reason::error(Reason::ApprovalExpired, "nobody decided in time, which is a refusal")
            }
            _ if self.has_forgotten() && approval.void_cause() == VoidCause::CallEnded => forgotten(),
            _ => voided(approval),
        };
        self.discard();
        if approval.void_cause() == VoidCause::Modified {
            let error = match self.replace(&decision).await {
                Ok(replacement) => {
                    let why = format!("call {replacement} is in its place: see what becomes of that");
                    self.replaced_by = Some(replacement);
                    error.stop(&why)
                }
                // Somebody took the key beforehand: nothing stands in its place, and it does not happen either.
                Err(conflict) if conflict.reason() == Reason::KeyConflict => conflict,
                Err(failure) => return Err(failure),
            };
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        self.settle(Outcome::NotApplied, None, Some(error)).await
    }

    /// Proposes what a person wants instead, and returns once that is durable. Its key makes it one call, however
    /// often this begins anew.
    async fn replace(&mut self, decision: &v1::ApprovalDecision) -> Result<String, v1::Error> {
        let approval_id = self.call.approval.as_ref().map_or("", |approval| &approval.approval_id);
        let was = self.call.proposal.clone().unwrap_or_default();
        let instead = v1::Proposal {
            action: self.instead(decision),
            actor: was.actor,
            idempotency_key: format!("modified-{approval_id}"),
            author_attempt: was.author_attempt + 1,
            model_call_id: was.model_call_id,
            replaces: Some(v1::Replaces { call_id: self.call.call_id.clone(), by: decision.approver.clone() }),
        };
        loop {
            match self.gate.submit_instead(instead.clone()).await {
                Ok(ticket) => {
                    let call_id = ticket.call_id();
                    while self.gate.is_open(&call_id) && self.gate.shared().ledger.call(&call_id).await?.is_none() {
                        tokio::time::sleep(AGAIN).await;
                    }
                    if self.gate.shared().ledger.call(&call_id).await?.is_some() {
                        return Ok(call_id);
                    }
                    tokio::time::sleep(FULL).await;
                }
                Err(error) if error.reason() == Reason::LoadShed => tokio::time::sleep(FULL).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// What a person wants instead. Where they left the mark of a secret that they were not shown, they meant it.
    fn instead(&self, decision: &v1::ApprovalDecision) -> Option<v1::Action> {
        let mut action = self.instead.as_deref().or(decision.action.as_ref()).cloned()?;
        if let Some(whole) = self.whole.as_ref().and_then(|whole| whole.action.as_ref()) {
            action.arguments_json = redact::restored(&action.arguments_json, &whole.arguments_json, &self.known);
        }
        Some(action)
    }

    /// Rejects what is held. False if somebody else was faster: their verdict comes through the queue
    /// once it is durable, and nothing is settled before it.
    async fn cancel_held(&mut self, approval: &Approval, why: String) -> Result<bool, v1::Error> {
        let withdrawn = loop {
            match self.gate.shared().ledger.withdraw(&approval.approval_id, &why).await {
                Err(cmdop_ledger::Error::Full(_)) => tokio::time::sleep(FULL).await,
                withdrawn => break withdrawn,
            }
        };
        match withdrawn {
            Ok(approval) => {
                Arc::make_mut(&mut self.call).approval = Some(approval.clone());
                self.gate.announce(approval);
            }
            Err(cmdop_ledger::Error::Typed(_)) => {
                self.cancelled = Some(super::cancelled(&why));
                return Ok(false);
            }
            Err(error) => return Err(self.unrecorded(error)),
        }
        self.discard();
        let error = reason::error(Reason::Cancelled, format!("cancelled while held: {why}"));
        self.settle(Outcome::NotApplied, None, Some(error)).await?;
        Ok(true)
    }

    /// Ends a held call whose question is not so any more, unless somebody's answer ended it first.
    async fn void(&mut self, cause: VoidCause) -> Result<(), v1::Error> {
        let approval_id = self.call.approval.as_ref().map(|approval| approval.approval_id.clone()).unwrap_or_default();
        let voided = loop {
            match self.gate.shared().ledger.void(&approval_id, cause).await {
                Err(cmdop_ledger::Error::Full(_)) => tokio::time::sleep(FULL).await,
                voided => break voided,
            }
        };
        let ended = match voided {
            Ok(approval) => {
                self.gate.announce(approval.clone());
                approval
            }
            // Durable already: whoever answered holds the ledger until it is.
            Err(cmdop_ledger::Error::Typed(_)) => {
                self.gate.shared().ledger.approval(&approval_id).await?.unwrap_or_default()
            }
            Err(error) => return Err(self.unrecorded(error)),
        };
        Arc::make_mut(&mut self.call).approval = Some(ended.clone());
        self.turn_down(&ended).await
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
                        self.cancelled = Some(super::cancelled(&why));
                        return Ok(());
                    }
                    Some(Input::Terminated) => {
                        self.cancelled = self.terminated();
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
