//! From proposal to permit: validate, predict, decide, and then run, hold or refuse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdop_contract::digest::action_digest;
use cmdop_contract::effect::{Class, Effect, Target, class, parse_kind};
use cmdop_contract::v1::{
    self, CallDecided, CallRefused, CallState, Decision, Prediction, Reason, Stage, event, server_to_host,
};
use cmdop_contract::validate::{Validated, validate};
use cmdop_contract::{reason, redact, score};
use cmdop_ledger::{Clearance, Denial, Held, PermitRequest};
use cmdop_policy::decide::{Ask, CONFINES, Decided, Denied, DiffDecided, Facts, decide};

use super::{Driver, internal};
use crate::gate::changes;
use crate::hosts::check_has;

/// Stands for the home directory on a host that nobody knows: its absence is not what is wrong with the call.
const NO_HOME: &str = "/";

/// What is wrong with a call, with that nobody knows its host.
fn beside(mut malformed: v1::Error, name: &str, host: &v1::Error) -> v1::Error {
    let fix = host.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref());
    if let Some(v1::remedy::Kind::FixArguments(v1::FixArguments { path, expected, .. })) = fix
        && malformed.violations.iter().all(|known| known.pointer != *path)
    {
        malformed.violations.push(v1::Violation {
            reason: host.reason,
            pointer: path.clone(),
            expected: expected.clone(),
            found: name.to_owned(),
            remedy: host.remedy.clone(),
        });
    }
    malformed
}

/// A call as policy sees it.
pub(super) struct Considered {
    pub(super) validated: Validated,
    pub(super) prediction: Prediction,
    pub(super) host: Arc<v1::Host>,
    validate_time: Duration,
    predict_time: Duration,
}

impl Driver {
    /// PROPOSED: decides, and leaves the call permitted, held or refused.
    pub(super) async fn decide(&mut self) -> Result<(), v1::Error> {
        if let Some(terminated) = self.terminated() {
            return self.refuse(terminated).await;
        }
        let attached = self.gate.shared().hosts.attached(&self.live.host);
        let considered = match attached {
            Ok(_) => self.consider().await,
            // Whoever has to mend the call hears of everything at once.
            Err(error) => Err(match self.validate(NO_HOME) {
                Ok(_) => error,
                Err(malformed) => beside(malformed, &self.live.host, &error),
            }),
        };
        if let Err(error) = considered {
            return self.refuse(error).await;
        }
        let started = Instant::now();
        let decided = self.judge(None)?;
        let authorise_time = started.elapsed();
        match decided {
            Decided::Refuse(refusal) => {
                self.record_decision(refusal.decision().clone(), authorise_time)?;
                self.refuse(refusal.error().clone()).await
            }
            Decided::Ask(ask) => {
                self.record_decision(ask.decision().clone(), authorise_time)?;
                if let Some(frozen) = self.frozen_from_the_start()? {
                    return self.refuse(frozen).await;
                }
                Box::pin(self.ask(ask)).await
            }
            Decided::Go(grant) => {
                self.record_decision(grant.decision().clone(), authorise_time)?;
                if let Some(frozen) = self.frozen_from_the_start()? {
                    return self.refuse(frozen).await;
                }
                self.permit(Clearance::Granted(grant)).await
            }
        }
    }

    /// Why a call that is meant to change something is not even tried, if its host is frozen.
    fn frozen_from_the_start(&self) -> Result<Option<v1::Error>, v1::Error> {
        let Considered { validated, prediction, .. } = self.considered()?;
        let declared = validated.declared().iter().map(|effect| effect.kind);
        let mut meant = declared.chain(prediction.effects.iter().map(v1::PredictedEffect::kind));
        if !meant.any(|kind| class(kind) != Class::Look) {
            return Ok(None);
        }
        let standing = self.gate.standing(&self.live.host);
        Ok(self.gate.shared().ledger.check_frozen(&standing).err().map(|error| *error))
    }

