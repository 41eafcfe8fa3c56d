//! Hosts that go away before, during and after; callers that do; a server that drains.

mod support;

use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::v1::{
    ApprovalVerdict, CallState, EffectKind, HostToServer, Outcome, Reason, Report, Stage, Unobserved, host_to_server,
    remedy,
};
use support::{HostEnd, Life, failure, read, read_secret, touch, until, within, write};

const SOON: Duration = Duration::from_millis(50);

#[test]
fn a_call_for_a_host_that_is_not_there_is_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let unknown = within(life.gate.propose(read("k"), false)).await.expect_err("never attached");
        assert_eq!(unknown.reason(), Reason::UnknownHost);
        drop(HostEnd::attach(&life).await);
        let away = within(life.gate.propose(read("k"), false)).await.expect_err("away");
        assert_eq!(away.reason(), Reason::HostUnavailable);
    });
}

#[test]
fn a_tool_that_died_and_was_found_to_be_done_is_applied_and_never_to_be_done_again() {
    let told = reason::error(Reason::ResultLost, "the host died while the tool ran");
    // Hosts of before said no more than that it is applied.
    for error in [Some(told), None] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
            let permit = host.execute().await;
            let report = Report {
                outcome: Outcome::Applied.into(),
                error,
                ..failure(&permit, Outcome::Applied, Reason::Internal)
            };
            host.report(report).await;
            let call = life.settled(&mut ticket).await;
            let error = call.error.as_ref().expect("its result is lost");
            assert_eq!((call.outcome(), error.reason()), (Outcome::Applied, Reason::ResultLost), "{error}");
            let remedy = error.remedy.as_ref().and_then(|it| it.kind.as_ref());
            assert!(matches!(remedy, Some(remedy::Kind::Stop(_))), "{remedy:?}");
            let score = call.score.as_ref().expect("a score");
            assert!(score.success.is_none() && !score.clean, "nobody saw how it ended: {score:?}");
            let again = within(life.gate.propose(write("", "k"), true)).await.expect("joined");
            assert_eq!(again.call_id, call.call_id, "the key is spent");
        });
    }
}

#[test]
fn of_a_committed_tool_that_died_nobody_takes_the_plan_for_what_happened() {
    // A host of before says no more than that it is applied.
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        life.decide(&held, ApprovalVerdict::Approve).await.expect("approved");
        let commit = host.execute().await;
        assert_eq!(commit.stage(), Stage::Commit);
        let report = failure(&commit, Outcome::Applied, Reason::Internal);
        host.report(Report { error: None, ..report }).await;
        let call = life.settled(&mut ticket).await;
        let error = call.error.as_ref().expect("its result is lost");
        assert_eq!((call.outcome(), error.reason()), (Outcome::Applied, Reason::ResultLost), "{error}");
        assert_eq!(call.result, None, "what it would have returned is no result");
        let seen = call.observation.as_ref().expect("that nobody measured it");
        let unseen: Vec<_> = seen.unobserved.iter().map(Unobserved::kind).collect();
        assert_eq!((seen.effects.len(), unseen), (0, vec![EffectKind::FileCreate]));
        let score = call.score.as_ref().expect("a score");
        assert!(score.success.is_none() && !score.clean, "{score:?}");
    });
}

#[test]
fn a_host_that_drains_gets_no_new_call_and_its_reports_still_count() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        host.send(host_to_server::Kind::Draining(cmdop_contract::v1::HostDraining {})).await;
        let refused = within(life.gate.propose(read("k2"), false)).await.expect_err("draining");
        assert_eq!(refused.reason(), Reason::HostUnavailable);
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
    });
}

#[test]
fn a_host_that_does_not_read_is_as_good_as_away() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let (frames, _unread) = tokio::sync::mpsc::channel(1);
        let (_attachment, _) = life.gate.attach(support::hello("web"), frames).expect("attached");
        let _first = life.gate.submit(write("", "k1")).await.expect("taken");
        let mut calls = Vec::new();
        for key in ["k2", "k3"] {
            let mut ticket = life.gate.submit(write("", key)).await.expect("taken");
            let _ = tokio::time::timeout(SOON * 10, ticket.settled_or_unknown()).await;
            calls.push(ticket.now());
        }
        let refused: Vec<_> = calls.iter().filter(|call| call.state() == CallState::NotApplied).collect();
        assert!(!refused.is_empty());
        for call in refused {
            assert_eq!(call.error.clone().expect("why").reason(), Reason::HostUnavailable);
        }
    });
}

