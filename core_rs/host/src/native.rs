//! Native tools: exact effects on files, in-process and without a shell.
//!
//! A tool is prepared (everything is looked at, nothing touched), then its effects are compared with
//! the permit, then it is performed and measured again.

mod arguments;
pub(crate) mod beneath;
mod census;
mod chmod;
mod copy;
mod delete;
mod deploy;
mod edit;
pub(crate) mod flags;
mod hidden;
mod inherited;
mod list;
pub(crate) mod measure;
mod mkdir;
mod nursery;
mod process;
mod read;
mod reconcile;
mod relocate;
mod replace;
mod search;
mod service;
mod set_id;
mod stat;
pub(crate) mod text_diff;
mod undo;
pub(crate) mod walk;
mod window;
mod within;
pub(crate) mod write;
mod xattr;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cmdop_contract::digest;
use cmdop_contract::v1::{self, Observation, ObservedEffect, Outcome, Reason, ToolResult};
use serde_json::Value;

use crate::admit::Admitted;
use crate::error::Error;
use crate::exec::{Leftovers, namespace_of};
use crate::fixture::aliases;
use crate::fixture::elsewhere::Everywhere;
use crate::journal::Journals;
use crate::sandbox::Fence;
use crate::service::{Own, Supervisor, UNITS, Verb, supervisor};
use arguments::{Arguments, about};
use beneath::{Root, not_usable};
use within::within_permit;

/// Names of the native tools.
pub const TOOLS: &[&str] = &[
    "deploy.plan",
    "deploy.release",
    "deploy.rollback",
    "deploy.status",
    "files.chmod",
    "files.copy",
    "files.delete",
    "files.edit",
    "files.list",
    "files.mkdir",
    "files.move",
    "files.read",
    "files.search",
    "files.stat",
    "files.undo",
    "files.write",
    "process.list",
    "process.signal",
    "service.logs",
    "service.reload",
    "service.restart",
    "service.start",
    "service.status",
    "service.stop",
];

/// What a native tool did and what was measured.
#[derive(Debug, Clone)]
pub struct Done {
    /// Whether the effects are on the machine.
    pub outcome: Outcome,
    /// The tool's own result.
    pub result: ToolResult,
    /// Measured on the machine, or for a plan what would be measured.
    pub observation: Observation,
}

/// A plan to hold until it is committed or discarded: the base it rests on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Held {
    /// SHA-256 over the state of everything that the plan would touch.
    #[prost(bytes = "vec", tag = "1")]
    pub base: Vec<u8>,
    /// Digest of the planned observation.
    #[prost(string, tag = "2")]
    pub observation_digest: String,
}

/// A tool between preparation and performance.
trait Step {
    /// What performing it would do, by what was found.
    fn effects(&self) -> Vec<ObservedEffect>;

    /// The tool's result.
    fn result(&self) -> Value;

    /// SHA-256 over the state that it rests on.
    fn base(&self) -> Vec<u8>;

    /// Why it cannot be done right now, whatever was planned. What is in the way has changed the state meanwhile.
    fn in_the_way(&self) -> Option<Error> {
        None
    }

    /// Does it and measures. The second part is a failure after the machine was changed.
    ///
    /// # Errors
    /// Why nothing was changed, or that nobody can tell.
    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error>;

    /// Whom it has contacted by now, which stays so if it changed nothing.
    fn contacted(&self) -> Vec<ObservedEffect> {
        Vec::new()
    }
}

/// What a step is performed with.
struct Means<'a> {
    journals: &'a Journals,
    call_id: &'a str,
    permit_id: &'a str,
    /// Around the services of a fixture.
    fence: Option<&'a Fence>,
}

/// A tool that only looked, and so is done.
struct Looked(Value);

impl Step for Looked {
    fn effects(&self) -> Vec<ObservedEffect> {
        Vec::new()
    }

    fn result(&self) -> Value {
        self.0.clone()
    }

    fn base(&self) -> Vec<u8> {
        Vec::new()
    }

    fn perform(&mut self, _with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        Ok((Vec::new(), None))
    }
}

