//! Files of the machine that have several names: what changes by one changes by all.
//!
//! The overlay copies such a file once, whatever name it was changed by, and shows the copy under every
//! name that the layer leaves alone (overlayfs.rst, "Index"). So all names must be known: those in the
//! layer by its inode, those of the machine by a search. Where one is not found, or is where directories
//! move, the layer is not committed.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, Unobserved};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::handle::{Handle, handle_of, origin};
use super::pairs::Names;
use super::upper::{is_opaque, looked, redirected, shallow};
use super::{Kind, Walk};
use crate::Error;
use crate::journal::Journals;
use crate::journal::stamp::Extent;
use crate::native::beneath::Root;
use crate::native::walk::{Next, Seen, Visitor, walk};
use crate::sandbox::Own;

/// Why a name of an equal file is not committed as one of another.
const EQUAL: &str = "a file with several names that takes the place of an equal one";

/// Entries that are looked at for names of all files together.
const MAX_LOOKED_AT: u64 = 300_000;

/// A file with several names of which the layer has a copy.
struct File {
    /// The copy's names in the layer.
    copy: Names,
    /// One of its names on the machine.
    known: PathBuf,
    before: fs::Metadata,
}

/// What stands at a name of the machine in the command's view.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// The file of that name, or its copy.
    File,
    /// The layer has something of its own there, or hides it.
    Other,
}

