//! Handing a command to the spawner: its job, its streams, its environment.

use std::collections::HashMap;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use cmdop_contract::v1::Reason;
use prost::Message;
use tokio::io::AsyncRead;
use tokio::net::unix::pipe;

use super::{Command, Limits, Program, cgroup, terminal};
use crate::Error;
use crate::network::Network;
use crate::sandbox::{self, Answer, Job, Layer, Shown, plan};
use crate::spawner::{JOB_DESCRIPTORS, MAX_JOB_BYTES, Spawner};
use crate::trapped::{self, Supervision, Watched};

/// Variables that every command gets; nothing of the daemon's own environment.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LANG", "C.UTF-8"),
    ("SHELL", "/bin/bash"),
    ("TERM", "dumb"),
    // Private to the call and gone with it.
    ("TMPDIR", "/dev/shm"),
];

/// A command under way.
pub(super) struct Started {
    pub(super) control: Control,
    pub(super) stdout: Box<dyn AsyncRead + Send + Sync + Unpin>,
    pub(super) stderr: Box<dyn AsyncRead + Send + Sync + Unpin>,
    /// Answers its trapped calls.
    pub(super) supervision: Option<Supervision>,
    /// Its control groups, once they are told.
    pub(super) groups: Arc<OnceLock<cgroup::Group>>,
}

/// The socket on which init reports, and whose end means kill.
pub(super) struct Control {
    pub(super) stream: std::os::unix::net::UnixStream,
    pub(super) ready: tokio::net::UnixStream,
}

