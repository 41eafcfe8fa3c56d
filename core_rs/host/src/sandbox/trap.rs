//! The trap for calls that are refused, name an address or start a program: its filter, and how its listener
//! gets outside.
//!
//! The filter binds the command, `sendmsg` included, so the command cannot send the listener itself:
//! it says its number, and the worker takes it and sends it.

use std::borrow::Cow;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use seccompiler::sock_filter;

use super::confine::{SILENTLY, Sockets, apply, refuse};
use super::filter::{Rules, Test};
use super::{Failure, Job};
use crate::notify;
use crate::spawned::EXECS;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Calls that may name an address wherever they are used.
const TRAPPED: [libc::c_long; 3] = [libc::SYS_connect, libc::SYS_sendmsg, libc::SYS_sendmmsg];
/// Signals by which one thread of a process is ended or stopped; the others are between threads.
const ENDING: [libc::c_int; 5] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGTERM, libc::SIGHUP, libc::SIGINT];

/// The last filters of commands, made before it is known which of them is needed.
pub(super) struct Filters {
    no_unix: bool,
    /// Without and with trapped contacts; of each without and with what is started.
    made: [[Vec<sock_filter>; 2]; 2],
}

impl Filters {
    /// For a view of which it is expected that it has no unix sockets, or that it has.
    pub(super) fn make(no_unix: bool) -> Self {
        let made =
            [false, true].map(|is_trapped| [false, true].map(|is_watched| program(is_trapped, is_watched, no_unix)));
        Self { no_unix, made }
    }

    fn of(&self, job: &Job, no_unix: bool) -> Cow<'_, [sock_filter]> {
        if no_unix == self.no_unix {
            return Cow::Borrowed(&self.made[usize::from(job.is_trapped)][usize::from(job.is_watched)]);
        }
        Cow::Owned(program(job.is_trapped, job.is_watched, no_unix))
    }
}

/// In the command, last of all: from now on its calls wait for whoever has the listener. Without one what is
/// refused is refused, and nobody is told.
pub(super) fn set(job: &Job, no_unix: bool, filters: &Filters, mut outside: UnixStream) -> Result<(), Failure> {
    let program = filters.of(job, no_unix);
    if !job.is_trapped && !job.is_watched {
        return apply(&program);
    }
    let listener = install(&program, job.is_watched)?;
    let failed = |error: std::io::Error| Failure::new("hand over the listener", error);
    // Neither call is trapped.
    outside.write_all(&raw_fd(&listener).to_ne_bytes()).map_err(failed)?;
    let mut heard = [0];
    outside.read_exact(&mut heard).map_err(failed)
}

/// In the worker, once something comes from `inside`: takes the listener from who said its number, and sends it
/// outside with init's number. Who that is the kernel says (unix(7), `SO_PASSCRED`): in its own namespace a command has another number.
pub(super) fn pass_on(inside: &UnixStream, network: &OwnedFd, init: libc::pid_t) -> std::io::Result<()> {
    let mut number = [0; size_of::<RawFd>()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(inside, &mut [IoSliceMut::new(&mut number)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let sender = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid),
        _ => None,
    });
    let Some(command) = sender.filter(|_| received.bytes == number.len()) else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let listener = notify::take(command.as_raw_nonzero().get(), RawFd::from_ne_bytes(number))?;
    let fds = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(network, &[IoSlice::new(&init.to_ne_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut inside = inside;
    inside.write_all(b"y")
}

/// The way from a command to its worker, the worker's end first.
pub(super) fn way() -> std::io::Result<(UnixStream, UnixStream)> {
    let (inside, outside) = UnixStream::pair()?;
    rustix::net::sockopt::set_socket_passcred(&inside, true)?;
    Ok((inside, outside))
}

/// Installs the filter; it is closed by `exec`, and then only the supervisor has one.
fn install(program: &[sock_filter], is_watched: bool) -> Result<OwnedFd, Failure> {
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_ptr().cast_mut().cast::<libc::sock_filter>(),
    };
    // A call that the supervisor has taken is interrupted by a kill alone, where the kernel can (5.19).
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Who is about to start a program could not be held without.
    let lesser = (!is_watched).then_some(listen);
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

fn program(is_trapped: bool, is_watched: bool, no_unix: bool) -> Vec<sock_filter> {
    let sockets = Sockets::of(no_unix, is_trapped);
    if is_trapped || is_watched {
        return rules(is_trapped, is_watched, sockets).program(libc::SECCOMP_RET_USER_NOTIF);
    }
    let mut rules = Rules::default();
    refuse(&mut rules, sockets, SILENTLY);
    rules.program(SILENTLY)
}

fn rules(is_trapped: bool, is_watched: bool, sockets: Sockets) -> Rules {
    let ask = libc::SECCOMP_RET_USER_NOTIF;
    let mut rules = Rules::default();
    refuse(&mut rules, sockets, ask);
    if is_watched {
        EXECS.iter().for_each(|call| rules.add(*call, [], ask));
    }
    // Where nothing may be contacted there is nobody to be reached, and who tries is only told.
    let trapped = if is_trapped { &TRAPPED[..] } else { &[libc::SYS_connect] };
    trapped.iter().for_each(|call| rules.add(*call, [], ask));
    // `sendto` without an address is `send`.
    let address = Test::is_not(4, 0);
    rules.add(libc::SYS_sendto, [address], ask);
    rules.add(libc::SYS_sendto, [address.upper()], ask);
    signals(&mut rules, ask);
    rules
}

/// Signals to one process, which may be none of the command's.
fn signals(rules: &mut Rules, ask: u32) {
    let [positive, some] = Test::is_positive(0);
    rules.add(libc::SYS_kill, [positive, some, Test::is_not(1, 0)], ask);
    rules.add(libc::SYS_rt_sigqueueinfo, [positive, some, Test::is_not(1, 0)], ask);
    rules.add(libc::SYS_pidfd_open, [positive, some], ask);
    for signal in ENDING {
        let signal = signal.unsigned_abs();
        rules.add(libc::SYS_tkill, [positive, some, Test::is(1, signal)], ask);
        rules.add(libc::SYS_tgkill, [positive, some, Test::is(2, signal)], ask);
        rules.add(libc::SYS_rt_tgsigqueueinfo, [positive, some, Test::is(2, signal)], ask);
    }
}

fn raw_fd(fd: &OwnedFd) -> RawFd {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}
