//! A disk that fails, at each call that a commit and its undo make: a typed error and a tree as before or
//! as after, or the next start makes it so and says which. As root and as an ordinary user.
//!
//! Of the calls one in `CMDOP_STRIDE` fails, `CMDOP_SEED` says which and how; with a stride of 1 and the
//! seeds 0 to 3 every call fails with every error.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use support::cases::{self, Case};
use support::inside::is_root;
use support::random::setting;
use support::supervised::{Call, Supervised};
use support::trial::{self, Ended, Trial, ended, seen};

const CASES: &[Case] = &[
    ("where_a_call_fails_the_tree_is_as_before_or_as_after_and_the_error_is_typed", one_call_fails),
    ("where_a_disk_fails_for_good_the_next_start_finishes_or_takes_back", all_calls_fail),
    ("where_a_call_fails_while_a_preview_is_measured_nothing_is_changed", measuring_fails),
];

const HELPERS: &[Case] = &[("one", one), ("all", all), ("measuring", measuring)];

fn main() -> ExitCode {
    cases::run(CASES, &[trial::HELPERS, HELPERS].concat())
}

/// What a disk says when it is going bad, is full, was mounted read-only or the user's share is used up.
const ERRNOS: [i32; 4] = [libc::EIO, libc::ENOSPC, libc::EROFS, libc::EDQUOT];

/// Reasons that a caller may hear: each has a remedy of its own.
const TYPED: [&str; 7] = [
    "HostError",
    "HostStorageFull",
    "OutcomeUnknown",
    "PathNotUsable",
    "CommitConflict",
    "NotRestorable",
    "PreviewLost",
];

fn one_call_fails(directory: &Path) {
    as_both("one", directory);
}

fn all_calls_fail(directory: &Path) {
    as_both("all", directory);
}

fn measuring_fails(directory: &Path) {
    as_both("measuring", directory);
}

fn as_both(helper: &str, directory: &Path) {
    let mut users = vec![("itself", None)];
    if is_root() {
        // What is tested is not the disk.
        cases::in_memory(directory);
        users.push(("user", Some(cases::USER)));
    }
    for (name, user) in users {
        let mut process = cases::again_as(helper, &directory.join(name), user);
        assert!(process.status().expect("start").success(), "{helper} as {name}");
    }
}

/// Numbers of calls, and the error that each fails with.
fn faults(calls: usize) -> impl Iterator<Item = (usize, i32)> {
    let (stride, seed) = (setting("CMDOP_STRIDE", 16) as usize, setting("CMDOP_SEED", u64::from(std::process::id())));
    println!("CMDOP_SEED={seed}");
    let seed = seed as usize;
    let chosen = (seed / ERRNOS.len() % stride..calls).step_by(stride);
    chosen.enumerate().map(move |(number, call)| (call, ERRNOS[(number + seed) % ERRNOS.len()]))
}

/// Lets a process run in which `fails` says which calls do not. What it said, and its calls by name.
fn run(
    mut process: Supervised,
    mut fails: impl FnMut(usize, &Call) -> Option<i32>,
) -> (Vec<String>, Vec<&'static str>) {
    let mut calls = Vec::new();
    while let Some(call) = process.next() {
        match fails(calls.len(), &call) {
            Some(errno) => process.fail(&call, errno),
            None => process.allow(&call),
        }
        calls.push(call.name);
    }
    (process.end(), calls)
}

fn fresh(directory: &Path, number: usize) -> Trial {
    let place = directory.join(number.to_string());
    Trial::new(place.clone(), place.join("srv"))
}

