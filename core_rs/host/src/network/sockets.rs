//! Sockets as the caller has them, and the ones that take their place.

#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::rules::canonical;

/// Options that a new socket takes over: level and name.
const KEPT_OPTIONS: [(libc::c_int, libc::c_int); 7] = [
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

/// What a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp {
        domain: libc::c_int,
    },
    Udp {
        domain: libc::c_int,
    },
    /// Connected to another of the same process: unix(7), socketpair(2).
    Unix,
    Other,
}

impl Kind {
    pub(crate) fn of(socket: &OwnedFd) -> Result<Self, i32> {
        let domain = option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
        let kind = option(socket, libc::SOL_SOCKET, libc::SO_TYPE)?;
        let protocol = option(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
        Ok(match (domain, kind, protocol) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP) => Self::Tcp { domain },
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP) => Self::Udp { domain },
            (libc::AF_UNIX, ..) => Self::Unix,
            _ => Self::Other,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Udp { .. } => "udp",
            Self::Unix => "unix",
            Self::Other => "",
        }
    }
}

/// The address and port that bytes of the caller's mean for a socket of this domain.
///
/// # Errors
/// The number that the kernel would give.
pub(crate) fn parse(bytes: &[u8], domain: libc::c_int) -> Result<SocketAddr, i32> {
    let short = |at: usize| bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).ok_or(libc::EINVAL);
    let family = libc::c_int::from(u16::from_ne_bytes(short(0)?));
    let port = u16::from_be_bytes(short(2)?);
    match (family, domain) {
        (libc::AF_INET, libc::AF_INET) if bytes.len() >= size_of::<libc::sockaddr_in>() => {
            let octets: [u8; 4] = bytes[4..8].try_into().expect("four bytes");
            Ok(SocketAddr::new(canonical(Ipv4Addr::from(octets).into()), port))
        }
        (libc::AF_INET6, libc::AF_INET6) if bytes.len() >= size_of::<libc::sockaddr_in6>() => {
            let octets: [u8; 16] = bytes[8..24].try_into().expect("sixteen bytes");
            let scope = u32::from_ne_bytes(bytes[24..28].try_into().expect("four bytes"));
            Ok(match canonical(Ipv6Addr::from(octets).into()) {
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
                ip @ IpAddr::V4(_) => SocketAddr::new(ip, port),
            })
        }
        (libc::AF_INET | libc::AF_INET6, _) if family == domain => Err(libc::EINVAL),
        _ => Err(libc::EAFNOSUPPORT),
    }
}

/// A socket in this process's own network namespace, like the caller's. It does not block.
pub(super) fn like(theirs: &OwnedFd, kind: Kind) -> Result<OwnedFd, i32> {
    let (domain, kind) = match kind {
        Kind::Tcp { domain } => (domain, libc::SOCK_STREAM),
        Kind::Udp { domain } => (domain, libc::SOCK_DGRAM),
        Kind::Unix | Kind::Other => return Err(libc::EAFNOSUPPORT),
    };
    // SAFETY: socket with integers; the descriptor is new and nobody else's.
    let ours = unsafe {
        match libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) {
            -1 => return Err(last()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    for (level, name) in KEPT_OPTIONS {
        // What one of the two does not know it does not have.
        if let Ok(value) = option(theirs, level, name) {
            set_option(&ours, level, name, value);
        }
    }
    Ok(ours)
}

/// Begins to connect to exactly this address. True if that is done already.
pub(super) fn connect(socket: &OwnedFd, kind: Kind, address: SocketAddr) -> Result<bool, i32> {
    let is_six = matches!(kind, Kind::Tcp { domain: libc::AF_INET6 } | Kind::Udp { domain: libc::AF_INET6 });
    // A socket of IPv6 reaches IPv4 by its mapped form (ipv6(7)).
    let address = match address {
        SocketAddr::V4(four) if is_six => SocketAddrV6::new(four.ip().to_ipv6_mapped(), four.port(), 0, 0).into(),
        address => address,
    };
    match rustix::net::connect(socket, &address) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::INPROGRESS) => Ok(false),
        Err(errno) => Err(errno.raw_os_error()),
    }
}

/// Whom a socket is connected to.
pub(super) fn peer(socket: &OwnedFd) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(rustix::net::getpeername(socket).ok()??).ok()?;
    Some(match canonical(address.ip()) {
        ip @ IpAddr::V4(four) => {
            if address.is_ipv4() {
                SocketAddrV4::new(four, address.port()).into()
            } else {
                SocketAddr::new(ip, address.port())
            }
        }
        IpAddr::V6(_) => address,
    })
}

/// What became of a connection that was begun.
pub(super) fn outcome(socket: &OwnedFd) -> Result<(), i32> {
    match option(socket, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(()),
        errno => Err(errno),
    }
}

pub(super) fn is_blocking(socket: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(socket).is_ok_and(|flags| !flags.contains(rustix::fs::OFlags::NONBLOCK))
}

pub(super) fn make_blocking(socket: &OwnedFd) -> Result<(), i32> {
    rustix::io::ioctl_fionbio(socket, false).map_err(rustix::io::Errno::raw_os_error)
}

/// Sends on a socket without waiting, and without a signal.
pub(super) fn send(socket: &OwnedFd, bytes: &[u8], flags: libc::c_int) -> Result<i64, i32> {
    // Waiting, routing past the tables and connecting while sending are not for the caller to choose.
    let allowed = libc::MSG_OOB | libc::MSG_EOR | libc::MSG_MORE | libc::MSG_CONFIRM;
    let flags = (flags & allowed) | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: a buffer of the length that is told, which lives until the call returns.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    if sent < 0 { Err(last()) } else { Ok(sent as i64) }
}

fn option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> Result<libc::c_int, i32> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an int and its length, which live until the call returns.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length) };
    if done == 0 { Ok(value) } else { Err(last()) }
}

fn set_option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an int that lives until the call returns.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
}

fn last() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
