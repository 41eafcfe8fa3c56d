//! The file that records go to, and the space that is taken for it before anything needs it.
//!
//! Blocks are allocated ahead of the records, beyond the end of the file, so that a full disk is met
//! before a record is accepted and not in the middle of one. The file itself is as long as its
//! records: a reader need not know of any of this.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::layout::header;
use super::scan::Last;
use super::{Head, segment_path};
use crate::error::is_full;
use crate::{Error, disk};

/// A segment begins under this name and gets its own once it is whole: one for which there is no
/// room leaves no trace in the chain.
const UNBORN: &str = "next";
/// A file system's own blocks may hide this much in the count of a file's blocks.
const METADATA: u64 = 64 << 10;

/// How much space is kept for what is under way when the disk is full: for the results of what was
/// permitted before, and for what a restart records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserve {
    pub(super) bytes: u64,
}

impl Reserve {
    const MOST: u64 = 8 << 20;
    const LEAST: u64 = 64 << 10;

    /// A sixteenth of the file system, within bounds.
    pub(super) fn of(dir: &Path) -> Self {
        let total = disk::total(dir).unwrap_or(u64::MAX);
        Self { bytes: (total / 16).clamp(Self::LEAST, Self::MOST) }
    }

    /// Space that is taken at a time.
    pub(super) fn step(self) -> u64 {
        self.bytes
    }

    /// Free space below which nothing new begins: the index and the system want a little, too.
    fn floor(self) -> u64 {
        self.bytes / 8
    }
}

pub(super) struct Segment {
    file: File,
    /// Its first position.
    first: u64,
    /// Bytes of its records, which are durable.
    length: u64,
    /// Bytes from the beginning for which there are blocks.
    allocated: u64,
}

impl Segment {
    /// Begins the segment after a head, with room for what it may need at once.
    pub(super) fn begin(dir: &Path, head: &Head, reserve: Reserve) -> Result<Self, Error> {
        let path = segment_path(dir, head.position + 1);
        let unborn = dir.join(UNBORN);
        let begun = Self::unborn(&unborn, head, reserve).and_then(|segment| {
            std::fs::rename(&unborn, &path)?;
            // The name itself must survive, too.
            disk::sync_directory(dir)?;
            Ok(segment)
        });
        begun.map_err(|error| {
            // What is left of it is begun anew next time.
            let _ = std::fs::remove_file(&unborn);
            Error::io(format!("begin {}", path.display()))(error)
        })
    }

    fn unborn(path: &Path, head: &Head, reserve: Reserve) -> io::Result<Self> {
        let bytes = header(head.position + 1, &head.hash);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(&bytes)?;
        let length = bytes.len() as u64;
        let mut segment = Self { file, first: head.position + 1, length, allocated: length };
        let roomy = segment.take(reserve.bytes + reserve.step()) || segment.take(reserve.bytes);
        // The first of all may begin without: it refuses what needs room, and says so.
        if !roomy && head.position > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        segment.file.sync_all()?;
        Ok(segment)
    }

    /// Goes on with the last segment of a log.
    pub(super) fn resume(last: Last, reserve: Reserve) -> Result<Self, Error> {
        let Last { path, first, length } = last;
        let doing = || Error::io(format!("open {}", path.display()));
        let mut file = OpenOptions::new().write(true).open(&path).map_err(doing())?;
        file.seek(SeekFrom::Start(length)).map_err(doing())?;
        let taken = disk::taken(&file).map_err(doing())?;
        let mut segment = Self { file, first, length, allocated: length };
        // What an earlier life took is still there; taking it again costs nothing.
        let earlier = taken.saturating_sub(length);
        let _ = segment.take(earlier) || segment.take(earlier.saturating_sub(METADATA));
        let _ = segment.extend(reserve.bytes + reserve.step()) || segment.extend(reserve.bytes);
        Ok(segment)
    }

