//! Which permits a host admits, and what it remembers of them.

#[path = "../../ledger/tests/support/small_disk.rs"]
mod small_disk;
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    EffectKind, Idempotency, Observation, Outcome, Permit, Reason, Report, Stage, ToolResult, Unobserved, remedy,
};
use cmdop_host::admit::{Admission, Keys, Known};
use serde_json::json;
use small_disk::on_small_disk;
use support::{HOST, Server, permit, with_effects};

fn open(dir: &Path) -> Keys {
    Keys::open(dir, HOST, &Server::new(1).verifying_key()).expect("open")
}

fn some(call: &str, stage: Stage) -> Permit {
    permit(call, stage, "files.delete", &json!({"path": "/srv/app/logs"}))
}

fn report(permit: &Permit, digest: &str) -> Report {
    Report {
        permit_id: permit.permit_id.clone(),
        call_id: permit.call_id.clone(),
        stage: permit.stage,
        outcome: Outcome::NotApplied.into(),
        result: Some(ToolResult { ok: true, ..ToolResult::default() }),
        observation: Some(Observation { digest: digest.into(), ..Observation::default() }),
        layer_held: !digest.is_empty(),
        ..Report::default()
    }
}

async fn refused(keys: &Keys, permit: &Permit) -> Reason {
    keys.admit(&Server::new(1).sign(permit)).await.expect_err("refused").reason()
}

async fn fresh(keys: &Keys, permit: &Permit) -> cmdop_host::Admitted {
    match keys.admit(&Server::new(1).sign(permit)).await.expect("admitted") {
        Admission::Fresh(admitted) => admitted,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_permit_for_another_ledger_of_the_same_host_is_refused() {
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (keys, others) = (open(one.path()), open(other.path()));
    assert_ne!(keys.since(), others.since());
    let permit = Permit { ledger: keys.since(), ..some("call", Stage::Apply) };
    assert_eq!(refused(&others, &permit).await, Reason::PermitInvalid);
    fresh(&keys, &permit).await;
}

#[tokio::test]
async fn a_permit_that_is_not_good_is_neither_admitted_nor_noted() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let good = some("call", Stage::Apply);
    let forged = {
        let mut signed = Server::new(1).sign(&good);
        signed.signature[7] ^= 1;
        signed
    };
    let other_server = Server::new(2).sign(&good);
    for signed in [forged, other_server] {
        assert_eq!(keys.admit(&signed).await.expect_err("refused").reason(), Reason::PermitInvalid);
    }
    let changes: [fn(&mut Permit); 6] = [
        |permit| permit.host = "web-2".into(),
        |permit| permit.expires_at = cmdop_ledger::now() - 1,
        |permit| permit.stage = 0,
        |permit| permit.stage = 77,
        |permit| permit.action.as_mut().expect("action").arguments_json = r#"{"path": "/"}"#.into(),
        |permit| permit.permit_id.clear(),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(refused(&keys, &bad).await, Reason::PermitInvalid);
    }
    assert!(matches!(keys.inquire(&good.permit_id), Known::Nothing));
    assert!(keys.interrupted().is_empty());
}

#[tokio::test]
async fn the_same_permit_is_admitted_once_and_then_answered_from_the_ledger() {
    let dir = tempfile::tempdir().expect("directory");
    let good = some("call", Stage::Apply);
    let signed = Server::new(1).sign(&good);
    {
        let keys = open(dir.path());
        let _admitted = fresh(&keys, &good).await;
        assert!(matches!(keys.admit(&signed).await, Ok(Admission::Running)));
        keys.report(report(&good, "")).await.expect("reported");
        assert!(matches!(keys.admit(&signed).await, Ok(Admission::Settled(_))));
    }
    let again = open(dir.path());
    match again.admit(&signed).await.expect("known") {
        Admission::Settled(stored) => assert_eq!(*stored, report(&good, "")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_permit_that_ran_is_answered_after_it_expired() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let mut short = some("call", Stage::Apply);
    short.expires_at = cmdop_ledger::now() + 300_000_000;
    let _admitted = fresh(&keys, &short).await;
    keys.report(report(&short, "")).await.expect("reported");
    while cmdop_ledger::now() < short.expires_at {
        tokio::task::yield_now().await;
    }
    assert!(matches!(keys.admit(&Server::new(1).sign(&short)).await, Ok(Admission::Settled(_))));
}

#[tokio::test]
async fn two_at_once_admit_one() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let signed = Server::new(1).sign(&some("call", Stage::Apply));
    let (left, right) = tokio::join!(keys.admit(&signed), keys.admit(&signed));
    let admitted = [left, right].into_iter().filter(|one| matches!(one, Ok(Admission::Fresh(_)))).count();
    assert_eq!(admitted, 1);
}

#[tokio::test]
async fn another_permit_for_what_has_run_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let _admitted = fresh(&keys, &some("call", Stage::Apply)).await;
    let twin = Permit { permit_id: "twin".into(), ..some("call", Stage::Apply) };
    assert_eq!(refused(&keys, &twin).await, Reason::PermitInvalid);
    let thief = Permit { idempotency_key: "key-call".into(), ..some("other", Stage::Apply) };
    assert_eq!(refused(&keys, &thief).await, Reason::PermitInvalid);
    let second_attempt = Permit { permit_id: "second".into(), attempt: 2, ..some("call", Stage::Apply) };
    let _admitted = fresh(&keys, &second_attempt).await;
}

/// A permit under the key of `call`, for another call that comes after it.
fn after(call: &str, stage: Stage) -> Permit {
    Permit { idempotency_key: format!("key-{call}"), ..some("after", stage) }
}

#[tokio::test]
async fn a_key_under_which_nothing_was_applied_may_come_again_in_another_call() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let first = some("call", Stage::Apply);
    let _admitted = fresh(&keys, &first).await;
    assert_eq!(refused(&keys, &after("call", Stage::Apply)).await, Reason::PermitInvalid);
    keys.report(report(&first, "")).await.expect("not applied");
    drop(keys);
    let keys = open(dir.path());
    let again = after("call", Stage::Apply);
    let _admitted = fresh(&keys, &again).await;
    keys.report(Report { outcome: Outcome::Applied.into(), ..report(&again, "") }).await.expect("applied");
    // Under one key one call acts; the first comes too late for a second attempt.
    let late = Permit { permit_id: "late".into(), attempt: 2, ..some("call", Stage::Apply) };
    assert_eq!(refused(&keys, &late).await, Reason::PermitInvalid);
    let third = Permit { permit_id: "third".into(), call_id: "third".into(), ..again };
    assert_eq!(refused(&keys, &third).await, Reason::PermitInvalid);
    assert_eq!(refused(&open_again(keys, dir.path()), &third).await, Reason::PermitInvalid);
}

