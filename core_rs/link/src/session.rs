//! Many sessions on one stream, as a state machine without a runtime.
//!
//! [`Mux`] takes the client's frames and the gate's answers, and gives out frames in the order in
//! which they may be sent. It never waits: whoever drives it asks [`Mux::pop`] until nothing may
//! be sent, calls [`Mux::tick`] from time to time, and stops reading while [`Mux::poll_accept`] is
//! pending. Every queue in it is bounded.

mod outbox;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use cmdop_contract::v1::{self, Actor, ClientFrame, Proposal, SessionProposal, client_frame};
use cmdop_contract::validate::{Violations, check_actor};

use crate::error::Error;
use crate::frame::{Answer, Content, Outgoing};
use outbox::Outbox;

/// Limits of one `Sessions.Connect` stream.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    /// Sessions open at once.
    pub sessions: usize,
    /// Frames that may wait in one session. One more cuts it.
    pub outbox: usize,
    /// Proposals without a final answer in one session. One more is shed.
    pub open_proposals: usize,
    /// How long frames may wait for credits, or for the stream to be read.
    pub stall: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { sessions: 4_096, outbox: 256, open_proposals: 256, stall: Duration::from_secs(10) }
    }
}

/// Credits of a session that does not say how many.
const DEFAULT_CREDITS: u32 = 32;

/// Frames outside of sessions' credits that may wait before no more input is taken.
const CONTROL_FRAMES: usize = 1_024;

/// Names that an actor has.
const MAX_VIOLATIONS: usize = 5;

/// One session in one life: an id may be used again after it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionKey {
    id: u32,
    life: u64,
}

/// A proposal to hand to the gate. Each is answered until an answer is the last.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) session: SessionKey,
    pub(crate) request_id: u64,
    pub(crate) proposal: Proposal,
    pub(crate) follow_output: bool,
    pub(crate) report_held: bool,
}

/// Whether a session still listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Taken,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    AwaitingHello,
    Open,
    Over,
}

struct Session {
    life: u64,
    actor: Option<Actor>,
    open_proposals: usize,
    outbox: Outbox,
}

/// All sessions of one stream.
pub(crate) struct Mux {
    limits: SessionLimits,
    max_frame_bytes: u32,
    phase: Phase,
    sessions: HashMap<u32, Session>,
    /// Ids that the server closed and whose client may not know it yet.
    cut: HashSet<u32>,
    /// Sent before everything else and without credits.
    control: VecDeque<Outgoing>,
    /// Sessions that have a frame and a credit, each once, served in turn.
    ready: VecDeque<SessionKey>,
    /// Since when something could be sent and was not taken.
    untaken_since: Option<Instant>,
    lives: u64,
    input: Option<Waker>,
    /// Why the connection ended, until somebody asks.
    verdict: Option<v1::Error>,
}

impl Mux {
    pub(crate) fn new(limits: SessionLimits, max_frame_bytes: u32) -> Self {
        Self {
            limits,
            max_frame_bytes,
            phase: Phase::AwaitingHello,
            sessions: HashMap::new(),
            cut: HashSet::new(),
            control: VecDeque::new(),
            ready: VecDeque::new(),
            untaken_since: None,
            lives: 0,
            input: None,
            verdict: None,
        }
    }

    /// Takes a frame. A violation ends the connection, which [`Mux::is_over`] then says.
    pub(crate) fn receive(&mut self, frame: ClientFrame, now: Instant) -> Option<Request> {
        let taken = self.take(frame, now);
        taken.unwrap_or_else(|error| {
            self.end(error, now);
            None
        })
    }

    fn take(&mut self, frame: ClientFrame, now: Instant) -> Result<Option<Request>, v1::Error> {
        use client_frame::Kind;
        let session = frame.session;
        let kind =
            frame.kind.ok_or_else(|| violation("a frame without content, or with content of a newer protocol"))?;
        match (self.phase, kind) {
            (Phase::Over, _) => {}
            (Phase::AwaitingHello, Kind::Hello(hello)) if session == 0 => self.welcome(&hello, now)?,
            (Phase::AwaitingHello, _) => return Err(violation("the first frame must be `hello`, on session 0")),
            (Phase::Open, Kind::Hello(_)) => return Err(violation("a second `hello`")),
            (Phase::Open, Kind::Ping(ping)) if session == 0 => {
                self.control(Outgoing { session: 0, sequence: 0, content: Content::Pong { nonce: ping.nonce } }, now);
            }
            (Phase::Open, _) if session == 0 => {
                return Err(violation("session 0 is the connection: only hello and ping"));
            }
            (Phase::Open, Kind::Open(open)) => self.open(session, open, now)?,
            (Phase::Open, Kind::Close(_)) => self.close_by_client(session, now),
            (Phase::Open, Kind::Grant(grant)) => self.grant(session, grant.credits, now),
            (Phase::Open, Kind::Propose(proposal)) => return Ok(self.propose(session, proposal, now)),
            (Phase::Open, Kind::Ping(ping)) => {
                if let Some(key) = self.known(session, now) {
                    self.push(key, Content::Pong { nonce: ping.nonce }, now);
                }
            }
        }
        Ok(None)
    }

