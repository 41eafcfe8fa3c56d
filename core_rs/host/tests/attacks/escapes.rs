//! Leaving namespaces, gaining privileges, reaching the kernel or another process.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cmdop_contract::v1::{Outcome, Reason, RefusedAttempt};
use serde_json::json;

use crate::support::host::{Host, on_runtime, reason};
use crate::support::inside::{assert_attempted, attempted, effects, helper, is_root, line, stdout, told, with};
use crate::{assert_all_refused, say};

pub fn system_calls(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "inside: system calls")).await;
        assert_all_refused(&stdout(&report), ATTEMPTS.len());
        assert!(effects(&report).is_empty(), "{report:?}");
        assert_attempted(&report, ATTEMPTS.iter().map(|(_, told, _)| *told).filter(|told| *told != UNTOLD));
        let attempts = &report.observation.as_ref().expect("an observation").attempts;
        let program = std::env::current_exe().expect("this program");
        let is_own = |attempt: &&RefusedAttempt| Path::new(&attempt.program) == program;
        assert!(attempts.iter().filter(is_own).count() >= ATTEMPTS.len() - 4, "{attempts:?}");
        link.stop().await;
    });
}

/// What is said of one, what it is told as, and itself.
type Attempt = (&'static str, &'static str, fn() -> libc::c_long);

/// What the kernel refuses by itself is not told: there is no such file in the view, or no such call.
const UNTOLD: &str = "";

/// One call with integer and pointer arguments.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {
        // SAFETY: the pointers are null or to constants that outlive the call.
        || unsafe { libc::syscall($number $(, $argument)*) }
    };
}

const NULL: usize = 0;
static NOATIME: libc::c_long = 0x80;
const BLOCK_NODE: libc::c_uint = libc::S_IFBLK | 0o600;
const CHARACTER_NODE: libc::c_uint = libc::S_IFCHR | 0o600;

/// Elsewhere another call stands for those that only x86-64 has.
const IOPL: &str = if cfg!(target_arch = "x86_64") { "iopl" } else { "setns" };
const X32: &str = if cfg!(target_arch = "x86_64") { "system call 0x40000110" } else { "setns" };

