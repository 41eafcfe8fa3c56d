//! The private view of the machine in which a command runs.
//!
//! Three processes, which stand by before there is a job: the *worker* makes the namespaces and waits
//! for a word to stop; *init* is pid 1 of the new pid namespace, reaps everybody and kills who is left;
//! the *command* makes its view, gives up what it does not need and becomes the program; until then it uses
//! the memory of init, which waits. Init reports only when all others are dead, or stopped where something may
//! stay, so nothing changes any more when the report is read.

#![allow(unsafe_code)]

mod command;
mod confine;
mod direct;
mod fence;
mod filter;
mod image;
mod init;
mod landlock;
mod left;
mod lender;
mod mask;
mod moment;
mod openings;
mod own;
mod plan;
mod stage;
mod told;
mod trap;
mod view;
mod warm;

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use prost::Message;

use crate::spawner::{LEAVES, TRAPS, die_with_parent, leave, receive};

pub(crate) use confine::REQUESTS;
pub(crate) use fence::Fence;
pub(crate) use image::is_within;
pub(crate) use mask::is_mask;
pub use openings::Opening;
pub(crate) use openings::{child, unavailable};
pub(crate) use own::{Named, Own};
pub use plan::{Cover, Layer};
pub(crate) use plan::{is_kernel, mount_within, plan};
pub(crate) use told::{Answer, Failure, Held, Kind, Left, Told};
pub(crate) use view::path;

/// Everything that a command must know. It crosses a socket, so it is a message.
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
    /// Directory of its layer.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) layer: Vec<u8>,
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

/// Writes a command's limits into the worker's groups: what they hold, and what is left to limit per process.
pub(crate) type Bind<'a> = &'a dyn Fn(&Limits) -> (Held, Limits);

/// Where those that stand by hear of a job.
pub(crate) struct Ways {
    /// The control socket and the way to the supervisor come to the worker. It stays open for as long as that lives:
    /// by that its groups are known to be used.
    pub(crate) worker: OwnedFd,
    /// The control socket comes to init.
    pub(crate) init: OwnedFd,
    /// The job itself comes to the command, with the control socket and its streams.
    pub(crate) command: OwnedFd,
}

