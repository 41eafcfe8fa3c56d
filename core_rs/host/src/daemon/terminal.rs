//! `terminal.exec`: a command on a private layer, and later the commit of exactly that layer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Outcome, Reason, Report, Stage, ToolResult};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::User;
use super::execute::{broken, failure, report, success};
use super::layers::{Layers, Meta};
use super::output::OutputSender;
use crate::admit::Interrupted;
use crate::exec::{self, Command, End, Finished};
use crate::native::Done;
use crate::sandbox::Layer;
use crate::spawner::Spawner;
use crate::{Admitted, Error, commit, differ};

/// Name of the tool.
pub(super) const TOOL: &str = "terminal.exec";

/// Wall time of a command unless its arguments say otherwise.
const DEFAULT_TIMEOUT_S: u64 = 60;
const MAX_TIMEOUT_S: u64 = 3_600;

/// What confines a command, as a result says it.
const CONFINEMENT: &str = "overlay+pid+net";

/// Runs commands and commits their layers.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) spawner: Spawner,
    /// Directories that a command finds empty.
    pub(super) hidden: Vec<PathBuf>,
    kept_bytes: usize,
    user: User,
}

impl Terminal {
    pub(super) fn new(spawner: Spawner, hidden: &[PathBuf], max_output_bytes: u64, user: User) -> Self {
        let kept_bytes = usize::try_from(max_output_bytes).unwrap_or(usize::MAX);
        Self { spawner, hidden: hidden.to_vec(), kept_bytes, user }
    }

    /// What became of a commit that an earlier life left, after it was finished if it could be.
    pub(super) fn recover(&self, layers: &Layers, interrupted: &Interrupted) -> Option<Outcome> {
        let permit = interrupted.permit();
        let is_command = permit.action.as_ref().is_some_and(|action| action.tool == TOOL);
        if is_command && permit.stage() == Stage::Commit {
            recovered(&layers.path(&permit.call_id), &permit.call_id)
        } else {
            None
        }
    }

    /// Does what the permit says.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub(super) async fn run(
        &self,
        layers: &Layers,
        admitted: Admitted,
        output: OutputSender,
        stop: CancellationToken,
    ) -> Result<Report, Error> {
        match admitted.stage() {
            Stage::Preview => self.preview(layers, &admitted, output, &stop).await,
            Stage::Commit => {
                layers.meta(&admitted.call_id)?;
                let directory = layers.path(&admitted.call_id);
                let permit = (*admitted).clone();
                let done = tokio::task::spawn_blocking(move || commit_layer(&admitted, &directory)).await;
                Ok(done.unwrap_or_else(|panic| broken(&permit, &panic.to_string())))
            }
            Stage::Apply => self.direct(layers, &admitted, output, &stop).await,
            Stage::Unspecified => Err(Error::stop(Reason::PermitInvalid, "the permit names no stage")),
        }
    }

    async fn preview(
        &self,
        layers: &Layers,
        admitted: &Admitted,
        output: OutputSender,
        stop: &CancellationToken,
    ) -> Result<Report, Error> {
        let previewed = self.try_preview(layers, admitted, output, stop).await;
        if !matches!(&previewed, Ok(report) if report.layer_held) {
            // What failed or would change nothing is never committed.
            layers.discard(&admitted.call_id);
        }
        previewed
    }

    async fn try_preview(
        &self,
        layers: &Layers,
        admitted: &Admitted,
        mut output: OutputSender,
        stop: &CancellationToken,
    ) -> Result<Report, Error> {
        let command = self.command(admitted)?;
        let directory = layers.prepare(&admitted.call_id)?;
        let layer = blocking(move || Layer::create(&directory)).await?;
        let push = |stream, piece: &[u8]| output.push(stream, piece);
        let finished = exec::run(&self.spawner, admitted, &layer, &command, stop, push).await?;
        let result = result(&finished);
        let is_ok = result.ok;
        let observation = blocking(move || {
            let difference = differ::measure(&layer)?;
            let observation = difference.observation.clone().unwrap_or_default();
            if is_ok && !observation.effects.is_empty() {
                commit::save(layer.dir(), &difference)?;
            }
            Ok(observation)
        })
        .await?;
        let is_held = is_ok && !observation.effects.is_empty();
        if is_held {
            let (call_id, permit_id) = (admitted.call_id.clone(), admitted.permit_id.clone());
            layers.hold(&Meta { call_id, permit_id, native: None })?;
        }
        Ok(success(admitted, Done { outcome: Outcome::NotApplied, result, observation }, is_held))
    }

    pub(super) fn command(&self, admitted: &Admitted) -> Result<Command, Error> {
        let action = admitted.action.as_ref().map_or("", |action| action.arguments_json.as_str());
        let arguments: Map<String, Value> = serde_json::from_str(action).map_err(|_| {
            Error::fix(Reason::MalformedJson, "the arguments are not one JSON object", "/arguments", "a JSON object")
        })?;
        let text = |name: &str| arguments.get(name).and_then(Value::as_str);
        let (Some(line), Some(cwd)) = (text("command"), text("cwd")) else {
            let message = "`command` and `cwd` must be strings";
            return Err(Error::fix(Reason::InvalidArguments, message, "/arguments", "a command and a directory"));
        };
        if !cwd.starts_with('/') || [line, cwd].iter().any(|text| text.contains('\0')) {
            let message = "`cwd` must be absolute, and neither it nor `command` may hold a NUL character";
            return Err(Error::fix(Reason::InvalidArguments, message, "/arguments/cwd", "an absolute path"));
        }
        let timeout_s = arguments.get("timeout_s").and_then(Value::as_u64).unwrap_or(DEFAULT_TIMEOUT_S);
        Ok(Command {
            line: line.to_owned(),
            cwd: cwd.to_owned(),
            env: environment(&arguments)?,
            stdin: text("stdin").unwrap_or_default().as_bytes().to_vec(),
            timeout: Duration::from_secs(timeout_s.clamp(1, MAX_TIMEOUT_S)),
            kept_bytes: self.kept_bytes,
            hidden: self.hidden.clone(),
            home: self.user.home.clone(),
            user: self.user.name.clone(),
        })
    }
}

