//! Permits: made here and nowhere else, behind a durable intent.

use std::time::Duration;

use cmdop_contract::redact::Redacted;
use cmdop_contract::v1::{
    self, ApprovalStatus, CallPermitted, Decision, Event, Permit, Proposal, Reason, SignedPermit, event::Kind,
};
use cmdop_policy::decide::{Ask, Grant};
use prost::Message;

use super::answers::voided;
use super::freezes::{Standing, frozen};
use super::grants::{Use, Wanting};
use super::{Entry, Ledger};
use crate::Error;

/// Why a permit may be made.
pub enum Clearance {
    /// Policy permits it.
    Granted(Grant),
    /// Policy asked, and this approval answers.
    Approved(Ask, String),
    /// Policy asked on this host, and standing grants answer.
    Standing(Ask, Standing),
}

/// What a permit is for.
#[derive(Debug, Clone)]
pub struct PermitRequest {
    /// The call.
    pub call_id: String,
    /// Counts from 1.
    pub attempt: u32,
    /// What was proposed. Its action must have the digest that policy decided on.
    pub proposal: Proposal,
    /// How long the permit may take to reach its host.
    pub ttl: Duration,
    /// The host, if the permit lets anything change: no freeze may then be in force there.
    pub changes: Option<Standing>,
    /// The host's ledger that notes it.
    pub ledger: i64,
}

/// A permit, and the event that records it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// What the host gets.
    pub signed: SignedPermit,
    /// The durable record.
    pub event: Event,
}

impl Clearance {
    /// What policy decided.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        match self {
            Self::Granted(grant) => grant.decision(),
            Self::Approved(ask, _) | Self::Standing(ask, _) => ask.decision(),
        }
    }

    fn action_digest(&self) -> &str {
        match self {
            Self::Granted(grant) => grant.action_digest(),
            Self::Approved(ask, _) | Self::Standing(ask, _) => ask.action_digest(),
        }
    }

    fn observation_digest(&self) -> Option<&str> {
        match self {
            Self::Granted(grant) => grant.observation_digest(),
            Self::Approved(ask, _) | Self::Standing(ask, _) => ask.observation_digest(),
        }
    }

    fn approval_id(&self) -> &str {
        match self {
            Self::Granted(_) | Self::Standing(..) => "",
            Self::Approved(_, approval_id) => approval_id,
        }
    }
}

impl Ledger {
    /// Makes the one permit of an attempt's stage: records `entries` and the intent in one durable
    /// batch, consumes the approval with it, and only then signs.
    ///
    /// # Errors
    /// UNKNOWN_GRANT if standing grants do not answer any more; FROZEN if nothing may change there now; RUN_TERMINATED if a person ended the run or session; APPROVAL_VOID or APPROVAL_NOT_PENDING if the approval does not answer this question now;
    /// [`Error::Poisoned`]. No permit exists then.
    pub async fn permit(
        &self,
        clearance: Clearance,
        request: PermitRequest,
        entries: &mut Vec<Entry>,
    ) -> Result<Issued, Error> {
        let changes = request.changes.clone();
        // A host compares with its own clock, so this is the machine's.
        let permit = content(&clearance, request, self.inner.clock.wall())?;
        let grants = self.take(&clearance, &permit, changes.as_ref())?;
        let (at, subject) = (self.now(), permit.call_id.clone());
        let encoded = permit.encode_to_vec();
        let intent = CallPermitted { permit: Some(permit), approval_id: clearance.approval_id().into(), grants };
        // What leaves is the whole; what stays has no secrets.
        let event = Redacted::of(Event { at, subject, kind: Some(Kind::CallPermitted(intent)) });
        entries.push(Entry::from(&event));
        if let Err(error) = self.append_sparing(entries).await {
            entries.pop();
            self.give_back(&clearance, &event, &error);
            return Err(error);
        }
        let unsigned = || Error::typed(Reason::Internal, "the permit could not be signed, so nothing runs");
        Ok(Issued { signed: self.inner.signer.sign(encoded).await.ok_or_else(unsigned)?, event: event.into_inner() })
    }

