//! Killed at any point of a commit, of an undo, of taking either back or of a recovery: the tree is as
//! before or as after, and the next start says which. As root and as an ordinary user.
//!
//! `CMDOP_KILLS` sets how often for each of them, `CMDOP_SEED` where.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use support::cases::{self, Case};
use support::inside::is_root;
use support::random::{Random, setting};
use support::supervised::{Call, Supervised};
use support::trial::{self, Ended, Trial, ended, seen};

const CASES: &[Case] = &[("killed_anywhere_the_tree_is_as_before_or_as_after_and_the_next_start_says_which", killed)];

fn main() -> ExitCode {
    cases::run(CASES, &[trial::HELPERS, &[("kills", kills)]].concat())
}

/// Where the first life is killed: at some call in this state of its journal, after an earlier call
/// failed in that one, if any. A failure is what makes a host take back.
const PHASES: &[(&str, Option<&str>)] = &[
    ("staging", None),
    ("intent", None),
    ("done", None),
    ("undoing", None),
    ("undone", None),
    ("rollback", Some("intent")),
    ("redoing", Some("undoing")),
];
/// Calls that a phase is taken to have until one was seen to its end.
const GUESS: u64 = 20;
/// A call that runs takes about so long.
const CALL_US: u64 = 100;

fn killed(directory: &Path) {
    if !is_root() {
        return kills(directory);
    }
    // What is tested is not the disk.
    cases::in_memory(directory);
    for (name, user) in [("root", None), ("user", Some(cases::USER))] {
        let directory = directory.join(name);
        let mut process = cases::again_as("kills", &directory, user);
        assert!(process.status().expect("start").success(), "kills of {name}");
    }
}

fn kills(directory: &Path) {
    let (wanted, seed) = (setting("CMDOP_KILLS", 60), setting("CMDOP_SEED", u64::from(std::process::id())));
    println!("CMDOP_SEED={seed}");
    if is_root() {
        cases::in_memory(&directory.join("elsewhere"));
    }
    let mut kills = Kills { random: Random(seed), lengths: BTreeMap::new(), met: BTreeMap::new(), done: 0 };
    let (mut round, mut ends) = (0, BTreeMap::<Ended, u64>::new());
    // A phase that chance left out gets more rounds.
    let is_enough = |kills: &Kills| wanted < 60 || PHASES.iter().all(|(phase, _)| kills.met.contains_key(*phase));
    while kills.done < wanted || (kills.done < 4 * wanted && !is_enough(&kills)) {
        let place = directory.join(round.to_string());
        // Every other tree lies on another mount than the host's state, where there is one.
        let is_elsewhere = round % 2 == 1 && is_root();
        let tree = if is_elsewhere { directory.join(format!("elsewhere/{round}/srv")) } else { place.join("srv") };
        let trial = Trial::new(place, tree);
        let context = format!("CMDOP_SEED={seed}, round {round}");
        *ends.entry(kills.round(&trial, PHASES[round % PHASES.len()], &context)).or_default() += 1;
        fs::remove_dir_all(&trial.directory).expect("remove");
        fs::remove_dir_all(trial.tree.parent().expect("a parent")).or_else(gone).expect("remove");
        round += 1;
    }
    let who = if is_root() { "root" } else { "a user" };
    println!("{} kills of {who} in {round} rounds ended {ends:?}; killed in {:?}", kills.done, kills.met);
    if wanted >= 60 {
        assert_eq!(ends.len(), 3, "each end was met, or the test has shown nothing: {ends:?}");
        for (phase, _) in PHASES {
            assert!(kills.met.contains_key(*phase), "nothing was killed in `{phase}`");
        }
        assert!(kills.met.keys().any(|phase| phase.starts_with("recovery")), "no recovery was killed");
    }
}

fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

struct Kills {
    random: Random,
    /// Calls that a phase has.
    lengths: BTreeMap<String, u64>,
    /// Kills by phase.
    met: BTreeMap<String, u64>,
    done: u64,
}

impl Kills {
    /// One commit and undo that is killed, and starts until one lives.
    fn round(&mut self, trial: &Trial, (phase, failing): (&str, Option<&str>), context: &str) -> Ended {
        let before = seen(&trial.tree);
        let said = self.until_killed(trial.commit(), trial, "", phase, failing);
        let mut starts = 0;
        let end = loop {
            starts += 1;
            let phase = trial.phase();
            // After some the kills go on, or a phase of few calls would end nothing.
            let is_spared = self.random.below(3) == 0 || starts > 8;
            let phase = if is_spared { "none" } else { phase };
            let settled = self.until_killed(trial.settle(), trial, "recovery of ", phase, None);
            if let Some(settled) = settled {
                break ended(&settled, context);
            }
        };
        let context = format!("{context}: {said:?}");
        match said.unwrap_or_default().iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            // It was killed before it said anything.
            [] => {}
            ["ok", "ok"] => assert_eq!(end, Ended::Undone, "{context}"),
            ["ok", why] if !why.starts_with("OutcomeUnknown") => assert_eq!(end, Ended::Committed, "{context}"),
            [why] if *why != "ok" && !why.starts_with("OutcomeUnknown") => assert_eq!(end, Ended::Before, "{context}"),
            _ => {}
        }
        trial.assert_is(end, &before, &context);
        if end == Ended::Before {
            trial.assert_nothing_left(&context);
        }
        end
    }

    /// Runs a process and kills it at a call in a phase, just before that is done or a moment later.
    /// What it said if it lived.
    fn until_killed(
        &mut self,
        mut process: Supervised,
        trial: &Trial,
        whose: &str,
        phase: &str,
        failing: Option<&str>,
    ) -> Option<Vec<String>> {
        let name = |phase: &str| format!("{whose}{phase}");
        let length = |lengths: &BTreeMap<String, u64>, phase| lengths.get(&name(phase)).copied().unwrap_or(GUESS);
        let mut until_kill = self.random.below(length(&self.lengths, phase));
        let mut until_failure = failing.map(|phase| (phase, self.random.below(length(&self.lengths, phase))));
        let mut calls = BTreeMap::<String, u64>::new();
        while let Some(call) = process.next() {
            let now = trial.phase();
            *calls.entry(name(now)).or_default() += 1;
            if now == phase {
                if until_kill == 0 {
                    self.kill(process, &call);
                    self.done += 1;
                    *self.met.entry(name(now)).or_default() += 1;
                    return None;
                }
                until_kill -= 1;
            }
            match &mut until_failure {
                Some((phase, left)) if now == *phase && *left == 0 => {
                    process.fail(&call, libc::EIO);
                    until_failure = None;
                }
                Some((phase, left)) => {
                    *left -= u64::from(now == *phase && *left > 0);
                    process.allow(&call);
                }
                None => process.allow(&call),
            }
        }
        // What it was to be killed in is shorter than that, or was not met.
        for (phase, length) in calls {
            self.lengths.insert(phase, length);
        }
        Some(process.end())
    }

    fn kill(&mut self, process: Supervised, call: &Call) {
        if self.random.below(2) == 0 {
            process.allow(call);
            std::thread::sleep(Duration::from_micros(self.random.below(CALL_US)));
        }
        process.kill();
    }
}