    fn welcome(&mut self, hello: &v1::ClientHello, now: Instant) -> Result<(), v1::Error> {
        let protocol = cmdop_gate::negotiate(hello.min_protocol, hello.max_protocol)?;
        self.phase = Phase::Open;
        let welcome = v1::SessionWelcome {
            protocol,
            server_version: env!("CARGO_PKG_VERSION").into(),
            max_frame_bytes: self.max_frame_bytes,
            max_sessions: u32::try_from(self.limits.sessions).unwrap_or(u32::MAX),
        };
        self.control(Outgoing { session: 0, sequence: 0, content: Content::Welcome(welcome) }, now);
        Ok(())
    }

    fn open(&mut self, id: u32, open: v1::OpenSession, now: Instant) -> Result<(), v1::Error> {
        if self.sessions.contains_key(&id) {
            return Err(violation(&format!("session {id} is open already")));
        }
        self.cut.remove(&id);
        let mut found = Violations::new(MAX_VIOLATIONS);
        open.actor.iter().for_each(|actor| check_actor(actor, &mut found));
        if let Err(error) = found.into_result() {
            self.control(Outgoing { session: id, sequence: 1, content: Content::Closed(Some(error)) }, now);
            return Ok(());
        }
        if self.sessions.len() >= self.limits.sessions {
            let most = self.limits.sessions;
            let error = Error::TooMany(format!(
                "{most} sessions are open on this stream, which is the most; open another stream"
            ));
            self.control(Outgoing { session: id, sequence: 1, content: Content::Closed(Some(error.into())) }, now);
            return Ok(());
        }
        self.lives += 1;
        let credits = if open.credits == 0 { DEFAULT_CREDITS } else { open.credits };
        let mut outbox = Outbox::new(credits);
        let opened = Outgoing { session: id, sequence: outbox.count(), content: Content::Opened };
        self.sessions.insert(id, Session { life: self.lives, actor: open.actor, open_proposals: 0, outbox });
        self.control(opened, now);
        Ok(())
    }

    fn close_by_client(&mut self, id: u32, now: Instant) {
        if self.cut.remove(&id) {
            return;
        }
        if let Some(key) = self.known(id, now) {
            self.close(key, None, now);
            // The client knows: frames that follow are its mistake.
            self.cut.remove(&id);
        }
    }

    fn grant(&mut self, id: u32, credits: u32, now: Instant) {
        let Some(key) = self.known(id, now) else { return };
        if let Some(session) = self.sessions.get_mut(&id)
            && session.outbox.grant(credits)
        {
            self.ready.push_back(key);
            self.untaken_since.get_or_insert(now);
        }
    }

    fn propose(&mut self, id: u32, proposed: SessionProposal, now: Instant) -> Option<Request> {
        let key = self.known(id, now)?;
        let most = self.limits.open_proposals;
        let session = self.sessions.get_mut(&id)?;
        let SessionProposal { request_id, proposal, follow_output, report_held } = proposed;
        let Some(mut proposal) = proposal else {
            let error = violation("`propose` without a proposal");
            self.push(key, Content::Update { request_id, answer: Answer::Error(error) }, now);
            return None;
        };
        if session.open_proposals >= most {
            let error =
                Error::TooMany(format!("{most} proposals of this session are open, which is the most; await some"));
            self.push(key, Content::Update { request_id, answer: Answer::Error(error.into()) }, now);
            return None;
        }
        session.open_proposals += 1;
        if proposal.actor.is_none() {
            proposal.actor.clone_from(&session.actor);
        }
        Some(Request { session: key, request_id, proposal, follow_output, report_held })
    }

    /// Hands an answer to a session. `last` says that the request is done with it.
    pub(crate) fn deliver(
        &mut self,
        key: SessionKey,
        request_id: u64,
        answer: Answer,
        last: bool,
        now: Instant,
    ) -> Delivery {
        let Some(session) = self.living(key) else { return Delivery::Gone };
        if last {
            session.open_proposals -= 1;
        }
        self.push(key, Content::Update { request_id, answer }, now)
    }

    /// Whether a session has room for what may be left out, such as output. Otherwise the waker
    /// is called when it has, or is gone.
    pub(crate) fn poll_room(&mut self, key: SessionKey, waker: &Waker) -> Poll<Delivery> {
        let most = self.limits.outbox / 2;
        let Some(session) = self.living(key) else { return Poll::Ready(Delivery::Gone) };
        if session.outbox.len() < most {
            return Poll::Ready(Delivery::Taken);
        }
        session.outbox.wake_on_room(waker);
        Poll::Pending
    }

