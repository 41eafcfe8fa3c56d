//! `terminal.exec` as the host's own user, confined by nothing: a person agreed to that before.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use cmdop_contract::effect::{Class, KINDS, class};
use cmdop_contract::json;
use cmdop_contract::path::normalise;
use cmdop_contract::reason;
use cmdop_contract::v1::{self, EffectKind, Outcome, OutputStream, Reason, Report, ToolResult};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::kept::Kept;
use super::place::{show, system_path};
use super::{UNCONFINED, permitted_kinds, unobserved};
use crate::Error;
use crate::admit::Admitted;
use crate::daemon::execute::{failure, report, unknown};
use crate::daemon::output::OutputSender;

/// Limits that only a kernel which counts a command's processes together can hold.
const UNHELD: [&str; 6] = ["cpu_s", "memory_mb", "processes", "file_mb", "disk_mb", "pty"];

/// Variables of the daemon that programs cannot do without; the rest of its environment is its own.
const KEPT: [&str; 10] =
    ["PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SystemRoot", "SystemDrive", "USERPROFILE", "PATHEXT", "ComSpec"];

/// How often somebody looks whether the command has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// How long what was written before the end may take to come through.
const REST: Duration = Duration::from_secs(1);

/// What a command is made from.
struct Given {
    words: Vec<String>,
    cwd: Vec<u8>,
    env: HashMap<String, String>,
    stdin: Vec<u8>,
    timeout: Duration,
}

/// How a command ended.
enum End {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
}

/// What came of it.
struct Finished {
    end: End,
    stdout: Kept,
    stderr: Kept,
    duration: Duration,
}

/// Runs what a person agreed to, and reports that nobody saw what it did.
pub(super) async fn run(
    admitted: &Admitted,
    kept_bytes: usize,
    home: &str,
    output: OutputSender,
    stop: CancellationToken,
) -> Report {
    let action = admitted.action.as_ref().map_or("", |action| action.arguments_json.as_str());
    let given = match Given::read(action) {
        Ok(given) => given,
        Err(error) => return failure(admitted, error),
    };
    let child = match given.start(home) {
        Ok(child) => child,
        Err(error) => return failure(admitted, error),
    };
    let running = Running { child, kept_bytes, output, stop };
    let finished = tokio::task::spawn_blocking(move || running.finish(&given)).await;
    // Whatever it said that it does, it may have done anything of these.
    let changes = KINDS.iter().map(|(kind, _)| *kind).filter(|kind| class(*kind) != Class::Look);
    let unseen = changes.chain([EffectKind::ProcessSpawn]).chain(permitted_kinds(admitted));
    let kinds: std::collections::BTreeSet<EffectKind> = unseen.collect();
    let observation = Some(unobserved(kinds));
    match finished {
        Ok(Ok(finished)) => Report {
            outcome: Outcome::Applied.into(),
            result: Some(result(&finished)),
            observation,
            ..report(admitted)
        },
        Ok(Err(error)) => Report { observation, ..unknown(admitted, &error.to_string()) },
        Err(panic) => Report { observation, ..unknown(admitted, &panic.to_string()) },
    }
}

impl Given {
    /// # Errors
    /// MALFORMED_JSON and INVALID_ARGUMENTS, with what to mend.
    fn read(text: &str) -> Result<Self, Error> {
        let Ok(Value::Object(given)) = json::parse(text) else {
            let message = "the arguments are not one JSON object";
            return Err(Error::fix(Reason::MalformedJson, message, "/arguments", "a JSON object"));
        };
        if let Some(limit) = UNHELD.iter().find(|name| given.get(**name).is_some_and(|it| !it.is_null())) {
            let message =
                format!("this host ({}) cannot hold a command to `{limit}`; nothing was run", std::env::consts::OS);
            return Err(invalid(message, &format!("/arguments/{limit}"), "no such limit, or a host on Linux"));
        }
        let cwd = given.get("cwd").and_then(Value::as_str).unwrap_or_default();
        if !cwd.starts_with('/') || cwd.contains('\0') {
            let message = "`cwd` must be absolute and may not hold a NUL character";
            return Err(invalid(message, "/arguments/cwd", "an absolute path"));
        }
        let timeout = given.get("timeout_s").and_then(Value::as_u64).unwrap_or(60).clamp(1, 3_600);
        Ok(Self {
            words: words(&given)?,
            cwd: normalise(cwd.as_bytes()),
            env: environment(&given)?,
            stdin: given.get("stdin").and_then(Value::as_str).unwrap_or_default().as_bytes().to_vec(),
            timeout: Duration::from_secs(timeout),
        })
    }

