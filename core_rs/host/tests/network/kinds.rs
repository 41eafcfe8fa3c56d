//! Kinds of sockets beside a plain stream, and what of a socket stays when another takes its place.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::servers::{Echo, on_runtime, say, silent_udp, udp_echo};
use crate::support::host::Host;
use crate::support::inside::{helper, stdout};
use crate::{contacting, contacts, network, ports, refused, write_ports};

fn local(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

const ADDRESS: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> std::io::Result<OwnedFd> {
    // SAFETY: socket with integers; the descriptor is new.
    match unsafe { libc::socket(domain, kind, protocol) } {
        -1 => Err(std::io::Error::last_os_error()),
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

fn connect(socket: &OwnedFd, address: &libc::sockaddr_in) -> std::io::Result<()> {
    // SAFETY: an address of its own length.
    match unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(address).cast(), ADDRESS) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

pub fn flags(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    // A port at which nobody listens.
    let gone = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound").port();
    write_ports(directory, &[server.port, gone]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let targets = [server.port, gone].map(|port| format!("127.0.0.1:{port}"));
        let report = link.report_of(&contacting(helper(&host, "call", "inside: flags"), &targets)).await;
        let expected = "blocking closes true\nnot blocking stays open true\nnodelay true\npeer right true\n\
                        refused: Connection refused (os error 111)\nagain: Transport endpoint is already connected (os error 106)\n";
        assert_eq!(stdout(&report), expected, "{report:?}");
        // Who does not answer was contacted all the same.
        assert_eq!(contacts(&report).len(), 2, "{report:?}");
        link.stop().await;
    });
}

pub fn inside_flags(directory: &Path) {
    let [port, gone] = ports(directory)[..] else { panic!("two ports") };
    let flags = |socket: &OwnedFd| {
        // SAFETY: fcntl with integers on a descriptor that is open.
        unsafe { (libc::fcntl(socket.as_raw_fd(), libc::F_GETFL), libc::fcntl(socket.as_raw_fd(), libc::F_GETFD)) }
    };
    let plain = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0).expect("socket");
    connect(&plain, &local(port)).expect("connect");
    let (status, descriptor) = flags(&plain);
    println!("blocking closes {}", status & libc::O_NONBLOCK == 0 && descriptor & libc::FD_CLOEXEC != 0);
    let other = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).expect("socket");
    let one: libc::c_int = 1;
    // SAFETY: an int of its own size.
    unsafe { libc::setsockopt(other.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const one).cast(), 4) };
    connect(&other, &local(port)).expect("connect at once");
    let (status, descriptor) = flags(&other);
    println!("not blocking stays open {}", status & libc::O_NONBLOCK != 0 && descriptor & libc::FD_CLOEXEC == 0);
    let mut stream = TcpStream::from(other);
    println!("nodelay {}", stream.nodelay().expect("an option"));
    stream.set_nonblocking(false).expect("blocking");
    let right = stream.peer_addr().is_ok_and(|peer| peer.port() == port);
    println!("peer right {}", right && say(&mut stream, b"x").is_ok_and(|heard| heard == b"x"));
    let refused = socket(libc::AF_INET, libc::SOCK_STREAM, 0).and_then(|socket| connect(&socket, &local(gone)));
    println!("refused: {}", refused.expect_err("nobody listens"));
    println!("again: {}", connect(&plain, &local(port)).expect_err("connected already"));
}

pub fn datagrams(directory: &Path) {
    let (open, second, shut) = (udp_echo(), udp_echo(), silent_udp());
    let closed = shut.local_addr().expect("bound").port();
    write_ports(directory, &[open, second, closed]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let targets = [open, second].map(|port| format!("127.0.0.1:{port}"));
        let report = link.report_of(&contacting(helper(&host, "call", "inside: datagrams"), &targets)).await;
        let expected = "connected: one\nsent to: two\nmessage: three\nanother: four\nmany: 1 five\n\
                        shut: Operation not permitted (os error 1)\nshut again: Operation not permitted (os error 1)\n\
                        shut message: Operation not permitted (os error 1)\nshut many: Operation not permitted (os error 1)\n\
                        loose: Address family not supported by protocol (os error 97)\nstill: six\n";
        assert_eq!(stdout(&report), expected, "{report:?}");
        assert!(contacts(&report).iter().all(|contact| network(contact).protocol == "udp"), "{report:?}");
        assert_eq!(contacts(&report).len(), 2);
        assert_eq!(refused(&report), [u32::from(closed)]);
        link.stop().await;
    });
    assert!(shut.recv(&mut [0]).is_err(), "a datagram came through");
}