impl Walk<'_> {
    /// Takes out of the names of the layer those of files that have several on the machine, and says what
    /// changes by each. What the layer no longer has a name for is read from its index.
    pub(super) fn alias(&mut self, orphans: Vec<Names>) -> Result<(), Error> {
        let known = self.copied.iter().chain(&self.gone);
        let known: Vec<(Handle, PathBuf)> = known.filter_map(|path| Some((handle_of(path)?, path.clone()))).collect();
        let mut files = Vec::new();
        let in_layer = std::mem::take(&mut self.links);
        for (inode, copy) in in_layer
            .into_iter()
            .map(|(inode, copy)| (Some(inode), copy))
            .chain(orphans.into_iter().map(|copy| (None, copy)))
        {
            match (file_of(self.own, &copy, &known)?, inode) {
                (Some((known, before)), _) => files.push(File { copy, known, before }),
                (None, Some(inode)) => drop(self.links.insert(inode, copy)),
                (None, None) => self.unsupported.push(format!(
                    "{}: a file changed by one of its names that is gone since (hard links)",
                    copy.top.display()
                )),
            }
        }
        let names = self.names_of(&files)?;
        for file in files {
            let inode = (file.before.dev(), file.before.ino());
            let found = names.get(&inode).map(Vec::as_slice).unwrap_or_default();
            if let Err(why) = self.change_all(&file, found)? {
                self.unsupported.push(format!("{}: {why} (hard links)", file.known.display()));
            }
        }
        Ok(())
    }

    /// Every name that the files have on the machine, as far as the search comes.
    fn names_of(&self, files: &[File]) -> Result<BTreeMap<(u64, u64), Vec<PathBuf>>, Error> {
        let mut search = Search { journals: self.journals, wanted: BTreeMap::new(), looked_at: 0 };
        for file in files {
            let names = self.names_on_machine(&file.before)?;
            search.wanted.insert((file.before.dev(), file.before.ino()), (names, Vec::new()));
        }
        let above = |path: &Path, top: &Path| path.parent().filter(|above| above.starts_with(top)).map(Path::to_owned);
        let mut places: Vec<(PathBuf, &File)> =
            files.iter().filter_map(|file| Some((above(&file.known, &file.copy.top)?, file))).collect();
        // From where a name is known to ever wider trees.
        while !places.is_empty() && search.looked_at < MAX_LOOKED_AT {
            let mut tops: Vec<&PathBuf> = places.iter().map(|(place, _)| place).collect();
            tops.sort();
            tops.dedup_by(|beneath, above| beneath.starts_with(&**above));
            for top in tops {
                search.look(&self.root, top)?;
            }
            let next = places.into_iter().filter(|(_, file)| !search.is_complete(&file.before));
            places = next.filter_map(|(place, file)| Some((above(&place, &file.copy.top)?, file))).collect();
        }
        Ok(search.wanted.into_iter().map(|(inode, (_, names))| (inode, names)).collect())
    }

    /// Says what becomes of a file by all its names; or why nobody can.
    fn change_all(&mut self, file: &File, names: &[PathBuf]) -> Result<Result<(), &'static str>, Error> {
        let File { copy, known, before } = file;
        if names.len() as u64 != self.names_on_machine(before)? {
            return Ok(Err("a file with several names that were not all found"));
        }
        if names.iter().any(|name| self.masked.contains(name)) {
            return Ok(Err("a file with several names that is masked"));
        }
        if names.iter().any(|name| self.moved.iter().any(|moved| name.starts_with(moved))) {
            return Ok(Err("a file with several names where directories move"));
        }
        let doing = || Error::io(format!("measure {}", copy.upper.display()));
        let after = copy.upper.symlink_metadata().map_err(doing())?;
        // The index is a name, too.
        if copy.places.len() as u64 + 1 != after.nlink() {
            return Ok(Err("a file with names elsewhere"));
        }
        let is_old = |place: &Path, was: &Option<PathBuf>| {
            was.as_deref() == Some(place) && names.iter().any(|name| name == place)
        };
        let (olds, news): (Vec<_>, Vec<_>) = copy.places.iter().partition(|(place, was)| is_old(place, was));
        let mut stay: Vec<PathBuf> = olds.into_iter().map(|(place, _)| place.clone()).collect();
        let mut untouched = Vec::new();
        for name in names.iter().filter(|name| !copy.places.iter().any(|(place, _)| place == *name)) {
            if shown(self.own, (&copy.layer, &copy.top), name)? == Shown::File {
                untouched.push(name.clone());
            }
        }
        let (old, new) = self.states((known, before), (&copy.upper, &after), known)?;
        let is_moved_away = stay.len() + untouched.len() < names.len();
        let is_rewritten = old.sha256 != new.sha256 || old.link_target != new.link_target || old.size != new.size;
        if is_rewritten || old != new {
            for name in &untouched {
                self.changed(&copy.upper, &after, name, name, before, false)?;
            }
            stay.append(&mut untouched);
            if !is_rewritten && !news.is_empty() {
                self.place_instead(&copy.upper, &stay)?;
            }
            return self.join_new((&copy.upper, known), &stay, &news);
        }
        stay.append(&mut untouched);
        let mtime = |it: &fs::Metadata| (it.mtime(), it.mtime_nsec());
        // A time that moved besides is none that a rename would bring along.
        let gone = if mtime(before) == mtime(&after) { names } else { &[] };
        let news = self.move_names(gone, &news, &old, &new)?;
        match (news.is_empty(), stay.first()) {
            (true, _) => Ok(Ok(())),
            (false, Some(other)) if !is_moved_away => self.add_names(&copy.upper, other, &news),
            (false, _) => Ok(Err("a file that gets a further name and changes besides")),
        }
    }

    /// A new inode for all names, where only attributes differ and there are further ones.
    fn place_instead(&mut self, upper: &Path, names: &[PathBuf]) -> Result<(), Error> {
        for name in names {
            let path = name.as_os_str().as_bytes();
            self.changes.retain(|change| change.path != path || change.kind() != Kind::Attributes);
            self.keep_notes(name)?;
            self.step(Kind::Place, name, Some(name), upper)?;
        }
        Ok(())
    }

    /// New names of what comes anew: everything that is placed is staged once.
    fn join_new(
        &mut self,
        (upper, known): (&Path, &Path),
        stay: &[PathBuf],
        news: &[&(PathBuf, Option<PathBuf>)],
    ) -> Result<Result<(), &'static str>, Error> {
        for (place, _) in news {
            let path = place.as_os_str().as_bytes();
            if !self.changes.iter().any(|change| change.path == path && change.kind() == Kind::Place) {
                self.say_replaced(place, upper, Some(known))?;
                return Ok(Err(EQUAL));
            }
        }
        let mut all = stay.iter().chain(news.iter().map(|(place, _)| place));
        let Some(first) = all.next() else { return Ok(Ok(())) };
        let news: Vec<&PathBuf> = news.iter().map(|(place, _)| place).filter(|place| *place != first).collect();
        news.into_iter().for_each(|place| self.say_linked(place, first));
        Ok(Ok(()))
    }

    /// Pairs names that went with new ones where nothing stood; the rest of the new ones.
    fn move_names<'n>(
        &mut self,
        names: &[PathBuf],
        news: &[&'n (PathBuf, Option<PathBuf>)],
        old: &FileState,
        new: &FileState,
    ) -> Result<Vec<&'n PathBuf>, Error> {
        let mut rest = Vec::new();
        for (place, was) in news {
            let went = self.gone.iter().find(|path| names.contains(path)).cloned();
            let Some(from) = went.filter(|_| was.is_none()) else {
                rest.push(place);
                continue;
            };
            self.gone.retain(|path| *path != from);
            self.renamed_file(place, &from, old, new)?;
        }
        Ok(rest)
    }

    /// Further names of a file that stays as it is.
    fn add_names(&mut self, upper: &Path, other: &Path, news: &[&PathBuf]) -> Result<Result<(), &'static str>, Error> {
        let standing = self.standing(other, Extent::Itself)?;
        for place in news {
            let path = place.as_os_str().as_bytes();
            let Some(change) = self.changes.iter_mut().find(|it| it.path == path && it.kind() == Kind::Place) else {
                self.say_replaced(place, upper, Some(other))?;
                return Ok(Err(EQUAL));
            };
            change.linked = other.as_os_str().as_bytes().to_vec();
            change.linked_standing = Some(standing.clone());
            self.say_linked(place, other);
        }
        Ok(Ok(()))
    }

    /// A name that shows what it showed, and is another's now: a change, though no state differs.
    pub(super) fn say_replaced(&mut self, place: &Path, upper: &Path, other: Option<&Path>) -> Result<(), Error> {
        let doing = || Error::io(format!("measure {}", place.display()));
        let now = Some(shallow(&upper.symlink_metadata().map_err(doing())?));
        let linked = other.map(|other| escape(other.as_os_str().as_bytes())).unwrap_or_default();
        let change = FileChange { before: now.clone(), after: now, linked, ..FileChange::default() };
        self.note(EffectKind::FileModify, place, 1, 0, change);
        Ok(())
    }

    fn say_linked(&mut self, place: &Path, other: &Path) {
        let (target, other) = (escape(place.as_os_str().as_bytes()), escape(other.as_os_str().as_bytes()));
        for file in self.effects.iter_mut().filter(|it| it.target == target).filter_map(|it| it.file.as_mut()) {
            file.linked.clone_from(&other);
        }
    }

    /// Of what goes from a layer without an index: names of files that stay elsewhere. Had the command
    /// changed one before it removed its name, those would have changed with it, and do not show it.
    pub(super) fn doubt_gone(&mut self, gone: &[PathBuf]) -> Result<(), Error> {
        let mut count = Count::default();
        for path in gone {
            let Some(found) = looked(path)? else { continue };
            if found.is_dir() {
                let top = self.root.open(path.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                walk(top, path.as_os_str().as_bytes(), &mut count)?;
            } else if found.nlink() > 1 {
                count.add((found.dev(), found.ino()), found.nlink(), path.as_os_str().as_bytes());
            }
        }
        if count.names.values().all(|(nlink, seen, _)| seen >= nlink) {
            return Ok(());
        }
        let kept = self.journals.kept()?;
        let others = count.names.into_iter();
        let mut others = others
            .filter(|((dev, ino), (nlink, seen, _))| seen + kept.of(*dev, *ino) < *nlink)
            .map(|(_, counted)| counted);
        if let Some((_, _, path)) = others.next() {
            let more = others.count();
            let why = format!(
                "`{}`{} goes and has further names; whether the command wrote it before, which would change those, a \
                 private copy without an index does not show",
                escape(&path),
                if more > 0 { format!(" and {more} more files") } else { String::new() }
            );
            self.unobserved.push(Unobserved { kind: EffectKind::FileModify.into(), why });
        }
        Ok(())
    }
}

