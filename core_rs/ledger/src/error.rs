//! What can go wrong with the truth.

use std::io;
use std::path::PathBuf;

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Reason};

/// Why the ledger did not do something. In every case nothing was executed because of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log is not what was written. It is never repaired by guessing.
    #[error("{}: broken at byte {offset}, record {position}: {why}; restore it from a copy, or move the ledger's whole directory away, index and all, to start anew: what it knew of calls and keys is then unknown for good", segment.display())]
    Broken {
        /// The segment file.
        segment: PathBuf,
        /// Byte in it.
        offset: u64,
        /// Position of the record that should stand there.
        position: u64,
        /// What is wrong.
        why: String,
    },
    /// There is no space left. Nothing was recorded; the ledger goes on by itself once there is room.
    #[error("the ledger's disk is full: {0}; make room, and it goes on by itself")]
    Full(String),
    /// An earlier write or fsync failed. What is durable is known only after a restart.
    #[error("the ledger stopped taking records: {0}; make room or mend the disk, then restart")]
    Poisoned(String),
    /// Another process has the directory.
    #[error("{}: another process uses this ledger; stop it, or use another directory", .0.display())]
    Locked(PathBuf),
    /// A record is larger than the log takes.
    #[error("a record of {0} bytes is larger than the ledger takes")]
    TooLarge(usize),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What the ledger was about to do.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// SQLite refused. The index can be rebuilt; the truth is in the log.
    #[error("the ledger's index: {0}; delete `index.db` to have it rebuilt")]
    Index(#[from] rusqlite::Error),
    /// The index did not catch up in time.
    #[error("the ledger's index is behind; try again")]
    Behind,
    /// Refused for a reason that the caller can act on.
    #[error("{}", .0.message)]
    Typed(Box<v1::Error>),
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn typed(reason: Reason, message: impl Into<String>) -> Self {
        Self::Typed(Box::new(reason::error(reason, message)))
    }
}

impl From<Error> for v1::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Typed(typed) => *typed,
            Error::Broken { .. } => reason::error(Reason::LedgerCorrupt, error.to_string()),
            Error::Locked(_) => reason::error(Reason::InvalidConfiguration, error.to_string()),
            Error::Full(_) => reason::error(Reason::StorageFull, error.to_string()),
            Error::Io { ref source, .. } if is_full(source) => reason::error(Reason::StorageFull, error.to_string()),
            Error::Index(ref source) if is_index_full(source) => reason::error(Reason::StorageFull, error.to_string()),
            other => reason::error(Reason::StorageError, other.to_string()),
        }
    }
}

/// True if the operating system has no space.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// True if SQLite found no space: for its pages, or to grow the memory that its readers share.
pub(crate) fn is_index_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| (error.code, error.extended_code));
    matches!(code, Some((rusqlite::ErrorCode::DiskFull, _) | (_, rusqlite::ffi::SQLITE_IOERR_SHMSIZE)))
}
