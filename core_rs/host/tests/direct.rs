//! Commands that change the machine itself: what their permit names, and nothing else.

mod support;
#[path = "direct/warm.rs"]
mod warm;

use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::ExitCode;

use cmdop_contract::v1::{EffectKind, Outcome, Permit, PermittedEffect, Reason, Report, Stage};
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::host::{Host, on_runtime, reason};

use EffectKind as K;

/// Times that a program begins while its name changes.
const EXCHANGES: u32 = 100;

const CASES: &[Case] = &[
    ("what_a_permit_names_is_changed_and_measured_exactly", changes_are_measured),
    ("nothing_outside_a_permit_can_be_changed_or_reached", nothing_outside),
    ("neighbours_of_a_permitted_file_are_sealed", neighbours_are_sealed),
    ("a_kind_that_is_not_permitted_is_refused_inside_an_opening", kinds_are_kept_apart),
    ("what_leads_out_of_an_opening_is_refused_before_anything_runs", ways_out_are_refused),
    ("a_wildcard_opens_only_what_it_matches", wildcards_are_narrow),
    ("no_process_outlives_its_call", nothing_is_left_running),
    ("a_command_that_fails_half_way_reports_what_it_changed", failure_is_measured),
    ("every_argument_means_the_same_as_in_a_preview", arguments_mean_the_same),
    ("every_limit_ends_a_command_and_what_it_changed_is_told", limits_hold),
    ("nothing_is_run_for_an_argument_that_cannot_run", bad_arguments),
    ("what_a_name_comes_to_mean_while_a_command_begins_leads_nowhere", exchanged),
    ("no_view_shows_what_was_replaced_before_its_call", warm::stale),
    ("a_call_that_is_cancelled_before_it_runs_leaves_nothing", warm::cancelled),
];

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because direct mode needs root");
        return ExitCode::SUCCESS;
    }
    cases::run(CASES, &[])
}

fn permit(host: &Host, call: &str, line: &str, effects: &[(K, &str)]) -> Permit {
    permit_with(host, call, json!({"command": line}), effects)
}

fn permit_with(host: &Host, call: &str, mut arguments: Value, effects: &[(K, &str)]) -> Permit {
    let given = arguments.as_object_mut().expect("an object");
    given.entry("cwd").or_insert_with(|| json!(host.tree));
    given.entry("timeout_s").or_insert_with(|| json!(20));
    let mut permit = host.permit(call, Stage::Apply, "terminal.exec", &arguments);
    let effect = |(kind, target): &(K, &str)| PermittedEffect {
        kind: (*kind).into(),
        target: host.tree.join(target).to_string_lossy().into_owned(),
        max_count: None,
    };
    permit.effects = effects.iter().map(effect).collect();
    permit
}

fn everything(target: &str) -> [(K, &str); 6] {
    [K::FileCreate, K::FileModify, K::FileDelete, K::FileRename, K::FileChmod, K::FileChown].map(|kind| (kind, target))
}

/// Kinds and targets relative to the tree, with counts.
fn seen(host: &Host, report: &Report) -> Vec<(K, String, u64)> {
    let observation = report.observation.as_ref().unwrap_or_else(|| panic!("an observation in {report:?}"));
    assert_eq!(observation.unobserved, [], "{report:?}");
    let tree = host.tree.to_string_lossy();
    let relative =
        |target: &str| target.strip_prefix(&*tree).map_or(target, |rest| rest.trim_start_matches('/')).to_owned();
    observation.effects.iter().map(|it| (it.kind(), relative(&it.target), it.count)).collect()
}

fn told(report: &Report) -> Value {
    let result = report.result.as_ref().unwrap_or_else(|| panic!("a result in {report:?}"));
    serde_json::from_str(&result.result_json).expect("a result is JSON")
}

fn lay_out(host: &Host, files: &[&str]) {
    for file in files {
        let place = host.tree.join(file);
        fs::create_dir_all(place.parent().expect("a parent")).expect("directories");
        fs::write(place, format!("{file}\n")).expect("write");
    }
}

