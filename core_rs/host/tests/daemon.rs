//! A host daemon as a server meets it: frames in, frames out, files on disk.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use cmdop_contract::v1::{
    Acknowledge, CancelExecution, Discard, EffectKind, Inquire, Outcome, Permit, Reason, ServerWelcome, SignedPermit,
    Stage, host_to_server, server_to_host,
};
use cmdop_host::Daemon;
use cmdop_host::admit::Keys;
use serde_json::json;
use support::cases::{self, Case};
use support::host::{Host, on_runtime, reason};
use support::{HOST, Server};

const CASES: &[Case] = &[
    ("a_permitted_write_is_done_measured_and_reported", write_is_done),
    ("a_bad_permit_never_touches_the_machine", bad_permits),
    ("the_same_permit_twice_executes_once", executes_once),
    ("an_effect_beyond_the_permit_is_refused_and_reported", beyond_the_permit),
    ("a_preview_changes_nothing_and_its_commit_does", preview_and_commit),
    ("a_discarded_preview_cannot_be_committed", discard),
    ("a_held_preview_survives_a_restart_of_the_daemon", restart),
    ("a_report_is_sent_with_each_attachment_until_acknowledged", resending),
    ("a_permit_that_never_came_is_forgotten", forgotten),
    ("more_work_than_accepted_is_shed", load_shed),
    ("draining_ends_what_runs_and_takes_nothing_new", drain),
    ("the_hosts_own_state_cannot_be_read_with_a_good_permit", own_state),
    ("killed_while_it_deletes_it_has_deleted_all_or_nothing_and_says_which", killed),
    ("a_host_whose_journals_were_lost_says_that_it_does_not_know", lost_journals),
    ("a_full_disk_is_a_typed_failure_that_leaves_nothing", full_disk),
    ("a_second_daemon_on_the_same_state_is_refused", locked),
];

fn main() -> ExitCode {
    cases::run(CASES, &[("delete until killed", delete_until_killed), ("settle", settle), ("full", full)])
}

fn write_is_done(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = host.write("call", Stage::Apply, "content");
        link.sign_and_send(&permit).await;
        match link.next().await {
            host_to_server::Kind::Started(started) => assert_eq!(started.permit_id, permit.permit_id),
            other => panic!("{other:?}"),
        }
        let report = link.report().await;
        assert_eq!((report.outcome(), report.permit_id.as_str()), (Outcome::Applied, permit.permit_id.as_str()));
        let observation = report.observation.expect("an observation");
        assert_eq!(observation.effects[0].kind(), EffectKind::FileCreate);
        assert_eq!(host.content().as_deref(), Some("content"));
        link.stop().await;
    });
}

fn bad_permits(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let good = host.write("call", Stage::Apply, "content");
        let mut other_host = good.clone();
        other_host.host = "web-2".into();
        let mut expired = good.clone();
        expired.expires_at = 1;
        let mut swapped = good.clone();
        swapped.action.as_mut().expect("action").arguments_json = "{}".into();
        let signed = [other_host, expired, swapped].map(|permit| Server::new(1).sign(&permit));
        for permit in signed.into_iter().chain([Server::new(2).sign(&good), SignedPermit::default()]) {
            link.execute(permit).await;
            let report = link.report().await;
            assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::PermitInvalid));
        }
        assert_eq!(host.content(), None);
        link.stop().await;
    });
}

fn executes_once(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = host.write("call", Stage::Apply, "first");
        let first = link.report_of(&permit).await;
        fs::write(host.tree.join("file"), "changed since").expect("write");
        assert_eq!(link.report_of(&permit).await, first);
        link.stop().await;
        let mut link = host.start();
        assert_eq!(link.report_of(&permit).await, first);
        assert_eq!(host.content().as_deref(), Some("changed since"));
        link.stop().await;
    });
}

fn beyond_the_permit(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let arguments = json!({"path": host.directory.join("elsewhere"), "content": "x"});
        let report = link.report_of(&host.permit("call", Stage::Apply, "files.write", &arguments)).await;
        assert_eq!(reason(&report), Reason::EffectNotPermitted);
        assert!(!host.directory.join("elsewhere").exists());
        link.stop().await;
    });
}

