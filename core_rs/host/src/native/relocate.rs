//! `files.move`: another name for a file or a tree, in one step and over nothing that was not looked at.

use cmdop_contract::path::{escape, is_beneath};
use cmdop_contract::v1::{EffectKind, FileChange, FileType, ObservedEffect, Reason};
use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, about, invalid};
use super::beneath::{Root, Spot, hold_child, not_usable, refused, show};
use super::census::{Census, Scope};
use super::hidden::hidden_name;
use super::measure::Stamp;
use super::write::{changed, exists};
use super::{Means, Step};
use crate::Error;
use crate::notable::{self, Found};

/// What goes where, and what is there.
pub(crate) struct Move {
    from: Spot,
    to: Spot,
    stamp: Stamp,
    census: Census,
    /// What of it must not go unseen.
    notable: Vec<Found>,
    replaced: Option<Stamp>,
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
        let held = hold_child(&from.parent, &from.name);
        let stamp = Stamp::of(held.map_err(|errno| about("from", refused(errno, &from.path)))?)?;
        let scope = Scope { to: &to.path, is_copied: false, max_bytes: u64::MAX };
        let census = Census::take(&from, &stamp, scope).map_err(|error| about("from", error))?;
        let replaced = match hold_child(&to.parent, &to.name) {
            Ok(held) => Some(Stamp::of(held)?),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(about("to", refused(errno, &to.path))),
        };
        if let Some(replaced) = &replaced {
            let is_tree = [&stamp, replaced].into_iter().any(|it| it.file_type() == FileType::Directory);
            if !arguments.flag("overwrite")? || is_tree {
                return Err(about("to", exists(&to)));
            }
        }
        let there = Stamp::of(&to.parent)?;
        if there.dev != stamp.dev {
            return Err(other_file_system(&from, &to));
        }
        let notable = notable::beneath(&from).map_err(|error| about("from", error))?;
        Ok(Self { from, to, stamp, census, notable, replaced })
    }

    /// Renames, and looks again at what the names stand for now.
    fn perform_rename(&self, permit_id: &str) -> Result<Option<Error>, Error> {
        let Some(replaced) = &self.replaced else {
            self.rename(RenameFlags::NOREPLACE)?;
            return self.check_moved(RenameFlags::NOREPLACE).map(|()| None);
        };
        self.rename(RenameFlags::EXCHANGE)?;
        self.check_moved(RenameFlags::EXCHANGE)?;
        let Spot { parent, name, path } = &self.from;
        let there = hold_child(parent, name).map_err(|errno| about("from", refused(errno, path)));
        if !there.and_then(Stamp::of).is_ok_and(|now| now.is_same_content(replaced)) {
            self.put_back(RenameFlags::EXCHANGE)?;
            return Err(about("to", changed(&self.to, "it was changed meanwhile")));
        }
        // What was replaced bears the old name of what was moved, until it is gone.
        let hidden = hidden_name(permit_id, "gone");
        let gone = renameat_with(parent, name.as_c_str(), parent, hidden.as_c_str(), RenameFlags::NOREPLACE)
            .and_then(|()| unlinkat(parent, hidden.as_c_str(), AtFlags::empty()));
        Ok(gone
            .err()
            .map(|errno| Error::io(format!("what was at {} could not be removed", show(&self.to.path)))(errno.into())))
    }

    fn rename(&self, flags: RenameFlags) -> Result<(), Error> {
        let (from, to) = (&self.from, &self.to);
        renameat_with(&from.parent, from.name.as_c_str(), &to.parent, to.name.as_c_str(), flags).map_err(|errno| {
            match errno {
                Errno::EXIST => about("to", exists(to)),
                Errno::XDEV => other_file_system(from, to),
                Errno::BUSY => about("from", not_usable(&from.path, "is a mount point")),
                Errno::INVAL => invalid("to", "a path outside of what is moved"),
                other => about("from", refused(other, &from.path)),
            }
        })
    }

    /// Makes sure that what was looked at is what was moved.
    fn check_moved(&self, flags: RenameFlags) -> Result<(), Error> {
        let is_same = || -> Result<bool, Error> {
            let now = Stamp::of(hold_child(&self.to.parent, &self.to.name).map_err(|e| refused(e, &self.to.path))?)?;
            let scope = Scope { to: &self.to.path, is_copied: false, max_bytes: u64::MAX };
            Ok(now.is_same_content(&self.stamp) && Census::take(&self.to, &now, scope)?.is_same(&self.census))
        };
        let same = is_same();
        if matches!(same, Ok(true)) {
            return Ok(());
        }
        self.put_back(flags)?;
        same.and_then(|_| Err(about("from", changed(&self.from, "it was changed meanwhile"))))
    }

    fn put_back(&self, flags: RenameFlags) -> Result<(), Error> {
        let (from, to) = (&self.from, &self.to);
        renameat_with(&to.parent, to.name.as_c_str(), &from.parent, from.name.as_c_str(), flags).map_err(|errno| {
            let kept = format!("{} was moved to {} and could not be put back", show(&from.path), show(&to.path));
            Error::io(kept)(errno.into())
        })
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
            reversible: self.replaced.is_none(),
            file: Some(FileChange { before: top.clone(), after: top, ..FileChange::default() }),
            network: None,
            process: None,
        }];
        effects.extend(self.notable.iter().map(|found| found.effect(EffectKind::FileRename, self.replaced.is_none())));
        if let Some(replaced) = &self.replaced {
            effects.push(ObservedEffect {
                kind: EffectKind::FileDelete.into(),
                target: escape(&self.to.path),
                count: 1,
                bytes: replaced.size,
                reversible: false,
                file: Some(FileChange { before: Some(replaced.state()), ..FileChange::default() }),
                network: None,
                process: None,
            });
        }
        effects.extend(self.census.created(&self.to.path, |entry| entry.state.clone()));
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
        if let Some(replaced) = &self.replaced {
            replaced.digest_into(&mut digest, true);
        }
        digest.finalize().to_vec()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        let left = self.perform_rename(with.permit_id)?;
        let durable = self.to.sync_parent().and_then(|()| self.from.sync_parent()).err();
        // That it lies there was measured; that it is gone here is measured now.
        let effects = match hold_child(&self.from.parent, &self.from.name) {
            Err(Errno::NOENT) => self.effects(),
            _ => self.effects().split_off(1),
        };
        Ok((effects, left.or(durable)))
    }
}
