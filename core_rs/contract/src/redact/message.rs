//! Secrets within messages: which of their fields are texts, and how each is read.

use std::borrow::Cow;
use std::ops::Deref;

use prost::Message;

use super::{Known, argument_knowing, command_knowing, forms, text, text_knowing, without_own};
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
    pub fn of(event: Event) -> Self {
        Self::knowing(event, &Known::default())
    }

    /// The same of an event of a call, some secrets of which are known.
    #[must_use]
    pub fn knowing(mut event: Event, known: &Known) -> Self {
        if let Some(kind) = &mut event.kind {
            Reader(known).kind(kind);
        }
        Self(event)
    }

    /// The same of a proposal, and what was proposed, if that is more than may be recorded.
    #[must_use]
    pub fn proposed(mut event: Event) -> (Self, Option<Box<Proposal>>) {
        let Some(Kind::CallProposed(proposed)) = &mut event.kind else { return (Self::of(event), None) };
        let whole = proposed.proposal.as_mut().and_then(|proposal| {
            let action = proposal.action.as_ref()?;
            let (intent, arguments) = match without_own(action, &Known::default()) {
                (Cow::Borrowed(_), Cow::Borrowed(_), _) => return None,
                (intent, arguments, _) => (intent.into_owned(), arguments.into_owned()),
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

/// Takes the secrets out of what is to be done.
pub fn action(action: &mut Action) {
    Reader(&Known::default()).action(action);
}

/// Takes the secrets out of an error and its remedies.
pub fn error(error: &mut Error) {
    Reader(&Known::default()).error(error);
}

/// Takes the secrets out of what was found out about an action.
pub fn prediction(prediction: &mut Prediction) {
    Reader(&Known::default()).prediction(prediction);
}

/// Takes the secrets out of what a host reports of a call, some secrets of which are known.
pub fn report(report: &mut Report, known: &Known) {
    Reader(known).report(report);
}

/// What takes the secrets out of messages: those that it finds, and those that are known.
struct Reader<'k>(&'k Known);

impl Reader<'_> {
    fn text(&self, place: &mut String) {
        take(place, |said| text_knowing(said, self.0));
    }

    fn command(&self, place: &mut String) {
        take(place, |said| command_knowing(said, self.0));
    }

    fn words(&self, words: &mut Vec<String>) {
        *words = forms::words_knowing(std::mem::take(words), self.0);
    }

    fn kind(&self, kind: &mut Kind) {
        match kind {
            Kind::CallProposed(proposed) => proposed.proposal.as_mut().into_iter().for_each(|it| self.proposal(it)),
            Kind::CallRefused(refused) => refused.error.as_mut().into_iter().for_each(|it| self.error(it)),
            Kind::CallDecided(decided) => {
                decided.decision.as_mut().into_iter().for_each(|it| self.decision(it));
                decided.prediction.as_mut().into_iter().for_each(|it| self.prediction(it));
            }
            Kind::CallHeld(held) => held.approval.as_mut().into_iter().for_each(|it| self.approval(it)),
            Kind::ApprovalDecided(decided) => decided.decision.as_mut().into_iter().for_each(|it| self.answer(it)),
            Kind::CallPermitted(permitted) => permitted.permit.as_mut().into_iter().for_each(|it| self.permit(it)),
            Kind::CallPreviewed(previewed) => {
                previewed.report.as_mut().into_iter().for_each(|it| self.report(it));
                previewed.beyond.iter_mut().for_each(|it| self.side_effect(it));
            }
            Kind::CallSettled(settled) => self.settled(settled),
            Kind::RunStarted(started) => started.run.as_mut().into_iter().for_each(|it| self.run(it)),
            Kind::TurnRecorded(recorded) => recorded.turn.as_mut().into_iter().for_each(|it| self.turn(it)),
            Kind::RunFinished(finished) => {
                self.text(&mut finished.final_output);
                self.text(&mut finished.why);
            }
            Kind::InstructionGiven(given) => self.text(&mut given.text),
            Kind::FreezeCreated(created) => {
                created.freeze.as_mut().into_iter().for_each(|freeze| self.text(&mut freeze.why));
            }
            Kind::FreezeLifted(lifted) => lifted.lift.as_mut().into_iter().for_each(|lift| self.text(&mut lift.why)),
            Kind::GrantCreated(created) => created.grant.as_mut().into_iter().for_each(|it| self.grant(it)),
            Kind::GrantRevoked(revoked) => {
                revoked.revocation.as_mut().into_iter().for_each(|revocation| self.text(&mut revocation.why));
            }
            Kind::PermitNoted(noted) => noted.permit.as_mut().into_iter().for_each(|it| self.signed(it)),
            Kind::PermitReported(reported) => reported.report.as_mut().into_iter().for_each(|it| self.report(it)),
            Kind::CallStarted(_)
            | Kind::HostAttached(_)
            | Kind::HostDetached(_)
            | Kind::ServerStarted(_)
            | Kind::PolicyReloaded(_)
            | Kind::LayerDropped(_)
            | Kind::ReportAcknowledged(_) => {}
        }
    }

    fn proposal(&self, proposal: &mut Proposal) {
        proposal.action.as_mut().into_iter().for_each(|it| self.action(it));
    }

    fn action(&self, action: &mut Action) {
        let (intent, arguments, _) = without_own(action, self.0);
        let (intent, arguments) = (owned(intent), owned(arguments));
        if let Some(intent) = intent {
            action.intent = intent;
        }
        if let Some(arguments) = arguments {
            action.arguments_json = arguments;
        }
    }

    fn approval(&self, approval: &mut Approval) {
        approval.action.as_mut().into_iter().for_each(|it| self.action(it));
        self.text(&mut approval.why);
        approval.policies.iter_mut().for_each(|it| self.policy(it));
        approval.diff.as_mut().into_iter().for_each(|it| self.observation(it));
        approval.beyond.iter_mut().for_each(|it| self.side_effect(it));
        approval.decision.as_mut().into_iter().for_each(|it| self.answer(it));
        approval.answers.iter_mut().for_each(|it| self.answer(it));
    }

    fn error(&self, error: &mut Error) {
        self.text(&mut error.message);
        error.violations.iter_mut().for_each(|it| self.violation(it));
        error.policies.iter_mut().for_each(|it| self.policy(it));
        error.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()).into_iter().for_each(|it| self.remedy(it));
    }

    fn report(&self, report: &mut Report) {
        report.result.as_mut().into_iter().for_each(|it| self.result(it));
        report.observation.as_mut().into_iter().for_each(|it| self.observation(it));
        report.error.as_mut().into_iter().for_each(|it| self.error(it));
    }

    fn decision(&self, decision: &mut Decision) {
        self.text(&mut decision.reason);
        decision.policies.iter_mut().for_each(|it| self.policy(it));
    }

    fn policy(&self, policy: &mut PolicyRef) {
        self.text(&mut policy.reason);
        self.text(&mut policy.remedy);
    }

    fn prediction(&self, prediction: &mut Prediction) {
        prediction.effects.iter_mut().for_each(|effect| self.command(&mut effect.source));
        prediction.unanalysable.iter_mut().for_each(|why| self.command(why));
    }

    fn answer(&self, answer: &mut ApprovalDecision) {
        self.text(&mut answer.comment);
        answer.action.as_mut().into_iter().for_each(|it| self.action(it));
    }

    fn permit(&self, permit: &mut Permit) {
        permit.action.as_mut().into_iter().for_each(|it| self.action(it));
    }

    /// What is kept of a permit is no proof any more if it had a secret: its signature is over the whole.
    fn signed(&self, signed: &mut SignedPermit) {
        let Ok(mut content) = Permit::decode(signed.permit.as_slice()) else { return };
        let was = content.action.clone();
        self.permit(&mut content);
        if content.action != was {
            signed.permit = content.encode_to_vec();
        }
    }

    fn settled(&self, settled: &mut CallSettled) {
        settled.report.as_mut().into_iter().for_each(|it| self.report(it));
        settled.side_effects.iter_mut().for_each(|it| self.side_effect(it));
        settled.error.as_mut().into_iter().for_each(|it| self.error(it));
        settled.reconciliation.as_mut().into_iter().for_each(|found| self.text(&mut found.why));
    }

    fn result(&self, result: &mut ToolResult) {
        self.text(&mut result.result_json);
        result.error.as_mut().into_iter().for_each(|it| self.error(it));
    }

    fn observation(&self, observation: &mut Observation) {
        observation.effects.iter_mut().for_each(observed);
        // No digest binds to these.
        let of_call = observation.looks.iter_mut().chain(&mut observation.ended);
        of_call.filter_map(|it| it.process.as_mut()).for_each(|process| self.words(&mut process.arguments));
        observation.looks.iter_mut().chain(&mut observation.ended).for_each(observed);
        observation.unobserved.iter_mut().for_each(|unobserved| self.text(&mut unobserved.why));
    }

    fn side_effect(&self, side_effect: &mut SideEffect) {
        side_effect.effect.as_mut().into_iter().for_each(observed);
        self.text(&mut side_effect.why);
    }

    fn violation(&self, violation: &mut Violation) {
        self.text(&mut violation.expected);
        let name = violation.pointer.rsplit('/').next().unwrap_or_default();
        // What stood under a telling name is a secret although nothing in it says so.
        if forms::is_name(name) && !violation.found.is_empty() {
            violation.found = forms::whole(&violation.found, &mut |_| {});
        } else {
            // Nobody runs it, so it is no line of a shell.
            take(&mut violation.found, |said| argument_knowing(said, self.0));
        }
        violation.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()).into_iter().for_each(|it| self.remedy(it));
    }

    fn remedy(&self, remedy: &mut remedy::Kind) {
        match remedy {
            remedy::Kind::FixArguments(fix) => {
                self.text(&mut fix.expected);
                if let Some(fix_arguments::Change::ValueJson(value)) = &mut fix.change {
                    self.text(value);
                }
            }
            remedy::Kind::NarrowEffect(narrow) => self.text(&mut narrow.predicted),
            remedy::Kind::UseTool(tool) => {
                if let Some(use_tool::Arguments::ArgumentsJson(arguments)) = &mut tool.arguments {
                    self.text(arguments);
                }
            }
            remedy::Kind::Stop(stop) => self.text(&mut stop.why),
            remedy::Kind::DeclareEffect(_)
            | remedy::Kind::RequestApproval(_)
            | remedy::Kind::RetryAfter(_)
            | remedy::Kind::Reconcile(_) => {}
        }
    }

    fn run(&self, run: &mut Run) {
        self.text(&mut run.task);
        self.text(&mut run.final_output);
        self.text(&mut run.why);
    }

    fn turn(&self, turn: &mut ModelTurn) {
        self.text(&mut turn.prompt_json);
        self.text(&mut turn.response_json);
    }

    fn grant(&self, grant: &mut StandingGrant) {
        self.text(&mut grant.why);
        grant.revocation.as_mut().into_iter().for_each(|revocation| self.text(&mut revocation.why));
    }
}

fn owned(text: Cow<'_, str>) -> Option<String> {
    if let Cow::Owned(text) = text { Some(text) } else { None }
}

/// Puts what is left of a text in its place.
fn take(place: &mut String, redact: impl Fn(&str) -> Cow<'_, str>) {
    if let Cow::Owned(clean) = redact(place) {
        *place = clean;
    }
}

/// A host takes the secrets out before it makes the digest that an approval binds to: of what it reports, nothing is
/// left to take here, and nothing may be taken that it did not.
fn observed(effect: &mut ObservedEffect) {
    if let Some(file) = &mut effect.file {
        take(&mut file.text_diff, text);
        let states = file.before.iter_mut().chain(&mut file.after);
        let values = states.flat_map(|state| &mut state.xattrs).filter_map(|xattr| xattr.shown.as_mut());
        values.for_each(|value| take(value, text));
    }
    if let Some(process) = &mut effect.process {
        process.arguments = forms::words(std::mem::take(&mut process.arguments));
    }
}
