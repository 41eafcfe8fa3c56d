//! Commands that try to read what their permit masks, in a preview and on the machine itself, as root
//! and as an ordinary user: no byte of it reaches their output, their effects or the machine.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::ExitCode;

use cmdop_contract::v1::{EffectKind, Masks, Outcome, Permit, PermittedEffect, Reason, Report, Stage};
use serde_json::json;
use support::cases::{self, Case};
use support::host::{Host, on_runtime, reason};
use support::inside::{is_root, line, seen, stdout, told};
use support::{commit_of, with_effects};

const CASES: &[Case] = &[
    ("nothing_reads_a_masked_file_in_a_preview", attacks_in_preview),
    ("copies_of_a_tree_hold_nothing_of_it", copies),
    ("a_tree_with_a_masked_file_is_deleted_and_listed", deletes),
    ("what_a_command_makes_of_a_masked_file_is_never_committed", writes),
    ("what_the_permit_shows_is_read_and_the_rest_is_not", shown),
    ("without_masks_everything_is_read", unmasked),
    ("a_class_that_the_host_does_not_know_runs_nothing", unknown_class),
    ("a_look_that_had_to_stop_is_told", unseen),
];

const ROOT_CASES: &[Case] = &[
    ("a_directory_with_a_masked_file_moves_with_it", moves),
    ("what_is_shown_read_only_is_masked_too", read_only),
    ("nothing_reads_a_masked_file_on_the_machine_itself", attacks_directly),
    ("every_case_holds_for_an_ordinary_user_too", as_user),
];

