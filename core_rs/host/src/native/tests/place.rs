//! Tools that make and move places: `files.mkdir`, `files.move`, `files.copy`.

use super::*;

fn kinds(done: &Done) -> Vec<(EffectKind, String)> {
    done.observation.effects.iter().map(|effect| (effect.kind(), effect.target.clone())).collect()
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

/// A tree with a file, a directory, a link and permission bits of its own.
fn tree(at: &Path) {
    fs::create_dir_all(at.join("sub")).expect("directories");
    fs::write(at.join("sub/file"), "12345").expect("write");
    fs::set_permissions(at.join("sub/file"), fs::Permissions::from_mode(0o600)).expect("chmod");
    symlink("sub/file", at.join("link")).expect("link");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in [at.join("sub/file"), at.join("sub")] {
        fs::File::open(path).and_then(|file| file.set_modified(long_ago)).expect("set a time");
    }
}

#[test]
fn directories_are_made_as_far_up_as_was_asked_for() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a/b/c");
    assert_eq!(reason(&apply(&dir, "files.mkdir", &json!({"path": path, "parents": 1}))), Reason::PathNotFound);
    assert!(names(dir.path()).is_empty());
    let done = apply(&dir, "files.mkdir", &json!({"path": path, "parents": 2, "mode": "0750"}));
    let made = [dir.path().join("a"), dir.path().join("a/b"), path.clone()].map(|path| text(&path));
    assert_eq!(told(&done), json!({"created": made}));
    assert_eq!(kinds(&done), made.map(|path| (EffectKind::FileCreate, path)));
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o7777, 0o750);
    assert_eq!(names(dir.path()), ["a"]);
    let again = apply(&dir, "files.mkdir", &json!({"path": path, "parents": 2}));
    assert_eq!((told(&again), again.observation.effects.len()), (json!({"created": []}), 0));
    fs::write(dir.path().join("file"), "").expect("write");
    let taken = apply(&dir, "files.mkdir", &json!({"path": dir.path().join("file")}));
    assert_eq!(reason(&taken), Reason::PathExists);
}

#[test]
fn a_planned_directory_is_made_as_planned() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a/b");
    let mut permit = permit(dir.path(), "files.mkdir", &json!({"path": path, "parents": 1}), ALL);
    let native = native(&dir);
    let (planned, held) = native.plan(&Admitted::for_tests(permit.clone()));
    assert!(names(dir.path()).is_empty());
    permit.preview_digest = planned.observation.digest.clone();
    let done = native.commit(&Admitted::for_tests(permit), &held.expect("held")).expect("committed");
    assert_eq!(done.observation, planned.observation);
}

#[test]
fn a_tree_moves_in_one_step_and_everything_in_it_is_named() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    let inode = fs::metadata(from.join("sub/file")).expect("stat").ino();
    let done = apply(&dir, "files.move", &json!({"from": from, "to": to}));
    assert_eq!(told(&done), json!({"count": 4, "bytes": 5, "overwritten": false}));
    let mut expected = vec![(EffectKind::FileRename, text(&from))];
    expected.extend(["", "/link", "/sub", "/sub/file"].map(|at| (EffectKind::FileCreate, text(&to) + at)));
    assert_eq!(kinds(&done), expected);
    let came: Vec<_> =
        done.observation.effects.iter().map(|effect| effect.file.clone().expect("a file").renamed).collect();
    assert_eq!(came[0], text(&to));
    assert_eq!(came[1..], ["", "/link", "/sub", "/sub/file"].map(|at| text(&from) + at), "nothing of it is new");
    assert_eq!(fs::metadata(to.join("sub/file")).expect("stat").ino(), inode);
    assert_eq!(names(dir.path()), ["to"]);
}

#[test]
fn a_move_replaces_a_file_only_when_told_and_a_directory_never() {
    let dir = TempDir::new().expect("directory");
    let (from, to, tree) = (dir.path().join("from"), dir.path().join("to"), dir.path().join("tree"));
    fs::write(&from, "new").expect("write");
    fs::write(&to, "old content").expect("write");
    fs::create_dir(&tree).expect("directory");
    assert_eq!(reason(&apply(&dir, "files.move", &json!({"from": from, "to": to}))), Reason::PathExists);
    let onto = json!({"from": from, "to": tree, "overwrite": true});
    assert_eq!(reason(&apply(&dir, "files.move", &onto)), Reason::PathExists);
    let done = apply(&dir, "files.move", &json!({"from": from, "to": to, "overwrite": true}));
    assert_eq!(told(&done)["overwritten"], json!(true));
    let expected = [
        (EffectKind::FileRename, text(&from)),
        (EffectKind::FileDelete, text(&to)),
        (EffectKind::FileCreate, text(&to)),
    ];
    assert_eq!(kinds(&done), expected);
    assert_eq!(fs::read_to_string(&to).expect("read"), "new");
    assert_eq!(names(dir.path()), ["to", "tree"]);
}

