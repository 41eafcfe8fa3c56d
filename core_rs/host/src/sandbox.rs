//! The private view of the machine in which a command runs.
//!
//! Three processes: the *worker* makes the namespaces and mounts and waits for a word to stop; *init*
//! is pid 1 of the new pid namespace, reaps everybody and kills who is left; the *command* gives up
//! what it does not need and becomes bash. Init reports only when all others are dead, or stopped where
//! something may stay, so nothing changes any more when the report is read.

#![allow(unsafe_code)]

mod command;
mod confine;
mod direct;
mod init;
mod landlock;
mod left;
mod mask;
mod moment;
mod openings;
mod plan;
mod told;
mod trap;
mod view;

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use prost::Message;

use crate::spawner::{JOB_DESCRIPTORS, die_with_parent, leave};

pub(crate) use mask::is_mask;
pub use openings::Opening;
pub(crate) use openings::{child, unavailable};
pub use plan::{Cover, Layer};
pub(crate) use plan::{mount_within, plan};
pub(crate) use told::{Answer, Failure, Held, Kind, Left, Told};
pub(crate) use view::path;

/// Everything that a worker must know. It crosses a socket, so it is a message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Job {
    /// Program and arguments.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) argv: Vec<Vec<u8>>,
    /// `NAME=value`.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) env: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) cwd: Vec<u8>,
    /// Empty directory on which the new root is built.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) root: Vec<u8>,
    /// Parents before children; the first is `/`.
    #[prost(message, repeated, tag = "5")]
    pub(crate) covers: Vec<Cover>,
    /// Directories that the command finds empty.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub(crate) hidden: Vec<Vec<u8>>,
    /// Set if the command changes the machine itself; covers are then read-only.
    #[prost(message, optional, tag = "7")]
    pub(crate) direct: Option<direct::Direct>,
    /// Whose user namespace it gets; none if the daemon may mount without one.
    #[prost(message, optional, tag = "8")]
    pub(crate) identity: Option<Identity>,
    /// What it may use; once the worker's groups hold a part of it, what is left to limit per process.
    #[prost(message, optional, tag = "9")]
    pub(crate) limits: Option<Limits>,
    /// Its streams are one terminal of this size.
    #[prost(message, optional, tag = "10")]
    pub(crate) terminal: Option<Size>,
    /// Its calls that name an address are trapped, and the listener is sent outside.
    #[prost(bool, tag = "11")]
    pub(crate) is_trapped: bool,
    /// Files that the command finds in the place of the machine's.
    #[prost(message, repeated, tag = "12")]
    pub(crate) shown: Vec<Shown>,
    /// File that lists what the command finds unreadable; empty if nothing.
    #[prost(bytes = "vec", tag = "13")]
    pub(crate) masked: Vec<u8>,
    /// Something of it may stay when it has ended: init asks what.
    #[prost(bool, tag = "14")]
    pub(crate) may_leave: bool,
    /// Its calls that start programs are trapped, to the same listener.
    #[prost(bool, tag = "15")]
    pub(crate) is_watched: bool,
}

/// A file of the view that is another one's content.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Shown {
    /// Where the command finds it. Nothing is shown where the machine has no file.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    /// Where it lies.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) file: Vec<u8>,
}

/// The user and group that a user namespace maps, to themselves.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Identity {
    #[prost(uint32, tag = "1")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) gid: u32,
}

/// What a command may use, or each of its processes (setrlimit(2)); zero where something else bounds it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Limits {
    #[prost(uint64, tag = "1")]
    pub(crate) cpu_s: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) memory_bytes: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) processes: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) file_bytes: u64,
}

/// Of a terminal, in characters.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Size {
    /// Lines.
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// Columns.
    #[prost(uint32, tag = "2")]
    pub cols: u32,
}

/// How long init may take to kill what runs and to report before it is killed itself.
const GRACE_MS: libc::c_int = 2_000;

/// What a worker can do before it knows its job: it stands by with everything that does not depend on it.
pub(crate) struct Ready {
    filters: confine::Filters,
    /// Why it could not; the job that comes hears of it.
    isolated: Result<(), Failure>,
}

