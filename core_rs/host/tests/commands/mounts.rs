//! Where something is mounted in a directory that an ordinary user may change.

use std::fs;
use std::path::{Path, PathBuf};

use cmdop_contract::v1::{EffectKind, Outcome, Stage};
use serde_json::json;

use crate::support::cases;
use crate::support::host::{Host, on_runtime};
use crate::support::{commit_of, with_effects};
use crate::told;

/// The directory with a mount in it, which this process makes.
fn place(process: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/cmdop-mounted-{process}"))
}

pub fn in_directory(_: &Path) {
    let top = place(std::process::id());
    for place in ["app/deep", "deep/mnt", "deep/beside"] {
        fs::create_dir_all(top.join(place)).expect("directory");
    }
    let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(top.join("deep/mnt")).status();
    assert!(mount.expect("mount").success());
    for place in ["", "app", "app/deep", "deep", "deep/mnt", "deep/beside"] {
        std::os::unix::fs::chown(top.join(place), Some(cases::USER), Some(cases::USER)).expect("chown");
    }
    let passed = cases::passes_as_user("beside a mount as a user");
    let unmount = std::process::Command::new("umount").arg(top.join("deep/mnt")).status();
    assert!(unmount.expect("umount").success());
    fs::remove_dir_all(&top).expect("remove");
    assert!(passed);
}

pub fn beside(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let top = place(std::os::unix::process::parent_id());
        let mut link = host.start();
        let line =
            "echo 1 > app/deep/x && echo 2 > deep/beside/x && echo 3 > deep/mnt/x; echo 4 > x; echo 5 > deep/x; true";
        let arguments = json!({"command": line, "cwd": top, "timeout_s": 20});
        let preview = host.permit("beside", Stage::Preview, "terminal.exec", &arguments);
        let preview = with_effects(preview, &[EffectKind::FileCreate], &format!("{}/**", top.display()));
        let report = link.report_of(&preview).await;
        let result = report.result.as_ref().unwrap_or_else(|| panic!("a result in {report:?}"));
        assert_eq!(
            told(&report)["stderr"].as_str().map(|said| said.matches("Read-only").count()),
            Some(2),
            "{report:?}"
        );
        assert!(result.confinement.contains(&format!("read-only {}", top.display())), "{}", result.confinement);
        let report = link.report_of(&commit_of(preview, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        for (place, content) in [("app/deep/x", "1"), ("deep/beside/x", "2"), ("deep/mnt/x", "3")] {
            assert_eq!(fs::read_to_string(top.join(place)).expect("read"), format!("{content}\n"));
        }
        assert!(!top.join("x").exists() && !top.join("deep/x").exists());
        link.stop().await;
    });
}
