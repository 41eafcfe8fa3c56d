//! The workers that stand by for a job, made when that is in nobody's way.
//!
//! A worker has its namespaces, its groups and most of its view before its job comes: a network namespace
//! alone takes half a millisecond. Its successor is made once a command has ended, or runs for a while, so as
//! not to compete with its start. Of the machine's mounts a worker has those of the time when it was made, so none
//! stands by any longer once they change (proc_pid_mounts(5)).

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::cgroup::Group;
use super::{JOB_DESCRIPTORS, close_all_but, pair, send};
use crate::exec;
use crate::sandbox::{self, Limits, Ways};

/// Workers that wait for a job.
const STANDING_BY: usize = 2;
/// A command that runs so long no longer starts.
const AFTER_START: Duration = Duration::from_millis(25);
/// More is often mounted after the first.
const AFTER_MOUNT: Duration = Duration::from_millis(100);
/// When groups of commands that are just ending are looked at again.
const AGAIN: Duration = Duration::from_millis(100);

/// All workers of a spawner.
pub(super) struct Pool {
    standing_by: VecDeque<Standby>,
    /// They have a job, or are to leave.
    used: Vec<Standby>,
    made: u64,
    /// When it is filled again; not while it is full.
    due: Option<Instant>,
    /// The machine's mounts.
    mounts: Option<File>,
}

/// A worker that waits for its job, or has it.
struct Standby {
    /// Nothing comes from it but its end.
    worker: OwnedFd,
    init: OwnedFd,
    command: OwnedFd,
    group: Group,
    /// It is gone, and somebody of its groups is not yet.
    is_ending: bool,
}

impl Default for Pool {
    fn default() -> Self {
        let mounts = File::open("/proc/self/mountinfo").ok();
        Self { standing_by: VecDeque::new(), used: Vec::new(), made: 0, due: Some(Instant::now()), mounts }
    }
}

impl Pool {
    /// Removes what has ended, and fills up if it is time.
    pub(super) fn tend(&mut self) {
        let before = self.used.len();
        self.used.retain_mut(|worker| !worker.is_over());
        let is_full = self.standing_by.len() >= STANDING_BY;
        let is_due = self.due.is_some_and(|due| due <= Instant::now());
        if is_due || self.used.len() < before {
            // Whose command still starts looks from now on whether anybody waits for it.
            self.used.iter().for_each(Standby::rouse);
        }
        // Without that file nobody knows how old the mounts of a worker are.
        if self.mounts.is_none() || is_full || !(is_due || self.used.len() < before) {
            return;
        }
        self.due = None;
        while self.standing_by.len() < STANDING_BY {
            let Some(worker) = self.stand_by() else { break };
            self.standing_by.push_back(worker);
        }
    }

    /// Waits until something can be received, or the other side is gone: true. Or until there is something
    /// to tend.
    pub(super) fn wait(&mut self, socket: &OwnedFd) -> bool {
        let watched = |fd: libc::c_int| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let ending = self.used.iter().filter(|worker| !worker.is_ending).map(|worker| worker.worker.as_raw_fd());
        let mounts = self.mounts.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mounts = libc::pollfd { fd: mounts, events: libc::POLLPRI, revents: 0 };
        let mut all: Vec<_> = [watched(socket.as_raw_fd()), mounts].into_iter().chain(ending.map(watched)).collect();
        let due = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        let again = self.used.iter().any(|worker| worker.is_ending).then_some(AGAIN);
        // A millisecond later rather than in vain.
        let patience = due.into_iter().chain(again).min().map_or(-1, |patience| {
            libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX).saturating_add(1)
        });
        // SAFETY: initialised pollfds, as many as the vector has.
        unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, patience) };
        if all[1].revents != 0 {
            self.retire();
            self.due = Some(Instant::now() + AFTER_MOUNT);
        }
        all[0].revents != 0
    }

    /// Gives a job to the next worker. One that is gone has taken nothing; without any a job is dropped, and
    /// its caller sees that the other ends of its descriptors are closed.
    pub(super) fn hand_over(&mut self, message: &[u8], descriptors: &[OwnedFd; JOB_DESCRIPTORS]) {
        let Some((traits, job)) = message.split_first() else { return };
        let [control, stdin, stdout, stderr, network] = descriptors.each_ref().map(AsFd::as_fd);
        for _ in 0..=STANDING_BY {
            let Some(worker) = self.standing_by.pop_front().or_else(|| self.stand_by()) else { break };
            let is_sent = send(&worker.command, job, &[control, stdin, stdout, stderr]).is_ok();
            if is_sent {
                // Who of these is gone has taken the command along.
                let _ = send(&worker.init, &[*traits], &[control]);
                let _ = send(&worker.worker, &[*traits], &[control, network]);
                self.used.push(worker);
                break;
            }
            worker.dismiss();
            self.used.push(worker);
        }
        self.due = Some(Instant::now() + AFTER_START);
    }

    /// Ends them all.
    pub(super) fn dismiss(mut self) {
        self.retire();
        for _ in 0..20 {
            self.used.retain_mut(|worker| !worker.is_over());
            if self.used.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// None stands by any longer.
    fn retire(&mut self) {
        for worker in self.standing_by.drain(..) {
            worker.dismiss();
            self.used.push(worker);
        }
    }

    /// Forks a worker with two more processes, which wait for a job at the other ends of three sockets.
    fn stand_by(&mut self) -> Option<Standby> {
        let ((worker, their_worker), (init, their_init), (command, their_command)) = (pair()?, pair()?, pair()?);
        self.made += 1;
        let mut group = Group::create(self.made);
        // SAFETY: this process has a single thread.
        match unsafe { libc::fork() } {
            -1 => {
                group.remove();
                None
            }
            0 => {
                close_all_but(&mut [&their_worker, &their_init, &their_command]);
                let entered = group.enter();
                // Most commands have these, and writing them takes a while.
                let usual = exec::usual_bounds();
                let known = group.bind(&usual);
                let bind = |limits: &Limits| if *limits == usual { known.clone() } else { group.bind(limits) };
                let ways = Ways { worker: their_worker, init: their_init, command: their_command };
                sandbox::stand_by(entered, ways, &bind)
            }
            _ => Some(Standby { worker, init, command, group, is_ending: false }),
        }
    }
}

impl Standby {
    /// Its ways end, and it leaves.
    fn dismiss(&self) {
        for way in [&self.worker, &self.init, &self.command] {
            let _ = rustix::net::shutdown(way, rustix::net::Shutdown::Write);
        }
    }

    /// It takes its errand, if it did not.
    fn rouse(&self) {
        let _ = rustix::net::shutdown(&self.worker, rustix::net::Shutdown::Write);
    }

    /// True once it is gone and its group removed.
    fn is_over(&mut self) -> bool {
        self.is_ending = self.is_ending || is_readable(&self.worker);
        self.is_ending && self.group.remove()
    }
}

fn is_readable(socket: &OwnedFd) -> bool {
    let mut watched = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one initialised pollfd.
    unsafe { libc::poll(&raw mut watched, 1, 0) > 0 }
}
