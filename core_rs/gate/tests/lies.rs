//! Hosts that repeat themselves, mix things up, or say what is not so.

mod support;

use cmdop_contract::v1::{CallState, Outcome, Reason, Stage, host_to_server};
use support::{FILE, HostEnd, Life, failure, hello, observed, read, report, touch, until, within, write};

#[test]
fn a_host_speaks_for_its_own_calls_only() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut other = HostEnd::named(&life.gate, life.ledger.verifying_key(), "other").await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        other.started(&permit).await;
        other.forgotten(&permit).await;
        other.report_created(&permit).await;
        other.report(failure(&permit, Outcome::NotApplied, Reason::HostError)).await;
        host.started(&permit).await;
        until(async || ticket.now().state() == CallState::Running).await;
        assert!(other.waiting().is_empty(), "a stranger's report is not acknowledged");
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        other.report_created(&permit).await;
        assert!(other.waiting().is_empty(), "nor after the call is over");
    });
}

#[test]
fn a_report_that_comes_twice_counts_once_and_is_acknowledged_each_time() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        host.report_created(&commit).await;
        host.acknowledged(&commit).await;
        let settled = life.settled(&mut ticket).await;
        until(async || life.gate.open_calls() == 0).await;
        host.report(failure(&commit, Outcome::Unknown, Reason::HostError)).await;
        host.acknowledged(&commit).await;
        assert_eq!(within(life.ledger.call(&settled.call_id)).await.expect("readable"), Some(settled));
    });
}

#[test]
fn a_report_before_its_start_is_taken_and_the_start_after_it_changes_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("asker", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report_created(&preview).await;
        let held = within(ticket.held_or_settled()).await.expect("held");
        host.started(&preview).await;
        within(life.decide(&held, cmdop_contract::v1::ApprovalVerdict::Approve)).await.expect("decided");
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        for _ in 0..200 {
            host.started(&commit).await;
        }
        host.report_created(&commit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        let trace = within(life.ledger.trace(&ticket.call_id())).await.expect("readable").expect("recorded");
        assert!(trace.events.len() < 12, "a start that comes again is not recorded again: {}", trace.events.len());
    });
}

#[test]
fn a_permit_that_nobody_made_settles_nothing_and_is_not_acknowledged() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_ticket, held) = life.held(support::read_secret("k"), &mut host).await;
        let mut ticket = life.gate.submit(write("", "k2")).await.expect("taken");
        let permit = host.execute().await;
        for call_id in [&held.call_id, &permit.call_id, "nothing"] {
            let mut made_up = report(&permit, observed(&["file.create:/srv/app/new.txt"]));
            (made_up.permit_id, made_up.call_id) = ("made up".into(), call_id.into());
            host.report(made_up).await;
        }
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        host.acknowledged(&permit).await;
        assert!(host.waiting().is_empty());
        let still = within(life.gate.call(&held.call_id)).await.expect("there");
        assert_eq!(still.state(), CallState::Held);
    });
}

#[test]
fn a_diff_that_does_not_fit_its_digest_is_never_shown_nor_committed() {
    for agent in ["asker", "auto"] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(touch(agent, "k")).await.expect("taken");
            let preview = host.execute().await;
            let mut lie = observed(&["file.create:/srv/app/new.txt"]);
            lie.digest = observed(&["file.delete:/srv/app/data"]).digest;
            host.report(report(&preview, lie)).await;
            let call = life.settled(&mut ticket).await;
            assert_eq!(call.error.clone().expect("an error").reason(), Reason::HostError);
            assert!(call.approval.is_none() && call.permits.len() == 1);
            host.told_to("discard", &call.call_id).await;
        });
    }
}