fn main() -> ExitCode {
    let cases: Vec<_> = if is_root() { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    cases::run(&cases, &[])
}

fn as_user(_: &Path) {
    let failed: Vec<_> = CASES.iter().filter(|(name, _)| !cases::passes_as_user(name)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

const SECRET: &str = "hunter2-of-the-machine";

/// Masked files of the tree.
const MASKED: [&str; 4] = ["app/.env", "app/.ssh/id_rsa", "app/deep/er/server.key", "app/linked"];

/// Secrets, what leads to them, and what is none.
fn lay_out(host: &Host) {
    for file in ["app/.env", "app/.ssh/id_rsa", "app/deep/er/server.key", "app/main.rs", "app/deep/notes"] {
        let place = host.tree.join(file);
        fs::create_dir_all(place.parent().expect("a parent")).expect("directories");
        let content = if MASKED.contains(&file) { SECRET } else { "plain" };
        fs::write(&place, format!("{content}\n")).expect("write");
    }
    fs::set_permissions(host.tree.join("app/.ssh"), fs::Permissions::from_mode(0o750)).expect("chmod");
    fs::hard_link(host.tree.join("app/.env"), host.tree.join("app/linked")).expect("link");
    symlink(host.tree.join("app/.env"), host.tree.join("app/way")).expect("link");
}

fn masks(shown: &[String]) -> Option<Masks> {
    Some(Masks { classes: vec!["secrets".into(), "cmdop".into()], shown: shown.to_vec() })
}

fn masked(host: &Host, call: &str, command: &str) -> Permit {
    Permit { masks: masks(&[]), ..line(host, call, command) }
}

/// Nothing of the report holds the secret, and the report says what was masked.
fn assert_nothing_seen(host: &Host, report: &Report) {
    assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
    let observation = report.observation.as_ref().unwrap_or_else(|| panic!("an observation in {report:?}"));
    for file in MASKED.iter().filter(|file| host.tree.join(file).exists()) {
        let place = host.tree.join(file).to_string_lossy().into_owned();
        assert!(observation.masked.contains(&place), "{place} in {:?}", observation.masked);
    }
    assert!(observation.masked_count >= observation.masked.len() as u64);
}

fn assert_intact(host: &Host) {
    for file in MASKED {
        assert_eq!(fs::read_to_string(host.tree.join(file)).expect("read"), format!("{SECRET}\n"), "{file}");
    }
}

/// Tries one way a line, and prints its name with the error that stopped it, or with `DONE` and what it read.
const ATTEMPTS: &str = r#"
import ctypes, mmap, os, shutil, subprocess, sys
app = os.getcwd() + "/app"
here = "/proc/%d" % os.getpid()
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, do):
    try: print(name, "DONE", do())
    except OSError as error: print(name, error.errno)
def read(place): return open(place, "rb").read()
def system(result):
    if result != 0: raise OSError(ctypes.get_errno(), "")
def held(place, flags):
    fd = os.open(place, flags)
    return read("/proc/self/fd/%d" % fd)
for file in (".env", ".ssh/id_rsa", "deep/er/server.key", "linked", "way"):
    place = app + "/" + file
    for name, way in (("", place), ("root", "/proc/self/root" + place), ("init", "/proc/1/root" + place),
                      ("cwd", "/proc/self/cwd/app/" + file), ("dots", app + "/../app/deep/../" + file),
                      ("old", "/../../old" + place), ("thread", here + "/task/%d/root" % os.getpid() + place)):
        attempt("open " + name + " " + file, lambda: read(way))
    attempt("held " + file, lambda: held(place, os.O_PATH))
    attempt("update " + file, lambda: open(place, "r+b").read())
    attempt("map " + file, lambda: mmap.mmap(os.open(place, os.O_RDONLY), 0, prot=mmap.PROT_READ).read())
    attempt("send " + file, lambda: os.sendfile(1, os.open(place, os.O_RDONLY), 0, 100))
    attempt("copy " + file, lambda: shutil.copyfile(place, "/dev/shm/copy"))
attempt("link", lambda: (os.link(app + "/.env", app + "/l"), read(app + "/l")))
attempt("link-root", lambda: (os.link("/proc/self/root" + app + "/.env", app + "/l2"), read(app + "/l2")))
attempt("chmod", lambda: (os.chmod(app + "/.env", 0o644), read(app + "/.env"))[1])
attempt("unshare", lambda: system(libc.unshare(0x20000)))
attempt("unshare user", lambda: system(libc.unshare(0x10000000)))
attempt("umount", lambda: system(libc.umount2((app + "/.env").encode(), 2)))
attempt("mount", lambda: system(libc.mount(b"/", b"/mnt", None, 4096, None)))
attempt("chroot", lambda: os.chroot("/proc/1/root"))
attempt("moved", lambda: (os.rename(app + "/deep/er/server.key", app + "/x"), read(app + "/x")))
attempt("tree moved", lambda: (os.rename(app + "/.ssh", app + "/s"), read(app + "/s/id_rsa")))
"#;

/// What an attempt may have ended as: refused, or with nothing read.
fn assert_all_in_vain(output: &str) {
    // Of an ordinary user's own copy of a mask the mode can be changed: it is empty.
    let is_vain =
        |line: &str| line.rsplit_once(' ').is_some_and(|(_, result)| result == "b''" || result.parse::<i32>().is_ok());
    let odd: Vec<_> = output.lines().filter(|line| !is_vain(line)).collect();
    assert!(odd.is_empty(), "{odd:?}\n{output}");
    assert!(output.lines().count() > 60, "{output}");
}

fn attacks_in_preview(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        fs::write(host.tree.join("attempts.py"), ATTEMPTS).expect("write");
        let mut link = host.start();
        let report = link.report_of(&masked(&host, "attack", "python3 attempts.py")).await;
        assert!(report.result.as_ref().is_some_and(|result| result.ok), "{report:?}");
        assert_nothing_seen(&host, &report);
        assert_all_in_vain(&stdout(&report));
        let confinement = &report.result.as_ref().expect("a result").confinement;
        assert!(confinement.contains("secrets masked"), "{confinement}");
        let report = link.report_of(&masked(&host, "shadow", "cat /etc/shadow /etc/gshadow; cat app/main.rs")).await;
        assert_eq!(stdout(&report), "plain\n", "{report:?}");
        // What is no secret looks as it does outside, directories that hold one among it.
        let stat = "stat -c '%a %u %g %Y' app app/.ssh app/deep app/deep/er app/main.rs";
        let report = link.report_of(&masked(&host, "stat", stat)).await;
        let outside = ["app", "app/.ssh", "app/deep", "app/deep/er", "app/main.rs"].map(|file| {
            let found = host.tree.join(file).metadata().expect("metadata");
            format!("{:o} {} {} {}", found.mode() & 0o7777, found.uid(), found.gid(), found.mtime())
        });
        assert_eq!(stdout(&report).lines().collect::<Vec<_>>(), outside);
        link.stop().await;
        assert_intact(&host);
    });
}

fn copies(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let commands = [
            "cp -r app copy; cp -a app again; grep -r 'hunter[2]' .",
            "tar cf - app | grep -c 'hunter[2]'; tar cf out.tar app; grep -a 'hunter[2]' out.tar; cat out.tar",
            "mv app/.env there; cat there; ln app/.ssh/id_rsa here; cat here; find . -type f -exec cat {} +",
            "bash -c 'exec 3<app/.env; cat <&3'; dd if=app/.env; source app/.env; strings -a app/*/* app/.*",
        ];
        for (number, command) in commands.iter().enumerate() {
            let report = link.report_of(&masked(&host, &format!("copy {number}"), command)).await;
            assert_nothing_seen(&host, &report);
            // An archive takes what stands there for what it is; everything else says that it could not.
            let said = told(&report)["stderr"].as_str().unwrap_or_default().to_owned();
            let is_told = said.contains("denied") || said.contains("not permitted");
            assert!(is_told || command.starts_with("tar"), "{report:?}");
        }
        link.stop().await;
        assert_intact(&host);
    });
}

