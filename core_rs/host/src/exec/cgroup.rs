//! A control group per command: RLIMIT_NPROC does not bind root, the pids controller does.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// For the last process of a group to be gone; a group left over is empty.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The groups of one command; they go with it.
pub(super) struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// Makes the groups that this machine offers, named after the call's directory.
    pub(super) fn create(call: &Path) -> Self {
        let name = format!("cmdop-{}-{}", std::process::id(), call.file_name().unwrap_or_default().to_string_lossy());
        let mut directories = Vec::new();
        for (root, limit, most) in V1 {
            let directory = Path::new(root).join(&name);
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
            if fs::create_dir(&directory).is_ok() {
                for (limit, most) in V2 {
                    let _ = fs::write(directory.join(limit), most.to_string());
                }
                directories.push(directory);
            }
        }
        Self { directories }
    }

    pub(super) fn directories(&self) -> Vec<Vec<u8>> {
        self.directories.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that were just killed may take a moment to leave.
        for directory in &self.directories {
            let is_busy = |tried: &std::io::Result<()>| {
                tried.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
            };
            let mut wait = Duration::from_millis(1);
            while is_busy(&fs::remove_dir(directory)) && wait < LONGEST_WAIT {
                std::thread::sleep(wait);
                wait *= 2;
            }
        }
    }
}