fn open_again(keys: Keys, dir: &Path) -> Keys {
    drop(keys);
    open(dir)
}

#[tokio::test]
async fn what_may_have_been_applied_keeps_its_key() {
    let contacted = |permit: &Permit| {
        let contact = Unobserved { kind: EffectKind::NetConnect.into(), why: "nobody saw".into() };
        let observation = Observation { unobserved: vec![contact], ..Observation::default() };
        Report { observation: Some(observation), ..report(permit, "") }
    };
    let contacts = with_effects(some("call", Stage::Preview), &[EffectKind::NetConnect], "db:5432");
    let unknown = |permit: &Permit| Report { outcome: Outcome::Unknown.into(), ..report(permit, "") };
    for (first, reported) in
        [(some("call", Stage::Apply), unknown(&some("call", Stage::Apply))), (contacts.clone(), contacted(&contacts))]
    {
        let dir = tempfile::tempdir().expect("directory");
        let keys = open(dir.path());
        let _admitted = fresh(&keys, &first).await;
        assert_eq!(refused(&keys, &after("call", Stage::Preview)).await, Reason::PermitInvalid);
        keys.report(reported).await.expect("reported");
        assert_eq!(refused(&keys, &after("call", Stage::Preview)).await, Reason::PermitInvalid);
        assert_eq!(refused(&open_again(keys, dir.path()), &after("call", Stage::Apply)).await, Reason::PermitInvalid);
    }
}

