//! Where something is mounted in a directory that an ordinary user may change.

use std::fs;
use std::path::{Path, PathBuf};

use cmdop_contract::v1::{EffectKind, Outcome, Permit, Reason, Stage};
use serde_json::json;

use crate::support::cases;
use crate::support::host::{Host, on_runtime, reason};
use crate::support::{commit_of, with_effects};
use crate::{ALL, command, told};

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

/// What a mount shows at two places changes at both, whatever name a permit has for it.
pub fn shown_twice(directory: &Path) {
    cases::in_memory(&directory.join("srv"));
    on_runtime(directory, async |mut host: Host| {
        let (outside, alias) = (directory.join("outside"), host.tree.join("alias"));
        fs::create_dir_all(outside.join("deep")).expect("directories");
        fs::create_dir(&alias).expect("directory");
        fs::write(outside.join("old"), "old").expect("write");
        rustix::mount::mount_bind(&outside, &alias).expect("mounted");
        let every = |mut permit: Permit, place: &Path| {
            permit.effects.extend(with_effects(permit.clone(), &ALL, &format!("{}/**", place.display())).effects);
            permit
        };
        let at = |name: &str| [&alias, &outside].map(|place| place.join(name).display().to_string());
        let mut link = host.start();
        let line = "echo new > alias/deep/new; rm alias/old; mv alias/deep/new alias/newer; mkdir alias/made";
        let preview = every(command(&host, "inside", Stage::Preview, line), &host.tree);
        let report = link.report_of(&preview).await;
        let mut told: Vec<_> = report.observation.iter().flat_map(|seen| &seen.effects).map(|it| &*it.target).collect();
        told.sort_unstable();
        let mut expected = [at("made"), at("newer"), at("old")].concat();
        expected.sort_unstable();
        assert_eq!(told, expected, "{report:?}");
        let report = link.report_of(&commit_of(preview, &report)).await;
        assert_eq!(reason(&report), Reason::EffectNotPermitted, "{report:?}");
        let written = json!({"path": alias.join("written"), "content": "x"});
        let write = every(host.permit("write", Stage::Apply, "files.write", &written), &host.tree);
        assert_eq!(reason(&link.report_of(&write).await), Reason::EffectNotPermitted);
        let directly = every(command(&host, "directly", Stage::Apply, "echo x > alias/written"), &alias);
        assert_eq!(reason(&link.report_of(&directly).await), Reason::DirectUnavailable);
        assert!(outside.join("old").exists() && !outside.join("written").exists());
        // Under both names it is permitted, happens once and is undone.
        let both = every(every(command(&host, "both", Stage::Preview, line), &host.tree), &outside);
        let report = link.report_of(&both).await;
        let report = link.report_of(&commit_of(both, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(outside.join("newer").exists() && !outside.join("old").exists());
        let undo = host.permit("undo", Stage::Preview, "files.undo", &json!({"call": "both"}));
        let undo = every(every(undo, &host.tree), &outside);
        let plan = link.report_of(&undo).await;
        let report = link.report_of(&commit_of(undo, &plan)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(outside.join("old").exists() && !outside.join("newer").exists());
        link.stop().await;
    });
}
