//! Who must agree, whom a question goes to next, and what ends it: modified, terminated, superseded, void.

mod support;

use cmdop_contract::v1::{
    self, Actor, Approval, ApprovalStatus, ApprovalVerdict, Call, CallState, Names, Outcome, PolicyFile, Reason, Stage,
    VoidCause,
};
use cmdop_gate::Ticket;
use support::{FILE, HostEnd, Life, Setup, proposal, read_secret, until, verdict_on, within, write};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

/// Writes below `/srv/app` are held as these annotations say.
fn held_as(annotations: &'static str) -> impl Fn(&mut Setup) {
    move |setup| {
        let text = format!(
            r#"@id("site.permit") @reason("For the test.") permit (principal, action, resource);
               @id("site.held") @decision("require_approval") {annotations} @reason("Others look.")
               forbid (principal, action in Action::"write", resource in Path::"/srv/app");"#
        );
        setup.policies = vec![PolicyFile { name: "site.cedar".into(), text, pack: String::new() }];
        for (group, members) in [("operators", &["grace", "linus"][..]), ("leads", &["barbara", "edsger"][..])] {
            let names = members.iter().map(|name| (*name).to_owned()).collect();
            setup.entities.user_groups.insert(group.into(), Names { names });
        }
    }
}

async fn answer(life: &Life, held: &Call, by: &str, verdict: ApprovalVerdict) -> Result<Approval, v1::Error> {
    let approval = held.approval.clone().expect("an approval");
    let request = v1::DecideApprovalRequest { approver: by.into(), ..verdict_on(&approval, verdict) };
    within(life.gate.decide_approval(request)).await
}

async fn approve(life: &Life, held: &Call, by: &str) -> Result<Approval, v1::Error> {
    answer(life, held, by, ApprovalVerdict::Approve).await
}

async fn refusal(life: &Life, held: &Call, by: &str) -> Reason {
    approve(life, held, by).await.expect_err("they may not").reason()
}

fn reason(call: &Call) -> Reason {
    call.error.as_ref().expect("an error").reason()
}

async fn is_applied(life: &Life, host: &mut HostEnd, ticket: &mut Ticket) -> Call {
    let commit = host.execute().await;
    assert_eq!(commit.stage(), Stage::Commit);
    host.report_created(&commit).await;
    let call = life.settled(ticket).await;
    assert_eq!(call.state(), CallState::Applied);
    call
}

#[test]
fn it_takes_as_many_different_people_as_the_policy_wants_and_never_who_wants_it() {
    let dir = directory();
    let life = Life::with(&dir, held_as(r#"@approvals("2")"#));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        host.waiting();
        // The agent, and the user it acts for.
        assert_eq!(refusal(&life, &held, "asker").await, Reason::OwnApproval);
        assert_eq!(refusal(&life, &held, "ada").await, Reason::NotApprover);
        let first = approve(&life, &held, "grace").await.expect("counted");
        assert_eq!((first.status(), cmdop_contract::approval::missing(&first)), (ApprovalStatus::Pending, 1));
        assert_eq!(refusal(&life, &held, "grace").await, Reason::NotApprover, "the same person counts once");
        assert!(host.got_no_permit());
        let second = approve(&life, &held, "linus").await.expect("counted");
        assert_eq!(second.status(), ApprovalStatus::Approved);
        let call = is_applied(&life, &mut host, &mut ticket).await;
        let approval = call.approval.expect("an approval");
        assert_eq!(approval.quorums[0].approved_by, ["grace", "linus"]);
        assert_eq!((approval.status(), approval.answers.len()), (ApprovalStatus::Used, 2));
    });
}

#[test]
fn who_agreed_is_known_after_a_crash() {
    let dir = directory();
    let setup = || held_as(r#"@approvals("2")"#);
    let life = Life::with(&dir, setup());
    let held = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_, held) = life.held(write("asker", "k"), &mut host).await;
        approve(&life, &held, "grace").await.expect("counted");
        held
    });
    life.crash();
    let life = Life::with(&dir, setup());
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(refusal(&life, &held, "grace").await, Reason::NotApprover);
        let mut ticket = life.gate.follow(&held.call_id).await.expect("known");
        approve(&life, &held, "linus").await.expect("counted");
        is_applied(&life, &mut host, &mut ticket).await;
    });
}