/// Applies exactly the layer in a directory.
fn commit_layer(admitted: &Admitted, directory: &Path) -> Report {
    let applied = |observation| Report { outcome: Outcome::Applied.into(), observation, ..report(admitted) };
    let failed = match commit::commit(admitted, directory) {
        Ok(observation) => return applied(Some(observation)),
        Err(error) => error,
    };
    // Once its intent is durable a commit is finished or nobody can tell how far it came; without
    // one, an error means that nothing was changed.
    match commit::resume(directory) {
        Ok(false) => failure(admitted, failed),
        Ok(true) => applied(None),
        Err(again) => broken(admitted, &format!("{failed}; {again}")),
    }
}

/// What became of a commit that an earlier life left.
fn recovered(directory: &Path, call_id: &str) -> Option<Outcome> {
    match commit::resume(directory) {
        Ok(true) => Some(Outcome::Applied),
        Ok(false) if commit::is_done(directory) => Some(Outcome::Applied),
        // The difference is there and no intent ever was: nothing was changed.
        Ok(false) if directory.is_dir() => {
            if let Err(error) = commit::abandon(directory, call_id) {
                tracing::warn!(call = call_id, %error, "what a commit had staged stays beside its places");
            }
            Some(Outcome::NotApplied)
        }
        Ok(false) => None,
        Err(error) => {
            tracing::error!(%error, "an interrupted commit cannot be finished");
            None
        }
    }
}

/// Runs what waits for the disk where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::stop(Reason::Internal, format!("a defect of the host: {error}"))))
}

fn environment(arguments: &Map<String, Value>) -> Result<HashMap<String, String>, Error> {
    let Some(given) = arguments.get("env").and_then(Value::as_object) else { return Ok(HashMap::new()) };
    let is_good = |name: &str, value: &str| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    given
        .iter()
        .map(|(name, value)| match value.as_str() {
            Some(value) if is_good(name, value) => Ok((name.clone(), value.to_owned())),
            _ => {
                let message = format!("environment variable `{name}` cannot be set to that");
                let expected = "a name without `=` and a string without NUL";
                Err(Error::fix(Reason::InvalidArguments, message, "/arguments/env", expected))
            }
        })
        .collect()
}

/// The tool's result by how the command ended.
pub(super) fn result(finished: &Finished) -> ToolResult {
    let (exit_code, signal) = match finished.end {
        End::Exited(code) => (Some(code), None),
        End::Signalled(signal) => (None, Some(signal)),
        End::TimedOut | End::Cancelled => (None, None),
    };
    let told = json!({
        "exit_code": exit_code,
        "signal": signal,
        "stdout": finished.stdout.text(),
        "stderr": finished.stderr.text(),
        "stdout_bytes": finished.stdout.total,
        "stderr_bytes": finished.stderr.total,
        "stdout_truncated": finished.stdout.is_truncated(),
        "stderr_truncated": finished.stderr.is_truncated(),
        "timed_out": finished.end == End::TimedOut,
    });
    let error = why_failed(finished);
    ToolResult {
        ok: error.is_none(),
        result_json: told.to_string(),
        error,
        duration_ns: u64::try_from(finished.duration.as_nanos()).unwrap_or(u64::MAX),
        confinement: CONFINEMENT.to_owned(),
    }
}

fn why_failed(finished: &Finished) -> Option<v1::Error> {
    let (reason, message) = match finished.end {
        End::Exited(0) => return None,
        End::Exited(code) => {
            let stderr = finished.stderr.text();
            let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            let last: String = last.chars().take(300).collect();
            (Reason::CommandFailed, format!("the command ended with exit code {code}: {last}"))
        }
        End::Signalled(signal) => (Reason::CommandFailed, format!("the command was ended by signal {signal}")),
        End::TimedOut => {
            let after = finished.duration.as_secs();
            (Reason::TimedOut, format!("the command was killed with its descendants after {after} s"))
        }
        End::Cancelled => (Reason::Cancelled, "the command was cancelled and killed with its descendants".to_owned()),
    };
    Some(reason::error(reason, message))
}