fn deletes(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let preview = masked(&host, "delete", "rm -rf app/.ssh && rm app/deep/er/server.key && rm -r app");
        let report = link.report_of(&preview).await;
        assert!(report.result.as_ref().is_some_and(|result| result.ok), "{report:?}");
        assert_nothing_seen(&host, &report);
        let tree = host.tree.display();
        for gone in ["app", "app/.env", "app/.ssh", "app/deep/er/server.key"] {
            assert!(seen(&report).contains(&format!("FileDelete {tree}/{gone}")), "{gone}: {:?}", seen(&report));
        }
        let report = link.report_of(&commit_of(preview, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!host.tree.join("app").exists());
        link.stop().await;
    });
}

fn writes(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        for (number, command) in [
            "echo more > new && mv new app/.env",
            "rm app/.env && echo more > app/.env",
            "cp app/main.rs app/.ssh/copy && mv -f app/.ssh/copy app/.ssh/id_rsa",
            "mv app/.env app/env.old && touch app/other",
            "mkdir kept && cp -a app/main.rs kept && mv app/.env kept",
        ]
        .iter()
        .enumerate()
        {
            let preview = masked(&host, &format!("write {number}"), command);
            let all = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete, EffectKind::FileRename];
            let preview = with_effects(preview, &all, &format!("{}/**", host.tree.display()));
            let report = link.report_of(&preview).await;
            assert!(report.result.as_ref().is_some_and(|result| result.ok), "{command}: {report:?}");
            assert!(!seen(&report).is_empty(), "{command}");
            assert_nothing_seen(&host, &report);
            let report = link.report_of(&commit_of(preview, &report)).await;
            assert_eq!(
                (report.outcome(), reason(&report)),
                (Outcome::NotApplied, Reason::UnsupportedChange),
                "{command}"
            );
            assert_intact(&host);
        }
        // Neither opened, nor changed in place.
        for command in ["echo more >> app/.env", "sed -i s/a/b/ app/.env", "truncate -s 0 app/.env", ": > app/.env"] {
            let report = link.report_of(&masked(&host, command, command)).await;
            assert!(!report.result.as_ref().is_some_and(|result| result.ok), "{command}: {report:?}");
            assert_nothing_seen(&host, &report);
        }
        link.stop().await;
        assert_intact(&host);
    });
}

fn shown(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let region = format!("{}/app/.env", host.tree.display());
        let permit = line(&host, "shown", "cat app/.env; cat app/.ssh/id_rsa app/deep/er/server.key");
        let report = link.report_of(&Permit { masks: masks(&[region]), ..permit }).await;
        assert_eq!(stdout(&report), format!("{SECRET}\n"), "{report:?}");
        let preview = line(&host, "changed", "echo more >> app/.ssh/id_rsa");
        let region = format!("{}/app/.ssh/**", host.tree.display());
        let preview = Permit { masks: masks(&[region]), ..preview };
        let report = link.report_of(&preview).await;
        // Who may change a secret need not have shown it to everybody who reads the report.
        assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
        let report = link.report_of(&commit_of(preview, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        let content = fs::read_to_string(host.tree.join("app/.ssh/id_rsa")).expect("read");
        assert_eq!(content, format!("{SECRET}\nmore\n"));
        link.stop().await;
    });
}

fn unmasked(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let report = link.report_of(&line(&host, "person", "cat app/.env")).await;
        assert_eq!(stdout(&report), format!("{SECRET}\n"), "{report:?}");
        let observation = report.observation.expect("an observation");
        assert_eq!((observation.masked_count, observation.masked.len()), (0, 0));
        link.stop().await;
    });
}

fn unknown_class(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let unknown = Masks { classes: vec!["secrets".into(), "of_tomorrow".into()], shown: Vec::new() };
        let permit = Permit { masks: Some(unknown), ..line(&host, "unknown", "cat app/main.rs") };
        let report = link.report_of(&permit).await;
        assert_eq!((report.result.is_none(), reason(&report)), (true, Reason::PermitInvalid), "{report:?}");
        link.stop().await;
    });
}

fn unseen(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        fs::hard_link(host.tree.join("app/.env"), host.directory.join("elsewhere")).expect("link");
        let mut link = host.start();
        let report = link.report_of(&masked(&host, "unseen", "cat app/linked")).await;
        assert_nothing_seen(&host, &report);
        let unobserved = &report.observation.as_ref().expect("an observation").unobserved;
        let is_told = |why: &str| why.contains("hard links") && why.contains("app/");
        assert!(unobserved.iter().any(|it| it.kind() == EffectKind::FileRead && is_told(&it.why)), "{unobserved:?}");
        link.stop().await;
    });
}

