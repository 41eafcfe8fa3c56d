//! What waits to be sent to one session.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::frame::Content;

/// Frames of one session in order, and how many of them the client wants.
pub(super) struct Outbox {
    frames: VecDeque<Content>,
    credits: u32,
    /// Number of the last frame given out.
    sequence: u64,
    /// Since when frames wait without credits.
    starved_since: Option<Instant>,
    /// Who waits for room.
    waiting: Vec<Waker>,
}

impl Outbox {
    pub(super) fn new(credits: u32) -> Self {
        Self { frames: VecDeque::new(), credits, sequence: 0, starved_since: None, waiting: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Numbers a frame that goes past the queue.
    pub(super) fn count(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Adds a frame. True if the session has become ready by it.
    pub(super) fn push(&mut self, content: Content, now: Instant) -> bool {
        self.frames.push_back(content);
        if self.credits == 0 {
            self.starved_since.get_or_insert(now);
            return false;
        }
        self.frames.len() == 1
    }

    /// Adds credits. True if the session has become ready by it.
    pub(super) fn grant(&mut self, credits: u32) -> bool {
        let was_starved = self.credits == 0 && !self.frames.is_empty();
        self.credits = self.credits.saturating_add(credits);
        if credits > 0 {
            self.starved_since = None;
        }
        was_starved && credits > 0
    }

    /// The next frame with its number, and whether another may follow it.
    pub(super) fn pop(&mut self, room_below: usize, now: Instant) -> Option<(u64, Content, bool)> {
        let content = self.frames.pop_front()?;
        self.credits -= 1;
        self.sequence += 1;
        if self.frames.len() < room_below {
            self.waiting.drain(..).for_each(Waker::wake);
        }
        if self.credits == 0 && !self.frames.is_empty() {
            self.starved_since = Some(now);
        }
        Some((self.sequence, content, self.credits > 0 && !self.frames.is_empty()))
    }

    pub(super) fn starved_for(&self, now: Instant) -> Duration {
        self.starved_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    pub(super) fn wake_on_room(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }
}

impl Drop for Outbox {
    /// Whoever waits for room learns that the session is gone.
    fn drop(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}
