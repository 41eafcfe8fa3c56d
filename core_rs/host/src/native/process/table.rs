//! One process as `/proc` tells of it (proc(5)).

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use cmdop_contract::redact::words as redacted;

/// Arguments beyond are left out.
const MAX_COMMAND_BYTES: u64 = 4 * 1024;

/// What `/proc/PID/stat` holds, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) state: u8,
    pub(super) ppid: u32,
    /// User and system time, in clock ticks.
    pub(super) cpu_ticks: u64,
    pub(super) threads: u64,
    /// Clock ticks from the machine's start to the process's.
    pub(super) started: u64,
    /// Resident pages.
    pub(super) pages: u64,
}

impl Entry {
    /// `None` if there is no such process.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &String::from_utf8_lossy(&stat))
    }

    /// The name stands in parentheses and may hold some itself, so the last one ends it.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (start, end) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat.get(start + 1..end)?.to_owned();
        let fields: Vec<&str> = stat.get(end + 1..)?.split_ascii_whitespace().collect();
        // The first field behind the name is the third of all.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid,
            name,
            state: *fields.first()?.as_bytes().first()?,
            ppid: u32::try_from(number(4)?).ok()?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            threads: number(20)?,
            started: number(22)?,
            pages: number(24)?,
        })
    }

    /// Program and arguments, without secrets.
    pub(super) fn command(&self) -> Vec<String> {
        let mut bytes = Vec::new();
        let Ok(file) = fs::File::open(format!("/proc/{}/cmdline", self.pid)) else { return Vec::new() };
        if file.take(MAX_COMMAND_BYTES).read_to_end(&mut bytes).is_err() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\0');
        if text.is_empty() { Vec::new() } else { redacted(text.split('\0').map(str::to_owned).collect()) }
    }

    /// Whose it is.
    pub(super) fn uid(&self) -> u32 {
        fs::metadata(format!("/proc/{}", self.pid)).map_or(u32::MAX, |meta| meta.uid())
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            b'R' => "running",
            b'S' => "sleeping",
            b'D' => "waiting",
            b'T' => "stopped",
            b't' => "traced",
            b'Z' => "zombie",
            b'X' | b'x' => "dead",
            b'I' => "idle",
            _ => "unknown",
        }
    }
}

/// Ids of all processes, ascending.
pub(super) fn pids() -> std::io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = names.collect();
    pids.sort_unstable();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let stat = "7 (a) b ( c) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 3 0 555 1000 42 18446744073709551615";
        let entry = Entry::parse(7, stat).expect("a process");
        assert_eq!((entry.name.as_str(), entry.state, entry.ppid), ("a) b ( c", b'S', 1));
        assert_eq!((entry.cpu_ticks, entry.threads, entry.started, entry.pages), (42, 3, 555, 42));
    }

    #[test]
    fn this_process_is_there_and_none_has_the_number_zero() {
        let own = std::process::id();
        assert!(pids().expect("a list").contains(&own));
        assert!(!Entry::of(own).expect("this process").command().is_empty());
        assert_eq!(Entry::of(0), None);
    }
}
