//! The narrowest part of the machine that must be writable for a permit.
//!
//! A change of an entry needs its directory to be writable, and the mount of a directory opens
//! everything in it. So each directory that holds a permitted path is bound writable, and every
//! neighbour in it that the permit does not name is sealed: covered by its own read-only view. What
//! stays writable is what the permit names, the directories that hold it, and new names in these.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cmdop_contract::effect::Effect;
use cmdop_contract::path::{PathPattern, escape, is_beneath};
use cmdop_contract::reason;
use cmdop_contract::target::Target;
use cmdop_contract::v1::{EffectKind, PermittedEffect, Reason};
use rustix::fs::OFlags;

use super::plan::KERNEL;
use crate::Error;
use crate::fixture::elsewhere::further;
use crate::fixture::mounts;
use crate::native::beneath::Root;

/// Neighbours that are sealed at most: each costs a mount at every start.
const MAX_SEALS: usize = 256;
/// Directories that are looked through at most.
const MAX_DIRECTORIES: usize = 256;

/// A directory, or a single file, that is bound writable.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Opening {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    /// Names in it that stay read-only.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) seals: Vec<Vec<u8>>,
    /// False if it lies in another opening and is writable already.
    #[prost(bool, tag = "3")]
    pub(crate) bound: bool,
    /// Kinds of the effects that are permitted in it.
    #[prost(int32, repeated, tag = "4")]
    pub(crate) kinds: Vec<i32>,
}

/// A permitted change of files.
struct Region {
    kind: EffectKind,
    pattern: PathPattern,
    /// What it may touch: deletes and renames take whole trees.
    reach: PathPattern,
}

/// Derives what is opened from the changes of files that a permit carries.
///
/// # Errors
/// `DIRECT_UNAVAILABLE` if nothing narrow enough can be opened: too many neighbours, a mount or the
/// host's own state within, a path through a link.
pub(crate) fn openings(permitted: &[PermittedEffect], hidden: &[PathBuf]) -> Result<Vec<Opening>, Error> {
    let regions: Vec<Region> = permitted.iter().filter_map(Region::of).collect();
    let mut starts = BTreeMap::new();
    for region in &regions {
        for start in region.starts()? {
            starts.entry(start).or_insert_with(Vec::new).push(region);
        }
    }
    let mut walk = Walk { regions: &regions, openings: BTreeMap::new(), whole: Vec::new(), seals: 0 };
    for (start, causes) in starts {
        walk.open(start, &causes)?;
    }
    let openings: Vec<Opening> = walk.openings.into_values().collect();
    check(&openings, hidden)?;
    Ok(openings)
}

impl Region {
    fn of(effect: &PermittedEffect) -> Option<Self> {
        use EffectKind as K;
        let kind = effect.kind();
        let changes = [K::FileCreate, K::FileModify, K::FileDelete, K::FileRename, K::FileChmod, K::FileChown];
        if !changes.contains(&kind) {
            return None;
        }
        let Target::Path(pattern) = Effect::try_from(effect).ok()?.target else { return None };
        let takes_trees = matches!(kind, K::FileDelete | K::FileRename);
        let reach = if takes_trees { pattern.tree() } else { pattern.clone() };
        Some(Self { kind, pattern, reach })
    }

    /// Directories, or single files, that must be writable for it. None if what would have to be is
    /// not there: then another effect makes it, or the command fails.
    fn starts(&self) -> Result<Vec<Vec<u8>>, Error> {
        use EffectKind as K;
        let root = self.pattern.literal_root();
        if KERNEL.iter().any(|kernel| is_beneath(root, kernel.as_bytes())) {
            return Ok(Vec::new());
        }
        let found = path(root).symlink_metadata().ok();
        let is_directory = found.as_ref().is_some_and(fs::Metadata::is_dir);
        if !self.pattern.is_literal() && found.as_ref().is_some_and(fs::Metadata::is_symlink) {
            return Err(through_link(root));
        }
        let mut starts = Vec::new();
        let attributes_only = matches!(self.kind, K::FileChmod | K::FileChown);
        if (attributes_only && found.is_some()) || (is_directory && !self.pattern.is_literal()) {
            starts.push(root.to_vec());
        }
        let takes_root = matches!(self.kind, K::FileDelete | K::FileRename) || !is_directory;
        if !attributes_only && takes_root && self.pattern.covers(root) {
            let parent = parent(root);
            if path(parent).is_dir() {
                starts.push(parent.to_vec());
            }
        }
        for start in &starts {
            real(start)?;
        }
        Ok(starts)
    }
}

/// Looks through the directories that hold permitted paths.
struct Walk<'a> {
    regions: &'a [Region],
    openings: BTreeMap<Vec<u8>, Opening>,
    /// Trees that are open from their top.
    whole: Vec<Vec<u8>>,
    seals: usize,
}

