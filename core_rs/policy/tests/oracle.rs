//! The standing oracle: bash itself says what random scripts would run, and each run must have been seen.
//!
//! Nothing external can run: `PATH` names nothing, no script holds a slash, the working directory is
//! empty, and the builtins that could reach further are switched off. What bash does not find, it
//! hands to a function that writes down directory and words.
//!
//! `CMDOP_ORACLE_SCRIPTS` and `CMDOP_ORACLE_SEED` set how many and which.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cmdop_contract::v1::Invocation;
use cmdop_policy::shell::{ShellContext, resolve};
use support::random::{Random, script};

/// Between words, between directory and words, and after a record.
const SEPARATORS: [char; 3] = ['\x1f', '\x1e', '\x1d'];

struct Ran {
    cwd: String,
    words: Vec<String>,
}

/// Runs a script with programs that all end with `status`.
fn run(script: &str, directory: &Path, log: &Path, status: usize) -> Vec<Ran> {
    let prelude = format!(
        "command_not_found_handle() {{ IFS=$'\\x1f'; builtin printf '%s\\x1e%s\\x1d' \"$PWD\" \"$*\" >>'{}'; return {status}; }}\n\
         enable -n kill exec source . trap ulimit suspend coproc fc history bind; enable -n enable\n",
        log.display()
    );
    let mut bash = Command::new(program("timeout"));
    bash.args(["-k", "1", "3"]).arg(program("bash")).args(["--norc", "--noprofile", "-c"]).arg(prelude + script);
    bash.env_clear().env("PATH", "/nonexistent").env("HOME", "/home/u").current_dir(directory);
    let status = bash.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.expect("bash and timeout are installed");
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let records = text.split_terminator(SEPARATORS[2]);
    records
        .map(|record| {
            let (cwd, words) = record.split_once(SEPARATORS[1]).expect("a directory and words");
            Ran { cwd: cwd.to_owned(), words: words.split(SEPARATORS[0]).map(str::to_owned).collect() }
        })
        .collect()
}

/// Found by this process's PATH, because the child gets none.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed"))
}

fn saw(invocation: &Invocation, ran: &Ran) -> bool {
    let globbed = |index: usize| invocation.globbed.iter().any(|globbed| *globbed as usize == index);
    let words: Vec<(&str, bool)> =
        invocation.argv.iter().enumerate().map(|(index, word)| (word.as_str(), globbed(index))).collect();
    (invocation.cwd.is_empty() || invocation.cwd == ran.cwd) && all_match(&words, &ran.words)
}

/// A glob may have become several words.
fn all_match(words: &[(&str, bool)], ran: &[String]) -> bool {
    match (words, ran) {
        ([], []) => true,
        ([(word, false), words @ ..], [first, ran @ ..]) => word == first && all_match(words, ran),
        ([(word, true), rest @ ..], [first, ran @ ..]) => {
            matches(word.as_bytes(), first.as_bytes()) && (all_match(rest, ran) || all_match(words, ran))
        }
        _ => false,
    }
}

/// Does a region hold this text?
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'\\', b'x', high, low, rest @ ..] => {
            let byte = u8::from_str_radix(&String::from_utf8_lossy(&[*high, *low]), 16);
            byte.is_ok_and(|byte| text.first() == Some(&byte)) && matches(rest, &text[1..])
        }
        [b'\\', literal, rest @ ..] => text.first() == Some(literal) && matches(rest, &text[1..]),
        [literal, rest @ ..] => text.first() == Some(literal) && matches(rest, &text[1..]),
    }
}

/// A script could otherwise name a file outside, or escape to one.
fn is_harmless(script: &str) -> bool {
    let escapes = ["\\x", "\\u", "\\U", "\\0", "\\1", "\\2", "\\3", "\\4", "\\5", "\\6", "\\7"];
    !script.contains('/') && !escapes.iter().any(|escape| script.contains(escape))
}

#[derive(Default)]
struct Tally {
    scripts: usize,
    held: usize,
    runs: usize,
    unseen: Vec<String>,
}

fn compare(seed: u64, count: usize) -> Tally {
    let root = tempfile::tempdir().expect("a temporary directory");
    let directory = root.path().join("cwd");
    std::fs::create_dir_all(directory.join("sub")).expect("an empty directory");
    let cwd = directory.to_str().expect("a path that is text").to_owned();
    let env = BTreeMap::new();
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    while tally.scripts < count {
        let script = script(&mut random);
        if !is_harmless(&script) {
            continue;
        }
        tally.scripts += 1;
        let ctx = ShellContext { cwd: &cwd, home: "/home/u", env: &env };
        let Some(found) = resolve(&script, &ctx).ok().filter(|found| found.unanalysable.is_empty()) else {
            tally.held += 1;
            continue;
        };
        // A background command may outlive its script: each has a log of its own.
        let log = root.path().join(format!("log-{}", tally.scripts));
        for ran in run(&script, &directory, &log, tally.scripts % 2) {
            tally.runs += 1;
            if !found.invocations.iter().any(|invocation| saw(invocation, &ran)) {
                let seen: Vec<_> = found.invocations.iter().map(|found| (&found.argv, &found.cwd)).collect();
                tally.unseen.push(format!("{script}\n  ran {:?} in {}\n  saw {seen:?}", ran.words, ran.cwd));
            }
        }
    }
    tally
}

#[test]
fn whatever_bash_runs_was_seen_or_the_script_was_held() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seed, count) = (number("CMDOP_ORACLE_SEED", 1), number("CMDOP_ORACLE_SCRIPTS", 3_000) as usize);
    println!("CMDOP_ORACLE_SEED={seed} CMDOP_ORACLE_SCRIPTS={count}");
    let halves = [seed.wrapping_mul(2), seed.wrapping_mul(2) + 1];
    let halves = halves.map(|seed| std::thread::spawn(move || compare(seed, count / 2)));
    let mut total = Tally::default();
    for half in halves {
        let tally = half.join().expect("the comparison ends");
        total.scripts += tally.scripts;
        total.held += tally.held;
        total.runs += tally.runs;
        total.unseen.extend(tally.unseen);
    }
    println!("{} scripts, {} held, {} program runs", total.scripts, total.held, total.runs);
    assert!(
        total.unseen.is_empty(),
        "{} unseen:\n{}",
        total.unseen.len(),
        total.unseen.iter().take(12).cloned().collect::<Vec<_>>().join("\n\n")
    );
    assert!(total.held < total.scripts * 3 / 4, "so much is held that little is shown");
    assert!(total.runs > total.scripts / 4, "so little ran that little is shown");
}
