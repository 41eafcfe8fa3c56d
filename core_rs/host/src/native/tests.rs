//! Behaviour of the native tools on a real directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cmdop_contract::reason::fixed;
use cmdop_contract::v1::remedy::Kind;
use cmdop_contract::v1::use_tool::Arguments;
use cmdop_contract::v1::{Action, EffectKind, Outcome, Permit, PermittedEffect, Reason, Stage};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::admit::Interrupted;

mod change;
mod look;
mod place;
mod processes;
mod services;

/// Journals of a test, in the directory that it works in.
const JOURNALS: &str = ".journals";

fn native(dir: &TempDir) -> Native {
    hiding(dir, Vec::new())
}

/// For tools that keep nothing in a journal.
fn without_files() -> Native {
    native(&TempDir::new().expect("directory"))
}

/// What is found out about a tool that died, `now` being the time of its note.
fn reconciled(dir: &TempDir, permit: &Permit) -> Option<Outcome> {
    native(dir).reconcile(&Interrupted::for_tests(permit.clone()))
}

fn hiding(dir: &TempDir, mut hidden: Vec<PathBuf>) -> Native {
    hidden.push(dir.path().join(JOURNALS));
    let journals = Journals::open(dir.path().join(JOURNALS)).expect("journals");
    Native::open(hidden, Arc::new(journals)).expect("open /")
}

/// A permit for one tool with the effects of `kinds` anywhere beneath `dir`.
fn permit(dir: &Path, tool: &str, arguments: &Value, kinds: &[EffectKind]) -> Permit {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let target = format!("{}/**", dir.display());
    Permit {
        call_id: format!("call-{}", CALLS.fetch_add(1, Ordering::Relaxed)),
        permit_id: format!("{tool}-{}", measure::sha256_of(arguments.to_string().as_bytes())),
        action: Some(Action { tool: tool.into(), arguments_json: arguments.to_string(), ..Action::default() }),
        effects: kinds
            .iter()
            .map(|kind| PermittedEffect { kind: (*kind).into(), target: target.clone(), max_count: None })
            .collect(),
        ..Permit::default()
    }
}

const ALL: &[EffectKind] = &[
    EffectKind::FileCreate,
    EffectKind::FileModify,
    EffectKind::FileDelete,
    EffectKind::FileRename,
    EffectKind::FileChmod,
];

fn apply(dir: &TempDir, tool: &str, arguments: &Value) -> Done {
    let admitted = Admitted::for_tests(permit(dir.path(), tool, arguments, ALL));
    native(dir).apply(&admitted).expect("permitted")
}

fn told(done: &Done) -> Value {
    assert!(done.result.ok, "{:?}", done.result.error);
    serde_json::from_str(&done.result.result_json).expect("a result is JSON")
}

fn reason(done: &Done) -> Reason {
    assert!(!done.result.ok);
    done.result.error.as_ref().expect("a failure has an error").reason()
}

fn remedy(done: &Done) -> Kind {
    let error = done.result.error.clone().expect("a failure has an error");
    error.remedy.and_then(|remedy| remedy.kind).expect("an error has a remedy")
}

/// Names in a directory: what a tool left behind shows here.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != JOURNALS && name != "mark");
    names.sort();
    names
}

#[test]
fn a_window_of_a_file_comes_with_the_digest_of_all_of_it() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a.txt");
    fs::write(&path, "0123456789").expect("write");
    let done = apply(&dir, "files.read", &json!({"path": path, "offset": 2, "limit": 3}));
    let expected = json!({"content": "234", "encoding": "utf-8", "size": 10,
        "sha256": measure::sha256_of(b"0123456789"), "eof": false});
    assert_eq!(told(&done), expected);
    let rest = apply(&dir, "files.read", &json!({"path": path, "offset": 5}));
    assert_eq!((&told(&rest)["content"], &told(&rest)["eof"]), (&json!("56789"), &json!(true)));
}

