//! A host daemon as a server meets it: frames in, frames out, files on disk.

mod support;

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use cmdop_contract::v1::{
    Acknowledge, CancelExecution, Discard, EffectKind, Execute, HostConfig, HostToServer, Inquire, Outcome, Permit,
    Reason, Report, ServerToHost, ServerWelcome, SignedPermit, Stage, host_to_server, server_to_host,
};
use cmdop_host::{Daemon, Spawner, fixture};
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::{HOST, Server, permit, with_effects};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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
    ("a_full_disk_is_a_typed_failure_that_leaves_nothing", full_disk),
    ("a_command_never_runs_unconfined", never_unconfined),
    ("a_command_is_previewed_then_exactly_that_is_committed", command_is_previewed),
    ("a_commands_layer_survives_a_restart_of_the_daemon", command_layer_survives),
    ("a_commit_over_a_changed_file_is_a_conflict", command_conflict),
    ("output_streams_while_a_command_runs_and_a_cancel_ends_it", output_streams),
    ("a_command_that_fails_is_typed_and_holds_no_layer", failing_commands),
    ("a_command_sees_nothing_of_the_hosts_own_state", command_sees_no_state),
    ("on_a_fixture_commands_change_the_fixture_and_nothing_else", on_a_fixture),
    ("killed_while_it_commits_everything_or_nothing_is_applied_and_it_says_which", killed_while_committing),
    ("a_second_daemon_on_the_same_state_is_refused", locked),
];

fn main() -> ExitCode {
    cases::run(
        CASES,
        &[
            ("delete until killed", delete_until_killed),
            ("settle", settle),
            ("full", full),
            ("commit until killed", commit_until_killed),
            ("settle commit", settle_commit),
        ],
    )
}

/// Runs a case with spawners made before there were threads, and an empty tree to work in.
fn on_runtime<F: Future<Output = ()>>(directory: &Path, case: impl FnOnce(Host) -> F) {
    let spawners = (0..3).map(|_| Spawner::start().expect("spawner")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let tree = directory.join("srv");
    fs::create_dir_all(&tree).expect("directory");
    runtime.block_on(case(Host { directory: directory.to_owned(), tree, spawners, max_running: 0 }));
}

/// A machine on which daemons can be started, one after the other.
struct Host {
    directory: PathBuf,
    /// Where the calls of the tests work.
    tree: PathBuf,
    spawners: Vec<Spawner>,
    max_running: u32,
}

/// A running daemon, seen from the server's end of the link.
struct Link {
    to_host: mpsc::Sender<ServerToHost>,
    from_host: mpsc::Receiver<HostToServer>,
    drain: CancellationToken,
    daemon: JoinHandle<Result<(), cmdop_host::Error>>,
}

impl Host {
    fn config(&self) -> HostConfig {
        HostConfig {
            name: HOST.into(),
            state_dir: self.directory.join("state").to_string_lossy().into_owned(),
            permit_key: Server::new(1).verifying_key(),
            max_running: self.max_running,
            ..HostConfig::default()
        }
    }

    fn start(&mut self) -> Link {
        let daemon = Daemon::open(self.config(), self.spawners.pop().expect("a spawner")).expect("open");
        let (to_host, inbound) = mpsc::channel(16);
        let (outbound, from_host) = mpsc::channel(64);
        let drain = CancellationToken::new();
        let daemon = tokio::spawn(daemon.run(inbound, outbound, drain.clone()));
        Link { to_host, from_host, drain, daemon }
    }

    /// A permit for a native tool with changes anywhere in the tree.
    fn permit(&self, call: &str, stage: Stage, tool: &str, arguments: &Value) -> Permit {
        let kinds = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete];
        with_effects(permit(call, stage, tool, arguments), &kinds, &format!("{}/**", self.tree.display()))
    }

    fn write(&self, call: &str, stage: Stage, content: &str) -> Permit {
        let arguments = json!({"path": self.tree.join("file"), "content": content});
        self.permit(call, stage, "files.write", &arguments)
    }

    fn content(&self) -> Option<String> {
        fs::read_to_string(self.tree.join("file")).ok()
    }
}

