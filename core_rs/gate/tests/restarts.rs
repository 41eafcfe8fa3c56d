//! A server that dies in each state of a call and starts again from its ledger alone.

mod support;

use std::time::Duration;

use cmdop_contract::v1::{
    Approval, ApprovalVerdict, Call, CallPreviewed, CallProposed, CallState, Event, Outcome, Permit, Reason, Stage,
    event,
};
use cmdop_contract::{digest, v1};
use cmdop_ledger::Entry;
use support::{
    HostEnd, Life, failure, observed, on_disk, read_secret, report, touch, until, verdict_on, within, write,
};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

/// The call as the new life has it, once it is in one of these states.
async fn reaches(life: &Life, call_id: &str, states: &[CallState]) -> Call {
    let mut found = Call::default();
    until(async || {
        found = (*within(life.gate.call(call_id)).await.expect("there")).clone();
        states.contains(&found.state())
    })
    .await;
    life.permits_are_single(call_id).await;
    found
}

/// Lives until a host has a permit, reports its preview if asked to, and dies.
fn die_with_a_permit(dir: &TempDir, proposal: v1::Proposal, previewed: bool) -> Permit {
    let life = Life::begin(dir);
    let permit = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        life.gate.submit(proposal).await.expect("taken");
        let permit = host.execute().await;
        host.started(&permit).await;
        if !previewed {
            return permit;
        }
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        host.execute().await
    });
    life.crash();
    permit
}

/// Lives until a host that cannot run a call directly has the permit of its preview, and dies.
fn die_fallen_back(dir: &TempDir) -> Permit {
    let life = Life::begin(dir);
    let preview = life.run(async {
        let mut host = HostEnd::confining(&life).await;
        life.gate.submit(touch("auto", "k")).await.expect("taken");
        let direct = host.execute().await;
        host.report(failure(&direct, Outcome::NotApplied, Reason::DirectUnavailable)).await;
        host.acknowledged(&direct).await;
        host.execute().await
    });
    life.crash();
    preview
}

#[test]
fn what_fell_back_to_a_preview_goes_on_with_it() {
    let dir = directory();
    let preview = die_fallen_back(&dir);
    assert_eq!(preview.stage(), Stage::Preview);
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::confining(&life).await;
        host.inquired(&preview).await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        assert_eq!(commit.stage(), Stage::Commit);
        host.report_created(&commit).await;
        let call = reaches(&life, &preview.call_id, &[CallState::Applied]).await;
        assert_eq!(call.permits.len(), 3);
    });
}

/// Lives until the call is held, and dies; `last` may still do something.
fn die_held(dir: &TempDir, proposal: v1::Proposal, ttl: Duration, last: impl AsyncFnOnce(&Life, &Approval)) -> Call {
    let life = Life::with(dir, |setup| setup.options.approval_ttl = ttl);
    let held = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_, held) = life.held(proposal, &mut host).await;
        last(&life, held.approval.as_ref().expect("an approval")).await;
        held
    });
    life.crash();
    held
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_permitted_call_is_asked_about_and_never_permitted_again() {
    for previewed in [false, true] {
        let dir = directory();
        let proposal = if previewed { touch("auto", "k") } else { write("", "k") };
        let permit = die_with_a_permit(&dir, proposal, previewed);
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            host.inquired(&permit).await;
            host.report_created(&permit).await;
            host.acknowledged(&permit).await;
            let call = reaches(&life, &permit.call_id, &[CallState::Applied]).await;
            assert_eq!(call.permits.len(), if previewed { 2 } else { 1 });
            assert!(host.got_no_permit());
        });
    }
}

#[test]
fn a_permit_that_never_arrived_ends_its_call_and_is_not_sent_again() {
    for previewed in [false, true] {
        let dir = directory();
        let proposal = if previewed { touch("auto", "k") } else { write("", "k") };
        let permit = die_with_a_permit(&dir, proposal, previewed);
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            host.inquired(&permit).await;
            host.forgotten(&permit).await;
            let call = reaches(&life, &permit.call_id, &[CallState::NotApplied]).await;
            assert_eq!(call.error.expect("why").reason(), Reason::HostError);
            assert!(host.got_no_permit());
        });
    }
}

