//! What nobody could tell is settled by what a person found, and by nobody else.

mod support;

use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::v1::{
    Actor, Call, CallState, Event, Outcome, Permit, Reason, ReconcileCallRequest, Reconciliation, Report, event::Kind,
    remedy,
};
use support::{HOST, HostEnd, Life, until, within, write};

fn found(call_id: &str, outcome: Outcome) -> ReconcileCallRequest {
    ReconcileCallRequest {
        call_id: call_id.into(),
        outcome: outcome.into(),
        by: Some(Actor { user: "grace".into(), ..Actor::default() }),
        why: "the file is there, with what was to be written".into(),
        // Its host is away in these tests.
        without_host: true,
    }
}

/// A host's report that nothing was applied.
fn nothing(permit: &Permit) -> Report {
    let error = reason::error(Reason::HostError, "the host was restarted before it did anything");
    Report {
        permit_id: permit.permit_id.clone(),
        call_id: permit.call_id.clone(),
        stage: permit.stage,
        outcome: Outcome::NotApplied.into(),
        error: Some(error.retry_after(1_000)),
        ..Report::default()
    }
}

/// A host's report that it cannot tell either.
fn untold(permit: &Permit) -> Report {
    let error = reason::error(Reason::OutcomeUnknown, "the host died while it acted").reconcile("");
    Report { outcome: Outcome::Unknown.into(), error: Some(error), ..nothing(permit) }
}

/// What was said and measured of a call, as it is recorded.
fn said_and_measured(call: &Call) -> (Outcome, Outcome) {
    let word = call.reconciliation.as_ref().expect("a person's word");
    (word.outcome(), word.measured())
}

/// A call whose host went away while it acted.
async fn lost(life: &Life) -> Call {
    let mut host = HostEnd::attach(life).await;
    let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
    host.execute().await;
    drop(host);
    let call = life.settled(&mut ticket).await;
    assert_eq!(call.state(), CallState::Unknown);
    call
}

fn begin(dir: &tempfile::TempDir) -> Life {
    Life::with(dir, |setup| setup.options.host_grace = Duration::from_millis(50))
}

#[test]
fn what_a_person_found_settles_the_call_and_its_key_stays_spent() {
    for outcome in [Outcome::Applied, Outcome::NotApplied] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = begin(&dir);
        let settled = life.run(async {
            let call = lost(&life).await;
            let request = found(&call.call_id, outcome);
            let settled = within(life.gate.reconcile(request.clone())).await.expect("settled");
            let word = settled.reconciliation.clone().expect("a word");
            assert!(word.at > 0 && word.without_host, "{word:?}");
            let said = Reconciliation { by: request.by, why: request.why, outcome: outcome.into(), ..word };
            assert_eq!((settled.outcome(), settled.reconciliation.as_ref()), (outcome, Some(&said)));
            assert_eq!(settled.score.as_ref().expect("a score").success, None, "a word is no measurement");
            let stored = within(life.ledger.call(&call.call_id)).await.expect("readable").expect("recorded");
            assert_eq!(*settled, stored);
            if outcome == Outcome::NotApplied {
                let kind = settled.error.clone().expect("why").remedy.and_then(|it| it.kind);
                assert!(matches!(kind, Some(remedy::Kind::RetryAfter(again)) if again.new_key));
            }
            until(async || life.gate.open_calls() == 0).await;
            let again = within(life.gate.propose(write("", "k"), true)).await.expect("joined");
            assert_eq!(again.call_id, call.call_id, "the key is spent");
            let twice = within(life.gate.reconcile(found(&call.call_id, outcome))).await.expect_err("known by now");
            assert_eq!(twice.reason(), Reason::InvalidAction);
            stored
        });
        life.crash();
        let life = begin(&dir);
        life.run(async {
            let again = within(life.gate.propose(write("", "k"), true)).await.expect("joined");
            assert_eq!(*again, settled);
        });
    }
}