fn changes_are_measured(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["app/keep", "app/change", "app/same", "app/logs/a", "app/logs/b", "app/old/x", "app/mode"]);
        let line = "cd app && echo new >> change && touch same && rm -r logs && mv old renamed && chmod 600 mode \
                    && chown 7:7 mode && mkdir -p deep/er && echo text > deep/er/file && ln -s keep link \
                    && sed -i s/keep/kept/ keep";
        let mut link = host.start();
        let report = link.report_of(&permit(&host, "call", line, &everything("app/**"))).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert!(report.result.as_ref().is_some_and(|result| result.ok), "{report:?}");
        let expected = [
            (K::FileModify, "app/change", 1),
            (K::FileCreate, "app/deep", 1),
            (K::FileCreate, "app/deep/er", 1),
            (K::FileCreate, "app/deep/er/file", 1),
            (K::FileModify, "app/keep", 1),
            (K::FileCreate, "app/link", 1),
            (K::FileDelete, "app/logs", 3),
            (K::FileChmod, "app/mode", 1),
            (K::FileChown, "app/mode", 1),
            (K::FileRename, "app/old", 1),
            (K::FileCreate, "app/renamed", 1),
        ];
        let expected = expected.map(|(kind, place, count)| (kind, place.to_owned(), count));
        assert_eq!(seen(&host, &report), expected);
        assert_eq!(fs::read_to_string(host.tree.join("app/change")).expect("read"), "app/change\nnew\n");
        let confinement = &report.result.as_ref().expect("a result").confinement;
        assert!(confinement.contains("landlock"), "{confinement}");
        link.stop().await;
        assert_eq!(fs::read_dir(host.directory.join("state/layers")).expect("layers").count(), 0);
    });
}

/// Tries one thing per line, and prints its name with the error that stopped it, or with `DONE`.
const ATTEMPTS: &str = r#"
import ctypes, fcntl, os, socket, sys
out, inside = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, do):
    try: do(); print(name, "DONE")
    except OSError as error: print(name, error.errno)
def system(result):
    if result != 0: raise OSError(ctypes.get_errno(), "")
def mount(*arguments): system(libc.mount(*arguments))
def connect(address):
    with socket.socket(socket.AF_UNIX) as one: one.connect(address)
file, held = out + "/file", inside + "/held"
os.symlink(file, inside + "/way")
for prefix, place in (("", file), ("root-", "/proc/self/root" + file), ("init-", "/proc/1/root" + file), ("old-", "/../../old" + file)):
    attempt(prefix + "write", lambda: open(place, "w"))
    attempt(prefix + "append", lambda: open(place, "a"))
    attempt(prefix + "truncate", lambda: os.truncate(place, 0))
    attempt(prefix + "chmod", lambda: os.chmod(place, 0o777))
    attempt(prefix + "chown", lambda: os.chown(place, 1, 1))
    attempt(prefix + "utime", lambda: os.utime(place, (1, 1)))
    attempt(prefix + "setxattr", lambda: os.setxattr(place, "user.cmdop", b"x"))
    attempt(prefix + "unlink", lambda: os.unlink(place))
    attempt(prefix + "link-in", lambda: os.link(place, inside + "/linked"))
    attempt(prefix + "rename-in", lambda: os.rename(place, inside + "/taken"))
