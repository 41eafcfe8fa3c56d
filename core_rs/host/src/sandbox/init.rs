//! Pid 1 of the command's namespace: starts it, reaps everybody, kills who is left and may not stay, then
//! reports.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::stage::Stage;
use super::{Bind, Failure, Kind, Told, command, image, left, lender, tell, watched};
use crate::spawner::{LEAVES, die_with_parent, leave, receive};

/// The way to those around it.
pub(super) struct Ways {
    /// Its errand comes here.
    pub(super) errands: OwnedFd,
    /// Where the command's job comes.
    pub(super) jobs: OwnedFd,
    /// Closes when the command runs.
    pub(super) running: OwnedFd,
    /// Closes when the worker has said who init is.
    pub(super) told: OwnedFd,
    /// From the command to the worker, which hands a listener over.
    pub(super) outside: OwnedFd,
}

/// What init has for its errand.
struct Watch {
    children: OwnedFd,
    command: libc::pid_t,
    failed: UnixStream,
    /// Largest resident set of what the command began as, KiB.
    image: u64,
}

/// Waits with the command that will be run until that runs, and sees to it. Never returns.
pub(super) fn stand_by(ways: Ways, bind: Bind<'_>) -> ! {
    // It must not outlive the worker, which kills it when it is told to.
    die_with_parent();
    let Ways { errands, jobs, running, told, outside } = ways;
    // What could not be prepared is told to whoever comes; until then the job's way stays open.
    let prepared = Stage::set().and_then(|stage| begin(&stage, &jobs, &outside, [&errands, &running, &told], bind));
    drop(outside);
    let jobs = prepared.is_err().then_some(jobs);
    // Its errand came with the job, or nothing comes any more: it was of no use before.
    let mut traits = [0];
    let Some((_, [control])) = receive(&errands, &mut traits) else { leave(0) };
    let mut control = UnixStream::from(control);
    match prepared {
        Ok(watch) => {
            let told = (traits[0] & LEAVES != 0).then(|| File::from(told));
            run(control, watch, running, told)
        }
        Err(failure) => {
            tell(&mut control, &failure.into());
            drop(jobs);
            leave(1)
        }
    }
}

/// Makes the command's process, and waits until it runs its program or is gone. It shares init's directories, so
/// that its view becomes init's, too.
fn begin(
    stage: &Stage,
    jobs: &OwnedFd,
    outside: &OwnedFd,
    own: [&OwnedFd; 3],
    bind: Bind<'_>,
) -> Result<Watch, Failure> {
    let children = children()?;
    let (failed_rx, failed_tx) = UnixStream::pair().map_err(failed)?;
    let command = lender::lend(&|| {
        let not_its = own.into_iter().map(AsRawFd::as_raw_fd).chain([children.as_raw_fd(), failed_rx.as_raw_fd()]);
        // SAFETY: descriptors of this process, whose owners are in the other's hand.
        not_its.for_each(|descriptor| drop(unsafe { OwnedFd::from_raw_fd(descriptor) }));
        // SAFETY: as above, and nothing here uses them but what they are given to.
        let its = |descriptor: RawFd| unsafe { OwnedFd::from_raw_fd(descriptor) };
        let ways = command::Ways {
            jobs: its(jobs.as_raw_fd()),
            failed: its(failed_tx.as_raw_fd()).into(),
            outside: its(outside.as_raw_fd()).into(),
        };
        command::stand_by(stage, ways, bind)
    });
    let command = command.map_err(failed)?;
    Ok(Watch { children, command, failed: failed_rx, image: usage(libc::RUSAGE_SELF).ru_maxrss.unsigned_abs() })
}