    /// # Errors
    /// `PATH_NOT_FOUND`, `COMMAND_FAILED`: nothing ran.
    fn start(&self, home: &str) -> Result<Child, Error> {
        let cwd = system_path(&self.cwd)?;
        if !cwd.is_dir() {
            let message = format!("the working directory {} does not exist; nothing was run", show(&self.cwd));
            return Err(Error::fix(Reason::PathNotFound, message, "/arguments/cwd", "a directory that exists"));
        }
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).current_dir(cwd).env_clear();
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        command.env("HOME", home).envs(kept).envs([("LANG", "C.UTF-8"), ("TERM", "dumb")]).envs(&self.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map_err(|error| {
            let message = format!("`{}` cannot be started: {error}; nothing was run", self.words[0]);
            Error::fix(Reason::CommandFailed, message, "/arguments", "a program that is installed here")
        })
    }
}

/// The program and its arguments: those of `argv`, or bash with a line.
fn words(given: &Map<String, Value>) -> Result<Vec<String>, Error> {
    let present = |name: &str| given.get(name).filter(|value| !value.is_null());
    let words = match (present("command"), present("argv")) {
        (Some(_), None) if !Path::new(BASH).exists() => {
            let message = "this host has no bash to run a line with; nothing was run";
            return Err(invalid(message, "/arguments/command", "`argv`: a program and its arguments"));
        }
        (Some(line), None) => {
            line.as_str().map(|line| vec![BASH.to_owned(), "--norc".to_owned(), "-c".to_owned(), line.to_owned()])
        }
        (None, Some(words)) => {
            let words = words.as_array().map(|words| words.iter().map(|word| word.as_str().map(str::to_owned)));
            words.and_then(Iterator::collect)
        }
        _ => None,
    };
    let is_good = |words: &Vec<String>| {
        words.first().is_some_and(|name| !name.is_empty()) && words.iter().all(|word| !word.contains('\0'))
    };
    words.filter(is_good).ok_or_else(|| {
        let message = "exactly one of `command` and `argv` says what to run, as text without NUL characters";
        invalid(message, "/arguments", "either `command` or `argv`")
    })
}

/// The same shell that calls are read as.
const BASH: &str = "/bin/bash";

fn environment(given: &Map<String, Value>) -> Result<HashMap<String, String>, Error> {
    let Some(given) = given.get("env").and_then(Value::as_object) else { return Ok(HashMap::new()) };
    let is_good = |name: &str, value: &str| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    let variable = |(name, value): (&String, &Value)| match value.as_str() {
        Some(value) if is_good(name, value) => Ok((name.clone(), value.to_owned())),
        _ => {
            let message = format!("environment variable `{name}` cannot be set to that");
            Err(invalid(message, "/arguments/env", "a name without `=` and a string without NUL"))
        }
    };
    given.iter().map(variable).collect()
}

fn invalid(message: impl Into<String>, pointer: &str, expected: &str) -> Error {
    Error::fix(Reason::InvalidArguments, message, pointer, expected)
}

/// A command under way.
struct Running {
    child: Child,
    kept_bytes: usize,
    output: OutputSender,
    stop: CancellationToken,
}

