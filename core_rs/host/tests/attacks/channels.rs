//! Ways to talk to somebody outside: sockets, the network, shared memory.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::json;

use crate::support::host::{Host, on_runtime};
use crate::support::inside::{assert_attempted, attempted, effects, helper, is_root, line, stdout, told, with};
use crate::{assert_all_refused, say};

/// System V memory that an outside process holds.
const KEY: libc::key_t = 0x0063_6d64;

/// Outside daemons, and where they are written down for the helper inside.
struct Outside {
    streams: Vec<UnixListener>,
    datagrams: UnixDatagram,
    tcp: TcpListener,
    udp: UdpSocket,
    paths: Vec<PathBuf>,
}

impl Outside {
    fn start(directory: &Path) -> Self {
        let mut paths = vec![directory.join("srv/daemon.sock"), directory.join("other.sock")];
        paths.extend(is_root().then(|| PathBuf::from(format!("/run/cmdop-attack-{}.sock", std::process::id()))));
        let mut streams: Vec<_> = paths.iter().map(|path| UnixListener::bind(path).expect("bind")).collect();
        let name = SocketAddr::from_abstract_name(format!("cmdop-{}", directory.display())).expect("a name");
        streams.push(UnixListener::bind_addr(&name).expect("bind"));
        let datagrams = UnixDatagram::bind(directory.join("datagrams.sock")).expect("bind");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let ports = [tcp.local_addr(), udp.local_addr()].map(|addr| addr.expect("bound").port().to_string());
        let listed: Vec<_> = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        fs::write(directory.join("outside"), [&ports[..], &listed].concat().join("\n")).expect("write");
        Self { streams, datagrams, tcp, udp, paths }
    }

    /// Nobody got through.
    fn assert_quiet(&self) {
        for listener in &self.streams {
            listener.set_nonblocking(true).expect("nonblocking");
            assert!(listener.accept().is_err(), "{listener:?} was reached");
        }
        self.datagrams.set_nonblocking(true).expect("nonblocking");
        self.tcp.set_nonblocking(true).expect("nonblocking");
        self.udp.set_nonblocking(true).expect("nonblocking");
        let mut byte = [0];
        let silent =
            [self.datagrams.recv(&mut byte).is_err(), self.tcp.accept().is_err(), self.udp.recv(&mut byte).is_err()];
        assert_eq!(silent, [true; 3]);
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.paths.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}

pub fn sockets(directory: &Path) {
    fs::create_dir(directory.join("srv")).expect("directory");
    let outside = Outside::start(directory);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "inside: sockets")).await;
        assert_all_refused(&stdout(&report), outside.paths.len() + 4);
        let [tcp, udp] = [outside.tcp.local_addr(), outside.udp.local_addr()].map(|at| at.expect("bound").port());
        let mut told = vec![format!("connect 127.0.0.1:{tcp}"), format!("connect udp 127.0.0.1:{udp}")];
        if is_root() {
            let unix = outside.paths.iter().cloned().chain([directory.join("datagrams.sock")]);
            told.extend(unix.map(|path| format!("connect {}", path.display())));
            told.push(format!("connect @cmdop-{}", directory.display()));
        } else {
            told.push("socket unix".to_owned());
        }
        assert_attempted(&report, told.iter().map(String::as_str));
        // A server of the command's own is nobody else, and the command reaches it.
        let own = "import socket, threading\n\
                   for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):\n    \
                   server = socket.create_server((address, 0), family=family)\n    \
                   client = socket.create_connection(server.getsockname()[:2], 5)\n    \
                   server.accept()[0].sendall(b'own ')\n    \
                   print(client.recv(9).decode(), end='')\n\
                   print(socket.getaddrinfo('localhost', 80, socket.AF_INET)[0][4][0])";
        let report = link.report_of(&with(&host, "own", json!({"argv": ["python3", "-c", own]}))).await;
        assert_eq!((stdout(&report).as_str(), attempted(&report).len()), ("own own 127.0.0.1\n", 0), "{report:?}");
        link.stop().await;
    });
    outside.assert_quiet();
}

