//! Files with several names: what changes by one changes by all, or is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cmdop_contract::v1::{EffectKind, Outcome, Permit, Reason, Report, Stage};
use serde_json::json;

use super::support::cases;
use super::support::host::{Host, Link, on_runtime, reason};
use super::support::inside::seen;
use super::support::{commit_of, with_effects};
use super::{ALL, command};

/// Three names of one file in the tree, and another file.
fn lay_out(host: &Host) {
    fs::create_dir(host.tree.join("deep")).expect("directory");
    fs::write(host.tree.join("a"), "old\n").expect("write");
    fs::write(host.tree.join("other"), "other\n").expect("write");
    for further in ["b", "deep/c"] {
        fs::hard_link(host.tree.join("a"), host.tree.join(further)).expect("link");
    }
}

/// Which of these names are of one file, and what it holds; an absent one is no name.
fn told(host: &Host, names: &[&str]) -> Vec<(String, u64, String)> {
    let one = |name: &&str| {
        let path = host.tree.join(name);
        Some(((*name).to_owned(), fs::metadata(&path).ok()?.ino(), fs::read_to_string(&path).ok()?))
    };
    names.iter().filter_map(one).collect()
}

fn preview_of(host: &Host, call: &str, line: &str) -> Permit {
    with_effects(command(host, call, Stage::Preview, line), &ALL, &format!("{}/**", host.tree.display()))
}

async fn undo(host: &Host, link: &mut Link, call: &str) -> Report {
    let every = format!("{}/**", host.tree.display());
    let undo = host.permit(&format!("undo {call}"), Stage::Preview, "files.undo", &json!({"call": call}));
    let undo = with_effects(undo, &ALL, &every);
    let plan = link.report_of(&undo).await;
    link.report_of(&commit_of(undo, &plan)).await
}

/// Names of one file, and what it holds.
type Expected = (&'static str, &'static str);

/// What a command does, the effects that are seen, and which names there are then.
const CASES: &[(&str, &[&str], &[Expected])] = &[
    ("echo new > a", &["FileModify a", "FileModify b", "FileModify deep/c"], &[("a b deep/c", "new\n")]),
    ("echo new > a; rm a", &["FileDelete a", "FileModify b", "FileModify deep/c"], &[("b deep/c", "new\n")]),
    ("chmod 600 b", &["FileChmod a", "FileChmod b", "FileChmod deep/c"], &[("a b deep/c", "old\n")]),
    ("mv a d", &["FileRename a", "FileCreate d"], &[("b d deep/c", "old\n")]),
    ("ln b deep/d", &["FileCreate deep/d"], &[("a b deep/c deep/d", "old\n")]),
    (
        "ln b d; echo new >> d",
        &["FileModify a", "FileModify b", "FileCreate d", "FileModify deep/c"],
        &[("a b d deep/c", "old\nnew\n")],
    ),
    ("echo new > x; mv x a", &["FileCreate a", "FileDelete a"], &[("a", "new\n"), ("b deep/c", "old\n")]),
    (
        "cp other x; mv x a; rm b",
        &["FileCreate a", "FileDelete a", "FileDelete b"],
        &[("a", "other\n"), ("deep/c", "old\n")],
    ),
    ("ln -f other a", &["FileCreate a", "FileDelete a"], &[("a other", "other\n"), ("b deep/c", "old\n")]),
    ("rm -r deep; echo new > b", &["FileModify a", "FileModify b", "FileDelete deep"], &[("a b", "new\n")]),
];

