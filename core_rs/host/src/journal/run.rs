//! Running the steps of a journal, forwards or back. Each finds out whether it is done already, so
//! that a run which a crash cut short is simply run again.
//!
//! Only what lies in the slots tells: nobody else can reach them. A slot that a rename passes through
//! is empty before and after, so a mark says whether everything has moved out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cmdop_contract::v1::Reason;
use rustix::fs::{OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::closed;
use super::record::{Kind, Op, Record};
use super::stamp::{Standing, identity};
use crate::Error;
use crate::native::beneath::{READ, Root, Spot, hold_child, not_usable, open_child, show};
use crate::native::measure::Stamp;

/// Name of the mark that everything has moved out.
const MOVED_OUT: &str = "moved-out";

/// From so many directories on, the whole file system is made durable at once.
const MANY: usize = 16;

/// A journal with its slots at hand.
pub(super) struct Run<'a> {
    root: &'a Root,
    dir: &'a Path,
    record: &'a Record,
    stores: Vec<OwnedFd>,
    /// File systems are made durable as a whole.
    is_whole_sync: Cell<bool>,
    /// Places whose attributes were set on the first way through the steps. None before it: a crash may have cut an
    /// earlier life's short anywhere.
    set: RefCell<Option<BTreeSet<Vec<u8>>>>,
}

impl<'a> Run<'a> {
    /// # Errors
    /// If a store cannot be opened.
    pub(super) fn new(root: &'a Root, dir: &'a Path, record: &'a Record) -> Result<Self, Error> {
        let open = |path: &Vec<u8>| root.open(path, OFlags::PATH | OFlags::DIRECTORY);
        let stores = record.stores.iter().map(open).collect::<Result<_, _>>()?;
        let is_whole_sync = Cell::new(record.of_kind(Kind::Attributes).count() > MANY);
        Ok(Self { root, dir, record, stores, is_whole_sync, set: RefCell::new(None) })
    }

    /// Does what is not done yet.
    ///
    /// # Errors
    /// `COMMIT_CONFLICT` and what the operating system says. Some steps may be done.
    pub(super) fn forwards(&self) -> Result<(), Error> {
        self.close_all()?;
        for op in self.record.of_kind(Kind::Out) {
            if !self.has_moved_out(op)? {
                self.move_out(op)?;
            }
        }
        if self.record.has_renames() && !self.is_marked()? {
            fs::write(self.mark(), "").map_err(Error::io("mark the journal"))?;
        }
        for op in self.record.of_kind(Kind::In) {
            if self.in_slot(op)?.is_some() {
                self.move_in(op)?;
            }
        }
        for op in self.record.of_kind(Kind::Exchange) {
            if self.in_slot(op)? == op.moving_identity() {
                self.exchange(op, op.standing.as_ref())?;
            }
        }
        self.set_all(self.record.of_kind(Kind::Attributes), true)?;
        for op in self.record.of_kind(Kind::Times) {
            self.set_times(op, true);
        }
        self.sync()
    }

    /// Takes back what is done.
    ///
    /// # Errors
    /// As [`Run::forwards`].
    pub(super) fn back(&self) -> Result<(), Error> {
        self.close_all()?;
        if self.is_whole()? {
            self.set_all(self.record.of_kind(Kind::Attributes).rev(), false)?;
        }
        for op in self.record.of_kind(Kind::Exchange).rev() {
            if self.in_slot(op)? != op.moving_identity() && (!op.is_half || self.is_marked()?) {
                self.exchange(op, op.moving.as_ref())?;
            }
        }
        for op in self.record.of_kind(Kind::In).rev() {
            if self.in_slot(op)?.is_none() && (!op.is_half || self.is_marked()?) {
                self.take_back(op)?;
            }
        }
        if self.is_marked()? {
            fs::remove_file(self.mark()).map_err(Error::io("take the mark off the journal"))?;
        }
        for op in self.record.of_kind(Kind::Out).rev() {
            if self.in_slot(op)?.is_some() {
                self.move_in(op)?;
            }
        }
        for op in self.record.of_kind(Kind::Times) {
            self.set_times(op, false);
        }
        self.sync()
    }

