//! Pid 1 of the command's namespace: starts it, reaps everybody, kills who is left and may not stay, then
//! reports.

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::command::become_command;
use super::left::Staying;
use super::view::{self, View};
use super::{Failure, Job, Kind, Told, left, tell, trap, watched};
use crate::spawner::leave;

pub(super) fn run(job: &Job, view: &View, mut control: UnixStream, streams: [OwnedFd; 3], network: &OwnedFd) -> ! {
    let pair = || UnixStream::pair().map_err(failed);
    let started = view::enter(job).and_then(|()| Ok((children()?, pair()?, pair()?)));
    let (children, (mut failed_rx, failed_tx), (trap_rx, trap_tx)) = match started {
        Ok(started) => started,
        Err(failure) => {
            tell(&mut control, &failure.into());
            leave(1);
        }
    };
    // SAFETY: this process has a single thread.
    let command = unsafe { libc::fork() };
    if command == 0 {
        drop((control, failed_rx, trap_rx));
        become_command(job, view, streams, failed_tx, trap_tx);
    }
    drop((streams, failed_tx, trap_tx));
    if job.is_trapped || job.is_watched {
        // Without it the command does not go on, and says so.
        let _ = trap::pass_on(command, trap_rx, network);
    }
    // The command holds its end until `exec` closes it: silence means that it runs.
    let mut failure = Vec::new();
    let _ = failed_rx.read_to_end(&mut failure);
    let status = wait(&control, &children, command);
    // What nobody waits for any more was not left: it is ended in the middle.
    let is_left = status.is_some() && has_children();
    // A command that failed leaves nothing.
    let may_leave = is_left && job.may_leave && status == Some(0);
    let staying = if may_leave { left::ask(&mut control) } else { Staying::default() };
    let (left, more_left) = if is_left && !may_leave { left::stop_and_look() } else { (Vec::new(), 0) };
    if staying.is_empty() {
        end_all();
    } else {
        staying.end_others();
    }
    let mut told = if failure.is_empty() { ended(status) } else { Told::read(&failure) };
    use_of(&mut told);
    (told.left, told.more_left) = (left, more_left);
    told.read_only.clone_from(&view.read_only);
    told.no_unix = view.no_unix;
    told.has_landlock = view.has_landlock;
    tell(&mut control, &told);
    if !staying.is_empty() {
        staying.go_on(&mut control, &children);
        end_all();
    }
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

/// What all reaped children used together (getrusage(2)).
fn use_of(told: &mut Told) {
    // SAFETY: a whole rusage, filled in by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let microseconds = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
    told.user_us = microseconds(usage.ru_utime);
    told.system_us = microseconds(usage.ru_stime);
    told.max_rss_kib = usage.ru_maxrss.unsigned_abs();
}
