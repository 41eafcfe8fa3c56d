//! What a command gives up before it runs: namespaces, capabilities, system calls, limits.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::Path;

use landlock::{AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

use super::filter::{Rules, Test};
use super::{Failure, Identity, Limits};

/// Capabilities that root's ordinary file work needs; it all happens in the private layer.
const KEPT: [u32; 8] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL, within the pid namespace
    6,  // SETGID
    7,  // SETUID
    10, // NET_BIND_SERVICE, within the network namespace
];
const LAST_CAPABILITY: u32 = 63;

/// What becomes of a refused call that nobody is told of.
pub(super) const SILENTLY: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();

/// System calls that reach beyond namespaces and layer, or make new ones. Refused with EPERM.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_umount2,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
];

/// Newer calls, which the C library does not know all of: `quotactl_fd`, `open_tree_attr`, `file_setattr`.
const REFUSED_NEWER: [libc::c_long; 3] = [443, 467, 469];

/// Requests that change what no difference shows and no commit carries: flags and projects of files, numbers of
/// their generations, encryption and verity, and what btrfs makes and marks without a file being changed (linux/fs.h,
/// linux/fscrypt.h, linux/btrfs.h; numbers are the same on all architectures where this runs).
pub(crate) const REQUESTS: [(u32, &str); 14] = [
    (libc::TIOCSTI as u32, "TIOCSTI"),
    (0x4008_6602, "FS_IOC_SETFLAGS"),
    (0x4004_6602, "FS_IOC_SETFLAGS"),
    (0x401c_5820, "FS_IOC_FSSETXATTR"),
    (0x4008_7602, "FS_IOC_SETVERSION"),
    (0x4004_7602, "FS_IOC_SETVERSION"),
    (0x4008_6604, "EXT4_IOC_SETVERSION"),
    (0x800c_6613, "FS_IOC_SET_ENCRYPTION_POLICY"),
    (0x4080_6685, "FS_IOC_ENABLE_VERITY"),
    (0x5000_9401, "BTRFS_IOC_SNAP_CREATE"),
    (0x5000_9417, "BTRFS_IOC_SNAP_CREATE"),
    (0x5000_940e, "BTRFS_IOC_SUBVOL_CREATE"),
    (0x5000_9418, "BTRFS_IOC_SUBVOL_CREATE"),
    (0x4008_941a, "BTRFS_IOC_SUBVOL_SETFLAGS"),
];

/// With none a core still goes to the machine's own program, where `core_pattern` names one; with this it goes to
/// nobody (core(5), fs/coredump.c). So it stays, and who would lower it is told that this was done.
const NO_CORE: u64 = 1;
const DONE: u32 = libc::SECCOMP_RET_ERRNO;

/// Which sockets a command may make; never raw ones of the internet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sockets {
    /// Those of the internet, netlink and unix ones.
    #[default]
    Usual,
    /// Without unix ones, as they would lead outside.
    NoUnix,
    /// Only those whose every contact is checked.
    Internet,
}

impl Sockets {
    pub(super) fn of(no_unix: bool, is_trapped: bool) -> Self {
        match (is_trapped, no_unix) {
            (true, _) => Self::Internet,
            (false, true) => Self::NoUnix,
            (false, false) => Self::Usual,
        }
    }

    fn families(self) -> &'static [libc::c_int] {
        match self {
            Self::Usual => &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_UNIX],
            Self::NoUnix => &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
            Self::Internet => &[libc::AF_INET, libc::AF_INET6],
        }
    }
}

/// Options that send what goes to a checked address another way: source routes, routing and other
/// extension headers, protocols that take a connection over, and another interface. Or that make a member
/// of a group of a socket of the machine's: what is sent to it comes from nobody who was named. Level and
/// name, which the C library does not know all of (linux/in.h, linux/in6.h, linux/tcp.h).
const DETOURS: [(libc::c_int, libc::c_int); 23] = [
    (libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
    (libc::SOL_SOCKET, libc::SO_DONTROUTE),
    (libc::SOL_SOCKET, 62), // SO_BINDTOIFINDEX
    (libc::IPPROTO_IP, libc::IP_MULTICAST_IF),
    (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP),
    (libc::IPPROTO_IP, libc::IP_ADD_SOURCE_MEMBERSHIP),
    (libc::IPPROTO_IP, 42), // MCAST_JOIN_GROUP
    (libc::IPPROTO_IP, 46), // MCAST_JOIN_SOURCE_GROUP
    (libc::IPPROTO_IP, 50), // IP_UNICAST_IF
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF),
    (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP),
    (libc::IPPROTO_IPV6, 27), // IPV6_JOIN_ANYCAST
    (libc::IPPROTO_IPV6, 42), // MCAST_JOIN_GROUP
    (libc::IPPROTO_IPV6, 46), // MCAST_JOIN_SOURCE_GROUP
    (libc::IPPROTO_IPV6, 76), // IPV6_UNICAST_IF
    (libc::IPPROTO_IP, libc::IP_OPTIONS),
    (libc::IPPROTO_IPV6, 5), // IPV6_2292RTHDR
    (libc::IPPROTO_IPV6, 6), // IPV6_2292PKTOPTIONS
    (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_RTHDRDSTOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_RTHDR),
    (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS),
    (libc::IPPROTO_TCP, 31), // TCP_ULP
];