/// The native tools of one host.
#[derive(Debug)]
pub struct Native {
    root: Root,
    hidden: Everywhere,
    journals: Arc<Journals>,
    supervisor: Arc<dyn Supervisor>,
    /// What commands left running.
    leftovers: Leftovers,
    /// A fixture shows files of its own, but the processes there are the machine's.
    is_fixture: bool,
    /// Around the services of a fixture.
    fence: Option<Arc<Fence>>,
}

/// Trees that no tool sees: the host's own state.
#[derive(Debug)]
struct Hidden(Arc<[PathBuf]>);

impl Hidden {
    /// Is it one of them, or does it lie in one?
    fn holds(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.0.iter().any(|hidden| path.starts_with(hidden))
    }

    /// Does one of them lie beneath?
    fn lies_in(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.0.iter().any(|hidden| hidden.starts_with(path))
    }
}

/// Arguments that name a place, and whether the tool takes everything beneath it away or along.
fn places(tool: &str) -> &'static [(&'static str, bool)] {
    match tool {
        "files.delete" => &[("path", true)],
        "files.copy" | "files.move" => &[("from", true), ("to", false)],
        // It restores what a call changed, which was no hidden tree.
        "files.undo" => &[],
        "deploy.plan" | "deploy.release" => &[("root", true), ("source", true)],
        "deploy.rollback" | "deploy.status" => &[("root", true)],
        _ if tool.starts_with("files.") => &[("path", false)],
        _ => &[],
    }
}

impl Native {
    /// Tools over the whole file system but for `hidden` trees.
    ///
    /// # Errors
    /// The operating system's refusal to open `/` or the list of mounts.
    pub fn open(hidden: Vec<PathBuf>, journals: Arc<Journals>) -> Result<Self, Error> {
        let (root, supervisor) = (Root::machine()?, supervisor());
        let leftovers = Leftovers::default();
        Ok(Self {
            root,
            hidden: Everywhere::of(hidden)?,
            journals,
            supervisor,
            leftovers,
            is_fixture: false,
            fence: None,
        })
    }

    /// The same tools, which tell of a process what call left it running.
    #[must_use]
    pub(crate) fn knowing(self, leftovers: Leftovers) -> Self {
        Self { leftovers, ..self }
    }

    /// The same tools but for those that would reach through a fixture to the machine beneath.
    #[must_use]
    pub fn in_fixture(self) -> Self {
        Self { is_fixture: true, ..self }
    }

    /// The same tools in a fixture, with services that are the fixture's own.
    #[must_use]
    pub(crate) fn serving_within(self, fence: Fence) -> Self {
        let fence = Arc::new(fence);
        let supervisor = Arc::new(Own::of_fixture(UNITS.into(), fence.clone()));
        Self { supervisor, fence: Some(fence), ..self.in_fixture() }
    }

