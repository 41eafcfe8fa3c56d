//! Why a release does not become live or stay so, and what to do.

use cmdop_contract::reason;
use cmdop_contract::v1::Reason;

use super::site::Site;
use crate::Error;
use crate::native::beneath::show;

/// Numbers that are tried behind an id which a release has already.
const MAX_TRIED: u32 = 20;
/// Longest id of a release, as the schema has it.
const MAX_ID: usize = 100;

/// The id is taken: another that is free is named.
pub(super) fn conflict(site: &Site, id: &str, found: &str, expected: &str) -> Error {
    let message = format!(
        "{} exists with other content: its digest is {found}, not {expected}; nothing was applied",
        show(&site.release_path(id))
    );
    let error = Error::fix(Reason::ReleaseConflict, message, "/arguments/release", "an id that no release has");
    let mut others = (2..=MAX_TRIED).map(|number| format!("{id}-{number}"));
    match others.find(|other| other.len() <= MAX_ID && matches!(site.release(other), Ok(None))) {
        Some(free) => error.by(reason::value(free)),
        None => error,
    }
}

/// It does not answer its health check.
pub(super) fn unhealthy(message: String) -> Error {
    Error::fix(Reason::HealthCheckFailed, message, "/arguments/source", "a release that answers its health check")
}
