//! What can go wrong on a host, and the form in which a caller hears of it.

use std::io;

use cmdop_contract::reason;
use cmdop_contract::reason::Change;
use cmdop_contract::v1::{self, Reason, Remedy, RetryAfter, UseTool, remedy, use_tool};
use cmdop_ledger::error::is_full;

/// Why the host did not do something, or failed while it did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Refused or failed for a reason that the caller can act on; it travels as it is.
    #[error("{}", .0.message)]
    Typed(Box<v1::Error>),
    /// The host's own ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] cmdop_ledger::Error),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What the host was about to do.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// A typed error whose remedy is to mend the action at `pointer`.
    #[must_use]
    pub fn fix(reason: Reason, message: impl Into<String>, pointer: &str, expected: &str) -> Self {
        Self::with(reason, message, remedy::Kind::FixArguments(reason::fixed(pointer, expected)))
    }

    /// Adds what mends the arguments that the remedy names, where that is certain.
    #[must_use]
    pub fn by(self, change: Change) -> Self {
        match self {
            Self::Typed(typed) => Self::Typed(Box::new(typed.by(change))),
            other => other,
        }
    }

    /// A typed error after which the same call may be proposed again later.
    #[must_use]
    pub fn later(reason: Reason, message: impl Into<String>) -> Self {
        Self::with(reason, message, remedy::Kind::RetryAfter(RetryAfter { ms: 1_000, ..RetryAfter::default() }))
    }

    /// A typed error whose remedy is another tool.
    #[must_use]
    pub fn use_tool(reason: Reason, message: impl Into<String>, tool: &str) -> Self {
        Self::with(reason, message, remedy::Kind::UseTool(UseTool { name: tool.to_owned(), arguments: None }))
    }

    /// `PATH_NOT_USABLE` of a directory that is asked for without all that it holds.
    #[must_use]
    pub(crate) fn needs_recursive(message: impl Into<String>) -> Self {
        let expected = "true, if all that it holds is meant";
        Self::fix(Reason::PathNotUsable, message, "/arguments/recursive", expected)
    }

    /// `PATH_NOT_USABLE` of a directory where a file is read.
    #[must_use]
    pub(crate) fn is_directory(path: &str) -> Self {
        let message = format!("{path} is a directory; use files.list");
        let arguments = Some(use_tool::Arguments::ArgumentsJson(serde_json::json!({"path": path}).to_string()));
        let list = UseTool { name: "files.list".into(), arguments };
        Self::with(Reason::PathNotUsable, message, remedy::Kind::UseTool(list))
    }

    /// A typed error that no mended call gets around; why not is what the table of reasons says.
    #[must_use]
    pub fn stop(reason: Reason, message: impl Into<String>) -> Self {
        Self::with(reason, message, reason::stop(reason::spec(reason).mend))
    }

    /// A typed error with a remedy of its own.
    #[must_use]
    pub fn with(reason: Reason, message: impl Into<String>, remedy: remedy::Kind) -> Self {
        let remedy = Some(Remedy { kind: Some(remedy), new_key: false });
        Self::Typed(Box::new(v1::Error {
            reason: reason.into(),
            message: message.into(),
            remedy,
            ..Default::default()
        }))
    }

    /// An operating system error, with what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// The reason a caller hears.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Typed(error) => error.reason(),
            Self::Ledger(error) => reason_of(error),
            Self::Io { source, .. } if is_full(source) => Reason::HostStorageFull,
            Self::Io { source, .. } if is_read_only(source) || is_stale(source) => Reason::PathNotUsable,
            Self::Io { .. } => Reason::HostError,
        }
    }
}

impl From<Error> for v1::Error {
    fn from(error: Error) -> Self {
        let reason = error.reason();
        match error {
            Error::Typed(typed) => *typed,
            Error::Ledger(error) if reason != Reason::HostStorageFull => error.into(),
            Error::Io { doing, source } if is_read_only(&source) => {
                let message = format!(
                    "{doing}: its file system is read-only; nothing was done: mount it writable, then propose the call \
                     again under a new key"
                );
                reason::error(reason, message).retry_after(1_000)
            }
            Error::Io { doing, source } if is_stale(&source) => {
                let message = format!(
                    "{doing}: what the host found there is no longer the same file. A fixture's directory was changed by \
                     hand while its host runs, or files of a file server on the server"
                );
                reason::error(reason, message).stop("Start the host anew, then propose the call again under a new key.")
            }
            other => reason::error(reason, other.to_string()).retry_after(1_000),
        }
    }
}

/// What an overlay says whose layer somebody else changed, and what a file server says of what it no longer has: both
/// go on saying it.
fn is_stale(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StaleNetworkFileHandle
}

fn is_read_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

/// As the conversion of the ledger's error to a wire error has it.
fn reason_of(error: &cmdop_ledger::Error) -> Reason {
    use cmdop_ledger::Error as Ledger;
    match error {
        Ledger::Typed(typed) => typed.reason(),
        Ledger::Broken { .. } => Reason::LedgerCorrupt,
        Ledger::Locked(_) => Reason::InvalidConfiguration,
        Ledger::Full(_) => Reason::HostStorageFull,
        Ledger::Io { source, .. } if is_full(source) => Reason::HostStorageFull,
        _ => Reason::StorageError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures_of_the_system() {
        let full = Error::io("write")(io::Error::from(io::ErrorKind::StorageFull));
        let other = Error::io("write")(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(full.reason(), Reason::HostStorageFull);
        assert_eq!(v1::Error::from(other).reason(), Reason::HostError);
    }
}
