//! The tools of a host on Linux: private layers, commits, native tools, and what they left from an earlier life.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use cmdop_contract::tool::COMMAND;
use cmdop_contract::v1::{Capability, HostConfig, Permit, Reason, Report, Stage};
use tokio_util::sync::CancellationToken;

use super::execute::{failure, report, unknown};
use super::layers::{Layers, MAX_AGE, MAX_LAYERS, Meta};
use super::output::OutputSender;
use super::terminal::Terminal;
use super::{DEFAULT_MAX_OUTPUT_BYTES, hidden, or_default};
use crate::admit::{Admitted, Became, Interrupted, Keys, unseen_contacts};
use crate::exec::Leftovers;
use crate::journal::Journals;
use crate::native::{Done, Native};
use crate::network;
use crate::sandbox::Fence;
use crate::service::UNITS;
use crate::{Error, Spawner, probe};

/// What this host's permits are worked on with.
#[derive(Debug)]
pub(super) struct Machine {
    capabilities: Vec<Capability>,
    layers: Layers,
    journals: Arc<Journals>,
    native: Arc<Native>,
    terminal: Terminal,
}

impl Machine {
    /// Opens layers and journals in the host's state, and probes what the machine can do.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn open(
        config: &HostConfig,
        spawner: Spawner,
        state: PathBuf,
        interrupted: &[Interrupted],
    ) -> Result<Self, Error> {
        let layers = Layers::open(state.join("layers"))?;
        let journals = Arc::new(Journals::open_after(state.join("undo"), interrupted)?);
        let hidden = hidden(config, state);
        let workspaces: Vec<PathBuf> = config.workspaces.iter().map(PathBuf::from).collect();
        let places: Vec<PathBuf> = workspaces.iter().cloned().chain(probe::user_places(&user().home)).collect();
        let found = probe::examine(&spawner, &layers.path("probe"), &places);
        let leftovers = Leftovers::default();
        let native = Native::open(hidden.clone(), journals.clone())?.knowing(leftovers.clone());
        let native = if config.fixture.is_empty() { native } else { in_fixture(native, &hidden) };
        let kept_bytes = or_default(config.max_output_bytes, DEFAULT_MAX_OUTPUT_BYTES);
        let terminal = Terminal::new(spawner, &found, &hidden, workspaces, journals.clone(), leftovers, kept_bytes);
        let terminal = terminal.keeping_from(network::servers(&config.server));
        Ok(Self { capabilities: found.capabilities, layers, journals, native: Arc::new(native), terminal })
    }

    /// What was found at the start.
    pub(super) fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Names of the tools that this host has.
    pub(super) fn tools(&self) -> Vec<String> {
        let can_preview = self.capabilities.iter().any(|found| found.name == "preview.overlay" && found.available);
        let terminal = can_preview.then(|| COMMAND.to_owned());
        self.native.tools().map(str::to_owned).chain(terminal).collect()
    }

    /// The kernel's version.
    pub(super) fn kernel(&self) -> String {
        rustix::system::uname().release().to_string_lossy().into_owned()
    }

    /// Home directory of the user that commands run as.
    pub(super) fn home(&self) -> String {
        user().home
    }

    /// Settles what an earlier life left: commits by their journals, everything else by its stage.
    ///
    /// # Errors
    /// Only a ledger that takes no more records.
    pub(super) async fn recover(&self, keys: &Keys) -> Result<(), Error> {
        let became = |interrupted: &Interrupted| {
            let commit = self.terminal.recover(interrupted).map(Became::from);
            commit.or_else(|| self.native.became(interrupted))
        };
        keys.settle_interrupted(became).await?;
        if let Some(start) = keys.start() {
            self.journals.settle_all(&start);
        }
        let on_disk: HashSet<_> = self.layers.scan().into_iter().map(|found| found.meta.call_id).collect();
        for call in keys.held().into_iter().filter(|call| !on_disk.contains(call)) {
            keys.layer_dropped(&call, "lost with its directory").await?;
        }
        let mut kept = keys.held();
        kept.extend(keys.interrupted().iter().map(|unknown| unknown.permit().call_id.clone()));
        self.layers.keep_only(&kept);
        Ok(())
    }

    /// Drops what is too old to be of use.
    ///
    /// # Errors
    /// Only a ledger that takes no more records.
    pub(super) async fn tidy(&self, keys: &Keys) -> Result<(), Error> {
        let journals = self.journals.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || journals.enforce_retention()).await {
            tracing::warn!(%error, "old journals stay for now");
        }
        let found = self.layers.scan();
        let surplus = found.len().saturating_sub(MAX_LAYERS);
        let now = SystemTime::now();
        for (place, layer) in found.iter().enumerate() {
            let is_old = now.duration_since(layer.made).is_ok_and(|age| age > MAX_AGE);
            if is_old || place < surplus {
                self.drop_layer(keys, &layer.meta.call_id, "nobody decided on it in time").await?;
            }
        }
        Ok(())
    }

    /// Drops what is held for a call that is not committed.
    ///
    /// # Errors
    /// Only a ledger that takes no more records.
    pub(super) async fn drop_held(&self, keys: &Keys, call_id: &str) -> Result<(), Error> {
        self.drop_layer(keys, call_id, "discarded").await
    }

    /// Drops the layer of a call, if one is held and not being committed.
    async fn drop_layer(&self, keys: &Keys, call_id: &str, why: &str) -> Result<(), Error> {
        if !keys.is_held(call_id) {
            return Ok(());
        }
        keys.layer_dropped(call_id, why).await?;
        self.layers.discard(call_id);
        Ok(())
    }

    /// Frees the space of a layer that is not held any more.
    pub(super) fn discard(&self, call_id: &str) {
        self.layers.discard(call_id);
    }

    /// Does what a permit says.
    pub(super) async fn work(&self, admitted: Admitted, output: OutputSender, stop: CancellationToken) -> Report {
        let permit = (*admitted).clone();
        let tool = permit.action.as_ref().map_or("", |action| action.tool.as_str());
        if tool == COMMAND {
            let done = self.terminal.run(&self.layers, admitted, output, stop).await;
            return done.unwrap_or_else(|error| failure(&permit, error));
        }
        let (native, layers) = (self.native.clone(), self.layers.clone());
        let done = tokio::task::spawn_blocking(move || perform(&native, &layers, &admitted)).await;
        done.unwrap_or_else(|panic| broken(&permit, &panic.to_string()))
    }

    /// Ends what commands left running.
    pub(super) async fn end_all(&self) {
        self.terminal.leftovers.end_all().await;
    }
}

