//! Commits and undos on a file system that is full or read-only: a typed error with a remedy, and
//! everything as it was.

mod support;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cmdop_contract::v1::{EffectKind, Outcome, Permit, Reason, Report, Stage, remedy};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount};
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::host::{Host, on_runtime};
use support::inside::is_root;
use support::{commit_of, with_effects};

/// These need root to mount.
const CASES: &[Case] = &[
    ("a_commit_on_a_full_disk_changes_nothing_and_goes_through_once_there_is_room", full),
    ("a_commit_on_a_read_only_file_system_changes_nothing", read_only),
    ("an_undo_on_a_read_only_file_system_changes_nothing_and_can_come_later", undone_later),
    ("what_is_kept_to_be_undone_leaves_room_on_a_small_disk", kept_on_a_small_disk),
    ("what_a_file_system_cannot_hold_is_no_change_to_try_again", unheld),
    ("a_preview_whose_layer_finds_no_room_changes_nothing", layer_full),
    ("a_disk_that_fills_is_no_limit_of_the_command", filling),
];

fn main() -> ExitCode {
    cases::run(if is_root() { CASES } else { &[] }, &[])
}

/// Mounts a small file system for this process alone.
fn small(place: &Path, options: &CStr) {
    // SAFETY: this process has one thread, and shares nothing that it relies on.
    #[allow(unsafe_code)]
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("a mount namespace");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
    fs::create_dir_all(place).expect("directory");
    mount("tmpfs", place, "tmpfs", MountFlags::empty(), options).expect("a small file system");
}

fn turn(place: &Path, flags: MountFlags) {
    mount_remount(place, flags, c"").expect("remounted");
}

/// Takes what is left of a file system.
fn fill(place: &Path) -> PathBuf {
    let filler = place.join("filler");
    let _ = fs::write(&filler, vec![0; 64 << 20]);
    filler
}

/// What the tree holds, but the private directory of the journals and what a test fills it with.
fn seen(tree: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(tree).expect("list").map(|entry| entry.expect("entry"));
    let named = entries.map(|entry| (entry.file_name().into_string().expect("text"), entry.path()));
    let own = named.filter(|(name, _)| !name.starts_with(".cmdop-") && name != "filler");
    own.map(|(name, path)| (name, fs::read(path).unwrap_or_default())).collect()
}

fn anywhere(host: &Host, call: &str, tool: &str, arguments: &Value) -> Permit {
    let kinds = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete];
    with_effects(host.permit(call, Stage::Preview, tool, arguments), &kinds, &format!("{}/**", host.tree.display()))
}

fn command(host: &Host, call: &str) -> Permit {
    let line = "head -c 600000 /dev/zero > new; echo changed > old; rm gone";
    anywhere(host, call, "terminal.exec", &json!({"command": line, "cwd": host.tree, "timeout_s": 20}))
}

fn plant(tree: &Path) {
    fs::write(tree.join("old"), "old").expect("write");
    fs::write(tree.join("gone"), "gone").expect("write");
}

fn assert_failed(report: &Report, why: &[Reason]) {
    assert_eq!(report.outcome(), Outcome::NotApplied, "{report:?}");
    // A native tool's own failure is in its result.
    let error = report.error.as_ref().or_else(|| report.result.as_ref()?.error.as_ref()).expect("an error");
    assert!(why.contains(&error.reason()), "{report:?}");
    assert!(error.remedy.as_ref().is_some_and(|remedy| remedy.kind.is_some()), "no remedy: {report:?}");
}

/// It says what is to be mended.
fn assert_read_only(report: &Report) {
    assert_failed(report, &[Reason::PathNotUsable]);
    let error = report.error.as_ref().or_else(|| report.result.as_ref()?.error.as_ref()).expect("an error");
    assert!(error.message.contains("its file system is read-only"), "{report:?}");
    let remedy = error.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref());
    assert!(matches!(remedy, Some(remedy::Kind::RetryAfter(_))), "{report:?}");
}

