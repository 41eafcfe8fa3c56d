//! Contacts: they are made during the preview, so they are asked about before it, kept whatever
//! becomes of the changes, and never taken for harmless.

mod support;

use std::time::Duration;

use cmdop_contract::digest::observation_digest;
use cmdop_contract::v1::{
    self, ApprovalVerdict, Call, CallState, EffectKind, ExpectedEffect, Observation, ObservedEffect, Outcome, Permit,
    Proposal, Reason, Stage, Unobserved, remedy,
};
use support::{HostEnd, Life, Script, failure, observed, proposal, report, touch, until, within};

const SOON: Duration = Duration::from_millis(50);
const PLACE: &str = "example.com:443";

/// A command that fetches something and, if it says so, creates `FILE`.
fn fetch(creates: bool) -> Proposal {
    let mut proposal = touch("auto", "k");
    let expect = &mut proposal.action.as_mut().expect("an action").expect;
    if !creates {
        expect.clear();
    }
    let kind = EffectKind::NetConnect.into();
    expect.push(ExpectedEffect { kind, target: PLACE.into(), ..ExpectedEffect::default() });
    proposal
}

fn begin(dir: &tempfile::TempDir, creates: bool) -> Life {
    Life::with(dir, |setup| {
        setup.options.host_grace = SOON;
        let both: &'static [&'static str] = &["net.connect:example.com:443", "file.create:/srv/app/new.txt"];
        setup.judge = Script::does(if creates { both } else { &both[..1] });
    })
}

/// Approves what is held, and returns the permit of the preview.
async fn approved(life: &Life, host: &mut HostEnd, proposal: Proposal) -> (cmdop_gate::Ticket, Permit) {
    let mut ticket = life.gate.submit(proposal).await.expect("taken");
    let held = within(ticket.held_or_settled()).await.expect("held");
    assert_eq!(held.state(), CallState::Held, "{held:?}");
    assert!(host.got_no_permit(), "nobody is contacted before a person approved it");
    life.decide(&held, ApprovalVerdict::Approve).await.expect("approved");
    let permit = host.execute().await;
    assert_eq!(permit.stage(), Stage::Preview);
    let contacts: Vec<_> = permit.effects.iter().filter(|it| it.kind() == EffectKind::NetConnect).collect();
    assert_eq!(contacts.iter().map(|it| it.target.as_str()).collect::<Vec<_>>(), [PLACE]);
    (ticket, permit)
}

/// The host goes away while its command could contact somebody, and is back and asked what came of it.
async fn lost_and_back(life: &Life) -> (HostEnd, Permit) {
    let mut host = HostEnd::attach(life).await;
    let (mut ticket, permit) = approved(life, &mut host, fetch(true)).await;
    host.started(&permit).await;
    drop(host);
    let call = within(ticket.settled_or_unknown()).await.expect("unknown");
    let why = call.error.clone().expect("why");
    assert_eq!((call.state(), why.reason()), (CallState::Unknown, Reason::OutcomeUnknown));
    let mut host = HostEnd::attach(life).await;
    host.inquired(&permit).await;
    (host, permit)
}

fn contacted(call: &Call) -> Vec<&ObservedEffect> {
    let observation = call.observation.as_ref().expect("an observation");
    observation.effects.iter().filter(|effect| effect.kind() == EffectKind::NetConnect).collect()
}

#[test]
fn a_preview_without_an_approval_carries_no_contact() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let _ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let permit = host.execute().await;
        assert_eq!(permit.stage(), Stage::Preview);
        assert!(permit.effects.iter().all(|effect| effect.kind() == EffectKind::FileCreate), "{permit:?}");
    });
}

#[test]
fn a_command_that_only_contacts_is_over_after_its_preview() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir, false);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, permit) = approved(&life, &mut host, fetch(false)).await;
        host.report(report(&permit, observed(&["net.connect:example.com:443"]))).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), contacted(&call).len()), (CallState::Applied, 1), "{call:?}");
        let score = call.score.expect("a score");
        assert!(score.clean && score.side_effects == 0, "{score:?}");
    });
}

#[test]
fn changes_beside_an_approved_contact_are_committed_and_the_contact_is_kept() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir, true);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, permit) = approved(&life, &mut host, fetch(true)).await;
        let both = observed(&["file.create:/srv/app/new.txt", "net.connect:example.com:443"]);
        host.report(report(&permit, both.clone())).await;
        host.acknowledged(&permit).await;
        // Nobody is asked a second time about what was made.
        let commit = host.execute().await;
        assert_eq!((commit.stage(), commit.preview_digest.as_str()), (Stage::Commit, both.digest.as_str()));
        host.report(report(&commit, both)).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), contacted(&call).len()), (CallState::Applied, 1), "{call:?}");
    });
}

