//! The program of a process that has just begun: its file, its arguments, its digest.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use cmdop_contract::redact::words as redacted;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, StatxFlags, statx};

use super::Started;
use crate::native::measure;

/// Arguments that are kept of a program.
const MAX_WORDS: usize = 64;
const MAX_ARGUMENT_BYTES: usize = 4_096;
/// Digests that are remembered.
const MAX_KNOWN: usize = 4_096;

/// Digests of program files, by everything that changes with their content. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    known: Arc<Mutex<HashMap<Identity, String>>>,
}

/// An overlay shows a file with the inode number and times of the one below it, but with a device of
/// its own in each view: so the device is left out. Nobody sets the time of a change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    inode: u64,
    size: u64,
    born: (i64, u32),
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Programs {
    /// Looks at a process that is stopped before its first instruction. None if it cannot be looked at.
    pub(super) fn look(&self, process: libc::pid_t, room: &mut u64) -> Option<Started> {
        let exe = format!("/proc/{process}/exe");
        let program = std::fs::read_link(&exe).ok()?.into_os_string().into_vec();
        let (arguments, is_truncated) = arguments(&format!("/proc/{process}/cmdline"))?;
        let sha256 = self.digest(&exe, room).unwrap_or_default();
        Some(Started { program, sha256, arguments, is_truncated })
    }

    /// While a program begins nobody can write its file (open(2), ETXTBSY).
    fn digest(&self, exe: &str, room: &mut u64) -> Option<String> {
        let mut file = File::open(exe).ok()?;
        let identity = Identity::of(&file)?;
        if let Some(known) = self.known.lock().get(&identity) {
            return Some(known.clone());
        }
        *room = room.checked_sub(identity.size)?;
        let digest = measure::sha256(&mut file).ok()?;
        if Identity::of(&file)? != identity {
            return None;
        }
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(identity, digest.clone());
        Some(digest)
    }
}

impl Identity {
    fn of(file: &File) -> Option<Self> {
        let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME).ok()?;
        let time = |time: rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
        Some(Self {
            inode: found.stx_ino,
            size: found.stx_size,
            born: time(found.stx_btime),
            modified: time(found.stx_mtime),
            changed: time(found.stx_ctime),
        })
    }
}

/// The words of a file like `/proc/PID/cmdline`, and whether some were left out.
fn arguments(path: &str) -> Option<(Vec<String>, bool)> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_ARGUMENT_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some(words(bytes))
}

/// The same of what such a file holds, without secrets.
pub(crate) fn words(mut bytes: Vec<u8>) -> (Vec<String>, bool) {
    let mut is_truncated = bytes.len() > MAX_ARGUMENT_BYTES;
    bytes.truncate(MAX_ARGUMENT_BYTES);
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    let mut words: Vec<_> =
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    is_truncated |= words.len() > MAX_WORDS;
    words.truncate(MAX_WORDS);
    (redacted(words), is_truncated)
}
