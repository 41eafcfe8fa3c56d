//! A refusal binds the effect for a whole run or session, through a crash, until policy changes.

mod support;

use std::sync::Arc;

use cmdop_contract::v1::{self, ApprovalVerdict, CallState, Outcome, PolicyFile, PolicySet, Proposal, Reason};
use cmdop_gate::{BoxFuture, PolicySource};
use cmdop_policy::engine::pack;
use support::{HostEnd, Life, proposal, touch, within, write};

fn of_run(mut proposal: Proposal, run: &str, session: &str) -> Proposal {
    let actor = proposal.actor.as_mut().expect("an actor");
    (actor.run, actor.session) = (run.into(), session.into());
    proposal
}

/// A person rejects what `asker` would do, which creates a file.
async fn reject(life: &Life, host: &mut HostEnd, run: &str, session: &str) {
    let (mut ticket, held) =
        life.held(of_run(touch("asker", &format!("{run}{session}first")), run, session), host).await;
    assert_eq!(held.state(), CallState::DiffHeld);
    life.decide(&held, ApprovalVerdict::Reject).await.expect("rejected");
    assert_eq!(reason(&life.settled(&mut ticket).await), Reason::ApprovalRejected);
    host.told_to("discard", &held.call_id).await;
}

fn reason(call: &v1::Call) -> Reason {
    call.error.as_ref().map_or(Reason::Unspecified, v1::Error::reason)
}

/// What comes of a call; a permit that it gets is reported as done.
async fn outcome(life: &Life, host: &mut HostEnd, proposal: Proposal) -> Reason {
    let mut ticket = life.gate.submit(proposal).await.expect("taken");
    let settled = ticket.settled_or_unknown();
    let call = tokio::select! {
        call = within(settled) => call.expect("settled"),
        permit = host.execute() => {
            host.report_created(&permit).await;
            host.acknowledged(&permit).await;
            within(ticket.settled_or_unknown()).await.expect("settled")
        }
    };
    assert_eq!(call.outcome() == Outcome::Applied, call.error.is_none());
    reason(&call)
}

#[test]
fn another_agent_with_another_tool_does_not_get_what_a_person_refused_to_the_run() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        reject(&life, &mut host, "r1", "").await;
        for (key, again) in [("native", write("auto", "a")), ("command", touch("auto", "b"))] {
            let said = outcome(&life, &mut host, of_run(again, "r1", "")).await;
            assert_eq!(said, Reason::DeniedBefore, "{key}");
        }
        // Another run, a call of no run, and a person are free.
        for free in [of_run(write("auto", "c"), "r2", ""), write("auto", "d"), of_run(write("", "e"), "r1", "")] {
            assert_eq!(outcome(&life, &mut host, free).await, Reason::Unspecified);
        }
    });
}

#[test]
fn a_refusal_binds_the_session_through_a_crash() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        reject(&life, &mut host, "", "s1").await;
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let again = of_run(write("auto", "a"), "r7", "s1");
        assert_eq!(outcome(&life, &mut host, again).await, Reason::DeniedBefore);
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "b"), "", "s2")).await, Reason::Unspecified);
    });
}

#[test]
fn what_policy_refused_to_one_agent_another_of_the_run_does_not_get() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mine = "@id(\"site.asker\") @reason(\"Not this one.\")\n\
                forbid (principal == Agent::\"asker\", action == Action::\"file.create\", resource);";
    let files = vec![
        PolicyFile { pack: "workspace".into(), ..PolicyFile::default() },
        PolicyFile { name: "mine.cedar".into(), text: mine.into(), ..PolicyFile::default() },
    ];
    let life = Life::with(&dir, |setup| setup.policies = files);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "a"), "r2", "")).await, Reason::Unspecified);
        assert_eq!(outcome(&life, &mut host, of_run(write("asker", "b"), "r1", "")).await, Reason::PolicyDenied);
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "c"), "r1", "")).await, Reason::DeniedBefore);
        // What is refused without being the same is refused by policy alone and binds nothing else.
        let elsewhere = proposal("auto", "d", "files.write", r#"{"path": "/srv/app/other.txt", "content": "x"}"#);
        let mut ticket = life.gate.submit(of_run(elsewhere, "r1", "")).await.expect("taken");
        let permit = host.execute().await;
        host.report(support::report(&permit, support::observed(&["file.create:/srv/app/other.txt"]))).await;
        assert_eq!(life.settled(&mut ticket).await.outcome(), Outcome::Applied);
    });
}

