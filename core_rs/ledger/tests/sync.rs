//! Nothing is acknowledged before the disk said that it has it: a disk that cannot say so.

use std::process::Command;

use cmdop_ledger::Error;
use cmdop_ledger::log::Log;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

const MARK: &str = "CMDOP_TEST_WITHOUT_SYNC";

/// From now on this call fails in this process, as on a disk that is going bad.
fn fail(call: libc::c_long) {
    let arch = std::env::consts::ARCH.try_into().expect("an architecture with filters");
    let rules = [(call, Vec::new())].into();
    let eio = SeccompAction::Errno(libc::EIO.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, eio, arch).expect("a filter");
    let program = BpfProgram::try_from(filter).expect("a program");
    seccompiler::apply_filter(&program).expect("applies");
}

/// In a process of its own? If not, runs this test in one.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("this program");
    let done = Command::new(program).args(["--exact", test]).env(MARK, "1").output().expect("starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    false
}

#[test]
fn nothing_is_acknowledged_that_the_disk_did_not_confirm() {
    if !is_alone("nothing_is_acknowledged_that_the_disk_did_not_confirm") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // Before the log's thread is there: it inherits the filter.
    fail(libc::SYS_fdatasync);
    let (log, _) = Log::open(dir.path(), |_, _| Ok(())).expect("opens");
    for _ in 0..2 {
        let refused = runtime.block_on(log.append(vec![b"result".to_vec()]));
        assert!(matches!(refused, Err(Error::Poisoned(_))), "{refused:?}");
        assert_eq!(log.durable(), 0);
    }
}

#[test]
fn no_ledger_is_opened_under_a_name_that_a_loss_of_power_takes_back() {
    if !is_alone("no_ledger_is_opened_under_a_name_that_a_loss_of_power_takes_back") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fail(libc::SYS_fsync);
    let refused = Log::open(dir.path(), |_, _| Ok(())).map(drop).expect_err("its name is not durable");
    assert!(refused.to_string().contains("acknowledged"), "{refused}");
}
