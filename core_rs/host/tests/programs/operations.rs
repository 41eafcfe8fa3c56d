//! What a random program does: one file operation after the other, and what each of them says.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags};

use crate::support::random::Random;
use crate::tree::digest;

/// Names that must not be mistaken for anything else, beside ordinary ones; few, so that operations
/// meet.
const NAMES: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"new\nline", b"\xff\xfe", b"* [x]?", "caf\u{e9}".as_bytes()];

fn name(random: &mut Random) -> &'static OsStr {
    let known = if random.below(4) == 0 { NAMES.len() } else { 4 };
    OsStr::from_bytes(NAMES[random.below(known as u64) as usize])
}

fn path(random: &mut Random) -> PathBuf {
    (0..1 + random.below(3)).map(|_| name(random)).collect()
}

/// One of the paths that are there, if there are any.
fn there(random: &mut Random, top: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    loop {
        let entries = fs::read_dir(Path::new(".").join(top).join(&found))
            .map_or(Vec::new(), |entries| entries.flatten().collect());
        let mut names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
        names.sort();
        if names.is_empty() {
            return if found.as_os_str().is_empty() { path(random) } else { found };
        }
        found.push(&names[random.below(names.len() as u64) as usize]);
        if random.below(3) == 0 {
            return found;
        }
    }
}

/// What the program finds, with attributes among it that look like an overlay's notes.
pub fn plant(tree: &Path, seed: u64, has_notes: bool) {
    let random = &mut Random(seed ^ 0x0bad_cafe);
    let is_root = rustix::process::geteuid().is_root();
    for number in 0..4 + random.below(16) {
        let path = tree.join(path(random));
        let Some(parent) = path.parent() else { continue };
        if fs::create_dir_all(parent).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        // What cannot be done is not there.
        let _ = match random.below(12) {
            0 | 1 => fs::create_dir(&path),
            2 => symlink("a/b", &path),
            3 => fs::hard_link(tree.join(there(random, tree)), &path),
            4 => node(&path, FileType::Fifo),
            5 => node(&path, FileType::Socket),
            6 if path.symlink_metadata().is_err() => File::create(&path).and_then(|file| file.set_len(200_000)),
            _ => fs::write(&path, format!("planted {number}\n")),
        };
        let _ = match random.below(8) {
            0 => attribute(&path, "user.cmdop", format!("planted {number}").as_bytes()),
            1 if path.is_file() => fs::set_permissions(&path, Permissions::from_mode(0o4755)),
            2 if path.is_dir() => fs::set_permissions(&path, Permissions::from_mode(0o1777)),
            // A user's overlay would not show those, which a direct run sees.
            3 if is_root => attribute(&path, note(random), b"y"),
            4 if is_root && has_notes && seed.is_multiple_of(NOTED_SHARE) => {
                attribute(&path, "trusted.overlay.opaque", b"y")
            }
            5 => attribute(&path, list_name(random), &list(random)),
            _ => Ok(()),
        };
    }
    for _ in 0..if seed.is_multiple_of(LINKED_SHARE) { 8 } else { 0 } {
        let _ = fs::hard_link(tree.join(there(random, tree)), tree.join(path(random)));
    }
}

/// Of so many programs one finds what root's overlays would note: where it stands, nothing can take its place.
const NOTED_SHARE: u64 = 7;

/// Of so many programs one is mostly about files with several names.
const LINKED_SHARE: u64 = 3;

/// And one is about access lists, also of directories that it makes.
const LISTED_SHARE: u64 = 4;

/// What more operations of a program do than chance would have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mostly {
    Links,
    Lists,
}

/// Everything that a program says.
pub fn run(seed: u64) -> String {
    let random = &mut Random(seed);
    let mostly = match () {
        () if seed.is_multiple_of(LINKED_SHARE) => Some(Mostly::Links),
        () if seed.is_multiple_of(LISTED_SHARE) => Some(Mostly::Lists),
        () => None,
    };
    let mut said = String::new();
    for _ in 0..1 + random.below(20) {
        writeln!(said, "{}", operate(random, mostly)).expect("text");
    }
    said
}

