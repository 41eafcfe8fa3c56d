//! `HostDaemon`: the daemon of one host and its link to a server.

use bytes::Bytes;
use cmdop_contract::v1::{Event, Host, HostAttached, HostConfig, HostDetached, event};
use cmdop_link::host::{Ends, LinkOptions, LinkState, attach};
use parking_lot::Mutex;
use prost::Message;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::home::Homebound;
use crate::machine::Spawner;
use crate::requests::{Answer, Emitter};
use crate::runtime::Runtime;

/// Frames between the daemon and its link, each way.
const FRAMES: usize = 256;

/// A host daemon. It lives as long as the request that `run` starts.
#[pyclass(frozen, module = "cmdop._core")]
pub struct HostDaemon {
    runtime: Py<Runtime>,
    inner: Homebound<Inner>,
}

struct Inner {
    start: Mutex<Option<(HostConfig, cmdop_host::Spawner)>>,
    drain: CancellationToken,
}

#[pymethods]
impl HostDaemon {
    /// Prepares a daemon; nothing is opened yet. `config` is an encoded `HostConfig`.
    #[new]
    fn new(runtime: Py<Runtime>, config: &[u8], spawner: &Spawner) -> PyResult<Self> {
        let config = HostConfig::decode(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let start = Mutex::new(Some((config, spawner.take()?)));
        Ok(Self { runtime, inner: Homebound::new(Inner { start, drain: CancellationToken::new() }) })
    }

    /// Opens the host's ledger and stays attached until it has drained. Each item is an encoded
    /// `Event`: HostAttached or HostDetached.
    fn run(&self) -> PyResult<Option<u64>> {
        let inner = self.inner.get()?;
        let taken = inner.start.lock().take();
        let (config, spawner) = taken.ok_or_else(|| PyRuntimeError::new_err("this daemon runs already"))?;
        let drain = inner.drain.clone();
        self.runtime.get().submit(|emitter| run(config, spawner, drain, emitter))
    }

    /// Takes no new permits from now on, and ends when what runs has ended.
    fn drain(&self) -> PyResult<()> {
        self.inner.get()?.drain.cancel();
        Ok(())
    }
}

async fn run(config: HostConfig, spawner: cmdop_host::Spawner, drain: CancellationToken, emitter: Emitter) -> Answer {
    let link = LinkOptions::new(&config.server);
    let name = config.name.clone();
    let daemon = cmdop_host::Daemon::open(config, spawner)?;
    let (to_daemon, from_server) = mpsc::channel(FRAMES);
    let (to_server, from_daemon) = mpsc::channel(FRAMES);
    let (state, states) = watch::channel(LinkState::Dialling);
    let ends = Ends { inbound: to_daemon, outbound: from_daemon, state };
    let hello = daemon.hello();
    tokio::select! {
        // The link ends when the daemon has drained and dropped its ends.
        linked = async { tokio::join!(attach(link, hello, ends, std::future::pending()), daemon.run(from_server, to_server, drain)) } => {
            linked.0?;
            linked.1?;
        }
        () = report(&name, states, &emitter) => {}
    }
    Ok(Bytes::new())
}

/// Tells Python each time the host attaches or detaches. Ends when nobody listens.
async fn report(name: &str, mut states: watch::Receiver<LinkState>, emitter: &Emitter) {
    while states.changed().await.is_ok() {
        let kind = match states.borrow_and_update().clone() {
            LinkState::Dialling => continue,
            LinkState::Attached(_) => {
                let host = Host { name: name.to_owned(), attached: true, ..Host::default() };
                event::Kind::HostAttached(HostAttached { host: Some(host) })
            }
            LinkState::Detached(error) => {
                event::Kind::HostDetached(HostDetached { host: name.to_owned(), why: error.message })
            }
        };
        let event = Event { at: 0, subject: name.to_owned(), kind: Some(kind) };
        if emitter.emit(event.encode_to_vec().into()).await.is_err() {
            return;
        }
    }
    std::future::pending().await
}
