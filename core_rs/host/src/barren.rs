//! Directories that hand nothing on to what is made in them: no access list (acl(5)) and no group.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, fchmod, fchown, fremovexattr};
use rustix::io::Errno;
use rustix::process::getegid;

const LISTS: [&str; 2] = ["system.posix_acl_default", "system.posix_acl_access"];

/// Makes one that only this process's user can enter, wherever it lies: what stands above it may have any list.
///
/// # Errors
/// The operating system's refusal.
pub(crate) fn create(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)?;
    let made = fs::File::open(path)?;
    if made.metadata()?.gid() != getegid().as_raw() {
        fchown(&made, None, Some(getegid()))?;
    }
    for list in LISTS {
        match fremovexattr(&made, list) {
            // There is none, or the file system knows none.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            done => done?,
        }
    }
    // Without the set-group-id bit.
    Ok(fchmod(&made, Mode::from_raw_mode(0o700))?)
}
