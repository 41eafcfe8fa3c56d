//! From a private layer to the exact list of what it changes, and to the steps that would change it.
//!
//! Cost grows with what changed. A file that was touched but is as before is no effect.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cmdop_contract::digest::observation_digest;
use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, Observation, ObservedEffect};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::native::measure;
use crate::native::text_diff;
use crate::sandbox::Layer;

/// Effects that are listed; a layer with more is never committed.
const MAX_EFFECTS: usize = 100_000;

/// One step of a commit. Steps are applied in order, and each may be applied again.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Change {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    /// Digest of what was there when the difference was measured; empty if nothing was.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) base: Vec<u8>,
    /// What takes its place in the layer; empty if it goes or only its attributes change.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) from: Vec<u8>,
    #[prost(enumeration = "Kind", tag = "4")]
    pub(crate) kind: i32,
    #[prost(uint32, tag = "5")]
    pub(crate) mode: u32,
    #[prost(uint32, tag = "6")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) gid: u32,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    Remove = 0,
    MakeDirectory = 1,
    Place = 2,
    Attributes = 3,
}

/// What a layer changes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Difference {
    /// Exact effects, sorted by path.
    #[prost(message, optional, tag = "1")]
    pub observation: Option<Observation>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) changes: Vec<Change>,
    /// Why the layer cannot be committed exactly; empty if it can.
    #[prost(string, repeated, tag = "3")]
    pub unsupported: Vec<String>,
}

/// Measures what a layer changes. The command must be over.
///
/// # Errors
/// If something cannot be read: then nothing is known, and nothing is committed.
pub fn measure(layer: &Layer) -> Result<Difference, Error> {
    let mut walk = Walk::default();
    for cover in layer.covers().iter().filter(|cover| !cover.upper.is_empty()) {
        let upper = PathBuf::from(std::ffi::OsStr::from_bytes(&cover.upper));
        let lower = PathBuf::from(std::ffi::OsStr::from_bytes(&cover.path));
        walk.directory(&upper, &lower, lower.symlink_metadata().is_ok())?;
        // The top itself: its mode may change, too.
        if !cover.is_foreign {
            walk.attributes(&upper.symlink_metadata().map_err(Error::io("measure the layer"))?, &lower)?;
        }
    }
    Ok(walk.finish())
}

#[derive(Default)]
struct Walk {
    effects: Vec<ObservedEffect>,
    changes: Vec<Change>,
    unsupported: Vec<String>,
    truncated: bool,
}