/// Prepares a worker that is in its control groups, if it could enter them. Mounts are left out: those
/// of the machine must be the ones of the job's time.
pub(crate) fn stand_by(entered: std::io::Result<()>) -> Ready {
    die_with_parent();
    // SAFETY: a single-threaded process gives its signals back their defaults.
    unsafe {
        for signal in [libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    let identity = plan::identity();
    let filters = confine::Filters::build(confine::Sockets::of(identity.is_some(), false));
    let entered = entered.map_err(|error| Failure::new("enter a control group", error));
    let isolated = entered.and_then(|()| confine::isolate(identity));
    // A change of credentials may have cleared it (prctl(2)).
    die_with_parent();
    match filters {
        Ok(filters) => Ready { filters, isolated },
        Err(failure) => Ready { filters: confine::Filters::default(), isolated: isolated.and(Err(failure)) },
    }
}

/// The worker: never returns. What its control groups hold is told at once, the rest at the end.
pub(crate) fn work(ready: Ready, held: Held, job: &Job, descriptors: [OwnedFd; JOB_DESCRIPTORS]) -> ! {
    let Ready { filters, isolated } = ready;
    let [control, stdin, stdout, stderr, network] = descriptors;
    let mut control = UnixStream::from(control);
    tell(&mut control, &Told { held: Some(held), ..Told::default() });
    let prepared = isolated.and_then(|()| prepare(job, filters)).and_then(|view| {
        let streams = match job.terminal {
            Some(size) => view::terminal(job, size, &stdout)?,
            None => [stdin, stdout, stderr],
        };
        Ok((view, streams))
    });
    let (view, streams) = match prepared {
        Ok(ready) => ready,
        Err(failure) => {
            tell(&mut control, &failure.into());
            leave(1);
        }
    };
    // Two who speak at the same time would not be understood: init begins when the worker has spoken.
    let begin = match job.may_leave.then(UnixStream::pair).transpose() {
        Ok(pair) => pair,
        Err(error) => {
            tell(&mut control, &Failure::new("make a socket", error).into());
            leave(1);
        }
    };
    // SAFETY: this process has a single thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // Init must not outlive the worker, which kills it when it is told to.
        die_with_parent();
        if let Some((hear, speak)) = begin {
            drop(speak);
            wait(&mut [watched(hear.as_raw_fd())], -1);
        }
        init::run(job, &view, control, streams, &network);
    }
    drop((streams, network));
    if job.may_leave && child > 0 {
        tell(&mut control, &Told { init: child, ..Told::default() });
    }
    drop(begin);
    if child < 0 {
        tell(&mut control, &Failure::new("fork", std::io::Error::last_os_error()).into());
        leave(1);
    }
    wait_or_kill(&control, child);
    // Nobody speaks any more; where init was killed, nobody said the end.
    let _ = control.shutdown(std::net::Shutdown::Write);
    // The groups go with the worker, and their counters are read until the other side lets go.
    wait(&mut [watched(control.as_raw_fd())], -1);
    leave(0)
}

fn prepare(job: &Job, filters: confine::Filters) -> Result<view::View, Failure> {
    confine::unshare_mounts()?;
    let mut view = match &job.direct {
        Some(direct) => direct::mount_all(job, direct)?,
        None => view::mount_all(job)?,
    };
    view.filters = filters.fit(confine::Sockets::of(view.no_unix, job.is_trapped))?;
    Ok(view)
}

/// Waits for init's end; a closed control socket means that nobody waits for the command any more.
fn wait_or_kill(control: &UnixStream, init: libc::pid_t) {
    // SAFETY: pidfd_open with a pid of our own, not yet reaped child.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, init, 0) } as libc::c_int;
    let ends = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
    let mut both = [ends, watched(control.as_raw_fd())];
    // Init hears of the closed socket, too, and kills and reports by itself, unless it is stuck.
    if !wait(&mut both, -1) && !wait(&mut both[..1], GRACE_MS) {
        // Killing pid 1 of a namespace kills all of it (pid_namespaces(7)).
        // SAFETY: init is our child and not yet reaped, so its pid is still its own.
        unsafe { libc::kill(init, libc::SIGKILL) };
    }
    // SAFETY: as above; waits until the whole namespace is gone.
    unsafe { libc::waitpid(init, std::ptr::null_mut(), 0) };
}

/// A socket whose other side lets go, whatever it says before.
fn watched(fd: libc::c_int) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 }
}

/// Waits for any of them; true if it was the first.
fn wait(watched: &mut [libc::pollfd], milliseconds: libc::c_int) -> bool {
    // SAFETY: initialised pollfds, as many as the slice has.
    while unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, milliseconds) } < 0
        && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
    {}
    watched[0].revents != 0
}

fn tell(control: &mut UnixStream, told: &Told) {
    let _ = control.write_all(&told.encode_length_delimited_to_vec());
}
