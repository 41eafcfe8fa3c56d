//! Commands without measure: each ends within its bound, with a typed result, and leaves nothing running.

#![allow(unsafe_code)]

mod support;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cmdop_contract::v1::{Error, Outcome, Reason, Report, Stage, remedy};
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::host::{Host, Link, on_runtime, reason};
use support::inside::{assert_no_layer, effects, is_root, seen, stdout, told, with};

const CASES: &[Case] = &[
    ("a_gigabyte_of_output_is_kept_by_head_and_tail", gigabyte),
    ("a_fork_bomb_ends_in_time", fork_bomb),
    ("a_command_that_goes_on_with_fewer_processes_says_that_it_met_the_limit", fewer_processes),
    ("a_command_deaf_to_sigterm_ends_in_time", deaf),
    ("a_child_that_holds_the_output_open_keeps_nobody_waiting", holds_open),
    ("no_background_job_survives", background),
    ("processor_time_is_limited", cpu),
    ("memory_is_limited", memory),
    ("the_size_of_a_file_is_limited", file),
    ("the_room_of_a_layer_is_limited", disk),
    ("many_empty_files_are_room_too", inodes),
    ("room_that_nobody_may_look_into_is_limited_too", hidden_room),
    ("a_directory_that_its_own_user_may_not_see_is_named", unseen_directory),
    ("paths_that_are_too_long_are_told_with_both_bounds", long_paths),
    ("arguments_that_cannot_run_are_typed", bad_arguments),
    ("an_argv_is_run_without_a_shell", argv),
    ("a_terminal_is_given_on_demand", terminal),
    ("what_was_used_and_what_held_is_told", usage),
    ("the_host_says_what_it_found_by_trying", probed),
];

/// These need root to be set up.
const ROOT_CASES: &[Case] = &[
    ("without_an_overlay_the_host_refuses_and_says_why", no_overlay),
    ("every_limit_holds_for_an_ordinary_user_too", as_user),
    ("an_ordinary_users_preview_is_committed_exactly", user_commits),
];

const HELPERS: &[Case] = &[("user commits", commits)];

fn main() -> ExitCode {
    let cases: Vec<_> = if is_root() { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    cases::run(&cases, HELPERS)
}

fn as_user(_: &Path) {
    let failed: Vec<_> = CASES.iter().filter(|(name, _)| !cases::passes_as_user(name)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn user_commits(_: &Path) {
    assert!(cases::passes_as_user("user commits"));
}

/// The report of one preview, and how long it took. Nothing of it is left on disk.
async fn run(host: &Host, link: &mut Link, call: &str, arguments: Value) -> (Report, Duration) {
    let begun = Instant::now();
    let report = link.report_of(&with(host, call, arguments)).await;
    (report, begun.elapsed())
}

/// The typed failure of the tool.
fn failed(report: &Report) -> Error {
    let result = report.result.as_ref().unwrap_or_else(|| panic!("no result: {report:?}"));
    result.error.clone().unwrap_or_else(|| panic!("no failure: {report:?}"))
}

/// The argument that the remedy wants mended.
fn mends(error: &Error) -> &str {
    match error.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref()) {
        Some(remedy::Kind::FixArguments(fix)) => &fix.path,
        other => panic!("{other:?}"),
    }
}

/// A case in which one command meets one limit.
fn meets(directory: &Path, arguments: Value, limit: &str, argument: &str, within: Duration) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let (report, took) = run(&host, &mut link, "call", arguments).await;
        let error = failed(&report);
        let reason = if limit == "time" { Reason::TimedOut } else { Reason::LimitExceeded };
        assert_eq!((error.reason(), mends(&error)), (reason, argument), "{report:?}");
        assert_eq!(told(&report)["limit"], json!(limit), "{report:?}");
        assert!(took < within, "{took:?}");
        assert!(!report.layer_held);
        assert_no_layer(&host.directory);
        link.stop().await;
    });
}