/// A name of the machine that is of the file from which the layer's was copied, if that has several.
fn file_of(own: Own, copy: &Names, known: &[(Handle, PathBuf)]) -> Result<Option<(PathBuf, fs::Metadata)>, Error> {
    let Some(handle) = origin(own, &copy.upper)? else { return Ok(None) };
    let Some((_, known)) = known.iter().find(|(found, _)| *found == handle) else { return Ok(None) };
    let before = looked(known)?.filter(|before| before.nlink() > 1);
    Ok(before.map(|before| (known.clone(), before)))
}

/// Does the view show the file of the machine at its own name, though the layer has none there?
fn shown(own: Own, (layer, top): (&Path, &Path), name: &Path) -> Result<Shown, Error> {
    let Ok(beneath) = name.strip_prefix(top) else { return Ok(Shown::Other) };
    let (mut upper, mut natural) = (layer.to_owned(), top.to_owned());
    // Does the machine's directory shine through here?
    let mut is_merged = true;
    for part in beneath.components() {
        upper.push(part);
        match upper.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_merged => return Ok(Shown::File),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Shown::Other),
            Err(error) => return Err(Error::io(format!("read the layer at {}", name.display()))(error)),
            Ok(found) if !found.is_dir() => return Ok(Shown::Other),
            Ok(_) => {
                // One that came back to where it was is merged wherever it was meanwhile.
                let is_back = redirected(own, &upper, &natural, top)?.map(|from| from == natural.join(part));
                is_merged = is_back.unwrap_or(is_merged) && !is_opaque(own, &upper)?;
            }
        }
        natural.push(part);
    }
    Ok(Shown::Other)
}

