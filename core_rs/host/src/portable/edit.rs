//! `files.write` and `files.edit`: a whole file at once, so that readers see the old content or the new.

use std::ffi::OsString;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cap_std::fs::Metadata;
use cmdop_contract::digest::hex;
use cmdop_contract::v1::{EffectKind, Reason};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::place::{Root, Spot, not_usable, refused, show};
use super::replace::replace;
use super::tree::{content as content_of, create, sync};
use super::{Failed, Planned, set_id};
use crate::Error;

/// Mode of a file that did not exist, unless the arguments name one.
const NEW_MODE: u32 = 0o644;

/// Files are handled whole.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What is at a place, with its content's digest.
type Before = (Metadata, String);

/// A file that shall have another content.
struct Replacement {
    spot: Spot,
    content: Vec<u8>,
    mode: Option<u32>,
    before: Option<Before>,
    hidden: OsString,
}

/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `PATH_EXISTS`, `CONTENT_CHANGED`, `UNSUPPORTED_CHANGE`,
/// `INVALID_ARGUMENTS`.
pub(super) fn write<'a>(root: &Root, arguments: &Arguments, hidden: OsString) -> Result<Planned<'a>, Error> {
    let spot = root.spot(&arguments.path()?)?;
    let mode = mode(arguments)?;
    let (before, old) = standing(&spot)?;
    let must_not_exist = match arguments.text("if_exists")? {
        None | Some("replace") => false,
        Some("fail") => true,
        Some(_) => return Err(invalid("if_exists", "`replace` or `fail`")),
    };
    if must_not_exist && before.is_some() {
        return Err(exists(&spot.path, "path"));
    }
    check_digest(&spot, arguments, before.as_ref())?;
    let mut content = match arguments.text("encoding")? {
        None | Some("utf-8") => arguments.required("content")?.as_bytes().to_vec(),
        Some("base64") => {
            let decoded = STANDARD.decode(arguments.required("content")?);
            decoded.map_err(|_| invalid("content", "base64 with padding (RFC 4648 §4)"))?
        }
        Some(_) => return Err(invalid("encoding", "`utf-8` or `base64`")),
    };
    if let Some(offset) = arguments.number("offset")? {
        if before.is_none() {
            return Err(refused(io::ErrorKind::NotFound.into(), &spot.path));
        }
        let at = usize::try_from(offset).ok().filter(|at| *at <= old.len());
        let at = at.ok_or_else(|| invalid("offset", &format!("at most {}, the size of the file", old.len())))?;
        let mut whole = old;
        let end = at.saturating_add(content.len()).min(whole.len());
        whole.splice(at..end, content);
        content = whole;
    }
    Replacement { spot, content, mode, before, hidden }.planned(false, None)
}

/// # Errors
/// As [`write`]; `CONTENT_CHANGED` naming the edit whose text is not there as often as it says.
pub(super) fn edit<'a>(root: &Root, arguments: &Arguments, hidden: OsString) -> Result<Planned<'a>, Error> {
    let spot = root.spot(&arguments.path()?)?;
    let (before, old) = standing(&spot)?;
    if before.is_none() {
        return Err(refused(io::ErrorKind::NotFound.into(), &spot.path));
    }
    check_digest(&spot, arguments, before.as_ref())?;
    let mut text = String::from_utf8(old).map_err(|_| not_usable(&spot.path, "is not UTF-8 text"))?;
    let mut replaced = 0;
    for (index, edit) in arguments.list("edits")?.iter().enumerate() {
        replaced += replace(&spot.path, &mut text, index, edit)?;
    }
    Replacement { spot, content: text.into_bytes(), mode: None, before, hidden }.planned(true, Some(replaced))
}

impl Replacement {
    /// # Errors
    /// `UNSUPPORTED_CHANGE`.
    fn planned<'a>(self, is_edit: bool, replaced: Option<u64>) -> Result<Planned<'a>, Error> {
        let digest = sha256(&self.content);
        let other = self.before.as_ref().filter(|(_, old)| *old != digest);
        if let Some(before) = other.and_then(|(found, _)| mode_of(found)) {
            set_id::check_content(&show(&self.spot.path), before, self.mode.unwrap_or(before))?;
        }
        let mut effects = Vec::new();
        match &self.before {
            None => effects.push((EffectKind::FileCreate, self.spot.path.clone(), 1)),
            Some((_, old)) if *old != digest => {
                effects.push((EffectKind::FileModify, self.spot.path.clone(), 1));
            }
            Some(_) => {}
        }
        if self.before.is_some() && self.mode.is_some() {
            effects.push((EffectKind::FileChmod, self.spot.path.clone(), 1));
        }
        let mut told = json!({"size": self.content.len(), "sha256": digest});
        if let (true, Some((_, old))) = (is_edit, &self.before) {
            told["before_sha256"] = old.clone().into();
            told["replaced"] = replaced.into();
        } else {
            told["created"] = self.before.is_none().into();
        }
        let act = move || if effects_are_none(&self, &told) { Ok(told) } else { self.perform(told) };
        Ok(Planned { effects, act: Box::new(act) })
    }

