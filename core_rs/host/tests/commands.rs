//! Commands as a server meets them: previewed on a private layer, then committed exactly or not at all.

#[path = "commands/closed.rs"]
mod closed;
#[path = "commands/flags.rs"]
mod flags;
#[path = "commands/links.rs"]
mod links;
#[path = "commands/lists.rs"]
mod lists;
#[path = "commands/mounts.rs"]
mod mounts;
#[path = "commands/names.rs"]
mod names;
#[path = "commands/owners.rs"]
mod owners;
#[path = "commands/races.rs"]
mod races;
#[path = "commands/renames.rs"]
mod renames;
#[path = "commands/retention.rs"]
mod retention;
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use cmdop_contract::v1::{
    CancelExecution, EffectKind, Inquire, Outcome, Permit, Reason, Report, Stage, host_to_server, server_to_host,
};
use cmdop_host::fixture;
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::host::{Host, on_runtime, reason};
use support::{commit_of, with_effects};

const CASES: &[Case] = &[
    ("a_command_is_previewed_then_exactly_that_is_committed", command_is_previewed),
    ("a_committed_command_is_undone_to_the_old_inodes", command_is_undone),
    ("a_commands_layer_survives_a_restart_of_the_daemon", command_layer_survives),
    ("a_tree_that_is_made_anew_holds_nothing_of_the_old_one", made_anew),
    ("a_commit_over_a_changed_file_is_a_conflict", command_conflict),
    ("what_changes_while_a_command_runs_is_a_conflict", races::changes_meanwhile),
    ("output_streams_while_a_command_runs_and_a_cancel_ends_it", output_streams),
    ("a_command_that_fails_is_typed_and_holds_no_layer", failing_commands),
    ("a_command_sees_nothing_of_the_hosts_own_state", command_sees_no_state),
    ("an_attribute_that_a_private_copy_keeps_for_itself_is_seen_and_refused", names::its_own),
    ("what_the_machine_has_of_such_attributes_stays_or_is_refused", names::of_the_machine),
    ("what_is_replaced_keeps_the_flags_of_its_file", flags::kept),
    ("what_is_committed_has_the_access_lists_that_were_shown_and_inherits_none", lists::exact),
    ("whoever_approves_sees_what_attributes_and_access_lists_become", lists::told),
    ("a_directory_that_its_owner_may_not_write_comes_and_goes_and_is_undone", closed::comes_and_goes),
    ("what_its_user_may_not_read_an_ordinary_users_host_refuses", closed::unreadable),
    ("a_file_is_told_as_renamed_where_that_is_certain", renames::told),
    ("a_name_that_a_journal_keeps_holds_nobody_up", links::kept_in_a_journal),
    ("commits_of_one_file_are_undone_one_after_the_other", retention::one_after_the_other),
    ("a_commit_can_be_undone_until_it_is_too_old", retention::too_old),
    ("what_an_earlier_life_did_not_free_is_freed", retention::freed_later),
    ("killed_while_it_commits_everything_or_nothing_is_applied_and_it_says_which", killed_while_committing),
];

/// These need root to be set up.
const ROOT_CASES: &[Case] = &[
    ("hard_links_and_attributes_are_committed_as_they_were_previewed_or_refused", links_and_attributes),
    ("a_link_to_a_file_whose_directory_moves_is_refused", linked_and_moved),
    ("what_changes_by_one_of_several_names_changes_by_all", links::change_alike),
    ("a_directory_that_a_direct_run_would_not_touch_keeps_its_time", links::times_stay),
    ("a_name_beyond_the_permit_keeps_a_change_by_another_from_being_committed", links::beyond_permit),
    ("a_file_of_which_not_all_names_are_found_is_refused", links::not_all_found),
    ("a_name_that_becomes_an_equal_files_is_seen_and_refused", links::equal_one),
    ("a_users_layer_says_what_it_does_not_know_of_several_names", links::without_index),
    ("an_attribute_that_looks_like_another_overlays_note_is_an_attribute", names::anybodys),
    ("on_a_fixture_commands_change_the_fixture_and_nothing_else", on_a_fixture),
    ("what_others_make_of_the_top_of_a_layer_is_no_effect", races::changes_at_the_top),
    ("a_mount_that_goes_while_a_command_runs_is_not_its_effect", mount_goes),
    ("an_ordinary_users_commands_are_previewed_and_committed_alike", as_user),
    ("what_a_mount_shows_at_two_places_is_told_under_both_names", mounts::shown_twice),
    ("beside_a_mount_in_a_directory_an_ordinary_user_changes_the_rest", mounts::in_directory),
    ("an_ordinary_user_takes_the_place_of_what_is_somebody_elses_and_gives_it_back", owners::replaced),
    ("without_direct_landlock_nothing_runs_on_the_machine_itself", never_unconfined),
];

