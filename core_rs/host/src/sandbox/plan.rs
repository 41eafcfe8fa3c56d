//! Which layer covers which part of the machine, and what of it the command finds empty.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::fixture::mounts;

/// Kernel file systems, which the view makes anew.
pub(super) const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

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
}

/// The private layer of one call on disk.
#[derive(Debug, Clone)]
pub struct Layer {
    pub(super) dir: PathBuf,
    pub(super) covers: Vec<Cover>,
    /// For a command that changes the machine itself.
    pub(super) direct: Option<super::direct::Direct>,
}

impl Layer {
    /// Lays a layer out in an empty private directory: one upper per writable mount.
    ///
    /// # Errors
    /// If the mounts cannot be listed or the directories not be made.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        let mut covers = Vec::new();
        for (number, mount) in mounts::visible()?.into_iter().enumerate() {
            if KERNEL.iter().any(|kernel| mount.path.starts_with(kernel)) {
                continue;
            }
            let is_root = mount.path == Path::new("/");
            let mut cover = Cover { path: mount.path.as_os_str().as_bytes().to_vec(), ..Cover::default() };
            if !mount.is_read_only || is_root {
                let (upper, work) = (dir.join(format!("upper{number}")), dir.join(format!("work{number}")));
                for made in [&upper, &work] {
                    private(made)?;
                }
                look_alike(&upper, &mount.path)?;
                cover.upper = upper.as_os_str().as_bytes().to_vec();
                cover.work = work.as_os_str().as_bytes().to_vec();
            }
            covers.push(cover);
        }
        private(&dir.join("root"))?;
        Ok(Self { dir: dir.into(), covers, direct: None })
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

pub(super) fn private(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().mode(0o755).create(path).map_err(Error::io(format!("create {}", path.display())))
}

/// The top of an overlay has the mode and owner of its upper layer, so that takes the mount's own:
/// else the command would see another directory, and the measurement a change.
fn look_alike(upper: &Path, mount: &Path) -> Result<(), Error> {
    let doing = || Error::io(format!("lay out the layer of {}", mount.display()));
    let found = fs::symlink_metadata(mount).map_err(doing())?;
    if !found.is_dir() {
        return Ok(());
    }
    std::os::unix::fs::lchown(upper, Some(found.uid()), Some(found.gid())).map_err(doing())?;
    fs::set_permissions(upper, found.permissions()).map_err(doing())
}

/// The job of a command in a layer; `hidden` directories appear empty.
pub(crate) fn plan(layer: &Layer, hidden: &[PathBuf]) -> super::Job {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    super::Job {
        root: bytes(&layer.dir.join("root")),
        covers: layer.covers.clone(),
        direct: layer.direct.clone(),
        hidden: hidden.iter().filter(|path| path.is_dir()).map(|path| bytes(path)).collect(),
        ..super::Job::default()
    }
}