#[test]
fn a_copy_whose_place_is_taken_meanwhile_is_refused_and_leaves_nothing() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, "from").expect("write");
    let copy = json!({"from": from, "to": to});
    let error = after(&dir, "files.copy", &copy, || fs::write(&to, "to").expect("write"));
    assert_eq!((error.reason(), text_of(&to).as_str()), (Reason::PathExists, "to"));
    fs::remove_file(&to).expect("remove");
    let error = after(&dir, "files.copy", &copy, || fs::write(&from, "changed").expect("write"));
    assert_eq!((error.reason(), to.exists()), (Reason::ContentChanged, false));
    let made = json!({"path": dir.path().join("dir/made")});
    fs::create_dir(dir.path().join("dir")).expect("directory");
    let error = after(&dir, "files.mkdir", &made, || fs::create_dir(dir.path().join("dir/made")).expect("directory"));
    assert_eq!(error.reason(), Reason::ContentChanged);
    assert_eq!(names(dir.path()), ["dir", "from"]);
}

/// Performs a tool that was prepared before somebody else changed something.
fn after(dir: &TempDir, tool: &str, arguments: &Value, change: impl FnOnce()) -> Error {
    let native = native(dir);
    let admitted = Admitted::for_tests(permit(dir.path(), tool, arguments, ALL));
    let mut step = native.prepare(&admitted).expect("prepared");
    change();
    let with = Means { journals: &native.journals, call_id: "call", permit_id: "permit", fence: None };
    let error = step.perform(&with).expect_err("a conflict");
    assert_eq!(names(&dir.path().join(JOURNALS)), [""; 0], "what was not done keeps no journal");
    error
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).expect("read")
}

#[test]
fn a_move_names_the_place_that_somebody_changed_meanwhile_and_moves_nothing() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, "from").expect("write");
    let (plain, over) = (json!({"from": from, "to": to}), json!({"from": from, "to": to, "overwrite": true}));
    let error = after(&dir, "files.move", &plain, || fs::write(&from, "changed").expect("write"));
    assert_eq!((error.reason(), text_of(&from).as_str(), to.exists()), (Reason::ContentChanged, "changed", false));
    assert!(error.to_string().contains("/from "), "{error}");
    let error = after(&dir, "files.move", &plain, || fs::write(&to, "to").expect("write"));
    assert_eq!((error.reason(), text_of(&from).as_str(), text_of(&to).as_str()), (Reason::PathExists, "changed", "to"));
    let Error::Typed(typed) = &error else { panic!("{error:?}") };
    let fixed = typed.remedy.clone().and_then(|remedy| remedy.kind);
    assert!(matches!(fixed, Some(Kind::FixArguments(fix)) if fix.path == "/arguments/to"), "{typed:?}");
    let error = after(&dir, "files.move", &over, || fs::write(&to, "other").expect("write"));
    assert_eq!((error.reason(), text_of(&to).as_str()), (Reason::ContentChanged, "other"));
    assert!(error.to_string().contains("/to "), "{error}");
    let error = after(&dir, "files.move", &over, || fs::remove_file(&to).expect("remove"));
    assert_eq!((error.reason(), text_of(&from).as_str(), to.exists()), (Reason::ContentChanged, "changed", false));
    let into = json!({"from": from, "to": dir.path().join("dir/to")});
    fs::create_dir(dir.path().join("dir")).expect("directory");
    let error = after(&dir, "files.move", &into, || {
        fs::rename(dir.path().join("dir"), dir.path().join("other")).expect("rename");
        fs::create_dir(dir.path().join("dir")).expect("directory");
    });
    assert_eq!(error.reason(), Reason::ContentChanged, "{error}");
    assert_eq!(names(dir.path()), ["dir", "from", "other"]);
}

