//! The servers that are measured: the guarded one, and a bare tonic echo beneath it.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{AutonomyConfig, AutonomyLevel};
use cmdop_gate::{Gate, NoJudge, Options};
use cmdop_ledger::Ledger;
use cmdop_link::server::{ServeOptions, bind, serve};
use cmdop_policy::engine::Engine;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Response, Status};

use crate::Fallible;

/// Serves the gate over a ledger in a directory, until it is killed. No Python is on its path.
pub(crate) async fn guard(dir: &str) -> Fallible<()> {
    let ledger = Ledger::open(dir.as_ref(), &cmdop_ledger::Options::default())?;
    let autonomy = AutonomyConfig { default_level: AutonomyLevel::Auto.into(), ..AutonomyConfig::default() };
    let options = Options { autonomy, ..Options::default() };
    let gate = Gate::start(options, ledger, Engine::load(&[])?, Registry::builtin(), Arc::new(NoJudge)).await;
    let listener = bind("127.0.0.1:0").await.map_err(|error| error.message)?;
    println!("{}", listener.local_addr()?);
    let served = serve(gate.map_err(|error| error.message)?, ServeOptions::new(listener), std::future::pending()).await;
    Ok(served.map_err(|error| error.message)?)
}

/// Answers every unary call with what it was sent.
pub(crate) async fn echo() -> Fallible<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let served = tonic::transport::Server::builder().add_service(Echo);
    Ok(served.serve_with_incoming(TcpListenerStream::new(listener)).await?)
}

/// Messages as they are.
#[derive(Clone, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "bench.Guard";
}

impl tonic::server::UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl tonic::codegen::Service<tonic::codegen::http::Request<tonic::body::Body>> for Echo {
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(Echo, request).await) })
    }
}
