//! Paths of calls on a system whose paths may be others, and the way to a place without following a link.
//!
//! Every directory on the way is a handle (cap-std), opened beneath the one before: a link that is swapped in
//! meanwhile leads nowhere. A name counts only as its directory lists it, so that a system that folds case or
//! Unicode, or has short names, gives no second name to what a policy speaks of.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::{DirExt, MetadataExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};
use cmdop_contract::digest::hex;
use cmdop_contract::path::{is_beneath, normalise};
use cmdop_contract::v1::Reason;
use sha2::{Digest, Sha256};

use crate::Error;

/// The whole machine but for what is hidden.
#[derive(Debug)]
pub(super) struct Root {
    hidden: Vec<Hidden>,
}

/// A directory that no tool reaches.
#[derive(Debug)]
struct Hidden {
    path: Vec<u8>,
    /// What it is by whatever name; none if it is not there yet.
    identity: Option<(u64, u64)>,
}

/// A place: the directory that holds it and its name there.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) parent: Dir,
    pub(super) name: OsString,
    /// As calls name it.
    pub(super) path: Vec<u8>,
}

impl Root {
    pub(super) fn new(hidden: &[PathBuf]) -> Self {
        let found = |path: &PathBuf| {
            let identity = Dir::open_ambient_dir(path, ambient_authority()).and_then(|dir| dir.dir_metadata());
            let path = contract_path(path)?;
            Some(Hidden { path, identity: identity.ok().map(|found| (found.dev(), found.ino())) })
        };
        Self { hidden: hidden.iter().filter_map(found).collect() }
    }

    /// The directory that holds a path, and its last name. Whether something is there is not said.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND` and `PATH_NOT_USABLE` about what leads there.
    pub(super) fn spot(&self, path: &[u8]) -> Result<Spot, Error> {
        if self.holds(path) {
            return Err(hidden(path));
        }
        let (mut parent, mut names) = base(path)?;
        let Some(name) = names.pop() else {
            return Err(not_usable(path, "is the root of a file system, which no tool changes or describes"));
        };
        for name in names {
            parent = self.enter(&parent, &name, path)?;
        }
        let spot = Spot { parent, name, path: path.to_vec() };
        self.check(&spot)?;
        Ok(spot)
    }

    /// An open directory.
    ///
    /// # Errors
    /// As [`Root::spot`].
    pub(super) fn directory(&self, path: &[u8]) -> Result<Dir, Error> {
        let (mut dir, names) = base(path)?;
        for name in names {
            dir = self.enter(&dir, &name, path)?;
        }
        Ok(dir)
    }

    /// One step down.
    fn enter(&self, dir: &Dir, name: &OsStr, path: &[u8]) -> Result<Dir, Error> {
        let found = dir.symlink_metadata(name).map_err(|error| refused(error, path))?;
        if found.is_symlink() {
            return Err(linked(path));
        }
        check_spelling(dir, name, path)?;
        self.open_listed(dir, name, path)?.ok_or_else(|| hidden(path))
    }

    /// A directory whose name was listed; `None` if it is hidden.
    ///
    /// # Errors
    /// As [`Root::spot`].
    pub(super) fn open_listed(&self, dir: &Dir, name: &OsStr, path: &[u8]) -> Result<Option<Dir>, Error> {
        let below = dir.open_dir_nofollow(name).map_err(|error| refused(error, path))?;
        let is_hidden = self.is_hidden(&below).map_err(|error| refused(error, path))?;
        Ok(Some(below).filter(|_| !is_hidden))
    }

    /// Is it one of the hidden directories, whatever it is called?
    fn is_hidden(&self, dir: &Dir) -> io::Result<bool> {
        let found = dir.dir_metadata()?;
        Ok(self.hidden.iter().any(|hidden| hidden.identity == Some((found.dev(), found.ino()))))
    }

    /// Is it the path of a hidden directory, or of something in one?
    pub(super) fn holds(&self, path: &[u8]) -> bool {
        self.hidden.iter().any(|hidden| is_beneath(path, &hidden.path))
    }

