//! Random programs of file operations, run directly on a copy and in a preview: the same output, and
//! effects that explain the difference of the trees completely; committed, the same tree; undone, the
//! old one, inode by inode. As root and as an ordinary user.
//!
//! `CMDOP_PROGRAMS` sets how many, `CMDOP_SEED` and `CMDOP_FIRST` which, `CMDOP_JOBS` in how many
//! processes, `CMDOP_USER` of a hundred how many as an ordinary user.

#[path = "programs/disk.rs"]
mod disk;
#[path = "programs/model.rs"]
mod model;
#[path = "programs/operations.rs"]
mod operations;
mod support;
#[path = "programs/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileType, Outcome, Permit, Reason, Report, Stage};
use disk::Disk;
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::commit_of;
use support::host::{Host, Link, on_runtime, reason};
use support::inside::is_root;
use support::random::setting;
use tree::{Identities, Tree, blocks, differences, grouped, identities, is_xfs, keeps_links, seen};

const CASES: &[Case] = &[
    ("a_program_does_in_preview_and_commit_what_it_does_directly", programs),
    ("a_program_does_the_same_on_ext4", |directory| on_disk(Disk::Ext4, directory)),
    ("a_program_does_the_same_on_xfs", |directory| on_disk(Disk::Xfs, directory)),
    ("a_program_does_the_same_on_btrfs", |directory| on_disk(Disk::Btrfs, directory)),
    ("a_program_does_the_same_on_an_overlay", |directory| on_disk(Disk::Overlay, directory)),
];

/// Of a hundred programs so many are run by an ordinary user.
const USER_PERCENT: u64 = 25;
/// Programs that one call runs.
const BATCH: u64 = 10;

fn main() -> ExitCode {
    cases::run(CASES, &[("part", part), ("interpret", interpret)])
}

/// Programs, each in the directory of its number; the argument is `number=seed,number=seed`.
fn interpret(programs: &Path) {
    for program in programs.to_str().expect("text").split(',') {
        let (number, seed) = program.split_once('=').expect("number=seed");
        let there = std::env::current_dir().expect("a directory");
        std::env::set_current_dir(number).expect("its directory");
        println!("{}{END}", operations::run(seed.parse().expect("a seed")));
        std::env::set_current_dir(there).expect("back");
    }
}

/// Ends what one program says.
const END: &str = "--- end of program";

fn programs(directory: &Path) {
    let disk = is_root().then_some(Disk::Tmpfs);
    run(setting("CMDOP_PROGRAMS", 2_000), disk, directory);
}

/// A tenth of the programs: what differs between file systems shows early.
fn on_disk(disk: Disk, directory: &Path) {
    if !is_root() {
        return println!("{disk:?} was not tried: only root can mount it");
    }
    if let Some(why) = disk.missing() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        return println!("{why}");
    }
    run(setting("CMDOP_PROGRAMS", 2_000).div_ceil(10), Some(disk), directory);
}

fn run(count: u64, disk: Option<Disk>, directory: &Path) {
    let base = setting("CMDOP_SEED", u64::from(std::process::id()));
    let first = setting("CMDOP_FIRST", 0);
    println!("CMDOP_SEED={base} CMDOP_FIRST={first}");
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let jobs = setting("CMDOP_JOBS", cores).clamp(1, count);
    if let Some(disk) = disk {
        disk.mount(directory);
    }
    let user_share = if is_root() { count * setting("CMDOP_USER", USER_PERCENT) / 100 } else { 0 };
    let (mut children, mut from) = (Vec::new(), first);
    for (share, user) in [(count - user_share, None), (user_share, Some(cases::USER))] {
        let end = from + share;
        let each = share.div_ceil(jobs).max(1);
        while from < end {
            let size = each.min(end - from);
            children.push(start_part(&directory.join(from.to_string()), disk, base, (from, size), user));
            from += size;
        }
        // Root's first, then the user's: memory holds one set of trees.
        let failed =
            children.drain(..).filter_map(|mut child: Child| (!child.wait().expect("wait").success()).then_some(()));
        assert_eq!(failed.count(), 0, "replay one with what it names");
    }
}