attempt("through-link", lambda: open(inside + "/way", "w"))
attempt("chmod-through-link", lambda: os.chmod(inside + "/way", 0o777))
attempt("create", lambda: open(out + "/new", "w"))
attempt("mkdir", lambda: os.mkdir(out + "/new"))
attempt("symlink-out", lambda: os.symlink("x", out + "/new"))
attempt("rename-out", lambda: os.rename(held, out + "/new"))
attempt("link-out", lambda: os.link(held, out + "/new"))
attempt("chmod-directory", lambda: os.chmod(out, 0o777))
attempt("neighbour", lambda: os.rename(os.path.dirname(out), os.path.dirname(out) + "2"))
attempt("root-entry", lambda: os.mkdir("/cmdop-was-here"))
attempt("socket", lambda: connect(out + "/socket"))
attempt("abstract", lambda: connect("\0cmdop-direct-test"))
attempt("mknod", lambda: os.mknod(inside + "/node", 0o60666, os.makedev(254, 0)))
attempt("bind", lambda: mount(inside.encode(), out.encode(), None, 4096, None))
attempt("remount", lambda: mount(None, b"/", None, 32 | 4096, None))
attempt("unshare", lambda: system(libc.unshare(0x10000000)))
attempt("chroot", lambda: os.chroot(inside))
attempt("sysctl", lambda: open("/proc/sys/kernel/hostname", "w"))
attempt("disk", lambda: open("/dev/vda", "w"))
with open(file) as one: attempt("own-lock", lambda: fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB))
attempt("inside", lambda: (os.chmod(held, 0o600), os.setxattr(held, "user.cmdop", b"x"), os.rename(held, held + "2")))
"#;

fn nothing_outside(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["open/held", "other/out/file"]);
        let out = host.tree.join("other/out");
        let _socket = UnixListener::bind(out.join("socket")).expect("bind");
        let name = SocketAddr::from_abstract_name("cmdop-direct-test").expect("a name");
        let _abstract = UnixListener::bind_addr(&name).expect("bind");
        let locked = fs::File::open(out.join("file")).expect("open");
        rustix::fs::flock(&locked, rustix::fs::FlockOperation::LockExclusive).expect("lock");
        let look = || {
            let (file, dir) = (fs::metadata(out.join("file")).expect("stat"), fs::metadata(&out).expect("stat"));
            let stamp =
                |of: &fs::Metadata| (of.mode(), of.uid(), of.mtime_nsec(), of.ctime(), of.ctime_nsec(), of.nlink());
            (stamp(&file), stamp(&dir), fs::read_dir(&out).expect("list").count())
        };
        let before = look();
        fs::write(host.directory.join("attempts.py"), ATTEMPTS).expect("write");
        let script = host.directory.join("attempts.py");
        let line = format!("python3 {} {} {}", script.display(), out.display(), host.tree.join("open").display());
        let mut link = host.start();
        let report = link.report_of(&permit(&host, "call", &line, &everything("open/**"))).await;
        let told = told(&report);
        let said = told["stdout"].as_str().expect("text");
        let done: Vec<_> = said.lines().filter(|line| line.ends_with("DONE")).collect();
        // The lock is one on the view's own inode: the machine's is held by this test.
        assert_eq!(done, ["own-lock DONE", "inside DONE"], "{told}");
        assert_eq!(said.lines().count(), 61, "{told}");
        assert_eq!(look(), before, "something outside changed");
        assert!(!Path::new("/cmdop-was-here").exists());
        let expected = [
            (K::FileRename, "open/held", 1),
            // An attribute is content beside the content.
            (K::FileCreate, "open/held2", 1),
            (K::FileModify, "open/held2", 1),
            (K::FileChmod, "open/held2", 1),
            (K::FileCreate, "open/way", 1),
        ];
        assert_eq!(seen(&host, &report), expected.map(|(kind, place, count)| (kind, place.to_owned(), count)));
        link.stop().await;
    });
}