#[test]
fn what_the_host_measured_is_the_outcome_whatever_a_person_said_before() {
    for said in [Outcome::Applied, Outcome::NotApplied] {
        for measured in [Outcome::Applied, Outcome::NotApplied] {
            let dir = tempfile::tempdir().expect("temporary directory");
            let life = begin(&dir);
            let (call, permit) = life.run(async {
                let call = lost(&life).await;
                let settled = within(life.gate.reconcile(found(&call.call_id, said))).await.expect("settled");
                assert!(settled.observation.is_none(), "nobody measured anything");
                (settled, call.permits[0].clone())
            });
            // The host may come back to another life of the server.
            life.crash();
            let life = begin(&dir);
            life.run(async {
                let mut host = HostEnd::attach(&life).await;
                for _ in 0..2 {
                    match measured {
                        Outcome::Applied => host.report_created(&permit).await,
                        _ => host.report(nothing(&permit)).await,
                    }
                    host.acknowledged(&permit).await;
                    until(async || life.gate.open_calls() == 0).await;
                }
                let now = within(life.gate.call(&call.call_id)).await.expect("there");
                assert_eq!(said_and_measured(&now), (said, measured));
                assert_eq!(
                    (now.outcome(), now.state() == CallState::Applied),
                    (measured, measured == Outcome::Applied)
                );
                let word = now.reconciliation.clone().expect("a word");
                assert!(word.measured_at >= word.at && now.settled_at >= call.settled_at, "{word:?}");
                assert_eq!(word.by, call.reconciliation.as_ref().and_then(|it| it.by.clone()));
                let is_applied = measured == Outcome::Applied;
                assert_eq!(now.observation.is_some(), is_applied, "only what the host measured is observed");
                assert_eq!(now.error.is_none(), is_applied, "{:?}", now.error);
                if is_applied {
                    assert_eq!(now.score.as_ref().expect("a score").success, Some(1.0), "that is a measurement");
                } else {
                    let kind = now.error.clone().expect("why").remedy.and_then(|it| it.kind);
                    assert!(matches!(kind, Some(remedy::Kind::RetryAfter(again)) if again.new_key), "{:?}", now.error);
                }
                let trace = within(life.gate.trace(&call.call_id)).await.expect("a trace");
                let settled = |event: &&Event| matches!(event.kind, Some(Kind::CallSettled(_)));
                assert_eq!(trace.events.iter().filter(settled).count(), 3, "lost, settled by a word, measured once");
                let again = within(life.gate.propose(write("", "k"), true)).await.expect("joined");
                assert_eq!(again.call_id, call.call_id, "the key stays spent");
            });
        }
    }
}

#[test]
fn a_host_that_cannot_tell_either_leaves_the_word_as_it_is_and_may_find_out_yet() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir);
    life.run(async {
        let call = lost(&life).await;
        let permit = call.permits[0].clone();
        let settled = within(life.gate.reconcile(found(&call.call_id, Outcome::NotApplied))).await.expect("settled");
        until(async || life.gate.open_calls() == 0).await;
        let mut host = HostEnd::attach(&life).await;
        host.report(untold(&permit)).await;
        host.acknowledged(&permit).await;
        let now = within(life.gate.call(&call.call_id)).await.expect("there");
        assert_eq!(
            (said_and_measured(&now), now.outcome()),
            ((Outcome::NotApplied, Outcome::Unknown), Outcome::NotApplied)
        );
        assert_eq!((&now.error, now.settled_at), (&settled.error, settled.settled_at));
        until(async || life.gate.open_calls() == 0).await;
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        let now = within(life.gate.call(&call.call_id)).await.expect("there");
        assert_eq!(
            (said_and_measured(&now), now.outcome()),
            ((Outcome::NotApplied, Outcome::Applied), Outcome::Applied)
        );
    });
}