/// One operation in the working directory.
fn operate(random: &mut Random, mostly: Option<Mostly>) -> String {
    let mut place = || if random.below(3) == 0 { path(random) } else { there(random, Path::new("")) };
    let (one, two) = (place(), place());
    // A name that is free is as often wanted as one that is taken.
    let two = if random.below(2) == 0 { two.with_file_name(name(random)) } else { two };
    let (what, done) = match random.below(32) {
        0..=5 if mostly == Some(Mostly::Links) => ("link", quiet(fs::hard_link(&one, &two))),
        0..=3 if mostly == Some(Mostly::Lists) => lists(random, &one),
        4..=8 if mostly == Some(Mostly::Lists) => ("list later", listed_later(random, &one)),
        0..=8 => contents(random, &one),
        9..=17 => names(random, &one, &two),
        18..=22 => goings(random, &one, &two),
        23..=27 => attributes(random, &one),
        _ => looks(random, &one),
    };
    let seen = one.symlink_metadata().map(|it| (it.mode(), it.uid(), it.gid(), if it.is_dir() { 0 } else { it.len() }));
    match done {
        Ok(said) => format!("{what} {one:?}: {said} {:?}", seen.ok()),
        Err(error) => {
            // Of a directory that is not empty POSIX lets a rename say either; xfs and overlays differ.
            let is_not_empty = what.starts_with("rename") && error.raw_os_error() == Some(libc::EEXIST);
            let number = if is_not_empty { Some(libc::ENOTEMPTY) } else { error.raw_os_error() };
            format!("{what} {one:?}: error {number:?}")
        }
    }
}

type Done = (&'static str, std::io::Result<String>);

fn quiet(done: std::io::Result<()>) -> std::io::Result<String> {
    done.map(|()| String::new())
}

fn contents(random: &mut Random, one: &Path) -> Done {
    let text = format!("text {}\n", random.below(1000));
    // Without waiting: nobody reads from a fifo.
    let open = |options: &mut OpenOptions| options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(one);
    let made = || open(OpenOptions::new().write(true).create(true).truncate(true));
    let found = || open(OpenOptions::new().write(true));
    match random.below(9) {
        0..=2 => ("write", quiet(made().and_then(|mut file| file.write_all(text.as_bytes())))),
        3 => {
            let file = open(OpenOptions::new().append(true));
            ("append", quiet(file.and_then(|mut file| file.write_all(text.as_bytes()))))
        }
        4 => ("truncate", quiet(found().and_then(|file| file.set_len(3)))),
        5 => ("sparse", quiet(made().and_then(|file| file.write_all_at(text.as_bytes(), 150_000)))),
        6 => {
            let write = |mut file: File| file.seek(SeekFrom::Start(2)).and_then(|_| file.write_all(b"xy"));
            ("overwrite", quiet(found().and_then(write)))
        }
        // The same again: touched, and as before.
        7 => {
            let same = |mut file: File| {
                let mut content = Vec::new();
                file.read_to_end(&mut content)?;
                file.write_all_at(&content, 0)
            };
            // Not of a fifo, which would be read back and forth.
            let file = if one.is_file() { open(OpenOptions::new().read(true).write(true)) } else { found() };
            ("rewrite", quiet(file.and_then(same)))
        }
        _ => ("exclusive", quiet(open(OpenOptions::new().write(true).create_new(true)).map(drop))),
    }
}

fn names(random: &mut Random, one: &Path, two: &Path) -> Done {
    let flags = |flags| quiet(rustix::fs::renameat_with(CWD, one, CWD, two, flags).map_err(Into::into));
    match random.below(9) {
        0..=3 => ("rename", quiet(fs::rename(one, two))),
        4 => ("exchange", flags(RenameFlags::EXCHANGE)),
        5 => ("rename, no replace", flags(RenameFlags::NOREPLACE)),
        6 => ("link", quiet(fs::hard_link(one, two))),
        // There and back again.
        7 => ("rename twice", quiet(fs::rename(one, two).and_then(|()| fs::rename(two, one)))),
        _ => ("rename over itself", quiet(fs::rename(one, one))),
    }
}

fn goings(random: &mut Random, one: &Path, two: &Path) -> Done {
    match random.below(10) {
        0 => ("remove", quiet(fs::remove_file(one))),
        1 => ("remove directory", quiet(fs::remove_dir(one))),
        2 => ("remove all", quiet(fs::remove_dir_all(one))),
        3 | 4 => ("make directory", quiet(fs::create_dir(one))),
        5 => ("make deep", quiet(fs::create_dir_all(one.join(vec!["deep"; 40].join("/"))))),
        6 => ("symlink", quiet(symlink(two, one))),
        7 => ("fifo", quiet(node(one, FileType::Fifo))),
        8 => ("socket", quiet(node(one, FileType::Socket))),
        _ => ("replace link", quiet(fs::remove_file(one).and_then(|()| symlink(two, one)))),
    }
}

fn attributes(random: &mut Random, one: &Path) -> Done {
    let text = format!("value {}", random.below(100));
    match random.below(15) {
        0 | 1 => {
            // Its owner keeps enough to read it: the test does.
            let mode = 0o600 | (random.below(0o10000) as u32);
            let mode = if one.is_dir() { mode | 0o700 } else { mode };
            ("chmod", quiet(fs::set_permissions(one, Permissions::from_mode(mode))))
        }
        2 | 3 if rustix::process::geteuid().is_root() => {
            let (user, group) = (random.below(3) as u32, random.below(3) as u32);
            ("chown", quiet(lchown(one, Some(user), Some(group))))
        }
        2 | 3 => ("chown", quiet(lchown(one, Some(rustix::process::geteuid().as_raw()), None))),
        4 | 5 => ("set attribute", quiet(attribute(one, "user.cmdop", text.as_bytes()))),
        6 => ("set another", quiet(attribute(one, "user.second", &[0, 255, b'\n']))),
        7 => ("remove attribute", quiet(rustix::fs::lremovexattr(one, "user.cmdop").map_err(Into::into))),
        8 => ("touch", quiet(times(one, 1_000_000_000))),
        9 => {
            let value: &[u8] = [&b"y"[..], b"x", b"a", b"/a/b"][random.below(4) as usize];
            ("set note", quiet(attribute(one, note(random), value)))
        }
        10 => ("remove note", quiet(rustix::fs::lremovexattr(one, note(random)).map_err(Into::into))),
        11..=13 => lists(random, one),
        _ => ("touch now", quiet(times(one, i64::from(u32::MAX) / 2))),
    }
}

fn lists(random: &mut Random, one: &Path) -> Done {
    let name = list_name(random);
    if random.below(4) > 0 {
        return ("set list", quiet(attribute(one, name, &list(random))));
    }
    let removed = match rustix::fs::lremovexattr(one, name) {
        // Whether one that is not there can be removed, each file system says for itself.
        Err(rustix::io::Errno::NODATA) => Ok(()),
        removed => removed,
    };
    ("remove list", quiet(removed.map_err(Into::into)))
}

/// A directory is made with something in it, and only then gets what it hands on.
fn listed_later(random: &mut Random, one: &Path) -> std::io::Result<String> {
    let inside = one.join(name(random));
    fs::create_dir(one)?;
    quiet(if random.below(2) == 0 { fs::create_dir(inside) } else { fs::write(inside, "inside") })?;
    quiet(attribute(one, "system.posix_acl_default", &list(random)))
}

fn looks(random: &mut Random, one: &Path) -> Done {
    match random.below(4) {
        0 => {
            let names = fs::read_dir(one).map(|entries| {
                let mut names: Vec<_> = entries.flatten().map(|entry| (entry.file_name(), kind(&entry))).collect();
                names.sort();
                format!("{names:?}")
            });
            ("list", names)
        }
        1 => ("read link", fs::read_link(one).map(|target| format!("{target:?}"))),
        2 => {
            let mut value = [0; 64];
            let size = rustix::fs::lgetxattr(one, "user.cmdop", &mut value).map_err(std::io::Error::from);
            ("attribute", size.map(|size| format!("{:?}", OsStr::from_bytes(&value[..size]))))
        }
        _ => {
            let open = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(one);
            let mut content = Vec::new();
            let read = open.and_then(|mut file| file.read_to_end(&mut content));
            ("read", read.map(|size| format!("{size} {}", digest(&content))))
        }
    }
}

fn kind(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

fn node(path: &Path, kind: FileType) -> std::io::Result<()> {
    Ok(rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), 0)?)
}

