//! One trapped `execve`: held by ptrace(2) until the new program is in place, looked at, let go.

use std::io;
use std::ptr;

use super::Started;
use crate::notify::{Listener, Trapped};

/// What became of a trapped call.
#[derive(Debug)]
pub(super) enum Caught {
    Started(Started),
    /// It failed or its caller was killed: nothing was started.
    Nothing,
    /// It went on without having been looked at.
    Missed,
}

/// A stop that says more than its signal (ptrace(2)).
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The new program is in place.
    Exec,
    /// The call returned, or the whole process was stopped.
    Interrupt,
    Signal(libc::c_int),
}

/// What is seen of a new program before its first instruction.
pub(super) struct Look {
    /// None if it could not be looked at.
    pub(super) looked: Option<Started>,
    /// Else it is killed.
    pub(super) may_begin: bool,
}

/// Lets the call go on, or refuses it if it `must` be looked at and cannot. The thread that calls this has no other child and traces nobody else.
pub(super) fn follow(
    listener: &Listener,
    call: &Trapped,
    must: bool,
    look: impl FnOnce(libc::pid_t) -> Look,
) -> Caught {
    // Should this process die, whoever it holds must not go on unseen.
    let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
    let held = ask(libc::PTRACE_SEIZE, call.thread, options as usize);
    if held.is_err() && must {
        listener.answer(call, Err(libc::EPERM));
        return Caught::Nothing;
    }
    if held.is_err() {
        listener.let_through(call);
        return if listener.is_valid(call) { Caught::Missed } else { Caught::Nothing };
    }
    // It stops when the call returns, so that one that fails is let go, too. While it waits for its
    // answer it cannot be interrupted but by a kill (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
    let interrupted = ask(libc::PTRACE_INTERRUPT, call.thread, 0);
    // Whoever has its number by now made no call: it stops and is let go.
    if listener.is_valid(call) {
        listener.let_through(call);
    }
    loop {
        match wait() {
            Some((process, Stop::Exec)) => {
                let Look { looked, may_begin } = look(process);
                if !may_begin {
                    // SAFETY: a process that this thread holds, so that the number is its own.
                    unsafe { libc::kill(process, libc::SIGKILL) };
                }
                let is_alive = ask(libc::PTRACE_DETACH, process, 0).is_ok() && may_begin;
                return match looked {
                    Some(started) => Caught::Started(started),
                    None if is_alive => Caught::Missed,
                    // Killed before its first instruction.
                    None => Caught::Nothing,
                };
            }
            Some((process, Stop::Interrupt)) => {
                let _ = ask(libc::PTRACE_DETACH, process, 0);
                return Caught::Nothing;
            }
            Some((process, Stop::Signal(signal))) => {
                let signal = usize::try_from(signal).unwrap_or(0);
                // Not even interrupted, it would not stop again.
                let further = if interrupted.is_ok() { libc::PTRACE_CONT } else { libc::PTRACE_DETACH };
                let _ = ask(further, process, signal);
            }
            None => return Caught::Nothing,
        }
    }
}

/// The next stop of whoever this thread traces; none once nobody is left.
fn wait() -> Option<(libc::pid_t, Stop)> {
    loop {
        let mut status = 0;
        // SAFETY: status outlives the call.
        let process = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if process < 0 {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return None;
        }
        if libc::WIFSTOPPED(status) {
            let stop = match status >> 16 {
                libc::PTRACE_EVENT_EXEC => Stop::Exec,
                libc::PTRACE_EVENT_STOP => Stop::Interrupt,
                _ => Stop::Signal(libc::WSTOPSIG(status)),
            };
            return Some((process, stop));
        }
        // It ended: the next wait finds nobody, or who took its number by an `exec`.
    }
}

fn ask(request: libc::c_uint, process: libc::pid_t, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests that are used here reads or writes this process's memory.
    let done = unsafe { libc::ptrace(request, process, ptr::null_mut::<libc::c_void>(), data) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