#[test]
fn a_report_that_comes_while_a_person_settles_is_not_lost() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir);
    life.run(async {
        let call = lost(&life).await;
        let permit = call.permits[0].clone();
        let mut host = HostEnd::attach(&life).await;
        host.inquired(&permit).await;
        let (said, ()) = within(async {
            tokio::join!(life.gate.reconcile(found(&call.call_id, Outcome::NotApplied)), host.report_created(&permit))
        })
        .await;
        host.acknowledged(&permit).await;
        let now = within(life.gate.call(&call.call_id)).await.expect("there");
        assert_eq!((now.outcome(), now.observation.is_some()), (Outcome::Applied, true));
        match said {
            Ok(_) => assert_eq!(said_and_measured(&now), (Outcome::NotApplied, Outcome::Applied)),
            Err(faster) => assert_eq!(faster.reason(), Reason::InvalidAction, "the host was faster"),
        }
    });
}

#[test]
fn what_was_measured_says_nothing_over_what_the_host_itself_settled() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        let call = life.settled(&mut ticket).await;
        host.acknowledged(&permit).await;
        until(async || life.gate.open_calls() == 0).await;
        host.report(nothing(&permit)).await;
        host.acknowledged(&permit).await;
        assert_eq!(within(life.gate.call(&call.call_id)).await.expect("there"), Arc::new(call));
    });
}

#[test]
fn while_its_host_is_away_a_call_is_settled_by_a_word_only_if_that_is_said() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir);
    life.run(async {
        let call = lost(&life).await;
        let asked = ReconcileCallRequest { without_host: false, ..found(&call.call_id, Outcome::NotApplied) };
        let refused = within(life.gate.reconcile(asked.clone())).await.expect_err("the host may know");
        assert_eq!((refused.reason(), &refused.call_id), (Reason::HostUnavailable, &call.call_id), "{refused}");
        assert!(refused.message.contains("--without-host") && refused.message.contains(HOST), "{refused}");
        let now = within(life.gate.call(&call.call_id)).await.expect("there");
        assert_eq!((now.state(), &now.reconciliation), (CallState::Unknown, &None));

        let mut host = HostEnd::attach(&life).await;
        host.inquired(&call.permits[0]).await;
        host.report(untold(&call.permits[0])).await;
        host.acknowledged(&call.permits[0]).await;
        let settled = within(life.gate.reconcile(asked)).await.expect("it was asked and cannot tell");
        assert!(!settled.reconciliation.as_ref().expect("a word").without_host);
    });
}

#[test]
fn only_a_person_who_looked_settles_and_only_what_is_unknown() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir);
    life.run(async {
        let call = lost(&life).await;
        let wrong = |change: &dyn Fn(&mut ReconcileCallRequest)| {
            let mut request = found(&call.call_id, Outcome::Applied);
            change(&mut request);
            request
        };
        let agent = Actor { user: "grace".into(), agent: "janitor".into(), ..Actor::default() };
        for (request, reason) in [
            (wrong(&|it| it.by = Some(agent.clone())), Reason::NotPermitted),
            (wrong(&|it| it.by = None), Reason::InvalidAction),
            (wrong(&|it| it.why = " ".into()), Reason::InvalidAction),
            (wrong(&|it| it.why = "y".repeat(2_001)), Reason::InvalidAction),
            (wrong(&|it| it.outcome = Outcome::Unknown.into()), Reason::InvalidAction),
            (wrong(&|it| it.call_id = "nobody's".into()), Reason::UnknownCall),
        ] {
            let refused = within(life.gate.reconcile(request.clone())).await.expect_err("refused");
            assert_eq!(refused.reason(), reason, "{request:?}");
        }
        assert_eq!(within(life.gate.call(&call.call_id)).await.expect("there").state(), CallState::Unknown);

        let mut host = HostEnd::attach(&life).await;
        host.inquired(&call.permits[0]).await;
        host.report_created(&call.permits[0]).await;
        host.acknowledged(&call.permits[0]).await;
        let late = within(life.gate.reconcile(found(&call.call_id, Outcome::NotApplied))).await;
        assert_eq!(late.expect_err("the host told it").reason(), Reason::InvalidAction);
    });
}
