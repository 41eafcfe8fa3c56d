//! Which layer covers which part of the machine, and what of it the command finds empty.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::moment::Moment;
use super::own::Own;
use crate::Error;
use crate::fixture::mounts::{self, Mount};

/// Kernel file systems, which the view makes anew.
pub(super) const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Directories that are covered one by one where something is mounted between them.
const MAX_PIECES: usize = 64;

/// How one mount of the machine appears to the command.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Cover {
    /// Where it is mounted.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// Private upper layer; empty if it is bound read-only.
    #[prost(bytes = "vec", tag = "2")]
    pub upper: Vec<u8>,
    /// For the overlay's own use.
    #[prost(bytes = "vec", tag = "3")]
    pub work: Vec<u8>,
    /// Its top belongs to somebody else and the upper layer's cannot be made alike: its own mode, owner and
    /// attributes say nothing.
    #[prost(bool, tag = "4")]
    pub is_foreign: bool,
    /// Device and inode of its top when the layer was laid out: mounts come and go.
    #[prost(uint64, tag = "5")]
    pub dev: u64,
    /// See `dev`.
    #[prost(uint64, tag = "6")]
    pub ino: u64,
    /// What the layer's top looked like when it was laid out (`Own::looks`); empty if nobody knows. As long as it does,
    /// whatever the machine's looks like by now is somebody else's doing.
    #[prost(bytes = "vec", tag = "7")]
    pub looks: Vec<u8>,
}

/// The private layer of one call on disk.
#[derive(Debug, Clone)]
pub struct Layer {
    pub(super) dir: PathBuf,
    pub(super) covers: Vec<Cover>,
    /// For a command that changes the machine itself.
    pub(super) direct: Option<super::direct::Direct>,
    /// Files that the command finds unreadable.
    pub(super) masked: Vec<Vec<u8>>,
    pub(super) begun: Moment,
}

impl Layer {
    /// Lays a layer out in an empty private directory: one upper per writable mount.
    ///
    /// # Errors
    /// If the mounts cannot be listed or the directories not be made.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        let mut layer = Self::empty(dir);
        for mount in covered()? {
            if mount.is_read_only && mount.path != Path::new("/") {
                layer.covers.push(Cover { path: bytes(&mount.path), ..Cover::default() });
            } else {
                layer.cover(&mount.path)?;
            }
        }
        Ok(layer)
    }

    /// The same for a daemon that is not root: one upper per directory of `places` in which it may
    /// change something, and per such mount in the machine. Everything else is read-only.
    ///
    /// # Errors
    /// As [`Layer::create`].
    pub fn of_user(dir: &Path, places: &[PathBuf]) -> Result<Self, Error> {
        let mut layer = Self::empty(dir);
        let mounted = mounts::places()?;
        let given = places.iter().filter_map(|place| fs::canonicalize(place).ok());
        let writable = covered()?.into_iter().filter(|mount| !mount.is_read_only).map(|mount| mount.path);
        let mut tops: Vec<_> = given.flat_map(|place| [topmost(&place), place]).chain(writable).collect();
        let pieces: Vec<_> = tops.iter().flat_map(|top| pieces(top, &mounted)).collect();
        tops.extend(pieces);
        tops.sort();
        tops.dedup();
        let mut covered: Vec<PathBuf> = Vec::new();
        for top in tops.into_iter().filter(|top| may_change(top)) {
            let is_within = |above: &PathBuf| top.starts_with(above) && is_copied_up(above, &top, &mounted);
            if covered.iter().any(is_within) {
                continue;
            }
            match layer.cover(&top) {
                // Others make and remove directories meanwhile. What is not there needs no layer.
                Err(_) if !top.exists() => {
                    layer.uncover()?;
                    continue;
                }
                done => done?,
            }
            // A directory with mounts in it cannot be covered by a user: its pieces still can.
            if mount_within(&top, &mounted).is_none() {
                covered.push(top);
            }
        }
        Ok(layer)
    }

    pub(super) fn empty(dir: &Path) -> Self {
        Self { dir: dir.into(), covers: Vec::new(), direct: None, masked: Vec::new(), begun: Moment::now() }
    }

    fn cover(&mut self, path: &Path) -> Result<(), Error> {
        let number = self.covers.len();
        let (upper, work) = (self.dir.join(format!("upper{number}")), self.dir.join(format!("work{number}")));
        for made in [&upper, &work] {
            private(made)?;
        }
        let is_foreign = !look_alike(&upper, path)?;
        let top = fs::symlink_metadata(path).map_err(Error::io(format!("lay out the layer of {}", path.display())))?;
        let looks = Own::ours().looks(&upper).unwrap_or_default();
        let (upper, work) = (bytes(&upper), bytes(&work));
        self.covers.push(Cover { path: bytes(path), upper, work, is_foreign, dev: top.dev(), ino: top.ino(), looks });
        Ok(())
    }

    /// Removes what was made for a place that could not be covered.
    fn uncover(&self) -> Result<(), Error> {
        let number = self.covers.len();
        for made in [format!("upper{number}"), format!("work{number}")].map(|name| self.dir.join(name)) {
            match fs::remove_dir(&made) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove {}", made.display()))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The directory it lies in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How the mounts of the machine appear.
    #[must_use]
    pub fn covers(&self) -> &[Cover] {
        &self.covers
    }
}

fn private(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().mode(0o755).create(path).map_err(Error::io(format!("create {}", path.display())))
}

/// The top of an overlay has mode, owner and attributes of its upper layer, so that takes the mount's own:
/// else the command would see another directory, and the measurement a change. False if they are such as
/// only root could give it.
fn look_alike(upper: &Path, mount: &Path) -> Result<bool, Error> {
    let doing = || Error::io(format!("lay out the layer of {}", mount.display()));
    let found = fs::symlink_metadata(mount).map_err(doing())?;
    if !found.is_dir() {
        // A single file that is mounted is never covered, and a directory's mode says nothing of it.
        return Ok(false);
    }
    let is_owned = match std::os::unix::fs::lchown(upper, Some(found.uid()), Some(found.gid())) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        done => done.map(|()| true).map_err(doing())?,
    };
    fs::set_permissions(upper, found.permissions()).map_err(doing())?;
    let is_alike = match Own::ours().copy(mount, upper) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => false,
        done => done.map(|()| true).map_err(doing())?,
    };
    Ok(is_owned && is_alike)
}