/// `sendmsg` or, for many, `sendmmsg`, with an address.
fn message(socket: &UdpSocket, text: &[u8], to: Option<u16>, many: bool) -> std::io::Result<(i64, u32)> {
    let mut address = local(to.unwrap_or(0));
    let mut piece = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    // SAFETY: zeroes are an empty message; everything that it points to lives until the calls return.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        if to.is_some() {
            header.msg_name = (&raw mut address).cast();
            header.msg_namelen = ADDRESS;
        }
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        let mut list = [libc::mmsghdr { msg_hdr: header, msg_len: 0 }, libc::mmsghdr { msg_hdr: header, msg_len: 0 }];
        let done = if many {
            libc::sendmmsg(socket.as_raw_fd(), list.as_mut_ptr(), 2, 0) as i64
        } else {
            libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) as i64
        };
        if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok((done, list[0].msg_len)) }
    }
}

pub fn inside_datagrams(directory: &Path) {
    let [open, second, shut] = ports(directory)[..] else { panic!("three ports") };
    let hear = |socket: &UdpSocket| {
        let mut bytes = [0; 64];
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let read = socket.recv(&mut bytes).expect("an answer");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    let fresh = || UdpSocket::from(socket(libc::AF_INET, libc::SOCK_DGRAM, 0).expect("socket"));
    let at = |port: u16| ("127.0.0.1", port);
    let connected = fresh();
    connected.connect(at(open)).and_then(|()| connected.send(b"one")).expect("send");
    println!("connected: {}", hear(&connected));
    let socket = fresh();
    assert_eq!(socket.send_to(b"two", at(open)).expect("send"), 3);
    println!("sent to: {}", hear(&socket));
    assert_eq!(message(&socket, b"three", Some(open), false).expect("send").0, 5);
    println!("message: {}", hear(&socket));
    socket.send_to(b"four", at(second)).expect("send");
    println!("another: {}", hear(&socket));
    let (sent, length) = message(&fresh_to(&socket, second), b"five", Some(second), true).expect("send");
    assert_eq!(length, 4);
    println!("many: {sent} {}", hear(&socket));
    println!("shut: {}", socket.connect(at(shut)).expect_err("shut"));
    println!("shut again: {}", socket.send_to(b"x", at(shut)).expect_err("shut"));
    println!("shut message: {}", message(&socket, b"x", Some(shut), false).expect_err("shut"));
    println!("shut many: {}", message(&socket, b"x", Some(shut), true).expect_err("shut"));
    let mut nowhere = local(shut);
    nowhere.sin_family = libc::AF_UNSPEC as u16;
    // SAFETY: an address of its own length.
    let loosened = unsafe { libc::connect(socket.as_raw_fd(), (&raw const nowhere).cast(), ADDRESS) };
    assert_eq!(loosened, -1);
    println!("loose: {}", std::io::Error::last_os_error());
    socket.send(b"six").expect("send");
    println!("still: {}", hear(&socket));
}

/// The same socket, already connected there.
fn fresh_to(socket: &UdpSocket, port: u16) -> UdpSocket {
    socket.connect(("127.0.0.1", port)).expect("connect");
    socket.try_clone().expect("a copy")
}

pub fn messages(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    write_ports(directory, &[server.port]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = contacting(helper(&host, "call", "inside: messages"), &[format!("127.0.0.1:{}", server.port)]);
        let report = link.report_of(&permit).await;
        assert_eq!(
            stdout(&report),
            "stream true\npair true\ndescriptor: Operation not permitted (os error 1)\n",
            "{report:?}"
        );
        let seen = network(contacts(&report)[0]);
        assert_eq!((seen.bytes_sent, seen.bytes_received), (600_000, 600_000), "{seen:?}");
        link.stop().await;
    });
}

/// `sendmsg` of two pieces, with room for control data of this length.
fn pieces(socket: &impl AsRawFd, one: &[u8], two: &[u8], control: usize) -> std::io::Result<usize> {
    let piece = |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut list = [piece(one), piece(two)];
    let mut space = [0_u64; 8];
    // SAFETY: zeroes are an empty message; everything that it points to lives until the call returns.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = list.as_mut_ptr();
        header.msg_iovlen = 2;
        if control > 0 {
            header.msg_control = space.as_mut_ptr().cast();
            header.msg_controllen = control as _;
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const header, 0)
    };
    usize::try_from(sent).map_err(|_| std::io::Error::last_os_error())
}

pub fn inside_messages(directory: &Path) {
    use std::io::Read;
    let stream = TcpStream::connect(("127.0.0.1", ports(directory)[0])).expect("connect");
    let mut back = stream.try_clone().expect("a copy");
    let (one, two) = (vec![1; 200_000], vec![2; 400_000]);
    let reader = std::thread::spawn(move || {
        let mut heard = vec![0; 600_000];
        back.read_exact(&mut heard).expect("an echo");
        heard
    });
    let sent = pieces(&stream, &one, &two, 0).expect("send");
    println!("stream {}", sent == 600_000 && reader.join().expect("reader") == [one, two].concat());
    let (mine, mut yours) = std::os::unix::net::UnixStream::pair().expect("pair");
    pieces(&mine, b"a", b"b", 0).expect("send");
    let mut heard = [0; 2];
    yours.read_exact(&mut heard).expect("read");
    println!("pair {}", &heard == b"ab");
    println!("descriptor: {}", pieces(&mine, b"a", b"b", 24).expect_err("no descriptors"));
}

