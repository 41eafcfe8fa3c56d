//! Attributes of a file that are changed where it stands: set again and again with the same result.

use std::os::fd::{AsFd, AsRawFd};

use cmdop_contract::v1::FileType;
use prost::Message;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::native::measure::Stamp;

/// The kernel's own limits for a list of names and for a value (xattr(7)).
pub(crate) const MAX_XATTR_BYTES: usize = 64 * 1024;

/// One extended attribute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub(crate) struct Xattr {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    /// Absent if the file shall not have it.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) value: Option<Vec<u8>>,
}

/// What is set; what is absent is left alone.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attributes {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) mode: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) uid: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) gid: Option<u32>,
    #[prost(int64, optional, tag = "4")]
    pub(crate) mtime_s: Option<i64>,
    #[prost(int64, optional, tag = "5")]
    pub(crate) mtime_ns: Option<i64>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) xattrs: Vec<Xattr>,
}

impl Attributes {
    /// Mode, owner and time of the last change as they are.
    pub(crate) fn of(stamp: &Stamp) -> Self {
        let (mtime_s, mtime_ns) = stamp.mtime();
        Self {
            mode: Some(stamp.permissions()),
            uid: Some(stamp.uid),
            gid: Some(stamp.gid),
            mtime_s: Some(mtime_s),
            mtime_ns: Some(mtime_ns),
            xattrs: Vec::new(),
        }
    }

    /// Only the time of the last change.
    pub(crate) fn times_of(stamp: &Stamp) -> Self {
        Self { mode: None, uid: None, gid: None, ..Self::of(stamp) }
    }

