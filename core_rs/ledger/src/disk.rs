//! What the ledger asks of a file system: privacy, room ahead, durable names, reads at a place.
//!
//! Only Linux is asked for room ahead of what is written. Elsewhere a file system counts as one that cannot
//! allocate: a full disk then shows when a record is written, and the write is taken back.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub(crate) use linux::{allocate, free, taken, total};
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub(crate) use portable::{allocate, free, taken, total};

/// Makes a directory, and those above it, which only its owner enters. On Windows it has what the
/// directory above hands down.
pub(crate) fn private_directory(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

/// Makes a file that is not there yet and that only its owner reads. On Windows it has what its directory
/// hands down.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path)
}

/// Reads 32 random bytes of a file, or makes one that only its owner can read.
pub(crate) fn secret(path: &Path) -> io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| io::ErrorKind::InvalidData.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret: [u8; 32] = rand::random();
            let mut file = private_file(path)?;
            file.write_all(&secret).and_then(|()| file.sync_all())?;
            Ok(secret)
        }
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable. Windows has no such call: NTFS journals names by itself, in order.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(windows) { Ok(()) } else { File::open(dir)?.sync_all() }
}

/// Reads at a place, wherever others read.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, buffer, offset);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::{FallocateFlags, fallocate, fstatvfs, statvfs};

    /// Takes room behind what a file has, and leaves its length.
    ///
    /// # Errors
    /// That there is none, or that the file system cannot.
    pub(crate) fn allocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        Ok(fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes)?)
    }

    /// Bytes of the whole file system, if it says.
    pub(crate) fn total(dir: &Path) -> Option<u64> {
        statvfs(dir).ok().map(|system| system.f_blocks.saturating_mul(system.f_frsize))
    }

    /// Bytes that are free on the file system of a file, if it says.
    pub(crate) fn free(file: &File) -> Option<u64> {
        fstatvfs(file).ok().map(|system| system.f_bavail.saturating_mul(system.f_frsize))
    }

    /// Bytes for which a file has blocks.
    pub(crate) fn taken(file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.blocks() * 512)
    }
}

#[cfg(any(not(target_os = "linux"), feature = "portable"))]
mod portable {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// Nothing is allocated ahead here.
    ///
    /// # Errors
    /// Always.
    pub(crate) fn allocate(_file: &File, _offset: u64, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Unknown.
    pub(crate) fn total(_dir: &Path) -> Option<u64> {
        None
    }

    /// Unknown.
    pub(crate) fn free(_file: &File) -> Option<u64> {
        None
    }

    /// What it holds: no room was taken ahead.
    pub(crate) fn taken(file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }
}
