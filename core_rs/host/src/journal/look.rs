//! What a file is, for a report: its state with digests, and its text if it is small.

use std::ffi::CStr;
use std::os::fd::AsFd;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{FileAttribute, FileState, FileType};
use rustix::io::Errno;

use super::attributes::{Attributes, xattrs};
use super::values::Values;
use crate::Error;
use crate::native::beneath::{READ, Spot, file, hold_child, open_child, refused};
use crate::native::measure::{Stamp, sha256};
use crate::native::text_diff::MAX_TEXT_BYTES;
use crate::native::write::small_content;

/// A file as it is reported.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) state: FileState,
    /// Content of a small regular file.
    pub(crate) text: Option<Vec<u8>>,
}

impl Look {
    /// The same without content, for a change that is none of content.
    pub(crate) fn without_text(&self) -> Self {
        Self { text: None, state: self.state.clone() }
    }

    /// False of a file whose content this process may not read.
    pub(crate) fn is_read(&self) -> bool {
        self.state.r#type() != FileType::Regular || !self.state.sha256.is_empty()
    }

    /// As it would be with these attributes.
    pub(crate) fn with(&self, attributes: Option<&Attributes>, values: Values) -> Self {
        let mut look = self.clone();
        let Some(attributes) = attributes else { return look };
        let state = &mut look.state;
        state.mode = attributes.mode.unwrap_or(state.mode);
        state.uid = attributes.uid.unwrap_or(state.uid);
        state.gid = attributes.gid.unwrap_or(state.gid);
        for changed in &attributes.xattrs {
            let name = escape(&changed.name);
            state.xattrs.retain(|xattr| xattr.name != name);
            state.xattrs.extend(changed.value.is_some().then(|| values.shown(changed)));
        }
        state.xattrs.sort_by(|one, two| one.name.cmp(&two.name));
        look
    }
}

/// What has the spot's name, which may not be where it is reported.
///
/// # Errors
/// What keeps it from being read.
pub(crate) fn at(spot: &Spot, values: Values) -> Result<Look, Error> {
    let held = hold_child(&spot.parent, &spot.name).map_err(|errno| refused(errno, &spot.path))?;
    child(&spot.parent, &spot.name, &spot.path, &Stamp::of(held)?, values)
}

/// What has a name in an open directory. To be put back it need not be read: what this process may not read it says
/// nothing of.
///
/// # Errors
/// As [`at`].
pub(crate) fn child(dir: impl AsFd, name: &CStr, path: &[u8], stamp: &Stamp, values: Values) -> Result<Look, Error> {
    let dir = dir.as_fd();
    let mut look = Look { state: stamp.state(), text: None };
    let held = hold_child(dir, name).map_err(|errno| refused(errno, path))?;
    let found = match xattrs(&held) {
        Err(Errno::ACCESS | Errno::PERM) => Vec::new(),
        found => found.map_err(|errno| refused(errno, path))?,
    };
    look.state.xattrs = found.iter().map(|xattr| values.shown(xattr)).collect();
    match stamp.file_type() {
        FileType::Regular => {
            let mut content = match open_child(dir, name, READ) {
                Err(Errno::ACCESS | Errno::PERM) => return Ok(look),
                opened => file(opened.map_err(|errno| refused(errno, path))?),
            };
            look.state.sha256 = sha256(&mut content)?;
            if stamp.size <= MAX_TEXT_BYTES {
                look.text = Some(small_content(&content)?);
            }
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|errno| refused(errno, path))?;
            look.state.link_target = escape(target.to_bytes());
        }
        _ => look.state.size = 0,
    }
    Ok(look)
}

/// Attributes that say who may do what, by name and digest: what is shown may be the same of two values.
pub(crate) fn access_xattrs(state: &FileState) -> Vec<(&str, &str)> {
    state.xattrs.iter().filter(|xattr| is_access(&xattr.name)).map(compared).collect()
}

/// Attributes that are content beside the content.
pub(crate) fn other_xattrs(state: &FileState) -> Vec<(&str, &str)> {
    state.xattrs.iter().filter(|xattr| !is_access(&xattr.name)).map(compared).collect()
}

fn compared(xattr: &FileAttribute) -> (&str, &str) {
    (&xattr.name, &xattr.sha256)
}

pub(super) fn is_access(name: &str) -> bool {
    name.starts_with("security.") || name.starts_with("system.posix_acl_")
}