#[test]
fn a_host_lost_in_a_preview_leaves_the_machine_as_it_was() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.options.host_grace = SOON);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.started(&preview).await;
        drop(host);
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.error.expect("why").reason()), (CallState::NotApplied, Reason::HostUnavailable));
        // It comes back with a layer that nobody wants any more.
        until(async || life.gate.open_calls() == 0).await;
        let mut host = HostEnd::attach(&life).await;
        host.report_created(&preview).await;
        host.told_to("discard", &preview.call_id).await;
        host.acknowledged(&preview).await;
    });
}

#[test]
fn a_host_lost_while_it_looks_applied_nothing_and_nobody_waits_for_it() {
    for comes_back in [false, true] {
        let dir = tempfile::tempdir().expect("temporary directory");
        // The grace is for what may have had effects.
        let life = Life::with(&dir, |setup| setup.options.host_grace = Duration::from_secs(3_600));
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(read("k")).await.expect("taken");
            let permit = host.execute().await;
            host.started(&permit).await;
            if comes_back {
                host.report(failure(&permit, Outcome::Unknown, Reason::OutcomeUnknown)).await;
            } else {
                drop(host);
            }
            let call = life.settled(&mut ticket).await;
            assert_eq!((call.state(), call.outcome()), (CallState::NotApplied, Outcome::NotApplied));
            let error = call.error.expect("why");
            assert_eq!(error.reason(), Reason::HostUnavailable);
            let remedy = error.remedy.and_then(|remedy| remedy.kind);
            assert!(matches!(remedy, Some(remedy::Kind::RetryAfter(_))), "{remedy:?}");
        });
    }
}

#[test]
fn the_key_of_a_call_that_lost_its_host_is_good_for_the_same_action_and_for_no_other() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let lost = {
        let life = Life::with(&dir, |setup| setup.options.host_grace = SOON);
        let lost = life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
            let preview = host.execute().await;
            host.started(&preview).await;
            drop(host);
            let call = life.settled(&mut ticket).await;
            let error = call.error.clone().expect("why");
            assert_eq!((call.state(), error.reason()), (CallState::NotApplied, Reason::HostUnavailable));
            let remedy = error.remedy.and_then(|remedy| remedy.kind);
            assert!(matches!(remedy, Some(remedy::Kind::RetryAfter(again)) if !again.new_key));
            let conflict = within(life.gate.propose(write("", "k"), true)).await.expect_err("another action");
            assert_eq!((conflict.reason(), &conflict.call_id), (Reason::KeyConflict, &call.call_id));
            call
        });
        life.crash();
        lost
    };
    let life = Life::begin(&dir);
    life.run(async {
        let conflict = within(life.gate.propose(write("", "k"), true)).await.expect_err("another action");
        assert_eq!((conflict.reason(), &conflict.call_id), (Reason::KeyConflict, &lost.call_id));
        // Refused while its host is away, and the key is as good as before.
        let away = within(life.gate.propose(touch("auto", "k"), true)).await.expect_err("away");
        assert_eq!(away.reason(), Reason::HostUnavailable);
        let conflict = within(life.gate.propose(write("", "k"), true)).await.expect_err("another action");
        assert_eq!(conflict.reason(), Reason::KeyConflict);
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        assert_ne!(ticket.call_id(), lost.call_id);
        let joined = life.gate.submit(touch("auto", "k")).await.expect("joined");
        assert_eq!(joined.call_id(), ticket.call_id());
        let preview = host.execute().await;
        assert_eq!(preview.idempotency_key, "k");
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        host.report_created(&commit).await;
        host.acknowledged(&commit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!(call.state(), CallState::Applied);
        // Now it is spent.
        let again = within(life.gate.propose(touch("auto", "k"), true)).await.expect("joined");
        assert_eq!(again.call_id, call.call_id);
        assert!(host.got_no_permit());
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let again = within(life.gate.propose(touch("auto", "k"), true)).await.expect("joined");
        assert_eq!((again.state(), again.call_id == lost.call_id), (CallState::Applied, false));
    });
}

