//! What a command gives up before it runs: namespaces, capabilities, system calls, limits.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::Failure;

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

/// System calls that reach beyond namespaces and layer, or make new ones. Refused with EPERM.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
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

/// Own pid, network, ipc and host name namespaces. The pid namespace is its children's.
pub(super) fn isolate() -> Result<(), Failure> {
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    // SAFETY: unshare with flags only.
    check(unsafe { libc::unshare(flags) }, "make namespaces")
}

/// Own mounts, which begin as those of the machine now.
pub(super) fn unshare_mounts() -> Result<(), Failure> {
    // SAFETY: unshare with flags only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }, "make a mount namespace")
}

/// Limits, capabilities, no new privileges and the filter, in the order in which each still may.
pub(super) fn give_up_privileges(filters: &[BpfProgram]) -> Result<(), Failure> {
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_NOFILE, 4_096)?;
    limit(libc::RLIMIT_FSIZE, 16 << 30)?;
    drop_capabilities()?;
    // SAFETY: prctl with integer arguments.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, "refuse new privileges")?;
    for program in filters {
        seccompiler::apply_filter(program).map_err(|error| Failure::new("filter system calls", error))?;
    }
    Ok(())
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) -> Result<(), Failure> {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a whole rlimit that lives until the call returns.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }, "set limits")
}

/// capset(2) by hand: the header and two words of each set.
fn drop_capabilities() -> Result<(), Failure> {
    const VERSION_3: u32 = 0x2008_0522;
    let kept = KEPT.iter().fold(0_u64, |set, capability| set | 1 << capability);
    for capability in (0..=LAST_CAPABILITY).filter(|capability| kept & (1 << capability) == 0) {
        // Numbers that this kernel does not know are refused, which is as good.
        // SAFETY: prctl with integer arguments.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    #[allow(clippy::cast_possible_truncation)]
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let header: [u32; 2] = [VERSION_3, 0];
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: header and data have the layout of version 3 and live until the call returns.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    check(set as libc::c_int, "drop capabilities")
}

/// The programs that refuse system calls.
pub(super) fn filters() -> Result<Vec<BpfProgram>, Failure> {
    let failed = |error: seccompiler::BackendError| Failure::new("build the filter", error);
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    refused.insert(libc::SYS_clone, vec![flag(0, libc::CLONE_NEWUSER).map_err(failed)?]);
    // Raw and packet sockets see what is not theirs; netlink and others stay for ordinary programs.
    let raw = |kind: libc::c_int| {
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf), kind.unsigned_abs().into())
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let family = |family: libc::c_int| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family.unsigned_abs().into())
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let sockets = [raw(libc::SOCK_RAW), family(libc::AF_PACKET), family(libc::AF_VSOCK)];
    refused.insert(libc::SYS_socket, sockets.into_iter().collect::<Result<_, _>>().map_err(failed)?);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    // The flags of clone3 lie in memory that no filter sees; without it glibc falls back to clone.
    let unseen = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    [(refused, denied), (unseen, absent)]
        .into_iter()
        .map(|(rules, action)| {
            SeccompFilter::new(rules, SeccompAction::Allow, action, arch).and_then(BpfProgram::try_from).map_err(failed)
        })
        .collect()
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
