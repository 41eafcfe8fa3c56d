//! The shell around [`Mux`]: one task reads and answers, the response stream takes what may go.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use cmdop_contract::v1::{Call, CallState, ClientFrame};
use cmdop_gate::{Gate, OutputReader, Ticket};
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use futures::{FutureExt as _, Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming};

use super::identity::bearer;
use super::{Context, refused};
use crate::answer::Room;
use crate::error::Error;
use crate::frame::{Answer, Outgoing};
use crate::proto::sessions_server::Sessions;
use crate::session::{self, Delivery, Mux, SessionKey};
use crate::status;

#[tonic::async_trait]
impl Sessions for Context {
    type ConnectStream = Frames;

    async fn connect(&self, request: Request<Streaming<ClientFrame>>) -> Result<Response<Frames>, Status> {
        let most = u32::try_from(self.max_frame_bytes).unwrap_or(u32::MAX);
        let shared = Arc::new(Shared {
            mux: Mutex::new(Mux::new(self.sessions.clone(), most)),
            output: AtomicWaker::new(),
            room: Room::of(request.metadata()),
            token: bearer(&request).map(str::to_owned),
        });
        let gone = CancellationToken::new();
        let connection = Connection {
            shared: shared.clone(),
            gate: self.gate.clone(),
            inbound: request.into_inner(),
            answers: FuturesUnordered::new(),
            tick: tokio::time::interval(self.sessions.stall / 4),
        };
        let streams = self.streams.clone();
        tokio::spawn(gone.clone().run_until_cancelled_owned(connection.run(streams)));
        Ok(Response::new(Frames { shared, _gone: gone.drop_guard() }))
    }
}

/// What the reading task and the response stream share.
struct Shared {
    mux: Mutex<Mux>,
    output: AtomicWaker,
    room: Room,
    /// What the connection's client shows of who it is.
    token: Option<String>,
}

impl Shared {
    /// Does something to the mux, then lets the response stream look for frames.
    fn with<T>(&self, act: impl FnOnce(&mut Mux, Instant) -> T) -> T {
        let done = act(&mut self.mux.lock(), Instant::now());
        self.output.wake();
        done
    }
}

/// Frames for the client. All that may be sent is given out at once, so that tonic writes it at
/// once. Dropping it, which happens when the client is gone, ends the reading task.
pub(super) struct Frames {
    shared: Arc<Shared>,
    _gone: DropGuard,
}

impl Stream for Frames {
    type Item = Result<Outgoing, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let mut mux = self.shared.mux.lock();
        let now = Instant::now();
        if let Some(frame) = mux.pop(now) {
            return Poll::Ready(Some(Ok(frame)));
        }
        // Under the lock: whoever changes the mux after this wakes us.
        self.shared.output.register(cx.waker());
        if mux.is_over() {
            return Poll::Ready(mux.verdict().map(|error| Err(refused(error))));
        }
        Poll::Pending
    }
}

type Answers = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

struct Connection {
    shared: Arc<Shared>,
    gate: Gate,
    inbound: Streaming<ClientFrame>,
    answers: Answers,
    tick: tokio::time::Interval,
}

impl Connection {
    async fn run(mut self, streams: CancellationToken) {
        let drained = {
            let served = self.serve();
            tokio::select! {
                biased;
                () = served => false,
                () = streams.cancelled() => true,
            }
        };
        if drained {
            // Answers that are there already still go out.
            while let Some(Some(())) = self.answers.next().now_or_never() {}
            self.shared.with(|mux, now| mux.end(Error::Draining.into(), now));
        }
    }

