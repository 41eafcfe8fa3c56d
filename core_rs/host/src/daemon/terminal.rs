//! `terminal.exec`: a command on a private layer, and later the commit of exactly that layer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmdop_contract::digest::observation_digest;
use cmdop_contract::effect::Effect;
use cmdop_contract::reason;
use cmdop_contract::tool::COMMAND;
use cmdop_contract::v1::{
    self, EffectKind, Observation, ObservedEffect, Outcome, Reason, Report, Stage, ToolResult, Unobserved,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arguments::Arguments;
use super::beside::Beside;
use super::execute::{failure, report};
use super::layers::{Layers, Meta};
use super::machine::{User, broken, success, user};
use super::output::OutputSender;
use crate::admit::Interrupted;
use crate::attempts::Attempts;
use crate::differ::Difference;
use crate::exec::{self, Command, End, Finished, Leftovers, Limit};
use crate::fixture::aliases;
use crate::fixture::elsewhere;
use crate::journal::Journals;
use crate::masks::{Finder, Masked, Masks};
use crate::native::Done;
use crate::network::Network;
use crate::probe::{Found, user_places};
use crate::sandbox::Layer;
use crate::spawned::{Processes, Programs};
use crate::spawner::Spawner;
use crate::{Admitted, Error, commit, differ};

/// Directories within each other that a layer may hold: more is no use and a danger to whoever walks.
const MAX_DEPTH: usize = 512;
/// Stack of the thread that measures a layer: trees that a command deletes may be deep, too.
const MEASURE_STACK: usize = 256 << 20;

/// Runs commands and commits their layers.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) spawner: Spawner,
    /// Why no command can run on a private layer here, as it was found at the start.
    refused: Option<String>,
    /// Why none can run on the machine itself, held to its permit.
    pub(super) refused_directly: Option<String>,
    /// Why no command can have a network here.
    no_network: Option<String>,
    /// Where the host's server listens, whom no command may contact.
    servers: Vec<SocketAddr>,
    /// Digests of programs; none if nobody sees here what a command starts.
    programs: Option<Programs>,
    /// Directories that a command finds empty.
    hidden: Vec<PathBuf>,
    /// Where agents work.
    workspaces: Vec<PathBuf>,
    finder: Arc<Finder>,
    journals: Arc<Journals>,
    /// What commands left running.
    pub(super) leftovers: Leftovers,
    kept_bytes: usize,
    user: User,
}

impl Terminal {
    pub(super) fn new(
        spawner: Spawner,
        found: &Found,
        hidden: &[PathBuf],
        workspaces: Vec<PathBuf>,
        journals: Arc<Journals>,
        leftovers: Leftovers,
        max_output_bytes: u64,
    ) -> Self {
        let kept_bytes = usize::try_from(max_output_bytes).unwrap_or(usize::MAX);
        let (refused, refused_directly) = (found.confinement.clone().err(), found.direct.clone().err());
        let no_network = found.network.clone().err();
        let (programs, hidden) = (found.processes.clone().ok(), hidden.to_vec());
        let finder = Arc::default();
        Self {
            spawner,
            refused,
            refused_directly,
            no_network,
            servers: Vec::new(),
            programs,
            hidden,
            workspaces,
            finder,
            journals,
            leftovers,
            kept_bytes,
            user: user(),
        }
    }

    /// The same, whose commands never reach these.
    pub(super) fn keeping_from(self, servers: Vec<SocketAddr>) -> Self {
        Self { servers, ..self }
    }

    /// What became of a commit that an earlier life left, after it was finished if it could be.
    pub(super) fn recover(&self, interrupted: &Interrupted) -> Option<Outcome> {
        let permit = interrupted.permit();
        let is_command = permit.action.as_ref().is_some_and(|action| action.tool == COMMAND);
        if is_command && permit.stage() == Stage::Commit { self.journals.recover(interrupted) } else { None }
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
                let journals = self.journals.clone();
                let done = tokio::task::spawn_blocking(move || commit_layer(&admitted, &directory, &journals)).await;
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
        if let Some(why) = &self.refused {
            return Err(exec::unavailable(why));
        }
        let mut command = self.command(admitted)?;
        command.network = self.network(admitted).await?;
        let directory = layers.prepare(&admitted.call_id)?;
        let masked = self.masked(admitted, &command).await?;
        let mut layer = self.layer(directory, &command.cwd).await?;
        layer.mask(&masked)?;
        let push = |stream, piece: &[u8]| output.push(stream, piece);
        let finished = exec::run(&self.spawner, admitted, &layer, &command, stop, push).await;
        let beside = Beside::of(&admitted.call_id, &command, finished.as_ref());
        let previewed = match finished {
            Ok(finished) => self.hold(layers, admitted, layer, &finished, masked, beside.clone()).await,
            Err(error) => Err(error),
        };
        // What was contacted stays so, whatever became of the rest.
        Ok(previewed.unwrap_or_else(|error| beside.keep(failure(admitted, error))))
    }

