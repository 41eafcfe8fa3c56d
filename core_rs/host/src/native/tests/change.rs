//! Tools that change one file: `files.edit`, `files.write` in parts, `files.chmod`.

use super::*;

fn file_with(content: &str) -> (TempDir, std::path::PathBuf) {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, content).expect("write");
    (dir, path)
}

fn message(done: &Done) -> &str {
    &done.result.error.as_ref().expect("a failure has an error").message
}

#[test]
fn edits_are_done_one_after_the_other_and_all_at_once() {
    let (dir, path) = file_with("one two two\n");
    let arguments = json!({"path": path, "edits": [
        {"old": "one", "new": "1"}, {"old": "two", "new": "2", "count": 2}, {"old": "1 2", "new": "12"},
    ]});
    let done = apply(&dir, "files.edit", &arguments);
    let expected = json!({"size": 5, "sha256": measure::sha256_of(b"12 2\n"),
        "before_sha256": measure::sha256_of(b"one two two\n"), "replaced": 4});
    assert_eq!(told(&done), expected);
    assert_eq!(fs::read_to_string(&path).expect("read"), "12 2\n");
    let effect = &done.observation.effects[0];
    assert_eq!(effect.kind(), EffectKind::FileModify);
    assert!(effect.file.as_ref().is_some_and(|file| file.text_diff.contains("-one two two\n+12 2\n")));
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn an_edit_whose_text_is_not_there_as_often_as_it_says_is_named_and_nothing_changes() {
    let (dir, path) = file_with("x x y");
    for (edits, named, found) in [
        (json!([{"old": "y", "new": "z"}, {"old": "gone", "new": ""}]), "edit 1", "occurs 0 times"),
        (json!([{"old": "x", "new": "z"}]), "edit 0", "occurs 2 times"),
        (json!([{"old": "x", "new": "z", "count": 3}]), "edit 0", "occurs 2 times"),
    ] {
        let done = apply(&dir, "files.edit", &json!({"path": path, "edits": edits}));
        assert_eq!(reason(&done), Reason::ContentChanged);
        assert!(message(&done).contains(named) && message(&done).contains(found), "{}", message(&done));
        assert_eq!(fs::read_to_string(&path).expect("read"), "x x y");
    }
}

#[test]
fn an_edit_needs_the_text_that_was_read() {
    let (dir, path) = file_with("old");
    let edits = json!([{"old": "old", "new": "new"}]);
    let lost = json!({"path": path, "edits": edits, "expected_sha256": measure::sha256_of(b"other")});
    assert_eq!(reason(&apply(&dir, "files.edit", &lost)), Reason::ContentChanged);
    let missing = json!({"path": dir.path().join("none"), "edits": edits});
    assert_eq!(reason(&apply(&dir, "files.edit", &missing)), Reason::PathNotFound);
    fs::write(&path, b"\xff old").expect("write");
    assert_eq!(reason(&apply(&dir, "files.edit", &json!({"path": path, "edits": edits}))), Reason::PathNotUsable);
    symlink(&path, dir.path().join("link")).expect("link");
    let link = json!({"path": dir.path().join("link"), "edits": edits});
    assert_eq!(reason(&apply(&dir, "files.edit", &link)), Reason::PathNotUsable);
}

#[test]
fn a_planned_edit_commits_unless_the_file_moved_on() {
    let (dir, path) = file_with("old");
    let arguments = json!({"path": path, "edits": [{"old": "old", "new": "new"}]});
    let native = native(&dir);
    let mut permit = permit(dir.path(), "files.edit", &arguments, ALL);
    let (planned, held) = native.plan(&Admitted::for_tests(permit.clone()));
    permit.preview_digest = planned.observation.digest;
    let held = held.expect("held");
    fs::write(&path, "old and more").expect("write");
    let error = native.commit(&Admitted::for_tests(permit.clone()), &held).expect_err("moved on");
    assert_eq!(error.reason(), Reason::CommitConflict);
    let (planned, held) = native.plan(&Admitted::for_tests(permit.clone()));
    permit.preview_digest = planned.observation.digest;
    native.commit(&Admitted::for_tests(permit), &held.expect("held")).expect("committed");
    assert_eq!(fs::read_to_string(&path).expect("read"), "new and more");
}

#[test]
fn a_large_file_is_written_chunk_by_chunk_and_no_update_is_lost() {
    let (dir, path) = file_with("");
    let mut sha256 = measure::sha256_of(b"");
    let (chunk, mut offset) = ("x".repeat(1 << 20), 0);
    for _ in 0..3 {
        let arguments = json!({"path": path, "content": chunk, "offset": offset, "expected_sha256": sha256});
        let result = told(&apply(&dir, "files.write", &arguments));
        offset = result["size"].as_u64().expect("a size");
        sha256 = result["sha256"].as_str().expect("a digest").to_owned();
    }
    assert_eq!((offset, fs::metadata(&path).expect("stat").len()), (3 << 20, 3 << 20));
    let inside = json!({"path": path, "content": "ab", "offset": 1, "expected_sha256": sha256});
    assert_eq!(told(&apply(&dir, "files.write", &inside))["size"], json!(3 << 20));
    assert!(fs::read(&path).expect("read").starts_with(b"xabx"));
    let again = apply(&dir, "files.write", &inside);
    assert_eq!(reason(&again), Reason::ContentChanged, "the digest is no longer the file's");
}

#[test]
fn a_part_needs_a_file_its_digest_and_a_place_in_it() {
    let (dir, path) = file_with("abc");
    let sha256 = measure::sha256_of(b"abc");
    let blind = json!({"path": path, "content": "x", "offset": 3});
    assert_eq!(reason(&apply(&dir, "files.write", &blind)), Reason::InvalidArguments);
    let hole = json!({"path": path, "content": "x", "offset": 4, "expected_sha256": sha256});
    assert_eq!(reason(&apply(&dir, "files.write", &hole)), Reason::InvalidArguments);
    let nothing = json!({"path": dir.path().join("b"), "content": "x", "offset": 0, "expected_sha256": sha256});
    assert_eq!(reason(&apply(&dir, "files.write", &nothing)), Reason::ContentChanged);
    assert_eq!(fs::read_to_string(&path).expect("read"), "abc");
}

#[test]
fn permission_bits_are_set_on_what_is_named_and_measured() {
    let (dir, path) = file_with("x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    let done = apply(&dir, "files.chmod", &json!({"path": path, "mode": "0600"}));
    assert_eq!(told(&done), json!({"before": "0644", "mode": "0600"}));
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o7777, 0o600);
    assert_eq!(done.observation.effects[0].kind(), EffectKind::FileChmod);
    let again = apply(&dir, "files.chmod", &json!({"path": path, "mode": "600"}));
    assert!(again.result.ok && again.observation.effects.is_empty());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("chmod");
    assert!(apply(&dir, "files.chmod", &json!({"path": path, "mode": "0640"})).result.ok);
}

#[test]
fn permission_bits_are_never_set_through_a_link_or_on_a_second_name() {
    let (dir, path) = file_with("x");
    symlink(&path, dir.path().join("link")).expect("link");
    let link = apply(&dir, "files.chmod", &json!({"path": dir.path().join("link"), "mode": "0777"}));
    assert_eq!(reason(&link), Reason::PathNotUsable);
    fs::hard_link(&path, dir.path().join("b")).expect("link");
    let linked = apply(&dir, "files.chmod", &json!({"path": path, "mode": "0777"}));
    assert_eq!(reason(&linked), Reason::UnsupportedChange);
    assert_ne!(fs::metadata(&path).expect("stat").mode() & 0o777, 0o777);
}

#[test]
fn a_change_of_mode_that_died_is_settled_by_its_journal() {
    let (dir, path) = file_with("old");
    let chmod = apply_stage(permit(dir.path(), "files.chmod", &json!({"path": path, "mode": "0700"}), ALL));
    // By somebody else: what is there says nothing about who did it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("chmod");
    assert_eq!(reconciled(&dir, &chmod), Some(Outcome::NotApplied));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    native(&dir).apply(&Admitted::for_tests(chmod.clone())).expect("permitted");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    assert_eq!(reconciled(&dir, &chmod), Some(Outcome::Applied));
}

#[test]
fn a_file_that_is_replaced_before_its_bits_are_set_is_a_conflict() {
    let (dir, path) = file_with("old");
    let native = native(&dir);
    let chmod = permit(dir.path(), "files.chmod", &json!({"path": path, "mode": "0700"}), ALL);
    let admitted = Admitted::for_tests(chmod);
    let mut step = native.prepare(&admitted).expect("prepared");
    fs::remove_file(&path).expect("remove");
    fs::write(&path, "another").expect("write");
    let with = Means { journals: &native.journals, call_id: "call", permit_id: "permit", fence: None };
    assert_eq!(step.perform(&with).expect_err("a conflict").reason(), Reason::ContentChanged);
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o777, 0o644);
    assert_eq!(names(&dir.path().join(JOURNALS)), [""; 0]);
}

