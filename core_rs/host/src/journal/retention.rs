//! How long what a commit replaced is kept, and how much of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::record::Record;
use super::{BY, DONE, DROPPED, Journals, UNDONE, is_there, read, remove_file, rename, truncate};
use crate::Error;

/// Bytes that all journals keep together, where their file system has the room. The oldest are dropped first; what one
/// commit replaces beyond it cannot be undone at all.
pub const MAX_BYTES: u64 = 4 << 30;

/// One in so many bytes that a file system would have to spare without journals are theirs. The newest there stays
/// however large it is.
const SHARE: u64 = 4;

/// A commit that replaces so much makes room at once; else the host looks once a minute.
const MUCH_BYTES: u64 = 64 << 20;

/// As does one after which less than so many times what it replaced is left.
const FEW_TIMES: u64 = 16;

/// How long a commit can be undone.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The oldest journals beyond this number are dropped.
const MAX_JOURNALS: usize = 1_024;

/// How long it is remembered that a commit can no longer be undone, and why.
const MAX_MEMORY: Duration = Duration::from_secs(30 * 24 * 3_600);

struct Kept {
    dir: PathBuf,
    made: SystemTime,
    bytes: u64,
    /// The file systems on which it lies.
    disks: Vec<u64>,
}

/// What journals have of a file system.
#[derive(Default)]
struct Room {
    /// Bytes that are left there.
    left: u64,
    /// Of all journals.
    kept: u64,
    /// Of those that stay, the newest first.
    stay: u64,
}

impl Room {
    fn takes(&mut self, bytes: u64) -> bool {
        let is_newest = self.stay == 0;
        self.stay += bytes;
        is_newest || self.stay <= (self.left + self.kept) / SHARE
    }
}

/// Should older journals go as soon as this one is whole?
pub(super) fn is_much(record: &Record) -> bool {
    let is_short = |store: &Vec<u8>| left_at(store).is_some_and(|left| left < record.bytes.saturating_mul(FEW_TIMES));
    record.bytes >= MUCH_BYTES || record.stores.iter().any(is_short)
}

/// Bytes that the file system of a store has left.
fn left_at(store: &[u8]) -> Option<u64> {
    rustix::fs::statvfs(store).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize))
}

impl Journals {
    /// Drops what is too old or too much, oldest first.
    ///
    /// # Errors
    /// If a journal cannot be dropped.
    pub(crate) fn enforce_retention(&self) -> Result<(), Error> {
        let now = SystemTime::now();
        let is_older = |made: SystemTime, age: Duration| now.duration_since(made).is_ok_and(|found| found > age);
        let mut kept = Vec::new();
        let mut rooms: HashMap<u64, Room> = HashMap::new();
        for dir in self.all() {
            let made = |name: &str| fs::metadata(dir.join(name)).and_then(|found| found.modified()).ok();
            if let Some(made) = made(DONE) {
                // One that cannot be read is as old as the others, and keeps none of them from being dropped.
                let Record { bytes, stores, .. } = read(&dir.join(DONE)).ok().flatten().unwrap_or_default();
                let mut disks = Vec::new();
                for store in &stores {
                    let disk = fs::metadata(OsStr::from_bytes(store)).map(|found| found.dev());
                    let Ok(disk) = disk else { continue };
                    let Some(left) = left_at(store).filter(|_| !disks.contains(&disk)) else { continue };
                    let room = rooms.entry(disk).or_default();
                    (room.left, room.kept) = (left, room.kept + bytes);
                    disks.push(disk);
                }
                kept.push(Kept { dir, made, bytes, disks });
            } else if made(DROPPED).or(made(UNDONE)).is_some_and(|made| is_older(made, MAX_MEMORY)) {
                self.remove(&dir)?;
            }
        }
        kept.sort_by_key(|journal| std::cmp::Reverse(journal.made));
        let (mut bytes, mut stays) = (0, Ok(()));
        for (place, journal) in kept.iter().enumerate() {
            bytes += journal.bytes;
            let mut is_too_much = bytes > MAX_BYTES;
            for disk in &journal.disks {
                is_too_much |= !rooms.entry(*disk).or_default().takes(journal.bytes);
            }
            if place >= MAX_JOURNALS || is_too_much || is_older(journal.made, MAX_AGE) {
                stays = self.drop_journal(&journal.dir).and(stays);
            }
        }
        stays
    }

    /// Frees what a journal keeps and remembers that it did.
    pub(super) fn drop_journal(&self, dir: &Path) -> Result<(), Error> {
        {
            let _turn = self.turn.lock();
            if !is_there(&dir.join(DONE))? {
                // It is being undone, or was dropped.
                return Ok(());
            }
            rename(dir, DONE, DROPPED)?;
        }
        self.free(dir, DROPPED)
    }

    /// Frees what the slots hold of a journal that is over. A crash may have kept an earlier life from that.
    pub(super) fn free(&self, dir: &Path, state: &str) -> Result<(), Error> {
        self.remove_slots(dir, &self.stores_of(dir));
        if state == DROPPED {
            remove_file(&dir.join(BY))?;
        }
        // What is remembered of it is no journal any more; its age is that of its end.
        let is_whole = read(&dir.join(state)).is_ok_and(|record| record.is_none_or(|record| !record.ops.is_empty()));
        if is_whole { truncate(&dir.join(state)) } else { Ok(()) }
    }
}