    /// Measures what a command changed, and holds its layer if there is something to commit.
    async fn hold(
        &self,
        layers: &Layers,
        admitted: &Admitted,
        layer: Layer,
        finished: &Finished,
        masked: Arc<Masked>,
        beside: Beside,
    ) -> Result<Report, Error> {
        let result = result(finished, &masked);
        let is_ok = result.ok;
        if let Some(ended) = would_leave(admitted, finished).filter(|_| is_ok) {
            return Err(ended);
        }
        let journals = self.journals.clone();
        let (observation, changes) = measured(move || {
            let difference = match check_shape(&layer)? {
                None => differ::measure(&layer, &journals).map_err(typed),
                Some(error) => Err(error),
            };
            let mut difference = match difference {
                // How it failed says more than what nobody can measure and nobody will commit.
                Err(error) if !is_ok && error.reason() == Reason::UnsupportedChange => unmeasured(&error),
                measured => measured?,
            };
            let mut observation = difference.observation.take().unwrap_or_default();
            let changes = is_ok && !observation.effects.is_empty();
            // There is nothing to hold, and no commit to say so.
            if let Some(why) = commit::refusal(&difference).filter(|_| is_ok && !changes) {
                return Err(why);
            }
            aliases::tell_in(&mut observation)?;
            beside.add_to(&mut observation);
            masked.tell(&mut observation);
            if changes {
                difference.observation = Some(observation.clone());
                commit::save(layer.dir(), &difference)?;
            }
            Ok((observation, changes))
        })
        .await?;
        if changes {
            let (call_id, permit_id) = (admitted.call_id.clone(), admitted.permit_id.clone());
            layers.hold(&Meta { call_id, permit_id, native: None })?;
        }
        Ok(success(admitted, Done { outcome: Outcome::NotApplied, result, observation }, changes))
    }

    /// What the permit lets the command contact; none if nothing.
    async fn network(&self, admitted: &Admitted) -> Result<Option<Network>, Error> {
        if !Network::is_needed(&admitted.effects) {
            return Ok(None);
        }
        if let Some(why) = &self.no_network {
            let message = format!(
                "this host cannot open a network to what a permit names and to nothing else ({why}); nothing was run"
            );
            return Err(Error::fix(
                Reason::PreviewUnavailable,
                message,
                "/expect",
                "no effect `net.connect`, or another host",
            ));
        }
        Network::open(&admitted.call_id, &admitted.effects, &self.servers).await.map(Some)
    }

    /// An empty layer over everything that the daemon's user could change.
    async fn layer(&self, directory: PathBuf, cwd: &str) -> Result<Layer, Error> {
        if rustix::process::geteuid().is_root() {
            return blocking(move || Layer::create(&directory)).await;
        }
        let others = user_places(&self.user.home).into_iter().chain([cwd.into()]);
        let places: Vec<_> = self.workspaces.iter().cloned().chain(others).collect();
        blocking(move || Layer::of_user(&directory, &places)).await
    }

    /// What the permit hides, found on the machine as it is.
    pub(super) async fn masked(&self, admitted: &Admitted, command: &Command) -> Result<Arc<Masked>, Error> {
        let masks = Masks::read(admitted.masks.as_ref()).map_err(|why| Error::stop(Reason::PermitInvalid, why))?;
        let (cwd, home) = (PathBuf::from(&command.cwd), PathBuf::from(&self.user.home));
        let (workspaces, hidden) = (self.workspaces.clone(), command.hidden.clone());
        let finder = self.finder.clone();
        blocking(move || Ok(Arc::new(masks.find(&finder, &workspaces, &cwd, &home, &hidden)))).await
    }

