//! How much a layer holds, counted while a command fills it and before anybody reads it.
//!
//! A layer lies on the host's own disk, where no quota per directory can be counted on, so a watchdog
//! counts: a command may write a little more than its limit before it is killed, by what the disk
//! takes in one interval.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, accessat, openat, statat};
use rustix::io::Errno;

use super::{Limit, Limits, cgroup};
use crate::Error;
use crate::sandbox::Layer;

/// Shortest time between two looks, and how many times longer than a look it is at least.
const INTERVAL: Duration = Duration::from_millis(50);
const RESTS: u32 = 10;
/// What every name counts at least: an inode is no less room than a block.
const NAME_BYTES: u64 = 4_096;
/// What is counted without another thread, which takes longer to begin than to count so much.
const LITTLE: u64 = 32 * NAME_BYTES;
/// A command is stopped before the disk of its layer has less left, bytes.
const RESERVE: u64 = 64 << 20;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a layer holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Room on disk.
    pub(crate) bytes: u64,
    /// Directories within each other.
    pub(crate) depth: usize,
    /// The name of a directory that this process may not look into: what is in it is not counted.
    pub(crate) unseen: Option<OsString>,
}

/// Counts a layer until it exceeds `most` bytes.
pub(crate) fn survey(layer: &Layer, most: u64) -> Result<Survey, Error> {
    let mut found = Survey::default();
    for cover in layer.covers().iter().filter(|cover| !cover.upper.is_empty()) {
        let upper = crate::sandbox::path(&cover.upper);
        count(upper, &[], most, &mut found)
            .map_err(|errno| Error::io(format!("count the layer {}", upper.display()))(errno.into()))?;
    }
    Ok(found)
}

/// Where a command's changes take room: in its layer, or in what is opened to it of the machine.
#[derive(Debug, Clone)]
pub(super) struct Room {
    layer: Layer,
    /// What was taken before it began.
    before: u64,
    /// What the disk of the layer had left then.
    free: u64,
    most: u64,
}

impl Room {
    /// The counting begins with the call; where there is little it is done then.
    pub(super) fn of(layer: &Layer, most: u64) -> impl Future<Output = Result<Self, Error>> {
        let mut room = Self { layer: layer.clone(), before: 0, free: free_at(layer.dir()), most };
        let found = if layer.is_direct() { room.taken(LITTLE) } else { 0 };
        let count = |room: Self| move || Self { before: room.taken(u64::MAX), ..room };
        let counting = (found > LITTLE).then(|| tokio::task::spawn_blocking(count(room.clone())));
        room.before = found;
        async {
            match counting {
                Some(counting) => counting.await.map_err(|error| Error::io("count what is opened")(error.into())),
                None => Ok(room),
            }
        }
    }

    /// What vanishes while it is counted is counted at the next look.
    fn taken(&self, most: u64) -> u64 {
        if !self.layer.is_direct() {
            let found = survey(&self.layer, most);
            return match found {
                // Where nobody may look, the disk says how much it is, with what others write.
                Ok(found) if found.unseen.is_some() => {
                    found.bytes.max(self.free.saturating_sub(free_at(self.layer.dir())))
                }
                found => found.map_or(0, |found| found.bytes),
            };
        }
        let mut found = Survey::default();
        let openings = self.layer.openings();
        for opening in openings {
            // What is opened by itself is counted by itself.
            let within = openings.iter().filter_map(|other| {
                let (above, name) = other.path.split_at(other.path.iter().rposition(|byte| *byte == b'/')?);
                (above == opening.path).then(|| &name[1..])
            });
            let left_out: Vec<&[u8]> = within.chain(opening.seals.iter().map(Vec::as_slice)).collect();
            let place = crate::sandbox::path(&opening.path);
            if matches!(count(place, &left_out, most, &mut found), Err(Errno::NOTDIR)) {
                use std::os::unix::fs::MetadataExt;
                found.bytes += place.symlink_metadata().map_or(0, |file| file.blocks() * 512);
            }
        }
        found.bytes
    }

    /// What it has met of both: its own bound, or the end of the disk.
    fn met(&self) -> Option<Limit> {
        let most = self.before.saturating_add(self.most);
        let taken = self.taken(most);
        if taken > most {
            return Some(Limit::Disk);
        }
        if !self.layer.is_direct() {
            return is_nearly_full(self.layer.dir()).then_some(Limit::Full);
        }
        // Whoever frees a disk that is full already is left to it.
        let grows = taken > self.before;
        let mut places = self.layer.openings().iter().filter(|opening| opening.bound);
        (grows && places.any(|opening| is_nearly_full(crate::sandbox::path(&opening.path)))).then_some(Limit::Full)
    }
}

/// Ends with the limit that a running command has met.
pub(super) async fn watch(room: Room, limits: Limits, groups: &OnceLock<cgroup::Group>) -> Limit {
    let mut interval = INTERVAL;
    loop {
        tokio::time::sleep(interval).await;
        if groups.get().and_then(cgroup::Group::cpu).is_some_and(|used| used > limits.cpu) {
            return Limit::Cpu;
        }
        let begun = Instant::now();
        let watched = room.clone();
        let counted = tokio::task::spawn_blocking(move || watched.met());
        if let Some(met) = counted.await.unwrap_or(Some(Limit::Disk)) {
            return met;
        }
        interval = INTERVAL.max(begun.elapsed() * RESTS);
    }
}

fn free_at(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |room| room.f_bavail * room.f_frsize)
}

