//! Killed at any point of a commit, of an undo or of a recovery: the tree is as before or as after.
//!
//! `CMDOP_KILLS` sets how often, `CMDOP_SEED` where.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdop_contract::v1::{EffectKind, Outcome, Permit, Report, Stage};
use cmdop_host::admit::{Admission, Keys};
use cmdop_host::journal::Journals;
use cmdop_host::native::Native;
use cmdop_host::sandbox::Layer;
use cmdop_host::{Admitted, commit, differ};
use serde_json::json;
use support::cases::{self, Case};
use support::{HOST, Server, permit, with_effects};

const CASES: &[Case] = &[("killed_anywhere_the_tree_is_as_before_or_as_after_and_the_outcome_says_which", killed)];

fn main() -> ExitCode {
    cases::run(CASES, &[("commit and undo", commit_and_undo), ("settle", settle)])
}

/// Path beneath the tree: type and mode, content, and who it is.
type Seen = BTreeMap<PathBuf, (u32, Vec<u8>, (u64, i64, i64))>;

fn seen(top: &Path) -> Seen {
    let mut found = Seen::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("list") {
            let path = entry.expect("entry").path();
            let metadata = path.symlink_metadata().expect("stat");
            let content = if metadata.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
            // Times of directories move with what is staged in them.
            let mtime = if metadata.is_dir() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
            let name = path.strip_prefix(top).expect("beneath").to_owned();
            found.insert(name, (metadata.mode(), content, (metadata.ino(), mtime.0, mtime.1)));
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

fn nameless(seen: &Seen) -> BTreeMap<&PathBuf, (u32, &[u8])> {
    seen.iter().map(|(path, (mode, content, _))| (path, (*mode, &**content))).collect()
}

const EACH: usize = 5;

fn plant(tree: &Path) {
    for number in 0..EACH {
        let gone = tree.join(format!("gone{number}/deep"));
        fs::create_dir_all(&gone).expect("directories");
        fs::write(gone.join("leaf"), "leaf").expect("write");
        fs::write(tree.join(format!("changed{number}")), "old").expect("write");
        fs::write(tree.join(format!("mode{number}")), "mode").expect("write");
    }
}

/// Does to the layer what a command would have done.
fn change(layer: &Layer, tree: &Path) {
    let above = |path: &[u8]| tree.starts_with(Path::new(std::ffi::OsStr::from_bytes(path)));
    let covers = layer.covers().iter().filter(|cover| !cover.upper.is_empty() && above(&cover.path));
    let cover = covers.max_by_key(|cover| cover.path.len()).expect("a writable mount");
    let lower = Path::new(std::ffi::OsStr::from_bytes(&cover.path));
    let upper = Path::new(std::ffi::OsStr::from_bytes(&cover.upper));
    let mut here = upper.to_owned();
    let mut there = lower.to_owned();
    for part in tree.strip_prefix(lower).expect("beneath") {
        (here, there) = (here.join(part), there.join(part));
        let metadata = fs::metadata(&there).expect("stat");
        fs::create_dir(&here).expect("directory");
        fs::set_permissions(&here, metadata.permissions()).expect("chmod");
        std::os::unix::fs::lchown(&here, Some(metadata.uid()), Some(metadata.gid())).expect("chown");
    }
    for number in 0..EACH {
        let whiteout = here.join(format!("gone{number}"));
        let (kind, none) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
        rustix::fs::mknodat(rustix::fs::CWD, &whiteout, kind, none, 0).expect("whiteout");
        fs::write(here.join(format!("changed{number}")), "new content").expect("write");
        fs::write(here.join(format!("mode{number}")), "mode").expect("write");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(here.join(format!("mode{number}")), mode).expect("chmod");
        fs::create_dir_all(here.join(format!("made{number}/deep"))).expect("directories");
        fs::write(here.join(format!("made{number}/deep/leaf")), "made").expect("write");
    }
}

fn anywhere(permit: Permit, tree: &Path) -> Permit {
    let kinds = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete, EffectKind::FileChmod];
    with_effects(permit, &kinds, &format!("{}/**", tree.display()))
}

/// The process that is killed.
fn commit_and_undo(directory: &Path) {
    let tree = directory.join("srv");
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
    fs::create_dir(&dir).expect("directory");
    let layer = Layer::create(&dir).expect("layer");
    change(&layer, &tree);
    let difference = differ::measure(&layer).expect("measure");
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
    let undo = support::permit("undo", Stage::Apply, "files.undo", &json!({"call": "call"}));
    let undo = admit(&anywhere(undo, &tree));
    println!("ready");
    commit::commit(&admitted, &dir, &journals).expect("commit");
    println!("committed");
    let done = native.apply(&undo).expect("undo");
    assert!(done.result.ok, "{:?}", done.result.error);
    println!("undone");
    std::thread::sleep(Duration::from_secs(60));
}

/// The next life: settles, and prints what became of both.
fn settle(directory: &Path) {
    println!("ready");
    let state = directory.join("state");
    let journals = Journals::open(state.join("undo")).expect("journals");
    let keys = Keys::open(&state.join("ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
    // Both were noted before anything moved, and nobody reported them.
    let interrupted = keys.interrupted();
    let of = |call: &str| interrupted.iter().find(|found| found.permit().call_id == call).expect("it was noted");
    journals.settle_all(&keys.start().expect("nobody started"));
    println!("{:?} {:?}", journals.recover(of("call")), journals.recover_undo("call", of("undo")));
}

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a whole number"))
}

/// Starts a helper, waits for `ready`, and kills it after so long unless it ends by itself. What it said.
fn until_killed(helper: &str, directory: &Path, after: Option<Duration>) -> (Vec<String>, bool) {
    let mut child = cases::again(helper, directory).stdout(Stdio::piped()).spawn().expect("start");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let first = lines.next().expect("it started").expect("text");
    assert_eq!(first, "ready");
    let mut is_killed = false;
    if let Some(after) = after {
        std::thread::sleep(after);
        is_killed = child.try_wait().expect("wait").is_none();
        child.kill().expect("kill");
    }
    let said = lines.map_while(Result::ok).collect();
    child.wait().expect("wait");
    (said, is_killed)
}

/// The tree after a commit, and how long commit and undo take together.
fn measured(directory: &Path) -> (Seen, Duration) {
    fs::create_dir_all(directory.join("srv")).expect("directory");
    plant(&directory.join("srv"));
    let mut child = cases::again("commit and undo", directory).stdout(Stdio::piped()).spawn().expect("start");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    let started = Instant::now();
    assert_eq!(lines.next().as_deref(), Some("committed"));
    // Stopped before it undoes, or read a moment later: the tree after is made here instead.
    assert_eq!(lines.next().as_deref(), Some("undone"));
    let took = started.elapsed();
    child.kill().and_then(|()| child.wait()).expect("kill");
    let after = directory.join("after");
    fs::create_dir(&after).expect("directory");
    plant(&after);
    for number in 0..EACH {
        fs::remove_dir_all(after.join(format!("gone{number}"))).expect("remove");
        fs::write(after.join(format!("changed{number}")), "new content").expect("write");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(after.join(format!("mode{number}")), mode).expect("chmod");
        fs::create_dir_all(after.join(format!("made{number}/deep"))).expect("directories");
        fs::write(after.join(format!("made{number}/deep/leaf")), "made").expect("write");
    }
    (seen(&after), took)
}

fn killed(directory: &Path) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because whiteouts need root");
        return;
    }
    let (kills, seed) = (setting("CMDOP_KILLS", 200), setting("CMDOP_SEED", u64::from(std::process::id())));
    println!("CMDOP_SEED={seed}");
    let mut random = Random(seed);
    let (after, took) = measured(&directory.join("measured"));
    let window = u64::try_from(took.as_micros()).expect("less than an age") * 5 / 4;
    let (mut done, mut round, mut met) = (0, 0, BTreeMap::<String, u64>::new());
    while done < kills {
        let directory = directory.join(round.to_string());
        round += 1;
        let tree = directory.join("srv");
        fs::create_dir_all(&tree).expect("directory");
        plant(&tree);
        let before = seen(&tree);
        let wait = Duration::from_micros(random.below(window));
        until_killed("commit and undo", &directory, Some(wait));
        done += 1;
        let outcome = loop {
            let after = (random.below(3) > 0).then(|| Duration::from_micros(random.below(window / 8)));
            let (said, is_killed) = until_killed("settle", &directory, after);
            done += u64::from(is_killed);
            if let (Some(outcome), false) = (said.first(), is_killed) {
                break outcome.clone();
            }
        };
        let now = seen(&tree);
        match &*outcome {
            // With the old inodes and their times.
            "Some(NotApplied) Some(NotApplied)" | "Some(Applied) Some(Applied)" => {
                assert_eq!(now, before, "round {round}, seed {seed}: {outcome}");
            }
            "Some(Applied) Some(NotApplied)" => {
                assert_eq!(nameless(&now), nameless(&after), "round {round}, seed {seed}: {outcome}");
            }
            other => panic!("round {round}, seed {seed}: {other}"),
        }
        *met.entry(outcome).or_default() += 1;
        fs::remove_dir_all(&directory).expect("remove");
    }
    println!("{done} kills in {round} rounds: {met:?}");
    assert_eq!(met.len(), 3, "kills before, between and after were all met, or the test has shown nothing: {met:?}");
}
