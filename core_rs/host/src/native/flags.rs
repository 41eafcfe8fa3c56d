//! Flags of a file (chattr(1)), which a new file in its place keeps.

use std::os::fd::AsFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

/// Those that anybody may give to a file of one's own. Who has the others could not be replaced.
const KEPT: IFlags = IFlags::NOATIME
    .union(IFlags::NODUMP)
    .union(IFlags::SYNC)
    .union(IFlags::DIRSYNC)
    .union(IFlags::TOPDIR)
    .union(IFlags::NOTAIL)
    .union(IFlags::COMPRESSED)
    .union(IFlags::NOCOW)
    .union(IFlags::JOURNALING)
    .union(IFlags::SECURE_REMOVAL)
    .union(IFlags::UNRM);

/// Gives a new file the flags of the one in whose place it comes. It must be empty: whether a file is copied on
/// write is decided before it has content.
///
/// # Errors
/// The file system has such flags, and refuses these.
pub(crate) fn keep(before: impl AsFd, new: impl AsFd) -> Result<(), Errno> {
    let of = |file: std::os::fd::BorrowedFd<'_>| match ioctl_getflags(file) {
        // Not every file system has any.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        found => found.map(Some),
    };
    let (Some(before), Some(own)) = (of(before.as_fd())?, of(new.as_fd())?) else { return Ok(()) };
    let wanted = (own - KEPT) | (before & KEPT);
    if wanted == own { Ok(()) } else { ioctl_setflags(new, wanted) }
}
