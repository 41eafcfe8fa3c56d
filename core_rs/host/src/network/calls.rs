//! Answering a trapped call: connecting and sending in the caller's place.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;

use super::Inner;
use super::observe::{audit, place_of};
use super::rules::Allowed;
use super::sockets::{self, Kind};
use crate::notify::{Listener, Trapped, watch};

/// How long a connection may take to be made: the caller waits in its call, also if its socket would
/// not have made it wait.
const CONNECT: Duration = Duration::from_secs(60);
const CONNECT_NONBLOCKING: Duration = Duration::from_secs(10);
/// Connections that a call may have open at the same time: each costs this process a descriptor.
const MAX_OPEN: usize = 256;
/// Bytes of one stream message that are sent at once; the caller hears how many.
const MAX_STREAM: usize = 1 << 20;
/// A datagram is never longer (udp(7)).
const MAX_DATAGRAM: usize = 65_535;
/// Pieces of a message (readv(2), `IOV_MAX`).
const MAX_PIECES: u64 = 1_024;
/// `struct msghdr` on 64 bits; `struct mmsghdr` has the count of bytes right behind it.
const MESSAGE: usize = 56;

/// A message as its caller wants it sent.
struct Message {
    address: Option<Vec<u8>>,
    bytes: Vec<u8>,
    flags: libc::c_int,
}

/// A call with what it is about, read while its caller still waited.
struct Asked<'a> {
    listener: &'a Listener,
    call: Trapped,
    inner: &'a Inner,
    init: libc::pid_t,
    theirs: OwnedFd,
    kind: Kind,
}

pub(super) async fn answer(listener: Arc<Listener>, call: Trapped, inner: Arc<Inner>, init: libc::pid_t) {
    let answer = match call.copy().and_then(|theirs| Ok((Kind::of(&theirs)?, theirs))) {
        Ok((kind, theirs)) => {
            let asked = Asked { listener: &listener, call, inner: &inner, init, theirs, kind };
            match call.number {
                libc::SYS_connect => asked.connect().await,
                libc::SYS_sendto => asked.send_to().await,
                libc::SYS_sendmsg => asked.send_message().await,
                libc::SYS_sendmmsg => asked.send_messages().await,
                _ => Err(libc::ENOSYS),
            }
        }
        Err(errno) => Err(errno),
    };
    listener.answer(&call, answer);
}

