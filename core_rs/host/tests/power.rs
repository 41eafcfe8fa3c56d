//! The power goes at any point of a commit and its undo: what the disk has by then is all that is left, and
//! the next start makes it the tree before or after. On a real file system, whose disk is a file.
//!
//! `CMDOP_LOSSES` sets how often, `CMDOP_SEED` where.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::mount::UnmountFlags;
use support::cases::{self, Case};
use support::inside::is_root;
use support::random::{Random, setting};
use support::supervised::{Call, Supervised};
use support::trial::{self, Ended, Trial, ended, seen};

const CASES: &[Case] = &[("nothing_is_changed_before_it_is_durable_how_to_take_it_back", in_order)];

/// It needs root, to mount.
const ROOT_CASES: &[Case] = &[("when_the_power_goes_the_disk_has_the_tree_as_before_or_as_after", power_goes)];

fn main() -> ExitCode {
    let cases = if is_root() { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    cases::run(&cases, trial::HELPERS)
}

/// What was changed and not made durable since: a file system need keep nothing of it (fsync(2)).
#[derive(Default)]
struct Unkept(BTreeSet<PathBuf>);

impl Unkept {
    fn note(&mut self, call: &Call) {
        let paths = call.paths();
        let last = paths.last().expect("a path").clone();
        let above = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
        match call.name {
            "fsync" | "fdatasync" => drop(self.0.remove(&last)),
            "syncfs" => self.0.clear(),
            "unlink" | "unlinkat" | "rmdir" => {
                self.0.remove(&last);
                self.0.insert(above(&last));
            }
            "rename" | "renameat" | "renameat2" => {
                self.moved(&paths[0], &paths[1], call.is_exchange());
                self.0.extend(paths.iter().map(|path| above(path)));
            }
            "link" | "linkat" | "symlink" | "symlinkat" | "mknod" | "mknodat" => drop(self.0.insert(above(&last))),
            "mkdir" | "mkdirat" | "openat" | "openat2" => self.0.extend([above(&last), last]),
            _ => drop(self.0.insert(last)),
        }
    }

    fn moved(&mut self, from: &Path, to: &Path, is_exchange: bool) {
        let of = |path: PathBuf| {
            let beneath = |top: &Path| path.strip_prefix(top).ok().map(Path::to_owned);
            match (beneath(from), beneath(to)) {
                (Some(rest), _) => to.join(rest),
                (None, Some(rest)) if is_exchange => from.join(rest),
                _ => path,
            }
        };
        self.0 = std::mem::take(&mut self.0).into_iter().map(of).collect();
    }

    /// A draft is no longer needed once there is an intent.
    fn beneath(&self, top: &Path) -> Vec<&PathBuf> {
        self.0.iter().filter(|path| path.starts_with(top) && !path.ends_with("draft")).collect()
    }
}

/// Holds on every file system, whatever it keeps of what nobody asked it to keep.
fn in_order(directory: &Path) {
    let directory = fs::canonicalize(directory).expect("a path");
    let trial = |name: &str| Trial::new(directory.join(name), directory.join(name).join("srv"));
    let (few, many) = (trial("few"), trial("many"));
    is_in_order(&few, few.commit_few());
    is_in_order(&many, many.commit());
}

fn is_in_order(trial: &Trial, mut process: Supervised) {
    let journals = trial.directory.join("state/undo");
    let (mut unkept, mut changes, mut ends) = (Unkept::default(), 0, 0);
    while let Some(call) = process.next() {
        if call.is_change {
            let paths = call.paths();
            if paths.iter().any(|path| path.starts_with(&trial.tree)) && !call.name.contains("sync") {
                changes += 1;
                // Later changes leave their traces in the slots, which are told anew.
                let left = if changes == 1 { unkept.beneath(&journals) } else { Vec::new() };
                assert!(left.is_empty(), "{} {paths:?} before {left:?} is durable", call.name);
            }
            let becomes = paths.last().and_then(|path| path.file_name()).filter(|_| call.name.starts_with("rename"));
            if becomes.is_some_and(|name| name == "done" || name == "undone") {
                ends += 1;
                let left = unkept.beneath(&trial.tree);
                assert!(left.is_empty(), "it is over before {left:?} is durable");
            }
            unkept.note(&call);
        }
        process.allow(&call);
    }
    assert_eq!(process.end(), ["ok", "ok"]);
    // A commit, its undo, and what is remembered of that.
    assert!(changes > 10 && ends == 3, "{changes} changes and {ends} ends were seen");
}

/// Nothing but what is asked for reaches the disk: the file system writes nothing by itself so soon.
struct Kind {
    name: &'static str,
    /// The least that it can be made on.
    disk_mb: u64,
    options: &'static str,
}

const KINDS: &[Kind] = &[
    Kind { name: "ext4", disk_mb: 24, options: "loop,commit=600" },
    Kind { name: "xfs", disk_mb: 320, options: "loop,nouuid" },
    Kind { name: "btrfs", disk_mb: 128, options: "loop,commit=600" },
];

/// A file system with the file that is its disk.
struct Disk<'a> {
    kind: &'a Kind,
    file: PathBuf,
    place: PathBuf,
}