fn as_user(_: &Path) {
    let failed: Vec<_> = CASES.iter().filter(|(name, _)| !cases::passes_as_user(name)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn main() -> ExitCode {
    let is_root = rustix::process::geteuid().is_root();
    let cases: Vec<_> = if is_root { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    let helpers: &[Case] = &[
        ("commit until killed", commit_until_killed),
        ("settle commit", settle_commit),
        ("apply as a user", apply_as_user),
        ("beside a mount as a user", mounts::beside),
        ("names as a user", links::as_user),
        ("replacing as a user", owners::replaces),
    ];
    cases::run(&cases, helpers)
}

fn command(host: &Host, call: &str, stage: Stage, line: &str) -> Permit {
    let arguments = json!({"command": line, "cwd": host.tree, "timeout_s": 20});
    host.permit(call, stage, "terminal.exec", &arguments)
}

fn told(report: &Report) -> Value {
    let result = report.result.as_ref().expect("a result");
    serde_json::from_str(&result.result_json).expect("a result is JSON")
}

fn command_is_previewed(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        fs::create_dir(host.tree.join("logs")).expect("directory");
        fs::write(host.tree.join("logs/old.gz"), "old").expect("write");
        fs::write(host.tree.join("keep"), "kept").expect("write");
        let mut link = host.start();
        let permit = command(&host, "call", Stage::Preview, "rm -rf ./logs && echo done");
        let report = link.report_of(&permit).await;
        assert_eq!((report.outcome(), report.layer_held), (Outcome::NotApplied, true), "{report:?}");
        assert_eq!(told(&report)["stdout"], json!("done\n"));
        let effects = &report.observation.as_ref().expect("an observation").effects;
        assert_eq!((effects.len(), effects[0].kind(), effects[0].count), (1, EffectKind::FileDelete, 2));
        assert!(host.tree.join("logs/old.gz").exists(), "a preview changes nothing");
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!host.tree.join("logs").exists() && host.tree.join("keep").exists());
        link.stop().await;
        assert_eq!(fs::read_dir(host.directory.join("state/layers")).expect("layers").count(), 0);
    });
}

/// Kinds that a permit for anything names.
const ALL: [EffectKind; 6] = [
    EffectKind::FileCreate,
    EffectKind::FileModify,
    EffectKind::FileDelete,
    EffectKind::FileRename,
    EffectKind::FileChmod,
    EffectKind::FileChown,
];

fn command_is_undone(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        for (path, content) in [("file", "old\n"), ("gone/deep/leaf", "leaf"), ("mode", "x")] {
            let path = host.tree.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, content).expect("write");
        }
        let tree = host.tree.clone();
        let seen = || -> Vec<_> {
            let paths = ["", "file", "gone", "gone/deep", "gone/deep/leaf", "mode"];
            let metadata = paths.map(|path| fs::symlink_metadata(tree.join(path)).expect("it is there"));
            metadata.iter().map(|it| (it.ino(), it.mode(), it.uid(), it.len(), it.mtime(), it.mtime_nsec())).collect()
        };
        let before = seen();
        let mut link = host.start();
        let is_root = rustix::process::geteuid().is_root();
        let line = "echo new > file; rm -r gone; chmod 600 mode; mkdir -p made/deep; echo x > made/deep/x";
        let line = if is_root { format!("{line}; chown 7 mode") } else { line.to_owned() };
        let every = format!("{}/**", host.tree.display());
        let permit = with_effects(command(&host, "call", Stage::Preview, &line), &ALL, &every);
        let preview = link.report_of(&permit).await;
        assert!(preview.observation.as_ref().is_some_and(|seen| seen.effects.iter().all(|effect| effect.reversible)));
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!host.tree.join("gone").exists() && host.tree.join("made/deep/x").exists());
        assert!(!is_root || fs::metadata(host.tree.join("mode")).expect("stat").uid() == 7);
        let undo = host.permit("undo", Stage::Preview, "files.undo", &json!({"call": "call"}));
        let undo = with_effects(undo, &ALL, &every);
        let plan = link.report_of(&undo).await;
        assert_eq!((plan.outcome(), plan.layer_held), (Outcome::NotApplied, true), "{plan:?}");
        let report = link.report_of(&commit_of(undo, &plan)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert_eq!(report.observation, plan.observation);
        assert_eq!(seen(), before);
        assert!(!host.tree.join("made").exists());
        link.stop().await;
    });
}