#[test]
fn reading_a_directory_names_the_tool_that_does_it_and_with_what() {
    let dir = TempDir::new().expect("directory");
    let done = apply(&dir, "files.read", &json!({"path": dir.path()}));
    assert_eq!(reason(&done), Reason::PathNotUsable);
    let Kind::UseTool(list) = remedy(&done) else { panic!("{done:?}") };
    let Some(Arguments::ArgumentsJson(arguments)) = &list.arguments else { panic!("{list:?}") };
    let arguments = serde_json::from_str(arguments).expect("JSON");
    assert!(apply(&dir, &list.name, &arguments).result.ok, "{list:?}");
}

#[test]
fn reading_never_follows_a_link_and_never_opens_a_fifo() {
    let dir = TempDir::new().expect("directory");
    symlink("/etc/hostname", dir.path().join("link")).expect("link");
    symlink("/etc", dir.path().join("etc")).expect("link");
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::Mode::from_raw_mode(0o600))
        .expect("fifo");
    for name in ["link", "etc/hostname", "fifo", "../"] {
        let done = apply(&dir, "files.read", &json!({"path": dir.path().join(name)}));
        assert_eq!(reason(&done), Reason::PathNotUsable, "{name}");
    }
    let done = apply(&dir, "files.read", &json!({"path": dir.path().join("none")}));
    assert_eq!(reason(&done), Reason::PathNotFound);
}

#[test]
fn a_list_names_links_without_following_them_and_says_when_it_is_cut() {
    let dir = TempDir::new().expect("directory");
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("sub")).expect("directory");
    fs::write(top.join("sub/file"), "x").expect("write");
    symlink("/etc", top.join("link")).expect("link");
    let done = told(&apply(&dir, "files.list", &json!({"path": top, "recursive": true})));
    let entries = done["entries"].as_array().expect("entries");
    let kinds: Vec<_> = entries.iter().map(|entry| entry["type"].as_str().expect("type")).collect();
    assert_eq!(kinds, ["symlink", "directory", "regular"]);
    let cut = told(&apply(&dir, "files.list", &json!({"path": top, "recursive": true, "limit": 2})));
    assert_eq!((cut["entries"].as_array().map(Vec::len), &cut["truncated"]), (Some(2), &json!(true)));
}

#[test]
fn a_new_file_is_created_and_measured() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("new.txt");
    let done = apply(&dir, "files.write", &json!({"path": path, "content": "hello\n", "mode": "0600"}));
    assert_eq!(done.outcome, Outcome::Applied);
    assert_eq!(told(&done)["created"], json!(true));
    let effect = &done.observation.effects[0];
    assert_eq!((effect.kind(), effect.bytes), (EffectKind::FileCreate, 6));
    let after = effect.file.as_ref().and_then(|file| file.after.as_ref()).expect("state");
    assert_eq!((after.mode, after.sha256.as_str()), (0o600, measure::sha256_of(b"hello\n").as_str()));
    assert_eq!(names(dir.path()), ["new.txt"]);
}

#[test]
fn a_replaced_file_keeps_its_mode_owner_and_attributes() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "old\n").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o1751)).expect("chmod");
    rustix::fs::setxattr(&path, "user.note", b"kept", rustix::fs::XattrFlags::empty()).expect("setxattr");
    let before = fs::metadata(&path).expect("stat");
    let done = apply(&dir, "files.write", &json!({"path": path, "content": "new\n"}));
    let after = fs::metadata(&path).expect("stat");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    let mut note = [0u8; 16];
    assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut note), Ok(4));
    let effect = &done.observation.effects[0];
    assert_eq!(effect.kind(), EffectKind::FileModify);
    assert!(effect.file.as_ref().is_some_and(|file| file.text_diff.contains("-old\n+new\n")));
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn writing_what_is_there_already_has_no_effect() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "same").expect("write");
    let inode = fs::metadata(&path).expect("stat").ino();
    let done = apply(&dir, "files.write", &json!({"path": path, "content": "same"}));
    assert!(done.result.ok && done.observation.effects.is_empty());
    assert_eq!(fs::metadata(&path).expect("stat").ino(), inode);
}