    /// Does the path lie in a hidden directory, or one in what lies at it?
    pub(super) fn touches_hidden(&self, path: &[u8]) -> bool {
        self.hidden.iter().any(|hidden| is_beneath(path, &hidden.path) || is_beneath(&hidden.path, path))
    }

    /// The last name may be that of a hidden directory, too.
    fn check(&self, spot: &Spot) -> Result<(), Error> {
        let Some(found) = spot.metadata()? else { return Ok(()) };
        check_spelling(&spot.parent, &spot.name, &spot.path)?;
        let is_dir = found.is_dir();
        if is_dir && spot.open_dir().and_then(|dir| self.is_hidden(&dir)).map_err(|error| refused(error, &spot.path))? {
            return Err(hidden(&spot.path));
        }
        Ok(())
    }
}

impl Spot {
    /// What lies there, a link itself; `None` if nothing does.
    ///
    /// # Errors
    /// `PATH_NOT_USABLE`.
    pub(super) fn metadata(&self) -> Result<Option<Metadata>, Error> {
        match self.parent.symlink_metadata(&self.name) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(error, &self.path)),
        }
    }

    /// What lies there.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, too.
    pub(super) fn found(&self) -> Result<Metadata, Error> {
        self.metadata()?.ok_or_else(|| refused(io::ErrorKind::NotFound.into(), &self.path))
    }

    pub(super) fn open_dir(&self) -> io::Result<Dir> {
        self.parent.open_dir_nofollow(&self.name)
    }
}

/// Refuses a name that is not spelled as its directory lists it.
fn check_spelling(dir: &Dir, name: &OsStr, path: &[u8]) -> Result<(), Error> {
    let entries = dir.entries().map_err(|error| refused(error, path))?;
    for entry in entries {
        if entry.map_err(|error| refused(error, path))?.file_name() == name {
            return Ok(());
        }
    }
    Err(not_usable(path, "is spelled otherwise in its directory; name it as `files.list` does"))
}

/// A name beside a place that no other permit uses.
pub(super) fn hidden_name(permit_id: &str) -> OsString {
    format!(".cmdop-{}", &hex(&Sha256::digest(permit_id.as_bytes()))[..24]).into()
}

/// What the operating system's refusal of a path means to the caller.
pub(super) fn refused(error: io::Error, path: &[u8]) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("{} does not exist", show(path));
            Error::fix(Reason::PathNotFound, message, "/arguments/path", "a path that exists")
        }
        io::ErrorKind::NotADirectory => not_usable(path, "leads through something that is not a directory"),
        io::ErrorKind::PermissionDenied => not_usable(path, "may not be accessed by the host's user"),
        io::ErrorKind::ReadOnlyFilesystem => not_usable(path, "lies on a read-only file system"),
        io::ErrorKind::InvalidFilename => not_usable(path, "is no name that this system takes"),
        _ => Error::io(show(path))(error),
    }
}

/// `PATH_NOT_USABLE` because of a link.
pub(super) fn linked(path: &[u8]) -> Error {
    let message = format!("{} is or leads through a symbolic link; name the real path", show(path));
    let expected = "the real path, which leads through no symbolic link";
    Error::fix(Reason::PathNotUsable, message, "/arguments/path", expected)
}

/// `PATH_NOT_USABLE`, with why.
pub(super) fn not_usable(path: &[u8], why: &str) -> Error {
    let message = format!("{} {why}", show(path));
    Error::fix(Reason::PathNotUsable, message, "/arguments/path", "another path: this one cannot be used so")
}

/// `PATH_NOT_USABLE` of what is the host's own.
pub(super) fn hidden(path: &[u8]) -> Error {
    not_usable(path, "holds the host's own state, which no tool may reach")
}

pub(super) fn show(path: &[u8]) -> String {
    if path.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}

/// Path of an entry of a directory.
pub(super) fn beneath(directory: &[u8], name: &OsStr) -> Vec<u8> {
    let separator: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, separator, name.as_encoded_bytes()].concat()
}

/// Where a path begins on this system, and the names that follow.
#[cfg(unix)]
fn base(path: &[u8]) -> Result<(Dir, Vec<OsString>), Error> {
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::open_ambient_dir("/", ambient_authority()).map_err(Error::io("open /"))?;
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    Ok((dir, names.map(|name| OsStr::from_bytes(name).to_owned()).collect()))
}

