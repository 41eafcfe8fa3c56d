//! `files.delete`: a file, a link, or a tree as one effect.
//!
//! What is deleted is renamed into the journal, so that observers see all of it or none.

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use prost::Message;
use rustix::fs::readlinkat;
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::Arguments;
use super::beneath::{READ, Root, Spot, file, hold_child, refused, show};
use super::measure::{Stamp, sha256};
use super::text_diff::{MAX_TEXT_BYTES, unified};
use super::write::small_content;
use super::{Means, Step};
use crate::Error;
use crate::journal::MAX_BYTES;
use crate::journal::stamp::{Extent, Standing};
use crate::notable::{self, Found};

/// Larger files are not read only to be deleted; their digest is left empty.
const MAX_HASHED_BYTES: u64 = 64 * 1024 * 1024;

/// What to delete and everything found out about it.
pub(crate) struct Removal {
    spot: Spot,
    state: FileState,
    text_diff: (String, bool),
    /// All of it.
    standing: Standing,
    /// What of it must not go unseen.
    notable: Vec<Found>,
}

impl Removal {
    /// Looks at what would be deleted.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let spot = root.spot(&arguments.path()?)?;
        let is_recursive = arguments.flag("recursive")?;
        let standing = Standing::of(&spot, Extent::Tree)?.ok_or_else(|| refused(Errno::NOENT, &spot.path))?;
        let held = hold_child(&spot.parent, &spot.name).map_err(|errno| refused(errno, &spot.path))?;
        let stamp = Stamp::of(&held)?;
        let mut state = stamp.state();
        let mut text_diff = Default::default();
        match stamp.file_type() {
            FileType::Regular if stamp.size <= MAX_HASHED_BYTES => {
                let mut content = file(spot.open(READ)?);
                state.sha256 = sha256(&mut content)?;
                if stamp.size <= MAX_TEXT_BYTES {
                    text_diff = unified(&spot.path, &small_content(&content)?, b"");
                }
            }
            FileType::Symlink => {
                let target = readlinkat(&spot.parent, &*spot.name, Vec::new());
                let target = target.map_err(|errno| refused(errno, &spot.path))?;
                state.link_target = escape(target.to_bytes());
            }
            _ => {}
        }
        if stamp.file_type() == FileType::Directory && standing.entries > 1 && !is_recursive {
            let why = "is a directory that is not empty; set `recursive` to delete it with what it holds";
            return Err(Error::needs_recursive(format!("{} {why}", show(&spot.path))));
        }
        let notable = notable::beneath(&spot)?;
        Ok(Self { spot, state, text_diff, standing, notable })
    }

    fn effects_of(&self) -> Vec<ObservedEffect> {
        let reversible = self.standing.room() <= MAX_BYTES;
        let listed = self.notable.iter().map(|found| found.effect(EffectKind::FileDelete, reversible));
        std::iter::once(self.effect(reversible)).chain(listed).collect()
    }

    fn effect(&self, reversible: bool) -> ObservedEffect {
        let (entries, bytes) = notable::listed(&self.notable);
        let (text_diff, text_diff_truncated) = self.text_diff.clone();
        ObservedEffect {
            kind: EffectKind::FileDelete.into(),
            target: escape(&self.spot.path),
            count: self.standing.entries - entries,
            bytes: self.standing.bytes - bytes,
            reversible,
            file: Some(FileChange {
                before: Some(self.state.clone()),
                text_diff,
                text_diff_truncated,
                ..FileChange::default()
            }),
            network: None,
            process: None,
        }
    }
}

impl Step for Removal {
    fn effects(&self) -> Vec<ObservedEffect> {
        self.effects_of()
    }

    fn result(&self) -> Value {
        json!({"count": self.standing.entries, "bytes": self.standing.bytes})
    }

    fn base(&self) -> Vec<u8> {
        Sha256::digest(self.standing.encode_to_vec()).to_vec()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        let mut draft = with.journals.draft(with.call_id)?;
        draft.take_out(&self.spot.path, self.standing.clone(), None)?;
        draft.restore_times(&self.spot)?;
        draft.commit().map_err(|error| match error.reason() {
            Reason::CommitConflict => {
                let message =
                    format!("{} was changed while it was being deleted; nothing was deleted", show(&self.spot.path));
                Error::fix(Reason::ContentChanged, message, "/arguments/path", "a path that nobody else is changing")
            }
            _ => error,
        })?;
        // The place is measured again: the effect counts only if nothing is there.
        let effects = match hold_child(&self.spot.parent, &self.spot.name) {
            Err(Errno::NOENT) => self.effects_of(),
            _ => Vec::new(),
        };
        Ok((effects, None))
    }
}