/// With `told` something may stay, which is asked for once that is at its end.
fn run(mut control: UnixStream, watch: Watch, running: OwnedFd, told: Option<File>) -> ! {
    let Watch { children, command, failed: failure_rx, image } = watch;
    // Had it said why it does not run, that would be here: silence means that it runs.
    let mut failure = Vec::new();
    let _ = failure_rx.set_nonblocking(true).and_then(|()| (&failure_rx).read_to_end(&mut failure));
    drop(running);
    let status = wait(&control, &children, command);
    // What nobody waits for any more was not left: it is ended in the middle.
    let is_left = status.is_some() && has_children();
    // A command that failed leaves nothing.
    let staying = match told.filter(|_| is_left && status == Some(0)) {
        Some(mut told) => {
            let _ = told.read(&mut [0]);
            Some(left::ask(&mut control))
        }
        None => None,
    };
    let (left, more_left) = if is_left && staying.is_none() { left::stop_and_look() } else { (Vec::new(), 0) };
    let staying = staying.unwrap_or_default();
    if !staying.is_empty() {
        staying.end_others();
    } else if has_children() {
        end_all();
    }
    let mut told = if failure.is_empty() { ended(status) } else { Told::read(&failure) };
    use_of(&mut told, image);
    (told.left, told.more_left) = (left, more_left);
    tell(&mut control, &told);
    if !staying.is_empty() {
        staying.go_on(&mut control, &children);
        end_all();
    }
    // Who waits for the report goes first: the end of a process takes the kernel a while.
    std::thread::yield_now();
    leave(0)
}

fn end_all() {
    // SAFETY: -1 in a pid namespace means everybody else in it.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    reap_all();
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new("start the command", error)
}

/// A descriptor that becomes readable when a child ends (signalfd(2)).
fn children() -> Result<OwnedFd, Failure> {
    // SAFETY: the set is initialised by sigemptyset and lives until the calls return; the descriptor
    // is new and nobody else's.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(failed(std::io::Error::last_os_error())),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Reaps until the command is reaped: its status. None if nobody waits for it any more.
fn wait(control: &UnixStream, children: &OwnedFd, command: libc::pid_t) -> Option<libc::c_int> {
    loop {
        let mut status = 0;
        loop {
            // SAFETY: status outlives the call.
            let reaped = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if reaped == command {
                // Whom nobody outside watches stops here when its program begins.
                if libc::WIFSTOPPED(status) {
                    image::look(command, status);
                    continue;
                }
                return Some(status);
            }
            if reaped <= 0 {
                break;
            }
        }
        if !is_held(control, children) {
            return None;
        }
    }
}

/// Waits for the end of a child. False if the other side of the control socket let go.
pub(super) fn is_held(control: &UnixStream, children: &OwnedFd) -> bool {
    let child = libc::pollfd { fd: children.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut both = [child, watched(control.as_raw_fd())];
    // SAFETY: two initialised pollfds, and a buffer of the size that is read.
    unsafe {
        libc::poll(both.as_mut_ptr(), 2, -1);
        let mut heard = [0_u8; 128];
        libc::read(children.as_raw_fd(), heard.as_mut_ptr().cast(), heard.len());
    }
    both[1].revents == 0
}

/// Reaps who is dead. Is anybody left? Whoever loses its parent becomes a child of pid 1.
pub(super) fn has_children() -> bool {
    loop {
        // SAFETY: no status is asked for.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return true,
            reaped if reaped < 0 => return false,
            _ => {}
        }
    }
}

/// Reaps until there is no child.
fn reap_all() {
    loop {
        // SAFETY: no status is asked for.
        let reaped = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        if reaped < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) {
            return;
        }
    }
}

fn ended(status: Option<libc::c_int>) -> Told {
    let (kind, code) = match status {
        None => (Kind::Killed, 0),
        Some(status) if libc::WIFSIGNALED(status) => (Kind::Signalled, libc::WTERMSIG(status)),
        Some(status) => (Kind::Exited, libc::WEXITSTATUS(status)),
    };
    Told { kind: kind.into(), code, ..Told::default() }
}

/// By which two counts of one memory may differ: each processor adds up its own before it tells.
const ROUNDING_KIB: u64 = 1024;

/// What all reaped children used together (getrusage(2)).
///
/// The command began in init's memory, whose size stays with it when it becomes the program (`exec_mmap`,
/// fs/exec.c): what is no larger than that `image`, KiB, is not the command's.
fn use_of(told: &mut Told, image: u64) {
    let usage = usage(libc::RUSAGE_CHILDREN);
    let microseconds = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
    told.user_us = microseconds(usage.ru_utime);
    told.system_us = microseconds(usage.ru_stime);
    let largest = usage.ru_maxrss.unsigned_abs();
    told.max_rss_kib = if largest > image + ROUNDING_KIB { largest } else { 0 };
}

fn usage(of: libc::c_int) -> libc::rusage {
    // SAFETY: a whole rusage, filled in by the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(of, &raw mut usage);
        usage
    }
}
