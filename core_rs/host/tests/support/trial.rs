//! One commit and its undo, to be cut short anywhere: a tree, a layer that changes it, the process that
//! applies it, the process that starts afterwards, and what is seen of all that.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cmdop_contract::v1::{EffectKind, Outcome, Permit, Report, Stage};
use cmdop_host::admit::{Admission, Keys};
use cmdop_host::journal::Journals;
use cmdop_host::native::Native;
use cmdop_host::sandbox::Layer;
use cmdop_host::{Admitted, commit, differ};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use serde_json::json;

use super::cases::{self, Case};
use super::inside::is_root;
use super::random::setting;
use super::supervised::{self, Supervised};
use super::{HOST, Server, permit, with_effects};

/// Processes of a trial.
pub const HELPERS: &[Case] = &[("commit and undo", commit_and_undo), ("settle", settle), ("measure", measure)];

/// Where the tree is, if not in the trial's directory.
const TREE: &str = "CMDOP_TREE";
/// Of everything that changes there are so many, if not said otherwise.
const EACH: (&str, u64) = ("CMDOP_EACH", 2);

/// A directory with the host's state, and a tree.
#[derive(Debug, Clone)]
pub struct Trial {
    pub directory: PathBuf,
    pub tree: PathBuf,
}

/// Path beneath the tree.
pub type Seen = BTreeMap<PathBuf, One>;

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct One {
    pub what: What,
    /// Inode and time of the last change; of a directory none, which moves with what is staged in it.
    who: (u64, i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct What {
    mode: u32,
    names: u64,
    /// Or the target of a link.
    content: Vec<u8>,
    attribute: Vec<u8>,
}

/// What the next start finds out about the commit and about its undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    Before,
    Committed,
    Undone,
}

impl Trial {
    pub fn new(directory: PathBuf, tree: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("directory");
        fs::create_dir_all(&tree).expect("directory");
        let trial = Self { directory, tree };
        plant(&trial.tree);
        trial
    }

    /// The same of few changes: each is made durable by itself, where many are together.
    pub fn commit_few(&self) -> Supervised {
        Supervised::start(self.process("commit and undo").env(EACH.0, "1"))
    }

    /// Commits and undoes, supervised from the commit on.
    pub fn commit(&self) -> Supervised {
        Supervised::start(&mut self.process("commit and undo"))
    }

    /// The next start, supervised from its beginning.
    pub fn settle(&self) -> Supervised {
        Supervised::start(&mut self.process("settle"))
    }

    /// Measures and keeps what a command did to its layer, supervised.
    pub fn measure(&self) -> Supervised {
        Supervised::start(&mut self.process("measure"))
    }

    fn process(&self, helper: &str) -> Command {
        let mut command = cases::again(helper, &self.directory);
        command.env(TREE, &self.tree);
        command
    }

    /// State of the commit's journal, by its files.
    pub fn phase(&self) -> &'static str {
        let journals = fs::read_dir(self.directory.join("state/undo")).into_iter().flatten().flatten();
        let Some(journal) = journals.map(|entry| entry.path()).find(|path| path.is_dir()) else { return "no journal" };
        let states = ["undone", "done", "redoing", "undoing", "rollback", "intent"];
        states.into_iter().find(|state| journal.join(state).exists()).unwrap_or("staging")
    }

    /// Asserts that the tree is what the next start says, exactly.
    pub fn assert_is(&self, ended: Ended, before: &Seen, context: &str) {
        let now = seen(&self.tree);
        match ended {
            // With the old inodes and their times.
            Ended::Before | Ended::Undone => assert_eq!(differ(before, &now), "", "{context}: {ended:?}"),
            Ended::Committed => {
                let after = self.directory.join("after");
                fs::create_dir(&after).expect("directory");
                plant(&after);
                apply(&after);
                // Its files are new ones.
                let after = seen(&after).into_iter().map(|(path, one)| {
                    let who = now.get(&path).map_or(one.who, |now| now.who);
                    (path, One { who, ..one })
                });
                assert_eq!(differ(&after.collect(), &now), "", "{context}: {ended:?}");
                fs::remove_dir_all(self.directory.join("after")).expect("remove");
            }
        }
    }

    /// Nothing of a journal or its slots is left where a commit that did not happen put them.
    pub fn assert_nothing_left(&self, context: &str) {
        let entries = fs::read_dir(self.directory.join("state/undo")).into_iter().flatten().flatten();
        let journals: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        assert!(journals.is_empty(), "{context}: {journals:?}");
        let beside = self.tree.parent().expect("a parent");
        let private = fs::read_dir(beside).expect("list").flatten().map(|entry| entry.file_name());
        let private: Vec<_> = private.filter(|name| name.as_bytes().starts_with(b".cmdop-")).collect();
        assert!(private.is_empty(), "{context}: {private:?}");
    }
}

