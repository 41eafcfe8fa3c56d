//! What a command starts is seen, and what it leaves running is ended with it.

#![allow(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cmdop_contract::v1::{
    EffectKind, Observation, ObservedEffect, Outcome, Permit, PermittedEffect, ProcessChange, Reason, Report, Stage,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use support::cases::{self, Case};
use support::host::{Host, Link, on_runtime, reason};
use support::inside::{helper, is_root, line, stdout, told, with};
use support::with_effects;

const CASES: &[Case] = &[
    ("every_program_is_seen_with_file_arguments_and_digest", programs),
    ("arguments_that_change_while_they_are_used_are_seen_as_they_were_used", swapped),
    ("a_program_that_replaces_another_from_a_thread_is_seen", from_a_thread),
    ("a_thousand_programs_at_the_same_time_are_all_counted", many),
    ("no_process_survives_a_preview_and_each_is_told", none_survives_a_preview),
    ("a_preview_of_what_may_stay_is_refused_and_nothing_stays", nothing_stays_in_a_preview),
    ("the_host_says_that_it_sees_what_is_started", capability),
];

/// These need root to be set up.
const ROOT_CASES: &[Case] = &[
    ("no_process_survives_direct_mode_and_each_is_told", none_survives_direct_mode),
    ("what_a_permit_lets_stay_runs_on_and_is_known_by_its_call", what_may_stays),
    ("what_becomes_what_may_stay_only_when_its_command_has_ended_stays", what_is_not_there_yet_stays),
    ("what_a_permit_does_not_let_stay_is_ended", what_may_not_is_ended),
    ("what_was_left_stays_confined_and_ends_with_its_host", left_is_confined),
    ("an_ordinary_users_processes_are_seen_and_ended_too", as_user),
];

const HELPERS: &[Case] = &[("swaps its arguments", swaps), ("starts from a thread", starts_from_a_thread)];

fn main() -> ExitCode {
    let cases: Vec<_> = if is_root() { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    cases::run(&cases, HELPERS)
}

fn as_user(_: &Path) {
    let failed: Vec<_> = CASES.iter().filter(|(name, _)| !cases::passes_as_user(name)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn observation(report: &Report) -> &Observation {
    report.observation.as_ref().unwrap_or_else(|| panic!("an observation in {report:?}"))
}

fn process(effect: &ObservedEffect) -> &ProcessChange {
    effect.process.as_ref().expect("a process")
}

/// Words and how often they were used, of the programs of one name. Nothing was missed.
fn started(report: &Report, name: &str) -> BTreeMap<Vec<String>, u64> {
    let observation = observation(report);
    assert_eq!(observation.unobserved, [], "{report:?}");
    assert!(observation.looks.iter().all(|look| look.kind() == EffectKind::ProcessSpawn));
    let named = observation.looks.iter().filter(|look| look.target == name);
    named.map(|look| (process(look).arguments.clone(), look.count)).collect()
}

fn programs(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        fs::write(host.tree.join("script"), "#!/bin/bash -e\nexec true \"$@\"\n").expect("write");
        fs::set_permissions(host.tree.join("script"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("mode");
        let words = "/bin/true --password=hunter2 -H 'Authorization: Bearer hunter2'; for i in 1 2 3; do env ls -d / >&2; done; ./script 'a b'; cp /bin/ls own; ./own -d /; absent; \
                     (exec -a other ls -d .); exit 0";
        let report = link.report_of(&line(&host, "call", words)).await;
        assert!(report.result.as_ref().is_some_and(|result| result.ok), "{report:?}");
        let word = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        // The kernel tells a program by its file, whatever it is called by.
        let ls = started(&report, "ls");
        assert_eq!(ls, BTreeMap::from([(word(&["ls", "-d", "/"]), 3), (word(&["other", "-d", "."]), 1)]));
        assert_eq!(started(&report, "env").values().sum::<u64>(), 3);
        assert_eq!(started(&report, "own"), BTreeMap::from([(word(&["./own", "-d", "/"]), 1)]));
        let started_true = started(&report, "true");
        assert_eq!((started_true.len(), started_true.get(&word(&["true", "a b"]))), (2, Some(&1)));
        assert!(!format!("{:?}", observation(&report)).contains("hunter2"), "a secret is recorded: {report:?}");
        assert!(started(&report, "bash").contains_key(&word(&["/bin/bash", "-e", "./script", "a b"])));
        assert_eq!(started(&report, "absent"), BTreeMap::new(), "nothing was started");
        let digest = |path: &str| -> String {
            let content = fs::read(path).expect("a program");
            Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        for look in &observation(&report).looks {
            let process = process(look);
            let outside = if process.program.ends_with("/own") { "/bin/ls" } else { &process.program };
            assert_eq!(process.sha256, digest(outside), "{look:?}");
        }
        assert!(observation(&report).ended.is_empty(), "{report:?}");
        link.stop().await;
    });
}

fn swapped(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "swaps its arguments")).await;
        let mut said: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for word in stdout(&report).lines().filter(|line| line.len() == 8) {
            *said.entry(vec!["echo".to_owned(), word.to_owned()]).or_default() += 1;
        }
        assert_eq!(said.values().sum::<u64>(), 200, "{report:?}");
        println!("{} different arguments", said.len());
        assert_eq!(started(&report, "echo"), said);
        link.stop().await;
    });
}

