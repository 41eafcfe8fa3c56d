//! What two looks tell apart.

#![allow(unsafe_code)]

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cmdop_contract::v1::{EffectKind as K, Observation, PermittedEffect};

use super::Before;
use crate::sandbox::Opening;

/// Kinds and names beneath the tree, with counts.
type Seen = Vec<(K, String, u64)>;

fn observe(tree: &Path, permitted: &[(K, &str)], change: impl FnOnce()) -> (Seen, Observation) {
    let opening = Opening { path: tree.as_os_str().as_bytes().to_vec(), bound: true, ..Opening::default() };
    let effect = |(kind, name): &(K, &str)| PermittedEffect {
        kind: (*kind).into(),
        target: tree.join(name).to_string_lossy().into_owned(),
        max_count: None,
    };
    let permitted: Vec<_> = permitted.iter().map(effect).collect();
    let before = Before::look(&[opening], &permitted).expect("a look");
    change();
    let found = before.compare().expect("a second look");
    let prefix = format!("{}/", tree.display());
    let name = |target: &str| target.strip_prefix(&prefix).unwrap_or(target).to_owned();
    (found.effects.iter().map(|it| (it.kind(), name(&it.target), it.count)).collect(), found)
}

/// Older than what is hashed because it has just changed.
fn settle() {
    std::thread::sleep(Duration::from_millis(80));
}

fn seen(expected: &[(K, &str, u64)]) -> Seen {
    expected.iter().map(|(kind, name, count)| (*kind, (*name).to_owned(), *count)).collect()
}

#[test]
fn a_tree_goes_as_one_effect_whatever_sorts_between_its_entries() {
    let dir = tempfile::tempdir().expect("directory");
    let tree = dir.path();
    for name in ["a/x", "a/y/z", "a-b/x"] {
        fs::create_dir_all(tree.join(name).parent().expect("a parent")).expect("directories");
        fs::write(tree.join(name), "text").expect("write");
    }
    let (effects, found) = observe(tree, &[], || {
        fs::remove_dir_all(tree.join("a")).expect("remove");
        fs::remove_dir_all(tree.join("a-b")).expect("remove");
    });
    assert_eq!(effects, seen(&[(K::FileDelete, "a", 4), (K::FileDelete, "a-b", 2)]));
    assert_eq!(found.effects[0].bytes, 8);
}

#[test]
fn a_rename_is_told_from_a_new_file_with_the_same_inode_number() {
    let dir = tempfile::tempdir().expect("directory");
    let tree = dir.path();
    fs::create_dir(tree.join("old")).expect("directory");
    fs::write(tree.join("old/file"), "text").expect("write");
    fs::write(tree.join("gone"), "text").expect("write");
    let (effects, _) = observe(tree, &[], || {
        fs::rename(tree.join("old"), tree.join("new")).expect("rename");
        fs::write(tree.join("new/file"), "other").expect("write");
        fs::write(tree.join("new/more"), "text").expect("write");
        // ext4 gives its number to the next file.
        fs::remove_file(tree.join("gone")).expect("remove");
        fs::write(tree.join("reused"), "text").expect("write");
    });
    let expected = [
        (K::FileDelete, "gone", 1),
        (K::FileCreate, "new", 1),
        (K::FileModify, "new/file", 1),
        (K::FileCreate, "new/more", 1),
        (K::FileRename, "old", 1),
        (K::FileCreate, "reused", 1),
    ];
    assert_eq!(effects, seen(&expected));
}

#[test]
fn another_type_in_its_place_is_a_delete_and_a_create() {
    let dir = tempfile::tempdir().expect("directory");
    let tree = dir.path();
    fs::create_dir(tree.join("a")).expect("directory");
    fs::write(tree.join("a/x"), "text").expect("write");
    let (effects, _) = observe(tree, &[], || {
        fs::remove_dir_all(tree.join("a")).expect("remove");
        fs::write(tree.join("a"), "text").expect("write");
    });
    assert_eq!(effects, seen(&[(K::FileCreate, "a", 1), (K::FileDelete, "a", 2)]));
}

