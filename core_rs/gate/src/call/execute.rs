//! Waiting for the host, comparing what it measured, settling the outcome.

use std::borrow::Cow;

use cmdop_contract::effect::{Class, Effect, class, is_held_back};
use cmdop_contract::v1::{
    self, CallPreviewed, CallSettled, CallStarted, CallState, EffectKind, Idempotency, Observation, Outcome, Permit,
    Reason, Report, Stage, ToolResult, event, server_to_host,
};
use cmdop_contract::{fold, reason, score};
use cmdop_ledger::{Clearance, Entry};
use cmdop_policy::decide::{DiffDecided, Facts, decide_observed};
use tokio::time::Instant;

use super::{Driver, cancelled, internal};
use crate::gate::may_change;
use crate::live::Input;

/// What nobody measured.
static NOTHING: Observation = Observation {
    effects: Vec::new(),
    unobserved: Vec::new(),
    digest: String::new(),
    truncated: false,
    refused: Vec::new(),
    masked: Vec::new(),
    masked_count: 0,
    looks: Vec::new(),
    ended: Vec::new(),
    attempts: Vec::new(),
    attempts_more: 0,
};

/// When a host that went away is likely to be back.
const RETRY_MS: u64 = 2_000;

/// What the host was told to do.
pub(super) struct Ordered {
    permit_id: String,
    stage: Stage,
    /// It may contact somebody, which no private copy holds back.
    contacts: bool,
    /// Its tool only looks: whatever became of it, it can be asked again.
    is_pure: bool,
    ledger: i64,
}

impl Ordered {
    pub(super) fn of(permit: &Permit, is_pure: bool) -> Self {
        let tool = permit.action.as_ref().map_or("", |action| action.tool.as_str());
        // The preview of a tool that holds them back only says whom it would contact.
        let waits = |kind| permit.stage() == Stage::Preview && is_held_back(tool, kind);
        let makes = |kind| class(kind) == Class::Contact && !waits(kind);
        let contacts = permit.effects.iter().any(|effect| makes(effect.kind()));
        Self { permit_id: permit.permit_id.clone(), stage: permit.stage(), contacts, is_pure, ledger: permit.ledger }
    }

    /// Does the report say what such a permit allows at all?
    pub(super) fn is_reported_by(&self, report: &Report) -> bool {
        let claims_effects = self.stage == Stage::Preview && report.outcome() == Outcome::Applied;
        report.stage() == self.stage && !claims_effects
    }

    /// Whatever the host did, nothing came of it.
    fn is_harmless(&self) -> bool {
        (self.stage == Stage::Preview || self.is_pure) && !self.contacts
    }

    /// Whatever the host did, there is nobody to ask: it looked, and what it saw is lost.
    fn is_look(&self) -> bool {
        self.is_pure && !self.contacts
    }
}

impl Driver {
    /// PERMITTED, RUNNING, COMMITTING and UNKNOWN: waits for the host's report.
    pub(super) async fn await_host(&mut self) -> Result<(), v1::Error> {
        let permit = self.call.permits.last().ok_or_else(|| internal("permitted without a permit"))?;
        let permit = Ordered::of(permit, self.is_pure());
        let unknown = self.call.state() == CallState::Unknown;
        let mut gone_until = None;
        if self.dispatched.as_deref() != Some(&permit.permit_id) {
            gone_until = if self.inquire(&permit) { None } else { Some(self.grace()) };
            // Asked once on each link: a host that cannot tell would answer the same for ever.
            self.dispatched = Some(permit.permit_id.clone());
        }
        loop {
            // An unknown outcome waits for its host for as long as it takes.
            let waiting = gone_until.filter(|_| !unknown);
            let grace = async { tokio::time::sleep_until(waiting.unwrap_or_else(Instant::now)).await };
            tokio::select! {
                input = self.reins.inputs.recv() => match input {
                    Some(Input::Report(report)) if report.permit_id == permit.permit_id => {
                        return self.take(*report, &permit).await;
                    }
                    Some(Input::Report(stale)) => self.acknowledge_earlier(stale.permit_id),
                    Some(Input::Forgotten { permit_id, ledger }) if permit_id == permit.permit_id => {
                        return self.forgotten(&permit, ledger).await;
                    }
                    Some(Input::Started { permit_id }) if permit_id == permit.permit_id => self.note_start(permit_id)?,
                    // The news may be late, and the host back already.
                    Some(Input::Detached) if permit.is_look() && !self.gate.shared().hosts.is_linked(&self.live.host) => {
                        return self.give_up(&permit).await;
                    }
                    Some(Input::Detached) if !self.gate.shared().hosts.is_linked(&self.live.host) => {
                        gone_until.get_or_insert(self.grace());
                    }
                    Some(Input::Attached) => gone_until = if self.inquire(&permit) { None } else { gone_until },
                    Some(Input::Cancel { why }) => {
                        self.cancelled = Some(cancelled(&why));
                        self.cancel_host();
                    }
                    // A commit is let to its end: it is one whole, and over in moments.
                    Some(Input::Terminated) if self.call.state() != CallState::Committing => {
                        self.cancelled = self.terminated();
                        self.cancel_host();
                    }
                    Some(Input::Frozen) => self.stop_if_frozen(),
                    Some(Input::Reconciled(found)) if unknown => return self.reconcile(*found).await,
                    Some(_) => {}
                    None => return Err(internal("the server is stopping")),
                },
                () = grace, if waiting.is_some() => return self.give_up(&permit).await,
            }
        }
    }

