//! A thousand faults while a call is decided on, approved and permitted: nothing runs that was not wholly decided.
//!
//! Every fault is injected into a real gate over a real ledger: a vocabulary that answers nothing, late, wrong or not
//! at all; policies that fail while they decide; sets of policies that cannot be loaded; a disk without room; a server
//! that dies at any step of an approval.

#[path = "../../ledger/tests/support/small_disk.rs"]
mod small_disk;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cmdop_contract::v1::{
    self, ApprovalVerdict, CallState, EffectKind, JudgementReply, JudgementRequest, Outcome, Permit, PolicyFile,
    PolicySet, PredictedEffect, Proposal, Reason, Stage, server_to_host,
};
use cmdop_gate::{BoxFuture, PolicySource};
use small_disk::on_small_disk;
use support::{FILE, HostEnd, Life, Script, failure, judged, on_disk, proposal, touch, within, write};

const JUDGES: usize = 500;
const ENGINES: usize = 200;
const RELOADS: usize = 150;
const DISKS: usize = 75;
const DEATHS: usize = 75;
const _: () = assert!(JUDGES + ENGINES + RELOADS + DISKS + DEATHS >= 1_000, "the issue of a thousand");

/// Chooses without a clock: the same at every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).expect("it is below a usize")
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A command of its own, so that no verdict is remembered.
fn command(agent: &str, at: usize) -> Proposal {
    let mut proposal = touch(agent, &format!("k{at}"));
    let action = proposal.action.as_mut().expect("an action");
    action.arguments_json = format!(r#"{{"command": "touch {FILE} # {at}", "cwd": "/srv/app"}}"#);
    proposal
}

/// The permit in a frame that lets a host change its machine.
fn permit_in(frame: &server_to_host::Kind) -> Option<Permit> {
    let server_to_host::Kind::Execute(execute) = frame else { return None };
    let signed = execute.permit.as_ref().expect("a permit");
    let permit = <Permit as prost::Message>::decode(&*signed.permit).expect("a permit");
    (permit.stage() != Stage::Preview).then_some(permit)
}

fn applies(frame: &server_to_host::Kind) -> bool {
    permit_in(frame).is_some()
}

async fn next_permit(host: &mut HostEnd) -> Permit {
    loop {
        if let Some(permit) = permit_in(&host.next().await) {
            return permit;
        }
    }
}

/// What a vocabulary may get wrong.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Absent,
    Late,
    Never,
    Panics,
    NoAnswers,
    NoKind,
    UnknownKind,
    NoTarget,
    RelativeTarget,
    NulInTarget,
    HugeTarget,
    DoesNotKnow,
    Elsewhere,
}

const WRONGS: [Wrong; 13] = [
    Wrong::Absent,
    Wrong::Late,
    Wrong::Never,
    Wrong::Panics,
    Wrong::NoAnswers,
    Wrong::NoKind,
    Wrong::UnknownKind,
    Wrong::NoTarget,
    Wrong::RelativeTarget,
    Wrong::NulInTarget,
    Wrong::HugeTarget,
    Wrong::DoesNotKnow,
    Wrong::Elsewhere,
];

fn answer(wrong: Wrong, request: JudgementRequest) -> BoxFuture<Option<JudgementReply>> {
    let right = judged(&request, &["file.create:/srv/app/new.txt"]);
    let with = |change: &dyn Fn(&mut PredictedEffect)| {
        let mut reply = right.clone();
        reply.judgements.iter_mut().flat_map(|it| &mut it.effects).for_each(change);
        reply
    };
    let reply = match wrong {
        Wrong::Absent => return Box::pin(std::future::ready(None)),
        Wrong::Never => return Box::pin(std::future::pending()),
        Wrong::Late => {
            return Box::pin(async move {
                // So that no pause of this machine lets it come in time.
                tokio::time::sleep(Duration::from_secs(60)).await;
                Some(right)
            });
        }
        Wrong::Panics => return Box::pin(async { panic!("the vocabulary is broken") }),
        Wrong::NoAnswers => JudgementReply { judgements: Vec::new(), ..right },
        Wrong::NoKind => with(&|it| it.kind = 0),
        Wrong::UnknownKind => with(&|it| it.kind = 9_999),
        Wrong::NoTarget => with(&|it| it.target.clear()),
        Wrong::RelativeTarget => with(&|it| it.target = "../new.txt".into()),
        Wrong::NulInTarget => with(&|it| it.target = "/srv/app/new\0.txt".into()),
        Wrong::HugeTarget => with(&|it| it.target = format!("/srv/app/{}", "x/".repeat(100_000))),
        Wrong::DoesNotKnow => {
            let mut reply = right;
            reply.judgements.iter_mut().for_each(|it| it.unanalysable = "nobody knows".into());
            reply
        }
        Wrong::Elsewhere => with(&|it| (it.kind, it.target) = (EffectKind::FileDelete.into(), "/srv/app/data".into())),
    };
    Box::pin(std::future::ready(Some(reply)))
}

