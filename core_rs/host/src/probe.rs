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
    let systemd = crate::service::is_systemd();
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
        capability("isolate.pid", namespaces, "own pid namespace: nothing outlives the call"),
        capability("isolate.network", namespaces, "own network namespace: no network within a preview"),
        capability("native.openat2", openat2, "openat2(2), Linux 5.6"),
        capability(
            "service.systemd",
            systemd,
            "systemd is the first process; without it the host keeps services itself",
        ),
        capability(
            "service.own",
            !systemd,
            "units in /etc/cmdop/services, kept by the host daemon where systemd is not",
        ),
        capability("limit.pids", pids, "pids control group; without it a fork bomb is bounded by time alone"),
    ]
}

fn capability(name: &str, available: bool, detail: &str) -> Capability {
    Capability { name: name.into(), available, detail: detail.into() }
}

/// Tries something in a child process, so that this one stays as it is.
fn in_child(attempt: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child makes one system call and leaves without running anything of the parent's.
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
