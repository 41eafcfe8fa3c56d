//! Reading one entry of a layer: its state, and what the overlay notes of it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{FileState, FileType};
use cmdop_policy::classes::is_secret;
use rustix::io::Errno;

use crate::Error;
use crate::journal::attributes::Xattr;
use crate::journal::values::Values;
use crate::native::measure;
use crate::native::text_diff;
use crate::sandbox::Own;

/// What is there; none if nothing is. A disk that cannot say is no answer: a file that it hides would look
/// like one that is new.
pub(super) fn looked(path: &Path) -> Result<Option<fs::Metadata>, Error> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::io(format!("measure {}", path.display()))(error)),
    }
}

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

/// With the attributes that it shows; those of the machine are all its own.
pub(super) fn state(
    path: &Path,
    metadata: &fs::Metadata,
    xattrs: &[Xattr],
    values: Values,
) -> Result<FileState, Error> {
    let xattrs = xattrs.iter().map(|xattr| values.shown(xattr)).collect();
    let mut state = FileState { xattrs, ..shallow(metadata) };
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
pub(super) fn redirect(own: Own, upper: &Path) -> Result<Option<PathBuf>, Error> {
    let value = note(own, upper, "redirect")?;
    Ok(value.map(|value| PathBuf::from(std::ffi::OsStr::from_bytes(&value))))
}

pub(super) fn redirected(own: Own, upper: &Path, source: &Path, top: &Path) -> Result<Option<PathBuf>, Error> {
    let found = redirect(own, upper)?;
    Ok(found.map(|found| match found.strip_prefix("/") {
        Ok(beneath) => top.join(beneath),
        Err(_) => source.join(found),
    }))
}

/// What the overlay notes under a name; nobody else can.
pub(super) fn note(own: Own, upper: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut value = vec![0; 8 * 1024];
    match rustix::fs::lgetxattr(upper, own.note(name), &mut value) {
        Ok(size) => {
            value.truncate(size);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(refused(upper, errno)),
    }
}

pub(super) fn is_opaque(own: Own, upper: &Path) -> Result<bool, Error> {
    Ok(note(own, upper, "opaque")?.is_some_and(|value| value == b"y"))
}

/// All extended attributes, sorted by name.
pub(super) fn xattrs(path: &Path) -> Result<Vec<Xattr>, Error> {
    let mut names = vec![0; 64 * 1024];
    let size = match rustix::fs::llistxattr(path, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        listed => listed.map_err(|errno| refused(path, errno))?,
    };
    let mut found = Vec::new();
    let mut value = vec![0; 64 * 1024];
    for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let size = match rustix::fs::lgetxattr(path, name, &mut value) {
            // One that this user may not read counts as one without a value.
            Err(Errno::ACCESS | Errno::PERM | Errno::NODATA) => 0,
            size => size.map_err(|errno| refused(path, errno))?,
        };
        found.push(Xattr { name: name.to_vec(), value: Some(value[..size].to_vec()) });
    }
    found.sort();
    Ok(found)
}

fn refused(path: &Path, errno: Errno) -> Error {
    Error::io(format!("measure {}", path.display()))(errno.into())
}
