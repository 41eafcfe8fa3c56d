//! Flags of files (chattr(1)): what is replaced keeps them, and no command gives any unseen.

use std::fs;
use std::path::Path;

use cmdop_contract::v1::{Outcome, Stage};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use serde_json::json;

use super::command;
use super::support::commit_of;
use super::support::host::{Host, on_runtime};
use super::support::inside::{assert_attempted, effects, stdout};

const GIVEN: IFlags = IFlags::NOATIME.union(IFlags::NODUMP);

fn flags(path: &Path) -> IFlags {
    ioctl_getflags(fs::File::open(path).expect("open")).expect("a file system with flags")
}

pub fn kept(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let [by_command, by_tool] = ["command", "tool"].map(|name| host.tree.join(name));
        for path in [&by_command, &by_tool] {
            fs::write(path, "old").expect("write");
            let file = fs::File::open(path).expect("open");
            if ioctl_setflags(&file, ioctl_getflags(&file).unwrap_or(IFlags::empty()) | GIVEN).is_err() {
                // Where files have no flags none are lost.
                return;
            }
        }
        let mut link = host.start();
        let permit =
            command(&host, "call", Stage::Preview, "echo new > command; chattr +A . made; touch made; chattr +A made");
        let report = link.report_of(&permit).await;
        assert_attempted(&report, ["ioctl FS_IOC_SETFLAGS"]);
        let permit = command(&host, "again", Stage::Preview, "echo new > command");
        let report = link.report_of(&permit).await;
        assert_eq!((effects(&report).len(), stdout(&report).as_str()), (1, ""), "{report:?}");
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        let arguments = json!({"path": by_tool, "content": "new"});
        let report = link.report_of(&host.permit("tool", Stage::Apply, "files.write", &arguments)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        for (path, content) in [(&by_command, "new\n"), (&by_tool, "new")] {
            assert_eq!((fs::read_to_string(path).expect("read").as_str(), flags(path) & GIVEN), (content, GIVEN));
        }
        link.stop().await;
    });
}