/// In the view: starts `echo` again and again with a word that it changes meanwhile.
fn swaps(_: &Path) {
    // SAFETY: a page of its own that stays, written within its length; the children only execute.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4_096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        let word = page.cast::<u8>();
        word.write_bytes(b'a', 8);
        for _ in 0..200 {
            let child = libc::fork();
            if child == 0 {
                let arguments = [c"echo".as_ptr(), word.cast::<libc::c_char>(), std::ptr::null()];
                libc::execv(c"/bin/echo".as_ptr(), arguments.as_ptr());
                libc::_exit(1);
            }
            for letter in (b'a'..=b'z').cycle() {
                word.write_bytes(letter, 8);
                if libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) == child {
                    break;
                }
            }
        }
    }
}

fn from_a_thread(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "starts from a thread")).await;
        assert_eq!(stdout(&report).lines().last(), Some("threaded"), "{report:?}");
        let words = vec!["echo".to_owned(), "threaded".to_owned()];
        assert_eq!(started(&report, "echo"), BTreeMap::from([(words, 1)]));
        link.stop().await;
    });
}

/// In the view: a thread that is not the first replaces the whole process, while others try to. All are
/// there before the first begins: Linux starts no thread (EAGAIN) while another one is in execve(2).
fn starts_from_a_thread(_: &Path) {
    let are_there = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                are_there.wait();
                let arguments = [c"echo".as_ptr(), c"threaded".as_ptr(), std::ptr::null()];
                // SAFETY: a null-terminated array of strings that live until the call.
                unsafe { libc::execv(c"/bin/echo".as_ptr(), arguments.as_ptr()) };
            });
        }
    });
}

fn many(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let words = "for i in {1..10}; do for j in {1..100}; do /bin/true & done; wait; done";
        let report = link.report_of(&with(&host, "call", json!({"command": words, "timeout_s": 60}))).await;
        assert_eq!(started(&report, "true").values().sum::<u64>(), 1_000, "{report:?}");
        link.stop().await;
    });
}

/// Ways to stay behind, and the programs that must have been seen. `MARK` is a number of seconds that no
/// other process sleeps.
const WAYS: &[(&str, &str)] = &[
    ("a double fork", "( (sleep MARK &) & )"),
    ("a session of its own", "setsid -f sleep MARK"),
    ("nohup", "nohup sleep MARK > /dev/null 2>&1 &"),
    ("the background", "sleep MARK &"),
    ("a deaf shell", "bash -c \"trap '' TERM HUP INT; sleep MARK; sleep MARK\" &"),
    ("disown", "sleep MARK & disown"),
    ("a coprocess", "coproc sleep MARK"),
    ("a trap at the end", "trap 'sleep MARK & until grep -qs \"(sleep) [ST]\" /proc/[0-9]*/stat; do :; done' EXIT"),
    ("a stopped job", "sleep MARK & until grep -qs '(sleep) [ST]' /proc/[0-9]*/stat; do :; done; kill -STOP $!"),
];

async fn none_survives(host: &Host, link: &mut Link, permit: impl Fn(&str, &str) -> Permit) {
    let seconds = format!("{}.25", 100_000 + std::process::id());
    for (way, words) in WAYS {
        let until = "until grep -qs '(sleep) [ST]' /proc/[0-9]*/stat; do [[ $(trap) ]] && break; done; echo over";
        let words = format!("{}\n{until}", words.replace("MARK", &seconds));
        let report = link.report_of(&permit(way, &words)).await;
        assert_eq!(stdout(&report), "over\n", "{way}: {report:?}");
        assert_eq!(asleep(&seconds), 0, "{way}: survived");
        let sleep = vec!["sleep".to_owned(), seconds.clone()];
        assert_eq!(started(&report, "sleep"), BTreeMap::from([(sleep.clone(), 1)]), "{way}: {report:?}");
        let ended = &observation(&report).ended;
        let is_told = ended.iter().any(|left| left.target == "sleep" && process(left).arguments == sleep);
        assert!(is_told, "{way}: {report:?}");
        assert!(ended.iter().all(|left| left.kind() == EffectKind::ProcessLeaveRunning), "{way}");
        assert!(host.tree.exists());
    }
}

