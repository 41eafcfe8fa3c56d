//! Files that a view shows and does not let anybody read.
//!
//! Beneath the view's own layers, above the machine, lies a layer of unreadable nodes in the place of
//! masked files. Nothing in the view leads to their content, whatever is renamed, linked or copied,
//! and they can be removed as the files could. A mount over each file would keep it, and every
//! directory above it, from being removed or renamed (EBUSY).

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_bind};

use super::direct::{beneath, open_view};
use super::own::Own;
use super::plan::{Layer, bytes};
use super::view::{path, tmpfs};
use super::{Failure, Job};
use crate::Error;
use crate::masks::Masked;

/// What root finds in the place of a masked file: a device on a mount without devices, which nobody can
/// open (EACCES), whatever its capabilities. It has no state, should anybody ever.
const DEVICE: (u32, u32) = (1, 3);
/// What an ordinary user finds: a file that nobody may read. Mode and time tell it from any other, also
/// once it is copied into the user's layer.
const MODE: u32 = 0o1000;
const TIME_S: i64 = 1;

/// The paths on disk: there may be more than a job can hold.
#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(bytes = "vec", repeated, tag = "1")]
    paths: Vec<Vec<u8>>,
}

impl Layer {
    /// Hides the files from the layer's command.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn mask(&mut self, masked: &Masked) -> Result<(), Error> {
        if masked.paths.is_empty() {
            return Ok(());
        }
        let doing = || Error::io("hide what the permit masks");
        fs::create_dir(self.dir.join("mask")).map_err(doing())?;
        let list = List { paths: masked.paths.clone() };
        fs::write(self.dir.join("masked"), list.encode_to_vec()).map_err(doing())?;
        self.masked.clone_from(&masked.paths);
        Ok(())
    }

    /// Files that the command finds unreadable.
    #[must_use]
    pub fn masked(&self) -> &[Vec<u8>] {
        &self.masked
    }
}

/// Is it what stands in the place of a masked file, there or wherever it was brought?
pub(crate) fn is_mask(found: &fs::Metadata) -> bool {
    let mode = found.mode() & 0o7777;
    if found.file_type().is_char_device() {
        return mode == 0 && found.rdev() == makedev(DEVICE.0, DEVICE.1);
    }
    let time = (found.mtime(), found.mtime_nsec());
    found.is_file() && found.len() == 0 && mode == MODE && time == (TIME_S, 0)
}

/// The layers of nodes, in the worker's own mount namespace.
#[derive(Default)]
pub(super) struct Masks {
    paths: Vec<Vec<u8>>,
    base: PathBuf,
}

impl Masks {
    /// Makes them, one for each cover in which something is masked.
    pub(super) fn lay(job: &Job) -> Result<Self, Failure> {
        if job.masked.is_empty() {
            return Ok(Self::default());
        }
        let failed = |error: &dyn std::fmt::Display| Failure::new("hide what the permit masks", error);
        let list = fs::read(path(&job.masked)).map_err(|error| failed(&error))?;
        let List { paths } = List::decode(&*list).map_err(|error| failed(&error))?;
        let base = path(&job.layer).join("mask");
        tmpfs(&base, MountFlags::empty(), c"size=16m,mode=755")?;
        let masks = Self { paths, base };
        let is_user = job.identity.is_some();
        let mut directories = Vec::new();
        for masked in masks.paths.iter().map(|masked| path(masked)) {
            let within = |cover: &super::Cover| masked != path(&cover.path) && masked.starts_with(path(&cover.path));
            let Some(number) = job.covers.iter().rposition(within) else { continue };
            // What cannot be laid here is bound over in the end.
            let _ = masks.put(number, &job.covers[number], masked, is_user, &mut directories);
        }
        for (made, like) in directories.iter().rev() {
            times_of(like, made).map_err(|error| failed(&error))?;
        }
        node(&masks.base.join("node"), is_user).map_err(|error| failed(&error))?;
        fs::DirBuilder::new().mode(0o000).create(masks.base.join("nothing")).map_err(|error| failed(&error))?;
        Ok(masks)
    }

