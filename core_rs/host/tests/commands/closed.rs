//! Directories that their own owner may not write: they come and go with a command all the same, for an ordinary user too.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cmdop_contract::v1::{Outcome, Stage};
use serde_json::json;

use super::support::host::{Host, on_runtime};
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
