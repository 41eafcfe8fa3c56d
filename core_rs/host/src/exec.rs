//! Running a command in a private layer: its streams, its limits, its end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cmdop_contract::reason;
use cmdop_contract::v1::{ObservedEffect, OutputStream, PermittedEffect, Reason};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::missing::Missing;
use crate::network::Network;
use crate::sandbox::{Answer, Kind, Layer, Size, Told};
use crate::spawned::Processes;
use crate::spawner::Spawner;
use crate::{Admitted, Error};

mod attempt;
mod cgroup;
mod kept;
mod left;
mod leftovers;
mod start;
mod survey;
mod terminal;

pub(crate) use attempt::{attempt_direct, attempt_preview, attempt_trapped, attempt_watched};
pub use kept::Kept;
pub use leftovers::LeftRunning;
pub(crate) use leftovers::{Leftovers, namespace_of, numbers};
pub(crate) use start::usual_bounds;
use start::{Control, Started};
pub(crate) use survey::{remove, survey};

/// Largest piece of output that is passed on at once.
const PIECE: usize = 32 * 1024;
/// How long after its command's end a process may become the program that may stay: a shell that does not
/// wait for `nohup sleep &` ends before there is a `sleep`.
const BECOMING: Duration = Duration::from_secs(1);
/// How long nothing is to be read from who is stopped, until everything was read.
const QUIET: Duration = Duration::from_millis(20);

/// What a command may use unless its arguments say otherwise.
pub const DEFAULT_LIMITS: Limits = Limits {
    time: Duration::from_secs(60),
    cpu: Duration::from_secs(600),
    memory: 4 << 30,
    processes: 1_024,
    file: 16 << 30,
    disk: 16 << 30,
};

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A line for bash.
    Line(String),
    /// A program, looked for in PATH unless it has a slash, and its arguments.
    Words(Vec<String>),
}

/// What a command may use before it is killed with all its descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall time.
    pub time: Duration,
    /// Processor time of all its processes.
    pub cpu: Duration,
    /// Bytes of memory of all its processes.
    pub memory: u64,
    /// Processes and threads at the same time.
    pub processes: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of everything that it changes.
    pub disk: u64,
}

/// A command and its bounds.
#[derive(Debug, Clone)]
pub struct Command {
    /// What is run.
    pub program: Program,
    /// Absolute working directory.
    pub cwd: String,
    /// Variables beside the clean default.
    pub env: HashMap<String, String>,
    /// Standard input; nothing if empty.
    pub stdin: Vec<u8>,
    /// What it may use.
    pub limits: Limits,
    /// Its streams are one terminal of this size.
    pub terminal: Option<Size>,
    /// Bytes that are kept of each stream, half of them head and half tail.
    pub kept_bytes: usize,
    /// Directories that the command finds empty: the daemon's own state.
    pub hidden: Vec<PathBuf>,
    /// Home directory.
    pub home: String,
    /// Its user's name.
    pub user: String,
    /// What it may contact; none if nothing.
    pub network: Option<Network>,
    /// Takes note of what it starts; none if the host cannot see that.
    pub processes: Option<Processes>,
    /// Takes note of what is refused to it.
    pub attempts: Attempts,
    /// What of it may go on when it has ended.
    pub leaves: Vec<PermittedEffect>,
}

/// Which limit ended a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Wall time.
    Time,
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Number of processes.
    Processes,
    /// Size of one file.
    File,
    /// Size of everything that it changes.
    Disk,
    /// The room that the host's own disk has left, whatever the command may use.
    Full,
}

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// A limit ended it; everything was killed.
    Limited(Limit),
    /// Somebody stopped it.
    Cancelled,
}

/// What all processes of a command used together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in its own code.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident set of one process, bytes; none if all were smaller than what the command began as.
    pub max_rss: Option<u64>,
}

/// What a command did, beside its effects.
#[derive(Debug)]
pub struct Finished {
    /// Why it ended.
    pub end: End,
    /// A limit that the kernel had to enforce, though it went on.
    pub met: Option<Limit>,
    /// Its standard output; of a terminal everything.
    pub stdout: Kept,
    /// Its standard error.
    pub stderr: Kept,
    /// Wall time.
    pub duration: Duration,
    /// What it used; none if it had to be killed from outside.
    pub usage: Option<Usage>,
    /// What confined it.
    pub confinement: String,
    /// What still ran when it had ended, and was killed.
    pub ended: Vec<ObservedEffect>,
    /// What still ran and may stay. It is stopped until it is let go on, and killed with this.
    pub left: Option<LeftRunning>,
}

