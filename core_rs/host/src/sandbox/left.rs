//! What still runs when the command has ended: looked at by init, in its own namespace.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use super::told::Left;

/// Processes that are told; the rest is counted.
const MAX_TOLD: usize = 64;
/// Bytes of arguments that are told of each.
const MAX_ARGUMENT_BYTES: u64 = 4_097;

/// Stops everybody else in the namespace and looks at them. Nobody can hide in between: a process that
/// is stopped starts no other.
pub(super) fn stop_and_look() -> (Vec<Left>, u64) {
    // SAFETY: -1 in a pid namespace means everybody else in it.
    unsafe { libc::kill(-1, libc::SIGSTOP) };
    let mut found: Vec<Left> = Vec::new();
    let mut more = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|pid| *pid > 1) else {
            continue;
        };
        let read = |name: &str| {
            let mut bytes = Vec::new();
            let file = File::open(entry.path().join(name)).ok()?;
            file.take(MAX_ARGUMENT_BYTES).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        // One that is dead and not reaped yet has no memory.
        let is_dead =
            |status: Vec<u8>| status.rsplit(|byte| *byte == b')').next().is_some_and(|rest| rest.starts_with(b" Z"));
        if read("stat").is_none_or(is_dead) {
            continue;
        }
        if found.len() >= MAX_TOLD {
            more += 1;
            continue;
        }
        let program = fs::read_link(entry.path().join("exe")).map(|path| path.into_os_string().into_vec());
        let arguments = read("cmdline").unwrap_or_default();
        found.push(Left { pid, program: program.unwrap_or_default(), arguments });
    }
    (found, more)
}
