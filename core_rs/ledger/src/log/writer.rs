//! The thread that owns the log's file: drains its queue, writes and syncs once a batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::layout::frame;
use super::mark::Mark;
use super::scan::Scanned;
use super::segment::{Failed, Reserve, Segment};
use super::{Follower, Head, Place, Record, SEGMENT_BYTES};
use crate::Error;
use crate::error::is_full;

/// Bytes after which a batch is written, whatever else waits.
const BATCH_BYTES: usize = 4 << 20;

/// Time between two looks at the space that is left on the disk, while there is enough.
const LOOK: Duration = Duration::from_millis(100);

/// Records that become durable together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) payloads: Vec<Bytes>,
    /// Refused while nothing but the reserve is left.
    pub(super) spares: bool,
    pub(super) done: oneshot::Sender<Result<u64, Error>>,
}

pub(super) struct Writer {
    dir: PathBuf,
    segment: Segment,
    head: Head,
    follower: Follower,
    durable: Arc<AtomicU64>,
    /// Why nothing is taken any more. After a failed fsync nobody knows what the disk holds, and a
    /// second try may succeed without having written anything (fsyncgate, 2018).
    poison: Option<String>,
    reserve: Reserve,
    /// The disk was full when it was last looked at, which was then.
    is_full: bool,
    looked: Instant,
    mark: Mark,
}

impl Writer {
    pub(super) fn open(
        dir: &Path,
        scanned: Scanned,
        follower: Follower,
        durable: Arc<AtomicU64>,
        mark: Mark,
    ) -> Result<Self, Error> {
        let Scanned { head, last, .. } = scanned;
        // A segment whose header was torn is empty and is begun again under its own name.
        let reserve = Reserve::of(dir);
        let segment = match last.filter(|last| last.length > 0) {
            Some(last) => Segment::resume(last, reserve)?,
            None => Segment::begin(dir, &head, reserve)?,
        };
        let is_full = segment.is_disk_short(reserve);
        Ok(Self {
            dir: dir.into(),
            segment,
            head,
            follower,
            durable,
            poison: None,
            reserve,
            is_full,
            looked: Instant::now(),
            mark,
        })
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
            if self.segment.length() >= SEGMENT_BYTES && self.poison.is_none() {
                self.rotate();
            }
            if self.is_full || self.looked.elapsed() > LOOK || self.segment.room() < self.needed(&frames) {
                self.make_room(&mut batches, &mut frames, &mut ends);
            }
            let written = self.write(&frames);
            self.finish(&mut batches, written, &ends);
        }
    }

    /// Writes frames and makes them durable; returns the byte of the segment at which they begin.
    fn write(&mut self, frames: &[u8]) -> Result<u64, Failed> {
        if let Some(why) = &self.poison {
            return Err(Failed::Poisoned(why.clone()));
        }
        let begins = self.segment.length();
        if frames.is_empty() {
            return Ok(begins);
        }
        let written = self.segment.write(frames);
        if let Err(Failed::Poisoned(why)) = &written {
            self.poison(why.clone());
        }
        written.map(|()| begins)
    }

    fn poison(&mut self, why: String) {
        tracing::error!(why, "the ledger stops taking records");
        self.poison = Some(why);
    }

    /// Takes more space for what is about to be written and for the reserve. If the disk is full, what
    /// would begin something is turned away, and what began before may use the reserve.
    #[cold]
    fn make_room(&mut self, batches: &mut Vec<(u64, Batch)>, frames: &mut Vec<u8>, ends: &mut Vec<(Head, u64)>) {
        let needed = self.needed(frames);
        let found = !self.segment.is_disk_short(self.reserve)
            && (self.segment.room() >= needed
                || self.segment.extend(needed + self.reserve.step())
                || self.segment.extend(needed));
        self.looked = Instant::now();
        if self.is_full == found {
            self.is_full = !found;
            match found {
                true => tracing::warn!("the ledger has room again"),
                false => tracing::error!("the ledger's disk is full: nothing new begins until there is room"),
            }
        }
        if found || self.poison.is_some() {
            return;
        }
        let full = || Failed::Full(format!("its last {} bytes are kept for what is under way", self.reserve.bytes));
        refuse(batches, |batch| batch.spares, &full());
        self.encode(batches, frames, ends);
        if !self.segment.extend(frames.len() as u64) {
            refuse(batches, |_| true, &Failed::Full("its reserve is used up, too".into()));
            self.encode(batches, frames, ends);
        }
    }

    /// Room that there must be for anything new to begin.
    fn needed(&self, frames: &[u8]) -> u64 {
        frames.len() as u64 + self.reserve.bytes
    }

    fn encode(&self, batches: &mut [(u64, Batch)], frames: &mut Vec<u8>, ends: &mut Vec<(Head, u64)>) {
        let mut head = self.head;
        frames.clear();
        ends.clear();
        for (position, batch) in batches {
            for payload in &batch.payloads {
                let begins = frames.len() as u64;
                frame(frames, &head.hash, payload);
                head = head.after(payload);
                ends.push((head, begins));
            }
            *position = head.position;
        }
    }

    /// Tells everyone. `ends` has the head after each record and where its frame begins in what was
    /// written.
    fn finish(&mut self, batches: &mut Vec<(u64, Batch)>, written: Result<u64, Failed>, ends: &[(Head, u64)]) {
        if let Ok(begun) = written {
            let payloads = batches.iter_mut().flat_map(|(_, batch)| std::mem::take(&mut batch.payloads));
            let records = ends.iter().zip(payloads).map(|(&(head, begins), payload)| {
                let place = Place { segment: self.segment.first(), offset: begun + begins };
                Record { head, place, payload }
            });
            (self.follower)(records.collect());
            self.head = ends.last().map_or(self.head, |(head, _)| *head);
            self.mark.note(&self.head);
            self.durable.store(self.head.position, Ordering::Release);
        }
        for (position, batch) in batches.drain(..) {
            // Nobody waits any more: the record stays durable all the same.
            let _ = batch.done.send(written.clone().map(|_| position).map_err(Error::from));
        }
    }

    /// Begins the next segment. One that cannot begin for want of space leaves this one to go on.
    fn rotate(&mut self) {
        match Segment::begin(&self.dir, &self.head, self.reserve) {
            Ok(next) => std::mem::replace(&mut self.segment, next).close(),
            Err(Error::Io { source, .. }) if is_full(&source) => {}
            Err(error) => self.poison(error.to_string()),
        }
    }
}

/// Turns away batches before anything of them is written.
fn refuse(batches: &mut Vec<(u64, Batch)>, whom: impl Fn(&Batch) -> bool, why: &Failed) {
    let (refused, kept) = batches.drain(..).partition(|(_, batch)| whom(batch));
    *batches = kept;
    let refused: Vec<(u64, Batch)> = refused;
    for (_, batch) in refused {
        // Nobody waits any more.
        let _ = batch.done.send(Err(why.clone().into()));
    }
}