pub fn inside_sockets(directory: &Path) {
    let told = |name: &str, done: std::io::Result<()>| match done {
        Ok(()) => println!("{name}: DONE"),
        Err(error) => println!("{name}: {error}"),
    };
    let text = fs::read_to_string(directory.join("outside")).expect("read");
    let lines: Vec<_> = text.lines().collect();
    let [tcp, udp, paths @ ..] = lines.as_slice() else { panic!("{text}") };
    for path in paths {
        told(path, UnixStream::connect(path).map(drop));
    }
    let name = SocketAddr::from_abstract_name(format!("cmdop-{}", directory.display())).expect("a name");
    told("abstract", UnixStream::connect_addr(&name).map(drop));
    let datagram = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"x", directory.join("datagrams.sock")));
    told("datagram", datagram.map(drop));
    told("tcp", TcpStream::connect(format!("127.0.0.1:{tcp}")).map(drop));
    let sent = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
        socket.connect(format!("127.0.0.1:{udp}"))?;
        socket.send(b"x")?;
        // The empty loopback answers the first datagram with a refusal, which the next call tells.
        std::thread::sleep(std::time::Duration::from_millis(50));
        socket.send(b"x").map(drop)
    });
    told("udp", sent);
}

pub fn shared_memory(directory: &Path) {
    // SAFETY: System V calls with integers; the segment is removed below.
    let segment = unsafe { libc::shmget(KEY, 4_096, libc::IPC_CREAT | 0o666) };
    assert!(segment >= 0, "{}", std::io::Error::last_os_error());
    let name = PathBuf::from(format!("/dev/shm/cmdop-attack-{}", std::process::id()));
    fs::write(&name, "outside").expect("write");
    fs::write(directory.join("shm"), name.to_string_lossy().as_bytes()).expect("write");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "inside: shared memory")).await;
        assert_all_refused(&stdout(&report), 4);
        let report = link.report_of(&line(&host, "write", "echo mine > /dev/shm/mine && ls /dev/shm")).await;
        assert_eq!((stdout(&report).as_str(), effects(&report).len()), ("mine\n", 0));
        link.stop().await;
    });
    assert!(!Path::new("/dev/shm/mine").exists());
    assert_eq!(fs::read_to_string(&name).expect("read"), "outside");
    fs::remove_file(&name).expect("remove");
    // SAFETY: removes what was made above.
    unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
}

pub fn inside_shared_memory(directory: &Path) {
    // SAFETY: System V and message queue calls with integers and constants.
    unsafe {
        say("shmget", libc::shmget(KEY, 0, 0).into());
        say("semget", libc::semget(KEY, 0, 0).into());
        say("mq_open", libc::syscall(libc::SYS_mq_open, c"cmdop-attack".as_ptr(), libc::O_RDWR));
    }
    let name = fs::read_to_string(directory.join("shm")).expect("read");
    let name = std::ffi::CString::new(name).expect("a name");
    // SAFETY: a name that lives until the call returns.
    say("open", unsafe { libc::open(name.as_ptr(), libc::O_RDWR) }.into());
}

pub fn network(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let look = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; tail -n +2 /proc/net/route; \
                    (exec 3<> /dev/tcp/192.0.2.1/80) 2>&1 | grep -q unreachable && echo unreachable; \
                    awk 'NF > 7' /proc/net/unix | tail -n +2";
        let report = link.report_of(&line(&host, "call", look)).await;
        assert_eq!(stdout(&report), "lo\nunreachable\n", "{report:?}");
        assert_attempted(&report, ["connect 192.0.2.1:80"]);
        link.stop().await;
    });
}

/// Where the sockets are of which an ordinary user is told.
const OPEN_SOCKETS: &str = "CMDOP_TEST_OPEN_SOCKETS";

/// Sockets of root's daemons, open to everybody, where no layer of an ordinary user lies.
pub fn uncovered(_: &Path) {
    let directories =
        [format!("/run/cmdop-attack-{}", std::process::id()), format!("/opt/cmdop-attack-{}", std::process::id())];
    let paths = directories.each_ref().map(|directory| {
        fs::create_dir_all(directory).expect("directory");
        Path::new(directory).join("sock")
    });
    let listeners = paths.each_ref().map(|path| UnixListener::bind(path).expect("bind"));
    for path in &paths {
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("chmod");
    }
    let listed = paths.each_ref().map(|path| path.to_string_lossy().into_owned()).join("\n");
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var(OPEN_SOCKETS, listed) };
    let fifo = Path::new(&directories[1]).join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("fifo");
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o666)).expect("chmod");
    // With a reader, whoever may open it for writing can do so at once.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
    let reader = rustix::fs::open(&fifo, flags, rustix::fs::Mode::empty()).expect("open");
    let passed = crate::support::cases::passes_as_user("user: uncovered sockets");
    directories.iter().for_each(|directory| fs::remove_dir_all(directory).expect("remove"));
    assert_eq!(rustix::io::read(&reader, &mut [0_u8; 8]), Ok(0), "something came through the fifo");
    for listener in &listeners {
        listener.set_nonblocking(true).expect("nonblocking");
        assert!(listener.accept().is_ok(), "the user itself may connect");
        assert!(listener.accept().is_err(), "{listener:?} was reached from within");
    }
    assert!(passed);
}

