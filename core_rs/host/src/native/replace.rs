//! One edit of a text: a piece replaced as often as it was said to be there, or not at all.

use cmdop_contract::v1::Reason;

use super::arguments::{Arguments, invalid};
use crate::Error;

/// What a text may grow to.
const MAX_TEXT_BYTES: u64 = 64 * 1024 * 1024;

/// Does one edit and says how often.
///
/// # Errors
/// `CONTENT_CHANGED` if its text is not there as often as it says; `INVALID_ARGUMENTS`.
pub(crate) fn replace(path: &[u8], text: &mut String, index: usize, edit: &Arguments) -> Result<u64, Error> {
    let (old, new) = (edit.required("old")?, edit.required("new")?);
    if old.is_empty() {
        return Err(invalid("edits", "edits whose `old` is not empty"));
    }
    let expected = edit.number("count")?.unwrap_or(1);
    let found = text.matches(old).count() as u64;
    if found != expected {
        let message = format!(
            "edit {index}: its `old` occurs {found} times in {}, not {expected}; nothing was changed",
            String::from_utf8_lossy(path)
        );
        let mend = match found {
            0 => "text that is in the file, to the letter",
            _ => "text with enough around it to occur as often as `count` says, or another `count`",
        };
        return Err(Error::fix(Reason::ContentChanged, message, &format!("/arguments/edits/{index}/old"), mend));
    }
    let grown = (new.len() as u64).saturating_mul(found).saturating_add(text.len() as u64);
    if grown > MAX_TEXT_BYTES {
        return Err(invalid("edits", "edits after which the file holds at most 64 MiB"));
    }
    *text = text.replace(old, new);
    Ok(found)
}