fn start_part(directory: &Path, disk: Option<Disk>, base: u64, (first, count): (u64, u64), user: Option<u32>) -> Child {
    if let Some(disk) = disk {
        disk.lay_trees(&directory.join("srv"), user);
    }
    let mut command = cases::again_as("part", directory, user);
    command.env("CMDOP_SEED", base.to_string()).env("CMDOP_FIRST", first.to_string());
    command.env("CMDOP_PROGRAMS", count.to_string());
    command.spawn().expect("start")
}

/// What came of the programs.
#[derive(Default)]
struct Tally {
    committed: u64,
    refused: u64,
    empty: u64,
    otherwise: u64,
    calls: u64,
}

fn part(directory: &Path) {
    let (base, first, count) = (setting("CMDOP_SEED", 0), setting("CMDOP_FIRST", 0), setting("CMDOP_PROGRAMS", 1));
    on_runtime(directory, async |mut host: Host| {
        let link = host.start();
        let mut bench = Bench { host, link, copies: directory.join("copies"), base, tally: Tally::default() };
        let mut from = first;
        while from < first + count {
            let numbers: Vec<_> = (from..(from + BATCH).min(first + count)).collect();
            from += BATCH;
            bench.batch(&numbers).await;
        }
        let Tally { committed, refused, empty, otherwise, .. } = bench.tally;
        bench.link.stop().await;
        let who = if is_root() { "root" } else { "a user" };
        println!(
            "{count} programs of {who}: {committed} committed and undone, {refused} refused, {empty} without effect, \
             {otherwise} did otherwise than directly"
        );
        // Of a few dozen chance decides.
        assert!(committed > count / 3 || count < 50, "too few were committed to show anything");
    });
}

struct Bench {
    host: Host,
    link: Link,
    copies: PathBuf,
    base: u64,
    tally: Tally,
}

/// One program's trees before, and what it said directly.
struct Subject {
    number: u64,
    tree: PathBuf,
    copy: PathBuf,
    before: Tree,
    who: Identities,
    /// Directories that a direct run left as they were.
    left: BTreeSet<String>,
    said: String,
}

const ALL: [EffectKind; 6] = [
    EffectKind::FileCreate,
    EffectKind::FileModify,
    EffectKind::FileDelete,
    EffectKind::FileRename,
    EffectKind::FileChmod,
    EffectKind::FileChown,
];

impl Bench {
    /// Programs that one call runs. If its commit is refused, each is run by a call of its own.
    async fn batch(&mut self, numbers: &[u64]) {
        fs::create_dir_all(&self.copies).expect("directory");
        // An overlay over another one does not know from which file it copied what moved, and so not that such an
        // attribute was lost.
        let has_notes = keeps_links(&self.host.tree);
        for number in numbers {
            for top in [&self.host.tree, &self.copies] {
                let place = top.join(number.to_string());
                fs::create_dir(&place).expect("directory");
                operations::plant(&place, self.seed(*number), has_notes);
            }
        }
        let copies: Vec<_> = numbers.iter().map(|number| identities(&self.copies.join(number.to_string()))).collect();
        let direct = self.interpreted(numbers).current_dir(&self.copies).output().expect("run");
        let Output { stdout, stderr, .. } = direct;
        assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        let said = spoken(&String::from_utf8(stdout).expect("text"));
        let each = numbers.iter().zip(said).zip(&copies);
        let subjects: Vec<_> = each.map(|((number, said), copy)| self.subject(*number, said, copy)).collect();
        assert_eq!(subjects.len(), numbers.len());
        if !self.call(&subjects).await {
            for subject in &subjects {
                self.call(std::slice::from_ref(subject)).await;
            }
        }
        fs::remove_dir_all(&self.copies).expect("remove");
        numbers.iter().for_each(|number| fs::remove_dir_all(self.host.tree.join(number.to_string())).expect("remove"));
    }

