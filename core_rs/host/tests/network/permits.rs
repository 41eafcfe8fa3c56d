//! What a permit opens, what is measured of it, and what becomes of it afterwards.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use cmdop_contract::v1::{CancelExecution, Outcome, Permit, Reason, Stage, server_to_host};

use crate::servers::{Echo, on_runtime, say, serve};
use crate::support::host::{Host, Link};
use crate::support::inside::{assert_attempted, helper, line, stdout};
use crate::{contacting, contacts, network, ports, refused, write_ports};

pub fn only_permitted(directory: &Path) {
    let (open, shut) = (Echo::start("127.0.0.1"), Echo::start("127.0.0.1"));
    write_ports(directory, &[open.port, shut.port]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = contacting(helper(&host, "call", "inside: permitted"), &[format!("127.0.0.1:{}", open.port)]);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), "open: hello\nshut: Operation not permitted (os error 1)\n", "{report:?}");
        let [contact] = contacts(&report)[..] else { panic!("{report:?}") };
        let seen = network(contact);
        assert_eq!((contact.target.as_str(), contact.count), (format!("127.0.0.1:{}", open.port).as_str(), 1));
        assert_eq!((seen.bytes_sent, seen.bytes_received, seen.protocol.as_str()), (5, 5, "tcp"), "{seen:?}");
        assert!(seen.duration_ns > 0 && !contact.reversible, "{seen:?}");
        assert_eq!(refused(&report), [u32::from(shut.port)]);
        // Without the permit there is nothing at all, and nobody to ask.
        let report = link.report_of(&helper(&host, "without", "inside: permitted")).await;
        assert!(stdout(&report).lines().all(|line| line.ends_with("Connection refused (os error 111)")), "{report:?}");
        assert_eq!(contacts(&report).len(), 0);
        link.stop().await;
    });
    assert_eq!((open.met(), shut.met()), (1, 0));
}

/// A permit for everybody is none for the host's own server, which would do what the command says.
pub fn own_server(directory: &Path) {
    let (server, other) = (Echo::start("127.0.0.1"), Echo::start("127.0.0.1"));
    write_ports(directory, &[other.port, server.port]);
    on_runtime(directory, async |mut host: Host| {
        host.server = format!("localhost:{}", server.port);
        let mut link = host.start();
        for (call, target) in [("all", "*:*".to_owned()), ("named", format!("127.0.0.1:{}", server.port))] {
            let targets = [target, format!("127.0.0.1:{}", other.port)];
            let report = link.report_of(&contacting(helper(&host, call, "inside: permitted"), &targets)).await;
            assert_eq!(stdout(&report), "open: hello\nshut: Operation not permitted (os error 1)\n", "{report:?}");
            assert_eq!(refused(&report), [u32::from(server.port)]);
            assert_attempted(&report, [&*format!("connect 127.0.0.1:{}", server.port)]);
        }
        link.stop().await;
    });
    assert_eq!((server.met(), other.met()), (0, 2));
}

pub fn inside_permitted(directory: &Path) {
    for (name, port) in ["open", "shut"].into_iter().zip(ports(directory)) {
        let heard = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| say(&mut stream, b"hello"));
        match heard {
            Ok(heard) => println!("{name}: {}", String::from_utf8_lossy(&heard)),
            Err(error) => println!("{name}: {error}"),
        }
    }
}

/// A line that fetches something over HTTP with nothing but bash.
fn fetch(address: &str, port: u16) -> String {
    format!("exec 3<>/dev/tcp/{address}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3")
}

fn http() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("bound").port();
    serve(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                asked.push(byte[0]);
            }
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\npage");
        }
    });
    port
}

pub fn blocks(directory: &Path) {
    let port = http();
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let range = format!("127.0.0.0/8:{}-{port}", port.saturating_sub(1));
        let report = link.report_of(&contacting(line(&host, "call", &fetch("127.0.0.1", port)), &[range])).await;
        assert_eq!(stdout(&report), "HTTP/1.0 200 OK\r\n\r\npage", "{report:?}");
        assert_eq!(contacts(&report)[0].target, format!("127.0.0.1:{port}"));
        assert_eq!((network(contacts(&report)[0]).bytes_sent, network(contacts(&report)[0]).bytes_received), (18, 23));
        // Another block, other ports: nobody.
        for (call, target) in [("block", format!("10.0.0.0/8:{port}")), ("port", "127.0.0.0/8:1".to_owned())] {
            let report = link.report_of(&contacting(line(&host, call, &fetch("127.0.0.1", port)), &[target])).await;
            assert_eq!((contacts(&report).len(), refused(&report)), (0, vec![u32::from(port)]), "{report:?}");
        }
        link.stop().await;
    });
}

