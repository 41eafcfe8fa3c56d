//! The thread that owns the log's file: drains its queue, writes and syncs once a batch.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::layout::{frame, header};
use super::scan::Scanned;
use super::{Follower, Head, Place, Record, SEGMENT_BYTES, segment_path};
use crate::Error;

/// Bytes after which a batch is written, whatever else waits.
const BATCH_BYTES: usize = 4 << 20;

/// Records that become durable together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) done: oneshot::Sender<Result<u64, Error>>,
}

pub(super) struct Writer {
    dir: PathBuf,
    file: File,
    /// First position of the segment that the file is.
    segment: u64,
    length: u64,
    head: Head,
    follower: Follower,
    durable: Arc<AtomicU64>,
    /// Why nothing is taken any more. After a failed fsync nobody knows what the disk holds, and a
    /// second try may succeed without having written anything (fsyncgate, 2018).
    poison: Option<String>,
}

impl Writer {
    pub(super) fn open(
        dir: &Path,
        scanned: Scanned,
        follower: Follower,
        durable: Arc<AtomicU64>,
    ) -> Result<Self, Error> {
        let Scanned { head, last, .. } = scanned;
        // A segment whose header was torn is empty and is begun again under its own name.
        let (file, segment, length) = match last.filter(|last| last.length > 0) {
            Some(last) => {
                let doing = || Error::io(format!("open {}", last.path.display()));
                let mut file = OpenOptions::new().write(true).open(&last.path).map_err(doing())?;
                file.seek(SeekFrom::Start(last.length)).map_err(doing())?;
                (file, last.first, last.length)
            }
            None => begin_segment(dir, &head)?,
        };
        Ok(Self { dir: dir.into(), file, segment, length, head, follower, durable, poison: None })
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Batch>) {
        let mut batches = Vec::new();
        let (mut frames, mut ends) = (Vec::new(), Vec::new());
        while let Some(first) = queue.blocking_recv() {
            let mut head = self.head;
            frames.clear();
            ends.clear();
            let mut next = Some(first);
            while let Some(batch) = next {
                for payload in &batch.payloads {
                    let begins = frames.len() as u64;
                    frame(&mut frames, &head.hash, payload);
                    head = head.after(payload);
                    ends.push((head, begins));
                }
                batches.push((head.position, batch));
                next = if frames.len() < BATCH_BYTES { queue.try_recv().ok() } else { None };
            }
            let written = self.write(&frames);
            self.finish(&mut batches, written, &ends);
        }
    }

    /// Writes frames and makes them durable; returns their bytes.
    fn write(&mut self, frames: &[u8]) -> Result<u64, String> {
        if let Some(why) = &self.poison {
            return Err(why.clone());
        }
        let written = self.rotate().and_then(|()| {
            self.file.write_all(frames).map_err(Error::io("write the log"))?;
            self.file.sync_data().map_err(Error::io("make the log durable"))
        });
        match written {
            Ok(()) => Ok(frames.len() as u64),
            Err(error) => {
                tracing::error!(%error, "the ledger stops taking records");
                self.poison = Some(error.to_string());
                Err(error.to_string())
            }
        }
    }

    /// Tells everyone. `ends` has the head after each record and where its frame begins in what was
    /// written.
    fn finish(&mut self, batches: &mut Vec<(u64, Batch)>, written: Result<u64, String>, ends: &[(Head, u64)]) {
        if let Ok(bytes) = written {
            let payloads = batches.iter_mut().flat_map(|(_, batch)| std::mem::take(&mut batch.payloads));
            let records = ends.iter().zip(payloads).map(|(&(head, begins), payload)| {
                let place = Place { segment: self.segment, offset: self.length + begins };
                Record { head, place, payload }
            });
            (self.follower)(records.collect());
            self.length += bytes;
            self.head = ends.last().map_or(self.head, |(head, _)| *head);
            self.durable.store(self.head.position, Ordering::Release);
        }
        for (position, batch) in batches.drain(..) {
            // Nobody waits any more: the record stays durable all the same.
            let _ = batch.done.send(written.clone().map(|_| position).map_err(Error::Poisoned));
        }
    }

    fn rotate(&mut self) -> Result<(), Error> {
        if self.length < SEGMENT_BYTES {
            return Ok(());
        }
        (self.file, self.segment, self.length) = begin_segment(&self.dir, &self.head)?;
        Ok(())
    }
}

/// A new file: its handle, its first position and its length so far.
fn begin_segment(dir: &Path, head: &Head) -> Result<(File, u64, u64), Error> {
    let first = head.position + 1;
    let path = segment_path(dir, first);
    let doing = || Error::io(format!("begin {}", path.display()));
    let bytes = header(first, &head.hash);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).map_err(doing())?;
    file.write_all(&bytes).map_err(doing())?;
    file.sync_all().map_err(doing())?;
    // The name itself must survive, too.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(doing())?;
    Ok((file, first, bytes.len() as u64))
}
