//! Running a command in a private layer: its streams, its limits, its end.

use std::collections::HashMap;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cmdop_contract::v1::{OutputStream, Reason};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{Layer, plan, report};
use crate::spawner::Spawner;
use crate::{Admitted, Error};

/// Variables that every command gets; nothing of the daemon's own environment.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LANG", "C.UTF-8"),
    ("SHELL", "/bin/bash"),
    ("TERM", "dumb"),
    // Private to the call and gone with it.
    ("TMPDIR", "/dev/shm"),
];
/// Largest piece of output that is passed on at once.
const PIECE: usize = 32 * 1024;

/// A command and its bounds.
#[derive(Debug, Clone)]
pub struct Command {
    /// A line for bash.
    pub line: String,
    /// Absolute working directory.
    pub cwd: String,
    /// Variables beside the clean default.
    pub env: HashMap<String, String>,
    /// Standard input; nothing if empty.
    pub stdin: Vec<u8>,
    /// Wall time after which everything is killed.
    pub timeout: Duration,
    /// Bytes that are kept of each stream, half of them head and half tail.
    pub kept_bytes: usize,
    /// Directories that the command finds empty: the daemon's own state.
    pub hidden: Vec<PathBuf>,
    /// Home directory.
    pub home: String,
    /// Its user's name.
    pub user: String,
}

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It outlived its time and was killed with all its descendants.
    TimedOut,
    /// Somebody stopped it.
    Cancelled,
}

/// What is kept of a stream.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    /// Bytes written in all.
    pub total: u64,
    most: usize,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { most: most.max(2), ..Self::default() }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let half = self.most / 2;
        let (head, rest) = bytes.split_at(bytes.len().min(half.saturating_sub(self.head.len())));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(self.most - half);
        self.tail.drain(..excess);
    }

    /// Was something left out?
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.total > (self.head.len() + self.tail.len()) as u64
    }

    /// Head and tail as text, with a line between them that says what is missing. Bytes that are
    /// not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if !self.is_truncated() {
            return String::from_utf8_lossy(&[&*self.head, &tail].concat()).into_owned();
        }
        let missing = self.total - (self.head.len() + tail.len()) as u64;
        format!(
            "{}\n[… {missing} bytes left out …]\n{}",
            String::from_utf8_lossy(&self.head),
            String::from_utf8_lossy(&tail)
        )
    }
}

/// What a command did, beside its effects.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Why it ended.
    pub end: End,
    /// Its standard output.
    pub stdout: Kept,
    /// Its standard error.
    pub stderr: Kept,
    /// Wall time.
    pub duration: Duration,
}

/// Runs a command in a layer. Nothing of the machine changes; `output` gets each piece as it comes.
///
/// When this returns every process of the command is dead and the layer is still. Dropping the
/// future kills them, too.
///
/// # Errors
/// PATH_NOT_FOUND for a missing working directory; PREVIEW_UNAVAILABLE if the private view cannot
/// be made: the command did not run.
pub async fn run(
    spawner: &Spawner,
    _admitted: &Admitted,
    layer: &Layer,
    command: &Command,
    cancel: &CancellationToken,
    mut output: impl FnMut(OutputStream, &[u8]),
) -> Result<Finished, Error> {
    let started = Instant::now();
    let (control, mut streams) = spawn(spawner, layer, command)?;
    let (mut stdout, mut stderr) = (Kept::new(command.kept_bytes), Kept::new(command.kept_bytes));
    let deadline = tokio::time::sleep(command.timeout);
    tokio::pin!(deadline);
    let mut forced = None;
    let (mut out, mut err) = (vec![0; PIECE], vec![0; PIECE]);
    let mut open = [true, true];
    let (mut said, mut speaks) = (Vec::new(), true);
    while open[0] || open[1] || speaks {
        tokio::select! {
            read = streams.stdout.read(&mut out), if open[0] => open[0] = take(read, &out, |piece| {
                stdout.push(piece);
                output(OutputStream::Stdout, piece);
            }),
            read = streams.stderr.read(&mut err), if open[1] => open[1] = take(read, &err, |piece| {
                stderr.push(piece);
                output(OutputStream::Stderr, piece);
            }),
            () = hear(&control, &mut said), if speaks => speaks = false,
            () = &mut deadline, if forced.is_none() => {
                forced = Some(End::TimedOut);
                // The worker takes a closed control socket as the word to kill.
                control.shutdown();
            }
            () = cancel.cancelled(), if forced.is_none() => {
                forced = Some(End::Cancelled);
                control.shutdown();
            }
        }
    }
    let end = match forced {
        Some(end) => end,
        None => ended(&said, &command.cwd)?,
    };
    Ok(Finished { end, stdout, stderr, duration: started.elapsed() })
}

