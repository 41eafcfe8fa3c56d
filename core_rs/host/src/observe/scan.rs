//! One look at all openings: every entry with what a change would move.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cmdop_contract::effect::Effect;
use cmdop_contract::path::{PathPattern, escape};
use cmdop_contract::target::Target;
use cmdop_contract::v1::{EffectKind, FileAttribute, FileState, FileType, PermittedEffect, Reason};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Statx, StatxFlags, openat, statfs, statx};
use rustix::io::Errno;

use crate::Error;
use crate::journal::attributes::Xattr;
use crate::journal::values::Values;
use crate::native::measure;
use crate::sandbox::{Opening, child, unavailable};

/// Entries that are looked at; more would take longer than a preview.
const MAX_ENTRIES: usize = 1_000_000;
/// Threads that look, and directories that are waiting before there is more than one.
const MAX_THREADS: usize = 4;
const SHARED_FROM: usize = 32;
/// Bytes that one look hashes.
const MAX_HASHED_BYTES: u64 = 512 << 20;
/// A file changed so shortly before the look may change again within the same tick of its clock.
const RACY_NS: i128 = 50_000_000;
/// File systems whose times move with every change, also one through a mapping (`statfs(2)`): ext4,
/// xfs, btrfs. All others are hashed.
const TIMED: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// An entry as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Device, inode, time of birth: the last tells a new file that was given an old number.
    pub(super) identity: (u64, u64, i128),
    pub(super) nlink: u32,
    pub(super) mtime_ns: i128,
    pub(super) ctime_ns: i128,
    /// Extended attributes by name.
    pub(super) xattrs: Vec<FileAttribute>,
    pub(super) link_target: Option<Vec<u8>>,
    /// Of a regular file, if it was hashed.
    pub(super) sha256: Option<String>,
    /// False if times do not tell whether it changed, and it was not hashed.
    pub(super) is_told: bool,
}

/// All entries by path.
#[derive(Debug, Default)]
pub struct Scan {
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
}

/// Paths whose content a permit lets change in ways that times alone would not tell.
#[derive(Debug)]
pub(super) struct Wanted(Vec<PathPattern>);

impl Wanted {
    /// Whatever is named literally is likely to change, and its old digest is worth reporting; a new
    /// mode, owner or name moves the same time that would give away new content.
    pub(super) fn of(permitted: &[PermittedEffect]) -> Self {
        use EffectKind as K;
        let wanted = permitted.iter().filter_map(|effect| {
            let kind = effect.kind();
            let Target::Path(pattern) = Effect::try_from(effect).ok()?.target else { return None };
            let moves = matches!(kind, K::FileChmod | K::FileChown | K::FileRename);
            let is_changed = matches!(kind, K::FileCreate | K::FileModify | K::FileDelete);
            match kind {
                K::FileRename => Some(pattern.tree()),
                _ if moves || (is_changed && pattern.is_literal()) => Some(pattern),
                _ => None,
            }
        });
        Self(wanted.collect())
    }

    pub(super) fn covers(&self, place: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.covers(place))
    }
}

impl Entry {
    pub(super) fn file_type(&self) -> FileType {
        measure::file_type(self.mode)
    }

    /// The same where it was elsewhere before: a secret there is one here.
    pub(super) fn moved_from(&self, old: &[u8]) -> Self {
        let mut entry = self.clone();
        Values::of(old).hide(&mut entry.xattrs);
        entry
    }

    pub(super) fn state(&self) -> FileState {
        FileState {
            r#type: self.file_type().into(),
            size: if self.file_type() == FileType::Regular { self.size } else { 0 },
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            sha256: self.sha256.clone().unwrap_or_default(),
            link_target: self.link_target.as_deref().map(escape).unwrap_or_default(),
            xattrs: self.xattrs.clone(),
        }
    }
}

