//! Waiting for the host, comparing what it measured, settling the outcome.

use cmdop_contract::effect::Effect;
use cmdop_contract::v1::{
    self, CallPreviewed, CallSettled, CallStarted, CallState, Outcome, Reason, Report, Stage, event, server_to_host,
};
use cmdop_contract::{reason, score};
use cmdop_ledger::Clearance;
use cmdop_policy::decide::{DiffDecided, Facts, decide_observed};
use tokio::time::Instant;

use super::{Driver, internal};
use crate::live::Input;

impl Driver {
    /// PERMITTED, RUNNING, COMMITTING and UNKNOWN: waits for the host's report.
    pub(super) async fn await_host(&mut self) -> Result<(), v1::Error> {
        let permit = self.call.permits.last().cloned().ok_or_else(|| internal("permitted without a permit"))?;
        let unknown = self.call.state() == CallState::Unknown;
        let mut gone_until = None;
        if self.dispatched.as_deref() != Some(&permit.permit_id) && !self.inquire(&permit) {
            gone_until = Some(Instant::now() + self.gate.shared().options.host_grace);
        }
        loop {
            // An unknown outcome waits for its host for as long as it takes.
            let waiting = gone_until.filter(|_| !unknown);
            let grace = async { tokio::time::sleep_until(waiting.unwrap_or_else(Instant::now)).await };
            tokio::select! {
                input = self.reins.inputs.recv() => match input {
                    Some(Input::Report(report)) if report.permit_id == permit.permit_id => {
                        return self.take(*report).await;
                    }
                    Some(Input::Report(stale)) => self.gate.acknowledge(&self.live.host, stale.permit_id),
                    Some(Input::Forgotten { permit_id }) if permit_id == permit.permit_id => {
                        let error = reason::error(Reason::HostError, "the host never started the call; nothing was applied");
                        return self.settle(Outcome::NotApplied, None, Some(error.into())).await;
                    }
                    Some(Input::Started { permit_id }) if permit_id == permit.permit_id => {
                        if matches!(self.call.state(), CallState::Permitted | CallState::Committing) {
                            self.record(event::Kind::CallStarted(CallStarted { permit_id }))?;
                            self.publish(None);
                        }
                    }
                    Some(Input::Detached) => {
                        gone_until.get_or_insert_with(|| Instant::now() + self.gate.shared().options.host_grace);
                    }
                    Some(Input::Attached) => gone_until = if self.inquire(&permit) { None } else { gone_until },
                    Some(Input::Cancel { .. }) => {
                        let cancel = v1::CancelExecution { call_id: self.call.call_id.clone() };
                        let _ = self.send(server_to_host::Kind::Cancel(cancel));
                    }
                    Some(_) => {}
                    None => return Err(internal("the server is stopping")),
                },
                () = grace, if waiting.is_some() => return self.give_up(&permit).await,
            }
        }
    }

    /// Asks the host what became of a permit. False if the host is away.
    fn inquire(&self, permit: &v1::Permit) -> bool {
        let inquire = v1::Inquire { permit_id: permit.permit_id.clone(), call_id: self.call.call_id.clone() };
        self.send(server_to_host::Kind::Inquire(inquire)).is_ok()
    }

    /// The host stayed away. A preview changed nothing; anything else nobody can tell.
    async fn give_up(&mut self, permit: &v1::Permit) -> Result<(), v1::Error> {
        if permit.stage() == Stage::Preview {
            let message = "the host went away during the preview; nothing was applied";
            let error = reason::error(Reason::HostUnavailable, message);
            return self.settle(Outcome::NotApplied, None, Some(error.into())).await;
        }
        let message = "the host went away while it acted, and nobody can tell how far it came; \
                       it will be asked when it attaches again";
        let error = reason::error(Reason::OutcomeUnknown, message).reconcile(&self.call.call_id);
        self.settle(Outcome::Unknown, None, Some(error.into())).await
    }

    /// Takes the report about the current permit.
    async fn take(&mut self, report: Report) -> Result<(), v1::Error> {
        self.unacknowledged.push(report.permit_id.clone());
        if let Some(error) = report.error.clone() {
            let outcome = match report.outcome() {
                Outcome::Unspecified => Outcome::NotApplied,
                outcome => outcome,
            };
            return self.settle(outcome, Some(report), Some(error)).await;
        }
        if report.stage() == Stage::Preview {
            let observation = report.observation.clone().unwrap_or_default();
            let beyond = self.side_effects(&observation);
            return self.record(event::Kind::CallPreviewed(CallPreviewed { report: Some(report), beyond }));
        }
        let outcome = match report.outcome() {
            Outcome::Unspecified => Outcome::Unknown,
            outcome => outcome,
        };
        let error = report.result.as_ref().and_then(|result| result.error.clone());
        self.settle(outcome, Some(report), error).await
    }