    /// Names of the tools that this host has.
    pub fn tools(&self) -> impl Iterator<Item = &'static str> {
        TOOLS.iter().copied().filter(|tool| !self.would_reach_machine(tool))
    }

    /// True of tools whose effects the fixture, if this is one, does not hold back.
    fn would_reach_machine(&self, tool: &str) -> bool {
        let is_of_service = tool.starts_with("service.");
        self.is_fixture && (tool == "process.signal" || (is_of_service && self.fence.is_none()))
    }

    /// Is a process one that tools may tell of? In a fixture, those of its services and what commands left running.
    fn tells_of(&self, pid: u32, left: &HashMap<u64, String>) -> bool {
        !self.is_fixture
            || self.fence.as_ref().is_some_and(|fence| fence.holds(pid))
            || namespace_of(pid).is_some_and(|namespace| left.contains_key(&namespace))
    }

    /// Finds out what the action would change. Changes nothing.
    #[must_use]
    pub fn plan(&self, admitted: &Admitted) -> (Done, Option<Held>) {
        let started = Instant::now();
        let planned = self.prepare(admitted).and_then(|step| Ok((self.observation(step.effects())?, step)));
        match planned {
            Ok((observation, step)) => {
                let held = Held { base: step.base(), observation_digest: observation.digest.clone() };
                let result = result(started, Ok(step.result()));
                (Done { outcome: Outcome::NotApplied, result, observation }, Some(held))
            }
            Err(error) => (failed(started, error), None),
        }
    }

    /// Does it, within the permitted effects.
    ///
    /// # Errors
    /// `EFFECT_NOT_PERMITTED`: it was refused and nothing was changed. A tool that fails for any
    /// other reason is `Done` with its error in the result.
    pub fn apply(&self, admitted: &Admitted) -> Result<Done, Error> {
        let started = Instant::now();
        match self.prepare(admitted) {
            Ok(step) => self.perform(admitted, started, step),
            Err(error) => Ok(failed(started, error)),
        }
    }

    /// Does what was planned, if it would still do exactly that.
    ///
    /// # Errors
    /// `COMMIT_CONFLICT` or `EFFECT_NOT_PERMITTED`: nothing was changed.
    pub fn commit(&self, admitted: &Admitted, held: &Held) -> Result<Done, Error> {
        let started = Instant::now();
        let step = self.prepare(admitted).map_err(|error| conflict(&error.to_string()))?;
        if let Some(error) = step.in_the_way() {
            return Ok(failed(started, error));
        }
        if step.base() != held.base {
            return Err(conflict("what it would change is no longer as it was previewed"));
        }
        let planned = self.observation(step.effects())?.digest;
        if planned != held.observation_digest || planned != admitted.preview_digest {
            return Err(conflict("it would no longer do what was previewed"));
        }
        self.perform(admitted, started, step)
    }

    fn prepare(&self, admitted: &Admitted) -> Result<Box<dyn Step + '_>, Error> {
        let action = admitted.action.as_ref().ok_or_else(|| unknown_tool(""))?;
        let arguments = Arguments::of(action)?;
        if self.would_reach_machine(&action.tool) {
            return Err(unknown_tool(&action.tool));
        }
        let hidden = Hidden(self.hidden.places()?);
        self.shield(&hidden, &arguments, &action.tool)?;
        Ok(match action.tool.as_str() {
            "files.read" => Box::new(Looked(read::read(&self.root, &arguments)?)),
            "files.list" => Box::new(Looked(list::list(&self.root, &hidden, &arguments)?)),
            "files.search" => Box::new(Looked(search::search(&self.root, &hidden, &arguments)?)),
            "files.stat" => Box::new(Looked(stat::stat(&self.root, &arguments)?)),
            "files.write" => Box::new(write::Replacement::prepare(&self.root, &self.journals, &arguments)?),
            "files.edit" => Box::new(edit::Edit::prepare(&self.root, &self.journals, &arguments)?),
            "files.mkdir" => Box::new(mkdir::Making::prepare(&self.root, &arguments)?),
            "files.chmod" => Box::new(chmod::Bits::prepare(&self.root, &self.journals, &arguments)?),
            "files.move" => Box::new(relocate::Move::prepare(&self.root, &arguments)?),
            "files.copy" => Box::new(copy::Copy::prepare(&self.root, &arguments)?),
            "files.delete" => Box::new(delete::Removal::prepare(&self.root, &arguments)?),
            "files.undo" => Box::new(undo::Restoration::prepare(&self.journals, &arguments)?),
            "deploy.plan" => Box::new(Looked(deploy::plan(&self.root, &arguments)?)),
            "deploy.status" => Box::new(deploy::Status::prepare(&self.root, &arguments)?),
            "deploy.release" => {
                // What would be released is known by its digest, or it is not known.
                arguments.required("digest")?;
                Box::new(deploy::Release::prepare(&self.root, &arguments)?)
            }
            "deploy.rollback" => Box::new(deploy::Rollback::prepare(&self.root, &arguments)?),
            "process.list" => {
                let left = self.leftovers.calls();
                Box::new(Looked(process::list(&arguments, &left, &|pid| self.tells_of(pid, &left))?))
            }
            "process.signal" => Box::new(process::Signalling::prepare(&arguments)?),
            "service.status" => Box::new(Looked(service::status(&*self.supervisor, &arguments)?)),
            "service.logs" => Box::new(Looked(service::logs(&*self.supervisor, &arguments)?)),
            "service.start" => self.service(Verb::Start, &arguments)?,
            "service.stop" => self.service(Verb::Stop, &arguments)?,
            "service.restart" => self.service(Verb::Restart, &arguments)?,
            "service.reload" => self.service(Verb::Reload, &arguments)?,
            other => return Err(unknown_tool(other)),
        })
    }

    fn service(&self, verb: Verb, arguments: &Arguments) -> Result<Box<dyn Step>, Error> {
        Ok(Box::new(service::Change::prepare(self.supervisor.clone(), verb, arguments)?))
    }

    /// Keeps tools away from hidden trees, and from taking away what holds one.
    fn shield(&self, hidden: &Hidden, arguments: &Arguments, tool: &str) -> Result<(), Error> {
        for (name, takes_tree) in places(tool) {
            let path = arguments.path_of(name)?;
            let is_private = self.journals.is_private(Path::new(OsStr::from_bytes(&path)));
            if hidden.holds(&path) || is_private || (*takes_tree && hidden.lies_in(&path)) {
                let refused = not_usable(&path, "holds the host's own state, which no tool may reach");
                return Err(about(name, refused));
            }
        }
        Ok(())
    }

    /// Effects under every name that their places have.
    fn observation(&self, mut effects: Vec<ObservedEffect>) -> Result<Observation, Error> {
        aliases::tell(&mut effects, &self.hidden.mounts()?);
        Ok(observation(effects))
    }

    /// Compares the step's effects with the permit, performs it and measures.
    fn perform(&self, admitted: &Admitted, started: Instant, mut step: Box<dyn Step + '_>) -> Result<Done, Error> {
        within_permit(admitted, &self.observation(step.effects())?)?;
        let with = Means {
            journals: &self.journals,
            call_id: &admitted.call_id,
            permit_id: &admitted.permit_id,
            fence: self.fence.as_deref(),
        };
        match step.perform(&with) {
            Ok((effects, failure)) => {
                let told = step.result();
                let result = match failure {
                    None => result(started, Ok(told)),
                    // What a deployment that failed left is part of its result.
                    Some(error) => ToolResult { result_json: told.to_string(), ..result(started, Err(error)) },
                };
                let observation = self.observation(effects.clone()).unwrap_or_else(|_| observation(effects));
                Ok(Done { outcome: Outcome::Applied, result, observation })
            }
            // The report says so, and not the result: the tool did not fail.
            Err(error) if error.reason() == Reason::OutcomeUnknown => Err(error),
            Err(error) => Ok(Done { observation: observation(step.contacted()), ..failed(started, error) }),
        }
    }
}

