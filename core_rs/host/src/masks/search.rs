//! Looking for files of classes beneath some places, remembering directories that stay as they are.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cmdop_contract::path::escape;
use cmdop_policy::classes::{Class, is_of};
use parking_lot::Mutex;

use super::{Masked, Masks, bytes};

/// Entries that are looked at beneath one place.
const MAX_ENTRIES: usize = 200_000;
/// Files that are hidden one by one.
const MAX_MASKED: usize = 20_000;
/// Directories that are remembered.
const MAX_REMEMBERED: usize = 50_000;
/// Times of directories lag behind the clock; one that changed just now may change again unnoticed.
const SETTLED: Duration = Duration::from_secs(2);

/// Certificates of authorities, which are there for everybody to read, and file systems of the kernel,
/// which a view makes anew.
const LEFT_OUT: [&str; 6] = ["/etc/ssl/certs", "/etc/pki", "/etc/ca-certificates", "/proc", "/sys", "/dev"];

/// What was found in directories, by the classes that were looked for.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    known: Mutex<HashMap<Vec<Class>, Listings>>,
}

type Listings = HashMap<PathBuf, Arc<Listing>>;

/// What matters of a directory.
#[derive(Debug)]
struct Listing {
    stamp: Stamp,
    entries: usize,
    /// With whether they are of the classes.
    directories: Vec<(OsString, bool)>,
    /// Of the classes.
    files: Vec<OsString>,
}

/// Device, inode, and the times of the last change of names and of anything.
type Stamp = (u64, u64, i64, i64, i64, i64);

impl Finder {
    /// None if the directory cannot be listed.
    fn list(&self, directory: &Path, classes: &[Class]) -> Option<Arc<Listing>> {
        let found = directory.symlink_metadata().ok()?;
        let stamp = (found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
        let known = self.known.lock().get(classes).and_then(|known| known.get(directory).cloned());
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return Some(known);
        }
        let mut listing = Listing { stamp, entries: 0, directories: Vec::new(), files: Vec::new() };
        let mut place = bytes(directory);
        if !place.ends_with(b"/") {
            place.push(b'/');
        }
        let above = place.len();
        for entry in fs::read_dir(directory).ok()?.flatten() {
            let name = entry.file_name();
            place.truncate(above);
            place.extend_from_slice(name.as_bytes());
            listing.entries += 1;
            let is_masked = is_of(&place, classes);
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                listing.directories.push((name, is_masked));
            } else if is_masked {
                listing.files.push(name);
            }
        }
        let listing = Arc::new(listing);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(found.ctime().max(found.mtime()).unsigned_abs() + 1);
        if changed + SETTLED < SystemTime::now() {
            let mut known = self.known.lock();
            let known = known.entry(classes.to_vec()).or_default();
            if known.len() >= MAX_REMEMBERED {
                known.clear();
            }
            known.insert(directory.to_owned(), listing.clone());
        }
        Some(listing)
    }
}

/// One look for what a permit masks.
pub(super) struct Search<'a> {
    masks: &'a Masks,
    finder: &'a Finder,
    hidden: &'a [PathBuf],
    paths: BTreeSet<Vec<u8>>,
    /// Masked files with several names: device and inode, with how many there are and one of them.
    linked: HashMap<(u64, u64), (u64, Vec<u8>)>,
    unseen: Vec<String>,
}

/// A directory that waits to be looked through.
struct Waiting {
    path: PathBuf,
    levels: usize,
    is_masked: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(masks: &'a Masks, finder: &'a Finder, hidden: &'a [PathBuf]) -> Self {
        let (paths, linked, unseen) = (BTreeSet::new(), HashMap::new(), Vec::new());
        Self { masks, finder, hidden, paths, linked, unseen }
    }

    /// Looks beneath each place, so many levels deep.
    pub(super) fn all(mut self, roots: &[(PathBuf, usize)]) -> Masked {
        for (root, levels) in roots {
            self.look(root, *levels);
        }
        self.further_names(roots);
        self.unseen.sort();
        Masked { paths: self.paths.into_iter().collect(), unseen: self.unseen }
    }

