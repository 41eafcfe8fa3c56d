//! `Client`: requests to a server, by method name and encoded message.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cmdop_contract::v1::{self, ClientConfig};
use cmdop_link::client as link;
use futures::StreamExt;
use prost::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::home::Homebound;
use crate::runtime::Runtime;

/// Any server answers this at once, whatever state it is in.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A connection to a server, dialled at its first use and again when it was lost.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Client {
    runtime: Py<Runtime>,
    connection: Homebound<Arc<Connection>>,
}

struct Connection {
    config: ClientConfig,
    client: OnceLock<link::Client>,
}

#[pymethods]
impl Client {
    /// Prepares a connection; nothing is dialled yet. `config` is an encoded `ClientConfig`.
    #[new]
    fn new(runtime: Py<Runtime>, config: &[u8]) -> PyResult<Self> {
        let config = ClientConfig::decode(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let connection = Homebound::new(Arc::new(Connection { config, client: OnceLock::new() }));
        Ok(Self { runtime, connection })
    }

    /// Dials. The request is done when the server has answered.
    fn connect(&self) -> PyResult<Option<u64>> {
        self.unary(HEALTH.to_owned(), &[])
    }

    /// Calls a unary method, such as `/cmdop.v1.Calls/Get`. The request is done with the answer.
    fn unary(&self, method: String, request: &[u8]) -> PyResult<Option<u64>> {
        let (connection, request) = (self.connection()?, Bytes::copy_from_slice(request));
        self.runtime.get().submit(|_| async move { connection.client()?.unary(&method, request).await })
    }

    /// Calls a method that answers with a stream. Each message is an item of the request.
    fn stream(&self, method: String, request: &[u8]) -> PyResult<Option<u64>> {
        let (connection, request) = (self.connection()?, Bytes::copy_from_slice(request));
        self.runtime.get().submit(|emitter| async move {
            let mut messages = connection.client()?.server_stream(&method, request);
            while let Some(message) = messages.next().await {
                if emitter.emit(message?).await.is_err() {
                    break;
                }
            }
            Ok(Bytes::new())
        })
    }
}

impl Client {
    fn connection(&self) -> PyResult<Arc<Connection>> {
        Ok(Arc::clone(self.connection.get()?))
    }
}

impl Connection {
    /// The client; made within the runtime, which then carries its connection.
    fn client(&self) -> Result<&link::Client, v1::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = link::Client::connect(&self.config)?;
        // Another request may have been first; its client is as good.
        Ok(self.client.get_or_init(|| client))
    }
}