fn is_nearly_full(dir: &Path) -> bool {
    // A small file system keeps a sixteenth instead.
    rustix::fs::statvfs(dir).is_ok_and(|room| {
        let (free, all) = (room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize);
        free < RESERVE.min(all / 16)
    })
}

/// Walks by names relative to one descriptor, up again by `..`: a tree may be deeper than a path is
/// long or a process has descriptors. Whoever could move a directory meanwhile is the command, which
/// moves it within its own layer.
fn count(top: &Path, left_out: &[&[u8]], most: u64, found: &mut Survey) -> Result<(), Errno> {
    let Some(mut here) = enter(CWD, top, found)? else { return Ok(()) };
    let mut above: Vec<Vec<CString>> = Vec::new();
    let mut pending = children(&here, left_out, most, found)?;
    loop {
        while let Some(name) = pending.pop() {
            match enter(&here, Path::new(OsStr::from_bytes(name.as_bytes())), found) {
                Ok(Some(below)) => {
                    let names = children(&below, &[], most, found)?;
                    here = below;
                    above.push(std::mem::replace(&mut pending, names));
                    found.depth = found.depth.max(above.len());
                }
                Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno),
            }
            if found.bytes > most {
                return Ok(());
            }
        }
        let Some(names) = above.pop() else { return Ok(()) };
        here = openat(&here, c"..", DIRECTORY, Mode::empty())?;
        pending = names;
    }
}

/// Opens a directory, or says that nobody may look into it: who may not search it could not leave it by `..` either.
fn enter(at: impl AsFd, name: &Path, found: &mut Survey) -> Result<Option<OwnedFd>, Errno> {
    match openat(at, name, DIRECTORY, Mode::empty()) {
        Ok(opened) if accessat(&opened, c".", Access::EXEC_OK, AtFlags::empty()).is_ok() => return Ok(Some(opened)),
        Ok(_) | Err(Errno::ACCESS) => {}
        Err(errno) => return Err(errno),
    }
    found.unseen = name.file_name().map(OsStr::to_owned);
    Ok(None)
}

/// Counts the entries of a directory, until there are too many; the names of those that are directories.
fn children(directory: &OwnedFd, left_out: &[&[u8]], most: u64, found: &mut Survey) -> Result<Vec<CString>, Errno> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(directory)? {
        if found.bytes > most {
            break;
        }
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." || left_out.contains(&name.to_bytes()) {
            continue;
        }
        found.bytes += NAME_BYTES;
        match entry.file_type() {
            FileType::Directory => directories.push(name.to_owned()),
            FileType::RegularFile => {
                if let Ok(file) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    found.bytes += u64::try_from(file.st_blocks).unwrap_or_default() * 512;
                }
            }
            _ => {}
        }
    }
    Ok(directories)
}

/// Removes a directory with everything in it, however deep, also where its owner may not look.
///
/// # Errors
/// What the operating system says.
pub(crate) fn remove(top: &Path) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = open_own(CWD, top, flags)?;
    let mut above: Vec<(CString, Vec<CString>)> = Vec::new();
    let mut pending = cleared(&here)?;
    loop {
        while let Some(name) = pending.pop() {
            let below = open_own(&here, &*name, flags)?;
            let names = cleared(&below)?;
            here = below;
            above.push((name, std::mem::replace(&mut pending, names)));
        }
        let Some((name, names)) = above.pop() else { return std::fs::remove_dir(top) };
        here = openat(&here, c"..", flags, Mode::empty())?;
        rustix::fs::unlinkat(&here, &*name, AtFlags::REMOVEDIR)?;
        pending = names;
    }
}

/// An overlay's own directories, and the command's, may be closed even to their owner.
fn open_own<P: rustix::path::Arg + Copy>(at: impl std::os::fd::AsFd, name: P, flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = || openat(&at, name, flags, Mode::empty());
    let is_open = |fd: &OwnedFd| {
        rustix::fs::accessat(fd, c".", rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK, AtFlags::EACCESS)
            .is_ok()
    };
    match open() {
        Ok(fd) if is_open(&fd) => Ok(fd),
        Ok(_) | Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&at, name, Mode::RWXU, AtFlags::empty())?;
            open()
        }
        Err(errno) => Err(errno),
    }
}

/// Unlinks what is no directory; the names of the rest.
fn cleared(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => directories.push(name.to_owned()),
            done => done?,
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_a_path_is_long_is_counted_and_removed() {
        let dir = tempfile::tempdir().expect("directory");
        let top = dir.path().join("top");
        std::fs::create_dir(&top).expect("directory");
        let mut here = openat(CWD, &top, OFlags::DIRECTORY, Mode::empty()).expect("open");
        for _ in 0..2_000 {
            rustix::fs::mkdirat(&here, c"deep", Mode::RWXU).expect("directory");
            here = openat(&here, c"deep", OFlags::DIRECTORY, Mode::empty()).expect("open");
        }
        drop(here);
        let mut found = Survey::default();
        count(&top, &[], u64::MAX, &mut found).expect("count");
        assert_eq!(found, Survey { bytes: 2_000 * NAME_BYTES, depth: 2_000, unseen: None });
        remove(&top).expect("remove");
        assert!(!top.exists());
    }

    #[test]
    fn what_its_owner_closed_is_removed() {
        let dir = tempfile::tempdir().expect("directory");
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("shut/within")).expect("directory");
        rustix::fs::chmod(top.join("shut"), Mode::empty()).expect("chmod");
        remove(&top).expect("remove");
        assert!(!top.exists());
    }
}
