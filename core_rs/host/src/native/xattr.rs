//! Extended attributes of a file that is replaced: access lists and labels must survive.

use std::fs::File;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

use super::beneath::{not_usable, refused};
use crate::Error;

/// The kernel's own limits for a list of names and for a value.
const MAX_BYTES: usize = 64 * 1024;

/// Copies all extended attributes that this process can see.
///
/// # Errors
/// `PATH_NOT_USABLE` if one cannot be kept.
pub(crate) fn copy(from: &File, to: &File, path: &[u8]) -> Result<(), Error> {
    let mut names = vec![0u8; MAX_BYTES];
    let length = match flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(refused(errno, path)),
    };
    names.truncate(length);
    let mut value = vec![0u8; MAX_BYTES];
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = match fgetxattr(from, name, &mut value[..]) {
            Ok(length) => length,
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(refused(errno, path)),
        };
        fsetxattr(to, name, &value[..length], XattrFlags::empty())
            .map_err(|_| not_usable(path, "has extended attributes that could not be kept"))?;
    }
    Ok(())
}

/// Has it an attribute of that name?
///
/// # Errors
/// `PATH_NOT_USABLE` if nobody can tell.
pub(crate) fn has(file: &File, name: &str, path: &[u8]) -> Result<bool, Error> {
    match fgetxattr(file, name, &mut [0u8; 0]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(refused(errno, path)),
    }
}
