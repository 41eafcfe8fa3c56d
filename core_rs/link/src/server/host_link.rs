//! Hosts that dial in: hello, welcome, then frames both ways until one side is silent.

use std::time::Duration;

use cmdop_contract::v1::{Heartbeat, HostToServer, ServerToHost, ServerWelcome, host_to_server, server_to_host};
use cmdop_gate::Attachment;
use futures::{Stream, StreamExt as _, stream};
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
    match heard(silence, inbound).await {
        Some(frame) => frame.transpose().map_err(status::typed),
        None => Err(refused(Error::Silent(silence).into())),
    }
}

/// What comes next within this time; none if nothing does.
///
/// It is waited for twice half as long: a server that was kept from running finds its own clock far ahead of what it
/// has read, and gives what came meanwhile the second half to arrive.
async fn heard<T>(silence: Duration, inbound: &mut (impl Stream<Item = T> + Unpin)) -> Option<Option<T>> {
    for _ in 0..2 {
        if let Ok(heard) = tokio::time::timeout(silence / 2, inbound.next()).await {
            return Some(heard);
        }
    }
    None
}

fn frame(kind: server_to_host::Kind) -> ServerToHost {
    ServerToHost { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::server::ServeOptions;

    #[tokio::test]
    async fn who_says_nothing_is_given_up_after_the_time_and_not_before() {
        let silence = Duration::from_millis(100);
        let began = Instant::now();
        assert_eq!(heard(silence, &mut stream::pending::<()>()).await, None);
        assert!(began.elapsed() >= silence);
    }

    #[tokio::test]
    async fn a_server_that_was_kept_from_running_loses_nobody_for_it() {
        let silence = Duration::from_secs(1);
        let (send, queue) = mpsc::channel(1);
        let waiting = tokio::spawn(async move { heard(silence, &mut ReceiverStream::new(queue)).await });
        tokio::task::yield_now().await;
        // Nothing runs on this thread for longer than that, and what came meanwhile is read only after the clock.
        std::thread::sleep(silence + silence / 5);
        tokio::time::sleep(Duration::from_millis(1)).await;
        send.send("alive").await.expect("somebody waits");
        assert_eq!(waiting.await.expect("no panic"), Some(Some("alive")));
    }

    #[tokio::test]
    async fn a_host_has_several_heartbeats_until_it_counts_as_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let options = ServeOptions::new(listener);
        assert!(options.silence <= Duration::from_secs(5) && options.silence >= options.heartbeat * 5);
    }
}
