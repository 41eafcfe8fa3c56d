//! `files.move`: another name for a file or a tree, as a whole and over nothing that was not looked at.

use cmdop_contract::path::{escape, is_beneath};
use cmdop_contract::v1::{EffectKind, FileChange, FileType, ObservedEffect, Reason};
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, about, invalid};
use super::beneath::{Root, Spot, hold_child, refused, show};
use super::census::{Census, Scope};
use super::measure::Stamp;
use super::write::{changed, exists};
use super::{Means, Step};
use crate::Error;
use crate::journal::stamp::{Extent, Standing};
use crate::journal::{MAX_BYTES, mount_of};
use crate::notable::{self, Found};

/// What goes where, and what is there.
pub(crate) struct Move {
    from: Spot,
    to: Spot,
    /// All of what moves, measured before the rest was looked at.
    standing: Standing,
    census: Census,
    /// What of it must not go unseen.
    notable: Vec<Found>,
    replaced: Option<(Standing, Stamp)>,
}

impl Move {
    /// Looks at both places.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_EXISTS`, `PATH_NOT_USABLE`, `UNSUPPORTED_CHANGE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let from = root.spot(&arguments.path_of("from")?).map_err(|error| about("from", error))?;
        let to = root.spot(&arguments.path_of("to")?).map_err(|error| about("to", error))?;
        if is_beneath(&to.path, &from.path) {
            return Err(invalid("to", "a path outside of what is moved"));
        }
        let missing = || about("from", refused(Errno::NOENT, &from.path));
        let standing = Standing::of(&from, Extent::Tree).map_err(|error| about("from", error))?.ok_or_else(missing)?;
        let held = hold_child(&from.parent, &from.name);
        let stamp = Stamp::of(held.map_err(|errno| about("from", refused(errno, &from.path)))?)?;
        let scope = Scope { to: &to.path, is_copied: false, max_bytes: u64::MAX };
        let census = Census::take(&from, &stamp, scope).map_err(|error| about("from", error))?;
        let replaced = match Standing::of(&to, Extent::Itself).map_err(|error| about("to", error))? {
            Some(standing) => {
                let held = hold_child(&to.parent, &to.name).map_err(|errno| about("to", refused(errno, &to.path)))?;
                Some((standing, Stamp::of(held)?))
            }
            None => None,
        };
        if let Some((_, replaced)) = &replaced {
            let is_tree = [&stamp, replaced].into_iter().any(|it| it.file_type() == FileType::Directory);
            if !arguments.flag("overwrite")? || is_tree {
                return Err(about("to", exists(&to)));
            }
        }
        if mount_of(&from.parent)? != mount_of(&to.parent)? || Stamp::of(&to.parent)?.dev != stamp.dev {
            return Err(other_file_system(&from, &to));
        }
        let notable = notable::beneath(&from).map_err(|error| about("from", error))?;
        Ok(Self { from, to, standing, census, notable, replaced })
    }

    fn publish(&self, with: &Means<'_>) -> Result<(), Error> {
        let (from, to) = (&self.from.path, &self.to.path);
        let mut draft = with.journals.draft(with.call_id)?;
        draft.check_place(&self.to).map_err(|_| about("to", changed(&self.to, "its directory was replaced")))?;
        match &self.replaced {
            None => draft.take_out(from, self.standing.clone(), Some(to))?,
            Some((replaced, _)) => draft.take_over(from, self.standing.clone(), to, replaced.clone())?,
        }
        draft.restore_times(&self.from)?;
        draft.restore_times(&self.to)?;
        draft.commit().map_err(|error| match error.reason() {
            Reason::CommitConflict => self.conflict(),
            _ => about("from", error),
        })
    }

    /// Which of the places is not as it was looked at.
    fn conflict(&self) -> Error {
        let is_replaced = |replaced: &Standing| replaced.is_same(&self.to).unwrap_or(false);
        match &self.replaced {
            None if hold_child(&self.to.parent, &self.to.name).is_ok() => about("to", exists(&self.to)),
            Some((replaced, _)) if !is_replaced(replaced) => about("to", changed(&self.to, "it was changed meanwhile")),
            _ => about("from", changed(&self.from, "it was changed meanwhile")),
        }
    }

    /// Can all of it be taken back?
    fn is_kept(&self) -> bool {
        self.replaced.as_ref().is_none_or(|(replaced, _)| replaced.room() <= MAX_BYTES)
    }
}

fn other_file_system(from: &Spot, to: &Spot) -> Error {
    let message =
        format!("{} and {} lie on different file systems; copy it, then delete it", show(&from.path), show(&to.path));
    Error::use_tool(Reason::UnsupportedChange, message, "files.copy")
}

impl Step for Move {
    fn effects(&self) -> Vec<ObservedEffect> {
        let top = self.census.entries.first().map(|entry| entry.state.clone());
        let mut effects = vec![ObservedEffect {
            kind: EffectKind::FileRename.into(),
            target: escape(&self.from.path),
            count: 1,
            bytes: self.census.bytes,
            reversible: true,
            file: Some(FileChange {
                before: top.clone(),
                after: top,
                renamed: escape(&self.to.path),
                ..FileChange::default()
            }),
            network: None,
            process: None,
        }];
        effects.extend(self.notable.iter().map(|found| found.effect(EffectKind::FileRename, true)));
        if let Some((_, replaced)) = &self.replaced {
            effects.push(ObservedEffect {
                kind: EffectKind::FileDelete.into(),
                target: escape(&self.to.path),
                count: 1,
                bytes: replaced.size,
                reversible: true,
                file: Some(FileChange { before: Some(replaced.state()), ..FileChange::default() }),
                network: None,
                process: None,
            });
        }
        let mut comes = self.census.created(&self.to.path, |entry| entry.state.clone());
        // Else it would count for something that the call made.
        for (effect, entry) in comes.iter_mut().zip(&self.census.entries) {
            effect.file.get_or_insert_default().renamed = escape(&[self.from.path.as_slice(), &entry.below].concat());
        }
        effects.extend(comes);
        effects.iter_mut().for_each(|effect| effect.reversible = self.is_kept());
        effects
    }

    fn result(&self) -> Value {
        json!({
            "count": self.census.entries.len(),
            "bytes": self.census.bytes,
            "overwritten": self.replaced.is_some(),
        })
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        self.census.digest_into(&mut digest);
        if let Some((_, replaced)) = &self.replaced {
            replaced.digest_into(&mut digest, true);
        }
        digest.finalize().to_vec()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        self.publish(with)?;
        // That it lies there the journal made sure of; that it is gone here is measured now.
        let effects = match hold_child(&self.from.parent, &self.from.name) {
            Err(Errno::NOENT) => self.effects(),
            _ => self.effects().split_off(1),
        };
        Ok((effects, None))
    }
}
