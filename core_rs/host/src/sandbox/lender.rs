//! The process whose memory the command uses until it becomes its program, as after vfork(2).
//!
//! A forked process has an address space of its own, the daemon's over again, and `exec` takes that down while
//! everybody waits for the program. One that is lent goes with the lender, which ends as soon as the program runs.

use std::ffi::c_void;

use crate::spawner::leave;

/// As much as a thread has.
const STACK_BYTES: usize = 2 << 20;
/// Nothing may touch what lies beneath the stack; at least a page of any machine.
const GUARD_BYTES: usize = 64 << 10;

/// Starts what shall be the command, a child of this process's parent that shares its directories, and waits
/// until that runs its program or is gone. Never returns.
pub(super) fn lend<F: FnOnce()>(command: F) -> ! {
    let mut command = Some(command);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FS | libc::CLONE_PARENT | libc::SIGCHLD;
    if let Some(top) = stack() {
        let argument = (&raw mut command).cast();
        // SAFETY: a stack of its own; this process, which has a single thread, does nothing and keeps what the
        // other uses until that has other memory (clone(2), CLONE_VFORK).
        unsafe { libc::clone(begin::<F>, top, flags, argument) };
    }
    leave(0)
}

extern "C" fn begin<F: FnOnce()>(command: *mut c_void) -> libc::c_int {
    // SAFETY: what `lend` gave, which waits and does not touch it any more.
    if let Some(command) = unsafe { (*command.cast::<Option<F>>()).take() } {
        command();
    }
    leave(127)
}

/// The upper end of a new one; none if there is no memory.
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