fn gigabyte(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let line = "echo first; head -c 1073741824 /dev/zero | tr '\\0' x; echo; echo last";
        let before = resident();
        let (report, took) = run(&host, &mut link, "call", json!({"command": line, "timeout_s": 120})).await;
        let told = told(&report);
        assert_eq!((told["exit_code"].clone(), told["stdout_truncated"].clone()), (json!(0), json!(true)));
        assert_eq!(told["stdout_bytes"], json!(1_073_741_824_u64 + 12));
        let text = stdout(&report);
        assert!(text.starts_with("first\nxxx") && text.ends_with("xxx\nlast\n") && text.len() < 2 << 20);
        let grown = resident().saturating_sub(before);
        println!("1 GiB in {took:?}, {grown} KiB more of memory");
        assert!(grown < 64 * 1024, "{grown} KiB");
        link.stop().await;
    });
}

/// The daemon's own memory, KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn fork_bomb(directory: &Path) {
    let bomb = json!({"command": "f() { f & f & wait; }; f; sleep 60", "timeout_s": 2, "processes": 64});
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let (report, took) = run(&host, &mut link, "bomb", bomb).await;
        let reason = failed(&report).reason();
        assert!(matches!(reason, Reason::TimedOut | Reason::LimitExceeded), "{report:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
        let (report, _) = run(&host, &mut link, "after", json!({"command": "echo alive"})).await;
        assert_eq!(stdout(&report), "alive\n");
        link.stop().await;
    });
}

/// A command may go on without the processes that it did not get, and end well.
fn fewer_processes(directory: &Path) {
    let program = "import os, time\nfor _ in range(100):\n try: child = os.fork()\n except OSError: break\n if not \
                   child: time.sleep(1); os._exit(0)";
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let arguments = |processes: u32| json!({"argv": ["python3", "-c", program], "processes": processes});
        for (call, processes, limit) in [("few", 32, json!("processes")), ("enough", 256, json!(null))] {
            let (report, _) = run(&host, &mut link, call, arguments(processes)).await;
            let told = told(&report);
            assert_eq!(told["exit_code"], json!(0), "{report:?}");
            // Without a control group the kernel does not count what it refuses.
            if report.result.as_ref().is_some_and(|result| result.confinement.contains("cgroup pids")) {
                assert_eq!(told["limit"], limit, "{report:?}");
            }
        }
        link.stop().await;
    });
}

fn deaf(directory: &Path) {
    let line = "trap '' TERM INT HUP; while :; do sleep 1000; done";
    meets(directory, json!({"command": line, "timeout_s": 1}), "time", "/arguments/timeout_s", Duration::from_secs(4));
}

fn holds_open(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let (report, took) = run(&host, &mut link, "call", json!({"command": "sleep 1000 & echo over"})).await;
        assert_eq!((stdout(&report).as_str(), told(&report)["exit_code"].clone()), ("over\n", json!(0)));
        assert!(took < Duration::from_secs(4), "{took:?}");
        link.stop().await;
    });
}

fn background(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        // A number of seconds that no other process sleeps.
        let mark = format!("{}.25", 100_000 + std::process::id());
        let line = format!(
            "trap 'sleep {mark} &' EXIT; (setsid nohup bash -c \"trap '' TERM; sleep {mark}\" &) ; \
             setsid bash -c '(sleep {mark} & disown) &'; sleep {mark} & coproc sleep {mark}; echo over"
        );
        let (report, _) = run(&host, &mut link, "call", json!({"command": line})).await;
        assert_eq!(stdout(&report), "over\n", "{report:?}");
        let left: Vec<_> = fs::read_dir("/proc")
            .expect("processes")
            .flatten()
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .filter(|words| String::from_utf8_lossy(words).contains(&mark) && words.starts_with(b"sleep"))
            .collect();
        assert!(left.is_empty(), "{} survived", left.len());
        link.stop().await;
    });
}

fn cpu(directory: &Path) {
    let arguments = json!({"command": "while :; do :; done", "cpu_s": 1});
    meets(directory, arguments, "cpu", "/arguments/cpu_s", Duration::from_secs(15));
}

