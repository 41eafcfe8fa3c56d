//! The machine's clock is set, ahead and back, at every step where time decides: what should be over permits nothing,
//! and nothing holds longer, or again, because the clock was set back.

mod support;

use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::v1::{
    self, Actor, Approval, ApprovalVerdict, Call, CallState, EffectKind, FreezeScope, Names, Permit, PermittedEffect,
    PolicyFile, Reason, SignedPermit, Stage, freeze_scope, server_to_host,
};
use cmdop_gate::Ticket;
use cmdop_ledger::permit::{PermitError, verify};
use cmdop_ledger::{Time, now};
use parking_lot::Mutex;
use support::{FILE, HOST, HostEnd, Life, observed, report, verdict_on, within, write};

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// What waits for a person waits so long, and grants hold as long.
const TTL: i64 = HOUR;

/// By how much a clock is set.
const JUMPS: [i64; 10] =
    [-365 * DAY, -2 * HOUR, -61 * MINUTE, -10 * SECOND, 10 * SECOND, 59 * MINUTE, HOUR, 61 * MINUTE, DAY, 400 * DAY];

/// A machine whose clock a test sets, and where no time passes but what the test says.
#[derive(Debug)]
struct Set(Mutex<(i64, Duration)>);

impl Set {
    fn now() -> Arc<Self> {
        Arc::new(Self(Mutex::new((now(), Duration::ZERO))))
    }

    fn jump(&self, by: i64) {
        self.0.lock().0 += by;
    }

    fn pass(&self, time: i64) {
        let mut set = self.0.lock();
        set.0 += time;
        set.1 += Duration::from_nanos(u64::try_from(time).expect("time passes"));
    }
}

impl Time for Set {
    fn wall(&self) -> i64 {
        self.0.lock().0
    }

    fn steady(&self) -> Duration {
        self.0.lock().1
    }
}

/// Sets the clock twice, from where the time that decides is, and says how far that has come by it.
fn set_twice(life: &Life, time: &Set, jumps: (i64, i64)) -> i64 {
    let before = life.ledger.now();
    time.0.lock().0 = before;
    for by in [jumps.0, jumps.1] {
        time.jump(by);
        assert!(life.ledger.now() >= before, "time went back");
    }
    life.ledger.now() - before
}

/// Every jump, followed by every jump.
fn pairs() -> impl Iterator<Item = (i64, i64)> {
    JUMPS.iter().flat_map(|first| JUMPS.map(|second| (*first, second)))
}

fn begin(dir: &tempfile::TempDir, time: &Arc<Set>) -> Life {
    let time: Arc<dyn Time> = time.clone();
    Life::with(dir, |setup| {
        setup.options.approval_ttl = Duration::from_nanos(TTL.unsigned_abs());
        setup.time = time;
    })
}

/// The permit in a frame, if there is one, unchecked: it is dated as the clock was set.
fn executed(frame: server_to_host::Kind) -> Option<(SignedPermit, Permit)> {
    let server_to_host::Kind::Execute(execute) = frame else { return None };
    let signed = execute.permit.expect("a permit");
    let permit = <Permit as prost::Message>::decode(&*signed.permit).expect("a permit");
    Some((signed, permit))
}

/// The permit in a frame that lets a host change its machine.
fn permit_in(frame: server_to_host::Kind) -> Option<Permit> {
    executed(frame).map(|(_, permit)| permit).filter(|permit| permit.stage() != Stage::Preview)
}

async fn next_permit(host: &mut HostEnd) -> Permit {
    loop {
        if let Some(permit) = permit_in(host.next().await) {
            return permit;
        }
    }
}

async fn is_applied(life: &Life, host: &mut HostEnd, ticket: &mut Ticket) {
    let permit = next_permit(host).await;
    host.report_created(&permit).await;
    assert_eq!(life.settled(ticket).await.state(), CallState::Applied);
    host.waiting();
}

/// A call that waits for a person.
async fn held(life: &Life, host: &mut HostEnd, key: &str) -> (Ticket, Call) {
    let mut ticket = life.gate.submit(write("asker", key)).await.expect("taken");
    let call = loop {
        tokio::select! {
            call = within(ticket.held_or_settled()) => break call.expect("held"),
            frame = host.next() => {
                let Some((_, permit)) = executed(frame) else { continue };
                assert_eq!(permit.stage(), Stage::Preview);
                host.report_created(&permit).await;
            }
        }
    };
    assert!(matches!(call.state(), CallState::Held | CallState::DiffHeld), "{call:?}");
    host.waiting();
    (ticket, (*call).clone())
}

