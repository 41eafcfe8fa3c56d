//! `process.list`: what runs.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::arguments::{Arguments, invalid};
use super::super::stat::name_of;
use super::table::{Entry, pids};
use crate::Error;
use crate::exec::namespace_of;

const DEFAULT_LIMIT: u64 = 1_000;
const MAX_LIMIT: u64 = 10_000;

/// A result must fit into one frame with room to spare.
const MAX_RESULT_BYTES: usize = 1024 * 1024;

/// Lists what the arguments name; of what a call left running with that call, by its pid namespace. A
/// process that ends meanwhile is left out, and so is one of which `tells_of` says no.
///
/// # Errors
/// `INVALID_ARGUMENTS`; the operating system's refusal to list.
pub(crate) fn list(
    arguments: &Arguments,
    left: &HashMap<u64, String>,
    tells_of: &dyn Fn(u32) -> bool,
) -> Result<Value, Error> {
    let name = arguments.text("name")?;
    let limit = arguments.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        return Err(invalid("limit", "at most 10000"));
    }
    let clock = Clock::now();
    let (mut processes, mut bytes, mut is_truncated) = (Vec::new(), 0, false);
    let told = pids().map_err(Error::io("list /proc"))?.into_iter().filter(|pid| tells_of(*pid));
    for entry in told.filter_map(Entry::of) {
        let command = entry.command();
        if name.is_some_and(|name| name != entry.name && name != program(&command)) {
            continue;
        }
        bytes += 300 + command.iter().map(String::len).sum::<usize>();
        if processes.len() as u64 == limit || bytes > MAX_RESULT_BYTES {
            is_truncated = true;
            break;
        }
        let mut described = described(&entry, command, &clock);
        if !left.is_empty()
            && let Some(call) = namespace_of(entry.pid).and_then(|namespace| left.get(&namespace))
        {
            described["left_by"] = json!(call);
        }
        processes.push(described);
    }
    Ok(json!({"processes": processes, "truncated": is_truncated}))
}

fn described(entry: &Entry, command: Vec<String>, clock: &Clock) -> Value {
    let uid = entry.uid();
    json!({
        "pid": entry.pid,
        "ppid": entry.ppid,
        "name": entry.name,
        "uid": uid,
        "user": name_of("/etc/passwd", uid),
        "state": entry.state_name(),
        "started": entry.started,
        "started_ms": clock.booted_ms.saturating_add(clock.milliseconds(entry.started)),
        "command": command,
        "memory_bytes": entry.pages.saturating_mul(clock.page_bytes),
        "cpu_ms": clock.milliseconds(entry.cpu_ticks),
        "threads": entry.threads,
    })
}

/// File name of the program that a command names.
fn program(command: &[String]) -> &str {
    command.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program))
}

/// The machine's units.
struct Clock {
    ticks_per_second: u64,
    page_bytes: u64,
    /// When the machine started, milliseconds since the Unix epoch.
    booted_ms: u64,
}

impl Clock {
    fn now() -> Self {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime_s: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let booted = now.saturating_sub(std::time::Duration::try_from_secs_f64(uptime_s).unwrap_or_default());
        Self {
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page_bytes: rustix::param::page_size() as u64,
            booted_ms: u64::try_from(booted.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn milliseconds(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(1_000) / self.ticks_per_second
    }
}
