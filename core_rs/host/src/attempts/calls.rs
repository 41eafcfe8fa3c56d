//! System calls that lead out of a command's view: what they are called, and at whom they are aimed.

use std::io::ErrorKind;

use crate::notify::Trapped;
use crate::sandbox::REQUESTS;

/// At what a call is aimed.
pub(super) enum Aim {
    /// A process, by its number in the command's namespace.
    Process(libc::pid_t),
    /// A socket's other side.
    Address,
    /// What no command may have.
    Beyond,
}

/// Namespaces as a flag each (namespaces(7)).
const NAMESPACES: [(libc::c_int, &str); 8] = [
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWNS, "mount"),
    (libc::CLONE_NEWPID, "pid"),
    (libc::CLONE_NEWNET, "network"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWUTS, "host name"),
    (libc::CLONE_NEWCGROUP, "control group"),
    (0x80, "time"), // CLONE_NEWTIME
];

/// What a filter refuses by its number alone, and nothing else need be said of it.
const NAMES: &[(libc::c_long, &str)] = &[
    (libc::SYS_mount, "mount"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_open_tree, "open_tree"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_chroot, "chroot"),
    (libc::SYS_umount2, "umount"),
    (libc::SYS_fsopen, "fsopen"),
    (libc::SYS_fsconfig, "fsconfig"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_fspick, "fspick"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_setns, "setns"),
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_process_vm_readv, "process_vm_readv"),
    (libc::SYS_process_vm_writev, "process_vm_writev"),
    (libc::SYS_keyctl, "keyctl"),
    (libc::SYS_add_key, "add_key"),
    (libc::SYS_request_key, "request_key"),
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_perf_event_open, "perf_event_open"),
    (libc::SYS_userfaultfd, "userfaultfd"),
    (libc::SYS_io_uring_setup, "io_uring_setup"),
    (libc::SYS_io_uring_enter, "io_uring_enter"),
    (libc::SYS_io_uring_register, "io_uring_register"),
    (libc::SYS_open_by_handle_at, "open_by_handle_at"),
    (libc::SYS_name_to_handle_at, "name_to_handle_at"),
    (libc::SYS_kexec_load, "kexec_load"),
    (libc::SYS_kexec_file_load, "kexec_file_load"),
    (libc::SYS_init_module, "init_module"),
    (libc::SYS_finit_module, "finit_module"),
    (libc::SYS_delete_module, "delete_module"),
    (libc::SYS_swapon, "swapon"),
    (libc::SYS_swapoff, "swapoff"),
    (libc::SYS_reboot, "reboot"),
    (libc::SYS_settimeofday, "settimeofday"),
    (libc::SYS_clock_settime, "clock_settime"),
    (libc::SYS_clock_adjtime, "clock_adjtime"),
    (libc::SYS_adjtimex, "adjtimex"),
    (libc::SYS_sethostname, "sethostname"),
    (libc::SYS_setdomainname, "setdomainname"),
    (libc::SYS_acct, "acct"),
    (libc::SYS_quotactl, "quotactl"),
    (libc::SYS_syslog, "syslog"),
    (libc::SYS_fanotify_init, "fanotify_init"),
    (libc::SYS_lookup_dcookie, "lookup_dcookie"),
    (libc::SYS_vhangup, "vhangup"),
    (libc::SYS_clone, "clone user namespace"),
    (443, "quotactl_fd"),
    (467, "open_tree_attr"),
    (469, "file_setattr"),
    (libc::SYS_setpriority, "setpriority"),
    (libc::SYS_mknodat, "mknod of a device"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, "mknod of a device"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_iopl, "iopl"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_ioperm, "ioperm"),
];

const FAMILIES: [(libc::c_int, &str); 8] = [
    (libc::AF_UNIX, "unix"),
    (libc::AF_NETLINK, "netlink"),
    (libc::AF_PACKET, "packet"),
    (libc::AF_VSOCK, "vsock"),
    (libc::AF_ALG, "alg"),
    (libc::AF_BLUETOOTH, "bluetooth"),
    (libc::AF_CAN, "can"),
    (libc::AF_XDP, "xdp"),
];

pub(super) fn aim(call: &Trapped) -> Aim {
    match call.number {
        libc::SYS_kill
        | libc::SYS_tkill
        | libc::SYS_tgkill
        | libc::SYS_rt_sigqueueinfo
        | libc::SYS_rt_tgsigqueueinfo
        | libc::SYS_pidfd_open => Aim::Process(call.arguments[0] as libc::pid_t),
        libc::SYS_connect | libc::SYS_sendto => Aim::Address,
        _ => Aim::Beyond,
    }
}

/// A refused call, as people know it.
pub(super) fn name(call: &Trapped) -> String {
    let [first, second, third, ..] = call.arguments;
    match call.number {
        libc::SYS_unshare => {
            let flags = first as libc::c_int;
            let own = NAMESPACES.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name);
            match &*own.collect::<Vec<_>>() {
                [] => "unshare".to_owned(),
                own => format!("unshare {} namespace", own.join(" and ")),
            }
        }
        libc::SYS_socket => match (first as libc::c_int, second as libc::c_int & 0xf) {
            (libc::AF_INET | libc::AF_INET6, _) => "socket raw".to_owned(),
            (family, _) => match FAMILIES.iter().find(|(known, _)| *known == family) {
                Some((_, name)) => format!("socket {name}"),
                None => format!("socket of family {family}"),
            },
        },
        libc::SYS_ioctl => match REQUESTS.iter().find(|(known, _)| u64::from(*known) == second & u64::from(u32::MAX)) {
            Some((_, name)) => format!("ioctl {name}"),
            None => format!("ioctl {second:#x}"),
        },
        libc::SYS_setsockopt => format!("setsockopt {} of {}", third as libc::c_int, second as libc::c_int),
        number => match NAMES.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("system call {number:#x}"),
        },
    }
}

/// What a call is aimed at, if that is no process of the command's own: its first process counts as none.
pub(super) fn outside(call: &Trapped, pid: libc::pid_t, init: libc::pid_t) -> Option<String> {
    let is_look = call.number == libc::SYS_pidfd_open;
    let found = || std::fs::symlink_metadata(format!("/proc/{init}/root/proc/{pid}"));
    // The number of a thread, too, leads there.
    let is_own = pid != 1 && !matches!(found(), Err(error) if error.kind() == ErrorKind::NotFound);
    match (is_own, is_look) {
        (true, _) => None,
        (false, true) if pid == 1 => None,
        (false, true) => Some(format!("open process {pid}")),
        (false, false) => Some(format!("signal process {pid}")),
    }
}