#[test]
fn preconditions_of_a_write_fail_typed_and_leave_the_file() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "old").expect("write");
    let lost = json!({"path": path, "content": "new", "expected_sha256": measure::sha256_of(b"other")});
    assert_eq!(reason(&apply(&dir, "files.write", &lost)), Reason::ContentChanged);
    let taken = json!({"path": path, "content": "new", "if_exists": "fail"});
    assert_eq!(reason(&apply(&dir, "files.write", &taken)), Reason::PathExists);
    let nowhere = json!({"path": dir.path().join("none/a"), "content": "new"});
    assert_eq!(reason(&apply(&dir, "files.write", &nowhere)), Reason::PathNotFound);
    fs::hard_link(&path, dir.path().join("b")).expect("link");
    let linked = json!({"path": path, "content": "new"});
    assert_eq!(reason(&apply(&dir, "files.write", &linked)), Reason::UnsupportedChange);
    assert_eq!(fs::read_to_string(&path).expect("read"), "old");
    assert_eq!(names(dir.path()), ["a", "b"]);
}

#[test]
fn a_deleted_tree_is_one_effect_with_its_count_and_bytes() {
    let dir = TempDir::new().expect("directory");
    let logs = dir.path().join("logs");
    fs::create_dir_all(logs.join("deep/er")).expect("directories");
    fs::write(logs.join("a"), "12345").expect("write");
    fs::write(logs.join("deep/er/b"), "123").expect("write");
    symlink("/etc", logs.join("link")).expect("link");
    let refused = apply(&dir, "files.delete", &json!({"path": logs}));
    assert_eq!(reason(&refused), Reason::PathNotUsable);
    assert_eq!(
        remedy(&refused),
        Kind::FixArguments(fixed("/arguments/recursive", "true, if all that it holds is meant"))
    );
    let done = apply(&dir, "files.delete", &json!({"path": logs, "recursive": true}));
    assert_eq!(told(&done), json!({"count": 6, "bytes": 8}));
    let effect = &done.observation.effects[0];
    assert_eq!((effect.kind(), effect.count, effect.bytes), (EffectKind::FileDelete, 6, 8));
    assert!(names(dir.path()).is_empty() && Path::new("/etc/passwd").exists());
}

#[test]
fn a_tree_deeper_than_any_path_may_be_long_is_deleted() {
    let dir = TempDir::new().expect("directory");
    let name = "d".repeat(200);
    let mut here = rustix::fs::open(dir.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).expect("open");
    for _ in 0..600 {
        rustix::fs::mkdirat(&here, &name, rustix::fs::Mode::from_raw_mode(0o700)).expect("mkdir");
        here = rustix::fs::openat(&here, &name, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).expect("open");
    }
    let done = apply(&dir, "files.delete", &json!({"path": dir.path().join(&name), "recursive": true}));
    assert_eq!(told(&done)["count"], json!(600));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn an_effect_beyond_the_permit_is_refused_before_it_happens() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "old").expect("write");
    let native = native(&dir);
    for (tool, arguments) in [
        ("files.delete", json!({"path": path})),
        ("files.write", json!({"path": path, "content": "new", "mode": "0777"})),
    ] {
        let narrow = permit(dir.path(), tool, &arguments, &[EffectKind::FileModify]);
        let error = native.apply(&Admitted::for_tests(narrow)).expect_err("beyond the permit");
        assert_eq!(error.reason(), Reason::EffectNotPermitted);
    }
    assert_eq!(fs::read_to_string(&path).expect("read"), "old");
}

#[test]
fn a_plan_changes_nothing_and_commits_exactly_what_it_showed() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "old").expect("write");
    let arguments = json!({"path": path, "content": "new"});
    let mut permit = permit(dir.path(), "files.write", &arguments, ALL);
    let native = native(&dir);
    let (planned, held) = native.plan(&Admitted::for_tests(permit.clone()));
    assert_eq!(fs::read_to_string(&path).expect("read"), "old");
    assert_eq!(planned.outcome, Outcome::NotApplied);
    permit.preview_digest = planned.observation.digest.clone();
    let done = native.commit(&Admitted::for_tests(permit), &held.expect("held")).expect("committed");
    assert_eq!(done.observation, planned.observation);
    assert_eq!(fs::read_to_string(&path).expect("read"), "new");
}