fn preview_and_commit(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&host.write("call", Stage::Preview, "content")).await;
        assert_eq!((report.outcome(), report.layer_held), (Outcome::NotApplied, true));
        assert_eq!(host.content(), None);
        let mut commit = host.write("call", Stage::Commit, "content");
        commit.preview_digest = "another diff".into();
        assert_eq!(reason(&link.report_of(&commit).await), Reason::PermitInvalid);
        let observation = report.observation.expect("an observation");
        commit.preview_digest = observation.digest.clone();
        let report = link.report_of(&commit).await;
        assert_eq!((report.outcome(), report.observation), (Outcome::Applied, Some(observation)));
        assert_eq!(host.content().as_deref(), Some("content"));
        link.stop().await;
        let layers = fs::read_dir(host.directory.join("state/layers")).expect("layers");
        assert_eq!(layers.count(), 0);
    });
}

fn discard(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&host.write("call", Stage::Preview, "content")).await;
        link.send(server_to_host::Kind::Discard(Discard { call_id: "call".into() })).await;
        let layers = host.directory.join("state/layers");
        let gone = async {
            while fs::read_dir(&layers).expect("layers").count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the layer is dropped");
        let mut commit = host.write("call", Stage::Commit, "content");
        commit.preview_digest = report.observation.expect("an observation").digest;
        assert_eq!(reason(&link.report_of(&commit).await), Reason::PreviewLost);
        assert_eq!(host.content(), None);
        link.stop().await;
    });
}

fn restart(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let preview = link.report_of(&host.write("call", Stage::Preview, "content")).await;
        link.stop().await;
        let mut link = host.start();
        let mut commit = host.write("call", Stage::Commit, "content");
        commit.preview_digest = preview.observation.expect("an observation").digest;
        assert_eq!(link.report_of(&commit).await.outcome(), Outcome::Applied);
        assert_eq!(host.content().as_deref(), Some("content"));
        link.stop().await;
    });
}

fn resending(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&host.write("call", Stage::Apply, "content")).await;
        let welcome = || server_to_host::Kind::Welcome(ServerWelcome::default());
        link.send(welcome()).await;
        assert_eq!(link.report().await, report);
        link.stop().await;
        let mut link = host.start();
        link.send(welcome()).await;
        assert_eq!(link.report().await, report);
        let acknowledge = Acknowledge { permit_id: report.permit_id.clone() };
        link.send(server_to_host::Kind::Acknowledge(acknowledge)).await;
        link.stop().await;
        let link = host.start();
        link.send(welcome()).await;
        let said = link.stop().await;
        assert!(!said.iter().any(|frame| matches!(frame, host_to_server::Kind::Report(_))), "{said:?}");
    });
}

fn forgotten(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let inquire =
            |permit: &str| server_to_host::Kind::Inquire(Inquire { permit_id: permit.into(), call_id: "call".into() });
        link.send(inquire("call-Apply")).await;
        assert!(matches!(link.next().await, host_to_server::Kind::Forgotten(_)));
        let report = link.report_of(&host.write("call", Stage::Apply, "content")).await;
        link.send(inquire("call-Apply")).await;
        assert_eq!(link.report().await, report);
        link.stop().await;
    });
}

fn load_shed(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        host.max_running = 1;
        let mut link = host.start();
        // Reading it takes long enough for the next permit to come while it runs.
        let big = host.tree.join("big");
        fs::File::create(&big).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
        let slow = host.permit("slow", Stage::Apply, "files.read", &json!({"path": big, "limit": 1}));
        link.sign_and_send(&slow).await;
        assert!(matches!(link.next().await, host_to_server::Kind::Started(_)));
        let shed = link.report_of(&host.write("call", Stage::Apply, "content")).await;
        assert_eq!((shed.call_id.as_str(), reason(&shed)), ("call", Reason::LoadShed));
        assert_eq!(host.content(), None);
        assert_eq!(link.report().await.call_id, "slow");
        link.stop().await;
    });
}

fn drain(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let big = host.tree.join("big");
        fs::File::create(&big).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
        let slow = host.permit("slow", Stage::Apply, "files.read", &json!({"path": big, "limit": 1}));
        link.sign_and_send(&slow).await;
        assert!(matches!(link.next().await, host_to_server::Kind::Started(_)));
        link.drain.cancel();
        assert!(matches!(link.next().await, host_to_server::Kind::Draining(_)));
        let refused = link.report_of(&host.write("call", Stage::Apply, "content")).await;
        assert_eq!(reason(&refused), Reason::Draining);
        link.send(server_to_host::Kind::Cancel(CancelExecution { call_id: "slow".into() })).await;
        assert_eq!(link.report().await.call_id, "slow");
        link.stop().await;
        assert_eq!(host.content(), None);
    });
}

fn deletion(host: &Host) -> Permit {
    host.permit("call", Stage::Apply, "files.delete", &json!({"path": host.tree.join("logs"), "recursive": true}))
}

