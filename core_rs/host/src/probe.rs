//! What this machine can confine and observe: tried, never claimed.

use std::path::{Path, PathBuf};

use cmdop_contract::v1::Capability;
use cmdop_policy::classes::LISTS_NOTABLE;

use crate::exec;
use crate::fixture::mounts;
use crate::missing::Missing;
use crate::network;
use crate::sandbox::mount_within;
use crate::spawned::{self, Programs};
use crate::spawner::Spawner;

/// What was found, and what confines a command on a private layer or why none can run.
pub(crate) struct Found {
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) confinement: Result<String, String>,
    /// The same for one that changes the machine itself.
    pub(crate) direct: Result<String, String>,
    /// Why no command can have a network, if none can.
    pub(crate) network: Result<(), String>,
    /// Digests of programs that were seen, or why nobody sees what a command starts.
    pub(crate) processes: Result<Programs, String>,
}

/// Tries what a preview needs, with layers in a temporary directory, and says how to get what is
/// missing. Must run before the process has threads.
#[must_use]
pub fn probe() -> Vec<Capability> {
    let dir = std::env::temp_dir().join(format!("cmdop-probe-{}", std::process::id()));
    match Spawner::start() {
        Ok(spawner) => examine(&spawner, &dir, &user_places(&std::env::var("HOME").unwrap_or_default())).capabilities,
        Err(error) => {
            let (confinement, direct) = (Err(error.to_string()), Err(error.to_string()));
            let (network, processes) = (Err(error.to_string()), Err(error.to_string()));
            describe(&Found { capabilities: Vec::new(), confinement, direct, network, processes })
        }
    }
}

/// Where an ordinary user's commands change things, beside workspaces and their working directory.
pub(crate) fn user_places(home: &str) -> Vec<PathBuf> {
    [home, "/tmp", "/var/tmp"].into_iter().filter(|place| place.starts_with('/')).map(PathBuf::from).collect()
}

/// Runs commands that do nothing else in real views, with their layers in this directory; an ordinary
/// user's may change something in these places.
pub(crate) fn examine(spawner: &Spawner, dir: &Path, places: &[PathBuf]) -> Found {
    let confinement = within(dir, |dir| exec::attempt_preview(spawner, dir, places, &exec::DEFAULT_LIMITS));
    let direct = match &confinement {
        // What cannot be tried first is not done directly either.
        Err(why) => Err(why.clone()),
        Ok(_) if rustix::process::geteuid().is_root() => {
            within(dir, |dir| exec::attempt_direct(spawner, dir, &exec::DEFAULT_LIMITS))
        }
        Ok(_) => Err("only root can open a part of the machine and nothing else; run the host as root".to_owned()),
    };
    let network = match &confinement {
        Ok(_) => within(dir, |dir| network::probe(spawner, dir)),
        Err(why) => Err(why.clone()),
    };
    let processes = match &confinement {
        Ok(_) => within(dir, |dir| spawned::probe(spawner, dir)),
        Err(why) => Err(why.clone()),
    };
    let mut found = Found { capabilities: Vec::new(), confinement, direct, network, processes };
    found.capabilities = describe(&found);
    found
}

/// Tries something in an empty directory, which does not stay.
fn within<T>(dir: &Path, attempt: impl FnOnce(&Path) -> Result<T, String>) -> Result<T, String> {
    use std::os::unix::fs::DirBuilderExt;
    // What an earlier life left.
    let _ = exec::remove(dir);
    let made = std::fs::DirBuilder::new().mode(0o700).create(dir).and_then(|()| dir.canonicalize());
    let tried = made.map_err(|error| error.to_string()).and_then(|dir| attempt(&dir));
    let _ = exec::remove(dir);
    tried
}

fn describe(found: &Found) -> Vec<Capability> {
    let Found { confinement, direct, network, processes, .. } = found;
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
    let systemd = crate::service::is_systemd();
    let preview = match confinement {
        Ok(held) if is_root => format!("as root: {held}"),
        Ok(held) => format!("as an ordinary user, who can change only its own directories: {held}"),
        Err(why) => Missing::of(why).sentence(),
    };
    let limits = held.find("cgroup ").map_or("", |at| &held[at..]);
    let has_limit = |name: &str| limits.split(", ").any(|part| part.starts_with("cgroup ") && part.contains(name));
    let unread: Vec<_> = held.split(", ").filter_map(|part| part.strip_prefix("read-only ")).collect();
    let covered = if confinement.is_err() {
        "needs `preview.overlay`".to_owned()
    } else if unread.is_empty() {
        "everything that can be changed is covered by an overlay".to_owned()
    } else {
        let mounted = mounts::places().unwrap_or_default();
        let why = |place: &&str| match mount_within(Path::new(place), &mounted).filter(|_| !is_root) {
            Some(mount) => format!("{place} itself, because {} is mounted in it", mount.display()),
            None => format!("{place}, which no overlay covers"),
        };
        let unread: Vec<_> = unread.iter().map(why).collect();
        format!("commands can only read {}", unread.join("; "))
    };
    // What needs a preview says no more than that: one cause has one sentence.
    let needs_preview = "needs `preview.overlay`".to_owned();
    let directly = match direct {
        Err(_) if confinement.is_err() => needs_preview.clone(),
        Ok(held) => format!("a command changes only what its permit names: {held}"),
        Err(why) if why.contains("Landlock") => {
            format!("{why}; use a kernel with Landlock ABI 3 (Linux 6.2) and `landlock` in its `lsm=` list")
        }
        Err(why) => why.clone(),
    };
    let opened = match network {
        Err(_) if confinement.is_err() => needs_preview.clone(),
        Ok(()) => "connections to what a permit names, by seccomp user notification".to_owned(),
        Err(why) => {
            format!("no command may have a network here: {why}; Linux 5.9 and a loopback that is up are needed")
        }
    };
    let seen = match processes {
        Err(_) if confinement.is_err() => needs_preview.clone(),
        Ok(_) => "every program that a command starts is seen, with file, arguments and digest".to_owned(),
        Err(why) => format!(
            "nobody sees what a command starts: {why}; Linux 5.19 and a ptrace that is allowed \
             (`sysctl kernel.yama.ptrace_scope` below 3) are needed"
        ),
    };
    let can = confinement.is_ok();
    let of_preview = |what| if can { what } else { needs_preview.as_str() };
    vec![
        capability("preview.overlay", can, &preview),
        capability("preview.complete", can && unread.is_empty(), &covered),
        capability("direct.landlock", direct.is_ok(), &directly),
        capability("isolate.pid", can, of_preview("own pid namespace: nothing outlives the call but what may stay")),
        capability(
            "isolate.network",
            can,
            of_preview("own network namespace: no network within a preview but what its permit names"),
        ),
        capability("network.permits", network.is_ok(), &opened),
        capability("observe.processes", processes.is_ok(), &seen),
        capability(LISTS_NOTABLE, true, "secrets, databases and the like in a tree that goes are listed one by one"),
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
    ]
}

fn capability(name: &str, available: bool, detail: &str) -> Capability {
    Capability { name: name.into(), available, detail: detail.into() }
}
