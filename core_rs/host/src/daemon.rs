//! The host daemon: takes permits, runs what they permit, reports what was measured.
//!
//! A permit is noted before its tool starts, a report is durable before it is sent, and it is sent
//! again with each attachment until the server acknowledges it.

#[cfg(not(portable))]
mod arguments;
#[cfg(not(portable))]
mod beside;
#[cfg(not(portable))]
mod direct;
pub(crate) mod execute;
#[cfg(not(portable))]
mod layers;
#[cfg(not(portable))]
mod machine;
pub(crate) mod output;
mod serve;
#[cfg(not(portable))]
mod terminal;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmdop_contract::v1::{Host, HostConfig, HostHello, Reason};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admit::Keys;
#[cfg(portable)]
use crate::portable::Machine;
use crate::{Error, Spawner};
#[cfg(not(portable))]
use machine::Machine;

/// Versions of the host protocol that this daemon speaks.
const PROTOCOLS: (u32, u32) = (1, 1);

/// Permits that run at the same time unless the configuration says otherwise.
const DEFAULT_MAX_RUNNING: u32 = 64;

/// Bytes of a stream that a result keeps unless the configuration says otherwise.
pub(crate) const DEFAULT_MAX_OUTPUT_BYTES: u64 = 1024 * 1024;

/// One host: its ledger and its tools.
#[derive(Debug)]
pub struct Daemon {
    shared: Arc<Shared>,
}

/// What every running permit has a hand on.
#[derive(Debug)]
struct Shared {
    host: Host,
    keys: Keys,
    /// Its tools, by what this system's kernel offers.
    machine: Machine,
    /// Free places for running permits.
    places: Arc<Semaphore>,
    /// Permits that came and are not at their end, each by a number of its own.
    arrived: Mutex<HashMap<u64, Arrived>>,
}

/// A permit that came, by its own word until it is verified.
#[derive(Debug)]
struct Arrived {
    permit_id: String,
    call_id: String,
    /// Stops what runs for it, and what would.
    stop: CancellationToken,
}

impl Daemon {
    /// Opens the host's ledger and layers and probes what the machine can do.
    ///
    /// # Errors
    /// A broken or locked ledger; `INVALID_CONFIGURATION`.
    pub fn open(config: HostConfig, spawner: Spawner) -> Result<Self, Error> {
        check(&config)?;
        let state = private_directory(&config.state_dir)?;
        cmdop_ledger::choose_redaction(&state.join("redact.key"))?;
        let keys = Keys::open(&state.join("ledger"), &config.name, &config.permit_key)?;
        let machine = Machine::open(&config, spawner, state, &keys.interrupted())?;
        let max_running = or_default(config.max_running.into(), DEFAULT_MAX_RUNNING.into());
        let running = Semaphore::new(usize::try_from(max_running).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        let host = Host { ledger: keys.since(), ..describe(&config, &machine) };
        Ok(Self {
            shared: Arc::new(Shared { host, keys, machine, places: Arc::new(running), arrived: Mutex::default() }),
        })
    }

    /// What the host says of itself when it attaches.
    #[must_use]
    pub fn hello(&self) -> HostHello {
        HostHello { min_protocol: PROTOCOLS.0, max_protocol: PROTOCOLS.1, host: Some(self.shared.host.clone()) }
    }
}

fn describe(config: &HostConfig, machine: &Machine) -> Host {
    Host {
        name: config.name.clone(),
        attached: true,
        capabilities: machine.capabilities().to_vec(),
        workspaces: config.workspaces.clone(),
        labels: config.labels.clone(),
        tools: machine.tools(),
        fixture: !config.fixture.is_empty(),
        kernel: machine.kernel(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attached_at: 0,
        home: machine.home(),
        ledger: 0,
    }
}

/// Directories that no tool reaches: the host's own state and what the configuration hides.
pub(crate) fn hidden(config: &HostConfig, state: PathBuf) -> Vec<PathBuf> {
    // What does not exist yet is hidden by the name it is given.
    let named = config.hidden.iter().map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.into()));
    std::iter::once(state).chain(named).collect()
}

fn check(config: &HostConfig) -> Result<(), Error> {
    let invalid = |message: String, pointer: &str, expected: &str| {
        Err(Error::fix(Reason::InvalidConfiguration, message, pointer, expected))
    };
    if config.name.is_empty() {
        return invalid("the host needs a name".to_owned(), "/name", "a name that no other host has");
    }
    if !Path::new(&config.state_dir).is_absolute() {
        return invalid("the state directory must be absolute".to_owned(), "/state_dir", "an absolute path");
    }
    if let Some(relative) = config.hidden.iter().find(|path| !Path::new(path).is_absolute()) {
        return invalid(format!("hidden directory `{relative}` must be absolute"), "/hidden", "absolute paths");
    }
    if let Some(relative) = config.workspaces.iter().find(|path| !path.starts_with('/')) {
        return invalid(format!("workspace `{relative}` must be absolute"), "/workspaces", "absolute paths");
    }
    Ok(())
}

/// Makes the directory if it is missing. It is canonical, so that no tool reaches it by another name.
fn private_directory(path: &str) -> Result<PathBuf, Error> {
    let doing = || format!("create the state directory {path}");
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path).map_err(Error::io(doing()))?;
    std::fs::canonicalize(path).map_err(Error::io(doing()))
}

pub(crate) fn or_default(given: u64, default: u64) -> u64 {
    if given == 0 { default } else { given }
}
