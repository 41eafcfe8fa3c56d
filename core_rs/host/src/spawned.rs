//! What a command starts: every program, with its file, its arguments and its digest.
//!
//! A filter traps each `execve` (seccomp_unotify(2)), so none is missed; but what a trapped call asks
//! for lies in memory that others can change. So the caller is held by ptrace(2) from there until the
//! new program is in place, and is looked at before its first instruction: file and arguments are then
//! the kernel's own. Nothing is traced before or after. `docs/design/confinement.md` has the choices.

#![allow(unsafe_code)]

mod caught;
mod probe;
mod program;

use std::collections::HashMap;
use std::sync::Arc;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, ObservedEffect, ProcessChange, Unobserved};
use parking_lot::Mutex;

use crate::notify::{Listener, Trapped};
use crate::sandbox::is_within;
use caught::{Caught, Look};
pub(crate) use probe::probe;
pub use program::Programs;
pub(crate) use program::words;

/// Calls by which a program is started.
pub(crate) const EXECS: [libc::c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];

/// Different programs and arguments that are listed each; as many programs again without their arguments.
const MAX_LISTED: usize = 256;
/// Bytes of program files that are hashed for one call.
const MAX_HASHED_BYTES: u64 = 1 << 30;

/// A program with what it was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Started {
    /// Program file as the command sees it.
    pub(crate) program: Vec<u8>,
    /// Lower-case hex; empty if it was not computed.
    pub(crate) sha256: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) is_truncated: bool,
}

/// What one call started. A cheap handle.
#[derive(Debug, Clone)]
pub struct Processes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    programs: Programs,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    /// In the order in which they came first, with how often.
    listed: Vec<(Started, u64)>,
    places: HashMap<Started, usize>,
    /// Started and not listed.
    surplus: u64,
    /// Let through without having been seen.
    missed: u64,
    /// Bytes that may still be hashed.
    room: u64,
}

impl Processes {
    /// Nothing yet; digests that are known already are not computed again.
    #[must_use]
    pub fn new(programs: &Programs) -> Self {
        let log = Log { listed: Vec::new(), places: HashMap::new(), surplus: 0, missed: 0, room: MAX_HASHED_BYTES };
        Self { inner: Arc::new(Inner { programs: programs.clone(), log: Mutex::new(log) }) }
    }

    /// Every program that was started.
    #[must_use]
    pub fn looks(&self) -> Vec<ObservedEffect> {
        let log = self.inner.log.lock();
        log.listed.iter().map(|(started, count)| started.effect(EffectKind::ProcessSpawn, *count, 0)).collect()
    }

    /// Why that is not all.
    #[must_use]
    pub fn unobserved(&self) -> Option<Unobserved> {
        let log = self.inner.log.lock();
        let why = match (log.surplus, log.missed) {
            (0, 0) => return None,
            (surplus, 0) => format!("{surplus} more programs were started than are listed"),
            (_, missed) => format!("{missed} programs were started that the host could not look at"),
        };
        Some(Unobserved { kind: EffectKind::ProcessSpawn.into(), why })
    }

    /// Lets a trapped `execve` go on, and sees what becomes of it. Blocks until that is known: the thread
    /// that calls this traces the caller meanwhile, and nobody else. What a command begins with, as long as it has not
    /// `begun`, is killed if it is no file of its view (`sandbox/image.rs`).
    pub(crate) fn let_through(&self, listener: &Listener, call: &Trapped, begun: &mut bool) {
        let inner = &self.inner;
        let is_first = !std::mem::replace(begun, true);
        let look = |process| {
            let may_begin = !is_first || is_within(process);
            let looked = inner.programs.look(process, &mut inner.log.lock().room);
            Look { looked, may_begin }
        };
        match caught::follow(listener, call, is_first, look) {
            Caught::Started(started) => inner.log.lock().add(started),
            Caught::Nothing => *begun = !is_first,
            Caught::Missed => inner.log.lock().missed += 1,
        }
    }
}

impl Log {
    fn add(&mut self, mut started: Started) {
        if let Some(place) = self.places.get(&started) {
            self.listed[*place].1 += 1;
            return;
        }
        if self.listed.len() >= MAX_LISTED {
            started.is_truncated = !started.arguments.is_empty();
            started.arguments.clear();
        }
        let place = match self.places.get(&started) {
            Some(place) => *place,
            None if self.listed.len() >= 2 * MAX_LISTED => {
                self.surplus += 1;
                return;
            }
            None => {
                self.places.insert(started.clone(), self.listed.len());
                self.listed.push((started, 0));
                self.listed.len() - 1
            }
        };
        self.listed[place].1 += 1;
    }
}

impl Started {
    /// As an effect on the process, by its program's name; `pid` is its number on the machine, if it matters.
    pub(crate) fn effect(&self, kind: EffectKind, count: u64, pid: u32) -> ObservedEffect {
        ObservedEffect {
            kind: kind.into(),
            target: self.name(),
            count,
            process: Some(ProcessChange {
                program: escape(&self.program),
                arguments: self.arguments.clone(),
                arguments_truncated: self.is_truncated,
                sha256: self.sha256.clone(),
                pid,
                ..ProcessChange::default()
            }),
            ..ObservedEffect::default()
        }
    }

    /// The name by which policies know it: that of its file.
    pub(crate) fn name(&self) -> String {
        // What the kernel adds to the path of a file that is gone (proc_pid_exe(5)).
        let path = self.program.strip_suffix(b" (deleted)").unwrap_or(&self.program);
        let name = String::from_utf8_lossy(path.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        // A literal in a grammar of names and numbers, which knows no other way to write these.
        let literal: String = name.chars().map(|c| if c == '*' || c.is_control() { '\u{fffd}' } else { c }).collect();
        match literal.strip_prefix("pid:") {
            None if literal.is_empty() => "unknown".to_owned(),
            None => literal,
            Some(_) => format!("./{literal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(program: &str, argument: usize) -> Started {
        let arguments = vec![program.to_owned(), argument.to_string()];
        Started { program: program.into(), arguments, ..Started::default() }
    }

    #[test]
    fn what_is_started_is_counted_and_the_list_is_bounded() {
        let processes = Processes::new(&Programs::default());
        let mut log = processes.inner.log.lock();
        for number in 0..MAX_LISTED + 10 {
            log.add(started("/bin/a", number));
        }
        log.add(started("/bin/a", 0));
        for number in 0..MAX_LISTED + 10 {
            log.add(started(&format!("/bin/{number}"), 0));
        }
        drop(log);
        let looks = processes.looks();
        assert_eq!(looks.len(), 2 * MAX_LISTED);
        assert_eq!((looks[0].count, looks[1].count), (2, 1));
        let folded = looks[MAX_LISTED].process.clone().expect("a process");
        assert_eq!((looks[MAX_LISTED].count, folded.arguments.len(), folded.arguments_truncated), (10, 0, true));
        let all: u64 = looks.iter().map(|look| look.count).sum();
        let more = 2 * MAX_LISTED as u64 + 21 - all;
        let why = processes.unobserved().expect("not all are listed").why;
        assert!(why.starts_with(&format!("{more} more")), "{why}");
    }

    #[test]
    fn a_process_is_named_by_its_file() {
        for (program, name) in [
            ("/usr/bin/ls", "ls"),
            ("/x/y (deleted)", "y"),
            ("/memfd:a*b (deleted)", "memfd:a\u{fffd}b"),
            ("/x/pid:1", "./pid:1"),
            ("", "unknown"),
        ] {
            assert_eq!(Started { program: program.into(), ..Started::default() }.name(), name);
        }
    }
}
