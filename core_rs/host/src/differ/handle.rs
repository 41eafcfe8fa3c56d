//! Which file of the machine one in the layer was copied up from.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::sandbox::Own;

/// Type and bytes of a file handle (name_to_handle_at(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle(u8, Vec<u8>);

/// What the kernel takes for a handle at most (`MAX_HANDLE_SZ`).
const MAX_HANDLE_BYTES: usize = 128;

/// Length of version, magic, length, flags, type and file system id before the handle itself
/// (`struct ovl_fb`, fs/overlayfs/overlayfs.h).
const HEADER_BYTES: usize = 21;

/// Magic number of such a record.
const MAGIC: u8 = 0xfb;

/// The overlay's own note of it; none if the file was made in the layer.
///
/// # Errors
/// If it cannot be read.
pub(super) fn origin(own: Own, upper: &Path) -> Result<Option<Handle>, crate::Error> {
    Ok(super::upper::note(own, upper, "origin")?.and_then(|value| {
        let (header, handle) = value.split_at_checked(HEADER_BYTES)?;
        (header[1] == MAGIC && usize::from(header[2]) == value.len()).then(|| Handle(header[4], handle.to_vec()))
    }))
}

impl Handle {
    /// True if the file system of this directory knows that there is no such file any more. Without the
    /// right to ask, and on a file system that cannot tell, false.
    pub(super) fn is_gone(&self, top: &Path) -> bool {
        match self.open(top) {
            // Somebody may hold what has no name any more.
            Ok(file) => std::fs::File::from(file).metadata().is_ok_and(|found| found.nlink() == 0),
            Err(error) => error.raw_os_error() == Some(libc::ESTALE),
        }
    }

    /// The file, to look at, on the file system of this directory.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(super) fn open(&self, top: &Path) -> std::io::Result<OwnedFd> {
        let top = std::fs::File::open(top)?;
        let too_long = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let length = libc::c_uint::try_from(self.1.len()).map_err(|_| too_long())?;
        let mut raw = Raw { bytes: length, kind: self.0.into(), handle: [0; MAX_HANDLE_BYTES] };
        raw.handle.get_mut(..self.1.len()).ok_or_else(too_long)?.copy_from_slice(&self.1);
        // SAFETY: the handle is as long as it says and outlives the call; the descriptor is open.
        let opened = unsafe { libc::syscall(libc::SYS_open_by_handle_at, top.as_raw_fd(), &raw mut raw, libc::O_PATH) };
        if opened < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(opened as libc::c_int) })
    }
}

/// `struct file_handle`.
#[repr(C)]
struct Raw {
    bytes: libc::c_uint,
    kind: libc::c_int,
    handle: [u8; MAX_HANDLE_BYTES],
}

/// Handle of a file of the machine, where its file system has them.
pub(super) fn handle_of(path: &Path) -> Option<Handle> {
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut raw = Raw { bytes: MAX_HANDLE_BYTES as libc::c_uint, kind: 0, handle: [0; MAX_HANDLE_BYTES] };
    let mut mount: libc::c_int = 0;
    // SAFETY: the name ends in NUL, the buffer is as long as it says, and both outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, name.as_ptr(), &raw mut raw, &raw mut mount, 0)
    };
    let length = usize::try_from(raw.bytes).ok()?;
    (done == 0).then(|| Handle(raw.kind as u8, raw.handle[..length.min(MAX_HANDLE_BYTES)].to_vec()))
}
