//! Every process of a service, wherever it went: one may have a session of its own and no parent that is left.
//!
//! A control group knows them all. Where none can be had, a process shows by its parents and by the output that it
//! shares with the service; one that has neither any more is not found.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Hierarchies of version 1, any of which will do.
const FIRST: [&str; 4] = ["pids", "freezer", "cpuacct", "memory"];

const PREFIX: &str = "cmdop-kept-";

/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks at what was killed.
const STEP: Duration = Duration::from_millis(10);

/// The processes of one run of a service.
#[derive(Debug)]
pub(super) struct Family {
    group: Option<PathBuf>,
    /// Held as long as its daemon lives: the kernel frees it, whatever kills that.
    lock: Option<File>,
    /// Inode of the pipe that takes its output.
    output: u64,
}

/// A process, as proc_pid_stat(5) tells of it.
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

impl Family {
    /// Of a run whose output goes into the pipe with this inode.
    pub(super) fn new(output: u64) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", prefix(), std::process::id());
        let made = places().into_iter().map(|above| above.join(&name)).find_map(|group| {
            // Left by a process that was killed and had the same number.
            let _ = fs::remove_dir(&group);
            fs::create_dir(&group).ok()?;
            // Without the lock another daemon would take what runs for left over.
            let lock = locked(&group);
            if lock.is_none() {
                let _ = fs::remove_dir(&group);
            }
            Some((group, lock?))
        });
        let (group, lock) = made.unzip();
        Self { group, lock, output }
    }

    /// Where a process writes `0` to belong to it.
    pub(super) fn door(&self) -> Option<File> {
        File::options().write(true).open(self.group.as_ref()?.join("cgroup.procs")).ok()
    }

    /// Signals all of them but for the main process and its process group. True if there was one.
    pub(super) fn signal(&self, main: Pid, signal: Signal) -> bool {
        let found = self.others(main).into_iter().filter_map(Pid::from_raw);
        let held: Vec<_> = found.filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?))).collect();
        // A number that was another's by the time it was held is not found again.
        let still = if held.is_empty() { BTreeSet::new() } else { self.others(main) };
        for (_, process) in held.iter().filter(|(pid, _)| still.contains(&pid.as_raw_nonzero().get())) {
            let _ = pidfd_send_signal(process, signal);
        }
        !still.is_empty()
    }

    /// Kills all of them but for the main process and its process group, those that are born meanwhile as well.
    pub(super) fn end(&self, main: Pid) {
        let deadline = Instant::now() + PATIENCE;
        while self.signal(main, Signal::KILL) {
            if Instant::now() >= deadline {
                tracing::warn!(main = main.as_raw_nonzero().get(), "processes of a service do not end");
                return;
            }
            std::thread::sleep(STEP);
        }
    }

    fn others(&self, main: Pid) -> BTreeSet<i32> {
        let main = main.as_raw_nonzero().get();
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let all = processes();
        let listed = self.group.as_deref().map(members).unwrap_or_default();
        let is_member = |process: &&Process| listed.contains(&process.pid) || shares(process.pid, self.output);
        let mut found: BTreeSet<i32> = all.iter().filter(is_member).map(|process| process.pid).collect();
        found.insert(main);
        found.remove(&own);
        // Children of children, until there is none that is new.
        loop {
            let born = all.iter().filter(|process| found.contains(&process.parent) && process.pid != own);
            let before = found.len();
            let born: Vec<_> = born.map(|process| process.pid).collect();
            found.extend(born);
            if found.len() == before {
                break;
            }
        }
        all.iter()
            .filter(|process| process.pid != main && process.group != main && found.contains(&process.pid))
            .map(|process| process.pid)
            .collect()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            remove(group, PATIENCE);
        }
        drop(self.lock.take());
    }
}

/// Removes a group. What was just killed is in it for a moment.
fn remove(group: &Path, patience: Duration) {
    let deadline = Instant::now() + patience;
    while fs::remove_dir(group).is_err() && group.exists() && Instant::now() < deadline {
        std::thread::sleep(STEP);
    }
}

