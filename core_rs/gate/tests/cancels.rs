//! Cancelling a call in each state, and cancels that race with what happens anyway.

mod support;

use std::sync::Arc;

use cmdop_contract::v1::{
    ApprovalStatus, ApprovalVerdict, Call, CallState, Error, Outcome, Permit, Reason, Stage, server_to_host,
};
use cmdop_gate::{Gate, Ticket};
use prost::Message as _;
use support::{HostEnd, Life, Script, failure, judged, read_secret, touch, within, write};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Cancels, and returns once the driver has the request in its queue or settled without it.
async fn cancelling(life: &Life, ticket: &Ticket) -> JoinHandle<Result<Arc<Call>, Error>> {
    let (gate, call_id): (Gate, String) = (life.gate.clone(), ticket.call_id());
    let asked = Arc::new(Notify::new());
    let asking = asked.clone();
    let cancelled = tokio::spawn(async move {
        let cancel = gate.cancel(&call_id, "changed my mind");
        tokio::pin!(cancel);
        // The first poll hands the request over.
        let early = poll_once(cancel.as_mut()).await;
        asking.notify_one();
        match early {
            Some(done) => done,
            None => cancel.await,
        }
    });
    within(asked.notified()).await;
    cancelled
}

async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::pin::Pin::new(&mut future).poll(cx) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

fn is_cancelled(call: &Call) {
    let reason = call.error.as_ref().expect("an error").reason();
    assert_eq!((call.state(), call.outcome(), reason), (CallState::NotApplied, Outcome::NotApplied, Reason::Cancelled));
}

#[test]
fn a_call_cancelled_while_it_is_judged_gets_no_permit() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asking, going_on) = (asked.clone(), go_on.clone());
    let life = Life::with(&dir, |setup| {
        setup.judge = Script::new(move |request| {
            let (asking, going_on) = (asking.clone(), going_on.clone());
            Box::pin(async move {
                asking.notify_one();
                going_on.notified().await;
                Some(judged(&request, &["file.create:/srv/app/new.txt"]))
            })
        });
    });
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        within(asked.notified()).await;
        let cancelled = cancelling(&life, &ticket).await;
        go_on.notify_one();
        let call = life.settled(&mut ticket).await;
        is_cancelled(&call);
        assert!(call.permits.is_empty() && host.waiting().is_empty());
        within(cancelled).await.expect("task").expect("answered");
    });
}

#[test]
fn a_held_call_that_is_cancelled_is_rejected_and_its_layer_thrown_away() {
    for (proposal, previewed) in [(read_secret("k"), false), (write("asker", "k"), true)] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let (mut ticket, held) = life.held(proposal, &mut host).await;
            host.waiting();
            let mut approvals = life.gate.watch_approvals();
            within(life.gate.cancel(&held.call_id, "changed my mind")).await.expect("cancelled");
            let call = life.settled(&mut ticket).await;
            is_cancelled(&call);
            assert_eq!(within(approvals.recv()).await.expect("told").status(), ApprovalStatus::Rejected);
            let late = within(life.decide(&held, ApprovalVerdict::Approve)).await.expect_err("over");
            assert_eq!(late.reason(), Reason::ApprovalNotPending);
            if previewed {
                host.told_to("discard", &held.call_id).await;
            }
            assert!(host.got_no_permit());
        });
    }
}

#[test]
fn a_running_call_is_killed_by_its_host_and_settles_with_what_that_says() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        host.started(&permit).await;
        let cancelled = cancelling(&life, &ticket).await;
        host.told_to("cancel", &permit.call_id).await;
        host.report(failure(&permit, Outcome::NotApplied, Reason::Cancelled)).await;
        is_cancelled(&life.settled(&mut ticket).await);
        within(cancelled).await.expect("task").expect("answered");
    });
}