    /// Position of its first record, which names it.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that can be written without asking the file system for space.
    pub(super) fn room(&self) -> u64 {
        self.allocated.saturating_sub(self.length)
    }

    /// True if hardly anything is left on the disk, whatever this file has of it.
    pub(super) fn is_disk_short(&self, reserve: Reserve) -> bool {
        disk::free(&self.file).is_some_and(|free| free < reserve.floor())
    }

    /// Sees to it that there is this much room. False if the disk has not.
    pub(super) fn extend(&mut self, room: u64) -> bool {
        self.room() >= room || self.take(room - self.room())
    }

    /// Allocates more behind what is allocated: a file system may give back all of a range that it
    /// could not allocate whole.
    fn take(&mut self, bytes: u64) -> bool {
        match disk::allocate(&self.file, self.allocated, bytes.max(1)) {
            Ok(()) => {
                self.allocated += bytes;
                true
            }
            Err(error) if is_full(&error) => false,
            // A file system that cannot: a full disk shows when a record is written.
            Err(_) => {
                self.allocated = u64::MAX;
                true
            }
        }
    }

    /// Writes records behind the others and makes them durable.
    pub(super) fn write(&mut self, frames: &[u8]) -> Result<(), Failed> {
        if let Err(error) = self.file.write_all(frames) {
            return Err(self.withdraw(error));
        }
        self.file.sync_data().map_err(|error| Failed::Poisoned(format!("make the log durable: {error}")))?;
        self.length += frames.len() as u64;
        self.allocated = self.allocated.max(self.length);
        Ok(())
    }

    /// Nothing of a write that failed may be found later, or what it recorded would have happened. On
    /// a full disk that is all: no fsync failed, so the disk holds what it held before.
    fn withdraw(&mut self, error: io::Error) -> Failed {
        let withdrawn = self
            .file
            .set_len(self.length)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.length)))
            .and_then(|_| self.file.sync_all());
        self.allocated = self.length;
        match withdrawn {
            Ok(()) if is_full(&error) => Failed::Full(format!("write the log: {error}")),
            Ok(()) => Failed::Poisoned(format!("write the log: {error}")),
            Err(worse) => Failed::Poisoned(format!("write the log: {error}; and take it back: {worse}")),
        }
    }

    /// Gives back the room that is left. It may fail: that costs space and nothing else.
    pub(super) fn close(self) {
        let _ = self.file.set_len(self.length);
    }
}

/// Why records were not written.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    /// There is no space. Nothing of them is in the log, and a later try may succeed.
    Full(String),
    /// Nobody knows what the disk holds.
    Poisoned(String),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Full(why) => Self::Full(why),
            Failed::Poisoned(why) => Self::Poisoned(why),
        }
    }
}

#[cfg(test)]
#[path = "../../tests/support/small_disk.rs"]
mod small_disk;

#[cfg(test)]
mod tests {
    use super::small_disk::on_small_disk;
    use super::*;

    #[test]
    fn without_allocation_a_write_that_finds_no_room_is_taken_back_whole() {
        let name = "log::segment::tests::without_allocation_a_write_that_finds_no_room_is_taken_back_whole";
        on_small_disk(name, 4, |disk| {
            let place = disk.place();
            let begun = Segment::begin(&place, &Head::default(), Reserve::of(&place));
            // As on a file system that cannot allocate ahead.
            let mut segment = Segment { allocated: u64::MAX, ..begun.expect("begins") };
            segment.write(b"first").expect("durable");
            disk.fill();
            let large = vec![b'x'; 8 << 20];
            assert!(matches!(segment.write(&large), Err(Failed::Full(_))));
            let length = || std::fs::metadata(segment_path(&place, 1)).expect("the segment").len();
            assert_eq!(length(), segment.length(), "nothing of it is left");
            disk.free();
            segment.write(b"second").expect("goes on");
            let bytes = std::fs::read(segment_path(&place, 1)).expect("the segment");
            assert!(bytes.ends_with(b"firstsecond"));
        });
    }
}