fn made_anew(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let deep = host.tree.join("build/sub/deep");
        fs::create_dir_all(&deep).expect("directories");
        for path in [deep.join("old"), deep.join("both"), host.tree.join("build/sub/old")] {
            fs::write(path, "old").expect("write");
        }
        let mut link = host.start();
        let line = "rm -r build && mkdir -p build/sub/deep && echo new > build/sub/deep/both";
        let permit = command(&host, "call", Stage::Preview, line);
        let preview = link.report_of(&permit).await;
        let effects = &preview.observation.as_ref().expect("an observation").effects;
        let told: Vec<_> = effects.iter().map(|it| format!("{:?} {}", it.kind(), it.target)).collect();
        let at = |path: &str| host.tree.join("build/sub").join(path).display().to_string();
        let deletes = ["deep/old", "old"].map(|path| format!("FileDelete {}", at(path)));
        assert_eq!(told, [format!("FileModify {}", at("deep/both")), deletes[0].clone(), deletes[1].clone()]);
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        let left: Vec<_> = fs::read_dir(&deep).expect("list").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["both"]);
        assert!(!host.tree.join("build/sub/old").exists());
        link.stop().await;
    });
}

fn linked_and_moved(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        for name in ["one", "two"] {
            fs::create_dir(host.tree.join(name)).expect("directory");
            fs::write(host.tree.join(name).join("file"), name).expect("write");
        }
        let mut link = host.start();
        // Afterwards two/file is what one/file was: what stands there now would be linked.
        let line = "ln one/file linked && mv one moved && mv two one && mv moved two";
        let every = format!("{}/**", host.tree.display());
        let permit = with_effects(command(&host, "call", Stage::Preview, line), &ALL, &every);
        let preview = link.report_of(&permit).await;
        assert!(preview.layer_held, "{preview:?}");
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(reason(&report), Reason::UnsupportedChange, "{report:?}");
        assert!(!host.tree.join("linked").exists());
        link.stop().await;
    });
}

fn links_and_attributes(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        for path in ["one", "base"] {
            fs::write(host.tree.join(path), path).expect("write");
        }
        let every = format!("{}/**", host.tree.display());
        let mut link = host.start();
        let set = "import os; os.setxattr('one', 'user.cmdop', b'x')";
        let line = format!("echo n > new; ln new new2; mkdir d; ln new d/new3; ln base base2; python3 -c \"{set}\"");
        let permit = with_effects(command(&host, "call", Stage::Preview, &line), &ALL, &every);
        let preview = link.report_of(&permit).await;
        let effects = &preview.observation.as_ref().expect("an observation").effects;
        let modified = effects.iter().find(|effect| effect.target.ends_with("/one")).expect("an attribute is seen");
        let change = modified.file.as_ref().expect("a change");
        let names = |state: &Option<cmdop_contract::v1::FileState>| state.as_ref().expect("a state").xattrs.len();
        assert_eq!((modified.kind(), names(&change.before) + 1), (EffectKind::FileModify, names(&change.after)));
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        let inode = |path: &str| fs::metadata(host.tree.join(path)).expect("it is there").ino();
        assert!(inode("new") == inode("new2") && inode("new") == inode("d/new3"));
        assert!(inode("base") == inode("base2"));
        let mut value = [0; 8];
        assert_eq!(rustix::fs::getxattr(host.tree.join("one"), "user.cmdop", &mut value), Ok(1));
        let undo =
            with_effects(host.permit("undo", Stage::Preview, "files.undo", &json!({"call": "call"})), &ALL, &every);
        let plan = link.report_of(&undo).await;
        assert_eq!(link.report_of(&commit_of(undo, &plan)).await.outcome(), Outcome::Applied, "{plan:?}");
        assert!(rustix::fs::getxattr(host.tree.join("one"), "user.cmdop", &mut value).is_err());
        assert_eq!(fs::read_dir(&host.tree).expect("list").count(), 2);
        link.stop().await;
    });
}

