//! Init lends its memory to the command until that becomes its program, as after vfork(2).
//!
//! A forked process has an address space of its own, the daemon's over again, and whoever takes that down, `exec`
//! or the end of a process, has everybody wait. Init's memory is there when all is told.

use std::ffi::c_void;
use std::io;

use crate::spawner::leave;

/// As much as a thread has.
const STACK_BYTES: usize = 2 << 20;
/// Nothing may touch what lies beneath the stack; at least a page of any machine.
const GUARD_BYTES: usize = 64 << 10;

/// Starts what shall be the command, a child that shares this process's directories, and waits until that runs its
/// program or is gone. It has descriptors of its own, but what it drops of this process's values is gone for both:
/// so it can only borrow any, and never returns.
pub(super) fn lend<F: Fn()>(command: &F) -> io::Result<libc::pid_t> {
    let top = stack().ok_or_else(io::Error::last_os_error)?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FS | libc::SIGCHLD;
    let argument = std::ptr::from_ref(command).cast_mut().cast();
    // SAFETY: a stack of its own; this process, which has a single thread, does nothing and keeps what the
    // other uses until that has other memory (clone(2), CLONE_VFORK).
    match unsafe { libc::clone(begin::<F>, top, flags, argument) } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

extern "C" fn begin<F: Fn()>(command: *mut c_void) -> libc::c_int {
    // SAFETY: what `lend` was given, which waits and has it borrowed.
    unsafe { (*command.cast::<F>())() };
    leave(127)
}

/// The upper end of a new one; none if there is no memory. It stays until the process ends.
fn stack() -> Option<*mut c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
    // SAFETY: a new mapping, of which all but the guard is made accessible.
    unsafe {
        let all = GUARD_BYTES + STACK_BYTES;
        let lowest = libc::mmap(std::ptr::null_mut(), all, libc::PROT_NONE, flags, -1, 0);
        if lowest == libc::MAP_FAILED {
            return None;
        }
        let bottom = lowest.byte_add(GUARD_BYTES);
        let done = libc::mprotect(bottom, STACK_BYTES, libc::PROT_READ | libc::PROT_WRITE);
        (done == 0).then(|| lowest.byte_add(all))
    }
}
