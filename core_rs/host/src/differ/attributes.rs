//! Times, mode, owner and extended attributes of what is otherwise as before.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cmdop_contract::v1::{EffectKind, FileChange, FileState};

use super::upper::{looked, shallow, xattrs};
use super::{Change, Kind, Walk};
use crate::Error;
use crate::journal::attributes::{Attributes, Xattr};
use crate::journal::look;
use crate::journal::stamp::NAME_BYTES;
use crate::journal::values::Values;
use crate::native::measure::Stamp;
use crate::sandbox::Own;

impl Walk<'_> {
    /// The times of a directory before and after.
    pub(super) fn times(&mut self, upper: &Path, place: &Path, was: &Path) -> Result<(), Error> {
        let path = place.as_os_str().as_bytes().to_vec();
        let path_before = was.as_os_str().as_bytes().to_vec();
        let held = self.root.open(&path_before, rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY)?;
        self.changes.push(Change {
            path_before,
            path,
            from: upper.as_os_str().as_bytes().to_vec(),
            kind: Kind::Times.into(),
            before: Some(Attributes::times_of(&Stamp::of(held)?)),
            ..Change::default()
        });
        Ok(())
    }

    /// Mode and owner of what is otherwise as before.
    pub(super) fn attributes(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
        was: &Path,
    ) -> Result<(), Error> {
        let Some(before) = looked(was)? else { return Ok(()) };
        let told = self.effects.len();
        // The top of a layer is the root itself only if nothing has a name for it.
        if self.attribute_effects(upper, after, place, was, &before, false)? {
            // A directory is copied with whatever comes into it: what others make of it meanwhile is not told as the
            // command's doing, and nothing is committed over it.
            if before.is_dir() && self.is_meanwhile(&before) {
                self.effects.truncate(told);
                self.conflicts.get_mut().insert(place.as_os_str().as_bytes().to_vec());
                return Ok(());
            }
            if place == Path::new("/") {
                self.unsupported.push("/: mode or owner of the root itself".to_owned());
                return Ok(());
            }
            if self.own == Own::User && (before.uid(), before.gid()) != (after.uid(), after.gid()) {
                return self.owner(upper, place, was, &before, after);
            }
            self.step(Kind::Attributes, place, Some(was), upper)?;
        }
        Ok(())
    }

    /// An ordinary user's command cannot give a file another owner or group, for it has one of each: what has another is
    /// another file, which takes the place of the old one.
    fn owner(
        &mut self,
        upper: &Path,
        place: &Path,
        was: &Path,
        before: &fs::Metadata,
        after: &fs::Metadata,
    ) -> Result<(), Error> {
        if !before.is_dir() {
            self.kept_bytes += before.len() + NAME_BYTES;
            return self.step(Kind::Place, place, Some(was), upper);
        }
        // Of a directory that is shown what comes and goes, and the old one stays.
        if before.uid() != after.uid() {
            let why = format!("{}: a directory in the place of one that is somebody else's", place.display());
            self.unsupported.push(why);
        }
        self.is_lasting = true;
        self.step(Kind::Attributes, place, Some(was), upper)
    }

    /// Did anybody change it since the layer was laid out?
    fn is_meanwhile(&self, before: &fs::Metadata) -> bool {
        let changed_ns = before.ctime().saturating_mul(1_000_000_000).saturating_add(before.ctime_nsec());
        self.begun_ns.is_some_and(|begun| changed_ns > begun)
    }

    /// True if there are any. Of what is modified anyhow that is not said again.
    pub(super) fn attribute_effects(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
        was: &Path,
        before: &fs::Metadata,
        is_modified: bool,
    ) -> Result<bool, Error> {
        let values = Values::of_both(was.as_os_str().as_bytes(), place.as_os_str().as_bytes());
        let state = |xattrs: &[Xattr], metadata: &fs::Metadata| FileState {
            xattrs: xattrs.iter().map(|xattr| values.shown(xattr)).collect(),
            ..shallow(metadata)
        };
        let machine = xattrs(was)?;
        let old = state(&machine, before);
        let new = state(&self.shown(upper, &machine, place)?, after);
        let access = look::access_xattrs(&old) != look::access_xattrs(&new);
        let content = look::other_xattrs(&old) != look::other_xattrs(&new) && !is_modified;
        let mode = old.mode != new.mode && !after.is_symlink();
        let owner = (old.uid, old.gid) != (new.uid, new.gid);
        let change = || FileChange { before: Some(old.clone()), after: Some(new.clone()), ..FileChange::default() };
        for (kind, is_met) in
            [(EffectKind::FileModify, content), (EffectKind::FileChmod, mode || access), (EffectKind::FileChown, owner)]
        {
            if is_met {
                self.note(kind, place, 1, 0, change());
            }
        }
        Ok(mode || owner || access || content)
    }
}
