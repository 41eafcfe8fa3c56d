//! What native tools change is taken back to exactly what was: content, mode, owner, times, attributes and inodes.
//! Killed anywhere, or refused any one file-system call, it is as before or as after, and the next start says which. As
//! root and as an ordinary user.
//!
//! `CMDOP_KILLS` sets how often a tool is killed, `CMDOP_SEED` where.

#[path = "tools/killed.rs"]
mod killed;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cmdop_contract::v1::{EffectKind, Outcome, Permit, Reason, Stage};
use cmdop_host::Admitted;
use cmdop_host::admit::{Admission, Keys};
use cmdop_host::journal::Journals;
use cmdop_host::native::{Done, Native};
use rustix::fs::XattrFlags;
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::inside::is_root;
use support::{HOST, Server, permit, with_effects};

const CASES: &[Case] = &[
    ("what_a_tool_changed_comes_back_exactly", undone),
    ("what_somebody_changed_since_is_named_and_not_taken_back", changed_since),
    ("a_call_whose_journals_were_lost_meanwhile_is_unknown", lost),
    ("killed_anywhere_it_is_as_before_or_as_after_and_the_next_start_says_which", killed::killed),
];

const ROOT_CASES: &[Case] = &[
    ("all_of_it_holds_for_an_ordinary_user_too", as_user),
    ("what_a_user_cannot_give_to_another_group_is_refused_or_said_to_be_lost", foreign_group),
];

