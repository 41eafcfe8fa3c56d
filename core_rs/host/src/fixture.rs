//! Fixtures: a directory tree presented at its place, over a machine that nothing can change.
//!
//! The process gets its own mount namespace, whose root is an overlay: beneath is the machine, above
//! is the fixture's directory. What the directory holds appears at its place, and every change lands
//! in it; what others put into the directory meanwhile the overlay need not notice (overlayfs.rst, "Changes to underlying
//! filesystems"). Each further writable mount of the machine is covered by an overlay of its own.

#![allow(unsafe_code)]

pub(crate) mod aliases;
pub(crate) mod elsewhere;
pub(crate) mod mounts;

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cmdop_contract::v1::Reason;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::Error;
use mounts::Mount;

/// Devices that the fixture's own `/dev` offers.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// File systems of the kernel itself, which stay as they are.
const KERNEL: [&str; 2] = ["/proc", "/sys"];

/// Presents `directory` at its place to this process and its children, for good.
///
/// Every path of `keep` that is a private directory (mode 0700, the caller's own) stays the real
/// one: state that outlives the process. All others are seen through the overlay and need no
/// keeping. Must run before this process has threads.
///
/// # Errors
/// `INVALID_CONFIGURATION` if the directory cannot be a fixture, `PREVIEW_UNAVAILABLE` if this
/// kernel or user cannot have one; the message says what to do.
pub fn enter<P: AsRef<Path>>(directory: &Path, keep: &[P]) -> Result<(), Error> {
    let back = std::env::current_dir().ok();
    let plan = Plan::prepare(directory, keep)?;
    let mounts = mounts::visible()?;
    let kept: Vec<_> = keep.iter().map(|path| path.as_ref().to_owned()).collect();
    let shown = elsewhere::of_view(kept.clone())?;
    plan.mount_root()?;
    for (number, mount) in mounts.iter().filter(|mount| plan.is_covered(mount)).enumerate() {
        plan.cover(mount, number)?;
    }
    plan.mount_kernel()?;
    plan.mount_devices()?;
    for kept in &plan.kept {
        // It shows through the overlay already, unless it lies in memory that the fixture has its own of.
        fs::create_dir_all(plan.inside(kept)).map_err(Error::io("make a place for what is kept"))?;
        bind(kept, &plan.inside(kept))?;
    }
    plan.hide_layers()?;
    plan.hide(shown.iter().filter(|place| !kept.contains(place)))?;
    plan.pivot()?;
    // A working directory that the fixture does not show is no place to stay.
    back.map_or(Ok(()), |back| std::env::set_current_dir(back).or_else(|_| std::env::set_current_dir("/")))
        .map_err(Error::io("enter the fixture"))
}

/// What goes where.
struct Plan {
    /// Upper layer of the root; once covered by the overlay, its path is the new root's.
    directory: PathBuf,
    /// The directory itself, still reachable when it is covered.
    upper: OwnedFd,
    /// For the overlays' own use, on the same file system.
    work: PathBuf,
    kept: Vec<PathBuf>,
}

