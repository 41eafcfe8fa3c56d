//! The promises of the loop, one test each, by their names.

mod support;

use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::v1::{ApprovalVerdict, CallState, Outcome, PolicyFile, Reason, Stage, server_to_host};
use cmdop_gate::{Judge, NoJudge};
use support::{HostEnd, Life, Script, judged, observed, on_disk, read, read_secret, report, touch, within, write};

#[test]
fn no_permit_no_execution() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let malformed = support::proposal("asker", "k1", "files.read", "{}");
        let unknown = support::proposal("asker", "k2", "files.burn", "{}");
        let denied = support::proposal("", "k3", "files.delete", r#"{"path": "/", "recursive": true}"#);
        let mut undeclared = touch("auto", "k4");
        undeclared.action.as_mut().expect("an action").expect.clear();
        for proposal in [malformed, unknown, denied, undeclared, read_secret("k5")] {
            let answer = within(life.gate.propose(proposal, false)).await;
            assert!(answer.is_err() || answer.is_ok_and(|call| call.permits.is_empty()));
            assert!(host.waiting().is_empty(), "a host hears of a call by its permit alone");
        }
        // And with one: signed, for this host, for this action, and only then.
        let proposal = write("", "k6");
        life.gate.submit(proposal.clone()).await.expect("taken");
        assert_eq!(host.execute().await.action, proposal.action);
    });
}

#[test]
fn the_intent_is_durable_before_the_effect() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        life.gate.submit(touch("auto", "k")).await.expect("taken");
        for (stage, state) in [(Stage::Preview, CallState::Permitted), (Stage::Commit, CallState::Committing)] {
            let permit = host.execute().await;
            // At this very moment, to another reader of the files.
            let recorded = on_disk(dir.path(), &permit.call_id).await.expect("recorded");
            assert_eq!((permit.stage(), recorded.state()), (stage, state));
            assert_eq!(recorded.permits.last(), Some(&permit));
            if stage == Stage::Preview {
                host.report_created(&permit).await;
                host.acknowledged(&permit).await;
            }
        }
    });
}

#[test]
fn the_result_is_durable_before_it_is_acknowledged() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("asker", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let recorded = on_disk(dir.path(), &preview.call_id).await.expect("recorded");
        assert_eq!(
            (recorded.state(), recorded.observation),
            (CallState::DiffHeld, Some(observed(&["file.create:/srv/app/new.txt"])))
        );

        let held = within(ticket.held_or_settled()).await.expect("held");
        within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("decided");
        let decided = on_disk(dir.path(), &preview.call_id).await.expect("recorded");
        let verdict = decided.approval.and_then(|approval| approval.decision).expect("a verdict");
        assert_eq!(verdict.approver, "grace", "the verdict is durable before it is answered");

        let commit = host.execute().await;
        host.report_created(&commit).await;
        host.acknowledged(&commit).await;
        let recorded = on_disk(dir.path(), &commit.call_id).await.expect("recorded");
        assert_eq!((recorded.state(), recorded.outcome()), (CallState::Applied, Outcome::Applied));
        assert_eq!(life.settled(&mut ticket).await, recorded);
    });
}

#[test]
fn the_same_key_never_executes_twice() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let settled = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let gate = life.gate.clone();
            racing.spawn(async move { gate.submit(write("", "k")).await.expect("taken or joined").call_id() });
        }
        let mut calls = within(racing.join_all()).await;
        calls.dedup();
        assert_eq!(calls.len(), 1, "all of them are the one call");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        let again = within(life.gate.propose(write("", "k"), true)).await.expect("joined");
        assert_eq!((&again.call_id, again.state()), (&calls[0], CallState::Applied));

        let conflict = within(life.gate.propose(read("k"), true)).await.expect_err("another action");
        assert_eq!((conflict.reason(), &conflict.call_id), (Reason::KeyConflict, &calls[0]));
        assert!(host.got_no_permit());
        again
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let again = within(life.gate.propose(write("", "k"), true)).await.expect("joined");
        assert_eq!(again.call_id, settled.call_id);
        let conflict = within(life.gate.propose(read("k"), true)).await.expect_err("another action");
        assert_eq!(conflict.call_id, settled.call_id);
        assert!(host.got_no_permit());
    });
}

