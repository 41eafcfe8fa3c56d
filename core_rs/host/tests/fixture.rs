//! What a process sees and changes inside a fixture.

mod support;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use cmdop_contract::v1::{EffectKind, Reason, Stage, remedy};
use cmdop_host::admit::{Admission, Keys};
use cmdop_host::fixture;
use cmdop_host::journal::Journals;
use cmdop_host::native::Native;
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::{HOST, Server, permit, with_effects};

const CASES: &[Case] = &[
    ("a_file_of_the_fixture_is_at_its_place_over_the_machine", shows_at_its_place),
    ("a_write_lands_in_the_fixture", write_lands),
    ("deleting_a_file_of_the_machine_leaves_the_machines_own", deletion_is_contained),
    ("further_mounts_of_the_machine_cannot_be_changed", other_mounts_are_covered),
    ("only_private_directories_that_are_kept_stay_the_real_ones", kept_stays),
    ("what_is_kept_and_the_kernels_trees_show_nowhere_else", shows_nowhere_else),
    ("the_layers_cannot_be_reached_from_inside", layers_are_hidden),
    ("devices_work_and_the_kernels_own_tree_is_read_only", kernel_trees),
    ("native_tools_change_the_fixture_and_nothing_else", native_tools),
    ("a_fixture_that_somebody_changes_by_hand_says_so", changed_by_hand),
    ("a_preview_can_be_layered_on_a_fixture", preview_on_top),
    ("a_second_life_finds_what_the_first_one_left", second_life),
    ("a_fixture_that_cannot_be_is_refused_with_what_to_do", refusals),
    ("a_process_with_threads_is_refused", threads_are_refused),
];

fn main() -> ExitCode {
    if rustix::process::geteuid().is_root() {
        return cases::run(CASES, &[("covered", covered)]);
    }
    println!("skipped, because a fixture needs root");
    ExitCode::SUCCESS
}

/// Makes `DIR/fix` with the given files and enters it.
fn enter(directory: &Path, files: &[(&str, &str)]) {
    let tree = directory.join("fix");
    for (path, content) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("write");
    }
    fs::create_dir_all(&tree).expect("directory");
    fixture::enter(&tree, &[private(&directory.join("real"))]).expect("enter");
}

fn private(path: &Path) -> std::path::PathBuf {
    if !path.exists() {
        fs::DirBuilder::new().mode(0o700).create(path).expect("private directory");
    }
    path.to_owned()
}

/// What a shell says that sees the machine itself, as the process does that started this one.
fn outside(script: &str) -> String {
    let parent = rustix::process::getppid().expect("a parent").as_raw_nonzero();
    let namespace = format!("--mount=/proc/{parent}/ns/mnt");
    let told = Command::new("nsenter").args([&namespace, "--", "sh", "-c", script]).output().expect("nsenter");
    String::from_utf8(told.stdout).expect("text")
}

fn shows_at_its_place(directory: &Path) {
    enter(directory, &[("srv/app/logs/a.log", "line"), ("logs/b.log", "x")]);
    assert_eq!(fs::read_to_string("/srv/app/logs/a.log").expect("read"), "line");
    assert!(Path::new("/logs/b.log").exists() && Path::new("/etc/passwd").exists());
    assert!(Command::new("/bin/true").status().expect("start").success());
}

fn write_lands(directory: &Path) {
    enter(directory, &[("srv/app/a", "old")]);
    fs::write("/srv/app/a", "new").expect("write");
    fs::write("/srv/app/b", "created").expect("write");
    fs::write("/etc/cmdop-test", "beside the machine's").expect("write");
    let tree = directory.join("fix");
    let script = format!("cd {}; cat srv/app/a srv/app/b etc/cmdop-test; ls /etc/cmdop-test", tree.display());
    assert_eq!(outside(&script), "newcreatedbeside the machine's");
}

fn deletion_is_contained(directory: &Path) {
    enter(directory, &[]);
    fs::remove_file("/etc/hostname").or_else(|_| fs::remove_file("/etc/passwd")).expect("delete");
    fs::remove_dir_all("/usr/share").expect("delete a tree");
    assert!(!Path::new("/usr/share").exists());
    assert_eq!(outside("test -d /usr/share && test -e /etc/passwd && echo there"), "there\n");
}

fn other_mounts_are_covered(directory: &Path) {
    let mounted = directory.join("disk");
    fs::create_dir(&mounted).expect("directory");
    // A mount of this process's own: seen by the fixture, gone with the process.
    let script = format!(
        "mount -t tmpfs none {0} && echo -n real > {0}/file && exec \"$0\" --case covered {1}",
        mounted.display(),
        directory.display()
    );
    let this = std::env::current_exe().expect("this program");
    let ended = Command::new("unshare").args(["-m", "sh", "-c", &script]).arg(this).status().expect("unshare");
    assert!(ended.success());
}

