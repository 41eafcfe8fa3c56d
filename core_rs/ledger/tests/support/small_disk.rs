//! A small file system of a test's own, in a mount namespace of its own, for root and for a user.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::mount::{MountFlags, mount};

const MARK: &str = "CMDOP_TEST_ON_SMALL_DISK";

/// Runs a test's body with a file system of so many MiB, in a process of its own that starts only
/// this test.
pub fn on_small_disk(test: &str, mebibytes: u32, body: impl FnOnce(&SmallDisk)) {
    if std::env::var(MARK).as_deref() == Ok(test) {
        return body(&SmallDisk::new(mebibytes));
    }
    let program = std::env::current_exe().expect("this program");
    let done = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(MARK, test)
        .output()
        .expect("unshare starts");
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success() && said[0].contains("1 passed"), "{}{}", said[0], said[1]);
}

/// A file system that can be filled.
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(mebibytes: u32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let size = std::ffi::CString::new(format!("size={mebibytes}m")).expect("no NUL");
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), &*size).expect("a small file system");
        Self { dir }
    }

    /// Where the test may put what is to run out of space.
    pub fn place(&self) -> PathBuf {
        let place = self.dir.path().join("place");
        std::fs::create_dir_all(&place).expect("a directory");
        place
    }

    /// Takes every block that is left.
    pub fn fill(&self) {
        let filler = File::options().append(true).create(true).open(self.filler()).expect("a file");
        let mut at = filler.metadata().expect("its length").len();
        let mut size = 16 << 20;
        while size >= 4_096 {
            match fallocate(&filler, FallocateFlags::empty(), at, size) {
                Ok(()) => at += size,
                Err(_) => size /= 2,
            }
        }
    }

    /// Frees what was taken.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("freed");
    }

    fn filler(&self) -> PathBuf {
        self.dir.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The name would be busy else; the namespace ends with the process.
        let _ = rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH);
    }
}