#[test]
fn whoever_reads_a_file_that_a_move_replaces_finds_the_old_or_the_new_one() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&to, "0").expect("write");
    let stop = AtomicBool::new(false);
    let native = native(&dir);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::read_to_string(&to).expect("something is always there");
            }
        });
        for number in 1..100 {
            fs::write(&from, number.to_string()).expect("write");
            let arguments = json!({"from": from, "to": to, "overwrite": true});
            let done = native.apply(&Admitted::for_tests(permit(dir.path(), "files.move", &arguments, ALL)));
            told(&done.expect("permitted"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(text_of(&to), "99");
}

#[test]
fn a_move_beyond_its_permit_or_into_itself_is_refused() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    let into = apply(&dir, "files.move", &json!({"from": from, "to": from.join("sub/x")}));
    assert_eq!(reason(&into), Reason::InvalidArguments);
    let missing = apply(&dir, "files.move", &json!({"from": dir.path().join("none"), "to": to}));
    assert_eq!(reason(&missing), Reason::PathNotFound);
    let narrow = permit(dir.path(), "files.move", &json!({"from": from, "to": to}), &[EffectKind::FileRename]);
    let error = native(&dir).apply(&Admitted::for_tests(narrow)).expect_err("beyond the permit");
    assert_eq!(error.reason(), Reason::EffectNotPermitted);
    let elsewhere = json!({"from": from, "to": "/dev/shm/cmdop-test-move"});
    assert_eq!(reason(&apply(&dir, "files.move", &elsewhere)), Reason::UnsupportedChange);
    assert_eq!(names(dir.path()), ["from"]);
}

#[test]
fn a_copied_tree_keeps_bits_times_and_links() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    let flat = apply(&dir, "files.copy", &json!({"from": from, "to": to}));
    assert_eq!(reason(&flat), Reason::PathNotUsable);
    let done = apply(&dir, "files.copy", &json!({"from": from, "to": to, "recursive": true}));
    assert_eq!(told(&done), json!({"count": 4, "bytes": 5}));
    let expected = ["", "/link", "/sub", "/sub/file"].map(|at| (EffectKind::FileCreate, text(&to) + at));
    assert_eq!(kinds(&done), expected);
    for below in ["sub/file", "sub"] {
        let (one, two) = (fs::metadata(from.join(below)).expect("stat"), fs::metadata(to.join(below)).expect("stat"));
        assert_eq!((one.mode(), one.mtime(), one.mtime_nsec()), (two.mode(), two.mtime(), two.mtime_nsec()), "{below}");
    }
    assert_eq!(fs::read_link(to.join("link")).expect("a link"), Path::new("sub/file"));
    assert_eq!(fs::read_to_string(to.join("sub/file")).expect("read"), "12345");
    let again = apply(&dir, "files.copy", &json!({"from": from, "to": to, "recursive": true}));
    assert_eq!(reason(&again), Reason::PathExists);
    assert_eq!(names(dir.path()), ["from", "to"]);
}

#[test]
fn a_planned_copy_commits_as_planned_or_conflicts() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    let arguments = json!({"from": from, "to": to, "recursive": true});
    let mut permit = permit(dir.path(), "files.copy", &arguments, ALL);
    let native = native(&dir);
    let (planned, held) = native.plan(&Admitted::for_tests(permit.clone()));
    permit.preview_digest = planned.observation.digest.clone();
    let done = native.commit(&Admitted::for_tests(permit.clone()), &held.clone().expect("held")).expect("committed");
    assert_eq!(done.observation, planned.observation);
    fs::remove_dir_all(&to).expect("remove");
    fs::write(from.join("sub/file"), "54321").expect("write");
    let error = native.commit(&Admitted::for_tests(permit), &held.expect("held")).expect_err("changed");
    assert_eq!(error.reason(), Reason::CommitConflict);
    assert!(!to.exists());
}

#[test]
fn a_copy_drops_set_id_bits_and_refuses_what_is_no_file() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, "#!").expect("write");
    fs::set_permissions(&from, fs::Permissions::from_mode(0o6755)).expect("chmod");
    assert!(apply(&dir, "files.copy", &json!({"from": from, "to": to})).result.ok);
    assert_eq!(fs::metadata(&to).expect("stat").mode() & 0o7777, 0o755);
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).expect("fifo");
    let special = apply(&dir, "files.copy", &json!({"from": fifo, "to": dir.path().join("x")}));
    assert_eq!(reason(&special), Reason::UnsupportedChange);
}