/// Processes of the machine that sleep for so long.
fn asleep(seconds: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let words = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    words.filter(|words| words.starts_with(b"sleep") && String::from_utf8_lossy(words).contains(seconds)).count()
}

fn none_survives_a_preview(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        none_survives(&host, &mut link, |call, words| line(&host, call, words)).await;
        link.stop().await;
    });
}

fn none_survives_direct_mode(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = |call: &str, words: &str| {
            let arguments = json!({"command": words, "cwd": host.tree, "timeout_s": 20});
            host.permit(call, Stage::Apply, "terminal.exec", &arguments)
        };
        none_survives(&host, &mut link, permit).await;
        link.stop().await;
    });
}

/// A command that runs directly and may leave so many processes of these names.
fn leaving(host: &Host, call: &str, words: &str, names: &[&str], max_count: Option<u32>) -> Permit {
    let arguments = json!({"command": words, "cwd": host.tree, "timeout_s": 20});
    let mut permit = host.permit(call, Stage::Apply, "terminal.exec", &arguments);
    let kind = EffectKind::ProcessLeaveRunning.into();
    let may_stay = |name: &&str| PermittedEffect { kind, target: (*name).to_owned(), max_count };
    permit.effects.extend(names.iter().map(may_stay));
    permit
}

/// What a report says was left running.
fn left(report: &Report) -> Vec<&ObservedEffect> {
    let effects = &observation(report).effects;
    effects.iter().filter(|effect| effect.kind() == EffectKind::ProcessLeaveRunning).collect()
}

/// Waits until so many processes sleep for so long, but not for ever.
fn await_asleep(seconds: &str, count: usize) {
    for _ in 0..500 {
        if asleep(seconds) == count {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} sleep instead of {count}", asleep(seconds));
}

fn what_may_stays(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        for (number, (way, words)) in WAYS.iter().enumerate() {
            let seconds = format!("{}.{number}", 200_000 + std::process::id());
            let until = "until grep -qs '(sleep) [ST]' /proc/[0-9]*/stat; do [[ $(trap) ]] && break; done; echo over";
            let words = format!("{}\n{until}", words.replace("MARK", &seconds));
            let report = link.report_of(&leaving(&host, way, &words, &["sleep"], None)).await;
            assert_eq!(
                (stdout(&report), report.outcome()),
                ("over\n".to_owned(), Outcome::Applied),
                "{way}: {report:?}"
            );
            let [staying] = left(&report)[..] else { panic!("{way}: {report:?}") };
            assert_eq!((staying.target.as_str(), staying.count), ("sleep", 1), "{way}");
            assert_eq!(process(staying).arguments, ["sleep", &seconds], "{way}");
            let unmeasured = &observation(&report).unobserved;
            assert!(unmeasured.iter().any(|it| it.kind() == EffectKind::FileModify), "{way}: {report:?}");
            assert!(observation(&report).ended.iter().all(|ended| ended.target == "bash"), "{way}: {report:?}");
            await_asleep(&seconds, 1);
            // Known by its call, and signalled as any other process.
            let list = host.permit(&format!("{way} list"), Stage::Apply, "process.list", &json!({"name": "sleep"}));
            let listed = link.report_of(&list).await;
            let processes = told(&listed)["processes"].as_array().expect("a list").clone();
            let pid = u64::from(process(staying).pid);
            let found = processes.iter().find(|it| it["pid"].as_u64() == Some(pid)).expect("it is listed");
            assert_eq!((found["left_by"].as_str(), found["command"][1].as_str()), (Some(*way), Some(&*seconds)));
            assert!(processes.iter().all(|it| it["pid"].as_u64() == Some(pid) || it["left_by"].is_null()), "{way}");
            let whom = json!({"pid": pid, "name": "sleep", "started": found["started"], "signal": "KILL"});
            let signal = support::permit(&format!("{way} signal"), Stage::Apply, "process.signal", &whom);
            let signal = with_effects(signal, &[EffectKind::ProcessSignal], &format!("pid:{pid}"));
            let signalled = link.report_of(&signal).await;
            assert_eq!(signalled.outcome(), Outcome::Applied, "{way}: {signalled:?}");
            await_asleep(&seconds, 0);
        }
        // With the last of its processes everything of a call is gone.
        let layers = directory.join("state/layers");
        let is_empty = || fs::read_dir(&layers).expect("layers").next().is_none();
        assert!((0..500).any(|_| is_empty() || (std::thread::sleep(Duration::from_millis(10)), false).1));
        link.stop().await;
    });
}