impl Walk {
    fn directory(&mut self, upper: &Path, lower: &Path, merged: bool) -> Result<(), Error> {
        let doing = || Error::io(format!("read the layer at {}", lower.display()));
        let mut entries: Vec<_> = fs::read_dir(upper).map_err(doing())?.collect::<Result<_, _>>().map_err(doing())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        if merged && is_opaque(upper) {
            for gone in fs::read_dir(lower).into_iter().flatten().flatten() {
                if upper.join(gone.file_name()).symlink_metadata().is_err() {
                    self.deleted(&gone.path())?;
                }
            }
        }
        for entry in entries {
            let place = lower.join(entry.file_name());
            let after = entry.path().symlink_metadata().map_err(doing())?;
            let before = place.symlink_metadata().ok().filter(|_| merged);
            self.entry(&entry.path(), &after, &place, before.as_ref())?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
        before: Option<&fs::Metadata>,
    ) -> Result<(), Error> {
        if after.file_type().is_char_device() && after.rdev() == 0 {
            return before.map_or(Ok(()), |_| self.deleted(place));
        }
        if after.file_type().is_char_device() || after.file_type().is_block_device() {
            self.unsupported.push(format!("{}: a device node", place.display()));
        }
        if after.is_file() && (after.nlink() > 1 || before.is_some_and(|before| before.is_file() && before.nlink() > 1))
        {
            self.unsupported.push(format!("{}: a file with several names (hard links)", place.display()));
        }
        let same_type = before.is_some_and(|before| before.file_type() == after.file_type());
        if let (Some(before), true) = (before, same_type) {
            return self.changed(upper, after, place, before);
        }
        if before.is_some() {
            self.deleted(place)?;
        }
        self.created(upper, after, place)?;
        if after.is_dir() { self.directory(upper, place, false) } else { Ok(()) }
    }

    fn changed(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
        before: &fs::Metadata,
    ) -> Result<(), Error> {
        if foreign_attributes(upper) != foreign_attributes(place) {
            self.unsupported.push(format!("{}: extended attributes", place.display()));
        }
        if after.is_dir() {
            self.directory(upper, place, true)?;
            return self.attributes(after, place);
        }
        let (old, new) = (state(place, before)?, state(upper, after)?);
        if old.sha256 != new.sha256 || old.link_target != new.link_target || old.size != new.size {
            let (text_diff, text_diff_truncated) = difference(place, upper, &old, &new);
            let bytes = new.size;
            let change = FileChange { before: Some(old), after: Some(new), text_diff, text_diff_truncated };
            self.note(EffectKind::FileModify, place, 1, bytes, change);
            self.step(Kind::Place, place, Some(before), upper, after)?;
            self.attribute_effects(after, place, before);
            return Ok(());
        }
        self.attributes(after, place)
    }

    fn created(&mut self, upper: &Path, after: &fs::Metadata, place: &Path) -> Result<(), Error> {
        let new = state(upper, after)?;
        let (text_diff, text_diff_truncated) = difference(Path::new("/dev/null"), upper, &FileState::default(), &new);
        let bytes = new.size;
        let change = FileChange { before: None, after: Some(new), text_diff, text_diff_truncated };
        self.note(EffectKind::FileCreate, place, 1, if after.is_file() { bytes } else { 0 }, change);
        let kind = if after.is_dir() { Kind::MakeDirectory } else { Kind::Place };
        self.step(kind, place, None, upper, after)
    }

    /// A directory goes as one effect, with the number of its entries.
    fn deleted(&mut self, place: &Path) -> Result<(), Error> {
        let before = place.symlink_metadata().map_err(Error::io(format!("measure {}", place.display())))?;
        let mut tree = Tree::default();
        tree.add(place, &before)?;
        let change = FileChange { before: Some(shallow(&before)), ..FileChange::default() };
        self.note(EffectKind::FileDelete, place, tree.count, tree.bytes, change);
        let digest = tree.digest.finalize().to_vec();
        let path = place.as_os_str().as_bytes().to_vec();
        self.changes.push(Change { path, base: digest, kind: Kind::Remove.into(), ..Change::default() });
        Ok(())
    }

    /// Mode and owner of what is otherwise as before.
    fn attributes(&mut self, after: &fs::Metadata, place: &Path) -> Result<(), Error> {
        let Ok(before) = place.symlink_metadata() else { return Ok(()) };
        if self.attribute_effects(after, place, &before) {
            self.step(Kind::Attributes, place, Some(&before), Path::new(""), after)?;
        }
        Ok(())
    }

    fn attribute_effects(&mut self, after: &fs::Metadata, place: &Path, before: &fs::Metadata) -> bool {
        let change =
            || FileChange { before: Some(shallow(before)), after: Some(shallow(after)), ..FileChange::default() };
        let mode = after.mode() & 0o7777 != before.mode() & 0o7777 && !after.is_symlink();
        let owner = (after.uid(), after.gid()) != (before.uid(), before.gid());
        if mode {
            self.note(EffectKind::FileChmod, place, 1, 0, change());
        }
        if owner {
            self.note(EffectKind::FileChown, place, 1, 0, change());
        }
        mode || owner
    }

    fn note(&mut self, kind: EffectKind, place: &Path, count: u64, bytes: u64, change: FileChange) {
        if self.effects.len() >= MAX_EFFECTS {
            self.truncated = true;
            return;
        }
        let target = escape(place.as_os_str().as_bytes());
        self.effects.push(ObservedEffect {
            kind: kind.into(),
            target,
            count,
            bytes,
            reversible: true,
            file: Some(change),
            network: None,
        });
    }

    fn step(
        &mut self,
        kind: Kind,
        place: &Path,
        before: Option<&fs::Metadata>,
        from: &Path,
        after: &fs::Metadata,
    ) -> Result<(), Error> {
        self.changes.push(Change {
            path: place.as_os_str().as_bytes().to_vec(),
            base: before.map_or(Ok(Vec::new()), |_| base(place))?,
            from: from.as_os_str().as_bytes().to_vec(),
            kind: kind.into(),
            mode: after.mode() & 0o7777,
            uid: after.uid(),
            gid: after.gid(),
        });
        Ok(())
    }

    fn finish(mut self) -> Difference {
        self.effects.sort_by(|one, two| (&one.target, one.kind).cmp(&(&two.target, two.kind)));
        // What goes makes room for what comes; directories come before what is in them.
        self.changes.sort_by(|one, two| (one.kind, &one.path).cmp(&(two.kind, &two.path)));
        let digest = observation_digest(&self.effects);
        let observation =
            Observation { effects: self.effects, digest, truncated: self.truncated, ..Observation::default() };
        Difference { observation: Some(observation), changes: self.changes, unsupported: self.unsupported }
    }
}

/// Digest of what stands at a path: of a directory its own stamp, of a tree that goes everything in it.
pub(crate) fn base(place: &Path) -> Result<Vec<u8>, Error> {
    let mut digest = Sha256::new();
    let metadata = place.symlink_metadata().map_err(Error::io(format!("measure {}", place.display())))?;
    // A directory's times move with its entries, which have steps of their own.
    if metadata.is_dir() {
        digest.update(metadata.ino().to_le_bytes());
        digest.update(metadata.mode().to_le_bytes());
        digest.update([metadata.uid().to_le_bytes(), metadata.gid().to_le_bytes()].concat());
    } else {
        stamp(&metadata, &mut digest);
    }
    Ok(digest.finalize().to_vec())
}

/// Digest of a whole tree.
pub(crate) fn tree_base(place: &Path) -> Result<Vec<u8>, Error> {
    let metadata = place.symlink_metadata().map_err(Error::io(format!("measure {}", place.display())))?;
    let mut tree = Tree::default();
    tree.add(place, &metadata)?;
    Ok(tree.digest.finalize().to_vec())
}

#[derive(Default)]
struct Tree {
    count: u64,
    bytes: u64,
    digest: Sha256,
}

impl Tree {
    fn add(&mut self, place: &Path, metadata: &fs::Metadata) -> Result<(), Error> {
        self.count += 1;
        self.bytes += if metadata.is_file() { metadata.len() } else { 0 };
        self.digest.update((place.as_os_str().len() as u64).to_le_bytes());
        self.digest.update(place.as_os_str().as_bytes());
        stamp(metadata, &mut self.digest);
        if !metadata.is_dir() {
            return Ok(());
        }
        let doing = || Error::io(format!("read {}", place.display()));
        let mut entries: Vec<_> = fs::read_dir(place).map_err(doing())?.collect::<Result<_, _>>().map_err(doing())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            self.add(&entry.path(), &entry.path().symlink_metadata().map_err(doing())?)?;
        }
        Ok(())
    }
}

