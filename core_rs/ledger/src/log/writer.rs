//! The thread that owns the log's file: drains its queue, writes and syncs once a batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::layout::frame;
use super::scan::Scanned;
use super::segment::{Failed, Reserve, Segment};
use super::{Follower, Head, SEGMENT_BYTES};
use crate::Error;
use crate::error::is_full;

/// Bytes after which a batch is written, whatever else waits.
const BATCH_BYTES: usize = 4 << 20;

/// Time between two looks at the space that is left on the disk, while there is enough.
const LOOK: Duration = Duration::from_millis(100);

/// Records that become durable together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) payloads: Vec<Vec<u8>>,
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
        let reserve = Reserve::of(dir);
        let segment = match last.filter(|(_, length)| *length > 0) {
            Some((path, length)) => Segment::resume(&path, length, reserve)?,
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
        })
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Batch>) {
        let mut batches = Vec::new();
        let (mut frames, mut heads) = (Vec::new(), Vec::new());
        while let Some(first) = queue.blocking_recv() {
            let mut head = self.head;
            frames.clear();
            heads.clear();
            let mut next = Some(first);
            while let Some(batch) = next {
                for payload in &batch.payloads {
                    frame(&mut frames, &head.hash, payload);
                    head = head.after(payload);
                    heads.push(head);
                }
                batches.push((head.position, batch));
                next = if frames.len() < BATCH_BYTES { queue.try_recv().ok() } else { None };
            }
            if self.segment.length() >= SEGMENT_BYTES && self.poison.is_none() {
                self.rotate();
            }
            if self.is_full || self.looked.elapsed() > LOOK || self.segment.room() < self.needed(&frames) {
                self.make_room(&mut batches, &mut frames, &mut heads);
            }
            let written = self.write(&frames);
            self.finish(&mut batches, written, &heads);
        }
    }

    fn write(&mut self, frames: &[u8]) -> Result<(), Failed> {
        if let Some(why) = &self.poison {
            return Err(Failed::Poisoned(why.clone()));
        }
        if frames.is_empty() {
            return Ok(());
        }
        let written = self.segment.write(frames);
        if let Err(Failed::Poisoned(why)) = &written {
            self.poison(why.clone());
        }
        written
    }

    fn poison(&mut self, why: String) {
        tracing::error!(why, "the ledger stops taking records");
        self.poison = Some(why);
    }

    /// Takes more space for what is about to be written and for the reserve. If the disk is full, what
    /// would begin something is turned away, and what began before may use the reserve.
    #[cold]
    fn make_room(&mut self, batches: &mut Vec<(u64, Batch)>, frames: &mut Vec<u8>, heads: &mut Vec<Head>) {
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
        self.encode(batches, frames, heads);
        if !self.segment.extend(frames.len() as u64) {
            refuse(batches, |_| true, &Failed::Full("its reserve is used up, too".into()));
            self.encode(batches, frames, heads);
        }
    }

    /// Room that there must be for anything new to begin.
    fn needed(&self, frames: &[u8]) -> u64 {
        frames.len() as u64 + self.reserve.bytes
    }

    fn encode(&self, batches: &mut [(u64, Batch)], frames: &mut Vec<u8>, heads: &mut Vec<Head>) {
        let mut head = self.head;
        frames.clear();
        heads.clear();
        for (position, batch) in batches {
            for payload in &batch.payloads {
                frame(frames, &head.hash, payload);
                head = head.after(payload);
                heads.push(head);
            }
            *position = head.position;
        }
    }

    fn finish(&mut self, batches: &mut Vec<(u64, Batch)>, written: Result<(), Failed>, heads: &[Head]) {
        if written.is_ok() {
            let payloads = batches.iter().flat_map(|(_, batch)| &batch.payloads);
            heads.iter().zip(payloads).for_each(|(head, payload)| (self.follower)(*head, payload));
            self.head = heads.last().copied().unwrap_or(self.head);
            self.durable.store(self.head.position, Ordering::Release);
        }
        for (position, batch) in batches.drain(..) {
            // Nobody waits any more: the record stays durable all the same.
            let _ = batch.done.send(written.clone().map(|()| position).map_err(Error::from));
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