fn changes_nothing(host: &mut HostEnd) {
    assert!(host.waiting().into_iter().all(|frame| permit_in(frame).is_none()), "a permit was made");
}

#[test]
fn what_waits_for_a_person_waits_no_longer_for_a_clock_that_is_set() {
    let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
    let life = begin(&dir, &time);
    let (mut executed, mut refused) = (0, 0);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        for (at, jumps) in pairs().enumerate() {
            let (mut ticket, call) = held(&life, &mut host, &format!("k{at}")).await;
            let passed = set_twice(&life, &time, jumps);
            let answer = within(life.decide(&call, ApprovalVerdict::Approve)).await;
            if passed < TTL {
                answer.unwrap_or_else(|error| panic!("after {passed}: {error:?}"));
                is_applied(&life, &mut host, &mut ticket).await;
                executed += 1;
                continue;
            }
            assert_eq!(answer.expect_err("it is over").reason(), Reason::ApprovalNotPending, "{jumps:?}");
            changes_nothing(&mut host);
            refused += 1;
        }
    });
    assert!(executed >= 20 && refused >= 50 && executed + refused == 100, "{executed} and {refused}");
}

#[test]
fn an_approval_that_is_not_used_in_time_is_used_no_later() {
    let mut executed = 0;
    for first in JUMPS {
        let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
        let life = begin(&dir, &time);
        life.run(async {
            for (at, second) in JUMPS.into_iter().enumerate() {
                let mut host = HostEnd::attach(&life).await;
                let (mut ticket, call) = held(&life, &mut host, &format!("k{at}")).await;
                // Approved while its host is away, and the clock is set before that is back.
                drop(host);
                within(life.decide(&call, ApprovalVerdict::Approve)).await.expect("approved");
                let passed = set_twice(&life, &time, (first, second));
                let mut host = HostEnd::attach(&life).await;
                if passed < TTL {
                    is_applied(&life, &mut host, &mut ticket).await;
                    executed += 1;
                    continue;
                }
                let call = life.settled(&mut ticket).await;
                let error = call.error.expect("an error");
                assert_eq!((call.outcome, error.reason()), (v1::Outcome::NotApplied.into(), Reason::ApprovalVoid));
                changes_nothing(&mut host);
            }
        });
    }
    assert!((20..=50).contains(&executed), "{executed}");
}

#[test]
fn a_permit_holds_for_its_time_by_the_clock_of_its_host() {
    let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
    let life = begin(&dir, &time);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let ttl = 30 * SECOND;
        for (at, (by_server, by_host)) in pairs().enumerate() {
            let hosts_time = time.wall() + by_host;
            time.jump(by_server);
            let mut ticket = life.gate.submit(write("auto", &format!("k{at}"))).await.expect("taken");
            let (signed, permit) = loop {
                if let Some(executed) = executed(host.next().await) {
                    break executed;
                }
            };
            assert_eq!((permit.issued_at, permit.expires_at), (time.wall(), time.wall() + ttl));
            let ahead = time.wall() - hosts_time;
            let checked = verify(&signed, &life.ledger.verifying_key(), HOST, hosts_time);
            assert_eq!(checked.is_ok(), (-ttl + 1..=MINUTE).contains(&ahead), "ahead by {ahead}");
            assert!(checked.err().is_none_or(|error| error == PermitError::Expired));
            // Whenever the host looks at it: not longer than its time and a minute.
            let holds = |at: i64| verify(&signed, &life.ledger.verifying_key(), HOST, permit.issued_at + at).is_ok();
            assert_eq!([-MINUTE - 1, -MINUTE, 0, ttl - 1, ttl].map(holds), [false, true, true, true, false]);
            host.report(report(&permit, observed(&[&format!("file.create:{FILE}")]))).await;
            life.settled(&mut ticket).await;
            host.waiting();
            time.jump(-by_server);
        }
    });
}

fn person() -> Option<Actor> {
    Some(Actor { user: "grace".into(), ..Actor::default() })
}