fn covered(directory: &Path) {
    let mounted = directory.join("disk");
    let real = std::fs::File::open(mounted.join("file")).expect("open");
    let in_shm = tempfile::tempdir_in("/dev/shm").expect("directory");
    enter(directory, &[]);
    assert!(!in_shm.path().exists(), "the machine's shared memory shows");
    assert_eq!(fs::read_to_string(mounted.join("file")).expect("read"), "real");
    fs::write(mounted.join("file"), "changed").expect("write");
    assert_eq!(std::io::read_to_string(real).expect("read"), "real");
}

fn shows_nowhere_else(directory: &Path) {
    cases::private_mounts();
    let [again, proc] = ["again", "proc"].map(|name| directory.join(name));
    for place in [&again, &proc] {
        fs::create_dir(place).expect("directory");
    }
    let real = private(&directory.join("real"));
    fs::write(real.join("key"), "secret").expect("write");
    rustix::mount::mount_bind(&real, &again).expect("bind");
    rustix::mount::mount("proc", &proc, "proc", rustix::mount::MountFlags::empty(), None).expect("proc");
    enter(directory, &[]);
    assert_eq!(fs::read_to_string(real.join("key")).expect("what is kept"), "secret");
    for place in [again, proc] {
        assert_eq!(fs::read_dir(&place).expect("shown").count(), 0, "{}", place.display());
        assert!(fs::write(place.join("x"), "").is_err(), "{}", place.display());
    }
}

fn kept_stays(directory: &Path) {
    let public = directory.join("public");
    fs::create_dir(&public).expect("directory");
    fs::set_permissions(&public, fs::Permissions::from_mode(0o755)).expect("chmod");
    let tree = directory.join("fix");
    fs::create_dir(&tree).expect("directory");
    let real = private(&directory.join("real"));
    fixture::enter(&tree, &[real.clone(), public.clone()]).expect("enter");
    fs::write(real.join("state"), "durable").expect("write");
    fs::write(public.join("change"), "contained").expect("write");
    let script = format!("cat {}; ls {}", real.join("state").display(), public.display());
    assert_eq!(outside(&script), "durable");
}

fn layers_are_hidden(directory: &Path) {
    enter(directory, &[("srv/a", "x")]);
    for hidden in ["fix", ".fix.cmdop-work"] {
        let hidden = directory.join(hidden);
        // The kernel itself refuses to look at a layer through its overlay (ELOOP).
        assert_eq!(fs::read_dir(&hidden).map_or(0, Iterator::count), 0);
        assert!(fs::write(hidden.join("x"), "").is_err());
    }
}

fn kernel_trees(directory: &Path) {
    enter(directory, &[]);
    fs::write("/dev/null", "x").expect("write");
    assert!(fs::metadata("/dev/null").expect("stat").file_type().is_char_device());
    assert!(fs::write("/sys/cmdop", "").is_err());
    fs::write("/dev/shm/x", "own").expect("own shared memory");
    let block_devices = fs::read_dir("/dev").expect("list").flatten();
    assert_eq!(block_devices.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device())).count(), 0);
}

