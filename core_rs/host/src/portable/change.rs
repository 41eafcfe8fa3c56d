//! `files.mkdir`, `files.move`, `files.copy` and `files.delete`.

use std::ffi::OsString;
use std::io;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, Reason};
use serde_json::json;

use super::arguments::{Arguments, about};
use super::edit::{exists, mode};
use super::place::{Root, Spot, hidden, not_usable, refused, show};
use super::tree::{self, census, sync};
use super::{Failed, Planned};
use crate::Error;

/// Mode of a new directory, unless the arguments name one.
const NEW_MODE: u32 = 0o755;

/// # Errors
/// `PATH_NOT_FOUND`, `PATH_EXISTS`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(super) fn mkdir<'a>(root: &'a Root, arguments: &Arguments) -> Result<Planned<'a>, Error> {
    let path = arguments.path()?;
    let mode = mode(arguments)?.unwrap_or(NEW_MODE);
    let mut missing = Vec::new();
    let mut here = path.as_slice();
    let mut parents = arguments.number("parents")?.unwrap_or(0);
    let spot = loop {
        let error = match root.spot(here) {
            Ok(spot) => match spot.metadata()? {
                Some(found) if found.is_dir() && missing.is_empty() => {
                    let act = || Ok(json!({"created": []}));
                    return Ok(Planned { effects: Vec::new(), act: Box::new(act) });
                }
                Some(_) => return Err(exists(here, "path")),
                None => {
                    missing.push(here.to_vec());
                    break spot;
                }
            },
            Err(error) => error,
        };
        let above = here.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0);
        match above.filter(|_| error.reason() == Reason::PathNotFound && parents > 0) {
            None => return Err(error),
            Some(at) => {
                missing.push(here.to_vec());
                here = &here[..at];
                parents -= 1;
            }
        }
    };
    missing.reverse();
    if missing.iter().any(|path| root.touches_hidden(path)) {
        return Err(hidden(&path));
    }
    let effects = missing.iter().map(|path| (EffectKind::FileCreate, path.clone(), 1)).collect();
    let act = move || {
        let created: Vec<String> = missing.iter().map(|path| escape(path)).collect();
        for (made, path) in missing.iter().enumerate() {
            let done = root.spot(path).and_then(|spot| make(&spot, mode));
            if let Err(error) = done {
                return Err(if made == 0 { Failed::Before(error) } else { Failed::Midway(error) });
            }
        }
        sync(&spot.parent).map_err(|error| Failed::Midway(refused(error, &path)))?;
        Ok(json!({"created": created}))
    };
    Ok(Planned { effects, act: Box::new(act) })
}

fn make(spot: &Spot, mode: u32) -> Result<(), Error> {
    let made = spot.parent.create_dir(&spot.name);
    #[cfg(unix)]
    let made = made.and_then(|()| {
        use cap_std::fs::PermissionsExt;
        spot.parent.set_permissions(&spot.name, cap_std::fs::Permissions::from_mode(mode))
    });
    #[cfg(not(unix))]
    let _ = mode;
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(&spot.path, "path"),
        _ => refused(error, &spot.path),
    })
}

/// # Errors
/// `PATH_NOT_FOUND`, `PATH_EXISTS`, `PATH_NOT_USABLE`, `UNSUPPORTED_CHANGE`.
pub(super) fn relocate<'a>(root: &'a Root, arguments: &Arguments) -> Result<Planned<'a>, Error> {
    let (from, to) = ends(root, arguments)?;
    let census = census(root, &from).map_err(|error| about("from", error))?;
    let found = from.found()?;
    let replaced = to.metadata()?;
    let may_replace =
        arguments.flag("overwrite")? && replaced.as_ref().is_some_and(|it| it.is_file()) && found.is_file();
    if replaced.is_some() && !may_replace {
        return Err(exists(&to.path, "to"));
    }
    let mut effects = vec![(EffectKind::FileRename, from.path.clone(), 1)];
    effects.extend(may_replace.then(|| (EffectKind::FileDelete, to.path.clone(), 1)));
    let moved = |path: &Vec<u8>| [to.path.as_slice(), &path[from.path.len()..]].concat();
    effects.extend(census.paths.iter().map(|path| (EffectKind::FileCreate, moved(path), 1)));
    let act = move || {
        let told = json!({"count": census.count, "bytes": census.bytes, "overwritten": may_replace});
        if found.is_file() && !may_replace {
            // A link to a name that is taken meanwhile fails, where a rename would replace it.
            from.parent
                .hard_link(&from.name, &to.parent, &to.name)
                .map_err(|error| Failed::Before(stuck(error, &to)))?;
            from.parent.remove_file(&from.name).map_err(|error| Failed::Midway(refused(error, &from.path)))?;
        } else {
            let renamed = from.parent.rename(&from.name, &to.parent, &to.name);
            renamed.map_err(|error| Failed::Before(stuck(error, &to)))?;
        }
        let synced = sync(&to.parent).and_then(|()| sync(&from.parent));
        synced.map_err(|error| Failed::Midway(refused(error, &to.path)))?;
        Ok(told)
    };
    Ok(Planned { effects, act: Box::new(act) })
}

