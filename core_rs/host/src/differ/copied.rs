//! Renames in an ordinary user's layer: its notes say that a file came from the machine, and not which it was.
//!
//! The overlay notes of every file with one name that it copies up that it was copied, whoever mounted it
//! (`ovl_set_origin_fh`, fs/overlayfs/copy_up.c); of which one, only where its handle can be opened. What is made in the
//! view has no such note, an equal copy neither. So a file with a note, where nothing stood, is one of the same mount that
//! stands no longer where it stood. If it was not changed it looks as that one did; where exactly one does, it is that one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cmdop_contract::v1::FileType;
use rustix::fs::OFlags;

use super::Walk;
use super::upper::{looked, note};
use crate::Error;
use crate::native::measure::Stamp;
use crate::native::walk::{Next, Seen, Visitor, walk};
use crate::sandbox::Own;

/// A new file that was copied from the machine: its place, the layer's own, and the mount that it lies in.
pub(super) struct Copied {
    pub(super) place: PathBuf,
    pub(super) upper: PathBuf,
    pub(super) top: PathBuf,
}

/// What of a file is told without reading it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Looks {
    dev: u64,
    size: u64,
    mtime: (i64, i64),
    mode: u32,
    owner: (u32, u32),
}

/// Files that no longer stand where they stood, as far as one of those that came looks like them.
struct Lost<'a> {
    wanted: &'a BTreeSet<Looks>,
    found: BTreeMap<Looks, Vec<PathBuf>>,
}

/// Was this file copied from the machine, though nobody knows which it was?
pub(super) fn is_copied(own: Own, upper: &Path) -> Result<bool, Error> {
    Ok(note(own, upper, "origin")?.is_some_and(|origin| origin.is_empty()))
}

impl Walk<'_> {
    /// Tells which of what went came to another place, where only one can be.
    pub(super) fn pair_copied(&mut self, gone: &mut Vec<PathBuf>) -> Result<(), Error> {
        let mut came: BTreeMap<Looks, Vec<Copied>> = BTreeMap::new();
        for copied in std::mem::take(&mut self.came) {
            // It stands on the layer's file system, and stood on the machine's.
            if let (Some(after), Some(top)) = (looked(&copied.upper)?, looked(&copied.top)?) {
                came.entry(Looks { dev: top.dev(), ..Looks::of(&after) }).or_default().push(copied);
            }
        }
        if came.is_empty() {
            return Ok(());
        }
        let wanted = came.keys().cloned().collect();
        let mut lost = Lost { wanted: &wanted, found: BTreeMap::new() };
        for path in gone.iter().chain(&std::mem::take(&mut self.stood)) {
            lost.look(self, path)?;
        }
        for (looks, alike) in came {
            let from = lost.found.get(&looks).map_or(&[][..], Vec::as_slice);
            if let ([copied], [from]) = (&*alike, from)
                && gone.contains(from)
            {
                self.pair_one(copied, from, gone)?;
            }
        }
        Ok(())
    }

    fn pair_one(&mut self, copied: &Copied, from: &PathBuf, gone: &mut Vec<PathBuf>) -> Result<(), Error> {
        let (Some(before), Some(after)) = (looked(from)?, looked(&copied.upper)?) else { return Ok(()) };
        let (old, new) = self.states((from, &before), (&copied.upper, &after), &copied.place)?;
        if old == new {
            gone.retain(|path| path != from);
            self.renamed_file(&copied.place, from, &old, &new)?;
        }
        Ok(())
    }
}

impl Looks {
    fn of(file: &fs::Metadata) -> Self {
        Self {
            dev: file.dev(),
            size: file.len(),
            mtime: (file.mtime(), file.mtime_nsec()),
            mode: file.mode(),
            owner: (file.uid(), file.gid()),
        }
    }
}

impl From<&Stamp> for Looks {
    fn from(stamp: &Stamp) -> Self {
        let Stamp { dev, size, mode, uid, gid, .. } = *stamp;
        Self { dev, size, mtime: stamp.mtime(), mode, owner: (uid, gid) }
    }
}

impl Lost<'_> {
    /// Looks at a file, or at all in a directory.
    fn look(&mut self, walked: &Walk<'_>, path: &Path) -> Result<(), Error> {
        match looked(path)? {
            Some(found) if found.is_dir() => {
                let bytes = path.as_os_str().as_bytes();
                walk(walked.root.open(bytes, OFlags::RDONLY | OFlags::DIRECTORY)?, bytes, self)
            }
            Some(found) if found.is_file() => {
                self.add(Looks::of(&found), path);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, looks: Looks, path: &Path) {
        if self.wanted.contains(&looks) {
            self.found.entry(looks).or_default().push(path.to_owned());
        }
    }
}

impl Visitor for Lost<'_> {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        if seen.stamp.file_type() == FileType::Regular {
            self.add(Looks::from(seen.stamp), Path::new(std::ffi::OsStr::from_bytes(seen.path)));
        }
        Ok(Next::Enter)
    }
}
