//! Calls while the disk under the ledger is full: typed errors, no execution, no result lost.

#[path = "../../ledger/tests/support/small_disk.rs"]
mod small_disk;
mod support;

use std::time::Duration;

use cmdop_contract::v1::{self, ApprovalVerdict, CallState, Event, Reason, remedy};
use cmdop_ledger::Entry;
use small_disk::{SmallDisk, on_small_disk};
use support::{HostEnd, Life, on_disk, read, touch, within, write};

/// Fills the disk, once the ledger has not looked at it for a while.
async fn fill(disk: &SmallDisk) {
    tokio::time::sleep(Duration::from_millis(150)).await;
    disk.fill();
}

fn is_full(error: &v1::Error) -> bool {
    let remedy = error.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref());
    error.reason() == Reason::StorageFull && matches!(remedy, Some(remedy::Kind::RetryAfter(_)))
}

#[test]
fn a_call_on_a_full_disk_never_starts_and_its_key_is_good_once_there_is_room() {
    on_small_disk("a_call_on_a_full_disk_never_starts_and_its_key_is_good_once_there_is_room", 24, |disk| {
        let life = Life::at(&disk.place());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            fill(disk).await;
            for proposal in [write("", "k"), read("k2"), touch("asker", "k3")] {
                let refused = within(life.gate.propose(proposal, false)).await.expect_err("no room");
                assert!(is_full(&refused), "{refused:?}");
            }
            assert!(host.got_no_permit());
            disk.free();
            let mut ticket = life.gate.submit(write("", "k")).await.expect("taken, under the same key");
            let permit = host.execute().await;
            host.report_created(&permit).await;
            assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        });
    });
}

#[test]
fn a_call_that_ran_while_the_disk_filled_has_a_durable_result() {
    on_small_disk("a_call_that_ran_while_the_disk_filled_has_a_durable_result", 24, |disk| {
        let life = Life::at(&disk.place());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
            let permit = host.execute().await;
            host.started(&permit).await;
            fill(disk).await;
            let refused = within(life.gate.propose(read("k2"), false)).await.expect_err("no room");
            assert!(is_full(&refused), "{refused:?}");
            host.report_created(&permit).await;
            let call = within(ticket.settled_or_unknown()).await.expect("settled");
            assert_eq!(call.state(), CallState::Applied);
            host.acknowledged(&permit).await;
            let stored = on_disk(&disk.place(), &call.call_id).await.expect("in the log");
            assert_eq!(stored, *call);
        });
    });
}

#[test]
fn a_result_without_room_is_not_acknowledged_before_it_is_durable() {
    on_small_disk("a_result_without_room_is_not_acknowledged_before_it_is_durable", 24, |disk| {
        let life = Life::at(&disk.place());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
            let permit = host.execute().await;
            fill(disk).await;
            // Results of others use up the reserve.
            let other = Event { subject: "x".repeat(60_000), ..Event::default() };
            let mut left = Ok(0);
            while left.is_ok() {
                left = life.ledger.append(&mut vec![Entry::from(&other)]).await;
            }
            // What is left is less than that, and a report may be as large.
            let mut report = support::report(&permit, support::observed(&["file.create:/srv/app/new.txt"]));
            report.result.as_mut().expect("a result").result_json = format!(r#"{{"text": "{}"}}"#, "x".repeat(60_000));
            host.report(report).await;
            let early = tokio::time::timeout(Duration::from_millis(700), ticket.settled_or_unknown()).await;
            assert!(early.is_err(), "nobody is told what is not recorded: {early:?}");
            assert!(host.waiting().is_empty());
            disk.free();
            assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
            host.acknowledged(&permit).await;
        });
    });
}

#[test]
fn an_approved_diff_is_not_committed_while_the_disk_is_full() {
    on_small_disk("an_approved_diff_is_not_committed_while_the_disk_is_full", 24, |disk| {
        let life = Life::at(&disk.place());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let (mut ticket, call) = life.held(touch("asker", "k"), &mut host).await;
            fill(disk).await;
            life.decide(&call, ApprovalVerdict::Approve).await.expect("a verdict fits");
            let call = within(ticket.settled_or_unknown()).await.expect("settled");
            assert_eq!(call.state(), CallState::NotApplied);
            assert!(is_full(call.error.as_ref().expect("why")), "{call:?}");
            host.told_to("discard", &call.call_id).await;
            disk.free();
            let (mut ticket, call) = life.held(touch("asker", "k"), &mut host).await;
            life.decide(&call, ApprovalVerdict::Approve).await.expect("decided");
            let commit = host.execute().await;
            host.report_created(&commit).await;
            assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        });
    });
}

#[test]
fn killed_on_a_full_disk_a_server_goes_on_from_an_unbroken_chain() {
    on_small_disk("killed_on_a_full_disk_a_server_goes_on_from_an_unbroken_chain", 24, |disk| {
        let life = Life::at(&disk.place());
        let (call_id, permit) = life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let ticket = life.gate.submit(write("", "k")).await.expect("taken");
            let permit = host.execute().await;
            fill(disk).await;
            within(life.gate.propose(read("k2"), false)).await.expect_err("no room");
            (ticket.call_id(), permit)
        });
        life.crash();
        disk.free();
        let life = Life::at(&disk.place());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            host.inquired(&permit).await;
            host.report_created(&permit).await;
            let mut ticket = life.gate.follow(&call_id).await.expect("open");
            assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        });
    });
}