/// # Errors
/// As [`relocate`].
pub(super) fn copy<'a>(root: &'a Root, arguments: &Arguments, hidden: OsString) -> Result<Planned<'a>, Error> {
    let (from, to) = ends(root, arguments)?;
    let found = from.found().map_err(|error| about("from", error))?;
    if found.is_dir() && !arguments.flag("recursive")? {
        let why = "is a directory; set `recursive` to copy it with what it holds";
        return Err(Error::needs_recursive(format!("{} {why}", show(&from.path))));
    }
    if to.metadata()?.is_some() {
        return Err(exists(&to.path, "to"));
    }
    let census = census(root, &from).map_err(|error| about("from", error))?;
    let made = |path: &Vec<u8>| [to.path.as_slice(), &path[from.path.len()..]].concat();
    let effects = census.paths.iter().map(|path| (EffectKind::FileCreate, made(path), 1)).collect();
    let act = move || {
        let copied = tree::copy(&from.parent, &from.name, &to.parent, &hidden, &from.path);
        if let Err(error) = copied {
            let failed = if clear(&to, &hidden).is_ok() { Failed::Before } else { Failed::Midway };
            return Err(failed(error));
        }
        let named = if found.is_dir() {
            to.parent.rename(&hidden, &to.parent, &to.name)
        } else {
            to.parent.hard_link(&hidden, &to.parent, &to.name).and_then(|()| to.parent.remove_file(&hidden))
        };
        if let Err(error) = named {
            let failed = if clear(&to, &hidden).is_ok() { Failed::Before } else { Failed::Midway };
            return Err(failed(stuck(error, &to)));
        }
        sync(&to.parent).map_err(|error| Failed::Midway(refused(error, &to.path)))?;
        Ok(json!({"count": census.count, "bytes": census.bytes}))
    };
    Ok(Planned { effects, act: Box::new(act) })
}

/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`.
pub(super) fn delete<'a>(root: &'a Root, arguments: &Arguments, hidden: OsString) -> Result<Planned<'a>, Error> {
    let spot = root.spot(&arguments.path()?)?;
    if root.touches_hidden(&spot.path) {
        return Err(self::hidden(&spot.path));
    }
    let found = spot.found()?;
    if found.is_dir() && !arguments.flag("recursive")? {
        let why = "is a directory; set `recursive` to delete it with what it holds";
        return Err(Error::needs_recursive(format!("{} {why}", show(&spot.path))));
    }
    let census = census(root, &spot)?;
    let effects = vec![(EffectKind::FileDelete, spot.path.clone(), census.count)];
    let act = move || {
        let doing = |error| refused(error, &spot.path);
        // All of it is gone at once: what follows removes what has no name any more that anybody knows.
        spot.parent.rename(&spot.name, &spot.parent, &hidden).map_err(|error| Failed::Before(doing(error)))?;
        clear(&spot, &hidden).and_then(|()| sync(&spot.parent)).map_err(|error| Failed::Midway(doing(error)))?;
        Ok(json!({"count": census.count, "bytes": census.bytes}))
    };
    Ok(Planned { effects, act: Box::new(act) })
}

/// Removes what has a hidden name beside a place, if anything has.
fn clear(spot: &Spot, hidden: &OsString) -> io::Result<()> {
    match spot.parent.symlink_metadata(hidden) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => spot.parent.remove_dir_all(hidden),
        Ok(_) => spot.parent.remove_file(hidden),
    }
}

/// Both ends of a copy or move, none of which is or holds what is hidden, nor lies in the other.
fn ends(root: &Root, arguments: &Arguments) -> Result<(Spot, Spot), Error> {
    let (from, to) = (arguments.path_of("from")?, arguments.path_of("to")?);
    if root.touches_hidden(&from) {
        return Err(about("from", hidden(&from)));
    }
    if root.touches_hidden(&to) {
        return Err(about("to", hidden(&to)));
    }
    if cmdop_contract::path::is_beneath(&to, &from) {
        return Err(about("to", not_usable(&to, "lies in what would be moved or copied")));
    }
    let from = root.spot(&from).map_err(|error| about("from", error))?;
    let to = root.spot(&to).map_err(|error| about("to", error))?;
    Ok((from, to))
}

/// Why something did not get its name.
fn stuck(error: io::Error, to: &Spot) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => exists(&to.path, "to"),
        io::ErrorKind::CrossesDevices => {
            let message = format!("{} lies on another file system; nothing was moved", show(&to.path));
            Error::use_tool(Reason::UnsupportedChange, message, "files.copy")
        }
        _ => about("to", refused(error, &to.path)),
    }
}
