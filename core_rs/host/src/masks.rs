//! Which files of the machine a permit hides from its command.
//!
//! A permit says it by classes, which are patterns, and a view hides files, which have names. So the
//! names are looked for where secrets lie: at the fixed places of the classes, in `/etc`, in homes, where
//! applications and data are kept, in the host's workspaces and around the command's directory. What
//! lies elsewhere or deeper is not found, and a look that had to stop says so.

mod named;
mod search;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cmdop_contract::effect::{Base, Target};
use cmdop_contract::path::{PathPattern, escape};
use cmdop_contract::v1::{self, EffectKind, Observation, Unobserved};
use cmdop_policy::classes::{Class, MASKABLE, fixed_places};

pub(crate) use search::Finder;
use search::Search;

use crate::fixture::{aliases, mounts};

/// Paths that are listed in a report.
const MAX_LISTED: usize = 64;

/// Levels that are looked through: wholly in workspaces, less deep where people keep much.
const WHOLLY: usize = 128;
const IN_ETC: usize = 6;
const IN_HOMES: usize = 4;
const AROUND: usize = 6;
/// Of a directory that holds others' homes and systems.
const AT_TOP: usize = 2;
/// Where applications and data are kept.
const IN_APPLICATIONS: usize = 4;

/// Directories of applications that do not lie at the top.
const APPLICATIONS: [&str; 3] = ["/var/www", "/var/lib", "/usr/local"];
/// Top-level directories of the system itself (Filesystem Hierarchy Standard 3.0) and those that are looked
/// through anyhow; every other one holds somebody's applications or data.
const OF_THE_SYSTEM: [&str; 14] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lost+found",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
];

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
    pub(crate) fn find(
        &self,
        finder: &Finder,
        workspaces: &[PathBuf],
        cwd: &Path,
        home: &Path,
        hidden: &[PathBuf],
    ) -> Masked {
        if self.classes.is_empty() {
            return Masked::default();
        }
        let mut found = Search::new(self, finder, hidden).all(&self.roots(workspaces, cwd, home));
        match mounts::visible() {
            Ok(mounts) => aliases::add_names(&mut found.paths, &mounts),
            Err(error) => {
                found.unseen.push(format!("nobody knows what other mounts show of the files that are hidden: {error}"))
            }
        }
        found
    }

    /// Where to look, and how many levels deep. A place within one that is looked through wholly is left out.
    fn roots(&self, workspaces: &[PathBuf], cwd: &Path, home: &Path) -> Vec<(PathBuf, usize)> {
        // Beneath the root of a system there is too much of everything.
        let is_top = |place: &Path| place.components().count() <= 2 && place != Path::new("/root");
        let within = |place: &Path, levels: usize| if is_top(place) { AT_TOP } else { levels };
        let real = |place: &Path| fs::canonicalize(place).ok();
        let fixed = fixed_places(&self.classes).into_iter().map(path);
        let wholly = workspaces.iter().map(PathBuf::as_path).chain(fixed).filter_map(real).map(|it| (it, WHOLLY));
        let homes = fs::read_dir("/home").into_iter().flatten().flatten().map(|entry| entry.path());
        let homes = homes.chain(["/root".into(), home.to_owned()]).filter_map(|it| real(&it));
        let homes = homes.map(|home| (within(&home, IN_HOMES), home)).map(|(levels, home)| (home, levels));
        let around = real(cwd).map(|cwd| (within(&cwd, AROUND), cwd)).map(|(levels, cwd)| (cwd, levels));
        let etc = (PathBuf::from("/etc"), IN_ETC);
        let applications = applications().filter_map(|it| real(&it)).map(|it| (it, IN_APPLICATIONS));
        let mut roots: Vec<(PathBuf, usize)> = Vec::new();
        for (root, levels) in wholly.chain([etc]).chain(around).chain(homes).chain(applications) {
            let is_known = |(known, depth): &(PathBuf, usize)| {
                (*depth == WHOLLY && root.starts_with(known)) || (*known == root && *depth >= levels)
            };
            if !roots.iter().any(is_known) {
                roots.push((root, levels));
            }
        }
        roots
    }
}

fn applications() -> impl Iterator<Item = PathBuf> {
    let at_top = fs::read_dir("/").into_iter().flatten().flatten().filter_map(|entry| {
        let is_tree = entry.file_type().is_ok_and(|kind| kind.is_dir());
        Some(entry.path()).filter(|place| is_tree && !is_of_the_system(place))
    });
    at_top.chain(APPLICATIONS.map(PathBuf::from))
}

fn is_of_the_system(place: &Path) -> bool {
    let is_library = place.as_os_str().as_bytes().starts_with(b"/lib");
    is_library || OF_THE_SYSTEM.iter().any(|known| Path::new(known) == place)
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
        let masked = masks.find(&Finder::default(), &[tree.to_owned()], Path::new("/"), tree, &[]);
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

    #[test]
    fn what_was_looked_through_before_is_looked_at_again_where_it_changed() {
        let dir = tempfile::tempdir().expect("directory");
        let tree = fs::canonicalize(dir.path()).expect("a path");
        let finder = Finder::default();
        let masks = Masks::read(Some(&secrets(&[]))).expect("known classes");
        let names = || {
            let masked = masks.find(&finder, std::slice::from_ref(&tree), &tree, &tree, &[]);
            masked.paths.iter().filter(|it| path(it).starts_with(&tree)).count()
        };
        for deep in ["a/b", "c"] {
            fs::create_dir_all(tree.join(deep)).expect("directories");
            fs::write(tree.join(deep).join(".env"), "").expect("write");
        }
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
        for place in ["a/b", "a", "c", ""] {
            fs::File::open(tree.join(place)).and_then(|it| it.set_modified(old)).expect("times");
        }
        assert_eq!(names(), 2);
        // Whoever puts a time back changes the other one (ctime).
        fs::write(tree.join("a/b/x.pem"), "").expect("write");
        fs::File::open(tree.join("a/b")).and_then(|it| it.set_modified(old)).expect("times");
        assert_eq!(names(), 3);
        fs::remove_file(tree.join("c/.env")).expect("remove");
        fs::rename(tree.join("a"), tree.join("moved")).expect("rename");
        assert_eq!(names(), 2);
    }
}
