//! Random programs of file operations, run directly and in a preview that is committed: the same tree,
//! the same output; then the undo gives the old tree back, inode by inode.
//!
//! `CMDOP_PROGRAMS` sets how many, `CMDOP_SEED` and `CMDOP_FIRST` which.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cmdop_contract::v1::{EffectKind, Outcome, Reason, Report, Stage};
use rustix::fs::{CWD, Mode, RenameFlags, XattrFlags};
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::host::{Host, on_runtime, reason};
use support::{commit_of, with_effects};

const CASES: &[Case] = &[("a_program_does_in_preview_and_commit_what_it_does_directly", programs)];

fn main() -> ExitCode {
    cases::run(CASES, &[("interpret", interpret)])
}

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One of few paths, so that operations meet.
    fn path(&mut self) -> PathBuf {
        let depth = 1 + self.below(3);
        (0..depth).map(|_| ["a", "b", "c", "d"][self.below(4) as usize]).collect()
    }
}

fn plant(tree: &Path, seed: u64) {
    let mut random = Random(seed ^ 0x0bad_cafe);
    for number in 0..8 {
        let path = tree.join(random.path());
        let Some(parent) = path.parent() else { continue };
        if fs::create_dir_all(parent).is_err() {
            continue;
        }
        let _ = match random.below(6) {
            0 => fs::create_dir(&path),
            1 => symlink("a/b", &path),
            2 => fs::hard_link(tree.join(random.path()), &path),
            _ if path.symlink_metadata().is_err() => fs::write(&path, format!("planted {number}\n")),
            _ => Ok(()),
        };
    }
}

/// One operation in the working directory; what it says is part of the program's output.
fn operate(random: &mut Random) -> String {
    let (one, two) = (random.path(), random.path());
    let text = format!("text {}\n", random.below(1000));
    let flags = |flags| rustix::fs::renameat_with(CWD, &one, CWD, &two, flags).map_err(std::io::Error::from);
    // Without waiting: nobody reads from a fifo.
    let open = |create: bool| {
        let mut options = fs::OpenOptions::new();
        options.append(!create).write(true).create(create).truncate(create);
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(&one)
    };
    let write = |mut file: fs::File| file.write_all(text.as_bytes()).map(|()| String::new());
    let done: std::io::Result<String> = match random.below(20) {
        0 | 1 => open(true).and_then(write),
        2 => open(false).and_then(write),
        3 => open(false).and_then(|file| file.set_len(3)).map(|()| String::new()),
        4..=6 => fs::rename(&one, &two).map(|()| String::new()),
        7 => flags(RenameFlags::EXCHANGE).map(|()| String::new()),
        8 => flags(RenameFlags::NOREPLACE).map(|()| String::new()),
        9 => fs::hard_link(&one, &two).map(|()| String::new()),
        10 => symlink(&two, &one).map(|()| String::new()),
        11 => fs::remove_file(&one).map(|()| String::new()),
        12 => fs::remove_dir(&one).map(|()| String::new()),
        13 => fs::remove_dir_all(&one).map(|()| String::new()),
        14 => fs::create_dir(&one).map(|()| String::new()),
        15 => fs::set_permissions(&one, fs::Permissions::from_mode(0o600 + random.below(64) as u32))
            .map(|()| String::new()),
        16 => std::os::unix::fs::lchown(&one, Some(random.below(3) as u32), None).map(|()| String::new()),
        17 => rustix::fs::lsetxattr(&one, "user.cmdop", text.as_bytes(), XattrFlags::empty())
            .map(|()| String::new())
            .map_err(Into::into),
        18 => rustix::fs::mknodat(CWD, &one, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o644), 0)
            .map(|()| String::new())
            .map_err(Into::into),
        _ => fs::read_dir(&one).map(|entries| {
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            format!("{names:?}")
        }),
    };
    let seen = one.symlink_metadata().map(|it| (it.is_dir(), if it.is_dir() { 0 } else { it.len() }, it.mode()));
    match done {
        Ok(said) => format!("{}: {said} {:?}", one.display(), seen.ok()),
        Err(error) => format!("{}: {:?}", one.display(), error.kind()),
    }
}

/// The program, in its working directory; the last part of the argument is its seed.
fn interpret(seed: &Path) {
    let seed = seed.to_str().and_then(|text| text.parse().ok()).expect("a seed");
    print!("{}", run(seed));
}

fn run(seed: u64) -> String {
    let mut random = Random(seed);
    let mut said = String::new();
    for _ in 0..1 + random.below(12) {
        writeln!(said, "{}", operate(&mut random)).expect("text");
    }
    said
}

/// What one path is: type and mode, owner, content or target, attribute.
type Node = (u32, u32, Vec<u8>, Vec<u8>);