#[test]
fn one_rejection_rejects_whoever_agreed_before() {
    let dir = directory();
    let life = Life::with(&dir, held_as(r#"@approvals("2")"#));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        host.waiting();
        approve(&life, &held, "grace").await.expect("counted");
        answer(&life, &held, "linus", ApprovalVerdict::Reject).await.expect("rejected");
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), reason(&call)), (CallState::NotApplied, Reason::ApprovalRejected));
        assert!(host.got_no_permit());
    });
}

#[test]
fn people_who_agree_at_the_same_moment_count_once_each() {
    let dir = directory();
    let life = Life::with(&dir, held_as(r#"@approvals("3")"#));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        host.waiting();
        let both = tokio::join!(
            approve(&life, &held, "grace"),
            approve(&life, &held, "grace"),
            approve(&life, &held, "linus"),
            approve(&life, &held, "linus")
        );
        let counted = [both.0, both.1, both.2, both.3].into_iter().filter(Result::is_ok).count();
        assert_eq!(counted, 2);
        assert!(host.got_no_permit());
        approve(&life, &held, "barbara").await.expect("counted");
        is_applied(&life, &mut host, &mut ticket).await;
    });
}

#[test]
fn only_the_group_that_is_asked_answers_and_a_person_passes_the_question_on() {
    let dir = directory();
    let life = Life::with(&dir, held_as(r#"@approvers("operators 1h, leads")"#));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        assert_eq!(refusal(&life, &held, "barbara").await, Reason::NotApprover);
        let escalated = answer(&life, &held, "grace", ApprovalVerdict::Escalate).await.expect("passed on");
        assert_eq!((escalated.status(), escalated.quorums[0].step), (ApprovalStatus::Pending, 1));
        assert_eq!(refusal(&life, &held, "grace").await, Reason::NotApprover);
        let end = answer(&life, &held, "barbara", ApprovalVerdict::Escalate).await.expect_err("nobody is behind");
        assert_eq!(end.reason(), Reason::InvalidAction);
        host.waiting();
        approve(&life, &held, "barbara").await.expect("theirs now");
        is_applied(&life, &mut host, &mut ticket).await;
    });
}

#[test]
fn what_a_group_lets_pass_goes_to_the_next_and_at_the_end_is_refused() {
    let dir = directory();
    let life = Life::with(&dir, held_as(r#"@approvers("operators 1s, leads 1s")"#));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        host.waiting();
        let id = held.approval.clone().expect("an approval").approval_id;
        let now = async || within(life.gate.approval(&id)).await.expect("known");
        until(async || now().await.quorums[0].step == 1).await;
        let passed = now().await;
        assert_eq!((passed.status(), passed.answers.len()), (ApprovalStatus::Pending, 1));
        assert!(passed.answers[0].comment.contains("`operators`"), "{passed:?}");
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), reason(&call)), (CallState::NotApplied, Reason::ApprovalExpired));
        assert!(host.got_no_permit());
    });
}

#[test]
fn a_question_goes_on_to_the_next_group_when_the_server_slept_through_its_time() {
    let dir = directory();
    let setup = || held_as(r#"@approvers("operators 1s, leads 1h")"#);
    let life = Life::with(&dir, setup());
    let held = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        life.held(write("asker", "k"), &mut host).await.1
    });
    life.crash();
    let expires_at = held.approval.clone().expect("an approval").expires_at;
    while cmdop_ledger::now() <= expires_at {
        std::thread::yield_now();
    }
    let life = Life::with(&dir, setup());
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.follow(&held.call_id).await.expect("known");
        let id = held.approval.clone().expect("an approval").approval_id;
        until(async || within(life.gate.approval(&id)).await.expect("known").quorums[0].step == 1).await;
        approve(&life, &held, "edsger").await.expect("theirs now");
        is_applied(&life, &mut host, &mut ticket).await;
    });
}

