//! Hosts that attached: what they said they can do, and the way to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cmdop_contract::name::{GRAMMAR, Name};
use cmdop_contract::tool::COMMAND;
use cmdop_contract::v1::{self, Host, HostHello, HostToServer, Reason, ServerToHost, host_to_server, server_to_host};
use cmdop_contract::{near, reason};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::Gate;
use crate::live::Input;

/// Every host that ever attached to this server, attached or not.
#[derive(Default)]
pub(crate) struct Hosts {
    known: Mutex<BTreeMap<String, Known>>,
    next_link: AtomicU64,
}

struct Known {
    host: Arc<Host>,
    link: Option<Link>,
}

struct Link {
    id: u64,
    frames: mpsc::Sender<ServerToHost>,
}

impl Hosts {
    /// Hosts of earlier lives of this server, as the ledger knows them.
    pub(crate) fn remember(&self, hosts: impl IntoIterator<Item = Host>) {
        let mut known = self.known.lock();
        for mut host in hosts {
            host.attached = false;
            known.entry(host.name.clone()).or_insert(Known { host: Arc::new(host), link: None });
        }
    }

    pub(crate) fn list(&self) -> Vec<Host> {
        self.known.lock().values().map(|known| Host::clone(&known.host)).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Host>, v1::Error> {
        let known = self.known.lock();
        known.get(name).map(|known| known.host.clone()).ok_or_else(|| unknown(name, known.keys()))
    }

    /// The host if it is attached.
    pub(crate) fn attached(&self, name: &str) -> Result<Arc<Host>, v1::Error> {
        let host = self.get(name)?;
        if host.attached { Ok(host) } else { Err(gone(name)) }
    }

    /// Hands a frame to a host's link.
    pub(crate) fn send(&self, name: &str, frame: server_to_host::Kind) -> Result<(), v1::Error> {
        let known = self.known.lock();
        let link = known.get(name).and_then(|known| known.link.as_ref()).ok_or_else(|| gone(name))?;
        // A full queue means that the host does not read: the same as being away.
        link.frames.try_send(ServerToHost { kind: Some(frame) }).map_err(|_| gone(name))
    }

    fn link(&self, mut host: Host, frames: mpsc::Sender<ServerToHost>) -> Result<u64, v1::Error> {
        let mut known = self.known.lock();
        if let Some(Known { link: Some(link), .. }) = known.get(&host.name)
            && !link.frames.is_closed()
        {
            let message = format!("a host named `{}` is attached already; give this one another name", host.name);
            return Err(reason::error(Reason::ProtocolViolation, message));
        }
        let id = self.next_link.fetch_add(1, Ordering::Relaxed);
        host.attached = true;
        known.insert(host.name.clone(), Known { host: Arc::new(host), link: Some(Link { id, frames }) });
        Ok(id)
    }

    /// Does this link still carry the host?
    fn is_current(&self, name: &str, id: u64) -> bool {
        let known = self.known.lock();
        known.get(name).and_then(|known| known.link.as_ref()).is_some_and(|link| link.id == id)
    }

    /// Is there a way to the host now? One that drains still reports.
    pub(crate) fn is_linked(&self, name: &str) -> bool {
        self.known.lock().get(name).is_some_and(|known| known.link.is_some())
    }

    /// Forgets a link. False if a newer one has taken its place.
    fn unlink(&self, name: &str, id: u64) -> bool {
        let mut known = self.known.lock();
        let Some(entry) = known.get_mut(name) else { return false };
        if entry.link.as_ref().is_none_or(|link| link.id != id) {
            return false;
        }
        entry.link = None;
        Arc::make_mut(&mut entry.host).attached = false;
        true
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> v1::Error {
    let known: Vec<_> = known.map(String::as_str).collect();
    let (expected, there_are) = match known.join(", ") {
        none if none.is_empty() => ("a host that has attached; none has yet".to_owned(), "nor has another".to_owned()),
        hosts => (format!("the name of a host that has attached: {hosts}"), format!("known hosts: {hosts}")),
    };
    let message = format!("no host named `{name}` has ever attached; {there_are}");
    let error = reason::error(Reason::UnknownHost, message).fix_arguments("/host", &expected);
    match meant(name, &known) {
        Some(host) => error.by(reason::value(host)),
        None => error,
    }
}

/// The host that a name can only mean: a slip of one, or this machine where just one is known.
fn meant<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = |text: &str| text.to_lowercase().replace(['-', '_', '.', ' '], "");
    let alike = known.iter().copied().filter(|host| folded(host) == folded(name));
    let local = || match known {
        [only @ "local"] if matches!(name, "" | "localhost" | "127.0.0.1" | "::1") => Some(*only),
        _ => None,
    };
    let mut alike = alike.collect::<Vec<_>>();
    let only = alike.pop().filter(|_| alike.is_empty());
    only.or_else(local).or_else(|| near::surely(name, known.iter().copied()))
}

/// Has the host this tool, by what it said when it attached?
///
/// # Errors
/// UNKNOWN_TOOL, with the tools that it has.
pub(crate) fn check_has(host: &Host, tool: &str) -> Result<(), v1::Error> {
    // One that says nothing of its tools is asked when the call is carried out; and why it runs no commands it explains
    // better by its capabilities.
    if host.tools.is_empty() || tool == COMMAND || host.tools.iter().any(|has| has == tool) {
        return Ok(());
    }
    let has = host.tools.join(", ");
    let kind = if host.fixture { "fixture" } else { "host" };
    let message = format!("the {kind} `{}` has no tool `{tool}`, so nothing was asked of anybody", host.name);
    Err(reason::error(Reason::UnknownTool, message).fix_arguments("/tool", &format!("a tool of this host: {has}")))
}

/// A daemon that died is up again after a few seconds.
const RESTART_MS: u64 = 5_000;

fn gone(name: &str) -> v1::Error {
    let message = format!("host `{name}` is not attached, so nothing was sent to it; start its daemon or try again");
    reason::error(Reason::HostUnavailable, message).retry_after(RESTART_MS)
}

/// A host's presence. Dropping it detaches the host.
pub struct Attachment {
    gate: Gate,
    name: Name,
    link: u64,
}

impl Attachment {
    /// Attaches a host under the name it gives.
    ///
    /// # Errors
    /// UNSUPPORTED_PROTOCOL, or PROTOCOL_VIOLATION if the name is none or taken.
    pub(crate) fn new(
        gate: Gate,
        hello: HostHello,
        frames: mpsc::Sender<ServerToHost>,
    ) -> Result<(Self, u32), v1::Error> {
        let protocol = crate::negotiate(hello.min_protocol, hello.max_protocol)?;
        let host = hello.host.unwrap_or_default();
        let name = Name::parse(&host.name).map_err(|not_a_name| {
            let message = format!("a host must say its name when it attaches: {not_a_name}");
            reason::error(Reason::ProtocolViolation, message).fix_arguments("/name", GRAMMAR)
        })?;
        let link = gate.shared().hosts.link(host.clone(), frames)?;
        gate.note_host_attached(host);
        Ok((Self { gate, name, link }, protocol))
    }

    /// Name of the host.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Tells the calls of this host that it is there. Call it after the host was welcomed.
    pub async fn ready(&self) {
        self.gate.notify_host_calls(self.name(), || Input::Attached).await;
    }

    /// Takes a frame that came from the host. A host speaks for its own calls only, and only while
    /// nobody else has its name.
    pub async fn frame(&self, frame: HostToServer) {
        use host_to_server::Kind;
        if !self.gate.shared().hosts.is_current(self.name(), self.link) {
            return;
        }
        let (host, gate) = (self.name(), &self.gate);
        match frame.kind {
            Some(Kind::Started(v1::Started { permit_id, call_id })) => {
                let _ = gate.notify_from(host, &call_id, Input::Started { permit_id }).await;
            }
            Some(Kind::Output(output)) => gate.push_output(host, output),
            Some(Kind::Report(report)) => {
                let call_id = report.call_id.clone();
                let told = gate.notify_from(host, &call_id, Input::Report(Box::new(report))).await;
                if let Err(Input::Report(report)) = told {
                    gate.answer_late(host, &report).await;
                }
            }
            Some(Kind::Forgotten(v1::Forgotten { permit_id, call_id, ledger })) => {
                let _ = gate.notify_from(host, &call_id, Input::Forgotten { permit_id, ledger }).await;
            }
            Some(Kind::Draining(_)) => gate.shared().hosts.drain(host, self.link),
            Some(Kind::Hello(_) | Kind::Heartbeat(_)) | None => {}
        }
    }
}

impl Hosts {
    /// The host takes no new permits, but its reports still come.
    fn drain(&self, name: &str, id: u64) {
        let mut known = self.known.lock();
        if let Some(entry) = known.get_mut(name)
            && entry.link.as_ref().is_some_and(|link| link.id == id)
        {
            Arc::make_mut(&mut entry.host).attached = false;
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if self.gate.shared().hosts.unlink(self.name(), self.link) {
            self.gate.note_host_detached(self.name());
        }
    }
}