    /// Validates and predicts, unless that was done already.
    ///
    /// # Errors
    /// What is wrong with the call.
    pub(super) async fn consider(&mut self) -> Result<(), v1::Error> {
        if self.considered.is_some() {
            return Ok(());
        }
        let shared = self.gate.shared().clone();
        let host = shared.hosts.get(&self.live.host)?;
        let started = Instant::now();
        let validated = self.validate(&host.home)?;
        check_has(&host, validated.tool().name())?;
        let validate_time = started.elapsed();
        let started = Instant::now();
        let prediction = shared.foresight.predict(&validated, &host).await?;
        let predict_time = started.elapsed();
        self.considered = Some(Box::new(Considered { validated, prediction, host, validate_time, predict_time }));
        Ok(())
    }

    /// What was proposed, if it is well formed for a host whose user has this home.
    fn validate(&mut self, home: &str) -> Result<Validated, v1::Error> {
        let shared = self.gate.shared();
        let whole = self.oversized.take().map(|whole| *whole);
        let is_recorded = whole.is_none();
        let proposal = match whole {
            Some(whole) => whole,
            None => self.proposed()?,
        };
        let validated = validate(&shared.registry, proposal, &shared.limits, home)?;
        if is_recorded {
            Ok(validated)
        } else {
            Err(internal("what is too large to be recorded was found well formed"))
        }
    }

    /// What was proposed, secrets included.
    ///
    /// # Errors
    /// If an earlier life of the server took them with it, or the caller never had them.
    fn proposed(&self) -> Result<v1::Proposal, v1::Error> {
        if self.has_forgotten() {
            return Err(forgotten());
        }
        let proposal = self.whole.as_deref().or(self.call.proposal.as_ref()).cloned().unwrap_or_default();
        let is_marked = proposal.action.as_ref().is_some_and(|action| redact::is_marked(&action.arguments_json));
        if is_marked { Err(marked()) } else { Ok(proposal) }
    }

    /// Is what is recorded less than what was proposed, and nothing else left of that?
    pub(super) fn has_forgotten(&self) -> bool {
        let recorded = self.call.proposal.as_ref().and_then(|proposal| proposal.action.as_ref());
        self.whole.is_none()
            && recorded.is_some_and(|action| {
                let is_marked =
                    [&action.arguments_json, &action.intent].into_iter().any(|text| redact::is_marked(text));
                is_marked && action_digest(action) != self.call.action_digest
            })
    }

    /// The host could not run it directly, and nothing ran: decided anew, as on a host that never can. What
    /// policy then lets run at once runs on a private copy; false if nothing does.
    pub(super) async fn fall_back(&mut self, cannot: &v1::Error) -> Result<bool, v1::Error> {
        if self.consider().await.is_err() {
            return Ok(false);
        }
        let started = Instant::now();
        let Decided::Go(grant) = self.judge(None)? else { return Ok(false) };
        let mut decision = grant.decision().clone();
        if decision.stage() != Stage::Preview {
            return Ok(false);
        }
        decision.reason = format!("{}, so it runs on a private copy first", cannot.message.trim_end_matches('.'));
        self.record_decision(decision, started.elapsed())?;
        self.permit(Clearance::Granted(grant)).await?;
        Ok(true)
    }

    /// Asks policy about the considered call; under a level that the agent had before, if one is given.
    pub(super) fn judge(&self, under: Option<v1::AutonomyLevel>) -> Result<Decided, v1::Error> {
        let considered = self.considered()?;
        let shared = self.gate.shared();
        let nobody = v1::Actor::default();
        let actor = considered.validated.proposal().actor.as_ref().unwrap_or(&nobody);
        let (engine, level) = shared.policy.for_agent(&actor.agent);
        let level = under.or(level);
        let denied = self.denied(actor, engine.version());
        let mut host = considered.host.clone();
        if self.call.permits.iter().any(|permit| permit.stage() == Stage::Apply) {
            // It has shown that it cannot, whatever it says of itself.
            Arc::make_mut(&mut host).capabilities.retain(|found| found.name != CONFINES);
        }
        let past = shared.ledger.past(actor);
        let facts = Facts { actor, level, host: &host, denied: &denied, past: &past };
        Ok(decide(&engine, &considered.validated, &considered.prediction, &facts))
    }