fn full(directory: &Path) {
    small(&directory.join("srv"), c"size=2m");
    on_runtime(directory, async |mut host: Host| {
        plant(&host.tree);
        let before = seen(&host.tree);
        let mut link = host.start();
        let permit = command(&host, "one");
        let preview = link.report_of(&permit).await;
        assert!(preview.layer_held, "{preview:?}");
        let filler = fill(&host.tree);
        assert_failed(&link.report_of(&commit_of(permit, &preview)).await, &[Reason::HostStorageFull]);
        assert_eq!(seen(&host.tree), before);
        fs::remove_file(filler).expect("room");
        let permit = command(&host, "two");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        // Undone on a full disk: nothing is copied for it.
        let after = seen(&host.tree);
        let filler = fill(&host.tree);
        let undo = anywhere(&host, "undo", "files.undo", &json!({"call": "two"}));
        let plan = link.report_of(&undo).await;
        let report = link.report_of(&commit_of(undo, &plan)).await;
        match report.outcome() {
            Outcome::Applied => assert_eq!(seen(&host.tree), before),
            _ => {
                assert_failed(&report, &[Reason::HostStorageFull]);
                assert_eq!(seen(&host.tree), after);
            }
        }
        fs::remove_file(filler).expect("room");
        link.stop().await;
    });
}

fn read_only(directory: &Path) {
    let tree = directory.join("srv");
    small(&tree, c"size=4m");
    on_runtime(directory, async |mut host: Host| {
        plant(&host.tree);
        let before = seen(&host.tree);
        let mut link = host.start();
        let permit = command(&host, "one");
        let preview = link.report_of(&permit).await;
        assert!(preview.layer_held, "{preview:?}");
        turn(&tree, MountFlags::RDONLY);
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_read_only(&report);
        assert_eq!(seen(&host.tree), before);
        turn(&tree, MountFlags::empty());
        let permit = command(&host, "two");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        link.stop().await;
    });
}

/// What is kept to be undone never fills a small disk: the oldest goes, and says so.
fn kept_on_a_small_disk(directory: &Path) {
    small(&directory.join("srv"), c"size=16m");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        fs::write(host.tree.join("big"), vec![0; 2_000_000]).expect("write");
        let mut before = Vec::new();
        for number in 0..12 {
            before.push(fs::read(host.tree.join("big")).expect("read"));
            let line = format!("head -c 2000000 /dev/zero | tr '\\0' {} > big", char::from(b'a' + number));
            let arguments = json!({"command": line, "cwd": host.tree});
            let permit = anywhere(&host, &format!("call {number}"), "terminal.exec", &arguments);
            let preview = link.report_of(&permit).await;
            let report = link.report_of(&commit_of(permit, &preview)).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{number}: {report:?}");
        }
        let undo = |call: &str| anywhere(&host, &format!("undo {call}"), "files.undo", &json!({"call": call}));
        assert_failed(&link.report_of(&undo("call 0")).await, &[Reason::NotRestorable]);
        let last = undo("call 11");
        let plan = link.report_of(&last).await;
        let report = link.report_of(&commit_of(last, &plan)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(fs::read(host.tree.join("big")).expect("read") == before[11]);
        link.stop().await;
    });
}

/// Files in memory of this kind have no attributes; the layer's have.
fn unheld(directory: &Path) {
    let place = directory.join("srv");
    cases::private_mounts();
    fs::create_dir_all(&place).expect("directory");
    mount("ramfs", &place, "ramfs", MountFlags::empty(), None).expect("a file system");
    on_runtime(directory, async |mut host: Host| {
        plant(&host.tree);
        let before = seen(&host.tree);
        let mut link = host.start();
        let line = "rm gone; python3 -c 'import os; os.setxattr(\"old\", \"user.key\", b\"value\")'; echo new > new; \
                    python3 -c 'import os; os.setxattr(\"new\", \"user.key\", b\"value\")'";
        let permit = anywhere(&host, "call", "terminal.exec", &json!({"command": line, "cwd": host.tree}));
        let preview = link.report_of(&permit).await;
        assert!(preview.layer_held, "{preview:?}");
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_failed(&report, &[Reason::UnsupportedChange]);
        assert!(report.error.as_ref().is_some_and(|error| error.message.contains("cannot hold")), "{report:?}");
        assert_eq!(seen(&host.tree), before);
        link.stop().await;
    });
}