fn main() -> ExitCode {
    let cases: Vec<_> = if is_root() { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    let helpers: &[Case] =
        &[("apply and undo", killed::apply_and_undo), ("settle", killed::settle), ("as a stranger", as_a_stranger)];
    cases::run(&cases, helpers)
}

fn as_user(_: &Path) {
    let failed: Vec<_> = CASES.iter().filter(|(name, _)| !cases::passes_as_user(name)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// One call.
struct Tool {
    name: &'static str,
    arguments: fn(&Path) -> Value,
    /// The same, done directly.
    directly: fn(&Path),
    /// What somebody else does after it, and where.
    since: (fn(&Path), &'static str),
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "files.write",
        arguments: |tree| json!({"path": tree.join("file"), "content": "new", "mode": "0600"}),
        directly: |tree| {
            fs::write(tree.join("file"), "new").expect("write");
            set_mode(&tree.join("file"), 0o600);
        },
        since: (|tree| fs::write(tree.join("file"), "by somebody else").expect("write"), "file"),
    },
    Tool {
        name: "files.delete",
        arguments: |tree| json!({"path": tree.join("app"), "recursive": true}),
        directly: |tree| remove(&tree.join("app")),
        since: (|tree| fs::create_dir(tree.join("app")).expect("directory"), "app"),
    },
    Tool {
        name: "files.chmod",
        arguments: |tree| json!({"path": tree.join("file"), "mode": "4701"}),
        directly: |tree| set_mode(&tree.join("file"), 0o4701),
        since: (|tree| fs::write(tree.join("file"), "by somebody else").expect("write"), "file"),
    },
    Tool {
        name: "files.chmod",
        arguments: |tree| json!({"path": tree.join("app"), "mode": "2511"}),
        directly: |tree| set_mode(&tree.join("app"), 0o2511),
        since: (|tree| set_mode(&tree.join("app"), 0o700), "app"),
    },
    Tool {
        name: "files.mkdir",
        arguments: |tree| json!({"path": tree.join("empty/a/b/c"), "parents": 2, "mode": "0710"}),
        directly: |tree| {
            for path in ["empty/a", "empty/a/b", "empty/a/b/c"] {
                fs::create_dir(tree.join(path)).expect("directory");
                set_mode(&tree.join(path), 0o710);
            }
        },
        since: (|tree| fs::write(tree.join("empty/a/b/kept"), "by somebody else").expect("write"), "empty/a"),
    },
    Tool {
        name: "files.move",
        arguments: |tree| json!({"from": tree.join("app"), "to": tree.join("empty/now")}),
        directly: |tree| fs::rename(tree.join("app"), tree.join("empty/now")).expect("rename"),
        since: (|tree| set_mode(&tree.join("empty/now"), 0o700), "empty/now"),
    },
    Tool {
        name: "files.move",
        arguments: |tree| json!({"from": tree.join("app/link"), "to": tree.join("link")}),
        directly: |tree| fs::rename(tree.join("app/link"), tree.join("link")).expect("rename"),
        since: (|tree| fs::write(tree.join("app/link"), "by somebody else").expect("write"), "app/link"),
    },
    Tool {
        name: "files.move",
        arguments: |tree| json!({"from": tree.join("file"), "to": tree.join("taken"), "overwrite": true}),
        directly: |tree| fs::rename(tree.join("file"), tree.join("taken")).expect("rename"),
        since: (|tree| fs::write(tree.join("taken"), "by somebody else").expect("write"), "taken"),
    },
    Tool {
        name: "files.copy",
        arguments: |tree| json!({"from": tree.join("app"), "to": tree.join("empty/copy"), "recursive": true}),
        directly: |tree| copy(&tree.join("app"), &tree.join("empty/copy")),
        since: (|tree| fs::write(tree.join("empty/copy/more"), "by somebody else").expect("write"), "empty/copy"),
    },
    Tool {
        name: "files.copy",
        arguments: |tree| json!({"from": tree.join("app/link"), "to": tree.join("link")}),
        directly: |tree| copy(&tree.join("app/link"), &tree.join("link")),
        since: (|tree| fs::remove_file(tree.join("link")).expect("remove"), "link"),
    },
    Tool {
        name: "files.mkdir",
        arguments: |tree| json!({"path": tree.join("made"), "mode": "0555"}),
        directly: |tree| {
            fs::create_dir(tree.join("made")).expect("directory");
            set_mode(&tree.join("made"), 0o555);
        },
        since: (|tree| set_mode(&tree.join("made"), 0o755), "made"),
    },
];

/// A tree of everything that tools work on, all of it made long ago.
fn plant(tree: &Path) {
    fs::create_dir_all(tree.join("app/sub/deep")).expect("directories");
    fs::create_dir(tree.join("empty")).expect("directory");
    for (path, content, mode) in
        [("file", "content", 0o640), ("taken", "old content", 0o604), ("app/sub/leaf", "leaf", 0o600)]
    {
        fs::write(tree.join(path), content).expect("write");
        rustix::fs::setxattr(tree.join(path), "user.cmdop", path.as_bytes(), XattrFlags::empty()).expect("attribute");
        set_mode(&tree.join(path), mode);
    }
    symlink("sub/leaf", tree.join("app/link")).expect("symlink");
    set_mode(&tree.join("app/sub"), 0o550);
    let mut long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["file", "taken", "app/sub/leaf", "app/sub/deep", "app/sub", "app", "empty", ""] {
        long_ago += Duration::from_secs(1);
        fs::File::open(tree.join(path)).and_then(|file| file.set_modified(long_ago)).expect("set a time");
    }
}

/// With modes and times, and without attributes.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-R", "-P", "--preserve=mode,timestamps"]).args([from, to]).status();
    assert!(copied.expect("start").success());
}

/// Directories that may not be written, too.
fn remove(tree: &Path) {
    assert!(Command::new("chmod").args(["-R", "u+rwX"]).arg(tree).status().expect("start").success());
    fs::remove_dir_all(tree).expect("remove");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// By the path beneath the tree, which is empty for the tree itself.
type Seen = BTreeMap<PathBuf, One>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct One {
    mode: u32,
    owner: (u32, u32),
    names: u64,
    /// Or the target of a link.
    content: Vec<u8>,
    attribute: Vec<u8>,
    /// Inode and time of the last change of content.
    who: (u64, i64, i64),
}

fn seen(tree: &Path) -> Seen {
    let (mut found, mut open) = (Seen::new(), vec![tree.to_owned()]);
    while let Some(path) = open.pop() {
        let metadata = path.symlink_metadata().expect("stat");
        let content = match metadata.file_type() {
            kind if kind.is_file() => fs::read(&path).expect("read"),
            kind if kind.is_symlink() => fs::read_link(&path).expect("read").as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("entry").path()));
        }
        let mut attribute = vec![0; 64];
        let size = rustix::fs::lgetxattr(&path, "user.cmdop", &mut attribute).unwrap_or(0);
        attribute.truncate(size);
        let one = One {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            names: if metadata.is_dir() { 0 } else { metadata.nlink() },
            content,
            attribute,
            who: (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()),
        };
        found.insert(path.strip_prefix(tree).expect("beneath").to_owned(), one);
    }
    found
}

/// Where two trees differ, with both sides.
fn differ(wanted: &Seen, found: &Seen) -> String {
    let paths: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| wanted.get(*path) != found.get(*path));
    differ.map(|path| format!("{}:\n  {:?}\n  {:?}\n", path.display(), wanted.get(path), found.get(path))).collect()
}

