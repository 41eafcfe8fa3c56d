//! Which file of the machine one in the layer was copied up from.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
pub(super) fn origin(upper: &Path) -> Option<Handle> {
    let value = super::overlay_attribute(upper, "origin")?;
    let (header, handle) = value.split_at_checked(HEADER_BYTES)?;
    (header[1] == MAGIC && usize::from(header[2]) == value.len()).then(|| Handle(header[4], handle.to_vec()))
}

/// Handle of a file of the machine, where its file system has them.
pub(super) fn handle_of(path: &Path) -> Option<Handle> {
    #[repr(C)]
    struct Raw {
        bytes: libc::c_uint,
        kind: libc::c_int,
        handle: [u8; MAX_HANDLE_BYTES],
    }
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
