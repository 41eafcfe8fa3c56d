//! Approvals: who answers, and what the calls that wait hear of it.

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Action, Approval, ApprovalVerdict, Proposal, Reason};
use cmdop_contract::validate::{Violations, check_actor, validate};
use tokio::sync::{broadcast, oneshot};

use super::Gate;
use crate::live::Input;

/// Characters of what a user says to an agent.
const MAX_TEXT_CHARS: usize = 100_000;

impl Gate {
    /// One approval.
    ///
    /// # Errors
    /// UNKNOWN_APPROVAL.
    pub async fn approval(&self, approval_id: &str) -> Result<Approval, v1::Error> {
        let found = self.shared.ledger.approval(approval_id).await?;
        found.ok_or_else(|| reason::error(Reason::UnknownApproval, format!("no approval `{approval_id}`")))
    }

    /// A page of approvals, newest first, each abridged.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn approvals(&self, request: v1::ListApprovalsRequest) -> Result<v1::ListApprovalsResponse, v1::Error> {
        Ok(self.shared.ledger.approvals(request).await?)
    }

    /// Every change of an approval from now on.
    #[must_use]
    pub fn watch_approvals(&self) -> broadcast::Receiver<Approval> {
        self.shared.approvals.subscribe()
    }

    /// Answers an approval. Returns once that is durable; the call goes on when nobody else must agree.
    ///
    /// # Errors
    /// UNKNOWN_APPROVAL, APPROVAL_NOT_PENDING, APPROVAL_VOID for another digest, NOT_APPROVER,
    /// CONFIRMATION_REQUIRED; what is wrong with the action that is to be done instead.
    pub async fn decide_approval(&self, request: v1::DecideApprovalRequest) -> Result<Approval, v1::Error> {
        if let (ApprovalVerdict::Modify, Some(instead)) = (request.verdict(), &request.action) {
            self.check_modification(&request.approval_id, instead).await?;
        }
        let (gate, (tell, told)) = (self.clone(), oneshot::channel());
        let instead = request.action.clone().filter(|_| request.verdict() == ApprovalVerdict::Modify);
        // Whoever decides may be gone a moment later; what they decided still reaches the call.
        self.shared.drivers.lock().spawn(async move {
            let groups = gate.shared.policy.engine().user_groups(&request.approver);
            let answered = gate.shared.ledger.decide_approval(request, &groups).await;
            if let Ok(answered) = &answered {
                if answered.approval.decision.as_ref().is_some_and(|it| it.verdict() == ApprovalVerdict::Terminate) {
                    // First: whose call ended looks at the run next.
                    gate.end_scope(&answered.approval).await;
                }
                if let Some(instead) = instead {
                    gate.notify(&answered.approval.call_id, Input::Instead(Box::new(instead))).await;
                }
                gate.pass_on(answered.approval.clone()).await;
                answered.voided.iter().for_each(|voided| gate.tell(voided.clone()));
            }
            let _ = tell.send(answered.map(|answered| answered.approval));
        });
        let stopping = || reason::error(Reason::Draining, "the server is stopping; look at the approval again");
        Ok(told.await.map_err(|_| stopping())??)
    }

    /// Records what the user says to an agent that works. What it proposed before and waits for a person is void.
    ///
    /// # Errors
    /// INVALID_ACTION for an actor without run and session or a text that is none; what the ledger says, and then
    /// nothing is void.
    pub async fn instruct(&self, request: v1::InstructRequest) -> Result<Vec<Approval>, v1::Error> {
        let mut actor = request.actor.unwrap_or_default();
        let mut found = Violations::new(self.shared.limits.violations);
        check_actor(&actor, &mut found);
        found.check_text("/text", &request.text, MAX_TEXT_CHARS);
        found.into_result()?;
        if actor.run.is_empty() && actor.session.is_empty() {
            let error = reason::error(Reason::InvalidAction, "an instruction is for a run or a session");
            return Err(error.fix_arguments("/actor/run", "the id of a run"));
        }
        if request.text.trim().is_empty() {
            let error = reason::error(Reason::InvalidAction, "an instruction says something");
            return Err(error.fix_arguments("/text", "what the user said"));
        }
        if !actor.run.is_empty() {
            self.run(&actor.run).await?;
        }
        if actor.tenant.is_empty() {
            actor.tenant = "local".into();
        }
        let voided = self.shared.ledger.instruct(actor, request.text).await?;
        voided.iter().for_each(|voided| self.tell(voided.clone()));
        Ok(voided)
    }

    /// Is this an action that can stand in the place of the one that is asked about?
    async fn check_modification(&self, approval_id: &str, instead: &Action) -> Result<(), v1::Error> {
        let approval = self.approval(approval_id).await?;
        let asked = approval.action.unwrap_or_default();
        let mut found = Violations::new(self.shared.limits.violations);
        for (path, is, must) in [("/tool", &instead.tool, &asked.tool), ("/host", &instead.host, &asked.host)] {
            if is != must {
                found.add(Reason::InvalidAction, path, must, is);
            }
        }
        found.into_result()?;
        if *instead == asked {
            let error =
                reason::error(Reason::InvalidAction, "a modification changes something; this is what was asked");
            return Err(error.fix_arguments("/action", "another action, or approve this one"));
        }
        let home = self.shared.hosts.get(&asked.host)?.home.clone();
        let proposal = Proposal { action: Some(instead.clone()), actor: approval.requester, ..Proposal::default() };
        validate(&self.shared.registry, proposal, &self.shared.limits, &home).map(drop)
    }

    /// A person ended the run or session of this approval: its calls stop, and a run is recorded as over.
    async fn end_scope(&self, approval: &Approval) {
        let requester = approval.requester.clone().unwrap_or_default();
        let open: Vec<_> = self.shared.live.lock().values().cloned().collect();
        for live in open {
            let actor = live.actor().unwrap_or_default();
            if live.call_id != approval.call_id && self.shared.ledger.shares_scope(&requester, &actor) {
                // Nobody waits for room in a driver's queue while others are to be told.
                self.shared.drivers.lock().spawn(async move {
                    let _ = live.inputs.send(Input::Terminated).await;
                });
            }
        }
        if requester.run.is_empty() {
            return;
        }
        let decision = approval.decision.clone().unwrap_or_default();
        let why = match decision.comment.as_str() {
            "" => format!("{} ended it", decision.approver),
            comment => format!("{} ended it: {comment}", decision.approver),
        };
        let finish = v1::FinishRunRequest {
            run_id: requester.run,
            status: v1::RunStatus::Terminated.into(),
            why,
            ..v1::FinishRunRequest::default()
        };
        if let Err(error) = self.finish_run(finish).await {
            // Its calls are refused all the same.
            tracing::warn!(error = %error.message, "the end of a run could not be recorded");
        }
    }

    /// Tells watchers and the call.
    async fn pass_on(&self, approval: Approval) {
        self.announce(approval.clone());
        let call_id = approval.call_id.clone();
        self.notify(&call_id, Input::Decided(Box::new(approval))).await;
    }

    /// The same without waiting: nobody waits for room in another's queue, or their own, for they could wait for
    /// each other.
    fn tell(&self, approval: Approval) {
        let gate = self.clone();
        self.shared.drivers.lock().spawn(async move { gate.pass_on(approval).await });
    }

    pub(crate) fn announce(&self, approval: Approval) {
        // Without watchers there is nobody to tell.
        let _ = self.shared.approvals.send(approval);
    }

    /// Passes on or expires what is due, tells the other drivers, and returns the caller's own approval as it is now.
    pub(crate) async fn expire_approvals(&self, own: &str) -> Result<Option<Approval>, v1::Error> {
        let mut found = None;
        for approval in self.shared.ledger.expire_due(self.shared.ledger.now()).await? {
            if approval.approval_id == own {
                self.announce(approval.clone());
                found = Some(approval);
            } else {
                self.tell(approval);
            }
        }
        match found {
            Some(approval) => Ok(Some(approval)),
            // A person or another driver was faster.
            None => Ok(self.shared.ledger.approval(own).await?),
        }
    }
}