/// Mounts that a view covers, parents before children: not the kernel's own, nor what lies in one.
pub(super) fn covered() -> Result<Vec<Mount>, Error> {
    let mounts = mounts::visible()?;
    let kernels: Vec<_> =
        mounts.iter().filter(|mount| mount.is_of_the_kernel).map(|mount| mount.path.clone()).collect();
    let is_covered =
        |mount: &Mount| !is_kernel(&mount.path) && !kernels.iter().any(|kernel| mount.path.starts_with(kernel));
    Ok(mounts.into_iter().filter(is_covered).collect())
}

pub(crate) fn is_kernel(path: &Path) -> bool {
    KERNEL.iter().any(|kernel| path.starts_with(kernel))
}

/// The highest directory above a place from which on everything is the user's own: a file is copied
/// into the layer with its parents, and whose owner is unknown in the namespace cannot be (EOVERFLOW).
fn topmost(place: &Path) -> PathBuf {
    let owned = place.ancestors().take_while(|above| is_own(above)).last();
    owned.unwrap_or(place).to_owned()
}

/// A mount beneath a directory, which keeps an ordinary user from covering that.
pub(crate) fn mount_within<'a>(directory: &Path, mounted: &'a [PathBuf]) -> Option<&'a PathBuf> {
    mounted.iter().find(|mount| *mount != directory && mount.starts_with(directory))
}

/// Directories in one that has mounts beneath, which have none themselves and may be changed. None if
/// there are too many, each of which would cost a mount at every start.
fn pieces(top: &Path, mounted: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        if is_kernel(&directory) || mount_within(&directory, mounted).is_none() {
            continue;
        }
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let child = entry.path();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || mounted.contains(&child) {
                continue;
            }
            if mount_within(&child, mounted).is_some() {
                waiting.push(child);
            } else if may_change(&child) {
                found.push(child);
            }
            if found.len() > MAX_PIECES {
                return Vec::new();
            }
        }
    }
    found
}

/// True if a covered directory's layer serves for one within it, too.
fn is_copied_up(above: &Path, place: &Path, mounted: &[PathBuf]) -> bool {
    let mut between = place.ancestors().take_while(|path| *path != above);
    above == place || between.all(|path| is_own(path) && !mounted.iter().any(|mount| mount == path))
}

fn is_own(path: &Path) -> bool {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    path.symlink_metadata().is_ok_and(|found| (found.uid(), found.gid()) == (uid, gid))
}

/// A directory in which this process may make something, and which a layer may cover.
fn may_change(path: &Path) -> bool {
    let is_reserved = is_kernel(path) || path.starts_with("/run") || path == Path::new("/");
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    !is_reserved && path.is_dir() && rustix::fs::access(path, access).is_ok()
}

pub(super) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// The job of a command in a layer; what is `hidden` appears empty.
pub(crate) fn plan(layer: &Layer, hidden: &[PathBuf]) -> super::Job {
    super::Job {
        layer: bytes(&layer.dir),
        covers: layer.covers.clone(),
        direct: layer.direct.clone(),
        hidden: hidden.iter().filter(|path| path.exists()).map(|path| bytes(path)).collect(),
        identity: identity(),
        masked: super::mask::list_of(layer),
        ..super::Job::default()
    }
}

/// Who needs a user namespace to make others; nobody if the daemon is root.
pub(super) fn identity() -> Option<super::Identity> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    (!uid.is_root()).then_some(super::Identity { uid: uid.as_raw(), gid: gid.as_raw() })
}