/// The tree as it is after the same was done directly; nobody knows inodes and times before.
fn assert_is_after(tool: &Tool, tree: &Path, directory: &Path, context: &str) {
    let directly = directory.join("directly");
    fs::create_dir(&directly).expect("directory");
    plant(&directly);
    (tool.directly)(&directly);
    let nobodys =
        |seen: Seen| -> Seen { seen.into_iter().map(|(path, one)| (path, One { who: (0, 0, 0), ..one })).collect() };
    assert_eq!(differ(&nobodys(seen(&directly)), &nobodys(seen(tree))), "", "{context}");
    remove(&directly);
}

/// A host between two deaths.
struct Life {
    runtime: tokio::runtime::Runtime,
    keys: Keys,
    native: Native,
}

impl Life {
    fn begin(directory: &Path) -> Self {
        let state = directory.join("state");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let keys = Keys::open(&state.join("ledger"), HOST, &Server::new(1).verifying_key()).expect("open");
        let journals = Arc::new(Journals::open_after(state.join("undo"), &keys.interrupted()).expect("journals"));
        let native = Native::open(vec![state], journals).expect("open /");
        Self { runtime, keys, native }
    }

    fn admit(&self, permit: &Permit) -> Admitted {
        match self.runtime.block_on(self.keys.admit(&Server::new(1).sign(permit))).expect("admitted") {
            Admission::Fresh(admitted) => admitted,
            other => panic!("{other:?}"),
        }
    }

    fn call(&self, call: &str, name: &str, arguments: &Value, tree: &Path) -> Admitted {
        let kinds = [
            EffectKind::FileCreate,
            EffectKind::FileModify,
            EffectKind::FileDelete,
            EffectKind::FileRename,
            EffectKind::FileChmod,
        ];
        let anywhere = format!("{}/**", tree.display());
        self.admit(&with_effects(permit(call, Stage::Apply, name, arguments), &kinds, &anywhere))
    }
}

/// Each tool with a tree of its own.
fn each(directory: &Path, case: impl Fn(&Tool, &Life, &Path, &Path, &str)) {
    for (number, tool) in TOOLS.iter().enumerate() {
        let directory = directory.join(format!("tool{number}"));
        let tree = directory.join("srv");
        plant(&tree);
        case(tool, &Life::begin(&directory), &directory, &tree, &format!("{number}: {}", tool.name));
    }
}

fn is_done(done: &Done) -> bool {
    done.outcome == Outcome::Applied && done.result.ok
}

fn undone(directory: &Path) {
    each(directory, |tool, life, directory, tree, context| {
        let before = seen(tree);
        let done = life.native.apply(&life.call("call", tool.name, &(tool.arguments)(tree), tree)).expect("permitted");
        assert!(is_done(&done), "{context}: {done:?}");
        assert!(done.observation.effects.iter().all(|effect| effect.reversible), "{context}: {done:?}");
        assert_is_after(tool, tree, directory, context);
        let undo = life.call("undo", "files.undo", &json!({"call": "call"}), tree);
        let done = life.native.apply(&undo).expect("permitted");
        assert!(is_done(&done) && !done.observation.effects.is_empty(), "{context}: {done:?}");
        assert_eq!(differ(&before, &seen(tree)), "", "{context}");
        let kept = fs::read_dir(directory.join("state/undo")).expect("list").flatten();
        assert!(kept.map(|journal| journal.path()).all(|journal| !journal.join("slots").exists()), "{context}");
    });
}

