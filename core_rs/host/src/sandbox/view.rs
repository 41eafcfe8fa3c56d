//! Mounting the command's view of the machine.

use std::ffi::OsStr;
use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use super::mask::{Masks, lower};
use super::stage::{Stage, Top};
use super::{Cover, Failure, Job, Shown, Size};

/// Sockets of an ordinary user's machine lie here; its view has an empty one.
const RUN: &str = "/run";

/// A node of the machine's in a view: what it is may not be changed, what is written to it needs no writable mount.
pub(super) const OF_A_NODE: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

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
}

/// Builds the view of a command that changes nothing of the machine.
pub(super) fn mount_all(job: &Job, stage: &Stage) -> Result<(View, Top), Failure> {
    let mut view = View::default();
    let is_user = job.identity.is_some();
    let masks = Masks::lay(job)?;
    let mut covers = job.covers.iter().enumerate();
    let top = if is_user {
        view.no_unix = true;
        view.has_landlock = super::confine::landlock_version() >= 2;
        bind_machine(stage)?
    } else {
        let (number, cover) = covers.next().ok_or_else(|| Failure::new("cover /", "nothing is mounted there"))?;
        mount_cover(stage, &stage.place(), cover, masks.of(number), &mut view)?;
        stage.raise()?
    };
    for (number, cover) in covers {
        let place = inside(&top.path, path(&cover.path));
        if is_user {
            cover_own(&place, cover, masks.of(number), &mut view);
        } else {
            mount_cover(stage, &place, cover, masks.of(number), &mut view)?;
        }
    }
    masks.ensure(&top.path)?;
    hide(stage, &top, job)?;
    for shown in &job.shown {
        show(&top.path, shown)?;
    }
    stage.furnish(&top)?;
    Ok((view, top))
}

pub(super) fn hide(stage: &Stage, top: &Top, job: &Job) -> Result<(), Failure> {
    let mut hidden = job.hidden.iter().enumerate();
    hidden.try_for_each(|(number, hidden)| {
        let place = inside(&top.path, path(hidden));
        if place.is_dir() {
            return stage.shut(number, &place);
        }
        let bound = mount_bind("/dev/null", &place);
        bound.map_err(|error| Failure::new(format!("hide {}", path(hidden).display()), error))?;
        set_attributes(&place, 0, OF_A_NODE)
    })
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
fn bind_machine(stage: &Stage) -> Result<Top, Failure> {
    rustix::mount::mount_bind_recursive("/", stage.place()).map_err(|error| Failure::new("bind /", error))?;
    let top = stage.raise()?;
    shut(&top.path, libc::AT_RECURSIVE)?;
    let run = inside(&top.path, Path::new(RUN));
    if run.is_dir() {
        tmpfs(&run, MountFlags::RDONLY, c"size=4k,mode=755")?;
    }
    Ok(top)
}

/// Read-only, without devices and without set-user-id programs.
fn shut(place: &Path, flags: libc::c_int) -> Result<(), Failure> {
    set_attributes(place, flags, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
}

/// Adds attributes to a mount and takes none away, which a user namespace would not let be (mount_setattr(2)).
pub(super) fn set_attributes(place: &Path, flags: libc::c_int, set: u64) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("make {} read-only", place.display()), error);
    let name = std::ffi::CString::new(place.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: name and attributes live until the call returns.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, name.as_ptr(), flags, &raw const attributes, size)
    };
    if done == 0 { Ok(()) } else { Err(failed(std::io::Error::last_os_error())) }
}

fn mount_cover(
    stage: &Stage,
    place: &Path,
    cover: &Cover,
    mask: Option<PathBuf>,
    view: &mut View,
) -> Result<(), Failure> {
    let from = path(&cover.path);
    let lower = lower(mask, &cover.path);
    if !cover.upper.is_empty() {
        match overlay(place, above(cover, &lower), UPPER, false) {
            Ok(()) => return Ok(()),
            Err(error) if from == Path::new("/") => return Err(Failure::new("cover / with a private layer", error)),
            // What no overlay can cover is there to be read.
            Err(_) => view.read_only.push(cover.path.clone()),
        }
    }
    let Ok(found) = from.symlink_metadata() else { return Ok(()) };
    if found.file_type().is_socket() || found.file_type().is_fifo() {
        // What is mounted on a single name and leads outside is left out.
        return Ok(());
    }
    if found.is_dir() {
        let layers = [b"lowerdir=", &*lower, b":", &escaped(stage.empty().as_os_str().as_bytes())].concat();
        if overlay(place, layers, b"", false).is_ok() {
            return Ok(());
        }
        view.no_unix = true;
    }
    mount_bind(from, place).map_err(|error| Failure::new(format!("bind {}", from.display()), error))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount_remount(place, flags, c"").map_err(|error| Failure::new(format!("make {} read-only", from.display()), error))
}

/// The same for an ordinary user, to whom everything is shown read-only already.
fn cover_own(place: &Path, cover: &Cover, mask: Option<PathBuf>, view: &mut View) {
    let lower = lower(mask, &cover.path);
    if !cover.upper.is_empty() && overlay(place, above(cover, &lower), OWN_UPPER, true).is_err() {
        view.read_only.push(cover.path.clone());
    }
}

/// Directories can be renamed and hard links stay together, as they would without a layer; the content of
/// what changed is whole in it.
const UPPER: &[u8] = b",redirect_dir=on,metacopy=off,index=on";
/// A user's overlay can do neither (overlayfs.rst, "User xattr").
const OWN_UPPER: &[u8] = b",redirect_dir=nofollow,metacopy=off,index=off";

fn above(cover: &Cover, lower: &[u8]) -> Vec<u8> {
    [b"lowerdir=", lower, b",upperdir=", &escaped(&cover.upper), b",workdir=", &escaped(&cover.work)].concat()
}

pub(super) fn overlay(place: &Path, layers: Vec<u8>, options: &[u8], is_user: bool) -> rustix::io::Result<()> {
    let own: &[u8] = if is_user { b",userxattr" } else { b"" };
    let data = [&layers, options, own].concat();
    let data = std::ffi::CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    mount("cmdop-preview", place, "overlay", MountFlags::NODEV | MountFlags::NOSUID, Some(data.as_c_str()))
}

/// Opens a terminal of the view's own, sends its other end over a socket and returns its streams.
pub(super) fn terminal(top: &Top, size: Size, socket: &OwnedFd) -> Result<[OwnedFd; 3], Failure> {
    let failed = |error: std::io::Error| Failure::new("open a terminal", error);
    let multiplexer = top.path.join("dev/pts/ptmx");
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

pub(super) fn tmpfs(place: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Failure> {
    mount_fs("tmpfs", place, flags | MountFlags::NOSUID | MountFlags::NODEV, options)
}

pub(super) fn mount_fs(kind: &str, place: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Failure> {
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