    pub(super) fn command(&self, admitted: &Admitted) -> Result<Command, Error> {
        let action = admitted.action.as_ref().map_or("", |action| action.arguments_json.as_str());
        let given = Arguments::read(action)?;
        let hidden = self.hidden.iter().cloned().chain(self.journals.private_directories()).collect();
        Ok(Command {
            program: given.program,
            cwd: given.cwd,
            env: given.env,
            stdin: given.stdin,
            limits: given.limits,
            terminal: given.terminal,
            kept_bytes: self.kept_bytes,
            hidden: elsewhere::of_view(hidden)?,
            home: self.user.home.clone(),
            user: self.user.name.clone(),
            network: None,
            processes: self.programs.as_ref().map(Processes::new),
            attempts: Attempts::default(),
            leaves: Vec::new(),
        })
    }
}

/// What a private copy cannot give a command that means to leave something running, and may.
fn would_leave(admitted: &Admitted, finished: &Finished) -> Option<Error> {
    let permitted: Vec<_> = admitted.effects.iter().filter_map(|effect| Effect::try_from(effect).ok()).collect();
    let is_meant = |ended: &&ObservedEffect| permitted.iter().any(|effect| effect.covers_observed(ended));
    let ended = finished.ended.iter().find(is_meant)?;
    let message = format!(
        "the command would leave `{}` running, and no process outlives a private copy, so it was ended and nothing \
         was applied; a command may leave it where it runs directly (level `auto`, every effect foreseen and \
         declared), and a service outlives its host",
        ended.target
    );
    Some(Error::use_tool(Reason::UnsupportedChange, message, "service.start"))
}

/// What is said of a layer that is thrown away unread.
fn unmeasured(error: &Error) -> Difference {
    let why = Unobserved { kind: EffectKind::FileModify.into(), why: error.to_string() };
    let observation = Observation { unobserved: vec![why], digest: observation_digest(&[]), ..Observation::default() };
    Difference { observation: Some(observation), ..Difference::default() }
}

/// Refuses what nobody could walk; the error is of what nobody may look into.
fn check_shape(layer: &Layer) -> Result<Option<Error>, Error> {
    let found = exec::survey(layer, u64::MAX)?;
    if found.depth > MAX_DEPTH {
        return Err(too_deep());
    }
    Ok(found.unseen.map(|name| {
        let message = format!(
            "the command left the directory `{}` so that its own user may not look into it, and what is in it could not \
             be measured; nothing was applied",
            name.to_string_lossy().escape_debug()
        );
        let expected = "a command that leaves every directory with read and search permission for its owner";
        Error::fix(Reason::UnsupportedChange, message, "/arguments", expected)
    }))
}

fn too_deep() -> Error {
    let message = "the command changes a tree deeper than this host measures, or paths longer; nothing was applied";
    Error::fix(
        Reason::UnsupportedChange,
        message,
        "/arguments",
        &format!(
            "at most {MAX_DEPTH} levels of directories, and paths of fewer than 4,096 bytes, the place of the private copy included"
        ),
    )
}

/// A path longer than the kernel takes is told with trees that are too deep; what an ordinary user's host may not read it
/// cannot measure, and asking again does not help.
fn typed(error: Error) -> Error {
    match error {
        Error::Io { source, .. } if source.raw_os_error() == Some(libc::ENAMETOOLONG) => too_deep(),
        Error::Io { doing, source } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            let name = doing.rsplit('/').next().unwrap_or_default();
            let message = format!(
                "the host's user may not read `{name}`, so what the command made of it could not be measured; nothing was \
                 applied"
            );
            let expected = "a command that changes files only which their owner may read, before and after";
            Error::fix(Reason::UnsupportedChange, message, "/arguments", expected)
        }
        error => error,
    }
}

/// Applies exactly the layer in a directory.
fn commit_layer(admitted: &Admitted, directory: &Path, journals: &Journals) -> Report {
    match commit::commit(admitted, directory, journals) {
        Ok(observation) => {
            Report { outcome: Outcome::Applied.into(), observation: Some(observation), ..report(admitted) }
        }
        Err(error) if error.reason() == Reason::OutcomeUnknown => broken(admitted, &error.to_string()),
        Err(error) => failure(admitted, error),
    }
}

/// Runs what waits for the disk where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::stop(Reason::Internal, format!("a defect of the host: {error}"))))
}

/// The same on a thread with room for deep trees.
async fn measured<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    blocking(move || {
        let thread = std::thread::Builder::new().name("measure".to_owned()).stack_size(MEASURE_STACK).spawn(work);
        let thread = thread.map_err(Error::io("start measuring"))?;
        let done = thread.join();
        done.unwrap_or_else(|_| Err(Error::stop(Reason::Internal, "a defect of the host: the measurement broke")))
    })
    .await
}

