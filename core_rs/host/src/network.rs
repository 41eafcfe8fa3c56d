//! The network of a command: nothing but what its permit names, connected from outside of its view.
//!
//! The command stays in its own empty network namespace. Its calls that name an address are trapped
//! (seccomp_unotify(2)); the supervisor reads the address once, compares it with the permit, connects
//! a new socket of the machine's to the very address it compared, and puts that in the place of the
//! caller's. No trapped call is ever let through: what the caller does to its memory or descriptors
//! meanwhile makes no difference. `docs/design/network.md` has the rules.

mod calls;
mod observe;
mod probe;
mod rules;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdop_contract::effect::unseen;
use cmdop_contract::v1::{EffectKind, NetworkChange, Observation, ObservedEffect, PermittedEffect};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::Error;
use crate::trapped::Contact;
use observe::Log;
pub(crate) use probe::probe;
use rules::Rules;
pub(crate) use rules::servers;
pub(crate) use sockets::{Kind, parse};

/// Calls of a command that are answered at the same time; the others wait.
const MAX_CALLS: usize = 256;
/// Time between two looks at whether connections are over, at least.
const LOOK: Duration = Duration::from_millis(10);
/// A look may take this part of the time.
const LOOK_SHARE: u32 = 20;

/// Files of the view by which its resolver finds the permitted names and asks nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) hosts: String,
    pub(crate) resolver: String,
    pub(crate) switch: String,
}

/// What one call may contact, and what it did. A cheap handle.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    call: String,
    rules: Rules,
    log: Mutex<Log>,
}

impl Network {
    /// True if a permit needs a network at all.
    #[must_use]
    pub fn is_needed(effects: &[PermittedEffect]) -> bool {
        effects.iter().any(|effect| effect.kind() == EffectKind::NetConnect)
    }

    /// What is to be said of a call that ended without a word about its contacts.
    #[must_use]
    pub fn unobserved(effects: &[PermittedEffect]) -> Option<Observation> {
        let why = "the host stopped or broke while it could make the contacts of its permit";
        Self::is_needed(effects).then(|| unseen([EffectKind::NetConnect], why))
    }

    /// Reads the contacts of a permit, and resolves the names in it. None of them is one of `servers`.
    ///
    /// # Errors
    /// INVALID_EFFECT or HOST_ERROR; nobody was contacted but the machine's resolver.
    pub(crate) async fn open(call: &str, effects: &[PermittedEffect], servers: &[SocketAddr]) -> Result<Self, Error> {
        let rules = Rules::of(effects, servers).await?;
        let log = Mutex::new(Log::new(rules.room()));
        Ok(Self { inner: Arc::new(Inner { call: call.to_owned(), rules, log }) })
    }

    /// What was contacted, once every process of the command is dead.
    #[must_use]
    pub fn effects(&self) -> Vec<ObservedEffect> {
        let mut log = self.inner.log.lock();
        log.release_all();
        log.effects()
    }

    /// What was attempted and refused.
    #[must_use]
    pub fn refused(&self) -> Vec<NetworkChange> {
        self.inner.log.lock().refused()
    }

    pub(crate) fn files(&self) -> Files {
        let switch = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
        let kept = switch.lines().filter(|line| !line.trim_start().starts_with("hosts:"));
        Files {
            hosts: self.inner.rules.hosts(),
            resolver: "# Names are resolved outside; only permitted ones are known.\n".to_owned(),
            switch: kept.chain(["hosts: files"]).map(|line| format!("{line}\n")).collect(),
        }
    }

    /// Answers the command's calls as they come. Dropping the set ends that.
    pub(crate) fn supervise(&self, incoming: UnboundedReceiver<Contact>) -> JoinSet<()> {
        let mut task = JoinSet::new();
        task.spawn(supervise(incoming, self.inner.clone()));
        task
    }
}

async fn supervise(mut incoming: UnboundedReceiver<Contact>, inner: Arc<Inner>) {
    let mut calls = JoinSet::new();
    let mut pause = LOOK;
    let mut init = None;
    loop {
        let is_open = inner.log.lock().open() > 0;
        tokio::select! {
            contact = incoming.recv(), if calls.len() < MAX_CALLS => {
                let Some(contact) = contact else { return };
                init = Some(contact.init);
                calls.spawn(calls::answer(contact.listener, contact.call, inner.clone(), contact.init));
            }
            Some(_) = calls.join_next(), if !calls.is_empty() => {}
            () = tokio::time::sleep(pause), if is_open => {
                let begun = Instant::now();
                init.iter().for_each(|init| inner.log.lock().release(*init));
                pause = LOOK.max(begun.elapsed() * LOOK_SHARE);
            }
        }
    }
}
