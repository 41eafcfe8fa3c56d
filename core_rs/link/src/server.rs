//! The listener: every service of `proto/cmdop/v1`, health, reflection and `/healthz` on one port.

mod approvals;
mod calls;
mod catalog;
mod door;
mod freezes;
mod grants;
mod host_link;
mod identity;
mod policies;
mod runs;
mod sessions;
mod socket;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use cmdop_contract::v1::{self, ServerConfig};
use cmdop_gate::Gate;
use futures::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::address;
use crate::error::Error;
use crate::proto;
use crate::session::SessionLimits;
use crate::{DESCRIPTORS, status};

/// How long streams may take to say goodbye at the end of a drain.
const GOODBYE: Duration = Duration::from_millis(500);

/// Streams that one connection may have open. hyper's default of 200 would queue clients.
const STREAMS_PER_CONNECTION: u32 = 16_384;

/// Largest frame that is taken from a host. A report may hold a whole diff and two streams of output;
/// one that were refused would be sent again for ever.
const HOST_FRAME_BYTES: usize = 64 << 20;

/// What a listener needs to know.
#[derive(Debug)]
pub struct ServeOptions {
    /// Where to listen: see [`bind`].
    pub listener: TcpListener,
    /// Largest message that is taken.
    pub max_frame_bytes: usize,
    /// How long a drain waits for calls that work.
    pub drain: Duration,
    /// Limits of each `Sessions.Connect` stream.
    pub sessions: SessionLimits,
    /// How often a host hears from the server.
    pub heartbeat: Duration,
    /// How long a host may be silent before it counts as gone.
    pub silence: Duration,
    /// Pause between pings of a connection, and how long one may stay unanswered.
    pub ping: Duration,
}

impl ServeOptions {
    /// Defaults: 4 MiB, 10 s of drain, a heartbeat each second, gone after 5 s, a ping each 15 s.
    #[must_use]
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            max_frame_bytes: 4 << 20,
            drain: Duration::from_secs(10),
            sessions: SessionLimits::default(),
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(5),
            ping: Duration::from_secs(15),
        }
    }

    /// With what a configuration sets.
    #[must_use]
    pub fn configured(listener: TcpListener, config: &ServerConfig) -> Self {
        let mut options = Self::new(listener);
        if config.max_frame_bytes > 0 {
            options.max_frame_bytes = config.max_frame_bytes as usize;
        }
        if config.drain_ms > 0 {
            options.drain = Duration::from_millis(config.drain_ms);
        }
        options
    }
}

/// Opens a listener on a loopback address such as `127.0.0.1:7717` or `localhost:0`.
///
/// # Errors
/// INVALID_CONFIGURATION if the address is none, is not a loopback address, or is taken.
pub async fn bind(address: &str) -> Result<TcpListener, v1::Error> {
    let known = tokio::net::lookup_host(address).await.map_err(|_| Error::BadAddress(address.into()))?;
    let address = address::only_loopback(address, known)?;
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source }.into())
}

/// What the services share.
#[derive(Clone)]
struct Context {
    gate: Gate,
    max_frame_bytes: usize,
    sessions: SessionLimits,
    heartbeat: Duration,
    silence: Duration,
    /// Cancelled when streams that would go on for ever must end.
    streams: CancellationToken,
}