impl Link {
    async fn send(&self, kind: server_to_host::Kind) {
        self.to_host.send(ServerToHost { kind: Some(kind) }).await.expect("the daemon runs");
    }

    async fn sign_and_send(&self, permit: &Permit) {
        self.execute(Server::new(1).sign(permit)).await;
    }

    async fn execute(&self, permit: SignedPermit) {
        self.send(server_to_host::Kind::Execute(Execute { permit: Some(permit) })).await;
    }

    async fn next(&mut self) -> host_to_server::Kind {
        let frame = tokio::time::timeout(Duration::from_secs(20), self.from_host.recv()).await;
        frame.expect("a frame in time").expect("the daemon runs").kind.expect("a kind")
    }

    async fn report(&mut self) -> Report {
        loop {
            if let host_to_server::Kind::Report(report) = self.next().await {
                return report;
            }
        }
    }

    /// The report about a permit that is sent now.
    async fn report_of(&mut self, permit: &Permit) -> Report {
        self.sign_and_send(permit).await;
        self.report().await
    }

    /// Drains the daemon; what it still had to say.
    async fn stop(mut self) -> Vec<host_to_server::Kind> {
        self.drain.cancel();
        let mut rest = Vec::new();
        while let Some(frame) = self.from_host.recv().await {
            rest.extend(frame.kind);
        }
        self.daemon.await.expect("no panic").expect("a clean end");
        rest
    }
}

fn reason(report: &Report) -> Reason {
    report.error.as_ref().map_or(Reason::Unspecified, cmdop_contract::v1::Error::reason)
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
        // From before the rename to after the last file.
        std::thread::sleep(Duration::from_millis(round * 5));
        child.kill().and_then(|()| child.wait()).expect("kill");
        let helper = cases::again("settle", &directory).stdout(Stdio::piped()).output().expect("start");
        let outcome = String::from_utf8(helper.stdout).expect("text");
        let left = fs::read_dir(directory.join("srv")).expect("list").count();
        let files = fs::read_dir(&logs).map_or(0, Iterator::count);
        match outcome.trim() {
            "Applied" => assert_eq!((left, files), (0, 0), "round {round}"),
            // So soon after the tree was made, its times do not tell that nothing happened.
            "NotApplied" | "Unknown" => assert_eq!((left, files), (1, FILES), "round {round}"),
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

fn command(host: &Host, call: &str, stage: Stage, line: &str) -> Permit {
    let arguments = json!({"command": line, "cwd": host.tree, "timeout_s": 20});
    host.permit(call, stage, "terminal.exec", &arguments)
}

/// The permit to commit what a preview reported.
fn commit_of(mut preview: Permit, report: &Report) -> Permit {
    preview.permit_id.push_str("-commit");
    preview.stage = Stage::Commit.into();
    preview.preview_digest = report.observation.as_ref().expect("an observation").digest.clone();
    preview
}

fn told(report: &Report) -> Value {
    let result = report.result.as_ref().expect("a result");
    serde_json::from_str(&result.result_json).expect("a result is JSON")
}

fn needs_root() -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because a preview needs root");
        return true;
    }
    false
}

fn command_is_previewed(directory: &Path) {
    if needs_root() {
        return;
    }
    on_runtime(directory, async |mut host: Host| {
        fs::create_dir(host.tree.join("logs")).expect("directory");
        fs::write(host.tree.join("logs/old.gz"), "old").expect("write");
        fs::write(host.tree.join("keep"), "kept").expect("write");
        let mut link = host.start();
        let permit = command(&host, "call", Stage::Preview, "rm -rf ./logs && echo done");
        let report = link.report_of(&permit).await;
        assert_eq!((report.outcome(), report.layer_held), (Outcome::NotApplied, true), "{report:?}");
        assert_eq!(told(&report)["stdout"], json!("done\n"));
        let effects = &report.observation.as_ref().expect("an observation").effects;
        assert_eq!((effects.len(), effects[0].kind(), effects[0].count), (1, EffectKind::FileDelete, 2));
        assert!(host.tree.join("logs/old.gz").exists(), "a preview changes nothing");
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!host.tree.join("logs").exists() && host.tree.join("keep").exists());
        link.stop().await;
        assert_eq!(fs::read_dir(host.directory.join("state/layers")).expect("layers").count(), 0);
    });
}