#[test]
fn a_host_lost_while_it_acts_makes_the_outcome_unknown_until_it_reports() {
    for commits in [false, true] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::with(&dir, |setup| setup.options.host_grace = SOON);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let proposal = if commits { touch("auto", "k") } else { write("", "k") };
            let mut ticket = life.gate.submit(proposal).await.expect("taken");
            let mut permit = host.execute().await;
            if commits {
                host.report_created(&permit).await;
                host.acknowledged(&permit).await;
                permit = host.execute().await;
            }
            drop(host);
            let call = life.settled(&mut ticket).await;
            assert_eq!((call.state(), call.outcome(), call.settled_at), (CallState::Unknown, Outcome::Unknown, 0));
            assert_eq!(call.error.expect("why").reason(), Reason::OutcomeUnknown);
            let mut host = HostEnd::attach(&life).await;
            host.inquired(&permit).await;
            host.report_created(&permit).await;
            host.acknowledged(&permit).await;
            let call = within(life.gate.call(&permit.call_id)).await.expect("there");
            assert_eq!((call.state(), call.outcome()), (CallState::Applied, Outcome::Applied));
            life.permits_are_single(&permit.call_id).await;
        });
    }
}

#[test]
fn a_host_that_is_back_within_its_grace_is_asked_and_goes_on() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        drop(host);
        let mut host = HostEnd::attach(&life).await;
        host.inquired(&permit).await;
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        host.acknowledged(&permit).await;
        assert!(host.got_no_permit(), "it was asked, not told again");
    });
}

#[test]
fn a_host_that_never_got_the_permit_says_so_and_nothing_was_applied() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        drop(host);
        let mut host = HostEnd::attach(&life).await;
        host.inquired(&permit).await;
        host.forgotten(&permit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.error.expect("why").reason()), (CallState::NotApplied, Reason::HostError));
    });
}

#[test]
fn a_host_with_another_ledger_proves_nothing_by_not_knowing_a_permit() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        drop(host);
        let mut host = HostEnd::attach(&life).await;
        host.inquired(&permit).await;
        host.forgotten_by(&permit, 7).await;
        let call = within(ticket.settled_or_unknown()).await.expect("told");
        assert_eq!(call.state(), CallState::Unknown);
        assert_eq!(call.error.as_ref().expect("why").reason(), Reason::OutcomeUnknown);
        // The key is spent: the same action is answered with that call.
        let again = within(life.gate.submit(write("", "k"))).await.expect("taken").call_id();
        assert_eq!(again, call.call_id);
        assert!(host.got_no_permit());
    });
}

#[test]
fn news_that_a_host_left_which_comes_after_it_is_back_gives_up_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.options.host_grace = SOON);
    life.run(async {
        for round in 0..20 {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(write("", &format!("k{round}"))).await.expect("taken");
            let permit = host.execute().await;
            // Detaching is told by a task of its own: it may overtake, or be overtaken.
            drop(host);
            let mut host = HostEnd::attach(&life).await;
            host.inquired(&permit).await;
            let given_up = tokio::time::timeout(SOON * 3, ticket.settled_or_unknown()).await;
            assert!(given_up.is_err(), "the host is there: {:?}", given_up.map(|call| call.map(|call| call.state())));
            host.report_created(&permit).await;
            assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
            // Else it would reach the next round's host.
            host.acknowledged(&permit).await;
        }
    });
}

#[test]
fn an_approved_call_waits_for_its_host_for_the_grace_and_no_longer() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.options.host_grace = SOON);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        drop(host);
        within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("decided");
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.error.expect("why").reason()), (CallState::NotApplied, Reason::HostUnavailable));
        assert_eq!(call.permits.len(), 1);
    });
}

