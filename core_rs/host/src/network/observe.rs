//! What was contacted, how much went each way, and what was refused.

#![allow(unsafe_code)]

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cmdop_contract::v1::{EffectKind, NetworkChange, ObservedEffect};

use super::rules::{Allowed, literal};

/// Places that are listed of what was refused; the rest is only counted.
const MAX_REFUSED: usize = 256;
/// Places that are listed of what was contacted. No more may be.
const MAX_CONTACTS: usize = 4_096;

/// One protocol, target, address and port.
type Place = (&'static str, String, SocketAddr);

/// Everything that a call contacted or tried to.
#[derive(Debug, Default)]
pub(super) struct Log {
    contacts: BTreeMap<Place, Contact>,
    refused: BTreeMap<(String, String, u32), u64>,
    /// Contacts that each effect of the permit still allows.
    room: Vec<Option<u64>>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Contact {
    name: String,
    count: u64,
    sent: u64,
    received: u64,
    begun: Instant,
    ended: Option<Instant>,
    /// Connections that are not over.
    open: usize,
}

/// A connection whose end is not known yet: a copy of its socket counts its bytes.
#[derive(Debug)]
struct Open {
    place: Place,
    socket: Arc<OwnedFd>,
    inode: u64,
}

impl Log {
    pub(super) fn new(room: Vec<Option<u64>>) -> Self {
        Self { room, ..Self::default() }
    }

    /// Notes a contact before it is made. False if the permit has no room for one more.
    pub(super) fn begin(&mut self, protocol: &'static str, allowed: &Allowed, address: SocketAddr) -> bool {
        let place = (protocol, allowed.target.clone(), address);
        if let Some(contact) = self.contacts.get_mut(&place).filter(|_| protocol == "udp") {
            // Resolvers connect datagram sockets only to see the way there: all to one place are one.
            contact.ended = Some(Instant::now());
            return true;
        }
        let is_full = self.contacts.len() >= MAX_CONTACTS && !self.contacts.contains_key(&place);
        let free = allowed.by.iter().copied().find(|at| self.room[*at].is_none_or(|left| left > 0));
        let Some(free) = free.filter(|_| !is_full) else { return false };
        if let Some(left) = &mut self.room[free] {
            *left -= 1;
        }
        let fresh = Contact {
            name: allowed.name.clone(),
            count: 0,
            sent: 0,
            received: 0,
            begun: Instant::now(),
            ended: None,
            open: 0,
        };
        let contact = self.contacts.entry(place).or_insert(fresh);
        contact.count += 1;
        contact.ended = Some(Instant::now());
        true
    }

    /// Keeps a copy of a connection's socket until nobody else has it.
    pub(super) fn keep(
        &mut self,
        protocol: &'static str,
        allowed: &Allowed,
        address: SocketAddr,
        socket: Arc<OwnedFd>,
    ) {
        let Ok(found) = rustix::fs::fstat(&socket) else { return };
        let place = (protocol, allowed.target.clone(), address);
        if let Some(contact) = self.contacts.get_mut(&place) {
            contact.open += 1;
            self.open.push(Open { place, socket, inode: found.st_ino });
        }
    }

    /// Notes a contact that the permit does not allow.
    pub(super) fn refuse(&mut self, protocol: &str, address: &str, port: u32) {
        let place = (protocol.to_owned(), address.to_owned(), port);
        let is_full = self.refused.len() >= MAX_REFUSED && !self.refused.contains_key(&place);
        let place = if is_full { Default::default() } else { place };
        *self.refused.entry(place).or_default() += 1;
    }

    /// Connections that are not over.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Lets go of the connections that no process beneath `init` holds any more: the other side hears of
    /// the end only when the copy is closed, too.
    pub(super) fn release(&mut self, init: libc::pid_t) {
        let held = sockets_of(init);
        let (still, over) = std::mem::take(&mut self.open).into_iter().partition(|open| held.contains(&open.inode));
        self.open = still;
        over.into_iter().for_each(|open| self.end(&open));
    }

    /// Every process is dead.
    pub(super) fn release_all(&mut self) {
        std::mem::take(&mut self.open).iter().for_each(|open| self.end(open));
    }

    fn end(&mut self, open: &Open) {
        let (sent, received) = transferred(&open.socket);
        if let Some(contact) = self.contacts.get_mut(&open.place) {
            contact.open -= 1;
            contact.sent += sent;
            contact.received += received;
            contact.ended = Some(Instant::now());
        }
    }

    pub(super) fn effects(&self) -> Vec<ObservedEffect> {
        self.contacts
            .iter()
            .map(|((protocol, target, address), contact)| effect(protocol, target, *address, contact))
            .collect()
    }

    pub(super) fn refused(&self) -> Vec<NetworkChange> {
        let refused = self.refused.iter().map(|((protocol, address, port), count)| NetworkChange {
            protocol: protocol.clone(),
            address: address.clone(),
            port: *port,
            count: *count,
            ..NetworkChange::default()
        });
        refused.collect()
    }
}

fn effect(protocol: &str, target: &str, address: SocketAddr, contact: &Contact) -> ObservedEffect {
    let lasted = contact.ended.unwrap_or_else(Instant::now).duration_since(contact.begun);
    ObservedEffect {
        kind: EffectKind::NetConnect.into(),
        target: target.to_owned(),
        count: contact.count,
        bytes: contact.sent + contact.received,
        reversible: false,
        file: None,
        process: None,
        network: Some(NetworkChange {
            protocol: protocol.to_owned(),
            name: contact.name.clone(),
            address: address.ip().to_string(),
            port: address.port().into(),
            bytes_sent: contact.sent,
            bytes_received: contact.received,
            duration_ns: u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX),
            count: contact.count,
        }),
    }
}

/// An audit line of what was refused. What the host tries by itself at its start belongs to no call, and
/// nobody need hear of it.
pub(super) fn audit(call: &str, protocol: &str, place: &str) {
    if call.is_empty() {
        return;
    }
    tracing::warn!(call, protocol, place, "refused a contact that the permit does not allow");
}

pub(super) fn place_of(address: SocketAddr) -> (String, String, u32) {
    (literal(address), address.ip().to_string(), address.port().into())
}

/// Payload sent and received by a TCP socket (tcp(7), `TCP_INFO`); nothing for others.
fn transferred(socket: &OwnedFd) -> (u64, u64) {
    /// `struct tcp_info` of Linux 4.19 and later; the C library's ends before what is needed.
    const RECEIVED: usize = 128;
    const SENT: usize = 200;
    const RETRANSMITTED: usize = 208;
    /// The other side ended its stream, and the end counts as a byte (tcp_states.h).
    const AFTER_END: [u8; 4] = [6, 8, 9, 11];
    let mut info = [0_u8; 256];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: a buffer of the length that is told, which lives until the call returns.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return (0, 0);
    }
    let number = |at: usize| {
        let bytes = info[at..at + 8].try_into().expect("eight bytes");
        if at + 8 <= length as usize { u64::from_ne_bytes(bytes) } else { 0 }
    };
    let end = u64::from(AFTER_END.contains(&info[0]));
    (number(SENT).saturating_sub(number(RETRANSMITTED)), number(RECEIVED).saturating_sub(end))
}

/// Inodes of all sockets that a process or a descendant of it holds (proc(5)).
fn sockets_of(init: libc::pid_t) -> HashSet<u64> {
    let mut held = HashSet::new();
    let mut waiting = vec![init];
    while let Some(process) = waiting.pop() {
        for task in list(&format!("/proc/{process}/task")) {
            let children = std::fs::read_to_string(task.join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|pid| pid.parse::<libc::pid_t>().ok()));
        }
        let links = list(&format!("/proc/{process}/fd")).into_iter().filter_map(|fd| std::fs::read_link(fd).ok());
        held.extend(
            links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()),
        );
    }
    held
}

fn list(path: &str) -> Vec<PathBuf> {
    std::fs::read_dir(path).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
