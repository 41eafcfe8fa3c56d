//! What nobody could tell is settled by what a person found, and by nobody else.

mod support;

use std::time::Duration;

use cmdop_contract::v1::{Actor, Call, CallState, Outcome, Reason, ReconcileCallRequest, Reconciliation, remedy};
use support::{HostEnd, Life, until, within, write};

fn found(call_id: &str, outcome: Outcome) -> ReconcileCallRequest {
    ReconcileCallRequest {
        call_id: call_id.into(),
        outcome: outcome.into(),
        by: Some(Actor { user: "grace".into(), ..Actor::default() }),
        why: "the file is there, with what was to be written".into(),
    }
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
            let word = Reconciliation { by: request.by.clone(), why: request.why.clone() };
            let settled = within(life.gate.reconcile(request)).await.expect("settled");
            assert_eq!((settled.outcome(), settled.reconciliation.as_ref()), (outcome, Some(&word)));
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
fn a_host_that_comes_back_after_that_is_heard_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir);
    life.run(async {
        let call = lost(&life).await;
        let permit = call.permits[0].clone();
        let settled = within(life.gate.reconcile(found(&call.call_id, Outcome::NotApplied))).await.expect("settled");
        until(async || life.gate.open_calls() == 0).await;
        let mut host = HostEnd::attach(&life).await;
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        assert_eq!(within(life.gate.call(&call.call_id)).await.expect("there"), settled);
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
