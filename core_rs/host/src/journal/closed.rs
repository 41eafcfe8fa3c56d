//! Directories that their own owner may not write. Only who may write a directory can give it another one above
//! (rename(2)), or change what is in it, so for as long as a step does either it is open to its owner.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use cmdop_contract::v1::FileType;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::record::{Closed, Op};
use crate::Error;
use crate::native::beneath::{Spot, hold_child, refused};
use crate::native::measure::Stamp;

/// Writable by the owner.
const OPEN: u32 = 0o200;

/// What must be opened to be moved from a spot; root need not.
///
/// # Errors
/// The operating system's refusal.
pub(super) fn at(spot: &Spot) -> Result<Option<Closed>, Error> {
    match hold_child(&spot.parent, &spot.name) {
        Ok(held) => of(held),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(refused(errno, &spot.path)),
    }
}

/// The same of what is held.
pub(super) fn of(held: impl AsFd) -> Result<Option<Closed>, Error> {
    let own = rustix::process::geteuid();
    if own.is_root() {
        return Ok(None);
    }
    let stamp = Stamp::of(held)?;
    let is_closed =
        stamp.file_type() == FileType::Directory && stamp.uid == own.as_raw() && stamp.permissions() & OPEN == 0;
    Ok(is_closed.then(|| Closed { ino: stamp.ino, mode: stamp.permissions() }))
}

/// Lets a step move what is at a spot, or comes there.
pub(super) fn open(op: &Op, spot: &Spot) -> Result<(), Errno> {
    set(op, spot, |closed| (closed.mode, closed.mode | OPEN))
}

/// Gives it back what [`open`] took, wherever it is by then.
pub(super) fn close(op: &Op, spot: &Spot) -> Result<(), Errno> {
    set(op, spot, |closed| (closed.mode | OPEN, closed.mode))
}

/// Changes permission bits of what is at a spot and of the directory above, but of nothing that somebody gave others
/// meanwhile.
fn set(op: &Op, spot: &Spot, from_to: impl Fn(&Closed) -> (u32, u32)) -> Result<(), Errno> {
    if op.closed.is_empty() {
        return Ok(());
    }
    let above = set_held(op, spot.parent.as_fd(), &from_to);
    let there = match hold_child(&spot.parent, &spot.name) {
        Ok(held) => set_held(op, held.as_fd(), &from_to),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    };
    above.and(there)
}

fn set_held(op: &Op, held: BorrowedFd<'_>, from_to: impl Fn(&Closed) -> (u32, u32)) -> Result<(), Errno> {
    let stamp = Stamp::from(&rustix::fs::fstat(held)?);
    let Some(closed) = op.closed.iter().find(|closed| closed.ino == stamp.ino) else { return Ok(()) };
    let (from, to) = from_to(closed);
    if stamp.file_type() != FileType::Directory || stamp.permissions() != from {
        return Ok(());
    }
    rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), Mode::from_raw_mode(to))
}
