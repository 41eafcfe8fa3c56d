//! Staging: copies of what comes, with everything that belongs to them, where nobody sees them.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{FileType, Reason};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;
use crate::differ::Change;
use crate::journal::attributes::{Attributes, Xattr, xattr_changes, xattrs};
use crate::journal::{Draft, conflict};
use crate::native::beneath::{hold_child, refused};
use crate::native::flags;
use crate::native::measure::Stamp;
use crate::sandbox::{Named, Own};

/// From so many changes on, the whole file system is made durable at once.
const BULK: usize = 16;

/// Stages one layer.
pub(super) struct Stager {
    /// What is staged of each inode of the layer, by its device and inode: other names of it are further names.
    links: HashMap<(u64, u64), PathBuf>,
    /// Parents first.
    directories: Vec<Directory>,
    is_bulk: bool,
    /// Something was staged that only goes with everything.
    is_whole: bool,
}

/// A directory that was staged and is not like the layer's yet: until everything is in it, its times would move, its
/// mode might keep others out of it, and what it hands on, as an access list, would go to what the layer has without.
struct Directory {
    place: Vec<u8>,
    /// Held open, because its own mode may keep it from being opened again.
    made: fs::File,
    wanted: Attributes,
}

impl Stager {
    pub(super) fn new(changes: usize) -> Self {
        Self { links: HashMap::new(), directories: Vec::new(), is_bulk: changes > BULK, is_whole: false }
    }

    /// True if what was staged is not durable yet.
    pub(super) fn is_bulk(&self) -> bool {
        self.is_bulk || self.is_whole
    }

    /// Makes `to` what the layer has at `from`.
    ///
    /// # Errors
    /// `HOST_STORAGE_FULL` and what else the operating system says.
    pub(super) fn stage(&mut self, draft: &Draft<'_>, change: &Change, from: &Path, to: &Path) -> Result<(), Error> {
        let doing = || refused_by_disk(&change.path);
        if !change.linked.is_empty() {
            // A further name of what stays where it is.
            let spot = draft.spot(&change.linked)?;
            let is_same = change.linked_standing.as_ref().map_or(Ok(false), |standing| standing.is_same(&spot))?;
            if !is_same {
                return Err(conflict(&change.linked));
            }
            let done = rustix::fs::linkat(&spot.parent, &*spot.name, CWD, to, rustix::fs::AtFlags::empty());
            return done.map_err(|errno| doing()(errno.into()));
        }
        let metadata = from.symlink_metadata().map_err(doing())?;
        let inode = (metadata.dev(), metadata.ino());
        if !metadata.is_dir() {
            if let Some(first) = self.links.get(&inode) {
                return fs::hard_link(first, to).map_err(doing());
            }
            self.links.insert(inode, to.to_owned());
        }
        let mut made = None;
        if metadata.is_dir() {
            fs::DirBuilder::new().mode(0o700).create(to).map_err(doing())?;
            made = Some(fs::File::open(to).map_err(doing())?);
        } else if metadata.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from).map_err(doing())?, to).map_err(doing())?;
        } else if metadata.is_file() {
            made = Some(copy(from, to, before(draft, change)?.as_ref()).map_err(doing())?);
        } else {
            let kind = rustix::fs::FileType::from_raw_mode(metadata.mode());
            rustix::fs::mknodat(CWD, to, kind, Mode::from_raw_mode(0o600), 0).map_err(|errno| doing()(errno.into()))?;
        }
        let held = hold(from)?;
        let mut wanted = Attributes::of(&Stamp::of(&held)?);
        wanted.xattrs = shown(xattrs(&held).map_err(|errno| doing()(errno.into()))?);
        if let Some(made) = made.take_if(|_| metadata.is_dir()) {
            self.directories.push(Directory { place: change.path.clone(), made, wanted });
            return Ok(());
        }
        wanted.set_all_of_new(hold(to)?).map_err(|errno| doing()(errno.into()))?;
        match made {
            // With its attributes.
            Some(made) if !self.is_bulk => made.sync_all().map_err(doing())?,
            Some(_) => {}
            // Those of a link or a node cannot be made durable alone.
            None => self.is_whole = true,
        }
        Ok(())
    }

    /// Gives directories what belongs to them, when everything is in them.
    ///
    /// # Errors
    /// As [`Stager::stage`].
    pub(super) fn finish(&self) -> Result<(), Error> {
        for Directory { place, made, wanted } in self.directories.iter().rev() {
            let doing = || refused_by_disk(place);
            wanted.set_all_of_new(made).map_err(|errno| doing()(errno.into()))?;
            if !self.is_bulk {
                made.sync_all().map_err(doing())?;
            }
        }
        Ok(())
    }
}

