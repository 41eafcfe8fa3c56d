//! The host daemon: takes permits, runs what they permit, reports what was measured.
//!
//! A permit is noted before its tool starts, a report is durable before it is sent, and it is sent
//! again with each attachment until the server acknowledges it.

mod arguments;
mod beside;
mod direct;
mod execute;
mod layers;
mod output;
mod serve;
mod terminal;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use cmdop_contract::v1::{Capability, Host, HostConfig, HostHello, Reason};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admit::Keys;
use crate::exec::Leftovers;
use crate::journal::Journals;
use crate::native::Native;
use crate::spawner::Spawner;
use crate::{Error, probe};
use layers::Layers;
use terminal::Terminal;

/// Versions of the host protocol that this daemon speaks.
const PROTOCOLS: (u32, u32) = (1, 1);

/// Permits that run at the same time unless the configuration says otherwise.
const DEFAULT_MAX_RUNNING: u32 = 64;

/// Bytes of a stream that a result keeps unless the configuration says otherwise.
const DEFAULT_MAX_OUTPUT_BYTES: u64 = 1024 * 1024;

/// One host: its ledger, its held layers and its tools.
#[derive(Debug)]
pub struct Daemon {
    shared: Arc<Shared>,
}

/// What every running permit has a hand on.
#[derive(Debug)]
struct Shared {
    host: Host,
    keys: Keys,
    layers: Layers,
    journals: Arc<Journals>,
    native: Native,
    terminal: Terminal,
    /// Free places for running permits.
    places: Arc<Semaphore>,
    /// Permits that came and are not admitted or refused yet, by their own word.
    arrived: Mutex<HashSet<String>>,
    /// Stops what runs for a call.
    running: Mutex<HashMap<String, CancellationToken>>,
}

impl Daemon {
    /// Opens the host's ledger and layers and probes what the machine can do.
    ///
    /// # Errors
    /// A broken or locked ledger; `INVALID_CONFIGURATION`.
    pub fn open(config: HostConfig, spawner: Spawner) -> Result<Self, Error> {
        check(&config)?;
        let state = private_directory(&config.state_dir)?;
        let keys = Keys::open(&state.join("ledger"), &config.name, &config.permit_key)?;
        let layers = Layers::open(state.join("layers"))?;
        let journals = Arc::new(Journals::open(state.join("undo"))?);
        let mut hidden = vec![state];
        // What does not exist yet is hidden by the name it is given.
        hidden.extend(config.hidden.iter().map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.into())));
        let max_running = or_default(config.max_running.into(), DEFAULT_MAX_RUNNING.into());
        let running = Semaphore::new(usize::try_from(max_running).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        let places: Vec<PathBuf> =
            config.workspaces.iter().map(PathBuf::from).chain(probe::user_places(&user().home)).collect();
        let found = probe::examine(&spawner, &layers.path("probe"), &places);
        let leftovers = Leftovers::default();
        let native = Native::open(hidden.clone(), journals.clone())?.knowing(leftovers.clone());
        let native = if config.fixture.is_empty() { native } else { native.in_fixture() };
        let host = describe(&config, found.capabilities.clone(), &native);
        let kept_bytes = or_default(config.max_output_bytes, DEFAULT_MAX_OUTPUT_BYTES);
        let workspaces = config.workspaces.iter().map(PathBuf::from).collect();
        let terminal = Terminal::new(spawner, &found, &hidden, workspaces, journals.clone(), leftovers, kept_bytes);
        Ok(Self {
            shared: Arc::new(Shared {
                host,
                keys,
                layers,
                native,
                journals,
                terminal,
                places: Arc::new(running),
                arrived: Mutex::default(),
                running: Mutex::default(),
            }),
        })
    }

    /// What the host says of itself when it attaches.
    #[must_use]
    pub fn hello(&self) -> HostHello {
        HostHello { min_protocol: PROTOCOLS.0, max_protocol: PROTOCOLS.1, host: Some(self.shared.host.clone()) }
    }
}

fn describe(config: &HostConfig, capabilities: Vec<Capability>, native: &Native) -> Host {
    let can_preview = capabilities.iter().any(|found| found.name == "preview.overlay" && found.available);
    let terminal = can_preview.then(|| terminal::TOOL.to_owned());
    Host {
        name: config.name.clone(),
        attached: true,
        capabilities,
        workspaces: config.workspaces.clone(),
        labels: config.labels.clone(),
        tools: native.tools().map(str::to_owned).chain(terminal).collect(),
        fixture: !config.fixture.is_empty(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attached_at: 0,
        home: user().home,
    }
}

/// Who commands run as.
#[derive(Debug)]
struct User {
    name: String,
    home: String,
}

/// The process's own user, by the user database; its home is `/` if it has none.
fn user() -> User {
    let own = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut entries = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|fields| fields.get(2) == Some(&&*own)).unwrap_or_default();
    let field = |at: usize| entry.get(at).map(|text| (*text).to_owned());
    User {
        name: field(0).unwrap_or(own),
        home: field(5).filter(|home| home.starts_with('/')).unwrap_or_else(|| "/".to_owned()),
    }
}

fn check(config: &HostConfig) -> Result<(), Error> {
    let invalid = |message: String, pointer: &str, expected: &str| {
        Err(Error::fix(Reason::InvalidConfiguration, message, pointer, expected))
    };
    if config.name.is_empty() {
        return invalid("the host needs a name".to_owned(), "/name", "a name that no other host has");
    }
    if !config.state_dir.starts_with('/') {
        return invalid("the state directory must be absolute".to_owned(), "/state_dir", "an absolute path");
    }
    if let Some(relative) = config.hidden.iter().find(|path| !path.starts_with('/')) {
        return invalid(format!("hidden directory `{relative}` must be absolute"), "/hidden", "absolute paths");
    }
    if let Some(relative) = config.workspaces.iter().find(|path| !path.starts_with('/')) {
        return invalid(format!("workspace `{relative}` must be absolute"), "/workspaces", "absolute paths");
    }
    Ok(())
}

/// Makes the directory if it is missing. It is canonical, so that no tool reaches it by another name.
fn private_directory(path: &str) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let doing = || format!("create the state directory {path}");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io(doing()))?;
    std::fs::canonicalize(path).map_err(Error::io(doing()))
}

fn or_default(given: u64, default: u64) -> u64 {
    if given == 0 { default } else { given }
}