#[test]
fn a_modification_is_another_call_that_is_decided_anew() {
    let dir = directory();
    let life = Life::with(&dir, held_as(r#"@approvals("1")"#));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        host.waiting();
        let approval = held.approval.clone().expect("an approval");
        let mut action = approval.action.clone().expect("an action");
        let modify = |action: v1::Action| v1::DecideApprovalRequest {
            action: Some(action),
            ..verdict_on(&approval, ApprovalVerdict::Modify)
        };
        // What is malformed, of another host, or no change leaves the question as it is.
        let malformed = v1::Action { arguments_json: "{}".into(), ..action.clone() };
        let elsewhere = v1::Action { host: "db".into(), ..action.clone() };
        for wrong in [malformed, elsewhere, action.clone()] {
            within(life.gate.decide_approval(modify(wrong))).await.expect_err("no modification");
        }
        action.arguments_json = format!(r#"{{"path": "{FILE}", "content": "less"}}"#);
        let modified = within(life.gate.decide_approval(modify(action.clone()))).await.expect("modified");
        assert_eq!((modified.status(), modified.void_cause()), (ApprovalStatus::Void, VoidCause::Modified));
        let old = within(life.settled(&mut ticket)).await;
        assert_eq!((old.outcome(), reason(&old)), (Outcome::NotApplied, Reason::CallModified));
        host.told_to("discard", &old.call_id).await;
        // Nothing of it is approved by having been written.
        let mut ticket = life.gate.follow(&old.replaced_by).await.expect("the call in its place");
        let preview = host.execute().await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let new = within(ticket.held_or_settled()).await.expect("held");
        let proposal = new.proposal.clone().expect("a proposal");
        let replaces = proposal.replaces.expect("what it is in place of");
        assert_eq!((replaces.call_id, replaces.by), (old.call_id, "grace".to_owned()));
        assert_eq!((proposal.action, proposal.actor), (Some(action), held.proposal.clone().expect("one").actor));
        assert_ne!(new.approval.clone().expect("an approval").digest, approval.digest);
        assert_eq!(refusal(&life, &new, "grace").await, Reason::NotApprover, "who wrote it does not approve it");
        approve(&life, &new, "linus").await.expect("another does");
        is_applied(&life, &mut host, &mut ticket).await;
    });
}

#[test]
fn a_modification_that_was_durable_when_the_server_died_becomes_one_call() {
    let dir = directory();
    let setup = || held_as("");
    let life = Life::with(&dir, setup());
    let (held, modify) = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_, held) = life.held(write("asker", "k"), &mut host).await;
        let approval = held.approval.clone().expect("an approval");
        let mut action = approval.action.clone().expect("an action");
        action.intent = "another intent".into();
        let modify =
            v1::DecideApprovalRequest { action: Some(action), ..verdict_on(&approval, ApprovalVerdict::Modify) };
        // Through the ledger: the driver of that life never hears of it.
        within(life.ledger.decide_approval(modify.clone(), &[])).await.expect("durable");
        (held, modify)
    });
    life.crash();
    let mut replaced_by = String::new();
    for _ in 0..2 {
        let life = Life::with(&dir, setup());
        life.run(async {
            let _host = HostEnd::attach(&life).await;
            let settled = async || within(life.ledger.call(&held.call_id)).await.expect("readable").expect("recorded");
            until(async || settled().await.state() == CallState::NotApplied).await;
            replaced_by = settled().await.replaced_by;
            let calls = within(life.gate.calls(v1::ListCallsRequest::default())).await.expect("calls").calls;
            let instead = calls.iter().filter(|call| {
                call.proposal.as_ref().and_then(|proposal| proposal.action.as_ref()) == modify.action.as_ref()
            });
            assert_eq!(instead.map(|call| call.call_id.clone()).collect::<Vec<_>>(), [replaced_by.clone()]);
        });
        life.crash();
    }
}

fn in_run(mut proposal: v1::Proposal, run: &str, session: &str) -> v1::Proposal {
    let actor = proposal.actor.as_mut().expect("an actor");
    (actor.run, actor.session) = (run.into(), session.into());
    proposal
}

