//! Directories that their own owner may not write. Only who may write a directory can give it another one above
//! (rename(2)), so for as long as a step moves one it is open to its owner.

use std::os::fd::AsRawFd;

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
    let own = rustix::process::geteuid();
    if own.is_root() {
        return Ok(None);
    }
    let held = match hold_child(&spot.parent, &spot.name) {
        Ok(held) => held,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(refused(errno, &spot.path)),
    };
    let stamp = Stamp::of(held)?;
    let is_closed =
        stamp.file_type() == FileType::Directory && stamp.uid == own.as_raw() && stamp.permissions() & OPEN == 0;
    Ok(is_closed.then(|| Closed { ino: stamp.ino, mode: stamp.permissions() }))
}

/// Lets what a step moves be moved from a spot.
pub(super) fn open(op: &Op, spot: &Spot) -> Result<(), Errno> {
    set(op, spot, |closed| (closed.mode, closed.mode | OPEN))
}

/// Gives it back what [`open`] took, wherever it is by then.
pub(super) fn close(op: &Op, spot: &Spot) -> Result<(), Errno> {
    set(op, spot, |closed| (closed.mode | OPEN, closed.mode))
}

/// Changes permission bits, of nothing that somebody gave others meanwhile.
fn set(op: &Op, spot: &Spot, from_to: impl Fn(&Closed) -> (u32, u32)) -> Result<(), Errno> {
    if op.closed.is_empty() {
        return Ok(());
    }
    let held = match hold_child(&spot.parent, &spot.name) {
        Ok(held) => held,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let stat = rustix::fs::fstat(&held)?;
    let stamp = Stamp::from(&stat);
    let Some(closed) = op.closed.iter().find(|closed| closed.ino == stamp.ino) else { return Ok(()) };
    let (from, to) = from_to(closed);
    if stamp.file_type() != FileType::Directory || stamp.permissions() != from {
        return Ok(());
    }
    rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), Mode::from_raw_mode(to))
}
