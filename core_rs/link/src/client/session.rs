//! Sessions of a client: many on one stream, each with credits granted as frames are used.

use std::collections::HashMap;
use std::sync::Arc;

use cmdop_contract::v1::{
    self, Actor, Call, ClientFrame, Output, Proposal, ServerFrame, client_frame, server_frame, session_update,
};
use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;
use tonic::codegen::http::uri::PathAndQuery;

use super::Client;
use crate::codec::Codec;
use crate::error::Error;
use crate::status;

const CONNECT: &str = "/cmdop.v1.Sessions/Connect";

/// Frames that a session may be sent before it grants more. Half of them are granted at a time.
const WINDOW: u32 = 64;

/// Proposals that may wait to be written.
const UNWRITTEN: usize = 4_096;

/// One stream of sessions. Cheap to clone; the stream ends with the last clone and [`Session`].
#[derive(Clone)]
pub struct SessionClient {
    connection: Arc<Connection>,
}

struct Connection {
    shared: Arc<Shared>,
    welcome: v1::SessionWelcome,
    _reader: AbortOnDropHandle<()>,
}

/// What callers and the reading task share.
struct Shared {
    frames: mpsc::UnboundedSender<Written>,
    /// Bounds what callers put into `frames`. Grants pass by it: there are at most two a window,
    /// and a reader that waited to write could wait for ever.
    unwritten: Arc<Semaphore>,
    state: Mutex<State>,
}

struct Written {
    frame: ClientFrame,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<u32, Entry>,
    last_session: u32,
    /// Why the stream is over.
    failure: Option<v1::Error>,
}

struct Entry {
    opened: Option<oneshot::Sender<Result<(), v1::Error>>>,
    waiting: HashMap<u64, mpsc::UnboundedSender<Result<Update, v1::Error>>>,
    finals: HashMap<u64, oneshot::Sender<Result<Call, v1::Error>>>,
    last_request: u64,
    sequence: u64,
    /// Frames that were used and not granted again yet.
    owed: u32,
}

/// What becomes of a proposal.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The call; the last update unless it is held.
    Call(Box<Call>),
    /// A piece of its output.
    Output(Output),
}

impl SessionClient {
    /// Opens the stream and is welcomed.
    ///
    /// # Errors
    /// UNREACHABLE, UNSUPPORTED_PROTOCOL.
    pub async fn connect(client: &Client, name: &str) -> Result<Self, v1::Error> {
        let (frames, queued) = mpsc::unbounded_channel();
        let shared =
            Arc::new(Shared { frames, unwritten: Arc::new(Semaphore::new(UNWRITTEN)), state: Mutex::default() });
        let hello = v1::ClientHello {
            min_protocol: *cmdop_gate::PROTOCOL.start(),
            max_protocol: *cmdop_gate::PROTOCOL.end(),
            client: name.into(),
        };
        shared.send(0, client_frame::Kind::Hello(hello));
        let outbound = UnboundedReceiverStream::new(queued).map(|written: Written| written.frame);
        let timeout = client.connect_timeout;
        let welcomed = async {
            let mut grpc = client.ready().await?;
            let codec: Codec<ClientFrame, ServerFrame> = Codec::default();
            let path = PathAndQuery::from_static(CONNECT);
            let opened = grpc.streaming(client.request(outbound), path, codec).await;
            let mut inbound = opened.map_err(|status| status::to_error(&status))?.into_inner();
            let welcome = welcome(&mut inbound).await?;
            Ok::<_, v1::Error>((inbound, welcome))
        };
        let (inbound, welcome) =
            tokio::time::timeout(timeout, welcomed).await.map_err(|_| Error::Silent(timeout))??;
        let reader = AbortOnDropHandle::new(tokio::spawn(read(shared.clone(), inbound)));
        Ok(Self { connection: Arc::new(Connection { shared, welcome, _reader: reader }) })
    }

    /// What the server said about itself and its limits.
    #[must_use]
    pub fn welcome(&self) -> &v1::SessionWelcome {
        &self.connection.welcome
    }

    /// Opens a session. Its proposals are this actor's unless they name one.
    ///
    /// # Errors
    /// LOAD_SHED if too many are open; what ended the stream.
    pub async fn open(&self, actor: Option<Actor>) -> Result<Session, v1::Error> {
        let shared = &self.connection.shared;
        let (opened, answer) = oneshot::channel();
        let id = shared.enter(opened)?;
        shared.send(id, client_frame::Kind::Open(v1::OpenSession { actor, credits: WINDOW }));
        let session = Session { connection: self.connection.clone(), id };
        answer.await.unwrap_or_else(|_| Err(broken()))?;
        Ok(session)
    }
}

