//! Hosts that dial in: hello, welcome, then frames both ways until one side is silent.

use std::time::Duration;

use cmdop_contract::v1::{Heartbeat, HostToServer, ServerToHost, ServerWelcome, host_to_server, server_to_host};
use cmdop_gate::Attachment;
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{BoxStream, Context, draining, refused};
use crate::error::Error;
use crate::proto::host_link_server::HostLink;
use crate::status;

/// Frames that may wait for a host before it counts as gone.
const FRAMES: usize = 16_384;

#[tonic::async_trait]
impl HostLink for Context {
    type AttachStream = BoxStream<ServerToHost>;

    async fn attach(&self, request: Request<Streaming<HostToServer>>) -> Result<Response<Self::AttachStream>, Status> {
        if self.streams.is_cancelled() {
            return Err(draining());
        }
        let mut inbound = request.into_inner();
        let hello = match next(&mut inbound, self.silence).await?.and_then(|frame| frame.kind) {
            Some(host_to_server::Kind::Hello(hello)) => hello,
            _ => return Err(refused(Error::Violation("the first frame of a host must be `hello`".into()).into())),
        };
        let (frames, queued) = mpsc::channel(FRAMES);
        let (attachment, protocol) = self.gate.attach(hello, frames.clone()).map_err(refused)?;
        let welcome = server_to_host::Kind::Welcome(ServerWelcome {
            protocol,
            server_version: env!("CARGO_PKG_VERSION").into(),
            heartbeat_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
        });
        let gone = CancellationToken::new();
        let link = Link {
            inbound,
            attachment,
            frames,
            heartbeat: self.heartbeat,
            silence: self.silence,
            streams: self.streams.clone(),
        };
        tokio::spawn(gone.clone().run_until_cancelled_owned(link.run()));
        // The gate may send as soon as the host is attached; the welcome still goes first.
        let outbound = stream::iter([frame(welcome)]).chain(ReceiverStream::new(queued)).map(Ok);
        let gone = gone.drop_guard();
        Ok(Response::new(Box::pin(outbound.inspect(move |_| {
            let _held_until_the_host_stops_reading = &gone;
        }))))
    }
}

/// The server's end of one attached host.
struct Link {
    inbound: Streaming<HostToServer>,
    attachment: Attachment,
    frames: mpsc::Sender<ServerToHost>,
    heartbeat: Duration,
    silence: Duration,
    streams: CancellationToken,
}

impl Link {
    /// Ends when the host goes away, is silent, or the server drains; dropping self detaches it.
    async fn run(self) {
        let Self { mut inbound, attachment, frames, heartbeat, silence, streams } = self;
        let reading = async {
            attachment.ready().await;
            loop {
                match next(&mut inbound, silence).await {
                    Ok(Some(frame)) => attachment.frame(frame).await,
                    Ok(None) => return None,
                    Err(status) => return Some(status::to_error(&status)),
                }
            }
        };
        let why = tokio::select! {
            why = reading => why,
            () = beat(&frames, heartbeat) => None,
            () = streams.cancelled() => Some(Error::Draining.into()),
        };
        let host = attachment.name();
        tracing::info!(host, why = why.as_ref().map(|error| error.message.as_str()), "host detached");
        if let Some(error) = why {
            // A host that cannot be told finds out by silence.
            let _ = frames.try_send(frame(server_to_host::Kind::Error(error)));
        }
    }
}

/// Sends heartbeats until the host's stream is gone.
async fn beat(frames: &mpsc::Sender<ServerToHost>, every: Duration) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    let mut sequence = 0;
    loop {
        ticks.tick().await;
        sequence += 1;
        let sent = frames.try_send(frame(server_to_host::Kind::Heartbeat(Heartbeat { sequence })));
        if matches!(sent, Err(mpsc::error::TrySendError::Closed(_))) {
            return;
        }
    }
}

/// The next frame of a host that is not silent.
async fn next(inbound: &mut Streaming<HostToServer>, silence: Duration) -> Result<Option<HostToServer>, Status> {
    match tokio::time::timeout(silence, inbound.message()).await {
        Ok(Ok(frame)) => Ok(frame),
        Ok(Err(status)) => Err(status::typed(status)),
        Err(_) => Err(refused(Error::Silent(silence).into())),
    }
}

fn frame(kind: server_to_host::Kind) -> ServerToHost {
    ServerToHost { kind: Some(kind) }
}
