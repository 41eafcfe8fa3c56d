//! Secrets within messages: which of their fields are texts, and how each is read.

use std::borrow::Cow;
use std::ops::Deref;

use prost::Message;

use super::{command, forms, text};
use crate::v1::{
    Action, Approval, ApprovalDecision, CallSettled, Decision, Error, Event, ModelTurn, Observation, ObservedEffect,
    Permit, PolicyRef, Prediction, Proposal, Report, Run, SideEffect, SignedPermit, StandingGrant, ToolResult,
    Violation, event::Kind, fix_arguments, remedy, use_tool,
};

/// An event without secrets. Only such a one is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Redacted(Event);

impl Redacted {
    /// Takes the secrets out of an event.
    #[must_use]
    pub fn of(mut event: Event) -> Self {
        if let Some(kind) = &mut event.kind {
            redact_kind(kind);
        }
        Self(event)
    }

    /// The same of a proposal, and what was proposed, if that is more than may be recorded.
    #[must_use]
    pub fn proposed(mut event: Event) -> (Self, Option<Box<Proposal>>) {
        let Some(Kind::CallProposed(proposed)) = &mut event.kind else { return (Self::of(event), None) };
        let whole = proposed.proposal.as_mut().and_then(|proposal| {
            let action = proposal.action.as_ref()?;
            let (intent, arguments) = match (text(&action.intent), text(&action.arguments_json)) {
                (Cow::Borrowed(_), Cow::Borrowed(_)) => return None,
                (intent, arguments) => (intent.into_owned(), arguments.into_owned()),
            };
            let whole = Box::new(proposal.clone());
            let action = proposal.action.as_mut()?;
            (action.intent, action.arguments_json) = (intent, arguments);
            Some(whole)
        });
        (Self(event), whole)
    }

    /// The event, which has no secrets any more.
    #[must_use]
    pub fn into_inner(self) -> Event {
        self.0
    }
}

impl Deref for Redacted {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.0
    }
}

fn redact_kind(kind: &mut Kind) {
    match kind {
        Kind::CallProposed(proposed) => proposed.proposal.as_mut().into_iter().for_each(proposal),
        Kind::CallRefused(refused) => refused.error.as_mut().into_iter().for_each(error),
        Kind::CallDecided(decided) => {
            decided.decision.as_mut().into_iter().for_each(decision);
            decided.prediction.as_mut().into_iter().for_each(prediction);
        }
        Kind::CallHeld(held) => held.approval.as_mut().into_iter().for_each(approval),
        Kind::ApprovalDecided(decided) => decided.decision.as_mut().into_iter().for_each(answer),
        Kind::CallPermitted(permitted) => permitted.permit.as_mut().into_iter().for_each(permit),
        Kind::CallPreviewed(previewed) => {
            previewed.report.as_mut().into_iter().for_each(report);
            previewed.beyond.iter_mut().for_each(side_effect);
        }
        Kind::CallSettled(settled) => redact_settled(settled),
        Kind::RunStarted(started) => started.run.as_mut().into_iter().for_each(run),
        Kind::TurnRecorded(recorded) => recorded.turn.as_mut().into_iter().for_each(turn),
        Kind::RunFinished(finished) => {
            take(&mut finished.final_output, text);
            take(&mut finished.why, text);
        }
        Kind::InstructionGiven(given) => take(&mut given.text, text),
        Kind::FreezeCreated(created) => {
            created.freeze.as_mut().into_iter().for_each(|freeze| take(&mut freeze.why, text));
        }
        Kind::FreezeLifted(lifted) => lifted.lift.as_mut().into_iter().for_each(|lift| take(&mut lift.why, text)),
        Kind::GrantCreated(created) => created.grant.as_mut().into_iter().for_each(grant),
        Kind::GrantRevoked(revoked) => {
            revoked.revocation.as_mut().into_iter().for_each(|revocation| take(&mut revocation.why, text));
        }
        Kind::PermitNoted(noted) => noted.permit.as_mut().into_iter().for_each(signed),
        Kind::PermitReported(reported) => reported.report.as_mut().into_iter().for_each(report),
        Kind::CallStarted(_)
        | Kind::HostAttached(_)
        | Kind::HostDetached(_)
        | Kind::ServerStarted(_)
        | Kind::PolicyReloaded(_)
        | Kind::LayerDropped(_)
        | Kind::ReportAcknowledged(_) => {}
    }
}

fn proposal(proposal: &mut Proposal) {
    proposal.action.as_mut().into_iter().for_each(action);
}

/// Takes the secrets out of what is to be done.
pub fn action(action: &mut Action) {
    take(&mut action.intent, text);
    take(&mut action.arguments_json, text);
}

fn approval(approval: &mut Approval) {
    approval.action.as_mut().into_iter().for_each(action);
    take(&mut approval.why, text);
    approval.policies.iter_mut().for_each(policy);
    approval.diff.as_mut().into_iter().for_each(observation);
    approval.beyond.iter_mut().for_each(side_effect);
    approval.decision.as_mut().into_iter().for_each(answer);
    approval.answers.iter_mut().for_each(answer);
}