/// What a settled process printed: `outcome outcome`, of the commit and of the undo.
pub fn ended(said: &[String], context: &str) -> Ended {
    match said.first().map(String::as_str) {
        Some("Some(NotApplied) Some(NotApplied)") => Ended::Before,
        Some("Some(Applied) Some(NotApplied)") => Ended::Committed,
        Some("Some(Applied) Some(Applied)") => Ended::Undone,
        other => panic!("{context}: {other:?}"),
    }
}

pub fn seen(top: &Path) -> Seen {
    let mut found = Seen::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("list") {
            let path = entry.expect("entry").path();
            let metadata = path.symlink_metadata().expect("stat");
            let content = match metadata.file_type() {
                kind if kind.is_file() => fs::read(&path).expect("read"),
                kind if kind.is_symlink() => fs::read_link(&path).expect("read").as_os_str().as_bytes().to_vec(),
                _ => Vec::new(),
            };
            let mut attribute = vec![0; 64];
            let size = rustix::fs::lgetxattr(&path, "user.cmdop", &mut attribute).unwrap_or(0);
            attribute.truncate(size);
            let is_directory = metadata.is_dir();
            let mtime = if is_directory { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
            // A directory's names are those in it.
            let names = if is_directory { 0 } else { metadata.nlink() };
            let what = What { mode: metadata.mode(), names, content, attribute };
            let name = path.strip_prefix(top).expect("beneath").to_owned();
            found.insert(name, One { what, who: (metadata.ino(), mtime.0, mtime.1) });
            if is_directory {
                open.push(path);
            }
        }
    }
    found
}

/// Where two trees differ, with both sides.
fn differ(wanted: &Seen, found: &Seen) -> String {
    let paths: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| wanted.get(*path) != found.get(*path));
    differ.map(|path| format!("{}:\n  {:?}\n  {:?}\n", path.display(), wanted.get(path), found.get(path))).collect()
}

fn plant(tree: &Path) {
    for number in 0..setting(EACH.0, EACH.1) {
        let gone = tree.join(format!("gone{number}/deep"));
        fs::create_dir_all(&gone).expect("directories");
        fs::write(gone.join("leaf"), "leaf").expect("write");
        fs::write(tree.join(format!("changed{number}")), "old").expect("write");
        fs::write(tree.join(format!("mode{number}")), "mode").expect("write");
        closed(&tree.join(format!("closed{number}")));
    }
    fs::create_dir_all(tree.join("moved/deep")).expect("directories");
    fs::write(tree.join("moved/deep/leaf"), "moved").expect("write");
}

/// What the commit shall do to the tree, done to it directly.
fn apply(tree: &Path) {
    for number in 0..setting(EACH.0, EACH.1) {
        fs::remove_dir_all(tree.join(format!("gone{number}"))).expect("remove");
        fs::write(tree.join(format!("changed{number}")), "new content").expect("write");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(tree.join(format!("mode{number}")), mode).expect("chmod");
        attribute(&tree.join(format!("mode{number}")));
        fs::remove_dir(tree.join(format!("closed{number}"))).expect("remove");
        make(tree, number);
    }
    if is_root() {
        fs::rename(tree.join("moved"), tree.join("now")).expect("rename");
    }
}

