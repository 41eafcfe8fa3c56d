//! The control groups of one worker: they bind root, and all processes of a command together, which no
//! resource limit does.
//!
//! Moving a process into a group takes the kernel milliseconds (it waits for all processors), so a
//! worker is in its own before its job comes, and the job's limits are written into them then.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sandbox::{Held, Limits};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// What the name of every group begins with, before its spawner's number.
const PREFIX: &str = "cmdop-";
/// A group that nobody is in yet is never so old.
const ABANDONED: Duration = Duration::from_secs(60);
/// The worker and init count, too.
const OWN_PROCESSES: u64 = 2;

/// The groups of one worker.
#[derive(Debug)]
pub(super) struct Group {
    directories: Vec<PathBuf>,
    pids: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    /// The first of a spawner removes what others left.
    sweeps: bool,
}

impl Group {
    /// Makes the groups that this machine offers, under a name that no other process of it uses.
    pub(super) fn create(number: u64) -> Self {
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut group = Self { directories: Vec::new(), pids: None, memory: None, cpu: None, sweeps: number == 1 };
        group.pids = group.first_version("pids", &name);
        group.memory = group.first_version("memory", &name);
        group.cpu = group.first_version("cpuacct", &name);
        if group.directories.is_empty() {
            group.second_version(&name);
        }
        group
    }

    /// One hierarchy of version 1 (cgroups(7)), beneath the daemon's own group.
    fn first_version(&mut self, controller: &str, name: &str) -> Option<PathBuf> {
        let root = Path::new(ROOT).join(controller);
        if !root.join("cgroup.procs").exists() {
            return None;
        }
        let above = own_path(controller).map(|own| root.join(own)).filter(|own| own.is_dir()).unwrap_or(root);
        self.make(above.join(name))
    }

    /// All controllers in one directory. Whoever runs the daemon must have delegated them to it.
    fn second_version(&mut self, name: &str) {
        let root = Path::new(ROOT);
        if !root.join("cgroup.controllers").exists() {
            return;
        }
        // Each by itself: one that is absent must not keep the others away.
        for controller in ["+pids", "+memory", "+cpu"] {
            let _ = fs::write(root.join("cgroup.subtree_control"), controller);
        }
        let made = self.make(root.join(name));
        self.pids.clone_from(&made);
        self.memory.clone_from(&made);
        self.cpu = made;
    }

    fn make(&mut self, directory: PathBuf) -> Option<PathBuf> {
        if self.sweeps
            && let Some(above) = directory.parent()
        {
            sweep(above);
        }
        // Left by a process that was killed and had the same number.
        let _ = fs::remove_dir(&directory);
        fs::create_dir(&directory).ok()?;
        self.directories.push(directory.clone());
        Some(directory)
    }

    /// Moves this process into them.
    pub(super) fn enter(&self) -> std::io::Result<()> {
        self.directories.iter().try_for_each(|directory| fs::write(directory.join("cgroup.procs"), "0"))
    }

    /// Writes a command's limits into them: what they hold, and what is left to limit per process.
    pub(super) fn bind(&self, limits: &Limits) -> (Held, Limits) {
        let takes = |group: &&PathBuf, file: &str, most: u64| fs::write(group.join(file), most.to_string()).is_ok();
        let bytes = |directory: &PathBuf| directory.as_os_str().as_bytes().to_vec();
        let pids = self.pids.as_ref().filter(|group| takes(group, "pids.max", limits.processes + OWN_PROCESSES));
        let memory = self.memory.as_ref().filter(|group| {
            takes(group, "memory.limit_in_bytes", limits.memory_bytes)
                || takes(group, "memory.max", limits.memory_bytes)
        });
        if let Some(group) = memory {
            // Only version 2 has it: what is swapped out counts apart there.
            takes(&group, "memory.swap.max", 0);
        }
        let counts = |group: &&PathBuf| ["cpuacct.usage", "cpu.stat"].iter().any(|file| group.join(file).exists());
        let cpu = self.cpu.as_ref().filter(counts);
        let rest = Limits {
            memory_bytes: if memory.is_some() { 0 } else { limits.memory_bytes },
            processes: if pids.is_some() { 0 } else { limits.processes + OWN_PROCESSES },
            ..*limits
        };
        (Held { pids: pids.map(bytes), memory: memory.map(bytes), cpu: cpu.map(bytes) }, rest)
    }

    /// Removes them; false if a process that was just killed is not gone yet.
    pub(super) fn remove(&mut self) -> bool {
        let is_busy =
            |directory: &PathBuf| fs::remove_dir(directory).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy);
        self.directories.retain(is_busy);
        self.directories.is_empty()
    }
}

/// Removes empty groups of spawners that were killed. One that is used cannot be removed.
fn sweep(above: &Path) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let spawner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let is_gone = spawner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists());
        let age = entry.metadata().and_then(|found| found.modified()).ok().and_then(|made| made.elapsed().ok());
        if is_gone && age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The daemon's own group in a hierarchy of version 1, relative to its root.
fn own_path(controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut lines = text.lines().map(|line| line.splitn(3, ':'));
    lines.find_map(|mut fields| {
        let controllers = fields.nth(1)?;
        let path = fields.next()?;
        controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').into())
    })
}