impl Walk<'_> {
    fn open(&mut self, start: Vec<u8>, causes: &[&Region]) -> Result<(), Error> {
        if self.openings.contains_key(&start) || self.whole.iter().any(|tree| is_beneath(&start, tree)) {
            return Ok(());
        }
        let before = (self.openings.clone(), self.whole.clone(), self.seals);
        let Err(error) = self.directories(start) else { return Ok(()) };
        (self.openings, self.whole, self.seals) = before;
        // A file alone can be written in place, though not replaced.
        for region in causes {
            let file = region.pattern.literal_root();
            let in_place = region.kind == EffectKind::FileModify && region.pattern.is_literal();
            if !in_place || !path(file).symlink_metadata().is_ok_and(|found| found.is_file()) {
                return Err(error);
            }
            self.note(file.to_vec(), Vec::new(), true);
        }
        Ok(())
    }

    fn directories(&mut self, start: Vec<u8>) -> Result<(), Error> {
        let mut waiting = vec![start.clone()];
        while let Some(directory) = waiting.pop() {
            let tree = PathPattern::literal(&directory).tree();
            let bound = directory == start;
            if self.is_whole(&tree) || !path(&directory).symlink_metadata().is_ok_and(|found| found.is_dir()) {
                self.note(directory.clone(), Vec::new(), bound);
                self.whole.push(directory);
                continue;
            }
            let entries = fs::read_dir(path(&directory)).map_err(Error::io(format!("list {}", show(&directory))))?;
            let mut seals = Vec::new();
            for entry in entries {
                let entry = entry.map_err(Error::io(format!("list {}", show(&directory))))?;
                let child = entry.path().as_os_str().as_bytes().to_vec();
                let tree = PathPattern::literal(&child).tree();
                if !self.regions.iter().any(|region| region.reach.overlaps(&tree)) {
                    self.seals += 1;
                    seals.push(entry.file_name().as_bytes().to_vec());
                } else if entry.file_type().is_ok_and(|found| found.is_dir()) {
                    waiting.push(child);
                }
                if self.seals > MAX_SEALS || waiting.len() > MAX_DIRECTORIES {
                    return Err(too_many(&directory));
                }
            }
            self.note(directory, seals, bound);
            if self.openings.len() > MAX_DIRECTORIES {
                return Err(too_many(&start));
            }
        }
        Ok(())
    }

    fn is_whole(&self, tree: &PathPattern) -> bool {
        self.regions.iter().any(|region| region.reach.covers_pattern(tree))
    }

    fn note(&mut self, path: Vec<u8>, mut seals: Vec<Vec<u8>>, bound: bool) {
        seals.sort();
        let tree = PathPattern::literal(&path).tree();
        let kinds: BTreeSet<i32> = self
            .regions
            .iter()
            .filter(|region| region.reach.overlaps(&tree))
            .map(|region| region.kind.into())
            .collect();
        // An opening within one that was made before is writable already.
        let bound = bound && !self.openings.keys().any(|open| is_beneath(&path, open) && *open != path);
        let kinds = kinds.into_iter().collect();
        self.openings.insert(path.clone(), Opening { path, seals, bound, kinds });
    }
}

/// Refuses openings that hold what nobody may touch.
fn check(openings: &[Opening], hidden: &[PathBuf]) -> Result<(), Error> {
    let sealed = |place: &[u8]| {
        openings.iter().any(|open| open.seals.iter().any(|name| is_beneath(place, &child(&open.path, name))))
    };
    let mounts = mounts::visible()?;
    for open in openings.iter().filter(|open| open.bound) {
        if open.path == b"/" {
            return Err(unavailable(
                "the permit needs an entry of `/` to be changed, which would open the whole machine",
            ));
        }
        for hidden in hidden {
            let hidden = hidden.as_os_str().as_bytes();
            if is_beneath(&open.path, hidden) || (is_beneath(hidden, &open.path) && !sealed(hidden)) {
                return Err(unavailable("the permit reaches into the host's own state"));
            }
        }
        let within = |mount: &&mounts::Mount| {
            let mount = mount.path.as_os_str().as_bytes();
            mount != open.path && is_beneath(mount, &open.path) && !sealed(mount)
        };
        if let Some(mount) = mounts.iter().find(within) {
            return Err(unavailable(&format!("another file system is mounted at {} within it", mount.path.display())));
        }
        let twice = further(path(&open.path), &mounts);
        if let Some((place, name)) = twice.iter().find(|(place, _)| !sealed(place.as_os_str().as_bytes())) {
            let (place, name) = (place.display(), name.display());
            return Err(unavailable(&format!("{place} is mounted at {name}, too, where the same would change")));
        }
    }
    Ok(())
}

/// What policy decided about a path holds only for the path itself, not for where a link leads.
fn real(place: &[u8]) -> Result<(), Error> {
    let opened = Root::machine()?.open(place, OFlags::PATH | OFlags::NOFOLLOW);
    opened.map(drop).map_err(|_| through_link(place))
}

fn through_link(place: &[u8]) -> Error {
    unavailable(&format!("{} is or leads through a symbolic link", show(place)))
}

/// `DIRECT_UNAVAILABLE`: nothing ran, and a preview can do what direct mode cannot.
pub(crate) fn unavailable(why: &str) -> Error {
    let message = format!("the command cannot run confined to its permit: {why}; nothing ran");
    Error::Typed(Box::new(reason::error(Reason::DirectUnavailable, message)))
}

fn too_many(directory: &[u8]) -> Error {
    unavailable(&format!("{} holds too many entries that the permit does not name", show(directory)))
}

pub(crate) fn child(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory == b"/" { b"" } else { b"/" };
    [directory, slash, name].concat()
}

fn parent(place: &[u8]) -> &[u8] {
    match place.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => b"/",
        Some(at) => &place[..at],
    }
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn show(place: &[u8]) -> String {
    escape(place)
}