/// Files that a command changed by a name that is gone since: what no name of the layer leads to is what
/// the other names show.
///
/// # Errors
/// If the index cannot be read.
pub(super) fn orphans(work: &Path, layer: &Path, top: &Path) -> Result<Vec<Names>, Error> {
    let doing = || Error::io("read the index of the layer");
    let mut found = Vec::new();
    for entry in fs::read_dir(index(work)).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let metadata = entry.metadata().map_err(doing())?;
        // One whose names are all gone.
        let is_whiteout = metadata.file_type().is_char_device();
        if !metadata.is_dir() && metadata.nlink() == 1 && !is_whiteout {
            found.push(Names { upper: entry.path(), layer: layer.to_owned(), top: top.to_owned(), ..Names::default() });
        }
    }
    Ok(found)
}

/// Where the overlay keeps a name for each copy of a file with several; it is there if it does.
pub(super) fn index(work: &Path) -> PathBuf {
    work.join("index")
}

struct Search<'a> {
    /// What lies in these is no name that a command could change.
    journals: &'a Journals,
    /// By device and inode: how many names it has, and those that were found.
    wanted: BTreeMap<(u64, u64), (u64, Vec<PathBuf>)>,
    looked_at: u64,
}

impl Search<'_> {
    fn is_complete(&self, file: &fs::Metadata) -> bool {
        self.wanted.get(&(file.dev(), file.ino())).is_some_and(|(nlink, names)| names.len() as u64 >= *nlink)
    }

    /// Looks through one tree.
    fn look(&mut self, root: &Root, top: &Path) -> Result<(), Error> {
        let path = top.as_os_str().as_bytes();
        let Ok(open) = root.open(path, OFlags::RDONLY | OFlags::DIRECTORY) else { return Ok(()) };
        let open: OwnedFd = open;
        walk(open, path, self)
    }
}

impl Visitor for Search<'_> {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        self.looked_at += 1;
        if self.looked_at > MAX_LOOKED_AT {
            return Ok(Next::Stop);
        }
        if self.journals.holds(Path::new(std::ffi::OsStr::from_bytes(seen.path))) {
            return Ok(Next::Skip);
        }
        if seen.stamp.nlink > 1
            && seen.stamp.file_type() != FileType::Directory
            && let Some((_, names)) = self.wanted.get_mut(&(seen.stamp.dev, seen.stamp.ino))
        {
            let name = PathBuf::from(std::ffi::OsStr::from_bytes(seen.path));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Next::Enter)
    }

    /// What lies there is not found, and the file then is not complete.
    fn cannot_enter(&mut self, _path: &[u8], _errno: Errno) -> Result<(), Error> {
        Ok(())
    }
}

/// Names of files with several that were counted: how many each has, how many were, and one of them.
#[derive(Default)]
struct Count {
    names: BTreeMap<(u64, u64), (u64, u64, Vec<u8>)>,
}

impl Count {
    fn add(&mut self, inode: (u64, u64), nlink: u64, path: &[u8]) {
        self.names.entry(inode).or_insert_with(|| (nlink, 0, path.to_vec())).1 += 1;
    }
}

impl Visitor for Count {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        if seen.stamp.nlink > 1 && seen.stamp.file_type() != FileType::Directory {
            self.add((seen.stamp.dev, seen.stamp.ino), seen.stamp.nlink, seen.path);
        }
        Ok(Next::Enter)
    }
}