impl Scan {
    /// Looks at everything that is open; `wanted` says whose content is hashed in any case.
    pub(super) fn take(openings: &[Opening], wanted: impl Fn(&[u8]) -> bool + Sync) -> Result<Self, Error> {
        let (now, spent) = (now_ns(), Spent::default());
        let mut entries = Vec::new();
        for opening in openings.iter().filter(|opening| opening.bound) {
            let place = &opening.path;
            let found = match see(CWD, path(place)) {
                Err(Errno::NOENT) => continue,
                found => found.map_err(|errno| measuring(place, errno))?,
            };
            let is_timed = statfs(path(place)).is_ok_and(|found| TIMED.contains(&(found.f_type as u64)));
            let hashes = |place: &[u8], entry: &Entry| !is_timed || now - entry.ctime_ns < RACY_NS || wanted(place);
            let mut walk = Walk { openings, hashes: &hashes, spent: &spent, entries, waiting: Vec::new() };
            walk.entry(place.clone(), &found, attributes(path(place)))?;
            entries = walk.all()?;
        }
        // In order they are put together at once.
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self { entries: entries.into_iter().collect() })
    }

    pub(super) fn is_hashed(&self, place: &[u8]) -> bool {
        self.entries.get(place).is_some_and(|entry| entry.sha256.is_some())
    }

    /// Refuses to open what leads beyond the openings.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (place, entry) in &self.entries {
            let why = match entry.file_type() {
                FileType::Regular if entry.nlink > 1 => "has further names (hard links) that would change with it",
                FileType::Socket | FileType::Fifo => "leads to whoever reads it",
                _ => continue,
            };
            return Err(unavailable(&format!("{} {why}", escape(place))));
        }
        Ok(())
    }
}

/// What all threads of a look have used of its bounds.
#[derive(Default)]
struct Spent {
    entries: AtomicUsize,
    hashed_bytes: AtomicU64,
}

/// Goes through trees.
struct Walk<'a, H> {
    openings: &'a [Opening],
    hashes: &'a H,
    spent: &'a Spent,
    entries: Vec<(Vec<u8>, Entry)>,
    /// Directories that were not looked into yet.
    waiting: Vec<Vec<u8>>,
}

