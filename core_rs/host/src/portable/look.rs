//! `files.read`, `files.stat` and `files.list`: looks that change nothing.

use std::io::Read;
use std::time::UNIX_EPOCH;

use cap_fs_ext::MetadataExt;
use cap_std::fs::{Dir, Metadata};
use cap_std::time::SystemTime;
use cmdop_contract::digest::hex;
use cmdop_contract::path::escape;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::place::{Root, beneath, refused};
use super::tree::open_regular;
use super::window::{MAX_LIMIT, check_size, told};
use crate::Error;

const DEFAULT_ENTRIES: u64 = 1_000;
const MAX_ENTRIES: u64 = 100_000;

/// Directories within each other that are listed.
const MAX_DEPTH: usize = 128;

/// A result must fit into one frame with room to spare.
const MAX_PATH_BYTES: usize = 1024 * 1024;

/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(super) fn read(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let offset = arguments.number("offset")?.unwrap_or(0);
    let limit = arguments.number("limit")?.unwrap_or(MAX_LIMIT);
    if limit > MAX_LIMIT {
        return Err(invalid("limit", "at most 1048576"));
    }
    let spot = root.spot(&path)?;
    told(&mut open_regular(&spot.parent, &spot.name, &path)?, offset, limit)
}

/// # Errors
/// As [`read`].
pub(super) fn stat(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let spot = root.spot(&path)?;
    let found = spot.found()?;
    let mut told = described(&found);
    if found.is_symlink() {
        let target = spot.parent.read_link_contents(&spot.name).map_err(|error| refused(error, &path))?;
        told["link_target"] = escape(target.as_os_str().as_encoded_bytes()).into();
    }
    if arguments.flag("digest")? && found.is_file() {
        told["sha256"] = sha256(&mut open_regular(&spot.parent, &spot.name, &path)?)?.into();
    }
    Ok(told)
}

/// # Errors
/// As [`read`].
pub(super) fn list(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let limit = arguments.number("limit")?.unwrap_or(DEFAULT_ENTRIES);
    if limit > MAX_ENTRIES {
        return Err(invalid("limit", "at most 100000"));
    }
    let is_recursive = arguments.flag("recursive")?;
    let top = root.directory(&path)?;
    let mut listing = Listing { root, entries: Vec::new(), bytes: 0, limit, is_recursive, is_truncated: false };
    listing.add(&top, &path, 0)?;
    Ok(json!({"entries": listing.entries, "truncated": listing.is_truncated}))
}

struct Listing<'a> {
    root: &'a Root,
    entries: Vec<Value>,
    /// Of all paths together.
    bytes: usize,
    limit: u64,
    is_recursive: bool,
    is_truncated: bool,
}

impl Listing<'_> {
    fn add(&mut self, dir: &Dir, path: &[u8], depth: usize) -> Result<(), Error> {
        for (name, found) in sorted(dir, path)? {
            let here = beneath(path, &name);
            let below = if found.is_dir() { self.root.open_listed(dir, &name, &here) } else { Ok(None) };
            if self.root.holds(&here) || (found.is_dir() && matches!(below, Ok(None))) {
                continue;
            }
            // What cannot be entered is still an entry.
            let below = below.unwrap_or_default();
            self.bytes += here.len();
            if self.entries.len() as u64 == self.limit || self.bytes > MAX_PATH_BYTES {
                self.is_truncated = true;
                return Ok(());
            }
            self.entries.push(json!({
                "path": escape(&here),
                "type": type_name(&found),
                "size": size(&found),
                "mode": mode(&found),
            }));
            if let Some(below) = below.filter(|_| self.is_recursive) {
                self.is_truncated |= depth >= MAX_DEPTH;
                if depth < MAX_DEPTH {
                    self.add(&below, &here, depth + 1)?;
                }
            }
            if self.is_truncated {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Entries of a directory by name.
///
/// # Errors
/// `PATH_NOT_USABLE`.
pub(super) fn sorted(dir: &Dir, path: &[u8]) -> Result<Vec<(std::ffi::OsString, Metadata)>, Error> {
    let mut found = Vec::new();
    for entry in dir.entries().map_err(|error| refused(error, path))? {
        let name = entry.map_err(|error| refused(error, path))?.file_name();
        // What is gone meanwhile is not there.
        if let Ok(metadata) = dir.symlink_metadata(&name) {
            found.push((name, metadata));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// A type of file as results name it.
pub(super) fn type_name(found: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use cap_std::fs::FileTypeExt;
        if found.file_type().is_fifo() {
            return "fifo";
        }
        if found.file_type().is_socket() {
            return "socket";
        }
    }
    match (found.is_symlink(), found.is_dir(), found.is_file()) {
        (true, _, _) => "symlink",
        (_, true, _) => "directory",
        (_, _, true) => "regular",
        _ => "device",
    }
}

fn size(found: &Metadata) -> u64 {
    if found.is_dir() { 0 } else { found.len() }
}

/// What a system without owners and permission bits says of them is null.
fn described(found: &Metadata) -> Value {
    let (uid, gid, changed) = owner(found);
    json!({
        "type": type_name(found),
        "size": size(found),
        "mode": mode(found),
        "uid": uid,
        "gid": gid,
        "user": null,
        "group": null,
        "links": found.nlink(),
        "modified_ms": milliseconds(found.modified()),
        "changed_ms": changed,
        "accessed_ms": milliseconds(found.accessed()),
    })
}

#[cfg(unix)]
fn owner(found: &Metadata) -> (Option<u32>, Option<u32>, Option<i64>) {
    use cap_std::fs::MetadataExt;
    let changed = found.ctime().saturating_mul(1_000).saturating_add(found.ctime_nsec() / 1_000_000);
    (Some(found.uid()), Some(found.gid()), Some(changed))
}

#[cfg(not(unix))]
fn owner(_found: &Metadata) -> (Option<u32>, Option<u32>, Option<i64>) {
    (None, None, None)
}

#[cfg(unix)]
fn mode(found: &Metadata) -> Value {
    use cap_std::fs::PermissionsExt;
    format!("{:04o}", found.permissions().mode() & 0o7777).into()
}

/// The one bit that every system has.
#[cfg(not(unix))]
fn mode(found: &Metadata) -> Value {
    if found.permissions().readonly() { "0444".into() } else { "0666".into() }
}

fn milliseconds(time: std::io::Result<SystemTime>) -> Option<i64> {
    let since = time.ok()?.into_std().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// SHA-256 of what an open file holds, lower-case hex.
///
/// # Errors
/// A failed read; `PATH_NOT_USABLE` if the file is too large.
fn sha256(file: &mut impl Read) -> Result<String, Error> {
    let (mut digest, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 128 * 1024]);
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read"))?;
        if read == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..read]);
        size += read as u64;
        check_size(size)?;
    }
}