/// Runs a command in a layer. Nothing of the machine changes; `output` gets each piece as it comes.
///
/// When this returns every process of the command is dead, or stopped if it may stay, and the layer is
/// still. Dropping the future kills them, too.
///
/// # Errors
/// PATH_NOT_FOUND for a missing working directory or program, PATH_NOT_USABLE for one that is not
/// executable; INVALID_ARGUMENTS for more arguments than the kernel takes; PREVIEW_UNAVAILABLE if the
/// private view cannot be made: the command did not run.
pub async fn run(
    spawner: &Spawner,
    _admitted: &Admitted,
    layer: &Layer,
    command: &Command,
    cancel: &CancellationToken,
    output: impl FnMut(OutputStream, &[u8]),
) -> Result<Finished, Error> {
    let begun = Instant::now();
    let counting = survey::Room::of(layer, command.limits.disk);
    let prepared = start::prepare(layer, command)?;
    // What a command that changes the machine finds there is counted before it runs.
    let room = counting.await?;
    if !layer.is_direct() {
        layer.settle().await;
    }
    let mut started = prepared.start(spawner)?;
    let groups = started.groups.clone();
    let watch = survey::watch(room, command.limits, &groups);
    let (forced, heard, [stdout, stderr]) = follow(&mut started, command, cancel, watch, output).await;
    let told = heard.told();
    let is_left = forced.is_none() && !heard.stay.is_empty() && told.kind() == Kind::Exited;
    // Every process is dead: nobody waits for an answer any more, and no connection is begun.
    if let Some(supervision) = started.supervision.take_if(|_| !is_left) {
        supervision.finish().await;
    }
    let group = groups.get_or_init(cgroup::Group::default);
    let end = match forced {
        Some(end) => end,
        None => ended(&told, command, group)?,
    };
    let met = group.met();
    let confinement = confinement(layer, &told, group, command.network.is_some());
    let ended = left::ended(&told, if is_left { &heard.stay } else { &[] });
    // The groups go with it, unless something is left in them.
    let left = is_left.then(|| LeftRunning::new(started, &told, &heard.stay));
    Ok(Finished {
        end,
        met,
        stdout,
        stderr,
        duration: begun.elapsed(),
        usage: (told.kind() != Kind::Silent).then(|| usage(&told)),
        confinement,
        ended,
        left,
    })
}

/// Reads until streams and control are at their end, or everybody is stopped; kills when it must.
async fn follow(
    started: &mut Started,
    command: &Command,
    cancel: &CancellationToken,
    watch: impl Future<Output = Limit>,
    mut output: impl FnMut(OutputStream, &[u8]),
) -> (Option<End>, Heard, [Kept; 2]) {
    let mut kept = [Kept::new(command.kept_bytes), Kept::new(command.kept_bytes)];
    let deadline = tokio::time::sleep(command.limits.time);
    tokio::pin!(deadline, watch);
    let mut forced = None;
    let (mut out, mut err) = (vec![0; PIECE], vec![0; PIECE]);
    let mut open = [true, true];
    let (mut heard, mut speaks) = (Heard::default(), true);
    let (control, groups) = (&started.control, &started.groups);
    while open[0] || open[1] || speaks {
        let is_quiet = !speaks && !heard.stay.is_empty();
        // The worker takes a closed control socket as the word to kill.
        let end = tokio::select! {
            read = started.stdout.read(&mut out), if open[0] => {
                open[0] = take(read, &out, |piece| {
                    kept[0].push(piece);
                    output(OutputStream::Stdout, piece);
                });
                continue;
            }
            read = started.stderr.read(&mut err), if open[1] => {
                open[1] = take(read, &err, |piece| {
                    kept[1].push(piece);
                    output(OutputStream::Stderr, piece);
                });
                continue;
            }
            () = heard.listen(control, groups, &command.leaves), if speaks => {
                speaks = false;
                continue;
            }
            // Who is stopped writes nothing: what there is to read is there.
            () = tokio::time::sleep(QUIET), if is_quiet => break,
            () = &mut deadline, if forced.is_none() => End::Limited(Limit::Time),
            limit = &mut watch, if forced.is_none() => End::Limited(limit),
            () = cancel.cancelled(), if forced.is_none() => End::Cancelled,
        };
        forced = Some(end);
        control.shutdown();
    }
    (forced, heard, kept)
}

/// Passes on what was read; false at the end of the stream.
fn take(read: std::io::Result<usize>, buffer: &[u8], mut pass: impl FnMut(&[u8])) -> bool {
    match read {
        Ok(0) | Err(_) => false,
        Ok(size) => {
            pass(&buffer[..size]);
            true
        }
    }
}

/// What worker and init said so far.
#[derive(Debug, Default)]
struct Heard {
    said: Vec<u8>,
    /// Who was told to stay when init asked, by its number in its own namespace.
    stay: Vec<i32>,
    /// When init asked first.
    asked: Option<Instant>,
    is_answered: bool,
}

impl Heard {
    fn told(&self) -> Told {
        Told::read(&self.said)
    }

