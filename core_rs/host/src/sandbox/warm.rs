//! What most commands look up first, looked up in their view before their job is known: for the first time an
//! overlay takes several times as long.
//!
//! An overlay does not notice when another file takes the place of one that it has found (overlayfs.rst, "Changes
//! to underlying filesystems"), so it is known what was found where, and nobody gets a view in which that is old.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx};

use super::direct::beneath;

/// The shell that runs a line, and what any program is loaded with, as different systems lay it out. What is not
/// there is left out.
const USUAL: [&str; 12] = [
    "/bin/bash",
    "/etc/ld.so.cache",
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/x86_64-linux-gnu/libtinfo.so.6",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/lib/aarch64-linux-gnu/libtinfo.so.6",
    "/lib64/libc.so.6",
    "/lib64/libtinfo.so.6",
    "/usr/lib/locale/C.utf8/LC_MESSAGES/SYS_LC_MESSAGES",
    "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
];
/// Of the language that every command gets.
const LOCALE: &str = "/usr/lib/locale/C.utf8";
/// Links on the way to one file.
const MAX_LINKS: usize = 16;

/// What was looked up, and what was there before.
pub(super) struct Warm(Vec<(PathBuf, Identity)>);

/// By which it is known that what has a name is still the same. What is in a directory says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    mount: u64,
    inode: u64,
    born: (i64, u32),
    mode: u16,
    owner: (u32, u32),
    changed: Option<(i64, u32)>,
}

impl Warm {
    /// Looks it up in a view of the machine.
    pub(super) fn up(view: &OwnedFd) -> Self {
        let locale = fs::read_dir(LOCALE).into_iter().flatten().flatten().map(|entry| entry.path());
        let steps: BTreeSet<_> = USUAL.iter().map(PathBuf::from).chain(locale).flat_map(|path| steps(&path)).collect();
        let found: Vec<_> = steps.into_iter().filter_map(|step| Some((Identity::of(&step)?, step))).collect();
        for (_, step) in &found {
            let _ = beneath(view, step.as_os_str().as_bytes());
        }
        Self(found.into_iter().map(|(identity, step)| (step, identity)).collect())
    }

    /// Is everything what it was?
    pub(super) fn is_fresh(&self) -> bool {
        self.0.iter().all(|(step, identity)| Identity::of(step) == Some(*identity))
    }
}

impl Identity {
    fn of(place: &Path) -> Option<Self> {
        let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let found: Statx = statx(CWD, place, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, asked).ok()?;
        let is_directory = FileType::from_raw_mode(found.stx_mode.into()).is_dir();
        Some(Self {
            mount: found.stx_mnt_id,
            inode: found.stx_ino,
            born: (found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
            mode: found.stx_mode,
            owner: (found.stx_uid, found.stx_gid),
            changed: (!is_directory).then_some((found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec)),
        })
    }
}

/// Every name that is looked up on the way to a file, as far as there is one: none leads through a link.
fn steps(path: &Path) -> Vec<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> { path.components().map(|name| name.as_os_str().to_owned()).collect() };
    let mut pending: VecDeque<OsString> = names(path).into();
    let (mut here, mut steps, mut links) = (PathBuf::from("/"), Vec::new(), 0);
    while let Some(name) = pending.pop_front() {
        match Path::new(&name).components().next() {
            Some(Component::Normal(name)) => here.push(name),
            Some(Component::ParentDir) => {
                here.pop();
                continue;
            }
            Some(Component::RootDir) => {
                here = "/".into();
                continue;
            }
            _ => continue,
        }
        let Ok(found) = here.symlink_metadata() else { break };
        steps.push(here.clone());
        if !found.is_symlink() {
            continue;
        }
        links += 1;
        let Some(target) = fs::read_link(&here).ok().filter(|_| links <= MAX_LINKS) else { break };
        here.pop();
        names(&target).into_iter().rev().for_each(|name| pending.push_front(name));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_on_the_way_is_known_and_none_leads_through_a_link() {
        let dir = tempfile::tempdir().expect("directory");
        let top = dir.path().canonicalize().expect("canonical");
        fs::create_dir_all(top.join("usr/bin")).expect("directories");
        fs::write(top.join("usr/bin/shell-5"), "").expect("file");
        std::os::unix::fs::symlink("shell-5", top.join("usr/bin/shell")).expect("link");
        std::os::unix::fs::symlink("usr/bin/../bin", top.join("bin")).expect("link");
        let found = steps(&top.join("bin/shell"));
        let within: Vec<_> = found.iter().filter_map(|step| step.strip_prefix(&top).ok()).collect();
        let expected =
            ["", "bin", "usr", "usr/bin", "usr/bin", "usr/bin/shell", "usr/bin/shell-5"].map(Path::new).to_vec();
        assert_eq!(within, expected);
        let up_to: Vec<_> = steps(&top.join("usr/lib/nothing"));
        assert_eq!(up_to.last(), Some(&top.join("usr")));
    }

    #[test]
    fn what_is_replaced_moved_or_closed_is_noticed() {
        let dir = tempfile::tempdir().expect("directory");
        let (file, place) = (dir.path().join("within/file"), dir.path().join("within"));
        let make = || {
            fs::create_dir(&place).expect("directory");
            fs::write(&file, "").expect("file");
            let known = [&place, &file].map(|step| (step.clone(), Identity::of(step).expect("there")));
            Warm(known.into())
        };
        let known = make();
        fs::write(place.join("another"), "").expect("file");
        assert!(known.is_fresh());
        fs::rename(place.join("another"), &file).expect("rename");
        assert!(!known.is_fresh());
        fs::remove_dir_all(&place).expect("remove");
        let known = make();
        fs::rename(&place, dir.path().join("moved")).expect("rename");
        fs::create_dir(&place).expect("directory");
        assert!(!known.is_fresh());
        fs::remove_dir_all(&place).expect("remove");
        let known = make();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("mode");
        assert!(!known.is_fresh());
        fs::remove_dir_all(&place).expect("remove");
        assert!(!known.is_fresh());
    }
}