/// The tool's result by how the command ended.
pub(super) fn result(finished: &Finished, masked: &Masked) -> ToolResult {
    let (exit_code, signal, limit) = match finished.end {
        End::Exited(code) => (Some(code), None, finished.met.map(name_of)),
        End::Signalled(signal) => (None, Some(signal), None),
        End::Limited(limit) => (None, None, Some(name_of(limit))),
        End::Cancelled => (None, None, None),
    };
    let usage = finished.usage.map(|usage| {
        let (user_s, system_s) = (usage.user.as_secs_f64(), usage.system.as_secs_f64());
        let mut told = json!({"user_s": user_s, "system_s": system_s});
        if let Some(bytes) = usage.max_rss {
            told["max_rss_bytes"] = json!(bytes);
        }
        told
    });
    let told = json!({
        "exit_code": exit_code,
        "signal": signal,
        "limit": limit,
        "stdout": finished.stdout.text(),
        "stderr": finished.stderr.text(),
        "stdout_bytes": finished.stdout.total,
        "stderr_bytes": finished.stderr.total,
        "stdout_truncated": finished.stdout.is_truncated(),
        "stderr_truncated": finished.stderr.is_truncated(),
        "timed_out": finished.end == End::Limited(Limit::Time),
        "usage": usage,
    });
    let error = why_failed(finished).map(|error| match error.reason() {
        Reason::CommandFailed => masked.explain(error, &[&finished.stderr.text(), &finished.stdout.text()]),
        _ => error,
    });
    ToolResult {
        ok: error.is_none(),
        result_json: told.to_string(),
        error,
        duration_ns: u64::try_from(finished.duration.as_nanos()).unwrap_or(u64::MAX),
        confinement: finished.confinement.clone(),
    }
}

fn why_failed(finished: &Finished) -> Option<v1::Error> {
    let (reason, message) = match finished.end {
        End::Exited(0) => return None,
        End::Exited(code) => {
            let last = crate::exec::Kept::last_words(&finished.stderr, &finished.stdout);
            (Reason::CommandFailed, format!("the command ended with exit code {code}: {last}"))
        }
        End::Signalled(signal) => (Reason::CommandFailed, format!("the command was ended by signal {signal}")),
        End::Limited(Limit::Time) => {
            let after = finished.duration.as_secs();
            let message = format!("the command was killed with its descendants after {after} s");
            return Some(
                reason::error(Reason::TimedOut, message).fix_arguments("/arguments/timeout_s", "a longer time"),
            );
        }
        End::Limited(Limit::Full) => {
            let message = "the host's own disk, on which a command's changes are kept, is nearly full; the command was \
                           ended with its descendants, and a higher `disk_mb` does not help";
            return Some(reason::error(Reason::HostStorageFull, message));
        }
        End::Limited(limit) => {
            let (argument, what) = argument_of(limit);
            let message = format!("the command met its limit of {what} and was ended with its descendants");
            let error = reason::error(Reason::LimitExceeded, message);
            return Some(
                error.fix_arguments(&format!("/arguments/{argument}"), "a higher limit, or do less in one call"),
            );
        }
        End::Cancelled => (Reason::Cancelled, "the command was cancelled and killed with its descendants".to_owned()),
    };
    let error = reason::error(reason, message);
    Some(match reason {
        Reason::CommandFailed => error.fix_arguments(
            "/arguments",
            "a command that ends with exit code 0 here; `result` has what this one printed",
        ),
        _ => error,
    })
}

/// A limit in the words of the result.
fn name_of(limit: Limit) -> &'static str {
    match limit {
        Limit::Time => "time",
        Limit::Cpu => "cpu",
        Limit::Memory => "memory",
        Limit::Processes => "processes",
        Limit::File => "file_size",
        Limit::Disk | Limit::Full => "disk",
    }
}

/// The argument that sets a limit, and what it limits.
fn argument_of(limit: Limit) -> (&'static str, &'static str) {
    match limit {
        Limit::Time => ("timeout_s", "time"),
        Limit::Cpu => ("cpu_s", "processor time"),
        Limit::Memory => ("memory_mb", "memory"),
        Limit::Processes => ("processes", "processes"),
        Limit::File => ("file_mb", "file size"),
        Limit::Disk | Limit::Full => ("disk_mb", "room for its changes"),
    }
}