fn command_layer_survives(directory: &Path) {
    if needs_root() {
        return;
    }
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = command(&host, "call", Stage::Preview, "echo new > file");
        let report = link.report_of(&permit).await;
        link.stop().await;
        let mut link = host.start();
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert_eq!(host.content().as_deref(), Some("new\n"));
        link.stop().await;
    });
}

fn command_conflict(directory: &Path) {
    if needs_root() {
        return;
    }
    on_runtime(directory, async |mut host: Host| {
        fs::write(host.tree.join("file"), "old").expect("write");
        let mut link = host.start();
        let permit = command(&host, "call", Stage::Preview, "echo new > file");
        let report = link.report_of(&permit).await;
        fs::write(host.tree.join("file"), "by somebody else").expect("write");
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::CommitConflict));
        assert_eq!(host.content().as_deref(), Some("by somebody else"));
        link.stop().await;
    });
}

fn output_streams(directory: &Path) {
    if needs_root() {
        return;
    }
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let wait = "echo first; echo second >&2; sleep 30";
        link.sign_and_send(&command(&host, "call", Stage::Preview, wait)).await;
        let mut said = String::new();
        while !(said.contains("first") && said.contains("second")) {
            match link.next().await {
                host_to_server::Kind::Output(output) => said += &String::from_utf8(output.data).expect("text"),
                host_to_server::Kind::Started(_) => {}
                other => panic!("before the end: {other:?}"),
            }
        }
        link.send(server_to_host::Kind::Cancel(CancelExecution { call_id: "call".into() })).await;
        let report = link.report().await;
        let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
        assert_eq!((error.reason(), report.layer_held), (Reason::Cancelled, false));
        link.stop().await;
    });
}

fn failing_commands(directory: &Path) {
    if needs_root() {
        return;
    }
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&command(&host, "fails", Stage::Preview, "touch file; echo why >&2; exit 3")).await;
        let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
        assert_eq!((error.reason(), report.layer_held), (Reason::CommandFailed, false));
        assert!(error.message.contains('3') && error.message.contains("why"), "{}", error.message);
        let slow = json!({"command": "sleep 60", "cwd": host.tree, "timeout_s": 1});
        let report = link.report_of(&host.permit("slow", Stage::Preview, "terminal.exec", &slow)).await;
        let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
        assert_eq!((error.reason(), told(&report)["timed_out"].clone()), (Reason::TimedOut, json!(true)));
        let nowhere = json!({"command": "true", "cwd": host.tree.join("none")});
        let report = link.report_of(&host.permit("nowhere", Stage::Preview, "terminal.exec", &nowhere)).await;
        assert_eq!(reason(&report), Reason::PathNotFound);
        let report = link.report_of(&command(&host, "looks", Stage::Preview, "ls /")).await;
        assert!(report.result.as_ref().is_some_and(|result| result.ok) && !report.layer_held);
        assert_eq!(fs::read_dir(host.directory.join("state/layers")).expect("layers").count(), 0);
        link.stop().await;
    });
}

fn never_unconfined(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&command(&host, "call", Stage::Apply, "touch touched")).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::PreviewUnavailable));
        assert!(!host.tree.join("touched").exists());
        link.stop().await;
    });
}