fn command_layer_survives(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = command(&host, "call", Stage::Preview, "echo new > file");
        let report = link.report_of(&permit).await;
        link.stop().await;
        let mut link = host.start();
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert_eq!(host.content().as_deref(), Some("new\n"));
        link.stop().await;
    });
}

fn mount_goes(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        let place = host.tree.join("mounted");
        fs::create_dir(&place).expect("directory");
        let mut link = host.start();
        let mounted = mount("none", &place, "tmpfs", MountFlags::empty(), Some(c"size=4k,mode=700"));
        mounted.expect("mounted");
        let permit = command(&host, "call", Stage::Preview, "echo began; sleep 1; true");
        link.sign_and_send(&permit).await;
        // Its first output says that the layer is laid out and the command runs.
        while !matches!(link.next().await, host_to_server::Kind::Output(_)) {}
        unmount(&place, UnmountFlags::DETACH).expect("unmounted");
        let report = link.report().await;
        let observation = report.observation.as_ref().expect("an observation");
        assert_eq!((observation.effects.len(), observation.unobserved.len()), (0, 0), "{report:?}");
        link.stop().await;
    });
}

fn command_conflict(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        fs::write(host.tree.join("file"), "old").expect("write");
        let mut link = host.start();
        let permit = command(&host, "call", Stage::Preview, "echo new > file");
        let report = link.report_of(&permit).await;
        fs::write(host.tree.join("file"), "by somebody else").expect("write");
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::CommitConflict));
        assert_eq!(host.content().as_deref(), Some("by somebody else"));
        link.stop().await;
    });
}

fn output_streams(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let wait = "echo first; echo second >&2; sleep 30";
        link.sign_and_send(&command(&host, "call", Stage::Preview, wait)).await;
        let mut said = String::new();
        while !(said.contains("first") && said.contains("second")) {
            match link.next().await {
                host_to_server::Kind::Output(output) => said += &String::from_utf8(output.data).expect("text"),
                host_to_server::Kind::Started(_) => {}
                other => panic!("before the end: {other:?}"),
            }
        }
        link.send(server_to_host::Kind::Cancel(CancelExecution { call_id: "call".into() })).await;
        let report = link.report().await;
        let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
        assert_eq!((error.reason(), report.layer_held), (Reason::Cancelled, false));
        link.stop().await;
    });
}

fn failing_commands(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&command(&host, "fails", Stage::Preview, "touch file; echo why >&2; exit 3")).await;
        let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
        assert_eq!((error.reason(), report.layer_held), (Reason::CommandFailed, false));
        assert!(error.message.contains('3') && error.message.contains("why"), "{}", error.message);
        let slow = json!({"command": "sleep 60", "cwd": host.tree, "timeout_s": 1});
        let report = link.report_of(&host.permit("slow", Stage::Preview, "terminal.exec", &slow)).await;
        let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
        assert_eq!((error.reason(), told(&report)["timed_out"].clone()), (Reason::TimedOut, json!(true)));
        let nowhere = json!({"command": "true", "cwd": host.tree.join("none")});
        let report = link.report_of(&host.permit("nowhere", Stage::Preview, "terminal.exec", &nowhere)).await;
        assert_eq!(reason(&report), Reason::PathNotFound);
        let report = link.report_of(&command(&host, "looks", Stage::Preview, "ls /")).await;
        assert!(report.result.as_ref().is_some_and(|result| result.ok) && !report.layer_held);
        assert_eq!(fs::read_dir(host.directory.join("state/layers")).expect("layers").count(), 0);
        link.stop().await;
    });
}

