//! A process whose calls to the file system are seen by whoever started it, and answered: done, failed,
//! or never, because it is killed.
//!
//! Only the thread that asks for it is supervised (seccomp_unotify(2)): what it does is one sequence.

#![allow(unsafe_code)]

#[path = "../../src/notify.rs"]
#[allow(dead_code)]
mod notify;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use notify::{Listener, Trapped};

/// Calls that change a file system or make it durable.
const CHANGES: &[(libc::c_long, &str)] = &[
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_mknodat, "mknodat"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_syncfs, "syncfs"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_utimensat, "utimensat"),
    (libc::SYS_setxattr, "setxattr"),
    (libc::SYS_lsetxattr, "lsetxattr"),
    (libc::SYS_fsetxattr, "fsetxattr"),
    (libc::SYS_removexattr, "removexattr"),
    (libc::SYS_lremovexattr, "lremovexattr"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, "mknod"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, "symlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, "chmod"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, "lchown"),
];

/// Calls that look at one, or may do either.
const LOOKS: &[(libc::c_long, &str)] = &[
    (libc::SYS_openat, "openat"),
    (libc::SYS_openat2, "openat2"),
    (libc::SYS_read, "read"),
    (libc::SYS_lseek, "lseek"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_fstat, "fstat"),
    (libc::SYS_readlinkat, "readlinkat"),
    (libc::SYS_getxattr, "getxattr"),
    (libc::SYS_lgetxattr, "lgetxattr"),
    (libc::SYS_listxattr, "listxattr"),
    (libc::SYS_llistxattr, "llistxattr"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, "readlink"),
];

/// Offsets in `struct seccomp_data` (seccomp(2)) of the number and of the first argument.
const NUMBER: u32 = 0;
const FIRST: u32 = 16;
/// Standard input, output and error are the way to whoever supervises.
const LAST_STREAM: u32 = 2;

/// In the process: from now on the calls of this thread wait for their answers.
pub fn begin() {
    let listener = install();
    println!("{}", listener.as_raw_fd());
    std::io::stdin().read_exact(&mut [0]).expect("somebody supervises");
}

fn install() -> OwnedFd {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let is = |jt, jf, k| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
    let is_more = |jt, jf, k| statement(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, jt, jf, k);
    let end = |what| statement(libc::BPF_RET | libc::BPF_K, 0, 0, what);
    let notify = || end(libc::SECCOMP_RET_USER_NOTIF);
    let mut program = vec![load(NUMBER)];
    for (number, _) in CHANGES.iter().chain(LOOKS) {
        if [libc::SYS_read, libc::SYS_write].contains(number) {
            let of_streams = [load(FIRST), is_more(1, 0, LAST_STREAM), end(libc::SECCOMP_RET_ALLOW), notify()];
            program.push(is(0, 4, *number as u32));
            program.extend(of_streams);
        } else {
            program.extend([is(0, 1, *number as u32), notify()]);
        }
    }
    program.push(end(libc::SECCOMP_RET_ALLOW));
    let length = program.len() as libc::c_ushort;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: a whole program that lives until the call returns; the descriptor is new.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0, "no new privileges");
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        let fd = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter);
        assert!(fd >= 0, "supervise: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as RawFd)
    }
}

/// A process that is supervised from here on.
pub struct Supervised {
    child: Child,
    listener: Listener,
    /// Readable once the process is over.
    over: OwnedFd,
    stdout: BufReader<ChildStdout>,
    _stdin: ChildStdin,
}

/// A call that waits for its answer.
pub struct Call {
    trapped: Trapped,
    pub name: &'static str,
    /// True if it changes a file system or makes it durable.
    pub is_change: bool,
}