#[test]
fn a_caller_that_goes_away_leaves_the_call_to_its_end() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let asked = tokio::time::timeout(SOON, life.gate.propose(write("", "k"), true)).await;
        assert!(asked.is_err(), "the caller gave up");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        let call = within(life.gate.call(&permit.call_id)).await.expect("there");
        assert_eq!(call.state(), CallState::Applied);
    });
}

#[test]
fn a_person_who_goes_away_at_once_has_still_decided() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        host.waiting();
        // As when a connection breaks between the request and its answer: polled once, then dropped.
        let _ = tokio::time::timeout(Duration::ZERO, life.decide(&held, ApprovalVerdict::Approve)).await;
        let commit = host.execute().await;
        host.report_created(&commit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
    });
}

#[test]
fn a_drain_takes_nothing_new_lets_what_works_end_and_leaves_what_is_held() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let held = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_, held) = life.held(read_secret("k1"), &mut host).await;
        let mut ticket = life.gate.submit(write("", "k2")).await.expect("taken");
        let permit = host.execute().await;
        let gate = life.gate.clone();
        let drained = tokio::spawn(async move { gate.drain(Duration::from_secs(20)).await });
        let refused = async || life.gate.submit(support::proposal("", "", "no.tool", "{}")).await.err();
        until(async || refused().await.is_some_and(|error| error.reason() == Reason::Draining)).await;
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        within(drained).await.expect("drained");
        held
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let call = within(life.gate.call(&held.call_id)).await.expect("there");
        assert_eq!((call.state(), life.gate.open_calls()), (CallState::Held, 1));
    });
}

#[test]
fn whoever_looks_at_a_call_that_nobody_watched_sees_it_as_it_is() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let look = async || within(life.gate.call(&ticket.call_id())).await.expect("there");
        let permit = host.execute().await;
        let call = look().await;
        assert_eq!((call.state(), &call.permits[..]), (CallState::Permitted, std::slice::from_ref(&permit)));
        assert!(call.decision.is_some() && call.prediction.is_some());
        host.started(&permit).await;
        until(async || look().await.state() == CallState::Running).await;
        assert_eq!(look().await.permits.len(), 1);
        let mut watching = within(life.gate.follow(&ticket.call_id())).await.expect("followed");
        assert_eq!((watching.now().state(), watching.now().permits.len()), (CallState::Running, 1));
        host.report_created(&permit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!(call.state(), CallState::Applied);
        assert_eq!(*within(watching.changed()).await.expect("the end"), call);
        assert_eq!(*watching.now(), call);
    });
}

#[test]
fn a_watcher_that_lags_sees_the_last_state_and_the_end() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let mut lagging = within(life.gate.follow(&ticket.call_id())).await.expect("followed");
        let mut output = lagging.output(0).expect("open");
        let preview = host.execute().await;
        for sequence in 1..=1_000 {
            let output = cmdop_contract::v1::Output {
                call_id: preview.call_id.clone(),
                sequence,
                data: vec![b'x'; 1_024],
                ..Default::default()
            };
            within(host.attachment.frame(HostToServer { kind: Some(host_to_server::Kind::Output(output)) })).await;
        }
        host.report(failure(&preview, Outcome::NotApplied, Reason::CommandFailed)).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!(within(lagging.changed()).await.expect("the last state").state(), call.state());
        assert!(within(lagging.changed()).await.is_none(), "and nothing after it");
        let (mut read, mut dropped) = (0, 0);
        while let Some(piece) = output.ready() {
            read += piece.data.len() as u64;
            dropped += piece.dropped;
        }
        assert_eq!(read + dropped, 1_000 * 1_024, "every byte is there or counted as missing");
        assert!(dropped > 0 && read > 0);
    });
}

#[test]
fn a_call_over_the_limit_of_open_calls_is_shed_and_spends_no_key() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.options.max_open_calls = 1);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k1")).await.expect("taken");
        let permit = host.execute().await;
        let shed = life.gate.submit(write("", "k2")).await.err().expect("too many");
        assert_eq!(shed.reason(), Reason::LoadShed);
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        life.settled(&mut ticket).await;
        until(async || life.gate.open_calls() == 0).await;
        life.gate.submit(write("", "k2")).await.expect("there is room, and the key is free");
        host.execute().await;
    });
}
