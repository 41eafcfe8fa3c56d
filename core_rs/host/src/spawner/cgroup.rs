//! A control group per command: RLIMIT_NPROC does not bind root, the pids controller does.
//!
//! Moving a process into a group takes the kernel milliseconds (it waits for all processors), so a
//! worker is in its own before its job comes.

use std::fs;
use std::path::{Path, PathBuf};

/// Processes and threads of one command at most.
const MAX_PROCESSES: u32 = 1_024;
/// Memory of one command at most, bytes.
const MAX_MEMORY: u64 = 4 << 30;

/// Version 1 hierarchies (cgroups(7)); on version 2 both controllers share one directory.
const V1: [(&str, &str, u64); 2] = [
    ("/sys/fs/cgroup/pids", "pids.max", MAX_PROCESSES as u64),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", MAX_MEMORY),
];
const V2: [(&str, u64); 2] = [("pids.max", MAX_PROCESSES as u64), ("memory.max", MAX_MEMORY)];

/// The groups of one command.
pub(super) struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// Makes the groups that this machine offers, under a name that no other process of it uses.
    pub(super) fn create(number: u64) -> Self {
        let name = format!("cmdop-{}-{number}", std::process::id());
        let mut directories = Vec::new();
        for (root, limit, most) in V1 {
            let directory = Path::new(root).join(&name);
            // Left by a process that was killed and had the same number.
            let _ = fs::remove_dir(&directory);
            if Path::new(root).join("cgroup.procs").exists() && fs::create_dir(&directory).is_ok() {
                if fs::write(directory.join(limit), most.to_string()).is_ok() {
                    directories.push(directory);
                } else {
                    let _ = fs::remove_dir(&directory);
                }
            }
        }
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        if directories.is_empty() && controllers.contains("pids") {
            let directory = Path::new("/sys/fs/cgroup").join(&name);
            let _ = fs::remove_dir(&directory);
            if fs::create_dir(&directory).is_ok() {
                for (limit, most) in V2 {
                    let _ = fs::write(directory.join(limit), most.to_string());
                }
                directories.push(directory);
            }
        }
        Self { directories }
    }

    /// Moves this process into them.
    pub(super) fn enter(&self) -> std::io::Result<()> {
        self.directories.iter().try_for_each(|directory| fs::write(directory.join("cgroup.procs"), "0"))
    }

    /// Removes them; false if a process that was just killed is not gone yet.
    pub(super) fn remove(&mut self) -> bool {
        let is_busy = |directory: &PathBuf| {
            fs::remove_dir(directory).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
        };
        self.directories.retain(is_busy);
        self.directories.is_empty()
    }
}
