//! Where something is made that shall come to a place: out of sight, and yet with what it would inherit there.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use cmdop_contract::v1::{FileType, Reason};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, fchmod, fchown, mkdirat, renameat_with, unlinkat};

use super::beneath::{Spot, hold_child, open_child, refused, show};
use super::chmod::SET_GROUP;
use super::inherited::Inherited;
use super::measure::Stamp;
use crate::Error;
use crate::journal::attributes::Attributes;
use crate::journal::{Draft, Slot};

/// What is made bears this name until it has a slot of its own.
pub(super) const NAME: &CStr = c"new";

/// A directory in a slot, which passes on what the one above a place does: its group and its default access list.
pub(super) struct Nursery<'a> {
    place: &'a Spot,
    at: Spot,
    dir: OwnedFd,
}

impl<'a> Nursery<'a> {
    /// # Errors
    /// `COMMIT_CONFLICT` if that directory is another now; `UNSUPPORTED_CHANGE` if this process's user cannot pass the same on.
    pub(super) fn open(draft: &mut Draft<'_>, place: &'a Spot) -> Result<Self, Error> {
        let failed = |errno| refused(errno, &place.path);
        draft.check_place(place)?;
        let slot = draft.slot(&place.path)?;
        let at = draft.staging(slot)?;
        mkdirat(&at.parent, &*at.name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let dir = open_child(&at.parent, &at.name, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        pass_on(place, &dir)?;
        Ok(Self { place, at, dir })
    }

    /// In it is made, under [`NAME`], what shall come to the place.
    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// What was made gets the slot from which it comes to its place, and comes there with the permission bits `mode`.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(super) fn leave(self, draft: &mut Draft<'_>, mode: u32) -> Result<(), Error> {
        let failed = |errno| refused(errno, &self.place.path);
        let made = Stamp::of(hold_child(&self.dir, NAME).map_err(failed)?)?;
        // Who owns a directory that they may not write cannot give it another one above (rename(2)).
        let is_stiff =
            made.file_type() == FileType::Directory && mode & 0o200 == 0 && !rustix::process::geteuid().is_root();
        if is_stiff {
            let movable = Attributes { mode: Some(mode | 0o200), ..Attributes::default() };
            movable.set(hold_child(&self.dir, NAME).map_err(failed)?).map_err(failed)?;
        }
        let slot: Slot = draft.slot(&self.place.path)?;
        let to = draft.staging(slot)?;
        renameat_with(&self.dir, NAME, &to.parent, &*to.name, RenameFlags::NOREPLACE).map_err(failed)?;
        unlinkat(&self.at.parent, &*self.at.name, AtFlags::REMOVEDIR).map_err(failed)?;
        draft.put_in(&self.place.path, slot)?;
        if is_stiff {
            draft.attributes_of_new(&self.place.path, slot, mode | 0o200, mode)?;
        }
        Ok(())
    }
}

fn pass_on(place: &Spot, dir: &OwnedFd) -> Result<(), Error> {
    let failed = |errno| refused(errno, &place.path);
    let above = Stamp::of(&place.parent)?;
    // On a mount with `grpid` the group is passed on without the bit, too (mount(8)).
    let has_group = fchown(dir, None, Some(Gid::from_raw(above.gid))).is_ok();
    if above.permissions() & SET_GROUP != 0 {
        let mode = Mode::from_raw_mode(0o700 | SET_GROUP);
        fchmod(dir, mode).map_err(failed)?;
        if !has_group || Stamp::of(dir)?.permissions() & SET_GROUP == 0 {
            let message = format!(
                "what is made at {} would belong to a group that the host's user is not in; nothing was made",
                show(&place.path)
            );
            return Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"));
        }
    }
    Inherited::of(&place.parent).and_then(|inherited| inherited.pass_on(dir)).map_err(failed)
}
