//! `files.edit`: exact pieces of a text file replaced, all of them or none.

use cmdop_contract::v1::ObservedEffect;
use rustix::io::Errno;
use serde_json::Value;

use super::arguments::Arguments;
use super::beneath::{Root, not_usable, refused};
use super::replace::replace;
use super::write::{Before, Replacement, changed};
use super::{Means, Step};
use crate::Error;
use crate::journal::Journals;

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
    pub(crate) fn prepare(root: &Root, journals: &Journals, arguments: &Arguments) -> Result<Self, Error> {
        let spot = root.spot(&arguments.path()?)?;
        let before = Before::of(&spot, journals)?.ok_or_else(|| refused(Errno::NOENT, &spot.path))?;
        if let Some(expected) = arguments.text("expected_sha256")?
            && !before.sha256.eq_ignore_ascii_case(expected)
        {
            return Err(changed(&spot, &format!("expected content {expected}, found {}", before.sha256)));
        }
        let text = String::from_utf8(before.whole(&spot, MAX_TEXT_BYTES)?);
        let mut text = text.map_err(|_| not_usable(&spot.path, "is not UTF-8 text"))?;
        let mut replaced = 0;
        for (index, edit) in arguments.list("edits")?.iter().enumerate() {
            replaced += replace(&spot.path, &mut text, index, edit)?;
        }
        let before_sha256 = before.sha256.clone();
        Ok(Self { replacement: Replacement::of_content(spot, before, text.into_bytes())?, before_sha256, replaced })
    }
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
