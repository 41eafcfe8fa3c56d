//! Measuring files: what they are, what they hold, and whether they are still the same.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;

use cmdop_contract::digest::hex;
use cmdop_contract::v1::{FileState, FileType};
use rustix::fs::{Stat, fstat};
use sha2::{Digest, Sha256};

use super::window::check_size;
use crate::Error;

/// Everything by which a change of a file shows in its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Type and permission bits.
    pub(crate) mode: u32,
    pub(crate) nlink: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    /// Measures an open descriptor.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(crate) fn of(fd: impl AsFd) -> Result<Self, Error> {
        fstat(fd).map(|stat| Self::from(&stat)).map_err(|errno| Error::io("stat")(errno.into()))
    }

    pub(crate) fn file_type(&self) -> FileType {
        file_type(self.mode)
    }

    /// The low twelve bits.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Seconds and nanoseconds of the last change of metadata.
    pub(crate) fn ctime(&self) -> (i64, i64) {
        self.ctime
    }

    /// The same with another time of the last change of metadata.
    pub(crate) fn with_ctime(self, ctime: (i64, i64)) -> Self {
        Self { ctime, ..self }
    }

    /// Seconds and nanoseconds of the last change of content.
    pub(crate) fn mtime(&self) -> (i64, i64) {
        self.mtime
    }

    /// The state as it is reported; the digest is left empty.
    pub(crate) fn state(&self) -> FileState {
        FileState {
            r#type: self.file_type().into(),
            size: self.size,
            mode: self.permissions(),
            uid: self.uid,
            gid: self.gid,
            ..FileState::default()
        }
    }

    /// Feeds all of it, or all but what a rename or a further name changes, into a digest. Not the device's
    /// number, which is another at each mount of an overlay.
    pub(crate) fn digest_into(&self, digest: &mut Sha256, with_ctime: bool) {
        let (ctime, nlink) = if with_ctime { (self.ctime, self.nlink) } else { ((0, 0), 0) };
        for part in [self.ino, nlink, self.size, u64::from(self.mode)] {
            digest.update(part.to_le_bytes());
        }
        for part in [i64::from(self.uid), i64::from(self.gid), self.mtime.0, self.mtime.1, ctime.0, ctime.1] {
            digest.update(part.to_le_bytes());
        }
    }
}

impl From<&Stat> for Stamp {
    // The widths of these fields differ between architectures.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    fn from(stat: &Stat) -> Self {
        let is_directory = file_type(stat.st_mode as u32) == FileType::Directory;
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            mode: stat.st_mode as u32,
            nlink: stat.st_nlink as u64,
            uid: stat.st_uid,
            gid: stat.st_gid,
            // That of a directory says nothing, and differs between the layers of an overlay.
            size: if is_directory { 0 } else { stat.st_size as u64 },
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// Type of a file by its `st_mode`.
pub(crate) fn file_type(mode: u32) -> FileType {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => FileType::Regular,
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::Fifo,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice | rustix::fs::FileType::BlockDevice => FileType::Device,
        _ => FileType::Unspecified,
    }
}

/// SHA-256 of what an open file holds, lower-case hex.
///
/// # Errors
/// A failed read; `PATH_NOT_USABLE` if the file is too large.
pub(crate) fn sha256(file: &mut File) -> Result<String, Error> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    file.seek(SeekFrom::Start(0)).map_err(Error::io("seek"))?;
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read"))?;
        if read == 0 {
            return Ok(hex(&digest.finalize()));
        }
        size += read as u64;
        check_size(size)?;
        digest.update(&buffer[..read]);
    }
}

/// SHA-256 of bytes, lower-case hex.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