#[tokio::test]
async fn a_preview_or_look_that_nobody_waits_for_any_more_does_not_keep_its_key() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let looks = looks().into_iter().map(|tool| permit(&tool, Stage::Apply, &tool, &json!({})));
    for first in looks.chain([some("call", Stage::Preview)]) {
        let _runs = fresh(&keys, &first).await;
        let call_id = format!("{}-2", first.call_id);
        let _runs = fresh(&keys, &Permit { permit_id: call_id.clone(), call_id, ..first }).await;
    }
    // Of two copies under one key one is committed.
    for call in ["call", "call-2"] {
        let preview = Permit { permit_id: format!("{call}-p"), attempt: 3, ..some(call, Stage::Preview) };
        let preview = Permit { idempotency_key: "key-call".into(), ..preview };
        let _admitted = fresh(&keys, &preview).await;
        keys.report(report(&preview, "seen")).await.expect("reported");
    }
    let commit = |call: &str| Permit {
        preview_digest: "seen".into(),
        idempotency_key: "key-call".into(),
        ..some(call, Stage::Commit)
    };
    let _commits = fresh(&keys, &commit("call-2")).await;
    assert_eq!(refused(&keys, &commit("call")).await, Reason::PermitInvalid);
}

#[tokio::test]
async fn a_commit_needs_the_layer_whose_digest_was_decided_on_and_takes_it() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let commit = Permit { preview_digest: "seen".into(), ..some("call", Stage::Commit) };
    assert_eq!(refused(&keys, &commit).await, Reason::PreviewLost);
    let preview = some("call", Stage::Preview);
    let _admitted = fresh(&keys, &preview).await;
    keys.report(report(&preview, "seen")).await.expect("reported");
    let other = Permit { preview_digest: "not seen".into(), ..commit.clone() };
    assert_eq!(refused(&keys, &other).await, Reason::PermitInvalid);
    let stranger = Permit { preview_digest: "seen".into(), ..some("other call", Stage::Commit) };
    assert_eq!(refused(&keys, &stranger).await, Reason::PreviewLost);
    drop(keys);
    let again = open(dir.path());
    let _admitted = fresh(&again, &commit).await;
    let twice = Permit { permit_id: "twice".into(), attempt: 2, ..commit };
    assert_eq!(refused(&again, &twice).await, Reason::PreviewLost);
}

#[tokio::test]
async fn a_dropped_layer_cannot_be_committed() {
    let dir = tempfile::tempdir().expect("directory");
    let keys = open(dir.path());
    let preview = some("call", Stage::Preview);
    let _admitted = fresh(&keys, &preview).await;
    keys.report(report(&preview, "seen")).await.expect("reported");
    keys.layer_dropped("call", "discarded").await.expect("dropped");
    let commit = Permit { preview_digest: "seen".into(), ..some("call", Stage::Commit) };
    assert_eq!(refused(&keys, &commit).await, Reason::PreviewLost);
    drop(keys);
    assert_eq!(refused(&open(dir.path()), &commit).await, Reason::PreviewLost);
}

#[tokio::test]
async fn a_report_is_sent_again_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().expect("directory");
    let good = some("call", Stage::Apply);
    {
        let keys = open(dir.path());
        let _admitted = fresh(&keys, &good).await;
        assert!(keys.unacknowledged().is_empty());
        keys.report(report(&good, "")).await.expect("reported");
    }
    let keys = open(dir.path());
    assert_eq!(keys.unacknowledged().len(), 1);
    keys.acknowledged(&good.permit_id).await.expect("acknowledged");
    assert!(keys.unacknowledged().is_empty());
    drop(keys);
    assert!(open(dir.path()).unacknowledged().is_empty());
}

#[test]
fn a_key_of_the_wrong_size_is_an_invalid_configuration() {
    let dir = tempfile::tempdir().expect("directory");
    let error = Keys::open(dir.path(), HOST, b"short").expect_err("refused");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
}

/// Every tool whose contract says that it only looks.
fn looks() -> Vec<String> {
    let pure: Vec<_> = Registry::builtin()
        .list()
        .filter(|tool| tool.contract().idempotency() == Idempotency::Pure)
        .map(|tool| tool.name().to_owned())
        .collect();
    assert!(pure.len() > 1);
    pure
}

const CRASH_DIR: &str = "CMDOP_TEST_CRASH_DIR";

/// The process that is killed: it notes permits, says so, and never reports.
#[tokio::test]
#[ignore = "no test but a process for the next one, which starts and kills it; alone it would wait for ever"]
async fn child_that_notes_and_is_killed() {
    let Ok(dir) = std::env::var(CRASH_DIR) else { return };
    let keys = open(Path::new(&dir));
    for stage in [Stage::Apply, Stage::Preview] {
        let _admitted = fresh(&keys, &some(&format!("{stage:?}"), stage)).await;
    }
    for tool in looks() {
        let _admitted = fresh(&keys, &permit(&tool, Stage::Apply, &tool, &json!({}))).await;
    }
    println!("\nnoted");
    std::future::pending().await
}

