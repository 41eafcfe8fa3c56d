//! Mounting the command's view of the machine, and making it the only one.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};

use super::{Cover, Failure, Job};

/// Devices that hold no state and reach nothing.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Builds the view on the job's root directory, in the worker's own mount namespace.
pub(super) fn mount_all(job: &Job) -> Result<(), Failure> {
    let root = path(&job.root);
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Failure::new("keep mounts private", error))?;
    for cover in &job.covers {
        mount_cover(root, cover)?;
    }
    hide(root, job)?;
    devices(root)
}

pub(super) fn hide(root: &Path, job: &Job) -> Result<(), Failure> {
    for hidden in &job.hidden {
        let place = inside(root, path(hidden));
        tmpfs(&place, MountFlags::RDONLY, c"size=4k,mode=700")?;
    }
    Ok(())
}

fn mount_cover(root: &Path, cover: &Cover) -> Result<(), Failure> {
    let from = path(&cover.path);
    let place = inside(root, from);
    if !cover.upper.is_empty() {
        let options = [
            b"lowerdir=",
            &*escaped(&cover.path),
            b",upperdir=",
            &escaped(&cover.upper),
            b",workdir=",
            &escaped(&cover.work),
            // Each change is then whole in the upper layer, and nothing of it refers to the lower.
            b",redirect_dir=nofollow,metacopy=off,index=off\0",
        ]
        .concat();
        let options =
            std::ffi::CString::from_vec_with_nul(options).map_err(|error| Failure::new(from.display(), error))?;
        let mounted = mount("cmdop-preview", &place, "overlay", MountFlags::NODEV, Some(options.as_c_str()));
        match mounted {
            Ok(()) => return Ok(()),
            Err(error) if from == Path::new("/") => return Err(Failure::new("cover / with a private layer", error)),
            // What no overlay can cover is there to be read.
            Err(_) => {}
        }
    }
    mount_bind(from, &place).map_err(|error| Failure::new(format!("bind {}", from.display()), error))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount_remount(&place, flags, c"").map_err(|error| Failure::new(format!("make {} read-only", from.display()), error))
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
    mount_fs("sysfs", &root.join("sys"), shut, c"")?;
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

pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub(super) fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Commas end an option and colons a layer (overlayfs.rst); a backslash takes them literally.
pub(super) fn escaped(path: &[u8]) -> Vec<u8> {
    path.iter().flat_map(|byte| if b",:\\".contains(byte) { vec![b'\\', *byte] } else { vec![*byte] }).collect()
}
