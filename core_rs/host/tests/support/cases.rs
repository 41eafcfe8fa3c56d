//! Cases that change their whole process or need one without threads: each runs in a process of its
//! own, which is this program started again with the name of the case and an empty directory.

use std::path::Path;
use std::process::{Command, ExitCode};

/// A name, and what happens in the process.
pub type Case = (&'static str, fn(&Path));

/// Runs the cases that the command line selects, or the one that this process is for.
pub fn run(cases: &[Case], helpers: &[Case]) -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, flag, name, directory] = arguments.as_slice()
        && flag == "--case"
    {
        let (_, run) = cases.iter().chain(helpers).find(|(known, _)| known == name).expect("a known case");
        run(Path::new(directory));
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.get(1).filter(|filter| !filter.starts_with('-'));
    let selected = cases.iter().filter(|(name, _)| wanted.is_none_or(|filter| name.contains(filter.as_str())));
    let failed = selected.filter(|(name, _)| !passes(name)).count();
    println!("\n{failed} of {} failed", cases.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes(name: &str) -> bool {
    let directory = tempfile::Builder::new().prefix("cmdop-case-").tempdir().expect("directory");
    let ended = again(name, directory.path()).status().expect("start");
    println!("test {name} ... {}", if ended.success() { "ok" } else { "FAILED" });
    ended.success()
}

/// This program, to run one case or helper.
pub fn again(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--case", name]).arg(directory);
    command
}

/// An ordinary user, whom no user database need know.
pub const USER: u32 = 12_345;

/// Runs a case as an ordinary user, whose own the directory becomes. Only root can.
pub fn passes_as_user(name: &str) -> bool {
    let directory = tempfile::Builder::new().prefix("cmdop-user-").tempdir().expect("directory");
    let ended = again_as(name, directory.path(), Some(USER)).status().expect("start");
    println!("test {name} as an ordinary user ... {}", if ended.success() { "ok" } else { "FAILED" });
    ended.success()
}

/// This program, to run one case or helper in a directory that is made for it and its user's own.
pub fn again_as(name: &str, directory: &Path, user: Option<u32>) -> Command {
    use std::os::unix::process::CommandExt;
    std::fs::create_dir_all(directory).expect("directory");
    // The program may lie where only root can look.
    let program = directory.join("program");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("copy");
    let mut command = Command::new(&program);
    command.args(["--case", name]).arg(directory).current_dir(directory).env("HOME", directory);
    if let Some(user) = user {
        std::os::unix::fs::chown(directory, Some(user), Some(user)).expect("chown");
        command.uid(user).gid(user);
    }
    command
}

/// From now on a directory is in memory, for this process and those that it starts. Only root can.
pub fn in_memory(directory: &Path) {
    use rustix::mount::{MountFlags, mount};
    private_mounts();
    std::fs::create_dir_all(directory).expect("directory");
    mount("tmpfs", directory, "tmpfs", MountFlags::empty(), c"mode=755").expect("a file system in memory");
}

/// From now on mounts are for this process and those that it starts. Only root can.
pub fn private_mounts() {
    use rustix::mount::{MountPropagationFlags, mount_change};
    // SAFETY: this process has one thread, and shares nothing that it relies on.
    #[allow(unsafe_code)]
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("a mount namespace");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
}
