//! Every way that a call can take through the table of its life while the server lives.

mod support;

use std::time::Duration;

use cmdop_contract::v1::{ApprovalStatus, ApprovalVerdict, CallState, Outcome, Reason, Stage};
use support::{HostEnd, Life, failure, observed, on_disk, read_secret, report, touch, within, write};

fn reason(call: &cmdop_contract::v1::Call) -> Reason {
    call.error.as_ref().map_or(Reason::Unspecified, cmdop_contract::v1::Error::reason)
}

#[test]
fn a_native_call_that_policy_permits_is_applied_at_once() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        assert_eq!((permit.stage(), permit.call_id.clone()), (Stage::Apply, ticket.call_id()));
        host.started(&permit).await;
        host.report_created(&permit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.outcome(), call.permits.len()), (CallState::Applied, Outcome::Applied, 1));
        let score = call.score.expect("a score");
        assert_eq!((score.success, score.side_effects, score.clean), (Some(1.0), 0, true));
        host.acknowledged(&permit).await;
    });
}

#[test]
fn a_command_that_does_what_it_declared_is_previewed_and_commits_by_itself() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        assert_eq!(preview.stage(), Stage::Preview);
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        assert_eq!(
            (commit.stage(), &commit.preview_digest),
            (Stage::Commit, &observed(&["file.create:/srv/app/new.txt"]).digest)
        );
        host.report_created(&commit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.permits.len()), (CallState::Applied, 2));
        assert!(call.score.expect("a score").clean);
        host.acknowledged(&commit).await;
    });
}

#[test]
fn what_a_host_cannot_run_directly_is_previewed_and_commits_by_itself() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::confining(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let direct = host.execute().await;
        assert_eq!(direct.stage(), Stage::Apply);
        host.started(&direct).await;
        host.report(failure(&direct, Outcome::NotApplied, Reason::DirectUnavailable)).await;
        host.acknowledged(&direct).await;
        let preview = host.execute().await;
        assert_eq!((preview.stage(), &preview.effects), (Stage::Preview, &direct.effects));
        let recorded = on_disk(dir.path(), &preview.call_id).await.expect("recorded");
        assert_eq!((recorded.state(), recorded.permits.len()), (CallState::Permitted, 2));
        let why = recorded.decision.expect("a decision").reason;
        assert_eq!(why, "the host says why, so it runs on a private copy first");
        host.report_created(&preview).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        assert_eq!(commit.stage(), Stage::Commit);
        host.report_created(&commit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.permits.len()), (CallState::Applied, 3));
        assert!(call.score.expect("a score").clean);
    });
}

#[test]
fn only_a_host_that_ran_nothing_gets_a_preview_instead() {
    for (outcome, why) in [
        (Outcome::NotApplied, Reason::PathNotFound),
        (Outcome::Unknown, Reason::DirectUnavailable),
        (Outcome::Applied, Reason::DirectUnavailable),
    ] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::confining(&life).await;
            let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
            let direct = host.execute().await;
            host.report(failure(&direct, outcome, why)).await;
            let call = within(ticket.settled_or_unknown()).await.expect("a call");
            assert_eq!((call.outcome(), call.permits.len()), (outcome, 1), "{why:?}");
        });
    }
}

#[test]
fn a_held_call_runs_on_an_approval_alone() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(read_secret("k"), &mut host).await;
        assert_eq!((held.state(), reason(&held)), (CallState::Held, Reason::ApprovalRequired));
        assert!(host.got_no_permit());
        within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("decided");
        let permit = host.execute().await;
        assert_eq!(permit.stage(), Stage::Apply);
        host.report_look(&permit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!(call.state(), CallState::Applied);
        assert_eq!(call.approval.expect("an approval").status(), ApprovalStatus::Used);
    });
}

#[test]
fn a_held_diff_is_committed_on_an_approval_of_exactly_that_diff() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        assert_eq!(held.state(), CallState::DiffHeld);
        let mut request = support::verdict_on(&held.approval.clone().expect("one"), ApprovalVerdict::Approve);
        request.digest = "of another diff".into();
        let refused = within(life.gate.decide_approval(request)).await.expect_err("another digest");
        assert_eq!(refused.reason(), Reason::ApprovalVoid);
        assert!(host.got_no_permit());
        within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("decided");
        let commit = host.execute().await;
        assert_eq!(commit.preview_digest, held.observation.expect("a diff").digest);
        host.report_created(&commit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
    });
}