    /// Writes beside the place, then gives it the name: over what was there, or where nothing is.
    fn perform(self, told: Value) -> Result<Value, Failed> {
        let Spot { parent, name, path } = &self.spot;
        let before = |error: io::Error| Failed::Before(refused(error, path));
        let kept = self.before.as_ref().and_then(|(found, _)| mode_of(found));
        let mode = self.mode.or(kept).unwrap_or(NEW_MODE);
        create(parent, &self.hidden, &self.content, Some(mode)).map_err(|error| {
            let _ = parent.remove_file(&self.hidden);
            before(error)
        })?;
        let named = if self.before.is_some() {
            parent.rename(&self.hidden, parent, name)
        } else {
            // A link to a name that is taken meanwhile fails, where a rename would replace it.
            parent.hard_link(&self.hidden, parent, name)
        };
        if let Err(error) = named {
            let _ = parent.remove_file(&self.hidden);
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            return Err(Failed::Before(if taken { exists(path, "path") } else { refused(error, path) }));
        }
        if self.before.is_none() {
            parent.remove_file(&self.hidden).map_err(|error| Failed::Midway(refused(error, path)))?;
        }
        sync(parent).map_err(|error| Failed::Midway(refused(error, path)))?;
        Ok(told)
    }
}

/// Is everything as it shall be already?
fn effects_are_none(replacement: &Replacement, told: &Value) -> bool {
    let is_same = replacement.before.as_ref().is_some_and(|(_, old)| told["sha256"] == *old);
    is_same && replacement.mode.is_none()
}

/// What is at the place and its content.
fn standing(spot: &Spot) -> Result<(Option<Before>, Vec<u8>), Error> {
    let Some(found) = spot.metadata()? else { return Ok((None, Vec::new())) };
    let content = content_of(spot, MAX_BYTES)?;
    Ok((Some((found, sha256(&content))), content))
}

fn check_digest(spot: &Spot, arguments: &Arguments, before: Option<&Before>) -> Result<(), Error> {
    let Some(expected) = arguments.text("expected_sha256")? else {
        if arguments.number("offset")?.is_some() {
            return Err(invalid("expected_sha256", "the digest of the file as it is now, because `offset` is given"));
        }
        return Ok(());
    };
    let found = before.map_or("nothing", |(_, digest)| digest);
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let message = format!(
        "{} is not as it was read: expected content {expected}, found {found}; nothing was written",
        show(&spot.path)
    );
    let mend = "the digest of the file as it is now";
    Err(Error::fix(Reason::ContentChanged, message, "/arguments/expected_sha256", mend))
}

/// The permission bits that the arguments name.
///
/// # Errors
/// `INVALID_ARGUMENTS`; `UNSUPPORTED_CHANGE` on a system that has none.
pub(super) fn mode(arguments: &Arguments) -> Result<Option<u32>, Error> {
    let Some(text) = arguments.text("mode")? else { return Ok(None) };
    if cfg!(not(unix)) {
        let message = "this host's system has no permission bits; nothing was changed";
        return Err(Error::fix(Reason::UnsupportedChange, message, "/arguments/mode", "no `mode`"));
    }
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => Err(invalid("mode", "octal permission bits such as 0644")),
    }
}

#[cfg(unix)]
fn mode_of(found: &Metadata) -> Option<u32> {
    use cap_std::fs::PermissionsExt;
    Some(found.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode_of(_found: &Metadata) -> Option<u32> {
    None
}

/// `PATH_EXISTS`.
pub(super) fn exists(path: &[u8], argument: &str) -> Error {
    let message = format!("{} exists already; nothing was changed", show(path));
    Error::fix(Reason::PathExists, message, &format!("/arguments/{argument}"), "a path that does not exist")
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}
