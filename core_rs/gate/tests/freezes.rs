//! A freeze stops every change at once, wherever a call stands, until a person lifts it.

mod support;

use cmdop_contract::v1::{
    self, Actor, ApprovalVerdict, CallState, Freeze, FreezeScope, HostLabel, Names, Outcome, PolicyEntities, Reason,
    Stage, freeze_scope,
};
use support::{FILE, HOST, HostEnd, Life, read, touch, within, write};

fn actor(agent: &str) -> Option<Actor> {
    Some(Actor { tenant: "local".into(), user: "ada".into(), agent: agent.into(), ..Actor::default() })
}

async fn freeze(life: &Life, scope: freeze_scope::Kind) -> Freeze {
    let scope = Some(FreezeScope { kind: Some(scope) });
    let request = v1::CreateFreezeRequest { scope, why: "an incident".into(), author: actor("") };
    within(life.gate.freeze(request)).await.expect("frozen")
}

fn this_host() -> freeze_scope::Kind {
    freeze_scope::Kind::Host(HOST.into())
}

async fn lift(life: &Life, freeze: &Freeze, agent: &str) -> Result<Freeze, v1::Error> {
    let request =
        v1::LiftFreezeRequest { freeze_id: freeze.freeze_id.clone(), by: actor(agent), why: "it is over".into() };
    within(life.gate.lift_freeze(request)).await
}

fn is_frozen(call: &v1::Call) {
    let error = call.error.clone().expect("an error");
    assert_eq!((call.outcome(), error.reason()), (Outcome::NotApplied, Reason::Frozen), "{error:?}");
    assert!(error.message.contains("an incident") && error.message.contains("ada"), "{}", error.message);
}

#[test]
fn nothing_changes_on_a_frozen_host_and_looks_go_on_until_it_is_lifted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let made = freeze(&life, this_host()).await;
        for proposal in [write("", "person"), write("auto", "auto"), touch("auto", "command")] {
            let mut ticket = life.gate.submit(proposal).await.expect("taken");
            is_frozen(&life.settled(&mut ticket).await);
        }
        assert!(host.got_no_permit());
        let mut look = life.gate.submit(read("look")).await.expect("taken");
        let permit = host.execute().await;
        host.started(&permit).await;
        host.report_look(&permit).await;
        assert_eq!(life.settled(&mut look).await.outcome(), Outcome::Applied);
        host.acknowledged(&permit).await;
        lift(&life, &made, "").await.expect("lifted");
        let mut ticket = life.gate.submit(write("", "after")).await.expect("taken");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.outcome(), Outcome::Applied);
    });
}

#[test]
fn an_approval_given_for_a_frozen_host_becomes_no_permit() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write("asker", "k"), &mut host).await;
        assert_eq!(held.state(), CallState::DiffHeld);
        freeze(&life, this_host()).await;
        life.decide(&held, ApprovalVerdict::Approve).await.expect("approved");
        is_frozen(&life.settled(&mut ticket).await);
        assert!(host.got_no_permit());
    });
}

#[test]
fn a_freeze_between_preview_and_commit_stops_the_commit() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(touch("auto", "k")).await.expect("taken");
        let preview = host.execute().await;
        assert_eq!(preview.stage(), Stage::Preview);
        freeze(&life, this_host()).await;
        host.report_created(&preview).await;
        is_frozen(&life.settled(&mut ticket).await);
        assert!(host.got_no_permit());
    });
}

#[test]
fn what_is_changing_something_is_told_to_stop() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let _ticket = life.gate.submit(write("", "k")).await.expect("taken");
        let permit = host.execute().await;
        assert_eq!(permit.stage(), Stage::Apply);
        host.started(&permit).await;
        freeze(&life, this_host()).await;
        host.told_to("cancel", &permit.call_id).await;
    });
}

#[test]
fn a_freeze_survives_a_crash() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let (frozen, over) = life.run(async {
        let frozen = freeze(&life, this_host()).await;
        let over = freeze(&life, freeze_scope::Kind::Everything(true)).await;
        (frozen, lift(&life, &over, "").await.expect("lifted"))
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        assert_eq!(life.gate.freezes(false), std::slice::from_ref(&frozen));
        assert_eq!(life.gate.freezes(true), [over, frozen.clone()]);
        let mut host = HostEnd::attach(&life).await;
        let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
        is_frozen(&life.settled(&mut ticket).await);
        assert!(host.got_no_permit());
        lift(&life, &frozen, "").await.expect("lifted");
        let again = lift(&life, &frozen, "").await.expect_err("it is not in force");
        assert_eq!(again.reason(), Reason::UnknownFreeze);
    });
}

#[test]
fn agents_may_freeze_and_never_lift() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let request = v1::CreateFreezeRequest {
            scope: Some(FreezeScope { kind: Some(this_host()) }),
            why: "it looks wrong".into(),
            author: actor("janitor"),
        };
        let made = life.gate.freeze(request).await.expect("an agent may pull the brake");
        let refused = lift(&life, &made, "janitor").await.expect_err("an agent");
        assert_eq!(refused.reason(), Reason::NotPermitted);
        assert_eq!(life.gate.freezes(false), [made]);
    });
}

#[test]
fn a_freeze_without_scope_author_or_reason_is_none() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let whole = v1::CreateFreezeRequest {
        scope: Some(FreezeScope { kind: Some(this_host()) }),
        why: "why".into(),
        author: actor(""),
    };
    life.run(async {
        for broken in [
            v1::CreateFreezeRequest { scope: None, ..whole.clone() },
            v1::CreateFreezeRequest {
                scope: Some(FreezeScope { kind: Some(freeze_scope::Kind::Everything(false)) }),
                ..whole.clone()
            },
            v1::CreateFreezeRequest { why: " ".into(), ..whole.clone() },
            v1::CreateFreezeRequest { author: None, ..whole.clone() },
        ] {
            let error = life.gate.freeze(broken).await.expect_err("no freeze");
            assert_eq!(error.reason(), Reason::InvalidAction);
        }
        assert_eq!(life.gate.freezes(true), []);
    });
}

#[test]
fn labels_and_groups_are_those_of_the_operator() {
    let label = |value: &str| freeze_scope::Kind::Label(HostLabel { name: "env".into(), value: value.into() });
    let group = |name: &str| freeze_scope::Kind::Group(name.into());
    for (scope, frozen) in [
        (label("production"), true),
        (label("staging"), false),
        (group("web"), true),
        (group("db"), false),
        (freeze_scope::Kind::Host("elsewhere".into()), false),
        (freeze_scope::Kind::Everything(true), true),
    ] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let life = Life::with(&dir, |setup| setup.entities = entities());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            freeze(&life, scope.clone()).await;
            let mut ticket = life.gate.submit(write("", "k")).await.expect("taken");
            if frozen {
                is_frozen(&life.settled(&mut ticket).await);
            } else {
                let permit = host.execute().await;
                assert_eq!(permit.effects[0].target, FILE);
            }
        });
    }
}

fn entities() -> PolicyEntities {
    let labels = v1::Labels { labels: [("env".to_owned(), "production".to_owned())].into() };
    PolicyEntities {
        host_groups: [("web".to_owned(), Names { names: vec![HOST.to_owned()] })].into(),
        host_labels: [(HOST.to_owned(), labels)].into(),
        ..PolicyEntities::default()
    }
}