    fn look(&mut self, root: &Path, levels: usize) {
        let Ok(found) = root.symlink_metadata() else { return };
        let is_masked = is_of(root.as_os_str().as_bytes(), &self.masks.classes);
        if !found.is_dir() {
            if is_masked {
                self.meet(root);
            }
            return;
        }
        let mut waiting = VecDeque::from([Waiting { path: root.to_owned(), levels, is_masked }]);
        let mut left = MAX_ENTRIES;
        while let Some(directory) = waiting.pop_front() {
            if self.is_left_out(&directory.path) {
                continue;
            }
            let Some(listing) = self.finder.list(&directory.path, &self.masks.classes) else {
                // Who may not list it cannot tell what lies in it, so it is hidden whole.
                if directory.is_masked {
                    self.paths.insert(bytes(&directory.path));
                }
                continue;
            };
            if listing.entries > left || self.paths.len() > MAX_MASKED {
                return self.stop(root, directory, waiting);
            }
            left -= listing.entries;
            for name in &listing.files {
                self.meet(&directory.path.join(name));
            }
            for (name, is_masked) in &listing.directories {
                if directory.levels > 1 || *is_masked {
                    let (path, levels) = (directory.path.join(name), directory.levels.saturating_sub(1));
                    waiting.push_back(Waiting { path, levels, is_masked: *is_masked });
                }
            }
        }
    }

    /// A file of the classes.
    fn meet(&mut self, place: &Path) {
        if self.is_shown(place.as_os_str().as_bytes()) {
            return;
        }
        if let Some(found) = place.symlink_metadata().ok().filter(|found| found.is_file() && found.nlink() > 1) {
            self.linked.insert((found.dev(), found.ino()), (found.nlink(), bytes(place)));
        }
        self.paths.insert(bytes(place));
    }

    fn is_shown(&self, place: &[u8]) -> bool {
        self.masks.shown.iter().any(|region| region.covers(place))
    }

    fn is_left_out(&self, directory: &Path) -> bool {
        LEFT_OUT.iter().any(|left_out| directory == Path::new(left_out))
            || self.hidden.iter().any(|hidden| directory.starts_with(hidden))
    }

    /// Too much to look at: what is a secret as a whole is hidden as a whole.
    fn stop(&mut self, root: &Path, here: Waiting, waiting: VecDeque<Waiting>) {
        let masked = std::iter::once(here).chain(waiting).filter(|directory| directory.is_masked);
        self.paths.extend(masked.map(|directory| bytes(&directory.path)));
        self.unseen.push(format!(
            "{} holds more than can be looked through, so not every secret in it was hidden",
            escape(root.as_os_str().as_bytes())
        ));
    }

    /// A further name of a masked file shows the same content, whatever it is called.
    fn further_names(&mut self, roots: &[(PathBuf, usize)]) {
        if self.linked.is_empty() {
            return;
        }
        let mut names: HashMap<(u64, u64), BTreeSet<Vec<u8>>> = HashMap::new();
        for (root, levels) in roots {
            self.names_beneath(root, *levels, &mut names);
        }
        for (file, (count, one)) in std::mem::take(&mut self.linked) {
            let known = names.remove(&file).unwrap_or_default();
            if (known.len() as u64) < count {
                let one = escape(&one);
                self.unseen.push(format!("{one} has further names (hard links) that were not found and not hidden"));
            }
            let hidden: Vec<_> = known.into_iter().filter(|name| !self.is_shown(name)).collect();
            self.paths.extend(hidden);
        }
    }

    fn names_beneath(&self, root: &Path, levels: usize, names: &mut HashMap<(u64, u64), BTreeSet<Vec<u8>>>) {
        let inodes: BTreeSet<u64> = self.linked.keys().map(|(_, ino)| *ino).collect();
        let mut waiting = VecDeque::from([(root.to_owned(), levels)]);
        let mut left = MAX_ENTRIES;
        while let Some((directory, levels)) = waiting.pop_front() {
            if self.is_left_out(&directory) {
                continue;
            }
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten().take(left) {
                left -= 1;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let is_masked = || is_of(&bytes(&entry.path()), &self.masks.classes);
                    if levels > 1 || is_masked() {
                        waiting.push_back((entry.path(), levels.saturating_sub(1)));
                    }
                } else if inodes.contains(&entry.ino())
                    && let Ok(found) = entry.metadata()
                    && self.linked.contains_key(&(found.dev(), found.ino()))
                {
                    names.entry((found.dev(), found.ino())).or_default().insert(bytes(&entry.path()));
                }
            }
        }
    }
}
