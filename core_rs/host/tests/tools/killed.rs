//! Kills of a call and of its undo, at any of their file-system calls, and the starts that follow.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::v1::Outcome;
use cmdop_host::admit::Keys;
use cmdop_host::journal::Journals;
use cmdop_host::native::Native;
use serde_json::json;

use super::support::cases;
use super::support::inside::is_root;
use super::support::random::{Random, setting};
use super::support::supervised::{self, Supervised};
use super::support::{HOST, Server};
use super::{Life, TOOLS, Tool, assert_is_after, differ, plant, remove, seen};

/// Which tool a process is for, and where its tree is.
const TOOL: &str = "CMDOP_TOOL";
const TREE: &str = "CMDOP_TREE";

fn process(helper: &str, tool: usize, directory: &Path, tree: &Path) -> Supervised {
    let mut command: Command = cases::again(helper, directory);
    Supervised::start(command.env(TOOL, tool.to_string()).env(TREE, tree))
}

fn of_process() -> (&'static Tool, PathBuf) {
    let tree = PathBuf::from(std::env::var_os(TREE).expect("a tree"));
    (&TOOLS[usize::try_from(setting(TOOL, 0)).expect("a number")], tree)
}

/// The first life. What it says: how the call ended, and how its undo.
pub(super) fn apply_and_undo(directory: &Path) {
    let (tool, tree) = of_process();
    let life = Life::begin(directory);
    let call = life.call("call", tool.name, &(tool.arguments)(&tree), &tree);
    let undo = life.call("undo", "files.undo", &json!({"call": "call"}), &tree);
    supervised::begin();
    for admitted in [call, undo] {
        match life.native.apply(&admitted) {
            Ok(done) if done.outcome == Outcome::Applied => println!("ok"),
            Ok(done) => return println!("{:?}", done.result.error.expect("an error").reason()),
            Err(error) => return println!("{:?} {error}", error.reason()),
        }
    }
}

/// The next life: settles, and says what became of both.
pub(super) fn settle(directory: &Path) {
    let state = directory.join("state");
    let keys = Keys::open(&state.join("ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
    // Both were noted before anything changed, and nobody reported them.
    let interrupted = keys.interrupted();
    let of = |call: &str| interrupted.iter().find(|found| found.permit().call_id == call).expect("it was noted");
    let start = keys.start().expect("nobody started");
    supervised::begin();
    let journals = match Journals::open_after(state.join("undo"), &interrupted) {
        Ok(journals) => Arc::new(journals),
        Err(error) => return println!("{:?} {error}", error.reason()),
    };
    let native = Native::open(vec![state], journals.clone()).expect("open /");
    println!("{:?} {:?}", native.reconcile(of("call")), native.reconcile(of("undo")));
    journals.settle_all(&start);
}

/// What the next start finds out about the call and about its undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Before,
    Applied,
    Undone,
}

pub(super) fn killed(directory: &Path) {
    if is_root() {
        // What is tested is not the disk.
        cases::in_memory(directory);
        cases::in_memory(&directory.join("elsewhere"));
    }
    let (wanted, seed) = (setting("CMDOP_KILLS", 24), setting("CMDOP_SEED", 1));
    println!("CMDOP_SEED={seed}");
    for (number, tool) in TOOLS.iter().enumerate() {
        let (mut random, mut ends) = (Random(seed + number as u64), BTreeMap::<Ended, u64>::new());
        let length = {
            let place = directory.join(format!("whole{number}"));
            plant(&place.join("srv"));
            let mut whole = process("apply and undo", number, &place, &place.join("srv"));
            let mut length = 0;
            while let Some(call) = whole.next() {
                length += 1;
                whole.allow(&call);
            }
            assert_eq!(whole.end(), ["ok", "ok"], "{}", tool.name);
            length
        };
        for round in 0..wanted {
            let place = directory.join(format!("{number}-{round}"));
            fs::create_dir(&place).expect("directory");
            // Every other tree lies on another mount than the host's state, where there is one.
            let tree = if round % 2 == 1 && is_root() {
                directory.join(format!("elsewhere/{number}-{round}/srv"))
            } else {
                place.join("srv")
            };
            plant(&tree);
            let context = format!("CMDOP_SEED={seed}, {number}: {}, round {round}", tool.name);
            let end =
                Trial { tool, number, directory: &place, tree: &tree, length }.round(round, &mut random, &context);
            *ends.entry(end).or_default() += 1;
            remove(&place);
            if tree.exists() {
                remove(&tree);
            }
        }
        println!("{wanted} kills of {} within {length} calls ended {ends:?}", tool.name);
        if wanted >= 24 {
            assert_eq!(ends.len(), 3, "{}: each end was met, or the test has shown nothing: {ends:?}", tool.name);
        }
    }
}

/// One call and its undo that are killed, and starts until one lives.
struct Trial<'a> {
    tool: &'a Tool,
    number: usize,
    directory: &'a Path,
    tree: &'a Path,
    /// File-system calls of both.
    length: u64,
}

