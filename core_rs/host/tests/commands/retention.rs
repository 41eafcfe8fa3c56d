//! How long a commit can be undone: one after the other, until it is too old, and what is kept of it then.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cmdop_contract::v1::{Error, Outcome, Permit, Reason, Report, Stage};
use serde_json::json;

use super::support::host::{Host, Link, on_runtime};
use super::support::{commit_of, with_effects};
use super::{ALL, command};

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn commit(host: &Host, link: &mut Link, call: &str, line: &str) {
    let every = format!("{}/**", host.tree.display());
    let permit = with_effects(command(host, call, Stage::Preview, line), &ALL, &every);
    let preview = link.report_of(&permit).await;
    let report = link.report_of(&commit_of(permit, &preview)).await;
    assert_eq!(report.outcome(), Outcome::Applied, "{line}: {report:?}");
}

fn undoing(host: &Host, call: &str, by: &str) -> Permit {
    let undo = host.permit(by, Stage::Preview, "files.undo", &json!({"call": call}));
    with_effects(undo, &ALL, &format!("{}/**", host.tree.display()))
}

async fn undo(host: &Host, link: &mut Link, call: &str) -> Report {
    let permit = undoing(host, call, &format!("undo {call}"));
    let plan = link.report_of(&permit).await;
    if !plan.layer_held {
        return plan;
    }
    link.report_of(&commit_of(permit, &plan)).await
}

fn why(report: &Report) -> Error {
    report.result.clone().and_then(|result| result.error).expect("an error")
}

/// The journals, the oldest first.
fn journals(host: &Host) -> Vec<PathBuf> {
    let found = fs::read_dir(Path::new(&host.config().state_dir).join("undo")).expect("journals");
    let found = found.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = found.filter(|path| path.is_dir()).collect();
    found.sort_by_key(|path| path.join("done").metadata().and_then(|done| done.modified()).ok());
    found
}

/// What is back is the very inode that the commit before left: only its time of last change moved.
pub fn one_after_the_other(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        fs::write(host.tree.join("file"), "0\n").expect("write");
        fs::write(host.tree.join("other"), "other\n").expect("write");
        let lines = [
            "echo 1 > file; mkdir made made/deep",
            "chmod 640 file; chmod 700 made; echo changed > other",
            "echo 2 > file; mkdir made/more; echo x > made/x; chmod 750 made/deep",
            "echo y > made/y; mv other elsewhere",
            "rm -r file made elsewhere",
            "echo 3 > file",
            "rm file",
        ];
        let who = |host: &Host| {
            ["file", "other"].map(|name| fs::metadata(host.tree.join(name)).map(|it| (it.ino(), it.mode())).ok())
        };
        let before = who(&host);
        let mut link = host.start();
        for (number, line) in lines.iter().enumerate() {
            commit(&host, &mut link, &number.to_string(), line).await;
        }
        for (number, line) in lines.iter().enumerate().rev() {
            let report = undo(&host, &mut link, &number.to_string()).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{line}: {report:?}");
        }
        assert_eq!(who(&host), before);
        assert_eq!(fs::read_to_string(host.tree.join("file")).expect("read"), "0\n");
        let refused = undo(&host, &mut link, "undo 0").await;
        assert!(why(&refused).message.contains("an undo is not undone"), "{refused:?}");
        // What somebody else changed is still nobody's to take back.
        commit(&host, &mut link, "first", "echo 4 > file").await;
        commit(&host, &mut link, "second", "echo 5 > file").await;
        assert_eq!(undo(&host, &mut link, "second").await.outcome(), Outcome::Applied);
        fs::write(host.tree.join("file"), "6\n").expect("write");
        let refused = undo(&host, &mut link, "first").await;
        assert_eq!(why(&refused).reason(), Reason::NotRestorable, "{refused:?}");
        link.stop().await;
    });
}

/// A journal that nobody can read keeps no other from being dropped.
pub fn too_old(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        fs::write(host.tree.join("file"), "0\n").expect("write");
        fs::write(host.tree.join("young"), "0\n").expect("write");
        let mut link = host.start();
        commit(&host, &mut link, "old", "rm file").await;
        let old = journals(&host).pop().expect("a journal");
        let is_kept = || old.join("slots").exists();
        assert!(is_kept());
        commit(&host, &mut link, "young", "rm young").await;
        link.stop().await;
        let damaged = old.parent().expect("a parent").join("damaged");
        fs::create_dir(&damaged).expect("directory");
        fs::write(damaged.join("done"), [0xff; 40]).expect("write");
        let aged = |days: u32| {
            let made = SystemTime::now() - DAY * days;
            File::open(old.join("done")).and_then(|done| done.set_modified(made)).expect("age");
        };
        aged(6);
        let mut link = host.start();
        let plan = link.report_of(&undoing(&host, "old", "in time")).await;
        assert!(plan.layer_held, "{plan:?}");
        link.stop().await;
        aged(8);
        let mut link = host.start();
        let refused = undo(&host, &mut link, "old").await;
        let error = why(&refused);
        assert_eq!(error.reason(), Reason::NotRestorable, "{refused:?}");
        assert!(error.message.contains("no longer kept"), "{}", error.message);
        assert!(!is_kept());
        assert_eq!(undo(&host, &mut link, "young").await.outcome(), Outcome::Applied);
        link.stop().await;
    });
}

/// Killed when it had said that it keeps no more, and before it freed anything.
pub fn freed_later(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        for name in ["dropped", "undone"] {
            fs::write(host.tree.join(name), name).expect("write");
            commit(&host, &mut link, name, &format!("rm {name}")).await;
        }
        link.stop().await;
        let found = journals(&host);
        for (journal, state) in found.iter().zip(["dropped", "undone"]) {
            fs::rename(journal.join("done"), journal.join(state)).expect("rename");
        }
        let link = host.start();
        link.stop().await;
        for (journal, state) in found.iter().zip(["dropped", "undone"]) {
            assert!(!journal.join("slots").exists(), "{state}");
            assert_eq!(fs::metadata(journal.join(state)).expect("it is remembered").len(), 0, "{state}");
        }
    });
}