fn stamp(metadata: &fs::Metadata, digest: &mut Sha256) {
    for part in [metadata.dev(), metadata.ino(), metadata.size(), u64::from(metadata.mode())] {
        digest.update(part.to_le_bytes());
    }
    for part in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        digest.update(part.to_le_bytes());
    }
    digest.update([metadata.uid().to_le_bytes(), metadata.gid().to_le_bytes()].concat());
}

fn shallow(metadata: &fs::Metadata) -> FileState {
    FileState {
        r#type: measure::file_type(metadata.mode()).into(),
        size: metadata.len(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        ..FileState::default()
    }
}

fn state(path: &Path, metadata: &fs::Metadata) -> Result<FileState, Error> {
    let mut state = shallow(metadata);
    match state.r#type() {
        FileType::Regular => {
            let mut file = fs::File::open(path).map_err(Error::io(format!("read {}", path.display())))?;
            state.sha256 = measure::sha256(&mut file)?;
        }
        FileType::Symlink => {
            let target = fs::read_link(path).map_err(Error::io(format!("read {}", path.display())))?;
            state.link_target = escape(target.as_os_str().as_bytes());
        }
        _ => state.size = 0,
    }
    Ok(state)
}

fn difference(before: &Path, after: &Path, old: &FileState, new: &FileState) -> (String, bool) {
    let small = |state: &FileState| state.size <= text_diff::MAX_TEXT_BYTES;
    if new.r#type() != FileType::Regular || !small(old) || !small(new) {
        return Default::default();
    }
    match (fs::read(before), fs::read(after)) {
        (Ok(before), Ok(after)) => text_diff::unified(&before, &after),
        _ => Default::default(),
    }
}

fn is_opaque(upper: &Path) -> bool {
    let mut value = [0; 1];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| matches!(rustix::fs::lgetxattr(upper, *name, &mut value), Ok(1) if value[0] == b'y'))
}

/// Extended attributes that are not the overlay's own, with their values.
fn foreign_attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 64 * 1024];
    let size = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut found: Vec<_> = names[..size]
        .split(|byte| *byte == 0)
        .filter(|name| {
            !name.is_empty() && !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
        })
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let size = rustix::fs::lgetxattr(path, name, &mut value).unwrap_or(0);
            value.truncate(size);
            (name.to_vec(), value)
        })
        .collect();
    found.sort();
    found
}