impl Trial<'_> {
    fn round(&self, round: u64, random: &mut Random, context: &str) -> Ended {
        let before = seen(self.tree);
        // A failure is what makes a host take back.
        let fails = (random.below(3) == 0).then(|| random.below(self.length));
        // Both ends are met for sure: once it is killed before anything, once it lives.
        let kill = match round {
            0 => Some(0),
            1 => None,
            _ => Some(random.below(self.length)),
        };
        let said = self.until_killed("apply and undo", kill, fails.filter(|_| round > 1), random);
        let mut starts = 0;
        let end = loop {
            starts += 1;
            let kill = (starts < 4).then(|| random.below(60));
            let Some(settled) = self.until_killed("settle", kill, None, random) else { continue };
            break match settled.first().map(String::as_str) {
                Some("Some(NotApplied) Some(NotApplied)") => Ended::Before,
                Some("Some(Applied) Some(NotApplied)") => Ended::Applied,
                Some("Some(Applied) Some(Applied)") => Ended::Undone,
                other => panic!("{context}: {other:?}"),
            };
        };
        let context = format!("{context}: {said:?}, then {end:?}");
        match said.unwrap_or_default().iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["ok", "ok"] => assert_eq!(end, Ended::Undone, "{context}"),
            ["ok", why] if !why.starts_with("OutcomeUnknown") => assert_eq!(end, Ended::Applied, "{context}"),
            [why] if *why != "ok" && !why.starts_with("OutcomeUnknown") => assert_eq!(end, Ended::Before, "{context}"),
            // It was killed before it said anything, or says that it does not know.
            _ => {}
        }
        match end {
            Ended::Before | Ended::Undone => assert_eq!(differ(&before, &seen(self.tree)), "", "{context}"),
            Ended::Applied => assert_is_after(self.tool, self.tree, self.directory, &context),
        }
        if end == Ended::Before {
            self.assert_nothing_left(&context);
        }
        end
    }

    /// Runs a process and kills it at a call, just before that is done or a moment later. What it said if it lived.
    fn until_killed(
        &self,
        helper: &str,
        kill: Option<u64>,
        mut fails: Option<u64>,
        random: &mut Random,
    ) -> Option<Vec<String>> {
        let mut process = process(helper, self.number, self.directory, self.tree);
        let mut at = 0;
        while let Some(call) = process.next() {
            if kill == Some(at) {
                if random.below(2) == 0 {
                    process.allow(&call);
                    std::thread::sleep(Duration::from_micros(random.below(100)));
                }
                process.kill();
                return None;
            }
            // Where a private directory cannot be made or looked at, it is made nearer to the tree, or in it.
            let would_move_slots = || self.is_staging() && (!call.is_change || call.name == "mkdir");
            match fails {
                Some(failing) if failing == at && would_move_slots() => {
                    fails = Some(at + 1);
                    process.allow(&call);
                }
                Some(failing) if failing == at => process.fail(&call, libc::EIO),
                _ => process.allow(&call),
            }
            at += 1;
        }
        Some(process.end())
    }

    /// True while no journal says that anything may have changed.
    fn is_staging(&self) -> bool {
        let journals = fs::read_dir(self.directory.join("state/undo")).into_iter().flatten().flatten();
        let states = ["intent", "rollback", "done", "undoing", "redoing", "undone"];
        !journals.map(|entry| entry.path()).any(|journal| states.iter().any(|state| journal.join(state).exists()))
    }

    /// Nothing of a journal or its slots is left where a call that did not happen put them.
    fn assert_nothing_left(&self, context: &str) {
        let entries = fs::read_dir(self.directory.join("state/undo")).expect("list").flatten();
        let journals: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        assert!(journals.is_empty(), "{context}: {journals:?}");
        let beside = fs::read_dir(self.tree.parent().expect("a parent")).expect("list").flatten();
        let private: Vec<_> =
            beside.map(|entry| entry.file_name()).filter(|name| name.as_bytes().starts_with(b".cmdop-")).collect();
        assert!(private.is_empty(), "{context}: {private:?}");
    }
}