fn neighbours_are_sealed(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["etc/conf", "etc/passwd", "etc/dir/inner"]);
        symlink("passwd", host.tree.join("etc/link")).expect("link");
        let line = "cd etc; for f in passwd dir/inner link; do echo x > $f; chmod 777 $f; rm -f $f; done; \
                    mv dir gone; mv passwd gone; mv link gone; mv conf passwd; rm -rf dir; ln -sf x link; \
                    touch new; sed -i s/conf/CONF/ conf; cat conf passwd dir/inner";
        let mut link = host.start();
        let report = link.report_of(&permit(&host, "call", line, &[(K::FileModify, "etc/conf")])).await;
        assert_eq!(told(&report)["stdout"], json!("etc/CONF\netc/passwd\netc/dir/inner\n"), "{report:?}");
        let expected = [(K::FileModify, "etc/conf".to_owned(), 1), (K::FileCreate, "etc/new".to_owned(), 1)];
        assert_eq!(seen(&host, &report), expected);
        let file = report.observation.as_ref().expect("an observation").effects[0].file.clone().expect("a change");
        let (old, new) = (file.before.expect("before"), file.after.expect("after"));
        assert!(old.sha256.len() == 64 && new.sha256.len() == 64 && old.sha256 != new.sha256, "{old:?} {new:?}");
        assert_eq!(fs::read_link(host.tree.join("etc/link")).expect("still a link"), Path::new("passwd"));
        assert_eq!(fs::metadata(host.tree.join("etc/passwd")).expect("stat").permissions().mode() & 0o777, 0o644);
        link.stop().await;
    });
}

fn kinds_are_kept_apart(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["a/one", "a/two", "b/one"]);
        let mut link = host.start();
        let line = "rm a/one; echo x > a/two; touch a/new; mkdir a/dir; mv a/two a/three; \
                    echo x > b/one; echo x > b/new && rm b/new; mkdir b/dir";
        let effects = [(K::FileDelete, "a/*"), (K::FileModify, "b/*")];
        let report = link.report_of(&permit(&host, "call", line, &effects)).await;
        let expected = [(K::FileDelete, "a/one".to_owned(), 1), (K::FileModify, "b/one".to_owned(), 1)];
        assert_eq!(seen(&host, &report), expected, "{}", told(&report));
        link.stop().await;
    });
}

fn ways_out_are_refused(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["outside", "linked/x", "socket/x", "real/x", "state/x"]);
        fs::hard_link(host.tree.join("outside"), host.tree.join("linked/second")).expect("link");
        let _socket = UnixListener::bind(host.tree.join("socket/s")).expect("bind");
        symlink("real", host.tree.join("way")).expect("link");
        let mut link = host.start();
        let state = "../state/layers/**";
        for (call, target) in ["linked/**", "socket/**", "way/**", "../**", state].into_iter().enumerate() {
            let effects = [(K::FileCreate, target), (K::FileModify, target)];
            let report = link.report_of(&permit(&host, &call.to_string(), "touch ran", &effects)).await;
            let found = (report.outcome(), reason(&report));
            assert_eq!(found, (Outcome::NotApplied, Reason::DirectUnavailable), "{target}: {report:?}");
        }
        let nothing = link.report_of(&permit(&host, "nothing", "touch ran", &[])).await;
        assert_eq!((nothing.outcome(), told(&nothing)["exit_code"].clone()), (Outcome::NotApplied, json!(1)));
        assert!(!host.tree.join("ran").exists());
        link.stop().await;
    });
}

fn wildcards_are_narrow(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["logs/a.gz", "logs/b.gz", "logs/live.log", "logs/app.db"]);
        let mut link = host.start();
        let line = "rm -f logs/*; echo x >> logs/live.log; ls logs";
        let report = link.report_of(&permit(&host, "call", line, &[(K::FileDelete, "logs/*.gz")])).await;
        assert_eq!(told(&report)["stdout"], json!("app.db\nlive.log\n"), "{report:?}");
        let expected = ["logs/a.gz", "logs/b.gz"].map(|place| (K::FileDelete, place.to_owned(), 1));
        assert_eq!(seen(&host, &report), expected);
        link.stop().await;
    });
}

