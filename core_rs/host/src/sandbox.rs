//! The private view of the machine in which a command runs.
//!
//! Three processes: the *worker* makes the namespaces and mounts and waits for a word to stop; *init*
//! is pid 1 of the new pid namespace, reaps everybody and kills who is left; the *command* gives up
//! what it does not need and becomes bash. Init reports only when all others are dead, so the layer
//! no longer changes when the report is read.

#![allow(unsafe_code)]

mod confine;
mod direct;
mod landlock;
mod openings;
mod plan;
mod view;

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::spawner::{JOB_DESCRIPTORS, die_with_parent, leave};

pub use openings::Opening;
pub(crate) use openings::{child, unavailable};
pub(crate) use plan::plan;
pub use plan::{Cover, Layer};

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
    #[prost(message, optional, tag = "8")]
    pub(crate) direct: Option<direct::Direct>,
}

/// What init or the worker reports: one byte of kind, then a number or a text.
pub(crate) mod report {
    /// Followed by the exit code, one byte.
    pub(crate) const EXITED: u8 = b'x';
    /// Followed by the signal, one byte.
    pub(crate) const SIGNALLED: u8 = b's';
    /// Followed by what could not be made; the command never ran.
    pub(crate) const FAILED: u8 = b'f';
    /// The working directory does not exist; the command never ran.
    pub(crate) const NO_CWD: u8 = b'c';
}

/// Why the command could not be started.
pub(crate) struct Failure {
    kind: u8,
    text: String,
}

impl Failure {
    pub(crate) fn new(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self { kind: report::FAILED, text: format!("{what}: {error}") }
    }
}

/// What a worker can do before it knows its job: it stands by with everything that does not depend on it.
pub(crate) struct Ready {
    filters: Vec<seccompiler::BpfProgram>,
    /// Why it could not; the job that comes hears of it.
    isolated: Result<(), Failure>,
}

/// Prepares a worker. Mounts are left out: those of the machine must be the ones of the job's time.
pub(crate) fn stand_by(limited: std::io::Result<()>) -> Ready {
    die_with_parent();
    // SAFETY: a single-threaded process gives its signals back their defaults.
    unsafe {
        for signal in [libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    let limited = limited.map_err(|error| Failure::new("enter a control group", error));
    let (filters, built) = match confine::filters() {
        Ok(filters) => (filters, Ok(())),
        Err(failure) => (Vec::new(), Err(failure)),
    };
    Ready { filters, isolated: limited.and(built).and_then(|()| confine::isolate()) }
}

/// The worker: never returns.
pub(crate) fn work(ready: Ready, job: &Job, descriptors: [OwnedFd; JOB_DESCRIPTORS]) -> ! {
    let Ready { filters, isolated } = ready;
    let [control, stdin, stdout, stderr] = descriptors;
    let mut control = UnixStream::from(control);
    match isolated.and_then(|()| prepare(job)) {
        Ok(()) => {}
        Err(failure) => {
            tell(&mut control, &failure);
            leave(1);
        }
    }
    // SAFETY: this process has a single thread.
    let init = unsafe { libc::fork() };
    if init == 0 {
        // Init must not outlive the worker, which kills it when it is told to.
        die_with_parent();
        run_init(job, &filters, control, [stdin, stdout, stderr]);
    }
    drop((stdin, stdout, stderr));
    if init < 0 {
        tell(&mut control, &Failure::new("fork", std::io::Error::last_os_error()));
        leave(1);
    }
    wait_or_kill(&control, init);
    leave(0)
}

fn prepare(job: &Job) -> Result<(), Failure> {
    confine::unshare_mounts()?;
    match &job.direct {
        Some(direct) => direct::mount_all(job, direct),
        None => view::mount_all(job),
    }
}

/// Waits for init's end; a closed control socket means that nobody waits for the command any more.
fn wait_or_kill(control: &UnixStream, init: libc::pid_t) {
    // SAFETY: pidfd_open with a pid of our own, not yet reaped child.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, init, 0) } as libc::c_int;
    let mut watched = [
        libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 },
        libc::pollfd { fd: control.as_raw_fd(), events: libc::POLLIN, revents: 0 },
    ];
    loop {
        // SAFETY: two initialised pollfds.
        let ready = unsafe { libc::poll(watched.as_mut_ptr(), 2, -1) };
        if ready < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
            continue;
        }
        if watched[0].revents == 0 {
            // Killing pid 1 of a namespace kills all of it (pid_namespaces(7)).
            // SAFETY: init is our child and not yet reaped, so its pid is still its own.
            unsafe { libc::kill(init, libc::SIGKILL) };
        }
        // SAFETY: as above; waits until the whole namespace is gone.
        unsafe { libc::waitpid(init, std::ptr::null_mut(), 0) };
        return;
    }
}

