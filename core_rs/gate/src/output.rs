//! Output of a running command: a bounded ring that any number of readers follow at their own pace.

use std::collections::VecDeque;
use std::sync::Arc;

use cmdop_contract::v1::Output;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Bytes of output kept for readers that come late or fall behind.
const KEPT_BYTES: usize = 256 * 1024;

/// What a piece costs beyond its bytes: a host that sends empty ones must not fill memory either.
const PIECE_BYTES: usize = 128;

/// Pieces that fell out whose place is remembered, to count what a reader missed that resumes.
const LOST_PIECES: usize = 4_096;

/// The writing side, owned by a live call.
pub(crate) struct OutputHub {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    /// By rising sequence.
    pieces: VecDeque<Kept>,
    cost: usize,
    /// Sequence and place of pieces that fell out, the oldest forgotten.
    lost: VecDeque<(u64, u64)>,
    /// Sequence of the last piece.
    last: u64,
    /// Bytes of the whole output so far, those included that the host left out.
    end: u64,
}

struct Kept {
    /// Bytes of the output before this piece and before what the host left out in front of it.
    start: u64,
    output: Output,
}

impl Ring {
    /// Where in the output a reader begins that wants everything from this sequence on.
    fn place_of(&self, sequence: u64) -> u64 {
        if sequence <= 1 {
            return 0;
        }
        let lost = self.lost.iter().find(|(lost, _)| *lost >= sequence).map(|(_, start)| *start);
        lost.or_else(|| self.from(sequence).map(|kept| kept.start)).unwrap_or(self.end)
    }

    fn from(&self, sequence: u64) -> Option<&Kept> {
        self.pieces.get(self.pieces.partition_point(|kept| kept.output.sequence < sequence))
    }
}

fn cost(output: &Output) -> usize {
    output.data.len() + PIECE_BYTES
}

impl OutputHub {
    pub(crate) fn new() -> Self {
        Self { ring: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// Takes a piece. One that comes again or out of order is left out: its reader has passed it.
    pub(crate) fn push(&self, output: Output) {
        let sequence = output.sequence;
        {
            let mut ring = self.ring.lock();
            if sequence <= ring.last {
                return;
            }
            let start = ring.end;
            ring.last = sequence;
            ring.end = start.saturating_add(output.dropped).saturating_add(output.data.len() as u64);
            ring.cost += cost(&output);
            ring.pieces.push_back(Kept { start, output });
            while ring.cost > KEPT_BYTES {
                let Some(oldest) = ring.pieces.pop_front() else { break };
                ring.cost -= cost(&oldest.output);
                ring.lost.push_back((oldest.output.sequence, oldest.start));
                if ring.lost.len() > LOST_PIECES {
                    ring.lost.pop_front();
                }
            }
        }
        self.changed.send_replace(sequence);
    }

    pub(crate) fn reader(&self, from: u64) -> OutputReader {
        let place = self.ring.lock().place_of(from);
        OutputReader { ring: self.ring.clone(), changed: self.changed.subscribe(), next: from.max(1), place }
    }
}

/// Reads a call's output from some sequence number on.
///
/// A reader that falls behind what is kept gets the next piece it can have, with `dropped` counting
/// the bytes that are missing before it; it never holds up the command or other readers.
pub struct OutputReader {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Receiver<u64>,
    next: u64,
    /// Bytes of the output that were read or counted as dropped.
    place: u64,
}

impl OutputReader {
    /// The next piece, or `None` when the call is over and everything was read.
    ///
    /// Cancel-safe: a dropped wait loses nothing.
    pub async fn next(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.ready() {
                return Some(output);
            }
            if self.changed.changed().await.is_err() {
                return self.ready();
            }
        }
    }

    /// The next piece if it is there already.
    pub fn ready(&mut self) -> Option<Output> {
        self.changed.mark_unchanged();
        let ring = self.ring.lock();
        let Kept { start, output } = ring.from(self.next)?;
        let mut output = output.clone();
        let end = start.saturating_add(output.dropped).saturating_add(output.data.len() as u64);
        output.dropped = output.dropped.saturating_add(start.saturating_sub(self.place));
        self.place = end;
        self.next = output.sequence.saturating_add(1);
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(sequence: u64, size: usize) -> Output {
        Output { sequence, data: vec![b'x'; size], ..Output::default() }
    }

    #[tokio::test]
    async fn a_late_reader_gets_what_is_kept_and_is_told_how_many_bytes_are_missing() {
        const SIZE: usize = KEPT_BYTES / 4;
        let hub = OutputHub::new();
        for sequence in 1..=5 {
            hub.push(piece(sequence, SIZE));
        }
        let mut reader = hub.reader(0);
        let mut resumed = hub.reader(2);
        drop(hub);
        let first = reader.next().await.expect("a kept piece");
        assert_eq!((first.sequence, first.dropped), (3, 2 * SIZE as u64));
        assert_eq!(reader.next().await.expect("next").dropped, 0);
        assert_eq!(reader.next().await.expect("next").sequence, 5);
        assert!(reader.next().await.is_none());
        let first = resumed.next().await.expect("a kept piece");
        assert_eq!((first.sequence, first.dropped), (3, SIZE as u64));
    }

    #[tokio::test]
    async fn what_the_host_left_out_is_counted_once_by_readers_that_miss_it() {
        let hub = OutputHub::new();
        hub.push(Output { dropped: 1_000, ..piece(1, KEPT_BYTES / 2) });
        let mut reader = hub.reader(0);
        assert_eq!(reader.next().await.expect("first").dropped, 1_000);
        hub.push(piece(2, KEPT_BYTES - PIECE_BYTES));
        assert_eq!(reader.next().await.expect("second").dropped, 0);
        assert_eq!(hub.reader(0).next().await.expect("second").dropped, 1_000 + KEPT_BYTES as u64 / 2);
    }

    #[test]
    fn a_host_that_floods_repeats_or_counts_wrong_costs_bounded_memory() {
        let hub = OutputHub::new();
        for sequence in 1..=100_000 {
            hub.push(piece(sequence, 0));
        }
        assert!(hub.ring.lock().pieces.len() <= KEPT_BYTES / PIECE_BYTES);
        assert!(hub.ring.lock().lost.len() <= LOST_PIECES);
        hub.push(Output { data: b"again".to_vec(), ..piece(7, 0) });
        hub.push(Output { dropped: u64::MAX, ..piece(u64::MAX, 1) });
        let mut reader = hub.reader(100_000);
        assert_eq!(reader.ready().expect("the last in order").data, b"");
        assert_eq!(reader.ready().expect("the far one").sequence, u64::MAX);
    }

    #[tokio::test]
    async fn a_reader_waits_for_what_is_not_there_yet() {
        let hub = OutputHub::new();
        let mut reader = hub.reader(0);
        let waiting = tokio::spawn(async move { reader.next().await.map(|piece| piece.sequence) });
        hub.push(piece(1, 10));
        assert_eq!(waiting.await.expect("reader"), Some(1));
    }
}