#[test]
fn an_error_means_no_execution() {
    let failing = PolicyFile {
        name: "failing.cedar".into(),
        // Passes validation, and overflows when it is evaluated.
        text: "@id(\"all\") @reason(\"All.\") permit (principal, action, resource is Path);\n\
               @id(\"odd\") @reason(\"Odd.\") @remedy(\"None.\") forbid (principal, action, resource is Path) \
               when { context.effects * 9223372036854775807 + 9223372036854775807 > 0 };"
            .into(),
        ..Default::default()
    };
    let silent = Script::new(|_| Box::pin(std::future::pending()));
    let absent = Script::new(|_| Box::pin(std::future::ready(None)));
    let cases: [(_, Arc<dyn Judge>, _, _); 4] = [
        ("policy fails", Script::does(&["file.create:/srv/app/new.txt"]), vec![failing], Reason::PolicyError),
        ("the judge is silent", silent, Vec::new(), Reason::PredictionFailed),
        ("the judge is not there", absent, Vec::new(), Reason::PredictionFailed),
        ("the host is not there", Arc::new(NoJudge), Vec::new(), Reason::HostUnavailable),
    ];
    for (case, judge, policies, reason) in cases {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::with(&dir, |setup| {
            (setup.judge, setup.policies) = (judge, policies);
            setup.options.judgement_ttl = Duration::from_millis(50);
        });
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            if reason == Reason::HostUnavailable {
                host.send(cmdop_contract::v1::host_to_server::Kind::Draining(Default::default())).await;
            }
            let answer = within(life.gate.propose(touch("auto", "k"), true)).await;
            let error = answer.map_or_else(|error| error, |call| call.error.clone().expect("an error"));
            assert_eq!(error.reason(), reason, "{case}");
            let call = within(life.ledger.call(&error.call_id)).await.expect("readable").expect("recorded");
            assert_eq!((call.state(), call.permits.len()), (CallState::NotApplied, 0), "{case}");
            let permitted = |frame: &server_to_host::Kind| matches!(frame, server_to_host::Kind::Execute(_));
            assert!(!host.waiting().iter().any(permitted), "{case}");
        });
    }
}

#[test]
fn an_answer_that_the_judge_left_out_is_asked_for_again() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counting = asked.clone();
    let life = Life::with(&dir, |setup| {
        setup.judge = Script::new(move |request| {
            let first = counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            let mut reply = judged(&request, &["file.create:/srv/app/new.txt"]);
            if first {
                reply.judgements.clear();
            }
            Box::pin(std::future::ready(Some(reply)))
        });
    });
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        for key in ["k1", "k2", "k3"] {
            life.gate.submit(touch("auto", key)).await.expect("taken");
            host.execute().await;
        }
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2, "only whole answers are remembered");
    });
}

#[test]
fn observed_effects_come_only_from_the_hosts_measurement() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        // Declared and predicted to create a file; its result says that it did; measured: something else.
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        let measured = observed(&["file.modify:/srv/app/data"]);
        let mut said = report(&preview, measured.clone());
        said.result.as_mut().expect("a result").result_json = r#"{"stdout": "created /srv/app/new.txt"}"#.into();
        host.report(said).await;
        let held = within(ticket.held_or_settled()).await.expect("an answer");
        assert_eq!(held.observation.as_ref(), Some(&measured));
        let call = if held.state() == CallState::DiffHeld {
            assert_eq!(held.approval.clone().expect("one").diff, Some(measured.clone()));
            within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("decided");
            host.acknowledged(&preview).await;
            let commit = host.execute().await;
            host.report(report(&commit, measured.clone())).await;
            life.settled(&mut ticket).await
        } else {
            life.settled(&mut ticket).await
        };
        assert_eq!(call.observation, Some(measured));
        assert_eq!(call.score.expect("a score").success, Some(0.0), "what was declared did not come true");
    });
}
