//! Approvals: asked durably, answered by whoever must agree, void when what they are about is not so any more.

use std::time::Duration;

use cmdop_contract::approval::is_open;
use cmdop_contract::reason;
use cmdop_contract::redact::{self, Redacted};
use cmdop_contract::v1::{
    Actor, Approval, ApprovalDecided, ApprovalDecision, ApprovalStatus, ApprovalSubject, ApprovalVerdict, CallHeld,
    DecideApprovalRequest, Event, InstructionGiven, Observation, Proposal, Reason, VoidCause, event::Kind,
};
use cmdop_contract::validate::Violations;
use cmdop_policy::decide::Ask;

use super::answers::{self, Approver};
use super::denials::CANCELLED;
use super::scope::scope_of;
use super::{Entry, Ledger};
use crate::Error;

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

/// An answer, and what else is void by it.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The approval that was answered.
    pub approval: Approval,
    /// What the same run or session waits for, if the answer ended it.
    pub voided: Vec<Approval>,
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
        let created_at = self.now();
        let mut quorums = ask.quorums().to_vec();
        answers::begin(&mut quorums, created_at, ttl);
        let expires_at = answers::deadline(&quorums).unwrap_or(created_at);
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
            expires_at,
            quorums,
            irreversible: ask.irreversible().to_vec(),
            confirm: ask.confirm().to_owned(),
            policy_version: ask.decision().policy_version.clone(),
            author: proposal.replaces.as_ref().map(|replaces| replaces.by.clone()).unwrap_or_default(),
            ..Approval::default()
        };
        let held = Kind::CallHeld(CallHeld { approval: Some(approval) });
        let event = Redacted::of(Event { at: created_at, subject: call_id.to_owned(), kind: Some(held) });
        entries.push(Entry::from(&event));
        if let Err(error) = self.append_sparing(entries).await {
            entries.pop();
            return Err(error);
        }
        Ok(event.into_inner())
    }

    /// Records a person's answer to a pending approval. `groups` are those that they are in now.
    ///
    /// # Errors
    /// UNKNOWN_APPROVAL, APPROVAL_NOT_PENDING, APPROVAL_VOID for another digest, OWN_APPROVAL for an agent that decides on
    /// its own call, NOT_APPROVER for who may not answer or did already, CONFIRMATION_REQUIRED, INVALID_ACTION.
    pub async fn decide_approval(&self, request: DecideApprovalRequest, groups: &[String]) -> Result<Answered, Error> {
        check(&request)?;
        let by = Approver { name: &request.approver, groups };
        let decision = ApprovalDecision {
            verdict: request.verdict,
            approver: request.approver.clone(),
            comment: redact::text(&request.comment).into_owned(),
            decided_at: self.now(),
            action: request.action.clone().map(|mut action| {
                redact::action(&mut action);
                action
            }),
        };
        let _one_at_a_time = self.inner.answering.lock().await;
        let mut before = Vec::new();
        let answered = self.change_one(&request.approval_id, &mut before, |approval| {
            check_asked(approval, &request, decision.decided_at)?;
            answers::answer(approval, &decision, by, &request.confirm)
        });
        let approval = match answered {
            // A settled call's approvals are known to the index alone.
            Err(Error::Typed(error)) if error.reason() == Reason::UnknownApproval => {
                return Err(match self.approval(&request.approval_id).await? {
                    Some(_) => not_pending(),
                    None => Error::Typed(error),
                });
            }
            answered => answered?,
        };
        let (mut voided, mut scope, mut is_new) = (Vec::new(), String::new(), false);
        if decision.verdict() == ApprovalVerdict::Terminate {
            scope = scope_of(&approval.requester.clone().unwrap_or_default());
            is_new = self.inner.memory.lock().words.end(&scope);
            voided = self.void_in_scope(&scope, VoidCause::Terminated, &mut before);
        }
        let mut entries: Vec<Entry> =
            std::iter::once(&approval).chain(&voided).map(|it| Entry::from(&decided(it, self.now()))).collect();
        self.append(&mut entries).await.inspect_err(|error| {
            if is_new && matches!(error, Error::Full(_)) {
                self.inner.memory.lock().words.go_on(&scope);
            }
            self.undo(before, error);
        })?;
        Ok(Answered { approval, voided })
    }

    /// Rejects what is held because its own caller takes it back.
    ///
    /// # Errors
    /// APPROVAL_NOT_PENDING if somebody answered before; [`Error::Full`].
    pub async fn withdraw(&self, approval_id: &str, why: &str) -> Result<Approval, Error> {
        let decision = ApprovalDecision {
            verdict: ApprovalVerdict::Reject.into(),
            approver: CANCELLED.into(),
            comment: redact::text(why).into_owned(),
            decided_at: self.now(),
            action: None,
        };
        self.change_and_record(approval_id, |approval| {
            check_pending(approval)?;
            approval.status = ApprovalStatus::Rejected.into();
            approval.answers.push(decision.clone());
            approval.decision = Some(decision);
            Ok(())
        })
        .await
    }

    /// What it asks is not so any more.
    ///
    /// # Errors
    /// APPROVAL_NOT_PENDING if no permit could come of it anyway; [`Error::Full`].
    pub async fn void(&self, approval_id: &str, cause: VoidCause) -> Result<Approval, Error> {
        self.change_and_record(approval_id, |approval| {
            if !is_open(approval) {
                return Err(not_pending());
            }
            approval.status = ApprovalStatus::Void.into();
            approval.void_cause = cause.into();
            Ok(())
        })
        .await
    }

    /// Records a newer instruction of the user: what the run or session proposed before and waits for a person is
    /// void, and so is what it will ask about of that.
    ///
    /// # Errors
    /// [`Error::Full`], after which nothing is void.
    pub async fn instruct(&self, actor: Actor, text: String) -> Result<Vec<Approval>, Error> {
        let _one_at_a_time = self.inner.answering.lock().await;
        let (at, scope, mut before) = (self.now(), scope_of(&actor), Vec::new());
        let earlier = self.inner.memory.lock().words.instruct(&scope, at);
        let voided = self.void_in_scope(&scope, VoidCause::Superseded, &mut before);
        let given = Kind::InstructionGiven(InstructionGiven { actor: Some(actor.clone()), text });
        let subject = if actor.run.is_empty() { actor.session } else { actor.run };
        let given = Event { at, subject, kind: Some(given) };
        let mut entries: Vec<Entry> =
            std::iter::once(given).chain(voided.iter().map(|it| decided(it, at))).map(|it| Entry::from(&it)).collect();
        self.append(&mut entries).await.inspect_err(|error| {
            if matches!(error, Error::Full(_)) {
                self.inner.memory.lock().words.restore(&scope, earlier);
            }
            self.undo(before, error);
        })?;
        Ok(voided)
    }

    /// What is due goes on to the next group of its chain or expires, durably. Returns what changed.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub async fn expire_due(&self, at: i64) -> Result<Vec<Approval>, Error> {
        let _one_at_a_time = self.inner.answering.lock().await;
        let (mut before, mut due) = (Vec::new(), Vec::new());
        for approval in self.inner.memory.lock().approvals.values_mut() {
            if approval.status() == ApprovalStatus::Pending && approval.expires_at <= at {
                before.push(approval.clone());
                answers::run_out(approval, at);
                due.push(approval.clone());
            }
        }
        if !due.is_empty() {
            let mut entries = due.iter().map(|approval| Entry::from(&decided(approval, at))).collect();
            self.append(&mut entries).await.inspect_err(|error| self.undo(before, error))?;
        }
        Ok(due)
    }

    async fn change_and_record(
        &self,
        approval_id: &str,
        change: impl FnOnce(&mut Approval) -> Result<(), Error>,
    ) -> Result<Approval, Error> {
        let _one_at_a_time = self.inner.answering.lock().await;
        let mut before = Vec::new();
        let changed = self.change_one(approval_id, &mut before, change)?;
        let recorded = self.append(&mut vec![Entry::from(&decided(&changed, self.now()))]).await;
        recorded.inspect_err(|error| self.undo(before, error))?;
        Ok(changed)
    }

    /// Changes an approval of an open call in memory, whole or not at all.
    fn change_one(
        &self,
        approval_id: &str,
        before: &mut Vec<Approval>,
        change: impl FnOnce(&mut Approval) -> Result<(), Error>,
    ) -> Result<Approval, Error> {
        let mut memory = self.inner.memory.lock();
        let unknown = || Error::typed(Reason::UnknownApproval, format!("no approval `{approval_id}`"));
        let approval = memory.approvals.get_mut(approval_id).ok_or_else(unknown)?;
        let mut changed = approval.clone();
        change(&mut changed)?;
        before.push(std::mem::replace(approval, changed.clone()));
        Ok(changed)
    }

    fn void_in_scope(&self, scope: &str, cause: VoidCause, before: &mut Vec<Approval>) -> Vec<Approval> {
        let mut voided = Vec::new();
        if scope.is_empty() {
            return voided;
        }
        let memory = &mut *self.inner.memory.lock();
        for approval in memory.approvals.values_mut().filter(|it| is_open(it)) {
            if memory.words.is_in(scope, &approval.requester.clone().unwrap_or_default()) {
                before.push(approval.clone());
                approval.status = ApprovalStatus::Void.into();
                approval.void_cause = cause.into();
                voided.push(approval.clone());
            }
        }
        voided
    }

    /// Answers of which nothing was recorded were none. What is uncertain stays answered.
    fn undo(&self, before: Vec<Approval>, error: &Error) {
        if !matches!(error, Error::Full(_)) {
            return;
        }
        let mut memory = self.inner.memory.lock();
        for was in before {
            // A call that ended meanwhile took its approvals along.
            if let Some(approval) = memory.approvals.get_mut(&was.approval_id) {
                *approval = was;
            }
        }
    }
}

