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
    let settled = event(Kind::CallSettled(CallSettled { outcome: Outcome::Applied.into(), ..CallSettled::default() }));
    assert!(apply(&mut call, settled.clone()).is_err());
    assert_eq!(call, Call::default());
    let proposed = event(Kind::CallProposed(CallProposed::default()));
    apply(&mut call, proposed.clone()).expect("first");
    assert_eq!(apply(&mut call, proposed.clone()), Err(Error::Exists));
    assert!(matches!(apply(&mut call, settled.clone()), Err(Error::NotInTable(_))));
}

fn fold(events: impl IntoIterator<Item = Kind>) -> Result<Call, Error> {
    let mut call = Call::default();
    let proposed = Kind::CallProposed(CallProposed { proposal: Some(Proposal::default()), ..CallProposed::default() });
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
        ("a rejection", vec![held("a"), answered("a", ApprovalStatus::Rejected), permitted("p", Stage::Apply, "a")]),
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

/// What a host measured, after a person had said something.
fn measured(outcome: Outcome, measured: Outcome, permit_id: &str) -> Kind {
    let word = Reconciliation { measured: measured.into(), ..Reconciliation::default() };
    Kind::CallSettled(CallSettled {
        outcome: outcome.into(),
        report: Some(report(permit_id, Stage::Apply, measured)),
        reconciliation: Some(word),
        ..CallSettled::default()
    })
}

#[test]
fn a_measurement_follows_a_persons_word_and_nothing_else() {
    use Outcome::{Applied, NotApplied, Unknown};
    let word = |outcome: Outcome| {
        let reconciliation = Some(Reconciliation { outcome: outcome.into(), ..Reconciliation::default() });
        Kind::CallSettled(CallSettled { outcome: outcome.into(), reconciliation, ..CallSettled::default() })
    };
    let lost = [permitted("p", Stage::Apply, ""), settled(Unknown, None)];
    for said in [Applied, NotApplied] {
        let after = |events: &[Kind]| fold([&lost[..], &[word(said)], events].concat());
        for found in [Applied, NotApplied] {
            let call = after(&[measured(found, found, "p")]).expect("a host may say more than a person");
            assert_eq!((call.outcome(), call.settled_at), (found, 7));
            assert!(call.reconciliation.is_some_and(|it| it.measured() == found));
            let twice = after(&[measured(found, found, "p"), measured(said, said, "p")]);
            assert_eq!(twice, Err(Error::NoWord), "a host measures once");
            assert_eq!(after(&[measured(found, found, "q")]), Err(Error::OtherPermit));
        }
        let call = after(&[measured(said, Unknown, "p")]).expect("it cannot tell either");
        assert_eq!(call.outcome(), said, "the word stands");
        let other = if said == Applied { NotApplied } else { Applied };
        let call = after(&[measured(said, Unknown, "p"), measured(other, other, "p")]).expect("it found out");
        assert_eq!(call.outcome(), other);
        assert!(after(&[word(other)]).is_err(), "nobody says so twice");
        assert_eq!(after(&[measured(said, other, "p")]), Err(Error::NotOfCall), "the outcome is what was measured");
    }
    assert!(fold([&lost[..], &[measured(Applied, Applied, "p")]].concat()).is_err(), "no word came before");
    let by_report = settled(Applied, Some(report("p", Stage::Apply, Applied)));
    let settled = [permitted("p", Stage::Apply, ""), by_report, measured(NotApplied, NotApplied, "p")];
    assert_eq!(fold(settled), Err(Error::NoWord), "the host itself had settled it");
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

#[test]
fn what_a_tool_would_have_returned_is_no_result() {
    let ended = |tool: &str, ok: bool, target: Option<&str>, outcome: Outcome| {
        let effect = |target: &str| v1::ObservedEffect {
            kind: v1::EffectKind::FileCreate.into(),
            target: target.into(),
            ..v1::ObservedEffect::default()
        };
        let effects = target.map(effect).into_iter().collect();
        let report = Report {
            result: Some(ToolResult { ok, result_json: "{}".into(), ..ToolResult::default() }),
            observation: Some(Observation { effects, ..Observation::default() }),
            ..report("p", Stage::Preview, Outcome::NotApplied)
        };
        let mut call = Call::default();
        let action = v1::Action { tool: tool.into(), ..v1::Action::default() };
        let proposal = Proposal { action: Some(action), ..Proposal::default() };
        let proposed = CallProposed { proposal: Some(proposal), ..CallProposed::default() };
        let shown = CallPreviewed { report: Some(report), ..CallPreviewed::default() };
        for kind in [
            Kind::CallProposed(proposed),
            permitted("p", Stage::Preview, ""),
            Kind::CallPreviewed(shown),
            settled(outcome, None),
        ] {
            apply(&mut call, event(kind)).expect("the event fits");
        }
        let is_lost = tool == "deploy.release" && outcome == Outcome::Applied;
        assert!(
            target.is_none() || call.observation.is_some_and(|it| it.effects.is_empty() == is_lost),
            "what it would do stays, if it did not"
        );
        call.result.is_some()
    };
    assert!(!ended("deploy.release", true, Some("/srv/app/current"), Outcome::NotApplied));
    assert!(!ended("deploy.release", true, Some("/srv/app/current"), Outcome::Applied), "nobody heard it");
    assert!(ended("deploy.release", false, Some("/srv/app/current"), Outcome::NotApplied), "why it failed");
    assert!(ended("terminal.exec", true, Some("/srv/app/new"), Outcome::NotApplied), "it did run");
    assert!(ended("files.read", true, None, Outcome::NotApplied), "it did look");
}

/// A call of this tool whose preview shows these effects, and whose commit ends so.
fn committed(tool: &str, effects: &[(v1::EffectKind, &str)], ends: impl IntoIterator<Item = Kind>) -> Call {
    let effect = |(kind, target): &(v1::EffectKind, &str)| v1::ObservedEffect {
        kind: (*kind).into(),
        target: (*target).into(),
        ..v1::ObservedEffect::default()
    };
    let shown = Report {
        result: Some(ToolResult { ok: true, result_json: "{}".into(), ..ToolResult::default() }),
        observation: Some(Observation { effects: effects.iter().map(effect).collect(), ..Observation::default() }),
        ..report("p", Stage::Preview, Outcome::NotApplied)
    };
    let action = v1::Action { tool: tool.into(), ..v1::Action::default() };
    let proposal = Some(Proposal { action: Some(action), ..Proposal::default() });
    let proposed = Kind::CallProposed(CallProposed { proposal, ..CallProposed::default() });
    let previewed = Kind::CallPreviewed(CallPreviewed { report: Some(shown), ..CallPreviewed::default() });
    let begun = [proposed, permitted("p", Stage::Preview, ""), previewed, permitted("c", Stage::Commit, "")];
    let mut call = Call::default();
    for kind in begun.into_iter().chain(ends) {
        apply(&mut call, event(kind)).expect("the event fits");
    }
    call
}

/// Targets that were observed, and kinds that were not.
fn seen(call: &Call) -> (Vec<&str>, Vec<v1::EffectKind>) {
    let observation = call.observation.as_ref().expect("an observation");
    let effects = observation.effects.iter().map(|it| it.target.as_str()).collect();
    (effects, observation.unobserved.iter().map(Unobserved::kind).collect())
}

fn unmeasured_report(outcome: Outcome) -> Option<Report> {
    Some(Report { observation: None, ..report("c", Stage::Commit, outcome) })
}

#[test]
fn what_a_tool_planned_is_no_measurement_of_what_became_of_it() {
    use v1::EffectKind::{FileCreate, FileDelete, NetConnect};
    const PLAN: [(v1::EffectKind, &str); 3] =
        [(FileDelete, "/srv/app/old"), (FileCreate, "/srv/app/new"), (NetConnect, "127.0.0.1:80")];
    let nobody_saw = (Vec::new(), vec![FileCreate, FileDelete, NetConnect]);

    let found = committed("deploy.release", &PLAN, [settled(Outcome::Applied, unmeasured_report(Outcome::Applied))]);
    assert_eq!((found.result.clone(), seen(&found)), (None, nobody_saw.clone()));
    let lost = [settled(Outcome::Unknown, None)];
    let unknown = committed("deploy.release", &PLAN, lost.clone());
    assert_eq!((unknown.result.clone(), seen(&unknown)), (None, nobody_saw));
    let left = lost.into_iter().chain([settled(Outcome::NotApplied, unmeasured_report(Outcome::NotApplied))]);
    let left = committed("deploy.release", &PLAN, left);
    assert_eq!(seen(&left), (Vec::new(), Vec::new()), "there was nothing to observe");

    // What a command did in its preview it did.
    let ran = committed("terminal.exec", &PLAN, [settled(Outcome::Applied, unmeasured_report(Outcome::Applied))]);
    assert!(ran.result.is_some() && seen(&ran).0.len() == 3);
}

#[test]
fn only_who_was_contacted_while_a_tool_ran_is_told_of_what_is_not_applied() {
    use v1::EffectKind::{FileCreate, NetConnect};
    const PLAN: [(v1::EffectKind, &str); 2] = [(FileCreate, "/srv/app/new"), (NetConnect, "127.0.0.1:80")];
    let conflict = || [settled(Outcome::NotApplied, unmeasured_report(Outcome::NotApplied))];
    assert_eq!(seen(&committed("deploy.release", &PLAN, conflict())).0, ["/srv/app/new"], "the diff to be read");
    assert_eq!(seen(&committed("terminal.exec", &PLAN, conflict())).0, ["/srv/app/new", "127.0.0.1:80"]);

    let contact = v1::ObservedEffect { kind: NetConnect.into(), target: "x:1".into(), ..v1::ObservedEffect::default() };
    let measured = Observation { effects: vec![contact], ..Observation::default() };
    let unhealthy = Report { observation: Some(measured), ..report("c", Stage::Commit, Outcome::NotApplied) };
    let call = committed("deploy.release", &PLAN, [settled(Outcome::NotApplied, Some(unhealthy))]);
    assert_eq!(seen(&call).0, ["x:1"]);
}
