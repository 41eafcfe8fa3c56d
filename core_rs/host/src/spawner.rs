//! The helper that spawns commands: small, single-threaded, forked before the daemon grows.
//!
//! Forking a large process is slow and forking one with threads is undefined beyond `exec`, so the
//! daemon forks once, at its start, and this helper forks a worker per command, ahead of it (`spawner/pool.rs`).
//! Jobs and their descriptors cross a `SOCK_SEQPACKET` socket (unix(7), `SCM_RIGHTS`).

#![allow(unsafe_code)]

mod cgroup;
mod pool;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use prost::Message;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::Error;
use crate::sandbox::Job;
use pool::Pool;

/// Descriptors of a job: control, standard input, output and error, and the way to its network's supervisor.
pub(crate) const JOB_DESCRIPTORS: usize = 5;
/// Largest encoded job: a command, its environment and the plan of mounts.
pub(crate) const MAX_JOB_BYTES: usize = 512 * 1024;

/// What goes before a job for those around the command: its calls are trapped, so the worker has a listener
/// to hand over; something may stay when it has ended.
pub(crate) const TRAPS: u8 = 1;
pub(crate) const LEAVES: u8 = 2;

/// The helper's parent end. A cheap handle; the helper dies with the process that started it.
#[derive(Debug, Clone)]
pub struct Spawner {
    socket: Arc<OwnedFd>,
}

impl Spawner {
    /// Forks the helper. Must run before the process has threads.
    ///
    /// # Errors
    /// If the process has threads already, or the system refuses.
    pub fn start() -> Result<Self, Error> {
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            let busy = std::io::Error::other(format!(
                "the process has {threads} threads; start the spawner before anything else"
            ));
            return Err(Error::io("fork the spawner")(busy));
        }
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.map_err(|errno| Error::io("make the spawner's socket")(errno.into()))?;
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, MAX_JOB_BYTES * 2)
            .map_err(|errno| Error::io("size the spawner's socket")(errno.into()))?;
        // SAFETY: the process has a single thread, so the child may go on as an ordinary process.
        match unsafe { libc::fork() } {
            -1 => Err(Error::io("fork the spawner")(std::io::Error::last_os_error())),
            0 => {
                drop(ours);
                serve(theirs)
            }
            _ => Ok(Self { socket: Arc::new(ours) }),
        }
    }

    /// Hands a job and its descriptors to the helper.
    ///
    /// # Errors
    /// If the job is too large or the helper is gone.
    pub(crate) fn spawn(&self, job: &Job, descriptors: &[OwnedFd; JOB_DESCRIPTORS]) -> Result<(), Error> {
        let traps = if job.is_trapped || job.is_watched { TRAPS } else { 0 };
        let mut bytes = vec![traps | if job.may_leave { LEAVES } else { 0 }];
        job.encode(&mut bytes).map_err(|error| Error::io("hand the command over")(error.into()))?;
        if bytes.len() > MAX_JOB_BYTES {
            let large = std::io::Error::other("command, environment and mounts take more than 512 KiB together");
            return Err(Error::io("hand the command over")(large));
        }
        send(&self.socket, &bytes, &descriptors.each_ref().map(AsFd::as_fd))
            .map_err(|errno| Error::io("reach the spawner")(errno.into()))
    }
}

/// The helper: hands each job to a worker that stands by, until its parent is gone.
///
/// No signal ends it with its parent: the closed socket does, and leaves it time to remove the groups.
fn serve(socket: OwnedFd) -> ! {
    close_all_but(&mut [&socket]);
    // Workers are reaped by the kernel; signals of a terminal are for the daemon.
    // SAFETY: setting dispositions of a single-threaded process.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
    let mut buffer = vec![0; MAX_JOB_BYTES];
    let mut pool = Pool::default();
    loop {
        pool.tend();
        if !pool.wait(&socket) {
            continue;
        }
        let Some((bytes, descriptors)) = receive::<JOB_DESCRIPTORS>(&socket, &mut buffer) else { break };
        pool.hand_over(&buffer[..bytes], &descriptors);
    }
    pool.dismiss();
    leave(0)
}

fn pair() -> Option<(OwnedFd, OwnedFd)> {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::sockopt::set_socket_send_buffer_size(&pair.0, MAX_JOB_BYTES * 2).ok()?;
    Some(pair)
}

fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), rustix::io::Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(JOB_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// The next message with as many descriptors; none if the other side is gone.
pub(crate) fn receive<const N: usize>(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, [OwnedFd; N])> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(JOB_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => received,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
        };
        let descriptors: Vec<OwnedFd> = ancillary
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                _ => Vec::new(),
            })
            .collect();
        if received.bytes == 0 {
            return None;
        }
        if let Ok(descriptors) = descriptors.try_into() {
            return Some((received.bytes, descriptors));
        }
    }
}

/// SIGKILL when the parent dies (prctl(2), PR_SET_PDEATHSIG).
pub(crate) fn die_with_parent() {
    // SAFETY: prctl with integer arguments.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn close_all_but(kept: &mut [&OwnedFd]) {
    kept.sort_unstable_by_key(|fd| fd.as_raw_fd());
    let mut first = 3;
    for fd in kept {
        let keep = fd.as_raw_fd().unsigned_abs();
        close_range(first, keep.saturating_sub(1));
        first = first.max(keep + 1);
    }
    close_range(first, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    if first <= last {
        // SAFETY: nothing in this process uses the descriptors that are closed here.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Ends the process without running what the parent's copy registered for its exit.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit is async-signal-safe and does not return.
    unsafe { libc::_exit(code) }
}