    fn seed(&self, number: u64) -> u64 {
        self.base.wrapping_mul(1_000_003).wrapping_add(number)
    }

    fn interpreted(&self, numbers: &[u64]) -> Command {
        let seeds: Vec<_> = numbers.iter().map(|number| format!("{number}={}", self.seed(*number))).collect();
        cases::again("interpret", Path::new(&seeds.join(",")))
    }

    fn subject(&self, number: u64, said: String, was: &Identities) -> Subject {
        let [tree, copy] = [&self.host.tree, &self.copies].map(|top| top.join(number.to_string()));
        let before = seen(&tree);
        let is_directory =
            |path: &str| before.get(path).is_some_and(|node| node.kind == i32::from(FileType::Directory));
        let left = identities(&copy).into_iter().filter(|(path, who)| is_directory(path) && was.get(path) == Some(who));
        let left = left.map(|(path, _)| path).collect();
        Subject { number, before, who: identities(&tree), left, tree, copy, said }
    }

    fn permit(&self, call: &str, tool: &str, arguments: &Value) -> Permit {
        let every = format!("{}/**", self.host.tree.display());
        support::with_effects(self.host.permit(call, Stage::Preview, tool, arguments), &ALL, &every)
    }

    /// Previews, commits and undoes programs. False if several would have to be committed with one that
    /// cannot.
    async fn call(&mut self, subjects: &[Subject]) -> bool {
        self.tally.calls += 1;
        let call = format!("call{}", self.tally.calls);
        let numbers: Vec<_> = subjects.iter().map(|subject| subject.number).collect();
        let command = self.interpreted(&numbers);
        let argv: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let argv: Vec<_> = argv.iter().map(|part| part.to_str().expect("text")).collect();
        let permit =
            self.permit(&call, "terminal.exec", &json!({"argv": argv, "cwd": self.host.tree, "timeout_s": 30}));
        let preview = self.link.report_of(&permit).await;
        if preview.error.is_some() {
            // There was nothing to hold.
            assert_eq!(reason(&preview), Reason::UnsupportedChange, "{numbers:?}: {preview:?}");
            return self.refused(subjects);
        }
        let said = spoken(&stdout(&preview));
        assert_eq!(said.len(), subjects.len(), "{numbers:?}: {preview:?}");
        for subject in subjects {
            assert_eq!(
                differences(&seen(&subject.tree), &subject.before),
                "",
                "{numbers:?}: a preview changes nothing"
            );
        }
        if !preview.layer_held {
            subjects.iter().zip(&said).for_each(|(subject, said)| self.check(subject, said, &preview, false));
            return true;
        }
        let report = self.link.report_of(&commit_of(permit, &preview)).await;
        if report.outcome() != Outcome::Applied {
            assert_eq!(reason(&report), Reason::UnsupportedChange, "{numbers:?}: {report:?}");
            return self.refused(subjects);
        }
        subjects.iter().zip(&said).for_each(|(subject, said)| self.check(subject, said, &preview, true));
        let undo = self.permit(&format!("undo {call}"), "files.undo", &json!({"call": call}));
        let plan = self.link.report_of(&undo).await;
        assert!(plan.layer_held, "{numbers:?}: {plan:?}");
        let report = self.link.report_of(&commit_of(undo, &plan)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{numbers:?}: {report:?}");
        self.unchanged(subjects);
        true
    }

    /// Nothing was applied. Of several programs nobody knows which could not be.
    fn refused(&mut self, subjects: &[Subject]) -> bool {
        self.unchanged(subjects);
        if subjects.len() == 1 {
            self.tally.refused += 1;
        }
        subjects.len() == 1
    }

    fn unchanged(&self, subjects: &[Subject]) {
        for subject in subjects {
            let context = self.context(subject);
            assert_eq!(differences(&seen(&subject.tree), &subject.before), "", "{context}");
            assert_eq!(identities(&subject.tree), subject.who, "{context}");
        }
    }

    /// The effects explain what the tree is now, and that is what it is directly.
    fn check(&mut self, subject: &Subject, said: &str, preview: &Report, is_committed: bool) {
        let top = escape(subject.tree.as_os_str().as_bytes());
        let all = &preview.observation.as_ref().expect("an observation").effects;
        let effects = model::beneath(all, &top);
        let told = |it: &model::Named<'_>| {
            let file = it.effect.file.clone().unwrap_or_default();
            format!("{:?} {} {} {}\n", it.effect.kind(), it.path, file.renamed, file.linked)
        };
        let told: String = effects.iter().map(told).collect();
        let replay = self.context(subject);
        let context = || format!("{replay}\n{said}\n{}", told);
        let explained = model::explain(&subject.before, &effects, &top);
        let explained = explained.unwrap_or_else(|why| panic!("{why}: {}", context()));
        let now = grouped(seen(&subject.tree));
        assert_eq!(differences(&grouped(explained), &now), "", "the effects do not explain it: {}", context());
        if said == subject.said {
            // Without an index an overlay breaks up what it copies of files with several names.
            if keeps_links(&subject.tree) || !has_links(&subject.before) {
                assert_eq!(differences(&grouped(seen(&subject.copy)), &now), "", "not as directly: {}", context());
            }
            if keeps_links(&subject.tree) {
                let now = identities(&subject.tree);
                let is_timeless = is_xfs(&subject.tree);
                let who = |all: &Identities, path: &String| {
                    all.get(path).map(|it| if is_timeless { (it.0, 0, 0) } else { *it })
                };
                let sides = subject.left.iter().map(|path| (path, who(&subject.who, path), who(&now, path)));
                let moved: Vec<_> = sides.filter(|(_, was, is)| was != is).collect();
                assert!(moved.is_empty(), "directly {moved:?} stay as they were: {}", context());
            }
            let (here, there) = (blocks(&subject.tree), blocks(&subject.copy));
            let is_kept = here <= there + 64 || is_xfs(&subject.tree);
            assert!(is_kept, "holes were filled, {here} blocks instead of {there}: {}", context());
        } else {
            // A user's overlay renames no directory (EXDEV). Without an index two names that a program gave a file
            // of the machine are two files to it, of which one cannot be renamed over the other (ESTALE).
            let has_index = keeps_links(&subject.tree);
            let is_crossing = !is_root() && said.contains("error Some(18)");
            let is_apart = !has_index && (has_links(&subject.before) || said.contains("error Some(116)"));
            let is_known = is_crossing || is_apart;
            assert!(is_known, "it says otherwise:\n{}\n{}", subject.said, context());
            self.tally.otherwise += 1;
        }
        match () {
            () if effects.is_empty() => self.tally.empty += 1,
            () if is_committed => self.tally.committed += 1,
            () => panic!("effects that nobody could commit: {}", context()),
        }
    }

    fn context(&self, subject: &Subject) -> String {
        let user = if is_root() { 0 } else { 100 };
        format!("CMDOP_SEED={} CMDOP_FIRST={} CMDOP_PROGRAMS=1 CMDOP_USER={user}", self.base, subject.number)
    }
}

/// Some file has several names.
fn has_links(tree: &Tree) -> bool {
    let inodes: BTreeSet<_> = tree.values().map(|node| node.inode).collect();
    inodes.len() < tree.len()
}

/// What each program said.
fn spoken(output: &str) -> Vec<String> {
    let mut all: Vec<_> = output.split(&format!("{END}\n")).map(str::to_owned).collect();
    all.pop();
    all
}

fn stdout(report: &Report) -> String {
    let told = report.result.as_ref().map(|result| serde_json::from_str::<Value>(&result.result_json).expect("JSON"));
    told.and_then(|told| Some(told["stdout"].as_str()?.to_owned())).unwrap_or_default()
}