fn what_is_not_there_yet_stays(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        for number in 0..20 {
            let seconds = format!("{}.{number}", 700_000 + std::process::id());
            // Nobody waits until it is the program that may stay.
            let words = format!("nohup sleep {seconds} > /dev/null &");
            let report = link.report_of(&leaving(&host, &number.to_string(), &words, &["sleep"], None)).await;
            assert_eq!((left(&report).len(), observation(&report).ended.len()), (1, 0), "{report:?}");
            await_asleep(&seconds, 1);
        }
        link.stop().await;
    });
}

fn what_may_not_is_ended(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let seconds = format!("{}.5", 300_000 + std::process::id());
        let two = format!("sleep {seconds} & sleep {seconds} & {}", AWAIT_TWO);
        let failing = format!("{two}; exit 3");
        let cases = [
            ("another name", &two, "true", None, 0),
            ("one of two", &two, "sleep", Some(1), 1),
            ("two of two", &two, "slee*", Some(2), 2),
            ("a command that fails", &failing, "sleep", None, 0),
        ];
        for (call, words, name, max_count, count) in cases {
            let before = asleep(&seconds);
            let report = link.report_of(&leaving(&host, call, words, &[name], max_count)).await;
            assert_eq!(left(&report).len(), count, "{call}: {report:?}");
            let ended: u64 = observation(&report).ended.iter().map(|ended| ended.count).sum();
            assert_eq!(ended, 2 - count as u64, "{call}: {report:?}");
            await_asleep(&seconds, before + count);
        }
        // One that is limited or cancelled leaves nothing either.
        let before = asleep(&seconds);
        let arguments = json!({"command": format!("{two}; wait"), "cwd": host.tree, "timeout_s": 1});
        let mut permit = host.permit("limited", Stage::Apply, "terminal.exec", &arguments);
        permit.effects = leaving(&host, "limited", "", &["sleep"], None).effects;
        let report = link.report_of(&permit).await;
        assert_eq!((left(&report).len(), asleep(&seconds)), (0, before), "{report:?}");
        link.stop().await;
        assert_eq!(asleep(&seconds), 0, "they end with their host");
    });
}

const AWAIT_TWO: &str = "until [[ $(cat /proc/[0-9]*/stat 2> /dev/null | grep -c '(sleep) [ST]') = 2 ]]; do :; done";

fn left_is_confined(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        fs::create_dir(host.tree.join("open")).expect("directory");
        fs::create_dir(host.tree.join("shut")).expect("directory");
        let seconds = format!("{}.5", 400_000 + std::process::id());
        // It starts programs, writes more than anybody reads, and writes where it may and where it may not.
        let lives = format!(
            "bash -c 'until [[ -e open/go ]]; do sleep 0.05; done; head -c 1000000 /dev/zero; \
             touch shut/made; touch open/made; exec sleep {seconds}' &"
        );
        let mut permit = leaving(&host, "call", &lives, &["*"], None);
        permit.effects.retain(|effect| effect.kind() == EffectKind::ProcessLeaveRunning);
        let target = format!("{}/open/**", host.tree.display());
        let kind = EffectKind::FileCreate.into();
        permit.effects.push(PermittedEffect { kind, target, max_count: None });
        let report = link.report_of(&permit).await;
        assert!(!left(&report).is_empty(), "{report:?}");
        let unmeasured: Vec<_> =
            observation(&report).unobserved.iter().map(cmdop_contract::v1::Unobserved::kind).collect();
        assert_eq!(unmeasured, [EffectKind::FileCreate], "{report:?}");
        fs::write(host.tree.join("open/go"), "").expect("write");
        await_asleep(&seconds, 1);
        assert!(host.tree.join("open/made").exists());
        assert!(!host.tree.join("shut/made").exists());
        link.stop().await;
        assert_eq!(asleep(&seconds), 0, "it ends with its host");
        support::inside::assert_no_layer(directory);
    });
}

fn nothing_stays_in_a_preview(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let seconds = format!("{}.5", 500_000 + std::process::id());
        let words = format!("touch made; nohup sleep {seconds} > /dev/null 2>&1 & {}", AWAIT_TWO.replace("= 2", "= 1"));
        let mut permit = line(&host, "call", &words);
        let unnamed = link.report_of(&permit).await;
        assert!(unnamed.layer_held && observation(&unnamed).ended.len() == 1, "{unnamed:?}");
        permit = line(&host, "again", &words);
        permit.effects = leaving(&host, "again", "", &["sleep"], None).effects;
        let report = link.report_of(&permit).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::UnsupportedChange), "{report:?}");
        assert!(!report.layer_held && asleep(&seconds) == 0, "{report:?}");
        link.stop().await;
    });
}

fn capability(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let daemon = host.open();
        let capabilities = daemon.hello().host.expect("a host").capabilities;
        let found = capabilities.iter().find(|found| found.name == "observe.processes").expect("it is told");
        assert!(found.available, "{found:?}");
        host.serve(daemon).stop().await;
    });
}