#[test]
fn a_contact_beyond_the_permit_counts_although_nothing_is_committed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir, true);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, permit) = approved(&life, &mut host, fetch(true)).await;
        let mut failed = failure(&permit, Outcome::NotApplied, Reason::UnsupportedChange);
        let mut seen = observed(&["net.connect:example.com:443"]);
        seen.effects.push(ObservedEffect { target: "192.0.2.1:25".into(), ..seen.effects[0].clone() });
        seen = Observation { digest: observation_digest(&seen.effects), ..seen };
        failed.observation = Some(seen);
        host.report(failed).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), contacted(&call).len()), (CallState::NotApplied, 2), "{call:?}");
        let score = call.score.expect("a score");
        assert!(!score.clean && score.side_effects == 1, "{score:?}");
    });
}

#[test]
fn a_host_lost_while_it_could_contact_somebody_leaves_the_outcome_unknown_until_it_tells() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir, true);
    life.run(async {
        let (host, permit) = lost_and_back(&life).await;
        let mut told = failure(&permit, Outcome::NotApplied, Reason::PreviewLost);
        told.observation = Some(observed(&["net.connect:example.com:443"]));
        host.report(told).await;
        until(async || {
            let call = life.ledger.call(&permit.call_id).await.expect("readable").expect("recorded");
            call.state() == CallState::NotApplied
        })
        .await;
        let call = within(life.ledger.call(&permit.call_id)).await.expect("readable").expect("recorded");
        assert_eq!(contacted(&call).len(), 1, "{call:?}");
        assert_warned(&call);
    });
}

/// The same action again would contact the same again.
fn assert_warned(call: &Call) {
    let error = call.error.clone().expect("an error");
    assert!(error.message.contains("it had contacted example.com:443 already"), "{error:?}");
    let remedy = error.remedy.and_then(|remedy| remedy.kind);
    assert!(matches!(remedy, Some(remedy::Kind::Reconcile(_))), "{remedy:?}");
}

#[test]
fn a_command_that_failed_after_a_contact_is_not_to_be_made_again_by_a_machine() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir, true);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, permit) = approved(&life, &mut host, fetch(true)).await;
        let mut failed = failure(&permit, Outcome::NotApplied, Reason::TimedOut);
        failed.observation = Some(observed(&["net.connect:example.com:443"]));
        host.report(failed).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!((call.state(), contacted(&call).len()), (CallState::NotApplied, 1), "{call:?}");
        assert_warned(&call);
    });
}

#[test]
fn a_preview_that_was_lost_with_its_contacts_unseen_leaves_the_outcome_unknown() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = begin(&dir, true);
    life.run(async {
        let (mut host, permit) = lost_and_back(&life).await;
        let mut told = failure(&permit, Outcome::NotApplied, Reason::PreviewLost);
        let unseen = Unobserved { kind: EffectKind::NetConnect.into(), why: "the host stopped".into() };
        told.observation = Some(Observation { unobserved: vec![unseen], ..observed(&[]) });
        host.report(told.clone()).await;
        host.acknowledged(&permit).await;
        let call = within(life.ledger.call(&permit.call_id)).await.expect("readable").expect("recorded");
        let error = call.error.clone().expect("an error");
        assert_eq!((call.state(), error.reason()), (CallState::Unknown, Reason::OutcomeUnknown), "{call:?}");
        assert!(!call.score.as_ref().expect("a score").clean);
        // That it says so again is nothing new.
        host.report(told).await;
        host.acknowledged(&permit).await;
        let again = within(life.ledger.call(&permit.call_id)).await.expect("readable").expect("recorded");
        assert_eq!((again.settled_at, again.state()), (call.settled_at, CallState::Unknown));
    });
}

/// An agent's deployment whose check is planned.
fn release() -> Proposal {
    let arguments = format!(
        r#"{{"root": "/srv/app/web", "release": "v1", "source": "/srv/app/build", "digest": "{}",
            "check_after": {{"port": 8080}}}}"#,
        "0".repeat(64)
    );
    proposal("asker", "k", "deploy.release", &arguments)
}

/// What its plan says: nothing of it has happened.
fn plan() -> Observation {
    observed(&["file.create:/srv/app/web/releases/v1", "deploy.release:/srv/app/web", "net.connect:127.0.0.1:8080"])
}