/// A name that an overlay mounted with `userxattr` takes for its own, and that is anybody's to root's.
fn note(random: &mut Random) -> &'static str {
    const NAMES: [&str; 6] = [
        "user.overlay.opaque",
        "user.overlay.redirect",
        "user.overlay.whiteout",
        "user.overlay.origin",
        "user.overlay.metacopy",
        "user.overlay.overlay.opaque",
    ];
    NAMES[random.below(NAMES.len() as u64) as usize]
}

/// Who may do what with a file beside its bits, or what a directory hands on to all that is made in it (acl(5)).
fn list_name(random: &mut Random) -> &'static str {
    ["system.posix_acl_access", "system.posix_acl_default"][random.below(2) as usize]
}

/// A list of both: version 2, then tag, permissions and id of each entry. Its owner keeps enough to read it.
fn list(random: &mut Random) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let own = rustix::process::geteuid();
    // Whoever else a user names, the namespace of its commands does not know (user_namespaces(7)).
    let named = if own.is_root() { 1_000 + random.below(2) as u32 } else { own.as_raw() };
    let mut any = || random.below(8) as u16;
    let entries = [(1, 7, NOBODY), (2, any(), named), (4, any(), NOBODY), (16, any(), NOBODY), (32, any(), NOBODY)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend([u16::to_le_bytes(tag), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    list
}

fn attribute(path: &Path, name: &str, value: &[u8]) -> std::io::Result<()> {
    Ok(rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())?)
}

fn times(path: &Path, seconds: i64) -> std::io::Result<()> {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: Timespec { tv_sec: seconds, tv_nsec: 5 } };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
