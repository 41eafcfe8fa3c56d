//! What went and what came is the same: renames, and names of one file.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState};

use super::handle::handle_of;
use super::upper::{redirected, shallow};
use super::{Change, Kind, Walk};
use crate::Error;
use crate::journal::stamp::Extent;
use crate::sandbox::Own;

/// Names of one inode of the layer.
#[derive(Default)]
pub(super) struct Names {
    pub(super) nlink: u64,
    /// Each with what of the machine is there.
    pub(super) places: Vec<(PathBuf, Option<PathBuf>)>,
    /// One of them as it lies in the layer.
    pub(super) upper: PathBuf,
    /// The layer, and the mount that it covers.
    pub(super) layer: PathBuf,
    pub(super) top: PathBuf,
}

impl Walk<'_> {
    /// Finds the directories that were renamed, before anything is said of where they were.
    pub(super) fn find_moved(&mut self, upper: &Path, source: &Path, top: &Path) -> Result<(), Error> {
        let doing = || Error::io(format!("read the layer at {}", source.display()));
        for entry in fs::read_dir(upper).map_err(doing())? {
            let entry = entry.map_err(doing())?;
            if !entry.file_type().map_err(doing())?.is_dir() {
                continue;
            }
            let natural = source.join(entry.file_name());
            let from = redirected(self.own, &entry.path(), source, top)?.unwrap_or_else(|| natural.clone());
            if from != natural {
                self.moved.insert(from.clone());
                self.moved_here.insert(entry.path(), from.clone());
            }
            self.find_moved(&entry.path(), &from, top)?;
        }
        Ok(())
    }

    /// A directory that was moved, with what changes in it.
    pub(super) fn renamed(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
        from: &Path,
    ) -> Result<(), Error> {
        let before = from.symlink_metadata().map_err(Error::io(format!("measure {}", from.display())))?;
        let standing = self.standing(from, Extent::Tree)?;
        let (entries, _) = self.note_notable(EffectKind::FileRename, from)?;
        self.note_rename(place, from, &shallow(&before), &shallow(after), standing.entries - entries);
        self.push_rename(place, from)?;
        self.changed(upper, after, place, from, &before, false)
    }

    fn push_rename(&mut self, place: &Path, from: &Path) -> Result<(), Error> {
        let standing = Some(self.standing(from, Extent::Itself)?);
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let kind = Kind::Rename.into();
        self.changes.push(Change { path: bytes(place), from: bytes(from), standing, kind, ..Change::default() });
        Ok(())
    }

    fn note_rename(&mut self, place: &Path, from: &Path, before: &FileState, after: &FileState, entries: u64) {
        let other = |path: &Path| escape(path.as_os_str().as_bytes());
        let gone = FileChange { before: Some(before.clone()), renamed: other(place), ..FileChange::default() };
        let come = FileChange { after: Some(after.clone()), renamed: other(from), ..FileChange::default() };
        self.note(EffectKind::FileRename, from, entries, 0, gone);
        self.note(EffectKind::FileCreate, place, 1, 0, come);
    }

    /// Tells what moved from what went: a new file that is a file of the machine, unchanged, was renamed.
    pub(super) fn pair(&mut self) -> Result<(), Error> {
        let mut gone: Vec<_> = std::mem::take(&mut self.gone);
        gone.retain(|path| !self.moved.contains(path));
        for (place, upper, handle) in std::mem::take(&mut self.arrived) {
            let is_origin = |path: &&PathBuf| handle_of(path).is_some_and(|found| found == handle);
            let Some(from) = gone.iter().find(is_origin).cloned() else { continue };
            let doing = || Error::io(format!("measure {}", from.display()));
            let (before, after) =
                (from.symlink_metadata().map_err(doing())?, upper.symlink_metadata().map_err(doing())?);
            let (old, new) = self.states((&from, &before), (&upper, &after), &place)?;
            let mtime = |it: &fs::Metadata| (it.mtime(), it.mtime_nsec());
            if self.names_on_machine(&before)? != 1 {
                self.unsupported.push(format!("{}: a file with several names moved (hard links)", from.display()));
                continue;
            }
            if old != new || mtime(&before) != mtime(&after) {
                continue;
            }
            gone.retain(|path| *path != from);
            self.renamed_file(&place, &from, &old, &new)?;
        }
        self.pair_copied(&mut gone)?;
        if self.is_unindexed {
            self.doubt_gone(&gone)?;
        }
        let renamed: Vec<PathBuf> = self.changes.iter().filter(|it| it.kind() == Kind::Rename).map(from_of).collect();
        // Without a note of where it came from, what is new may be what went.
        let is_new = |change: &Change| change.kind() == Kind::Place && change.standing.is_none();
        let is_untold = (self.own == Own::User || self.is_unindexed) && self.changes.iter().any(is_new);
        for path in gone {
            if renamed.iter().any(|from| from.starts_with(&path)) {
                self.unsupported
                    .push(format!("{}: a directory that goes and of which a part is elsewhere", path.display()));
            }
            if is_untold {
                self.keep_all_notes(&path)?;
            }
            self.deleted(&path)?;
        }
        Ok(())
    }

    /// What came to a place is what was at another.
    pub(super) fn renamed_file(
        &mut self,
        place: &Path,
        from: &Path,
        old: &FileState,
        new: &FileState,
    ) -> Result<(), Error> {
        let target = escape(place.as_os_str().as_bytes());
        // What stood there before may have gone elsewhere, which is said of the same path.
        self.effects.retain(|effect| effect.target != target || effect.kind() != EffectKind::FileCreate);
        self.changes.retain(|change| change.path != place.as_os_str().as_bytes() || change.kind() != Kind::Place);
        self.note_rename(place, from, old, new, 1);
        self.push_rename(place, from)
    }

    /// Gives new names of one file one inode again, or refuses what cannot be told for certain.
    pub(super) fn link(&mut self) -> Result<(), Error> {
        for names in std::mem::take(&mut self.links).into_values() {
            let first = &names.places[0].0;
            let mut refuse = |why: &str| self.unsupported.push(format!("{}: {why} (hard links)", first.display()));
            if names.places.len() as u64 != names.nlink {
                refuse("a file with names elsewhere");
                continue;
            }
            let changes = |place: &Path| self.changes.iter().find(|it| it.path == place.as_os_str().as_bytes());
            let is_placed = |place: &Path| changes(place).is_some_and(|it| it.kind() == Kind::Place);
            let stays: Vec<_> = names.places.iter().filter(|(place, _)| !is_placed(place)).collect();
            if stays.iter().any(|(place, was)| was.is_none() || changes(place).is_some()) || stays.len() > 1 {
                refuse("a file that gets a further name and changes besides");
                // Equal to what stood there, but another's name now: without this nobody would see a change.
                let equal: Vec<PathBuf> = stays
                    .iter()
                    .filter(|(place, _)| changes(place).is_none())
                    .map(|(place, _)| place.clone())
                    .collect();
                for place in equal.iter().skip(1) {
                    self.say_replaced(place, &names.upper, Some(&equal[0]))?;
                }
                continue;
            }
            // What stands at that place now is another file, and would be the one that is linked.
            if stays.iter().any(|(place, was)| was.as_ref() != Some(place)) {
                refuse("a file linked where directories move");
                continue;
            }
            let stays = stays.first().map(|(place, _)| place.clone());
            let standing = stays.as_deref().map(|place| self.standing(place, Extent::Itself)).transpose()?;
            let other = stays.clone().unwrap_or_else(|| first.clone());
            for (place, _) in names.places.iter().filter(|(place, _)| *place != other) {
                let target = escape(place.as_os_str().as_bytes());
                let of_place = self.effects.iter_mut().filter(|it| it.target == target);
                for file in of_place.filter_map(|effect| effect.file.as_mut()) {
                    file.linked = escape(other.as_os_str().as_bytes());
                }
                if let Some(standing) = &standing {
                    for change in self.changes.iter_mut().filter(|it| it.path == place.as_os_str().as_bytes()) {
                        change.linked = other.as_os_str().as_bytes().to_vec();
                        change.linked_standing = Some(standing.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

fn from_of(change: &Change) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(&change.from))
}