#[test]
fn a_secret_that_its_new_place_would_still_show_as_one_goes_along() {
    let dir = TempDir::new().expect("directory");
    fs::create_dir_all(dir.path().join("app/.aws")).expect("directories");
    fs::write(dir.path().join("app/.aws/config"), "key").expect("write");
    fs::write(dir.path().join("app/.env"), "TOKEN").expect("write");
    let app = json!({"from": dir.path().join("app"), "to": dir.path().join("app2"), "recursive": true});
    assert!(apply(&dir, "files.copy", &app).result.ok, "each is still known by its name");
    let named = json!({"from": dir.path().join("app/.aws/config"), "to": dir.path().join("plain")});
    assert!(apply(&dir, "files.move", &named).result.ok, "policy was asked about reading exactly this");
}

#[test]
fn a_secret_is_not_carried_to_where_nobody_knows_it_for_one() {
    let dir = TempDir::new().expect("directory");
    let (aws, plain) = (dir.path().join(".aws"), dir.path().join("plain"));
    fs::create_dir(&aws).expect("directory");
    fs::write(aws.join("config"), "key").expect("write");
    for (tool, arguments) in [
        ("files.copy", json!({"from": aws, "to": plain, "recursive": true})),
        ("files.move", json!({"from": aws, "to": plain})),
    ] {
        let done = apply(&dir, tool, &arguments);
        assert_eq!(reason(&done), Reason::PathNotUsable, "{tool}");
        assert!(done.result.error.as_ref().is_some_and(|error| error.message.contains("secret")), "{tool}");
    }
    assert_eq!(names(dir.path()), [".aws"]);
}

#[test]
fn hidden_trees_are_neither_moved_nor_copied_nor_entered() {
    let dir = TempDir::new().expect("directory");
    let state = dir.path().join("app/state");
    fs::create_dir_all(&state).expect("directory");
    fs::write(state.join("key"), "secret").expect("write");
    fs::write(dir.path().join("file"), "x").expect("write");
    let native = hiding(&dir, vec![state.clone()]);
    let (file, free) = (dir.path().join("file"), dir.path().join("free"));
    for (tool, arguments) in [
        ("files.move", json!({"from": state, "to": free})),
        ("files.move", json!({"from": dir.path().join("app"), "to": free})),
        ("files.move", json!({"from": file, "to": state.join("x")})),
        ("files.move", json!({"from": file, "to": state.join("key"), "overwrite": true})),
        ("files.copy", json!({"from": dir.path().join("app"), "to": free, "recursive": true})),
        ("files.copy", json!({"from": state.join("key"), "to": free})),
        ("files.copy", json!({"from": file, "to": state.join("x")})),
        ("files.mkdir", json!({"path": state.join("x")})),
        ("files.chmod", json!({"path": state, "mode": "0777"})),
        ("files.edit", json!({"path": state.join("key"), "edits": [{"old": "secret", "new": ""}]})),
    ] {
        let admitted = Admitted::for_tests(permit(dir.path(), tool, &arguments, ALL));
        assert_eq!(reason(&native.apply(&admitted).expect("refused by the tool")), Reason::PathNotUsable, "{tool}");
    }
    assert_eq!((names(&state), names(dir.path())), (vec!["key".to_owned()], vec!["app".to_owned(), "file".to_owned()]));
}

fn copy_by_somebody_else(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-R").args([from, to]).status().expect("start").success());
}

