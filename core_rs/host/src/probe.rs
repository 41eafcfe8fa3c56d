//! What this machine can confine and observe: tried, never claimed.

#![allow(unsafe_code)]

use std::path::Path;

use cmdop_contract::v1::Capability;

/// Tries what a preview needs and says how to get what is missing.
#[must_use]
pub fn probe() -> Vec<Capability> {
    let root = rustix::process::geteuid().is_root();
    let namespaces = root
        && in_child(|| {
            let flags =
                libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
            // SAFETY: unshare with flags only, in a child that ends right after.
            unsafe { libc::unshare(flags) == 0 }
        });
    let landlock = landlock_abi();
    let confines = root && landlock >= 3 && in_child(mounts_read_only_view);
    let overlay = std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay"));
    let bash = Path::new("/bin/bash").exists();
    let openat2 = rustix::fs::openat2(
        rustix::fs::CWD,
        "/",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
        rustix::fs::ResolveFlags::empty(),
    )
    .is_ok();
    let pids = Path::new("/sys/fs/cgroup/pids/cgroup.procs").exists()
        || std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|list| list.contains("pids"));
    let preview = root && namespaces && overlay && bash;
    vec![
        capability(
            "preview.overlay",
            preview,
            match (root, overlay, bash) {
                (false, ..) => "run the host as root: making the private view needs CAP_SYS_ADMIN",
                (_, false, _) => "load the overlay module: `modprobe overlay`",
                (.., false) => "install bash at /bin/bash: commands are analysed as bash and run by it",
                _ if !namespaces => "allow new namespaces to this process",
                _ => "namespaces made and overlayfs present",
            },
        ),
        capability(
            "direct.landlock",
            preview && confines,
            match (preview, landlock) {
                (false, _) => "needs what `preview.overlay` needs",
                (_, ..3) => "use a kernel with Landlock ABI 3 (Linux 6.2) and `landlock` in its `lsm=` list",
                _ if !confines => "allow overlays without an upper layer, and detached mounts (Linux 5.12)",
                _ => "read-only overlay and Landlock: a command changes only what its permit names",
            },
        ),
        capability("isolate.pid", namespaces, "own pid namespace: nothing outlives the call"),
        capability("isolate.network", namespaces, "own network namespace: no network within a preview"),
        capability("native.openat2", openat2, "openat2(2), Linux 5.6"),
        capability("limit.pids", pids, "pids control group; without it a fork bomb is bounded by time alone"),
    ]
}

fn capability(name: &str, available: bool, detail: &str) -> Capability {
    Capability { name: name.into(), available, detail: detail.into() }
}

/// Version of Landlock that the kernel enforces; negative or 0 if it does not (landlock_create_ruleset(2)).
fn landlock_abi() -> libc::c_long {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel takes no structure and only answers.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) }
}

/// Mounts, in a namespace of its own, what a view in direct mode consists of. It allocates nothing:
/// the process that was forked may have had threads.
fn mounts_read_only_view() -> bool {
    use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, mount, mount_change, open_tree};
    let place = c"/proc";
    // SAFETY: unshare with flags only, in a child that ends right after.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    unshared
        && mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).is_ok()
        && open_tree(rustix::fs::CWD, c"/", clone).is_ok()
        && mount(c"tmpfs", place, c"tmpfs", MountFlags::empty(), c"size=4k").is_ok()
        && mount(c"overlay", place, c"overlay", MountFlags::RDONLY, c"lowerdir=/proc:/").is_ok()
}

/// Tries something in a child process, so that this one stays as it is.
fn in_child(attempt: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child makes a few system calls and leaves without running anything of the parent's.
    match unsafe { libc::fork() } {
        -1 => false,
        0 => crate::spawner::leave(i32::from(!attempt())),
        child => {
            let mut status = 0;
            // SAFETY: child is our own and status outlives the call.
            let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
            reaped == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}