fn nothing_is_left_running(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["app/x"]);
        let marker = format!("7{}", std::process::id());
        let line = format!(
            "trap '' TERM HUP INT; sleep {marker} & (setsid sleep {marker} &); nohup sleep {marker} >/dev/null 2>&1 & \
             (trap '' TERM; (setsid bash -c 'trap \"\" TERM HUP; while :; do sleep {marker}; done' &) &); \
             coproc sleep {marker}; disown -a; echo started > app/x"
        );
        let mut link = host.start();
        let report = link.report_of(&permit(&host, "call", &line, &everything("app/**"))).await;
        assert!(report.result.as_ref().is_some_and(|result| result.ok), "{report:?}");
        let left = fs::read_dir("/proc").expect("proc").flatten().filter(|entry| {
            let mut said = Vec::new();
            let read = fs::File::open(entry.path().join("cmdline")).and_then(|mut file| file.read_to_end(&mut said));
            read.is_ok() && said.starts_with(b"sleep\0") && String::from_utf8_lossy(&said).contains(&marker)
        });
        assert_eq!(left.count(), 0);
        link.stop().await;
    });
}

fn failure_is_measured(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["app/x"]);
        let mut link = host.start();
        let report = link.report_of(&permit(&host, "half", "rm app/x; false", &everything("app/**"))).await;
        let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
        assert_eq!((report.outcome(), error.reason()), (Outcome::Applied, Reason::CommandFailed));
        assert_eq!(seen(&host, &report), [(K::FileDelete, "app/x".to_owned(), 1)]);
        let slow = json!({"command": "touch app/y; sleep 60", "timeout_s": 1});
        let report = link.report_of(&permit_with(&host, "late", slow, &everything("app/**"))).await;
        assert_eq!((report.outcome(), told(&report)["timed_out"].clone()), (Outcome::Applied, json!(true)));
        assert_eq!(seen(&host, &report), [(K::FileCreate, "app/y".to_owned(), 1)]);
        link.stop().await;
    });
}

fn arguments_mean_the_same(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["app/x"]);
        let mut link = host.start();
        let words = json!({"argv": ["tee", "app/x", "app/it's *"], "stdin": "typed"});
        let report = link.report_of(&permit_with(&host, "argv", words, &everything("app/**"))).await;
        assert_eq!(
            (report.outcome(), told(&report)["stdout"].clone()),
            (Outcome::Applied, json!("typed")),
            "{report:?}"
        );
        assert_eq!(fs::read_to_string(host.tree.join("app/it's *")).expect("read"), "typed");
        let look = "[[ -t 0 && -t 1 ]] && stty size; read -r line; echo \"$WORD $line\" > app/x; cat app/x";
        let typed = json!({"command": look, "stdin": "line\n", "env": {"WORD": "a"}, "pty": {"rows": 40, "cols": 100}});
        let report = link.report_of(&permit_with(&host, "pty", typed, &everything("app/**"))).await;
        let text = told(&report)["stdout"].as_str().expect("text").to_owned();
        assert!(text.contains("40 100\r\n") && text.ends_with("a line\r\n"), "{report:?}");
        assert_eq!(seen(&host, &report), [(K::FileModify, "app/x".to_owned(), 1)]);
        assert!(told(&report)["usage"]["user_s"].is_number(), "{report:?}");
        // What is told of a preview is told of this, too.
        let mut preview = permit(&host, "preview", "true", &[]);
        preview.stage = Stage::Preview.into();
        let preview = link.report_of(&preview).await;
        let names = |report: &Report| told(report).as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&report), names(&preview));
        let held = |report: &Report| report.result.as_ref().expect("a result").confinement.clone();
        assert!(held(&report).starts_with("read-only overlay+mount+pid+net+ipc+uts+cgroup, seccomp+landlock"));
        let limits = |held: &str| held[held.find("cgroup ").unwrap_or(held.len())..].to_owned();
        assert_eq!(limits(&held(&report)), limits(&held(&preview)));
        link.stop().await;
    });
}