    /// Whether more input may be read. A client that does not read is not read either.
    pub(crate) fn poll_accept(&mut self, waker: &Waker) -> Poll<()> {
        if self.control.len() < CONTROL_FRAMES {
            return Poll::Ready(());
        }
        self.input = Some(waker.clone());
        Poll::Pending
    }

    /// The next frame that may be sent.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Outgoing> {
        let frame = self.pop_control().or_else(|| self.pop_ready(now));
        let more = !self.control.is_empty() || !self.ready.is_empty();
        self.untaken_since = more.then_some(now);
        frame
    }

    fn pop_control(&mut self) -> Option<Outgoing> {
        let frame = self.control.pop_front()?;
        if self.control.len() < CONTROL_FRAMES
            && let Some(input) = self.input.take()
        {
            input.wake();
        }
        Some(frame)
    }

    fn pop_ready(&mut self, now: Instant) -> Option<Outgoing> {
        let most = self.limits.outbox / 2;
        loop {
            let key = self.ready.pop_front()?;
            let Some(session) = self.living(key) else { continue };
            let Some((sequence, content, again)) = session.outbox.pop(most, now) else { continue };
            if again {
                self.ready.push_back(key);
            }
            return Some(Outgoing { session: key.id, sequence, content });
        }
    }

    /// Cuts sessions that stay without credits, and the connection if nobody reads it.
    pub(crate) fn tick(&mut self, now: Instant) {
        let stall = self.limits.stall;
        if self.untaken_since.is_some_and(|since| now.duration_since(since) >= stall) {
            self.end(Error::SlowConsumer(stall).into(), now);
            return;
        }
        let starved: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.outbox.starved_for(now) >= stall)
            .map(|(&id, session)| SessionKey { id, life: session.life })
            .collect();
        for key in starved {
            self.close(key, Some(Error::SlowConsumer(stall).into()), now);
        }
    }

    /// Ends the connection: every session is gone, and the client is told why.
    pub(crate) fn end(&mut self, error: v1::Error, now: Instant) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.sessions.clear();
        self.ready.clear();
        self.verdict = Some(error.clone());
        self.control(Outgoing { session: 0, sequence: 0, content: Content::Closed(Some(error)) }, now);
    }

    /// Ends the connection because the client has nothing more to say and all is answered. Frames
    /// without credits are lost: nobody can grant them any more.
    pub(crate) fn finish(&mut self) {
        self.phase = Phase::Over;
    }

    /// Why the connection ended, once; `None` if the client ended it.
    pub(crate) fn verdict(&mut self) -> Option<v1::Error> {
        self.verdict.take()
    }

    /// True once the connection has ended; what [`Mux::pop`] still gives is the last of it.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn living(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(&key.id).filter(|session| session.life == key.life)
    }

    /// The session of that id. For an unknown one the client is told, and only about this one.
    fn known(&mut self, id: u32, now: Instant) -> Option<SessionKey> {
        if let Some(session) = self.sessions.get(&id) {
            return Some(SessionKey { id, life: session.life });
        }
        if !self.cut.contains(&id) {
            let error = violation(&format!("session {id} is not open"));
            self.control(Outgoing { session: id, sequence: 1, content: Content::Closed(Some(error)) }, now);
        }
        None
    }

    fn push(&mut self, key: SessionKey, content: Content, now: Instant) -> Delivery {
        let most = self.limits.outbox;
        let Some(session) = self.living(key) else { return Delivery::Gone };
        if session.outbox.len() >= most {
            self.close(key, Some(Error::OutboxFull(most).into()), now);
            return Delivery::Gone;
        }
        if session.outbox.push(content, now) {
            self.ready.push_back(key);
            self.untaken_since.get_or_insert(now);
        }
        Delivery::Taken
    }

    fn close(&mut self, key: SessionKey, error: Option<v1::Error>, now: Instant) {
        let Some(mut session) = self.sessions.remove(&key.id) else { return };
        // Bounded: a client that never notices loses the courtesy, not the connection.
        if self.cut.len() < self.limits.sessions {
            self.cut.insert(key.id);
        }
        let sequence = session.outbox.count();
        self.control(Outgoing { session: key.id, sequence, content: Content::Closed(error) }, now);
    }

    fn control(&mut self, frame: Outgoing, now: Instant) {
        self.control.push_back(frame);
        self.untaken_since.get_or_insert(now);
    }
}

fn violation(what: &str) -> v1::Error {
    Error::Violation(format!("protocol violation: {what}")).into()
}
