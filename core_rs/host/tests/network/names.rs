//! Names: known inside if they are permitted, and only as what the machine resolves them to.

use std::fs;
use std::net::ToSocketAddrs;
use std::path::Path;

use rustix::mount::MountPropagationFlags;

use crate::servers::{Echo, on_runtime, silent_udp};
use crate::support::host::Host;
use crate::support::inside::{helper, line, stdout};
use crate::{contacting, contacts, network, refused};

pub fn localhost(directory: &Path) {
    let server = Echo::start("127.0.0.1");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let by_name = format!("exec 3<>/dev/tcp/localhost/{} && echo hi >&3 && head -n1 <&3", server.port);
        let permit = contacting(line(&host, "call", &by_name), &[format!("localhost:{}", server.port)]);
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), "hi\n", "{report:?}");
        let streams: Vec<_> =
            contacts(&report).into_iter().filter(|contact| network(contact).protocol == "tcp").collect();
        // The resolver may have put ::1 first, where nobody listens.
        let reached = streams.iter().find(|contact| network(contact).address == "127.0.0.1").expect("reached");
        assert_eq!((reached.target.clone(), reached.bytes), (format!("localhost:{}", server.port), 6));
        // Its address at another port is not what the name was permitted for.
        let other = Echo::start("127.0.0.1");
        let elsewhere = format!("exec 3<>/dev/tcp/127.0.0.1/{}", other.port);
        let permit = contacting(line(&host, "other", &elsewhere), &[format!("localhost:{}", server.port)]);
        let report = link.report_of(&permit).await;
        assert_eq!((contacts(&report).len(), refused(&report)), (0, vec![u32::from(other.port)]));
        assert_eq!(other.met(), 0);
        link.stop().await;
    });
}

/// The machine's files as a test wants them, for this process alone.
fn replace(directory: &Path, name: &str, content: &str) {
    let file = directory.join(name);
    fs::write(&file, content).expect("write");
    rustix::mount::mount_bind(&file, Path::new("/etc").join(name)).expect("bind");
}

pub fn resolved(directory: &Path) {
    // SAFETY: only the mount namespace is replaced, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("unshare");
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private");
    replace(directory, "hosts", "127.0.0.1 localhost\n127.0.0.9 db.cmdop.test\n127.0.0.8 secret.cmdop.test\n");
    let server = Echo::start("127.0.0.9");
    let dns = silent_udp();
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let target = format!("db.cmdop.test:{}", server.port);
        let connect = format!(
            "exec 3<>/dev/tcp/db.cmdop.test/{} && echo hi >&3 && head -n1 <&3; cat /etc/hosts; \
             echo x 2>/dev/null >> /etc/hosts || echo closed",
            server.port
        );
        let report = link.report_of(&contacting(line(&host, "call", &connect), std::slice::from_ref(&target))).await;
        let hosts = "127.0.0.1 localhost\n::1 localhost\n127.0.0.9 db.cmdop.test\n";
        assert_eq!(stdout(&report), format!("hi\n{hosts}closed\n"), "{report:?}");
        let [contact] = contacts(&report)[..] else { panic!("{report:?}") };
        let seen = network(contact);
        assert_eq!((contact.target.as_str(), seen.name.as_str()), (target.as_str(), "db.cmdop.test"));
        assert_eq!(seen.address, "127.0.0.9");
        let report = link.report_of(&contacting(helper(&host, "names", "inside: names"), &[target])).await;
        assert_eq!(
            stdout(&report),
            "db.cmdop.test: 127.0.0.9\nsecret.cmdop.test: unknown\nother.cmdop.test: unknown\n"
        );
        assert_eq!(contacts(&report).len(), 0, "a lookup is no contact: {report:?}");
        // The view's files are no change.
        assert_eq!(crate::support::inside::seen(&report), [""; 0]);
        link.stop().await;
    });
    assert!(dns.recv(&mut [0]).is_err());
}

pub fn inside_names(_: &Path) {
    for name in ["db.cmdop.test", "secret.cmdop.test", "other.cmdop.test"] {
        match (name, 1).to_socket_addrs() {
            Ok(found) => {
                let found: Vec<_> = found.map(|address| address.ip().to_string()).collect();
                println!("{name}: {}", found.join(" "));
            }
            Err(_) => println!("{name}: unknown"),
        }
    }
}
