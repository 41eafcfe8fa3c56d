//! Held layers on disk: one private directory per call, from its preview to its commit or discard.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cmdop_contract::v1::Reason;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::native::Held;
use crate::{Error, barren};

/// A layer that nobody decided on is dropped after this time.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);

/// The oldest layers beyond this number are dropped.
pub(super) const MAX_LAYERS: usize = 256;

/// What a layer's directory says of itself.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Meta {
    #[prost(string, tag = "1")]
    pub(super) call_id: String,
    /// The permit under which it was previewed.
    #[prost(string, tag = "2")]
    pub(super) permit_id: String,
    /// For a native tool: the base that its plan rests on.
    #[prost(message, optional, tag = "3")]
    pub(super) native: Option<Held>,
}

/// All held layers of a host.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    root: PathBuf,
}

/// A layer that was found, with the time of its preview.
pub(super) struct Found {
    pub(super) meta: Meta,
    pub(super) made: SystemTime,
}

impl Layers {
    /// # Errors
    /// If the directory cannot be made.
    pub(super) fn open(root: PathBuf) -> Result<Self, Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&root);
        made.map_err(Error::io(format!("create {}", root.display())))?;
        Ok(Self { root })
    }

    /// Where the layer of a call lies. Ids come from elsewhere, so their digest makes the name.
    pub(super) fn path(&self, call_id: &str) -> PathBuf {
        let digest = Sha256::digest(call_id.as_bytes());
        self.root.join(cmdop_contract::digest::hex(&digest[..16]))
    }

    /// An empty directory for a preview.
    ///
    /// # Errors
    /// `HOST_STORAGE_FULL` and what else the operating system says.
    pub(super) fn prepare(&self, call_id: &str) -> Result<PathBuf, Error> {
        let path = self.path(call_id);
        remove(&path)?;
        let made = barren::create(&path);
        made.map_err(Error::io("create a directory for the preview"))?;
        Ok(path)
    }

    /// Makes a layer findable after a restart. Durable when it returns.
    ///
    /// # Errors
    /// As [`Layers::prepare`].
    pub(super) fn hold(&self, meta: &Meta) -> Result<(), Error> {
        let path = self.path(&meta.call_id);
        let write = || -> std::io::Result<()> {
            let staged = path.join("meta.new");
            fs::write(&staged, meta.encode_to_vec())?;
            fs::File::open(&staged)?.sync_all()?;
            fs::rename(&staged, path.join("meta"))?;
            fs::File::open(&path)?.sync_all()?;
            fs::File::open(&self.root)?.sync_all()
        };
        write().map_err(Error::io("keep the preview"))
    }

    /// What is known of a held layer.
    ///
    /// # Errors
    /// `PREVIEW_LOST`.
    pub(super) fn meta(&self, call_id: &str) -> Result<Meta, Error> {
        let lost = |why: String| {
            Error::later(
                Reason::PreviewLost,
                format!(
                    "the preview is gone: {why}; nothing was applied: propose it again under a new key, this one is spent"
                ),
            )
        };
        let bytes = fs::read(self.path(call_id).join("meta")).map_err(|error| lost(error.to_string()))?;
        let meta = Meta::decode(bytes.as_slice()).map_err(|error| lost(error.to_string()))?;
        if meta.call_id == call_id { Ok(meta) } else { Err(lost("it belongs to another call".to_owned())) }
    }

    /// Frees the space of a layer that is not held, or not any more. What fails here is tried again at
    /// the next start.
    pub(super) fn discard(&self, call_id: &str) {
        if let Err(error) = remove(&self.path(call_id)) {
            tracing::warn!(call = call_id, %error, "a dropped layer stays on disk until the next start");
        }
    }

    /// Every whole layer on disk, oldest first.
    pub(super) fn scan(&self) -> Vec<Found> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries.filter_map(|entry| self.found(&entry.path())).collect();
        found.sort_by_key(|layer| layer.made);
        found
    }

    fn found(&self, path: &Path) -> Option<Found> {
        let meta = fs::read(path.join("meta")).ok().and_then(|bytes| Meta::decode(bytes.as_slice()).ok());
        let made = fs::metadata(path.join("meta")).and_then(|found| found.modified()).ok();
        match (meta, made) {
            (Some(meta), Some(made)) if self.path(&meta.call_id) == path => Some(Found { meta, made }),
            _ => None,
        }
    }

    /// Removes every directory that is not the layer of one of these calls.
    pub(super) fn keep_only(&self, calls: &[String]) {
        let kept: Vec<_> = calls.iter().map(|call| self.path(call)).collect();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if !kept.contains(&entry.path())
                && let Err(error) = remove(&entry.path())
            {
                tracing::warn!(%error, "an old layer stays on disk");
            }
        }
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match crate::exec::remove(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(Error::io(format!("remove {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_layer_is_found_again_and_others_are_removed() {
        let dir = tempfile::tempdir().expect("directory");
        let layers = Layers::open(dir.path().join("layers")).expect("open");
        for call in ["a", "../../b"] {
            layers.prepare(call).expect("prepare");
            layers.hold(&Meta { call_id: call.into(), ..Meta::default() }).expect("hold");
        }
        layers.prepare("unfinished").expect("prepare");
        let again = Layers::open(dir.path().join("layers")).expect("open again");
        assert_eq!(again.scan().len(), 2);
        again.keep_only(&["../../b".to_owned()]);
        assert_eq!(again.meta("../../b").expect("held").call_id, "../../b");
        assert_eq!(again.meta("a").expect_err("removed").reason(), Reason::PreviewLost);
        assert_eq!(fs::read_dir(dir.path().join("layers")).expect("list").count(), 1);
    }
}
