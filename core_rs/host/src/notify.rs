//! Seccomp user notifications (seccomp_unotify(2)): what a trapped call asks, and the answer to it.

#![allow(unsafe_code)]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket address is never longer (socket(7), `sockaddr_storage`).
const MAX_ADDRESS: usize = size_of::<libc::sockaddr_storage>();

/// Watches a descriptor that its owner keeps open.
pub(crate) fn watch<T: AsFd + AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: `AsFd` promises that the owner's descriptor is open and the same for as long as it lives.
    unsafe { AsyncFd::register_with_interest(owner, interest) }.map_err(|error| error.into_parts().1)
}

/// The supervisor's end of a filter.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trapped {
    pub(crate) id: u64,
    /// Thread that calls, in this process's pid namespace.
    pub(crate) thread: libc::pid_t,
    pub(crate) number: libc::c_long,
    pub(crate) arguments: [u64; 6],
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Waits for a call. False if nobody is left who could call, or the other end of `beside` is closed.
    pub(crate) fn wait(&self, beside: BorrowedFd<'_>) -> bool {
        let watched = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut both = [watched(self.as_raw_fd()), watched(beside.as_raw_fd())];
        // SAFETY: two initialised pollfds.
        while unsafe { libc::poll(both.as_mut_ptr(), 2, -1) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        both[0].revents & libc::POLLIN != 0
    }

    /// Takes a call that waits. None if its caller was killed meanwhile.
    pub(crate) fn receive(&self) -> Option<Trapped> {
        // SAFETY: the kernel wants a zeroed structure and fills it in; it has the size that the
        // number of the request names.
        let notification = unsafe {
            let mut notification: libc::seccomp_notif = std::mem::zeroed();
            let done = libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification);
            (done == 0).then_some(notification)?
        };
        Some(Trapped {
            id: notification.id,
            thread: notification.pid.cast_signed(),
            number: notification.data.nr.into(),
            arguments: notification.data.args,
        })
    }

    /// Does the caller still wait? Only then is what was read by its number its own.
    pub(crate) fn is_valid(&self, call: &Trapped) -> bool {
        let id = call.id;
        // SAFETY: an id that lives until the call returns.
        unsafe { libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
    }

    /// Lets the kernel do what was asked for, whatever that is by now. Its caller may be gone.
    pub(crate) fn let_through(&self, call: &Trapped) {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        let response = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
        // SAFETY: a whole response that lives until the call returns.
        unsafe { libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
    }

    /// Lets the call return. Its caller may be gone.
    pub(crate) fn answer(&self, call: &Trapped, answer: Result<i64, i32>) {
        let (val, error) = answer.map_or_else(|errno| (0, -errno), |value| (value, 0));
        let response = libc::seccomp_notif_resp { id: call.id, val, error, flags: 0 };
        // SAFETY: a whole response that lives until the call returns.
        unsafe { libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
    }

    /// Puts a socket in the place of the caller's descriptor.
    pub(crate) fn replace(&self, call: &Trapped, socket: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<()> {
        let addfd = libc::seccomp_notif_addfd {
            id: call.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
            srcfd: socket.as_raw_fd().unsigned_abs(),
            newfd: call.descriptor().unsigned_abs(),
            newfd_flags: if close_on_exec { libc::O_CLOEXEC.unsigned_abs() } else { 0 },
        };
        // SAFETY: a whole request that lives until the call returns.
        let done = unsafe { libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const addfd) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Trapped {
    /// The first argument of every call that names an address.
    pub(crate) fn descriptor(&self) -> RawFd {
        // A descriptor is an int, whatever the upper half holds.
        self.arguments[0] as RawFd
    }

    /// Reads an address of the caller's, once. What it does to its memory later makes no difference.
    pub(crate) fn read_address(&self, at: u64, length: u64) -> Result<Vec<u8>, i32> {
        // The kernel takes the length as an int.
        let length = usize::try_from(length as libc::c_int).map_err(|_| libc::EINVAL)?;
        if length > MAX_ADDRESS {
            return Err(libc::EINVAL);
        }
        self.read(at, length)
    }

    /// Reads the caller's memory (process_vm_readv(2)).
    pub(crate) fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0_u8; length];
        let local = IoSliceMut::new(&mut bytes);
        let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: length };
        // SAFETY: IoSliceMut has the layout of iovec; only its buffer is written, up to its length.
        let read =
            unsafe { libc::process_vm_readv(self.thread, (&raw const local).cast(), 1, &raw const remote, 1, 0) };
        if usize::try_from(read) == Ok(length) { Ok(bytes) } else { Err(libc::EFAULT) }
    }

    /// Writes a number into the caller's memory: that of the process that waits, never of another that
    /// has its number by now (proc_pid_mem(5)).
    pub(crate) fn write(&self, listener: &Listener, at: u64, number: u32) -> Result<(), i32> {
        let path = format!("/proc/{}/mem", self.thread);
        let memory = std::fs::OpenOptions::new().write(true).open(path).map_err(|_| libc::EFAULT)?;
        if !listener.is_valid(self) {
            return Err(libc::EINTR);
        }
        memory.write_all_at(&number.to_ne_bytes(), at).map_err(|_| libc::EFAULT)
    }

    /// A copy of the caller's descriptor: what is found out about it stays true of it.
    pub(crate) fn copy(&self) -> Result<OwnedFd, i32> {
        let process = thread_group(self.thread).ok_or(libc::EBADF)?;
        take(process, self.descriptor()).map_err(|error| error.raw_os_error().unwrap_or(libc::EBADF))
    }

    /// Would the descriptor be closed by an `exec`? It cannot be seen on a copy (proc_pid_fdinfo(5)).
    pub(crate) fn closes_on_exec(&self) -> bool {
        let path = format!("/proc/{}/fdinfo/{}", self.thread, self.descriptor());
        let info = std::fs::read_to_string(path).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        let flags = flags.and_then(|octal| libc::c_int::from_str_radix(octal, 8).ok());
        flags.is_none_or(|flags| flags & libc::O_CLOEXEC != 0)
    }
}

/// Takes a descriptor of another process (pidfd_getfd(2), Linux 5.6).
pub(crate) fn take(process: libc::pid_t, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: system calls with numbers only; the descriptors that they return are new and nobody else's.
    unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, process, 0) as RawFd;
        if pidfd < 0 {
            return Err(io::Error::last_os_error());
        }
        let pidfd = OwnedFd::from_raw_fd(pidfd);
        match libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), number, 0) as RawFd {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The process of a thread: a pidfd is one of a whole process.
fn thread_group(thread: libc::pid_t) -> Option<libc::pid_t> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}
