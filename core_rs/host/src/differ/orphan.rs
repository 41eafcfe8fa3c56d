//! Files with several names that a command changed by a name that is gone since.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Error;

/// How many there are. The overlay keeps one inode for all names of a file in its index (overlayfs.rst,
/// "Index"); one that no name of the layer leads to is what the other names would show, and the layer
/// has nothing where those are.
///
/// # Errors
/// If the index cannot be read.
pub(super) fn count(work: &Path) -> Result<usize, Error> {
    let doing = || Error::io("read the index of the layer");
    let entries = match fs::read_dir(work.join("index")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(doing()(error)),
    };
    let mut count = 0;
    for entry in entries {
        let found = entry.and_then(|entry| entry.metadata()).map_err(doing())?;
        count += usize::from(!found.is_dir() && found.nlink() == 1 && !is_whiteout(&found));
    }
    Ok(count)
}

fn is_whiteout(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_char_device()
}