#[tokio::test]
async fn killed_between_note_and_report_the_outcome_is_unknown_unless_nothing_could_change() {
    let dir = tempfile::tempdir().expect("directory");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_that_notes_and_is_killed", "--ignored", "--nocapture"])
        .env(CRASH_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "noted"), "the child has noted its permits");
    child.kill().expect("kill");
    child.wait().expect("wait");

    let keys = open(dir.path());
    keys.settle_interrupted(|_| None).await.expect("settled");
    let outcome = |id: &str| match keys.inquire(id) {
        Known::Settled(report) => (report.outcome(), report.error.expect("why").reason()),
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome("Apply-Apply"), (Outcome::Unknown, Reason::OutcomeUnknown));
    assert_eq!(outcome("Preview-Preview"), (Outcome::NotApplied, Reason::PreviewLost));
    for tool in looks() {
        assert_eq!(outcome(&format!("{tool}-Apply")), (Outcome::NotApplied, Reason::HostError), "{tool}");
    }
    let signed = Server::new(1).sign(&some("Apply", Stage::Apply));
    assert!(matches!(keys.admit(&signed).await, Ok(Admission::Settled(_))), "it is never executed again");
}

#[tokio::test]
async fn what_a_tool_that_died_had_done_is_said_and_not_to_be_done_again() {
    let dir = tempfile::tempdir().expect("directory");
    let command = |stage: Stage| permit("another", stage, "terminal.exec", &json!({"command": "rm -r logs"}));
    let planned = |stage: Stage| with_effects(some("third", stage), &[EffectKind::FileDelete], "/srv/app/logs");
    let commit = |permit: Permit| Permit { preview_digest: "d".into(), ..permit };
    let apply = with_effects(some("call", Stage::Apply), &[EffectKind::FileDelete], "/srv/app/logs");
    {
        let keys = open(dir.path());
        let _admitted = fresh(&keys, &apply).await;
        for of in [&command as &dyn Fn(Stage) -> Permit, &planned] {
            keys.report(report(&of(Stage::Preview), "d")).await.expect("noted");
            let _commit = fresh(&keys, &commit(of(Stage::Commit))).await;
        }
    }
    let keys = open(dir.path());
    keys.settle_interrupted(|_| Some(Outcome::Applied.into())).await.expect("settled");
    // What a tool said in its preview it only planned.
    for permit in [apply, planned(Stage::Commit)] {
        let Known::Settled(report) = keys.inquire(&permit.permit_id) else { panic!("not settled") };
        assert_eq!((report.outcome(), &report.result), (Outcome::Applied, &None));
        let error = report.error.expect("what became of it");
        assert_eq!(error.reason(), Reason::ResultLost, "{error}");
        assert!(error.message.contains("died while the tool ran") && error.message.contains("applied"), "{error}");
        let remedy = error.remedy.and_then(|it| it.kind).expect("a remedy");
        assert!(matches!(&remedy, remedy::Kind::Stop(stop) if stop.why.contains("done")), "{remedy:?}");
        let observation = report.observation.expect("that nobody measured it");
        assert!(observation.effects.is_empty());
        let unseen: Vec<_> = observation.unobserved.iter().map(Unobserved::kind).collect();
        assert_eq!(unseen, [EffectKind::FileDelete]);
    }

    // What the commit of a command did its preview showed.
    let Known::Settled(report) = keys.inquire(&command(Stage::Commit).permit_id) else { panic!("not settled") };
    assert_eq!((report.outcome(), report.error, report.observation), (Outcome::Applied, None, None));
}