    /// True if everything that moves has moved, so that places are where the steps after it expect them.
    fn is_whole(&self) -> Result<bool, Error> {
        if self.record.has_renames() && !self.is_marked()? {
            return Ok(false);
        }
        for op in &self.record.ops {
            let is_done = match op.kind() {
                Kind::Out => self.has_moved_out(op)?,
                Kind::In => self.in_slot(op)?.is_none(),
                Kind::Exchange => self.in_slot(op)? != op.moving_identity(),
                Kind::Attributes | Kind::Times => true,
            };
            if !is_done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Closes what a crash or a failure left open while it moved: at most one, which nothing has moved since.
    fn close_all(&self) -> Result<(), Error> {
        for op in self.record.ops.iter().filter(|op| !op.closed.is_empty()) {
            closed::close(op, &self.slot(op)?).map_err(|errno| refused(errno, op))?;
            if let Ok(spot) = self.root.spot(&op.path) {
                closed::close(op, &spot).map_err(|errno| refused(errno, op))?;
            }
        }
        Ok(())
    }

    fn has_moved_out(&self, op: &Op) -> Result<bool, Error> {
        Ok(op.is_half && self.is_marked()? || self.in_slot(op)?.is_some())
    }

    fn move_out(&self, op: &Op) -> Result<(), Error> {
        let (spot, slot) = (self.spot(op)?, self.slot(op)?);
        moved(op, &spot, &slot, RenameFlags::NOREPLACE)?;
        let expected = op.moving.as_ref();
        let is_same = expected.map_or(Ok(true), |moving| moving.is_same(&slot));
        if matches!(is_same, Ok(true)) {
            return Ok(());
        }
        moved(op, &slot, &spot, RenameFlags::NOREPLACE)?;
        is_same.and_then(|_| Err(conflict(&op.path)))
    }

    /// Out of the slot to the place: a step in, or a step out taken back.
    fn move_in(&self, op: &Op) -> Result<(), Error> {
        if self.in_slot(op)? != op.moving_identity() {
            return Err(damaged(op));
        }
        moved(op, &self.slot(op)?, &self.spot(op)?, RenameFlags::NOREPLACE)
    }

    fn take_back(&self, op: &Op) -> Result<(), Error> {
        let (spot, slot) = (self.spot(op)?, self.slot(op)?);
        moved(op, &spot, &slot, RenameFlags::NOREPLACE)?;
        if self.in_slot(op)? == op.moving_identity() {
            return Ok(());
        }
        moved(op, &slot, &spot, RenameFlags::NOREPLACE)?;
        Err(conflict(&op.path))
    }

    /// Exchanges, and makes sure that `expected` came out: the last chance to see a lost update.
    fn exchange(&self, op: &Op, expected: Option<&Standing>) -> Result<(), Error> {
        let (spot, slot) = (self.spot(op)?, self.slot(op)?);
        moved(op, &slot, &spot, RenameFlags::EXCHANGE)?;
        let is_same = expected.map_or(Ok(true), |standing| standing.is_same(&slot));
        if matches!(is_same, Ok(true)) {
            return Ok(());
        }
        moved(op, &slot, &spot, RenameFlags::EXCHANGE)?;
        is_same.and_then(|_| Err(conflict(&op.path)))
    }

    /// Sets attributes; on the way back only where they were set on the way there: what somebody else put at the place
    /// before that has none of ours.
    fn set_all<'op>(&self, ops: impl Iterator<Item = &'op Op>, is_forwards: bool) -> Result<(), Error> {
        let set_before = self.set.replace(Some(BTreeSet::new()));
        for op in ops.filter(|op| set_before.as_ref().is_none_or(|set| set.contains(&op.path))) {
            self.set_attributes(op, is_forwards)?;
        }
        Ok(())
    }

    fn set_attributes(&self, op: &Op, is_forwards: bool) -> Result<(), Error> {
        let spot = self.spot(op)?;
        let held = hold_child(&spot.parent, &spot.name).map_err(|errno| refused(errno, op))?;
        let expected = op.standing.as_ref().map(|standing| standing.ino);
        if Stamp::of(&held).map(|stamp| Some(stamp.ino))? != expected {
            return Err(conflict(&op.path));
        }
        if let Some(set) = &mut *self.set.borrow_mut() {
            set.insert(op.path.clone());
        }
        let wanted = if is_forwards { &op.after } else { &op.before };
        wanted.as_ref().map_or(Ok(()), |wanted| wanted.set(&held)).map_err(|errno| refused(errno, op))?;
        // What may not be read, is a link or cannot be made durable alone goes with everything.
        let opened = open_child(&spot.parent, &spot.name, READ);
        if self.is_whole_sync.get() || opened.and_then(rustix::fs::fsync).is_err() {
            self.is_whole_sync.set(true);
        }
        Ok(())
    }

    /// A directory that cannot be had any more needs no time.
    fn set_times(&self, op: &Op, is_forwards: bool) {
        let (path, wanted) = if is_forwards { (&op.path, &op.after) } else { (&op.path_before, &op.before) };
        if path.is_empty() {
            return;
        }
        if let (Some(wanted), Ok(held)) = (wanted, self.root.open(path, OFlags::PATH | OFlags::DIRECTORY)) {
            let _ = wanted.set(held);
        }
    }

    fn spot(&self, op: &Op) -> Result<Spot, Error> {
        self.root.spot(&op.path).map_err(|_| conflict(&op.path))
    }

    fn slot(&self, op: &Op) -> Result<Spot, Error> {
        slot_spot(&self.stores[op.store as usize], &self.record.stores[op.store as usize], op.slot)
    }

    fn in_slot(&self, op: &Op) -> Result<Option<u64>, Error> {
        let slot = slot_name(op.slot);
        identity(&self.stores[op.store as usize], &slot)
    }

    fn mark(&self) -> std::path::PathBuf {
        self.dir.join(MOVED_OUT)
    }

    fn is_marked(&self) -> Result<bool, Error> {
        super::is_there(&self.mark())
    }

    /// Makes the places durable.
    fn sync(&self) -> Result<(), Error> {
        let mut parents: Vec<&[u8]> = self.record.ops.iter().map(|op| parent(&op.path)).collect();
        parents.sort_unstable();
        parents.dedup();
        let is_whole = self.is_whole_sync.get() || parents.len() > MANY;
        let mut done = BTreeSet::new();
        for parent in parents {
            // A directory that was itself moved is durable with where it is now.
            let Ok(directory) = self.root.open(parent, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            let synced = match is_whole {
                true if !done.insert(Stamp::of(&directory)?.dev) => continue,
                true => rustix::fs::syncfs(directory),
                false => rustix::fs::fsync(directory),
            };
            synced.map_err(|errno| Error::io("make the commit durable")(errno.into()))?;
        }
        Ok(())
    }
}

/// Makes the file systems of all stores durable.
pub(super) fn sync_all(root: &Root, stores: &[Vec<u8>]) -> Result<(), Error> {
    for store in stores {
        let directory = root.open(store, OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::syncfs(directory).map_err(|errno| Error::io("make the commit durable")(errno.into()))?;
    }
    Ok(())
}

/// The slot as a place.
///
/// # Errors
/// The operating system's refusal.
pub(super) fn slot_spot(store: &OwnedFd, path: &[u8], slot: u32) -> Result<Spot, Error> {
    let name = slot_name(slot);
    let parent = store.try_clone().map_err(Error::io("look into the journal"))?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path)).join(slot.to_string());
    Ok(Spot { parent, path: path.as_os_str().as_bytes().to_vec(), name })
}

fn slot_name(slot: u32) -> CString {
    CString::new(slot.to_string()).expect("digits hold no NUL")
}

/// Moves what a step moves. Afterwards that is closed again, moved or not.
fn moved(op: &Op, from: &Spot, to: &Spot, flags: RenameFlags) -> Result<(), Error> {
    let on_both = |change: fn(&Op, &Spot) -> Result<(), Errno>| change(op, from).and(change(op, to));
    let opened = on_both(closed::open);
    let done = opened.and_then(|()| renameat_with(&from.parent, &*from.name, &to.parent, &*to.name, flags));
    let closed = on_both(closed::close);
    done.and(closed).map_err(|errno| refused(errno, op))
}

pub(super) fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    if end == 0 { b"/" } else { &path[..end] }
}

fn refused(errno: Errno, op: &Op) -> Error {
    match errno {
        Errno::NOENT | Errno::EXIST | Errno::NOTDIR | Errno::LOOP | Errno::NOTEMPTY => conflict(&op.path),
        Errno::BUSY | Errno::XDEV => not_usable(&op.path, "is a mount point or cannot be renamed on its file system"),
        Errno::ACCESS | Errno::PERM => not_usable(&op.path, "may not be changed by the host's user"),
        other => Error::io(format!("change {}", show(&op.path)))(other.into()),
    }
}

/// `COMMIT_CONFLICT` about one path.
pub(crate) fn conflict(path: &[u8]) -> Error {
    let message =
        format!("`{}` is no longer as it was measured; nothing was applied; propose the call again", show(path));
    Error::later(Reason::CommitConflict, message)
}

fn damaged(op: &Op) -> Error {
    Error::io(format!("change {}", show(&op.path)))(std::io::Error::other("somebody changed the journal"))
}