async fn begun(life: &Life, agent: &str, parent: &str) -> v1::Run {
    let actor = v1::Actor { user: "ada".into(), agent: agent.into(), run: parent.into(), ..v1::Actor::default() };
    let request = v1::StartRunRequest { actor: Some(actor), task: "work".into(), model: "none".into() };
    within(life.gate.start_run(request)).await.expect("begun")
}

#[test]
fn a_refusal_binds_the_runs_that_were_begun_from_one_and_the_other_way_through_a_crash() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let (above, beside, beneath) = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let above = begun(&life, "asker", "").await.run_id;
        let beside = begun(&life, "auto", &above).await.run_id;
        let beneath = begun(&life, "asker", &beside).await.run_id;
        assert_eq!(life.gate.run(&beneath).await.expect("there").parent, beside);
        reject(&life, &mut host, &beneath, "").await;
        (above, beside, beneath)
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let another = begun(&life, "auto", &above).await.run_id;
        for (key, run) in [("above", &above), ("beside", &beside), ("another", &another)] {
            let said = outcome(&life, &mut host, of_run(write("auto", key), run, "")).await;
            assert_eq!(said, Reason::DeniedBefore, "{key}");
        }
        let free = begun(&life, "auto", "").await.run_id;
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "free"), &free, "")).await, Reason::Unspecified);
        let _ = beneath;
    });
}

#[test]
fn a_run_is_begun_only_from_one_of_the_same_user_that_goes_on() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut run = begun(&life, "auto", "").await.run_id;
        let start = |user: &str, run: &str| {
            let actor = v1::Actor { user: user.into(), agent: "auto".into(), run: run.into(), ..v1::Actor::default() };
            life.gate.start_run(v1::StartRunRequest { actor: Some(actor), ..v1::StartRunRequest::default() })
        };
        assert_eq!(start("eve", &run).await.expect_err("another user").reason(), Reason::InvalidAction);
        assert_eq!(start("ada", "none").await.expect_err("no run").reason(), Reason::UnknownRun);
        for _ in 1..cmdop_ledger::DEEPEST_RUN {
            run = start("ada", &run).await.expect("not too deep").run_id;
        }
        assert_eq!(start("ada", &run).await.expect_err("too deep").reason(), Reason::InvalidAction);
        let finish = v1::FinishRunRequest { run_id: run.clone(), ..v1::FinishRunRequest::default() };
        let status = v1::RunStatus::Finished.into();
        life.gate.finish_run(v1::FinishRunRequest { status, ..finish }).await.expect("finished");
        assert_eq!(start("ada", &run).await.expect_err("over").reason(), Reason::InvalidAction);
    });
}

#[test]
fn what_no_policy_permits_and_has_no_remedy_but_to_stop_binds_too() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mine = "@id(\"site.auto\") @reason(\"Only this one.\")\n\
                permit (principal == Agent::\"auto\", action, resource);\n\
                @id(\"site.people\") @reason(\"People.\") permit (principal is User, action, resource);";
    let files = vec![PolicyFile { name: "mine.cedar".into(), text: mine.into(), ..PolicyFile::default() }];
    let life = Life::with(&dir, |setup| setup.policies = files);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "a"), "r2", "")).await, Reason::Unspecified);
        let mut ticket = life.gate.submit(of_run(write("asker", "b"), "r1", "")).await.expect("taken");
        let refused = life.settled(&mut ticket).await;
        let error = refused.error.clone().expect("refused");
        let remedy = error.remedy.clone().and_then(|remedy| remedy.kind);
        assert!(matches!(remedy, Some(v1::remedy::Kind::Stop(_))), "{remedy:?}");
        assert!(error.policies.is_empty() && !error.refused.is_empty(), "{error:?}");
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "c"), "r1", "")).await, Reason::DeniedBefore);
    });
}

