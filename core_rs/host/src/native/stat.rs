//! `files.stat`: what lies at a path, links described and not followed.

use cmdop_contract::path::escape;
use cmdop_contract::v1::FileType;
use rustix::fs::{OFlags, Stat, fstat, readlinkat};
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::beneath::{Root, refused};
use super::list::type_name;
use super::measure::{Stamp, sha256};
use super::read::open_regular;
use crate::Error;

/// Describes what the arguments name.
///
/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(crate) fn stat(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let held = root.open(&path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let stat = fstat(&held).map_err(|errno| refused(errno, &path))?;
    let stamp = Stamp::from(&stat);
    let mut told = described(&stamp, &stat);
    if stamp.file_type() == FileType::Symlink {
        let target = readlinkat(&held, c"", Vec::new()).map_err(|errno| refused(errno, &path))?;
        told["link_target"] = escape(target.to_bytes()).into();
    }
    if arguments.flag("digest")? && stamp.file_type() == FileType::Regular {
        told["sha256"] = sha256(&mut open_regular(root, &path)?)?.into();
    }
    Ok(told)
}

// The widths of the times differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn described(stamp: &Stamp, stat: &Stat) -> Value {
    json!({
        "type": type_name(stamp.file_type()),
        "size": stamp.size,
        "mode": format!("{:04o}", stamp.permissions()),
        "uid": stamp.uid,
        "gid": stamp.gid,
        "user": name_of("/etc/passwd", stamp.uid),
        "group": name_of("/etc/group", stamp.gid),
        "links": stamp.nlink,
        "modified_ms": milliseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        "changed_ms": milliseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        "accessed_ms": milliseconds(stat.st_atime as i64, stat.st_atime_nsec as i64),
    })
}

fn milliseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000)
}

/// Name of a number in a database of the form `name:password:number:…` (passwd(5), group(5)).
pub(crate) fn name_of(database: &str, id: u32) -> Option<String> {
    let text = std::fs::read(database).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let id = id.to_string();
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|fields| fields.get(2) == Some(&id.as_str()))?;
    entry.first().map(|name| (*name).to_owned())
}
