//! Attributes whose names look like an overlay's own notes: believed of nobody but the overlay, and not lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cmdop_contract::v1::{Outcome, Permit, Reason, Report, Stage};
use rustix::fs::XattrFlags;
use serde_json::{Value, json};

use super::ALL;
use super::support::host::{Host, Link, on_runtime, reason};
use super::support::inside::{effects, is_root, seen, stdout};
use super::support::{commit_of, with_effects};

/// Names that a command cannot give in its private copy as they would be on the machine.
fn own() -> &'static str {
    if is_root() { "trusted.overlay." } else { "user.overlay." }
}

fn lay_out(host: &Host) {
    fs::create_dir_all(host.tree.join("sub/deep")).expect("directories");
    for path in ["keep", "sub/s", "sub/deep/d"] {
        fs::write(host.tree.join(path), path).expect("write");
    }
}

fn call(host: &Host, call: &str, tool: &str, arguments: &Value) -> Permit {
    let every = format!("{}/**", host.tree.display());
    with_effects(host.permit(call, Stage::Preview, tool, arguments), &ALL, &every)
}

/// What Python does in the tree.
fn python(host: &Host, name: &str, what: &str) -> Permit {
    let program = format!("import os\n{what}");
    call(host, name, "terminal.exec", &json!({"argv": ["/usr/bin/python3", "-c", program], "cwd": host.tree}))
}

async fn committed(link: &mut Link, permit: Permit) -> (Report, Report) {
    let preview = link.report_of(&permit).await;
    assert!(preview.layer_held, "{preview:?}");
    let report = link.report_of(&commit_of(permit, &preview)).await;
    (preview, report)
}

/// Every name beneath the tree with its extended attributes.
fn everything(host: &Host) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![host.tree.clone()];
    while let Some(path) = open.pop() {
        let mut names = vec![0; 4096];
        let size = rustix::fs::llistxattr(&path, &mut names).expect("attributes");
        let mut names: Vec<_> = names[..size].split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        names.sort();
        found.insert(format!("{} {names:?}", path.strip_prefix(&host.tree).expect("beneath").display()));
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("an entry").path()));
        }
    }
    found
}

const NOTES: [&str; 9] =
    ["opaque", "redirect", "whiteout", "metacopy", "origin", "impure", "uuid", "overlay.opaque", "else"];

/// Whoever can write a file can set them, so as root they say nothing, and are committed as they are.
pub fn anybodys(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let mut before = everything(&host);
        for (number, note) in NOTES.iter().enumerate() {
            for (value, place) in [("y", "."), ("x", "sub"), ("keep", "sub/deep"), ("/keep", "keep")] {
                let (name, tree) = (format!("{number} {place}"), host.tree.display().to_string());
                let set = format!("os.setxattr('{place}', 'user.overlay.{note}', b'{value}')");
                let (preview, report) = committed(&mut link, python(&host, &name, &set)).await;
                let target = if place == "." { tree } else { format!("{tree}/{place}") };
                assert_eq!(seen(&preview), [format!("FileModify {target}")], "{set}");
                let change = effects(&preview)[0].file.clone().expect("a change");
                let shown: Vec<_> = change.after.expect("a state").xattrs.into_iter().map(|it| it.name).collect();
                assert_eq!(shown, [format!("user.overlay.{note}")], "{set}");
                assert_eq!(report.outcome(), Outcome::Applied, "{set}: {report:?}");
                let mut found = [0; 8];
                let size = rustix::fs::getxattr(host.tree.join(place), format!("user.overlay.{note}"), &mut found);
                assert_eq!(size.map(|size| found[..size].to_vec()), Ok(value.as_bytes().to_vec()), "{set}");
                // A command that meets them on the machine finds the same, and changes what it changes.
                let look = "print(sorted(os.listdir('.')), sorted(os.listdir('sub'))); open('sub/deep/new', 'w')";
                let (preview, report) = committed(&mut link, python(&host, &format!("look {name}"), look)).await;
                assert_eq!(stdout(&preview), "['keep', 'sub'] ['deep', 's']\n", "{set}");
                assert_eq!(seen(&preview).len(), 1, "{set}: {preview:?}");
                assert_eq!(report.outcome(), Outcome::Applied, "{set}: {report:?}");
                for undone in [format!("look {name}"), name] {
                    let undo = call(&host, &format!("undo {undone}"), "files.undo", &json!({"call": undone}));
                    assert_eq!(committed(&mut link, undo).await.1.outcome(), Outcome::Applied, "{set}");
                }
                assert_eq!(everything(&host), std::mem::replace(&mut before, everything(&host)), "{set}");
            }
        }
        link.stop().await;
    });
}

