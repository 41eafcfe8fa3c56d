//! `process.list` and `process.signal` on real processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// A process that is nobody's child here: `sleep` below a shell.
struct Below {
    shell: Child,
    pid: u64,
}

impl Below {
    fn start() -> Self {
        let mut shell = Command::new("/bin/bash");
        let shell = shell.args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut shell = shell.spawn().expect("a shell");
        let mut line = String::new();
        let out = shell.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let below = Self { shell, pid: line.trim().parse().expect("a process id") };
        // Between fork and exec it still bears the shell's name.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while below.listed().is_none() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        below
    }

    fn listed(&self) -> Option<Value> {
        let listed = told(&run("process.list", &json!({"name": "sleep", "limit": 10_000}), &[]));
        let processes = listed["processes"].as_array().expect("a list");
        processes.iter().find(|process| process["pid"] == json!(self.pid)).cloned()
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        let _ = rustix::process::kill_process(pid.expect("a process id"), rustix::process::Signal::KILL);
        let _ = self.shell.wait();
    }
}

fn admitted(tool: &str, arguments: &Value, effects: &[&str]) -> Admitted {
    let effect = |target: &&str| PermittedEffect {
        kind: EffectKind::ProcessSignal.into(),
        target: (*target).to_owned(),
        max_count: None,
    };
    Admitted::for_tests(Permit {
        effects: effects.iter().map(effect).collect(),
        ..permit(Path::new("/"), tool, arguments, &[])
    })
}

fn run(tool: &str, arguments: &Value, effects: &[&str]) -> Done {
    without_files().apply(&admitted(tool, arguments, effects)).expect("permitted")
}

#[test]
fn a_process_is_listed_with_who_and_what_it_is() {
    let below = Below::start();
    let process = below.listed().expect("it is listed");
    assert_eq!(process["ppid"], json!(below.shell.id()));
    assert_eq!(process["command"], json!(["sleep", "600"]));
    assert_eq!(process["uid"], json!(rustix::process::geteuid().as_raw()));
    assert!(process["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let now = u64::try_from(cmdop_ledger::now() / 1_000_000).expect("a time");
    assert!(process["started_ms"].as_u64().is_some_and(|at| now.abs_diff(at) < 60_000), "{process}");
    let cut = told(&run("process.list", &json!({"limit": 1}), &[]));
    assert_eq!((cut["processes"].as_array().map(Vec::len), &cut["truncated"]), (Some(1), &json!(true)));
}

#[test]
fn a_signal_reaches_the_process_that_was_listed() {
    let below = Below::start();
    let process = below.listed().expect("it is listed");
    let target = format!("pid:{}", below.pid);
    let stop = json!({"pid": below.pid, "name": "sleep", "started": process["started"], "signal": "STOP"});
    let stopped = run("process.signal", &stop, &[&target]);
    assert_eq!(told(&stopped)["after"], json!("stopped"));
    assert_eq!(below.listed().expect("still there")["state"], json!("stopped"));
    let kill = json!({"pid": below.pid, "name": "sleep", "signal": "KILL"});
    let killed = run("process.signal", &kill, &[&target]);
    assert_eq!((told(&killed)["after"].clone(), killed.outcome), (json!("exited"), Outcome::Applied));
    let effect = &killed.observation.effects[0];
    assert_eq!((effect.kind(), effect.target.as_str()), (EffectKind::ProcessSignal, target.as_str()));
    assert_eq!(effect.process.as_ref().map(|process| process.name.as_str()), Some("sleep"));
}

#[test]
fn another_process_under_the_number_is_a_conflict_and_hears_nothing() {
    let below = Below::start();
    let process = below.listed().expect("it is listed");
    let started = process["started"].as_u64().expect("a number");
    for arguments in [
        json!({"pid": below.pid, "name": "nginx", "signal": "KILL"}),
        json!({"pid": below.pid, "name": "sleep", "started": started + 1, "signal": "KILL"}),
        json!({"pid": 4_194_304, "name": "sleep", "signal": "KILL"}),
    ] {
        let done = run("process.signal", &arguments, &["*"]);
        assert_eq!(reason(&done), Reason::ContentChanged, "{arguments}");
    }
    assert_ne!(below.listed().expect("it is there")["state"], json!("zombie"), "it lives");
}

#[test]
fn a_signal_beyond_the_permit_is_not_sent() {
    let below = Below::start();
    let arguments = json!({"pid": below.pid, "name": "sleep", "signal": "KILL"});
    let error =
        without_files().apply(&admitted("process.signal", &arguments, &["pid:1"])).expect_err("beyond the permit");
    assert_eq!(error.reason(), Reason::EffectNotPermitted);
    assert!(below.listed().is_some());
}

#[test]
fn a_planned_signal_is_not_sent_and_conflicts_once_the_process_is_gone() {
    let below = Below::start();
    let arguments = json!({"pid": below.pid, "name": "sleep", "signal": "KILL"});
    let permit = admitted("process.signal", &arguments, &["*"]);
    let native = without_files();
    let (planned, held) = native.plan(&permit);
    assert!(planned.result.ok && below.listed().is_some());
    let again = admitted("process.signal", &arguments, &["*"]);
    let mut commit = (*again).clone();
    commit.preview_digest = planned.observation.digest;
    drop(below);
    let error = native.commit(&Admitted::for_tests(commit), &held.expect("held")).expect_err("gone");
    assert_eq!(error.reason(), Reason::CommitConflict);
}

#[test]
fn the_first_process_the_daemon_its_parents_and_its_children_are_never_signalled() {
    let mut guard = Ending(Command::new("/bin/sleep").arg("600").spawn().expect("a child"));
    let own = u64::from(std::process::id());
    let parent = u64::try_from(rustix::process::getppid().expect("a parent").as_raw_nonzero().get()).expect("a number");
    for pid in [1, own, parent, u64::from(guard.0.id())] {
        let stat = fs::read_to_string(format!("/proc/{pid}/comm")).expect("a process");
        let done = run("process.signal", &json!({"pid": pid, "name": stat.trim_end(), "signal": "CONT"}), &["*"]);
        assert_eq!(reason(&done), Reason::FloorDenied, "{pid}");
    }
    assert_eq!(guard.0.try_wait().expect("a child"), None);
}

/// A child that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_fixture_signals_and_serves_nothing_of_the_machine() {
    let below = Below::start();
    let native = without_files().in_fixture();
    assert!(native.tools().any(|tool| tool == "files.write"));
    assert!(!native.tools().any(|tool| tool == "process.signal" || tool.starts_with("service.")));
    let arguments = json!({"pid": below.pid, "name": "sleep", "signal": "KILL"});
    let done = native.apply(&admitted("process.signal", &arguments, &["*"])).expect("permitted");
    assert_eq!(reason(&done), Reason::UnknownTool);
    let start = native.apply(&admitted("service.start", &json!({"name": "x"}), &[])).expect("permitted");
    assert_eq!(reason(&start), Reason::UnknownTool);
    assert!(below.listed().is_some());
}