    /// Sets them on what is held open with `O_PATH`, link or not. What is so already is left alone: to take back what
    /// was never set must not need the right to set it.
    ///
    /// # Errors
    /// The operating system's refusal; `EPERM` of permission bits that it leaves out.
    pub(crate) fn set(&self, held: impl AsFd) -> Result<(), Errno> {
        let held = held.as_fd();
        let stat = rustix::fs::fstat(held)?;
        let stamp = Stamp::from(&stat);
        let is_link = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink();
        let (uid, gid) = (self.uid.unwrap_or(stamp.uid), self.gid.unwrap_or(stamp.gid));
        if (uid, gid) != (stamp.uid, stamp.gid) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(held, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        // The link in /proc leads to exactly what is held, and no further.
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        // After the owner, whose change clears the set-id bits and capabilities.
        if let Some(mode) = self.mode.filter(|_| !is_link) {
            let now = Stamp::from(&rustix::fs::fstat(held)?).permissions();
            if now != mode {
                rustix::fs::chmod(&*path, Mode::from_raw_mode(mode))?;
                // The set-group-id bit of a group that this process is not in is left out silently (chmod(2)).
                if Stamp::from(&rustix::fs::fstat(held)?).permissions() != mode {
                    rustix::fs::chmod(&*path, Mode::from_raw_mode(now))?;
                    return Err(Errno::PERM);
                }
            }
        }
        for Xattr { name, value } in self.xattrs.iter().filter(|xattr| !is_so(&path, xattr)) {
            match value {
                Some(value) => rustix::fs::setxattr(&*path, &**name, value, XattrFlags::empty())?,
                None => match rustix::fs::removexattr(&*path, &**name) {
                    Err(Errno::NODATA) => {}
                    done => done?,
                },
            }
        }
        if let (Some(tv_sec), Some(tv_nsec)) = (self.mtime_s, self.mtime_ns)
            && (tv_sec, tv_nsec) != stamp.mtime()
        {
            let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
            let times = Timestamps { last_access: omit, last_modification: Timespec { tv_sec, tv_nsec } };
            rustix::fs::utimensat(held, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }

    /// Sets them on something new, which has no extended attribute but these afterwards, whatever it has inherited.
    ///
    /// # Errors
    /// The operating system's refusal; `EOPNOTSUPP` if it has others nevertheless, `EPERM` if its mode is another.
    pub(crate) fn set_all_of_new(&self, made: impl AsFd) -> Result<(), Errno> {
        let made = made.as_fd();
        let mut whole = self.clone();
        whole.xattrs = xattr_changes(&xattrs(made)?, &self.xattrs);
        whole.xattrs.retain(|xattr| xattr.value.is_some() || !is_label(xattr));
        whole.set(made)?;
        let stamp = Stamp::from(&rustix::fs::fstat(made)?);
        // A list that is set may take the set-group-id bit off (posix_acl_update_mode in the kernel).
        let is_moded =
            stamp.file_type() == FileType::Symlink || self.mode.is_none_or(|mode| mode == stamp.permissions());
        if !is_moded {
            return Err(Errno::PERM);
        }
        let unlabelled = |all: &[Xattr]| all.iter().filter(|xattr| !is_label(xattr)).cloned().collect::<Vec<_>>();
        let (mut wanted, found) = (unlabelled(&self.xattrs), unlabelled(&xattrs(made)?));
        wanted.sort();
        if wanted == found { Ok(()) } else { Err(Errno::OPNOTSUPP) }
    }
}

/// Is the attribute as it shall be?
fn is_so(path: &str, xattr: &Xattr) -> bool {
    let mut value = vec![0u8; MAX_XATTR_BYTES];
    match (rustix::fs::getxattr(path, &*xattr.name, &mut value[..]), &xattr.value) {
        (Ok(length), Some(wanted)) => value[..length] == **wanted,
        (Err(Errno::NODATA), None) => true,
        _ => false,
    }
}

/// What the kernel's security modules say of a file themselves, and give to everything that is made.
pub(crate) fn is_label(xattr: &Xattr) -> bool {
    xattr.name.starts_with(b"security.")
}

/// Extended attributes of what is held, sorted.
///
/// # Errors
/// The operating system's refusal.
pub(crate) fn xattrs(held: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let path = format!("/proc/self/fd/{}", held.as_fd().as_raw_fd());
    let mut names = vec![0u8; MAX_XATTR_BYTES];
    let length = match rustix::fs::listxattr(&*path, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let mut found = Vec::new();
    let mut value = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        value.resize(MAX_XATTR_BYTES, 0);
        match rustix::fs::getxattr(&*path, name, &mut value[..]) {
            Err(Errno::NODATA) => {}
            length => found.push(Xattr { name: name.to_vec(), value: Some(value[..length?].to_vec()) }),
        }
    }
    found.sort();
    Ok(found)
}

/// What turns one list of extended attributes into another.
pub(crate) fn xattr_changes(from: &[Xattr], to: &[Xattr]) -> Vec<Xattr> {
    let gone = from.iter().filter(|old| !to.iter().any(|new| new.name == old.name));
    let gone = gone.map(|old| Xattr { name: old.name.clone(), value: None });
    to.iter().filter(|new| !from.contains(new)).cloned().chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_so_already_is_not_set_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let attributes = || -> Result<Attributes, Box<dyn std::error::Error>> {
            let mut found = Attributes::of(&Stamp::of(file.as_file())?);
            found.xattrs = vec![Xattr { name: b"user.none".to_vec(), value: None }];
            Ok(found)
        };
        let changed = || file.as_file().metadata().map(|found| (found.ctime(), found.ctime_nsec())).expect("stat");
        let (wanted, before) = (attributes().expect("attributes"), changed());
        std::thread::sleep(std::time::Duration::from_millis(20));
        wanted.set(file.as_file()).expect("set");
        assert_eq!(changed(), before);
        let later = Attributes { mtime_s: wanted.mtime_s.map(|seconds| seconds + 1), ..wanted };
        later.set(file.as_file()).expect("set");
        assert_ne!(changed(), before);
        assert_eq!(Some(file.as_file().metadata().expect("stat").mtime()), later.mtime_s);
    }
}