    fn grace(&self) -> Instant {
        Instant::now() + self.gate.shared().options.host_grace
    }

    pub(super) fn is_pure(&self) -> bool {
        let action = self.call.proposal.as_ref().and_then(|proposal| proposal.action.as_ref());
        let tool = action.and_then(|action| self.gate.registry().get(&action.tool));
        tool.is_some_and(|tool| tool.contract().idempotency() == Idempotency::Pure)
    }

    /// Notes that the host started. It may say so more than once.
    fn note_start(&mut self, permit_id: String) -> Result<(), v1::Error> {
        if self.started.as_ref() == Some(&permit_id) {
            return Ok(());
        }
        self.started = Some(permit_id.clone());
        if matches!(self.call.state(), CallState::Permitted | CallState::Committing) {
            let event = self.event(event::Kind::CallStarted(CallStarted { permit_id }));
            self.pending.push(Entry::from(&event));
            self.begun = Some(Box::new(event));
            self.publish(None);
        }
        Ok(())
    }

    /// Stops what is changing something on a frozen host. A commit is let to its end: it is one whole, and
    /// over in moments.
    fn stop_if_frozen(&mut self) {
        let works = matches!(self.call.state(), CallState::Permitted | CallState::Running);
        if !works || !self.call.permits.last().is_some_and(may_change) {
            return;
        }
        // It may have been lifted since the news was sent.
        let standing = self.gate.standing(&self.live.host);
        if let Err(frozen) = self.gate.shared().ledger.check_frozen(&standing) {
            self.cancelled = Some(cancelled(&frozen.message));
            self.cancel_host();
        }
    }

    fn cancel_host(&self) {
        let cancel = v1::CancelExecution { call_id: self.call.call_id.clone() };
        // A host that is away is told when it is back.
        let _ = self.send(server_to_host::Kind::Cancel(cancel));
    }