fn changed_since(directory: &Path) {
    each(directory, |tool, life, _, tree, context| {
        let done = life.native.apply(&life.call("call", tool.name, &(tool.arguments)(tree), tree)).expect("permitted");
        assert!(is_done(&done), "{context}: {done:?}");
        let (change, path) = tool.since;
        change(tree);
        let changed = seen(tree);
        let undo = life.call("undo", "files.undo", &json!({"call": "call"}), tree);
        let refused = life.native.apply(&undo).expect("refused by the tool").result.error.expect("an error");
        assert_eq!(refused.reason(), Reason::NotRestorable, "{context}: {refused:?}");
        let named = format!("`{}`", tree.join(path).display());
        assert!(refused.message.contains(&named), "{context}: {refused:?}");
        assert_eq!(differ(&changed, &seen(tree)), "", "{context}");
    });
}

/// What the next start finds out about a call that was noted, and of which there is no journal.
fn became(directory: &Path, call: &str) -> Option<Outcome> {
    let life = Life::begin(directory);
    let interrupted = life.keys.interrupted();
    life.native.reconcile(interrupted.iter().find(|found| found.permit().call_id == call).expect("it was noted"))
}

fn lost(directory: &Path) {
    let (tree, undo) = (directory.join("srv"), directory.join("state/undo"));
    plant(&tree);
    let note = |call: &str| {
        let arguments = json!({"path": tree.join(call)});
        drop(Life::begin(directory).call(call, "files.mkdir", &arguments, &tree));
    };
    note("first");
    assert_eq!(became(directory, "first"), Some(Outcome::NotApplied), "it never came to its journal");
    fs::remove_dir_all(&undo).expect("remove");
    for start in 0..2 {
        assert_eq!(became(directory, "first"), None, "start {start}: it may have come to one");
    }
    note("second");
    assert_eq!(became(directory, "second"), Some(Outcome::NotApplied), "its journals are all there");
    let copy = directory.join("copy");
    let copied = Command::new("cp").arg("-a").args([&undo, &copy]).status();
    assert!(copied.expect("start").success());
    fs::rename(&undo, directory.join("aside")).expect("rename");
    fs::rename(&copy, &undo).expect("rename");
    assert_eq!(became(directory, "second"), None, "a copy may be older than the call");
    fs::write(undo.join("mark"), "damaged").expect("write");
    note("third");
    assert_eq!(became(directory, "third"), Some(Outcome::NotApplied));
}

/// A group that the ordinary user is not in.
const FOREIGN: u32 = 54_321;

fn foreign_group(directory: &Path) {
    let place = directory.join("user");
    let mut process = cases::again_as("as a stranger", &place, Some(cases::USER));
    let tree = place.join("srv");
    plant(&tree);
    for path in seen(&tree).keys() {
        std::os::unix::fs::lchown(tree.join(path), Some(cases::USER), Some(cases::USER)).expect("chown");
    }
    for (path, mode) in [("", 0o755), ("file", 0o2755), ("empty", 0o2777)] {
        std::os::unix::fs::chown(tree.join(path), Some(cases::USER), Some(FOREIGN)).expect("chown");
        set_mode(&tree.join(path), mode);
    }
    assert!(process.status().expect("start").success());
}

fn as_a_stranger(directory: &Path) {
    let (life, tree) = (Life::begin(directory), directory.join("srv"));
    let apply = |call: &str, name: &str, arguments: Value| {
        life.native.apply(&life.call(call, name, &arguments, &tree)).expect("permitted")
    };
    let why = |done: &Done| done.result.error.clone().expect("an error").reason();
    let before = seen(&tree);
    let made = apply("mkdir", "files.mkdir", json!({"path": tree.join("empty/made")}));
    assert_eq!(why(&made), Reason::UnsupportedChange, "its group would be another");
    assert_eq!(differ(&before, &seen(&tree)), "");
    let lost = apply("lose", "files.chmod", json!({"path": tree.join("file"), "mode": "0755"}));
    assert!(is_done(&lost) && !lost.observation.effects[0].reversible, "{lost:?}");
    let without = seen(&tree);
    let undo = apply("undo", "files.undo", json!({"call": "lose"}));
    assert_eq!(why(&undo), Reason::PathNotUsable, "{undo:?}");
    let set = apply("set", "files.chmod", json!({"path": tree.join("file"), "mode": "2755"}));
    assert_eq!(why(&set), Reason::PathNotUsable, "the kernel would leave the bit out: {set:?}");
    assert_eq!(differ(&without, &seen(&tree)), "");
}