#[test]
fn a_report_of_another_stage_than_its_permit_is_not_believed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        // A preview that claims to have applied something: nobody knows what it did.
        let mut ticket = life.gate.submit(touch("auto", "k1")).await.expect("taken");
        let preview = host.execute().await;
        let mut claim = report(&preview, observed(&["file.create:/srv/app/new.txt"]));
        (claim.stage, claim.outcome) = (Stage::Apply.into(), Outcome::Applied.into());
        host.report(claim).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.score.expect("a score").success), (CallState::Unknown, None));

        // A run that claims to have been a preview.
        let mut ticket = life.gate.submit(write("", "k2")).await.expect("taken");
        let apply = host.execute().await;
        let mut claim = report(&apply, observed(&["file.create:/srv/app/new.txt"]));
        (claim.stage, claim.outcome) = (Stage::Preview.into(), Outcome::NotApplied.into());
        host.report(claim).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.error.expect("why").reason()), (CallState::Unknown, Reason::HostError));
        assert!(host.waiting().is_empty(), "what is not believed is not acknowledged");
        // Its true report settles it.
        host.report_created(&apply).await;
        until(async || within(life.gate.call(&ticket.call_id())).await.expect("there").state() == CallState::Applied)
            .await;
        host.acknowledged(&apply).await;
    });
}

#[test]
fn a_host_that_started_cannot_say_afterwards_that_it_never_did() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        host.started(&permit).await;
        host.forgotten(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Unknown);
        host.forgotten(&permit).await;
        host.report(failure(&permit, Outcome::NotApplied, Reason::HostError)).await;
        until(async || {
            within(life.gate.call(&ticket.call_id())).await.expect("there").state() == CallState::NotApplied
        })
        .await;
    });
}

#[test]
fn effects_beyond_the_permit_of_a_commit_are_side_effects_of_the_call() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        host.report(report(&commit, observed(&["file.create:/srv/app/new.txt", "file.delete:/srv/app/data"]))).await;
        let call = life.settled(&mut ticket).await;
        let score = call.score.expect("a score");
        assert_eq!((call.state(), score.side_effects, score.clean), (CallState::Applied, 1, false));
        assert_eq!(call.observation.expect("measured").effects.len(), 2);
    });
}

#[test]
fn a_second_host_of_the_same_name_is_refused_and_changes_nothing_for_the_first() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (frames, _received) = tokio::sync::mpsc::channel(8);
        let refused = life.gate.attach(hello("web"), frames).err().expect("taken");
        assert_eq!(refused.reason(), Reason::ProtocolViolation);
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        assert!(life.gate.host("web").expect("known").attached);
    });
}

#[test]
fn what_comes_over_a_link_that_was_replaced_is_not_heard() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut old = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = old.execute().await;
        // Its stream is gone, but what it had sent is still being read.
        old.frames.close();
        let mut host = HostEnd::attach(&life).await;
        host.inquired(&permit).await;
        old.report(failure(&permit, Outcome::NotApplied, Reason::HostError)).await;
        drop(old);
        assert!(life.gate.host("web").expect("known").attached, "the old link's end is not the new one's");
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
    });
}

#[test]
fn a_host_that_floods_a_held_call_neither_decides_it_nor_keeps_it_from_expiring() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.options.approval_ttl = std::time::Duration::from_millis(300));
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        let preview = held.permits[0].clone();
        while ticket.now().state() == CallState::DiffHeld {
            host.started(&preview).await;
            host.send(host_to_server::Kind::Report(report(&preview, observed(&[])))).await;
            host.waiting();
        }
        let call = life.settled(&mut ticket).await;
        assert_eq!(call.error.expect("why").reason(), Reason::ApprovalExpired);
        assert_eq!(call.observation.expect("the diff").effects[0].target, FILE);
    });
}

#[test]
fn a_host_that_cannot_tell_is_recorded_once_however_often_it_says_so() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        for _ in 0..10 {
            host.report(failure(&permit, Outcome::Unknown, Reason::OutcomeUnknown)).await;
            host.acknowledged(&permit).await;
        }
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Unknown);
        let trace = within(life.ledger.trace(&ticket.call_id())).await.expect("readable").expect("recorded");
        assert!(trace.events.len() <= 5, "{}", trace.events.len());
        // Others go on meanwhile.
        let mut other = life.gate.submit(read("k2")).await.expect("taken");
        let look = host.execute().await;
        host.report_look(&look).await;
        assert_eq!(life.settled(&mut other).await.state(), CallState::Applied);
    });
}