#[test]
fn a_part_of_what_a_person_rejected_is_held_again_call_by_call() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| {
        setup.judge = support::Script::new(|request| {
            let effects: &[&str] = match request.invocations[0].argv.get(1).map(String::as_str) {
                Some("/srv/app/logs") => &["file.delete:/srv/app/logs"],
                Some("/srv/app/logs/a") => &["file.delete:/srv/app/logs/a"],
                _ => &["file.delete:/srv/app/logs/b"],
            };
            Box::pin(std::future::ready(Some(support::judged(&request, effects))))
        });
    });
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let rm = |agent: &str, key: &str, target: &str, command: &str| {
            let arguments = format!(r#"{{"command": "{command}", "cwd": "/srv/app"}}"#);
            let mut rm = proposal(agent, key, "terminal.exec", &arguments);
            let kind = v1::EffectKind::FileDelete.into();
            let expect = v1::ExpectedEffect { kind, target: target.into(), ..v1::ExpectedEffect::default() };
            rm.action.as_mut().expect("an action").expect.push(expect);
            of_run(rm, "r1", "")
        };
        let whole = "file.delete:/srv/app/logs";
        let mut held =
            life.gate.submit(rm("asker", "whole", "/srv/app/logs", "rm /srv/app/logs")).await.expect("taken");
        let preview = host.execute().await;
        host.report(support::report(&preview, support::observed(&[whole]))).await;
        host.acknowledged(&preview).await;
        let call = within(held.held_or_settled()).await.expect("held");
        life.decide(&call, ApprovalVerdict::Reject).await.expect("rejected");
        life.settled(&mut held).await;
        host.told_to("discard", &call.call_id).await;
        // An agent that is trusted with more, in a directory of its own choice, and each file by itself.
        for (key, command) in [("a", "rm /srv/app/logs/a"), ("b", "cd logs && rm b")] {
            let target = format!("/srv/app/logs/{key}");
            let mut part = life.gate.submit(rm("auto", key, &target, command)).await.expect("taken");
            let preview = host.execute().await;
            host.report(support::report(&preview, support::observed(&[&format!("file.delete:{target}")]))).await;
            host.acknowledged(&preview).await;
            let call = within(part.held_or_settled()).await.expect("held");
            assert_eq!(call.state(), CallState::DiffHeld, "{key}: {:?}", call.error);
            assert!(
                call.approval.as_ref().is_some_and(|it| it.policies.iter().any(|by| by.id == "session.rejected_part"))
            );
        }
        // The whole by another way.
        let mut whole =
            life.gate.submit(rm("auto", "again", "/srv/app/logs", "rm /srv/app/logs")).await.expect("taken");
        assert_eq!(reason(&life.settled(&mut whole).await), Reason::DeniedBefore);
    });
}

#[test]
fn who_takes_a_call_back_refuses_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_ticket, held) = life.held(of_run(touch("asker", "first"), "r1", ""), &mut host).await;
        within(life.gate.cancel(&held.call_id, "not needed")).await.expect("cancelled");
        host.told_to("discard", &held.call_id).await;
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "a"), "r1", "")).await, Reason::Unspecified);
    });
}

struct Files(PolicySet);

impl PolicySource for Files {
    fn read(&self) -> BoxFuture<Result<PolicySet, v1::Error>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

#[test]
fn another_policy_decides_anew() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        reject(&life, &mut host, "r1", "").await;
        let text = format!("{}\n// reviewed\n", pack("workspace").expect("it ships").text);
        let file = PolicyFile { name: "site.cedar".into(), text, ..PolicyFile::default() };
        life.gate.read_policy_from(Arc::new(Files(PolicySet { files: vec![file], ..PolicySet::default() })));
        within(life.gate.reload_policy()).await.expect("reloaded");
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "a"), "r1", "")).await, Reason::Unspecified);
    });
}
