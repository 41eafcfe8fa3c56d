//! `files.copy`: a file or a tree at another place. It appears there complete, or not at all.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use cmdop_contract::digest::hex;
use cmdop_contract::path::{is_beneath, unescape};
use cmdop_contract::v1::{FileState, FileType, ObservedEffect, Reason};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, mkdirat, openat, renameat_with,
    symlinkat, utimensat,
};
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, about, invalid};
use super::beneath::{READ, Root, Spot, hold_child, not_usable, open_child, readable, refused, show};
use super::census::{Census, Entry, Scope};
use super::inherited::{self, Inherited};
use super::measure::Stamp;
use super::nursery::{self, Nursery};
use super::write::{changed, exists, new_ids};
use super::{Means, Step, measured};
use crate::Error;

/// What is copied in one call.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// Set-user-id and set-group-id.
const SET_IDS: u32 = 0o6000;

/// What is copied where.
pub(crate) struct Copy {
    from: Spot,
    to: Spot,
    stamp: Stamp,
    census: Census,
}

impl Copy {
    /// Reads everything that would be copied.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_EXISTS`, `PATH_NOT_USABLE`, `UNSUPPORTED_CHANGE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let from = root.spot(&arguments.path_of("from")?).map_err(|error| about("from", error))?;
        let to = root.spot(&arguments.path_of("to")?).map_err(|error| about("to", error))?;
        if is_beneath(&to.path, &from.path) {
            return Err(invalid("to", "a path outside of what is copied"));
        }
        let held = hold_child(&from.parent, &from.name);
        let stamp = Stamp::of(held.map_err(|errno| about("from", refused(errno, &from.path)))?)?;
        if stamp.file_type() == FileType::Directory && !arguments.flag("recursive")? {
            let why = "is a directory; set `recursive` to copy it with what it holds";
            return Err(Error::needs_recursive(format!("{} {why}", show(&from.path))));
        }
        match hold_child(&to.parent, &to.name) {
            Ok(_) => return Err(about("to", exists(&to))),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(about("to", refused(errno, &to.path))),
        }
        let scope = Scope { to: &to.path, is_copied: true, max_bytes: MAX_BYTES };
        let census = Census::take(&from, &stamp, scope).map_err(|error| about("from", error))?;
        Ok(Self { from, to, stamp, census })
    }

    /// A copy of what was counted already.
    pub(crate) fn of(from: Spot, to: Spot, stamp: Stamp, census: Census) -> Self {
        Self { from, to, stamp, census }
    }

    /// Makes a complete copy under a hidden name beside its place.
    ///
    /// # Errors
    /// `CONTENT_CHANGED` if it is no longer what was counted, or the operating system's refusal.
    pub(crate) fn stage(&self, hidden: &CStr) -> Result<(), Error> {
        self.stage_in(&self.to.parent, hidden)
    }

    fn stage_in(&self, around: &OwnedFd, top: &CStr) -> Result<(), Error> {
        for entry in &self.census.entries {
            let (dir, name) = inside(around, top, &entry.below, &self.to.path)?;
            match entry.stamp.file_type() {
                FileType::Directory => mkdirat(&dir, &*name, Mode::from_raw_mode(0o700)),
                FileType::Symlink => {
                    let target = unescape(&entry.state.link_target).unwrap_or_default();
                    let target =
                        CString::new(target).map_err(|_| not_usable(&self.from.path, "holds a broken link"))?;
                    symlinkat(target, &dir, &*name)
                }
                _ => {
                    self.content(entry, &dir, &name)?;
                    Ok(())
                }
            }
            .map_err(|errno| refused(errno, &self.to.path))?;
        }
        // What is made in a directory moves its time, so theirs come last.
        for entry in self.census.entries.iter().rev() {
            self.finish(entry, around, top)?;
        }
        let top = open_child(around, top, OFlags::RDONLY | OFlags::NONBLOCK);
        match top {
            Ok(top) => rustix::fs::syncfs(&top).map_err(|errno| Error::io("make durable")(errno.into())),
            // A link has no content of its own.
            Err(Errno::LOOP) => Ok(()),
            Err(errno) => Err(refused(errno, &self.to.path)),
        }
    }

    fn content(&self, entry: &Entry, dir: &OwnedFd, name: &CStr) -> Result<(), Error> {
        let path = [self.from.path.as_slice(), &entry.below].concat();
        let (source_dir, source_name) = inside(&self.from.parent, &self.from.name, &entry.below, &self.from.path)?;
        let opened = open_child(&source_dir, &source_name, READ);
        let mut source = readable(opened.map_err(|errno| about("from", refused(errno, &path)))?, &path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(dir, name, flags, Mode::from_raw_mode(0o600));
        let mut made = File::from(made.map_err(|errno| about("to", refused(errno, &self.to.path)))?);
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; 128 * 1024]);
        let mut left = entry.stamp.size.saturating_add(1);
        while left > 0 {
            let read = source.read(&mut buffer).map_err(Error::io("read"))?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
            made.write_all(&buffer[..read]).map_err(Error::io("write"))?;
            left = left.saturating_sub(read as u64);
        }
        if hex(&digest.finalize()) != entry.state.sha256 {
            return Err(about("from", changed(&self.from, "it was changed while it was copied")));
        }
        Ok(())
    }

    /// Permission bits and times.
    fn finish(&self, entry: &Entry, around: &OwnedFd, top: &CStr) -> Result<(), Error> {
        let to = |errno| about("to", refused(errno, &self.to.path));
        let (dir, name) = inside(around, top, &entry.below, &self.to.path)?;
        if entry.stamp.file_type() != FileType::Symlink {
            let made = open_child(&dir, &name, OFlags::RDONLY | OFlags::NONBLOCK).map_err(to)?;
            fchmod(&made, Mode::from_raw_mode(mode(entry))).map_err(to)?;
        }
        let (tv_sec, tv_nsec) = entry.stamp.mtime();
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access, last_modification: Timespec { tv_sec, tv_nsec } };
        utimensat(&dir, &*name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(to)
    }

    /// Gives the copy its name, if that is still free.
    ///
    /// # Errors
    /// `PATH_EXISTS`, or the operating system's refusal.
    pub(crate) fn publish(&self, hidden: &CStr) -> Result<(), Error> {
        let Spot { parent, name, path } = &self.to;
        match renameat_with(parent, hidden, parent, name.as_c_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Err(about("to", exists(&self.to))),
            done => done.map_err(|errno| about("to", refused(errno, path))),
        }
    }

    /// It appears at its place, if that is still free.
    fn publish_by_journal(&self, with: &Means<'_>) -> Result<(), Error> {
        let top = self.census.entries.first().map_or(0, mode);
        let mut draft = with.journals.draft(with.call_id)?;
        let nursery = Nursery::open(&mut draft, &self.to)?;
        self.stage_in(nursery.dir(), nursery::NAME)?;
        nursery.leave(&mut draft, top)?;
        if self.stamp.file_type() == FileType::Symlink {
            // It cannot be made durable alone.
            draft.sync()?;
        }
        draft.restore_times(&self.to)?;
        draft.commit()
    }

    fn inherited(&self) -> Inherited {
        Inherited::of(&self.to.parent).unwrap_or_default()
    }

    fn conflict(&self) -> Error {
        if hold_child(&self.to.parent, &self.to.name).is_ok() {
            return exists(&self.to);
        }
        changed(&self.to, "its directory was replaced meanwhile")
    }

    /// What is there now.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    pub(crate) fn measure(&self) -> Result<Vec<ObservedEffect>, Error> {
        let stamp = Stamp::of(hold_child(&self.to.parent, &self.to.name).map_err(|e| refused(e, &self.to.path))?)?;
        let scope = Scope { to: &self.to.path, is_copied: true, max_bytes: u64::MAX };
        let mut there = Census::take(&self.to, &stamp, scope)?;
        for Entry { below, state, .. } in &mut there.entries {
            let (dir, name) = inside(&self.to.parent, &self.to.name, below, &self.to.path)?;
            let place = [&self.to.path[..], below].concat();
            let found = hold_child(dir, &name).and_then(|held| inherited::found(held, &place));
            state.xattrs = found.map_err(|errno| refused(errno, &self.to.path))?;
        }
        Ok(there.created(&self.to.path, |entry| entry.state.clone()))
    }
}