#[test]
fn a_preview_of_the_last_life_goes_on_to_its_commit_in_this_one() {
    let dir = directory();
    let preview = die_with_a_permit(&dir, touch("auto", "k"), false);
    assert_eq!(preview.stage(), Stage::Preview);
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        host.inquired(&preview).await;
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        assert_eq!((commit.stage(), &commit.call_id), (Stage::Commit, &preview.call_id));
        host.report_created(&commit).await;
        reaches(&life, &preview.call_id, &[CallState::Applied]).await;
    });
}

#[test]
fn a_report_that_was_durable_but_not_acted_on_is_acted_on() {
    let dir = directory();
    let life = Life::begin(&dir);
    let preview = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        // The batch was cut behind the report: what followed from it is not there.
        let report = Some(report(&preview, observed(&["file.create:/srv/app/new.txt"])));
        let previewed = event::Kind::CallPreviewed(CallPreviewed { report, beyond: Vec::new() });
        let event = Event { at: 1, subject: preview.call_id.clone(), kind: Some(previewed) };
        within(life.ledger.append(&mut vec![Entry::from(&event)])).await.expect("durable");
        preview
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let commit = host.execute().await;
        assert_eq!((commit.stage(), &commit.call_id), (Stage::Commit, &preview.call_id));
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        host.report_created(&commit).await;
        reaches(&life, &preview.call_id, &[CallState::Applied]).await;
    });
}

#[test]
fn a_proposal_that_was_never_decided_on_is_decided_anew_and_refused_without_its_host() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        drop(HostEnd::attach(&life).await);
        // Who attached is recorded behind the host's back.
        within(async {
            while life.ledger.hosts().await.expect("readable").is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let proposal = write("", "k");
        let action_digest = digest::action_digest(proposal.action.as_ref().expect("an action"));
        let proposed = event::Kind::CallProposed(CallProposed { proposal: Some(proposal), action_digest });
        let event = Event { at: 1, subject: "c".into(), kind: Some(proposed) };
        within(life.ledger.append(&mut vec![Entry::from(&event)])).await.expect("durable");
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let call = reaches(&life, "c", &[CallState::NotApplied]).await;
        assert_eq!(call.error.expect("why").reason(), Reason::HostUnavailable);
        assert!(call.permits.is_empty());
    });
}

#[test]
fn a_held_call_waits_on_for_its_person() {
    for proposal in [read_secret("k"), write("asker", "k")] {
        let dir = directory();
        let held = die_held(&dir, proposal, HOUR, async |_, _| {});
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let again = within(life.gate.call(&held.call_id)).await.expect("there");
            assert_eq!((again.state(), &again.approval), (held.state(), &held.approval));
            assert!(host.got_no_permit());
            within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("decided");
            let permit = host.execute().await;
            host.report_created(&permit).await;
            reaches(&life, &held.call_id, &[CallState::Applied]).await;
        });
    }
}

#[test]
fn a_verdict_that_was_durable_when_the_server_died_is_followed() {
    for (verdict, state) in
        [(ApprovalVerdict::Approve, CallState::Applied), (ApprovalVerdict::Reject, CallState::NotApplied)]
    {
        let dir = directory();
        // Through the ledger: the driver of that life never hears of it.
        let held = die_held(&dir, write("asker", "k"), HOUR, async |life, approval| {
            within(life.ledger.decide_approval(verdict_on(approval, verdict), &[])).await.expect("decided");
        });
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            if state == CallState::Applied {
                let commit = host.execute().await;
                assert_eq!(commit.stage(), Stage::Commit);
                host.report_created(&commit).await;
            }
            reaches(&life, &held.call_id, &[state]).await;
        });
    }
}