/// The tree, and groups of names of one file.
fn seen(top: &Path) -> (BTreeMap<PathBuf, Node>, Vec<Vec<PathBuf>>) {
    let (mut nodes, mut links) = (BTreeMap::new(), BTreeMap::<u64, Vec<PathBuf>>::new());
    each(top, &mut |name, path, metadata| {
        let content = match () {
            () if metadata.is_file() => fs::read(path).expect("read"),
            () if metadata.is_symlink() => fs::read_link(path).expect("link").into_os_string().into_encoded_bytes(),
            () => Vec::new(),
        };
        let mut value = vec![0; 64];
        let size = rustix::fs::lgetxattr(path, "user.cmdop", &mut value).unwrap_or(0);
        value.truncate(size);
        if !metadata.is_dir() {
            links.entry(metadata.ino()).or_default().push(name.clone());
        }
        nodes.insert(name, (metadata.mode(), metadata.uid(), content, value));
    });
    let mut groups: Vec<_> = links
        .into_values()
        .map(|mut names| {
            names.sort();
            names
        })
        .collect();
    groups.sort();
    (nodes, groups)
}

/// Who everything is: inode, and of files the time of the last change.
fn identities(top: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    each(top, &mut |name, _, metadata| {
        let (seconds, nanoseconds) = if metadata.is_dir() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
        found.insert(name, (metadata.ino(), seconds, nanoseconds));
    });
    found
}

fn each(top: &Path, visit: &mut impl FnMut(PathBuf, &Path, &fs::Metadata)) {
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("list") {
            let path = entry.expect("entry").path();
            let metadata = path.symlink_metadata().expect("stat");
            visit(path.strip_prefix(top).expect("beneath").to_owned(), &path, &metadata);
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a whole number"))
}

const ALL: [EffectKind; 6] = [
    EffectKind::FileCreate,
    EffectKind::FileModify,
    EffectKind::FileDelete,
    EffectKind::FileRename,
    EffectKind::FileChmod,
    EffectKind::FileChown,
];

fn programs(directory: &Path) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because a preview needs root");
        return;
    }
    let (count, base) = (setting("CMDOP_PROGRAMS", 200), setting("CMDOP_SEED", u64::from(std::process::id())));
    println!("CMDOP_SEED={base}");
    let first = setting("CMDOP_FIRST", 0);
    let program = std::env::current_exe().expect("this program");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let (mut committed, mut refused, mut empty) = (0, 0, 0);
        for number in 0..count {
            let seed = base.wrapping_mul(1_000_003).wrapping_add(number + first);
            let (tree, copy) = (host.tree.join(number.to_string()), directory.join(format!("copy{number}")));
            for place in [&tree, &copy] {
                fs::create_dir(place).expect("directory");
                plant(place, seed);
            }
            let (before, who) = (seen(&tree), identities(&tree));
            let mut direct = std::process::Command::new(&program);
            let direct =
                direct.args(["--case", "interpret", &seed.to_string()]).current_dir(&copy).output().expect("run");
            let call = format!("call{number}");
            let line = format!("{} --case interpret {seed}", program.display());
            let arguments = json!({"command": line, "cwd": tree, "timeout_s": 20});
            let every = format!("{}/**", tree.display());
            let permit = with_effects(host.permit(&call, Stage::Preview, "terminal.exec", &arguments), &ALL, &every);
            let preview = link.report_of(&permit).await;
            let context = || {
                format!(
                    "seed {seed}:\n{}\n{before:?}\n{:?}\n{:?}",
                    run_said(&preview),
                    preview.observation,
                    preview.error
                )
            };
            assert!(preview.error.is_none(), "{}", context());
            assert_eq!(run_said(&preview), String::from_utf8_lossy(&direct.stdout), "{}", context());
            assert_eq!(seen(&tree), before, "a preview changes nothing: {}", context());
            if !preview.layer_held {
                assert_eq!(seen(&copy), before, "it had an effect: {}", context());
                empty += 1;
            } else {
                let report = link.report_of(&commit_of(permit, &preview)).await;
                if report.outcome() == Outcome::Applied {
                    assert_eq!(seen(&tree), seen(&copy), "{}", context());
                    let undo =
                        host.permit(&format!("undo{number}"), Stage::Preview, "files.undo", &json!({"call": call}));
                    let undo = with_effects(undo, &ALL, &every);
                    let plan = link.report_of(&undo).await;
                    assert!(plan.layer_held, "{plan:?} {}", context());
                    let report = link.report_of(&commit_of(undo, &plan)).await;
                    assert_eq!(report.outcome(), Outcome::Applied, "{report:?} {}", context());
                    committed += 1;
                } else {
                    assert_eq!(reason(&report), Reason::UnsupportedChange, "{report:?} {}", context());
                    refused += 1;
                }
                assert_eq!(seen(&tree), before, "{}", context());
                assert_eq!(identities(&tree), who, "{}", context());
            }
            fs::remove_dir_all(&tree).and_then(|()| fs::remove_dir_all(&copy)).expect("remove");
        }
        link.stop().await;
        println!("{count} programs: {committed} committed and undone, {refused} refused, {empty} without effect");
        assert!(committed > count / 3, "too few were committed to show anything");
    });
}

fn run_said(report: &Report) -> String {
    let told = report.result.as_ref().map(|result| serde_json::from_str::<Value>(&result.result_json).expect("JSON"));
    told.and_then(|told| Some(told["stdout"].as_str()?.to_owned())).unwrap_or_default()
}