#[test]
fn a_call_that_is_rejected_or_terminated_never_runs_and_its_layer_is_thrown_away() {
    for (verdict, why, said) in [
        (ApprovalVerdict::Reject, Reason::ApprovalRejected, "rejected the call"),
        (ApprovalVerdict::Terminate, Reason::RunTerminated, "ended the run"),
    ] {
        for (proposal, previewed) in [(read_secret("k"), false), (write("asker", "k"), true)] {
            let dir = tempfile::tempdir().expect("temporary directory");
            let life = Life::begin(&dir);
            let mut proposal = proposal;
            proposal.actor.as_mut().expect("an actor").session = "s".into();
            life.run(async {
                let mut host = HostEnd::attach(&life).await;
                let (mut ticket, held) = life.held(proposal, &mut host).await;
                host.waiting();
                within(life.decide(&held, verdict)).await.expect("decided");
                let call = life.settled(&mut ticket).await;
                assert_eq!((call.state(), reason(&call)), (CallState::NotApplied, why));
                assert!(call.error.expect("an error").message.contains(said));
                if previewed {
                    host.told_to("discard", &call.call_id).await;
                }
                assert!(host.got_no_permit());
            });
        }
    }
}

#[test]
fn silence_is_a_refusal_in_both_held_states() {
    for proposal in [read_secret("k"), write("asker", "k")] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::with(&dir, |setup| setup.options.approval_ttl = Duration::from_millis(700));
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let (mut ticket, held) = life.held(proposal, &mut host).await;
            let call = life.settled(&mut ticket).await;
            assert_eq!((call.state(), reason(&call)), (CallState::NotApplied, Reason::ApprovalExpired));
            assert_eq!(call.approval.clone().expect("one").status(), ApprovalStatus::Expired);
            let late = within(life.decide(&held, ApprovalVerdict::Approve)).await.expect_err("too late");
            assert_eq!(late.reason(), Reason::ApprovalNotPending);
            assert!(host.got_no_permit());
        });
    }
}

#[test]
fn a_denied_call_never_reaches_its_host() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let denied = support::proposal("asker", "k", "files.write", r#"{"path": "/etc/motd", "content": "x"}"#);
        let call = within(life.gate.propose(denied, false)).await.expect("a decision is an answer");
        assert_eq!((call.state(), reason(&call)), (CallState::NotApplied, Reason::PolicyDenied));
        assert!(!call.decision.clone().expect("a decision").policies.is_empty());
        assert!(host.waiting().is_empty());
    });
}

#[test]
fn a_malformed_call_is_always_an_error_and_never_half_an_answer() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        for round in 0..100 {
            let malformed = support::proposal("asker", &format!("k{round}"), "files.read", r#"{"path": 7}"#);
            let error = within(life.gate.propose(malformed, false)).await.expect_err("malformed");
            assert_eq!(error.reason(), Reason::InvalidArguments);
            assert!(!error.call_id.is_empty());
        }
        assert!(host.waiting().is_empty());
    });
}

#[test]
fn a_diff_that_policy_forbids_is_refused_though_the_agent_may_commit_by_itself() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report(report(&preview, observed(&["file.create:/srv/app/new.txt", "file.modify:/etc/passwd"]))).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!(call.state(), CallState::NotApplied);
        assert!(matches!(reason(&call), Reason::PolicyDenied | Reason::FloorDenied), "{call:?}");
        host.told_to("discard", &call.call_id).await;
        host.acknowledged(&preview).await;
        assert!(host.got_no_permit());
    });
}

#[test]
fn an_effect_beyond_the_declaration_is_held_with_its_diff() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report(report(&preview, observed(&["file.create:/srv/app/new.txt", "file.delete:/srv/app/data"]))).await;
        let held = within(ticket.held_or_settled()).await.expect("held");
        assert_eq!((held.state(), held.side_effects.len()), (CallState::DiffHeld, 1));
        assert_eq!(held.approval.clone().expect("one").beyond.len(), 1);
        within(life.decide(&held, ApprovalVerdict::Reject)).await.expect("decided");
        let call = life.settled(&mut ticket).await;
        assert_eq!(call.score.expect("a score").side_effects, 1);
    });
}

#[test]
fn a_preview_without_what_was_declared_commits_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report_look(&preview).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), call.score.expect("a score").success), (CallState::NotApplied, Some(0.0)));
        host.told_to("discard", &call.call_id).await;
    });
}

#[test]
fn a_shadow_agent_is_measured_and_never_commits() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("shadow", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.report_created(&preview).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), reason(&call)), (CallState::NotApplied, Reason::ShadowOnly));
        assert_eq!(call.observation.expect("a diff").effects.len(), 1);
        assert!(host.got_no_permit());
    });
}

#[test]
fn a_command_that_outlives_its_time_settles_with_what_the_host_says() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        host.started(&preview).await;
        host.report(failure(&preview, Outcome::NotApplied, Reason::TimedOut)).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), reason(&call)), (CallState::NotApplied, Reason::TimedOut));
        host.acknowledged(&preview).await;
    });
}