/// Own mount, pid, network, ipc, host name and control group namespaces, for an ordinary user within a
/// user namespace. The pid namespace is its children's.
pub(super) fn isolate(identity: Option<Identity>) -> Result<(), Failure> {
    if let Some(identity) = identity {
        // SAFETY: unshare with flags only.
        check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, "make a user namespace")?;
        map(identity)?;
    }
    let others = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | others;
    // SAFETY: unshare with flags only.
    check(unsafe { libc::unshare(flags) }, "make namespaces")?;
    raise_loopback()
}

/// In the new network namespace, whose loopback leads to the command's own servers and to nobody else: there is
/// no other interface, and the machine's loopback is another one (netdevice(7)).
pub(super) fn raise_loopback() -> Result<(), Failure> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .map_err(|error| Failure::new("raise the loopback", error))?;
    // SAFETY: all zeros are a whole request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: a whole request that lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }, "raise the loopback")
}

/// The user stays who it is; everybody else appears as nobody (user_namespaces(7)).
fn map(identity: Identity) -> Result<(), Failure> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(|error| Failure::new(format!("write {path}"), error))
    };
    let Identity { uid, gid } = identity;
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}

/// Zero if the kernel has none.
pub(super) fn landlock_version() -> libc::c_long {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes nothing and makes nothing.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0, VERSION) }.max(0)
}

/// Opens for writing only what lies in these directories or in `/dev`: a read-only mount keeps nobody
/// from writing into a fifo. Links and renames are left to the mounts.
pub(super) fn write_within<'a>(directories: impl Iterator<Item = &'a Path>) -> Result<(), Failure> {
    let failed = |error: landlock::RulesetError| Failure::new("keep writes within the layers", error);
    let handled = Ruleset::default().handle_access(AccessFs::WriteFile | AccessFs::Refer).map_err(failed)?;
    let mut rules = handled.create().map_err(failed)?;
    for directory in directories.chain([Path::new("/dev")]) {
        let place = match PathFd::new(directory) {
            Ok(place) => place,
            // Removed outside since it was covered, and its layer with it: there is nothing to write into.
            Err(_) if directory.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) => continue,
            Err(error) => return Err(Failure::new(directory.display(), error)),
        };
        rules = rules.add_rule(PathBeneath::new(place, AccessFs::WriteFile)).map_err(failed)?;
    }
    let root = PathFd::new("/").map_err(|error| Failure::new("/", error))?;
    rules = rules.add_rule(PathBeneath::new(root, AccessFs::Refer)).map_err(failed)?;
    rules.restrict_self().map_err(failed).map(drop)
}

/// What each process may use.
pub(super) fn limit_all(limits: &Limits) -> Result<(), Failure> {
    limit(libc::RLIMIT_CORE, NO_CORE, 0)?;
    limit(libc::RLIMIT_NOFILE, 4_096, 4_096)?;
    // The first second over is told by a signal, the next one kills.
    let bounds = [
        (libc::RLIMIT_CPU, limits.cpu_s, 1),
        (libc::RLIMIT_DATA, limits.memory_bytes, 0),
        (libc::RLIMIT_NPROC, limits.processes, 0),
        (libc::RLIMIT_FSIZE, limits.file_bytes, 0),
    ];
    bounds
        .into_iter()
        .filter(|(_, most, _)| *most > 0)
        .try_for_each(|(resource, most, more)| limit(resource, most, more))
}

