//! Walking a directory tree of any depth with two open descriptors and without following a link.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use cmdop_contract::v1::FileType;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use super::beneath::{hold_child, not_usable, open_child, open_child_same_mount, refused};
use super::measure::Stamp;
use crate::Error;

/// No directory with more names is read.
const MAX_NAMES: usize = 1_000_000;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What the walker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on; into the entry if it is a directory.
    Enter,
    /// Go on, but not into this entry.
    Skip,
    /// Enough.
    Stop,
}

/// Who is shown the tree. Names of one directory come in byte order.
pub(crate) trait Visitor {
    /// True if a directory on another mount is an error and not walked into.
    fn is_on_one_mount(&self) -> bool;

    /// One entry, before anything beneath it.
    ///
    /// # Errors
    /// Ends the walk.
    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error>;

    /// A directory that may not be entered: by default that ends the walk.
    ///
    /// # Errors
    /// Ends the walk.
    fn cannot_enter(&mut self, path: &[u8], errno: Errno) -> Result<(), Error> {
        Err(match errno {
            Errno::XDEV => not_usable(path, "is a mount point"),
            other => refused(other, path),
        })
    }

    /// A directory, after everything beneath it.
    ///
    /// # Errors
    /// Ends the walk.
    fn leave(&mut self, _dir: BorrowedFd<'_>, _name: &CStr, _path: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

/// One entry of a directory.
pub(crate) struct Seen<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
    /// Absolute.
    pub(crate) path: &'a [u8],
    pub(crate) stamp: &'a Stamp,
}

struct Level {
    /// Names still to come, last one first.
    names: Vec<CString>,
    /// Device and inode of the directory, by which the way back is checked.
    identity: (u64, u64),
    /// Length of its path.
    length: usize,
}

/// Shows a visitor everything beneath an open directory.
///
/// # Errors
/// The visitor's; `PATH_NOT_USABLE` if a directory may not be read or is moved during the walk.
pub(crate) fn walk(top: OwnedFd, path: &[u8], visitor: &mut impl Visitor) -> Result<(), Error> {
    let names = names_of(&top).map_err(|errno| refused(errno, path))?;
    // One path for all levels: of a deep tree, that of each would fill the memory.
    let mut path = path.to_vec();
    let mut levels = vec![level(&top, &path, names)?];
    let mut here = top;
    while let Some(current) = levels.last_mut() {
        let Some(name) = current.names.pop() else {
            let Some(done) = levels.pop() else { break };
            let Some(parent) = levels.last() else { break };
            path.truncate(done.length);
            here = ascend(&here, parent, &path)?;
            let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            let name = CString::new(&path[at..]).expect("a name that the kernel gave holds no NUL");
            visitor.leave(here.as_fd(), &name, &path)?;
            continue;
        };
        path.truncate(current.length);
        extend(&mut path, name.to_bytes());
        let stat = match statat(&here, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was read, or a layer of the overlay that is being walked.
            Err(Errno::NOENT | Errno::LOOP) => continue,
            Err(errno) => return Err(refused(errno, &path)),
        };
        let stamp = Stamp::from(&stat);
        let next = visitor.entry(&Seen { dir: here.as_fd(), name: &name, path: &path, stamp: &stamp })?;
        if next == Next::Stop {
            return Ok(());
        }
        if next == Next::Enter && stamp.file_type() == FileType::Directory {
            let opened = if visitor.is_on_one_mount() {
                open_child_same_mount(&here, &name, DIRECTORY)
            } else {
                open_child(&here, &name, DIRECTORY)
            };
            let opened = opened.and_then(|fd| Ok((names_of(&fd)?, fd)));
            match opened {
                Ok((names, fd)) => {
                    levels.push(level(&fd, &path, names)?);
                    here = fd;
                }
                Err(errno) => visitor.cannot_enter(&path, errno)?,
            }
        }
    }
    Ok(())
}

fn level(fd: &OwnedFd, path: &[u8], names: Vec<CString>) -> Result<Level, Error> {
    let stamp = Stamp::of(fd)?;
    if names.len() > MAX_NAMES {
        return Err(not_usable(path, "holds more than 1,000,000 names"));
    }
    Ok(Level { names, identity: (stamp.dev, stamp.ino), length: path.len() })
}

/// Names in a directory in byte order, the last one first; one more than allowed at most.
fn names_of(fd: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        names.push(entry.file_name().to_owned());
        if names.len() > MAX_NAMES {
            break;
        }
    }
    names.sort_unstable_by(|left, right| right.cmp(left));
    Ok(names)
}

/// Goes back up from a path, and makes sure that up is where the walk came from.
fn ascend(here: &OwnedFd, to: &Level, from: &[u8]) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = &from[..to.length];
    let parent = openat(here, c"..", flags, Mode::empty()).map_err(|errno| refused(errno, above))?;
    let stamp = Stamp::of(&parent)?;
    if (stamp.dev, stamp.ino) == to.identity {
        Ok(parent)
    } else {
        Err(not_usable(above, "is moved while it is walked"))
    }
}

pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    extend(&mut path, name);
    path
}

fn extend(path: &mut Vec<u8>, name: &[u8]) {
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Removes everything beneath a directory.
pub(crate) struct Remover;

impl Visitor for Remover {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        if seen.stamp.file_type() == FileType::Directory {
            make_writable(seen);
            return Ok(Next::Enter);
        }
        unlinkat(seen.dir, seen.name, AtFlags::empty()).map_err(|errno| refused(errno, seen.path))?;
        Ok(Next::Skip)
    }

    fn leave(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(|errno| refused(errno, path))
    }
}

/// What its owner may not write they may not empty, unless they are root. What hinders shows when it is emptied.
fn make_writable(seen: &Seen<'_>) {
    if !rustix::process::geteuid().is_root()
        && seen.stamp.permissions() & 0o700 != 0o700
        && let Ok(held) = hold_child(seen.dir, seen.name)
    {
        let _ = rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), Mode::from_raw_mode(0o700));
    }
}
