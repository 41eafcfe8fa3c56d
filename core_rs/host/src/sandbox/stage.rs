//! Where a view is built: made before the job is known, with all of the view that no job changes.
//!
//! The worker's mount namespace gets a small root of its own. `old` in it is the machine; whoever builds
//! the view has that as its root directory, so every path means what it means on the machine. The view is
//! mounted over the small root, and the command's root directory becomes the view's top: nothing leads
//! from there to what lies beneath. Once the command runs the worker lets go of `old`, which can take the
//! kernel milliseconds (it waits for all processors), so nobody waits for it.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, mount_remount,
    move_mount, open_tree, unmount,
};

use super::Failure;
use super::view::{OF_A_NODE, mount_fs, set_attributes, tmpfs};

/// Something is always mounted there, so the small root can be, too, until it is the root.
const FIRST: &str = "/dev";
/// The machine, seen from the small root.
pub(super) const OLD: &str = "/old";
const VIEW: &str = "/view";
const GROUND: &str = "/ground";
/// The last of the stand-ins for hidden directories, shared by whatever is more.
const LAST: usize = 15;

/// Devices that hold no state and reach nothing.
pub(super) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What was prepared, by descriptors, as paths mean those of the machine.
pub(super) struct Stage {
    /// The small root.
    top: OwnedFd,
    /// Where the view's first mount goes.
    place: OwnedFd,
    /// Where the first mount goes of a view that is begun before its job is known.
    ground: OwnedFd,
    /// An empty directory.
    empty: OwnedFd,
    /// A few more, which nobody may list.
    shut: OwnedFd,
    /// `/dev`, `/proc` and `/sys` of the view.
    own: [(&'static str, OwnedFd); 3],
}

/// Makes the small root, in a new mount namespace of the calling process.
pub(super) fn lay() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Failure::new("keep mounts private", error))?;
    tmpfs(Path::new(FIRST), MountFlags::empty(), c"size=64k,mode=755")?;
    for name in ["old", "view", "ground", "empty", "shut", "dev", "proc", "sys"] {
        let place = Path::new(FIRST).join(name);
        fs::create_dir(&place).map_err(|error| Failure::new(format!("make {}", place.display()), error))?;
    }
    let failed = |error: rustix::io::Errno| Failure::new("make a root of its own", error);
    rustix::process::pivot_root(FIRST, format!("{FIRST}{OLD}")).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)?;
    tmpfs(Path::new("/empty"), MountFlags::RDONLY, c"size=4k,mode=755")?;
    stand_ins(Path::new("/shut"))?;
    devices(Path::new("/dev"))
}

/// Empty directories, another for each that is hidden, so that it is known which of them was opened.
fn stand_ins(shut: &Path) -> Result<(), Failure> {
    tmpfs(shut, MountFlags::empty(), c"size=64k,mode=700")?;
    for number in 0..=LAST {
        let place = shut.join(number.to_string());
        let made = fs::DirBuilder::new().mode(0o700).create(&place);
        made.map_err(|error| Failure::new(format!("make {}", place.display()), error))?;
    }
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(shut, flags, c"").map_err(|error| Failure::new("make what is hidden read-only", error))
}

/// An own small `/dev`: a few devices, a private `/dev/shm` that is the command's `TMPDIR`, own terminals.
fn devices(dev: &Path) -> Result<(), Failure> {
    tmpfs(dev, MountFlags::NOEXEC, c"size=64k,mode=755")?;
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |error: std::io::Error| Failure::new(format!("make {what}"), error)
    };
    for name in DEVICES {
        let (place, machine) = (dev.join(name), Path::new(OLD).join("dev").join(name));
        fs::write(&place, "").map_err(failed(&place))?;
        bind_device(&machine, &place)?;
    }
    for (name, target) in LINKS {
        std::os::unix::fs::symlink(target, dev.join(name)).map_err(failed(dev))?;
    }
    for name in ["shm", "pts"] {
        fs::create_dir(dev.join(name)).map_err(failed(dev))?;
    }
    tmpfs(&dev.join("shm"), MountFlags::empty(), c"size=256m,mode=1777")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_fs("devpts", &dev.join("pts"), flags, c"newinstance,ptmxmode=0666,mode=0620")
}

