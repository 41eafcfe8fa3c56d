//! `Server`: the ledger, the engine, the gate and the listener of one server process.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{self, JudgementReply, Reason, ServerConfig};
use cmdop_gate::{Gate, Options};
use cmdop_ledger::Ledger;
use cmdop_link::server::{ServeOptions, bind, serve};
use cmdop_policy::engine::Engine;
use prost::Message;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio_util::sync::CancellationToken;

use crate::home::Homebound;
use crate::judge::PythonJudge;
use crate::policy::PythonPolicy;
use crate::requests::{Answer, Emitter};
use crate::runtime::Runtime;

/// A server. It lives as long as the request that `run` starts.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Server {
    runtime: Py<Runtime>,
    inner: Homebound<Arc<Inner>>,
}

struct Inner {
    config: ServerConfig,
    judge: Arc<PythonJudge>,
    policy: Arc<PythonPolicy>,
    drain: CancellationToken,
    serving: OnceLock<Serving>,
}

struct Serving {
    gate: Gate,
    address: String,
    permit_key: [u8; 32],
}

#[pymethods]
impl Server {
    /// Prepares a server; nothing is opened yet. `config` is an encoded `ServerConfig`.
    #[new]
    fn new(runtime: Py<Runtime>, config: &[u8]) -> PyResult<Self> {
        let config = ServerConfig::decode(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let judge = Arc::new(PythonJudge::new(runtime.get().requests()?));
        let policy = Arc::new(PythonPolicy::new(runtime.get().requests()?));
        let inner = Inner { config, judge, policy, drain: CancellationToken::new(), serving: OnceLock::new() };
        Ok(Self { runtime, inner: Homebound::new(Arc::new(inner)) })
    }

    /// Opens the ledger, loads the policies and serves until it has drained. One empty item says
    /// that calls are taken.
    fn run(&self) -> PyResult<Option<u64>> {
        let inner = Arc::clone(self.inner.get()?);
        self.runtime.get().submit(|emitter| inner.run(emitter))
    }

    /// Where it listens, with the real port.
    fn address(&self) -> PyResult<String> {
        Ok(self.serving()?.address.clone())
    }

    /// Verifying key of its permits, 32 bytes.
    fn permit_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.serving()?.permit_key))
    }

    /// Hands in an encoded `JudgementReply`. False if nobody waits for it any more.
    fn answer(&self, reply: &[u8]) -> PyResult<bool> {
        let reply = JudgementReply::decode(reply).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(self.inner.get()?.judge.answer(reply))
    }

    /// Reads the policy's files anew. Answered with an encoded `PolicyStatus`.
    fn reload(&self) -> PyResult<Option<u64>> {
        let gate = self.serving()?.gate.clone();
        self.runtime.get().submit(|_| async move { Ok(gate.reload_policy().await?.encode_to_vec().into()) })
    }

    /// Hands in the encoded `PolicySet` that was asked for. False if nobody waits for it any more.
    fn policy(&self, id: u64, set: &[u8]) -> PyResult<bool> {
        let set = v1::PolicySet::decode(set).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(self.inner.get()?.policy.answer(id, Ok(set)))
    }

    /// Says with an encoded `Error` why the policy that was asked for cannot be read.
    fn policy_failed(&self, id: u64, error: &[u8]) -> PyResult<bool> {
        let error = v1::Error::decode(error).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(self.inner.get()?.policy.answer(id, Err(error)))
    }

    /// Takes no new calls from now on, and ends when those that run have ended.
    fn drain(&self) -> PyResult<()> {
        self.inner.get()?.drain.cancel();
        Ok(())
    }
}

impl Server {
    fn serving(&self) -> PyResult<&Serving> {
        self.inner.get()?.serving.get().ok_or_else(|| PyRuntimeError::new_err("the server does not listen yet"))
    }
}

impl Inner {
    async fn run(self: Arc<Self>, emitter: Emitter) -> Answer {
        let config = &self.config;
        let listener = bind(&config.listen).await?;
        let address = listener.local_addr().map_err(|error| configuration(error.to_string()))?;
        let policy = v1::PolicySet {
            files: config.policies.clone(),
            entities: config.entities.clone(),
            approvers: config.approvers.clone(),
            autonomy: config.autonomy.clone(),
        };
        let engine = Engine::load_set(&policy).map_err(|error| configuration(error.to_string()))?;
        let ledger = Ledger::open(config.data_dir.as_ref(), &cmdop_ledger::Options::default())?;
        let permit_key = ledger.verifying_key();
        let judge = Arc::clone(&self.judge);
        let gate = Gate::start(Options::from(config), ledger, engine, Registry::builtin(), judge).await?;
        gate.read_policy_from(Arc::clone(&self.policy) as Arc<dyn cmdop_gate::PolicySource>);
        let _already_set = self.serving.set(Serving { gate: gate.clone(), address: address.to_string(), permit_key });
        if emitter.emit(Bytes::new()).await.is_err() {
            return Ok(Bytes::new());
        }
        let drain = self.drain.clone();
        serve(gate, ServeOptions::configured(listener, config), drain.cancelled_owned()).await?;
        Ok(Bytes::new())
    }
}

/// What a broken file is told as.
pub(crate) fn configuration(message: String) -> v1::Error {
    cmdop_contract::reason::error(Reason::InvalidConfiguration, message)
}
