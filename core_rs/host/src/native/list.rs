//! `files.list`: what a directory holds.

use cmdop_contract::path::escape;
use cmdop_contract::v1::FileType;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::Hidden;
use super::arguments::{Arguments, invalid};
use super::beneath::Root;
use super::walk::{Next, Seen, Visitor, walk};
use crate::Error;

const DEFAULT_LIMIT: u64 = 1_000;
const MAX_LIMIT: u64 = 100_000;

/// A result must fit into one frame with room to spare.
const MAX_PATH_BYTES: usize = 1024 * 1024;

/// Lists what the arguments name. Links are listed and never followed, hidden trees not even listed.
///
/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(crate) fn list(root: &Root, hidden: &Hidden, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let limit = arguments.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        return Err(invalid("limit", "at most 100000"));
    }
    let top = root.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut listing = Listing {
        hidden,
        entries: Vec::new(),
        bytes: 0,
        limit,
        is_recursive: arguments.flag("recursive")?,
        is_truncated: false,
    };
    walk(top, &path, &mut listing)?;
    Ok(json!({"entries": listing.entries, "truncated": listing.is_truncated}))
}

struct Listing<'a> {
    hidden: &'a Hidden,
    entries: Vec<Value>,
    /// Of all paths together.
    bytes: usize,
    limit: u64,
    is_recursive: bool,
    is_truncated: bool,
}

impl Visitor for Listing<'_> {
    fn is_on_one_mount(&self) -> bool {
        false
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        if self.hidden.holds(seen.path) {
            return Ok(Next::Skip);
        }
        self.bytes += seen.path.len();
        if self.entries.len() as u64 == self.limit || self.bytes > MAX_PATH_BYTES {
            self.is_truncated = true;
            return Ok(Next::Stop);
        }
        self.entries.push(json!({
            "path": escape(seen.path),
            "type": type_name(seen.stamp.file_type()),
            "size": seen.stamp.size,
            "mode": format!("{:04o}", seen.stamp.permissions()),
        }));
        Ok(if self.is_recursive { Next::Enter } else { Next::Skip })
    }
}

/// A type of file as results name it.
pub(crate) fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Regular => "regular",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Device | FileType::Unspecified => "device",
    }
}