/// What copying it to a path will have made, of this owner and group, where that is inherited.
pub(super) fn planned(
    census: &Census,
    to: &[u8],
    (uid, gid): (u32, u32),
    inherited: &Inherited,
) -> Vec<ObservedEffect> {
    census.created(to, |entry| {
        let xattrs = inherited.shown(&[to, &entry.below].concat(), entry.stamp.file_type(), mode(entry));
        FileState { uid, gid, mode: mode(entry), xattrs, ..entry.state.clone() }
    })
}

/// Permission bits of a copy: who runs as whom is not copied.
pub(crate) fn mode(entry: &Entry) -> u32 {
    match entry.stamp.file_type() {
        FileType::Symlink => entry.stamp.permissions(),
        _ => entry.stamp.permissions() & !SET_IDS,
    }
}

/// The directory and the name of an entry below a name in a directory.
fn inside(around: &OwnedFd, top: &CStr, below: &[u8], path: &[u8]) -> Result<(OwnedFd, CString), Error> {
    let whole = [top.to_bytes(), below].concat();
    let split = whole.iter().rposition(|byte| *byte == b'/');
    let (dir, name) = split.map_or((&b"."[..], &whole[..]), |at| (&whole[..at], &whole[at + 1..]));
    let c_string = |bytes: &[u8]| CString::new(bytes).expect("a name that the kernel gave holds no NUL");
    let opened = open_child(around, &c_string(dir), OFlags::PATH | OFlags::DIRECTORY);
    Ok((opened.map_err(|errno| refused(errno, path))?, c_string(name)))
}

impl Step for Copy {
    fn effects(&self) -> Vec<ObservedEffect> {
        planned(&self.census, &self.to.path, new_ids(&self.to.parent), &self.inherited())
    }

    fn result(&self) -> Value {
        json!({"count": self.census.entries.len(), "bytes": self.census.bytes})
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        self.stamp.digest_into(&mut digest, true);
        self.census.digest_into(&mut digest);
        self.inherited().digest_into(&mut digest);
        digest.finalize().to_vec()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        self.publish_by_journal(with).map_err(|error| match error.reason() {
            Reason::CommitConflict => about("to", self.conflict()),
            _ => about("to", error),
        })?;
        Ok(measured(self.effects(), || self.measure()))
    }
}