fn moves(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let mut link = host.start();
        let all = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete, EffectKind::FileRename];
        let preview = masked(&host, "move", "mv app moved && cat moved/.env moved/main.rs; echo more > moved/new");
        let preview = with_effects(preview, &all, &format!("{}/**", host.tree.display()));
        let report = link.report_of(&preview).await;
        assert_eq!(stdout(&report), "plain\n");
        assert_nothing_seen(&host, &report);
        assert!(seen(&report).iter().any(|it| it.starts_with("FileRename") && it.ends_with("/app")), "{report:?}");
        let report = link.report_of(&commit_of(preview, &report)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        for file in MASKED {
            let place = host.tree.join(file.replacen("app", "moved", 1));
            assert_eq!(fs::read_to_string(place).expect("read"), format!("{SECRET}\n"));
        }
        assert_eq!(fs::read_to_string(host.tree.join("moved/new")).expect("read"), "more\n");
        link.stop().await;
    });
}

/// A mount that is read-only, and a file that is mounted by itself.
fn read_only(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        let [shut, one, ordinary] = ["shut", "one.key", "ordinary"].map(|name| host.tree.join(name));
        fs::create_dir(&shut).expect("directory");
        for file in [&one, &ordinary] {
            fs::write(file, "").expect("write");
        }
        fs::write(host.tree.join("plain"), "plain\n").expect("write");
        let mount = |arguments: &[&std::ffi::OsStr]| {
            let done = std::process::Command::new("mount").args(arguments).status().expect("mount");
            assert!(done.success(), "{arguments:?}");
        };
        mount(&["--bind".as_ref(), host.tree.join("app").as_ref(), shut.as_ref()]);
        mount(&["-o".as_ref(), "remount,bind,ro".as_ref(), shut.as_ref()]);
        mount(&["--bind".as_ref(), host.tree.join("app/main.rs").as_ref(), one.as_ref()]);
        mount(&["--bind".as_ref(), host.tree.join("app/.env").as_ref(), ordinary.as_ref()]);
        let mut link = host.start();
        // What is masked by one of its names is under all that mounts give it.
        let line = "cat shut/.env shut/.ssh/id_rsa one.key app/main.rs shut/main.rs ordinary; cat plain";
        let report = link.report_of(&masked(&host, "shut", line)).await;
        let unmount = |place: &Path| {
            let done = std::process::Command::new("umount").arg(place).status().expect("umount");
            assert!(done.success(), "{}", place.display());
        };
        [&shut, &one, &ordinary].into_iter().for_each(|place| unmount(place));
        assert_eq!(stdout(&report), "plain\n", "{report:?}");
        assert_nothing_seen(&host, &report);
        link.stop().await;
    });
}

fn attacks_directly(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host);
        fs::write(host.tree.join("attempts.py"), ATTEMPTS).expect("write");
        fs::create_dir(host.tree.join("app/out")).expect("directory");
        let mut link = host.start();
        let direct = |call: &str, command: &str, target: &str| {
            let arguments = json!({"command": command, "cwd": host.tree, "timeout_s": 20});
            let permit = host.permit(call, Stage::Apply, "terminal.exec", &arguments);
            let kinds = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete];
            let permit = with_effects(permit, &kinds, &host.tree.join(target).to_string_lossy());
            Permit { masks: masks(&[]), ..permit }
        };
        // Nothing of the tree is open, a directory beside the secrets, and the one that holds them.
        for (number, target) in ["nothing", "app/out/**", "app/new"].iter().enumerate() {
            let report = link.report_of(&direct(&format!("attack {number}"), "python3 attempts.py", target)).await;
            assert!(report.result.as_ref().is_some_and(|result| result.ok), "{report:?}");
            assert_nothing_seen(&host, &report);
            assert_all_in_vain(&stdout(&report));
            assert_intact(&host);
        }
        let copy =
            "cp -r . /dev/shm/copy; tar cf - . | grep -a 'hunter[2]'; grep -r 'hunter[2]' /dev/shm/copy app; true";
        let report = link.report_of(&direct("copy", copy, "app/out/**")).await;
        assert_nothing_seen(&host, &report);
        // What the permit changes is there, wherever it lies.
        let report = link.report_of(&direct("delete", "rm -rf app/deep", "app/deep/**")).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(!host.tree.join("app/deep").exists());
        let mut permit = direct("shown", "cat app/.env && cat app/.ssh/id_rsa", "app/out/**");
        let region = format!("{}/app/.env", host.tree.display());
        permit.masks = masks(std::slice::from_ref(&region));
        permit.effects.push(PermittedEffect { kind: EffectKind::FileRead.into(), target: region, max_count: None });
        let report = link.report_of(&permit).await;
        assert_eq!(stdout(&report), format!("{SECRET}\n"), "{report:?}");
        link.stop().await;
    });
}
