//! Which files of the machine a permit hides from its command.
//!
//! A permit says it by classes, which are patterns, and a view hides files, which have names. So the
//! names are looked for where secrets lie: at the fixed places of the classes, in `/etc`, in homes, in
//! the host's workspaces and around the command's directory. What lies elsewhere is not found, and a
//! look that had to stop says so.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use cmdop_contract::effect::{Base, Target};
use cmdop_contract::path::{PathPattern, escape};
use cmdop_contract::v1::{self, EffectKind, Observation, Unobserved};
use cmdop_policy::classes::{Class, MASKABLE, fixed_places, is_of};

/// Entries that are looked at beneath one place.
const MAX_ENTRIES: usize = 200_000;
/// Files that are hidden one by one.
const MAX_MASKED: usize = 20_000;
/// Paths that are listed in a report.
const MAX_LISTED: usize = 64;

/// Levels that are looked through: wholly in workspaces, less deep where people keep much.
const WHOLLY: usize = 128;
const IN_ETC: usize = 6;
const IN_HOMES: usize = 4;
const AROUND: usize = 6;
/// Of a directory that holds others' homes and systems.
const AT_TOP: usize = 2;

/// Certificates of authorities, which are there for everybody to read.
const PUBLIC: [&str; 3] = ["/etc/ssl/certs", "/etc/pki", "/etc/ca-certificates"];

/// What a permit masks.
#[derive(Debug, Clone, Default)]
pub struct Masks {
    classes: Vec<Class>,
    shown: Vec<PathPattern>,
}

/// The files that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masked {
    /// Each by the path that leads through no link, sorted.
    pub paths: Vec<Vec<u8>>,
    /// Where the look had to stop.
    pub unseen: Vec<String>,
}

impl Masks {
    /// Reads what a permit says.
    ///
    /// # Errors
    /// What of it this host does not know.
    pub(crate) fn read(masks: Option<&v1::Masks>) -> Result<Self, String> {
        let Some(masks) = masks else { return Ok(Self::default()) };
        let class = |name: &String| {
            let known = Class::parse(name).filter(|class| MASKABLE.contains(class));
            known.ok_or_else(|| format!("it masks the class `{name}`, which this host does not know"))
        };
        let region = |text: &String| match Target::parse(EffectKind::FileRead, text, &Base::default()) {
            Ok(Target::Path(region)) => Ok(region),
            _ => Err(format!("it shows `{text}`, which is no region of files")),
        };
        Ok(Self {
            classes: masks.classes.iter().map(class).collect::<Result<_, _>>()?,
            shown: masks.shown.iter().map(region).collect::<Result<_, _>>()?,
        })
    }

    /// Finds the files. `hidden` directories are hidden anyhow; `workspaces` and `home` are the host's.
    pub(crate) fn find(&self, places: &[PathBuf], cwd: &Path, home: &Path, hidden: &[PathBuf]) -> Masked {
        if self.classes.is_empty() {
            return Masked::default();
        }
        let mut search = Search { masks: self, hidden, paths: BTreeSet::new(), linked: HashMap::new(), unseen: vec![] };
        let roots = self.roots(places, cwd, home);
        for (root, levels) in &roots {
            search.look(root, *levels);
        }
        search.further_names(&roots);
        Masked { paths: search.paths.into_iter().collect(), unseen: search.unseen }
    }

    /// Where to look, and how many levels deep. A place within one that is looked through wholly is left out.
    fn roots(&self, places: &[PathBuf], cwd: &Path, home: &Path) -> Vec<(PathBuf, usize)> {
        let fixed = fixed_places(&self.classes).into_iter().map(|place| (path(place).to_owned(), WHOLLY));
        let homes = fs::read_dir("/home").into_iter().flatten().flatten().map(|entry| entry.path());
        let homes = homes.chain(["/root".into(), home.to_owned()]).map(|home| (home, IN_HOMES));
        let workspaces = places.iter().map(|place| (place.clone(), WHOLLY));
        let around = [(cwd.to_owned(), AROUND), ("/etc".into(), IN_ETC)];
        let all = workspaces.chain(fixed).chain(around).chain(homes);
        let mut roots: Vec<(PathBuf, usize)> = Vec::new();
        for (root, levels) in all.filter_map(|(root, levels)| Some((fs::canonicalize(root).ok()?, levels))) {
            let is_top = root.components().count() <= 2 && levels != IN_ETC && root != Path::new("/root");
            let levels = if is_top && levels != WHOLLY { AT_TOP } else { levels };
            let is_known = |(known, depth): &(PathBuf, usize)| {
                (*depth == WHOLLY && root.starts_with(known)) || (*known == root && *depth >= levels)
            };
            if !roots.iter().any(is_known) {
                roots.push((root, levels));
            }
        }
        roots
    }

    fn hides(&self, path: &[u8]) -> bool {
        is_of(path, &self.classes) && !self.shown.iter().any(|region| region.covers(path))
    }
}

impl Masked {
    /// Adds to a report what the command could not see, and what nobody knows whether it could.
    pub(crate) fn tell(&self, observation: &mut Observation) {
        observation.masked = self.paths.iter().take(MAX_LISTED).map(|path| escape(path)).collect();
        observation.masked_count = self.paths.len() as u64;
        let unseen = self.unseen.iter().cloned();
        observation.unobserved.extend(unseen.map(|why| Unobserved { kind: EffectKind::FileRead.into(), why }));
    }
}

struct Search<'a> {
    masks: &'a Masks,
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