#[test]
fn a_vocabulary_that_fails_in_any_way_lets_nothing_change() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let turn = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&turn);
    let judge = Script::new(move |request| answer(WRONGS[asked.load(Ordering::Relaxed) % WRONGS.len()], request));
    let life = Life::with(&dir, |setup| {
        setup.judge = judge;
        setup.options.judgement_ttl = Duration::from_millis(20);
    });
    life.run(async {
        let mut host = HostEnd::confining(&life).await;
        let mut dice = Dice(7);
        for at in 0..JUDGES {
            turn.store(at, Ordering::Relaxed);
            let proposal = command(dice.one(&["", "asker", "auto", "shadow"]), at);
            let wrong = WRONGS[at % WRONGS.len()];
            let mut ticket = life.gate.submit(proposal).await.expect("taken");
            let told = tokio::select! {
                told = within(ticket.held_or_settled()) => told,
                // What nobody foresees may be tried on a copy; this one came to nothing.
                permit = host.execute() => {
                    assert_eq!(permit.stage(), Stage::Preview, "{wrong:?}");
                    host.report(failure(&permit, Outcome::NotApplied, Reason::CommandFailed)).await;
                    host.acknowledged(&permit).await;
                    within(ticket.held_or_settled()).await
                }
            };
            assert!(!told.is_ok_and(|call| call.state() == CallState::Applied), "{wrong:?}");
            assert!(!host.waiting().iter().any(applies), "{wrong:?}");
        }
    });
}

/// Policies that pass validation and fail while they decide.
const OVERFLOWS: [&str; 4] = [
    "context.effects * 9223372036854775807 + 9223372036854775807 > 0",
    "9223372036854775807 + context.effects == 1",
    "-9223372036854775807 - context.effects - context.effects < 0",
    "context.host.getTag(\"nowhere\") == \"x\"",
];

#[test]
fn an_engine_that_fails_on_a_request_lets_nothing_run() {
    let mut dice = Dice(11);
    // Loading policies is what takes time: several calls for each.
    for round in 0..ENGINES / 20 {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (effect, when) = (["permit", "forbid"][round % 2], OVERFLOWS[round % OVERFLOWS.len()]);
        let text = format!(
            "@id(\"all\") @reason(\"All.\") permit (principal, action, resource is Path);\n\
             @id(\"odd\") @reason(\"Odd.\") @remedy(\"None.\") {effect} (principal, action, resource is Path) \
             when {{ {when} }};"
        );
        let files = vec![PolicyFile { name: "odd.cedar".into(), text, ..PolicyFile::default() }];
        let loads = std::panic::catch_unwind(|| Life::with(&dir, |setup| setup.policies = files));
        let Ok(life) = loads else {
            // What cannot be validated is refused before it decides anything.
            continue;
        };
        life.run(async {
            let mut host = HostEnd::confining(&life).await;
            for at in 0..20 {
                let agent = dice.one(&["", "asker", "auto"]);
                let key = format!("k{at}");
                let proposal = match dice.below(3) {
                    0 => write(agent, &key),
                    1 => touch(agent, &key),
                    _ => proposal(agent, &key, "files.read", r#"{"path": "/srv/app/readme.txt"}"#),
                };
                let call = within(life.gate.propose(proposal, true)).await;
                let error = call.map_or_else(|error| error, |call| call.error.clone().expect("an error"));
                assert_eq!(error.reason(), Reason::PolicyError, "{effect} when {when}: {error:?}");
                assert!(host.got_no_permit());
            }
        });
    }
}

/// Reads what a test put there.
struct Shelf(parking_lot::Mutex<Result<PolicySet, v1::Error>>);

impl PolicySource for Shelf {
    fn read(&self) -> BoxFuture<Result<PolicySet, v1::Error>> {
        let set = self.0.lock().clone();
        Box::pin(std::future::ready(set))
    }
}

#[test]
fn a_policy_that_cannot_be_loaded_decides_nothing_and_the_one_before_goes_on() {
    let broken: [&str; 6] = [
        "permit (principal, action, resource",
        "@id(\"x\") permit (principal, action, resource) when { context.nosuch == 1 };",
        "@id(\"x\") permit (principal is Robot, action, resource);",
        "@id(\"x\") permit (principal, action, resource);\n@id(\"x\") permit (principal, action, resource);",
        "@id(\"x\") @decision(\"maybe\") forbid (principal, action, resource);",
        "\u{0}",
    ];
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let shelf = Arc::new(Shelf(parking_lot::Mutex::new(Ok(PolicySet::default()))));
        life.gate.read_policy_from(shelf.clone());
        let before = life.gate.policy().version;
        let mut dice = Dice(13);
        for at in 0..RELOADS {
            let text = dice.one(&broken);
            let file = PolicyFile { name: "broken.cedar".into(), text: text.into(), ..PolicyFile::default() };
            let unreadable = || cmdop_contract::reason::error(Reason::PolicyError, "no such file");
            *shelf.0.lock() = match dice.below(4) {
                0 => Err(unreadable()),
                _ => Ok(PolicySet { files: vec![file], ..PolicySet::default() }),
            };
            life.gate.reload_policy().await.expect_err("it cannot be loaded");
            assert_eq!(life.gate.policy().version, before);
            if at % 10 == 0 {
                let outside = r#"{"path": "/etc/passwd", "content": "x"}"#;
                let call = within(life.gate.propose(proposal("auto", &format!("k{at}"), "files.write", outside), true));
                assert_eq!(call.await.expect("answered").state(), CallState::NotApplied);
                assert!(host.got_no_permit());
            }
        }
    });
}

