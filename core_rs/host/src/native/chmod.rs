//! `files.chmod`: permission bits of what was looked at, and of nothing that was put in its place.

use std::os::fd::OwnedFd;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileType, ObservedEffect, Reason};
use rustix::fs::OFlags;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::beneath::{Root, Spot, hold_child, linked, not_usable, show};
use super::measure::Stamp;
use super::write::{changed, mode};
use super::{Means, Step, measured};
use crate::Error;
use crate::journal::Journals;
use crate::journal::attributes::Attributes;
use crate::journal::stamp::{Extent, Standing};

pub(super) const SET_GROUP: u32 = 0o2000;

/// What gets other permission bits.
pub(crate) struct Bits {
    spot: Spot,
    held: OwnedFd,
    before: Stamp,
    mode: u32,
}

impl Bits {
    /// Looks at what is there.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `UNSUPPORTED_CHANGE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, journals: &Journals, arguments: &Arguments) -> Result<Self, Error> {
        let mode = mode(arguments)?.ok_or_else(|| invalid("mode", "octal permission bits such as 0644"))?;
        let spot = root.spot(&arguments.path()?)?;
        let held = spot.open(OFlags::PATH)?;
        let before = Stamp::of(&held)?;
        let names = journals.names_of(&before)?;
        match before.file_type() {
            FileType::Regular if names > 1 => {
                let message = format!(
                    "{} has {} names, and all of them would change; nothing was changed",
                    show(&spot.path),
                    names
                );
                return Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"));
            }
            FileType::Regular | FileType::Directory => {}
            FileType::Symlink => return Err(linked(&spot.path)),
            _ => return Err(not_usable(&spot.path, "is neither a file nor a directory")),
        }
        Ok(Self { spot, held, before, mode })
    }

    fn effects_of(&self, mode: u32) -> Vec<ObservedEffect> {
        if mode == self.before.permissions() {
            return Vec::new();
        }
        let before = self.before.state();
        let mut after = before.clone();
        after.mode = mode;
        vec![ObservedEffect {
            kind: EffectKind::FileChmod.into(),
            target: escape(&self.spot.path),
            count: 1,
            bytes: 0,
            reversible: may_have(&self.before),
            file: Some(FileChange { before: Some(before), after: Some(after), ..FileChange::default() }),
            network: None,
            process: None,
        }]
    }
}

/// False of a set-group-id bit that this process could not give back: its group is another's (chmod(2)).
fn may_have(before: &Stamp) -> bool {
    if before.permissions() & SET_GROUP == 0 || rustix::process::geteuid().is_root() {
        return true;
    }
    let own = rustix::process::getgroups().unwrap_or_default();
    own.iter().chain([&rustix::process::getegid()]).any(|group| group.as_raw() == before.gid)
}

impl Step for Bits {
    fn effects(&self) -> Vec<ObservedEffect> {
        self.effects_of(self.mode)
    }

    fn result(&self) -> Value {
        json!({"before": format!("{:04o}", self.before.permissions()), "mode": format!("{:04o}", self.mode)})
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        let is_directory = self.before.file_type() == FileType::Directory;
        // What lies in a directory may change; what kind of thing it is and whose may not.
        if is_directory {
            for part in [self.before.dev, self.before.ino] {
                digest.update(part.to_le_bytes());
            }
            for part in [self.before.mode, self.before.uid, self.before.gid] {
                digest.update(part.to_le_bytes());
            }
        } else {
            self.before.digest_into(&mut digest, true);
        }
        digest.finalize().to_vec()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        if self.mode == self.before.permissions() {
            return Ok((Vec::new(), None));
        }
        let Spot { parent, name, path } = &self.spot;
        // Only now, so that whoever writes to it all the time does not keep its bits from being changed.
        let standing = Standing::of(&self.spot, Extent::Itself)?;
        let there = hold_child(parent, name).map_err(|_| changed(&self.spot, "it was moved away meanwhile"))?;
        let now = Stamp::of(&there)?;
        let is_same = (now.dev, now.ino, now.mode) == (self.before.dev, self.before.ino, self.before.mode);
        let standing = standing.filter(|standing| is_same && standing.ino == now.ino);
        let replaced = || changed(&self.spot, "it was replaced meanwhile");
        let only = |mode| Attributes { mode: Some(mode), ..Attributes::default() };
        let mut draft = with.journals.draft(with.call_id)?;
        draft.attributes(path, standing.ok_or_else(replaced)?, only(self.before.permissions()), only(self.mode));
        draft.commit().map_err(|error| match error.reason() {
            Reason::CommitConflict => replaced(),
            _ => error,
        })?;
        Ok(measured(self.effects(), || Ok(self.effects_of(Stamp::of(&self.held)?.permissions()))))
    }
}
