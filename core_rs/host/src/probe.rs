//! What this machine can confine and observe: tried, never claimed.

use std::path::Path;

use cmdop_contract::v1::Capability;

use crate::exec;
use crate::network;
use crate::spawner::Spawner;

/// What was found, and what confines a command or why none can run.
pub(crate) struct Found {
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) confinement: Result<String, String>,
    /// Why no command can have a network, if none can.
    pub(crate) network: Result<(), String>,
}

/// Tries what a preview needs, with layers in a temporary directory, and says how to get what is
/// missing. Must run before the process has threads.
#[must_use]
pub fn probe() -> Vec<Capability> {
    let dir = std::env::temp_dir().join(format!("cmdop-probe-{}", std::process::id()));
    match Spawner::start() {
        Ok(spawner) => examine(&spawner, &dir).capabilities,
        Err(error) => describe(&Err(error.to_string()), &Err(error.to_string())),
    }
}

/// Runs a command that does nothing in a real private view, with its layer in this directory.
pub(crate) fn examine(spawner: &Spawner, dir: &Path) -> Found {
    use std::os::unix::fs::DirBuilderExt;
    let in_directory = |attempt: &dyn Fn() -> Result<String, String>| {
        // What an earlier life left.
        let _ = exec::remove(dir);
        let made = std::fs::DirBuilder::new().mode(0o700).create(dir).map_err(|error| error.to_string());
        let done = made.and_then(|()| attempt());
        let _ = exec::remove(dir);
        done
    };
    let confinement = in_directory(&|| exec::attempt(spawner, dir, &exec::DEFAULT_LIMITS, ":", None));
    let network = match &confinement {
        Ok(_) => in_directory(&|| network::probe(spawner, dir).map(|()| String::new())).map(drop),
        Err(why) => Err(why.clone()),
    };
    Found { capabilities: describe(&confinement, &network), confinement, network }
}

fn describe(confinement: &Result<String, String>, network: &Result<(), String>) -> Vec<Capability> {
    let is_root = rustix::process::geteuid().is_root();
    let held = confinement.as_deref().unwrap_or_default();
    let openat2 = rustix::fs::openat2(
        rustix::fs::CWD,
        "/",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
        rustix::fs::ResolveFlags::empty(),
    )
    .is_ok();
    let preview = match confinement {
        Ok(held) if is_root => format!("as root: {held}"),
        Ok(held) => format!("as an ordinary user, who can change only its own directories: {held}"),
        Err(why) => format!("{why}; {}", remedy(why, is_root)),
    };
    let limits = held.find("cgroup ").map_or("", |at| &held[at..]);
    let has_limit = |name: &str| limits.split(", ").any(|part| part.starts_with("cgroup ") && part.contains(name));
    let unread: Vec<_> = held.split(", ").filter_map(|part| part.strip_prefix("read-only ")).collect();
    let covered = if unread.is_empty() {
        "everything that can be changed is covered by an overlay".to_owned()
    } else {
        format!("commands can only read {}: no overlay covers it", unread.join(", "))
    };
    let opened = match network {
        Ok(()) => "connections to what a permit names, by seccomp user notification".to_owned(),
        Err(why) => {
            format!("no command may have a network here: {why}; Linux 5.9 and a loopback that is up are needed")
        }
    };
    let can = confinement.is_ok();
    vec![
        capability("preview.overlay", can, &preview),
        capability("preview.complete", can && unread.is_empty(), &covered),
        capability("isolate.pid", can, "own pid namespace: nothing outlives the call"),
        capability(
            "isolate.network",
            can,
            "own network namespace: no network within a preview but what its permit names",
        ),
        capability("network.permits", network.is_ok(), &opened),
        capability("native.openat2", openat2, "openat2(2), Linux 5.6"),
        capability(
            "limit.pids",
            has_limit("pids"),
            "pids control group; without it root's fork bomb is bounded by time alone",
        ),
        capability(
            "limit.memory",
            has_limit("memory"),
            "memory control group; without it memory is bounded per process",
        ),
        capability("limit.cpu", has_limit("cpu"), "cpu accounting; without it processor time is bounded per process"),
    ]
}

/// What most likely helps.
fn remedy(why: &str, is_root: bool) -> &'static str {
    let has_overlay = std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay"));
    if !has_overlay {
        "load the overlay module: `modprobe overlay`"
    } else if !Path::new("/bin/bash").exists() {
        "install bash at /bin/bash: commands are analysed as bash and run by it"
    } else if why.contains("private layer") {
        "put the state directory on ext4, xfs, btrfs or tmpfs: an overlay cannot be the upper layer of another"
    } else if why.contains("namespace") && !is_root {
        "allow user namespaces (`sysctl kernel.unprivileged_userns_clone user.max_user_namespaces`) or run the host as root"
    } else {
        "run the host as root with CAP_SYS_ADMIN, or outside of a container that masks /proc"
    }
}

fn capability(name: &str, available: bool, detail: &str) -> Capability {
    Capability { name: name.into(), available, detail: detail.into() }
}