#[test]
fn a_store_that_fails_at_any_step_lets_nothing_run() {
    on_small_disk("a_store_that_fails_at_any_step_lets_nothing_run", 48, |disk| {
        let life = Life::at(&disk.place());
        life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let mut dice = Dice(15);
            for at in 0..DISKS {
                let key = format!("k{at}");
                if at % 3 == 0 {
                    fill(disk).await;
                    let refused = within(life.gate.propose(write("auto", &key), true)).await.expect_err("no room");
                    assert_eq!(refused.reason(), Reason::StorageFull);
                    assert!(host.got_no_permit());
                    disk.free();
                    continue;
                }
                let (mut ticket, held) = life.held(write("asker", &key), &mut host).await;
                fill(disk).await;
                let verdict = dice.one(&[ApprovalVerdict::Approve, ApprovalVerdict::Reject]);
                let answered = within(life.decide(&held, verdict)).await.is_ok();
                // There is a reserve for answers and results: a permit that came of it is durable before it leaves.
                let permit = tokio::time::timeout(Duration::from_millis(50), next_permit(&mut host)).await.ok();
                let recorded = on_disk(&disk.place(), &held.call_id).await.expect("recorded");
                assert_eq!(recorded.permits.len(), 1 + usize::from(permit.is_some()));
                assert!(permit.is_none() || (answered && verdict == ApprovalVerdict::Approve));
                disk.free();
                if !answered {
                    within(life.decide(&held, ApprovalVerdict::Reject)).await.expect("there is room");
                }
                // Without room for its permit an approved call is refused for good, as soon as that can be recorded.
                let settled = life.settled(&mut ticket);
                let expected = if permit.is_some() { CallState::Applied } else { CallState::NotApplied };
                if let Some(permit) = permit {
                    host.report_created(&permit).await;
                }
                assert_eq!(settled.await.state(), expected);
                assert!(!host.waiting().iter().any(applies));
            }
        });
    });
}

/// Fills the disk, once the ledger has not looked at it for a while.
async fn fill(disk: &small_disk::SmallDisk) {
    tokio::time::sleep(Duration::from_millis(120)).await;
    disk.fill();
}

#[test]
fn a_server_that_dies_at_any_step_of_an_approval_runs_nothing_that_was_not_approved() {
    let mut dice = Dice(17);
    let mut executed = 0;
    for at in 0..DEATHS {
        let dir = tempfile::tempdir().expect("temporary directory");
        let approves = at % 2 == 0;
        let steps = dice.below(40);
        let life = Life::begin(&dir);
        let (call_id, ran) = life.run(async {
            let mut host = HostEnd::attach(&life).await;
            let (_, held) = life.held(write("asker", "k"), &mut host).await;
            let verdict = if approves { ApprovalVerdict::Approve } else { ApprovalVerdict::Reject };
            let gate = life.gate.clone();
            let request = support::verdict_on(held.approval.as_ref().expect("an approval"), verdict);
            tokio::spawn(async move { gate.decide_approval(request).await });
            for _ in 0..steps {
                tokio::task::yield_now().await;
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            let ran = host.waiting().iter().filter(|frame| applies(frame)).count();
            (held.call_id, ran)
        });
        life.crash();
        let life = Life::begin(&dir);
        let ran_later = life.run(async {
            let mut host = HostEnd::attach(&life).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let frames = host.waiting();
            let approval = within(life.ledger.call(&call_id)).await.expect("readable").expect("recorded").approval;
            let used = approval.expect("an approval").status() == v1::ApprovalStatus::Used;
            let ran_later = frames.iter().filter(|frame| applies(frame)).count();
            assert!(used || ran + ran_later == 0, "it ran without an approval");
            assert!(approves || ran + ran_later == 0, "it ran against a refusal");
            life.permits_are_single(&call_id).await;
            ran_later
        });
        assert!(ran + ran_later <= 1, "it ran twice");
        executed += ran + ran_later;
    }
    assert!((1..=DEATHS.div_ceil(2)).contains(&executed), "{executed} of those that were approved ran");
}