/// The tools of a fixture: with services, if this machine can fence them in.
fn in_fixture(native: Native, hidden: &[PathBuf]) -> Native {
    match Fence::raise(hidden.to_vec(), UNITS.into()) {
        Ok(fence) => native.serving_within(fence),
        Err(error) => {
            tracing::warn!(%error, "the fixture has no services");
            native.in_fixture()
        }
    }
}

/// Runs a native tool.
fn perform(native: &Native, layers: &Layers, admitted: &Admitted) -> Report {
    let done = match admitted.stage() {
        Stage::Preview => return plan(native, layers, admitted).unwrap_or_else(|error| failure(admitted, error)),
        Stage::Apply => native.apply(admitted),
        Stage::Commit => layers.meta(&admitted.call_id).and_then(|meta| {
            let held = meta.native.unwrap_or_default();
            native.commit(admitted, &held)
        }),
        Stage::Unspecified => Err(Error::stop(Reason::PermitInvalid, "the permit names no stage")),
    };
    match done {
        Ok(done) => success(admitted, done, false),
        Err(error) if error.reason() == Reason::OutcomeUnknown => broken(admitted, &error.to_string()),
        Err(error) => failure(admitted, error),
    }
}

/// Plans a native tool, and holds the plan if it would change anything.
fn plan(native: &Native, layers: &Layers, admitted: &Admitted) -> Result<Report, Error> {
    let (done, held) = native.plan(admitted);
    let is_held = held.is_some() && !done.observation.effects.is_empty();
    if is_held {
        layers.prepare(&admitted.call_id)?;
        layers.hold(&Meta {
            call_id: admitted.call_id.clone(),
            permit_id: admitted.permit_id.clone(),
            native: held,
        })?;
    }
    Ok(success(admitted, done, is_held))
}

pub(super) fn success(permit: &Permit, done: Done, layer_held: bool) -> Report {
    Report {
        outcome: done.outcome.into(),
        result: Some(done.result),
        observation: Some(done.observation),
        layer_held,
        ..report(permit)
    }
}

/// The tool itself broke, and nobody can tell where.
pub(super) fn broken(permit: &Permit, why: &str) -> Report {
    if permit.stage() == Stage::Preview {
        let error = Error::stop(Reason::Internal, format!("the preview failed: {why}; nothing was applied"));
        return Report { observation: unseen_contacts(permit), ..failure(permit, error) };
    }
    unknown(permit, why)
}

/// Who commands run as.
#[derive(Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) home: String,
}

/// The process's own user, by the user database; its home is `/` if it has none.
pub(super) fn user() -> User {
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
