//! Paths that cannot lead elsewhere: every look-up starts at a directory descriptor and follows no link.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use cmdop_contract::v1::Reason;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::Error;

/// A rename nearby makes the kernel give up with EAGAIN, at most so often in a row.
const MAX_TRIES: u32 = 128;

const NO_ESCAPE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);

const HELD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// The directory that all paths are looked up beneath.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

/// A name in a directory that is held open. The name may be free or taken.
#[derive(Debug)]
pub(crate) struct Spot {
    /// The directory, opened with `O_PATH`.
    pub(crate) parent: OwnedFd,
    pub(crate) name: CString,
    /// The whole absolute path, for messages and effects.
    pub(crate) path: Vec<u8>,
}

impl Root {
    /// The root of this process's file system.
    ///
    /// # Errors
    /// The operating system's refusal to open `/`.
    pub(crate) fn machine() -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/", flags, Mode::empty());
        Ok(Self { fd: fd.map_err(|errno| Error::io("open /")(errno.into()))? })
    }

    /// Opens what lies at a normalised absolute path.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Error> {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let relative = if relative.is_empty() { b"." } else { relative };
        open_beneath(&self.fd, &c_string(relative, path)?, flags, ResolveFlags::empty())
            .map_err(|errno| refused(errno, path))
    }

    /// Finds the directory in which the last name of a path lies or would lie.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND` if that directory does not exist, `PATH_NOT_USABLE` if it cannot be reached
    /// or the path is the root itself.
    pub(crate) fn spot(&self, path: &[u8]) -> Result<Spot, Error> {
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match split {
            Some(at) if at + 1 < path.len() => (&path[..at], &path[at + 1..]),
            _ => return Err(not_usable(path, "is the root of the file system")),
        };
        let parent = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Spot { parent, name: c_string(name, path)?, path: path.to_vec() })
    }
}

impl Spot {
    /// Opens what has the name now.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE` if it is a link or may not be accessed.
    pub(crate) fn open(&self, flags: OFlags) -> Result<OwnedFd, Error> {
        open_child(&self.parent, &self.name, flags).map_err(|errno| refused(errno, &self.path))
    }

    /// Opens the directory so that it can be made durable.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(crate) fn sync_parent(&self) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(&self.parent, c".", flags, Mode::empty());
        let synced = readable.and_then(rustix::fs::fsync);
        synced.map_err(|errno| Error::io(format!("make the directory of {} durable", show(&self.path)))(errno.into()))
    }
}

/// Opens one name in a directory without following it and without leaving its mount.
pub(crate) fn open_child(dir: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_beneath(dir, name, flags | OFlags::NOFOLLOW, ResolveFlags::empty())
}

/// As [`open_child`], but a mount point is refused with EXDEV.
pub(crate) fn open_child_same_mount(dir: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_beneath(dir, name, flags | OFlags::NOFOLLOW, ResolveFlags::NO_XDEV)
}

/// Holds one name in a directory, whatever it is: links too.
pub(crate) fn hold_child(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, HELD, Mode::empty())
}

fn open_beneath(dir: impl AsFd, path: &CStr, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let mut tries = 0;
    loop {
        match openat2(dir.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), NO_ESCAPE | resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < MAX_TRIES => tries += 1,
            opened => return opened,
        }
    }
}

/// Files of procfs that hold memory, or say where what lies in it.
const MEMORY: [&str; 12] = [
    "auxv",
    "environ",
    "kcore",
    "maps",
    "mem",
    "numa_maps",
    "pagemap",
    "smaps",
    "smaps_rollup",
    "stack",
    "syscall",
    "vmcore",
];

/// A file opened for reading that cannot block or become a terminal.
pub(crate) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Wraps a descriptor for `std::io`.
pub(crate) fn file(fd: OwnedFd) -> File {
    File::from(fd)
}

/// Wraps what was opened to be read, unless procfs shows memory by it (proc(5)): keys and passwords of this host and of
/// everything else lie there, under no name that policy could know.
///
/// # Errors
/// `PATH_NOT_USABLE`.
pub(crate) fn readable(fd: OwnedFd, path: &[u8]) -> Result<File, Error> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let is_on_proc = || rustix::fs::fstatfs(&fd).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC);
    if MEMORY.iter().any(|shown| shown.as_bytes() == name) && is_on_proc() {
        return Err(not_usable(path, "shows the memory of a process, which no tool reads"));
    }
    Ok(file(fd))
}

/// A path as people read it.
pub(crate) fn show(path: &[u8]) -> String {
    if path.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}

/// What the operating system's refusal of a path means to the caller.
pub(crate) fn refused(errno: Errno, path: &[u8]) -> Error {
    match errno {
        Errno::NOENT => {
            let message = format!("{} does not exist", show(path));
            Error::fix(Reason::PathNotFound, message, "/arguments/path", "a path that exists")
        }
        Errno::LOOP | Errno::XDEV => linked(path),
        Errno::NOTDIR => not_usable(path, "leads through something that is not a directory"),
        Errno::ACCESS | Errno::PERM => not_usable(path, "may not be accessed by the host's user"),
        Errno::ROFS => not_usable(path, "lies on a read-only file system"),
        Errno::NAMETOOLONG => not_usable(path, "is too long for the operating system"),
        Errno::AGAIN => not_usable(path, "keeps being moved while it is looked up"),
        Errno::NXIO | Errno::OPNOTSUPP | Errno::NODEV => not_usable(path, "is not a regular file"),
        other => Error::io(show(path))(other.into()),
    }
}

/// `PATH_NOT_USABLE` because of a link.
pub(crate) fn linked(path: &[u8]) -> Error {
    let message = format!("{} is or leads through a symbolic link; name the real path", show(path));
    let expected = "the real path, which leads through no symbolic link";
    Error::fix(Reason::PathNotUsable, message, "/arguments/path", expected)
}

/// `PATH_NOT_USABLE`, with why.
pub(crate) fn not_usable(path: &[u8], why: &str) -> Error {
    let message = format!("{} {why}", show(path));
    Error::fix(Reason::PathNotUsable, message, "/arguments/path", "another path: this one cannot be used so")
}

fn c_string(bytes: &[u8], path: &[u8]) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| not_usable(path, "holds a NUL byte"))
}