async fn grant(life: &Life) -> v1::StandingGrant {
    let effect = PermittedEffect { kind: EffectKind::FileCreate.into(), target: "/srv/app/*".into(), max_count: None };
    let request = v1::CreateGrantRequest {
        agent: "asker".into(),
        hosts: Some(FreezeScope { kind: Some(freeze_scope::Kind::Host(HOST.into())) }),
        effect: Some(effect),
        uses: 1_000,
        ttl_ms: (TTL / 1_000_000).unsigned_abs(),
        why: "it makes room each night".into(),
        author: person(),
    };
    within(life.gate.create_grant(request)).await.expect("granted")
}

/// Does a grant answer for a call, or must a person?
async fn is_granted(life: &Life, host: &mut HostEnd, key: &str) -> bool {
    let mut ticket = life.gate.submit(write("asker", key)).await.expect("taken");
    loop {
        tokio::select! {
            call = within(ticket.held_or_settled()) => {
                let call = call.expect("an answer");
                assert!(matches!(call.state(), CallState::Held | CallState::DiffHeld), "{call:?}");
                changes_nothing(host);
                return false;
            }
            frame = host.next() => {
                let Some((_, permit)) = executed(frame) else { continue };
                host.report_created(&permit).await;
                if permit.stage() != Stage::Preview {
                    assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
                    host.waiting();
                    return true;
                }
            }
        }
    }
}

#[test]
fn a_grant_answers_no_longer_and_never_again_when_the_clock_is_set() {
    let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
    let life = begin(&dir, &time);
    let mut granted = 0;
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        for (at, jumps) in pairs().enumerate() {
            let made = grant(&life).await;
            let passed = set_twice(&life, &time, jumps);
            let answers = is_granted(&life, &mut host, &format!("k{at}")).await;
            assert_eq!(answers, passed < TTL, "{jumps:?}");
            granted += usize::from(answers);
            // Time passes, whatever the clock shows meanwhile.
            time.pass(HOUR);
            time.jump(-3 * HOUR);
            assert!(!is_granted(&life, &mut host, &format!("later{at}")).await, "{jumps:?}");
            assert_eq!(life.ledger.grant(&made.grant_id).expect("known").expires_at, made.expires_at, "as recorded");
            assert!(life.gate.grants(false).is_empty());
        }
    });
    assert!((20..=50).contains(&granted), "{granted}");
}

#[test]
fn a_restart_does_not_bring_back_what_was_over() {
    for by in JUMPS.into_iter().filter(|by| *by < 0) {
        let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
        let life = begin(&dir, &time);
        let (made, call) = life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let made = grant(&life).await;
            assert!(is_granted(&life, &mut host, "before").await);
            let (_, call) = held_beside(&life, &mut host).await;
            time.pass(TTL);
            // Something is recorded at that time.
            assert!(!is_granted(&life, &mut host, "over").await);
            (made, call)
        });
        life.crash();
        time.jump(by);
        let life = begin(&dir, &time);
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            assert!(!is_granted(&life, &mut host, "again").await, "{by}");
            assert!(life.gate.grants(false).is_empty());
            assert!(life.ledger.now() >= made.expires_at);
            within(life.decide(&call, ApprovalVerdict::Approve)).await.expect_err("it is over");
            changes_nothing(&mut host);
        });
    }
}

/// A call that the grant is not about, so that a person must answer.
async fn held_beside(life: &Life, host: &mut HostEnd) -> (Ticket, Call) {
    let other = r#"{"path": "/srv/app/deep/new.txt", "content": "x"}"#;
    let mut ticket = life.gate.submit(support::proposal("asker", "beside", "files.write", other)).await.expect("taken");
    let call = loop {
        tokio::select! {
            call = within(ticket.held_or_settled()) => break call.expect("held"),
            frame = host.next() => {
                let Some((_, permit)) = executed(frame) else { continue };
                host.report(report(&permit, observed(&["file.create:/srv/app/deep/new.txt"]))).await;
            }
        }
    };
    assert!(matches!(call.state(), CallState::Held | CallState::DiffHeld), "{call:?}");
    host.waiting();
    (ticket, (*call).clone())
}

