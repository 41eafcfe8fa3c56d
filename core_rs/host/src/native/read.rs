//! `files.read`: a window of a regular file, with the digest of all of it.

use std::fs::File;

use cmdop_contract::v1::FileType;
use serde_json::Value;

use super::arguments::{Arguments, invalid};
use super::beneath::{READ, Root, not_usable, readable, show};
use super::measure::Stamp;
use super::window::{MAX_LIMIT, told};
use crate::Error;

/// Reads what the arguments name.
///
/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(crate) fn read(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let offset = arguments.number("offset")?.unwrap_or(0);
    let limit = arguments.number("limit")?.unwrap_or(MAX_LIMIT);
    if limit > MAX_LIMIT {
        return Err(invalid("limit", "at most 1048576"));
    }
    let mut file = open_regular(root, &path)?;
    told(&mut file, offset, limit)
}

/// Opens a regular file; anything else is never opened, so that no device hears of it.
pub(crate) fn open_regular(root: &Root, path: &[u8]) -> Result<File, Error> {
    let held = root.open(path, rustix::fs::OFlags::PATH)?;
    let stamp = Stamp::of(&held)?;
    match stamp.file_type() {
        FileType::Regular => {}
        FileType::Directory => return Err(Error::is_directory(&show(path))),
        _ => return Err(not_usable(path, "is not a regular file")),
    }
    let opened = root.open(path, READ)?;
    let now = Stamp::of(&opened)?;
    if (now.dev, now.ino) != (stamp.dev, stamp.ino) {
        return Err(not_usable(path, "is being replaced while it is opened"));
    }
    readable(opened, path)
}
