//! `service.*` on real processes, kept by the daemon's own supervisor.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::service::Own;

/// A host with one directory of units.
struct Host {
    native: Native,
    units: TempDir,
}

impl Host {
    fn new() -> Self {
        let units = TempDir::new().expect("directory");
        let supervisor = Arc::new(Own::new(units.path().to_owned()));
        let native = Native { supervisor, ..without_files() };
        Self { native, units }
    }

    fn unit(&self, name: &str, unit: &Value) {
        let path = self.units.path().join(format!("{name}.json"));
        fs::write(&path, unit.to_string()).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    }

    fn admitted(tool: &str, arguments: &Value, target: &str) -> Admitted {
        let kinds =
            [EffectKind::ServiceStart, EffectKind::ServiceStop, EffectKind::ServiceRestart, EffectKind::ServiceReload];
        let effect = |kind: EffectKind| PermittedEffect { kind: kind.into(), target: target.into(), max_count: None };
        let effects = kinds.into_iter().map(effect).collect();
        Admitted::for_tests(Permit { effects, ..permit(Path::new("/"), tool, arguments, &[]) })
    }

    fn run(&self, verb: &str, name: &str) -> Done {
        let tool = format!("service.{verb}");
        self.native.apply(&Self::admitted(&tool, &json!({"name": name}), name)).expect("permitted")
    }
}