#[test]
fn places_that_were_being_made_when_the_host_died_are_settled() {
    let dir = TempDir::new().expect("directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    let copy = apply_stage(permit(dir.path(), "files.copy", &json!({"from": from, "to": to, "recursive": true}), ALL));
    copy_by_somebody_else(&from, &to);
    assert_eq!(reconciled(&dir, &copy), Some(Outcome::NotApplied), "it was somebody else's");
    fs::remove_dir_all(&to).expect("remove");
    native(&dir).apply(&Admitted::for_tests(copy.clone())).expect("permitted");
    fs::remove_dir_all(&to).expect("remove");
    assert_eq!(reconciled(&dir, &copy), Some(Outcome::Applied), "and somebody else took it away");
    let moved = apply_stage(permit(dir.path(), "files.move", &json!({"from": from, "to": to}), ALL));
    fs::rename(&from, &to).expect("rename");
    assert_eq!(reconciled(&dir, &moved), Some(Outcome::NotApplied), "somebody else moved it");
    fs::rename(&to, &from).expect("rename");
    native(&dir).apply(&Admitted::for_tests(moved.clone())).expect("permitted");
    fs::rename(&to, &from).expect("rename");
    assert_eq!(reconciled(&dir, &moved), Some(Outcome::Applied), "and somebody else moved it back");
    let path = dir.path().join("a/b");
    let made = apply_stage(permit(dir.path(), "files.mkdir", &json!({"path": path, "parents": 1}), ALL));
    fs::create_dir_all(&path).expect("directories");
    assert_eq!(reconciled(&dir, &made), Some(Outcome::NotApplied), "others make directories, too");
    fs::remove_dir_all(dir.path().join("a")).expect("remove");
    native(&dir).apply(&Admitted::for_tests(made.clone())).expect("permitted");
    fs::remove_dir_all(dir.path().join("a")).expect("remove");
    assert_eq!(reconciled(&dir, &made), Some(Outcome::Applied), "and take them away");
}

/// What a directory gives to all that is made in it.
fn inherited(made: &Path) -> (u32, u32, Option<Vec<u8>>, Option<Vec<u8>>) {
    let metadata = fs::metadata(made).expect("stat");
    let list = |name: &str| {
        let mut value = vec![0; 1024];
        let size = rustix::fs::getxattr(made, name, &mut value[..]).ok()?;
        value.truncate(size);
        Some(value)
    };
    let lists = ["system.posix_acl_access", "system.posix_acl_default"].map(list);
    let [access, default] = lists;
    (metadata.mode() & 0o7777, metadata.gid(), access, default)
}

/// A default access list (acl(5)): version 2, then tag, permissions and id of each entry.
const DEFAULT_ACL: [(u16, u16, u32); 5] =
    [(1, 7, u32::MAX), (2, 6, 12_345), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)];