impl Plan {
    /// Checks everything that can be checked before the process is changed, then changes it: the
    /// layers must be opened in the namespace in which they are mounted.
    fn prepare<P: AsRef<Path>>(directory: &Path, keep: &[P]) -> Result<Self, Error> {
        let shown = directory.display();
        let directory = directory.canonicalize().map_err(|error| invalid(format!("fixture {shown}: {error}")))?;
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            return Err(invalid("the root of the machine cannot be a fixture; copy what you need into a directory"));
        };
        let device = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.is_dir()));
        match (device(&directory), device(parent)) {
            (Ok((own, true)), Ok((above, _))) if own == above => {}
            (Ok((_, true)), Ok(_)) => {
                return Err(invalid(format!("fixture {shown} is a mount point; use a directory beneath it")));
            }
            _ => return Err(invalid(format!("fixture {shown} is not a directory"))),
        }
        if keep.iter().any(|kept| kept.as_ref().starts_with(&directory)) {
            return Err(invalid(format!("the host's own state may not lie inside the fixture {shown}")));
        }
        let threads = fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(0);
        if threads != 1 {
            return Err(invalid("a fixture can only be entered before the process has threads"));
        }
        let mut work_name = OsStr::new(".").to_owned();
        work_name.push(name);
        work_name.push(".cmdop-work");
        let work = parent.join(work_name);
        let kept = keep.iter().map(|path| path.as_ref().to_owned()).filter(|path| is_private(path)).collect();
        own_namespace()?;
        let upper = hold(&directory).map_err(|errno| Error::io("open the fixture")(errno.into()))?;
        Ok(Self { directory, upper, work, kept })
    }

    /// Where an absolute path of the machine lies in the new root while it is being built.
    fn inside(&self, path: &Path) -> PathBuf {
        self.directory.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn mount_root(&self) -> Result<(), Error> {
        let work = private_directory(&self.work.join("root"))?;
        let overlay = Overlay { lower: Path::new("/"), upper: &self.upper, work: &work };
        // File handles let a preview on top of this overlay tell a rename from a copy. A tree that
        // was copied with its attributes no longer fits its index, and goes without. `xino` keeps
        // inode numbers when a change moves a file up, by which tools tell a file from another.
        let indexed = overlay.mount(&self.directory, "index=on,nfs_export=on,redirect_dir=on,xino=on");
        let mounted = match indexed {
            Err(Errno::BUSY) => Err(Errno::BUSY),
            Err(_) => overlay.mount(&self.directory, "index=off,redirect_dir=on,xino=on"),
            done => done,
        };
        mounted.map_err(|errno| self.refused(errno))
    }

    fn refused(&self, errno: Errno) -> Error {
        let shown = self.directory.display();
        match errno {
            Errno::BUSY => invalid(format!("fixture {shown} is in use by another host; stop it first")),
            Errno::PERM | Errno::ACCESS => unavailable("mounting an overlay was refused"),
            Errno::INVAL => invalid(format!(
                "fixture {shown} lies on a file system that cannot be the upper layer of an overlay \
                 (another overlay, NFS, FUSE); copy it to ext4, xfs, btrfs or a tmpfs such as /dev/shm"
            )),
            other => Error::io(format!("mount the fixture {shown}"))(other.into()),
        }
    }

    /// True if a mount of the machine needs an overlay of its own.
    fn is_covered(&self, mount: &Mount) -> bool {
        let is_within = |above: &Path| mount.path.starts_with(above);
        mount.path != Path::new("/")
            && !mount.is_of_the_kernel
            && !KERNEL.iter().any(|kernel| is_within(Path::new(kernel)))
            && !is_within(Path::new("/dev"))
            && !is_within(&self.directory)
            && !is_within(&self.work)
            && !self.kept.iter().any(|kept| is_within(kept))
    }

    /// Covers a further mount: changes land in the fixture if it has that directory, else in a
    /// layer that the next start throws away. What cannot be covered is shown read-only.
    fn cover(&self, mount: &Mount, number: usize) -> Result<(), Error> {
        let target = self.inside(&mount.path);
        // Nothing is at its place: the fixture has put something else there.
        let Ok(place) = fs::symlink_metadata(&target) else { return Ok(()) };
        if place.is_dir() && !mount.is_read_only {
            let upper = self.upper_of(&mount.path, number)?;
            let work = private_directory(&self.work.join(format!("work-{number}")))?;
            let overlay = Overlay { lower: &mount.path, upper: &upper, work: &work };
            if overlay.mount(&target, "index=off,redirect_dir=on,xino=on").is_ok() {
                return Ok(());
            }
        }
        if place.is_symlink() {
            return Ok(());
        }
        bind_read_only(&mount.path, &target)
    }

    /// The fixture's own directory of that path, or a new scratch directory.
    fn upper_of(&self, path: &Path, number: usize) -> Result<OwnedFd, Error> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if let Ok(given) = rustix::fs::openat2(&self.upper, relative, HOLD, Mode::empty(), resolve) {
            return Ok(given);
        }
        let scratch = self.work.join(format!("scratch-{number}"));
        let _ = fs::remove_dir_all(&scratch);
        private_directory(&scratch)
    }

    fn mount_kernel(&self) -> Result<(), Error> {
        for path in KERNEL.map(Path::new) {
            bind(path, &self.inside(path))?;
        }
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount_remount(self.inside(Path::new("/sys")), flags, c"")
            .map_err(|errno| Error::io("make /sys read-only")(errno.into()))
    }

    fn mount_devices(&self) -> Result<(), Error> {
        let dev = self.inside(Path::new("/dev"));
        tmpfs(&dev, MountFlags::NOSUID, "mode=0755,size=1m")?;
        for name in DEVICES {
            let (real, shown) = (Path::new("/dev").join(name), dev.join(name));
            if real.exists() {
                fs::write(&shown, "").map_err(Error::io("make a device"))?;
                bind(&real, &shown)?;
            }
        }
        for (directory, target) in [("shm", None), ("pts", Some("/dev/pts"))] {
            let shown = dev.join(directory);
            fs::create_dir(&shown).map_err(Error::io("make /dev"))?;
            match target {
                Some(real) if Path::new(real).is_dir() => bind(Path::new(real), &shown)?,
                Some(_) => {}
                None => tmpfs(&shown, MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")?,
            }
        }
        let links = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")];
        for (name, target) in links.into_iter().chain([("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")]) {
            std::os::unix::fs::symlink(target, dev.join(name)).map_err(Error::io("make /dev"))?;
        }
        Ok(())
    }

    /// The layers themselves would show at their real place, and be changed beneath the overlay.
    fn hide_layers(&self) -> Result<(), Error> {
        for path in [&self.directory, &self.work] {
            let target = self.inside(path);
            if target.is_dir() {
                tmpfs(&target, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, "mode=0555,size=4k")?;
            }
        }
        Ok(())
    }

    /// What is kept shows at further mounts, too, and the machine's processes where the kernel shows them.
    fn hide<'a>(&self, shown: impl Iterator<Item = &'a PathBuf>) -> Result<(), Error> {
        for target in shown.map(|path| self.inside(path)) {
            match fs::symlink_metadata(&target) {
                Ok(found) if found.is_dir() => {
                    tmpfs(&target, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, "mode=0555,size=4k")?;
                }
                Ok(found) if found.is_file() => bind(Path::new("/dev/null"), &target)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// pivot_root(2) with both arguments the same stacks the old root on the new one, from where
    /// it is detached; nothing of it stays reachable.
    fn pivot(&self) -> Result<(), Error> {
        let step = |doing: &str, done: Result<(), Errno>| done.map_err(|errno| Error::io(doing)(errno.into()));
        step("enter the fixture", rustix::process::chdir(&self.directory))?;
        step("pivot to the fixture", rustix::process::pivot_root(".", "."))?;
        step("leave the machine's root", rustix::mount::unmount(".", UnmountFlags::DETACH))?;
        step("enter the fixture's root", rustix::process::chdir("/"))
    }
}

/// An overlay about to be mounted.
struct Overlay<'a> {
    lower: &'a Path,
    upper: &'a OwnedFd,
    work: &'a OwnedFd,
}

impl Overlay<'_> {
    fn mount(&self, target: &Path, options: &str) -> Result<(), Errno> {
        // Descriptors stand for the paths, so that no comma or colon in one is taken for syntax.
        let lower = hold(self.lower)?;
        let [lower, upper, work] =
            [&lower, self.upper, self.work].map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let data = format!("lowerdir={lower},upperdir={upper},workdir={work},{options}");
        let data = CString::new(data).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("cmdop-fixture", target, "overlay", MountFlags::NODEV, &*data)
    }
}