pub fn six(directory: &Path) {
    let (six, four) = (Echo::start("::1"), Echo::start("127.0.0.1"));
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let try_both = format!(
            "(exec 3<>/dev/tcp/::1/{} && echo six >&3 && head -n1 <&3); \
             (exec 3<>/dev/tcp/::ffff:127.0.0.1/{} && echo mapped >&3 && head -n1 <&3); true",
            six.port, four.port
        );
        let permit = contacting(line(&host, "six", &try_both), &[format!("[::1]:{}", six.port)]);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), "six\n", "{report:?}");
        assert_eq!(contacts(&report)[0].target, format!("[::1]:{}", six.port));
        // An IPv4 address in IPv6 form is the IPv4 address that it reaches.
        let permit = contacting(line(&host, "mapped", &try_both), &[format!("127.0.0.1:{}", four.port)]);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), "mapped\n", "{report:?}");
        assert_eq!(contacts(&report)[0].target, format!("127.0.0.1:{}", four.port));
        link.stop().await;
    });
}

pub fn counted(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let three = format!("for i in 1 2 3; do (exec 3<>/dev/tcp/127.0.0.1/{}) && echo $i; done; true", server.port);
        let mut permit = contacting(line(&host, "call", &three), &[format!("127.0.0.1:{}", server.port)]);
        permit.effects.last_mut().expect("a contact").max_count = Some(2);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), "1\n2\n", "{report:?}");
        assert_eq!((contacts(&report)[0].count, refused(&report)), (2, vec![u32::from(server.port)]));
        link.stop().await;
    });
}

pub fn failing(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let targets = [format!("127.0.0.1:{}", server.port)];
        let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{}", server.port);
        let report = link.report_of(&contacting(line(&host, "fails", &format!("{connect}; exit 3")), &targets)).await;
        let error = report.result.as_ref().and_then(|result| result.error.as_ref()).expect("a failure");
        assert_eq!((error.reason(), contacts(&report).len(), report.layer_held), (Reason::CommandFailed, 1, false));
        // Nobody can measure what is too deep, and still it says whom it contacted.
        let deep = format!("{connect}; for i in {{1..520}}; do mkdir d && cd d; done");
        let report = link.report_of(&contacting(line(&host, "deep", &deep), &targets)).await;
        assert_eq!(report.error.as_ref().map(cmdop_contract::v1::Error::reason), Some(Reason::UnsupportedChange));
        assert_eq!(contacts(&report).len(), 1, "{report:?}");
        stopped(&host, &mut link, &connect, &targets).await;
        link.stop().await;
    });
    assert_eq!(server.met(), 3);
}

async fn stopped(host: &Host, link: &mut Link, connect: &str, targets: &[String]) {
    let permit = contacting(line(host, "stopped", &format!("{connect}; echo up; sleep 60")), targets);
    link.sign_and_send(&permit).await;
    while !matches!(link.next().await, cmdop_contract::v1::host_to_server::Kind::Output(_)) {}
    link.send(server_to_host::Kind::Cancel(CancelExecution { call_id: "stopped".into() })).await;
    assert_eq!(contacts(&link.report().await).len(), 1);
}

pub fn committed(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let both = format!("exec 3<>/dev/tcp/127.0.0.1/{}; echo got >&3; head -n1 <&3 > file", server.port);
        let preview = contacting(line(&host, "call", &both), &[format!("127.0.0.1:{}", server.port)]);
        let report = link.report_of(&preview).await;
        assert!(report.layer_held && contacts(&report).len() == 1, "{report:?}");
        assert_eq!(host.content(), None);
        let commit = Permit {
            permit_id: "commit".into(),
            stage: Stage::Commit.into(),
            preview_digest: report.observation.as_ref().expect("an observation").digest.clone(),
            ..preview
        };
        let report = link.report_of(&commit).await;
        assert_eq!((report.outcome(), contacts(&report).len()), (Outcome::Applied, 1), "{report:?}");
        assert_eq!(host.content().as_deref(), Some("got\n"));
        // Contacts alone are nothing to commit.
        let only = contacting(
            line(&host, "only", &format!("exec 3<>/dev/tcp/127.0.0.1/{}", server.port)),
            &[format!("127.0.0.1:{}", server.port)],
        );
        let report = link.report_of(&only).await;
        assert!(!report.layer_held && contacts(&report).len() == 1, "{report:?}");
        link.stop().await;
    });
    assert_eq!(server.met(), 2);
}