#[tokio::test]
async fn a_plan_that_was_cut_short_contacted_nobody_and_does_not_keep_its_key() {
    let dir = tempfile::tempdir().expect("directory");
    let release = permit("call", Stage::Preview, "deploy.release", &json!({"root": "/srv/app/web"}));
    let preview = with_effects(release, &[EffectKind::NetConnect], "127.0.0.1:8080");
    drop(fresh(&open(dir.path()), &preview).await);
    let keys = open(dir.path());
    keys.settle_interrupted(|_| None).await.expect("settled");
    let Known::Settled(report) = keys.inquire(&preview.permit_id) else { panic!("not settled") };
    let why = report.error.as_ref().map(cmdop_contract::v1::Error::reason);
    assert_eq!((report.outcome(), why), (Outcome::NotApplied, Some(Reason::PreviewLost)));
    assert_eq!(report.observation, None, "a tool that plans asks nobody");
    let again = Permit { permit_id: "again".into(), call_id: "again".into(), ..preview };
    let _runs = fresh(&keys, &again).await;
}

#[tokio::test]
async fn a_deployment_that_was_cut_short_says_that_nobody_saw_whom_it_asked_and_keeps_its_key() {
    for stage in [Stage::Commit, Stage::Apply] {
        let dir = tempfile::tempdir().expect("directory");
        let release = |stage| permit("call", stage, "deploy.release", &json!({"root": "/srv/app/web"}));
        let release = |stage| with_effects(release(stage), &[EffectKind::NetConnect], "127.0.0.1:8080");
        let run = Permit { preview_digest: "d".into(), ..release(stage) };
        {
            let keys = open(dir.path());
            if stage == Stage::Commit {
                keys.report(report(&release(Stage::Preview), "d")).await.expect("noted");
            }
            let _admitted = fresh(&keys, &run).await;
        }
        let keys = open(dir.path());
        keys.settle_interrupted(|_| Some(Outcome::NotApplied.into())).await.expect("settled");
        let Known::Settled(report) = keys.inquire(&run.permit_id) else { panic!("not settled") };
        assert_eq!(report.outcome(), Outcome::NotApplied, "no change is on the machine");
        let unseen = report.observation.expect("that nobody saw it").unobserved;
        assert_eq!(unseen.iter().map(Unobserved::kind).collect::<Vec<_>>(), [EffectKind::NetConnect]);
        let again = Permit { permit_id: "again".into(), call_id: "again".into(), ..release(Stage::Preview) };
        assert_eq!(refused(&keys, &again).await, Reason::PermitInvalid, "{stage:?}: its key is spent");
    }
}

#[tokio::test]
async fn a_preview_that_could_contact_somebody_says_that_nobody_saw_whom() {
    let dir = tempfile::tempdir().expect("directory");
    let command = permit("call", Stage::Preview, "terminal.exec", &json!({"command": "curl https://192.0.2.1"}));
    let preview = with_effects(command, &[EffectKind::NetConnect], "192.0.2.1:443");
    {
        let keys = open(dir.path());
        let _admitted = fresh(&keys, &preview).await;
    }
    let keys = open(dir.path());
    keys.settle_interrupted(|_| None).await.expect("settled");
    let Known::Settled(report) = keys.inquire(&preview.permit_id) else { panic!("not settled") };
    let unobserved = report.observation.expect("an observation").unobserved;
    assert_eq!(
        unobserved.iter().map(cmdop_contract::v1::Unobserved::kind).collect::<Vec<_>>(),
        [EffectKind::NetConnect]
    );
    assert_eq!(report.outcome, i32::from(Outcome::NotApplied));
}

#[test]
fn on_a_full_disk_no_permit_is_admitted_and_reports_have_room() {
    on_small_disk("on_a_full_disk_no_permit_is_admitted_and_reports_have_room", 16, |disk| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (running, next) = (some("running", Stage::Apply), some("next", Stage::Apply));
        runtime.block_on(async {
            let keys = open(&disk.place());
            let _admitted = fresh(&keys, &running).await;
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            disk.fill();
            assert_eq!(refused(&keys, &next).await, Reason::HostStorageFull);
            assert!(matches!(keys.inquire(&next.permit_id), Known::Nothing), "it was not noted");
            keys.report(report(&running, "")).await.expect("there is a reserve for it");
            keys.acknowledged(&running.permit_id).await.expect("and for this");
        });
        // As after a kill, on the disk that is still full.
        runtime.block_on(async {
            let keys = open(&disk.place());
            assert!(matches!(keys.inquire(&running.permit_id), Known::Settled(_)));
            assert!(keys.unacknowledged().is_empty() && keys.interrupted().is_empty());
            assert_eq!(refused(&keys, &next).await, Reason::HostStorageFull);
            disk.free();
            let _admitted = fresh(&keys, &next).await;
        });
    });
}