impl Asked<'_> {
    async fn connect(&self) -> Result<i64, i32> {
        let [_, at, length, ..] = self.call.arguments;
        let bytes = self.call.read_address(at, length)?;
        self.still_waits()?;
        let address = self.parse(&bytes)?;
        if sockets::peer(&self.theirs).is_some() && matches!(self.kind, Kind::Tcp { .. }) {
            return Err(libc::EISCONN);
        }
        self.replace(address).await?;
        Ok(0)
    }

    async fn send_to(&self) -> Result<i64, i32> {
        let [_, at, length, flags, address, address_length] = self.call.arguments;
        let address = Some(self.call.read_address(address, address_length)?);
        let bytes = self.gather(&[(at, length)])?;
        self.still_waits()?;
        self.send(&Message { address, bytes, flags: flags as libc::c_int }).await
    }

    async fn send_message(&self) -> Result<i64, i32> {
        let [_, at, flags, ..] = self.call.arguments;
        let message = self.read_message(at, flags)?;
        self.still_waits()?;
        self.send(&message).await
    }

    /// Sends the first of many: the caller hears that it was one, and comes back with the rest.
    async fn send_messages(&self) -> Result<i64, i32> {
        let [_, at, count, flags, ..] = self.call.arguments;
        if count as libc::c_uint == 0 {
            return Ok(0);
        }
        let message = self.read_message(at, flags)?;
        self.still_waits()?;
        let sent = self.send(&message).await?;
        let sent = u32::try_from(sent).map_err(|_| libc::EMSGSIZE)?;
        self.call.write(self.listener, at + MESSAGE as u64, sent)?;
        Ok(1)
    }

    /// Everything that was read by the caller's number was its own only if it waits until now.
    fn still_waits(&self) -> Result<(), i32> {
        if self.listener.is_valid(&self.call) { Ok(()) } else { Err(libc::EINTR) }
    }

    fn parse(&self, bytes: &[u8]) -> Result<SocketAddr, i32> {
        match self.kind {
            Kind::Tcp { domain } | Kind::Udp { domain } => sockets::parse(bytes, domain),
            Kind::Unix | Kind::Other => {
                audit(&self.inner.call, self.kind.name(), "a socket that is not of the internet");
                self.inner.log.lock().refuse(self.kind.name(), "", 0);
                Err(libc::EPERM)
            }
        }
    }

    /// Puts a socket that is connected to this address in the place of the caller's.
    async fn replace(&self, address: SocketAddr) -> Result<Arc<OwnedFd>, i32> {
        let allowed = self.allow(address)?;
        let is_blocking = sockets::is_blocking(&self.theirs);
        let closes = self.call.closes_on_exec();
        let ours = sockets::like(&self.theirs, self.kind)?;
        if !self.inner.log.lock().begin(self.kind.name(), &allowed, address) {
            return Err(self.refuse(address));
        }
        let bound = if is_blocking { CONNECT } else { CONNECT_NONBLOCKING };
        let ours = connected(ours, self.kind, address, bound).await?;
        if is_blocking {
            sockets::make_blocking(&ours)?;
        }
        self.listener.replace(&self.call, ours.as_fd(), closes).map_err(|_| libc::EBADF)?;
        let ours = Arc::new(ours);
        self.inner.log.lock().keep(self.kind.name(), &allowed, address, ours.clone());
        Ok(ours)
    }

    fn allow(&self, address: SocketAddr) -> Result<Allowed, i32> {
        let allowed = self.inner.rules.allow(address).ok_or_else(|| self.refuse(address))?;
        let mut log = self.inner.log.lock();
        if log.open() >= MAX_OPEN {
            log.release(self.init);
        }
        if log.open() >= MAX_OPEN { Err(libc::EMFILE) } else { Ok(allowed) }
    }

    fn refuse(&self, address: SocketAddr) -> i32 {
        let (place, ip, port) = place_of(address);
        audit(&self.inner.call, self.kind.name(), &place);
        self.inner.log.lock().refuse(self.kind.name(), &ip, port);
        libc::EPERM
    }

    async fn send(&self, message: &Message) -> Result<i64, i32> {
        if message.flags & libc::MSG_FASTOPEN != 0 {
            return Err(libc::EOPNOTSUPP);
        }
        let address = message.address.as_deref().filter(|_| !matches!(self.kind, Kind::Tcp { .. }));
        let address = address.map(|bytes| self.parse(bytes)).transpose()?;
        let is_blocking = sockets::is_blocking(&self.theirs) && message.flags & libc::MSG_DONTWAIT == 0;
        match address {
            // Only a socket that was put in place here is connected to anyone.
            Some(address) if sockets::peer(&self.theirs) != Some(address) => {
                let ours = self.replace(address).await?;
                deliver(&ours, message, is_blocking).await
            }
            _ if self.kind == Kind::Other => Err(libc::EPERM),
            _ => deliver(&self.theirs, message, is_blocking).await,
        }
    }

    fn read_message(&self, at: u64, flags: u64) -> Result<Message, i32> {
        let header = self.call.read(at, MESSAGE)?;
        let word = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let [name, pieces, count, control_length] = [0, 16, 24, 40].map(word);
        let name_length = u64::from(u32::from_ne_bytes(header[8..12].try_into().expect("four bytes")));
        if control_length != 0 {
            // Descriptors would be passed on out of sight, and options could choose another way.
            return Err(libc::EPERM);
        }
        if count > MAX_PIECES {
            return Err(libc::EMSGSIZE);
        }
        let address = if name == 0 { None } else { Some(self.call.read_address(name, name_length)?) };
        let list = self.call.read(pieces, count as usize * 16)?;
        let pieces: Vec<(u64, u64)> = list
            .chunks_exact(16)
            .map(|piece| {
                let word = |at: usize| u64::from_ne_bytes(piece[at..at + 8].try_into().expect("eight bytes"));
                (word(0), word(8))
            })
            .collect();
        Ok(Message { address, bytes: self.gather(&pieces)?, flags: flags as libc::c_int })
    }

    fn gather(&self, pieces: &[(u64, u64)]) -> Result<Vec<u8>, i32> {
        let is_stream = matches!(self.kind, Kind::Tcp { .. } | Kind::Unix);
        let most = if is_stream { MAX_STREAM } else { MAX_DATAGRAM };
        let mut bytes = Vec::new();
        for (at, length) in pieces {
            let length = usize::try_from(*length).unwrap_or(usize::MAX);
            let room = most - bytes.len();
            if length > room && !is_stream {
                return Err(libc::EMSGSIZE);
            }
            if length.min(room) > 0 {
                bytes.extend(self.call.read(*at, length.min(room))?);
            }
        }
        Ok(bytes)
    }
}

/// Connects to exactly this address, within a bound.
async fn connected(socket: OwnedFd, kind: Kind, address: SocketAddr, bound: Duration) -> Result<OwnedFd, i32> {
    if sockets::connect(&socket, kind, address)? {
        return Ok(socket);
    }
    let watched = watch(socket, Interest::WRITABLE).map_err(|_| libc::ENOBUFS)?;
    let Ok(ready) = tokio::time::timeout(bound, watched.writable()).await else { return Err(libc::ETIMEDOUT) };
    ready.map_err(|_| libc::EIO)?.retain_ready();
    let socket = watched.into_inner();
    sockets::outcome(&socket)?;
    Ok(socket)
}

/// Sends everything, or what a socket takes that does not block.
async fn deliver(socket: &OwnedFd, message: &Message, is_blocking: bool) -> Result<i64, i32> {
    let mut sent = 0;
    loop {
        match sockets::send(socket, &message.bytes[sent..], message.flags) {
            Ok(count) => sent += usize::try_from(count).unwrap_or_default(),
            Err(libc::EAGAIN) if is_blocking => {
                let watched = watch(socket.as_fd(), Interest::WRITABLE).map_err(|_| libc::ENOBUFS)?;
                // It was full a moment ago, so an old readiness says nothing.
                watched.writable().await.map_err(|_| libc::EIO)?.retain_ready();
                continue;
            }
            Err(errno) if sent == 0 => return Err(errno),
            Err(_) => return Ok(sent as i64),
        }
        if sent >= message.bytes.len() || !is_blocking {
            return Ok(sent as i64);
        }
    }
}