fn limits_hold(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["app/x", "sealed/y"]);
        // What was there before is not the command's, nor is what it may not change.
        for place in ["app/big", "sealed/big"] {
            fs::write(host.tree.join(place), vec![1; 8 << 20]).expect("write");
        }
        let mut link = host.start();
        let hog = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}";
        let slow = "for i in {1..400}; do head -c 1000000 /dev/zero > app/$i; sleep 0.05; done";
        let bounded = [
            ("cpu", json!({"command": "touch app/cpu; while :; do :; done", "cpu_s": 1})),
            ("memory", json!({"command": format!("touch app/memory; {hog}"), "memory_mb": 64})),
            ("file_size", json!({"command": "touch app/file_size; head -c 10000000 /dev/zero > app/f", "file_mb": 2})),
            ("disk", json!({"command": format!("touch app/disk; {slow}"), "disk_mb": 4})),
            (
                "processes",
                json!({"command": "touch app/processes; for i in {1..99}; do sleep 9 & done; wait", "processes": 20}),
            ),
        ];
        for (limit, arguments) in bounded {
            let report = link.report_of(&permit_with(&host, limit, arguments, &everything("app/**"))).await;
            let confinement = &report.result.as_ref().expect("a result").confinement;
            if matches!(limit, "memory" | "processes") && !confinement.contains("cgroup pids+memory") {
                continue;
            }
            assert_eq!(told(&report)["limit"], json!(limit), "{report:?}");
            let error = report.result.as_ref().expect("a result").error.as_ref().expect("a failure");
            assert_eq!((report.outcome(), error.reason()), (Outcome::Applied, Reason::LimitExceeded), "{report:?}");
            assert!(seen(&host, &report).contains(&(K::FileCreate, format!("app/{limit}"), 1)), "{report:?}");
        }
        let room: u64 =
            (1..=400).filter_map(|i| fs::metadata(host.tree.join(format!("app/{i}"))).ok()).map(|it| it.len()).sum();
        assert!(room < 40 << 20, "{room} bytes were written");
        link.stop().await;
    });
}

fn bad_arguments(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        lay_out(&host, &["app/x"]);
        let mut link = host.start();
        let long = "x".repeat(200 << 10);
        let refused = [
            ("program", json!({"argv": ["no-such-program"]}), Reason::PathNotFound),
            ("no program", json!({"argv": ["/etc/hostname"]}), Reason::PathNotUsable),
            ("directory", json!({"command": "touch app/y", "cwd": host.tree.join("nowhere")}), Reason::PathNotFound),
            ("large", json!({"argv": ["touch", "app/y", long]}), Reason::InvalidArguments),
        ];
        for (call, arguments, expected) in refused {
            let report = link.report_of(&permit_with(&host, call, arguments, &everything("app/**"))).await;
            assert_eq!((report.outcome(), reason(&report)), (Outcome::NotApplied, expected), "{report:?}");
        }
        assert_eq!(fs::read_dir(host.tree.join("app")).expect("list").count(), 1);
        link.stop().await;
    });
}

/// A program is exchanged for a link to the daemon's own, over and over, while commands begin with it.
fn exchanged(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let (program, other) = (host.tree.join("program"), host.tree.join("other"));
        fs::write(&program, "#!/bin/sh\necho begun\n").expect("write");
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("mode");
        symlink("/proc/self/exe", &other).expect("link");
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let swapping = std::thread::spawn({
            let (is_over, program) = (is_over.clone(), program.clone());
            move || {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(rustix::fs::CWD, &program, rustix::fs::CWD, &other, flags).expect("swap");
                }
            }
        });
        let (mut begun, mut refused, mut killed) = (0, 0, 0);
        for number in 0..EXCHANGES {
            let call = format!("call {number}");
            let report = link.report_of(&permit_with(&host, &call, json!({"argv": [program]}), &[])).await;
            let told = report.result.as_ref().map_or(Value::Null, |_| told(&report));
            match (told["stdout"].as_str(), told["signal"].as_i64()) {
                (Some("begun\n"), None) => begun += 1,
                (Some(""), Some(9)) => killed += 1,
                (None, _) if reason(&report) == Reason::PathNotUsable => refused += 1,
                _ => panic!("{report:?}"),
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        swapping.join().expect("no panic");
        println!("{begun} begun, {refused} refused, {killed} killed");
        assert!(begun > 0 && refused > 0, "the race has two sides");
        link.stop().await;
    });
}