/// Is the request well formed, and from a person?
fn check(request: &DecideApprovalRequest) -> Result<(), Error> {
    let mut found = Violations::new(4);
    found.check_name("/approver", &request.approver);
    found.check_text("/comment", &request.comment, MAX_COMMENT_CHARS);
    found.into_result().map_err(|error| Error::Typed(Box::new(error)))?;
    if !request.agent.is_empty() {
        let message = format!("people answer approvals; the agent `{}` does not", request.agent);
        return Err(Error::typed(Reason::NotApprover, message));
    }
    if request.approver == CANCELLED {
        return Err(Error::typed(Reason::NotApprover, format!("`{CANCELLED}` is nobody's name")));
    }
    if request.verdict() == ApprovalVerdict::Modify && request.action.is_none() {
        let error = reason::error(Reason::InvalidAction, "a modification says what is to be done instead");
        return Err(Error::Typed(Box::new(error.fix_arguments("/action", "the whole action"))));
    }
    Ok(())
}

/// Is this approval still asked, and is it what was looked at?
fn check_asked(approval: &Approval, request: &DecideApprovalRequest, at: i64) -> Result<(), Error> {
    check_pending(approval)?;
    if at >= approval.expires_at {
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
        return Err(Error::Typed(Box::new(error.call_id(&approval.call_id))));
    }
    let scope = scope_of(&requester);
    if request.verdict() == ApprovalVerdict::Terminate && scope.is_empty() {
        let error = reason::error(Reason::InvalidAction, "the call belongs to no run and no session that could end");
        return Err(Error::Typed(Box::new(error.fix_arguments("/verdict", "reject"))));
    }
    Ok(())
}

fn check_pending(approval: &Approval) -> Result<(), Error> {
    if approval.status() == ApprovalStatus::Pending { Ok(()) } else { Err(not_pending()) }
}

fn not_pending() -> Error {
    Error::typed(Reason::ApprovalNotPending, "the approval was decided, used, voided or expired already")
}

fn decided(approval: &Approval, at: i64) -> Event {
    let decided = ApprovalDecided {
        approval_id: approval.approval_id.clone(),
        status: approval.status,
        decision: approval.decision.clone(),
        quorums: approval.quorums.clone(),
        expires_at: approval.expires_at,
        void_cause: approval.void_cause,
    };
    Event { at, subject: approval.call_id.clone(), kind: Some(Kind::ApprovalDecided(decided)) }
}
