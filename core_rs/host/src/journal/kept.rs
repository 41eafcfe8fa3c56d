//! Names that files of the machine have in the journals: what was removed or replaced by one of several names lies
//! there, and is no place that a change by another name could reach.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cmdop_contract::v1::FileType;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Journals, SLOTS};
use crate::Error;
use crate::native::measure::Stamp;
use crate::native::walk::{Next, Seen, Visitor, walk};

/// Entries that are looked at; a name that is not found is one that somebody else has.
const MAX_LOOKED_AT: u64 = 300_000;

/// How many names the files of the machine have in journals, by device and inode, of those that have several.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    names: BTreeMap<(u64, u64), u64>,
    looked_at: u64,
}

impl Kept {
    pub(crate) fn of(&self, dev: u64, ino: u64) -> u64 {
        self.names.get(&(dev, ino)).copied().unwrap_or_default()
    }
}

impl Journals {
    /// Looks through all slots.
    ///
    /// # Errors
    /// What keeps them from being read.
    pub(crate) fn kept(&self) -> Result<Kept, Error> {
        let mut kept = Kept::default();
        for of_journal in self.all() {
            let stores = self.stores_of(&of_journal);
            let stores = stores.iter().map(|store| PathBuf::from(std::ffi::OsStr::from_bytes(store)));
            let all: std::collections::BTreeSet<_> = stores.chain([of_journal.join(SLOTS)]).collect();
            for store in all {
                let path = store.as_os_str().as_bytes();
                if let Ok(open) = self.root.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
                    walk(open, path, &mut kept)?;
                }
            }
        }
        Ok(kept)
    }

    /// How many names a file has beside those that journals keep.
    ///
    /// # Errors
    /// As [`Journals::kept`].
    pub(crate) fn names_of(&self, file: &Stamp) -> Result<u64, Error> {
        if file.nlink <= 1 || file.file_type() == FileType::Directory {
            return Ok(file.nlink);
        }
        Ok(file.nlink.saturating_sub(self.kept()?.of(file.dev, file.ino)).max(1))
    }

    /// True if a path leads into a journal or a private directory.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.dir) || self.is_private(path)
    }
}

impl Visitor for Kept {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        self.looked_at += 1;
        if self.looked_at > MAX_LOOKED_AT {
            return Ok(Next::Stop);
        }
        if seen.stamp.nlink > 1 && seen.stamp.file_type() != FileType::Directory {
            *self.names.entry((seen.stamp.dev, seen.stamp.ino)).or_default() += 1;
        }
        Ok(Next::Enter)
    }

    /// What lies there is not found.
    fn cannot_enter(&mut self, _path: &[u8], _errno: Errno) -> Result<(), Error> {
        Ok(())
    }
}
