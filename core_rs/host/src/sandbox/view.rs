//! Mounting the command's view of the machine, and making it the only one.

use std::ffi::OsStr;
use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};

use super::mask::{Masks, lower};
use super::{Cover, Failure, Job, Shown, Size};

/// Devices that hold no state and reach nothing.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Sockets of an ordinary user's machine lie here; its view has an empty one.
const RUN: &str = "/run";

/// What became of the plan.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Writable mounts that the command can only read.
    pub(super) read_only: Vec<Vec<u8>>,
    /// Directories are shown as they are: a socket in them leads to its daemon (a read-only mount
    /// does not hinder connect(2); an overlay does, by its different inode).
    pub(super) no_unix: bool,
    /// Landlock keeps writes within the layers (landlock(7), from its second version on).
    pub(super) has_landlock: bool,
    /// The system calls that are refused in it.
    pub(super) filters: super::confine::Filters,
}

/// Builds the view on the job's root directory, in the worker's own mount namespace.
pub(super) fn mount_all(job: &Job) -> Result<View, Failure> {
    let root = path(&job.root);
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Failure::new("keep mounts private", error))?;
    let mut view = View::default();
    let is_user = job.identity.is_some();
    if is_user {
        bind_machine(root)?;
        view.no_unix = true;
        view.has_landlock = super::confine::landlock_version() >= 2;
    }
    let masks = Masks::lay(job)?;
    for (number, cover) in job.covers.iter().enumerate() {
        mount_cover(root, cover, masks.of(number), is_user, &mut view)?;
    }
    masks.ensure(root)?;
    hide(root, job)?;
    for shown in &job.shown {
        show(root, shown)?;
    }
    devices(root)?;
    Ok(view)
}

pub(super) fn hide(root: &Path, job: &Job) -> Result<(), Failure> {
    for hidden in &job.hidden {
        let place = inside(root, path(hidden));
        tmpfs(&place, MountFlags::RDONLY, c"size=4k,mode=700")?;
    }
    Ok(())
}

/// Binds a file over one of the view, wherever a link in the view leads.
fn show(root: &Path, shown: &Shown) -> Result<(), Failure> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let name = path(&shown.path);
    let failed = |errno: rustix::io::Errno| Failure::new(format!("show another {}", name.display()), errno);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, flags, Mode::empty()).map_err(failed)?;
    let found = || openat2(&top, name, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let place = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let covered = match found() {
        Ok(covered) => covered,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    mount_bind(path(&shown.file), place(&covered)).map_err(failed)?;
    let covering = found().map_err(failed)?;
    shut(&place(&covering), 0)
}

/// An ordinary user may not lay an overlay over a root with mounts in it, so it shows everything
/// read-only and covers what the user could change (mount_setattr(2), Linux 5.12).
fn bind_machine(root: &Path) -> Result<(), Failure> {
    rustix::mount::mount_bind_recursive("/", root).map_err(|error| Failure::new("bind /", error))?;
    shut(root, libc::AT_RECURSIVE)?;
    let run = root.join(&RUN[1..]);
    if run.is_dir() { tmpfs(&run, MountFlags::RDONLY, c"size=4k,mode=755") } else { Ok(()) }
}

/// Read-only, without devices and without set-user-id programs.
fn shut(place: &Path, flags: libc::c_int) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("make {} read-only", place.display()), error);
    let name = std::ffi::CString::new(place.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: name and attributes live until the call returns.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, name.as_ptr(), flags, &raw const attributes, size)
    };
    if done == 0 { Ok(()) } else { Err(failed(std::io::Error::last_os_error())) }
}

fn mount_cover(
    root: &Path,
    cover: &Cover,
    mask: Option<PathBuf>,
    is_user: bool,
    view: &mut View,
) -> Result<(), Failure> {
    let lower = lower(mask, &cover.path);
    let from = path(&cover.path);
    let place = inside(root, from);
    if !cover.upper.is_empty() {
        let layers =
            [b"lowerdir=", &*lower, b",upperdir=", &escaped(&cover.upper), b",workdir=", &escaped(&cover.work)]
                .concat();
        // Directories can be renamed and hard links stay together, as they would without a layer; the
        // content of what changed is whole in it. A user's overlay can do neither (overlayfs.rst, "User
        // xattr").
        let options: &[u8] = match is_user {
            false => b",redirect_dir=on,metacopy=off,index=on",
            true => b",redirect_dir=nofollow,metacopy=off,index=off",
        };
        match overlay(&place, layers, options, is_user) {
            Ok(()) => return Ok(()),
            Err(error) if from == Path::new("/") => return Err(Failure::new("cover / with a private layer", error)),
            // What no overlay can cover is there to be read.
            Err(_) => view.read_only.push(cover.path.clone()),
        }
    }
    let Ok(found) = from.symlink_metadata() else { return Ok(()) };
    if is_user || found.file_type().is_socket() || found.file_type().is_fifo() {
        // Shown read-only already; what is mounted on a single name and leads outside is left out.
        return Ok(());
    }
    if found.is_dir() {
        let empty = root.with_file_name("empty");
        let layers = [b"lowerdir=", &*lower, b":", &escaped(empty.as_os_str().as_bytes())].concat();
        if overlay(&place, layers, b"", false).is_ok() {
            return Ok(());
        }
        view.no_unix = true;
    }
    mount_bind(from, &place).map_err(|error| Failure::new(format!("bind {}", from.display()), error))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount_remount(&place, flags, c"").map_err(|error| Failure::new(format!("make {} read-only", from.display()), error))
}

