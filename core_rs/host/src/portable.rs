//! A host on a system of which nothing is asked but what every system has: macOS, Windows, and Linux where this
//! is tried out. Nothing is confined and nothing is measured, and the host says so.
//!
//! Only the standard library and crates that exist on each of these systems (`tests/purity.rs`).

#[path = "native/arguments.rs"]
#[allow(dead_code, reason = "some are of tools that this host does not have")]
mod arguments;
mod change;
mod command;
mod edit;
#[path = "exec/kept.rs"]
mod kept;
mod look;
mod place;
pub mod probe;
#[path = "native/replace.rs"]
mod replace;
mod search;
#[path = "native/set_id.rs"]
mod set_id;
mod tree;
#[path = "native/window.rs"]
mod window;
#[path = "native/within.rs"]
mod within;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use cmdop_contract::digest::observation_digest;
use cmdop_contract::effect::{Class, class, kind_name};
use cmdop_contract::path::escape;
use cmdop_contract::tool::COMMAND;
use cmdop_contract::v1::{
    self, Capability, EffectKind, HostConfig, Observation, ObservedEffect, Outcome, Permit, Reason, Report, Stage,
    ToolResult, Unobserved,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::admit::{Admitted, Interrupted, Keys};
use crate::daemon::execute::{failure, report, unknown};
use crate::daemon::output::OutputSender;
use crate::daemon::{DEFAULT_MAX_OUTPUT_BYTES, hidden, or_default};
use arguments::Arguments;
use place::Root;

/// What is said of how a tool of such a host is held.
const UNCONFINED: &str = "unconfined";

/// The tools of this host that change or tell files.
const TOOLS: &[&str] = &[
    "files.copy",
    "files.delete",
    "files.edit",
    "files.list",
    "files.mkdir",
    "files.move",
    "files.read",
    "files.search",
    "files.stat",
    "files.write",
];

/// What starts commands. The standard library does that here, so there is nothing to prepare.
#[derive(Debug)]
pub struct Spawner(());

impl Spawner {
    /// # Errors
    /// None.
    pub fn start() -> Result<Self, Error> {
        Ok(Self(()))
    }
}

/// What this host's permits are worked on with.
#[derive(Debug)]
pub(crate) struct Machine {
    capabilities: Vec<Capability>,
    root: Arc<Root>,
    kept_bytes: usize,
}

/// A change that was looked at and not made.
pub(crate) struct Planned<'a> {
    /// What it would do: kind, path and how often.
    effects: Vec<(EffectKind, Vec<u8>, u64)>,
    act: Box<dyn FnOnce() -> Result<Value, Failed> + 'a>,
}

/// Why a change was not made.
pub(crate) enum Failed {
    /// Nothing was changed.
    Before(Error),
    /// Something may have been.
    Midway(Error),
}

/// What a tool is about to do: nothing that needs a permit, or a change.
enum Prepared<'a> {
    Told(Value),
    Planned(Planned<'a>),
}

impl Machine {
    /// Opens nothing but the configuration: such a host keeps no layers and no journals.
    ///
    /// # Errors
    /// A fixture, which needs a view of its own.
    pub(crate) fn open(
        config: &HostConfig,
        _spawner: Spawner,
        state: PathBuf,
        _interrupted: &[Interrupted],
    ) -> Result<Self, Error> {
        if !config.fixture.is_empty() {
            let message = "a fixture is shown in a view of its own, which only Linux can make";
            return Err(Error::fix(
                Reason::InvalidConfiguration,
                message,
                "/fixture",
                "no fixture, or a host on Linux",
            ));
        }
        let kept = or_default(config.max_output_bytes, DEFAULT_MAX_OUTPUT_BYTES);
        let kept_bytes = usize::try_from(kept).unwrap_or(usize::MAX);
        let root = Arc::new(Root::new(&hidden(config, state)));
        Ok(Self { capabilities: probe::probe(), root, kept_bytes })
    }

    /// What this system offers.
    pub(crate) fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Names of the tools that this host has.
    pub(crate) fn tools(&self) -> Vec<String> {
        TOOLS.iter().copied().chain([COMMAND]).map(str::to_owned).collect()
    }

    /// The system's name: no call that every system has tells a version.
    pub(crate) fn kernel(&self) -> String {
        std::env::consts::OS.to_owned()
    }

    /// Home directory of the user that commands run as.
    pub(crate) fn home(&self) -> String {
        let home = std::env::home_dir().and_then(|home| place::contract_path(&home));
        home.and_then(|path| String::from_utf8(path).ok()).filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into())
    }

    /// Nobody here can tell what became of what an earlier life left: a person decides.
    ///
    /// # Errors
    /// Only a ledger that takes no more records.
    pub(crate) async fn recover(&self, keys: &Keys) -> Result<(), Error> {
        keys.settle_interrupted(|_| None).await?;
        for call in keys.held() {
            keys.layer_dropped(&call, "this host holds no previews").await?;
        }
        Ok(())
    }

    /// Nothing grows old here.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn tidy(&self, _keys: &Keys) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing is held here.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn drop_held(&self, _keys: &Keys, _call_id: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing is held here.
    pub(crate) fn discard(&self, _call_id: &str) {}

    /// Nobody here knows what a command left running.
    pub(crate) async fn end_all(&self) {}

    /// Does what a permit says, which a person agreed to if it changes anything.
    pub(crate) async fn work(&self, admitted: Admitted, output: OutputSender, stop: CancellationToken) -> Report {
        if admitted.stage() != Stage::Apply {
            return failure(&admitted, no_preview());
        }
        if admitted.action.as_ref().is_some_and(|action| action.tool == COMMAND) {
            return command::run(&admitted, self.kept_bytes, &self.home(), output, stop).await;
        }
        let permit = (*admitted).clone();
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || perform(&root, &admitted)).await;
        done.unwrap_or_else(|panic| unknown(&permit, &panic.to_string()))
    }
}

