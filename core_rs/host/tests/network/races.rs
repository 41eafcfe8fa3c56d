//! A caller that changes its memory or its descriptors while it connects.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::servers::{Echo, on_runtime, silent_udp, udp_echo};
use crate::support::host::Host;
use crate::support::inside::{helper, stdout};
use crate::{contacting, contacts, ports, refused, write_ports};

const TRIES: usize = 3_000;

/// `struct sockaddr_in` of the loopback, as the two words that another thread rewrites.
fn word(port: u16) -> u64 {
    let [high, low] = port.to_be_bytes();
    let family = (libc::AF_INET as u16).to_ne_bytes();
    u64::from_ne_bytes([family[0], family[1], high, low, 127, 0, 0, 1])
}

fn fresh(kind: libc::c_int) -> OwnedFd {
    // SAFETY: socket with integers; the descriptor is new.
    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0)) }
}

pub fn rewritten(directory: &Path) {
    let (open, shut) = (Echo::start("127.0.0.1"), Echo::start("127.0.0.1"));
    write_ports(directory, &[open.port, shut.port]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = contacting(helper(&host, "call", "inside: rewritten"), &[format!("127.0.0.1:{}", open.port)]);
        let report = link.report_of(&permit).await;
        let told = stdout(&report);
        // Both addresses were met, or the race has shown nothing.
        let numbers: Vec<usize> = told.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        let [connected, denied] = numbers[..] else { panic!("{report:?}") };
        assert!(connected > 50 && denied > 50, "{told}");
        assert_eq!(contacts(&report)[0].count, connected as u64);
        assert_eq!(refused(&report), [u32::from(shut.port)]);
        link.stop().await;
    });
    assert_eq!(shut.met(), 0, "an address was connected to that was not the one compared");
}

pub fn inside_rewritten(directory: &Path) {
    let [open, shut] = ports(directory)[..] else { panic!("two ports") };
    let address = Arc::new([AtomicU64::new(word(open)), AtomicU64::new(0)]);
    let over = Arc::new(AtomicBool::new(false));
    let rewriter = {
        let (address, over) = (address.clone(), over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                address[0].store(word(shut), Ordering::SeqCst);
                address[0].store(word(open), Ordering::SeqCst);
            }
        })
    };
    let (mut connected, mut denied) = (0, 0);
    for _ in 0..TRIES {
        let socket = fresh(libc::SOCK_STREAM);
        // SAFETY: sixteen bytes that live until the call returns, whatever they hold.
        match unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), 16) } {
            0 => connected += 1,
            _ => denied += 1,
        }
    }
    over.store(true, Ordering::Relaxed);
    rewriter.join().expect("rewriter");
    println!("{connected} {denied}");
}

pub fn swapped(directory: &Path) {
    let open = udp_echo();
    let (shut, stream) = (silent_udp(), TcpListener::bind("127.0.0.1:0").expect("bind"));
    let closed = [shut.local_addr(), stream.local_addr()].map(|address| address.expect("bound").port());
    write_ports(directory, &[open, closed[0], closed[1]]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = contacting(helper(&host, "call", "inside: swapped"), &[format!("127.0.0.1:{open}")]);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), "over\n", "{report:?}");
        assert!(contacts(&report).iter().all(|contact| contact.target == format!("127.0.0.1:{open}")), "{report:?}");
        link.stop().await;
    });
    stream.set_nonblocking(true).expect("nonblocking");
    assert!(shut.recv(&mut [0]).is_err() && stream.accept().is_err(), "somebody else was reached");
}

/// One thread puts sockets of all kinds at one number, while others connect and send there.
pub fn inside_swapped(directory: &Path) {
    let [open, shut, stream] = ports(directory)[..] else { panic!("three ports") };
    let reached = UdpSocket::from(fresh(libc::SOCK_DGRAM));
    reached.connect(("127.0.0.1", open)).expect("connect");
    let (plain, tcp) = (fresh(libc::SOCK_DGRAM), fresh(libc::SOCK_STREAM));
    let (pair, _other) = std::os::unix::net::UnixDatagram::pair().expect("pair");
    let spot = fresh(libc::SOCK_DGRAM);
    let number = spot.as_raw_fd();
    let over = Arc::new(AtomicBool::new(false));
    let address = Arc::new([AtomicU64::new(word(open)), AtomicU64::new(0)]);
    let swapper = {
        let (over, address) = (over.clone(), address.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for (turn, from) in
                    [reached.as_raw_fd(), pair.as_raw_fd(), plain.as_raw_fd(), tcp.as_raw_fd()].into_iter().enumerate()
                {
                    // SAFETY: dup2 of descriptors that are open; nobody relies on what the number held.
                    unsafe { libc::dup2(from, number) };
                    let next = [word(open), word(shut), word(stream), 0][turn];
                    address[0].store(next, Ordering::SeqCst);
                }
            }
        })
    };
    for _ in 0..TRIES {
        let to = address.as_ptr().cast::<libc::sockaddr>();
        // SAFETY: sixteen bytes and one that live until the calls return, whatever they hold.
        unsafe {
            libc::connect(number, to, 16);
            libc::sendto(number, b"x".as_ptr().cast(), 1, libc::MSG_DONTWAIT, to, 16);
            let mut piece = libc::iovec { iov_base: b"x".as_ptr().cast_mut().cast(), iov_len: 1 };
            let mut header: libc::msghdr = std::mem::zeroed();
            (header.msg_name, header.msg_namelen) = (to.cast_mut().cast(), 16);
            (header.msg_iov, header.msg_iovlen) = (&raw mut piece, 1);
            libc::sendmsg(number, &raw const header, libc::MSG_DONTWAIT);
        }
    }
    over.store(true, Ordering::Relaxed);
    swapper.join().expect("swapper");
    drop(spot);
    println!("over");
}