impl Search<'_> {
    fn look(&mut self, root: &Path, levels: usize) {
        let Ok(found) = root.symlink_metadata() else { return };
        let is_masked = self.masks.hides(root.as_os_str().as_bytes());
        if !found.is_dir() {
            if is_masked {
                self.meet(root, Some(found));
            }
            return;
        }
        let mut waiting = VecDeque::from([Waiting { path: root.to_owned(), levels, is_masked }]);
        let mut left = MAX_ENTRIES;
        while let Some(directory) = waiting.pop_front() {
            if self.is_left_out(&directory.path) {
                continue;
            }
            // Who may not list it cannot be shown what lies in it, unless by name: then it is hidden whole.
            let Ok(entries) = fs::read_dir(&directory.path) else {
                if directory.is_masked {
                    self.paths.insert(bytes(&directory.path));
                }
                continue;
            };
            for entry in entries.flatten() {
                if left == 0 || self.paths.len() >= MAX_MASKED {
                    return self.stop(root, directory, waiting);
                }
                left -= 1;
                let place = entry.path();
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let is_masked = self.masks.hides(place.as_os_str().as_bytes());
                if !is_directory && is_masked {
                    self.meet(&place, entry.metadata().ok());
                } else if is_directory && (directory.levels > 1 || is_masked) {
                    let levels = directory.levels.saturating_sub(1);
                    waiting.push_back(Waiting { path: place, levels, is_masked });
                }
            }
        }
    }

    fn meet(&mut self, place: &Path, found: Option<fs::Metadata>) {
        if let Some(found) = found.filter(|found| found.is_file() && found.nlink() > 1) {
            self.linked.insert((found.dev(), found.ino()), (found.nlink(), bytes(place)));
        }
        self.paths.insert(bytes(place));
    }

    fn is_left_out(&self, directory: &Path) -> bool {
        let kernel = ["/proc", "/sys", "/dev"];
        PUBLIC.iter().chain(&kernel).any(|public| directory == Path::new(public))
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
        let linked = std::mem::take(&mut self.linked);
        let mut names: HashMap<(u64, u64), BTreeSet<Vec<u8>>> = HashMap::new();
        for (root, levels) in roots {
            let mut waiting = VecDeque::from([(root.clone(), *levels)]);
            let mut left = MAX_ENTRIES;
            while let Some((directory, levels)) = waiting.pop_front() {
                if self.is_left_out(&directory) {
                    continue;
                }
                for entry in fs::read_dir(&directory).into_iter().flatten().flatten().take(left) {
                    left -= 1;
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        if levels > 1 {
                            waiting.push_back((entry.path(), levels - 1));
                        }
                    } else if linked.keys().any(|(_, ino)| *ino == entry.ino())
                        && let Ok(found) = entry.metadata()
                        && linked.contains_key(&(found.dev(), found.ino()))
                    {
                        names.entry((found.dev(), found.ino())).or_default().insert(bytes(&entry.path()));
                    }
                }
            }
        }
        for (file, (count, one)) in linked {
            let known = names.remove(&file).unwrap_or_default();
            if (known.len() as u64) < count {
                let one = escape(&one);
                self.unseen.push(format!("{one} has further names (hard links) that were not found and not hidden"));
            }
            // What the permit shows by one name it shows.
            self.paths.extend(known.into_iter().filter(|name| !self.masks.shown.iter().any(|it| it.covers(name))));
        }
        self.unseen.sort();
    }
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(masks: &v1::Masks, tree: &Path) -> (Vec<String>, Vec<String>) {
        let masks = Masks::read(Some(masks)).expect("known classes");
        let masked = masks.find(&[tree.to_owned()], Path::new("/"), tree, &[]);
        let within = masked.paths.iter().filter_map(|it| path(it).strip_prefix(tree).ok());
        (within.map(|it| it.to_string_lossy().into_owned()).collect(), masked.unseen)
    }

    fn secrets(shown: &[String]) -> v1::Masks {
        v1::Masks { classes: vec!["secrets".to_owned()], shown: shown.to_vec() }
    }

    #[test]
    fn secrets_are_found_with_their_further_names_and_without_what_is_shown() {
        let dir = tempfile::tempdir().expect("directory");
        let tree = fs::canonicalize(dir.path()).expect("a path").join("tree");
        for file in ["a/.env", "a/.ssh/id", "a/.ssh/deep/er", "a/main.rs", "b/.env", "b/c/x.pem", "b/plain"] {
            let place = tree.join(file);
            fs::create_dir_all(place.parent().expect("a parent")).expect("directories");
            fs::write(place, "1").expect("write");
        }
        fs::hard_link(tree.join("a/.env"), tree.join("b/c/other")).expect("link");
        fs::hard_link(tree.join("b/.env"), dir.path().join("outside")).expect("link");
        let (names, unseen) = found(&secrets(&[format!("{}/b/c/x.pem", tree.display())]), &tree);
        assert_eq!(names, ["a/.env", "a/.ssh/deep/er", "a/.ssh/id", "b/.env", "b/c/other"]);
        assert_eq!(unseen.len(), 1, "{unseen:?}");
        assert!(unseen[0].contains("b/.env has further names"), "{unseen:?}");
    }

    #[test]
    fn what_this_host_does_not_know_is_refused() {
        for (classes, shown) in
            [(vec!["secret"], vec![]), (vec!["system"], vec![]), (vec!["secrets"], vec!["relative"])]
        {
            let text = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            let masks = v1::Masks { classes: text(classes), shown: text(shown) };
            assert!(Masks::read(Some(&masks)).is_err(), "{masks:?}");
        }
    }
}