#[test]
fn to_terminate_ends_everything_of_the_run_and_nothing_of_another_even_after_a_crash() {
    let dir = directory();
    let life = Life::begin(&dir);
    let (first, second) = life.run(async {
        let run = async |name: &str| {
            let actor = Actor { user: "ada".into(), agent: name.into(), ..Actor::default() };
            let start = v1::StartRunRequest { actor: Some(actor), ..v1::StartRunRequest::default() };
            within(life.gate.start_run(start)).await.expect("started").run_id
        };
        let (first, second) = (run("asker").await, run("asker").await);
        let mut host = HostEnd::attach(&life).await;
        let (mut one, held) = life.held(in_run(write("asker", "1"), &first, ""), &mut host).await;
        let (mut two, _) = life.held(in_run(read_secret("2"), &first, ""), &mut host).await;
        let (mut other, kept) = life.held(in_run(read_secret("3"), &second, ""), &mut host).await;
        let mut works = life.gate.submit(in_run(write("asker", "4"), &first, "")).await.expect("taken");
        let preview = host.execute().await;
        host.waiting();
        answer(&life, &held, "grace", ApprovalVerdict::Terminate).await.expect("terminated");
        for ticket in [&mut one, &mut two] {
            let call = life.settled(ticket).await;
            assert_eq!((call.outcome(), reason(&call)), (Outcome::NotApplied, Reason::RunTerminated));
        }
        let mut told = Vec::new();
        while told.len() < 2 {
            match host.next().await {
                v1::server_to_host::Kind::Discard(discard) => told.push(("discard", discard.call_id)),
                v1::server_to_host::Kind::Cancel(cancel) => told.push(("cancel", cancel.call_id)),
                other => panic!("neither stopped nor thrown away: {other:?}"),
            }
        }
        told.sort();
        assert_eq!(told, [("cancel", preview.call_id.clone()), ("discard", held.call_id.clone())]);
        host.report(support::failure(&preview, Outcome::NotApplied, Reason::Cancelled)).await;
        let call = life.settled(&mut works).await;
        assert_eq!((call.outcome(), reason(&call)), (Outcome::NotApplied, Reason::RunTerminated));
        let recorded = within(life.gate.run(&first)).await.expect("a run");
        assert_eq!(recorded.status(), v1::RunStatus::Terminated);
        host.waiting();
        answer(&life, &kept, "grace", ApprovalVerdict::Approve).await.expect("another run goes on");
        let look = host.execute().await;
        host.report_look(&look).await;
        assert_eq!(life.settled(&mut other).await.outcome(), Outcome::Applied);
        (first, second)
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut more = life.gate.submit(in_run(write("asker", "5"), &first, "")).await.expect("taken");
        let error = within(more.settled_or_unknown()).await.expect_err("not taken");
        assert_eq!(error.reason(), Reason::RunTerminated);
        assert!(host.got_no_permit());
        life.held(in_run(write("asker", "6"), &second, ""), &mut host).await;
    });
}

#[test]
fn to_terminate_needs_a_run_or_a_session() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_ticket, held) = life.held(write("asker", "k"), &mut host).await;
        let error = answer(&life, &held, "grace", ApprovalVerdict::Terminate).await.expect_err("nothing to end");
        assert_eq!(error.reason(), Reason::InvalidAction);
    });
}

#[test]
fn a_newer_instruction_supersedes_what_waits_and_what_was_on_its_way_to_wait() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut waits, held) = life.held(in_run(write("asker", "1"), "", "s"), &mut host).await;
        let (_elsewhere, other) = life.held(in_run(read_secret("2"), "", "t"), &mut host).await;
        let mut comes = life.gate.submit(in_run(write("asker", "3"), "", "s")).await.expect("taken");
        let preview = host.execute().await;
        let actor = Actor { user: "ada".into(), session: "s".into(), ..Actor::default() };
        let request = v1::InstructRequest { actor: Some(actor), text: "leave the logs alone".into() };
        let superseded = within(life.gate.instruct(request)).await.expect("recorded");
        let ids: Vec<_> = superseded.iter().map(|approval| approval.call_id.clone()).collect();
        assert_eq!(ids, std::slice::from_ref(&held.call_id));
        host.report_created(&preview).await;
        for ticket in [&mut waits, &mut comes] {
            let call = life.settled(ticket).await;
            assert_eq!((call.outcome(), reason(&call)), (Outcome::NotApplied, Reason::Superseded));
            assert_eq!(call.approval.expect("an approval").void_cause(), VoidCause::Superseded);
        }
        let late = approve(&life, &held, "grace").await.expect_err("void");
        assert_eq!(late.reason(), Reason::ApprovalNotPending);
        assert!(host.got_no_permit());
        let untouched = life.gate.approval(&other.approval.expect("one").approval_id).await.expect("known");
        assert_eq!(untouched.status(), ApprovalStatus::Pending);
        // What is proposed after it is asked about.
        life.held(in_run(write("asker", "4"), "", "s"), &mut host).await;
    });
}