    fn put(
        &self,
        number: usize,
        cover: &super::Cover,
        masked: &Path,
        is_user: bool,
        directories: &mut Vec<(PathBuf, PathBuf)>,
    ) -> std::io::Result<()> {
        let top = self.base.join(number.to_string());
        let is_above = !cover.upper.is_empty();
        let cover = path(&cover.path);
        let relative = masked.strip_prefix(cover).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        let mut above: Vec<_> = relative.ancestors().skip(1).collect();
        above.reverse();
        for directory in above {
            let (made, like) = (top.join(directory), cover.join(directory));
            if made.symlink_metadata().is_ok() {
                continue;
            }
            fs::create_dir(&made)?;
            match look_alike(&like, &made) {
                Ok(()) => directories.push((made, like)),
                // Of the top the private layer says what it is, also where it is another user's, as `/tmp` is.
                Err(_) if is_above && directory.as_os_str().is_empty() => {}
                Err(error) => {
                    fs::remove_dir(&made)?;
                    return Err(error);
                }
            }
        }
        node(&top.join(relative), is_user)
    }

    /// The layer for a cover of the job, if anything in it is masked.
    pub(super) fn of(&self, number: usize) -> Option<PathBuf> {
        let layer = self.base.join(number.to_string());
        (!self.paths.is_empty() && layer.is_dir()).then_some(layer)
    }

    /// Looks whether the view hides every one, and binds a node over what no layer could: what is shown
    /// read-only, or lies in a directory that an ordinary user cannot make alike.
    pub(super) fn ensure(&self, root: &Path) -> Result<(), Failure> {
        if self.paths.is_empty() {
            return Ok(());
        }
        let view = open_view(root)?;
        for masked in &self.paths {
            let failed = |error: Errno| Failure::new(format!("hide {}", path(masked).display()), error);
            let found = match beneath(&view, masked) {
                // Gone, or out of the user's reach.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => continue,
                found => found.map_err(failed)?,
            };
            if self.hides(&found)? {
                continue;
            }
            let is_directory = metadata(&found)?.is_dir();
            let node = self.base.join(if is_directory { "nothing" } else { "node" });
            mount_bind(&node, format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(failed)?;
            let covering = beneath(&view, masked).map_err(failed)?;
            if !is_directory && !self.hides(&covering)? {
                return Err(Failure::new(format!("hide {}", path(masked).display()), "it can still be read"));
            }
        }
        Ok(())
    }

    fn hides(&self, found: &OwnedFd) -> Result<bool, Failure> {
        metadata(found).map(|found| is_mask(&found))
    }
}

fn metadata(found: &OwnedFd) -> Result<fs::Metadata, Failure> {
    // One of a descriptor itself, which may be a link (fstat(2)).
    let file = found.try_clone().map(fs::File::from);
    file.and_then(|file| file.metadata()).map_err(|error| Failure::new("look at what is hidden", error))
}

fn node(place: &Path, is_user: bool) -> std::io::Result<()> {
    if !is_user {
        return Ok(mknodat(CWD, place, FileType::CharacterDevice, Mode::empty(), makedev(DEVICE.0, DEVICE.1))?);
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    let time = Timespec { tv_sec: TIME_S, tv_nsec: 0 };
    Ok(rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?)
}

/// A directory of the topmost layer gives a merged one mode, owner and attributes.
fn look_alike(like: &Path, made: &Path) -> std::io::Result<()> {
    let found = like.symlink_metadata()?;
    if !found.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    std::os::unix::fs::lchown(made, Some(found.uid()), Some(found.gid()))?;
    fs::set_permissions(made, found.permissions())?;
    Own::ours().copy(like, made)
}

fn times_of(like: &Path, made: &Path) -> std::io::Result<()> {
    let found = like.symlink_metadata()?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: found.atime(), tv_nsec: found.atime_nsec() },
        last_modification: Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() },
    };
    Ok(utimensat(CWD, made, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Where the list lies that a job names; nothing if nothing is masked.
pub(super) fn list_of(layer: &Layer) -> Vec<u8> {
    if layer.masked.is_empty() { Vec::new() } else { bytes(&layer.dir.join("masked")) }
}

/// Layers beneath an upper one, the topmost first.
pub(super) fn lower(mask: Option<PathBuf>, machine: &[u8]) -> Vec<u8> {
    let escaped = super::view::escaped;
    match mask {
        Some(mask) => [&*escaped(mask.as_os_str().as_bytes()), b":", &*escaped(machine)].concat(),
        None => escaped(machine),
    }
}
