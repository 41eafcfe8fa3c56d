//! Where slots lie: in a private directory on the mount of the place, because nothing is renamed
//! across mounts.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cmdop_contract::v1::Reason;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};

use crate::Error;
use crate::native::beneath::{Root, show};

/// Name of the private directory on a mount other than that of the host's state.
pub(super) fn private_name(state: &Path) -> String {
    let digest = crate::native::measure::sha256_of(state.as_os_str().as_bytes());
    format!(".cmdop-{}", &digest[..16])
}

/// Which mount an open file lies on.
///
/// # Errors
/// The operating system's refusal.
pub(crate) fn mount_of(fd: impl AsFd) -> Result<u64, Error> {
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    found.map(|found| found.stx_mnt_id).map_err(|errno| Error::io("find the mount of a file")(errno.into()))
}

/// The nearest directory at or above a path that exists, and its path.
///
/// # Errors
/// The operating system's refusal of all of them.
pub(super) fn nearest(root: &Root, path: &[u8]) -> Result<(OwnedFd, PathBuf), Error> {
    let mut here = Path::new(std::ffi::OsStr::from_bytes(path));
    loop {
        match root.open(here.as_os_str().as_bytes(), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(fd) => return Ok((fd, here.to_owned())),
            Err(error) => here = here.parent().ok_or(error)?,
        }
    }
}

/// Makes, or finds, the private directory for a mount: at its top, or as near to that as this
/// process may write.
///
/// # Errors
/// `UNSUPPORTED_CHANGE` if there is no place for one; what a read-only file system says.
pub(super) fn private_directory(root: &Root, below: &Path, mount: u64, name: &str) -> Result<PathBuf, Error> {
    let is_on_mount = |path: &&Path| {
        let fd = root.open(path.as_os_str().as_bytes(), OFlags::PATH | OFlags::DIRECTORY);
        fd.and_then(mount_of).is_ok_and(|found| found == mount)
    };
    let mut candidates: Vec<&Path> = below.ancestors().take_while(is_on_mount).collect();
    candidates.reverse();
    let mut read_only = None;
    for candidate in candidates {
        let path = candidate.join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        if is_ours(&path) && made.as_ref().map_or_else(|error| error.kind() == ErrorKind::AlreadyExists, |()| true) {
            return Ok(path);
        }
        read_only = made.err().filter(|error| error.kind() == ErrorKind::ReadOnlyFilesystem).or(read_only);
    }
    if let Some(read_only) = read_only {
        return Err(Error::io(format!("change {}", show(below.as_os_str().as_bytes())))(read_only));
    }
    let message = format!(
        "no private directory can be made on the mount of `{}`, so what is changed there could not be taken back; \
         nothing was applied",
        show(below.as_os_str().as_bytes())
    );
    Err(Error::stop(Reason::UnsupportedChange, message))
}

/// A directory that only this process's user can enter. Anybody may have made one of that name.
fn is_ours(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    path.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0)
}