#[test]
fn a_plan_conflicts_with_any_change_of_what_it_rests_on() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("content beneath", |logs| fs::write(logs.join("a"), "other").expect("write")),
        ("one more file", |logs| fs::write(logs.join("new"), "").expect("write")),
        ("mode", |logs| fs::set_permissions(logs, fs::Permissions::from_mode(0o700)).expect("chmod")),
    ];
    for (what, change) in changes {
        let dir = TempDir::new().expect("directory");
        let logs = dir.path().join("logs");
        fs::create_dir(&logs).expect("directory");
        fs::write(logs.join("a"), "content").expect("write");
        let arguments = json!({"path": logs, "recursive": true});
        let mut permit = permit(dir.path(), "files.delete", &arguments, ALL);
        let native = native(&dir);
        let (planned, held) = native.plan(&Admitted::for_tests(permit.clone()));
        permit.preview_digest = planned.observation.digest;
        change(&logs);
        let error = native.commit(&Admitted::for_tests(permit), &held.expect("held")).expect_err(what);
        assert_eq!(error.reason(), Reason::CommitConflict, "{what}");
        assert!(logs.join("a").exists());
    }
}

fn apply_stage(mut permit: Permit) -> Permit {
    permit.stage = Stage::Apply.into();
    permit
}

#[test]
fn the_journal_tells_what_became_of_a_tool_that_died() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "old").expect("write");
    let native = native(&dir);
    let write = apply_stage(permit(dir.path(), "files.write", &json!({"path": path, "content": "new"}), ALL));
    let reconciled = |permit: &Permit| native.reconcile(&Interrupted::for_tests(permit.clone()));
    // By somebody else: what is there says nothing about who wrote it.
    fs::write(&path, "new").expect("write");
    assert_eq!(reconciled(&write), Some(Outcome::NotApplied));
    fs::write(&path, "old").expect("write");
    native.apply(&Admitted::for_tests(write.clone())).expect("permitted");
    fs::write(&path, "changed since").expect("write");
    assert_eq!(reconciled(&write), Some(Outcome::Applied));
}

/// Applies one tool, then undoes it.
fn undone(native: &Native, dir: &TempDir, tool: &str, arguments: &Value) -> Done {
    let first = permit(dir.path(), tool, arguments, ALL);
    let undo = permit(dir.path(), "files.undo", &json!({"call": first.call_id}), ALL);
    let done = native.apply(&Admitted::for_tests(first)).expect("permitted");
    assert!(done.observation.effects.iter().all(|effect| effect.reversible), "{:?}", done.observation);
    native.apply(&Admitted::for_tests(undo)).expect("permitted")
}

#[test]
fn an_undo_brings_the_old_inodes_back_with_all_that_belongs_to_them() {
    let dir = TempDir::new().expect("directory");
    let (file, tree) = (dir.path().join("file"), dir.path().join("tree"));
    fs::write(&file, "old\n").expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");
    fs::create_dir_all(tree.join("deep")).expect("directories");
    fs::write(tree.join("deep/leaf"), "leaf").expect("write");
    let seen = || -> Vec<_> {
        let paths = [dir.path(), &file, &tree, &tree.join("deep"), &tree.join("deep/leaf")];
        let of = |path: &Path| fs::symlink_metadata(path).expect("it is there");
        paths.map(of).iter().map(|it| (it.ino(), it.mode(), it.uid(), it.size(), it.mtime(), it.mtime_nsec())).collect()
    };
    let native = native(&dir);
    let before = seen();
    let new = dir.path().join("new");
    let done = undone(&native, &dir, "files.write", &json!({"path": file, "content": "new\n", "mode": "0600"}));
    let kinds: Vec<_> = done.observation.effects.iter().map(v1::ObservedEffect::kind).collect();
    assert_eq!(kinds, [EffectKind::FileModify, EffectKind::FileChmod]);
    let diff = &done.observation.effects[0].file.as_ref().expect("a change").text_diff;
    assert!(diff.contains("-new\n+old\n"), "{diff}");
    assert_eq!(seen(), before);
    let done = undone(&native, &dir, "files.delete", &json!({"path": tree, "recursive": true}));
    let targets: Vec<_> = done.observation.effects.iter().map(|effect| effect.target.clone()).collect();
    let all = [&tree, &tree.join("deep"), &tree.join("deep/leaf")].map(|path| path.display().to_string());
    assert_eq!(targets, all);
    assert_eq!(seen(), before);
    let done = undone(&native, &dir, "files.write", &json!({"path": new, "content": ""}));
    assert_eq!(done.observation.effects[0].kind(), EffectKind::FileDelete);
    assert_eq!(seen(), before);
    assert_eq!(names(dir.path()), ["file", "tree"]);
}