fn make(tree: &Path, number: u64) {
    let made = tree.join(format!("made{number}/deep"));
    fs::create_dir_all(&made).expect("directories");
    fs::write(made.join("leaf"), "made").expect("write");
    fs::hard_link(made.join("leaf"), made.join("second")).expect("link");
    attribute(&made.join("leaf"));
    symlink("leaf", made.join("link")).expect("symlink");
    closed(&tree.join(format!("shut{number}")));
}

/// A directory that an ordinary user may not move as it is.
fn closed(path: &Path) {
    fs::create_dir(path).expect("directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o555)).expect("chmod");
}

fn attribute(path: &Path) {
    rustix::fs::setxattr(path, "user.cmdop", b"value", XattrFlags::empty()).expect("attribute");
}

/// Does to the layer what a command would have done.
fn change(layer: &Layer, tree: &Path) {
    let above = |path: &[u8]| tree.starts_with(Path::new(OsStr::from_bytes(path)));
    let covers = layer.covers().iter().filter(|cover| !cover.upper.is_empty() && above(&cover.path));
    let cover = covers.max_by_key(|cover| cover.path.len()).expect("a writable mount");
    let lower = Path::new(OsStr::from_bytes(&cover.path));
    let upper = Path::new(OsStr::from_bytes(&cover.upper));
    let mut here = upper.to_owned();
    let mut there = lower.to_owned();
    for part in tree.strip_prefix(lower).expect("beneath") {
        (here, there) = (here.join(part), there.join(part));
        copy_up(&there, &here);
    }
    for number in 0..setting(EACH.0, EACH.1) {
        whiteout(&here.join(format!("gone{number}")));
        whiteout(&here.join(format!("closed{number}")));
        fs::write(here.join(format!("changed{number}")), "new content").expect("write");
        fs::write(here.join(format!("mode{number}")), "mode").expect("write");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(here.join(format!("mode{number}")), mode).expect("chmod");
        attribute(&here.join(format!("mode{number}")));
        make(&here, number);
    }
    // A user's overlay renames no directory that was there.
    if is_root() {
        whiteout(&here.join("moved"));
        copy_up(&there.join("moved"), &here.join("now"));
        let redirect = "trusted.overlay.redirect";
        rustix::fs::setxattr(here.join("now"), redirect, b"moved", XattrFlags::empty()).expect("redirect");
    }
}

fn copy_up(from: &Path, to: &Path) {
    let metadata = fs::metadata(from).expect("stat");
    fs::create_dir(to).expect("directory");
    fs::set_permissions(to, metadata.permissions()).expect("chmod");
    std::os::unix::fs::lchown(to, Some(metadata.uid()), Some(metadata.gid())).expect("chown");
}

fn whiteout(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).expect("whiteout");
}

fn anywhere(permit: Permit, tree: &Path) -> Permit {
    let kinds = [
        EffectKind::FileCreate,
        EffectKind::FileModify,
        EffectKind::FileDelete,
        EffectKind::FileRename,
        EffectKind::FileChmod,
    ];
    with_effects(permit, &kinds, &format!("{}/**", tree.display()))
}