/// Takes the secrets out of an error and its remedies.
pub fn error(error: &mut Error) {
    take(&mut error.message, text);
    error.violations.iter_mut().for_each(violation);
    error.policies.iter_mut().for_each(policy);
    error.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()).into_iter().for_each(redact_remedy);
}

/// Takes the secrets out of what a host reports.
pub fn report(report: &mut Report) {
    report.result.as_mut().into_iter().for_each(result);
    report.observation.as_mut().into_iter().for_each(observation);
    report.error.as_mut().into_iter().for_each(error);
}

/// Puts what is left of a text in its place.
fn take(place: &mut String, redact: impl Fn(&str) -> Cow<'_, str>) {
    if let Cow::Owned(clean) = redact(place) {
        *place = clean;
    }
}

fn decision(decision: &mut Decision) {
    take(&mut decision.reason, text);
    decision.policies.iter_mut().for_each(policy);
}

fn policy(policy: &mut PolicyRef) {
    take(&mut policy.reason, text);
    take(&mut policy.remedy, text);
}

/// Takes the secrets out of what was found out about an action.
pub fn prediction(prediction: &mut Prediction) {
    prediction.effects.iter_mut().for_each(|effect| take(&mut effect.source, command));
    prediction.unanalysable.iter_mut().for_each(|why| take(why, command));
}

fn answer(answer: &mut ApprovalDecision) {
    take(&mut answer.comment, text);
    answer.action.as_mut().into_iter().for_each(action);
}

fn permit(permit: &mut Permit) {
    permit.action.as_mut().into_iter().for_each(action);
}

/// What is kept of a permit is no proof any more if it had a secret: its signature is over the whole.
fn signed(signed: &mut SignedPermit) {
    let Ok(mut content) = Permit::decode(signed.permit.as_slice()) else { return };
    let was = content.action.clone();
    permit(&mut content);
    if content.action != was {
        signed.permit = content.encode_to_vec();
    }
}

fn redact_settled(settled: &mut CallSettled) {
    settled.report.as_mut().into_iter().for_each(report);
    settled.side_effects.iter_mut().for_each(side_effect);
    settled.error.as_mut().into_iter().for_each(error);
    settled.reconciliation.as_mut().into_iter().for_each(|found| take(&mut found.why, text));
}

fn result(result: &mut ToolResult) {
    take(&mut result.result_json, text);
    result.error.as_mut().into_iter().for_each(error);
}

fn observation(observation: &mut Observation) {
    observation.effects.iter_mut().for_each(observed);
    observation.looks.iter_mut().for_each(observed);
    observation.ended.iter_mut().for_each(observed);
    observation.unobserved.iter_mut().for_each(|unobserved| take(&mut unobserved.why, text));
}

fn side_effect(side_effect: &mut SideEffect) {
    side_effect.effect.as_mut().into_iter().for_each(observed);
    take(&mut side_effect.why, text);
}

/// A host takes the secrets out before it makes the digest that an approval binds to: of what it reports, nothing is
/// left to take here.
fn observed(effect: &mut ObservedEffect) {
    if let Some(file) = &mut effect.file {
        take(&mut file.text_diff, text);
    }
    if let Some(process) = &mut effect.process {
        process.arguments = forms::words(std::mem::take(&mut process.arguments));
    }
}

fn violation(violation: &mut Violation) {
    take(&mut violation.expected, text);
    let name = violation.pointer.rsplit('/').next().unwrap_or_default();
    // What stood under a telling name is a secret although nothing in it says so.
    if forms::is_name(name) && !violation.found.is_empty() {
        violation.found = forms::whole(&violation.found, &mut |_| {});
    } else {
        take(&mut violation.found, command);
    }
    violation.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()).into_iter().for_each(redact_remedy);
}

fn redact_remedy(remedy: &mut remedy::Kind) {
    match remedy {
        remedy::Kind::FixArguments(fix) => {
            take(&mut fix.expected, text);
            if let Some(fix_arguments::Change::ValueJson(value)) = &mut fix.change {
                take(value, text);
            }
        }
        remedy::Kind::NarrowEffect(narrow) => take(&mut narrow.predicted, text),
        remedy::Kind::UseTool(tool) => {
            if let Some(use_tool::Arguments::ArgumentsJson(arguments)) = &mut tool.arguments {
                take(arguments, text);
            }
        }
        remedy::Kind::Stop(stop) => take(&mut stop.why, text),
        remedy::Kind::DeclareEffect(_)
        | remedy::Kind::RequestApproval(_)
        | remedy::Kind::RetryAfter(_)
        | remedy::Kind::Reconcile(_) => {}
    }
}

fn run(run: &mut Run) {
    take(&mut run.task, text);
    take(&mut run.final_output, text);
    take(&mut run.why, text);
}

fn turn(turn: &mut ModelTurn) {
    take(&mut turn.prompt_json, text);
    take(&mut turn.response_json, text);
}

fn grant(grant: &mut StandingGrant) {
    take(&mut grant.why, text);
    grant.revocation.as_mut().into_iter().for_each(|revocation| take(&mut revocation.why, text));
}
