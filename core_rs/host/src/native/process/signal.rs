//! `process.signal`: to the very process that was meant, by a descriptor that no other process can get.

use std::os::fd::OwnedFd;
use std::time::Duration;

use cmdop_contract::v1::{EffectKind, ObservedEffect, ProcessChange, Reason};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::arguments::{Arguments, invalid};
use super::super::{Means, Step};
use super::table::Entry;
use crate::Error;

/// How long an end is waited for.
const WATCHED: Duration = Duration::from_secs(1);

/// Longest chain of parents that is followed.
const MAX_ANCESTORS: usize = 1_000;

/// A process that is held, and what it shall be sent.
pub(crate) struct Signalling {
    entry: Entry,
    held: OwnedFd,
    signal: Signal,
    signal_name: String,
    after: Option<&'static str>,
}

impl Signalling {
    /// Holds the process and makes sure that it is the one that is meant.
    ///
    /// # Errors
    /// `CONTENT_CHANGED` if it is gone or its number is another's, `FLOOR_DENIED`,
    /// `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(arguments: &Arguments) -> Result<Self, Error> {
        let pid = arguments.number("pid")?.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let pid = pid.ok_or_else(|| invalid("pid", "the id of a process"))?;
        let name = arguments.required("name")?;
        let started = arguments.number("started")?;
        let signal_name = arguments.text("signal")?.unwrap_or("TERM").to_owned();
        let signal = signal(&signal_name)?;
        // Held first: what is read afterwards is of this process, or it has ended and nothing is sent.
        let held = Pid::from_raw(pid).ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let held = held.map_err(|errno| refused(errno, pid))?;
        let entry = Entry::of(pid.unsigned_abs()).ok_or_else(|| gone(pid))?;
        protect(&entry)?;
        if entry.name != name || started.is_some_and(|started| started != entry.started) {
            let message = format!(
                "process {pid} is `{}`, started at {}, and not the one that is meant; nothing was sent",
                entry.name, entry.started
            );
            return Err(Error::fix(Reason::ContentChanged, message, "/arguments/pid", "a process of process.list"));
        }
        Ok(Self { entry, held, signal, signal_name, after: None })
    }

    fn effect(&self) -> ObservedEffect {
        ObservedEffect {
            kind: EffectKind::ProcessSignal.into(),
            target: format!("pid:{}", self.entry.pid),
            count: 1,
            process: Some(ProcessChange { name: self.entry.name.clone(), ..ProcessChange::default() }),
            ..ObservedEffect::default()
        }
    }

    /// What becomes of the process within a moment.
    fn watch(&self) -> &'static str {
        let mut fds = [PollFd::new(&self.held, PollFlags::IN)];
        let timeout = Timespec::try_from(WATCHED).ok();
        let is_over = |fds: &[PollFd<'_>]| fds.iter().any(|fd| fd.revents().contains(PollFlags::IN));
        if poll(&mut fds, timeout.as_ref()).is_ok() && is_over(&fds) {
            return "exited";
        }
        match Entry::of(self.entry.pid) {
            Some(now) if now.started != self.entry.started => "exited",
            Some(now) if now.state_name() == "stopped" => "stopped",
            Some(now) if matches!(now.state_name(), "zombie" | "dead") => "exited",
            Some(_) => "running",
            None => "exited",
        }
    }
}

/// # Errors
/// `FLOOR_DENIED` if no tool may signal this process.
fn protect(entry: &Entry) -> Result<(), Error> {
    let own = std::process::id();
    let why = if entry.pid == 1 {
        "is the machine's first process"
    } else if entry.pid == own || ancestors(own).contains(&entry.pid) {
        "is the host daemon or what it descends from"
    } else if entry.ppid == own {
        "is the host daemon's own child; a service of it is stopped by service.stop"
    } else if entry.ppid == 2 || entry.pid == 2 {
        "is a thread of the kernel"
    } else {
        return Ok(());
    };
    let message = format!("process {} {why}, which no tool may signal", entry.pid);
    let why = format!("no tool may signal process {}", entry.pid);
    Err(Error::with(Reason::FloorDenied, message, cmdop_contract::reason::stop(&why)))
}

/// Parents of a process up to the first.
fn ancestors(pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| Entry::of(*pid).map(|entry| entry.ppid).filter(|parent| *parent > 0);
    std::iter::successors(parent(&pid), parent).take(MAX_ANCESTORS).collect()
}

fn signal(name: &str) -> Result<Signal, Error> {
    Ok(match name {
        "TERM" => Signal::TERM,
        "KILL" => Signal::KILL,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "QUIT" => Signal::QUIT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        _ => return Err(invalid("signal", "TERM, KILL, INT, HUP, QUIT, USR1, USR2, STOP or CONT")),
    })
}

fn gone(pid: i32) -> Error {
    let message = format!("process {pid} is not there; nothing was sent");
    Error::fix(Reason::ContentChanged, message, "/arguments/pid", "a process of process.list")
}

fn refused(errno: Errno, pid: i32) -> Error {
    match errno {
        Errno::SRCH => gone(pid),
        Errno::INVAL => invalid("pid", "the id of a process, not of a thread"),
        Errno::PERM => {
            let message = format!("process {pid} belongs to somebody whom the host's user may not signal");
            Error::fix(Reason::PathNotUsable, message, "/arguments/pid", "a process of the host's user")
        }
        other => Error::io(format!("signal process {pid}"))(other.into()),
    }
}

impl Step for Signalling {
    fn effects(&self) -> Vec<ObservedEffect> {
        vec![self.effect()]
    }

    fn result(&self) -> Value {
        json!({"pid": self.entry.pid, "signal": self.signal_name, "after": self.after.unwrap_or("running")})
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        digest.update(self.entry.pid.to_le_bytes());
        digest.update(self.entry.started.to_le_bytes());
        digest.update(&self.entry.name);
        digest.finalize().to_vec()
    }

    fn perform(&mut self, _with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        let pid = i32::try_from(self.entry.pid).unwrap_or(i32::MAX);
        pidfd_send_signal(&self.held, self.signal).map_err(|errno| refused(errno, pid))?;
        self.after = Some(self.watch());
        Ok((vec![self.effect()], None))
    }
}