    /// PREVIEWED: compares what the host measured with declaration, permit and policy.
    pub(super) async fn compare(&mut self) -> Result<(), v1::Error> {
        let result = self.call.result.clone().unwrap_or_default();
        if !result.ok {
            self.discard();
            let failed = || {
                reason::error(Reason::CommandFailed, "the command failed in its preview; nothing was applied").into()
            };
            return self.settle(Outcome::NotApplied, None, Some(result.error.unwrap_or_else(failed))).await;
        }
        if let Err(error) = self.consider().await {
            self.discard();
            return self.settle(Outcome::NotApplied, None, Some(error)).await;
        }
        match self.judge_observed()? {
            DiffDecided::Nothing => {
                let missing = self.unmet_expectation();
                let outcome = if missing.is_some() { Outcome::NotApplied } else { Outcome::Applied };
                self.discard();
                self.settle(outcome, None, missing).await
            }
            DiffDecided::Commit(grant) => match self.unmet_expectation() {
                None => self.permit(Clearance::Granted(grant)).await,
                // Nobody looks at this diff: what does not do as it said is not applied.
                missing => {
                    self.discard();
                    self.settle(Outcome::NotApplied, None, missing).await
                }
            },
            DiffDecided::Ask(ask) => self.hold(ask).await,
            DiffDecided::Shadow => {
                self.discard();
                let message = "the agent's level is `shadow`: this is what it would have done; nothing was applied";
                self.settle(Outcome::NotApplied, None, Some(reason::error(Reason::ShadowOnly, message).into())).await
            }
            DiffDecided::Refuse(refusal) => {
                self.discard();
                self.settle(Outcome::NotApplied, None, Some(refusal.error().clone())).await
            }
        }
    }

    /// Asks policy about the observation of the preview.
    pub(super) fn judge_observed(&self) -> Result<DiffDecided, v1::Error> {
        let considered = self.considered()?;
        let actor = considered.validated.proposal().actor.clone().unwrap_or_default();
        let shared = self.gate.shared();
        let facts = Facts { actor: &actor, level: shared.options.level(&actor.agent), host: &considered.host };
        let observation = self.call.observation.clone().unwrap_or_default();
        Ok(decide_observed(&shared.engine, &considered.validated, &considered.prediction, &observation, &facts))
    }

    /// Records the outcome with its score, durably, and tells everyone.
    pub(super) async fn settle(
        &mut self,
        outcome: Outcome,
        report: Option<Report>,
        error: Option<v1::Error>,
    ) -> Result<(), v1::Error> {
        let observed = report.as_ref().and_then(|report| report.observation.clone());
        if let Some(observed) = observed.clone().filter(|_| outcome != Outcome::NotApplied) {
            self.call.observation = Some(observed);
        }
        if let Some(result) = report.as_ref().and_then(|report| report.result.clone()) {
            self.call.result = Some(result);
        }
        let observation = self.call.observation.clone().unwrap_or_default();
        let side_effects = self.side_effects(&observation);
        let ran = self.call.result.is_some();
        let error = error.or_else(|| (outcome == Outcome::Applied).then(|| self.unmet_expectation()).flatten());
        let author_attempt = self.call.proposal.as_ref().map_or(1, |proposal| proposal.author_attempt);
        let score = score::score(&score::Evidence {
            valid: true,
            first_attempt: author_attempt <= 1,
            success: ran.then_some(outcome == Outcome::Applied && error.is_none()),
            side_effects: &side_effects,
            observation: &observation,
        });
        let mut error = error;
        if let Some(error) = &mut error {
            error.call_id.clone_from(&self.call.call_id);
        }
        let settled = CallSettled { outcome: outcome.into(), report, side_effects, score: Some(score), error };
        self.record(event::Kind::CallSettled(settled))?;
        self.flush().await
    }

    fn unmet_expectation(&self) -> Option<v1::Error> {
        let declared = self.declared().ok()?;
        let observation = self.call.observation.clone().unwrap_or_default();
        let result = self.call.result.clone().unwrap_or_default();
        score::check_success(&declared, &observation, &result).err()
    }

    fn declared(&self) -> Result<Vec<Effect>, v1::Error> {
        self.call
            .declared
            .iter()
            .map(|expected| Effect::parse(expected, &Default::default()).map_err(|error| internal(&error.to_string())))
            .collect()
    }

    fn side_effects(&self, observation: &v1::Observation) -> Vec<v1::SideEffect> {
        let permitted = self.call.decision.as_ref().map_or(&[][..], |decision| &decision.permitted);
        score::side_effects(permitted, observation)
    }
}