fn one(directory: &Path) {
    let trial = fresh(directory, 0);
    let (said, calls) = run(trial.commit(), |_, _| None);
    assert_eq!(said, ["ok", "ok"]);
    let mut heard = BTreeMap::<String, u64>::new();
    for (number, (at, errno)) in (1..).zip(faults(calls.len())) {
        let trial = fresh(directory, number);
        let before = seen(&trial.tree);
        let (said, made) = run(trial.commit(), |call, _| (call == at).then_some(errno));
        let context = format!("{} {at} fails with {errno}: {said:?}", made.get(at).unwrap_or(&"nothing"));
        assert!(made.len() > at, "{context}: it never came to that");
        let promised = promised(&said, &context);
        if let Some(promised) = promised {
            trial.assert_is(promised, &before, &context);
        }
        let end = ended(&run(trial.settle(), |_, _| None).0, &context);
        assert!(promised.is_none_or(|promised| promised == end), "{context}: {end:?}");
        trial.assert_is(end, &before, &context);
        *heard.entry(said.iter().map(|said| reason(said)).collect::<Vec<_>>().join(", ")).or_default() += 1;
        fs::remove_dir_all(&trial.directory).expect("remove");
    }
    let names: BTreeSet<_> = calls.iter().collect();
    println!("{}: {} calls, of {} kinds; heard {heard:?}", who(), calls.len(), names.len());
    assert!(heard.len() > 3, "what failed made a difference, or the test has shown nothing");
}

fn all(directory: &Path) {
    let trial = fresh(directory, 0);
    let (_, calls) = run(trial.commit(), |_, _| None);
    let mut heard = BTreeMap::<String, u64>::new();
    for (number, (at, errno)) in (1..).zip(faults(calls.len())) {
        let trial = fresh(directory, number);
        let before = seen(&trial.tree);
        // What was there can still be read.
        let (said, _) = run(trial.commit(), |call, it| (call >= at && it.is_change).then_some(errno));
        let context = format!("from call {at} on {errno}: {said:?}");
        let promised = promised(&said, &context);
        if let Some(promised) = promised {
            trial.assert_is(promised, &before, &context);
        }
        let end = ended(&run(trial.settle(), |_, _| None).0, &context);
        assert!(promised.is_none_or(|promised| promised == end), "{context}: {end:?}");
        trial.assert_is(end, &before, &context);
        *heard.entry(said.iter().map(|said| reason(said)).collect::<Vec<_>>().join(", ")).or_default() += 1;
        fs::remove_dir_all(&trial.directory).expect("remove");
    }
    println!("{}: {} calls; heard {heard:?}", who(), calls.len());
    assert!(heard.keys().any(|said| said.contains("OutcomeUnknown")), "nothing was left to the next start");
}

/// What the tree is by what the process said; nothing is known of it where the outcome is.
fn promised(said: &[String], context: &str) -> Option<Ended> {
    for said in said.iter().filter(|said| *said != "ok") {
        assert!(TYPED.contains(&&*reason(said)), "{context}");
    }
    match said.iter().map(|said| reason(said)).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["OutcomeUnknown"] | ["ok", "OutcomeUnknown"] => None,
        ["ok", "ok"] => Some(Ended::Undone),
        ["ok", _] => Some(Ended::Committed),
        [_] => Some(Ended::Before),
        _ => panic!("{context}: it did not live to say anything"),
    }
}

fn reason(said: &str) -> String {
    said.split(' ').next().unwrap_or_default().to_owned()
}

fn who() -> &'static str {
    if is_root() { "root" } else { "a user" }
}

fn measuring(directory: &Path) {
    let trial = fresh(directory, 0);
    let (held, calls) = run(trial.measure(), |_, _| None);
    assert_eq!(held.len(), 1, "{held:?}");
    let mut failed = 0;
    for (number, (at, errno)) in (1..).zip(faults(calls.len())) {
        let trial = fresh(directory, number);
        let before = seen(&trial.tree);
        let (said, made) = run(trial.measure(), |call, _| (call == at).then_some(errno));
        let context = format!("{} {at} fails with {errno}: {said:?}", made.get(at).unwrap_or(&"nothing"));
        trial.assert_is(Ended::Before, &before, &context);
        match said.as_slice() {
            // What is held is the whole, or it says that it cannot be applied.
            [one] if *one == held[0] || one.starts_with("unsupported") => {}
            [one] if one.starts_with("effects") => panic!("{context}\nbut without a fault:\n{held:?}"),
            [why] => {
                assert!(TYPED.contains(&&*reason(why)), "{context}");
                failed += 1;
            }
            _ => panic!("{context}: it did not live to say anything"),
        }
        fs::remove_dir_all(&trial.directory).expect("remove");
    }
    println!("{}: {} calls, {failed} of them ended the preview", who(), calls.len());
    assert!(failed > 3, "what failed made a difference, or the test has shown nothing");
}