fn on_a_fixture(directory: &Path) {
    let fix = directory.join("fix");
    for (path, content) in [("srv/app/logs/a.log", "old"), ("srv/app/data/app.db", "data"), ("logs/b.log", "x")] {
        let path = fix.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("write");
    }
    let state = directory.join("state");
    fs::DirBuilder::new().mode(0o700).create(&state).expect("directory");
    let outside = fs::File::open(&fix).expect("the tree itself");
    fixture::enter(&fix, &[state]).expect("enter");
    on_runtime(directory, async |mut host: Host| {
        host.tree = "/srv/app".into();
        let mut link = host.start();
        let clean = "rm -rf ./logs && mv data data.old && echo new > report && rm /etc/hostname";
        let permit = with_effects(command(&host, "call", Stage::Preview, clean), &ALL, "/**");
        let report = link.report_of(&permit).await;
        let effects = &report.observation.as_ref().expect("an observation").effects;
        let seen: Vec<_> = effects.iter().map(|effect| (effect.kind(), effect.target.as_str())).collect();
        assert!(seen.contains(&(EffectKind::FileDelete, "/srv/app/logs")), "{seen:?}");
        assert!(seen.contains(&(EffectKind::FileDelete, "/etc/hostname")), "{seen:?}");
        assert!(Path::new("/srv/app/logs/a.log").exists() && Path::new("/etc/hostname").exists());
        let report = link.report_of(&commit_of(permit, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!Path::new("/srv/app/logs").exists() && !Path::new("/etc/hostname").exists());
        assert_eq!(fs::read_to_string("/srv/app/data.old/app.db").expect("read"), "data");
        link.stop().await;
    });
    // Through a descriptor from before: the tree as the machine has it.
    let tree = PathBuf::from(format!("/proc/self/fd/{}", outside.as_raw_fd()));
    assert_eq!(fs::read_to_string(tree.join("srv/app/report")).expect("read"), "new\n");
    assert!(!tree.join("srv/app/logs").exists() && tree.join("logs/b.log").exists());
    let parent = rustix::process::getppid().expect("a parent").as_raw_nonzero();
    assert!(PathBuf::from(format!("/proc/{parent}/root/etc/hostname")).exists(), "the machine lost a file");
}

const COMMITTED: usize = 150;

fn many(host: &Host, stage: Stage) -> Permit {
    command(host, "call", stage, &format!("for i in {{1..{COMMITTED}}}; do echo new > $i; done"))
}

/// The process that is killed.
fn commit_until_killed(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit = many(&host, Stage::Preview);
        let report = link.report_of(&permit).await;
        link.sign_and_send(&commit_of(permit, &report)).await;
        while !matches!(link.next().await, host_to_server::Kind::Started(_)) {}
        println!("started");
        std::future::pending::<()>().await;
    });
}

/// Starts a daemon again and prints what became of the commit.
fn settle_commit(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let permit_id = format!("{}-commit", many(&host, Stage::Preview).permit_id);
        link.send(server_to_host::Kind::Inquire(Inquire { permit_id, call_id: "call".into() })).await;
        println!("{:?}", link.report().await.outcome());
        link.stop().await;
    });
}

fn killed_while_committing(directory: &Path) {
    let mut outcomes = Vec::new();
    for round in 0..10u64 {
        let directory = directory.join(round.to_string());
        fs::create_dir(&directory).expect("directory");
        let mut child = cases::again("commit until killed", &directory).stdout(Stdio::piped()).spawn().expect("start");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "started")));
        std::thread::sleep(Duration::from_millis(round * round * 20));
        child.kill().and_then(|()| child.wait()).expect("kill");
        let helper = cases::again("settle commit", &directory).stdout(Stdio::piped()).output().expect("start");
        let outcome = String::from_utf8(helper.stdout).expect("text").trim().to_owned();
        let files = fs::read_dir(directory.join("srv")).expect("list").count();
        let expected = if outcome == "Applied" { COMMITTED } else { 0 };
        assert!(matches!(&*outcome, "Applied" | "NotApplied"), "round {round}: {outcome}, {files} files");
        assert_eq!(files, expected, "round {round}: {outcome}");
        outcomes.push(outcome);
    }
    // Kills before and after the end were both met, or the test has shown nothing.
    assert!(["Applied", "NotApplied"].iter().all(|met| outcomes.iter().any(|outcome| outcome == met)), "{outcomes:?}");
}

fn command_sees_no_state(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let line = format!("ls -A {}", host.directory.join("state").display());
        let report = link.report_of(&command(&host, "call", Stage::Preview, &line)).await;
        assert_eq!(told(&report)["stdout"], json!(""), "{report:?}");
        link.stop().await;
    });
}

fn never_unconfined(_: &Path) {
    assert!(cases::passes_as_user("apply as a user"));
}

/// An ordinary user's host has no direct mode.
fn apply_as_user(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let daemon = host.open();
        let found = daemon.hello().host.expect("a host").capabilities;
        assert!(found.iter().any(|found| found.name == "direct.landlock" && !found.available), "{found:?}");
        let mut link = host.serve(daemon);
        let report = link.report_of(&command(&host, "call", Stage::Apply, "touch touched")).await;
        assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, Reason::DirectUnavailable), "{report:?}");
        assert!(!host.tree.join("touched").exists());
        link.stop().await;
    });
}
