//! Standing grants answer for a person within what they say, once per use, and never for what a person must look at.

#[path = "../../ledger/tests/support/small_disk.rs"]
mod small_disk;
mod support;

use std::time::Duration;

use cmdop_contract::v1::{
    self, Actor, ApprovalVerdict, CallState, EffectKind, FreezeScope, HostLabel, Outcome, PermittedEffect,
    PolicyEffect, PolicyFile, Proposal, Reason, Stage, StandingGrant, freeze_scope,
};
use small_disk::on_small_disk;
use support::{FILE, HOST, HostEnd, Life, observed, report, touch, within, write};

const HOUR_MS: u64 = 3_600_000;

fn person(user: &str) -> Option<Actor> {
    Some(Actor { user: user.into(), ..Actor::default() })
}

fn on(scope: freeze_scope::Kind) -> Option<FreezeScope> {
    Some(FreezeScope { kind: Some(scope) })
}

fn granting(kind: EffectKind, target: &str, uses: u32) -> v1::CreateGrantRequest {
    v1::CreateGrantRequest {
        agent: "asker".into(),
        hosts: on(freeze_scope::Kind::Host(HOST.into())),
        effect: Some(PermittedEffect { kind: kind.into(), target: target.into(), max_count: None }),
        uses,
        ttl_ms: HOUR_MS,
        why: "it makes room each night".into(),
        author: person("grace"),
    }
}

async fn grant(life: &Life, request: v1::CreateGrantRequest) -> StandingGrant {
    within(life.gate.create_grant(request)).await.expect("granted")
}

async fn creating(life: &Life, uses: u32) -> StandingGrant {
    grant(life, granting(EffectKind::FileCreate, "/srv/app/*", uses)).await
}

async fn revoke(life: &Life, grant: &StandingGrant) -> Result<StandingGrant, v1::Error> {
    let grant_id = grant.grant_id.clone();
    let request = v1::RevokeGrantRequest { grant_id, by: person("grace"), why: "no more".into() };
    within(life.gate.revoke_grant(request)).await
}

/// What becomes of a call that is previewed and, if it may be, committed: the call, held or settled.
async fn outcome(life: &Life, host: &mut HostEnd, proposal: Proposal, shown: &[&str]) -> v1::Call {
    let mut ticket = life.gate.submit(proposal).await.expect("taken");
    let preview = host.execute().await;
    assert_eq!(preview.stage(), Stage::Preview);
    host.report(report(&preview, observed(shown))).await;
    host.acknowledged(&preview).await;
    let waiting = ticket.held_or_settled();
    tokio::select! {
        call = within(waiting) => (*call.expect("an answer")).clone(),
        commit = host.execute() => {
            assert_eq!(commit.stage(), Stage::Commit);
            host.report(report(&commit, observed(shown))).await;
            host.acknowledged(&commit).await;
            life.settled(&mut ticket).await
        }
    }
}

async fn created(life: &Life, host: &mut HostEnd, proposal: Proposal) -> v1::Call {
    outcome(life, host, proposal, &["file.create:/srv/app/new.txt"]).await
}

fn is_held(call: &v1::Call) -> bool {
    matches!(call.state(), CallState::Held | CallState::DiffHeld)
}

#[test]
fn a_grant_answers_as_often_as_it_says_through_a_crash() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let made = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let made = creating(&life, 2).await;
        let call = created(&life, &mut host, write("asker", "one")).await;
        assert_eq!(call.outcome(), Outcome::Applied, "{:?}", call.error);
        let decision = call.decision.expect("decided");
        assert_eq!((decision.effect(), &decision.grants), (PolicyEffect::Allow, &vec![made.grant_id.clone()]));
        assert!(decision.reason.contains(&made.grant_id), "{}", decision.reason);
        made
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(life.gate.grant(&made.grant_id).expect("there").used, 1);
        assert_eq!(created(&life, &mut host, touch("asker", "two")).await.outcome(), Outcome::Applied);
        assert!(life.gate.grants(false).is_empty(), "it is spent");
        assert_eq!(life.gate.grants(true)[0].used, 2);
        assert!(is_held(&created(&life, &mut host, write("asker", "three")).await));
    });
}

#[test]
fn a_revoked_or_expired_grant_answers_nothing_any_more_also_after_a_crash() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let made = creating(&life, 5).await;
        let gone = revoke(&life, &made).await.expect("revoked");
        assert_eq!(gone.revocation.and_then(|it| it.by).map(|by| by.user).as_deref(), Some("grace"));
        assert_eq!(revoke(&life, &made).await.expect_err("again").reason(), Reason::UnknownGrant);
        assert!(is_held(&created(&life, &mut host, write("asker", "revoked")).await));
        let short = v1::CreateGrantRequest { ttl_ms: 1, ..granting(EffectKind::FileCreate, "/srv/app/*", 5) };
        grant(&life, short).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(is_held(&created(&life, &mut host, write("asker", "expired")).await));
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert!(life.gate.grants(false).is_empty() && life.gate.grants(true).len() == 2);
        assert!(is_held(&created(&life, &mut host, write("asker", "later")).await));
    });
}

