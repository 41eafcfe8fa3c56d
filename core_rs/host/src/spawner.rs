//! The helper that spawns commands: small, single-threaded, forked before the daemon grows.
//!
//! Forking a large process is slow and forking one with threads is undefined beyond `exec`, so the
//! daemon forks once, at its start, and this helper forks a worker per command, ahead of it. Jobs and their
//! descriptors cross a `SOCK_SEQPACKET` socket (unix(7), `SCM_RIGHTS`).

#![allow(unsafe_code)]

mod cgroup;

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use prost::Message;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::Error;
use crate::sandbox::{self, Job};
use cgroup::Group;

/// Descriptors of a job: control, standard input, output and error, and the way to its network's supervisor.
pub(crate) const JOB_DESCRIPTORS: usize = 5;
/// Largest encoded job: a command, its environment and the plan of mounts.
pub(crate) const MAX_JOB_BYTES: usize = 512 * 1024;

/// Workers that wait for a job, with their namespaces made: a network namespace alone takes half a
/// millisecond.
const STANDING_BY: usize = 2;

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
        let bytes = job.encode_to_vec();
        if bytes.len() > MAX_JOB_BYTES {
            let large = std::io::Error::other("command, environment and mounts take more than 512 KiB together");
            return Err(Error::io("hand the command over")(large));
        }
        send(&self.socket, &bytes, descriptors).map_err(|errno| Error::io("reach the spawner")(errno.into()))?;
        Ok(())
    }
}

/// The helper: hands each job to a worker that stands by, until its parent is gone.
///
/// No signal ends it with its parent: the closed socket does, and leaves it time to remove the groups.
fn serve(socket: OwnedFd) -> ! {
    close_all_but(&socket);
    // Workers are reaped by the kernel; signals of a terminal are for the daemon.
    // SAFETY: setting dispositions of a single-threaded process.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
    let mut buffer = vec![0; MAX_JOB_BYTES];
    let mut standing_by: VecDeque<Standby> = VecDeque::new();
    let mut used: Vec<Standby> = Vec::new();
    let mut number = 0;
    loop {
        while standing_by.len() < STANDING_BY {
            number += 1;
            let Some(worker) = stand_by(number) else { break };
            standing_by.push_back(worker);
        }
        used.retain_mut(|worker| !worker.is_over());
        // Groups of commands that are just ending are looked at again soon.
        let patience_ms = if used.is_empty() { -1 } else { 100 };
        if !is_readable(&socket, patience_ms) {
            continue;
        }
        let Some((bytes, descriptors)) = receive(&socket, &mut buffer) else { break };
        // One that is gone has taken nothing; without any, a job is dropped, and its caller sees that
        // the other ends of its descriptors are closed.
        while let Some(worker) = standing_by.pop_front() {
            let is_sent = send(&worker.socket, &buffer[..bytes], &descriptors).is_ok();
            used.push(worker);
            if is_sent {
                break;
            }
        }
    }
    // Workers that wait see their socket closed, and leave.
    for Standby { socket, mut group } in standing_by {
        drop(socket);
        for _ in 0..20 {
            if group.remove() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    for _ in 0..20 {
        used.retain_mut(|worker| !worker.is_over());
        if used.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    leave(0)
}

/// A worker that waits for its job, or has it.
struct Standby {
    /// Nothing comes from it but its end.
    socket: OwnedFd,
    group: Group,
}

impl Standby {
    /// True once it is gone and its group removed.
    fn is_over(&mut self) -> bool {
        is_readable(&self.socket, 0) && self.group.remove()
    }
}

/// Forks a worker that waits for its job at the other end of a socket.
fn stand_by(number: u64) -> Option<Standby> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, MAX_JOB_BYTES * 2).ok()?;
    let mut group = Group::create(number);
    // SAFETY: this process has a single thread.
    match unsafe { libc::fork() } {
        -1 => {
            group.remove();
            None
        }
        0 => {
            close_all_but(&theirs);
            let ready = sandbox::stand_by(group.enter());
            let mut buffer = vec![0; MAX_JOB_BYTES];
            let Some((bytes, descriptors)) = receive(&theirs, &mut buffer) else { leave(0) };
            let Ok(mut job) = Job::decode(&buffer[..bytes]) else { leave(1) };
            drop(buffer);
            let (held, rest) = group.bind(&job.limits.unwrap_or_default());
            job.limits = Some(rest);
            // `theirs` stays open for as long as the worker lives: by that its group is known to be used.
            sandbox::work(ready, held, &job, descriptors)
        }
        _ => Some(Standby { socket: ours, group }),
    }
}

/// Waits until something can be received, or the other side is gone.
fn is_readable(socket: &OwnedFd, patience_ms: i32) -> bool {
    use std::os::fd::AsRawFd;
    let mut watched = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one initialised pollfd.
    unsafe { libc::poll(&raw mut watched, 1, patience_ms) > 0 }
}

fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[OwnedFd; JOB_DESCRIPTORS]) -> Result<(), rustix::io::Errno> {
    let fds = descriptors.each_ref().map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(JOB_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, [OwnedFd; JOB_DESCRIPTORS])> {
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

fn close_all_but(socket: &OwnedFd) {
    use std::os::fd::AsRawFd;
    let keep = socket.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, keep - 1), (keep + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: nothing in this process uses the descriptors that are closed here.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// Ends the process without running what the parent's copy registered for its exit.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit is async-signal-safe and does not return.
    unsafe { libc::_exit(code) }
}