fn memory(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let hog = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}";
        let (report, took) = run(&host, &mut link, "call", json!({"command": hog, "memory_mb": 64})).await;
        let confinement = report.result.as_ref().expect("a result").confinement.clone();
        let error = failed(&report);
        if confinement.contains("cgroup pids+memory") {
            assert_eq!((error.reason(), mends(&error)), (Reason::LimitExceeded, "/arguments/memory_mb"), "{report:?}");
        } else {
            // Without a control group an allocation fails, and what the program makes of it is its own.
            assert!(confinement.contains("rlimit") && error.reason() == Reason::CommandFailed, "{report:?}");
        }
        assert!(took < Duration::from_secs(18), "{took:?}");
        link.stop().await;
    });
}

fn file(directory: &Path) {
    let arguments = json!({"command": "head -c 10000000 /dev/zero > big", "file_mb": 2});
    meets(directory, arguments, "file_size", "/arguments/file_mb", Duration::from_secs(10));
}

fn disk(directory: &Path) {
    let line = "for i in {1..1000}; do head -c 4000000 /dev/zero > f$i; sleep 0.02; done";
    let arguments = json!({"command": line, "disk_mb": 20});
    meets(directory, arguments, "disk", "/arguments/disk_mb", Duration::from_secs(15));
}

/// An ordinary user's host may look no further than the command lets it.
fn hidden_room(directory: &Path) {
    let line = "mkdir d; exec 3> d/f; chmod 0 d; \
                for i in {1..1000}; do head -c 4000000 /dev/zero >&3; sleep 0.02; done";
    let arguments = json!({"command": line, "disk_mb": 20});
    meets(directory, arguments, "disk", "/arguments/disk_mb", Duration::from_secs(15));
}

fn unseen_directory(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        for (call, mode) in [("neither", "0"), ("no search", "600"), ("no look", "300")] {
            let line = format!("mkdir -p d/e; touch d/e/f; chmod {mode} d");
            let (report, _) = run(&host, &mut link, call, json!({"command": line})).await;
            if is_root() {
                assert_eq!(effects(&report).len(), 3, "{report:?}");
                continue;
            }
            assert_eq!(reason(&report), Reason::UnsupportedChange, "{report:?}");
            let error = report.error.as_ref().expect("an error");
            assert!(error.message.contains("the directory `d`"), "{}", error.message);
            assert_eq!(mends(error), "/arguments");
            assert_no_layer(&host.directory);
        }
        link.stop().await;
    });
}

fn long_paths(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let line = "name=$(printf '%0200d' 0); for i in {1..30}; do mkdir $name && cd $name || exit; done";
        let (report, _) = run(&host, &mut link, "long", json!({"command": line})).await;
        assert_eq!(reason(&report), Reason::UnsupportedChange, "{report:?}");
        let error = report.error.as_ref().expect("an error");
        let Some(remedy::Kind::FixArguments(fix)) = error.remedy.clone().and_then(|remedy| remedy.kind) else {
            panic!("{error:?}");
        };
        assert!(error.message.contains("paths longer"), "{}", error.message);
        assert!(fix.expected.contains("512 levels") && fix.expected.contains("4,096 bytes"), "{}", fix.expected);
        link.stop().await;
    });
}

fn inodes(directory: &Path) {
    let line = "mkdir d; for i in {1..100000}; do : > d/$i; done; sleep 10";
    let arguments = json!({"command": line, "disk_mb": 8});
    meets(directory, arguments, "disk", "/arguments/disk_mb", Duration::from_secs(15));
}

