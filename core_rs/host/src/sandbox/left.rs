//! What still runs when the command has ended: looked at by init, in its own namespace; ended, or left.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use prost::Message;

use super::told::{Answer, Left};
use super::{Told, init, tell};

/// Processes that are told; the rest is counted.
const MAX_TOLD: usize = 64;
/// Bytes of arguments that are told of each.
const MAX_ARGUMENT_BYTES: u64 = 4_097;
/// Longest answer: every number that can be told takes at most eleven bytes.
const MAX_ANSWER_BYTES: usize = 1_024;
/// How often it is looked whether what was killed is gone.
const KILLED: Duration = Duration::from_millis(1);
/// How long who may still become another program goes on.
const EARLY: Duration = Duration::from_millis(10);

/// Stops everybody else in the namespace and looks at them. Nobody can hide in between: a process that
/// is stopped starts no other.
pub(super) fn stop_and_look() -> (Vec<Left>, u64) {
    // SAFETY: -1 in a pid namespace means everybody else in it.
    unsafe { libc::kill(-1, libc::SIGSTOP) };
    let mut found: Vec<Left> = Vec::new();
    let mut more = 0;
    for pid in others() {
        if found.len() >= MAX_TOLD {
            more += 1;
            continue;
        }
        let program = fs::read_link(format!("/proc/{pid}/exe")).map(|path| path.into_os_string().into_vec());
        let arguments = read(pid, "cmdline").unwrap_or_default();
        found.push(Left { pid, program: program.unwrap_or_default(), arguments });
    }
    (found, more)
}

/// Stops everybody and asks which of them may stay, until there is an answer; nobody if none comes. What
/// was not told never may.
pub(super) fn ask(control: &mut UnixStream) -> Staying {
    loop {
        let stopped: Vec<i32> = others().filter(|pid| state(*pid) == Some(b'T')).collect();
        let (left, more_left) = stop_and_look();
        if left.is_empty() {
            return Staying::default();
        }
        tell(control, &Told { asks: true, left, more_left, ..Told::default() });
        let answer = hear(control).unwrap_or_default();
        if !answer.is_early {
            return Staying { stay: answer.stay, stopped };
        }
        wake_all_but(&stopped);
        std::thread::sleep(EARLY);
        if !init::has_children() {
            return Staying::default();
        }
    }
}

/// Who may stay, all of them stopped.
#[derive(Default)]
pub(super) struct Staying {
    stay: Vec<i32>,
    /// Who was stopped before.
    stopped: Vec<i32>,
}

impl Staying {
    pub(super) fn is_empty(&self) -> bool {
        self.stay.is_empty()
    }

    /// Kills everybody else, and waits until they are dead.
    pub(super) fn end_others(&self) {
        loop {
            let mut others = others().filter(|pid| !self.stay.contains(pid)).peekable();
            if others.peek().is_none() {
                return;
            }
            for pid in others {
                // SAFETY: a number of this namespace, of which init alone reaps; whoever has it is to die.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            init::has_children();
            std::thread::sleep(KILLED);
        }
    }

    /// Waits for the word to go on, lets them, and waits for the last one's end; or for nobody to hold
    /// them any more.
    pub(super) fn go_on(&self, control: &mut UnixStream, children: &OwnedFd) {
        if hear(control).is_none() {
            return;
        }
        wake_all_but(&self.stopped);
        while init::has_children() && init::is_held(control, children) {}
    }
}

fn wake_all_but(stopped: &[i32]) {
    for pid in others().filter(|pid| !stopped.contains(pid)) {
        // SAFETY: a number of this namespace; whoever has it is to go on.
        unsafe { libc::kill(pid, libc::SIGCONT) };
    }
}

fn hear(control: &mut UnixStream) -> Option<Answer> {
    let mut heard = Vec::new();
    let mut byte = [0];
    while heard.len() < MAX_ANSWER_BYTES && control.read(&mut byte).is_ok_and(|read| read == 1) {
        heard.push(byte[0]);
        if let Ok(answer) = Answer::decode_length_delimited(&*heard) {
            return Some(answer);
        }
    }
    None
}

/// Everybody else who is not dead.
fn others() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| *pid > 1);
    // One that is dead and not reaped yet has no memory.
    pids.filter(|pid| state(*pid).is_some_and(|state| state != b'Z'))
}

/// Its state (proc_pid_stat(5)).
fn state(pid: i32) -> Option<u8> {
    let status = read(pid, "stat")?;
    let after_name = status.iter().rposition(|byte| *byte == b')')?;
    status.get(after_name + 2).copied()
}

fn read(pid: i32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/{name}")).ok()?;
    file.take(MAX_ARGUMENT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
