//! What a command tried and its confinement refused: told with the call, bounded, counted.
//!
//! The filter that refuses a system call asks whoever answers the command's trapped calls
//! (`sandbox/trap.rs`), who notes it and says EPERM. Calls that fail by themselves because there is nobody to
//! be reached, a signal or a contact, are noted and let through: what they name is worth telling, and
//! nothing is decided by it. What is hidden is watched (`attempts/places.rs`).

#![allow(unsafe_code)]

mod calls;
mod contacts;
mod places;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{NetworkChange, RefusedAttempt};
use parking_lot::Mutex;

use crate::notify::{Listener, Trapped};
use places::Places;

/// Different attempts that are listed.
const MAX_LISTED: usize = 64;
/// Characters of what was tried, and of who did.
const MAX_TEXT: usize = 256;
/// Attempts that are answered at once. Each further one waits, so a flood costs its own command and nobody else.
const AT_ONCE: u64 = 1_024;
const PAUSE: Duration = Duration::from_millis(1);

/// What one call's command tried. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    listed: Vec<RefusedAttempt>,
    /// Not listed.
    more: u64,
    count: u64,
    places: Places,
}

impl Attempts {
    /// What was tried, in the order in which it came, and how much more.
    pub(crate) fn told(&self) -> (Vec<RefusedAttempt>, u64) {
        let mut log = self.log.lock();
        for (what, count) in log.places.take() {
            log.note(what, String::new(), count);
        }
        (log.listed.clone(), log.more)
    }

    /// Notes what the supervisor of the command's network refused.
    pub(crate) fn add_contacts(&self, refused: &[NetworkChange]) {
        let mut log = self.log.lock();
        for contact in refused {
            let what = match (&*contact.protocol, &*contact.address) {
                ("", _) | (_, "") => "contact by a socket that is not of the internet".to_owned(),
                (protocol, address) => contacts::named(protocol, address, contact.port),
            };
            log.note(what, String::new(), contact.count);
        }
    }

    /// Watches what the command, whose first process this is, finds empty.
    pub(crate) fn watch(&self, init: libc::pid_t, hidden: &[PathBuf]) {
        self.log.lock().places = Places::watch(init, hidden);
    }

    /// Answers a call that was refused, or that names what may be outside.
    pub(crate) fn answer(&self, listener: &Listener, call: &Trapped, init: libc::pid_t) {
        let (what, is_refused) = match calls::aim(call) {
            calls::Aim::Process(pid) => (calls::outside(call, pid, init), false),
            calls::Aim::Address => (contacts::vain(listener, call), false),
            calls::Aim::Beyond => (Some(calls::name(call)), true),
        };
        if let Some(what) = what {
            let program = program(call);
            // What was read by the caller's number was its own only if it waits until now.
            if listener.is_valid(call) && self.log.lock().note(what, program, 1) > AT_ONCE {
                std::thread::sleep(PAUSE);
            }
        }
        if is_refused {
            listener.answer(call, Err(libc::EPERM));
        } else {
            listener.let_through(call);
        }
    }
}

impl Log {
    /// How many there were with this one.
    fn note(&mut self, what: String, program: String, count: u64) -> u64 {
        self.count = self.count.saturating_add(count);
        match self.listed.iter().position(|one| one.what == what && one.program == program) {
            Some(known) => self.listed[known].count = self.listed[known].count.saturating_add(count),
            None if self.listed.len() < MAX_LISTED => self.listed.push(RefusedAttempt { what, program, count }),
            None => self.more = self.more.saturating_add(count),
        }
        self.count
    }
}

/// The program file of who calls, as the command sees it.
fn program(call: &Trapped) -> String {
    let exe = std::fs::read_link(format!("/proc/{}/exe", call.thread)).unwrap_or_default();
    bounded(escape(exe.as_os_str().as_bytes()))
}

fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_and_the_list_is_bounded() {
        let attempts = Attempts::default();
        for number in 0..MAX_LISTED + 10 {
            attempts.log.lock().note(format!("socket {number}"), "/bin/a".into(), 1);
        }
        attempts.log.lock().note("socket 0".into(), "/bin/a".into(), 4);
        let (listed, more) = attempts.told();
        assert_eq!((listed.len(), listed[0].count, listed[1].count, more), (MAX_LISTED, 5, 1, 10));
        assert_eq!(bounded("é".repeat(MAX_TEXT + 1)).chars().count(), MAX_TEXT);
    }
}