impl Running {
    /// Waits for its end, or makes one.
    ///
    /// # Errors
    /// That nobody can tell what became of it.
    fn finish(mut self, given: &Given) -> Result<Finished, Error> {
        let started = Instant::now();
        let (sender, pieces) = sync_channel(64);
        read_from(self.child.stdout.take(), OutputStream::Stdout, sender.clone());
        read_from(self.child.stderr.take(), OutputStream::Stderr, sender);
        if let Some(mut stdin) = self.child.stdin.take() {
            let given = given.stdin.clone();
            // One that reads nothing must not make anybody wait; the pipe ends with the command.
            std::thread::spawn(move || stdin.write_all(&given));
        }
        let mut finished = Finished {
            end: End::Cancelled,
            stdout: Kept::new(self.kept_bytes),
            stderr: Kept::new(self.kept_bytes),
            duration: Duration::ZERO,
        };
        finished.end = loop {
            self.take(&pieces, PAUSE, &mut finished);
            if let Some(status) = self.child.try_wait().map_err(Error::io("wait for the command"))? {
                break End::Exited(status);
            }
            if started.elapsed() >= given.timeout {
                break End::TimedOut;
            }
            if self.stop.is_cancelled() {
                break End::Cancelled;
            }
        };
        // What it started in its own group ends with it; what left the group nobody here knows.
        kill(&mut self.child);
        finished.duration = started.elapsed();
        let rest = Instant::now();
        while rest.elapsed() < REST && self.take(&pieces, PAUSE, &mut finished) {}
        Ok(finished)
    }

    /// Takes what was written; false once both streams have ended.
    fn take(&mut self, pieces: &Receiver<(OutputStream, Vec<u8>)>, wait: Duration, finished: &mut Finished) -> bool {
        let mut next = pieces.recv_timeout(wait);
        loop {
            match next {
                Ok((stream, piece)) => {
                    let kept = if stream == OutputStream::Stdout { &mut finished.stdout } else { &mut finished.stderr };
                    kept.push(&piece);
                    self.output.push(stream, &piece);
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(wait);
                    return false;
                }
            }
            next = pieces.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }
}

fn read_from(
    stream: Option<impl Read + Send + 'static>,
    name: OutputStream,
    pieces: SyncSender<(OutputStream, Vec<u8>)>,
) {
    let Some(mut stream) = stream else { return };
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if pieces.send((name, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
}

/// Ends the command and what is in its process group (Unix), or its tree (Windows).
fn kill(child: &mut Child) {
    let id = child.id().to_string();
    #[cfg(unix)]
    let ended = Command::new("/bin/kill").args(["-KILL", "--", &format!("-{id}")]).stdin(Stdio::null()).output();
    #[cfg(windows)]
    let ended = Command::new("taskkill").args(["/T", "/F", "/PID", &id]).stdin(Stdio::null()).output();
    if let Err(error) = ended {
        tracing::warn!(%error, "what a command started may still run");
    }
    // It has ended already, or does now.
    let _ = child.kill();
    let _ = child.wait();
}

/// The tool's result by how the command ended.
fn result(finished: &Finished) -> ToolResult {
    let Finished { end, stdout, stderr, duration } = finished;
    let (exit_code, signal) = match end {
        End::Exited(status) => (status.code(), signal_of(*status)),
        End::TimedOut | End::Cancelled => (None, None),
    };
    let is_late = matches!(end, End::TimedOut);
    let told = json!({
        "exit_code": exit_code,
        "signal": signal,
        "limit": is_late.then_some("time"),
        "stdout": stdout.text(),
        "stderr": stderr.text(),
        "stdout_bytes": stdout.total,
        "stderr_bytes": stderr.total,
        "stdout_truncated": stdout.is_truncated(),
        "stderr_truncated": stderr.is_truncated(),
        "timed_out": is_late,
        "usage": null,
    });
    let error = why_failed(finished);
    ToolResult {
        ok: error.is_none(),
        result_json: told.to_string(),
        error,
        duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
        confinement: UNCONFINED.to_owned(),
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_status: ExitStatus) -> Option<i32> {
    None
}

fn why_failed(finished: &Finished) -> Option<v1::Error> {
    let may_have = "; what it did until then nobody saw";
    match finished.end {
        End::Exited(status) if status.success() => None,
        End::Exited(status) => {
            let last = Kept::last_words(&finished.stderr, &finished.stdout);
            let message = format!("the command ended with {status}: {last}{may_have}");
            let expected = "a command that ends with exit code 0 here; `result` has what this one printed";
            Some(reason::error(Reason::CommandFailed, message).fix_arguments("/arguments", expected))
        }
        End::TimedOut => {
            let after = finished.duration.as_secs();
            let message = format!("the command was killed after {after} s{may_have}");
            Some(reason::error(Reason::TimedOut, message).fix_arguments("/arguments/timeout_s", "a longer time"))
        }
        End::Cancelled => {
            Some(reason::error(Reason::Cancelled, format!("the command was cancelled and killed{may_have}")))
        }
    }
}