#[test]
fn another_policy_at_the_next_start_voids_what_waits() {
    let dir = directory();
    let life = Life::with(&dir, held_as(r#"@approvals("2")"#));
    let held = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_, held) = life.held(write("asker", "k"), &mut host).await;
        approve(&life, &held, "grace").await.expect("counted");
        held
    });
    life.crash();
    let life = Life::with(&dir, held_as(""));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.follow(&held.call_id).await.expect("known");
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.outcome(), reason(&call)), (Outcome::NotApplied, Reason::ApprovalVoid));
        assert_eq!(call.approval.expect("an approval").void_cause(), VoidCause::PolicyChanged);
        assert!(host.got_no_permit());
    });
}

#[test]
fn what_cannot_be_taken_back_is_approved_only_by_who_types_its_name() {
    let dir = directory();
    let life = Life::with(&dir, |setup| {
        setup.judge = support::Script::does(&["external:api.example.com"]);
        let text = r#"@id("site.permit") @reason("For the test.") permit (principal, action, resource);"#;
        setup.policies = vec![PolicyFile { name: "site.cedar".into(), text: text.into(), pack: String::new() }];
    });
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut call = proposal("asker", "k", "terminal.exec", r#"{"command": "tell", "cwd": "/srv/app"}"#);
        let kind = cmdop_contract::effect::parse_kind("external").expect("a kind");
        let expect = v1::ExpectedEffect { kind: kind.into(), target: "api.example.com".into(), ..Default::default() };
        call.action.as_mut().expect("an action").expect.push(expect);
        let (_ticket, held) = life.held(call, &mut host).await;
        let approval = held.approval.clone().expect("an approval");
        assert_eq!(
            (approval.irreversible.as_slice(), approval.confirm.as_str()),
            (&["external:api.example.com".to_owned()][..], "api.example.com")
        );
        for typed in ["", "api.example.org"] {
            let mut request = verdict_on(&approval, ApprovalVerdict::Approve);
            request.confirm = typed.into();
            let error = within(life.gate.decide_approval(request)).await.expect_err("not typed");
            assert_eq!(error.reason(), Reason::ConfirmationRequired);
        }
        assert!(host.got_no_permit());
        within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("typed");
        host.execute().await;
    });
}

#[test]
fn an_agent_answers_nothing() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_ticket, held) = life.held(write("asker", "k"), &mut host).await;
        for verdict in [ApprovalVerdict::Approve, ApprovalVerdict::Reject] {
            let mut request = verdict_on(&held.approval.clone().expect("one"), verdict);
            request.agent = "another".into();
            let error = within(life.gate.decide_approval(request)).await.expect_err("an agent");
            assert_eq!(error.reason(), Reason::NotApprover);
        }
        let mut request = verdict_on(&held.approval.clone().expect("one"), ApprovalVerdict::Reject);
        request.approver = "cancelled".into();
        let error = within(life.gate.decide_approval(request)).await.expect_err("nobody");
        assert_eq!(error.reason(), Reason::NotApprover);
    });
}

#[test]
fn a_commit_that_needs_nobody_is_not_permitted_once_its_run_was_ended() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_held, held) = life.held(in_run(read_secret("1"), "r", ""), &mut host).await;
        let mut works = life.gate.submit(in_run(support::touch("auto", "2"), "r", "")).await.expect("taken");
        let preview = host.execute().await;
        // Through the ledger: no driver hears of it.
        let ends = verdict_on(&held.approval.expect("an approval"), ApprovalVerdict::Terminate);
        within(life.ledger.decide_approval(ends, &[])).await.expect("durable");
        host.report_created(&preview).await;
        let call = life.settled(&mut works).await;
        assert_eq!((call.outcome(), reason(&call)), (Outcome::NotApplied, Reason::RunTerminated));
        assert!(host.got_no_permit());
    });
}

#[test]
fn a_modification_whose_key_somebody_took_beforehand_happens_not_at_all() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        let approval = held.approval.clone().expect("an approval");
        let key = format!("modified-{}", approval.approval_id);
        let _taken = life.gate.submit(read_secret(&key)).await.expect("taken");
        let mut action = approval.action.clone().expect("an action");
        action.intent = "another intent".into();
        let modify =
            v1::DecideApprovalRequest { action: Some(action), ..verdict_on(&approval, ApprovalVerdict::Modify) };
        within(life.gate.decide_approval(modify)).await.expect("modified");
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.outcome(), reason(&call)), (Outcome::NotApplied, Reason::KeyConflict));
        assert_eq!(call.replaced_by, "");
        assert!(host.got_no_permit());
    });
}