    /// Consumes the approval and the attempt's stage, under one lock: of two callers one gets them.
    /// If recording fails afterwards nothing runs, and both stay consumed unless it is certain that
    /// nothing was recorded.
    fn take(&self, clearance: &Clearance, permit: &Permit, changes: Option<&Standing>) -> Result<Vec<String>, Error> {
        let mut memory = self.inner.memory.lock();
        if let Some(standing) = changes
            && let Some(freeze) = memory.frozen(standing)
        {
            return Err(Error::Typed(Box::new(frozen(freeze, standing))));
        }
        let nobody = v1::Actor::default();
        memory.words.check_ended(permit.actor.as_ref().unwrap_or(&nobody)).map_err(Error::Typed)?;
        if let Clearance::Approved(ask, approval_id) = clearance {
            let unknown = || Error::typed(Reason::ApprovalNotPending, "the approval is not one of an open call");
            let approval = memory.approvals.get_mut(approval_id).ok_or_else(unknown)?;
            if approval.status() == ApprovalStatus::Void {
                return Err(Error::Typed(Box::new(voided(approval))));
            }
            if approval.status() != ApprovalStatus::Approved {
                return Err(Error::typed(
                    Reason::ApprovalNotPending,
                    "the approval was not given, or was used already",
                ));
            }
            if approval.digest != ask.digest() || approval.call_id != permit.call_id {
                return Err(Error::typed(Reason::ApprovalVoid, "what was approved is not what would happen now"));
            }
            if self.now() >= approval.expires_at {
                return Err(Error::typed(Reason::ApprovalVoid, "the approval was given, but not used in time"));
            }
            approval.status = ApprovalStatus::Used.into();
        }
        if !memory.take_permit(&permit.call_id, permit.attempt, permit.stage()) {
            return Err(Error::typed(Reason::Internal, "this attempt already has its permit for this stage"));
        }
        let Clearance::Standing(ask, standing) = clearance else { return Ok(Vec::new()) };
        let actor = permit.actor.as_ref().unwrap_or(&nobody);
        let wanting = Wanting { actor, standing, at: self.now() };
        let asked = ask.grantable().unwrap_or_default();
        let taken = memory.grants.take(asked, &wanting, &usage(permit)).filter(|taken| !taken.is_empty());
        taken.ok_or_else(|| {
            memory.give_permit_back(&permit.call_id, permit.attempt, permit.stage());
            Error::typed(Reason::UnknownGrant, "no standing grant answers for this any more")
        })
    }

    fn give_back(&self, clearance: &Clearance, intent: &Event, error: &Error) {
        if !matches!(error, Error::Full(_)) {
            return;
        }
        let mut memory = self.inner.memory.lock();
        if let Clearance::Approved(_, approval_id) = clearance
            && let Some(approval) = memory.approvals.get_mut(approval_id)
        {
            approval.status = ApprovalStatus::Approved.into();
        }
        if let Some(Kind::CallPermitted(CallPermitted { permit: Some(permit), grants, .. })) = &intent.kind {
            memory.grants.give_back(grants, &usage(permit));
            memory.give_permit_back(&permit.call_id, permit.attempt, permit.stage());
        }
    }
}

/// What a grant is used for.
fn usage(permit: &Permit) -> Use {
    (permit.call_id.clone(), permit.attempt, permit.stage)
}

fn content(clearance: &Clearance, request: PermitRequest, issued_at: i64) -> Result<Permit, Error> {
    let decision = clearance.decision();
    let action = request.proposal.action.unwrap_or_default();
    let action_digest = cmdop_contract::digest::action_digest(&action);
    if action_digest != clearance.action_digest() {
        return Err(Error::typed(Reason::Internal, "the action is not the one that was decided on"));
    }
    Ok(Permit {
        permit_id: uuid::Uuid::now_v7().simple().to_string(),
        call_id: request.call_id,
        attempt: request.attempt,
        host: action.host.clone(),
        stage: decision.stage,
        action: Some(action),
        idempotency_key: request.proposal.idempotency_key,
        actor: Some(v1::Actor { ..request.proposal.actor.unwrap_or_default() }),
        effects: decision.permitted.clone(),
        preview_digest: clearance.observation_digest().unwrap_or_default().into(),
        issued_at,
        expires_at: issued_at.saturating_add(i64::try_from(request.ttl.as_nanos()).unwrap_or(i64::MAX)),
        action_digest,
        policy_version: decision.policy_version.clone(),
        masks: decision.masks.clone(),
        ledger: request.ledger,
    })
}
