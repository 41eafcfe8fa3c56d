//! Output of a running command: a bounded ring that any number of readers follow at their own pace.

use std::collections::VecDeque;
use std::sync::Arc;

use cmdop_contract::v1::Output;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Bytes of output kept for readers that come late or fall behind.
const KEPT_BYTES: usize = 256 * 1024;

/// The writing side, owned by a live call.
pub(crate) struct OutputHub {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    pieces: VecDeque<Output>,
    bytes: usize,
    /// Bytes that fell out at the front, with the sequence of the last piece that did.
    lost_until: u64,
}

impl OutputHub {
    pub(crate) fn new() -> Self {
        Self { ring: Arc::default(), changed: watch::Sender::new(0) }
    }

    pub(crate) fn push(&self, output: Output) {
        let sequence = output.sequence;
        {
            let mut ring = self.ring.lock();
            ring.bytes += output.data.len();
            ring.pieces.push_back(output);
            while ring.bytes > KEPT_BYTES {
                let Some(oldest) = ring.pieces.pop_front() else { break };
                ring.bytes -= oldest.data.len();
                ring.lost_until = oldest.sequence;
            }
        }
        self.changed.send_replace(sequence);
    }

    pub(crate) fn reader(&self, from: u64) -> OutputReader {
        OutputReader { ring: self.ring.clone(), changed: self.changed.subscribe(), next: from.max(1) }
    }
}

/// Reads a call's output from some sequence number on.
///
/// A reader that falls behind what is kept gets the next piece it can have, with `dropped` saying
/// that something is missing; it never holds up the command or other readers.
pub struct OutputReader {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Receiver<u64>,
    next: u64,
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
        let mut output = ring.pieces.iter().find(|piece| piece.sequence >= self.next)?.clone();
        if ring.lost_until >= self.next {
            output.dropped = output.dropped.max(1);
        }
        self.next = output.sequence + 1;
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
    async fn a_late_reader_gets_what_is_kept_and_is_told_what_is_missing() {
        let hub = OutputHub::new();
        for sequence in 1..=5 {
            hub.push(piece(sequence, KEPT_BYTES / 3));
        }
        let mut reader = hub.reader(0);
        drop(hub);
        let first = reader.next().await.expect("a kept piece");
        assert_eq!((first.sequence, first.dropped), (3, 1));
        assert_eq!(reader.next().await.expect("next").dropped, 0);
        assert_eq!(reader.next().await.expect("next").sequence, 5);
        assert!(reader.next().await.is_none());
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
