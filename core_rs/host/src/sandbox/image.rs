//! What a command or a service becomes first, and the directory in which it begins, must be of its own view.
//!
//! Until then it is an image of the daemon: `/proc/self/exe` leads to the daemon's program on the machine, where a
//! command could change its mode or its owner, and so does what that image has open. Names that lead there are refused;
//! an interpreter or a name may be exchanged meanwhile, so the new image is looked at once it is in place, before its
//! first instruction. What that starts later has nothing of the machine's to lead it out.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, open, openat2, statx};
use rustix::io::Errno;
use rustix::path::Arg;

use super::Failure;
use super::confine::check;

/// Scripts that name a script as their interpreter, and that one more (`exec_binprm`, fs/exec.c).
const MAX_SCRIPTS: usize = 5;
/// What the kernel reads of a file to know what it is (`BINPRM_BUF_SIZE`).
const HEAD_BYTES: u64 = 256;

pub(super) const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// What a path leads to in a view. Links of `/proc` are refused: they lead to what a process has open or stands in,
/// mounted here or not.
pub(super) fn found(path: impl Arg, kind: OFlags) -> rustix::io::Result<OwnedFd> {
    beneath("/", path, kind)
}

/// A program, and whatever the kernel would run it with.
///
/// # Errors
/// LOOP or XDEV if anything of that leads through a link of `/proc`.
pub(super) fn program(path: &CStr) -> rustix::io::Result<()> {
    let mut path = path.to_owned();
    for _ in 0..=MAX_SCRIPTS {
        let file = found(path.as_c_str(), OFlags::PATH)?;
        let is_file = FileType::from_raw_mode(fstat(file)?.st_mode).is_file();
        match is_file.then(|| interpreter(&path)).flatten() {
            Some(next) => path = next,
            None => break,
        }
    }
    Ok(())
}

/// Which program a script says that it is to be run with. None of what cannot be read.
fn interpreter(script: &CStr) -> Option<CString> {
    let file = found(script, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    let mut head = Vec::new();
    File::from(file).take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = line.trim_ascii_start().split(|byte| matches!(byte, b' ' | b'\t' | 0)).next()?;
    CString::new(word).ok().filter(|word| !word.is_empty())
}

/// In a process that is about to become a program: it stops for its parent then.
pub(super) fn offer() -> Result<(), Failure> {
    // SAFETY: no arguments but the request.
    let done = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    check(done as libc::c_int, "be looked at before the program begins")
}

/// In the parent, of a child that has stopped: the new image goes on if it is of the view, and is killed if it is not.
/// Before that it only hears of signals.
pub(super) fn look(child: libc::pid_t, status: libc::c_int) {
    let signal = libc::WSTOPSIG(status);
    let (request, signal) = match signal {
        libc::SIGTRAP if is_within(child) => (libc::PTRACE_DETACH, 0),
        libc::SIGTRAP => (libc::PTRACE_DETACH, libc::SIGKILL),
        signal => (libc::PTRACE_CONT, signal),
    };
    // SAFETY: neither request uses memory of this process.
    unsafe {
        if signal == libc::SIGKILL {
            libc::kill(child, signal);
        }
        libc::ptrace(request, child, 0, libc::c_long::from(signal));
    }
}

/// Is what a process runs a file of its own view? Each mount has a number of its own (statx(2), `STATX_MNT_ID`), and no
/// view has one of the machine's.
pub(crate) fn is_within(process: libc::pid_t) -> bool {
    let mount = |it: rustix::io::Result<rustix::fs::Statx>| {
        it.ok().filter(|it| it.stx_mask & StatxFlags::MNT_ID.bits() != 0).map(|it| it.stx_mnt_id)
    };
    let exe = format!("/proc/{process}/exe");
    let runs = mount(statx(rustix::fs::CWD, exe.as_str(), AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID));
    let shown = rustix::fs::readlink(exe.as_str(), Vec::new())
        .and_then(|name| beneath(&format!("/proc/{process}/root"), name.as_c_str(), OFlags::PATH));
    let shown = shown.and_then(|file| statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID));
    runs.is_some() && runs == mount(shown)
}

fn beneath(root: &str, path: impl Arg, kind: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    openat2(&root, path, OFlags::CLOEXEC | kind, Mode::empty(), resolve)
}

/// In words, what `found` and `program` say of a name.
pub(super) fn told(errno: Errno, name: &str) -> String {
    match errno {
        Errno::LOOP | Errno::XDEV => format!("{name} leads through a link of /proc or in a circle"),
        errno => format!("{name} could not be found: {}", std::io::Error::from(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a process ends that enters mounts of its own and becomes a program there, looked at on the way.
    fn becomes(program: &CStr) -> libc::c_int {
        let argv = [program.as_ptr(), c"--list".as_ptr(), std::ptr::null()];
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
        // SAFETY: between fork and exec the child makes system calls only, with what lives until then.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                let is_done = libc::unshare(flags) == 0 && libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0;
                if is_done {
                    let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY);
                    libc::dup2(null, 1);
                    libc::execve(argv[0], argv.as_ptr(), [std::ptr::null()].as_ptr());
                }
                libc::_exit(99)
            }
        }
        loop {
            let mut status = 0;
            // SAFETY: status outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            if !libc::WIFSTOPPED(status) {
                return status;
            }
            look(child, status);
        }
    }

    #[test]
    fn an_image_of_other_mounts_never_begins() {
        let begins = becomes(c"/bin/true");
        assert!(libc::WIFEXITED(begins) && libc::WEXITSTATUS(begins) == 0, "{begins:x}");
        let killed = becomes(c"/proc/self/exe");
        assert!(libc::WIFSIGNALED(killed) && libc::WTERMSIG(killed) == libc::SIGKILL, "{killed:x}");
    }

    #[test]
    fn whatever_a_program_is_run_with_is_found_in_the_view() {
        let dir = tempfile::tempdir().expect("directory");
        let place =
            |name: &str| CString::new(dir.path().join(name).into_os_string().into_encoded_bytes()).expect("no NUL");
        let script = |name: &str, line: &str| {
            std::fs::write(dir.path().join(name), line).expect("write");
            program(&place(name))
        };
        assert_eq!(script("plain", "#!/bin/sh -e\n"), Ok(()));
        assert_eq!(script("binary", "\x7fELF"), Ok(()));
        assert_eq!(script("magic", "#! /proc/self/exe\n"), Err(Errno::LOOP));
        let chained = format!("#!{}/magic x\n", dir.path().display());
        assert_eq!(script("chained", &chained), Err(Errno::LOOP));
        std::os::unix::fs::symlink("/proc/self/exe", dir.path().join("link")).expect("link");
        assert_eq!(program(&place("link")), Err(Errno::LOOP));
        assert_eq!(program(&place("absent")), Err(Errno::NOENT));
        assert_eq!(program(c"/proc/self/fd/0"), Err(Errno::LOOP));
    }
}