/// The process that is killed.
fn delete_until_killed(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        link.sign_and_send(&deletion(&host)).await;
        assert!(matches!(link.next().await, host_to_server::Kind::Started(_)));
        println!("started");
        std::future::pending::<()>().await;
    });
}

fn killed(directory: &Path) {
    const FILES: usize = 3_000;
    let mut outcomes = Vec::new();
    for round in 0..12u64 {
        let directory = directory.join(round.to_string());
        let logs = directory.join("srv/logs");
        fs::create_dir_all(&logs).expect("directories");
        (0..FILES).for_each(|number| fs::write(logs.join(number.to_string()), "line").expect("write"));
        let mut child = cases::again("delete until killed", &directory).stdout(Stdio::piped()).spawn().expect("start");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "started")));
        // From before the rename to after the report.
        std::thread::sleep(Duration::from_millis(round * round * 6));
        child.kill().and_then(|()| child.wait()).expect("kill");
        let helper = cases::again("settle", &directory).stdout(Stdio::piped()).output().expect("start");
        let outcome = String::from_utf8(helper.stdout).expect("text");
        let left = fs::read_dir(directory.join("srv")).expect("list").count();
        let files = fs::read_dir(&logs).map_or(0, Iterator::count);
        match outcome.trim() {
            "Applied" => assert_eq!((left, files), (0, 0), "round {round}"),
            "NotApplied" => assert_eq!((left, files), (1, FILES), "round {round}"),
            other => panic!("round {round}: {other}, {files} files left"),
        }
        outcomes.push(outcome);
    }
    assert!(outcomes.iter().any(|outcome| outcome.trim() == "Applied"), "{outcomes:?}");
}

/// Starts a daemon again and prints what became of the deletion.
fn settle(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let inquire = Inquire { permit_id: deletion(&host).permit_id, call_id: "call".into() };
        link.send(server_to_host::Kind::Inquire(inquire)).await;
        println!("{:?}", link.report().await.outcome());
        link.stop().await;
    });
}

fn lost_journals(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let state = directory.join("state");
        host.start().stop().await;
        for (call, outcome) in [("kept", Outcome::NotApplied), ("lost", Outcome::Unknown)] {
            let write = host.write(call, Stage::Apply, "content");
            let keys = Keys::open(&state.join("ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
            keys.admit(&Server::new(1).sign(&write)).await.expect("noted, and never done");
            drop(keys);
            if outcome == Outcome::Unknown {
                fs::remove_dir_all(state.join("undo")).expect("remove");
            }
            let mut link = host.start();
            let inquire = Inquire { permit_id: write.permit_id, call_id: call.into() };
            link.send(server_to_host::Kind::Inquire(inquire)).await;
            assert_eq!(link.report().await.outcome(), outcome, "{call}");
            link.stop().await;
        }
    });
}

fn full_disk(directory: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let tree = directory.join("srv");
    fs::create_dir(&tree).expect("directory");
    let script = format!("mount -t tmpfs -o size=64k none {} && exec \"$@\"", tree.display());
    let case = cases::again("full", directory);
    let mut small = std::process::Command::new("unshare");
    small.args(["-m", "sh", "-c", &script, "sh"]).arg(case.get_program()).args(case.get_args());
    assert!(small.status().expect("unshare").success());
}

fn full(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        fs::write(host.tree.join("file"), "old").expect("write");
        let mut link = host.start();
        let report = link.report_of(&host.write("call", Stage::Apply, &"x".repeat(200_000))).await;
        let error = report.result.clone().expect("a result").error.expect("a failure");
        assert_eq!((report.outcome(), error.reason()), (Outcome::NotApplied, Reason::HostStorageFull));
        assert_eq!(host.content().as_deref(), Some("old"));
        assert_eq!(fs::read_dir(&host.tree).expect("list").count(), 1);
        link.stop().await;
    });
}

fn own_state(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let state = host.directory.join("state");
        let report = link.report_of(&host.permit("call", Stage::Apply, "files.list", &json!({"path": state}))).await;
        let error = report.result.expect("a result").error.expect("a failure");
        assert_eq!(error.reason(), Reason::PathNotUsable);
        link.stop().await;
    });
}

fn locked(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let link = host.start();
        let spawner = host.spawners.pop().expect("a spawner");
        let error = Daemon::open(host.config(), spawner).expect_err("the state is in use");
        assert_eq!(error.reason(), Reason::InvalidConfiguration);
        link.stop().await;
    });
}