/// One session. Dropping it closes it; its calls go on.
pub struct Session {
    connection: Arc<Connection>,
    id: u32,
}

impl Session {
    /// Proposes and waits until the call is settled or unknown.
    ///
    /// # Errors
    /// Why it could not be taken; SLOW_CONSUMER and others if the session or stream ended.
    pub async fn propose(&self, proposal: Proposal) -> Result<Call, v1::Error> {
        let shared = &self.connection.shared;
        let permit = shared.permit().await?;
        let (answer, answered) = oneshot::channel();
        let request_id = shared.expect(self.id, |entry, id| {
            entry.finals.insert(id, answer);
        })?;
        let proposal = v1::SessionProposal { request_id, proposal: Some(proposal), ..v1::SessionProposal::default() };
        shared.write(self.id, client_frame::Kind::Propose(proposal), Some(permit));
        answered.await.unwrap_or_else(|_| Err(broken()))
    }

    /// Proposes and follows the call: its output, its being held, its outcome last.
    ///
    /// Credits are granted as updates are taken, so who does not read is cut with SLOW_CONSUMER.
    ///
    /// # Errors
    /// What ended the session. Why a proposal could not be taken is the stream's last item.
    pub async fn follow(
        &self,
        proposal: Proposal,
    ) -> Result<impl Stream<Item = Result<Update, v1::Error>> + Send + Unpin + use<>, v1::Error> {
        let shared = self.connection.shared.clone();
        let permit = shared.permit().await?;
        let (updates, queued) = mpsc::unbounded_channel();
        let request_id = shared.expect(self.id, |entry, id| {
            entry.waiting.insert(id, updates);
        })?;
        let proposal =
            v1::SessionProposal { request_id, proposal: Some(proposal), follow_output: true, report_held: true };
        shared.write(self.id, client_frame::Kind::Propose(proposal), Some(permit));
        let id = self.id;
        let updates = stream::unfold((shared, queued), move |(shared, mut queued)| async move {
            let update = queued.recv().await?;
            shared.used(id);
            Some((update, (shared, queued)))
        });
        Ok(updates.boxed())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let shared = &self.connection.shared;
        let open = shared.state.lock().sessions.remove(&self.id).is_some();
        if open {
            shared.send(self.id, client_frame::Kind::Close(v1::CloseSession {}));
        }
    }
}

impl Shared {
    fn enter(&self, opened: oneshot::Sender<Result<(), v1::Error>>) -> Result<u32, v1::Error> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.last_session += 1;
        let id = state.last_session;
        let entry = Entry {
            opened: Some(opened),
            waiting: HashMap::new(),
            finals: HashMap::new(),
            last_request: 0,
            sequence: 0,
            owed: 0,
        };
        state.sessions.insert(id, entry);
        Ok(id)
    }

    /// Notes that a request awaits answers, and numbers it.
    fn expect(&self, session: u32, note: impl FnOnce(&mut Entry, u64)) -> Result<u64, v1::Error> {
        let mut state = self.state.lock();
        let Some(entry) = state.sessions.get_mut(&session) else {
            drop(state);
            return Err(self.failure());
        };
        entry.last_request += 1;
        let id = entry.last_request;
        note(entry, id);
        Ok(id)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, v1::Error> {
        self.unwritten.clone().acquire_owned().await.map_err(|_| self.failure())
    }

    /// Why the stream is over.
    fn failure(&self) -> v1::Error {
        self.state.lock().failure.clone().unwrap_or_else(broken)
    }

    fn send(&self, session: u32, kind: client_frame::Kind) {
        self.write(session, kind, None);
    }

    fn write(&self, session: u32, kind: client_frame::Kind, permit: Option<OwnedSemaphorePermit>) {
        // A closed queue means that the stream is over, which its reader tells everyone.
        let _ = self.frames.send(Written { frame: ClientFrame { session, kind: Some(kind) }, _permit: permit });
    }

    /// Notes that a frame was used, and grants credits again when half of the window was.
    fn used(&self, session: u32) {
        let due = self.state.lock().sessions.get_mut(&session).and_then(Entry::use_one);
        if let Some(credits) = due {
            self.send(session, client_frame::Kind::Grant(v1::GrantCredits { credits }));
        }
    }

    /// The stream is over: everyone who waits is told why.
    fn fail(&self, error: &v1::Error) {
        let sessions = {
            let mut state = self.state.lock();
            state.failure.get_or_insert_with(|| error.clone());
            std::mem::take(&mut state.sessions)
        };
        for entry in sessions.into_values() {
            entry.fail(error);
        }
        self.unwritten.close();
    }
}