/// As root, whose overlays keep an index.
pub fn change_alike(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let all = ["a", "b", "d", "deep/c", "deep/d", "other", "x"];
        for (number, (line, effects, expected)) in CASES.iter().enumerate() {
            lay_out(&host);
            let before = told(&host, &all);
            let call = number.to_string();
            let permit = preview_of(&host, &call, line);
            let preview = link.report_of(&permit).await;
            let tree = format!("{}/", host.tree.display());
            let mut shown: Vec<String> = seen(&preview).iter().map(|it| it.replace(&tree, "")).collect();
            shown.sort_by_key(|it| it.split(' ').next_back().map(str::to_owned));
            assert_eq!(shown, *effects, "{line}: {preview:?}");
            let report = link.report_of(&commit_of(permit, &preview)).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{line}: {report:?}");
            let after = told(&host, &all);
            for (names, content) in *expected {
                let of_file: Vec<_> = names.split(' ').collect();
                let inode = after.iter().find(|(name, ..)| name == of_file[0]).expect("it is there").1;
                let same = after.iter().filter(|(_, found, _)| *found == inode);
                let same: Vec<_> = same.map(|(name, _, content)| (name.as_str(), content.as_str())).collect();
                let expected: Vec<_> = of_file.iter().map(|name| (*name, *content)).collect();
                assert_eq!(same, expected, "{line}");
            }
            assert_eq!(undo(&host, &mut link, &call).await.outcome(), Outcome::Applied, "{line}");
            assert_eq!(told(&host, &all), before, "{line}");
            fs::remove_dir_all(&host.tree).expect("remove");
            fs::create_dir(&host.tree).expect("directory");
        }
        link.stop().await;
    });
}

/// What a direct run would not touch: the directory of a name by which the file was not changed.
pub fn times_stay(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let times = |host: &Host| {
            let of = |path: &str| fs::metadata(host.tree.join(path)).expect("it is there");
            ["", "deep"].map(|path| (of(path).mtime(), of(path).mtime_nsec()))
        };
        let before = times(&host);
        let mut link = host.start();
        let permit = preview_of(&host, "call", "echo new > a");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert_eq!(fs::read_to_string(host.tree.join("deep/c")).expect("read"), "new\n");
        assert_eq!(times(&host), before, "committed");
        assert_eq!(undo(&host, &mut link, "call").await.outcome(), Outcome::Applied);
        assert_eq!(times(&host), before, "undone");
        // A name that comes into a directory which came with the same commit.
        let permit = preview_of(&host, "moved", "mkdir made && mv other made/ && touch -d @1000000000 made");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(host.tree.join("made/other").exists());
        assert_eq!(fs::metadata(host.tree.join("made")).expect("it is there").mtime(), 1_000_000_000);
        link.stop().await;
    });
}

/// A name that the permit does not cover changes with the one that it does: nothing is committed.
pub fn beyond_permit(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let permit = command(&host, "call", Stage::Preview, "echo new > deep/c");
        let deep = format!("{}/deep/**", host.tree.display());
        let permit = with_effects(permit, &ALL, &deep);
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::EffectNotPermitted));
        assert_eq!(fs::read_to_string(host.tree.join("a")).expect("read"), "old\n");
        link.stop().await;
    });
}

/// No state differs then, only whose name it is.
pub fn equal_one(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        for (number, line) in ["ln -s one x; ln -s one y", "echo same > x; cp -p x y", "mkfifo x y"].iter().enumerate()
        {
            let made = std::process::Command::new("bash").args(["-c", line]).current_dir(&host.tree).status();
            assert!(made.expect("run").success());
            let who = || ["x", "y"].map(|name| fs::symlink_metadata(host.tree.join(name)).expect("stat").ino());
            let before = who();
            let permit = preview_of(&host, &number.to_string(), "rm y; ln -P x y");
            let preview = link.report_of(&permit).await;
            assert_eq!(seen(&preview), [format!("FileModify {}/y", host.tree.display())], "{line}");
            let refused = link.report_of(&commit_of(permit, &preview)).await;
            assert_eq!(reason(&refused), Reason::UnsupportedChange, "{line}: {refused:?}");
            assert_eq!(who(), before, "{line}");
            for name in ["x", "y"] {
                fs::remove_file(host.tree.join(name)).expect("remove");
            }
        }
        link.stop().await;
    });
}

