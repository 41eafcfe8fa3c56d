//! What is somebody else's in a directory of an ordinary user, who may remove and replace it and not make it his own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::id;

use cmdop_contract::v1::{EffectKind, Outcome, Permit, Reason, Report, Stage};
use serde_json::{Value, json};

use crate::ALL;
use crate::support::cases;
use crate::support::host::{Host, Link, on_runtime, reason};
use crate::support::{commit_of, with_effects};

/// The directory, which this process makes.
fn place(process: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/cmdop-owners-{process}"))
}

pub fn replaced(_: &Path) {
    let top = place(id());
    for directory in ["", "others", "grouped", "mine", "mine/deep"] {
        fs::create_dir_all(top.join(directory)).expect("directory");
    }
    for file in ["file", "group", "secret", "mine/deep/secret", "shut"] {
        fs::write(top.join(file), "same\n").expect("write");
        fs::set_permissions(top.join(file), fs::Permissions::from_mode(0o644)).expect("chmod");
    }
    for secret in ["secret", "mine/deep/secret", "shut"] {
        fs::set_permissions(top.join(secret), fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    fs::set_permissions(top.join("shut"), fs::Permissions::from_mode(0o000)).expect("chmod");
    symlink("file", top.join("link")).expect("link");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, top.join("pipe"), rustix::fs::FileType::Fifo, mode, 0).expect("pipe");
    for own in ["", "mine", "mine/deep", "shut"] {
        chown(top.join(own), Some(cases::USER), Some(cases::USER)).expect("chown");
    }
    for grouped in ["group", "grouped"] {
        chown(top.join(grouped), Some(cases::USER), Some(0)).expect("chown");
    }
    let passed = cases::passes_as_user("replacing as a user");
    fs::remove_dir_all(&top).expect("remove");
    assert!(passed);
}

fn permit(host: &Host, call: &str, tool: &str, arguments: &Value) -> Permit {
    let permit = host.permit(call, Stage::Preview, tool, arguments);
    with_effects(permit, &ALL, &format!("{}/**", place(parent_id()).display()))
}

fn command(host: &Host, line: &str) -> Permit {
    let line_of = format!("umask 022; {line}");
    permit(host, line, "terminal.exec", &json!({"command": line_of, "cwd": place(parent_id()), "timeout_s": 20}))
}

/// Does it; the report of the preview.
async fn applied(link: &mut Link, permit: Permit) -> Report {
    let preview = link.report_of(&permit).await;
    let report = link.report_of(&commit_of(permit, &preview)).await;
    assert_eq!(report.outcome(), Outcome::Applied, "{preview:?}, then {report:?}");
    preview
}

async fn undone(host: &Host, link: &mut Link, call: &str) {
    applied(link, permit(host, &format!("undo {call}"), "files.undo", &json!({"call": call}))).await;
}

fn is_reversible(preview: &Report) -> bool {
    preview.observation.as_ref().expect("an observation").effects.iter().all(|effect| effect.reversible)
}

pub fn replaces(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let top = place(parent_id());
        let who = |name: &str| {
            let found = fs::symlink_metadata(top.join(name)).ok()?;
            Some((found.ino(), found.uid(), found.gid(), found.mode()))
        };
        let mut link = host.start();
        for (name, line) in [
            ("file", "cp file new; mv -f new file"),
            ("file", "sed -i s/nomatch/x/ file"),
            ("link", "rm link; ln -s file link"),
            ("pipe", "rm pipe; mkfifo pipe"),
            ("group", "cp group new; mv -f new group"),
        ] {
            let before = who(name).expect("it is there");
            let preview = applied(&mut link, command(&host, line)).await;
            let kinds: Vec<_> = preview.observation.iter().flat_map(|it| &it.effects).map(|it| it.kind()).collect();
            assert_eq!((kinds, is_reversible(&preview)), (vec![EffectKind::FileChown], true), "{line}: {preview:?}");
            let after = who(name).expect("it is there");
            assert!(after.0 != before.0 && (after.1, after.2) == (cases::USER, cases::USER), "{line}: {after:?}");
            undone(&host, &mut link, line).await;
            assert_eq!(who(name), Some(before), "{line}");
        }
        // To be put back nothing need be read.
        let moved = permit(&host, "moved", "files.move", &json!({"from": top.join("shut"), "to": top.join("moved")}));
        for (name, call, permit) in [
            ("secret", "rm -f secret", command(&host, "rm -f secret")),
            ("mine/deep/secret", "rm -rf mine", command(&host, "rm -rf mine")),
            ("shut", "moved", moved),
        ] {
            let before = who(name).expect("it is there");
            assert!(is_reversible(&applied(&mut link, permit).await), "{call}");
            assert_eq!(who(name), None, "{call}");
            undone(&host, &mut link, call).await;
            assert_eq!(who(name), Some(before), "{call}");
        }
        // A directory stays, and the old group is not this user's to give.
        let preview = applied(&mut link, command(&host, "rmdir grouped; mkdir grouped")).await;
        assert!(!is_reversible(&preview), "{preview:?}");
        let others = command(&host, "rmdir others; mkdir others");
        let preview = link.report_of(&others).await;
        let report = link.report_of(&commit_of(others, &preview)).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::UnsupportedChange), "{report:?}");
        link.stop().await;
    });
}