    /// Says who may stay; or to ask again, while somebody may still become who may.
    fn answer(&mut self, told: &Told, control: &Control, leaves: &[PermittedEffect]) {
        let stay = left::choose(&told.left, leaves);
        let is_early = self.asked.get_or_insert_with(Instant::now).elapsed() < BECOMING;
        let is_early = is_early && stay.len() < told.left.len();
        if is_early {
            // What is left is told anew.
            let known = Told { held: told.held.clone(), init: told.init, ..Told::default() };
            self.said = prost::Message::encode_length_delimited_to_vec(&known);
        } else {
            self.stay.clone_from(&stay);
            self.is_answered = true;
        }
        control.answer(Answer { stay: if is_early { Vec::new() } else { stay }, is_early });
    }

    /// Adds to the report until it tells the end, or the other side is gone. Everybody but init is dead or
    /// stopped when it reports, and its own end takes the kernel a while. Cancel-safe: what was heard stays.
    async fn listen(&mut self, control: &Control, groups: &OnceLock<cgroup::Group>, leaves: &[PermittedEffect]) {
        loop {
            if control.ready.readable().await.is_err() {
                return;
            }
            match control.ready.try_read_buf(&mut self.said) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(read) if read > 0 => {
                    let told = self.told();
                    if let Some(held) = &told.held {
                        groups.get_or_init(|| cgroup::Group::of(held));
                    }
                    if told.asks && !self.is_answered {
                        self.answer(&told, control, leaves);
                    }
                    if told.is_whole() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
}

fn ended(told: &Told, command: &Command, group: &cgroup::Group) -> Result<End, Error> {
    let why = &told.text;
    match told.kind() {
        Kind::Exited if told.code == 0 => Ok(End::Exited(0)),
        Kind::Exited => Ok(limited(told.code - 128, group).map_or(End::Exited(told.code), End::Limited)),
        Kind::Signalled => Ok(limited(told.code, group).map_or(End::Signalled(told.code), End::Limited)),
        Kind::NoDirectory => {
            let message = format!("the working directory `{}` cannot be entered: {why}", command.cwd);
            Err(Error::fix(Reason::PathNotFound, message, "/arguments/cwd", "a directory that exists on the host"))
        }
        Kind::NoProgram if matches!(command.program, Program::Words(_)) => {
            let message = format!("nothing was run: {why}");
            Err(Error::fix(Reason::PathNotFound, message, "/arguments/argv/0", "a program that the host has"))
        }
        Kind::NotExecutable if matches!(command.program, Program::Words(_)) => {
            let message = format!("nothing was run: it is not executable: {why}");
            Err(Error::fix(Reason::PathNotUsable, message, "/arguments/argv/0", "a program that may be executed"))
        }
        Kind::TooLarge => Err(start::too_large()),
        Kind::Failed | Kind::NoProgram | Kind::NotExecutable => Err(unavailable(why)),
        Kind::Silent | Kind::Killed => {
            Err(Error::later(Reason::HostError, "the command's guard ended without a word; nothing was applied"))
        }
    }
}

/// The limit that a failed command met, by its signal (a shell adds 128 to its child's) or by what the
/// control groups counted.
fn limited(signal: i32, group: &cgroup::Group) -> Option<Limit> {
    match signal {
        libc::SIGXCPU => Some(Limit::Cpu),
        libc::SIGXFSZ => Some(Limit::File),
        _ => group.met(),
    }
}

/// Why no command runs on this host.
pub(crate) fn unavailable(why: &str) -> Error {
    let missing = Missing::of(why);
    let message = format!(
        "this host cannot run commands on a private layer, and never runs them unconfined: {}; `cmdop doctor` says more, and native tools such as files.write need no layer",
        missing.sentence()
    );
    Error::with(Reason::PreviewUnavailable, message, reason::stop(&missing.remedy))
}

fn usage(told: &Told) -> Usage {
    Usage {
        user: Duration::from_micros(told.user_us),
        system: Duration::from_micros(told.system_us),
        max_rss: (told.max_rss_kib > 0).then_some(told.max_rss_kib * 1024),
    }
}

/// What held, as it was found: namespaces, filter, limits, and what the view could not cover.
fn confinement(layer: &Layer, told: &Told, group: &cgroup::Group, is_trapped: bool) -> String {
    let is_user = !rustix::process::geteuid().is_root();
    let namespaces = match (layer.is_direct(), is_user) {
        (true, _) => "read-only overlay+mount",
        (false, true) => "overlay+user+mount",
        (false, false) => "overlay+mount",
    };
    let filters = if told.has_landlock { "seccomp+landlock" } else { "seccomp" };
    let mut text = format!("{namespaces}+pid+net+ipc+uts+cgroup, {filters}, {}", group.describe(is_user));
    if is_trapped {
        text.push_str(", network by permit, no unix sockets");
    } else if told.no_unix {
        text.push_str(", no unix sockets");
    }
    if !layer.masked().is_empty() {
        text.push_str(&format!(", {} secrets masked", layer.masked().len()));
    }
    for path in &told.read_only {
        text.push_str(", read-only ");
        text.push_str(&cmdop_contract::path::escape(path));
    }
    text
}