fn effects(done: &Done) -> Vec<(EffectKind, String)> {
    done.observation.effects.iter().map(|effect| (effect.kind(), effect.target.clone())).collect()
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// A small HTTP server that shows a directory.
fn server(port: u16, directory: &Path) -> Value {
    let port_text = port.to_string();
    let argv = ["/usr/bin/env", "python3", "-u", "-m", "http.server", &port_text, "--bind", "127.0.0.1"];
    json!({"command": argv, "cwd": directory, "port": port, "timeout_s": 60})
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_server_is_started_asked_restarted_and_stopped() {
    let (host, site, port) = (Host::new(), TempDir::new().expect("directory"), free_port());
    fs::write(site.path().join("page"), "hello from the service").expect("write");
    host.unit("web", &server(port, site.path()));
    assert_eq!(told(&host.run("status", "web"))["state"], json!("stopped"));

    let started = host.run("start", "web");
    let status = told(&started);
    assert_eq!((&status["state"], &status["healthy"]), (&json!("running"), &json!(true)));
    assert_eq!(effects(&started), [(EffectKind::ServiceStart, "web".to_owned())]);
    assert!(get(port, "/page").ends_with("hello from the service"));

    let again = host.run("start", "web.service");
    assert_eq!((told(&again)["pid"].clone(), effects(&again)), (status["pid"].clone(), Vec::new()));

    let restarted = host.run("restart", "web");
    assert_ne!(told(&restarted)["pid"], status["pid"]);
    assert_eq!(effects(&restarted), [(EffectKind::ServiceRestart, "web".to_owned())]);
    assert!(get(port, "/page").ends_with("hello from the service"));

    let logs = told(&host.run("logs", "web"));
    assert!(logs["text"].as_str().is_some_and(|text| text.contains("GET /page")), "{logs}");

    let stopped = host.run("stop", "web");
    assert_eq!(effects(&stopped), [(EffectKind::ServiceStop, "web".to_owned())]);
    assert_eq!(told(&stopped)["state"], json!("stopped"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(effects(&host.run("stop", "web")).is_empty());
}

#[test]
fn a_service_that_does_not_come_up_is_a_typed_failure_with_what_it_said() {
    let host = Host::new();
    let script = "echo no configuration >&2; exit 3";
    host.unit("bad", &json!({"command": ["/bin/bash", "-c", script], "port": free_port(), "timeout_s": 60}));
    let done = host.run("start", "bad");
    assert_eq!(reason(&done), Reason::CommandFailed);
    let message = &done.result.error.as_ref().expect("an error").message;
    assert!(message.contains("no configuration"), "{message}");
    assert_eq!(told(&host.run("status", "bad"))["exit_code"], json!(3));
    host.unit("deaf", &json!({"command": ["/bin/sleep", "60"], "port": free_port(), "timeout_s": 1}));
    assert_eq!(reason(&host.run("start", "deaf")), Reason::CommandFailed);
    assert_eq!(told(&host.run("status", "deaf"))["state"], json!("stopped"));
    host.unit("none", &json!({"command": ["/no/such/program"]}));
    assert_eq!(reason(&host.run("start", "none")), Reason::CommandFailed);
    assert_eq!(reason(&host.run("reload", "none")), Reason::CommandFailed);
}

#[test]
fn a_start_whose_program_ran_and_ended_was_a_start() {
    let (host, site) = (Host::new(), TempDir::new().expect("directory"));
    let ran = || fs::read_to_string(site.path().join("ran")).unwrap_or_default().lines().count();
    let write = format!("echo migrated >> {}/ran", site.path().display());
    // It ends at once, or never takes a connection and is stopped again.
    host.unit("ends", &json!({"command": ["/bin/sh", "-c", format!("{write}; exit 3")]}));
    let deaf = format!("{write}; exec sleep 60");
    host.unit("deaf", &json!({"command": ["/bin/sh", "-c", deaf], "port": free_port(), "timeout_s": 1}));
    let mut runs = 0;
    for (verb, kind) in [("start", EffectKind::ServiceStart), ("restart", EffectKind::ServiceRestart)] {
        for name in ["ends", "deaf", "ends", "deaf"] {
            let done = host.run(verb, name);
            runs += 1;
            assert_eq!((done.outcome, reason(&done)), (Outcome::Applied, Reason::CommandFailed), "{verb} {name}");
            assert_eq!(effects(&done), [(kind, name.to_owned())], "{verb} {name}");
            assert_eq!(told_anyway(&done)["state"], json!("stopped"), "{verb} {name}");
            assert_eq!(ran(), runs, "{verb} {name}");
        }
    }
    // What could not be run was not started.
    host.unit("none", &json!({"command": ["/no/such/program"]}));
    host.unit("ends", &json!({"command": ["/no/such/program"]}));
    for (verb, name) in [("start", "none"), ("restart", "none"), ("start", "ends"), ("restart", "ends")] {
        let done = host.run(verb, name);
        assert_eq!((done.outcome, effects(&done)), (Outcome::NotApplied, Vec::new()), "{verb} {name}");
    }
    host.unit("none", &json!({"command": ["/bin/true"], "cwd": "/no/such/place"}));
    let done = host.run("start", "none");
    assert_eq!((done.outcome, effects(&done)), (Outcome::NotApplied, Vec::new()));
    let error = done.result.error.as_ref().expect("an error").message.clone();
    assert!(error.contains("the working directory /no/such/place could not be found: No such file"), "{error}");
}

/// The result, although it failed.
fn told_anyway(done: &Done) -> Value {
    serde_json::from_str(&done.result.result_json).expect("a result is JSON")
}

#[test]
fn a_service_that_is_kept_comes_back_and_takes_its_children_along_when_it_stops() {
    let host = Host::new();
    let script = "trap 'echo read again' HUP; echo begun; sleep 600 & echo child $!; while :; do wait; done";
    host.unit("kept", &json!({"command": ["/bin/bash", "-c", script], "keep": true}));
    let pid = told(&host.run("start", "kept"))["pid"].as_i64().expect("a process");
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    };
    let log = || told(&host.run("logs", "kept"))["text"].as_str().expect("text").to_owned();
    // Before it listens to the signal, that would end it.
    until("it begins", &|| log().contains("begun"));
    assert_eq!(effects(&host.run("reload", "kept")), [(EffectKind::ServiceReload, "kept".to_owned())]);
    until("it reads its configuration again", &|| log().contains("read again"));
    let main = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a number")).expect("a process id");
    rustix::process::kill_process(main, rustix::process::Signal::KILL).expect("kill");
    until("it comes back", &|| {
        let now = told(&host.run("status", "kept"));
        now["state"] == json!("running") && now["pid"] != json!(pid)
    });
    until("it says so", &|| log().matches("begun").count() == 2 && log().matches("child").count() == 2);
    assert!(host.run("stop", "kept").result.ok);
    let gone = |child: &str| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    for line in log().lines().filter_map(|line| line.strip_prefix("child ")) {
        until("its children end", &|| gone(line));
    }
}

#[test]
fn a_service_that_dies_of_its_reload_was_not_reloaded() {
    let host = Host::new();
    host.unit("deaf", &json!({"command": ["/bin/sleep", "600"]}));
    told(&host.run("start", "deaf"));
    let done = host.run("reload", "deaf");
    assert_eq!((done.outcome, reason(&done)), (Outcome::Applied, Reason::CommandFailed));
    assert_eq!(effects(&done), [(EffectKind::ServiceReload, "deaf".to_owned())]);
    assert_eq!(told_anyway(&done)["state"], json!("failed"));
}

#[test]
fn no_process_of_a_service_outlives_it_in_a_session_of_its_own() {
    let directory = TempDir::new().expect("directory");
    let (script, left) = (directory.path().join("main"), directory.path().join("left"));
    // Each tells its number: with a parent and without one, and with and without the service's output.
    let tell = format!("echo $$ >> {}; exec sleep 600", left.display());
    let lines = [
        format!("setsid sh -c '{tell}' &"),
        format!("(setsid sh -c '{tell}' &)"),
        format!("setsid sh -c '{tell}' > /dev/null 2>&1 &"),
    ];
    let wait = format!("while test $(wc -l < {}) -lt 3; do sleep 0.05; done", left.display());
    let begin = format!("rm -f {0}; touch {0}\n{1}\n{wait}\necho all\n", left.display(), lines.join("\n"));
    let runs = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    for how in ["stopped", "dropped"] {
        let host = Host::new();
        fs::write(&script, format!("{begin}exec sleep 600")).expect("write");
        host.unit("many", &json!({"command": ["/bin/sh", script], "timeout_s": 60}));
        told(&host.run("start", "many"));
        let deadline = Instant::now() + std::time::Duration::from_secs(60);
        while !told(&host.run("logs", "many"))["text"].as_str().is_some_and(|text| text.contains("all")) {
            assert!(Instant::now() < deadline, "{how}: they begin");
            std::thread::yield_now();
        }
        let found = fs::read_to_string(&left).expect("their numbers");
        assert_eq!(found.lines().filter(|pid| runs(pid)).count(), 3, "{how}: {found}");
        if how == "stopped" {
            assert!(host.run("stop", "many").result.ok);
        }
        drop(host);
        let still: Vec<_> = found.lines().filter(|pid| runs(pid)).collect();
        assert!(still.is_empty(), "{how}: {still:?} run on");
    }
}

#[test]
fn a_service_that_is_unknown_open_to_others_or_disguised_is_refused() {
    let host = Host::new();
    assert_eq!(reason(&host.run("status", "none")), Reason::PathNotFound);
    host.unit("open", &json!({"command": ["/bin/sleep", "60"]}));
    fs::set_permissions(host.units.path().join("open.json"), fs::Permissions::from_mode(0o666)).expect("chmod");
    assert_eq!(reason(&host.run("start", "open")), Reason::PathNotUsable);
    for name in ["../open", "--all", "a b", ""] {
        assert_eq!(reason(&host.run("start", name)), Reason::InvalidArguments, "{name}");
    }
    host.unit("narrow", &json!({"command": ["/bin/sleep", "60"]}));
    let elsewhere = Host::admitted("service.start", &json!({"name": "narrow"}), "other");
    assert_eq!(host.native.apply(&elsewhere).expect_err("beyond").reason(), Reason::EffectNotPermitted);
    assert_eq!(told(&host.run("status", "narrow"))["state"], json!("stopped"));
}

#[test]
fn services_that_were_being_changed_when_the_host_died_are_settled_where_it_shows() {
    let host = Host::new();
    host.unit("web", &json!({"command": ["/bin/sleep", "60"]}));
    let stage = |tool: &str| apply_stage(permit(Path::new("/"), tool, &json!({"name": "web"}), &[]));
    let reconciled = |tool: &str| host.native.reconcile(&Interrupted::for_tests(stage(tool)));
    assert_eq!((reconciled("service.stop"), reconciled("service.start")), (Some(Outcome::Applied), None));
    assert!(host.run("start", "web").result.ok);
    assert_eq!((reconciled("service.stop"), reconciled("service.start")), (None, Some(Outcome::Applied)));
    assert_eq!(reconciled("service.restart"), None);
}
