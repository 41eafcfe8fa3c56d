//! The append-only log: framed, checksummed, chained by hash, durable by group commit.
//!
//! A record is `length u32, crc32c u32, hash of the record before [32], payload`, little-endian; the
//! checksum covers all but itself, a record's hash is SHA-256 over the hash before it and its
//! payload. Segments begin with a header that repeats the first position and the hash before it.

mod mark;
mod read;
mod scan;
mod segment;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use mark::Mark;
pub(crate) use read::Reader;
use writer::{Batch, Writer};

/// Largest payload in bytes.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// Size at which a new segment begins.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Appends that may wait for the disk. Beyond it, appending waits.
const QUEUE: usize = 4_096;

/// Hash of a record: SHA-256 over the hash before it and its payload.
pub type Hash = [u8; 32];

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Position of the last record; 0 if there is none. Positions count from 1.
    pub position: u64,
    /// Its hash; zeros if there is none.
    pub hash: Hash,
}

/// Where what is whole of a log ends.
#[derive(Debug, Clone)]
pub struct End {
    /// The last record.
    pub head: Head,
    /// The last segment, or the log's directory if there is none.
    pub segment: PathBuf,
    /// The byte of it behind that record.
    pub offset: u64,
}

impl Head {
    /// The head after one more record.
    #[must_use]
    pub fn after(&self, payload: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(self.hash).chain_update(payload).finalize();
        Self { position: self.position + 1, hash: hash.into() }
    }
}

/// What opening a log found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a torn tail that were cut: written by a process that died before they were durable.
    pub cut_bytes: u64,
}

/// Visits the payload of every record of a log, in order, verified, without changing anything. Another
/// process may have it open and append to it meanwhile.
///
/// # Errors
/// [`Error::Broken`] with the place; what `visit` returns.
pub fn read_all(dir: &Path, visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    scan::read(dir, visit)
}

/// Where a record stands in the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First position of its segment, which names the file.
    pub segment: u64,
    /// Byte of the file at which its frame begins.
    pub offset: u64,
}

/// A durable record.
#[derive(Debug, Clone)]
pub struct Record {
    /// The log's head once it was written.
    pub head: Head,
    /// Where it stands.
    pub place: Place,
    /// What was appended.
    pub payload: Bytes,
}

/// Takes every durable record, in order, on the writer's thread: as many at once as became durable
/// together.
pub type Follower = Box<dyn FnMut(Vec<Record>) + Send>;

/// A log that is open for appending. A cheap handle; the directory is locked while one exists.
#[derive(Clone, Debug)]
pub struct Log {
    queue: mpsc::Sender<Batch>,
    durable: Arc<AtomicU64>,
    born: i64,
    _lock: Arc<File>,
}

impl Log {
    /// Opens or creates the log in a directory; `visit` sees every record that is there.
    ///
    /// # Errors
    /// [`Error::Broken`] with the place, unless it is a torn tail; [`Error::Locked`].
    pub fn open(
        dir: &Path,
        mut visit: impl FnMut(Head, &[u8]) -> Result<(), Error>,
    ) -> Result<(Self, Recovery), Error> {
        Self::open_with(dir, |head, _, payload| visit(head, payload), |_| Ok(Box::new(|_| {})))
    }

    /// Opens a log whose records, once durable, are also given to a follower. `attach` makes the
    /// follower when the end is known and may refuse it, before anything of the log is changed.
    ///
    /// # Errors
    /// As [`Log::open`], and what `attach` says.
    pub fn open_with(
        dir: &Path,
        mut visit: impl FnMut(Head, Place, &[u8]) -> Result<(), Error>,
        attach: impl FnOnce(End) -> Result<Follower, Error>,
    ) -> Result<(Self, Recovery), Error> {
        std::fs::create_dir_all(dir).map_err(Error::io(format!("create {}", dir.display())))?;
        let lock = lock(dir)?;
        let (mark, acknowledged) = Mark::open(dir)?;
        let born = mark.born;
        let scanned = scan::scan(dir, |head, place, payload| {
            acknowledged.see(&head);
            visit(head, place, payload)
        })?;
        // Before a torn tail is cut: it may be what is left of a record that was acknowledged.
        acknowledged.check(scanned.end(dir))?;
        let follower = attach(scanned.end(dir))?;
        scanned.cut()?;
        let durable = Arc::new(AtomicU64::new(scanned.head.position));
        let (queue, batches) = mpsc::channel(QUEUE);
        let recovery = Recovery { cut_bytes: scanned.cut_bytes };
        let writer = Writer::open(dir, scanned, follower, durable.clone(), mark)?;
        std::thread::Builder::new()
            .name("ledger-log".into())
            .spawn(move || writer.run(batches))
            .map_err(Error::io("start the log's thread"))?;
        Ok((Self { queue, durable, born, _lock: Arc::new(lock) }, recovery))
    }

    /// Appends payloads together and resolves when they are durable, to the last one's position.
    ///
    /// On a full disk they may use the reserve. A full queue makes this wait. Cancelling before it
    /// resolves leaves open whether they are durable.
    ///
    /// # Errors
    /// [`Error::Full`], after which none of them is in the log and a later try may succeed;
    /// [`Error::Poisoned`] after any failed fsync; [`Error::TooLarge`].
    pub async fn append(&self, payloads: impl IntoIterator<Item = impl Into<Bytes>>) -> Result<u64, Error> {
        self.enqueue(payloads.into_iter().map(Into::into).collect(), false).await
    }

    /// As [`Log::append`], for what begins something: on a full disk it leaves the reserve to the
    /// results of what has begun.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn append_sparing(&self, payloads: impl IntoIterator<Item = impl Into<Bytes>>) -> Result<u64, Error> {
        self.enqueue(payloads.into_iter().map(Into::into).collect(), true).await
    }

    async fn enqueue(&self, payloads: Vec<Bytes>, spares: bool) -> Result<u64, Error> {
        if let Some(large) = payloads.iter().find(|payload| payload.len() > MAX_PAYLOAD) {
            return Err(Error::TooLarge(large.len()));
        }
        let (done, answer) = oneshot::channel();
        let stopped = || Error::Poisoned("the log's thread has ended".into());
        self.queue.send(Batch { payloads, spares, done }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Position of the last durable record.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Since when it is kept, in nanoseconds since 1970: of what was before, it knows nothing.
    #[must_use]
    pub fn born(&self) -> i64 {
        self.born
    }

    /// Appends that wait for the disk now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        QUEUE - self.queue.capacity()
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
    file.try_lock().map_err(|_| Error::Locked(dir.into()))?;
    Ok(file)
}

pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// The parts of a segment header and of a frame.
mod layout {
    pub(super) const MAGIC: &[u8; 8] = b"cmdoplg1";
    /// Magic, first position, hash before it, checksum.
    pub(super) const HEADER: usize = 8 + 8 + 32 + 4;
    /// Length, checksum, hash before.
    pub(super) const FRAME: usize = 4 + 4 + 32;

    pub(super) fn header(first: u64, before: &[u8; 32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(before);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn checksum(length: [u8; 4], before: &[u8], payload: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&length), before), payload)
    }

    pub(super) fn frame(out: &mut Vec<u8>, before: &[u8; 32], payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&length);
        out.extend_from_slice(&checksum(length, before, payload).to_le_bytes());
        out.extend_from_slice(before);
        out.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests;
