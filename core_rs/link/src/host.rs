//! The host's end of its link: dial, say hello, carry frames, and again when it broke.

mod backoff;

use std::time::Duration;

use cmdop_contract::v1::{
    self, Heartbeat, HostHello, HostToServer, Reason, ServerToHost, ServerWelcome, host_to_server, server_to_host,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use crate::codec::Codec;
use crate::error::{Error, deepest};
use crate::{address, status};
use backoff::Backoff;

const ATTACH: &str = "/cmdop.v1.HostLink/Attach";

/// Frames that may wait to be written.
const FRAMES: usize = 256;

/// How a host reaches its server.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Address of the server, such as `127.0.0.1:7717`.
    pub server: String,
    /// How long dialling and being welcomed may take.
    pub connect_timeout: Duration,
    /// How long the server may be silent before the link counts as broken.
    pub silence: Duration,
    /// First and longest pause between two attempts.
    pub backoff: (Duration, Duration),
    /// Largest frame that is taken from the server.
    pub max_frame_bytes: usize,
}

impl LinkOptions {
    /// Defaults: 5 s to connect, broken after 15 s of silence, pauses of 100 ms to 5 s.
    #[must_use]
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            connect_timeout: Duration::from_secs(5),
            silence: Duration::from_secs(15),
            backoff: (Duration::from_millis(100), Duration::from_secs(5)),
            max_frame_bytes: 16 << 20,
        }
    }
}

/// Whether a host is attached.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkState {
    /// Dialling for the first time.
    Dialling,
    /// Welcomed by the server.
    Attached(ServerWelcome),
    /// Not attached, and why; it is tried again.
    Detached(v1::Error),
}

/// The daemon's ends of the link, and who wants to know about it.
pub struct Ends {
    /// Frames from the server. Each attachment begins with its `ServerWelcome`: that is the moment
    /// to send again what the server may not have got.
    pub inbound: mpsc::Sender<ServerToHost>,
    /// Frames for the server. While the host is not attached they are thrown away, so that a
    /// running tool never waits for the network; whoever must be heard keeps its frames until
    /// they are acknowledged.
    pub outbound: mpsc::Receiver<HostToServer>,
    /// Where the state of the link is shown.
    pub state: watch::Sender<LinkState>,
}

/// Keeps a host attached until `stop` is ready or the daemon drops its ends.
///
/// # Errors
/// INVALID_CONFIGURATION for a bad address, UNSUPPORTED_PROTOCOL if the server is too old or too
/// new. Every other failure is tried again, with exponential backoff and jitter.
pub async fn attach(
    options: LinkOptions,
    hello: HostHello,
    mut ends: Ends,
    stop: impl Future<Output = ()>,
) -> Result<(), v1::Error> {
    let endpoint = address::endpoint(&options.server, options.connect_timeout)?;
    tokio::select! {
        () = stop => Ok(()),
        ended = keep(&endpoint, &options, &hello, &mut ends) => ended,
    }
}

