//! Contacts that lead to nobody: the command's network is an empty one, and sockets of the machine are closed.

use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use cmdop_contract::path::escape;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::bounded;
use crate::network::{Kind, parse};
use crate::notify::{Listener, Trapped};

/// Where libraries look by themselves, whatever they are used for.
const USUAL: [&[u8]; 3] = [b"/nscd/socket", b"/systemd/userdb/", b"/dev/log"];
/// State of a socket that waits for others (`/proc/net/tcp`).
const LISTENS: &str = "0A";

/// An address and port, with the protocol unless it is the usual one.
pub(super) fn named(protocol: &str, address: &str, port: u32) -> String {
    let place = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    if protocol == "tcp" { format!("connect {place}") } else { format!("connect {protocol} {place}") }
}

/// Whom a call wants to reach, if there is nobody. It is let through all the same.
pub(super) fn vain(listener: &Listener, call: &Trapped) -> Option<String> {
    let [_, connects, connects_length, _, sends, sends_length] = call.arguments;
    let is_connect = call.number == libc::SYS_connect;
    let (at, length) = if is_connect { (connects, connects_length) } else { (sends, sends_length) };
    let bytes = call.read_address(at, length).ok()?;
    let socket = call.copy().ok()?;
    if !listener.is_valid(call) {
        return None;
    }
    let kind = Kind::of(&socket).ok()?;
    match kind {
        Kind::Tcp { domain } | Kind::Udp { domain } => {
            let address = parse(&bytes, domain).ok()?;
            let is_tcp = matches!(kind, Kind::Tcp { .. });
            let has_server = || has_port(call, ["tcp", "tcp6"], address, Some(LISTENS));
            let has_peer = || has_port(call, ["udp", "udp6"], address, None);
            // To connect a datagram socket sends nothing: resolvers do it to see the way to a server.
            let is_way = || is_connect && (address.port() == 0 || has_server());
            let reaches = address.ip().is_loopback() && if is_tcp { has_server() } else { has_peer() || is_way() };
            (!reaches).then(|| named(kind.name(), &address.ip().to_string(), address.port().into()))
        }
        Kind::Unix => unix(call, bytes.get(2..)?),
        Kind::Other => None,
    }
}

/// Is there a socket of the command's own with this port, in this state?
fn has_port(call: &Trapped, tables: [&str; 2], address: SocketAddr, state: Option<&str>) -> bool {
    let port = format!(":{:04X}", address.port());
    let is_meant = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_port = fields.next().is_some_and(|own| own.ends_with(&port));
        is_port && state.is_none_or(|state| fields.nth(1) == Some(state))
    };
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{}/net/{name}", call.thread)).unwrap_or_default();
    tables.iter().any(|name| table(name).lines().any(is_meant))
}

/// A socket that the view shows and nobody of the command's own waits at.
fn unix(call: &Trapped, name: &[u8]) -> Option<String> {
    let (shown, file) = match name.split_first()? {
        (0, rest) => (format!("@{}", escape(rest)), None),
        _ => {
            let file = name.split(|byte| *byte == 0).next().unwrap_or_default();
            (escape(file), Some(file))
        }
    };
    let last = shown.rsplit('/').next().unwrap_or(&shown);
    let own = std::fs::read(format!("/proc/{}/net/unix", call.thread)).unwrap_or_default();
    let own = String::from_utf8_lossy(&own);
    if own.lines().any(|line| line.split_ascii_whitespace().nth(7).is_some_and(|path| path.ends_with(last))) {
        return None;
    }
    if let Some(file) = file {
        let is_usual = USUAL.iter().any(|usual| file.windows(usual.len()).any(|part| part == *usual));
        if is_usual || !is_socket(call, file) {
            return None;
        }
    }
    Some(bounded(format!("connect {shown}")))
}

fn is_socket(call: &Trapped, file: &[u8]) -> bool {
    let mut place = match file.strip_prefix(b"/") {
        Some(_) => file.to_vec(),
        None => {
            let cwd = std::fs::read_link(format!("/proc/{}/cwd", call.thread)).unwrap_or_default();
            [&*cwd.into_os_string().into_vec(), b"/"].concat()
        }
    };
    if !file.starts_with(b"/") {
        place.extend(file);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{}/root", call.thread), flags, Mode::empty());
    let place = Path::new(std::ffi::OsStr::from_bytes(&place));
    let found = root.and_then(|root| openat2(&root, place, flags, Mode::empty(), ResolveFlags::IN_ROOT));
    let kind = found.and_then(|found| fstat(&found)).map(|found| FileType::from_raw_mode(found.st_mode));
    kind == Ok(FileType::Socket)
}
