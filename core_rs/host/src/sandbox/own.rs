//! The attributes in which an overlay keeps its notes, told from those that anybody may set.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::plan;

/// The names that are the overlay's own, chosen when it is mounted (overlayfs.rst, "User xattr"). Names of
/// the other kind are anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// `trusted.overlay.`, of root.
    Trusted,
    /// `user.overlay.`, of an ordinary user.
    User,
}

/// What the name of an attribute in a layer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// Nothing to the overlay.
    Ordinary,
    /// In the view it has this name, which is one of the overlay's own (Linux 6.7; before, nobody could set it).
    Escaped(Vec<u8>),
    /// A note of the overlay, which nobody sees or sets in the view.
    Note,
}

/// What stands between the overlay's prefix and a name that only looks like its own.
const ESCAPE: &[u8] = b"overlay.";

/// The kernel's own limits for a list of names and for a value (xattr(7)).
const MAX_BYTES: usize = 64 * 1024;

impl Own {
    /// Of the overlays that this process has mounted.
    pub(crate) fn ours() -> Self {
        if plan::identity().is_some() { Self::User } else { Self::Trusted }
    }

    /// The name of a note.
    pub(crate) fn note(self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    pub(crate) fn named(self, name: &[u8]) -> Named {
        let Some(rest) = name.strip_prefix(self.prefix().as_bytes()) else { return Named::Ordinary };
        match rest.strip_prefix(ESCAPE) {
            Some(shown) => Named::Escaped([self.prefix().as_bytes(), shown].concat()),
            None => Named::Note,
        }
    }

    /// Gives a directory of a layer the attributes of one of the machine, which a view then shows as if they were
    /// that one's: all but what would be a note.
    pub(super) fn copy(self, from: &Path, to: &Path) -> std::io::Result<()> {
        for (name, value) in self.attributes(from)? {
            rustix::fs::lsetxattr(to, &*name, &value, XattrFlags::empty())?;
        }
        Ok(())
    }

    /// Digest of what a directory of a layer shows of itself in the view: mode, owner and attributes.
    pub(crate) fn looks(self, dir: &Path) -> std::io::Result<Vec<u8>> {
        let found = dir.symlink_metadata()?;
        let mut digest = Sha256::new();
        for part in [found.mode(), found.uid(), found.gid()] {
            digest.update(part.to_le_bytes());
        }
        for part in self.attributes(dir)?.into_iter().flat_map(<[Vec<u8>; 2]>::from) {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        Ok(digest.finalize().to_vec())
    }

    /// All attributes but notes, by name.
    fn attributes(self, of: &Path) -> std::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut names = vec![0; MAX_BYTES];
        let length = match rustix::fs::llistxattr(of, &mut names) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        let (mut value, mut found) = (vec![0; MAX_BYTES], BTreeMap::new());
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if self.named(name) != Named::Note {
                let length = rustix::fs::lgetxattr(of, name, &mut value)?;
                found.insert(name.to_vec(), value[..length].to_vec());
            }
        }
        Ok(found)
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }
}