/// `/c/Users` is `C:\Users`.
#[cfg(windows)]
fn base(path: &[u8]) -> Result<(Dir, Vec<OsString>), Error> {
    let text = std::str::from_utf8(path).map_err(|_| not_usable(path, "is no UTF-8, which names are here"))?;
    let mut names = text.split('/').filter(|name| !name.is_empty());
    let drive = names.next().filter(|drive| drive.len() == 1 && drive.as_bytes()[0].is_ascii_lowercase());
    let drive = drive.ok_or_else(|| not_usable(path, "begins with no drive; write `/c/Users` for `C:\\Users`"))?;
    let names: Vec<&str> = names.collect();
    if let Some(name) = names.iter().find(|name| !is_windows_name(name)) {
        return Err(not_usable(path, &format!("holds `{name}`, which means something else on Windows")));
    }
    let dir = Dir::open_ambient_dir(format!("{}:\\", drive.to_ascii_uppercase()), ambient_authority());
    Ok((dir.map_err(|error| refused(error, path))?, names.into_iter().map(OsString::from).collect()))
}

/// Is it a plain name: no stream, device, wildcard, separator, nor an end that Windows cuts off?
#[cfg_attr(not(windows), allow(dead_code, reason = "tried on every system, used on one"))]
fn is_windows_name(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = ["COM", "LPT"].iter().any(|port| {
        stem.strip_prefix(port).is_some_and(|rest| rest.chars().count() == 1 && !rest.starts_with(char::is_alphabetic))
    });
    let is_device = numbered || ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str());
    let is_odd = |letter: char| letter.is_control() || "<>:\"/\\|?*".contains(letter);
    !is_device && !name.contains(is_odd) && !name.ends_with(['.', ' ']) && !name.is_empty()
}

/// A path of this system as calls name it; `None` if they cannot.
pub(super) fn contract_path(path: &Path) -> Option<Vec<u8>> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if cfg!(windows) { windows_contract_path(path.to_str()?) } else { Some(normalise(bytes)) }
}

/// The same of a path of Windows, of which only those with a drive have a name.
#[cfg_attr(not(windows), allow(dead_code, reason = "tried on every system, used on one"))]
fn windows_contract_path(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix(r"\\?\").unwrap_or(text);
    let (drive, rest) = text.split_once(':')?;
    let is_drive = drive.len() == 1 && drive.as_bytes()[0].is_ascii_alphabetic();
    is_drive.then(|| normalise(format!("/{}{}", drive.to_ascii_lowercase(), rest.replace('\\', "/")).as_bytes()))
}

/// A path of a call as this system's programs name it.
///
/// # Errors
/// `PATH_NOT_USABLE`.
#[cfg(unix)]
pub(super) fn system_path(path: &[u8]) -> Result<PathBuf, Error> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// # Errors
/// `PATH_NOT_USABLE`.
#[cfg(windows)]
pub(super) fn system_path(path: &[u8]) -> Result<PathBuf, Error> {
    let (_, names) = base(path)?;
    let drive = path.get(1).copied().unwrap_or(b'c').to_ascii_uppercase() as char;
    Ok(std::iter::once(OsString::from(format!("{drive}:\\"))).chain(names).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_windows_have_one_name_and_no_hidden_meaning() {
        assert_eq!(windows_contract_path(r"C:\Users\ada").as_deref(), Some(&b"/c/Users/ada"[..]));
        assert_eq!(windows_contract_path(r"\\?\D:\data\").as_deref(), Some(&b"/d/data"[..]));
        assert_eq!(windows_contract_path(r"\\server\share"), None);
        for name in ["notes.txt", "a b", ".env", "COM", "com10", "console", "é"] {
            assert!(is_windows_name(name), "{name}");
        }
        for name in ["", "a:b", "a\\b", "NUL", "nul.txt", "Com1", "lpt¹.log", "a.", "a ", "a*", "con ", "x\u{1}"] {
            assert!(!is_windows_name(name), "{name}");
        }
    }
}
