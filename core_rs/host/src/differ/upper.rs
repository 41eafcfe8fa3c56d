//! Reading one entry of a layer: its state, and what the overlay notes of it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{FileAttribute, FileState, FileType};
use cmdop_policy::classes::is_secret;

use crate::Error;
use crate::journal::attributes::Xattr;
use crate::journal::look;
use crate::native::measure;
use crate::native::text_diff;

pub(super) fn shallow(metadata: &fs::Metadata) -> FileState {
    FileState {
        r#type: measure::file_type(metadata.mode()).into(),
        size: metadata.len(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        ..FileState::default()
    }
}

pub(super) fn state(path: &Path, metadata: &fs::Metadata) -> Result<FileState, Error> {
    let mut state = FileState { xattrs: foreign_attributes(path), ..shallow(metadata) };
    match state.r#type() {
        FileType::Regular => {
            let mut file = fs::File::open(path).map_err(Error::io(format!("read {}", path.display())))?;
            state.sha256 = measure::sha256(&mut file)?;
        }
        FileType::Symlink => {
            let target = fs::read_link(path).map_err(Error::io(format!("read {}", path.display())))?;
            state.link_target = escape(target.as_os_str().as_bytes());
        }
        _ => state.size = 0,
    }
    Ok(state)
}

pub(super) fn difference(
    place: &Path,
    before: &Path,
    after: &Path,
    old: &FileState,
    new: &FileState,
) -> (String, bool) {
    let small = |state: &FileState| state.size <= text_diff::MAX_TEXT_BYTES;
    if new.r#type() != FileType::Regular || !small(old) || !small(new) {
        return Default::default();
    }
    // One that was a secret where it was is one where it is.
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let place = if is_secret(&bytes(before)) { bytes(before) } else { bytes(place) };
    match (fs::read(before), fs::read(after)) {
        (Ok(before), Ok(after)) => text_diff::unified(&place, &before, &after),
        _ => Default::default(),
    }
}

/// The overlay's note of where a directory was: a name, or a path from the top of its mount
/// (overlayfs.rst, "redirect_dir").
pub(super) fn redirect(upper: &Path) -> Option<PathBuf> {
    let value = overlay_attribute(upper, "redirect")?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(&value)))
}

pub(super) fn redirected(upper: &Path, source: &Path, top: &Path) -> Option<PathBuf> {
    let found = redirect(upper)?;
    Some(match found.strip_prefix("/") {
        Ok(beneath) => top.join(beneath),
        Err(_) => source.join(found),
    })
}

pub(super) fn overlay_attribute(upper: &Path, name: &str) -> Option<Vec<u8>> {
    ["trusted.overlay.", "user.overlay."].iter().find_map(|prefix| {
        let mut value = vec![0; 8 * 1024];
        let size = rustix::fs::lgetxattr(upper, format!("{prefix}{name}"), &mut value).ok()?;
        value.truncate(size);
        Some(value)
    })
}

pub(super) fn is_opaque(upper: &Path) -> bool {
    let mut value = [0; 1];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| matches!(rustix::fs::lgetxattr(upper, *name, &mut value), Ok(1) if value[0] == b'y'))
}

/// Extended attributes that are not the overlay's own, as they are reported.
pub(super) fn foreign_attributes(path: &Path) -> Vec<FileAttribute> {
    let mut names = vec![0; 64 * 1024];
    let size = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let is_own = |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let mut found: Vec<_> = names[..size]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !is_own(name))
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let size = rustix::fs::lgetxattr(path, name, &mut value).unwrap_or(0);
            value.truncate(size);
            look::shown(&Xattr { name: name.to_vec(), value: Some(value) })
        })
        .collect();
    found.sort_by(|one, two| one.name.cmp(&two.name));
    found
}