#[test]
fn what_changes_nothing_keeps_no_journal() {
    let (dir, path) = file_with("x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    assert!(apply(&dir, "files.chmod", &json!({"path": path, "mode": "0640"})).result.ok);
    assert!(apply(&dir, "files.mkdir", &json!({"path": dir.path()})).result.ok);
    assert_eq!(names(&dir.path().join(JOURNALS)), [""; 0]);
}

/// What may run with `CAP_NET_BIND_SERVICE` (capabilities(7)): revision 2 and effective, permitted, inheritable.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A write in place takes capabilities away (capabilities(7)); one that replaces the file must not hand them on.
#[test]
fn what_runs_with_capabilities_gets_no_other_content() {
    if !rustix::process::geteuid().is_root() {
        return println!("not tried: only root gives capabilities");
    }
    let (dir, path) = file_with("old");
    rustix::fs::setxattr(&path, "security.capability", &CAPABILITY, rustix::fs::XattrFlags::empty()).expect("give");
    for (tool, arguments) in [
        ("files.write", json!({"path": path, "content": "new"})),
        ("files.write", json!({"path": path, "content": "new", "offset": 1})),
        ("files.edit", json!({"path": path, "edits": [{"old": "old", "new": "new"}]})),
    ] {
        let done = apply(&dir, tool, &arguments);
        let error = done.result.error.as_ref().expect("an error");
        assert_eq!(error.reason(), Reason::UnsupportedChange, "{tool}: {}", error.message);
        assert!(error.message.contains("capabilities"), "{}", error.message);
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
    }
    // Who may run it is no content.
    told(&apply(&dir, "files.chmod", &json!({"path": path, "mode": "0711"})));
    assert_eq!(rustix::fs::getxattr(&path, "security.capability", &mut [0u8; 64][..]), Ok(CAPABILITY.len()));
}

/// A write in place takes these bits away (write(2)); one that replaces the file must not hand them on.
#[test]
fn what_runs_as_another_gets_no_other_content() {
    let (dir, path) = file_with("old");
    let text = || fs::read_to_string(&path).expect("read");
    let mode = || fs::metadata(&path).expect("stat").mode() & 0o7777;
    let edits = json!([{"old": "old", "new": "new"}]);
    for bits in [0o4755, 0o4644, 0o2755, 0o6755] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).expect("chmod");
        for (tool, arguments) in [
            ("files.write", json!({"path": path, "content": "new"})),
            ("files.write", json!({"path": path, "content": "new", "mode": "4755"})),
            (
                "files.write",
                json!({"path": path, "content": "new", "offset": 1, "expected_sha256": measure::sha256_of(b"old")}),
            ),
            ("files.edit", json!({"path": path, "edits": edits})),
        ] {
            let done = apply(&dir, tool, &arguments);
            let error = done.result.error.as_ref().expect("an error");
            assert_eq!(error.reason(), Reason::UnsupportedChange, "{tool}: {}", error.message);
            assert!(error.message.contains("set-user-id"), "{}", error.message);
            assert_eq!((text().as_str(), mode()), ("old", bits), "{tool}");
        }
        // The same content is no other one, and without the bits it runs as whoever starts it.
        told(&apply(&dir, "files.write", &json!({"path": path, "content": "old"})));
        assert_eq!(mode(), bits);
    }
    told(&apply(&dir, "files.write", &json!({"path": path, "content": "new", "mode": "0755"})));
    assert_eq!((text().as_str(), mode()), ("new", 0o755));
    // Where the group may not execute it, the bit gives nobody anything (inode(7)).
    fs::set_permissions(&path, fs::Permissions::from_mode(0o2745)).expect("chmod");
    told(&apply(&dir, "files.write", &json!({"path": path, "content": "newer"})));
    assert_eq!((text().as_str(), mode()), ("newer", 0o2745));
}

/// A change of owner clears the bits of a set-id program (chown(2)), so the owner comes first: to be seen where a write
/// makes one of a file.
#[test]
fn what_is_replaced_keeps_its_owner_and_gets_its_bits_after_it() {
    let (dir, path) = file_with("old");
    if rustix::process::geteuid().is_root() {
        rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(54_321)), None).expect("chown");
    }
    let owner = fs::metadata(&path).expect("stat").uid();
    told(&apply(&dir, "files.write", &json!({"path": path, "content": "new", "mode": "6755"})));
    let after = fs::metadata(&path).expect("stat");
    assert_eq!((after.mode() & 0o7777, after.uid()), (0o6755, owner));
}
