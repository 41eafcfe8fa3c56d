//! Names that lead somewhere else than they seem to.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cmdop_contract::path::PathPattern;
use cmdop_contract::v1::{ObservedEffect, Outcome, Reason, Stage};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::json;

use crate::support::commit_of;
use crate::support::host::{Host, on_runtime, reason};
use crate::support::inside::{assert_attempted, assert_no_layer, helper, line, seen, stdout, told, with};

/// How often a link is swapped while files are written through it.
const SWAPS: u64 = 100_000;

pub fn every_path(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let outside = host.directory.join("outside");
        fs::create_dir(&outside).expect("directory");
        for name in ["dots", "absolute", "linked", "root", "cwd", "fd"] {
            fs::write(outside.join(name), "old").expect("write");
        }
        symlink(&outside, host.tree.join("link")).expect("link");
        let mut link = host.start();
        let shown = outside.display();
        let attempt = format!(
            "echo new > ../outside/dots; echo new > {shown}/absolute; echo new > link/linked; \
             echo new > /proc/self/root{shown}/root; echo new > /proc/$$/cwd/../outside/cwd; \
             exec 7<> ../outside/fd; echo new > /proc/$$/fd/7; cat link/*"
        );
        let report = link.report_of(&line(&host, "call", &attempt)).await;
        assert_eq!(stdout(&report), "new\n".repeat(6), "the command sees its own changes: {report:?}");
        let expected: Vec<_> =
            ["absolute", "cwd", "dots", "fd", "linked", "root"].map(|name| format!("FileModify {shown}/{name}")).into();
        assert_eq!(seen(&report), expected);
        for entry in fs::read_dir(&outside).expect("list").flatten() {
            assert_eq!(fs::read_to_string(entry.path()).expect("read"), "old", "{entry:?}");
        }
        link.stop().await;
    });
}

pub fn own_script(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let script = host.tree.join("script.sh");
        let text = "#!/bin/bash\necho 'echo second' >> \"$0\"\n";
        fs::write(&script, text).expect("write");
        let mut link = host.start();
        let report = link.report_of(&line(&host, "call", "bash ./script.sh")).await;
        assert_eq!(stdout(&report), "second\n");
        assert_eq!(seen(&report), [format!("FileModify {}", script.display())]);
        assert_eq!(fs::read_to_string(&script).expect("read"), text);
        link.stop().await;
    });
}

pub fn hard_link(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let outside = host.directory.join("outside");
        fs::write(&outside, "old").expect("write");
        let mut link = host.start();
        let report = link.report_of(&line(&host, "call", "ln ../outside inside && echo new > inside")).await;
        let shown = host.tree.join("inside");
        assert!(seen(&report).iter().any(|effect| effect.ends_with(&*shown.to_string_lossy())), "{report:?}");
        assert_eq!(fs::read_to_string(&outside).expect("read"), "old");
        assert_eq!(outside.metadata().expect("stat").nlink(), 1);
        link.stop().await;
    });
}

pub fn names(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let make = r"touch $'a\nb' $'\xff' $'a\\b' ' x' -- -rf 'ｅtc' $'e\u0301'";
        let report = link.report_of(&line(&host, "call", make)).await;
        let tree = host.tree.display();
        let mut expected: Vec<_> =
            [&b"a\nb"[..], b"\xff", b"a\\b", b" x", b"-rf", "ｅtc".as_bytes(), "e\u{301}".as_bytes()]
                .iter()
                .map(|name| {
                    let path = host.tree.join(std::ffi::OsStr::from_bytes(name));
                    format!("FileCreate {}", cmdop_contract::path::escape(path.as_os_str().as_bytes()))
                })
                .collect();
        expected.sort();
        let mut found = seen(&report);
        found.sort();
        assert_eq!(found, expected, "in {tree}");
        link.stop().await;
    });
}

fn make_deep(top: &Path) {
    fs::create_dir(top).expect("directory");
    let mut here = openat(CWD, top, OFlags::DIRECTORY, Mode::empty()).expect("open");
    for _ in 0..4_000 {
        mkdirat(&here, c"d", Mode::RWXU).expect("directory");
        here = openat(&here, c"d", OFlags::DIRECTORY, Mode::empty()).expect("open");
    }
}

pub fn inside_deep(directory: &Path) {
    make_deep(&directory.join("srv/deep"));
    println!("made");
}

