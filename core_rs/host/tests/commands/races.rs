//! What somebody else changes on the machine while a command runs on its copy.

use std::fs;
use std::path::Path;

use cmdop_contract::v1::{EffectKind, Outcome, Reason, Stage, host_to_server};

use crate::command;
use crate::support::cases;
use crate::support::host::{Host, Link, on_runtime, reason};
use crate::support::{commit_of, with_effects};

/// What is done to the machine while a command runs on its copy, and what the command does.
type Race = (&'static str, &'static str, fn(&Path), Reason);

const RACES: &[Race] = &[
    ("in place", "echo more >> file", |tree| fs::write(tree.join("file"), "theirs").expect("write"), CONFLICT),
    ("replaced", "echo more >> file", |tree| replace(tree, "file"), CONFLICT),
    ("made", "echo mine > new", |tree| fs::write(tree.join("new"), "theirs").expect("write"), CONFLICT),
    ("mode", "rm file", |tree| set_mode(&tree.join("file"), 0o600), CONFLICT),
    ("into a tree", "rm -r dir", |tree| fs::write(tree.join("dir/new"), "theirs").expect("write"), CONFLICT),
    ("within a tree", "rm -r dir", |tree| fs::write(tree.join("dir/file"), "theirs").expect("write"), CONFLICT),
    ("attributes", "chmod 600 file", |tree| fs::write(tree.join("file"), "theirs").expect("write"), CONFLICT),
    // What the command neither changed nor replaced is none of its business.
    ("beside", "echo more >> file", |tree| fs::write(tree.join("dir/file"), "theirs").expect("write"), FINE),
    ("next to it", "echo more >> dir/file", |tree| fs::write(tree.join("dir/new"), "x").expect("write"), FINE),
    // A directory is copied with what comes into it, so that nobody can tell who gave it its mode; not so the top.
    ("around it", "echo more >> dir/file", |tree| set_mode(&tree.join("dir"), 0o711), CONFLICT),
    // Also where the command did nothing else: it is not told that all went well.
    ("entry beside its mode", "chmod 750 dir", |tree| fs::write(tree.join("dir/new"), "x").expect("write"), CONFLICT),
    ("mode beside its mode", "chmod 750 dir", |tree| set_mode(&tree.join("dir"), 0o711), CONFLICT),
    // A time that was set back does not hide it.
    (
        "set back",
        "echo more >> file",
        |tree| {
            let file = fs::OpenOptions::new().write(true).open(tree.join("file")).expect("open");
            let time = file.metadata().and_then(|found| found.modified()).expect("time");
            fs::write(tree.join("file"), "their").and_then(|()| file.set_modified(time)).expect("write");
        },
        CONFLICT,
    ),
];
const CONFLICT: Reason = Reason::CommitConflict;
const FINE: Reason = Reason::Unspecified;

/// The top of a layer is made alike before the command begins.
const TOP: Race = ("top", "echo more >> file", |tree| set_mode(tree, 0o711), FINE);

/// Only root sees from what a copy was made.
const GONE: Race = ("gone", "echo more >> file", |tree| fs::remove_file(tree.join("file")).expect("remove"), CONFLICT);

fn replace(tree: &Path, name: &str) {
    fs::write(tree.join("staged"), "theirs").expect("write");
    fs::rename(tree.join("staged"), tree.join(name)).expect("rename");
}

fn set_mode(place: &Path, mode: u32) {
    fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
}

pub fn changes_meanwhile(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let is_root = rustix::process::geteuid().is_root();
        for race in RACES.iter().chain(is_root.then_some(&GONE)) {
            fs::remove_dir_all(&host.tree).expect("remove");
            run(race, &host, &mut link).await;
        }
        link.stop().await;
    });
}

pub fn changes_at_the_top(directory: &Path) {
    cases::in_memory(&directory.join("srv"));
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        run(&TOP, &host, &mut link).await;
        let mode = fs::metadata(&host.tree).expect("stat").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o711);
        link.stop().await;
    });
}

async fn run((name, line, meanwhile, expected): &Race, host: &Host, link: &mut Link) {
    fs::create_dir_all(host.tree.join("dir")).expect("directory");
    // Right before, so that a slow clock would take it for a change meanwhile.
    for file in ["file", "dir/file"] {
        fs::write(host.tree.join(file), "before").expect("write");
    }
    // The copy is made, and the base of the difference not yet read.
    let line = format!("{line} && echo ready && sleep 1");
    let permit = command(host, name, Stage::Preview, &line);
    let all = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete, EffectKind::FileChmod];
    let permit = with_effects(permit, &all, &format!("{}/**", host.tree.display()));
    link.sign_and_send(&permit).await;
    while !matches!(link.next().await, host_to_server::Kind::Output(_)) {}
    meanwhile(&host.tree);
    let preview = link.report().await;
    let report = if preview.layer_held { link.report_of(&commit_of(permit, &preview)).await } else { preview.clone() };
    assert_eq!(reason(&report), *expected, "{name}: {report:?}");
    let is_applied = report.outcome() == Outcome::Applied;
    assert_eq!(is_applied, *expected == FINE, "{name}: {report:?}");
    assert!(
        !is_applied || preview.observation.as_ref().is_some_and(|seen| seen.effects.len() == 1),
        "{name}: {preview:?}"
    );
}