async fn keep(endpoint: &Endpoint, options: &LinkOptions, hello: &HostHello, ends: &mut Ends) -> Result<(), v1::Error> {
    let mut backoff = Backoff::new(options.backoff.0, options.backoff.1);
    loop {
        let dialled = until_daemon_left(ends, dial(endpoint, options, hello)).await;
        let broken = match dialled {
            None => return Ok(()),
            Some(Ok(link)) => {
                backoff.reset();
                tracing::info!(server = options.server, version = link.welcome.server_version, "attached");
                let Some(broken) = link.carry(options, ends).await else { return Ok(()) };
                broken
            }
            Some(Err(error)) if error.reason() == Reason::UnsupportedProtocol => return Err(error),
            Some(Err(error)) => error,
        };
        let pause = backoff.next(rand::random());
        tracing::warn!(server = options.server, error = broken.message, ?pause, "not attached; trying again");
        ends.state.send_replace(LinkState::Detached(broken));
        if until_daemon_left(ends, tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
    }
}

/// Does something while frames of the daemon are thrown away. `None` once the daemon has left.
async fn until_daemon_left<T>(ends: &mut Ends, act: impl Future<Output = T>) -> Option<T> {
    let thrown_away = async { while ends.outbound.recv().await.is_some() {} };
    tokio::select! {
        biased;
        done = act => Some(done),
        () = thrown_away => None,
    }
}

/// One attachment.
struct Link {
    welcome: ServerWelcome,
    inbound: Streaming<ServerToHost>,
    frames: mpsc::Sender<HostToServer>,
}

async fn dial(endpoint: &Endpoint, options: &LinkOptions, hello: &HostHello) -> Result<Link, v1::Error> {
    let (frames, queued) = mpsc::channel(FRAMES);
    // The queue is new and has room.
    let _ = frames.try_send(frame(host_to_server::Kind::Hello(hello.clone())));
    let attached = async {
        let channel = endpoint.connect().await.map_err(|error| Error::Unreachable(deepest(&error)))?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(options.max_frame_bytes);
        grpc.ready().await.map_err(|error| Error::Unreachable(deepest(&error)))?;
        let codec: Codec<HostToServer, ServerToHost> = Codec::default();
        let request = tonic::Request::new(ReceiverStream::new(queued));
        let opened = grpc.streaming(request, PathAndQuery::from_static(ATTACH), codec).await;
        let mut inbound = opened.map_err(|status| status::to_error(&status))?.into_inner();
        let first = inbound.message().await.map_err(|status| status::to_error(&status))?;
        match first.and_then(|frame| frame.kind) {
            Some(server_to_host::Kind::Welcome(welcome)) => Ok((inbound, welcome)),
            Some(server_to_host::Kind::Error(error)) => Err(error),
            _ => Err(Error::Violation("the server's first frame is no welcome".into()).into()),
        }
    };
    let timeout = options.connect_timeout;
    let (inbound, welcome) = tokio::time::timeout(timeout, attached).await.map_err(|_| Error::Silent(timeout))??;
    cmdop_gate::negotiate(welcome.protocol, welcome.protocol)?;
    Ok(Link { welcome, inbound, frames })
}

impl Link {
    /// Carries frames until the link breaks, then says why; `None` if the daemon left.
    async fn carry(self, options: &LinkOptions, ends: &mut Ends) -> Option<v1::Error> {
        let Self { welcome, mut inbound, frames } = self;
        let heartbeat = match welcome.heartbeat_ms {
            0 => options.silence / 3,
            ms => Duration::from_millis(ms.into()),
        };
        ends.state.send_replace(LinkState::Attached(welcome.clone()));
        let first = ServerToHost { kind: Some(server_to_host::Kind::Welcome(welcome)) };
        ends.inbound.send(first).await.ok()?;
        tokio::select! {
            biased;
            broken = receive(&mut inbound, &ends.inbound, options.silence) => broken,
            broken = send(&frames, &mut ends.outbound, heartbeat) => broken,
        }
    }
}

async fn receive(
    inbound: &mut Streaming<ServerToHost>,
    daemon: &mpsc::Sender<ServerToHost>,
    silence: Duration,
) -> Option<v1::Error> {
    loop {
        let frame = match tokio::time::timeout(silence, inbound.message()).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Some(Error::Unreachable("the server closed the link".into()).into()),
            Ok(Err(status)) => return Some(status::to_error(&status)),
            Err(_) => return Some(Error::Silent(silence).into()),
        };
        match frame.kind {
            Some(server_to_host::Kind::Error(error)) => return Some(error),
            Some(server_to_host::Kind::Heartbeat(_)) | None => {}
            Some(_) => daemon.send(frame).await.ok()?,
        }
    }
}

async fn send(
    frames: &mpsc::Sender<HostToServer>,
    daemon: &mut mpsc::Receiver<HostToServer>,
    heartbeat: Duration,
) -> Option<v1::Error> {
    let closed = || Some(Error::Unreachable("the server closed the link".into()).into());
    let mut ticks = tokio::time::interval(heartbeat);
    let mut sequence = 0;
    loop {
        let next = tokio::select! {
            next = daemon.recv() => next?,
            _ = ticks.tick() => {
                sequence += 1;
                frame(host_to_server::Kind::Heartbeat(Heartbeat { sequence }))
            }
        };
        if frames.send(next).await.is_err() {
            return closed();
        }
    }
}

fn frame(kind: host_to_server::Kind) -> HostToServer {
    HostToServer { kind: Some(kind) }
}
