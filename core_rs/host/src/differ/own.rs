//! Attributes with names of the overlay's own: what a command did to them cannot be told for certain, so it
//! is shown and not committed.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{FileState, FileType};
use rustix::fs::OFlags;

use super::handle::{handle_of, origin};
use super::upper::{looked, state, xattrs};
use super::{Change, Kind, Walk};
use crate::Error;
use crate::journal::attributes::{Xattr, xattrs as held_xattrs};
use crate::journal::values::Values;
use crate::native::walk::{Next, Seen, Visitor, walk};
use crate::sandbox::Named;

/// Notes that overlays with the options of a view's leave (fs/overlayfs/overlayfs.h).
const NOTES: [&str; 7] = ["impure", "nlink", "opaque", "origin", "redirect", "upper", "uuid"];

impl Walk<'_> {
    /// What is on the machine, and what the layer makes of it.
    pub(super) fn states(
        &mut self,
        (was, before): (&Path, &fs::Metadata),
        (upper, after): (&Path, &fs::Metadata),
        place: &Path,
    ) -> Result<(FileState, FileState), Error> {
        let values = Values::of_both(was.as_os_str().as_bytes(), place.as_os_str().as_bytes());
        let old = state(was, before, &xattrs(was)?, values)?;
        let shown = self.shown(upper, &xattrs(was)?, place)?;
        Ok((old, state(upper, after, &shown, values)?))
    }

    pub(super) fn state_of_new(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
    ) -> Result<FileState, Error> {
        let found = if after.is_dir() { Vec::new() } else { self.of_origin(upper, place)? };
        let shown = self.shown(upper, &found, place)?;
        if !found.is_empty() {
            self.brought.push((place.to_owned(), found));
        }
        state(upper, after, &shown, Values::of(place.as_os_str().as_bytes()))
    }

    /// Of a file that stands where one stood, and may be another: neither's attributes that the view did not show
    /// can be kept. False if there are some, which nothing else may show.
    pub(super) fn keeps_both(&mut self, upper: &Path, was: &Path, place: &Path) -> Result<bool, Error> {
        if origin(self.own, upper)?.is_some_and(|of| handle_of(was).is_some_and(|there| there == of)) {
            return Ok(true);
        }
        let known = self.unsupported.len();
        self.keep_notes(was)?;
        let found = self.of_origin(upper, place)?;
        self.keep(place, &found);
        Ok(self.unsupported.len() == known)
    }

    /// Attributes with names of the overlay's own that the file of the machine has which was copied here.
    fn of_origin(&self, upper: &Path, place: &Path) -> Result<Vec<Xattr>, Error> {
        let of = origin(self.own, upper)?.and_then(|of| of.open(&self.top).ok());
        let found = of.as_ref().map(held_xattrs).transpose();
        let found = found.map_err(|errno| Error::io(format!("measure {}", place.display()))(errno.into()))?;
        let found = found.unwrap_or_default().into_iter();
        Ok(found.filter(|xattr| self.own.named(&xattr.name) != Named::Ordinary).collect())
    }

    /// Extended attributes as they are after the command. Those of the machine with names of the overlay's own
    /// the command saw under others, or not at all: if it left them alone they are as they were.
    pub(super) fn shown(&mut self, upper: &Path, machine: &[Xattr], place: &Path) -> Result<Vec<Xattr>, Error> {
        let own = self.own;
        let (mut all, owned): (Vec<_>, Vec<_>) =
            xattrs(upper)?.into_iter().partition(|xattr| own.named(&xattr.name) == Named::Ordinary);
        let machine = machine.iter().filter(|xattr| own.named(&xattr.name) != Named::Ordinary).cloned();
        let machine: Vec<_> = machine.collect();
        for xattr in &owned {
            let is_known = NOTES.iter().any(|note| own.note(note).as_bytes() == xattr.name);
            if own.named(&xattr.name) == Named::Note && !is_known {
                self.refuse(place, &xattr.name);
            }
        }
        let (before, after) = (self.unescaped(&machine), self.unescaped(&owned));
        let changed = |one: &[Xattr], two: &[Xattr]| -> Vec<Xattr> {
            one.iter().filter(|xattr| !two.contains(xattr)).cloned().collect()
        };
        let differ = [changed(&before, &after), changed(&after, &before)].concat();
        differ.iter().for_each(|xattr| self.refuse(place, &xattr.name));
        let kept = machine.into_iter().filter(|xattr| differ.is_empty() || own.named(&xattr.name) == Named::Note);
        all.extend(kept);
        if !differ.is_empty() {
            all.retain(|xattr| !after.iter().any(|other| other.name == xattr.name));
            all.extend(after);
        }
        all.sort();
        Ok(all)
    }

    /// Something that stands where this stood would have none of its attributes that the view did not show.
    pub(super) fn keep_notes(&mut self, was: &Path) -> Result<(), Error> {
        let found = xattrs(was)?;
        self.keep(was, &found);
        Ok(())
    }

    /// The same of everything that goes with a directory.
    pub(super) fn keep_all_notes(&mut self, gone: &Path) -> Result<(), Error> {
        self.keep_notes(gone)?;
        if !looked(gone)?.is_some_and(|found| found.is_dir()) {
            return Ok(());
        }
        let path = gone.as_os_str().as_bytes();
        let top = self.root.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        walk(top, path, &mut Notes(self))
    }

    /// The same of what was brought elsewhere, where it comes as a copy.
    pub(super) fn keep_brought(&mut self) {
        for (place, found) in std::mem::take(&mut self.brought) {
            let path = place.as_os_str().as_bytes();
            let is_copied = |it: &&Change| it.path == path && it.kind() == Kind::Place && it.linked.is_empty();
            if self.changes.iter().any(|change| is_copied(&change)) {
                self.keep(&place, &found);
            }
        }
    }

    fn keep(&mut self, place: &Path, found: &[Xattr]) {
        let own = self.own;
        for xattr in found.iter().filter(|xattr| own.named(&xattr.name) != Named::Ordinary) {
            self.refuse(place, &xattr.name);
        }
    }

    /// As the view names them.
    fn unescaped(&self, xattrs: &[Xattr]) -> Vec<Xattr> {
        let shown = xattrs.iter().filter_map(|xattr| match self.own.named(&xattr.name) {
            Named::Escaped(name) => Some(Xattr { name, value: xattr.value.clone() }),
            Named::Ordinary | Named::Note => None,
        });
        shown.collect()
    }

    fn refuse(&mut self, place: &Path, name: &[u8]) {
        let why = format!(
            "{}: the attribute `{}`, a name that a private copy keeps for itself",
            place.display(),
            escape(name)
        );
        if !self.unsupported.contains(&why) {
            self.unsupported.push(why);
        }
    }
}

/// Refuses what would lose attributes that the view did not show.
struct Notes<'a, 'b>(&'a mut Walk<'b>);

impl Visitor for Notes<'_, '_> {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        // Of a directory they are of no use elsewhere: it comes as a new one or as itself.
        if seen.stamp.file_type() != FileType::Directory {
            let held = PathBuf::from(format!("/proc/self/fd/{}", seen.dir.as_raw_fd()));
            let found = xattrs(&held.join(OsStr::from_bytes(seen.name.to_bytes())))?;
            self.0.keep(Path::new(OsStr::from_bytes(seen.path)), &found);
        }
        Ok(Next::Enter)
    }
}
