//! Hidden siblings: what is being made beside its place, until it is whole.

use std::ffi::{CStr, CString};

use cmdop_contract::v1::FileType;
use rustix::fs::{AtFlags, OFlags, unlinkat};

use super::beneath::{Spot, open_child_same_mount, refused};
use super::measure;
use super::walk::{Remover, walk};
use crate::Error;

/// Name of a hidden sibling that no other permit uses.
pub(super) fn hidden_name(permit_id: &str, role: &str) -> CString {
    let unique = &measure::sha256_of(permit_id.as_bytes())[..24];
    CString::new(format!(".cmdop-{unique}-{role}")).expect("hex digits and a fixed word hold no NUL")
}

/// Removes what was renamed away, with everything beneath.
///
/// # Errors
/// What keeps a part of it from being removed.
pub(super) fn remove_hidden(spot: &Spot, hidden: &CStr, file_type: FileType) -> Result<(), Error> {
    let Spot { parent, path, .. } = spot;
    if file_type != FileType::Directory {
        return unlinkat(parent, hidden, AtFlags::empty()).map_err(|errno| refused(errno, path));
    }
    let top = open_child_same_mount(parent, hidden, OFlags::RDONLY | OFlags::DIRECTORY);
    walk(top.map_err(|errno| refused(errno, path))?, path, &mut Remover)?;
    unlinkat(parent, hidden, AtFlags::REMOVEDIR).map_err(|errno| refused(errno, path))
}
