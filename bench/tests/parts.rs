//! Every part of `make bench` still starts, does its work once and tells its figures. What they are is another matter.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The shortest that a part can be told to last, in seconds; whatever it measures it does at least once.
const MOMENT: &str = "0.01";

/// Runs a part to its end. Its last line is what it tells.
fn told(words: &[&str]) -> Value {
    let done = Command::new(env!("CARGO_BIN_EXE_cmdop-bench")).args(words).output().expect("starts");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{words:?}: {err}");
    serde_json::from_str(out.lines().last().expect("a line")).expect("one object")
}

/// A part that serves until it is killed.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself, which the test then has told already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a part that serves, and waits for its first line.
fn serving(words: &[&str]) -> (Serving, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cmdop-bench"));
    let mut child = command.args(words).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(!line.is_empty(), "{words:?} ended");
    (Serving(child), line.trim().to_owned())
}

fn has(found: &Value, names: &[&str]) {
    assert!(names.iter().all(|name| found[name].is_number()), "{names:?} in {found}");
}

#[test]
fn the_guarded_server_answers_its_load() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_server, address) = serving(&["serve", dir.path().to_str().expect("UTF-8")]);
    let (_host, attached) = serving(&["host", &address]);
    assert_eq!(attached, "attached");
    has(&told(&["load", "guarded", &address, "2", MOMENT]), &["calls", "p50_us", "p99_us", "client_cpu_s"]);
}

#[test]
fn the_echo_answers_its_load() {
    let (_server, address) = serving(&["echo"]);
    has(&told(&["load", "echo", &address, "2", MOMENT]), &["calls", "p50_us", "p99_us", "client_cpu_s"]);
}

#[test]
fn the_floors_are_measured() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("UTF-8");
    has(&told(&["fdatasync", path, MOMENT]), &["calls", "p50_us", "p99_us"]);
    has(&told(&["log", path, "2", MOMENT]), &["calls", "cpu_s"]);
}

#[test]
fn each_step_without_input_and_output_is_measured() {
    let found = told(&["micro", MOMENT]);
    let figures = found.as_object().expect("an object");
    assert!(!figures.is_empty() && figures.values().all(|it| it.is_number() || it.is_object()), "{found}");
}

#[test]
fn starts_and_changes_are_measured() {
    // Only root may do more than start a program: what the others confine with is set up as root.
    let kinds: &[&str] = if rustix::process::geteuid().is_root() {
        &["plain", "preview", "preview-watched", "direct", "direct-watched", "direct-whole", "scan-3"]
    } else {
        &["plain"]
    };
    for kind in kinds {
        let dir = tempfile::tempdir().expect("a directory");
        let found = told(&["exec", kind, dir.path().to_str().expect("UTF-8"), MOMENT]);
        has(&found, &["calls", "least_us", "p50_us", "p99_us"]);
    }
    if rustix::process::geteuid().is_root() {
        let dir = tempfile::tempdir().expect("a directory");
        has(&told(&["change", dir.path().to_str().expect("UTF-8"), "12", "3"]), &["diff_s", "commit_s", "undo_s"]);
    }
}