/// Takes the lock of a group, if nobody has it.
fn locked(group: &Path) -> Option<File> {
    let group = File::open(group).ok()?;
    flock(&group, FlockOperation::NonBlockingLockExclusive).ok().map(|()| group)
}

/// How names of groups of this daemon begin: its number alone may be another's in another namespace of processes.
fn prefix() -> String {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let number: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("{PREFIX}{number}-")
}

/// Ends what daemons that were killed left running, which only its group still knows.
pub(super) fn sweep() {
    for entry in places().iter().filter_map(|above| fs::read_dir(above).ok()).flatten().flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        // Whoever lives holds the lock of its own.
        let Some(_lock) = locked(&entry.path()) else { continue };
        let left = members(&entry.path());
        for pid in &left {
            let held = Pid::from_raw(*pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            if let Some(process) = held.filter(|_| members(&entry.path()).contains(pid)) {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
        }
        remove(&entry.path(), if left.is_empty() { Duration::ZERO } else { PATIENCE });
    }
}

/// Groups in which one may be made, the best first: beneath the daemon's own.
fn places() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = |controller: &str| {
        let mut lines = own.lines().map(|line| line.splitn(3, ':'));
        let found = lines.find_map(|mut fields| {
            let controllers = fields.nth(1)?;
            let path = fields.next()?;
            controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
        });
        found.unwrap_or_default()
    };
    // Version 2 has one hierarchy, and its line no controllers.
    let second = root.join("cgroup.controllers").exists().then(|| root.join(path("")));
    let first = FIRST.iter().map(|controller| (root.join(controller), path(controller)));
    let first = first.filter(|(top, _)| top.join("cgroup.procs").exists()).map(|(top, own)| top.join(own));
    second.into_iter().chain(first).filter(|place| place.is_dir()).collect()
}

fn members(group: &Path) -> BTreeSet<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // Zero is one that this namespace does not show: it would be taken for the parent of all.
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect()
}

/// Does a process write where the service does?
fn shares(pid: i32, output: u64) -> bool {
    let pipe = format!("pipe:[{output}]");
    let leads = |number: u8| fs::read_link(format!("/proc/{pid}/fd/{number}")).is_ok_and(|to| to.as_os_str() == &*pipe);
    leads(1) || leads(2)
}

/// All that run. What ended and is not reaped yet does not.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|pid| parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

fn parse(pid: i32, stat: &str) -> Option<Process> {
    // A name may hold anything, but what follows its last bracket is numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (!matches!(state, "Z" | "X")).then_some(Process { pid, parent, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_whose_daemon_is_gone_is_swept() {
        let sleeps = || std::process::Command::new("/bin/sleep").arg("600").spawn().expect("a process");
        let is_over = |child: &mut std::process::Child| child.try_wait().expect("wait").is_some();
        let families = [Family::new(0), Family::new(0)];
        let Some(groups) = families.iter().map(|it| it.group.clone()).collect::<Option<Vec<_>>>() else {
            // Of a machine without control groups there is nothing to sweep.
            assert!(families.iter().all(|it| it.door().is_none()));
            return;
        };
        let mut children = [sleeps(), sleeps()];
        for (group, child) in groups.iter().zip(&children) {
            fs::write(group.join("cgroup.procs"), child.id().to_string()).expect("it may belong");
        }
        let [living, mut dead] = families;
        // As a kill leaves it.
        dead.lock = None;
        sweep();
        let deadline = Instant::now() + PATIENCE;
        while !is_over(&mut children[1]) && Instant::now() < deadline {
            std::thread::sleep(STEP);
        }
        assert_eq!(children.each_mut().map(is_over), [false, true]);
        children[0].kill().and_then(|()| children[0].wait()).expect("it ends");
        drop((living, dead));
        assert!(groups.iter().all(|group| !group.exists()));
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let found = parse(7, "7 (a) S 1 (b)) S 4 5 6 0").expect("a process");
        assert_eq!((found.pid, found.parent, found.group), (7, 4, 5));
        assert!(parse(7, "7 (gone) Z 4 5 6 0").is_none() && parse(7, "").is_none());
    }
}