const ATTEMPTS: &[Attempt] = &[
    ("mount", "mount", call!(libc::SYS_mount, c"none".as_ptr(), c"/mnt".as_ptr(), c"tmpfs".as_ptr(), 0, NULL)),
    ("umount", "umount", call!(libc::SYS_umount2, c"/proc".as_ptr(), libc::MNT_DETACH)),
    ("open_tree", "open_tree", call!(libc::SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), 1)),
    ("fsopen", "fsopen", call!(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0)),
    ("pivot_root", "pivot_root", call!(libc::SYS_pivot_root, c"/".as_ptr(), c"/".as_ptr())),
    ("chroot", "chroot", call!(libc::SYS_chroot, c"/".as_ptr())),
    ("unshare user", "unshare user namespace", call!(libc::SYS_unshare, libc::CLONE_NEWUSER)),
    ("unshare mount", "unshare mount namespace", call!(libc::SYS_unshare, libc::CLONE_NEWNS)),
    (
        "clone user",
        "clone user namespace",
        call!(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, NULL, NULL, NULL, NULL),
    ),
    ("clone3", UNTOLD, call!(libc::SYS_clone3, NULL, NULL)),
    ("setns", "setns", call!(libc::SYS_setns, 0, 0)),
    ("ptrace init", "ptrace", call!(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, NULL, NULL)),
    ("process_vm_readv", "process_vm_readv", call!(libc::SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0)),
    ("keyctl", "keyctl", call!(libc::SYS_keyctl, 1, NULL, NULL, NULL, NULL)),
    ("add_key", "add_key", call!(libc::SYS_add_key, c"user".as_ptr(), c"k".as_ptr(), c"v".as_ptr(), 1, -3)),
    ("request_key", "request_key", call!(libc::SYS_request_key, c"user".as_ptr(), c"k".as_ptr(), NULL, 0)),
    ("io_uring_setup", "io_uring_setup", call!(libc::SYS_io_uring_setup, 1, NULL)),
    ("bpf", "bpf", call!(libc::SYS_bpf, 0, NULL, 0)),
    ("perf_event_open", "perf_event_open", call!(libc::SYS_perf_event_open, NULL, 0, -1, -1, 0)),
    ("userfaultfd", "userfaultfd", call!(libc::SYS_userfaultfd, 0)),
    ("open_by_handle_at", "open_by_handle_at", call!(libc::SYS_open_by_handle_at, libc::AT_FDCWD, NULL, 0)),
    ("fanotify_init", "fanotify_init", call!(libc::SYS_fanotify_init, 0, 0)),
    ("sethostname", "sethostname", call!(libc::SYS_sethostname, c"x".as_ptr(), 1)),
    ("reboot", "reboot", call!(libc::SYS_reboot, 0, 0, 0, NULL)),
    ("settimeofday", "settimeofday", call!(libc::SYS_settimeofday, NULL, NULL)),
    ("swapoff", "swapoff", call!(libc::SYS_swapoff, c"/x".as_ptr())),
    ("syslog", "syslog", call!(libc::SYS_syslog, 3, NULL, 0)),
    ("packet socket", "socket packet", call!(libc::SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("raw socket", "socket raw", call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_RAW, 1)),
    ("vsock", "socket vsock", call!(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    ("alg socket", "socket alg", call!(libc::SYS_socket, libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    ("mknod disk", "mknod of a device", call!(libc::SYS_mknodat, libc::AT_FDCWD, c"disk".as_ptr(), BLOCK_NODE, 0xfe00)),
    (
        "mknod mem",
        "mknod of a device",
        call!(libc::SYS_mknodat, libc::AT_FDCWD, c"mem".as_ptr(), CHARACTER_NODE, 0x101),
    ),
    ("open mem", UNTOLD, call!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/mem".as_ptr(), libc::O_RDWR)),
    ("open kmsg", UNTOLD, call!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/kmsg".as_ptr(), libc::O_WRONLY)),
    ("push terminal input", "ioctl TIOCSTI", call!(libc::SYS_ioctl, 0, libc::TIOCSTI, c"x".as_ptr())),
    ("set flags", "ioctl FS_IOC_SETFLAGS", call!(libc::SYS_ioctl, 0, 0x4008_6602, &raw const NOATIME)),
    ("set project", "ioctl FS_IOC_FSSETXATTR", call!(libc::SYS_ioctl, 0, 0x401c_5820, NULL)),
    ("set version", "ioctl EXT4_IOC_SETVERSION", call!(libc::SYS_ioctl, 0, 0x4008_6604, NULL)),
    ("make a snapshot", "ioctl BTRFS_IOC_SNAP_CREATE", call!(libc::SYS_ioctl, 0, 0x5000_9417, NULL)),
    ("file_setattr", "file_setattr", call!(469, libc::AT_FDCWD, c".".as_ptr(), NULL, 24, 0)),
    ("raise priority", "setpriority", call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, -20)),
    ("iopl", IOPL, iopl),
    ("x32 call", X32, x32),
];

fn refused() -> libc::c_long {
    // SAFETY: a call that cannot succeed, to set errno.
    unsafe { libc::syscall(libc::SYS_setns, -1, 0) }
}

#[cfg(target_arch = "x86_64")]
fn iopl() -> libc::c_long {
    // SAFETY: a call with one integer.
    unsafe { libc::syscall(libc::SYS_iopl, 3) }
}

#[cfg(not(target_arch = "x86_64"))]
fn iopl() -> libc::c_long {
    refused()
}

/// unshare(2) by its x32 number.
fn x32() -> libc::c_long {
    if cfg!(target_arch = "x86_64") {
        // SAFETY: a call with integers.
        unsafe { libc::syscall(0x4000_0000 | libc::SYS_unshare, libc::CLONE_NEWUSER) }
    } else {
        refused()
    }
}

pub fn inside_system_calls(_: &Path) {
    for (name, _, attempt) in ATTEMPTS {
        say(name, attempt());
    }
}

/// Tries of one kind, and then as many kinds of sockets as there are.
const TRIES: u64 = 2_000;
const KINDS: libc::c_long = 100;

pub fn flood(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "call", "inside: flood")).await;
        assert_eq!(stdout(&report), "over\n", "{report:?}");
        let observation = report.observation.as_ref().expect("an observation");
        assert_eq!(attempted(&report)["setns"], TRIES, "{report:?}");
        assert_eq!(observation.attempts.len(), 64, "{report:?}");
        let listed: u64 = observation.attempts.iter().map(|attempt| attempt.count).sum();
        assert_eq!(listed + observation.attempts_more, TRIES + KINDS.unsigned_abs(), "{report:?}");
        link.stop().await;
    });
}

pub fn inside_flood(_: &Path) {
    for _ in 0..TRIES {
        refused();
    }
    for family in 0..KINDS {
        // SAFETY: a call with integers.
        assert_eq!(unsafe { libc::syscall(libc::SYS_socket, 100 + family, libc::SOCK_STREAM, 0) }, -1);
    }
    println!("over");
}

/// A program of the machine's gets what crashes, where `core_pattern` names one, unless the limit is this one.
pub fn cores(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let line_of = "ulimit -S -c 0; ulimit -c 0; python3 -c 'import resource as r; r.setrlimit(4, (0, 0))' && \
                       grep -o 'core file size *[^ ]* *[^ ]* ' /proc/self/limits | tr -s ' '; ulimit -n 100; ulimit -n";
        let report = link.report_of(&line(&host, "call", line_of)).await;
        assert_eq!(stdout(&report), "core file size 1 1 \n100\n", "{report:?}");
        assert!(attempted(&report).is_empty(), "{report:?}");
        link.stop().await;
    });
}