/// Serves until `drain` is ready and the drain is over.
///
/// A drain reports NOT_SERVING, drains the gate (calls that work may finish, new ones are refused
/// with DRAINING, whoever connects for one included), then stops accepting, ends every stream with
/// DRAINING and closes what remains. Must be called within a tokio runtime with time and I/O.
///
/// # Errors
/// INVALID_CONFIGURATION if the listener is not on a loopback address; INTERNAL if it breaks.
pub async fn serve(gate: Gate, options: ServeOptions, drain: impl Future<Output = ()>) -> Result<(), v1::Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Serve(error.to_string());
    let address = options.listener.local_addr().map_err(|error| broken(&error))?;
    address::only_loopback(&address.to_string(), std::iter::once(address))?;

    let streams = CancellationToken::new();
    let (accepting, connections) = (CancellationToken::new(), CancellationToken::new());
    let context = Context {
        gate: gate.clone(),
        max_frame_bytes: options.max_frame_bytes,
        sessions: options.sessions,
        heartbeat: options.heartbeat,
        silence: options.silence,
        streams: streams.clone(),
    };
    let health = Health::default();
    let router = router(&context, &health).await.map_err(|error| broken(&error))?;
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(options.ping))
        .http2_keepalive_timeout(Some(options.ping))
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(
            socket::accept(options.listener, connections.clone()),
            accepting.clone().cancelled_owned(),
        );
    let ending = async {
        drain.await;
        health.not_serving().await;
        gate.drain(options.drain).await;
        // Only now: who came meanwhile was told why, and when to come again.
        accepting.cancel();
        streams.cancel();
    };
    let (mut server, mut ending) = (pin!(server), pin!(ending));
    tokio::select! {
        biased;
        () = &mut ending => {}
        served = &mut server => {
            served.map_err(|error| broken(&error))?;
            // The last connection has gone before the last call has.
            ending.await;
            return Ok(());
        }
    }
    if tokio::time::timeout(GOODBYE, &mut server).await.is_err() {
        connections.cancel();
        // Closing is a matter of moments; nothing of it is worth an error.
        let _ = tokio::time::timeout(GOODBYE, server).await;
    }
    Ok(())
}

/// What health checks are told.
#[derive(Clone, Default)]
struct Health {
    reporter: HealthReporter,
    draining: Arc<AtomicBool>,
}

/// Names under which the server's health is asked for; the empty one is the whole server.
const SERVICES: [&str; 12] = [
    "",
    proto::calls_server::CallsServer::<()>::NAME,
    proto::tools_server::ToolsServer::<()>::NAME,
    proto::hosts_server::HostsServer::<()>::NAME,
    proto::approvals_server::ApprovalsServer::<()>::NAME,
    proto::freezes_server::FreezesServer::<()>::NAME,
    proto::grants_server::GrantsServer::<()>::NAME,
    proto::policies_server::PoliciesServer::<()>::NAME,
    proto::runs_server::RunsServer::<()>::NAME,
    proto::traces_server::TracesServer::<()>::NAME,
    proto::host_link_server::HostLinkServer::<()>::NAME,
    proto::sessions_server::SessionsServer::<()>::NAME,
];

impl Health {
    async fn set(&self, status: ServingStatus) {
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }

    async fn not_serving(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.set(ServingStatus::NotServing).await;
    }
}

async fn router(context: &Context, health: &Health) -> Result<Router, tonic_reflection::server::Error> {
    health.set(ServingStatus::Serving).await;
    let most = context.max_frame_bytes;
    let of = || context.clone();
    let mut routes = Routes::builder();
    routes
        .add_service(proto::calls_server::CallsServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::tools_server::ToolsServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::hosts_server::HostsServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::approvals_server::ApprovalsServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::freezes_server::FreezesServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::grants_server::GrantsServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::policies_server::PoliciesServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::runs_server::RunsServer::new(of()).max_decoding_message_size(most))
        .add_service(proto::traces_server::TracesServer::new(of()).max_decoding_message_size(most))
        .add_service(
            proto::host_link_server::HostLinkServer::new(of()).max_decoding_message_size(most.max(HOST_FRAME_BYTES)),
        )
        .add_service(proto::sessions_server::SessionsServer::new(of()).max_decoding_message_size(most))
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(health.reporter.clone()),
        ))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(door::mount(routes.routes().into_axum_router(), health.draining.clone()))
}

fn reflection<'a>() -> tonic_reflection::server::Builder<'a> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Each version names the other, too: whoever asks by one finds both.
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false)
}

/// A stream that ends with DRAINING when the server's streams must end.
fn until_drained<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    streams: CancellationToken,
) -> BoxStream<T> {
    let ended = streams.clone();
    let last = stream::once(async move { ended.is_cancelled().then(|| Err(draining())) });
    Box::pin(stream.take_until(streams.cancelled_owned()).chain(last.filter_map(std::future::ready)))
}

fn draining() -> Status {
    status::from_error(&Error::Draining.into())
}

type BoxStream<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn refused(error: v1::Error) -> Status {
    status::from_error(&error)
}
