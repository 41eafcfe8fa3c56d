//! A call is the fold of its events. This is the only place where a call's document is made.

use std::borrow::Cow;

use crate::digest::observation_digest;
use crate::effect::{Class, class, unseen};
use crate::life::{Input, NotInTable, is_final, next};
use crate::tool::COMMAND;
use crate::v1::{
    self, ApprovalStatus, Call, CallSettled, CallState, Decision, Event, Observation, Outcome, PolicyEffect, PolicyRef,
    Reason, Reconciliation, Report, Stage, ToolResult, Unobserved, event::Kind,
};
use crate::{approval, reason};

/// Why an event does not belong to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call's state does not allow it.
    #[error(transparent)]
    NotInTable(#[from] NotInTable),
    /// A call is proposed once.
    #[error("the call exists already")]
    Exists,
    /// Not an event of a call, or one without its content.
    #[error("the event is not one of a call, or lacks its content")]
    NotOfCall,
    /// An event of another call.
    #[error("the event is about another call")]
    OtherCall,
    /// A report, start or preview that belongs to another permit than the call's last.
    #[error("the event is about another permit than the last one of the call")]
    OtherPermit,
    /// An answer to a question that is not open, or a permit that consumes what nobody approved.
    #[error("the event needs an approval that the call does not have")]
    OtherApproval,
    /// The outcome was unknown before and the event brings no report.
    #[error("the outcome is unknown already and the event brings nothing new")]
    NothingNew,
    /// Only of a call that a person's word settled a measurement may still come.
    #[error("no person's word settled the call, or its host reported what it measured already")]
    NoWord,
}

/// Does this event belong to a call?
#[must_use]
pub fn is_of_call(event: &Event) -> bool {
    matches!(
        event.kind,
        Some(
            Kind::CallProposed(_)
                | Kind::CallRefused(_)
                | Kind::CallDecided(_)
                | Kind::CallHeld(_)
                | Kind::ApprovalDecided(_)
                | Kind::CallPermitted(_)
                | Kind::CallStarted(_)
                | Kind::CallPreviewed(_)
                | Kind::CallSettled(_)
        )
    )
}

/// The state after an event, for who keeps no document. It does not look at what the event refers to.
///
/// # Errors
/// The state does not allow it.
pub fn advance(state: CallState, event: &Event) -> Result<CallState, Error> {
    match event.kind.as_ref().ok_or(Error::NotOfCall)? {
        Kind::CallProposed(_) if state == CallState::Unspecified => Ok(CallState::Proposed),
        Kind::CallProposed(_) => Err(Error::Exists),
        kind => Ok(next(state, input(kind)?)?),
    }
}

/// Applies one event to a call. `Call::default()` is a call before its first event.
///
/// # Errors
/// The event is not possible now; the call is then as it was.
pub fn apply(call: &mut Call, event: Event) -> Result<(), Error> {
    let state = advance(call.state(), &event)?;
    let Event { at, subject, kind } = event;
    let kind = kind.ok_or(Error::NotOfCall)?;
    if let Kind::CallProposed(proposed) = kind {
        *call = Call {
            call_id: subject,
            proposal: proposed.proposal,
            state: state.into(),
            action_digest: proposed.action_digest,
            attempt: 1,
            proposed_at: at,
            ..Call::default()
        };
        return Ok(());
    }
    if subject != call.call_id {
        return Err(Error::OtherCall);
    }
    check_references(call, &kind)?;
    record(call, kind, at, state);
    call.state = state.into();
    Ok(())
}