fn on_a_fixture(directory: &Path) {
    if needs_root() {
        return;
    }
    let fix = directory.join("fix");
    for (path, content) in [("srv/app/logs/a.log", "old"), ("srv/app/data/app.db", "data"), ("logs/b.log", "x")] {
        let path = fix.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("write");
    }
    let state = directory.join("state");
    fs::DirBuilder::new().mode(0o700).create(&state).expect("directory");
    let outside = fs::File::open(&fix).expect("the tree itself");
    fixture::enter(&fix, &[state]).expect("enter");
    on_runtime(directory, async |mut host: Host| {
        host.tree = "/srv/app".into();
        let mut link = host.start();
        let clean = "rm -rf ./logs && mv data data.old && echo new > report && rm /etc/hostname";
        let all = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete];
        let permit = with_effects(command(&host, "call", Stage::Preview, clean), &all, "/**");
        let report = link.report_of(&permit).await;
        let effects = &report.observation.as_ref().expect("an observation").effects;
        let seen: Vec<_> = effects.iter().map(|effect| (effect.kind(), effect.target.as_str())).collect();
        assert!(seen.contains(&(EffectKind::FileDelete, "/srv/app/logs")), "{seen:?}");
        assert!(seen.contains(&(EffectKind::FileDelete, "/etc/hostname")), "{seen:?}");
        assert!(Path::new("/srv/app/logs/a.log").exists() && Path::new("/etc/hostname").exists());
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!Path::new("/srv/app/logs").exists() && !Path::new("/etc/hostname").exists());
        assert_eq!(fs::read_to_string("/srv/app/data.old/app.db").expect("read"), "data");
        link.stop().await;
    });
    // Through a descriptor from before: the tree as the machine has it.
    let tree = PathBuf::from(format!("/proc/self/fd/{}", outside.as_raw_fd()));
    assert_eq!(fs::read_to_string(tree.join("srv/app/report")).expect("read"), "new\n");
    assert!(!tree.join("srv/app/logs").exists() && tree.join("logs/b.log").exists());
    let parent = rustix::process::getppid().expect("a parent").as_raw_nonzero();
    assert!(PathBuf::from(format!("/proc/{parent}/root/etc/hostname")).exists(), "the machine lost a file");
}

const COMMITTED: usize = 150;

fn many(host: &Host, stage: Stage) -> Permit {
    command(host, "call", stage, &format!("for i in {{1..{COMMITTED}}}; do echo new > $i; done"))
}

/// The process that is killed.
fn commit_until_killed(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = many(&host, Stage::Preview);
        let report = link.report_of(&permit).await;
        link.sign_and_send(&commit_of(permit, &report)).await;
        while !matches!(link.next().await, host_to_server::Kind::Started(_)) {}
        println!("started");
        std::future::pending::<()>().await;
    });
}

/// Starts a daemon again and prints what became of the commit.
fn settle_commit(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit_id = format!("{}-commit", many(&host, Stage::Preview).permit_id);
        link.send(server_to_host::Kind::Inquire(Inquire { permit_id, call_id: "call".into() })).await;
        println!("{:?}", link.report().await.outcome());
        link.stop().await;
    });
}

fn killed_while_committing(directory: &Path) {
    if needs_root() {
        return;
    }
    let mut outcomes = Vec::new();
    for round in 0..10u64 {
        let directory = directory.join(round.to_string());
        fs::create_dir(&directory).expect("directory");
        let mut child = cases::again("commit until killed", &directory).stdout(Stdio::piped()).spawn().expect("start");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "started")));
        std::thread::sleep(Duration::from_millis(round * round * 20));
        child.kill().and_then(|()| child.wait()).expect("kill");
        let helper = cases::again("settle commit", &directory).stdout(Stdio::piped()).output().expect("start");
        let outcome = String::from_utf8(helper.stdout).expect("text").trim().to_owned();
        let files = fs::read_dir(directory.join("srv")).expect("list").count();
        let expected = if outcome == "Applied" { COMMITTED } else { 0 };
        assert!(matches!(&*outcome, "Applied" | "NotApplied"), "round {round}: {outcome}, {files} files");
        assert_eq!(files, expected, "round {round}: {outcome}");
        outcomes.push(outcome);
    }
    // Kills before and after the end were both met, or the test has shown nothing.
    assert!(["Applied", "NotApplied"].iter().all(|met| outcomes.iter().any(|outcome| outcome == met)), "{outcomes:?}");
}

fn command_sees_no_state(directory: &Path) {
    if needs_root() {
        return;
    }
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let line = format!("ls -A {}", host.directory.join("state").display());
        let report = link.report_of(&command(&host, "call", Stage::Preview, &line)).await;
        assert_eq!(told(&report)["stdout"], json!(""), "{report:?}");
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
