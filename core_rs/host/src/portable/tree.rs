//! Whole trees by handles: counted, copied, removed. Links are entries and never followed.

use std::io::{self, Read, Write};

use cap_fs_ext::{FollowSymlinks, MetadataExt, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, OpenOptions};
use cmdop_contract::v1::Reason;

use super::place::{Root, Spot, beneath, hidden, linked, not_usable, refused, show};
use crate::Error;

/// Entries that a tool copies or moves at once.
const MAX_ENTRIES: u64 = 5_000;

/// Bytes that a tool copies at once.
const MAX_BYTES: u64 = 1 << 30;

/// Directories within each other.
const MAX_DEPTH: usize = 128;

/// What a tree holds, itself included.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Every path of it, the top first.
    pub(super) paths: Vec<Vec<u8>>,
}

/// Counts what lies at a place, within the bounds of a tool.
///
/// # Errors
/// `UNSUPPORTED_CHANGE` beyond them; `PATH_NOT_USABLE` if it holds what is hidden.
pub(super) fn census(root: &Root, spot: &Spot) -> Result<Census, Error> {
    let mut census = Census::default();
    let found = spot.found()?;
    census.note(&spot.path, if found.is_file() { found.len() } else { 0 })?;
    if found.is_dir() {
        let top = spot.open_dir().map_err(|error| refused(error, &spot.path))?;
        census.descend(root, &top, &spot.path, 0)?;
    }
    Ok(census)
}

impl Census {
    fn descend(&mut self, root: &Root, dir: &Dir, path: &[u8], depth: usize) -> Result<(), Error> {
        let doing = |error| refused(error, path);
        if depth > MAX_DEPTH {
            return Err(too_much(path));
        }
        for entry in dir.entries().map_err(doing)? {
            let entry = entry.map_err(doing)?;
            let here = beneath(path, &entry.file_name());
            let found = dir.symlink_metadata(entry.file_name()).map_err(|error| refused(error, &here))?;
            self.note(&here, if found.is_file() { found.len() } else { 0 })?;
            if found.is_dir() {
                let below = root.open_listed(dir, &entry.file_name(), &here)?.ok_or_else(|| hidden(&here))?;
                self.descend(root, &below, &here, depth + 1)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &[u8], bytes: u64) -> Result<(), Error> {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.paths.push(path.to_vec());
        if self.count > MAX_ENTRIES || self.bytes > MAX_BYTES { Err(too_much(path)) } else { Ok(()) }
    }
}

/// Copies what lies at a place to a name in a directory, where nothing may be.
///
/// # Errors
/// What the operating system says; `PATH_NOT_USABLE` of what is neither file, directory nor link.
pub(super) fn copy(
    from: &Dir,
    name: &std::ffi::OsStr,
    to: &Dir,
    new: &std::ffi::OsStr,
    path: &[u8],
) -> Result<(), Error> {
    use cap_fs_ext::DirExt;
    let doing = |error| refused(error, path);
    let found = from.symlink_metadata(name).map_err(doing)?;
    if found.is_symlink() {
        return Err(not_usable(path, "is a symbolic link, which this host does not copy"));
    }
    if found.is_dir() {
        to.create_dir(new).map_err(doing)?;
        let (source, made) = (from.open_dir_nofollow(name).map_err(doing)?, to.open_dir_nofollow(new).map_err(doing)?);
        for entry in source.entries().map_err(doing)? {
            let name = entry.map_err(doing)?.file_name();
            copy(&source, &name, &made, &name, &beneath(path, &name))?;
        }
        return keep_mode(to, new, &found).map_err(doing);
    }
    let mut source = open_regular(from, name, path)?;
    let mut made = to.open_with(new, OpenOptions::new().write(true).create_new(true)).map_err(doing)?;
    io::copy(&mut source, &mut made).and_then(|_| made.sync_all()).map_err(doing)?;
    keep_mode(to, new, &found).map_err(doing)
}

/// Permission bits without set-id bits; Windows has none to keep.
fn keep_mode(dir: &Dir, name: &std::ffi::OsStr, found: &cap_std::fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use cap_std::fs::PermissionsExt;
        let mode = found.permissions().mode() & 0o1777;
        dir.set_permissions(name, cap_std::fs::Permissions::from_mode(mode))
    }
    #[cfg(not(unix))]
    {
        let _ = (dir, name, found);
        Ok(())
    }
}

/// Opens a regular file; anything else is never opened, so that no device hears of it.
///
/// # Errors
/// `PATH_NOT_USABLE`, `PATH_NOT_FOUND`.
pub(super) fn open_regular(dir: &Dir, name: &std::ffi::OsStr, path: &[u8]) -> Result<File, Error> {
    let found = dir.symlink_metadata(name).map_err(|error| refused(error, path))?;
    if found.is_symlink() {
        return Err(linked(path));
    }
    if found.is_dir() {
        return Err(Error::is_directory(&show(path)));
    }
    if !found.is_file() {
        return Err(not_usable(path, "is not a regular file"));
    }
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    // A fifo that takes its place meanwhile must not make anybody wait.
    #[cfg(unix)]
    cap_fs_ext::OpenOptionsSyncExt::nonblock(&mut options, true);
    let opened = dir.open_with(name, &options).map_err(|error| refused(error, path))?;
    let now = opened.metadata().map_err(|error| refused(error, path))?;
    if !now.is_file() || (cfg!(unix) && (now.dev(), now.ino()) != (found.dev(), found.ino())) {
        return Err(not_usable(path, "is being replaced while it is opened"));
    }
    Ok(opened)
}

/// The content of a regular file of at most this size.
///
/// # Errors
/// `UNSUPPORTED_CHANGE` if it is larger.
pub(super) fn content(spot: &Spot, most: u64) -> Result<Vec<u8>, Error> {
    let file = open_regular(&spot.parent, &spot.name, &spot.path)?;
    let mut content = Vec::new();
    file.take(most + 1).read_to_end(&mut content).map_err(|error| refused(error, &spot.path))?;
    if content.len() as u64 > most {
        let message = format!("{} would be handled whole and is larger than {most} bytes", show(&spot.path));
        return Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"));
    }
    Ok(content)
}

/// Writes a file that is not there yet, durable when it returns.
///
/// # Errors
/// What the operating system says.
pub(super) fn create(dir: &Dir, name: &std::ffi::OsStr, content: &[u8], mode: Option<u32>) -> io::Result<()> {
    let mut file = dir.open_with(name, OpenOptions::new().write(true).create_new(true))?;
    file.write_all(content)?;
    #[cfg(unix)]
    if let Some(mode) = mode {
        use cap_std::fs::PermissionsExt;
        file.set_permissions(cap_std::fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    file.sync_all()
}

/// Makes the names in a directory durable, where a system has a call for that.
pub(super) fn sync(dir: &Dir) -> io::Result<()> {
    // The handle itself may only name the directory (`O_PATH`), which is not enough.
    if cfg!(windows) { Ok(()) } else { dir.open(".")?.sync_all() }
}

fn too_much(path: &[u8]) -> Error {
    let message = format!(
        "{} is part of more than {MAX_ENTRIES} entries, {MAX_BYTES} bytes or {MAX_DEPTH} levels; nothing was changed",
        show(path)
    );
    Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec")
}
