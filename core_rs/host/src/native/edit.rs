//! `files.edit`: exact pieces of a text file replaced, all of them or none.

use cmdop_contract::v1::{ObservedEffect, Reason};
use rustix::io::Errno;
use serde_json::Value;

use super::arguments::{Arguments, invalid};
use super::beneath::{Root, Spot, not_usable, refused, show};
use super::write::{Before, MAX_SPLICED_BYTES, Replacement, changed};
use super::{Means, Step};
use crate::Error;

/// Text is handled whole.
const MAX_TEXT_BYTES: u64 = 16 * 1024 * 1024;

/// A file with its edits done, and how often something was replaced.
pub(crate) struct Edit {
    replacement: Replacement,
    before_sha256: String,
    replaced: u64,
}

impl Edit {
    /// Does the edits in memory.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `UNSUPPORTED_CHANGE`, `INVALID_ARGUMENTS`;
    /// `CONTENT_CHANGED` naming the edit whose text is not there as often as it says.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let spot = root.spot(&arguments.path()?)?;
        let before = Before::of(&spot)?.ok_or_else(|| refused(Errno::NOENT, &spot.path))?;
        if let Some(expected) = arguments.text("expected_sha256")?
            && !before.sha256.eq_ignore_ascii_case(expected)
        {
            return Err(changed(&spot, &format!("expected content {expected}, found {}", before.sha256)));
        }
        let text = String::from_utf8(before.whole(&spot, MAX_TEXT_BYTES)?);
        let mut text = text.map_err(|_| not_usable(&spot.path, "is not UTF-8 text"))?;
        let mut replaced = 0;
        for (index, edit) in arguments.list("edits")?.iter().enumerate() {
            replaced += replace(&spot, &mut text, index, edit)?;
        }
        let before_sha256 = before.sha256.clone();
        Ok(Self { replacement: Replacement::of_content(spot, before, text.into_bytes()), before_sha256, replaced })
    }
}

/// Does one edit and says how often.
fn replace(spot: &Spot, text: &mut String, index: usize, edit: &Arguments) -> Result<u64, Error> {
    let (old, new) = (edit.required("old")?, edit.required("new")?);
    if old.is_empty() {
        return Err(invalid("edits", "edits whose `old` is not empty"));
    }
    let expected = edit.number("count")?.unwrap_or(1);
    let found = text.matches(old).count() as u64;
    if found != expected {
        let message = format!(
            "edit {index}: its `old` occurs {found} times in {}, not {expected}; nothing was changed",
            show(&spot.path)
        );
        let mend = match found {
            0 => "text that is in the file, to the letter",
            _ => "text with enough around it to occur as often as `count` says, or another `count`",
        };
        return Err(Error::fix(Reason::ContentChanged, message, &format!("/arguments/edits/{index}/old"), mend));
    }
    let grown = (new.len() as u64).saturating_mul(found).saturating_add(text.len() as u64);
    if grown > MAX_SPLICED_BYTES {
        return Err(invalid("edits", "edits after which the file holds at most 64 MiB"));
    }
    *text = text.replace(old, new);
    Ok(found)
}

impl Step for Edit {
    fn effects(&self) -> Vec<ObservedEffect> {
        self.replacement.effects()
    }

    fn result(&self) -> Value {
        let mut result = self.replacement.result();
        if let Some(map) = result.as_object_mut() {
            map.remove("created");
            map.insert("before_sha256".to_owned(), self.before_sha256.clone().into());
            map.insert("replaced".to_owned(), self.replaced.into());
        }
        result
    }

    fn base(&self) -> Vec<u8> {
        self.replacement.base()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        self.replacement.perform(with)
    }
}