/// An overlay takes those of its own namespace for others, or refuses them: seen, and not committed.
pub fn its_own(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let before = everything(&host);
        for (number, note) in NOTES.iter().enumerate() {
            let name = format!("{}{note}", own());
            let set = format!(
                "try:\n os.setxattr('sub', '{name}', b'y')\n open('sub/new', 'w')\nexcept OSError: print('refused')"
            );
            let permit = python(&host, &number.to_string(), &set);
            let preview = link.report_of(&permit).await;
            if stdout(&preview) == "refused\n" {
                // Without the right to, as on the machine.
                assert!(is_root() && effects(&preview).is_empty(), "{name}: {preview:?}");
                continue;
            }
            let change = effects(&preview)[0].file.clone().expect("a change");
            let shown: Vec<_> = change.after.expect("a state").xattrs.into_iter().map(|it| it.name).collect();
            assert!(shown.contains(&name), "{name}: {preview:?}");
            let report = link.report_of(&commit_of(permit, &preview)).await;
            assert_eq!(reason(&report), Reason::UnsupportedChange, "{name}: {report:?}");
            let message = report.error.expect("an error").message;
            assert!(message.contains(&format!("`{name}`")), "{message}");
            assert_eq!(everything(&host), before, "{name}");
        }
        link.stop().await;
    });
}

/// What of the machine has such names, for example the layers of containers, keeps them, or is refused.
pub fn of_the_machine(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        for (place, note) in [(".", "opaque"), ("sub", "opaque"), ("keep", "origin"), ("sub/s", "overlay.origin")] {
            let name = format!("{}{note}", own());
            rustix::fs::setxattr(host.tree.join(place), name, b"y", XattrFlags::empty()).expect("set");
        }
        let mut link = host.start();
        let before = everything(&host);
        // The top of a user's layer.
        rustix::fs::setxattr(&host.directory, "user.cmdop", b"y", XattrFlags::empty()).expect("set");
        let (preview, report) = committed(&mut link, python(&host, "beside", "open('sub/new', 'w')")).await;
        assert_eq!(effects(&preview).len(), 1, "{preview:?}");
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        fs::remove_file(host.tree.join("sub/new")).expect("remove");
        assert_eq!(everything(&host), before);
        for (name, what, is_in_place) in [
            ("mode", "os.chmod('keep', 0o600); os.chmod('sub/s', 0o600); os.chmod('sub', 0o711)", true),
            ("write", "open('keep', 'w').write('new')", false),
            ("write escaped", "open('sub/s', 'w').write('new')", false),
            ("anew", "import shutil; shutil.rmtree('sub'); os.mkdir('sub')", false),
        ] {
            let (_, report) = committed(&mut link, python(&host, name, what)).await;
            // A user's overlay does not say of a file whether it is the same one.
            if is_in_place && is_root() {
                assert_eq!(report.outcome(), Outcome::Applied, "{name}: {report:?}");
            } else {
                assert_eq!(reason(&report), Reason::UnsupportedChange, "{name}: {report:?}");
                assert!(report.error.expect("an error").message.contains(own()), "{name}");
            }
            assert_eq!(everything(&host), before, "{name}");
        }
        link.stop().await;
    });
}
