//! `files.delete`: a file, a link, or a tree as one effect.
//!
//! What is deleted is first renamed to a hidden sibling, so that observers see all of it or none.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use rustix::fs::{AtFlags, OFlags, RenameFlags, readlinkat, renameat_with, unlinkat};
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::Arguments;
use super::beneath::{READ, Root, Spot, file, hold_child, not_usable, open_child_same_mount, refused, show};
use super::measure::{Stamp, sha256};
use super::text_diff::{MAX_TEXT_BYTES, unified};
use super::walk::{Next, Seen, Visitor, walk};
use super::write::small_content;
use super::{Step, hidden_name};
use crate::Error;

/// A larger tree is refused: its list could not be shown to anyone.
const MAX_ENTRIES: u64 = 1_000_000;

/// Larger files are not read only to be deleted; their digest is left empty.
const MAX_HASHED_BYTES: u64 = 64 * 1024 * 1024;

/// What to delete and everything found out about it.
pub(crate) struct Removal {
    spot: Spot,
    stamp: Stamp,
    state: FileState,
    text_diff: (String, bool),
    tree: Tree,
}

/// What lies at and beneath a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tree {
    entries: u64,
    bytes: u64,
    /// SHA-256 over the stamps of everything beneath, in order.
    fingerprint: Vec<u8>,
}

impl Removal {
    /// Looks at what would be deleted.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let spot = root.spot(&arguments.path()?)?;
        let is_recursive = arguments.flag("recursive")?;
        let held = hold_child(&spot.parent, &spot.name).map_err(|errno| refused(errno, &spot.path))?;
        let stamp = Stamp::of(&held)?;
        let mut state = stamp.state();
        let mut text_diff = Default::default();
        match stamp.file_type() {
            FileType::Regular if stamp.size <= MAX_HASHED_BYTES => {
                let mut content = file(spot.open(READ)?);
                state.sha256 = sha256(&mut content)?;
                if stamp.size <= MAX_TEXT_BYTES {
                    text_diff = unified(&small_content(&content)?, b"");
                }
            }
            FileType::Symlink => {
                let target = readlinkat(&spot.parent, &*spot.name, Vec::new());
                let target = target.map_err(|errno| refused(errno, &spot.path))?;
                state.link_target = escape(target.to_bytes());
            }
            _ => {}
        }
        let tree = Tree::measure(&spot.parent, &spot.name, &spot.path, &stamp)?;
        if stamp.file_type() == FileType::Directory && tree.entries > 1 && !is_recursive {
            let why = "is a directory that is not empty; set `recursive` to delete it with what it holds";
            return Err(not_usable(&spot.path, why));
        }
        Ok(Self { spot, stamp, state, text_diff, tree })
    }

    fn effect(&self, tree: &Tree) -> ObservedEffect {
        let (text_diff, text_diff_truncated) = self.text_diff.clone();
        ObservedEffect {
            kind: EffectKind::FileDelete.into(),
            target: escape(&self.spot.path),
            count: tree.entries,
            bytes: tree.bytes,
            reversible: false,
            file: Some(FileChange { before: Some(self.state.clone()), after: None, text_diff, text_diff_truncated }),
            network: None,
        }
    }

    /// Takes it out of sight, and makes sure that it is what was looked at.
    fn hide(&self, hidden: &CStr) -> Result<(), Error> {
        let Spot { parent, name, path } = &self.spot;
        renameat_with(parent, name.as_c_str(), parent, hidden, RenameFlags::NOREPLACE).map_err(
            |errno| match errno {
                Errno::BUSY | Errno::XDEV => {
                    not_usable(path, "is a mount point or cannot be renamed on its file system")
                }
                other => refused(other, path),
            },
        )?;
        let is_same = || -> Result<bool, Error> {
            let held = hold_child(parent, hidden).map_err(|errno| refused(errno, path))?;
            let stamp = Stamp::of(held)?;
            Ok(stamp.is_same_content(&self.stamp) && Tree::measure(parent, hidden, path, &stamp)? == self.tree)
        };
        let unchanged = is_same();
        if matches!(unchanged, Ok(true)) {
            return Ok(());
        }
        renameat_with(parent, hidden, parent, name.as_c_str(), RenameFlags::NOREPLACE).map_err(|errno| {
            let kept = format!("{} was moved to {} and could not be put back", show(path), hidden.to_string_lossy());
            Error::io(kept)(errno.into())
        })?;
        unchanged.and_then(|_| {
            let message = format!("{} was changed while it was being deleted; nothing was deleted", show(path));
            Err(Error::fix(Reason::ContentChanged, message, "/arguments/path", "a path that nobody else is changing"))
        })
    }
}