    /// The host knows nothing of the permit. Unless it spoke of it before, or this is another ledger than the
    /// permit was for, it never started.
    async fn forgotten(&mut self, permit: &Ordered, ledger: i64) -> Result<(), v1::Error> {
        let is_another = ledger != permit.ledger;
        let spoke = self.started.as_deref() == Some(&permit.permit_id)
            || matches!(self.call.state(), CallState::Running)
            || self.evidence;
        if !(spoke || is_another) || permit.is_harmless() {
            let error = reason::error(Reason::HostError, "the host never started the call; nothing was applied");
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        if self.call.state() == CallState::Unknown {
            return Ok(());
        }
        let message = match is_another {
            true => {
                "the host has another ledger than when this was permitted, so nobody knows whether it ran; look at the machine"
            }
            false => "the host started this and then lost its own record of it; look at the machine",
        };
        let error = reason::error(Reason::OutcomeUnknown, message).reconcile(&self.call.call_id);
        self.settle(Outcome::Unknown, None, Some(error)).await
    }

    /// Asks the host what became of a permit. False if the host is away.
    fn inquire(&self, permit: &Ordered) -> bool {
        let inquire = v1::Inquire { permit_id: permit.permit_id.clone(), call_id: self.call.call_id.clone() };
        let asked = self.send(server_to_host::Kind::Inquire(inquire)).is_ok();
        if asked && self.cancelled.is_some() {
            self.cancel_host();
        }
        asked
    }

    /// The host stayed away. A preview changed nothing; whom it contacted and anything else nobody can tell.
    async fn give_up(&mut self, permit: &Ordered) -> Result<(), v1::Error> {
        if permit.is_harmless() {
            let doing = if permit.is_look() { "while it looked" } else { "during the preview" };
            let message = format!("the host went away {doing}; nothing was applied, so the call can be made again");
            let error = reason::error(Reason::HostUnavailable, message).retry_after(RETRY_MS);
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        let message = "the host went away while it acted, and nobody can tell how far it came; \
                       it will be asked when it attaches again";
        let error = reason::error(Reason::OutcomeUnknown, message).reconcile(&self.call.call_id);
        self.settle(Outcome::Unknown, None, Some(error)).await
    }

    /// Takes the report about the current permit.
    async fn take(&mut self, report: Report, permit: &Ordered) -> Result<(), v1::Error> {
        let unknown = self.call.state() == CallState::Unknown;
        if !permit.is_reported_by(&report) {
            return self.distrust(&report, permit).await;
        }
        let outcome = outcome_of(&report);
        if report.outcome() == Outcome::Unknown && permit.is_look() {
            // It died while it looked: nobody has to find out what came of that.
            self.unacknowledged.push(report.permit_id.clone());
            return self.give_up(permit).await;
        }
        let cannot_tell = outcome == Outcome::Unknown
            || (outcome == Outcome::NotApplied && report.observation.as_ref().is_some_and(has_unseen_contacts));
        if unknown && cannot_tell && self.evidence {
            // It says again that it cannot tell, and that is durable.
            self.gate.acknowledge(&self.live.host, report.permit_id);
            return Ok(());
        }
        self.unacknowledged.push(report.permit_id.clone());
        if report.stage() == Stage::Preview && report.error.is_none() && !unknown {
            let beyond = self.side_effects(report.observation.as_ref());
            return self.record(event::Kind::CallPreviewed(CallPreviewed { report: Some(report), beyond }));
        }
        if permit.stage == Stage::Apply && outcome == Outcome::NotApplied && !unknown {
            let cannot = report.error.as_ref().filter(|error| error.reason() == Reason::DirectUnavailable);
            if let Some(cannot) = cannot
                && Box::pin(self.fall_back(cannot)).await?
            {
                return Ok(());
            }
        }
        self.evidence |= cannot_tell;
        let failed = || report.result.as_ref().and_then(|result| result.error.clone());
        let error = report.error.clone().or_else(failed);
        // The host says that it was stopped; who stopped it says why.
        let stopped = error.as_ref().is_some_and(|error| error.reason() == Reason::Cancelled);
        let error = self.cancelled.clone().filter(|it| stopped && it.reason() == Reason::RunTerminated).or(error);
        self.settle(outcome, Some(report), error).await
    }

    /// A report that contradicts its permit says nothing that can be relied on, and is not acknowledged.
    async fn distrust(&mut self, report: &Report, permit: &Ordered) -> Result<(), v1::Error> {
        if self.call.state() == CallState::Unknown {
            return Ok(());
        }
        let (stage, outcome) = (report.stage().as_str_name(), report.outcome().as_str_name());
        let message = format!("the host reported {stage} {outcome} for a permit of {}", permit.stage.as_str_name());
        // In a preview without contacts the permit allowed no effects, so only a host that claims some
        // casts doubt.
        let harmless = permit.is_harmless() && report.outcome() != Outcome::Applied;
        let outcome = if harmless { Outcome::NotApplied } else { Outcome::Unknown };
        self.settle(outcome, None, Some(reason::error(Reason::HostError, message))).await
    }

    /// PREVIEWED: compares what the host measured with declaration, permit and policy.
    pub(super) async fn compare(&mut self) -> Result<(), v1::Error> {
        if self.call.result.as_ref().is_none_or(|result| !result.ok) {
            self.discard();
            let failed =
                || reason::error(Reason::CommandFailed, "the command failed in its preview; nothing was applied");
            let error = self.call.result.as_ref().and_then(|result| result.error.clone()).unwrap_or_else(failed);
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        if let Err(error) = self.consider().await {
            self.discard();
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        match self.judge_observed(None)? {
            DiffDecided::Nothing => {
                let missing = self.unmet_in_preview();
                let outcome = if missing.is_some() { Outcome::NotApplied } else { Outcome::Applied };
                self.discard();
                self.settle(outcome, None, missing).await
            }
            DiffDecided::Commit(grant) => match self.unmet_in_preview() {
                None => match self.await_attached().await {
                    Ok(()) => self.permit(Clearance::Granted(grant)).await,
                    Err(error) => self.settle(Outcome::NotApplied, None, Some(error)).await,
                },
                // Nobody looks at this diff: what does not do as it said is not applied.
                missing => {
                    self.discard();
                    self.settle(Outcome::NotApplied, None, missing).await
                }
            },
            DiffDecided::Ask(ask) => self.ask(ask).await,
            DiffDecided::Shadow => {
                self.discard();
                let message = "the agent's level is `shadow`: this is what it would have done; nothing was applied";
                self.settle(Outcome::NotApplied, None, Some(reason::error(Reason::ShadowOnly, message))).await
            }
            DiffDecided::Refuse(refusal) => {
                self.discard();
                self.settle(Outcome::NotApplied, None, Some(refusal.error().clone())).await
            }
        }
    }

    /// Asks policy about the observation of the preview; under a level that the agent had before, if one is given.
    pub(super) fn judge_observed(&self, under: Option<v1::AutonomyLevel>) -> Result<DiffDecided, v1::Error> {
        let considered = self.considered()?;
        let shared = self.gate.shared();
        let nobody = v1::Actor::default();
        let actor = considered.validated.proposal().actor.as_ref().unwrap_or(&nobody);
        let (engine, level) = shared.policy.for_agent(&actor.agent);
        let level = under.or(level);
        let denied = self.denied(actor, engine.version());
        let past = shared.ledger.past(actor);
        let facts = Facts { actor, level, host: &considered.host, denied: &denied, past: &past };
        let observation = self.call.observation.as_ref().unwrap_or(&NOTHING);
        Ok(decide_observed(&engine, &considered.validated, &considered.prediction, observation, &facts))
    }

    /// Records the outcome with its score, durably, and tells everyone.
    pub(super) async fn settle(
        &mut self,
        outcome: Outcome,
        report: Option<Report>,
        error: Option<v1::Error>,
    ) -> Result<(), v1::Error> {
        let (result, observation) = self.as_folded(outcome, report.as_ref());
        let observation = observation.as_deref();
        let side_effects = self.side_effects(observation);
        // A person's word is no measurement: nothing is compared with it, and it says nothing of success.
        let word = self.reconciliation.as_ref();
        let is_measured = word.is_none_or(|it| matches!(it.measured(), Outcome::Applied | Outcome::NotApplied));
        let unmet = || match result {
            None => Some(result_lost()),
            result => self.unmet_expectation(result, observation),
        };
        let error = error.or_else(|| (is_measured && outcome == Outcome::Applied).then(unmet).flatten());
        let (outcome, error) =
            if is_measured { self.with_contacts(outcome, error, observation) } else { (outcome, error) };
        // What failed before anything was done has no result, and did not succeed.
        let has_ended = result.is_some() || (outcome == Outcome::NotApplied && self.call.result.is_some());
        let author_attempt = self.call.proposal.as_ref().map_or(1, |proposal| proposal.author_attempt);
        let score = score::score(&score::Evidence {
            valid: true,
            first_attempt: author_attempt <= 1,
            success: (is_measured && has_ended).then_some(outcome == Outcome::Applied && error.is_none()),
            side_effects: &side_effects,
            observation: observation.unwrap_or(&NOTHING),
        });
        let mut error = error.map(|error| self.mended(error, outcome).ends(&self.call.call_id));
        if word.is_some() {
            // A person's word spends the key for good.
            error = error.map(v1::Error::under_new_key);
        }
        let replaced_by = self.replaced_by.take().unwrap_or_default();
        let settled = CallSettled {
            outcome: outcome.into(),
            report,
            side_effects,
            score: Some(score),
            error,
            replaced_by,
            reconciliation: self.reconciliation.take(),
        };
        let settled = event::Kind::CallSettled(settled);
        if !self.is_known(&settled) {
            self.record(settled)?;
        }
        self.flush().await
    }

    /// What was contacted stays so, whatever became of the changes: where nobody knows whether somebody was, nobody
    /// knows the outcome; where somebody was, the same again is no remedy.
    fn with_contacts(
        &self,
        outcome: Outcome,
        error: Option<v1::Error>,
        observation: Option<&Observation>,
    ) -> (Outcome, Option<v1::Error>) {
        let (Outcome::NotApplied, Some(observation)) = (outcome, observation) else { return (outcome, error) };
        let call_id = &self.call.call_id;
        if has_unseen_contacts(observation) {
            let message = "no change was applied, but nobody can tell whom it had contacted by then";
            let lost = reason::error(Reason::OutcomeUnknown, message).reconcile(call_id);
            return (Outcome::Unknown, Some(lost));
        }
        let mut made = observation.effects.iter().filter(|effect| class(effect.kind()) == Class::Contact);
        let Some(contact) = made.next() else { return (outcome, error) };
        let warned = |error: v1::Error| {
            let message = format!(
                "{}; it had contacted {} already, and the same again would, too",
                error.message, contact.target
            );
            let is_final =
                matches!(error.remedy.as_ref().and_then(|it| it.kind.as_ref()), Some(v1::remedy::Kind::Stop(_)));
            let error = v1::Error { message, ..error };
            if is_final { error } else { error.reconcile(call_id) }
        };
        (outcome, error.map(warned))
    }

    /// Result and observation as the call's document will have them once it ends so and this report is folded in.
    pub(super) fn as_folded<'a>(
        &'a self,
        outcome: Outcome,
        report: Option<&'a Report>,
    ) -> (Option<&'a ToolResult>, Option<Cow<'a, Observation>>) {
        let (result, observation) = report.map_or((None, None), |report| fold::measured(&self.call, report));
        let (left, seen) = fold::left(&self.call, outcome);
        (result.or(left), observation.map(Cow::Borrowed).or(seen))
    }

    /// What mends a call that did nothing; of one that may have done something no machine makes another.
    fn mended(&self, error: v1::Error, outcome: Outcome) -> v1::Error {
        if outcome != Outcome::NotApplied {
            return error.unmended();
        }
        let bound = match error.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref()) {
            Some(v1::remedy::Kind::FixArguments(fix)) if fix.change.is_none() => &fix.path,
            _ => return error,
        };
        let is_bound = matches!(error.reason(), Reason::TimedOut | Reason::LimitExceeded);
        let raised = self.considered.as_ref().filter(|_| is_bound).and_then(|it| it.validated.raised(bound));
        match raised {
            Some(change) => error.by(change),
            None => error,
        }
    }

    /// What was declared and did not come true in the preview.
    fn unmet_in_preview(&self) -> Option<v1::Error> {
        self.unmet_expectation(self.call.result.as_ref(), self.call.observation.as_ref())
    }

    fn unmet_expectation(&self, result: Option<&ToolResult>, observation: Option<&Observation>) -> Option<v1::Error> {
        // While it is considered its declaration is parsed already.
        let parsed;
        let declared = match &self.considered {
            Some(considered) => considered.validated.declared(),
            None => {
                // What cannot be read again has not come true.
                parsed = match self.declared() {
                    Ok(declared) => declared,
                    Err(error) => return Some(error),
                };
                &parsed
            }
        };
        let none = ToolResult::default();
        score::check_success(declared, observation.unwrap_or(&NOTHING), result.unwrap_or(&none)).err()
    }

    fn declared(&self) -> Result<Vec<Effect>, v1::Error> {
        self.call
            .declared
            .iter()
            .map(|expected| Effect::parse(expected, &Default::default()).map_err(|error| internal(&error.to_string())))
            .collect()
    }

    fn side_effects(&self, observation: Option<&Observation>) -> Vec<v1::SideEffect> {
        let permitted = self.call.decision.as_ref().map_or(&[][..], |decision| &decision.permitted);
        // Of a host that nobody knows any more everything counts as outside.
        let host = self.gate.shared().hosts.get(&self.live.host).ok();
        let workspaces = host.as_ref().map_or(&[][..], |host| &host.workspaces);
        score::side_effects(permitted, observation.unwrap_or(&NOTHING), workspaces)
    }
}

/// Its host found the effects of a tool on the machine, and knows no more of it.
fn result_lost() -> v1::Error {
    reason::error(Reason::ResultLost, "the call is applied, as its host found, but what the tool returned is lost")
}

/// What the host says became of it.
pub(super) fn outcome_of(report: &Report) -> Outcome {
    match report.outcome() {
        Outcome::Unspecified if report.error.is_some() => Outcome::NotApplied,
        Outcome::Unspecified => Outcome::Unknown,
        outcome => outcome,
    }
}

/// It could contact somebody, and nobody saw whether it did.
pub(super) fn has_unseen_contacts(observation: &Observation) -> bool {
    observation.unobserved.iter().any(|it| it.kind() == EffectKind::NetConnect)
}