/// A deployment that is held with its plan.
async fn planned(life: &Life, host: &mut HostEnd) -> (cmdop_gate::Ticket, Call) {
    let mut ticket = life.gate.submit(release()).await.expect("taken");
    let preview = host.execute().await;
    assert_eq!(preview.stage(), Stage::Preview);
    host.report(report(&preview, plan())).await;
    host.acknowledged(&preview).await;
    let held = within(ticket.held_or_settled()).await.expect("held");
    assert_eq!((held.state(), contacted(&held).len()), (CallState::DiffHeld, 1), "{held:?}");
    (ticket, (*held).clone())
}

/// Nothing happened, and nobody was contacted.
fn assert_nobody(call: &Call, why: Reason) {
    let error = call.error.as_ref().expect("an error");
    assert_eq!((call.state(), error.reason()), (CallState::NotApplied, why), "{error:?}");
    assert!(!error.message.contains("contacted"), "{error:?}");
    let remedy = error.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref());
    assert!(!matches!(remedy, Some(remedy::Kind::Reconcile(_))), "{remedy:?}");
    assert!(contacted(call).is_empty() && call.side_effects.is_empty(), "{call:?}");
}

#[test]
fn a_check_that_a_rejected_deployment_planned_was_not_made() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::deploying(&life).await;
        let (mut ticket, held) = planned(&life, &mut host).await;
        life.decide(&held, ApprovalVerdict::Reject).await.expect("rejected");
        let call = life.settled(&mut ticket).await;
        assert_nobody(&call, Reason::ApprovalRejected);
        assert_eq!(call.observation.expect("the diff").effects.len(), 2, "what it would have done stays to be read");
    });
}

#[test]
fn only_a_check_that_was_measured_while_a_deployment_ran_was_made() {
    for is_made in [false, true] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::begin(&dir);
        life.run(async {
            let mut host = HostEnd::deploying(&life).await;
            let (mut ticket, held) = planned(&life, &mut host).await;
            life.decide(&held, ApprovalVerdict::Approve).await.expect("approved");
            let commit = host.execute().await;
            assert_eq!(commit.stage(), Stage::Commit);
            let made = is_made.then(|| observed(&["net.connect:127.0.0.1:8080"]));
            let why = if is_made { Reason::HealthCheckFailed } else { Reason::CommitConflict };
            host.report(v1::Report { observation: made, ..failure(&commit, Outcome::NotApplied, why) }).await;
            let call = life.settled(&mut ticket).await;
            if !is_made {
                return assert_nobody(&call, why);
            }
            assert_eq!((call.state(), contacted(&call).len()), (CallState::NotApplied, 1), "{call:?}");
            let error = call.error.expect("an error");
            assert!(error.message.contains("it had contacted 127.0.0.1:8080 already"), "{error:?}");
        });
    }
}

#[test]
fn a_deployment_cut_short_in_its_check_leaves_the_outcome_unknown_and_its_key_spent() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::deploying(&life).await;
        let (mut ticket, held) = planned(&life, &mut host).await;
        life.decide(&held, ApprovalVerdict::Approve).await.expect("approved");
        let commit = host.execute().await;
        // Nothing of it is on the machine, and nobody saw whether its check was made.
        let unseen = v1::Unobserved { kind: EffectKind::NetConnect.into(), why: "the host stopped".into() };
        let unseen = Observation { unobserved: vec![unseen], ..observed(&[]) };
        let lost = failure(&commit, Outcome::NotApplied, Reason::HostError);
        host.report(v1::Report { observation: Some(unseen), ..lost }).await;
        let call = life.settled(&mut ticket).await;
        let why = call.error.as_ref().map(|error| error.reason());
        assert_eq!((call.state(), why), (CallState::Unknown, Some(Reason::OutcomeUnknown)), "{call:?}");
        let observation = call.observation.as_ref().expect("what nobody saw");
        let kinds: Vec<_> = observation.unobserved.iter().map(v1::Unobserved::kind).collect();
        assert_eq!((observation.effects.len(), kinds), (0, vec![EffectKind::NetConnect]));
        let again = life.gate.submit(release()).await.expect("its answer");
        assert_eq!(again.call_id(), call.call_id, "the same key runs no second time");
    });
}

#[test]
fn a_host_lost_while_it_planned_a_deployment_contacted_nobody() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.options.host_grace = SOON);
    life.run(async {
        let mut host = HostEnd::deploying(&life).await;
        let mut ticket = life.gate.submit(release()).await.expect("taken");
        let preview = host.execute().await;
        host.started(&preview).await;
        drop(host);
        let call = life.settled(&mut ticket).await;
        let why = call.error.as_ref().map(|error| error.reason());
        assert_eq!((call.state(), why), (CallState::NotApplied, Some(Reason::HostUnavailable)), "{call:?}");
    });
}
