//! What a run did is a fact for policy: as hosts measured it, through a crash, and of that run alone.

mod support;

use cmdop_contract::digest::observation_digest;
use cmdop_contract::v1::{
    self, CallState, EffectKind, ExpectedEffect, FileChange, FileState, FileType, Observation, ObservedEffect, Outcome,
    Proposal, Stage,
};
use support::{HostEnd, Life, Script, Setup, proposal, report, within};

const DATABASE: &str = "/srv/app/test.db";
const SIZE: u64 = 5;

fn of_run(mut proposal: Proposal, run: &str) -> Proposal {
    proposal.actor.as_mut().expect("an actor").run = run.into();
    proposal
}

fn command(key: &str, kind: EffectKind) -> Proposal {
    let arguments = format!(r#"{{"command": "act {DATABASE}", "cwd": "/srv/app"}}"#);
    let mut proposal = proposal("worker", key, "terminal.exec", &arguments);
    let expect = ExpectedEffect { kind: kind.into(), target: DATABASE.into(), ..ExpectedEffect::default() };
    proposal.action.as_mut().expect("an action").expect.push(expect);
    proposal
}

fn saw(kind: EffectKind, size: u64) -> Observation {
    let state = Some(FileState { r#type: FileType::Regular.into(), size, ..FileState::default() });
    let mut file = FileChange::default();
    match kind {
        EffectKind::FileCreate => file.after = state,
        _ => file.before = state,
    }
    let effect = ObservedEffect {
        kind: kind.into(),
        target: DATABASE.into(),
        count: 1,
        bytes: size,
        reversible: true,
        file: Some(file),
        ..ObservedEffect::default()
    };
    Observation {
        digest: observation_digest(std::slice::from_ref(&effect)),
        effects: vec![effect],
        ..Observation::default()
    }
}

/// Commands create or delete the database, as their key says.
fn setup(setup: &mut Setup) {
    setup.options.autonomy.agents.insert("worker".into(), v1::AutonomyLevel::Preview.into());
    setup.judge = Script::does(&[]);
}

/// What becomes of a call whose preview and commit show this; `held` if a person is asked.
async fn outcome(life: &Life, host: &mut HostEnd, proposal: Proposal, saw: Observation) -> String {
    let mut ticket = life.gate.submit(proposal).await.expect("taken");
    let preview = host.execute().await;
    assert_eq!(preview.stage(), Stage::Preview);
    host.report(report(&preview, saw.clone())).await;
    host.acknowledged(&preview).await;
    let waiting = ticket.held_or_settled();
    tokio::select! {
        call = within(waiting) => {
            let call = call.expect("an answer");
            match call.state() {
                CallState::Held | CallState::DiffHeld => "held".into(),
                _ => call.error.as_ref().map_or("settled".into(), |error| error.reason().as_str_name().to_owned()),
            }
        }
        commit = host.execute() => {
            assert_eq!(commit.stage(), Stage::Commit);
            host.report(report(&commit, saw)).await;
            host.acknowledged(&commit).await;
            let call = within(ticket.settled_or_unknown()).await.expect("settled");
            assert_eq!(call.outcome(), Outcome::Applied);
            "applied".into()
        }
    }
}

async fn make(life: &Life, host: &mut HostEnd, key: &str, run: &str) -> String {
    let create = of_run(command(key, EffectKind::FileCreate), run);
    outcome(life, host, create, saw(EffectKind::FileCreate, SIZE)).await
}

async fn delete(life: &Life, host: &mut HostEnd, key: &str, run: &str, size: u64) -> String {
    let delete = of_run(command(key, EffectKind::FileDelete), run);
    outcome(life, host, delete, saw(EffectKind::FileDelete, size)).await
}

#[test]
fn a_run_deletes_what_it_made_without_a_person_also_after_a_crash() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, setup);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(make(&life, &mut host, "made", "r1").await, "applied");
        assert_eq!(delete(&life, &mut host, "other", "r2", SIZE).await, "held", "another run");
        assert_eq!(delete(&life, &mut host, "none", "", SIZE).await, "held", "no run");
    });
    life.crash();
    let life = Life::with(&dir, setup);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(delete(&life, &mut host, "replaced", "r1", SIZE + 1).await, "held", "replaced by hand");
        assert_eq!(delete(&life, &mut host, "own", "r1", SIZE).await, "applied");
        // It is gone; what stands there now is somebody else's.
        assert_eq!(delete(&life, &mut host, "again", "r1", SIZE).await, "held");
    });
}

#[test]
fn what_another_call_replaced_is_not_the_runs_any_more() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, setup);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(make(&life, &mut host, "made", "r1").await, "applied");
        assert_eq!(make(&life, &mut host, "theirs", "r2").await, "applied");
        assert_eq!(delete(&life, &mut host, "own", "r1", SIZE).await, "held");
        assert_eq!(delete(&life, &mut host, "theirs-too", "r2", SIZE).await, "applied");
    });
}

#[test]
fn what_a_preview_only_showed_was_not_made() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, setup);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let create = of_run(command("tried", EffectKind::FileCreate), "r1");
        let mut ticket = life.gate.submit(create).await.expect("taken");
        let preview = host.execute().await;
        host.report(report(&preview, saw(EffectKind::FileCreate, SIZE))).await;
        host.acknowledged(&preview).await;
        let commit = host.execute().await;
        host.report(support::failure(&commit, Outcome::NotApplied, v1::Reason::CommitConflict)).await;
        host.acknowledged(&commit).await;
        assert_eq!(life.settled(&mut ticket).await.outcome(), Outcome::NotApplied);
        assert_eq!(delete(&life, &mut host, "own", "r1", SIZE).await, "held");
    });
}
