//! Room that is kept for the index, so that a server can start on a full disk: it must know which
//! calls are open, and an index that is behind its log needs pages to learn that.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::disk;

/// A file that is nothing but room.
pub(super) struct Spare {
    path: PathBuf,
    bytes: u64,
    is_kept: bool,
}

impl Spare {
    const MOST: u64 = 1 << 20;
    const LEAST: u64 = 64 << 10;

    /// The spare room of a directory, as an earlier life left it. It is about as much as the log wants
    /// free before anything new begins, so that giving it up does not look like room for that.
    pub(super) fn of(dir: &Path) -> Self {
        let path = dir.join("index.spare");
        let total = disk::total(dir).unwrap_or(u64::MAX);
        let is_kept = path.exists();
        Self { path, bytes: (total / 128).clamp(Self::LEAST, Self::MOST), is_kept }
    }

    /// Takes the room if there is any. A file system that cannot allocate ahead has none to keep.
    pub(super) fn keep(&mut self) {
        if self.is_kept {
            return;
        }
        let taken = File::create(&self.path)
            .and_then(|file| disk::allocate(&file, 0, self.bytes).and(file.set_len(self.bytes)));
        self.is_kept = taken.is_ok();
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Gives the room to whoever needs it now. False if there was none.
    pub(super) fn give_up(&mut self) -> bool {
        std::mem::take(&mut self.is_kept) && fs::remove_file(&self.path).is_ok()
    }
}