/// Effects of what is done, as they are found on the machine; where they cannot be looked at, as they were planned, with
/// why: that it failed would be wrong.
fn measured(
    planned: Vec<ObservedEffect>,
    measure: impl FnOnce() -> Result<Vec<ObservedEffect>, Error>,
) -> (Vec<ObservedEffect>, Option<Error>) {
    match measure() {
        Ok(effects) => (effects, None),
        Err(error) => (planned, Some(error)),
    }
}

fn observation(effects: Vec<ObservedEffect>) -> Observation {
    let digest = digest::observation_digest(&effects);
    Observation { effects, digest, ..Observation::default() }
}

fn failed(started: Instant, error: Error) -> Done {
    let result = result(started, Err(error));
    Done { outcome: Outcome::NotApplied, result, observation: observation(Vec::new()) }
}

fn result(started: Instant, told: Result<Value, Error>) -> ToolResult {
    let duration_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let base = ToolResult { duration_ns, confinement: "native".to_owned(), ..ToolResult::default() };
    match told {
        Ok(value) => ToolResult { ok: true, result_json: value.to_string(), ..base },
        Err(error) => ToolResult { ok: false, error: Some(v1::Error::from(error)), ..base },
    }
}

fn conflict(why: &str) -> Error {
    Error::later(Reason::CommitConflict, format!("the machine changed since the preview: {why}; nothing was applied"))
}

fn unknown_tool(name: &str) -> Error {
    Error::use_tool(Reason::UnknownTool, format!("this host has no native tool `{name}`"), TOOLS[0])
}

#[cfg(test)]
mod tests;