impl Entry {
    fn use_one(&mut self) -> Option<u32> {
        self.owed += 1;
        (self.owed >= WINDOW / 2).then(|| std::mem::take(&mut self.owed))
    }

    // Those who wait may have stopped waiting: every send here may find nobody.
    fn fail(self, error: &v1::Error) {
        if let Some(opened) = self.opened {
            let _ = opened.send(Err(error.clone()));
        }
        for waiting in self.waiting.into_values() {
            let _ = waiting.send(Err(error.clone()));
        }
        for answer in self.finals.into_values() {
            let _ = answer.send(Err(error.clone()));
        }
    }

    /// Hands an update to who waits for it. True if its credit may be granted again at once.
    fn update(&mut self, update: v1::SessionUpdate) -> bool {
        let v1::SessionUpdate { request_id, kind } = update;
        let (answer, last) = match kind {
            Some(session_update::Kind::Call(call)) => {
                let held = matches!(call.state(), v1::CallState::Held | v1::CallState::DiffHeld);
                (Ok(Update::Call(Box::new(call))), !held)
            }
            Some(session_update::Kind::Output(output)) => (Ok(Update::Output(output)), false),
            Some(session_update::Kind::Error(error)) => (Err(error), true),
            None => (Err(broken()), true),
        };
        if let Some(waiting) = self.waiting.get(&request_id) {
            let gone = waiting.send(answer).is_err();
            if last {
                self.waiting.remove(&request_id);
            }
            // What nobody reads any more is used already.
            return gone;
        }
        if let Some(waiting) = self.finals.remove(&request_id) {
            let answer = answer.and_then(|update| match update {
                Update::Call(call) => Ok(*call),
                Update::Output(_) => Err(broken()),
            });
            let _ = waiting.send(answer);
        }
        true
    }
}

async fn welcome(inbound: &mut Streaming<ServerFrame>) -> Result<v1::SessionWelcome, v1::Error> {
    let frame = inbound.message().await.map_err(|status| status::to_error(&status))?;
    match frame.and_then(|frame| frame.kind) {
        Some(server_frame::Kind::Welcome(welcome)) => Ok(welcome),
        Some(server_frame::Kind::Closed(closed)) => Err(closed.error.unwrap_or_else(broken)),
        _ => Err(Error::Violation("the server's first frame is no welcome".into()).into()),
    }
}

async fn read(shared: Arc<Shared>, mut inbound: Streaming<ServerFrame>) {
    let error = loop {
        match inbound.message().await {
            Ok(Some(frame)) => {
                if let Err(error) = take(&shared, frame) {
                    break error;
                }
            }
            Ok(None) => break broken(),
            Err(status) => break status::to_error(&status),
        }
    };
    shared.fail(&error);
}

/// Takes one frame.
///
/// # Errors
/// Why the stream is over.
fn take(shared: &Shared, frame: ServerFrame) -> Result<(), v1::Error> {
    let ServerFrame { session, sequence, kind } = frame;
    if session == 0 {
        return match kind {
            Some(server_frame::Kind::Closed(closed)) => Err(closed.error.unwrap_or_else(broken)),
            _ => Ok(()),
        };
    }
    let mut state = shared.state.lock();
    // Frames of a session that was dropped here may still be under way.
    let Some(entry) = state.sessions.get_mut(&session) else { return Ok(()) };
    entry.sequence += 1;
    if entry.sequence != sequence {
        let expected = entry.sequence;
        return Err(Error::Violation(format!("frame {sequence} of session {session} came as number {expected}")).into());
    }
    let due = match kind {
        Some(server_frame::Kind::Opened(_)) => {
            if let Some(opened) = entry.opened.take() {
                let _ = opened.send(Ok(()));
            }
            None
        }
        Some(server_frame::Kind::Update(update)) => entry.update(update).then(|| entry.use_one()).flatten(),
        Some(server_frame::Kind::Closed(closed)) => {
            if let Some(entry) = state.sessions.remove(&session) {
                entry.fail(&closed.error.unwrap_or_else(broken));
            }
            None
        }
        Some(server_frame::Kind::Pong(_)) => entry.use_one(),
        Some(server_frame::Kind::Welcome(_)) | None => None,
    };
    drop(state);
    if let Some(credits) = due {
        shared.send(session, client_frame::Kind::Grant(v1::GrantCredits { credits }));
    }
    Ok(())
}

fn broken() -> v1::Error {
    Error::Unreachable("the session stream has ended".into()).into()
}