/// The layer lies on another file system, which may hold what the place's own cannot: longer links, attributes,
/// larger files. To try that again is no use.
fn refused_by_disk(path: &[u8]) -> impl FnOnce(std::io::Error) -> Error {
    let shown = escape(path);
    move |error| match error.raw_os_error() {
        Some(libc::ENAMETOOLONG | libc::EOPNOTSUPP | libc::E2BIG | libc::EFBIG) => {
            let message =
                format!("the file system of {shown} cannot hold what came of it ({error}); nothing was applied");
            Error::fix(Reason::UnsupportedChange, message, "/arguments", "a change that this file system can hold")
        }
        _ => Error::io(format!("stage {shown}"))(error),
    }
}

/// The file in whose place another one comes; none if there is none, or it may not be read.
fn before(draft: &Draft<'_>, change: &Change) -> Result<Option<fs::File>, Error> {
    if change.standing.is_none() {
        return Ok(None);
    }
    let path = if change.path_before.is_empty() { &change.path } else { &change.path_before };
    let spot = draft.spot(path)?;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |flags| openat(&spot.parent, &*spot.name, flags, Mode::empty()).ok();
    let held = open(flags | OFlags::PATH).map(|held| Stamp::of(&held)).transpose()?;
    if held.is_none_or(|stamp| stamp.file_type() != FileType::Regular) {
        return Ok(None);
    }
    Ok(open(flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map(fs::File::from))
}

fn copy(from: &Path, to: &Path, before: Option<&fs::File>) -> std::io::Result<fs::File> {
    let mut source = fs::File::open(from)?;
    let mut target = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if let Some(before) = before {
        flags::keep(before, &target)?;
    }
    copy_extents(&mut source, &mut target)?;
    Ok(target)
}

/// Copies what a file holds and leaves its holes: they may be larger than the disk.
fn copy_extents(source: &mut fs::File, target: &mut fs::File) -> std::io::Result<()> {
    let length = source.metadata()?.len();
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(&*source, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            // Only a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(&*source, rustix::fs::SeekFrom::Hole(data))?;
        source.seek(SeekFrom::Start(data))?;
        target.seek(SeekFrom::Start(data))?;
        std::io::copy(&mut source.take(end - data), target)?;
        at = end;
    }
    target.set_len(length)
}

/// Attributes that a change in place begins and ends with.
///
/// # Errors
/// If either cannot be read.
pub(super) fn attributes(draft: &Draft<'_>, change: &Change) -> Result<(Attributes, Attributes), Error> {
    let failed = |errno| refused(errno, &change.path);
    let before = if change.path_before.is_empty() { &change.path } else { &change.path_before };
    let spot = draft.spot(before)?;
    let now = hold_child(&spot.parent, &spot.name).map_err(failed)?;
    let then = hold(Path::new(std::ffi::OsStr::from_bytes(&change.from)))?;
    let stamp = Stamp::of(&now)?;
    let (mut before, mut after) = (Attributes::of(&stamp), Attributes::of(&Stamp::of(&then)?));
    let (now, mut then) = (xattrs(&now).map_err(failed)?, shown(xattrs(&then).map_err(failed)?));
    // What only looks like the overlay's own stays on the machine as it is.
    then.extend(now.iter().filter(|xattr| !is_ordinary(xattr)).cloned());
    before.xattrs = xattr_changes(&then, &now);
    after.xattrs = xattr_changes(&now, &then);
    if stamp.file_type() == FileType::Directory {
        // Times of a directory have a step of their own.
        (before.mtime_s, before.mtime_ns, after.mtime_s, after.mtime_ns) = (None, None, None, None);
    }
    Ok((before, after))
}

/// Stamp of something in the layer.
///
/// # Errors
/// If it cannot be measured.
pub(super) fn stamp_of(path: &Path) -> Result<Stamp, Error> {
    Stamp::of(hold(path)?)
}

fn hold(path: &Path) -> Result<std::os::fd::OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| Error::io(format!("open {}", path.display()))(errno.into()))
}

/// Of the attributes in a layer those that the command gave; what it gave of the overlay's own names, the
/// difference refuses.
fn shown(mut xattrs: Vec<Xattr>) -> Vec<Xattr> {
    xattrs.retain(is_ordinary);
    xattrs
}

fn is_ordinary(xattr: &Xattr) -> bool {
    Own::ours().named(&xattr.name) == Named::Ordinary
}