fn give_default_acl(dir: &Path) {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in DEFAULT_ACL {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let set = rustix::fs::setxattr(dir, "system.posix_acl_default", &list, rustix::fs::XattrFlags::empty());
    set.expect("a file system with access lists");
}

#[test]
fn what_is_made_inherits_what_it_would_inherit_if_it_were_made_at_its_place() {
    let dir = TempDir::new().expect("directory");
    let mut all = Vec::new();
    for (is_grouped, has_list) in [(false, false), (true, false), (false, true), (true, true)] {
        let above = dir.path().join(format!("{is_grouped}-{has_list}"));
        fs::create_dir(&above).expect("directory");
        if is_grouped {
            // Only root has another group to give.
            let group = if rustix::process::geteuid().is_root() { 12_345 } else { own_group() };
            std::os::unix::fs::chown(&above, None, Some(group)).expect("chown");
            fs::set_permissions(&above, fs::Permissions::from_mode(0o2755)).expect("chmod");
        }
        if has_list {
            give_default_acl(&above);
        }
        let here = above.join("here");
        fs::create_dir(&here).expect("directory");
        let bits = if is_grouped { 0o2750 } else { 0o750 };
        fs::set_permissions(&here, fs::Permissions::from_mode(bits)).expect("chmod");
        let made = above.join("made/below");
        let done = apply(&dir, "files.mkdir", &json!({"path": made, "mode": "0750", "parents": 1}));
        told(&done);
        let after = done.observation.effects[0].file.as_ref().and_then(|file| file.after.clone()).expect("a state");
        for made in [above.join("made"), made] {
            assert_eq!(inherited(&made), inherited(&here), "{is_grouped} {has_list}");
        }
        assert_eq!((after.mode, after.gid), (inherited(&here).0, inherited(&here).1));
        assert_eq!(lists_of(&done), [lists(&above.join("made")), lists(&above.join("made/below"))]);
        assert_eq!(
            planned_alike(&dir, "files.mkdir", &json!({"path": above.join("other"), "mode": "0710"})),
            ["other"]
        );
        all.push(inherited(&here));
        // So does a new file.
        let (written, beside) = (above.join("written"), above.join("beside"));
        let done = apply(&dir, "files.write", &json!({"path": written, "content": "x", "mode": "0640"}));
        told(&done);
        fs::write(&beside, "x").expect("write");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert_eq!(inherited(&written), inherited(&beside), "{is_grouped} {has_list}");
        assert_eq!(lists_of(&done), [lists(&written)]);
        let after = done.observation.effects[0].file.as_ref().and_then(|file| file.after.clone()).expect("a state");
        assert_eq!((after.mode, after.gid), (inherited(&written).0, inherited(&written).1));
        let planned = json!({"path": above.join("planned"), "content": "x", "mode": "0600"});
        assert_eq!(planned_alike(&dir, "files.write", &planned), ["planned"]);
        for made in [written, beside, above.join("planned")] {
            fs::remove_file(made).expect("remove");
        }
        let (empty, copied, expected) = (dir.path().join("empty"), above.join("copied"), above.join("expected"));
        fs::create_dir_all(&empty).expect("directory");
        let (whole, copy) = (dir.path().join("whole"), above.join("tree"));
        tree(&whole);
        let arguments = json!({"from": whole, "to": copy, "recursive": true});
        assert_eq!(planned_alike(&dir, "files.copy", &arguments), ["tree", "tree/link", "tree/sub", "tree/sub/file"]);
        for made in [&whole, &copy, &above.join("other")] {
            fs::remove_dir_all(made).expect("remove");
        }
        let done = apply(&dir, "files.copy", &json!({"from": empty, "to": copied, "recursive": true}));
        told(&done);
        // A copy has the bits of what it was copied from, and no set-group-id.
        fs::create_dir(&expected).expect("directory");
        fs::set_permissions(&expected, fs::metadata(&empty).expect("stat").permissions()).expect("chmod");
        assert_eq!(inherited(&copied), inherited(&expected), "{is_grouped} {has_list}");
        let after = done.observation.effects[0].file.as_ref().and_then(|file| file.after.clone()).expect("a state");
        assert_eq!((after.mode, after.gid), (inherited(&copied).0, inherited(&copied).1));
        assert_eq!(names(&above), ["copied", "expected", "here", "made"]);
    }
    all.dedup();
    assert_eq!(all.len(), 4, "each inherits something else, or the test has shown nothing");
}

/// Access lists with their digests.
fn lists(made: &Path) -> Vec<(String, String)> {
    let (_, _, access, default) = inherited(made);
    let all = [("system.posix_acl_access", access), ("system.posix_acl_default", default)];
    let named = |(name, list): (&str, Option<Vec<u8>>)| Some((name.to_owned(), measure::sha256_of(&list?)));
    all.into_iter().filter_map(named).collect()
}

/// The lists that an observation tells of each thing that was made.
fn lists_of(done: &Done) -> Vec<Vec<(String, String)>> {
    let states = done.observation.effects.iter().map(|effect| effect.file.as_ref().and_then(|file| file.after.clone()));
    let lists = states.map(|state| state.expect("a state").xattrs.into_iter().map(|xattr| (xattr.name, xattr.sha256)));
    lists.map(Iterator::collect).collect()
}

/// Plans and commits: what is told before is what is told afterwards, and what is there. The names of what was made.
fn planned_alike(dir: &TempDir, tool: &str, arguments: &Value) -> Vec<String> {
    let mut permit = permit(dir.path(), tool, arguments, ALL);
    let native = native(dir);
    let (planned, held) = native.plan(&Admitted::for_tests(permit.clone()));
    permit.preview_digest = planned.observation.digest.clone();
    let done = native.commit(&Admitted::for_tests(permit), &held.expect("held")).expect("committed");
    assert_eq!(done.observation, planned.observation);
    let made: Vec<_> = done.observation.effects.iter().map(|effect| effect.target.clone()).collect();
    for (path, told) in made.iter().zip(lists_of(&done)) {
        let is_link = fs::symlink_metadata(path).expect("stat").is_symlink();
        assert_eq!(told, if is_link { Vec::new() } else { lists(Path::new(path)) }, "{path}");
    }
    let top = Path::new(&made[0]).parent().expect("a parent").to_owned();
    let name = |path: &String| text(Path::new(path).strip_prefix(&top).expect("beneath"));
    let mut names: Vec<_> = made.iter().map(name).collect();
    names.sort();
    names
}

fn own_group() -> u32 {
    rustix::process::getegid().as_raw()
}

#[test]
fn nobody_settles_by_a_path_from_which_a_secret_was_taken() {
    let dir = TempDir::new().expect("directory");
    let path = format!("{}/app.[redacted:21:c176a35a09d1e2f4]", dir.path().display());
    fs::write(&path, "").expect("write");
    let release = apply_stage(permit(dir.path(), "deploy.release", &json!({"service": path}), ALL));
    assert_eq!(reconciled(&dir, &release), None);
    for (tool, arguments) in [
        ("files.mkdir", json!({"path": path})),
        ("files.move", json!({"from": path, "to": path})),
        ("files.copy", json!({"from": path, "to": path})),
        ("files.chmod", json!({"path": path, "mode": "0700"})),
    ] {
        let died = apply_stage(permit(dir.path(), tool, &arguments, ALL));
        assert_eq!(reconciled(&dir, &died), Some(Outcome::NotApplied), "{tool}: a journal needs no path");
    }
}