fn undone_later(directory: &Path) {
    let tree = directory.join("srv");
    small(&tree, c"size=4m");
    on_runtime(directory, async |mut host: Host| {
        plant(&host.tree);
        let before = seen(&host.tree);
        let mut link = host.start();
        let permit = command(&host, "one");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        let after = seen(&host.tree);
        let undo = |call| anywhere(&host, call, "files.undo", &json!({"call": "one"}));
        let first = undo("first");
        let plan = link.report_of(&first).await;
        assert!(plan.layer_held, "{plan:?}");
        turn(&tree, MountFlags::RDONLY);
        let report = link.report_of(&commit_of(first, &plan)).await;
        assert_read_only(&report);
        assert_eq!(seen(&host.tree), after);
        turn(&tree, MountFlags::empty());
        let second = undo("second");
        let plan = link.report_of(&second).await;
        assert!(plan.layer_held, "{plan:?}");
        let report = link.report_of(&commit_of(second, &plan)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert_eq!(seen(&host.tree), before);
        link.stop().await;
    });
}

fn filling(directory: &Path) {
    small(&directory.join("state"), c"size=24m");
    on_runtime(directory, async |mut host: Host| {
        plant(&host.tree);
        let mut link = host.start();
        // It goes on whatever it is refused: only the host ends it.
        let line = "while :; do head -c 1000000 /dev/zero >> new; sleep 0.05; done";
        let arguments = json!({"command": line, "cwd": host.tree, "timeout_s": 120});
        let preview = link.report_of(&anywhere(&host, "one", "terminal.exec", &arguments)).await;
        let error = preview.result.as_ref().and_then(|result| result.error.as_ref()).expect("an error");
        assert_eq!(error.reason(), Reason::HostStorageFull, "{preview:?}");
        assert!(error.message.contains("a higher `disk_mb` does not help"), "{}", error.message);
        let remedy = error.remedy.as_ref().and_then(|it| it.kind.as_ref());
        assert!(matches!(remedy, Some(remedy::Kind::RetryAfter(_))), "{remedy:?}");
        link.stop().await;
    });
}

fn layer_full(directory: &Path) {
    // The ledger has its room before the layers' disk is full.
    small(&directory.join("state"), c"size=24m");
    // What is kept of a tree on another mount than the state lies at the top of that mount: here in the tree, so
    // that it goes with it.
    let tree = directory.join("srv");
    fs::create_dir(&tree).expect("directory");
    rustix::mount::mount_bind(&tree, &tree).expect("a mount of its own");
    on_runtime(directory, async |mut host: Host| {
        plant(&host.tree);
        let before = seen(&host.tree);
        let mut link = host.start();
        let line = "head -c 60000000 /dev/zero > new";
        let arguments = json!({"command": line, "cwd": host.tree, "timeout_s": 20});
        let preview = link.report_of(&anywhere(&host, "one", "terminal.exec", &arguments)).await;
        assert!(!preview.layer_held, "{preview:?}");
        let error = preview.error.as_ref().or_else(|| preview.result.as_ref()?.error.as_ref());
        let why = error.map(cmdop_contract::v1::Error::reason);
        assert!(
            matches!(why, Some(Reason::LimitExceeded | Reason::HostStorageFull | Reason::CommandFailed)),
            "{preview:?}"
        );
        assert_eq!(seen(&host.tree), before);
        let permit = command(&host, "two");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "it goes on: {report:?}");
        link.stop().await;
    });
    // The namespace ends with the process; the directory is emptied before.
    for mounted in [directory.join("state"), tree] {
        let _ = unmount(mounted, UnmountFlags::DETACH);
    }
}