struct Control {
    stream: std::os::unix::net::UnixStream,
    ready: tokio::net::UnixStream,
}

impl Control {
    fn shutdown(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

struct Streams {
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

fn spawn(spawner: &Spawner, layer: &Layer, command: &Command) -> Result<(Control, Streams), Error> {
    let doing = || Error::io("connect to the command");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(doing())?;
    let (stdout, stdout_tx) = std::io::pipe().map_err(doing())?;
    let (stderr, stderr_tx) = std::io::pipe().map_err(doing())?;
    let mut job = plan(layer, &command.hidden);
    job.argv = ["/bin/bash", "--noprofile", "--norc", "-c", &command.line].map(|word| word.as_bytes().to_vec()).into();
    job.cwd = command.cwd.clone().into_bytes();
    job.env = environment(command);
    let descriptors = [OwnedFd::from(theirs), input(&command.stdin)?, stdout_tx.into(), stderr_tx.into()];
    spawner.spawn(&job, &descriptors)?;
    ours.set_nonblocking(true).map_err(doing())?;
    let ready = tokio::net::UnixStream::from_std(ours.try_clone().map_err(doing())?).map_err(doing())?;
    let receiver = |reader: std::io::PipeReader| pipe::Receiver::from_owned_fd(reader.into()).map_err(doing());
    let streams = Streams { stdout: receiver(stdout)?, stderr: receiver(stderr)? };
    Ok((Control { stream: ours, ready }, streams))
}

/// Standard input as an unlinked file, so that nobody has to keep writing while the command runs.
fn input(bytes: &[u8]) -> Result<OwnedFd, Error> {
    let doing = || Error::io("prepare standard input");
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
    variables.extend([("HOME", &*command.home), ("USER", &*command.user), ("LOGNAME", &*command.user)]);
    variables.extend(command.env.iter().map(|(name, value)| (&**name, &**value)));
    let mut lines: Vec<_> = variables.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
    lines.sort();
    lines
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

/// Adds to the report until the other side is gone. Cancel-safe: what was heard stays.
async fn hear(control: &Control, heard: &mut Vec<u8>) {
    loop {
        if control.ready.readable().await.is_err() {
            return;
        }
        match control.ready.try_read_buf(heard) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // Everybody but init is dead when it reports, and its own end takes the kernel a while.
            Ok(read) if read > 0 && !is_whole(heard) => {}
            _ => return,
        }
    }
}

/// Is this the report of an end? What failed is told until the other side is gone.
fn is_whole(said: &[u8]) -> bool {
    matches!(said, [report::EXITED | report::SIGNALLED, _])
}

fn ended(said: &[u8], cwd: &str) -> Result<End, Error> {
    match said {
        [report::EXITED, code] => Ok(End::Exited((*code).into())),
        [report::SIGNALLED, signal] => Ok(End::Signalled((*signal).into())),
        [report::NO_CWD, why @ ..] => {
            let message = format!("the working directory `{cwd}` cannot be entered: {}", String::from_utf8_lossy(why));
            Err(Error::fix(Reason::PathNotFound, message, "/arguments/cwd", "a directory that exists on the host"))
        }
        [report::FAILED, why @ ..] => {
            let message = format!(
                "this host cannot run commands on a private layer ({}), and never runs them unconfined; `cmdop doctor` says what is missing",
                String::from_utf8_lossy(why)
            );
            Err(Error::use_tool(Reason::PreviewUnavailable, message, "files.read"))
        }
        _ => Err(Error::later(Reason::HostError, "the command's guard ended without a word; nothing was applied")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_of_a_long_stream_are_kept() {
        let mut kept = Kept::new(10);
        for byte in b'a'..=b'z' {
            kept.push(&[byte]);
        }
        assert_eq!(kept.text(), "abcde\n[… 16 bytes left out …]\nvwxyz");
        let mut short = Kept::new(10);
        short.push(b"0123456789");
        assert!(!short.is_truncated());
        assert_eq!(short.text(), "0123456789");
    }
}
