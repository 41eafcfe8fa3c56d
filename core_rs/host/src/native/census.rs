//! What a tree holds, entry by entry: what is moved or copied is known before it is.

use std::os::fd::AsFd;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use cmdop_policy::classes::is_secret;
use rustix::fs::{OFlags, readlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::beneath::{READ, Spot, not_usable, open_child, open_child_same_mount, readable, refused, show};
use super::measure::{Stamp, sha256};
use super::walk::{Next, Seen, Visitor, walk};
use crate::Error;

/// Every entry is an effect, and all of them are shown to whoever approves.
const MAX_ENTRIES: usize = 5_000;

/// One file, link or directory.
pub(crate) struct Entry {
    /// Path below the top, with a slash in front; empty for the top itself.
    pub(crate) below: Vec<u8>,
    pub(crate) stamp: Stamp,
    pub(crate) state: FileState,
}

/// A tree, or a single file. The top comes first, each directory before what it holds.
pub(crate) struct Census {
    pub(crate) entries: Vec<Entry>,
    pub(crate) bytes: u64,
}

/// What is counted, and what is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// Where it goes.
    pub(crate) to: &'a [u8],
    /// Digests are computed, and only files, directories and links are taken.
    pub(crate) is_copied: bool,
    pub(crate) max_bytes: u64,
}

impl Census {
    /// Counts what has the name of the spot.
    ///
    /// # Errors
    /// `PATH_NOT_USABLE`, `UNSUPPORTED_CHANGE`.
    pub(crate) fn take(spot: &Spot, stamp: &Stamp, scope: Scope<'_>) -> Result<Self, Error> {
        let census = Self { entries: Vec::new(), bytes: 0 };
        let mut counting = Counting { from: &spot.path, scope, census };
        let seen = Seen { dir: spot.parent.as_fd(), name: &spot.name, path: &spot.path, stamp };
        counting.entry(&seen)?;
        if stamp.file_type() == FileType::Directory {
            let top = open_child_same_mount(&spot.parent, &spot.name, OFlags::RDONLY | OFlags::DIRECTORY);
            let top = top.map_err(|errno| match errno {
                Errno::XDEV => not_usable(&spot.path, "is a mount point"),
                other => refused(other, &spot.path),
            })?;
            walk(top, &spot.path, &mut counting)?;
        }
        Ok(counting.census)
    }

    /// All of it as files that appear beneath another path.
    pub(crate) fn created(&self, to: &[u8], after: impl Fn(&Entry) -> FileState) -> Vec<ObservedEffect> {
        let effect = |entry: &Entry| ObservedEffect {
            kind: EffectKind::FileCreate.into(),
            target: escape(&[to, &entry.below].concat()),
            count: 1,
            bytes: if entry.stamp.file_type() == FileType::Regular { entry.stamp.size } else { 0 },
            reversible: true,
            file: Some(FileChange { after: Some(after(entry)), ..FileChange::default() }),
            network: None,
            process: None,
        };
        self.entries.iter().map(effect).collect()
    }

    /// Feeds the state of everything into a digest; of the top not the time that a rename moves.
    pub(crate) fn digest_into(&self, digest: &mut Sha256) {
        for entry in &self.entries {
            digest.update((entry.below.len() as u64).to_le_bytes());
            digest.update(&entry.below);
            entry.stamp.digest_into(digest, !entry.below.is_empty());
        }
    }
}

struct Counting<'a> {
    from: &'a [u8],
    scope: Scope<'a>,
    census: Census,
}

impl Visitor for Counting<'_> {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        let below = seen.path[self.from.len()..].to_vec();
        if self.census.entries.len() >= MAX_ENTRIES {
            return Err(too_much(self.from, "more than 5,000 entries"));
        }
        // The top was named, and who named it was asked about it.
        if !below.is_empty() && is_secret(seen.path) && !is_secret(&[self.scope.to, &below].concat()) {
            let why = "is a secret that nobody would know for one at its new place; name it by itself";
            return Err(not_usable(seen.path, why));
        }
        let mut state = seen.stamp.state();
        match seen.stamp.file_type() {
            FileType::Regular => {
                self.census.bytes = self.census.bytes.saturating_add(seen.stamp.size);
                if self.census.bytes > self.scope.max_bytes {
                    return Err(too_much(self.from, &format!("more than {} bytes", self.scope.max_bytes)));
                }
                if self.scope.is_copied {
                    let opened = open_child(seen.dir, seen.name, READ);
                    let opened = opened.map_err(|errno| refused(errno, seen.path))?;
                    state.sha256 = sha256(&mut readable(opened, seen.path)?)?;
                }
            }
            FileType::Symlink => {
                let target = readlinkat(seen.dir, seen.name, Vec::new());
                state.link_target = escape(target.map_err(|errno| refused(errno, seen.path))?.to_bytes());
            }
            FileType::Directory => {}
            _ if self.scope.is_copied => {
                let message = format!("{} is neither a file, a directory nor a link", show(seen.path));
                return Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"));
            }
            _ => {}
        }
        self.census.entries.push(Entry { below, stamp: seen.stamp.clone(), state });
        Ok(Next::Enter)
    }
}

fn too_much(path: &[u8], what: &str) -> Error {
    let message = format!("{} holds {what}; take smaller parts of it", show(path));
    Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec")
}