impl<H: Fn(&[u8], &Entry) -> bool + Sync> Walk<'_, H> {
    /// Everything, by several threads where there is much.
    fn all(mut self) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let most = if threads > 1 { SHARED_FROM } else { usize::MAX };
        self.some(most)?;
        if self.waiting.is_empty() {
            return Ok(self.entries);
        }
        let mut parts: Vec<Vec<Vec<u8>>> = vec![Vec::new(); threads];
        for (number, directory) in self.waiting.drain(..).enumerate() {
            parts[number % threads].push(directory);
        }
        let (openings, hashes, spent) = (self.openings, self.hashes, self.spent);
        let part = |waiting| Walk { openings, hashes, spent, entries: Vec::new(), waiting };
        let looked: Vec<_> = std::thread::scope(|scope| {
            let look = |waiting| {
                scope.spawn(move || {
                    let mut walk = part(waiting);
                    walk.some(usize::MAX).map(|()| walk.entries)
                })
            };
            let begun: Vec<_> = parts.into_iter().map(look).collect();
            begun.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for found in looked {
            self.entries.append(&mut found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(self.entries)
    }

    /// Until nothing waits, or so much that others can help.
    fn some(&mut self, most: usize) -> Result<(), Error> {
        while self.waiting.len() < most
            && let Some(directory) = self.waiting.pop()
        {
            self.directory(&directory)?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: &[u8]) -> Result<(), Error> {
        let seals = self.openings.iter().find(|opening| opening.path == directory).map(|opening| &opening.seals);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match openat(CWD, path(directory), flags, Mode::empty()) {
            // Somebody else removed it in between.
            Err(Errno::NOENT) => return Ok(()),
            opened => opened.map_err(|errno| measuring(directory, errno))?,
        };
        for name in Dir::read_from(&opened).map_err(|errno| measuring(directory, errno))? {
            let name = name.map_err(|errno| measuring(directory, errno))?;
            let name = name.file_name();
            let bytes = name.to_bytes();
            if matches!(bytes, b"." | b"..") || seals.is_some_and(|seals| seals.iter().any(|seal| seal == bytes)) {
                continue;
            }
            let place = child(directory, bytes);
            match see(&opened, name) {
                Err(Errno::NOENT) => {}
                found => {
                    let found = found.map_err(|errno| measuring(&place, errno))?;
                    let attributes = attributes_at(&opened, name, &place);
                    self.entry(place, &found, attributes)?;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, place: Vec<u8>, found: &Statx, xattrs: Vec<FileAttribute>) -> Result<(), Error> {
        if self.spent.entries.fetch_add(1, Ordering::Relaxed) >= MAX_ENTRIES {
            return Err(unavailable("the permit opens more than a million entries"));
        }
        let mut entry = Entry { xattrs, ..Entry::of(found) };
        match entry.file_type() {
            FileType::Directory => self.waiting.push(place.clone()),
            FileType::Symlink => {
                let target = rustix::fs::readlink(path(&place), Vec::new());
                entry.link_target = Some(target.map_err(|errno| measuring(&place, errno))?.into_bytes());
            }
            FileType::Regular if (self.hashes)(&place, &entry) => {
                let add = |bytes: u64| Some(bytes.saturating_add(entry.size));
                let before = self.spent.hashed_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
                if before.is_ok_and(|before| before.saturating_add(entry.size) <= MAX_HASHED_BYTES) {
                    entry.sha256 = hash(&place)?;
                }
                entry.is_told = entry.sha256.is_some();
            }
            _ => {}
        }
        self.entries.push((place, entry));
        Ok(())
    }
}

impl Entry {
    fn of(found: &Statx) -> Self {
        let ns = |time: &rustix::fs::StatxTimestamp| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        let device = (u64::from(found.stx_dev_major) << 32) | u64::from(found.stx_dev_minor);
        Self {
            mode: found.stx_mode.into(),
            uid: found.stx_uid,
            gid: found.stx_gid,
            size: found.stx_size,
            identity: (device, found.stx_ino, ns(&found.stx_btime)),
            nlink: found.stx_nlink,
            mtime_ns: ns(&found.stx_mtime),
            ctime_ns: ns(&found.stx_ctime),
            xattrs: Vec::new(),
            link_target: None,
            sha256: None,
            is_told: true,
        }
    }
}

fn see(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(at, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

/// SHA-256 of a file, or none if somebody else removed it in between.
pub(super) fn hash(place: &[u8]) -> Result<Option<String>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(CWD, path(place), flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        opened => {
            let mut file = File::from(opened.map_err(|errno| measuring(place, errno))?);
            measure::sha256(&mut file).map(Some)
        }
    }
}

/// Extended attributes of an entry. Most have none, and the kernel says so without walking down the whole
/// path again (listxattrat(2), Linux 6.13).
fn attributes_at(directory: &OwnedFd, name: &CStr, place: &[u8]) -> Vec<FileAttribute> {
    /// The same on all architectures; the C library does not know it yet.
    const SYS_LISTXATTRAT: libc::c_long = 465;
    let (directory, flags) = (directory.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: a descriptor of ours, a name that lives until the call returns, and no buffer to write to.
    let length = unsafe {
        let nowhere = std::ptr::null_mut::<libc::c_char>();
        libc::syscall(SYS_LISTXATTRAT, directory, name.as_ptr(), flags, nowhere, 0_usize)
    };
    if length == 0 { Vec::new() } else { attributes(path(place)) }
}

/// Extended attributes by name.
fn attributes(place: &Path) -> Vec<FileAttribute> {
    let mut names = [0_u8; 1_024];
    let names = match rustix::fs::llistxattr(place, &mut names[..]) {
        Ok(0) => return Vec::new(),
        Ok(length) => names[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut names = vec![0_u8; 64 * 1024];
            let length = rustix::fs::llistxattr(place, &mut names[..]).unwrap_or(0);
            names.truncate(length);
            names
        }
        Err(_) => return Vec::new(),
    };
    let (mut value, values) = (vec![0_u8; 64 * 1024], Values::of(place.as_os_str().as_bytes()));
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let shown = names.map(|name| {
        let length = rustix::fs::lgetxattr(place, name, &mut value[..]).unwrap_or(0);
        values.shown(&Xattr { name: name.to_vec(), value: Some(value[..length].to_vec()) })
    });
    let mut found: Vec<_> = shown.collect();
    found.sort_by(|one, two| one.name.cmp(&two.name));
    found
}

fn now_ns() -> i128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn measuring(place: &[u8], errno: Errno) -> Error {
    let message = format!("{} cannot be measured: {}", escape(place), std::io::Error::from(errno));
    Error::later(Reason::HostError, message)
}