pub fn inherited(directory: &Path) {
    let leaked = fs::File::open("/").expect("open");
    // As a careless library would leave it.
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).expect("fcntl");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let report = link.report_of(&helper(&host, "descriptors", "inside: descriptors")).await;
        assert_eq!(stdout(&report), "0\n1\n2\n");
        let status =
            "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapAmb|SigIgn|SigBlk):' /proc/self/status; cat /proc/self/cgroup";
        let text = stdout(&link.report_of(&line(&host, "status", status)).await);
        let fields: Vec<_> = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).collect();
        let field = |name: &str| fields.iter().find(|field| field[0] == name).map_or("", |field| field[1]);
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1", "2"), "{text}");
        let capabilities = if is_root() { "00000000000004fb" } else { "0000000000000000" };
        assert_eq!((field("CapEff:"), field("CapAmb:")), (capabilities, "0000000000000000"), "{text}");
        // The C library keeps 32 and 33 to itself: whoever started the tests may have left them ignored.
        let signals = |name: &str| u64::from_str_radix(field(name), 16).expect("a set") & !0x1_8000_0000;
        assert_eq!((signals("SigIgn:"), signals("SigBlk:")), (0, 0), "{text}");
        // A set-user-id program keeps its caller's identity, and what is preloaded runs as the caller.
        let borrowed = "cp /usr/bin/id s && chmod 6755 s && LD_PRELOAD=/none.so ./s -u 2> told; id -u";
        let report = link.report_of(&line(&host, "setuid", borrowed)).await;
        let ids: Vec<_> = stdout(&report).lines().map(str::to_owned).collect();
        assert!(ids.len() == 2 && ids[0] == ids[1], "{report:?}");
        link.stop().await;
    });
    drop(leaked);
}

/// Before it is a program a command is an image of the daemon, which has the machine's files: what it becomes must be
/// none of those, or it could change their mode by `/proc/self/exe`.
pub fn images(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let script = host.tree.join("evil");
        fs::write(&script, "#!/proc/self/exe\n").expect("write");
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("mode");
        let chained = host.tree.join("chained");
        fs::write(&chained, format!("#!{}\n", script.display())).expect("write");
        fs::set_permissions(&chained, PermissionsExt::from_mode(0o755)).expect("mode");
        let named = [script.as_path(), &chained, Path::new("/proc/self/exe"), Path::new("/proc/self/fd/3/bin/true")];
        for (number, program) in named.into_iter().enumerate() {
            let report = link.report_of(&with(&host, &format!("call {number}"), json!({"argv": [program]}))).await;
            assert_eq!((reason(&report), report.outcome()), (Reason::PathNotUsable, Outcome::NotApplied), "{report:?}");
        }
        link.stop().await;
    });
}

/// It begins in none of the directories that the daemon has open either: what is mounted there is the machine.
pub fn directories(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let (real, linked, magic) = (host.tree.join("real"), host.tree.join("linked"), host.tree.join("magic"));
        fs::create_dir(&real).expect("directory");
        std::os::unix::fs::symlink(&real, &linked).expect("link");
        std::os::unix::fs::symlink("/proc/self/fd/8/old", &magic).expect("link");
        let in_call = |call: &str, cwd: &Path| with(&host, call, json!({"command": "pwd -P", "cwd": cwd}));
        let report = link.report_of(&in_call("linked", &linked)).await;
        assert_eq!(stdout(&report), format!("{}\n", real.display()), "{report:?}");
        let open = (0..64).flat_map(|number| {
            ["", "/old", "/view", "/ground"].map(|below| format!("/proc/self/fd/{number}{below}").into())
        });
        let others = ["/proc/self/cwd", "/proc/self/root", "/proc/thread-self/root"].map(Into::into);
        for (number, cwd) in open.chain(others).chain([magic]).enumerate() {
            let cwd: std::path::PathBuf = cwd;
            let report = link.report_of(&in_call(&format!("call {number}"), &cwd)).await;
            assert_eq!((reason(&report), report.outcome()), (Reason::PathNotFound, Outcome::NotApplied), "{report:?}");
        }
        link.stop().await;
    });
}

