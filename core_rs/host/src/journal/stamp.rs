//! What stood at a place: enough to tell later that it is still, or again, exactly that.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use cmdop_contract::v1::FileType;
use prost::Message;
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::renew::meant;
use crate::Error;
use crate::native::beneath::{Spot, hold_child, not_usable, open_child_same_mount, refused};
use crate::native::measure::Stamp;
use crate::native::walk::{Next, Seen, Visitor, walk};

/// A larger tree is refused: its list could not be shown to anyone.
const MAX_ENTRIES: u64 = 1_000_000;

/// What every name counts at least.
pub(crate) const NAME_BYTES: u64 = 4_096;

/// How much of a directory belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Only who it is and who may use it: its entries have stamps of their own.
    Itself,
    /// Everything beneath.
    Tree,
}

/// The state of what stands at a place. The device's number is no part of it: an overlay, and so a
/// fixture, gets another at each mount, and a journal outlasts a mount.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Standing {
    #[prost(uint64, tag = "1")]
    pub(crate) ino: u64,
    /// SHA-256 without what moving a thing or giving it a further name changes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) loose: Vec<u8>,
    /// SHA-256 over everything, the times of the last change of metadata included.
    #[prost(bytes = "vec", tag = "3")]
    strict: Vec<u8>,
    /// Entries, itself included.
    #[prost(uint64, tag = "4")]
    pub(crate) entries: u64,
    /// Bytes of its regular files.
    #[prost(uint64, tag = "5")]
    pub(crate) bytes: u64,
    /// Seconds and nanoseconds of its last change of metadata.
    #[prost(int64, tag = "6")]
    ctime_s: i64,
    #[prost(int64, tag = "7")]
    ctime_ns: i64,
    /// True if all of the tree is in it.
    #[prost(bool, tag = "8")]
    is_tree: bool,
    /// The latest change of metadata in it, nanoseconds since the Unix epoch; of a directory without
    /// its entries, which may come and go, none.
    #[prost(int64, tag = "9")]
    newest_ns: i64,
}

impl Standing {
    /// Measures what has the spot's name; `None` if nothing has.
    ///
    /// # Errors
    /// What keeps it from being measured.
    pub(crate) fn of(spot: &Spot, extent: Extent) -> Result<Option<Self>, Error> {
        Self::of_times(spot, extent, &Times::new())
    }

    /// As [`Standing::of`], with the times that these mean.
    ///
    /// # Errors
    /// As [`Standing::of`].
    pub(super) fn of_times(spot: &Spot, extent: Extent, times: &Times) -> Result<Option<Self>, Error> {
        let held = match hold_child(&spot.parent, &spot.name) {
            Ok(held) => held,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(refused(errno, &spot.path)),
        };
        let stamp = as_meant(Stamp::of(held)?, times);
        let is_directory = stamp.file_type() == FileType::Directory;
        let bytes = if stamp.file_type() == FileType::Regular { stamp.size } else { 0 };
        let mut counter = Counter {
            loose: Sha256::new(),
            strict: Sha256::new(),
            entries: 1,
            bytes,
            top: spot.path.len(),
            newest_ns: changed_ns(&stamp),
            times,
        };
        if is_directory && extent == Extent::Itself {
            // Times of a directory move with its entries.
            counter.loose.update(stamp.ino.to_le_bytes());
            counter.loose.update([stamp.mode.to_le_bytes(), stamp.uid.to_le_bytes(), stamp.gid.to_le_bytes()].concat());
        } else {
            stamp.digest_into(&mut counter.loose, false);
        }
        let is_tree = is_directory && extent == Extent::Tree;
        if is_tree {
            let top = open_child_same_mount(&spot.parent, &spot.name, OFlags::RDONLY | OFlags::DIRECTORY);
            let top = top.map_err(|errno| match errno {
                Errno::XDEV => not_usable(&spot.path, "is a mount point"),
                other => refused(other, &spot.path),
            })?;
            walk(top, &spot.path, &mut counter)?;
        }
        let (ctime_s, ctime_ns) = stamp.ctime();
        Ok(Some(Self {
            ino: stamp.ino,
            loose: counter.loose.finalize().to_vec(),
            strict: counter.strict.finalize().to_vec(),
            entries: counter.entries,
            bytes: counter.bytes,
            // Of a directory alone it says no more than its times.
            ctime_s: if is_directory && !is_tree { 0 } else { ctime_s },
            ctime_ns: if is_directory && !is_tree { 0 } else { ctime_ns },
            is_tree,
            newest_ns: if is_directory && !is_tree { 0 } else { counter.newest_ns },
        }))
    }

