//! What the control groups of a command's worker count, and how they bind it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Limit;
use crate::sandbox::Held;

/// The groups of one command; they stay as long as its worker.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Directories whose limit was taken by the kernel.
    pids: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
}

impl Group {
    pub(super) fn of(held: &Held) -> Self {
        let path = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
        Self { pids: path(&held.pids), memory: path(&held.memory), cpu: path(&held.cpu) }
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
            directory.as_ref().and_then(|directory| counter(&directory.join(file), name))
        };
        // One of two versions has each.
        let killed = counted(&self.memory, "memory.oom_control", "oom_kill")
            .or_else(|| counted(&self.memory, "memory.events", "oom_kill"));
        let refused = || counted(&self.pids, "pids.events", "max");
        match killed {
            Some(1..) => Some(Limit::Memory),
            _ => refused().is_some_and(|refused| refused > 0).then_some(Limit::Processes),
        }
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

/// One number of a file with a name and a number a line, read at once: its size is not known before.
fn counter(file: &Path, name: &str) -> Option<u64> {
    let mut text = [0; 4_096];
    let length = File::open(file).and_then(|mut file| file.read(&mut text)).ok()?;
    let mut lines = std::str::from_utf8(&text[..length]).ok()?.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| if words.next() == Some(name) { words.next()?.parse().ok() } else { None })
}