/// Does what the event refers to belong to the call?
fn check_references(call: &Call, kind: &Kind) -> Result<(), Error> {
    let last = call.permits.last();
    let same = |permit_id: &str| last.is_some_and(|permit| permit.permit_id == permit_id);
    let open = |approval_id: &str, status: &[ApprovalStatus]| {
        call.approval.as_ref().is_some_and(|it| it.approval_id == approval_id && status.contains(&it.status()))
    };
    match kind {
        Kind::CallDecided(decided) if call.state() != CallState::Proposed => {
            let stage = decided.decision.as_ref().map_or(Stage::Unspecified, Decision::stage);
            let falls_back = last.is_some_and(|permit| permit.stage() == Stage::Apply) && stage == Stage::Preview;
            falls_back.then_some(()).ok_or(Error::OtherPermit)
        }
        Kind::ApprovalDecided(decided) => {
            // An approval can still expire or become void after it was given, until a permit uses it.
            let open = open(&decided.approval_id, &[ApprovalStatus::Pending, ApprovalStatus::Approved]);
            open.then_some(()).ok_or(Error::OtherApproval)
        }
        Kind::CallPermitted(permitted) if !permitted.approval_id.is_empty() => {
            open(&permitted.approval_id, &[ApprovalStatus::Approved]).then_some(()).ok_or(Error::OtherApproval)
        }
        Kind::CallStarted(started) => same(&started.permit_id).then_some(()).ok_or(Error::OtherPermit),
        Kind::CallPreviewed(previewed) => {
            let report = previewed.report.as_ref().ok_or(Error::NotOfCall)?;
            let previews = last.is_some_and(|permit| permit.stage() == Stage::Preview);
            (same(&report.permit_id) && previews).then_some(()).ok_or(Error::OtherPermit)
        }
        Kind::CallSettled(settled) if is_measured(settled) => {
            // A host that could not tell may find out yet.
            let waits = |word: &Reconciliation| matches!(word.measured(), Outcome::Unspecified | Outcome::Unknown);
            let of_last = settled.report.as_ref().is_some_and(|report| same(&report.permit_id));
            call.reconciliation.as_ref().filter(|word| waits(word)).ok_or(Error::NoWord)?;
            of_last.then_some(()).ok_or(Error::OtherPermit)
        }
        Kind::CallSettled(settled) => match &settled.report {
            Some(report) => same(&report.permit_id).then_some(()).ok_or(Error::OtherPermit),
            None if call.state() == CallState::Unknown && settled.outcome() == Outcome::Unknown => {
                Err(Error::NothingNew)
            }
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Writes an event that fits into the call's document. `state` is where the call is going.
fn record(call: &mut Call, kind: Kind, at: i64, state: CallState) {
    match kind {
        Kind::CallRefused(refused) => {
            call.error = refused.error;
            call.score = refused.score;
            call.outcome = Outcome::NotApplied.into();
            call.settled_at = at;
        }
        Kind::CallDecided(decided) => {
            call.decision = decided.decision;
            call.prediction = decided.prediction;
            call.declared = decided.declared;
        }
        Kind::CallHeld(held) => {
            let approval = held.approval.unwrap_or_default();
            let message = match approval.why.as_str() {
                "" => "a person must decide first".to_owned(),
                why => format!("a person must decide first: {why}"),
            };
            let error = reason::error(Reason::ApprovalRequired, message).request_approval(&approval.approval_id);
            call.error = Some(error.policies(approval.policies.clone()));
            redecide(call, PolicyEffect::RequireApproval, &approval.policies, &approval.why);
            call.approval = Some(approval);
        }
        Kind::ApprovalDecided(decided) => {
            if let Some(approval) = &mut call.approval {
                approval::answered(approval, &decided);
            }
        }
        Kind::CallPermitted(permitted) => {
            call.error = None;
            if let Some(approval) = call.approval.as_mut().filter(|it| it.approval_id == permitted.approval_id) {
                approval.status = ApprovalStatus::Used.into();
            }
            if !permitted.grants.is_empty() {
                granted(call, permitted.grants);
            }
            if let Some(permit) = permitted.permit {
                call.attempt = permit.attempt.max(1);
                call.permits.push(permit);
            }
        }
        Kind::CallPreviewed(previewed) => {
            take(call, previewed.report);
            call.side_effects = previewed.beyond;
        }
        Kind::CallSettled(settled) => {
            if let Some(error) =
                settled.error.as_ref().filter(|error| call.state() == CallState::Previewed && denies(error))
            {
                redecide(call, PolicyEffect::Deny, &error.policies, &error.message);
            }
            call.outcome = settled.outcome;
            let (result, observation) = left(call, settled.outcome());
            let lacks_result = result.is_none();
            if let Some(Cow::Owned(observation)) = observation {
                call.observation = Some(observation);
            }
            if lacks_result {
                call.result = None;
            }
            take(call, settled.report);
            call.side_effects = settled.side_effects;
            call.score = settled.score;
            call.error = settled.error;
            call.settled_at = match settled.reconciliation.as_ref().map(Reconciliation::measured) {
                // The person's word still settles it.
                Some(Outcome::Unknown) => call.settled_at,
                // An unknown outcome is not settled: reconciliation may still do it.
                _ if is_final(state) => at,
                _ => 0,
            };
            call.replaced_by = settled.replaced_by;
            call.reconciliation = settled.reconciliation;
            if let Some(approval) = &mut call.approval {
                approval::call_ended(approval);
            }
        }
        _ => {}
    }
}

/// Policy decides again on what a preview showed. What holds or refuses the call then is its decision;
/// what the first one permitted stays, because side effects are what goes beyond that.
fn redecide(call: &mut Call, effect: PolicyEffect, policies: &[PolicyRef], reason: &str) {
    let Some(decision) = &mut call.decision else { return };
    decision.effect = effect.into();
    decision.policies = policies.to_vec();
    reason.clone_into(&mut decision.reason);
}

/// What policy would have asked a person, standing grants answered.
fn granted(call: &mut Call, grants: Vec<String>) {
    let Some(decision) = &mut call.decision else { return };
    decision.effect = PolicyEffect::Allow.into();
    decision.reason = match grants.as_slice() {
        [one] => format!("a person agreed beforehand, by standing grant {one}"),
        several => format!("people agreed beforehand, by standing grants {}", several.join(", ")),
    };
    for grant in grants {
        if !decision.grants.contains(&grant) {
            decision.grants.push(grant);
        }
    }
}

/// Is this what policy says of a preview that may not be committed?
fn denies(error: &v1::Error) -> bool {
    matches!(
        error.reason(),
        Reason::FloorDenied
            | Reason::PolicyDenied
            | Reason::NotPermitted
            | Reason::EffectNotPermitted
            | Reason::PolicyError
    )
}

fn input(kind: &Kind) -> Result<Input, Error> {
    Ok(match kind {
        Kind::CallRefused(_) => Input::Refuse,
        Kind::CallDecided(_) => Input::Decide,
        Kind::CallHeld(_) => Input::Hold,
        Kind::ApprovalDecided(_) => Input::Answer,
        Kind::CallPermitted(permitted) => match permitted.permit.as_ref().ok_or(Error::NotOfCall)?.stage() {
            Stage::Commit if permitted.approval_id.is_empty() => Input::PermitCommit,
            Stage::Commit => Input::PermitCommitApproved,
            Stage::Preview | Stage::Apply if permitted.approval_id.is_empty() => Input::Permit,
            Stage::Preview | Stage::Apply => Input::PermitApproved,
            Stage::Unspecified => return Err(Error::NotOfCall),
        },
        Kind::CallStarted(_) => Input::Start,
        Kind::CallPreviewed(_) => Input::Preview,
        Kind::CallSettled(settled) if is_measured(settled) => {
            let word = settled.reconciliation.as_ref().ok_or(Error::NotOfCall)?;
            match word.measured() {
                // The word stands.
                Outcome::Unknown if matches!(settled.outcome(), Outcome::Applied | Outcome::NotApplied) => {
                    Input::MeasureNothing
                }
                Outcome::Applied if settled.outcome() == Outcome::Applied => Input::MeasureApplied,
                Outcome::NotApplied if settled.outcome() == Outcome::NotApplied => Input::MeasureLeft,
                _ => return Err(Error::NotOfCall),
            }
        }
        Kind::CallSettled(settled) => match settled.outcome() {
            Outcome::Applied => Input::Apply,
            Outcome::NotApplied => Input::Leave,
            Outcome::Unknown => Input::Lose,
            Outcome::Unspecified => return Err(Error::NotOfCall),
        },
        _ => return Err(Error::NotOfCall),
    })
}

/// Is it what the host measured, after a person had settled the call by their word?
#[must_use]
pub fn is_measured(settled: &CallSettled) -> bool {
    settled.reconciliation.as_ref().is_some_and(|word| word.measured() != Outcome::Unspecified)
}

/// What the document of a call still says once it ends so, of what no report tells anew. What a tool said in its preview
/// that it would do is no measurement: of what is not applied it stays to be read, without the contacts that nobody
/// made; of anything else nobody observed it.
#[must_use]
pub fn left(call: &Call, outcome: Outcome) -> (Option<&ToolResult>, Option<Cow<'_, Observation>>) {
    let seen = call.observation.as_ref();
    if is_foretold(call) {
        let plan = seen.map(|plan| match outcome {
            Outcome::NotApplied => without_contacts(plan),
            _ => Cow::Owned(unmeasured(plan)),
        });
        return (None, plan);
    }
    let was_planned = call.state() == CallState::Unknown && tool(call) != COMMAND && last_stage(call) == Stage::Commit;
    let seen = seen.map(|seen| match outcome {
        // Nothing was there to be observed.
        Outcome::NotApplied if was_planned => Cow::Owned(Observation { unobserved: Vec::new(), ..seen.clone() }),
        _ => Cow::Borrowed(seen),
    });
    (call.result.as_ref(), seen)
}

/// Does the call's document hold only what a tool says that it would do and return? What a command did and returned in
/// its preview it did: it ran. And what went wrong in a preview did so.
fn is_foretold(call: &Call) -> bool {
    let in_preview = matches!(call.state(), CallState::Previewed | CallState::DiffHeld | CallState::Committing);
    // A look that changes nothing has been had.
    let changes =
        call.observation.as_ref().is_some_and(|it| it.effects.iter().any(|it| class(it.kind()) != Class::Look));
    in_preview && changes && tool(call) != COMMAND && call.result.as_ref().is_some_and(|result| result.ok)
}

fn tool(call: &Call) -> &str {
    call.proposal.as_ref().and_then(|proposal| proposal.action.as_ref()).map_or("", |it| &it.tool)
}

fn last_stage(call: &Call) -> Stage {
    call.permits.last().map_or(Stage::Unspecified, |permit| permit.stage())
}

fn without_contacts(plan: &Observation) -> Cow<'_, Observation> {
    let is_contact = |effect: &v1::ObservedEffect| class(effect.kind()) == Class::Contact;
    if !plan.effects.iter().any(is_contact) {
        return Cow::Borrowed(plan);
    }
    let mut plan = plan.clone();
    plan.effects.retain(|effect| !is_contact(effect));
    plan.digest = observation_digest(&plan.effects);
    Cow::Owned(plan)
}

fn unmeasured(plan: &Observation) -> Observation {
    let kinds = plan.effects.iter().map(v1::ObservedEffect::kind);
    unseen(kinds, "the tool was to have such effects, and nobody measured what it did")
}

/// Keeps what a report measured.
fn take(call: &mut Call, report: Option<Report>) {
    let Some(report) = report else { return };
    let observation = brings_observation(call, &report);
    call.result = report.result.or_else(|| call.result.take());
    call.observation = if observation { report.observation } else { call.observation.take() };
}

/// What a report brings to its call. The commit of a command has no result of its own: the preview's stays.
#[must_use]
pub fn measured<'a>(call: &Call, report: &'a Report) -> (Option<&'a ToolResult>, Option<&'a Observation>) {
    (report.result.as_ref(), report.observation.as_ref().filter(|_| brings_observation(call, report)))
}

/// The preview's observation stays if the commit changed nothing, unless it is a tool that contacted somebody, or may have.
fn brings_observation(call: &Call, report: &Report) -> bool {
    let Some(observation) = &report.observation else { return false };
    let nothing_committed = report.stage() == Stage::Commit && report.outcome() == Outcome::NotApplied;
    let seen = observation.effects.iter().map(v1::ObservedEffect::kind);
    let unseen = observation.unobserved.iter().map(Unobserved::kind);
    let contacted = || seen.chain(unseen).any(|kind| class(kind) == Class::Contact);
    !nothing_committed || (tool(call) != COMMAND && contacted())
}

#[cfg(test)]
mod tests;
