//! Control groups of one command: they bind root, and all its processes together, which no
//! resource limit does.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Limit, Limits};
use crate::sandbox;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The worker and init count, too.
const OWN_PROCESSES: u64 = 2;

/// The groups of one command; they go with it.
#[derive(Debug)]
pub(super) struct Group {
    directories: Vec<PathBuf>,
    /// Directories whose limit was taken by the kernel.
    pids: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
}

impl Group {
    /// Makes the groups that this machine offers, named after the call's directory.
    pub(super) fn create(call: &Path, limits: &Limits) -> Self {
        let name = format!("cmdop-{}-{}", std::process::id(), call.file_name().unwrap_or_default().to_string_lossy());
        let mut group = Self { directories: Vec::new(), pids: None, memory: None, cpu: None };
        let processes = limits.processes + OWN_PROCESSES;
        group.pids = group.first_version("pids", &name, &[("pids.max", processes)]);
        group.memory = group.first_version("memory", &name, &[("memory.limit_in_bytes", limits.memory)]);
        group.cpu = group.first_version("cpuacct", &name, &[]);
        if group.directories.is_empty() {
            group.second_version(&name, processes, limits.memory);
        }
        group
    }

    /// One hierarchy of version 1 (cgroups(7)), beneath the daemon's own group.
    fn first_version(&mut self, controller: &str, name: &str, limits: &[(&str, u64)]) -> Option<PathBuf> {
        let root = Path::new(ROOT).join(controller);
        if !root.join("cgroup.procs").exists() {
            return None;
        }
        let above = own_path(controller).map(|own| root.join(own)).filter(|own| own.is_dir()).unwrap_or(root);
        let directory = above.join(name);
        fs::create_dir(&directory).ok()?;
        let takes = |(file, most): &(&str, u64)| fs::write(directory.join(file), most.to_string()).is_ok();
        if !limits.iter().all(takes) {
            let _ = fs::remove_dir(&directory);
            return None;
        }
        self.directories.push(directory.clone());
        Some(directory)
    }

    /// All controllers in one directory. Whoever runs the daemon must have delegated them to it.
    fn second_version(&mut self, name: &str, processes: u64, memory: u64) {
        let root = Path::new(ROOT);
        if !root.join("cgroup.controllers").exists() {
            return;
        }
        // Each by itself: one that is absent must not keep the others away.
        for controller in ["+pids", "+memory", "+cpu"] {
            let _ = fs::write(root.join("cgroup.subtree_control"), controller);
        }
        let directory = root.join(name);
        if fs::create_dir(&directory).is_err() {
            return;
        }
        let takes = |file: &str, most: u64| fs::write(directory.join(file), most.to_string()).is_ok();
        let held = |is_held: bool| is_held.then(|| directory.clone());
        self.pids = held(takes("pids.max", processes));
        self.memory = held(takes("memory.max", memory));
        takes("memory.swap.max", 0);
        self.cpu = held(directory.join("cpu.stat").exists());
        self.directories.push(directory);
    }

    /// Groups to enter.
    pub(super) fn directories(&self) -> Vec<Vec<u8>> {
        self.directories.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect()
    }

    /// What is left to limit per process.
    pub(super) fn rest(&self, limits: &Limits) -> sandbox::Limits {
        sandbox::Limits {
            cpu_s: limits.cpu.as_secs().max(1),
            memory_bytes: if self.memory.is_some() { 0 } else { limits.memory },
            processes: if self.pids.is_some() { 0 } else { limits.processes + OWN_PROCESSES },
            file_bytes: limits.file,
        }
    }

    /// Processor time of all processes together.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let directory = self.cpu.as_ref()?;
        if let Ok(nanoseconds) = fs::read_to_string(directory.join("cpuacct.usage")) {
            return nanoseconds.trim().parse().ok().map(Duration::from_nanos);
        }
        counter(&directory.join("cpu.stat"), "usage_usec").map(Duration::from_micros)
    }

    /// The limit that the kernel had to enforce, if it did.
    pub(super) fn met(&self) -> Option<Limit> {
        let counted = |directory: &Option<PathBuf>, file: &str, name: &str| {
            directory.as_ref().and_then(|directory| counter(&directory.join(file), name)).unwrap_or(0) > 0
        };
        if counted(&self.memory, "memory.oom_control", "oom_kill") || counted(&self.memory, "memory.events", "oom_kill")
        {
            return Some(Limit::Memory);
        }
        counted(&self.pids, "pids.events", "max").then_some(Limit::Processes)
    }

    /// What bounds processes, memory and processor time, in the words of a result.
    pub(super) fn describe(&self, is_user: bool) -> String {
        let of =
            |held: &Option<PathBuf>, is_group: bool, name: &'static str| (held.is_some() == is_group).then_some(name);
        let listed = |is_group: bool| {
            let pids = of(&self.pids, is_group, "pids").filter(|_| is_group || is_user);
            let names = [pids, of(&self.memory, is_group, "memory"), of(&self.cpu, is_group, "cpu")];
            names.into_iter().flatten().collect::<Vec<_>>().join("+")
        };
        let mut parts = Vec::new();
        if !listed(true).is_empty() {
            parts.push(format!("cgroup {}", listed(true)));
        }
        if !listed(false).is_empty() {
            parts.push(format!("rlimit {}", listed(false)));
        }
        if self.pids.is_none() && !is_user {
            parts.push("processes unlimited".to_owned());
        }
        parts.join(", ")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let left: Vec<_> = self.directories.drain(..).filter(|directory| fs::remove_dir(directory).is_err()).collect();
        if left.is_empty() {
            return;
        }
        // Processes that were just killed take a moment to leave, for which nobody should wait.
        std::thread::spawn(move || {
            for directory in left {
                let tries = (0..100).any(|_| {
                    std::thread::sleep(Duration::from_millis(10));
                    fs::remove_dir(&directory).is_ok()
                });
                if !tries {
                    tracing::warn!(group = %directory.display(), "a control group stays");
                }
            }
        });
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

/// One number of a file with a name and a number a line.
fn counter(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| if words.next() == Some(name) { words.next()?.parse().ok() } else { None })
}