fn bad_arguments(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let large: serde_json::Map<_, _> = (0..64).map(|n| (format!("V{n}"), json!("x".repeat(32_000)))).collect();
        let long = "x".repeat(200_000);
        let cases = [
            (json!({"argv": ["no-such-program"]}), Reason::PathNotFound, "/arguments/argv/0"),
            (json!({"argv": ["/etc/hostname"]}), Reason::PathNotUsable, "/arguments/argv/0"),
            (json!({"argv": ["ls", "a\0b"]}), Reason::InvalidArguments, "/arguments/argv"),
            (json!({"command": "ls", "argv": ["ls"]}), Reason::InvalidArguments, "/arguments"),
            (json!({"command": "ls", "env": large}), Reason::InvalidArguments, "/arguments"),
            (json!({"command": "ls", "env": {"V": long}}), Reason::InvalidArguments, "/arguments"),
            (json!({"command": "ls", "cwd": "/none"}), Reason::PathNotFound, "/arguments/cwd"),
            (json!({"command": "ls", "cwd": "/etc/passwd"}), Reason::PathNotFound, "/arguments/cwd"),
            (json!({"command": "ls", "cwd": "srv"}), Reason::InvalidArguments, "/arguments/cwd"),
        ];
        for (number, (arguments, expected, pointer)) in cases.into_iter().enumerate() {
            let (report, _) = run(&host, &mut link, &format!("call-{number}"), arguments).await;
            assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, expected), "{number}: {report:?}");
            assert_eq!(mends(report.error.as_ref().expect("an error")), pointer);
        }
        assert_no_layer(&host.directory);
        link.stop().await;
    });
}

fn argv(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let words = json!({"argv": ["printf", "%s|", "a b", "$HOME", "*", "", "it's"], "stdin": "unread"});
        let (report, _) = run(&host, &mut link, "call", words).await;
        assert_eq!(stdout(&report), "a b|$HOME|*||it's|");
        let (report, _) = run(&host, &mut link, "input", json!({"argv": ["cat"], "stdin": "typed"})).await;
        assert_eq!(stdout(&report), "typed");
        let (report, _) = run(&host, &mut link, "code", json!({"argv": ["false"]})).await;
        assert_eq!((failed(&report).reason(), told(&report)["exit_code"].clone()), (Reason::CommandFailed, json!(1)));
        let (report, _) = run(&host, &mut link, "signal", json!({"command": "kill -SEGV $$"})).await;
        assert_eq!((failed(&report).reason(), told(&report)["signal"].clone()), (Reason::CommandFailed, json!(11)));
        link.stop().await;
    });
}

fn terminal(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let look = "[[ -t 0 && -t 1 && -t 2 ]] && echo terminal; tty; stty size; echo wrong >&2; read -r line; echo \"got $line\"";
        let arguments = json!({"command": look, "stdin": "typed\n", "pty": {"rows": 40, "cols": 100}});
        let (report, _) = run(&host, &mut link, "call", arguments).await;
        let text = stdout(&report);
        for expected in ["terminal\r\n", "/dev/pts/0\r\n", "40 100\r\n", "wrong\r\n", "got typed\r\n"] {
            assert!(text.contains(expected), "{expected:?} in {report:?}");
        }
        assert_eq!(told(&report)["stderr"], json!(""));
        let (report, took) =
            run(&host, &mut link, "end", json!({"argv": ["cat"], "stdin": "one\ntwo", "pty": {}})).await;
        assert!(stdout(&report).ends_with("two") && took < Duration::from_secs(4), "{report:?}");
        let (report, took) =
            run(&host, &mut link, "late", json!({"argv": ["sleep", "60"], "pty": {}, "timeout_s": 1})).await;
        assert!(failed(&report).reason() == Reason::TimedOut && took < Duration::from_secs(4), "{report:?}");
        link.stop().await;
    });
}

fn usage(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let busy = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); for i in {1..100000}; do :; done";
        let (report, _) = run(&host, &mut link, "call", json!({"command": busy})).await;
        let told = told(&report);
        let number = |name: &str| told["usage"][name].as_f64().unwrap_or_else(|| panic!("{told}"));
        assert!(number("user_s") > 0.01 && number("max_rss_bytes") > 20e6, "{}", told["usage"]);
        // Of a small one it would be the size of the daemon that started it.
        let (report, _) = run(&host, &mut link, "small", json!({"argv": ["true"]})).await;
        let small = support::inside::told(&report);
        assert!(small["usage"]["max_rss_bytes"].is_null() && small["usage"]["user_s"].is_number(), "{small}");
        let confinement = &report.result.as_ref().expect("a result").confinement;
        let namespaces = if is_root() { "overlay+mount" } else { "overlay+user+mount" };
        assert!(confinement.starts_with(&format!("{namespaces}+pid+net+ipc+uts+cgroup, seccomp")), "{confinement}");
        link.stop().await;
    });
}

