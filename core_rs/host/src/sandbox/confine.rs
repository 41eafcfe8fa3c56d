//! What a command gives up before it runs: namespaces, capabilities, system calls, limits.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use landlock::{AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

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

/// System calls by which the view is made, so that they are refused last of all.
const REFUSED_LAST: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_chroot,
    libc::SYS_unshare,
];

/// All others that reach beyond namespaces and layer, or make new ones. Refused with EPERM.
const REFUSED: &[libc::c_long] = &[
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
/// extension headers, and protocols that take a connection over. Level and name, which the C library
/// does not know all of (linux/in6.h, linux/tcp.h).
const DETOURS: [(libc::c_int, libc::c_int); 8] = [
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
    check(unsafe { libc::unshare(flags) }, "make namespaces")
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
    limit(libc::RLIMIT_CORE, 0, 0)?;
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

/// In the command, before its job is known: gives up what the view can be made without. What takes the
/// kernel long is here: it tries a filter on every system call.
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
    filters(Sockets::of(is_user, false))?.iter().try_for_each(apply)
}

/// In the command, when its view is made: the rest. Filters add up, so each further one only refuses more.
pub(super) fn give_up_last(is_user: bool, sockets: Sockets) -> Result<(), Failure> {
    drop_capabilities(kept(is_user))?;
    let narrower = (sockets != Sockets::of(is_user, false)).then_some(sockets);
    apply(&last_filter(narrower)?)
}

fn kept(is_user: bool) -> u64 {
    let kept: &[u32] = if is_user { &[] } else { &KEPT };
    kept.iter().fold(0, |set, capability| set | 1 << capability)
}

fn apply(program: &BpfProgram) -> Result<(), Failure> {
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

/// The programs that refuse system calls: all but the last.
fn filters(allowed: Sockets) -> Result<Vec<BpfProgram>, Failure> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    refused.insert(libc::SYS_clone, vec![flag(0, libc::CLONE_NEWUSER).map_err(failed)?]);
    refused.extend(socket_rules(allowed)?);
    // The flags of clone3 lie in memory that no filter sees; without it glibc falls back to clone.
    let unseen = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![program(refused, libc::EPERM)?, program(unseen, libc::ENOSYS)?, no_x32()])
}

fn last_filter(narrower: Option<Sockets>) -> Result<BpfProgram, Failure> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED_LAST.iter().map(|call| (*call, Vec::new())).collect();
    if let Some(allowed) = narrower {
        refused.extend(socket_rules(allowed)?);
    }
    program(refused, libc::EPERM)
}

fn program(refused: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram, Failure> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let action = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(refused, SeccompAction::Allow, action, arch).and_then(BpfProgram::try_from).map_err(failed)
}

fn failed(error: seccompiler::BackendError) -> Failure {
    Failure::new("build the filter", error)
}

fn socket_rules(allowed: Sockets) -> Result<Vec<(i64, Vec<SeccompRule>)>, Failure> {
    let mut rules = vec![(libc::SYS_socket, sockets(allowed).map_err(failed)?)];
    if allowed == Sockets::Internet {
        rules.push((libc::SYS_setsockopt, detours().map_err(failed)?));
    }
    Ok(rules)
}

/// Sockets that are refused: those of other families, and the internet's raw ones, which see what is
/// not theirs.
fn sockets(allowed: Sockets) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let others = allowed.families().iter().map(|family| word(0, SeccompCmpOp::Ne, *family));
    let others = others.collect::<Result<_, _>>()?;
    let mut rules = vec![SeccompRule::new(others)?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let raw = word(1, SeccompCmpOp::MaskedEq(0xf), libc::SOCK_RAW)?;
        rules.push(SeccompRule::new(vec![word(0, SeccompCmpOp::Eq, family)?, raw])?);
    }
    Ok(rules)
}

fn detours() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |(level, name): (libc::c_int, libc::c_int)| {
        SeccompRule::new(vec![word(1, SeccompCmpOp::Eq, level)?, word(2, SeccompCmpOp::Eq, name)?])
    };
    DETOURS.into_iter().map(rule).collect()
}

/// A condition on the lower half of an argument, which is all that the kernel takes of an int.
fn word(
    argument: u8,
    operator: SeccompCmpOp,
    value: libc::c_int,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.unsigned_abs().into())
}

/// Refuses the calls of the x32 interface (seccomp(2)): it has the architecture of x86-64 but other
/// numbers, which no filter by number would match.
fn no_x32() -> BpfProgram {
    const X32_BIT: u32 = 0x4000_0000;
    let statement =
        |code: u32, jump_true, jump_false, k| sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k };
    vec![
        // The number lies at the beginning of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_BIT),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn flag(argument: u8, flag: libc::c_int) -> Result<SeccompRule, seccompiler::BackendError> {
    let flag = u64::from(flag.unsigned_abs());
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(flag),
        flag,
    )?])
}

pub(super) fn check(result: libc::c_int, what: &str) -> Result<(), Failure> {
    if result == 0 { Ok(()) } else { Err(Failure::new(what, std::io::Error::last_os_error())) }
}
