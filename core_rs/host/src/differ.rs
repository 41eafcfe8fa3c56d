//! From a private layer to the exact list of what it changes, and to the steps that would change it.
//!
//! Cost grows with what changed. A file that was touched but is as before is no effect.

mod aliases;
mod attributes;
mod change;
mod copied;
mod handle;
mod own;
mod pairs;
mod upper;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cmdop_contract::digest::observation_digest;
use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, Observation, ObservedEffect, Unobserved};

use crate::Error;
use crate::journal::attributes::Xattr;
use crate::journal::kept::Kept;
use crate::journal::stamp::{Extent, NAME_BYTES, Standing};
use crate::journal::{Journals, MAX_BYTES};
use crate::native::beneath::Root;
use crate::notable;
use crate::sandbox::{Layer, Own, is_mask};
pub use change::Difference;
pub(crate) use change::{Change, Kind};
use copied::{Copied, is_copied};
use handle::{Handle, handle_of, origin};
use pairs::Names;
use upper::{difference, is_opaque, looked, redirect, shallow};

/// Effects that are listed; a layer with more is never committed.
const MAX_EFFECTS: usize = 100_000;

/// Measures what a layer changes. The command must be over.
///
/// # Errors
/// If something cannot be read: then nothing is known, and nothing is committed.
pub fn measure(layer: &Layer, journals: &Journals) -> Result<Difference, Error> {
    let mut walk = Walk::new(layer, journals)?;
    let mut orphans = Vec::new();
    for cover in layer.covers().iter().filter(|cover| !cover.upper.is_empty()) {
        let upper = PathBuf::from(std::ffi::OsStr::from_bytes(&cover.upper));
        let lower = PathBuf::from(std::ffi::OsStr::from_bytes(&cover.path));
        let top = looked(&lower)?;
        if top.as_ref().is_some_and(|top| (top.dev(), top.ino()) != (cover.dev, cover.ino)) {
            walk.lost(&upper, &lower)?;
            continue;
        }
        if top.as_ref().is_some_and(|top| !top.is_dir()) {
            // A single file that is mounted is never covered: it could only be read.
            continue;
        }
        let is_there = top.is_some();
        walk.top.clone_from(&lower);
        walk.layer.clone_from(&upper);
        let work = Path::new(std::ffi::OsStr::from_bytes(&cover.work));
        walk.has_index = aliases::index(work).is_dir();
        walk.is_unindexed |= !walk.has_index;
        walk.find_moved(&upper, &lower, &lower)?;
        walk.directory(&upper, &lower, is_there.then_some(&*lower), false)?;
        if is_there {
            walk.times(&upper, &lower, &lower)?;
        }
        if walk.has_index {
            orphans.extend(aliases::orphans(work, &upper, &lower)?);
        }
        // The top itself: its mode may change, too.
        let is_touched = walk.own.looks(&upper).map_or(true, |looks| cover.looks.is_empty() || looks != cover.looks);
        if !cover.is_foreign && is_touched {
            walk.attributes(
                &upper,
                &upper.symlink_metadata().map_err(Error::io("measure the layer"))?,
                &lower,
                &lower,
            )?;
        }
    }
    walk.alias(orphans)?;
    walk.pair()?;
    walk.link()?;
    walk.keep_brought();
    if walk.begun_ns.is_none() && !walk.effects.is_empty() {
        walk.unsupported.push("the clock was set back while the command ran, so nobody knows what changed".to_owned());
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    root: Root,
    journals: &'a Journals,
    /// Names that are in them, once somebody asked.
    kept: OnceCell<Kept>,
    /// What is the overlays' own in the layers.
    own: Own,
    /// Files of the machine that the command could not see.
    masked: BTreeSet<PathBuf>,
    /// When the layer was laid out.
    begun_ns: Option<i64>,
    /// The mount that is measured, and the layer over it.
    top: PathBuf,
    layer: PathBuf,
    /// The overlay kept names of one file together.
    has_index: bool,
    /// Some layer did not.
    is_unindexed: bool,
    /// What changed on the machine since then.
    conflicts: RefCell<BTreeSet<Vec<u8>>>,
    effects: Vec<ObservedEffect>,
    changes: Vec<Change>,
    unsupported: Vec<String>,
    truncated: bool,
    unobserved: Vec<Unobserved>,
    /// Bytes that a commit would keep for its undo.
    kept_bytes: u64,
    /// Some change cannot be taken back.
    is_lasting: bool,
    /// Names of each inode of the layer that has several, by its device and inode.
    links: BTreeMap<(u64, u64), Names>,
    /// Directories that are elsewhere now, as they are on the machine.
    moved: BTreeSet<PathBuf>,
    /// The same, by the layer's own directory.
    moved_here: BTreeMap<PathBuf, PathBuf>,
    /// What is no longer where it was.
    gone: Vec<PathBuf>,
    /// Names of the machine, of files with several, at which the layer has something.
    copied: Vec<PathBuf>,
    /// New files that were copied up from the machine: place, layer's own, and which file it was.
    arrived: Vec<(PathBuf, PathBuf, Handle)>,
    /// The same where nobody knows which it was.
    came: Vec<Copied>,
    /// Files of the machine at whose places the layer has one.
    stood: Vec<PathBuf>,
    /// Places of those that have attributes on the machine that the command did not see.
    brought: Vec<(PathBuf, Vec<Xattr>)>,
}

impl<'a> Walk<'a> {
    fn new(layer: &Layer, journals: &'a Journals) -> Result<Self, Error> {
        let place = |bytes: &Vec<u8>| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        Ok(Self {
            root: Root::machine()?,
            journals,
            kept: OnceCell::new(),
            own: Own::ours(),
            masked: layer.masked().iter().map(place).collect(),
            begun_ns: layer.begun_ns(),
            top: PathBuf::new(),
            layer: PathBuf::new(),
            has_index: false,
            is_unindexed: false,
            conflicts: RefCell::default(),
            effects: Vec::new(),
            changes: Vec::new(),
            unsupported: Vec::new(),
            truncated: false,
            unobserved: Vec::new(),
            kept_bytes: 0,
            is_lasting: false,
            links: BTreeMap::new(),
            moved: BTreeSet::new(),
            moved_here: BTreeMap::new(),
            gone: Vec::new(),
            copied: Vec::new(),
            arrived: Vec::new(),
            came: Vec::new(),
            stood: Vec::new(),
            brought: Vec::new(),
        })
    }

    /// What changes in a directory of the layer that is at `place` and shows `source` of the machine, or
    /// stands there instead of that: only the topmost of new directories is marked as opaque.
    fn directory(&mut self, upper: &Path, place: &Path, source: Option<&Path>, is_instead: bool) -> Result<(), Error> {
        let doing = || Error::io(format!("read the layer at {}", place.display()));
        let mut entries: Vec<_> = fs::read_dir(upper).map_err(doing())?.collect::<Result<_, _>>().map_err(doing())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let is_instead = is_instead || is_opaque(self.own, upper)?;
        if let Some(source) = source.filter(|_| is_instead) {
            let doing = || Error::io(format!("read {}", source.display()));
            for gone in fs::read_dir(source).map_err(doing())? {
                let gone = gone.map_err(doing())?;
                if looked(&upper.join(gone.file_name()))?.is_none() {
                    self.gone.push(gone.path());
                }
            }
        }
        for entry in entries {
            let after = entry.path().symlink_metadata().map_err(doing())?;
            let was = source.map(|source| source.join(entry.file_name()));
            let place = place.join(entry.file_name());
            self.entry(&entry.path(), &after, &place, was.as_deref(), is_instead)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
        was: Option<&Path>,
        is_instead: bool,
    ) -> Result<(), Error> {
        let looked = was.map(looked).transpose()?.flatten();
        let found = was.zip(looked);
        if after.file_type().is_char_device() && after.rdev() == 0 {
            self.gone.extend(found.map(|(was, _)| was.to_owned()));
            return Ok(());
        }
        if let Some(from) = self.moved_here.get(upper).cloned() {
            self.gone.extend(found.map(|(was, _)| was.to_owned()));
            return self.renamed(upper, after, place, &from);
        }
        if let Some((was, before)) = found.as_ref().filter(|(was, _)| self.masked.contains(*was)) {
            self.masked(after, place, was, before);
            return Ok(());
        }
        if is_mask(after) {
            self.unsupported.push(format!("{}: a masked file that was moved or linked", place.display()));
            self.gone.extend(found.map(|(was, _)| was.to_owned()));
            // An ordinary user's daemon may not read it either, and there is nothing to read.
            let change = FileChange { after: Some(shallow(after)), ..FileChange::default() };
            self.note(EffectKind::FileCreate, place, 1, 0, change);
            return Ok(());
        }
        // What is elsewhere now is not what stands here.
        let found = found.filter(|(was, _)| !self.moved.contains(*was));
        if after.file_type().is_char_device() || after.file_type().is_block_device() {
            self.unsupported.push(format!("{}: a device node", place.display()));
        }
        let linked = found.as_ref().filter(|(_, before)| !after.is_dir() && !before.is_dir() && before.nlink() > 1);
        // The overlay's index goes by all names; without one only those count that somebody can see.
        let linked = match linked {
            Some((_, before)) if !self.has_index && self.names_on_machine(before)? == 1 => None,
            linked => linked,
        };
        // One that replaced a name of several is no change of that file: it goes from there, and another comes.
        let mut is_another = false;
        if let Some((was, _)) = linked {
            if self.has_index {
                is_another = origin(self.own, upper)?.is_none_or(|of| handle_of(was).is_none_or(|there| there != of));
                self.copied.push(was.to_path_buf());
            } else {
                self.unsupported.push(format!("{}: a file with several names (hard links)", place.display()));
            }
        }
        if !after.is_dir() && after.nlink() > 1 && (linked.is_none() || self.has_index) {
            let names = self.links.entry((after.dev(), after.ino())).or_default();
            names.nlink = after.nlink();
            names.upper = upper.to_owned();
            (names.layer, names.top) = (self.layer.clone(), self.top.clone());
            let was = found.as_ref().filter(|_| !is_another).map(|(was, _)| was.to_path_buf());
            names.places.push((place.to_owned(), was));
        }
        match &found {
            Some((was, before)) if before.file_type() == after.file_type() && !is_another => {
                // One that came back to where it was shows what it is.
                let is_instead = is_instead && redirect(self.own, upper)?.is_none();
                return self.changed(upper, after, place, was, before, is_instead);
            }
            Some((was, _)) => self.gone.push(was.to_path_buf()),
            None if after.is_file() => {
                let handle = origin(self.own, upper)?;
                // It was copied from a file that nobody could remove since but somebody else.
                if handle.as_ref().is_some_and(|handle| handle.is_gone(&self.top)) {
                    self.conflicts.get_mut().insert(place.as_os_str().as_bytes().to_vec());
                }
                if after.nlink() == 1 && is_copied(self.own, upper)? {
                    let (place, upper, top) = (place.to_owned(), upper.to_owned(), self.top.clone());
                    self.came.push(Copied { place, upper, top });
                }
                let handle = handle.filter(|_| after.nlink() == 1);
                self.arrived.extend(handle.map(|handle| (place.to_owned(), upper.to_owned(), handle)));
            }
            None => {}
        }
        self.created(upper, after, place)?;
        if after.is_dir() { self.directory(upper, place, None, false) } else { Ok(()) }
    }

    /// Something was done to a file that the command could not see. What it made of it knows nothing of
    /// what the file holds, so it is shown without content and never committed.
    fn masked(&mut self, after: &fs::Metadata, place: &Path, was: &Path, before: &fs::Metadata) {
        if is_mask(after) {
            // Only touched, or linked: that name says so.
            return;
        }
        let why = format!("{}: the permit masks it, so the command could not see what it changes", was.display());
        self.unsupported.push(why);
        let change = FileChange { before: Some(shallow(before)), after: Some(shallow(after)), ..FileChange::default() };
        self.note(EffectKind::FileModify, place, 1, after.len(), change);
    }

    fn changed(
        &mut self,
        upper: &Path,
        after: &fs::Metadata,
        place: &Path,
        was: &Path,
        before: &fs::Metadata,
        is_instead: bool,
    ) -> Result<(), Error> {
        if after.is_dir() {
            self.directory(upper, place, Some(was), is_instead)?;
            if is_instead || is_opaque(self.own, upper)? {
                self.keep_notes(was)?;
            }
            self.times(upper, place, was)?;
            return self.attributes(upper, after, place, was);
        }
        self.stood.push(was.to_owned());
        let (old, new) = self.states((was, before), (upper, after), place)?;
        let is_kept = self.keeps_both(upper, was, place)?;
        if old.sha256 != new.sha256 || old.link_target != new.link_target || old.size != new.size {
            let (text_diff, text_diff_truncated) = difference(place, was, upper, &old, &new);
            let bytes = new.size;
            let change = FileChange {
                before: Some(old),
                after: Some(new),
                text_diff,
                text_diff_truncated,
                ..FileChange::default()
            };
            self.note(EffectKind::FileModify, place, 1, bytes, change);
            self.keep_notes(was)?;
            self.step(Kind::Place, place, Some(was), upper)?;
            self.kept_bytes += before.len() + NAME_BYTES;
            self.attribute_effects(upper, after, place, was, before, true)?;
            return Ok(());
        }
        if !is_kept {
            self.say_replaced(place, upper, None)?;
        }
        self.attributes(upper, after, place, was)
    }

    fn created(&mut self, upper: &Path, after: &fs::Metadata, place: &Path) -> Result<(), Error> {
        let new = self.state_of_new(upper, after, place)?;
        let (text_diff, text_diff_truncated) =
            difference(place, Path::new("/dev/null"), upper, &FileState::default(), &new);
        let bytes = new.size;
        let change =
            FileChange { before: None, after: Some(new), text_diff, text_diff_truncated, ..FileChange::default() };
        self.note(EffectKind::FileCreate, place, 1, if after.is_file() { bytes } else { 0 }, change);
        let kind = if after.is_dir() { Kind::MakeDirectory } else { Kind::Place };
        self.step(kind, place, None, upper)
    }

    /// A directory goes as one effect, with the number of its entries.
    fn deleted(&mut self, place: &Path) -> Result<(), Error> {
        let before = place.symlink_metadata().map_err(Error::io(format!("measure {}", place.display())))?;
        let standing = self.standing(place, Extent::Tree)?;
        let change = FileChange { before: Some(shallow(&before)), ..FileChange::default() };
        let (entries, bytes) = self.note_notable(EffectKind::FileDelete, place)?;
        self.note(EffectKind::FileDelete, place, standing.entries - entries, standing.bytes - bytes, change);
        self.kept_bytes += standing.room();
        let path = place.as_os_str().as_bytes().to_vec();
        let kind = Kind::Remove.into();
        self.changes.push(Change { path, standing: Some(standing), kind, ..Change::default() });
        Ok(())
    }

    /// Lists what of a tree must not go unseen; returns the entries and bytes of all that.
    fn note_notable(&mut self, kind: EffectKind, tree: &Path) -> Result<(u64, u64), Error> {
        let found = notable::beneath(&self.root.spot(tree.as_os_str().as_bytes())?)?;
        if self.effects.len() + found.len() > MAX_EFFECTS {
            self.truncated = true;
            return Ok((0, 0));
        }
        self.effects.extend(found.iter().map(|one| one.effect(kind, true)));
        Ok(notable::listed(&found))
    }

    /// How many names a file of the machine has beside those that journals keep.
    fn names_on_machine(&self, file: &fs::Metadata) -> Result<u64, Error> {
        if file.nlink() <= 1 {
            return Ok(file.nlink());
        }
        if self.kept.get().is_none() {
            let kept = self.journals.kept()?;
            self.kept.get_or_init(|| kept);
        }
        let kept = self.kept.get().map_or(0, |kept| kept.of(file.dev(), file.ino()));
        Ok(file.nlink().saturating_sub(kept).max(1))
    }

    fn standing(&self, place: &Path, extent: Extent) -> Result<Standing, Error> {
        let spot = self.root.spot(place.as_os_str().as_bytes())?;
        let gone = || Error::io(format!("measure {}", place.display()))(std::io::ErrorKind::NotFound.into());
        let standing = Standing::of(&spot, extent)?.ok_or_else(gone)?;
        if self.begun_ns.is_some_and(|begun| standing.changed_after(begun)) {
            self.conflicts.borrow_mut().insert(place.as_os_str().as_bytes().to_vec());
        }
        Ok(standing)
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
            process: None,
        });
    }

    fn step(&mut self, kind: Kind, place: &Path, was: Option<&Path>, from: &Path) -> Result<(), Error> {
        let standing = was.map(|was| self.standing(was, Extent::Itself)).transpose()?;
        self.changes.push(Change {
            path: place.as_os_str().as_bytes().to_vec(),
            standing,
            from: from.as_os_str().as_bytes().to_vec(),
            path_before: was.map(|was| was.as_os_str().as_bytes().to_vec()).unwrap_or_default(),
            kind: kind.into(),
            ..Change::default()
        });
        Ok(())
    }

    /// Something else stands where the layer's mount was: what was changed there can be compared with
    /// nothing.
    fn lost(&mut self, upper: &Path, lower: &Path) -> Result<(), Error> {
        let doing = || Error::io(format!("read the layer of {}", lower.display()));
        if fs::read_dir(upper).map_err(doing())?.next().is_some() {
            let why = format!("{} was mounted or unmounted while the command changed it", lower.display());
            self.unsupported.push(why.clone());
            self.unobserved.push(Unobserved { kind: EffectKind::FileModify.into(), why });
        }
        Ok(())
    }

    fn finish(mut self) -> Difference {
        self.effects.sort_by(|one, two| (&one.target, one.kind).cmp(&(&two.target, two.kind)));
        // Directories come before what is in them.
        self.changes.sort_by(|one, two| (one.kind, &one.path).cmp(&(two.kind, &two.path)));
        // Or it is more than is kept for an undo.
        if self.is_lasting || self.kept_bytes > MAX_BYTES {
            self.effects.iter_mut().for_each(|effect| effect.reversible = false);
        }
        let digest = observation_digest(&self.effects);
        let (effects, unobserved) = (self.effects, self.unobserved);
        let observation =
            Observation { effects, unobserved, digest, truncated: self.truncated, ..Observation::default() };
        let conflicts = self.conflicts.into_inner().into_iter().collect();
        Difference { observation: Some(observation), changes: self.changes, unsupported: self.unsupported, conflicts }
    }
}