impl Control {
    pub(super) fn shutdown(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Says to init who stays, or with nobody that they may go on. It fits into the socket's buffer; who is
    /// gone has ended them.
    pub(super) fn answer(&self, answer: Answer) {
        let _ = (&self.stream).write_all(&answer.encode_length_delimited_to_vec());
    }
}

/// A command that only has to be handed over.
pub(super) struct Prepared {
    job: Job,
    descriptors: [OwnedFd; JOB_DESCRIPTORS],
    started: Started,
}

impl Prepared {
    pub(super) fn start(self, spawner: &Spawner) -> Result<Started, Error> {
        hand_over(spawner, &self.job, &self.descriptors)?;
        Ok(self.started)
    }
}

pub(super) fn prepare(layer: &Layer, command: &Command) -> Result<Prepared, Error> {
    let doing = || Error::io("connect to the command");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(doing())?;
    ours.set_nonblocking(true).map_err(doing())?;
    let ready = tokio::net::UnixStream::from_std(ours.try_clone().map_err(doing())?).map_err(doing())?;
    let control = Control { stream: ours, ready };
    let mut job = job(layer, command);
    if let Some(network) = &command.network {
        job.is_trapped = true;
        job.shown = shown(layer, network)?;
    }
    job.is_watched = command.processes.is_some();
    job.may_leave = !command.leaves.is_empty();
    let groups = Arc::default();
    let (network, supervision) = if job.is_trapped || job.is_watched {
        let watched = Watched {
            processes: command.processes.clone(),
            attempts: command.attempts.clone(),
            hidden: command.hidden.clone(),
        };
        let (theirs, supervision) = trapped::supervise(watched, command.network.as_ref())?;
        (theirs, Some(supervision))
    } else {
        (unused()?, None)
    };
    if command.terminal.is_some() {
        let (ours, socket) = tokio::net::UnixStream::pair().map_err(doing())?;
        let socket = OwnedFd::from(socket.into_std().map_err(doing())?);
        let descriptors = [theirs.into(), unused()?, socket, unused()?, network];
        let stdout = Box::new(terminal::Terminal::new(ours, command.stdin.clone()));
        let started = Started { control, stdout, stderr: Box::new(tokio::io::empty()), supervision, groups };
        return Ok(Prepared { job, descriptors, started });
    }
    let (stdout, stdout_tx) = std::io::pipe().map_err(doing())?;
    let (stderr, stderr_tx) = std::io::pipe().map_err(doing())?;
    let descriptors = [theirs.into(), input(&command.stdin)?, stdout_tx.into(), stderr_tx.into(), network];
    let receiver = |fd: OwnedFd| pipe::Receiver::from_owned_fd(fd).map_err(doing());
    let (stdout, stderr) = (Box::new(receiver(stdout.into())?), Box::new(receiver(stderr.into())?));
    Ok(Prepared { job, descriptors, started: Started { control, stdout, stderr, supervision, groups } })
}

fn unused() -> Result<OwnedFd, Error> {
    std::fs::File::open("/dev/null").map(OwnedFd::from).map_err(Error::io("open /dev/null"))
}

/// The files by which the command finds the names that its permit holds.
fn shown(layer: &Layer, network: &Network) -> Result<Vec<Shown>, Error> {
    use std::os::unix::ffi::OsStrExt;
    let files = network.files();
    let contents =
        [("/etc/hosts", files.hosts), ("/etc/resolv.conf", files.resolver), ("/etc/nsswitch.conf", files.switch)];
    let written = contents.into_iter().map(|(path, content)| {
        let file = layer.dir().join(path.rsplit('/').next().unwrap_or(path));
        std::fs::write(&file, content).map_err(Error::io(format!("write {}", file.display())))?;
        Ok(Shown { path: path.into(), file: file.as_os_str().as_bytes().to_vec() })
    });
    written.collect()
}

fn job(layer: &Layer, command: &Command) -> Job {
    let mut job = plan(layer, &command.hidden);
    job.argv = match &command.program {
        Program::Line(line) => {
            ["/bin/bash", "--noprofile", "--norc", "-c", line].map(|word| word.as_bytes().to_vec()).into()
        }
        Program::Words(words) => words.iter().map(|word| word.as_bytes().to_vec()).collect(),
    };
    job.cwd = command.cwd.clone().into_bytes();
    job.env = environment(command);
    job.limits = Some(bounds(&command.limits));
    job.terminal = command.terminal;
    job
}

/// Limits as the worker takes them.
pub(super) fn bounds(limits: &Limits) -> sandbox::Limits {
    sandbox::Limits {
        cpu_s: limits.cpu.as_secs().max(1),
        memory_bytes: limits.memory,
        processes: limits.processes,
        file_bytes: limits.file,
    }
}

/// Those of a command that asks for no others.
pub(crate) fn usual_bounds() -> sandbox::Limits {
    bounds(&super::DEFAULT_LIMITS)
}

fn hand_over(spawner: &Spawner, job: &Job, descriptors: &[OwnedFd; JOB_DESCRIPTORS]) -> Result<(), Error> {
    if prost::Message::encoded_len(job) > MAX_JOB_BYTES {
        return Err(too_large());
    }
    spawner.spawn(job, descriptors)
}

/// More than execve(2) or the spawner takes.
pub(super) fn too_large() -> Error {
    let message = "command, arguments and environment are larger than the host can hand to a program";
    let expected = "at most 512 KiB together and 128 KiB each; put the rest into `stdin` or a file";
    Error::fix(Reason::InvalidArguments, message, "/arguments", expected)
}

/// A file in memory, so that nobody has to write while the command reads.
fn input(bytes: &[u8]) -> Result<OwnedFd, Error> {
    let doing = || Error::io("make standard input");
    if bytes.is_empty() {
        return Ok(std::fs::File::open("/dev/null").map_err(doing())?.into());
    }
    let memory =
        rustix::fs::memfd_create("stdin", rustix::fs::MemfdFlags::CLOEXEC).map_err(|errno| doing()(errno.into()))?;
    let mut file = std::fs::File::from(memory);
    file.write_all(bytes).and_then(|()| file.rewind()).map_err(doing())?;
    Ok(file.into())
}

fn environment(command: &Command) -> Vec<Vec<u8>> {
    let mut variables: HashMap<&str, &str> = ENVIRONMENT.into();
    if command.terminal.is_some() {
        variables.insert("TERM", "xterm");
    }
    variables.extend([("HOME", &*command.home), ("USER", &*command.user), ("LOGNAME", &*command.user)]);
    variables.extend(command.env.iter().map(|(name, value)| (&**name, &**value)));
    let mut lines: Vec<_> = variables.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
    lines.sort();
    lines
}