/// Shows a device of the machine, whose mode, owner and times are not the command's to change.
fn bind_device(machine: &Path, place: &Path) -> Result<(), Failure> {
    rustix::mount::mount_bind(machine, place).map_err(|error| Failure::new(place.display(), error))?;
    set_attributes(place, 0, OF_A_NODE)
}

impl Stage {
    /// In init: mounts what belongs to the new namespaces, and gives the machine's paths back.
    pub(super) fn set() -> Result<Self, Failure> {
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
        mount_fs("proc", Path::new("/proc"), flags, c"")?;
        if mount_fs("sysfs", Path::new("/sys"), flags, c"").is_err() {
            // A container may not show a whole one, and then none may be made (sysfs(5)).
            tmpfs(Path::new("/sys"), flags, c"size=4k,mode=755")?;
        }
        let found = |place: &str| open(CWD, place);
        let own = [("dev", found("/dev")?), ("proc", found("/proc")?), ("sys", found("/sys")?)];
        let (top, place, ground) = (found("/")?, found(VIEW)?, found(GROUND)?);
        let (empty, shut) = (found("/empty")?, found("/shut")?);
        enter(Path::new(OLD))?;
        Ok(Self { top, place, ground, empty, shut, own })
    }

    /// Where the view's first mount goes.
    pub(super) fn place(&self) -> PathBuf {
        by_descriptor(&self.place)
    }

    /// The top of what was mounted there, which from now on covers the small root: so the paths of what
    /// is in the view are seen without a prefix from outside of it (proc(5)).
    pub(super) fn raise(&self) -> Result<Top, Failure> {
        let top = Top::found(&self.top, VIEW)?;
        self.raise_to_top(&top)?;
        Ok(top)
    }

    /// Where the first mount goes of a view that is begun before its job is known.
    pub(super) fn ground(&self) -> PathBuf {
        by_descriptor(&self.ground)
    }

    /// The top of what was mounted there.
    pub(super) fn begun(&self) -> Result<Top, Failure> {
        Top::found(&self.top, GROUND)
    }

    /// Makes it the view.
    pub(super) fn raise_to_top(&self, top: &Top) -> Result<(), Failure> {
        attach(&top.top, &self.top).map_err(|error| Failure::new("raise the view", error))
    }

    /// An empty directory that nobody can change.
    pub(super) fn empty(&self) -> PathBuf {
        by_descriptor(&self.empty)
    }

    /// Hides what is in a directory of the view, the first, second or so that is hidden.
    pub(super) fn shut(&self, number: usize, place: &Path) -> Result<(), Failure> {
        let failed = |error: rustix::io::Errno| Failure::new(format!("hide {}", place.display()), error);
        let stand_in = by_descriptor(&self.shut).join(number.min(LAST).to_string());
        rustix::mount::mount_bind(stand_in, place).map_err(failed)
    }

    /// Brings the view its `/dev`, `/proc` and `/sys`.
    pub(super) fn furnish(&self, top: &Top) -> Result<(), Failure> {
        for (name, tree) in &self.own {
            let place = open(&top.top, name)?;
            attach(tree, &place).map_err(|error| Failure::new(format!("mount the view's /{name}"), error))?;
        }
        Ok(())
    }
}

/// The view's top.
pub(super) struct Top {
    top: OwnedFd,
    pub(super) path: PathBuf,
}

impl Top {
    fn found(root: &OwnedFd, name: &str) -> Result<Self, Failure> {
        let top = open(root, &name[1..])?;
        Ok(Self { path: by_descriptor(&top), top })
    }

    /// Makes it the root directory.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        enter(&self.path)
    }
}

/// In the worker, whose root directory is the small root still: the machine's tree goes.
pub(super) fn let_go() -> Result<(), Failure> {
    unmount(OLD, UnmountFlags::DETACH).map_err(|error| Failure::new("leave the machine's root", error))
}

fn enter(place: &Path) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::new(format!("enter {}", place.display()), error);
    rustix::process::chroot(place).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)
}

fn open(at: impl std::os::fd::AsFd, place: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, place, flags, Mode::empty()).map_err(|error| Failure::new(format!("open {place}"), error))
}

fn by_descriptor(directory: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

/// Mounts a tree, attached elsewhere or nowhere yet, on what is open.
pub(super) fn attach(tree: &OwnedFd, place: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", place, c"", flags)
}

/// A mount of its own of what is open, not attached anywhere yet.
pub(super) fn clone_of(found: &OwnedFd, depth: OpenTreeFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(found, c"", flags | depth)
}
