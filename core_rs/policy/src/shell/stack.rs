//! A known stack for parsers and walks that recurse, whatever thread asks.
//!
//! A stack overflow would abort the process. Here lies room that the guards' nesting limits can never
//! fill; what panics nevertheless ends the analysis, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Nesting of 10 needs less than 2 MiB in a debug build, and far less in a release.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Stack for threads that analyse much. Where that room is missing each analysis is given it anew, which takes longer than
/// all the rest of a usual one.
pub const THREAD_STACK_BYTES: usize = STACK_BYTES + 2 * 1024 * 1024;

/// Runs `work` with at least [`STACK_BYTES`] of stack; `None` if it panicked.
pub(super) fn with_room<T>(work: impl FnOnce() -> T) -> Option<T> {
    stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || catch_unwind(AssertUnwindSafe(work))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills about `kib` KiB of stack.
    fn deep(kib: usize) -> usize {
        let filled = std::hint::black_box([1u8; 1024]);
        if kib == 0 { 0 } else { deep(kib - 1) + usize::from(filled[kib % 1024]) }
    }

    #[test]
    fn a_panic_ends_the_work_and_nothing_else() {
        assert_eq!(with_room(|| -> u8 { panic!("on purpose") }), None);
        assert_eq!(with_room(|| 7), Some(7));
    }

    /// How far from one another what runs inside and what runs outside have their places, on a thread of that stack.
    fn apart(stack: usize) -> usize {
        #[inline(never)]
        fn place() -> usize {
            let local = 0_u8;
            std::ptr::from_ref(std::hint::black_box(&local)).addr()
        }
        let thread = std::thread::Builder::new().stack_size(stack);
        let thread = thread.spawn(|| with_room(place).map(|within| within.abs_diff(place())));
        thread.expect("a thread").join().expect("it ends").expect("no panic")
    }

    #[test]
    fn a_thread_with_such_a_stack_is_given_no_other() {
        assert!(apart(THREAD_STACK_BYTES) < 64 * 1024);
        assert!(apart(256 * 1024) > 64 * 1024);
    }

    #[test]
    fn there_is_room_on_a_thread_that_has_little() {
        let thread = std::thread::Builder::new().stack_size(256 * 1024);
        let deepest = thread.spawn(|| with_room(|| deep(4 * 1024))).expect("a thread").join();
        assert_eq!(deepest.expect("no overflow"), Some(4 * 1024));
    }
}