/// The first life. What it says: how the commit ended, and how the undo.
fn commit_and_undo(directory: &Path) {
    let tree = PathBuf::from(std::env::var_os(TREE).expect("a tree"));
    let state = directory.join("state");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let keys = Keys::open(&state.join("ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
    let admit = |permit: &Permit| -> Admitted {
        match runtime.block_on(keys.admit(&Server::new(1).sign(permit))).expect("admitted") {
            Admission::Fresh(admitted) => admitted,
            other => panic!("{other:?}"),
        }
    };
    let journals = Arc::new(Journals::open(state.join("undo")).expect("journals"));
    let native = Native::open(Vec::new(), journals.clone()).expect("open /");
    let dir = state.join("layer");
    let layer = laid_out(&dir, &tree).expect("layer");
    change(&layer, &tree);
    let difference = differ::measure(&layer, &journals).expect("measure");
    assert!(difference.unsupported.is_empty(), "{:?}", difference.unsupported);
    commit::save(&dir, &difference).expect("save");
    let observation = difference.observation.expect("an observation");
    let mut permit = anywhere(permit("call", Stage::Preview, "terminal.exec", &json!({})), &tree);
    let previewed = admit(&permit);
    let report = Report {
        permit_id: previewed.permit_id.clone(),
        call_id: "call".into(),
        stage: Stage::Preview.into(),
        outcome: Outcome::NotApplied.into(),
        observation: Some(observation.clone()),
        layer_held: true,
        ..Report::default()
    };
    runtime.block_on(keys.report(report)).expect("report");
    permit.permit_id = "call-commit".into();
    permit.stage = Stage::Commit.into();
    permit.preview_digest = observation.digest;
    let admitted = admit(&permit);
    let undo = super::permit("undo", Stage::Apply, "files.undo", &json!({"call": "call"}));
    let undo = admit(&anywhere(undo, &tree));
    supervised::begin();
    if let Err(error) = commit::commit(&admitted, &dir, &journals) {
        println!("{:?} {error}", error.reason());
        return;
    }
    println!("ok");
    match native.apply(&undo) {
        Ok(done) if done.result.ok => println!("ok"),
        Ok(done) => {
            let error = done.result.error.expect("an error");
            println!("{:?} {}", error.reason(), error.message);
        }
        Err(error) => println!("{:?} {error}", error.reason()),
    }
}

/// The next life: settles, and says what became of both.
fn settle(directory: &Path) {
    let state = directory.join("state");
    let keys = Keys::open(&state.join("ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
    // Both were noted before anything moved, and nobody reported them.
    let interrupted = keys.interrupted();
    let of = |call: &str| interrupted.iter().find(|found| found.permit().call_id == call).expect("it was noted");
    let start = keys.start().expect("nobody started");
    supervised::begin();
    let journals = match Journals::open(state.join("undo")) {
        Ok(journals) => journals,
        Err(error) => return println!("{:?} {error}", error.reason()),
    };
    journals.settle_all(&start);
    println!("{:?} {:?}", journals.recover(of("call")), journals.recover_undo("call", of("undo")));
}

/// A preview after its command: what it keeps, as the digest of the effects.
fn measure(directory: &Path) {
    let tree = PathBuf::from(std::env::var_os(TREE).expect("a tree"));
    let dir = directory.join("state/layer");
    let layer = laid_out(&dir, &tree).expect("layer");
    change(&layer, &tree);
    let journals = Journals::open(directory.join("state/undo")).expect("journals");
    supervised::begin();
    let kept = differ::measure(&layer, &journals).and_then(|difference| {
        commit::save(&dir, &difference)?;
        Ok(difference)
    });
    match kept {
        Ok(difference) => match difference.unsupported.first() {
            Some(why) => println!("unsupported: {why}"),
            None => println!("effects {}", whole(&difference.observation.expect("an observation"))),
        },
        Err(error) => println!("{:?} {error}", error.reason()),
    }
}

/// Kinds and targets from the tree's top: trials of one tree say the same.
fn whole(observation: &cmdop_contract::v1::Observation) -> String {
    let name = |target: &str| target.rsplit_once("/srv/").map_or("", |(_, beneath)| beneath).to_owned();
    let told = observation.effects.iter().map(|effect| {
        let (before, after) =
            effect.file.as_ref().map_or((None, None), |file| (file.before.as_ref(), file.after.as_ref()));
        let state = |state: Option<&cmdop_contract::v1::FileState>| {
            state.map(|state| format!("{:o} {} {} {:?}", state.mode, state.sha256, state.link_target, state.xattrs))
        };
        format!("{:?} {} {} {:?} {:?}", effect.kind(), name(&effect.target), effect.count, state(before), state(after))
    });
    told.collect::<Vec<_>>().join("; ")
}

fn laid_out(dir: &Path, tree: &Path) -> Result<Layer, cmdop_host::Error> {
    fs::create_dir_all(dir).expect("directory");
    if is_root() { Layer::create(dir) } else { Layer::of_user(dir, &[tree.to_owned()]) }
}