pub fn inside_descriptors(_: &Path) {
    for number in 0..1_024 {
        // SAFETY: a question about a number.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
            println!("{number}");
        }
    }
}

pub fn kernel_files(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let files = [
            "/proc/sysrq-trigger",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/vm/drop_caches",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/self/oom_score_adj",
            "/proc/1/mem",
            "/sys/power/state",
            "/sys/kernel/profiling",
            "/sys/fs/cgroup/cgroup.procs",
            "/sys/fs/cgroup/pids/cgroup.procs",
            "/dev/vda",
            "/dev/sda",
        ];
        let attempt = format!(
            "for f in {}; do [[ -e $f ]] && before=there || before=absent; (echo 1 > $f) 2> /dev/null && [[ $f != /dev/* ]] && echo \"wrote $f\"; done; \
             mkdir /sys/fs/cgroup/out /sys/out /proc/out 2> /dev/null && echo made; \
             sed 's/^[^:]*:[^:]*://' /proc/self/cgroup | sort -u; echo over",
            files.join(" ")
        );
        let report = link.report_of(&line(&host, "call", &attempt)).await;
        // Its control group is the root of its own namespace: nothing above it has a name.
        assert_eq!(stdout(&report), "/\nover\n", "{report:?}");
        // What was written to a device that is not there is a file in the layer, and is seen.
        assert!(effects(&report).is_empty(), "{report:?}");
        link.stop().await;
    });
}

/// Each attempt gives a node what it has already, so that nothing is lost where one gets through.
pub fn devices(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let attempt = "for f in null zero full random urandom tty; do \
             chmod 666 /dev/$f && echo \"mode of $f\"; chown 0 /dev/$f && echo \"owner of $f\"; \
             touch -r /dev/$f /dev/$f && echo \"times of $f\"; done 2> /dev/null; \
             echo written > /dev/null && head -c 3 /dev/zero | wc -c; echo x > /dev/full || echo full";
        let report = link.report_of(&line(&host, "call", attempt)).await;
        assert_eq!(stdout(&report), "3\nfull\n", "{report:?}");
        link.stop().await;
    });
}

pub fn processes(directory: &Path) {
    let mut outside = Command::new("sleep").arg("60").arg0("sleep").spawn().expect("start");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let (own, daemon) = (outside.id(), std::process::id());
        let attempt = format!(
            "kill -9 {own} {daemon}; kill -9 1; kill -STOP 1; ls /proc/{own} /proc/{daemon}/fd /proc/1/fd/3 /proc/1/map_files; \
             cat /proc/1/environ; echo count $(ls -d /proc/[0-9]* | wc -l); cat /proc/1/root/etc/hostname > /dev/null; echo over"
        );
        let report = link.report_of(&line(&host, "call", &attempt)).await;
        let output = stdout(&report);
        assert!(output.ends_with("over\n"), "{report:?}");
        // Init, bash, its subshell and the pipe's two: no process of the machine.
        let mut counts = output.lines().filter_map(|line| line.strip_prefix("count "));
        let count: u32 = counts.next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{output}"));
        assert!(count <= 5, "{output}");
        let refused = told(&report)["stderr"].as_str().expect("text").lines().count();
        assert!(refused >= 6, "{report:?}");
        let outsiders = [own, daemon, 1].map(|pid| format!("signal process {pid}"));
        assert_attempted(&report, outsiders.iter().map(String::as_str));
        // Those to its own are nobody's business.
        let report = link.report_of(&line(&host, "own", "sleep 60 & kill $!; wait $!; kill -0 1; echo $?")).await;
        assert_eq!(attempted(&report), BTreeMap::new(), "{report:?}");
        link.stop().await;
    });
    assert!(outside.try_wait().expect("wait").is_none(), "an outside process was killed");
    outside.kill().and_then(|()| outside.wait()).expect("end");
}