    /// What was refused to the run or session before, by a person or by this policy.
    pub(super) fn denied(&self, actor: &v1::Actor, policy_version: &str) -> Vec<Denied> {
        let found = self.gate.shared().ledger.denials(actor, policy_version);
        found.into_iter().filter_map(denied).collect()
    }

    pub(super) fn considered(&self) -> Result<&Considered, v1::Error> {
        self.considered.as_deref().ok_or_else(|| internal("decided before it was considered"))
    }

    fn record_decision(&mut self, decision: Decision, authorise_time: Duration) -> Result<(), v1::Error> {
        let considered = self.considered()?;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let decided = CallDecided {
            decision: Some(decision),
            prediction: Some(considered.prediction.clone()),
            declared: considered.validated.declared().iter().map(v1::ExpectedEffect::from).collect(),
            validate_ns: nanos(considered.validate_time),
            predict_ns: nanos(considered.predict_time),
            authorise_ns: nanos(authorise_time),
        };
        self.record(event::Kind::CallDecided(decided))
    }

    /// Ends a call that never got a permit. An undecided one fails its proposal, too.
    async fn refuse(&mut self, error: v1::Error) -> Result<(), v1::Error> {
        let error = error.ends(&self.call.call_id);
        let valid = !score::is_malformed(error.reason());
        let score = score::refused(valid);
        self.record(event::Kind::CallRefused(CallRefused { error: Some(error), score: Some(score) }))?;
        self.store().await?;
        // Told once: who waits must not see the end without its reason.
        let failed = self.call.decision.is_none();
        self.publish(self.call.error.clone().filter(|_| failed));
        Ok(())
    }

    /// Asks a person, unless people agreed beforehand.
    pub(super) async fn ask(&mut self, ask: Ask) -> Result<(), v1::Error> {
        let actor = self.call.proposal.as_ref().and_then(|proposal| proposal.actor.clone()).unwrap_or_default();
        let standing = self.gate.standing(&self.live.host);
        let ledger = &self.gate.shared().ledger;
        if !ask.grantable().is_some_and(|asked| ledger.has_grants(asked, &actor, &standing)) {
            return self.hold(ask).await;
        }
        // What was previewed is committed by a host that may have gone meanwhile.
        if self.call.state() == CallState::Previewed
            && let Err(error) = self.await_attached().await
        {
            return self.settle(v1::Outcome::NotApplied, None, Some(error)).await;
        }
        self.permit(Clearance::Standing(ask, standing)).await
    }

    /// Standing grants do not answer any more: somebody else used them up, or they were revoked just now.
    async fn ask_after_all(&mut self) -> Result<(), v1::Error> {
        let ask = match self.call.state() {
            CallState::Previewed => match self.judge_observed(None)? {
                DiffDecided::Ask(ask) => Some(ask),
                _ => None,
            },
            _ => match self.judge(None)? {
                Decided::Ask(ask) => Some(ask),
                _ => None,
            },
        };
        match ask {
            Some(ask) => self.hold(ask).await,
            None => {
                let message = "policy decides otherwise now than a moment ago; propose the call again";
                let error = reason::error(Reason::ApprovalVoid, message);
                if self.call.state() != CallState::Previewed {
                    return self.refuse(error).await;
                }
                self.discard();
                self.settle(v1::Outcome::NotApplied, None, Some(error)).await
            }
        }
    }

    /// Holds the call for a person.
    pub(super) async fn hold(&mut self, ask: Ask) -> Result<(), v1::Error> {
        if let Some(stop) = self.stop_asked() {
            self.discard();
            return self.settle(v1::Outcome::NotApplied, None, Some(stop)).await;
        }
        // A person may take hours: what was considered by then is stale.
        let ttl = self.gate.shared().options.approval_ttl;
        let proposal = self.call.proposal.clone().unwrap_or_default();
        let about = Held { call_id: &self.call.call_id, proposal: &proposal, diff: self.call.observation.as_ref() };
        let held = self.gate.shared().ledger.hold(ask, about, ttl, &mut self.pending).await;
        let event = match held {
            Ok(event) => event,
            Err(error) => return self.not_begun(error).await,
        };
        self.is_recorded = true;
        self.fold(event)?;
        self.considered = None;
        // Watchers hear of the question before anyone can learn from the call that there is one.
        if let Some(approval) = self.call.approval.clone() {
            self.gate.announce(approval);
        }
        self.tell();
        Ok(())
    }