#[test]
fn a_cancel_that_comes_too_late_for_the_preview_still_stops_the_commit() {
    for proposal in [touch("auto", "k"), write("asker", "k")] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(proposal).await.expect("taken");
            let preview = host.execute().await;
            let cancelled = cancelling(&life, &ticket).await;
            host.told_to("cancel", &preview.call_id).await;
            // The host was done before it heard of it.
            host.report_created(&preview).await;
            let call = life.settled(&mut ticket).await;
            is_cancelled(&call);
            assert!(call.approval.is_none(), "nobody is asked about a call that was cancelled");
            assert_eq!(call.permits.len(), 1);
            host.told_to("discard", &preview.call_id).await;
            host.acknowledged(&preview).await;
            assert!(host.got_no_permit());
            within(cancelled).await.expect("task").expect("answered");
        });
    }
}

#[test]
fn a_call_cancelled_after_its_approval_while_its_host_is_away_never_runs() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        drop(host);
        within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("decided");
        let cancelled = cancelling(&life, &ticket).await;
        let mut host = HostEnd::attach(&life).await;
        is_cancelled(&life.settled(&mut ticket).await);
        assert!(host.got_no_permit());
        within(cancelled).await.expect("task").expect("answered");
    });
}

#[test]
fn a_committing_call_is_not_called_back_but_settles_with_what_became_of_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        let cancelled = cancelling(&life, &ticket).await;
        host.told_to("cancel", &commit.call_id).await;
        host.report_created(&commit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        assert_eq!(within(cancelled).await.expect("task").expect("answered").state(), CallState::Applied);
    });
}

#[test]
fn a_cancel_while_the_host_is_away_is_told_when_it_is_back() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        drop(host);
        let cancelled = cancelling(&life, &ticket).await;
        let mut host = HostEnd::attach(&life).await;
        // It is asked what became of the permit, and told to stop, in either order.
        let (mut asked, mut told) = (false, false);
        while !(asked && told) {
            match host.next().await {
                server_to_host::Kind::Inquire(inquire) => asked |= inquire.permit_id == permit.permit_id,
                server_to_host::Kind::Cancel(cancel) => told |= cancel.call_id == permit.call_id,
                other => panic!("unexpected {other:?}"),
            }
        }
        host.report(failure(&permit, Outcome::NotApplied, Reason::Cancelled)).await;
        is_cancelled(&life.settled(&mut ticket).await);
        within(cancelled).await.expect("task").expect("answered");
    });
}

#[test]
fn a_settled_call_stays_as_it_is_and_an_unknown_one_is_an_error() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        let settled = life.settled(&mut ticket).await;
        let after = within(life.gate.cancel(&settled.call_id, "too late")).await.expect("answered");
        assert_eq!(*after, settled);
        let unknown = within(life.gate.cancel("nothing", "what")).await.expect_err("no such call");
        assert_eq!(unknown.reason(), Reason::UnknownCall);
    });
}

#[test]
fn of_an_approval_and_a_cancel_at_once_one_wins_whole() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
            host.waiting();
            let cancelled = cancelling(&life, &ticket);
            let (approved, cancelled) = tokio::join!(life.decide(&held, ApprovalVerdict::Approve), cancelled);
            let mut permitted = false;
            loop {
                match within(host.frames.recv()).await.expect("a frame").kind.expect("content") {
                    server_to_host::Kind::Execute(execute) => {
                        let bytes = execute.permit.expect("one").permit;
                        let commit = Permit::decode(&*bytes).expect("a permit");
                        assert_eq!(commit.stage(), Stage::Commit);
                        permitted = true;
                        host.report_created(&commit).await;
                        break;
                    }
                    server_to_host::Kind::Discard(_) => break,
                    _ => {}
                }
            }
            let call = life.settled(&mut ticket).await;
            assert_eq!(call.state() == CallState::Applied, permitted);
            assert!(!permitted || approved.is_ok(), "nothing commits without an approval");
            if !permitted {
                is_cancelled(&call);
            }
            within(cancelled).await.expect("task").expect("answered");
        });
    }
}
