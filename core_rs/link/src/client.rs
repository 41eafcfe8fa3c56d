//! The calling side: any method by its path and bytes, and typed sessions for those who send much.

mod session;

use std::time::Duration;

use bytes::Bytes;
use cmdop_contract::v1::{self, ClientConfig};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::codec::RawCodec;
use crate::error::{Error, deepest};
use crate::{address, answer, status};

pub use session::{Session, SessionClient, Update};

/// Sending it twice under one key is safe, and not knowing whether it arrived is not nothing.
const PROPOSE: &str = "/cmdop.v1.Calls/Propose";

/// A connection to a server. A cheap handle; it dials when it is used and again when it broke.
#[derive(Debug, Clone)]
pub struct Client {
    grpc: Grpc<Channel>,
    max_frame_bytes: usize,
    connect_timeout: Duration,
    /// `authorization`, if the client has a token.
    authorization: Option<AsciiMetadataValue>,
}

impl Client {
    /// A client for the address of a configuration. Nothing is dialled yet.
    ///
    /// Must be called within a tokio runtime, which then carries the connection.
    ///
    /// # Errors
    /// INVALID_CONFIGURATION if the address is none or is not a loopback address, or the token is none.
    pub fn connect(config: &ClientConfig) -> Result<Self, v1::Error> {
        let connect_timeout = match config.connect_timeout_ms {
            0 => Duration::from_secs(5),
            ms => Duration::from_millis(ms),
        };
        let max_frame_bytes = match config.max_frame_bytes {
            // Whatever the server has of a call: its diff, and output that takes six times its size as text.
            0 => 64 << 20,
            bytes => bytes as usize,
        };
        let channel = address::endpoint(&config.address, connect_timeout)?.connect_lazy();
        let grpc = Grpc::new(channel).max_decoding_message_size(max_frame_bytes);
        let authorization = authorization(&config.token)?;
        Ok(Self { grpc, max_frame_bytes, connect_timeout, authorization })
    }

    /// Calls a unary method such as `/cmdop.v1.Calls/Get` with an encoded message.
    ///
    /// Has no deadline of its own. Dropping it cancels the RPC; a call proposed by it goes on.
    ///
    /// # Errors
    /// What the server says; UNREACHABLE if there is none, FRAME_TOO_LARGE for either direction. OUTCOME_UNKNOWN if a
    /// proposal was sent and the connection ended before its answer.
    pub async fn unary(&self, method: &str, request: Bytes) -> Result<Bytes, v1::Error> {
        let path = self.check(method, &request)?;
        let mut grpc = self.ready().await?;
        let response = grpc.unary(self.request(request.clone()), path, RawCodec).await;
        response.map(tonic::Response::into_inner).map_err(|status| match status::to_lost(&status) {
            Some(cause) if method == PROPOSE => Error::Lost { key: key_of(&request), cause }.into(),
            _ => status::to_error(&status),
        })
    }

    /// Calls a method that answers with a stream. An error is its last item.
    ///
    /// Messages are read as they are taken: a slow reader slows down only this stream.
    pub fn server_stream(
        &self,
        method: &str,
        request: Bytes,
    ) -> impl Stream<Item = Result<Bytes, v1::Error>> + Send + Unpin + 'static + use<> {
        let (client, method) = (self.clone(), method.to_owned());
        let opened = async move {
            let path = client.check(&method, &request)?;
            let mut grpc = client.ready().await?;
            let response = grpc.server_streaming(client.request(request), path, RawCodec).await;
            let response = response.map_err(|status| status::to_error(&status))?;
            Ok::<_, v1::Error>(response.into_inner().map_err(|status| status::to_error(&status)))
        };
        stream::once(opened).try_flatten().boxed()
    }

    /// Opens a stream that carries many sessions.
    ///
    /// # Errors
    /// UNREACHABLE, UNSUPPORTED_PROTOCOL.
    pub async fn sessions(&self, name: &str) -> Result<SessionClient, v1::Error> {
        SessionClient::connect(self, name).await
    }

    /// A request that says how large its answer may be.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        answer::say(request.metadata_mut(), self.max_frame_bytes);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    fn check(&self, method: &str, request: &Bytes) -> Result<PathAndQuery, Error> {
        if request.len() > self.max_frame_bytes {
            return Err(Error::RequestTooLarge { found: request.len(), limit: self.max_frame_bytes });
        }
        PathAndQuery::try_from(method).map_err(|_| Error::UnknownMethod(method.into()))
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Error> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| Error::Unreachable(deepest(&error)))?;
        Ok(grpc)
    }
}

fn authorization(token: &str) -> Result<Option<AsciiMetadataValue>, v1::Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = AsciiMetadataValue::try_from(format!("Bearer {token}")).ok().filter(|_| is_token);
    let mut value = value.ok_or(Error::BadToken)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The idempotency key of a proposal that was sent.
fn key_of(request: &Bytes) -> String {
    let proposal = v1::ProposeRequest::decode(request.clone()).ok().and_then(|request| request.proposal);
    proposal.map(|proposal| proposal.idempotency_key).unwrap_or_default()
}