    /// True if nothing about it changed, as far as times tell.
    pub(crate) fn is_untouched(&self, spot: &Spot) -> Result<bool, Error> {
        self.is_untouched_by(spot, &Times::new())
    }

    /// The same, with the times that these mean.
    pub(super) fn is_untouched_by(&self, spot: &Spot, times: &Times) -> Result<bool, Error> {
        let now = Self::of_times(spot, self.extent(), times)?;
        // The latest change is in the digest; a journal of an earlier version does not know it.
        Ok(now.is_some_and(|now| now.is_as(self)))
    }

    /// True if something about it changed after a time, in nanoseconds since the Unix epoch.
    pub(crate) fn changed_after(&self, time: i64) -> bool {
        self.newest_ns > time
    }

    /// True if it is the same thing with the same content, wherever it was moved.
    pub(crate) fn is_same(&self, spot: &Spot) -> Result<bool, Error> {
        Ok(Self::of(spot, self.extent())?.is_some_and(|now| now.loose == self.loose))
    }

    /// What it takes on a disk: an inode is no less room than a block.
    pub(crate) fn room(&self) -> u64 {
        self.bytes.saturating_add(self.entries.saturating_mul(NAME_BYTES))
    }

    /// The inode with the time of its last change of metadata, which of a directory alone is zero.
    pub(super) fn last_changed(&self) -> (u64, (i64, i64)) {
        (self.ino, (self.ctime_s, self.ctime_ns))
    }

    /// True if both are one state of one thing.
    fn is_as(&self, other: &Self) -> bool {
        Self { newest_ns: other.newest_ns, ..self.clone() } == *other
    }

    fn extent(&self) -> Extent {
        if self.is_tree { Extent::Tree } else { Extent::Itself }
    }
}

/// Inode of what has a name; `None` if nothing has.
///
/// # Errors
/// The operating system's refusal.
pub(super) fn identity(dir: impl AsFd, name: &std::ffi::CStr) -> Result<Option<u64>, Error> {
    match hold_child(dir, name) {
        Ok(held) => Stamp::of(held).map(|stamp| Some(stamp.ino)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("look into the journal")(errno.into())),
    }
}

/// A file system that keeps whole seconds says no more than the second.
fn changed_ns(stamp: &Stamp) -> i64 {
    let (seconds, nanoseconds) = stamp.ctime();
    let nanoseconds = if nanoseconds == 0 { 999_999_999 } else { nanoseconds };
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// By inode, times of last changes that mean earlier ones.
pub(super) type Times = BTreeMap<(u64, (i64, i64)), (i64, i64)>;

fn as_meant(stamp: Stamp, times: &Times) -> Stamp {
    let meant = meant(times, stamp.ino, stamp.ctime());
    stamp.with_ctime(meant)
}

struct Counter<'a> {
    times: &'a Times,
    loose: Sha256,
    strict: Sha256,
    entries: u64,
    bytes: u64,
    newest_ns: i64,
    /// Length of the path above.
    top: usize,
}

impl Visitor for Counter<'_> {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(not_usable(seen.path, "lies in a tree of more than 1,000,000 entries"));
        }
        self.newest_ns = self.newest_ns.max(changed_ns(seen.stamp));
        if seen.stamp.file_type() == FileType::Regular {
            self.bytes += seen.stamp.size;
        }
        let beneath = &seen.path[self.top..];
        self.loose.update((beneath.len() as u64).to_le_bytes());
        self.loose.update(beneath);
        seen.stamp.digest_into(&mut self.loose, false);
        as_meant(seen.stamp.clone(), self.times).digest_into(&mut self.strict, true);
        Ok(Next::Enter)
    }
}