/// Removes what was renamed away, with everything beneath.
///
/// # Errors
/// What keeps a part of it from being removed.
pub(crate) fn remove_hidden(spot: &Spot, hidden: &CStr, file_type: FileType) -> Result<(), Error> {
    let Spot { parent, path, .. } = spot;
    if file_type != FileType::Directory {
        return unlinkat(parent, hidden, AtFlags::empty()).map_err(|errno| refused(errno, path));
    }
    let top = open_child_same_mount(parent, hidden, OFlags::RDONLY | OFlags::DIRECTORY);
    walk(top.map_err(|errno| refused(errno, path))?, path, &mut Remover)?;
    unlinkat(parent, hidden, AtFlags::REMOVEDIR).map_err(|errno| refused(errno, path))
}

impl Step for Removal {
    fn effects(&self) -> Vec<ObservedEffect> {
        vec![self.effect(&self.tree)]
    }

    fn result(&self) -> Value {
        json!({"count": self.tree.entries, "bytes": self.tree.bytes})
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        self.stamp.digest_into(&mut digest, true);
        digest.update(&self.tree.fingerprint);
        digest.finalize().to_vec()
    }

    fn perform(&mut self, permit_id: &str) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        let hidden: CString = hidden_name(permit_id, "gone");
        self.hide(&hidden)?;
        let removed = remove_hidden(&self.spot, &hidden, self.stamp.file_type()).map_err(|error| {
            let left = format!(
                "{} is gone from its place, but not all of it could be removed; the rest is beside it as {}",
                show(&self.spot.path),
                hidden.to_string_lossy()
            );
            Error::io(left)(std::io::Error::other(error.to_string()))
        });
        let failure = removed.and_then(|()| self.spot.sync_parent()).err();
        // The place is measured again: the effect counts only if nothing is there.
        let effects = match hold_child(&self.spot.parent, &self.spot.name) {
            Err(Errno::NOENT) => vec![self.effect(&self.tree)],
            _ => Vec::new(),
        };
        Ok((effects, failure))
    }
}

impl Tree {
    fn measure(parent: impl AsFd, name: &CStr, path: &[u8], stamp: &Stamp) -> Result<Self, Error> {
        let bytes = if stamp.file_type() == FileType::Regular { stamp.size } else { 0 };
        let mut counter = Counter { entries: 1, bytes, digest: Sha256::new(), top: path.len() };
        if stamp.file_type() == FileType::Directory {
            let top = open_child_same_mount(parent, name, OFlags::RDONLY | OFlags::DIRECTORY);
            let top = top.map_err(|errno| match errno {
                Errno::XDEV => not_usable(path, "is a mount point"),
                other => refused(other, path),
            })?;
            walk(top, path, &mut counter)?;
        }
        Ok(Self { entries: counter.entries, bytes: counter.bytes, fingerprint: counter.digest.finalize().to_vec() })
    }
}

struct Counter {
    entries: u64,
    bytes: u64,
    digest: Sha256,
    /// Length of the path above.
    top: usize,
}

impl Visitor for Counter {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(not_usable(seen.path, "lies in a tree of more than 1,000,000 entries"));
        }
        if seen.stamp.file_type() == FileType::Regular {
            self.bytes += seen.stamp.size;
        }
        let beneath = &seen.path[self.top..];
        self.digest.update((beneath.len() as u64).to_le_bytes());
        self.digest.update(beneath);
        seen.stamp.digest_into(&mut self.digest, true);
        Ok(Next::Enter)
    }
}

/// Removes everything beneath a directory.
struct Remover;

impl Visitor for Remover {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        if seen.stamp.file_type() == FileType::Directory {
            return Ok(Next::Enter);
        }
        unlinkat(seen.dir, seen.name, AtFlags::empty()).map_err(|errno| refused(errno, seen.path))?;
        Ok(Next::Skip)
    }

    fn leave(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(|errno| refused(errno, path))
    }
}