const MANY: usize = 100;

pub fn concurrent(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    write_ports(directory, &[server.port]);
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = contacting(helper(&host, "call", "inside: concurrent"), &[format!("127.0.0.1:{}", server.port)]);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), format!("{MANY} answered\n"), "{report:?}");
        let seen = network(contacts(&report)[0]);
        let bytes = (MANY * 1_000) as u64;
        assert_eq!((seen.count, seen.bytes_sent, seen.bytes_received), (MANY as u64, bytes, bytes));
        link.stop().await;
    });
    assert_eq!(server.met(), MANY);
}

pub fn inside_concurrent(directory: &Path) {
    let port = ports(directory)[0];
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(MANY));
    let threads: Vec<_> = (0..MANY)
        .map(|number| {
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
                // All are open at the same time.
                barrier.wait();
                let text = vec![u8::try_from(number).expect("small"); 1_000];
                say(&mut stream, &text).expect("an answer") == text
            })
        })
        .collect();
    let answered = threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|right| *right).count();
    println!("{answered} answered");
}

pub fn ended(directory: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("bound").port();
    write_ports(directory, &[port]);
    // Answers on the second connection when the first has ended.
    serve(move || {
        let mut first = listener.accept().expect("first").0;
        let mut second = listener.accept().expect("second").0;
        let mut text = String::new();
        first.read_to_string(&mut text).expect("the end");
        second.write_all(text.as_bytes()).expect("write");
    });
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = contacting(helper(&host, "call", "inside: ended"), &[format!("127.0.0.1:{port}")]);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), "heard bye\n", "{report:?}");
        let seen = network(contacts(&report)[0]);
        assert_eq!((seen.count, seen.bytes_sent, seen.bytes_received), (2, 3, 3), "{seen:?}");
        link.stop().await;
    });
}

pub fn inside_ended(directory: &Path) {
    let port = ports(directory)[0];
    let mut first = TcpStream::connect(("127.0.0.1", port)).expect("first");
    let mut second = TcpStream::connect(("127.0.0.1", port)).expect("second");
    first.write_all(b"bye").expect("write");
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let mut text = String::new();
    second.read_to_string(&mut text).expect("an answer while this runs");
    println!("heard {text}");
}

/// Sockets that this process, the daemon, holds to or from a port.
fn open_to(port: u16) -> usize {
    let marked = format!(":{port:04X} 01");
    let established = fs::read_to_string("/proc/self/net/tcp").expect("read");
    established.lines().filter(|line| line.contains(&marked)).count()
}

pub fn nothing_survives(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let held = || fs::read_dir("/proc/self/fd").expect("list").count();
        let leave = format!("exec 3<>/dev/tcp/127.0.0.1/{}; (setsid sleep 100 &) ; true", server.port);
        let targets = [format!("127.0.0.1:{}", server.port)];
        // The first call opens what stays open for good.
        link.report_of(&contacting(line(&host, "first", &leave), &targets)).await;
        let before = held();
        for round in 0..5 {
            let call = format!("call{round}");
            let report = link.report_of(&contacting(line(&host, &call, &leave), &targets)).await;
            assert_eq!(contacts(&report).len(), 1, "{report:?}");
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while (open_to(server.port) > 0 || held() > before) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(open_to(server.port), 0);
        assert!(held() <= before, "{} descriptors were {before}", held());
        link.stop().await;
    });
}

pub fn capability(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let daemon = host.open();
        let capabilities = daemon.hello().host.expect("a host").capabilities;
        let found = capabilities.iter().find(|found| found.name == "network.permits").expect("probed");
        assert!(found.available, "{found:?}");
        host.serve(daemon).stop().await;
    });
}
