//! The file systems that programs are run on, each mounted for this process and its children alone.

use std::ffi::CStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, mount};

use crate::support::cases;

/// What holds trees, layers and journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// In memory: what is tested is not the disk.
    Tmpfs,
    Ext4,
    Xfs,
    Btrfs,
    /// Trees on an overlay, layers and journals in memory: an overlay can be no upper layer.
    Overlay,
}

/// Sparse; the smallest that all of them take.
const IMAGE_BYTES: u64 = 512 << 20;

impl Disk {
    /// The command that makes one, and the Debian package that it comes from.
    fn maker(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Tmpfs | Self::Overlay => None,
            Self::Ext4 => Some(("mkfs.ext4", "e2fsprogs")),
            Self::Xfs => Some(("mkfs.xfs", "xfsprogs")),
            Self::Btrfs => Some(("mkfs.btrfs", "btrfs-progs")),
        }
    }

    /// Why this machine cannot make one.
    pub fn missing(self) -> Option<String> {
        let (command, package) = self.maker()?;
        let is_there = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"].iter().any(|at| Path::new(at).join(command).exists());
        (!is_there).then(|| format!("{self:?} was not tried: {command} is missing (Debian: {package})"))
    }

    /// Mounts it on an empty directory, for this process and those that it starts.
    pub fn mount(self, directory: &Path) {
        let Some((command, _)) = self.maker() else { return cases::in_memory(directory) };
        cases::private_mounts();
        // Hidden by what is mounted, and gone with the directory.
        let image = directory.join("image");
        fs::File::create(&image).and_then(|it| it.set_len(IMAGE_BYTES)).expect("an image");
        run(Command::new(command).arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(directory));
        fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    }

    /// Makes the directory of a host's trees, a user's own, where these lie on another one than the rest.
    pub fn lay_trees(self, tree: &Path, user: Option<u32>) {
        if self != Self::Overlay {
            return;
        }
        let around = tree.parent().expect("a host's directory").join("overlay");
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| around.join(name));
        for place in [&lower, &upper, &work, &tree.to_path_buf()] {
            fs::create_dir_all(place).expect("directory");
        }
        let [lower, upper, work] = [lower, upper, work].map(|place| place.display().to_string());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}\0");
        let options = CStr::from_bytes_with_nul(options.as_bytes()).expect("text");
        mount("overlay", tree, "overlay", MountFlags::empty(), options).expect("an overlay");
        std::os::unix::fs::chown(tree, user, user).expect("chown");
    }
}

fn run(command: &mut Command) {
    let done = command.output().expect("start");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
