//! What is mounted a second time: the host's own state, and the kernel's file systems.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use cmdop_contract::v1::{Reason, Stage};
use rustix::mount::{MountFlags, mount, mount_bind};
use serde_json::json;

use crate::support::cases::{USER, again_as, private_mounts};
use crate::support::host::{Host, on_runtime};
use crate::support::inside::{assert_attempted, line, seen, stdout, told};

/// A process outside whose directories any other of its user may enter through `/proc`: it has no
/// capability that a command would lack.
struct Outside(Child);

impl Outside {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000");
        // SAFETY: prctl(2) with integers, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                (0..64).for_each(|capability| {
                    libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                });
                Ok(())
            })
        };
        Self(command.spawn().expect("sleep"))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

/// The state once more, a part of it, all that holds it, and the kernel's file systems in a chroot.
fn mount_again(directory: &Path, owner: Option<u32>) {
    let places = ["again", "part", "above", "chroot/proc", "chroot/sys", "chroot/dev"].map(|name| directory.join(name));
    for place in &places {
        fs::create_dir_all(place).expect("directory");
    }
    let [again, part, above, proc, sys, dev] = &places;
    let state = directory.join("state");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state.join("undo")).expect("state");
    for made in [&state, &state.join("undo")] {
        chown(made, owner, owner).expect("chown");
    }
    mount_bind(&state, again).expect("bind");
    mount_bind(state.join("undo"), part).expect("bind");
    mount_bind(directory, above).expect("bind");
    for (kind, place) in [("proc", proc), ("sysfs", sys), ("devtmpfs", dev)] {
        mount(kind, place, kind, MountFlags::empty(), None).expect("a file system of the kernel's");
    }
    mount("tmpfs", dev.join("shm"), "tmpfs", MountFlags::empty(), None)
        .or_else(|_| {
            fs::create_dir(dev.join("shm"))?;
            mount("tmpfs", dev.join("shm"), "tmpfs", MountFlags::empty(), None).map_err(std::io::Error::from)
        })
        .expect("a tmpfs in it");
}

/// Nothing of it is reached by a command or a tool, and nothing is changed.
fn attempt(directory: &Path, mount_later: impl FnOnce()) {
    let outside = Outside::start();
    let shown = directory.display().to_string();
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&line(&host, "before", "touch before")).await;
        // A user's are mounted before, and show what is changed here at a further place.
        let names = if rustix::process::geteuid().is_root() { 1 } else { 2 };
        assert_eq!(seen(&report).len(), names, "{report:?}");
        mount_later();
        let pid = outside.0.id();
        let script = format!(
            "cd {shown}; for place in again part above/state chroot/proc chroot/sys chroot/dev; do ls -A $place; done; \
             for link in root cwd; do echo out > chroot/proc/{pid}/$link{shown}/escaped; done; \
             cat chroot/proc/{pid}/environ; echo out > again/ledger/x; echo out > above/state/x; echo over"
        );
        let report = link.report_of(&line(&host, "call", &script)).await;
        assert_eq!(stdout(&report), "over\n", "{report:?}");
        assert_eq!(told(&report)["stderr"].as_str().expect("text").lines().count(), 5, "{report:?}");
        assert!(seen(&report).is_empty(), "{report:?}");
        let places = ["again", "part", "above/state"].map(|place| format!("list {shown}/{place}"));
        assert_attempted(&report, places.iter().map(String::as_str));
        for (place, stage) in [("again", Stage::Apply), ("again/ledger", Stage::Apply), ("above/state", Stage::Apply)] {
            let arguments = json!({"path": format!("{shown}/{place}")});
            let report = link.report_of(&host.permit(place, stage, "files.list", &arguments)).await;
            let error = report.result.and_then(|result| result.error).expect("refused");
            assert_eq!(
                (error.reason(), error.message.contains("own state")),
                (Reason::PathNotUsable, true),
                "{error:?}"
            );
        }
        link.stop().await;
    });
    assert!(!directory.join("escaped").exists(), "a command reached the machine");
}

pub fn by_root(directory: &Path) {
    private_mounts();
    attempt(directory, || mount_again(directory, None));
}

pub fn by_a_user(directory: &Path) {
    private_mounts();
    let mut user = again_as("user: elsewhere", directory, Some(USER));
    mount_again(directory, Some(USER));
    assert!(user.status().expect("start").success());
}

pub fn user(directory: &Path) {
    attempt(directory, || {});
}
