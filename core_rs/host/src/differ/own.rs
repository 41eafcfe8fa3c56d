//! Attributes with names of the overlay's own: what a command did to them cannot be told for certain, so it
//! is shown and not committed.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cmdop_contract::path::escape;
use cmdop_contract::v1::FileState;

use super::handle::origin;
use super::upper::{state, xattrs};
use super::{Change, Kind, Walk};
use crate::Error;
use crate::journal::attributes::{Xattr, xattrs as held_xattrs};
use crate::sandbox::Named;

/// Notes that overlays with the options of a view's leave (fs/overlayfs/overlayfs.h).
const NOTES: [&str; 7] = ["impure", "nlink", "opaque", "origin", "redirect", "upper", "uuid"];

impl Walk {
    /// What is on the machine, and what the layer makes of it.
    pub(super) fn states(
        &mut self,
        (was, before): (&Path, &fs::Metadata),
        (upper, after): (&Path, &fs::Metadata),
        place: &Path,
    ) -> Result<(FileState, FileState), Error> {
        let old = state(was, before, &xattrs(was)?)?;
        let shown = self.shown(upper, Some(was), place)?;
        Ok((old, state(upper, after, &shown)?))
    }

    pub(super) fn state_of_new(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
    ) -> Result<FileState, Error> {
        let shown = self.shown(upper, None, place)?;
        // It may be a file of the machine by another name, which a copy of it is not entirely.
        let of = origin(self.own, upper)?.and_then(|of| of.open(&self.top).ok());
        if let Some(of) = of.filter(|_| !after.is_dir()) {
            let found = held_xattrs(&of);
            let found = found.map_err(|errno| Error::io(format!("measure {}", place.display()))(errno.into()))?;
            if found.iter().any(|xattr| self.own.named(&xattr.name) != Named::Ordinary) {
                self.brought.push((place.to_owned(), found));
            }
        }
        state(upper, after, &shown)
    }

    /// Extended attributes as they are after the command. Those of the machine with names of the overlay's own
    /// the command saw under others, or not at all: if it left them alone they are as they were.
    pub(super) fn shown(&mut self, upper: &Path, was: Option<&Path>, place: &Path) -> Result<Vec<Xattr>, Error> {
        let own = self.own;
        let (mut all, owned): (Vec<_>, Vec<_>) =
            xattrs(upper)?.into_iter().partition(|xattr| own.named(&xattr.name) == Named::Ordinary);
        let machine: Vec<_> = was.map(xattrs).transpose()?.unwrap_or_default();
        let machine: Vec<_> = machine.into_iter().filter(|xattr| own.named(&xattr.name) != Named::Ordinary).collect();
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
