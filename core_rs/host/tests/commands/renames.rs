//! What is told of files that go and come: that one was renamed where that is certain, else that it went and came.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cmdop_contract::v1::{Outcome, Stage};

use super::support::commit_of;
use super::support::host::{Host, on_runtime};
use super::support::inside::{is_root, seen};
use super::support::with_effects;
use super::{ALL, command};

type Effects = &'static [&'static str];

/// What a command does, and the effects that are seen; those of an ordinary user where its overlay does not say
/// which file came.
const CASES: &[(&str, Effects, Option<Effects>)] = &[
    ("mv a b", &["FileRename a", "FileCreate b"], None),
    ("mv a dir/b", &["FileRename a", "FileCreate dir/b"], None),
    ("mv dir/c a2; mv a dir/d", &["FileRename a", "FileCreate a2", "FileRename dir/c", "FileCreate dir/d"], None),
    ("mkdir new; mv a new", &["FileRename a", "FileCreate new", "FileCreate new/a"], None),
    // The other twin stays where it is.
    ("mv twin1 b", &["FileCreate b", "FileRename twin1"], None),
    // An equal copy is no file of the machine.
    ("cp -p a b; rm a", &["FileDelete a", "FileCreate b"], None),
    ("mv a b; echo more >> b", &["FileDelete a", "FileCreate b"], None),
    ("mv a b; chmod 600 b", &["FileDelete a", "FileCreate b"], None),
    // With the time that it was given.
    ("mv a b; touch -d @1000000007 b", &["FileDelete a", "FileCreate b"], None),
    ("mv a b; cp -p other a", &["FileModify a", "FileCreate b"], None),
    (
        "mv twin1 b; rm twin2",
        &["FileCreate b", "FileRename twin1", "FileDelete twin2"],
        Some(&["FileCreate b", "FileDelete twin1", "FileDelete twin2"]),
    ),
    (
        "mv twin1 b; mv twin2 d",
        &["FileCreate b", "FileCreate d", "FileRename twin1", "FileRename twin2"],
        Some(&["FileCreate b", "FileCreate d", "FileDelete twin1", "FileDelete twin2"]),
    ),
    (
        "mv twin1 b; rm -r twins",
        &["FileCreate b", "FileRename twin1", "FileDelete twins"],
        Some(&["FileCreate b", "FileDelete twin1", "FileDelete twins"]),
    ),
    (
        "mv twin1 b; echo more >> twin2",
        &["FileCreate b", "FileRename twin1", "FileModify twin2"],
        Some(&["FileCreate b", "FileDelete twin1", "FileModify twin2"]),
    ),
];

fn lay_out(tree: &Path) {
    fs::create_dir_all(tree.join("dir")).expect("directory");
    fs::create_dir_all(tree.join("twins")).expect("directory");
    for (name, content) in [("a", "old\n"), ("dir/c", "other\n"), ("other", "others\n")] {
        fs::write(tree.join(name), content).expect("write");
    }
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for twin in ["twin1", "twin2", "twins/twin3"] {
        let file = fs::File::create(tree.join(twin)).expect("create");
        file.set_modified(long_ago).expect("time");
        file.set_permissions(fs::Permissions::from_mode(0o644)).expect("mode");
    }
}

pub fn told(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        for (number, (line, effects, of_user)) in CASES.iter().enumerate() {
            let tree = host.tree.join(number.to_string());
            lay_out(&tree);
            let old: Vec<_> =
                ["a", "twin1"].map(|name| fs::metadata(tree.join(name)).expect("it is there").ino()).into();
            let line = format!("cd {number}; {line}");
            let permit = command(&host, &number.to_string(), Stage::Preview, &line);
            let permit = with_effects(permit, &ALL, &format!("{}/**", host.tree.display()));
            let preview = link.report_of(&permit).await;
            let prefix = format!("{}/", tree.display());
            let mut shown: Vec<String> = seen(&preview).iter().map(|it| it.replace(&prefix, "")).collect();
            shown.sort_by_key(|it| it.split(' ').next_back().map(str::to_owned));
            let expected = if is_root() { effects } else { &of_user.unwrap_or(effects) };
            assert_eq!(shown, *expected, "{line}: {preview:?}");
            let report = link.report_of(&commit_of(permit, &preview)).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{line}: {report:?}");
            if line.contains("touch") {
                assert_eq!(fs::metadata(tree.join("b")).expect("it came").mtime(), 1_000_000_007, "{line}");
            }
            // The very file that was renamed is there.
            let renamed = expected.iter().find_map(|it| it.strip_prefix("FileRename ").filter(|it| *it != "dir/c"));
            if let Some(name) = renamed {
                assert!(inodes(&tree).contains(&old[usize::from(name == "twin1")]), "{line}");
            }
        }
        link.stop().await;
    });
}

/// Inodes of all in a tree.
fn inodes(tree: &Path) -> Vec<u64> {
    let entries = fs::read_dir(tree).expect("list").flatten();
    entries
        .flat_map(|entry| {
            let metadata = entry.metadata().expect("look");
            let beneath = if metadata.is_dir() { inodes(&entry.path()) } else { Vec::new() };
            beneath.into_iter().chain([metadata.ino()])
        })
        .collect()
}