fn power_goes(directory: &Path) {
    let (losses, seed) = (setting("CMDOP_LOSSES", 12), setting("CMDOP_SEED", u64::from(std::process::id())));
    println!("CMDOP_SEED={seed}");
    cases::in_memory(directory);
    for kind in KINDS {
        let maker = format!("mkfs.{}", kind.name);
        let is_installed = Command::new("which").arg(&maker).output().is_ok_and(|found| found.status.success());
        // The file system that every Linux has must be there.
        if is_installed || kind.name == "ext4" {
            losses_of(kind, &maker, directory, losses, seed);
        } else {
            println!("{} is left out: {maker} is not installed", kind.name);
        }
    }
}

fn losses_of(kind: &Kind, maker: &str, directory: &Path, losses: u64, seed: u64) {
    let blank = directory.join(kind.name);
    fs::File::create(&blank).and_then(|file| file.set_len(kind.disk_mb << 20)).expect("a disk");
    run(Command::new(maker).arg("-q").args((kind.name == "ext4").then_some("-F")).arg(&blank));
    let random = &mut Random(seed);
    let (mut calls, mut ends) = (None::<u64>, BTreeMap::<Ended, u64>::new());
    for round in 0..=losses {
        let file = directory.join(format!("{}-{round}", kind.name));
        let disk = Disk { kind, file, place: directory.join("place") };
        copy(&blank, &disk.file);
        // The first is not cut short, but its power goes, too; the others are cut one after the other.
        let at = calls.map_or(u64::MAX, |calls| {
            let from = calls * (round - 1) / losses;
            from + random.below((calls / losses).max(1))
        });
        let context = format!("CMDOP_SEED={seed}, {}, round {round}, before call {at}", kind.name);
        let (made, end) = loss(&disk, at, &context);
        calls = calls.or(Some(made));
        *ends.entry(end).or_default() += 1;
    }
    println!("{losses} losses of power on {} in {calls:?} calls ended {ends:?}", kind.name);
    assert_eq!(ends.len(), 3, "each end was met, or the test has shown nothing");
    fs::remove_file(&blank).expect("remove");
}

fn loss(disk: &Disk<'_>, at: u64, context: &str) -> (u64, Ended) {
    disk.mount();
    let trial = Trial::new(disk.place.join("host"), disk.place.join("srv"));
    let before = seen(&trial.tree);
    let mut process = trial.commit();
    rustix::fs::syncfs(fs::File::open(&disk.place).expect("open")).expect("sync");
    let mut calls = 0;
    while let Some(call) = process.next() {
        if calls == at {
            break;
        }
        calls += 1;
        process.allow(&call);
    }
    let left = disk.file.with_extension("left");
    copy(&disk.file, &left);
    let said = process.kill();
    disk.unmount();
    fs::rename(&left, &disk.file).expect("rename");
    disk.mount();
    let mut settling = trial.settle();
    while let Some(call) = settling.next() {
        settling.allow(&call);
    }
    let context = format!("{context}: {said:?}");
    let end = ended(&settling.end(), &context);
    match said.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["ok"] => assert_ne!(end, Ended::Before, "{context}: what was said to be committed is gone"),
        ["ok", "ok"] => assert_eq!(end, Ended::Undone, "{context}: what was said to be undone is not"),
        _ => panic!("{context}"),
    }
    trial.assert_is(end, &before, &context);
    disk.unmount();
    fs::remove_file(&disk.file).expect("remove");
    (calls, end)
}

impl Disk<'_> {
    fn mount(&self) {
        fs::create_dir_all(&self.place).expect("directory");
        let Kind { name, options, .. } = self.kind;
        run(Command::new("mount").args(["-t", name, "-o", options]).arg(&self.file).arg(&self.place));
    }

    fn unmount(&self) {
        rustix::mount::unmount(&self.place, UnmountFlags::DETACH).expect("unmount");
    }
}

/// What a disk holds is little.
fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("--sparse=always").args([from, to]));
}

fn run(command: &mut Command) {
    let done = command.output().expect("start");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
