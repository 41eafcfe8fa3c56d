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

/// Asks which of what is left may stay; nothing if nobody answers. What was not told never may.
pub(super) fn ask(control: &mut UnixStream, left: Vec<Left>, more_left: u64) -> Vec<i32> {
    tell(control, &Told { asks: true, left, more_left, ..Told::default() });
    hear(control).map(|answer| answer.stay).unwrap_or_default()
}

/// Kills everybody but these, who are all stopped, and waits until they are dead.
pub(super) fn end_all_but(stay: &[i32]) {
    loop {
        let mut others = others().filter(|pid| !stay.contains(pid)).peekable();
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

/// Waits for the word to go on, lets those go on who are left, and waits for the last one's end; or for
/// nobody to hold them any more.
pub(super) fn stay(control: &mut UnixStream, children: &OwnedFd) {
    if hear(control).is_none() {
        return;
    }
    // SAFETY: -1 in a pid namespace means everybody else in it.
    unsafe { libc::kill(-1, libc::SIGCONT) };
    while init::has_children() && init::is_held(control, children) {}
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
    let is_dead =
        |status: Vec<u8>| status.rsplit(|byte| *byte == b')').next().is_some_and(|rest| rest.starts_with(b" Z"));
    pids.filter(move |pid| !read(*pid, "stat").is_none_or(is_dead))
}

fn read(pid: i32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/{name}")).ok()?;
    file.take(MAX_ARGUMENT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