#[test]
fn what_cannot_be_undone_is_named_and_nothing_is_restored() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "old").expect("write");
    let native = native(&dir);
    let undo = |call: &str| {
        let permit = permit(dir.path(), "files.undo", &json!({"call": call}), ALL);
        native.apply(&Admitted::for_tests(permit)).expect("refused by the tool")
    };
    let write = permit(dir.path(), "files.write", &json!({"path": path, "content": "new"}), ALL);
    native.apply(&Admitted::for_tests(write.clone())).expect("permitted");
    fs::write(&path, "by somebody else").expect("write");
    let refused = undo(&write.call_id);
    assert_eq!(reason(&refused), Reason::NotRestorable);
    let message = &refused.result.error.as_ref().expect("an error").message;
    assert!(message.contains(path.to_str().expect("text")), "{message}");
    assert_eq!(fs::read_to_string(&path).expect("read"), "by somebody else");
    let nothing = undo("a call that never was");
    assert_eq!(reason(&nothing), Reason::NotRestorable);
    assert!(nothing.result.error.expect("an error").message.contains("keeps nothing of call"));
    let again = permit(dir.path(), "files.write", &json!({"path": path, "content": "newer"}), ALL);
    native.apply(&Admitted::for_tests(again.clone())).expect("permitted");
    assert!(undo(&again.call_id).result.ok);
    let twice = undo(&again.call_id);
    assert_eq!(reason(&twice), Reason::NotRestorable);
    assert!(twice.result.error.expect("an error").message.contains("undone by call"));
}

#[test]
fn the_hosts_own_state_is_out_of_reach() {
    let dir = TempDir::new().expect("directory");
    let state = dir.path().join("state");
    fs::create_dir(&state).expect("directory");
    fs::write(state.join("key"), "secret").expect("write");
    let native = hiding(&dir, vec![state.clone()]);
    for (tool, arguments) in [
        ("files.read", json!({"path": state.join("key")})),
        ("files.list", json!({"path": state})),
        ("files.write", json!({"path": state.join("x"), "content": ""})),
        ("files.delete", json!({"path": dir.path(), "recursive": true})),
    ] {
        let admitted = Admitted::for_tests(permit(dir.path(), tool, &arguments, ALL));
        assert_eq!(reason(&native.apply(&admitted).expect("refused by the tool")), Reason::PathNotUsable, "{tool}");
    }
    assert_eq!(names(&state), ["key"]);
}

#[test]
fn swapping_a_directory_for_a_link_never_leads_a_write_outside() {
    const TRIES: usize = 2_000;
    let dir = TempDir::new().expect("directory");
    let (inside, aside, outside) = (dir.path().join("in"), dir.path().join("aside"), dir.path().join("out"));
    fs::create_dir(&inside).expect("directory");
    fs::create_dir(&outside).expect("directory");
    symlink(&outside, &aside).expect("link");
    let stop = AtomicBool::new(false);
    let native = native(&dir);
    let mut written = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let here = rustix::fs::CWD;
                let _ = rustix::fs::renameat_with(here, &inside, here, &aside, rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..TRIES {
            let arguments = json!({"path": inside.join("f"), "content": "", "if_exists": "fail"});
            let admitted = Admitted::for_tests(permit(dir.path(), "files.write", &arguments, ALL));
            let done = native.apply(&admitted).expect("permitted");
            written += usize::from(done.result.ok);
            assert!(names(&outside).is_empty(), "a write escaped");
            for place in [&inside, &aside] {
                let _ = fs::remove_file(place.join("f"));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Both sides of the race were met, or the test has shown nothing.
    assert!(written > 0 && written < TRIES, "{written} of {TRIES} writes met the directory");
}