fn overlay(place: &Path, layers: Vec<u8>, options: &[u8], is_user: bool) -> rustix::io::Result<()> {
    let own: &[u8] = if is_user { b",userxattr" } else { b"" };
    let data = [&layers, options, own].concat();
    let data = std::ffi::CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    mount("cmdop-preview", place, "overlay", MountFlags::NODEV | MountFlags::NOSUID, Some(data.as_c_str()))
}

/// Opens a terminal of the view's own, sends its other end over a socket and returns its streams.
pub(super) fn terminal(job: &Job, size: Size, socket: &OwnedFd) -> Result<[OwnedFd; 3], Failure> {
    let failed = |error: std::io::Error| Failure::new("open a terminal", error);
    let multiplexer = path(&job.root).join("dev/pts/ptmx");
    let ours: OwnedFd = fs::OpenOptions::new().read(true).write(true).open(multiplexer).map_err(failed)?.into();
    let rows = u16::try_from(size.rows).unwrap_or(u16::MAX);
    let window = libc::winsize {
        ws_row: rows,
        ws_col: u16::try_from(size.cols).unwrap_or(u16::MAX),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let unlocked: libc::c_int = 0;
    // SAFETY: ioctls of a terminal that is open, with values that live until they return; the
    // descriptor is new and nobody else's (ioctl_tty(2)).
    let theirs = unsafe {
        if libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) != 0
            || libc::ioctl(ours.as_raw_fd(), libc::TIOCSWINSZ, &raw const window) != 0
        {
            return Err(failed(std::io::Error::last_os_error()));
        }
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        match libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags) {
            -1 => return Err(failed(std::io::Error::last_os_error())),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    let again = || theirs.try_clone().map_err(failed);
    let streams = [again()?, again()?, again()?];
    let fds = [ours.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
    ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"t")], &mut ancillary, rustix::net::SendFlags::NOSIGNAL)
        .map_err(|errno| failed(errno.into()))?;
    Ok(streams)
}

/// An own small `/dev`: a few devices, a private `/dev/shm` that is the command's `TMPDIR`, own terminals.
pub(super) fn devices(root: &Path) -> Result<(), Failure> {
    let dev = root.join("dev");
    tmpfs(&dev, MountFlags::NOEXEC, c"size=64k,mode=755")?;
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |error: std::io::Error| Failure::new(format!("make {what}"), error)
    };
    for name in DEVICES {
        let place = dev.join(name);
        fs::write(&place, "").map_err(failed(&place))?;
        mount_bind(Path::new("/dev").join(name), &place).map_err(|error| Failure::new(place.display(), error))?;
    }
    for (name, target) in LINKS {
        std::os::unix::fs::symlink(target, dev.join(name)).map_err(failed(&dev))?;
    }
    for name in ["shm", "pts"] {
        fs::create_dir(dev.join(name)).map_err(failed(&dev))?;
    }
    tmpfs(&dev.join("shm"), MountFlags::empty(), c"size=256m,mode=1777")?;
    let pts = dev.join("pts");
    mount_fs("devpts", &pts, MountFlags::NOSUID | MountFlags::NOEXEC, c"newinstance,ptmxmode=0666,mode=0620")?;
    std::os::unix::fs::symlink("pts/ptmx", dev.join("ptmx")).map_err(failed(&dev))
}

/// In init: mounts what belongs to the new namespaces and leaves the machine's root behind.
pub(super) fn enter(job: &Job) -> Result<(), Failure> {
    let root = path(&job.root);
    let shut = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    mount_fs("proc", &root.join("proc"), shut, c"")?;
    let sys = root.join("sys");
    if mount_fs("sysfs", &sys, shut, c"").is_err() {
        // A container may not show a whole one, and then none may be made (sysfs(5)).
        tmpfs(&sys, shut, c"size=4k,mode=755")?;
    }
    std::env::set_current_dir(root).map_err(|error| Failure::new("enter the view", error))?;
    // pivot_root(".", ".") stacks the old root on the new one (pivot_root(2)).
    rustix::process::pivot_root(".", ".").map_err(|error| Failure::new("make the view the root", error))?;
    unmount(".", UnmountFlags::DETACH).map_err(|error| Failure::new("leave the machine's root", error))?;
    std::env::set_current_dir("/").map_err(|error| Failure::new("enter the view", error))
}

pub(super) fn tmpfs(place: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Failure> {
    mount_fs("tmpfs", place, flags | MountFlags::NOSUID | MountFlags::NODEV, options)
}

fn mount_fs(kind: &str, place: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Failure> {
    mount(kind, place, kind, flags, Some(options))
        .map_err(|error| Failure::new(format!("mount {kind} on {}", place.display()), error))
}

pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub(super) fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Commas end an option and colons a layer (overlayfs.rst); a backslash takes them literally.
pub(super) fn escaped(path: &[u8]) -> Vec<u8> {
    path.iter().flat_map(|byte| if b",:\\".contains(byte) { vec![b'\\', *byte] } else { vec![*byte] }).collect()
}
