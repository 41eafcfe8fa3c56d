//! How far a log was acknowledged, and since when it is kept: beside the log, so that one that lost its end, or was
//! begun anew, is known for it.
//!
//! It is synced once, when it is made: since when the log is kept is its name, by which permits know it, and nothing may
//! be done under a name that a loss of power takes back. How far the log was acknowledged is not synced: that is written
//! after the log is durable, so that what a loss of power leaves of it is behind the log and never ahead. A dying process
//! leaves it as it was.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{End, Hash, Head};
use crate::disk::sync_directory;
use crate::{Error, now};

/// When the log began, the last position, its hash, checksum.
const BYTES: usize = 8 + 8 + 32 + 4;

#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    /// When the log began, in nanoseconds since 1970.
    pub(super) born: i64,
}

/// What was acknowledged by an earlier life, compared with what is there.
pub(super) struct Acknowledged {
    head: Head,
    /// The record at that position, once it was seen.
    found: Cell<Option<Hash>>,
}

impl Mark {
    /// Opens or makes the mark of a log. One that cannot be read says nothing: the log then counts as begun now.
    pub(super) fn open(dir: &Path) -> Result<(Self, Acknowledged), Error> {
        let path = dir.join("acknowledged");
        let failed = |what: &str| Error::io(format!("{what} {}", path.display()));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(failed("open"))?;
        let mut bytes = [0; BYTES];
        let kept = file.read_exact(&mut bytes).ok().and_then(|()| decode(&bytes));
        let (born, head) = kept.unwrap_or_else(|| (now(), Head::default()));
        let mark = Self { file, born };
        if kept.is_none() {
            mark.write(&head).map_err(failed("write"))?;
            mark.file.sync_all().and_then(|()| sync_directory(dir)).map_err(failed("sync"))?;
        }
        Ok((mark, Acknowledged { head, found: Cell::new(None) }))
    }

    /// Notes what is durable, before anybody is told.
    pub(super) fn note(&self, head: &Head) {
        if let Err(error) = self.write(head) {
            // Behind the log it is right, too; it knows of fewer losses.
            tracing::warn!(%error, "how far the ledger was acknowledged could not be noted");
        }
    }

    fn write(&self, head: &Head) -> std::io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.born.to_le_bytes());
        bytes[8..16].copy_from_slice(&head.position.to_le_bytes());
        bytes[16..48].copy_from_slice(&head.hash);
        let crc = crc32c::crc32c(&bytes[..48]);
        bytes[48..].copy_from_slice(&crc.to_le_bytes());
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&bytes)
    }
}

fn decode(bytes: &[u8; BYTES]) -> Option<(i64, Head)> {
    let (born, rest) = bytes.split_first_chunk::<8>()?;
    let (position, rest) = rest.split_first_chunk::<8>()?;
    let (hash, crc) = rest.split_first_chunk::<32>()?;
    let whole = crc == crc32c::crc32c(&bytes[..48]).to_le_bytes();
    whole.then(|| (i64::from_le_bytes(*born), Head { position: u64::from_le_bytes(*position), hash: *hash }))
}

impl Acknowledged {
    /// Takes note of a record that is there.
    pub(super) fn see(&self, head: &Head) {
        if head.position == self.head.position {
            self.found.set(Some(head.hash));
        }
    }

    /// # Errors
    /// [`Error::Broken`] if what was acknowledged is not there any more.
    pub(super) fn check(&self, end: End) -> Result<(), Error> {
        let position = self.head.position;
        if position == 0 || self.found.get() == Some(self.head.hash) {
            return Ok(());
        }
        let why = match self.found.get() {
            Some(_) => "a record up to here is not the one that was acknowledged".to_owned(),
            None => format!("the log ends here, yet {position} records were acknowledged"),
        };
        Err(Error::Broken { segment: end.segment, offset: end.offset, position: end.head.position + 1, why })
    }
}