#[test]
fn a_grant_is_for_its_agent_its_hosts_and_its_effect() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let base = || granting(EffectKind::FileCreate, "/srv/app/*", 9);
        let label = HostLabel { name: "env".into(), value: "production".into() };
        for (key, other) in [
            ("agent", v1::CreateGrantRequest { agent: "another".into(), ..base() }),
            ("host", v1::CreateGrantRequest { hosts: on(freeze_scope::Kind::Host("db".into())), ..base() }),
            ("group", v1::CreateGrantRequest { hosts: on(freeze_scope::Kind::Group("web".into())), ..base() }),
            ("label", v1::CreateGrantRequest { hosts: on(freeze_scope::Kind::Label(label)), ..base() }),
            ("kind", granting(EffectKind::FileDelete, "/srv/app/*", 9)),
            ("target", granting(EffectKind::FileCreate, "/srv/app/logs/*", 9)),
            (
                "tenant",
                v1::CreateGrantRequest {
                    author: Some(Actor { user: "grace".into(), tenant: "elsewhere".into(), ..Actor::default() }),
                    ..base()
                },
            ),
        ] {
            grant(&life, other).await;
            assert!(is_held(&created(&life, &mut host, write("asker", key)).await), "{key}");
        }
        creating(&life, 1).await;
        assert_eq!(created(&life, &mut host, write("asker", "fits")).await.outcome(), Outcome::Applied);
    });
}

#[test]
fn what_a_person_must_look_at_no_grant_answers() {
    let two = "@id(\"site.two\") @decision(\"require_approval\") @approvals(\"2\") @reason(\"Two look.\")\n\
               forbid (principal, action == Action::\"file.create\", resource == Path::\"/srv/app/two.txt\");";
    let files = || {
        vec![
            PolicyFile { pack: "workspace".into(), ..PolicyFile::default() },
            PolicyFile { name: "site.cedar".into(), text: two.into(), ..PolicyFile::default() },
        ]
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.policies = files());
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        creating(&life, 9).await;
        grant(&life, granting(EffectKind::FileModify, "/srv/app/**", 9)).await;
        // Not declared.
        let call = outcome(
            &life,
            &mut host,
            touch("asker", "more"),
            &[&format!("file.create:{FILE}"), "file.modify:/srv/app/b"],
        )
        .await;
        assert!(is_held(&call), "{call:?}");
        // Several people must agree.
        let several =
            support::proposal("asker", "two", "files.write", r#"{"path": "/srv/app/two.txt", "content": "x"}"#);
        assert!(is_held(&outcome(&life, &mut host, several, &["file.create:/srv/app/two.txt"]).await));
        // Not everything was seen.
        let mut ticket = life.gate.submit(write("asker", "unseen")).await.expect("taken");
        let preview = host.execute().await;
        let missing = v1::Unobserved { kind: EffectKind::FileModify.into(), why: "a mount went away".into() };
        let seen = observed(&[&format!("file.create:{FILE}")]);
        host.report(report(&preview, v1::Observation { unobserved: vec![missing], ..seen })).await;
        host.acknowledged(&preview).await;
        assert!(is_held(&within(ticket.held_or_settled()).await.expect("held")));
        // A person rejected it before.
        let of_run = |mut proposal: Proposal| {
            proposal.actor.as_mut().expect("an actor").run = "r1".into();
            proposal
        };
        let grants = life.gate.grants(false);
        for made in &grants {
            revoke(&life, made).await.expect("revoked");
        }
        let held = created(&life, &mut host, of_run(write("asker", "rejected"))).await;
        life.decide(&held, ApprovalVerdict::Reject).await.expect("rejected");
        host.told_to("discard", &held.call_id).await;
        creating(&life, 9).await;
        let mut again = life.gate.submit(of_run(write("asker", "again"))).await.expect("taken");
        let refused = life.settled(&mut again).await;
        assert_eq!(refused.error.map(|error| error.reason()), Some(Reason::DeniedBefore));
        // Frozen.
        let freeze = v1::CreateFreezeRequest {
            scope: on(freeze_scope::Kind::Host(HOST.into())),
            why: "an incident".into(),
            author: person("grace"),
        };
        within(life.gate.freeze(freeze)).await.expect("frozen");
        let mut frozen = life.gate.submit(write("asker", "frozen")).await.expect("taken");
        assert_eq!(life.settled(&mut frozen).await.error.map(|error| error.reason()), Some(Reason::Frozen));
        assert_eq!(life.gate.grants(false)[0].used, 0, "nothing was used for any of that");
    });
}

