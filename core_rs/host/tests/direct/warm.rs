//! Views that were laid out before their call: none is old, and none outlives a call that is cancelled.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cmdop_contract::v1::{CancelExecution, EffectKind as K, Outcome, Reason, server_to_host};

use crate::support::cases::private_mounts;
use crate::support::host::{Host, on_runtime, reason};
use crate::{everything, lay_out, permit, told};

/// Looked up in every view before its call is known (`sandbox/warm.rs`).
const KNOWN: &str = "/etc/ld.so.cache";

/// By then the next views are laid out: a worker is made within 25 ms of a start. If they are not, they are
/// younger than what changed, and the case shows less.
const LAID: Duration = Duration::from_millis(300);

pub fn stale(directory: &Path) {
    private_mounts();
    // A directory of this process's own takes the place of the machine's.
    let etc = directory.join("etc");
    let copied = Command::new("cp").arg("-a").arg("/etc").arg(&etc).status().expect("cp");
    assert!(copied.success(), "copied");
    rustix::mount::mount_bind(&etc, "/etc").expect("bind");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let old = fs::read(KNOWN).expect("read");
        let line = format!("stat -c %a {KNOWN} && tail -c 8 {KNOWN}");
        for number in 0..4 {
            tokio::time::sleep(LAID).await;
            let mark = format!("round {number:02}");
            fs::write("/etc/another", [&*old, mark.as_bytes()].concat()).expect("write");
            fs::set_permissions("/etc/another", fs::Permissions::from_mode(0o640 + number)).expect("mode");
            fs::rename("/etc/another", KNOWN).expect("rename");
            let report = link.report_of(&permit(&host, &format!("read-{number}"), &line, &[])).await;
            assert_eq!(told(&report)["stdout"], format!("{:o}\n{mark}", 0o640 + number), "{report:?}");
        }
        tokio::time::sleep(LAID).await;
        fs::remove_file(KNOWN).expect("remove");
        let report = link.report_of(&permit(&host, "gone", &format!("test ! -e {KNOWN}; echo $?"), &[])).await;
        assert_eq!(told(&report)["stdout"], "0\n", "{report:?}");
        link.stop().await;
    });
}

pub fn cancelled(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["app/x"]);
        let marker = format!("8{}", std::process::id());
        let mut link = host.start();
        // From a call that nobody has taken up yet to one whose command runs for long.
        for (number, pause) in [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128].into_iter().enumerate() {
            lay_out(&host, &["app/x"]);
            let call = format!("call-{number}");
            let line = format!("echo {number} > app/x; sleep {marker}");
            link.sign_and_send(&permit(&host, &call, &line, &everything("app/**"))).await;
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            link.send(server_to_host::Kind::Cancel(CancelExecution { call_id: call })).await;
            let report = link.report().await;
            let error = report.result.as_ref().and_then(|result| result.error.as_ref());
            let why = error.map_or_else(|| reason(&report), cmdop_contract::v1::Error::reason);
            assert_eq!(why, Reason::Cancelled, "{report:?}");
            // What it did before is told; else it did nothing.
            let is_changed = fs::read_to_string(host.tree.join("app/x")).expect("read") != "app/x\n";
            let effects = report.observation.as_ref().map_or(&[][..], |observation| &observation.effects);
            assert_eq!(effects.iter().any(|effect| effect.kind() == K::FileModify), is_changed, "{report:?}");
            assert!(!is_changed || report.outcome() == Outcome::Applied, "{report:?}");
        }
        let report = link.report_of(&permit(&host, "after", "cat app/x", &everything("app/**"))).await;
        assert!(report.result.as_ref().is_some_and(|result| result.ok), "{report:?}");
        link.stop().await;
        assert_eq!(fs::read_dir(host.directory.join("state/layers")).expect("layers").count(), 0);
        let left = fs::read_dir("/proc").expect("proc").flatten().filter(|entry| {
            let mut said = Vec::new();
            let read = fs::File::open(entry.path().join("cmdline")).and_then(|mut file| file.read_to_end(&mut said));
            read.is_ok() && said.starts_with(b"sleep\0") && String::from_utf8_lossy(&said).contains(&marker)
        });
        assert_eq!(left.count(), 0);
    });
}