/// Does what a tool does with files.
fn perform(root: &Root, admitted: &Admitted) -> Report {
    let started = std::time::Instant::now();
    let result = |told: Result<Value, Error>| {
        let duration_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let base = ToolResult { duration_ns, confinement: UNCONFINED.to_owned(), ..ToolResult::default() };
        match told {
            Ok(value) => ToolResult { ok: true, result_json: value.to_string(), ..base },
            Err(error) => ToolResult { ok: false, error: Some(v1::Error::from(error)), ..base },
        }
    };
    let done = |outcome: Outcome, told: Result<Value, Error>, observation: Observation| Report {
        outcome: outcome.into(),
        result: Some(result(told)),
        observation: Some(observation),
        ..report(admitted)
    };
    let planned = match prepare(root, admitted) {
        Ok(Prepared::Told(told)) => return done(Outcome::Applied, Ok(told), nothing()),
        Ok(Prepared::Planned(planned)) => planned,
        Err(error) => return done(Outcome::NotApplied, Err(error), nothing()),
    };
    if let Err(error) = within_permit(admitted, &planned.effects) {
        return failure(admitted, error);
    }
    let kinds: BTreeSet<EffectKind> = planned.effects.iter().map(|(kind, _, _)| *kind).collect();
    match (planned.act)() {
        Ok(told) => done(Outcome::Applied, Ok(told), unobserved(kinds)),
        Err(Failed::Before(error)) => done(Outcome::NotApplied, Err(error), nothing()),
        Err(Failed::Midway(error)) => {
            Report { observation: Some(unobserved(kinds)), ..unknown(admitted, &error.to_string()) }
        }
    }
}

fn prepare<'a>(root: &'a Root, admitted: &'a Admitted) -> Result<Prepared<'a>, Error> {
    let action = admitted.action.as_ref().ok_or_else(|| unknown_tool(""))?;
    let arguments = Arguments::of(action)?;
    let hidden = place::hidden_name(&admitted.permit_id);
    Ok(match action.tool.as_str() {
        "files.read" => Prepared::Told(look::read(root, &arguments)?),
        "files.stat" => Prepared::Told(look::stat(root, &arguments)?),
        "files.list" => Prepared::Told(look::list(root, &arguments)?),
        "files.search" => Prepared::Told(search::search(root, &arguments)?),
        "files.write" => Prepared::Planned(edit::write(root, &arguments, hidden)?),
        "files.edit" => Prepared::Planned(edit::edit(root, &arguments, hidden)?),
        "files.mkdir" => Prepared::Planned(change::mkdir(root, &arguments)?),
        "files.move" => Prepared::Planned(change::relocate(root, &arguments)?),
        "files.copy" => Prepared::Planned(change::copy(root, &arguments, hidden)?),
        "files.delete" => Prepared::Planned(change::delete(root, &arguments, hidden)?),
        other => return Err(unknown_tool(other)),
    })
}

/// # Errors
/// `EFFECT_NOT_PERMITTED` naming every effect that the permit does not cover.
fn within_permit(admitted: &Admitted, effects: &[(EffectKind, Vec<u8>, u64)]) -> Result<(), Error> {
    let effect = |(kind, path, count): &(EffectKind, Vec<u8>, u64)| ObservedEffect {
        kind: (*kind).into(),
        target: escape(path),
        count: *count,
        ..ObservedEffect::default()
    };
    within::within_permit(admitted, &observation(effects.iter().map(effect).collect(), Vec::new()))
}

/// What was changed is known from nobody but the tool itself, so nothing counts as seen.
fn unobserved(kinds: impl IntoIterator<Item = EffectKind>) -> Observation {
    let unseen = |kind: EffectKind| Unobserved {
        kind: kind.into(),
        why: format!(
            "this host ({}) does not measure {}; `cmdop doctor` says why",
            std::env::consts::OS,
            kind_name(kind)
        ),
    };
    observation(Vec::new(), kinds.into_iter().map(unseen).collect())
}

/// The kinds of a permit that are no looks.
fn permitted_kinds(permit: &Permit) -> BTreeSet<EffectKind> {
    permit.effects.iter().map(v1::PermittedEffect::kind).filter(|kind| class(*kind) != Class::Look).collect()
}

fn nothing() -> Observation {
    observation(Vec::new(), Vec::new())
}

fn observation(effects: Vec<ObservedEffect>, unobserved: Vec<Unobserved>) -> Observation {
    let digest = observation_digest(&effects);
    Observation { effects, unobserved, digest, ..Observation::default() }
}

fn no_preview() -> Error {
    let message = format!(
        "a host on {} has no private copy to preview on; nothing was done: a person must agree before it runs",
        std::env::consts::OS
    );
    Error::fix(Reason::PreviewUnavailable, message, "/host", "a host on Linux, or a call that a person agrees to first")
}

fn unknown_tool(name: &str) -> Error {
    let message = format!("a host on {} has no tool `{name}`", std::env::consts::OS);
    Error::use_tool(Reason::UnknownTool, message, TOOLS[0])
}
