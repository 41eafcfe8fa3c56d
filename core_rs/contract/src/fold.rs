//! A call is the fold of its events. This is the only place where a call's document is made.

use crate::life::{Input, NotInTable, is_final, next};
use crate::v1::{
    self, ApprovalStatus, Call, CallState, Decision, Event, Observation, Outcome, PolicyEffect, PolicyRef, Reason,
    Report, Stage, ToolResult, event::Kind,
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
            take(call, settled.report);
            call.side_effects = settled.side_effects;
            call.score = settled.score;
            call.error = settled.error;
            // An unknown outcome is not settled: reconciliation may still do it.
            call.settled_at = if is_final(state) { at } else { 0 };
            call.replaced_by = settled.replaced_by;
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
        Kind::CallSettled(settled) => match settled.outcome() {
            Outcome::Applied => Input::Apply,
            Outcome::NotApplied => Input::Leave,
            Outcome::Unknown => Input::Lose,
            Outcome::Unspecified => return Err(Error::NotOfCall),
        },
        _ => return Err(Error::NotOfCall),
    })
}

/// Keeps what a report measured.
fn take(call: &mut Call, report: Option<Report>) {
    let Some(report) = report else { return };
    let (result, observation) = (brings_result(&report), brings_observation(&report));
    call.result = if result { report.result } else { call.result.take() };
    call.observation = if observation { report.observation } else { call.observation.take() };
}

/// What a report brings to its call.
#[must_use]
pub fn measured(report: &Report) -> (Option<&ToolResult>, Option<&Observation>) {
    let result = report.result.as_ref().filter(|_| brings_result(report));
    (result, report.observation.as_ref().filter(|_| brings_observation(report)))
}

/// The commit of a command has no result of its own: the preview's stays. That of a tool says what became of it.
fn brings_result(report: &Report) -> bool {
    report.result.is_some()
}