#[test]
fn content_with_its_times_put_back_is_seen_behind_a_permitted_change_of_mode() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("file");
    fs::write(&file, "before").expect("write");
    settle();
    let (effects, _) = observe(dir.path(), &[(K::FileChmod, "*")], || {
        let modified = fs::metadata(&file).and_then(|found| found.modified()).expect("times");
        fs::write(&file, "hidden").expect("write");
        let opened = fs::File::options().write(true).open(&file).expect("open");
        opened.set_modified(modified).expect("put back");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    });
    assert_eq!(effects, seen(&[(K::FileModify, "file", 1), (K::FileChmod, "file", 1)]));
}

#[test]
fn a_file_that_was_only_touched_is_no_effect_if_it_is_hashed_and_else_counts_as_modified() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("file");
    fs::write(&file, "text").expect("write");
    settle();
    let touch = || fs::write(&file, "text").expect("write");
    assert_eq!(observe(dir.path(), &[(K::FileModify, "file")], touch).0, []);
    settle();
    let timed = rustix::fs::statfs(dir.path()).expect("statfs").f_type as u64 == 0xef53;
    let expected = seen(&[(K::FileModify, "file", 1)]);
    assert_eq!(observe(dir.path(), &[], touch).0, if timed { expected } else { Vec::new() });
}

#[test]
fn a_store_through_a_mapping_is_seen_where_it_moves_no_time() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = dir.path().join("file");
    fs::write(&path, "before").expect("write");
    let file = fs::File::options().read(true).write(true).open(&path).expect("open");
    settle();
    let (effects, _) = observe(dir.path(), &[], || {
        // SAFETY: a fresh shared mapping of six bytes of a file that nobody else has, unmapped below.
        unsafe {
            let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            let mapped = libc::mmap(std::ptr::null_mut(), 6, access, shared, file.as_raw_fd(), 0);
            assert_ne!(mapped, libc::MAP_FAILED);
            mapped.cast::<u8>().write(b'B');
            libc::munmap(mapped, 6);
        }
    });
    assert_eq!(effects, seen(&[(K::FileModify, "file", 1)]));
}

/// Whoever has a directory or a file open has it wherever it is moved; the second look goes by its name.
#[test]
fn what_was_opened_and_is_elsewhere_by_then_was_not_measured() {
    let dir = tempfile::tempdir().expect("directory");
    let (tree, file) = (dir.path().join("tree"), dir.path().join("file"));
    let is_lost = |found: &Observation| found.unobserved.iter().any(|it| it.why.contains("moved or replaced"));
    let swaps: [fn(&Path, &Path); 3] = [
        |place, other| fs::rename(place, other).expect("rename"),
        |place, other| {
            fs::rename(place, other).expect("rename");
            if other.is_dir() {
                fs::create_dir(place).expect("directory");
                fs::write(place.join("one"), "text").expect("write");
            } else {
                fs::copy(other, place).map(drop).expect("copy");
            }
        },
        |place, _| fs::set_permissions(place, fs::Permissions::from_mode(0o750)).expect("chmod"),
    ];
    for (number, swap) in swaps.iter().enumerate() {
        fs::create_dir(&tree).expect("directory");
        fs::write(tree.join("one"), "text").expect("write");
        fs::write(&file, "text").expect("write");
        for place in [&tree, &file] {
            let other = dir.path().join("other");
            let (_, found) = observe(place, &[], || swap(place, &other));
            assert_eq!(is_lost(&found), number < 2, "{number} {}: {found:?}", place.display());
            let _ = fs::remove_file(&other).or_else(|_| fs::remove_dir_all(&other));
        }
        let _ = (fs::remove_dir_all(&tree), fs::remove_file(&file));
    }
}
