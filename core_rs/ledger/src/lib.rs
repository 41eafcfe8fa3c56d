//! The durable truth: a hash-chained log, its SQLite index, approvals and permits.
//!
//! | module | is |
//! |---|---|
//! | [`log`] | the append-only, checksummed, chained log with group commit |
//! | [`index`] | SQLite, filled from the log off the commit path; answers queries, can be rebuilt |
//! | [`Ledger`] | both, with the rules: keys, approvals that are used once, permits behind intents |
//! | [`clock`] | the time that decides what is over, which never goes back |
//! | [`permit`] | signing a permit, and checking one |

pub mod clock;
mod disk;
pub mod error;
pub mod index;
mod ledger;
pub mod log;
pub mod permit;
mod signing;

pub use clock::{Clock, Time};
pub use error::Error;
pub use ledger::{
    Answered, CANCELLED, Claim, Clearance, DEEPEST_RUN, Denial, Entry, Held, Issued, Ledger, Options, PermitRequest,
    Standing, voided,
};

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Chooses by a key that a file keeps how this process digests the secrets that it redacts; the first choice holds. Who
/// has the file can tell by trying which weak secret a mark stands for, and nobody else can.
///
/// # Errors
/// If the file can be neither read nor made.
pub fn choose_redaction(path: &Path) -> Result<(), Error> {
    let key = disk::secret(path).map_err(Error::io(format!("read the key of redaction {}", path.display())))?;
    cmdop_contract::redact::use_key(&key);
    Ok(())
}

/// Nanoseconds since the Unix epoch by this machine's clock.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
