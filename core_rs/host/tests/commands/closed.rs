//! Directories that their own owner may not write: they come and go with a command all the same, for an ordinary user too.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cmdop_contract::v1::{Outcome, Reason, Stage};
use serde_json::json;

use super::support::host::{Host, on_runtime, reason};
use super::support::{commit_of, with_effects};
use super::{ALL, command};

/// Mode and inode of what is beneath a directory, by path.
fn there(top: &Path) -> Vec<(String, u32, u64)> {
    let (mut found, mut open) = (Vec::new(), vec![top.to_owned()]);
    while let Some(path) = open.pop() {
        let metadata = path.symlink_metadata().expect("stat");
        found.push((path.display().to_string(), metadata.mode(), metadata.ino()));
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("an entry").path()));
        }
    }
    found.sort();
    found
}

/// What an ordinary user's host may not read it does not commit, and does not ask for again; what failed tells that.
pub fn unreadable(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        fs::write(host.tree.join("shut"), "old").expect("write");
        fs::set_permissions(host.tree.join("shut"), fs::Permissions::from_mode(0o000)).expect("chmod");
        let every = format!("{}/**", host.tree.display());
        let is_root = rustix::process::geteuid().is_root();
        let mut link = host.start();
        for line in ["echo x > new; chmod 000 new", "mv shut elsewhere", "chmod 644 elsewhere shut 2> /dev/null; true"]
        {
            let permit = with_effects(command(&host, line, Stage::Preview, line), &ALL, &every);
            let preview = link.report_of(&permit).await;
            let expected = if is_root { Reason::Unspecified } else { Reason::UnsupportedChange };
            assert_eq!((preview.layer_held, reason(&preview)), (is_root, expected), "{line}: {preview:?}");
            if is_root {
                assert_eq!(link.report_of(&commit_of(permit, &preview)).await.outcome(), Outcome::Applied, "{line}");
            }
        }
        let failing = command(&host, "fails", Stage::Preview, "touch n; chmod 000 n; exit 3");
        let report = link.report_of(&with_effects(failing, &ALL, &every)).await;
        let error = report.result.as_ref().and_then(|result| result.error.as_ref()).expect("an error");
        assert_eq!(error.reason(), Reason::CommandFailed, "{report:?}");
        link.stop().await;
    });
}

/// What comes, what goes, and what takes the place of something else; each is undone, too.
pub fn comes_and_goes(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        for path in ["old", "full/sub", "was"] {
            fs::create_dir_all(host.tree.join(path)).expect("directories");
        }
        for path in ["full/file", "full/sub/file", "file"] {
            fs::write(host.tree.join(path), "old").expect("write");
        }
        for (path, mode) in [("old", 0o555), ("full/sub", 0o555), ("full", 0o500), ("was", 0o555)] {
            fs::set_permissions(host.tree.join(path), fs::Permissions::from_mode(mode)).expect("chmod");
        }
        let every = format!("{}/**", host.tree.display());
        let mut link = host.start();
        for (number, (line, modes)) in [
            ("mkdir n; chmod 555 n", &[("n", 0o555)][..]),
            ("mkdir n; echo x > n/file; chmod 500 n", &[("n", 0o500), ("n/file", 0o644)]),
            ("mkdir -p a/b/c; chmod 555 a/b a", &[("a", 0o555), ("a/b", 0o555), ("a/b/c", 0o755)]),
            ("rmdir old", &[]),
            ("chmod -R u+w full; rm -r full", &[]),
            ("rmdir was; echo x > was", &[("was", 0o644)]),
            ("rm file; mkdir file; chmod 555 file", &[("file", 0o555)]),
            // What is in one changes, because the command opens it for as long.
            ("chmod 755 full; echo y > full/new; chmod 500 full", &[("full", 0o500), ("full/new", 0o644)]),
            ("chmod 755 full; echo y > full/new; rm full/file", &[("full", 0o755), ("full/new", 0o644)]),
            ("chmod 755 full; echo y > full/file; chmod 555 full", &[("full", 0o555), ("full/file", 0o644)]),
            ("chmod -R u+w full; mv full/sub/file full/sub/more; chmod 555 full/sub", &[("full/sub/more", 0o644)]),
            ("mkdir n n/m; mv file n/m/file; chmod 555 n/m n", &[("n/m", 0o555), ("n/m/file", 0o644)]),
            ("echo x > full/../new; mkdir shut; chmod 0 shut; chmod 500 shut", &[("shut", 0o500), ("new", 0o644)]),
        ]
        .into_iter()
        .enumerate()
        {
            let before = there(&host.tree);
            let call = number.to_string();
            let permit = command(&host, &call, Stage::Preview, &format!("umask 022; {line}"));
            let permit = with_effects(permit, &ALL, &every);
            let preview = link.report_of(&permit).await;
            let report = link.report_of(&commit_of(permit, &preview)).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{line}: {report:?}");
            for (path, mode) in modes {
                let found = fs::symlink_metadata(host.tree.join(path)).expect("it is there");
                assert_eq!(found.mode() & 0o7777, *mode, "{line}: {path}");
            }
            assert_ne!(there(&host.tree), before, "{line}");
            let undo = host.permit(&format!("undo {call}"), Stage::Preview, "files.undo", &json!({"call": call}));
            let undo = with_effects(undo, &ALL, &every);
            let plan = link.report_of(&undo).await;
            let report = link.report_of(&commit_of(undo, &plan)).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{line}, undone: {report:?}");
            assert_eq!(there(&host.tree), before, "{line}, undone");
        }
        link.stop().await;
        // Whoever removes the test's directory may.
        for path in ["full/sub", "full"] {
            fs::set_permissions(host.tree.join(path), fs::Permissions::from_mode(0o755)).expect("chmod");
        }
    });
}