/// Becomes a worker that is in its control groups, if it could enter them: makes whatever does not depend
/// on the job, and waits for that. Never returns.
pub(crate) fn stand_by(entered: std::io::Result<()>, ways: Ways, bind: Bind<'_>) -> ! {
    die_with_parent();
    // SAFETY: a single-threaded process gives its signals back their defaults.
    unsafe {
        for signal in [libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    let entered = entered.map_err(|error| Failure::new("enter a control group", error));
    let isolated = entered.and_then(|()| confine::isolate(plan::identity())).and_then(|()| stage::lay());
    // A change of credentials may have cleared it (prctl(2)).
    die_with_parent();
    let Ways { worker, init, command } = ways;
    // What could not be made is told to whoever comes; until then the other ways stay open.
    let (begun, others) = match isolated {
        Ok(()) => (begin(&worker, init, command, bind), None),
        Err(failure) => (Err(failure), Some((init, command))),
    };
    if let Ok(begun) = &begun {
        // A start that needs nobody has nobody woken: its errand lies there until then.
        wait(&mut [begun.ends(), watched(worker.as_raw_fd()), watched(begun.running.as_raw_fd()), begun.speaks()], -1);
    }
    let mut traits = [0];
    let Some((_, [control, network])) = receive(&worker, &mut traits) else { leave(0) };
    let mut control = UnixStream::from(control);
    match begun {
        Ok(begun) => {
            if traits[0] & LEAVES != 0 {
                tell(&mut control, &Told { init: begun.init, ..Told::default() });
            }
            see_to(&control, begun, (traits[0] & TRAPS != 0).then_some(network))
        }
        Err(failure) => {
            tell(&mut control, &failure.into());
            drop(others);
            leave(1)
        }
    }
}

/// Init, and what it and the worker hear of each other.
struct Begun {
    init: libc::pid_t,
    /// Of init (pidfd_open(2)).
    pidfd: OwnedFd,
    /// Closes once the command runs.
    running: PipeReader,
    /// To be closed when the worker has said who init is.
    told: PipeWriter,
    /// From the command, which says the number of its listener.
    inside: UnixStream,
}

impl Begun {
    /// Is readable when init is dead.
    fn ends(&self) -> libc::pollfd {
        libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 }
    }

    /// Is readable when the command has a listener.
    fn speaks(&self) -> libc::pollfd {
        libc::pollfd { fd: self.inside.as_raw_fd(), events: libc::POLLIN, revents: 0 }
    }
}

/// Forks init.
fn begin(worker: &OwnedFd, errands: OwnedFd, jobs: OwnedFd, bind: Bind<'_>) -> Result<Begun, Failure> {
    let failed = |error: std::io::Error| Failure::new("fork", error);
    let (running_rx, running) = std::io::pipe().map_err(failed)?;
    let (told, told_tx) = std::io::pipe().map_err(failed)?;
    let (inside, outside) = trap::way().map_err(failed)?;
    // SAFETY: this process has a single thread.
    match unsafe { libc::fork() } {
        -1 => Err(failed(std::io::Error::last_os_error())),
        0 => {
            drop((running_rx, told_tx, inside));
            // SAFETY: nothing in this process uses it any more, and its owner is never dropped.
            unsafe { libc::close(worker.as_raw_fd()) };
            let (running, told, outside) = (running.into(), told.into(), outside.into());
            init::stand_by(init::Ways { errands, jobs, running, told, outside }, bind)
        }
        init => {
            let pidfd = rustix::process::Pid::from_raw(init).ok_or(rustix::io::Errno::SRCH);
            let pidfd = pidfd.and_then(|init| rustix::process::pidfd_open(init, rustix::process::PidfdFlags::empty()));
            let pidfd = pidfd.map_err(|errno| failed(errno.into()))?;
            Ok(Begun { init, pidfd, running: running_rx, told: told_tx, inside })
        }
    }
}

/// Waits for init's end; a closed control socket means that nobody waits for the command any more. With a
/// `supervisor` the command's listener is sent there, before it runs.
fn see_to(control: &UnixStream, begun: Begun, supervisor: Option<OwnedFd>) -> ! {
    let mut all = [begun.ends(), watched(control.as_raw_fd()), watched(begun.running.as_raw_fd()), begun.speaks()];
    let Begun { init, pidfd: _pidfd, running: _running, told, inside } = begun;
    drop(told);
    let kill = || {
        // Killing pid 1 of a namespace kills all of it (pid_namespaces(7)).
        // SAFETY: init is our child and not yet reaped, so its pid is still its own.
        unsafe { libc::kill(init, libc::SIGKILL) };
    };
    let with_listener = if supervisor.is_some() { 4 } else { 3 };
    wait(&mut all[..with_listener], -1);
    if let Some(network) = supervisor.as_ref().filter(|_| all[3].revents != 0) {
        // Without it the command does not go on, and says so.
        let _ = trap::pass_on(&inside, network, init);
        wait(&mut all[..3], -1);
    }
    if all[..2].iter().all(|one| one.revents == 0) {
        // Whoever cannot be kept from the machine's root for good does not go on, and nobody says how it ended.
        if stage::let_go().is_err() {
            kill();
        }
        wait(&mut all[..2], -1);
    }
    // Init hears of the closed socket, too, and kills and reports by itself, unless it is stuck.
    if all[0].revents == 0 && !wait(&mut all[..1], GRACE_MS) {
        kill();
    }
    // SAFETY: as above; waits until the whole namespace is gone.
    unsafe { libc::waitpid(init, std::ptr::null_mut(), 0) };
    // The supervisor hears of that.
    drop(supervisor);
    // Nobody speaks any more; where init was killed, nobody said the end.
    let _ = control.shutdown(std::net::Shutdown::Write);
    // The groups go with the worker, and their counters are read until the other side lets go.
    wait(&mut [watched(control.as_raw_fd())], -1);
    leave(0)
}

/// A socket or pipe whose other side lets go, whatever it says before.
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