/// Pid 1 of the namespace.
fn run_init(job: &Job, filters: &[seccompiler::BpfProgram], mut control: UnixStream, streams: [OwnedFd; 3]) -> ! {
    if let Err(failure) = view::enter(job) {
        tell(&mut control, &failure);
        leave(1);
    }
    let Ok((mut failed_rx, failed_tx)) = UnixStream::pair() else { leave(1) };
    // SAFETY: this process has a single thread.
    let command = unsafe { libc::fork() };
    if command == 0 {
        drop((control, failed_rx));
        become_command(job, filters, streams, failed_tx);
    }
    drop((streams, failed_tx));
    // The command holds its end until `exec` closes it: silence means that it runs.
    let mut failure = Vec::new();
    let _ = std::io::Read::read_to_end(&mut failed_rx, &mut failure);
    let status = reap(command);
    // SAFETY: -1 in a pid namespace means everybody else in it.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    reap(-1);
    let report = if failure.is_empty() {
        if libc::WIFSIGNALED(status) {
            vec![report::SIGNALLED, libc::WTERMSIG(status).unsigned_abs() as u8]
        } else {
            vec![report::EXITED, libc::WEXITSTATUS(status).unsigned_abs() as u8]
        }
    } else {
        failure
    };
    let _ = control.write_all(&report);
    leave(0)
}

/// Reaps until this child is reaped, or with -1 until there is none; returns its status.
fn reap(child: libc::pid_t) -> libc::c_int {
    loop {
        let mut status = 0;
        // SAFETY: status outlives the call.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if reaped == child && child > 0 {
            return status;
        }
        if reaped < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) {
            return status;
        }
    }
}

fn become_command(job: &Job, filters: &[seccompiler::BpfProgram], streams: [OwnedFd; 3], mut failed: UnixStream) -> ! {
    let failure = match prepare_command(job, filters, &streams) {
        Ok((argv, env)) => {
            let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
                strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
            };
            let (argv_pointers, env_pointers) = (pointers(&argv), pointers(&env));
            // SAFETY: null-terminated arrays of strings that live until the call.
            unsafe { libc::execve(argv_pointers[0], argv_pointers.as_ptr(), env_pointers.as_ptr()) };
            Failure::new(format!("execute {}", argv[0].to_string_lossy()), std::io::Error::last_os_error())
        }
        Err(failure) => failure,
    };
    tell(&mut failed, &failure);
    leave(127)
}

fn prepare_command(
    job: &Job,
    filters: &[seccompiler::BpfProgram],
    streams: &[OwnedFd; 3],
) -> Result<(Vec<CString>, Vec<CString>), Failure> {
    let strings = |list: &[Vec<u8>]| -> Result<Vec<CString>, Failure> {
        list.iter()
            .map(|bytes| CString::new(bytes.clone()).map_err(|error| Failure::new("an argument", error)))
            .collect()
    };
    let (argv, env) = (strings(&job.argv)?, strings(&job.env)?);
    let cwd = CString::new(job.cwd.clone()).map_err(|error| Failure::new("the working directory", error))?;
    // SAFETY: plain system calls on descriptors and strings that live until they return.
    unsafe {
        if libc::chdir(cwd.as_ptr()) != 0 {
            let error = std::io::Error::last_os_error();
            return Err(Failure { kind: report::NO_CWD, text: error.to_string() });
        }
        for (number, stream) in streams.iter().enumerate() {
            if libc::dup2(stream.as_raw_fd(), number as libc::c_int) < 0 {
                return Err(Failure::new("connect the standard streams", std::io::Error::last_os_error()));
            }
        }
        libc::setsid();
    }
    if let Some(direct) = &job.direct {
        landlock::restrict(direct)?;
    }
    confine::give_up_privileges(filters)?;
    Ok((argv, env))
}

fn tell(control: &mut UnixStream, failure: &Failure) {
    let mut bytes = vec![failure.kind];
    bytes.extend_from_slice(failure.text.as_bytes());
    let _ = control.write_all(&bytes);
}