#[test]
fn a_freeze_holds_whatever_the_clock_shows() {
    let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
    let life = begin(&dir, &time);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        for (at, jumps) in pairs().enumerate() {
            let (_, call) = held(&life, &mut host, &format!("held{at}")).await;
            let scope = Some(FreezeScope { kind: Some(freeze_scope::Kind::Host(HOST.into())) });
            let request = v1::CreateFreezeRequest { scope, why: "an incident".into(), author: person() };
            let made = within(life.gate.freeze(request)).await.expect("frozen");
            let passed = set_twice(&life, &time, jumps);
            let refused = within(life.gate.propose(write("auto", &format!("k{at}")), true)).await.expect("answered");
            assert_eq!(refused.error.as_ref().expect("an error").reason(), Reason::Frozen, "{jumps:?}");
            let answer = within(life.decide(&call, ApprovalVerdict::Approve)).await;
            assert_eq!(answer.is_ok(), passed < TTL);
            if answer.is_ok() {
                let mut ticket = life.gate.follow(&call.call_id).await.expect("known");
                assert_eq!(life.settled(&mut ticket).await.error.expect("an error").reason(), Reason::Frozen);
            }
            changes_nothing(&mut host);
            let lift = v1::LiftFreezeRequest { freeze_id: made.freeze_id, by: person(), why: "over".into() };
            within(life.gate.lift_freeze(lift)).await.expect("lifted");
        }
    });
}

#[test]
fn a_question_that_went_on_does_not_come_back() {
    let text = r#"@id("site.permit") @reason("For the test.") permit (principal, action, resource);
        @id("site.held") @decision("require_approval") @approvers("operators 1h, leads 1h, owners")
        @reason("Others look.") forbid (principal, action in Action::"write", resource in Path::"/srv/app");"#;
    let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
    let clock: Arc<dyn Time> = time.clone();
    let life = Life::with(&dir, |setup| {
        setup.time = clock;
        setup.policies = vec![PolicyFile { name: "site.cedar".into(), text: text.into(), pack: String::new() }];
        for (group, name) in [("operators", "grace"), ("leads", "barbara"), ("owners", "linus")] {
            setup.entities.user_groups.insert(group.into(), Names { names: vec![name.into()] });
        }
    });
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        for (at, jumps) in pairs().enumerate() {
            let (_, call) = held(&life, &mut host, &format!("k{at}")).await;
            let passed = set_twice(&life, &time, jumps);
            let asked = call.approval.clone().expect("an approval");
            let due = within(life.ledger.expire_due(life.ledger.now())).await.expect("recorded");
            let went_on = due.iter().find(|it| it.approval_id == asked.approval_id);
            assert_eq!(went_on.is_some(), passed >= HOUR, "{jumps:?}");
            // Set back once more, whom it was put to before may not answer it any more.
            time.jump(-5 * HOUR);
            let answer = answered_by(&life, &asked, "grace").await;
            match went_on {
                Some(now) => {
                    assert_eq!((now.quorums[0].step, answer), (1, Err(Reason::NotApprover)));
                    assert!(now.expires_at >= asked.expires_at);
                    changes_nothing(&mut host);
                    assert_eq!(answered_by(&life, &asked, "barbara").await, Ok(()));
                }
                None => assert_eq!(answer, Ok(())),
            }
            let permit = next_permit(&mut host).await;
            host.report_created(&permit).await;
            let mut ticket = life.gate.follow(&call.call_id).await.expect("known");
            life.settled(&mut ticket).await;
            host.waiting();
            time.jump(5 * HOUR);
        }
    });
}

async fn answered_by(life: &Life, approval: &Approval, who: &str) -> Result<(), Reason> {
    let request = v1::DecideApprovalRequest { approver: who.into(), ..verdict_on(approval, ApprovalVerdict::Approve) };
    within(life.gate.decide_approval(request)).await.map(drop).map_err(|error| error.reason())
}

#[test]
fn a_newer_instruction_is_newer_whatever_the_clock_shows() {
    let (dir, time) = (tempfile::tempdir().expect("temporary directory"), Set::now());
    let life = begin(&dir, &time);
    let actor = Actor { tenant: "local".into(), user: "ada".into(), session: "s".into(), ..Actor::default() };
    life.run(async {
        for jumps in pairs() {
            let proposed_at = life.ledger.now();
            time.pass(1);
            set_twice(&life, &time, jumps);
            within(life.ledger.instruct(actor.clone(), "something else".into())).await.expect("recorded");
            assert!(life.ledger.is_superseded(&actor, proposed_at), "{jumps:?}");
        }
    });
}