/// What the view covers with another layer is no place of the same search.
pub fn not_all_found(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        // Nobody finds a name in a directory on which something else is mounted.
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        mount("none", host.tree.join("deep"), "tmpfs", MountFlags::empty(), Some(c"size=4k")).expect("mounted");
        let mut link = host.start();
        let permit = preview_of(&host, "call", "echo new > a");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        unmount(host.tree.join("deep"), UnmountFlags::DETACH).expect("unmounted");
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::UnsupportedChange), "{report:?}");
        assert_eq!(fs::read_to_string(host.tree.join("a")).expect("read"), "old\n");
        link.stop().await;
    });
}

/// What lies in a journal is no name by which anything changes.
pub fn kept_in_a_journal(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        fs::write(host.tree.join("a"), "old\n").expect("write");
        fs::hard_link(host.tree.join("a"), host.tree.join("b")).expect("link");
        let before = told(&host, &["a", "b"]);
        let mut link = host.start();
        let every = format!("{}/**", host.tree.display());
        let a = host.tree.join("a");
        let written = host.permit("written", Stage::Preview, "files.write", &json!({"path": a, "content": "newest\n"}));
        let calls = [
            (preview_of(&host, "removed", "rm b"), "FileDelete b"),
            (preview_of(&host, "mode", "chmod 600 a"), "FileChmod a"),
            (preview_of(&host, "changed", "echo new >> a"), "FileModify a"),
            (with_effects(written, &ALL, &every), "FileModify a"),
        ];
        let names = calls.each_ref().map(|(permit, _)| permit.call_id.clone());
        for (permit, effect) in calls {
            let preview = link.report_of(&permit).await;
            let shown: Vec<_> = seen(&preview).iter().map(|it| it.replace(&every[..every.len() - 2], "")).collect();
            assert_eq!(shown, [effect], "{preview:?}");
            let report = link.report_of(&commit_of(permit, &preview)).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        }
        for call in names.iter().rev() {
            let report = undo(&host, &mut link, call).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{call}: {report:?}");
        }
        assert_eq!(told(&host, &["a", "b"]), before);
        link.stop().await;
    });
}

pub fn without_index(_: &Path) {
    assert!(cases::passes_as_user("names as a user"));
}

/// An ordinary user's overlays break up what they copy: nothing that rests on it is committed unseen.
pub fn as_user(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        lay_out(&host);
        let unmeasured = |report: &Report| {
            let unobserved = report.observation.as_ref().expect("an observation").unobserved.clone();
            unobserved.iter().filter(|it| it.kind() == EffectKind::FileModify).count()
        };
        for (call, line, count) in [
            ("written and removed", "echo new > a; rm a", 1),
            ("removed", "rm a", 1),
            ("removed with its directory", "rm -r deep", 1),
            ("moved", "mv a d", 1),
            ("all", "rm -r a b deep", 0),
            ("another", "rm other", 0),
        ] {
            let preview = link.report_of(&preview_of(&host, call, line)).await;
            assert_eq!(unmeasured(&preview), count, "{call}: {preview:?}");
        }
        let permit = preview_of(&host, "written", "echo new > a");
        let preview = link.report_of(&permit).await;
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::UnsupportedChange), "{report:?}");
        // An equal file in the place of one name is another file, though nothing about it tells.
        for (number, line) in [
            "rm b; cp a b",
            "cp a t; mv t b",
            "cp -p b t; mv t b",
            "rm a b; echo old > a; echo old > b",
            "sed -i s/nomatch/x/ b",
            "cp --remove-destination a b",
            "install -m 644 a b",
        ]
        .iter()
        .enumerate()
        {
            let report =
                link.report_of(&preview_of(&host, &format!("equal {number}"), &format!("umask 022; {line}"))).await;
            let refused = (report.outcome(), report.layer_held, reason(&report));
            assert_eq!(refused, (Outcome::NotApplied, false, Reason::UnsupportedChange), "{line}: {report:?}");
        }
        link.stop().await;
    });
}