/// The preview's observation stays if the commit changed nothing.
fn brings_observation(report: &Report) -> bool {
    let nothing_committed = report.stage() == Stage::Commit && report.outcome() == Outcome::NotApplied;
    report.observation.is_some() && !nothing_committed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{
        Approval, ApprovalDecided, CallDecided, CallHeld, CallPermitted, CallPreviewed, CallProposed, CallSettled,
        CallStarted, Permit, Proposal, ToolResult,
    };

    fn event(kind: Kind) -> Event {
        Event { at: 7, subject: "c".into(), kind: Some(kind) }
    }

    #[test]
    fn only_what_was_to_run_directly_falls_back_and_only_to_a_preview() {
        let decided = |stage: Stage| {
            let decision = Some(Decision { stage: stage.into(), ..Decision::default() });
            Kind::CallDecided(CallDecided { decision, ..CallDecided::default() })
        };
        let fallen = [permitted("p", Stage::Apply, ""), decided(Stage::Preview), permitted("q", Stage::Preview, "")];
        let call = fold(fallen).expect("it falls back");
        assert_eq!((call.state(), call.permits.len()), (CallState::Permitted, 2));
        for (permit, decision) in [(Stage::Apply, Stage::Apply), (Stage::Preview, Stage::Preview)] {
            assert_eq!(fold([permitted("p", permit, ""), decided(decision)]), Err(Error::OtherPermit), "{permit:?}");
        }
        let previewed = [permitted("p", Stage::Preview, ""), previewed("p"), decided(Stage::Preview)];
        assert!(matches!(fold(previewed), Err(Error::NotInTable(_))), "nothing falls back behind a preview");
    }

    #[test]
    fn a_call_is_the_fold_of_its_events() {
        let mut call = Call::default();
        let permit = Permit { stage: Stage::Apply.into(), ..Permit::default() };
        for kind in [
            Kind::CallProposed(CallProposed { proposal: Some(Proposal::default()), action_digest: "d".into() }),
            Kind::CallPermitted(CallPermitted {
                permit: Some(permit),
                approval_id: String::new(),
                ..CallPermitted::default()
            }),
            Kind::CallStarted(CallStarted::default()),
            Kind::CallSettled(CallSettled { outcome: Outcome::Applied.into(), ..CallSettled::default() }),
        ] {
            apply(&mut call, event(kind)).expect("the event fits");
        }
        assert_eq!((call.state(), call.outcome(), call.settled_at), (CallState::Applied, Outcome::Applied, 7));
        assert_eq!((call.call_id.as_str(), call.permits.len()), ("c", 1));
    }

    #[test]
    fn an_impossible_event_leaves_the_call_as_it_was() {
        let mut call = Call::default();
        let settled =
            event(Kind::CallSettled(CallSettled { outcome: Outcome::Applied.into(), ..CallSettled::default() }));
        assert!(apply(&mut call, settled.clone()).is_err());
        assert_eq!(call, Call::default());
        let proposed = event(Kind::CallProposed(CallProposed::default()));
        apply(&mut call, proposed.clone()).expect("first");
        assert_eq!(apply(&mut call, proposed.clone()), Err(Error::Exists));
        assert!(matches!(apply(&mut call, settled.clone()), Err(Error::NotInTable(_))));
    }

    fn fold(events: impl IntoIterator<Item = Kind>) -> Result<Call, Error> {
        let mut call = Call::default();
        let proposed =
            Kind::CallProposed(CallProposed { proposal: Some(Proposal::default()), ..CallProposed::default() });
        for kind in [proposed].into_iter().chain(events) {
            apply(&mut call, event(kind))?;
        }
        Ok(call)
    }

    fn held(approval_id: &str) -> Kind {
        let status = ApprovalStatus::Pending.into();
        let approval = Approval { approval_id: approval_id.into(), status, ..Approval::default() };
        Kind::CallHeld(CallHeld { approval: Some(approval) })
    }

    fn answered(approval_id: &str, status: ApprovalStatus) -> Kind {
        Kind::ApprovalDecided(ApprovalDecided {
            approval_id: approval_id.into(),
            status: status.into(),
            ..ApprovalDecided::default()
        })
    }

    fn permitted(permit_id: &str, stage: Stage, approval_id: &str) -> Kind {
        let permit = Permit { permit_id: permit_id.into(), stage: stage.into(), attempt: 1, ..Permit::default() };
        Kind::CallPermitted(CallPermitted {
            permit: Some(permit),
            approval_id: approval_id.into(),
            ..CallPermitted::default()
        })
    }

    fn report(permit_id: &str, stage: Stage, outcome: Outcome) -> Report {
        Report {
            permit_id: permit_id.into(),
            stage: stage.into(),
            outcome: outcome.into(),
            observation: Some(Observation { digest: permit_id.into(), ..Observation::default() }),
            ..Report::default()
        }
    }

    fn previewed(permit_id: &str) -> Kind {
        let report = Some(report(permit_id, Stage::Preview, Outcome::NotApplied));
        Kind::CallPreviewed(CallPreviewed { report, beyond: Vec::new() })
    }

    fn settled(outcome: Outcome, report: Option<Report>) -> Kind {
        Kind::CallSettled(CallSettled { outcome: outcome.into(), report, ..CallSettled::default() })
    }

    #[test]
    fn a_held_call_runs_only_on_its_own_approval_and_uses_it_up() {
        let approved = [held("a"), answered("a", ApprovalStatus::Approved)];
        let used = fold(approved.clone().into_iter().chain([permitted("p", Stage::Apply, "a")])).expect("approved");
        let approval = used.approval.expect("an approval");

        assert_eq!((approval.status(), used.error), (ApprovalStatus::Used, None));
        for (what, events) in [
            ("nobody answered", vec![held("a"), permitted("p", Stage::Apply, "a")]),
            ("another approval", [&approved[..], &[permitted("p", Stage::Apply, "b")]].concat()),
            (
                "a rejection",
                vec![held("a"), answered("a", ApprovalStatus::Rejected), permitted("p", Stage::Apply, "a")],
            ),
            ("no approval named", [&approved[..], &[permitted("p", Stage::Apply, "")]].concat()),
            ("another question", vec![held("a"), answered("b", ApprovalStatus::Approved)]),
            (
                "used twice",
                [&approved[..], &[permitted("p", Stage::Apply, "a"), answered("a", ApprovalStatus::Approved)]].concat(),
            ),
        ] {
            assert!(fold(events).is_err(), "{what}");
        }
    }

    #[test]
    fn a_held_call_says_why_and_a_settled_one_has_no_open_question() {
        let call = fold([held("a")]).expect("held");
        assert_eq!(call.error.as_ref().map(crate::v1::Error::reason), Some(Reason::ApprovalRequired));

        let call = fold([held("a"), settled(Outcome::NotApplied, None)]).expect("cancelled");
        assert_eq!(call.approval.map(|approval| approval.status()), Some(ApprovalStatus::Void));
    }

    fn decided() -> Kind {
        let permitted = vec![crate::v1::PermittedEffect { target: "/a".into(), ..Default::default() }];
        let decision = Decision { effect: PolicyEffect::Allow.into(), permitted, ..Decision::default() };
        Kind::CallDecided(CallDecided { decision: Some(decision), ..CallDecided::default() })
    }

    fn decision(call: &Call) -> (PolicyEffect, &str, &str, usize) {
        let decision = call.decision.as_ref().expect("a decision");
        let policy = decision.policies.first().map_or("", |policy| &policy.id);
        (decision.effect(), policy, &decision.reason, decision.permitted.len())
    }

    #[test]
    fn the_decision_is_what_holds_or_refuses_the_call_now() {
        let policies = vec![PolicyRef { id: "asks".into(), ..PolicyRef::default() }];
        let (why, status) = ("look at it".to_owned(), ApprovalStatus::Pending.into());
        let approval = Approval { approval_id: "a".into(), why, status, policies, ..Approval::default() };
        let asked = Kind::CallHeld(CallHeld { approval: Some(approval) });
        let preview = [decided(), permitted("p", Stage::Preview, ""), previewed("p")];
        let before = fold(preview.clone()).expect("previewed");
        assert_eq!(decision(&before), (PolicyEffect::Allow, "", "", 1));

        let held = fold(preview.clone().into_iter().chain([asked.clone()])).expect("held");
        assert_eq!(decision(&held), (PolicyEffect::RequireApproval, "asks", "look at it", 1));
        let error = held.error.expect("why it is held");
        assert_eq!((error.message.as_str(), error.policies.len()), ("a person must decide first: look at it", 1));

        let approved = [asked, answered("a", ApprovalStatus::Approved), permitted("c", Stage::Commit, "a")];
        let approved = fold(preview.clone().into_iter().chain(approved)).expect("approved");
        assert_eq!(decision(&approved).0, PolicyEffect::RequireApproval, "it was, and a person gave it");

        let refusal = |reason| {
            let policies = vec![PolicyRef { id: "forbids".into(), ..PolicyRef::default() }];
            let error = Some(reason::error(reason, "no").policies(policies));
            let left = CallSettled { outcome: Outcome::NotApplied.into(), error, ..CallSettled::default() };
            fold(preview.clone().into_iter().chain([Kind::CallSettled(left)])).expect("settled")
        };
        assert_eq!(decision(&refusal(Reason::PolicyDenied)), (PolicyEffect::Deny, "forbids", "no", 1));
        assert_eq!(decision(&refusal(Reason::CommandFailed)).0, PolicyEffect::Allow, "policy had nothing against it");
    }

    #[test]
    fn a_report_about_another_permit_moves_nothing() {
        let preview = permitted("p", Stage::Preview, "");
        let started = |id: &str| Kind::CallStarted(CallStarted { permit_id: id.into() });

        assert_eq!(fold([preview.clone(), started("q")]), Err(Error::OtherPermit));
        assert_eq!(fold([preview.clone(), previewed("q")]), Err(Error::OtherPermit));
        assert_eq!(fold([permitted("p", Stage::Apply, ""), previewed("p")]), Err(Error::OtherPermit));
        let stale = settled(Outcome::Applied, Some(report("q", Stage::Apply, Outcome::Applied)));
        assert_eq!(fold([permitted("p", Stage::Apply, ""), stale]), Err(Error::OtherPermit));
        assert!(fold([preview, started("p"), previewed("p")]).is_ok());
    }

    #[test]
    fn an_event_of_another_call_is_refused() {
        let mut call = fold([]).expect("proposed");
        let other = Event { subject: "d".into(), ..event(held("a")) };
        assert_eq!(apply(&mut call, other), Err(Error::OtherCall));
    }

    #[test]
    fn a_commit_that_changed_nothing_leaves_the_diff_to_be_read() {
        let commit = settled(Outcome::NotApplied, Some(report("c", Stage::Commit, Outcome::NotApplied)));
        let events = [permitted("p", Stage::Preview, ""), previewed("p"), permitted("c", Stage::Commit, ""), commit];
        let call = fold(events).expect("a conflict");
        assert_eq!(call.observation.map(|observation| observation.digest), Some("p".into()));
    }

    #[test]
    fn the_result_is_what_the_commit_says_became_of_it_or_what_the_preview_said() {
        let with = |mut report: Report, text: &str| {
            report.result = Some(ToolResult { result_json: text.into(), ..ToolResult::default() });
            Some(report)
        };
        let of = |commit: Option<Report>| {
            let preview = with(report("p", Stage::Preview, Outcome::NotApplied), "v2 would be live");
            let previewed = Kind::CallPreviewed(CallPreviewed { report: preview, ..CallPreviewed::default() });
            let commit = settled(Outcome::Applied, commit);
            let events = [permitted("p", Stage::Preview, ""), previewed, permitted("c", Stage::Commit, ""), commit];
            fold(events).expect("settled").result.expect("a result").result_json
        };
        let commit = report("c", Stage::Commit, Outcome::Applied);
        assert_eq!(of(with(commit.clone(), "v1 is live again")), "v1 is live again");
        assert_eq!(of(Some(commit)), "v2 would be live");
    }

    #[test]
    fn an_unknown_outcome_is_settled_only_by_evidence() {
        let lost = [permitted("p", Stage::Apply, ""), settled(Outcome::Unknown, None)];
        let unknown = fold(lost.clone()).expect("unknown");
        assert_eq!((unknown.state(), unknown.settled_at), (CallState::Unknown, 0));

        let then = |last: Kind| fold(lost.clone().into_iter().chain([last]));
        assert_eq!(then(settled(Outcome::Unknown, None)), Err(Error::NothingNew));
        let report = report("p", Stage::Apply, Outcome::Unknown);
        assert_eq!(then(settled(Outcome::Unknown, Some(report))).expect("evidence").state(), CallState::Unknown);
        assert_eq!(then(settled(Outcome::Applied, None)).expect("reconciled").settled_at, 7);
    }
}