#[test]
fn an_approval_that_ran_out_while_the_server_was_down_permits_nothing() {
    for approved in [false, true] {
        let dir = directory();
        let ttl = Duration::from_millis(1_500);
        let held = die_held(&dir, write("asker", "k"), ttl, async |life, approval| {
            if approved {
                let verdict = verdict_on(approval, ApprovalVerdict::Approve);
                within(life.ledger.decide_approval(verdict, &[])).await.expect("decided");
            }
        });
        let expires_at = held.approval.expect("an approval").expires_at;
        while cmdop_ledger::now() <= expires_at {
            std::thread::yield_now();
        }
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let call = reaches(&life, &held.call_id, &[CallState::NotApplied]).await;
            let expected = if approved { Reason::ApprovalVoid } else { Reason::ApprovalExpired };
            assert_eq!(call.error.expect("why").reason(), expected);
            until(async || life.gate.open_calls() == 0).await;
            assert!(host.got_no_permit());
        });
    }
}

#[test]
fn an_unknown_outcome_is_asked_about_in_the_next_life_and_asked_once() {
    let dir = directory();
    let permit = die_with_a_permit(&dir, write("", "k"), false);
    let life = Life::with(&dir, |setup| setup.options.host_grace = Duration::from_millis(20));
    life.run(async { reaches(&life, &permit.call_id, &[CallState::Unknown]).await });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        host.inquired(&permit).await;
        for _ in 0..3 {
            host.report(failure(&permit, Outcome::Unknown, Reason::OutcomeUnknown)).await;
            host.acknowledged(&permit).await;
        }
        assert!(host.waiting().is_empty(), "a host that cannot tell is not asked for ever");
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        let call = reaches(&life, &permit.call_id, &[CallState::Applied]).await;
        assert!(call.settled_at > 0);
    });
}

#[test]
fn a_settled_call_stays_settled_and_its_late_report_is_acknowledged() {
    let dir = directory();
    let life = Life::begin(&dir);
    let (permit, settled) = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        (permit, life.settled(&mut ticket).await)
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        assert_eq!(life.gate.open_calls(), 0);
        let mut host = HostEnd::attach(&life).await;
        host.report_created(&permit).await;
        host.acknowledged(&permit).await;
        assert_eq!(within(life.gate.call(&settled.call_id)).await.map(|call| (*call).clone()), Ok(settled.clone()));
    });
    assert!(life.run(on_disk(dir.path(), &settled.call_id)).is_some());
}

/// How often it is recorded that this call ended, and that nobody can tell how.
async fn times_settled(life: &Life, call_id: &str) -> (usize, usize) {
    let trace = within(life.ledger.trace(call_id)).await.expect("readable").expect("recorded");
    let settled: Vec<_> = trace
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Some(event::Kind::CallSettled(settled)) => Some(settled.outcome()),
            _ => None,
        })
        .collect();
    (settled.len(), settled.iter().filter(|outcome| **outcome == Outcome::Unknown).count())
}

#[test]
fn what_nobody_can_tell_is_recorded_once_however_often_the_server_starts_and_asks() {
    for proposal in [write("", "k"), write("auto", "k")] {
        let dir = directory();
        let permit = die_with_a_permit(&dir, proposal, false);
        let untold = || failure(&permit, Outcome::Unknown, Reason::OutcomeUnknown);
        for _life in 0..3 {
            let life = Life::begin(&dir);
            life.run(async {
                let mut host = HostEnd::attach(&life).await;
                host.inquired(&permit).await;
                host.report(untold()).await;
                host.acknowledged(&permit).await;
                reaches(&life, &permit.call_id, &[CallState::Unknown]).await;
                assert_eq!(times_settled(&life, &permit.call_id).await, (1, 1));
            });
            life.crash();
        }
        // What is new is recorded: why it cannot tell, and what became of it.
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut other = untold();
            other.error.as_mut().expect("why").message = "its ledger was lost".into();
            host.report(other).await;
            host.acknowledged(&permit).await;
            assert_eq!(times_settled(&life, &permit.call_id).await, (2, 2));
            host.report_created(&permit).await;
            host.acknowledged(&permit).await;
            reaches(&life, &permit.call_id, &[CallState::Applied]).await;
            assert_eq!(times_settled(&life, &permit.call_id).await, (3, 2));
        });
    }
}