    /// Reads and answers until the connection is over.
    async fn serve(&mut self) {
        let mut reading = true;
        while !self.shared.mux.lock().is_over() {
            if !reading && self.answers.is_empty() {
                self.shared.with(|mux, _| mux.finish());
                return;
            }
            tokio::select! {
                biased;
                Some(()) = self.answers.next(), if !self.answers.is_empty() => {}
                frame = next(&self.shared, &mut self.inbound), if reading => match frame {
                    Ok(Some(frame)) => self.take(frame),
                    Ok(None) => reading = false,
                    Err(status) => {
                        let error = status::to_error(&status::typed(status));
                        self.shared.with(|mux, now| mux.end(error, now));
                    }
                },
                _ = self.tick.tick() => self.shared.with(Mux::tick),
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    fn take(&self, frame: ClientFrame) {
        if let Some(request) = self.shared.with(|mux, now| mux.receive(frame, now)) {
            self.answers.push(Box::pin(answer(self.shared.clone(), self.gate.clone(), request)));
        }
    }
}

/// The next frame, once there is room for what it may cause.
async fn next(shared: &Shared, inbound: &mut Streaming<ClientFrame>) -> Result<Option<ClientFrame>, Status> {
    std::future::poll_fn(|cx| shared.mux.lock().poll_accept(cx.waker())).await;
    inbound.message().await
}

/// Proposes for a session and tells it what becomes of it. Dropping this leaves the call alone.
async fn answer(shared: Arc<Shared>, gate: Gate, request: session::Request) {
    let session::Request { session, request_id, proposal, follow_output, report_held } = request;
    let checked = gate.check_proposer(proposal.actor.as_ref(), shared.token.as_deref());
    let teller = Teller { shared, session, request_id };
    // In boxes of their own: an answer waits for long, and what it needed before is in nobody's way.
    let submitted = match checked {
        Ok(()) => Box::pin(gate.submit(proposal)).await,
        Err(error) => Err(error),
    };
    let outcome = match submitted {
        Ok(ticket) if follow_output => Box::pin(teller.follow(ticket, report_held)).await,
        Ok(mut ticket) => teller.wait(&mut ticket, report_held).await,
        Err(error) => Answer::Error(error),
    };
    teller.tell(outcome, true);
}

/// Tells a session about one of its requests.
struct Teller {
    shared: Arc<Shared>,
    session: SessionKey,
    request_id: u64,
}

impl Teller {
    fn tell(&self, answer: Answer, last: bool) -> Delivery {
        self.shared.with(|mux, now| mux.deliver(self.session, self.request_id, answer, last, now))
    }

    async fn wait(&self, ticket: &mut Ticket, report_held: bool) -> Answer {
        if report_held
            && let Ok(call) = ticket.held_or_settled().await
            && matches!(call.state(), CallState::Held | CallState::DiffHeld)
        {
            self.tell(self.fitting(call).await, false);
        }
        match ticket.settled_or_unknown().await {
            Ok(call) => self.fitting(call).await,
            Err(error) => Answer::Error(error),
        }
    }

    /// One call that the client cannot take must not end the stream of all its sessions.
    async fn fitting(&self, call: Arc<Call>) -> Answer {
        Answer::Call(self.shared.room.call(call).await)
    }

    /// Waits like [`Self::wait`], and passes output on while the session has room for it.
    async fn follow(&self, mut ticket: Ticket, report_held: bool) -> Answer {
        let Some(mut output) = ticket.output(0) else { return self.wait(&mut ticket, report_held).await };
        let outcome = tokio::select! {
            biased;
            outcome = self.wait(&mut ticket, report_held) => outcome,
            () = self.pass_on(&mut output) => unreachable!("passing output on ends only with the call"),
        };
        while let Some(piece) = output.ready() {
            if self.room().await == Delivery::Gone {
                break;
            }
            self.tell(Answer::Output(piece), false);
        }
        outcome
    }

    async fn pass_on(&self, output: &mut OutputReader) {
        while self.room().await == Delivery::Taken {
            let Some(piece) = output.next().await else { break };
            self.tell(Answer::Output(piece), false);
        }
        std::future::pending().await
    }

    async fn room(&self) -> Delivery {
        std::future::poll_fn(|cx| self.shared.mux.lock().poll_room(self.session, cx.waker())).await
    }
}