pub fn user_uncovered(directory: &Path) {
    let sockets = std::env::var(OPEN_SOCKETS).expect("sockets");
    for path in sockets.lines() {
        UnixStream::connect(path).expect("open to everybody");
    }
    fs::write(directory.join("outside"), format!("1\n1\n{sockets}")).expect("write");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "inside: sockets")).await;
        assert_all_refused(&stdout(&report), 6);
        let fifo = Path::new(sockets.lines().last().expect("a path")).with_file_name("fifo");
        drop(fs::OpenOptions::new().write(true).open(&fifo).expect("open to everybody"));
        let report = link.report_of(&line(&host, "fifo", &format!("echo out > {}", fifo.display()))).await;
        assert!(told(&report)["stderr"].as_str().expect("text").contains("Permission denied"), "{report:?}");
        // Renames and links between the directories of a layer go on.
        let report =
            link.report_of(&line(&host, "move", "mkdir a b && touch a/x && mv a/x b/y && ln b/y a/z && ls a b")).await;
        assert_eq!(stdout(&report), "a:\nz\n\nb:\ny\n", "{report:?}");
        link.stop().await;
    });
}

/// A mount namespace of this process's own, in which a test may mount.
fn own_mounts() {
    // SAFETY: only the mount namespace is replaced, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("unshare");
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private");
}

pub fn read_only_mount(directory: &Path) {
    own_mounts();
    let place = directory.join("srv/ro");
    fs::create_dir_all(&place).expect("directory");
    let listener = UnixListener::bind(place.join("sock")).expect("bind");
    rustix::mount::mount_bind(&place, &place).expect("bind");
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(&place, flags, c"").expect("remount");
    fs::write(directory.join("outside"), format!("1\n1\n{}", place.join("sock").display())).expect("write");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "inside: sockets")).await;
        assert_all_refused(&stdout(&report), 5);
        let report = link.report_of(&line(&host, "write", "touch ro/x")).await;
        assert!(told(&report)["stderr"].as_str().expect("text").contains("Read-only"), "{report:?}");
        link.stop().await;
    });
    listener.set_nonblocking(true).expect("nonblocking");
    assert!(listener.accept().is_err(), "the socket was reached");
}

pub fn uncoverable(directory: &Path) {
    own_mounts();
    // An overlay over an overlay is as deep as the kernel stacks file systems.
    let memory = directory.join("memory");
    fs::create_dir(&memory).expect("directory");
    rustix::mount::mount("tmpfs", &memory, "tmpfs", MountFlags::empty(), None).expect("tmpfs");
    let place = directory.join("srv/stacked");
    fs::create_dir_all(&place).expect("directory");
    let mut lower = memory.join("lower");
    fs::create_dir(&lower).expect("directory");
    for layer in ["one", "two"] {
        let made = ["upper", "work", "merged"].map(|name| memory.join(format!("{layer}-{name}")));
        made.iter().for_each(|path| fs::create_dir(path).expect("directory"));
        let [upper, work, merged] = &made;
        let merged = if layer == "two" { &place } else { merged };
        let data = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let data = std::ffi::CString::new(data).expect("text");
        rustix::mount::mount("o", merged, "overlay", MountFlags::empty(), Some(data.as_c_str())).expect("overlay");
        lower.clone_from(merged);
    }
    let listener = UnixListener::bind(place.join("sock")).expect("bind");
    fs::write(directory.join("outside"), format!("1\n1\n{}", place.join("sock").display())).expect("write");
    on_runtime(directory, async |mut host: Host| {
        let daemon = host.open();
        let capabilities = daemon.hello().host.expect("a host").capabilities;
        let complete = capabilities.iter().find(|found| found.name == "preview.complete").expect("probed");
        assert!(!complete.available && complete.detail.contains("srv/stacked"), "{complete:?}");
        let mut link = host.serve(daemon);
        let report = link.report_of(&helper(&host, "call", "inside: sockets")).await;
        assert_all_refused(&stdout(&report), 5);
        let report = link.report_of(&line(&host, "write", "touch stacked/x")).await;
        assert!(told(&report)["stderr"].as_str().expect("text").contains("Read-only"), "{report:?}");
        let confinement = &report.result.as_ref().expect("a result").confinement;
        assert!(
            confinement.contains("no unix sockets, read-only") && confinement.contains("srv/stacked"),
            "{confinement}"
        );
        link.stop().await;
    });
    listener.set_nonblocking(true).expect("nonblocking");
    assert!(listener.accept().is_err(), "the socket was reached");
    let mut nothing = String::new();
    fs::File::open(place.join("x")).map(|mut file| file.read_to_string(&mut nothing)).expect_err("nothing was made");
}