/// In the command, before its job is known: gives up what the view can be made without. What it may not call
/// depends on who is asked, so all but one of that is in the last filter (`sandbox/trap.rs`).
pub(super) fn give_up_early(is_user: bool) -> Result<(), Failure> {
    let kept = kept(is_user);
    for capability in (0..=LAST_CAPABILITY).filter(|capability| kept & (1 << capability) == 0) {
        // Numbers that this kernel does not know are refused, which is as good. What the process has it
        // keeps until it is dropped, or `exec`.
        // SAFETY: prctl with integer arguments.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: prctl with integer arguments.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, "refuse new privileges")?;
    apply(&no_clone3()?)
}

/// In the command, when its view is made: all but the system calls, which go last.
pub(super) fn give_up_last(is_user: bool) -> Result<(), Failure> {
    drop_capabilities(kept(is_user))
}

fn kept(is_user: bool) -> u64 {
    let kept: &[u32] = if is_user { &[] } else { &KEPT };
    kept.iter().fold(0, |set, capability| set | 1 << capability)
}

pub(super) fn apply(program: &[sock_filter]) -> Result<(), Failure> {
    seccompiler::apply_filter(program).map_err(|error| Failure::new("filter system calls", error))
}

fn limit(resource: libc::__rlimit_resource_t, most: u64, more: u64) -> Result<(), Failure> {
    // What the daemon itself may not exceed, nobody can raise without a capability.
    // SAFETY: a whole rlimit that lives until the call returns.
    let own = unsafe {
        let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(resource, &raw mut own);
        own.rlim_max
    };
    let limit = libc::rlimit { rlim_cur: most.min(own), rlim_max: most.saturating_add(more).min(own) };
    // SAFETY: a whole rlimit that lives until the call returns.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }, "set limits")
}

/// capset(2) by hand: the header and two words of each set.
fn drop_capabilities(kept: u64) -> Result<(), Failure> {
    const VERSION_3: u32 = 0x2008_0522;
    #[allow(clippy::cast_possible_truncation)]
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let header: [u32; 2] = [VERSION_3, 0];
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: header and data have the layout of version 3 and live until the call returns.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    check(set as libc::c_int, "drop capabilities")
}

/// The flags of clone3 lie in memory that no filter sees; without it glibc falls back to clone. Nobody means
/// harm by it, so it is not even told.
fn no_clone3() -> Result<BpfProgram, Failure> {
    let failed = |error: seccompiler::BackendError| Failure::new("build the filter", error);
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let unseen = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let action = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(unseen, SeccompAction::Allow, action, arch).and_then(BpfProgram::try_from).map_err(failed)
}

/// Adds what a command may not call to the rules of a filter; `refuse` is what becomes of it.
pub(super) fn refuse(rules: &mut Rules, sockets: Sockets, refuse: u32) {
    REFUSED.iter().chain(&REFUSED_NEWER).for_each(|call| rules.add(*call, [], refuse));
    rules.add(libc::SYS_clone, [Test::has(0, word(libc::CLONE_NEWUSER), word(libc::CLONE_NEWUSER))], refuse);
    REQUESTS.iter().for_each(|(request, _)| rules.add(libc::SYS_ioctl, [Test::is(1, *request)], refuse));
    rules.add(libc::SYS_setpriority, [Test::is_negative(2)], refuse);
    let (core, given) = (Test::is(1, libc::RLIMIT_CORE), Test::is_not(2, 0));
    rules.add(libc::SYS_prlimit64, [core, given], DONE);
    rules.add(libc::SYS_prlimit64, [core, given.upper()], DONE);
    rules.add(libc::SYS_setrlimit, [Test::is(0, libc::RLIMIT_CORE)], DONE);
    refuse_devices(rules, libc::SYS_mknodat, 2, refuse);
    #[cfg(target_arch = "x86_64")]
    {
        refuse_devices(rules, libc::SYS_mknod, 1, refuse);
        rules.add(libc::SYS_iopl, [], refuse);
        rules.add(libc::SYS_ioperm, [], refuse);
    }
    // The C library looks for a cache of users with each look-up of one, and for the machine's addresses with
    // each of a host: nobody means anything by it.
    let looking = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let usual =
        [(libc::AF_UNIX, Test::is(1, word(looking))), (libc::AF_NETLINK, Test::is(2, word(libc::NETLINK_ROUTE)))];
    for (family, test) in usual.into_iter().filter(|(family, _)| !sockets.families().contains(family)) {
        rules.add(libc::SYS_socket, [Test::is(0, word(family)), test], SILENTLY);
    }
    // Those of other families, and the internet's raw ones, which see what is not theirs.
    let others: Vec<_> = sockets.families().iter().map(|family| Test::is_not(0, word(*family))).collect();
    rules.add(libc::SYS_socket, others, refuse);
    for family in [libc::AF_INET, libc::AF_INET6] {
        let raw = Test::has(1, 0xf, word(libc::SOCK_RAW));
        rules.add(libc::SYS_socket, [Test::is(0, word(family)), raw], refuse);
    }
    if sockets == Sockets::Internet {
        for (level, name) in DETOURS {
            rules.add(libc::SYS_setsockopt, [Test::is(1, word(level)), Test::is(2, word(name))], refuse);
        }
    }
}

/// Nodes of devices, but for the one that stands for what an overlay removed.
fn refuse_devices(rules: &mut Rules, call: libc::c_long, mode: u32, refuse: u32) {
    rules.add(call, [Test::has(mode, libc::S_IFMT, libc::S_IFBLK)], refuse);
    rules.add(call, [Test::has(mode, libc::S_IFMT, libc::S_IFCHR), Test::is_not(mode + 1, 0)], refuse);
}

/// The lower half of an argument, which is all that the kernel takes of an int.
fn word(value: libc::c_int) -> u32 {
    value.cast_unsigned()
}

pub(super) fn check(result: libc::c_int, what: &str) -> Result<(), Failure> {
    if result == 0 { Ok(()) } else { Err(Failure::new(what, std::io::Error::last_os_error())) }
}
