//! The trap for calls that name an address or start a program: its filter, and how its listener gets outside.
//!
//! The filter binds the command, `sendmsg` included, so the command cannot send the listener itself:
//! it says its number, and init takes it and sends it.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use seccompiler::sock_filter;

use super::{Failure, Job};
use crate::notify;
use crate::spawned::EXECS;

/// Calls that may name an address wherever they are used.
const TRAPPED: [libc::c_long; 3] = [libc::SYS_connect, libc::SYS_sendmsg, libc::SYS_sendmmsg];
/// Offsets in `struct seccomp_data` (seccomp(2)); both halves of the fifth argument.
const NUMBER: u32 = 0;
const ADDRESS: [u32; 2] = [48, 52];

/// In the command, last of all: from now on its calls wait for whoever has the listener.
pub(super) fn set(job: &Job, mut outside: UnixStream) -> Result<(), Failure> {
    let listener = install(job)?;
    let failed = |error: std::io::Error| Failure::new("hand over the listener", error);
    // Neither call is trapped.
    outside.write_all(&raw_fd(&listener).to_ne_bytes()).map_err(failed)?;
    let mut heard = [0];
    outside.read_exact(&mut heard).map_err(failed)
}

/// In init: takes the listener from the command and sends it outside.
pub(super) fn pass_on(command: libc::pid_t, mut inside: UnixStream, network: &OwnedFd) -> std::io::Result<()> {
    let mut number = [0; size_of::<RawFd>()];
    inside.read_exact(&mut number)?;
    let listener = notify::take(command, RawFd::from_ne_bytes(number))?;
    let fds = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(network, &[IoSlice::new(b"n")], &mut ancillary, SendFlags::NOSIGNAL)?;
    inside.write_all(b"y")
}

/// Installs the filter; it is closed by `exec`, and then only the supervisor has one.
fn install(job: &Job) -> Result<OwnedFd, Failure> {
    let program = program(job.is_trapped, job.is_watched);
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_ptr().cast_mut().cast::<libc::sock_filter>(),
    };
    // A call that the supervisor has taken is interrupted by a kill alone, where the kernel can (5.19).
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Who is about to start a program could not be held without.
    let lesser = (!job.is_watched).then_some(listen);
    for flags in std::iter::once(listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).chain(lesser) {
        // SAFETY: a whole program that lives until the call returns; the descriptor is new.
        unsafe {
            let fd = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter);
            if fd >= 0 {
                return Ok(OwnedFd::from_raw_fd(fd as RawFd));
            }
        }
    }
    Err(Failure::new("trap calls (Linux 5.9 for the network, 5.19 for programs)", std::io::Error::last_os_error()))
}

/// Numbers of other architectures are refused by the filters beside this one, which go before.
fn program(is_trapped: bool, is_watched: bool) -> Vec<sock_filter> {
    let statement =
        |code: u32, jump_true, jump_false, k| sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let is =
        |jump_true, jump_false, k| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jump_true, jump_false, k);
    let end = |what| statement(libc::BPF_RET | libc::BPF_K, 0, 0, what);
    let notify = end(libc::SECCOMP_RET_USER_NOTIF);
    let mut program = vec![load(NUMBER)];
    let watched = EXECS.iter().filter(|_| is_watched);
    let trapped = TRAPPED.iter().filter(|_| is_trapped);
    for call in watched.chain(trapped) {
        program.extend([is(0, 1, *call as u32), notify.clone()]);
    }
    if is_trapped {
        // `sendto` without an address is `send`.
        let sendto = libc::SYS_sendto as u32;
        program.extend([is(0, 5, sendto), load(ADDRESS[0]), is(0, 2, 0), load(ADDRESS[1]), is(1, 0, 0), notify]);
    }
    program.push(end(libc::SECCOMP_RET_ALLOW));
    program
}

fn raw_fd(fd: &OwnedFd) -> RawFd {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}