    /// Makes everything durable and a permit with it, then hands the permit to the host.
    pub(super) async fn permit(&mut self, clearance: Clearance) -> Result<(), v1::Error> {
        if let Some(stop) = self.stop_asked() {
            self.discard();
            return self.settle(v1::Outcome::NotApplied, None, Some(stop)).await;
        }
        let proposal = self.whole.as_deref().or(self.call.proposal.as_ref()).cloned().unwrap_or_default();
        let tool = proposal.action.as_ref().map_or("", |action| &action.tool);
        let may_change = changes(clearance.decision().stage(), tool, &clearance.decision().permitted);
        let request = PermitRequest {
            changes: may_change.then(|| self.gate.standing(&self.live.host)),
            call_id: self.call.call_id.clone(),
            attempt: self.call.attempt.max(1),
            proposal,
            ttl: self.gate.shared().options.permit_ttl,
            ledger: self.gate.shared().hosts.get(&self.live.host).map_or(0, |host| host.ledger),
        };
        let nothing_lost = self.pending.is_empty();
        let issued = match self.gate.shared().ledger.permit(clearance, request, &mut self.pending).await {
            Ok(issued) => issued,
            Err(cmdop_ledger::Error::Typed(error)) if error.reason() == Reason::UnknownGrant => {
                return Box::pin(self.ask_after_all()).await;
            }
            Err(cmdop_ledger::Error::Typed(error)) if self.call.state() == CallState::Proposed => {
                return self.refuse(*error).await;
            }
            // The approval does not hold any more, the host is frozen or the run ended: no permit, and that is an outcome.
            Err(cmdop_ledger::Error::Typed(error))
                if nothing_lost || matches!(error.reason(), Reason::Frozen | Reason::RunTerminated) =>
            {
                self.discard();
                return self.settle(v1::Outcome::NotApplied, None, Some(*error)).await;
            }
            Err(error) => return self.not_begun(error).await,
        };
        self.is_recorded = true;
        self.fold(issued.event)?;
        let permit_id = self.call.permits.last().map(|permit| permit.permit_id.clone());
        self.tell();
        match self.send(server_to_host::Kind::Execute(v1::Execute { permit: Some(issued.signed) })) {
            Ok(()) => {
                self.dispatched = permit_id;
                Ok(())
            }
            // It was never handed over, so it cannot have run.
            Err(error) => self.settle(v1::Outcome::NotApplied, None, Some(error)).await,
        }
    }

    /// What the ledger did not take has not begun. Of a call that it knows, that is an outcome.
    async fn not_begun(&mut self, error: cmdop_ledger::Error) -> Result<(), v1::Error> {
        if !self.is_recorded || !matches!(error, cmdop_ledger::Error::Full(_)) {
            return Err(self.unrecorded(error));
        }
        self.discard();
        self.settle(v1::Outcome::NotApplied, None, Some(error.into())).await
    }
}

/// Why a call whose secrets nobody knows any more goes no further.
pub(super) fn forgotten() -> v1::Error {
    let message = "the server started anew, and the secrets in this call were never written down; propose it again";
    reason::error(Reason::ApprovalVoid, message)
}

/// Why marks are no arguments.
fn marked() -> v1::Error {
    let message = "the arguments hold `[redacted:…]`, which stands for a secret that this was copied without: nothing \
                   is done with a mark in its place";
    let expected = "the secret itself, or a way by which the command reads it where it is kept";
    reason::error(Reason::InvalidArguments, message).fix_arguments("/arguments", expected)
}

fn denied(denial: Denial) -> Option<Denied> {
    let (kind, target) = denial.effect.split_once(':')?;
    let kind = parse_kind(kind)?;
    // What was said of a point that is no target binds nothing: policy says it again.
    let target = Target::parse(kind, target, &Default::default()).ok()?;
    Some(Denied { effect: Effect::new(kind, target), by_person: denial.by_person, call_id: denial.call_id })
}