impl Supervised {
    /// Starts a command that calls [`begin`]. What it said before is passed over.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start");
        let (mut stdin, stdout) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
        let mut stdout = BufReader::new(stdout);
        let number = loop {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).expect("text"), 0, "it ended before it began");
            if let Ok(number) = line.trim().parse() {
                break number;
            }
        };
        let process = child.id().cast_signed();
        let listener = Listener::new(notify::take(process, number).expect("its listener"));
        let pid = rustix::process::Pid::from_raw(process).expect("a process");
        let over = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("its end");
        stdin.write_all(b"g").expect("go");
        Self { child, listener, over, stdout, _stdin: stdin }
    }

    /// The next call; none if the process is over.
    pub fn next(&mut self) -> Option<Call> {
        while self.listener.wait(self.over.as_fd()) {
            let Some(trapped) = self.listener.receive() else { continue };
            let named = |calls: &[(libc::c_long, &'static str)]| {
                calls.iter().find(|(number, _)| *number == trapped.number).map(|(_, name)| *name)
            };
            let (name, is_change) = match (named(CHANGES), named(LOOKS)) {
                (Some(name), _) => (name, true),
                (None, Some(name)) => (name, false),
                (None, None) => panic!("an unknown call {}", trapped.number),
            };
            let is_change = is_change || opens_to_change(&trapped);
            return Some(Call { trapped, name, is_change });
        }
        None
    }

    /// Lets it be done.
    pub fn allow(&self, call: &Call) {
        self.listener.let_through(&call.trapped);
    }

    /// Lets it fail, undone.
    pub fn fail(&self, call: &Call, errno: i32) {
        self.listener.answer(&call.trapped, Err(errno));
    }

    /// What the process said until it ended, by itself or killed.
    pub fn end(mut self) -> Vec<String> {
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).expect("text");
        self.child.wait().expect("wait");
        said.lines().map(str::to_owned).collect()
    }

    /// Ends it at once, like a crash of the process.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("kill");
        self.end()
    }
}

impl Call {
    /// The paths that it names, or those of its descriptor.
    pub fn paths(&self) -> Vec<PathBuf> {
        let of = |at: usize| self.path(at);
        let paths = match self.name {
            "renameat" | "renameat2" | "linkat" => vec![of(0).join(self.text(1)), of(2).join(self.text(3))],
            "rename" | "link" => vec![self.text(0), self.text(1)],
            "symlinkat" => vec![of(1).join(self.text(2))],
            "symlink" => vec![self.text(1)],
            "mkdir" | "mknod" | "unlink" | "rmdir" | "chmod" | "lchown" | "setxattr" | "lsetxattr" | "removexattr"
            | "lremovexattr" => vec![self.text(0)],
            "mkdirat" | "mknodat" | "unlinkat" | "fchmodat" | "fchownat" | "openat" | "openat2" => {
                vec![of(0).join(self.text(1))]
            }
            "utimensat" if self.trapped.arguments[1] != 0 => vec![of(0).join(self.text(1))],
            "copy_file_range" => vec![of(2)],
            _ => vec![of(0)],
        };
        paths.into_iter().map(|path| self.resolved(path)).collect()
    }

    /// True of a rename that exchanges.
    pub fn is_exchange(&self) -> bool {
        self.name == "renameat2" && self.trapped.arguments[4] & u64::from(libc::RENAME_EXCHANGE) != 0
    }

    /// Path of a descriptor that is an argument.
    fn path(&self, at: usize) -> PathBuf {
        let fd = self.trapped.arguments[at] as RawFd;
        let link = match fd {
            libc::AT_FDCWD => format!("/proc/{}/cwd", self.trapped.thread),
            fd => format!("/proc/{}/fd/{fd}", self.trapped.thread),
        };
        std::fs::read_link(link).unwrap_or_default()
    }

    /// A path may go through one of the caller's descriptors.
    fn resolved(&self, path: PathBuf) -> PathBuf {
        match path.strip_prefix("/proc/self/fd") {
            Ok(number) => {
                let link = PathBuf::from(format!("/proc/{}/fd", self.trapped.thread)).join(number);
                std::fs::read_link(link).unwrap_or_default()
            }
            Err(_) => path,
        }
    }

    fn text(&self, at: usize) -> PathBuf {
        let mut bytes = Vec::new();
        let mut from = self.trapped.arguments[at];
        // Up to the end of a page at a time: what lies behind it may not be there.
        while !bytes.contains(&0) {
            let length = 4096 - (from as usize % 4096);
            bytes.extend(self.trapped.read(from, length).expect("its memory"));
            from += length as u64;
        }
        bytes.truncate(bytes.iter().position(|byte| *byte == 0).expect("it was found"));
        PathBuf::from(std::ffi::OsString::from_vec(bytes))
    }
}

fn opens_to_change(call: &Trapped) -> bool {
    let flags = match call.number {
        libc::SYS_openat => call.arguments[2],
        // The first field of `struct open_how` (openat2(2)).
        libc::SYS_openat2 => {
            call.read(call.arguments[2], 8).map_or(0, |bytes| u64::from_ne_bytes(bytes.try_into().expect("8 bytes")))
        }
        _ => return false,
    };
    flags & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0
}