fn probed(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let daemon = host.open();
        let found = daemon.hello().host.expect("a host");
        let preview = found.capabilities.iter().find(|found| found.name == "preview.overlay").expect("probed");
        assert!(preview.available, "{preview:?}");
        assert!(preview.detail.contains(if is_root() { "as root" } else { "as an ordinary user" }), "{preview:?}");
        assert!(found.tools.contains(&"terminal.exec".to_owned()));
        let direct = found.capabilities.iter().find(|found| found.name == "direct.landlock").expect("probed");
        assert!(direct.available == is_root() && direct.detail.contains(if is_root() { "landlock" } else { "root" }));
        assert_no_layer(&host.directory);
    });
}

fn no_overlay(directory: &Path) {
    // SAFETY: only the mount namespace is replaced, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("unshare");
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private");
    // The upper layer of an overlay cannot itself lie on one.
    let made = ["lower", "upper", "work", "state"].map(|name| directory.join(name));
    made.iter().for_each(|path| fs::create_dir(path).expect("directory"));
    let [lower, upper, work, state] = &made;
    let data = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let data = std::ffi::CString::new(data).expect("text");
    rustix::mount::mount("o", state, "overlay", MountFlags::empty(), Some(data.as_c_str())).expect("overlay");
    on_runtime(directory, async |mut host: Host| {
        let daemon = host.open();
        let found = daemon.hello().host.expect("a host");
        let preview = found.capabilities.iter().find(|found| found.name == "preview.overlay").expect("probed");
        assert!(!preview.available && preview.detail.contains("state directory"), "{preview:?}");
        assert!(!found.tools.contains(&"terminal.exec".to_owned()));
        let mut link = host.serve(daemon);
        let (report, _) = run(&host, &mut link, "call", json!({"command": "touch made"})).await;
        assert_eq!(
            (report.outcome(), reason(&report)),
            (Outcome::NotApplied, Reason::PreviewUnavailable),
            "{report:?}"
        );
        assert!(report.error.as_ref().is_some_and(|error| error.remedy.is_some()));
        let arguments = json!({"command": "touch made", "cwd": host.tree});
        let report = link.report_of(&host.permit("direct", Stage::Apply, "terminal.exec", &arguments)).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::DirectUnavailable), "{report:?}");
        assert!(!host.tree.join("made").exists());
        link.stop().await;
    });
}

fn commits(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        for name in ["gone", "changed", "moved"] {
            fs::write(host.tree.join(name), "old").expect("write");
        }
        let mut link = host.start();
        let line = "rm gone; echo new > changed; mkdir d; mv moved d/; chmod 600 changed; touch /etc/mine; echo over";
        let preview = with(&host, "call", json!({"command": line}));
        let report = link.report_of(&preview).await;
        assert!(report.layer_held && stdout(&report) == "over\n", "{report:?}");
        assert!(told(&report)["stderr"].as_str().is_some_and(|text| text.contains("/etc/mine")), "{report:?}");
        assert!(seen(&report).iter().all(|effect| effect.contains("/srv/")), "{:?}", seen(&report));
        assert_eq!(effects(&report).iter().filter(|effect| effect.target.ends_with("/gone")).count(), 1);
        assert_eq!(fs::read_to_string(host.tree.join("changed")).expect("read"), "old");
        let mut commit = preview.clone();
        commit.permit_id.push_str("-commit");
        commit.stage = Stage::Commit.into();
        commit.preview_digest = report.observation.as_ref().expect("an observation").digest.clone();
        commit.effects = effects(&report)
            .iter()
            .map(|effect| cmdop_contract::v1::PermittedEffect {
                kind: effect.kind,
                target: effect.target.clone(),
                max_count: None,
            })
            .collect();
        let report = link.report_of(&commit).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!host.tree.join("gone").exists() && !host.tree.join("moved").exists());
        assert_eq!(fs::read_to_string(host.tree.join("changed")).expect("read"), "new\n");
        assert_eq!(fs::read_to_string(host.tree.join("d/moved")).expect("read"), "old");
        link.stop().await;
        assert_no_layer(&host.directory);
    });
}