const HOLD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn hold(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, HOLD, Mode::empty())
}

fn private_directory(path: &Path) -> Result<OwnedFd, Error> {
    let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(Error::io(format!("create {}", path.display())))?;
    hold(path).map_err(|errno| Error::io(format!("open {}", path.display()))(errno.into()))
}

/// A directory that nobody but its owner may enter, and that is the caller's own.
fn is_private(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0)
}

fn own_namespace() -> Result<(), Error> {
    // SAFETY: only the mount namespace is replaced; the table of descriptors stays shared with
    // nobody, since the process has one thread.
    let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) };
    unshared.map_err(|_| unavailable("a mount namespace of its own was refused"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(|errno| Error::io("make mounts private")(errno.into()))
}

fn bind(from: &Path, to: &Path) -> Result<(), Error> {
    rustix::mount::mount_bind_recursive(from, to)
        .map_err(|errno| Error::io(format!("keep {} in the fixture", from.display()))(errno.into()))
}

fn bind_read_only(from: &Path, to: &Path) -> Result<(), Error> {
    let doing = || format!("show {} read-only in the fixture", from.display());
    rustix::mount::mount_bind(from, to).map_err(|errno| Error::io(doing())(errno.into()))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount_remount(to, flags, c"").map_err(|errno| Error::io(doing())(errno.into()))
}

fn tmpfs(target: &Path, flags: MountFlags, options: &str) -> Result<(), Error> {
    let data = CString::new(options).expect("options are fixed text without NUL");
    rustix::mount::mount("cmdop-fixture", target, "tmpfs", flags, &*data)
        .map_err(|errno| Error::io(format!("mount a tmpfs at {}", target.display()))(errno.into()))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::fix(Reason::InvalidConfiguration, message, "/fixture", "a directory that can be presented at its place")
}

fn unavailable(why: &str) -> Error {
    let message = format!("a fixture needs root (CAP_SYS_ADMIN) and a kernel with overlayfs: {why}");
    Error::stop(Reason::PreviewUnavailable, message)
}
