//! The bounded queue from Rust to Python, with a bell that event loops wait for.
//!
//! Any thread pushes; one consumer waits until the descriptor is readable and drains. The bell is
//! rung only when it is not ringing already (`armed`), so a flood costs one write for each batch.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use crate::bell::{Bell, Descriptor};

/// What an item is. The numbers are the protocol with `cmdop._bridge.items`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The last item of a request: its answer, or the end of its stream.
    Done = 0,
    /// The last item of a request: an encoded `cmdop.v1.Error`.
    Failed = 1,
    /// One item of a stream.
    Item = 2,
    /// An encoded `cmdop.v1.JudgementRequest`; the id is that of the request in it.
    Judgement = 3,
    /// The files of the policy are wanted; the id is that of the question.
    Policy = 4,
}

impl Kind {
    /// True for the one item that ends a request.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// One thing that Python is to hear.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Which request it belongs to.
    pub id: u64,
    /// Encoded message.
    pub payload: Bytes,
}

/// The consumer is gone: nobody will hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue to Python is closed")]
pub struct Closed;

/// How a queue has been used since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items in it now.
    pub queued: u64,
    /// Items it holds at most.
    pub capacity: u64,
    /// Items pushed.
    pub pushed: u64,
    /// Items taken out.
    pub drained: u64,
    /// Batches that were not empty.
    pub batches: u64,
    /// Times the bell was rung.
    pub rings: u64,
    /// Pushes that had to wait for room.
    pub waits: u64,
}

/// The queue. All methods may be called from any thread; only one may drain.
#[derive(Debug)]
pub struct Queue {
    items: ArrayQueue<Item>,
    bell: Bell,
    /// True while a ring is on its way to the consumer.
    armed: AtomicBool,
    closed: AtomicBool,
    room: Notify,
    pushed: AtomicU64,
    drained: AtomicU64,
    batches: AtomicU64,
    rings: AtomicU64,
    waits: AtomicU64,
}

impl Queue {
    /// Makes a queue for at most `capacity` items.
    ///
    /// # Errors
    /// If the process may open no more descriptors.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            items: ArrayQueue::new(capacity.max(1)),
            bell: Bell::new()?,
            armed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            room: Notify::new(),
            pushed: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            rings: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        })
    }

    /// Descriptor that is readable when there may be something to drain. Never close it.
    pub fn descriptor(&self) -> Descriptor {
        self.bell.descriptor()
    }

    /// Pushes an item, waiting for room.
    ///
    /// # Errors
    /// `Closed` if the queue is, or is closed while this waits.
    pub async fn push(&self, mut item: Item) -> Result<(), Closed> {
        loop {
            item = match self.try_push(item)? {
                None => return Ok(()),
                Some(item) => item,
            };
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the second try, so that room made in between wakes this push.
            room.as_mut().enable();
            item = match self.try_push(item)? {
                None => return Ok(()),
                Some(item) => item,
            };
            self.waits.fetch_add(1, Ordering::Relaxed);
            room.await;
        }
    }

    /// Pushes an item if there is room; gives it back if there is none.
    ///
    /// # Errors
    /// `Closed` if the queue is.
    pub fn try_push(&self, item: Item) -> Result<Option<Item>, Closed> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Closed);
        }
        if let Err(item) = self.items.push(item) {
            return Ok(Some(item));
        }
        self.pushed.fetch_add(1, Ordering::Relaxed);
        self.ring();
        Ok(None)
    }

    /// Takes at most `max` items. An empty batch is normal.
    pub fn drain(&self, max: usize) -> Vec<Item> {
        // It may not have been rung: a drain on suspicion.
        self.bell.silence();
        // A swap and not a store: it must be ordered with the pushes that it makes visible.
        self.armed.swap(false, Ordering::AcqRel);
        let mut batch = Vec::with_capacity(max.min(self.items.len()));
        while batch.len() < max
            && let Some(item) = self.items.pop()
        {
            batch.push(item);
        }
        if !self.items.is_empty() {
            self.ring();
        }
        if !batch.is_empty() {
            self.drained.fetch_add(batch.len() as u64, Ordering::Relaxed);
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.room.notify_waiters();
        }
        batch
    }

    /// Refuses further items, and wakes the consumer and whoever waits for room.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.armed.swap(false, Ordering::AcqRel);
        self.ring();
        self.room.notify_waiters();
    }

    /// True once it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How it has been used.
    pub fn counts(&self) -> Counts {
        Counts {
            queued: self.items.len() as u64,
            capacity: self.items.capacity() as u64,
            pushed: self.pushed.load(Ordering::Relaxed),
            drained: self.drained.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            rings: self.rings.load(Ordering::Relaxed),
            waits: self.waits.load(Ordering::Relaxed),
        }
    }

    fn ring(&self) {
        if !self.armed.swap(true, Ordering::AcqRel) {
            self.rings.fetch_add(1, Ordering::Relaxed);
            self.bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn item(id: u64) -> Item {
        Item { kind: Kind::Item, id, payload: Bytes::new() }
    }

    /// Waits for the bell as the pump does. A minute without it is a lost wake-up.
    fn wait(queue: &Queue) {
        let mut fds = [PollFd::new(&queue.bell, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).expect("poll works");
        assert_eq!(ready, 1, "the bell was not rung though items wait");
    }

    #[test]
    fn a_flood_through_a_small_queue_keeps_order_and_loses_nothing() {
        const EACH: u64 = 20_000;
        let queue = Arc::new(Queue::new(64).expect("queue"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime");
        for producer in 0..4 {
            let queue = Arc::clone(&queue);
            runtime.spawn(async move {
                for number in 0..EACH {
                    queue.push(item(producer * EACH + number)).await.expect("open");
                }
            });
        }
        let mut next = [0; 4];
        while next.iter().sum::<u64>() < 4 * EACH {
            wait(&queue);
            for item in queue.drain(48) {
                let producer = (item.id / EACH) as usize;
                assert_eq!(item.id % EACH, next[producer], "items of one producer keep their order");
                next[producer] += 1;
            }
        }
        assert!(queue.drain(1).is_empty());
        assert!(queue.counts().waits > 0, "the queue was never full, so this showed nothing");
    }

    #[tokio::test]
    async fn a_push_into_a_full_queue_waits_for_room() {
        let queue = Queue::new(1).expect("queue");
        queue.push(item(1)).await.expect("room");
        let mut second = Box::pin(queue.push(item(2)));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(queue.drain(9).len(), 1);
        second.await.expect("open");
        assert_eq!(queue.drain(9)[0].id, 2);
    }

    #[tokio::test]
    async fn closing_wakes_who_waits_for_room() {
        let queue = Queue::new(1).expect("queue");
        queue.push(item(1)).await.expect("room");
        let mut second = Box::pin(queue.push(item(2)));
        assert!(futures::poll!(&mut second).is_pending());
        queue.close();
        assert_eq!(second.await, Err(Closed));
        assert_eq!(queue.drain(9).len(), 1, "what was pushed before can still be read");
    }

    #[test]
    fn what_a_short_drain_leaves_rings_again() {
        let queue = Queue::new(8).expect("queue");
        for id in 0..5 {
            assert!(queue.try_push(item(id)).expect("open").is_none());
        }
        assert_eq!(queue.counts().rings, 1, "one ring for a burst");
        wait(&queue);
        assert_eq!(queue.drain(2).len(), 2);
        wait(&queue);
        assert_eq!(queue.drain(9).len(), 3);
    }
}