fn native_tools(directory: &Path) {
    enter(directory, &[("srv/app/logs/a", "line"), ("srv/app/keep", "kept")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let keys = Keys::open(&directory.join("real/ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
    let journals = Journals::open(directory.join("real/undo")).expect("journals");
    let native = Native::open(Vec::new(), Arc::new(journals)).expect("open /");
    let run = |tool: &str, arguments: Value| {
        let kinds = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete];
        let call = format!("{tool} {arguments}");
        let permit = with_effects(permit(&call, Stage::Apply, tool, &arguments), &kinds, "/**");
        let admitted = match runtime.block_on(keys.admit(&Server::new(1).sign(&permit))).expect("admitted") {
            Admission::Fresh(admitted) => admitted,
            other => panic!("{other:?}"),
        };
        let done = native.apply(&admitted).expect("permitted");
        assert!(done.result.ok, "{call}: {:?}", done.result.error);
        assert!(tool == "files.undo" || done.observation.effects[0].reversible, "{call}");
        done.observation.effects
    };
    // A file and a tree of the fixture, then of the machine beneath.
    assert_eq!(run("files.write", json!({"path": "/srv/app/keep", "content": "new"})).len(), 1);
    assert_eq!(run("files.delete", json!({"path": "/srv/app/logs", "recursive": true}))[0].count, 2);
    assert_eq!(run("files.write", json!({"path": "/etc/passwd", "content": "nobody"})).len(), 1);
    assert!(run("files.delete", json!({"path": "/usr/share", "recursive": true}))[0].count > 10);
    assert_eq!(fs::read_to_string("/etc/passwd").expect("read"), "nobody");
    assert!(!Path::new("/usr/share").exists() && !Path::new("/srv/app/logs").exists());
    assert_eq!(outside("test -d /usr/share && head -c 5 /etc/passwd"), "root:");
    // Everything of the fixture is one overlay, and its journal lies on that.
    let undo = |tool: &str, arguments: Value| run("files.undo", json!({"call": format!("{tool} {arguments}")}));
    assert!(undo("files.delete", json!({"path": "/usr/share", "recursive": true})).len() > 10);
    assert_eq!(undo("files.delete", json!({"path": "/srv/app/logs", "recursive": true})).len(), 2);
    assert_eq!(undo("files.write", json!({"path": "/etc/passwd", "content": "nobody"})).len(), 1);
    assert!(fs::read_to_string("/etc/passwd").expect("read").starts_with("root:"));
    assert!(Path::new("/usr/share/doc").exists() || fs::read_dir("/usr/share").expect("list").count() > 0);
    assert_eq!(fs::read_to_string("/srv/app/logs/a").expect("read"), "line");
}

fn changed_by_hand(directory: &Path) {
    enter(directory, &[("srv/app/a", "old")]);
    let journals = Journals::open(directory.join("real/undo")).expect("journals");
    let native = Native::open(Vec::new(), Arc::new(journals)).expect("open /");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let keys = Keys::open(&directory.join("real/ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
    // What the overlay knows of it is no longer what is there.
    let _known = fs::File::open("/srv/app/a").expect("open");
    let app = directory.join("fix/srv/app");
    let by_hand = format!("rm {0}/a && echo other > {0}/a", app.display());
    outside(&by_hand);
    let arguments = json!({"path": "/srv/app/a", "content": "new"});
    let permit = permit("call", Stage::Apply, "files.write", &arguments);
    let permit = with_effects(permit, &[EffectKind::FileModify], "/**");
    let Admission::Fresh(admitted) = runtime.block_on(keys.admit(&Server::new(1).sign(&permit))).expect("admitted")
    else {
        panic!("it is new");
    };
    let refused = native.apply(&admitted).expect("permitted").result.error.expect("it cannot be written");
    assert_eq!(refused.reason(), Reason::PathNotUsable, "{refused:?}");
    assert!(refused.message.contains("changed by hand while its host runs"), "{refused:?}");
    let remedy = refused.remedy.and_then(|remedy| remedy.kind);
    assert!(matches!(&remedy, Some(remedy::Kind::Stop(_))), "trying again is no use: {remedy:?}");
    assert_eq!(outside(&format!("cat {}/a", app.display())), "other\n");
}

fn preview_on_top(directory: &Path) {
    enter(directory, &[("srv/app/a", "old")]);
    let layer = directory.join("real");
    let script = format!(
        "cd {} && mkdir upper work merged && mount -t overlay -o \
         lowerdir=/,upperdir=upper,workdir=work,redirect_dir=on,metacopy=on,index=on none merged && \
         mv merged/srv/app merged/srv/moved && echo new > merged/srv/moved/a && rm -rf merged/usr/share && \
         cat upper/srv/moved/a && cat /srv/app/a && test -d /usr/share",
        layer.display()
    );
    let told = Command::new("sh").args(["-c", &script]).output().expect("start");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(told.stdout, b"new\nold");
}

fn second_life(directory: &Path) {
    assert!(cases::again("a_write_lands_in_the_fixture", directory).status().expect("start").success());
    fixture::enter(&directory.join("fix"), &[private(&directory.join("real"))]).expect("enter again");
    assert_eq!(fs::read_to_string("/srv/app/b").expect("read"), "created");
}

fn refusals(directory: &Path) {
    let none = fixture::enter(&directory.join("none"), &[] as &[&Path]).expect_err("missing");
    let file = directory.join("file");
    fs::write(&file, "").expect("write");
    let file = fixture::enter(&file, &[] as &[&Path]).expect_err("a file");
    let root = fixture::enter(Path::new("/"), &[] as &[&Path]).expect_err("the root");
    let mount = fixture::enter(Path::new("/proc"), &[] as &[&Path]).expect_err("a mount point");
    let tree = directory.join("fix");
    fs::create_dir(&tree).expect("directory");
    let within = fixture::enter(&tree, &[tree.join("state")]).expect_err("state inside");
    for error in [none, file, root, mount, within] {
        assert_eq!(error.reason(), Reason::InvalidConfiguration, "{error}");
    }
}

fn threads_are_refused(directory: &Path) {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    let error = fixture::enter(directory, &[] as &[&Path]).expect_err("threads");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
    drop(release);
    let _ = thread.join();
}
