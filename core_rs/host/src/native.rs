//! Native tools: exact effects on files, in-process and without a shell.
//!
//! A tool is prepared (everything is looked at, nothing touched), then its effects are compared with
//! the permit, then it is performed and measured again.

mod arguments;
pub(crate) mod beneath;
mod delete;
mod list;
pub(crate) mod measure;
mod read;
mod reconcile;
pub(crate) mod text_diff;
mod walk;
mod write;
mod xattr;

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Instant;

use cmdop_contract::v1::{
    self, DeclareEffect, ExpectedEffect, Observation, ObservedEffect, Outcome, Reason, ToolResult, remedy,
};
use cmdop_contract::{digest, score};
use serde_json::Value;

use crate::admit::Admitted;
use crate::error::Error;
use arguments::Arguments;
use beneath::{Root, not_usable};

/// Names of the native tools.
pub const TOOLS: [&str; 4] = ["files.delete", "files.list", "files.read", "files.write"];

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

    /// Does it and measures. The second part is a failure after the machine was changed.
    ///
    /// # Errors
    /// Why nothing was changed.
    fn perform(&mut self, permit_id: &str) -> Result<(Vec<ObservedEffect>, Option<Error>), Error>;
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

    fn perform(&mut self, _permit_id: &str) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        Ok((Vec::new(), None))
    }
}

/// The native tools of one host.
#[derive(Debug)]
pub struct Native {
    root: Root,
    /// Paths that no tool sees: the host's own state.
    hidden: Vec<PathBuf>,
}

impl Native {
    /// Tools over the whole file system but for `hidden` trees.
    ///
    /// # Errors
    /// The operating system's refusal to open `/`.
    pub fn open(hidden: Vec<PathBuf>) -> Result<Self, Error> {
        Ok(Self { root: Root::machine()?, hidden })
    }

    /// Finds out what the action would change. Changes nothing.
    #[must_use]
    pub fn plan(&self, admitted: &Admitted) -> (Done, Option<Held>) {
        let started = Instant::now();
        match self.prepare(admitted) {
            Ok(step) => {
                let observation = observation(step.effects());
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
            Ok(step) => perform(admitted, started, step),
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
        if step.base() != held.base {
            return Err(conflict("what it would change is no longer as it was previewed"));
        }
        let planned = observation(step.effects()).digest;
        if planned != held.observation_digest || planned != admitted.preview_digest {
            return Err(conflict("it would no longer do what was previewed"));
        }
        perform(admitted, started, step)
    }

    fn prepare(&self, admitted: &Admitted) -> Result<Box<dyn Step>, Error> {
        let action = admitted.action.as_ref().ok_or_else(|| unknown_tool(""))?;
        let arguments = Arguments::of(action)?;
        self.shield(&arguments.path()?, &action.tool)?;
        Ok(match action.tool.as_str() {
            "files.read" => Box::new(Looked(read::read(&self.root, &arguments)?)),
            "files.list" => Box::new(Looked(list::list(&self.root, &arguments)?)),
            "files.write" => Box::new(write::Replacement::prepare(&self.root, &arguments)?),
            "files.delete" => Box::new(delete::Removal::prepare(&self.root, &arguments)?),
            other => return Err(unknown_tool(other)),
        })
    }

    /// Keeps tools away from hidden trees, and from deleting what holds one.
    fn shield(&self, path: &[u8], tool: &str) -> Result<(), Error> {
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        let reaches =
            |hidden: &PathBuf| path.starts_with(hidden) || (tool == "files.delete" && hidden.starts_with(path));
        if self.hidden.iter().any(reaches) {
            return Err(not_usable(path.as_os_str().as_bytes(), "holds the host's own state, which no tool may reach"));
        }
        Ok(())
    }
}

/// Compares the step's effects with the permit, performs it and measures.
fn perform(admitted: &Admitted, started: Instant, mut step: Box<dyn Step>) -> Result<Done, Error> {
    within_permit(admitted, &observation(step.effects()))?;
    let told = step.result();
    match step.perform(&admitted.permit_id) {
        Ok((effects, failure)) => {
            let result = result(started, failure.map_or(Ok(told), Err));
            Ok(Done { outcome: Outcome::Applied, result, observation: observation(effects) })
        }
        Err(error) => Ok(failed(started, error)),
    }
}

/// # Errors
/// `EFFECT_NOT_PERMITTED` naming every effect that the permit does not cover.
fn within_permit(admitted: &Admitted, observation: &Observation) -> Result<(), Error> {
    let beyond = score::side_effects(&admitted.effects, observation);
    if beyond.is_empty() {
        return Ok(());
    }
    let effects: Vec<_> = beyond.into_iter().filter_map(|side| side.effect).collect();
    let named: Vec<_> = effects.iter().map(|effect| effect.target.as_str()).collect();
    let message = format!("it would change {}, which its permit does not cover; nothing was changed", named.join(", "));
    let declare = |effect: &ObservedEffect| ExpectedEffect {
        kind: effect.kind,
        target: effect.target.clone(),
        min_count: None,
        max_count: None,
    };
    let remedy = remedy::Kind::DeclareEffect(DeclareEffect { effects: effects.iter().map(declare).collect() });
    Err(Error::with(Reason::EffectNotPermitted, message, remedy))
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

/// Name of a hidden sibling that no other permit uses.
fn hidden_name(permit_id: &str, role: &str) -> CString {
    let unique = &measure::sha256_of(permit_id.as_bytes())[..24];
    CString::new(format!(".cmdop-{unique}-{role}")).expect("hex digits and a fixed word hold no NUL")
}

#[cfg(test)]
mod tests;