pub fn others(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    let path = directory.join("outside.sock");
    let outside = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit =
            contacting(helper(&host, "call", "inside: others"), &["*:*".to_owned(), "127.0.0.0/8:*".to_owned()]);
        let report = link.report_of(&permit).await;
        let denied = "Operation not permitted (os error 1)";
        let names = ["unix", "raw", "raw 6", "packet", "netlink", "vsock", "pair"];
        let expected: String = names.iter().map(|name| format!("{name}: {denied}\n")).collect();
        let detours = "detours: 23 of 23 refused\n";
        assert_eq!(stdout(&report), format!("{expected}ping: {denied}\n{detours}"), "{report:?}");
        assert_eq!(contacts(&report).len(), 0);
        link.stop().await;
    });
    outside.set_nonblocking(true).expect("nonblocking");
    assert!(outside.accept().is_err(), "a socket of outside was reached");
    assert_eq!(server.met(), 0);
}

pub fn inside_others(directory: &Path) {
    let kinds = [
        ("unix", libc::AF_UNIX, libc::SOCK_STREAM, 0),
        ("raw", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP),
        ("raw 6", libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("netlink", libc::AF_NETLINK, libc::SOCK_RAW, 0),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
    ];
    for (name, domain, kind, protocol) in kinds {
        match socket(domain, kind, protocol) {
            Ok(_) => println!("{name}: DONE"),
            Err(error) => println!("{name}: {error}"),
        }
    }
    // One end of a pair is a unix socket, too.
    let (mine, _yours) = std::os::unix::net::UnixDatagram::pair().expect("pair");
    println!("pair: {}", mine.connect(directory.join("outside.sock")).expect_err("closed"));
    // Where the kernel lets nobody ping, the socket itself is refused with another number.
    let ping =
        socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP).and_then(|socket| connect(&socket, &local(0)));
    let error = ping.expect_err("no ping");
    let is_closed = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
    println!("ping: {}", if is_closed { std::io::Error::from_raw_os_error(libc::EPERM) } else { error });
    // Options by which what goes to one address goes by way of another, or comes from one that nobody named.
    let (four, six) = (libc::IPPROTO_IP, libc::IPPROTO_IPV6);
    let ways = [(four, 4), (six, 5), (six, 6), (six, 54), (six, 55), (six, 57), (six, 59), (libc::IPPROTO_TCP, 31)];
    let interfaces = [25, 5, 62].map(|name| (libc::SOL_SOCKET, name));
    let groups = [32, 35, 39, 42, 46, 50].map(|name| (four, name));
    let groups_of_six = [17, 20, 27, 42, 46, 76].map(|name| (six, name));
    let detours = [&ways[..], &interfaces, &groups, &groups_of_six].concat();
    let refused = detours.iter().filter(|(level, name)| {
        let domain = if *level == six { libc::AF_INET6 } else { libc::AF_INET };
        let stream = socket(domain, libc::SOCK_STREAM, 0).expect("socket");
        // SAFETY: no value is given at all.
        let done = unsafe { libc::setsockopt(stream.as_raw_fd(), *level, *name, std::ptr::null(), 0) };
        done == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
    });
    println!("detours: {} of {} refused", refused.count(), detours.len());
}

pub fn listening(directory: &Path) {
    let free = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound").port();
    let server = Echo::start("127.0.0.1");
    write_ports(directory, &[free, server.port]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = contacting(helper(&host, "call", "inside: listening"), &["127.0.0.1:*".to_owned()]);
        link.sign_and_send(&permit).await;
        while !matches!(link.next().await, cmdop_contract::v1::host_to_server::Kind::Output(_)) {}
        TcpStream::connect(("127.0.0.1", free)).expect_err("nobody listens on the machine");
        let report = link.report().await;
        assert_eq!(stdout(&report), "listening\nconnected: Invalid argument (os error 22)\n", "{report:?}");
        link.stop().await;
    });
}

pub fn inside_listening(directory: &Path) {
    let [free, port] = ports(directory)[..] else { panic!("two ports") };
    let _listener = TcpListener::bind(("0.0.0.0", free)).expect("a listener in the private namespace");
    println!("listening");
    std::thread::sleep(Duration::from_secs(1));
    // A socket of the machine's cannot be turned into one that listens.
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    // SAFETY: listen with integers.
    assert_eq!(unsafe { libc::listen(stream.as_raw_fd(), 1) }, -1);
    println!("connected: {}", std::io::Error::last_os_error());
}