#[test]
fn the_last_use_goes_to_one_of_two_calls() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let made = creating(&life, 1).await;
        let mut tickets = Vec::new();
        for key in ["one", "two", "three"] {
            tickets.push(life.gate.submit(touch("asker", key)).await.expect("taken"));
        }
        let mut previews = Vec::new();
        for _ in 0..3 {
            previews.push(host.execute().await);
        }
        for preview in &previews {
            host.report_created(preview).await;
        }
        let (mut commits, mut acknowledged) = (Vec::new(), 0);
        while commits.is_empty() || acknowledged < 3 {
            match host.next().await {
                v1::server_to_host::Kind::Execute(execute) => commits.push(execute),
                v1::server_to_host::Kind::Acknowledge(_) => acknowledged += 1,
                other => panic!("{other:?}"),
            }
        }
        let mut held = 0;
        for ticket in &mut tickets {
            support::until(async || is_held(&ticket.now()) || ticket.now().state() == CallState::Committing).await;
            held += u32::from(is_held(&ticket.now()));
        }
        assert_eq!((held, commits.len()), (2, 1));
        assert_eq!(life.gate.grant(&made.grant_id).expect("there").used, 1);
        assert!(host.got_no_permit());
    });
}

#[test]
fn people_make_narrow_grants_and_agents_none() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let base = || granting(EffectKind::FileCreate, "/srv/app/*", 1);
        let agent = Some(Actor { user: "ada".into(), agent: "asker".into(), ..Actor::default() });
        for (what, request, reason) in [
            ("an agent", v1::CreateGrantRequest { author: agent, ..base() }, Reason::NotPermitted),
            ("nobody", v1::CreateGrantRequest { author: None, ..base() }, Reason::InvalidAction),
            ("no reason", v1::CreateGrantRequest { why: " ".into(), ..base() }, Reason::InvalidAction),
            ("for people", v1::CreateGrantRequest { agent: String::new(), ..base() }, Reason::InvalidAction),
            (
                "everywhere",
                v1::CreateGrantRequest { hosts: on(freeze_scope::Kind::Everything(true)), ..base() },
                Reason::InvalidAction,
            ),
            ("nowhere", v1::CreateGrantRequest { hosts: None, ..base() }, Reason::InvalidAction),
            ("for ever", v1::CreateGrantRequest { ttl_ms: 31 * 24 * HOUR_MS, ..base() }, Reason::InvalidAction),
            ("for no time", v1::CreateGrantRequest { ttl_ms: 0, ..base() }, Reason::InvalidAction),
            ("without end", v1::CreateGrantRequest { uses: 1_001, ..base() }, Reason::InvalidAction),
            ("all files", granting(EffectKind::FileDelete, "/**", 1), Reason::InvalidAction),
            ("all by name", granting(EffectKind::FileDelete, "/*/cache", 1), Reason::InvalidAction),
            ("all services", granting(EffectKind::ServiceRestart, "*", 1), Reason::InvalidAction),
            ("no target", granting(EffectKind::FileDelete, "logs", 1), Reason::InvalidEffect),
            ("not taken back", granting(EffectKind::NetConnect, "example.com:443", 1), Reason::InvalidAction),
        ] {
            let refused = within(life.gate.create_grant(request)).await.expect_err(what);
            assert_eq!(refused.reason(), reason, "{what}: {}", refused.message);
        }
        assert!(life.gate.grants(true).is_empty());
        let made = creating(&life, 1).await;
        let agent = Some(Actor { user: "ada".into(), agent: "asker".into(), ..Actor::default() });
        let by_agent = v1::RevokeGrantRequest { grant_id: made.grant_id, by: agent, why: String::new() };
        assert_eq!(within(life.gate.revoke_grant(by_agent)).await.expect_err("no").reason(), Reason::NotPermitted);
    });
}

#[test]
fn on_a_full_disk_nothing_is_granted_or_used_and_a_revocation_holds() {
    on_small_disk("on_a_full_disk_nothing_is_granted_or_used_and_a_revocation_holds", 24, |disk| {
        let life = Life::at(&disk.place());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let made = creating(&life, 5).await;
            let mut ticket = life.gate.submit(touch("asker", "k")).await.expect("taken");
            let preview = host.execute().await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            disk.fill();
            host.report_created(&preview).await;
            let call = within(ticket.settled_or_unknown()).await.expect("settled");
            assert_eq!(call.error.as_ref().map(v1::Error::reason), Some(Reason::StorageFull), "{call:?}");
            host.told_to("discard", &call.call_id).await;
            host.acknowledged(&preview).await;
            let refused = within(life.gate.create_grant(granting(EffectKind::FileDelete, "/srv/app/*", 1))).await;
            assert_eq!(refused.expect_err("no room").reason(), Reason::StorageFull);
            assert_eq!(life.gate.grants(true).len(), 1);
            assert_eq!(life.gate.grant(&made.grant_id).expect("there").used, 0);
            disk.free();
            let again = created(&life, &mut host, touch("asker", "k2")).await;
            assert_eq!(again.outcome(), Outcome::Applied, "{:?}", again.error);
            tokio::time::sleep(Duration::from_millis(150)).await;
            // A reserve is left for what ends something.
            disk.fill();
            revoke(&life, &made).await.expect("revoked");
            disk.free();
            assert!(is_held(&created(&life, &mut host, touch("asker", "k3")).await));
        });
        life.crash();
        let life = Life::at(&disk.place());
        assert!(life.gate.grants(false).is_empty());
        assert_eq!(life.gate.grants(true)[0].used, 1);
    });
}