pub fn deep(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let begun = Instant::now();
        let report = link.report_of(&helper(&host, "make", "inside: deep")).await;
        println!("4,000 levels made in {:?}", begun.elapsed());
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::UnsupportedChange), "{report:?}");
        assert_no_layer(&host.directory);
        make_deep(&host.tree.join("there"));
        let begun = Instant::now();
        // The kernel's walk through an overlay takes longer the deeper it is, and how long is not the question.
        let removal = with(&host, "remove", json!({"command": "rm -rf there", "timeout_s": 80}));
        let report = link.report_of(&removal).await;
        println!("4,000 levels removed in {:?}", begun.elapsed());
        let effects = &report.observation.as_ref().expect("an observation").effects;
        assert_eq!((effects.len(), effects[0].count, report.layer_held), (1, 4_001, true), "{report:?}");
        assert!(host.tree.join("there/d/d").exists());
        let report = link.report_of(&commit_of(removal, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!host.tree.join("there").exists());
        // What is shown of its return can be decided about: too long a target nobody could read.
        let undo = host.permit("undo", Stage::Preview, "files.undo", &json!({"call": "remove"}));
        let plan = link.report_of(&undo).await;
        let effects = &plan.observation.as_ref().expect("an observation").effects;
        let is_target = |effect: &ObservedEffect| PathPattern::parse(&effect.target, None, None).is_ok();
        let count: u64 = effects.iter().map(|effect| effect.count).sum();
        assert_eq!((count, effects.iter().all(is_target)), (4_001, true), "{}", effects.len());
        let report = link.report_of(&commit_of(undo, &plan)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{:?}", report.error);
        assert!(host.tree.join("there/d/d").exists());
        link.stop().await;
    });
}

pub fn swapped(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let (outside, inside, name) =
            (host.directory.join("outside"), host.tree.join("inside"), host.tree.join("name"));
        for made in [&outside, &inside] {
            fs::create_dir(made).expect("directory");
        }
        let (link_file, swaps, over) = (host.tree.join("link"), AtomicU64::new(0), AtomicBool::new(false));
        symlink(&outside, &link_file).expect("link");
        fs::rename(&inside, &name).expect("rename");
        let mut link = host.start();
        let begun = Instant::now();
        let written = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &name, CWD, &link_file, rustix::fs::RenameFlags::EXCHANGE)
                        .expect("swap");
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            });
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let (mut calls, mut outcomes) = (0, [0_u64; 2]);
                    while swaps.load(Ordering::Relaxed) < SWAPS && begun.elapsed() < Duration::from_secs(60) {
                        calls += 1;
                        let arguments = json!({"path": name.join("file"), "content": "x"});
                        let permit = host.permit(&format!("call-{calls}"), Stage::Apply, "files.write", &arguments);
                        let report = link.report_of(&permit).await;
                        outcomes[usize::from(report.outcome() == Outcome::Applied)] += 1;
                    }
                    over.store(true, Ordering::Relaxed);
                    outcomes
                })
            })
        });
        println!(
            "{} swaps in {:?}: {} writes refused, {} applied",
            swaps.load(Ordering::Relaxed),
            begun.elapsed(),
            written[0],
            written[1]
        );
        assert!(swaps.load(Ordering::Relaxed) >= SWAPS / 4, "too slow to show anything");
        assert!(written[0] > 0, "no write ever met the link");
        assert_eq!(fs::read_dir(&outside).expect("list").count(), 0, "a write went through the link");
        link.stop().await;
    });
}

pub fn own_state(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let state = host.directory.join("state");
        let shown = state.display();
        let attempt = format!(
            "find {shown} -mindepth 1; echo x > {shown}/ledger/x; mkdir -p {shown}/layers/x; rm -rf {shown}; mv {shown} ../stolen; \
             ls -A {shown}; cat /proc/self/mountinfo | grep -c upperdir= > /dev/null; echo over"
        );
        let report = link.report_of(&line(&host, "call", &attempt)).await;
        assert_eq!(stdout(&report), "over\n", "{report:?}");
        let refusals = told(&report)["stderr"].as_str().expect("text").to_lowercase();
        assert!(refusals.lines().count() >= 4 && refusals.contains("read-only"), "{refusals}");
        assert!(seen(&report).is_empty(), "{report:?}");
        assert_attempted(&report, [&*format!("open {shown}"), &*format!("list {shown}")]);
        assert!(state.join("ledger").exists() && state.join("layers").exists());
        link.stop().await;
    });
}
