//! `files.write`: a whole file at once. Observers see the old content or the new, nothing between.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use rustix::fs::{Gid, Mode, OFlags, Uid, openat};
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::beneath::{READ, Root, Spot, file, hold_child, linked, not_usable, readable, refused, show};
use super::chmod::SET_GROUP;
use super::flags;
use super::inherited::{self, Inherited};
use super::measure::{Stamp, sha256, sha256_of};
use super::nursery::{self, Nursery};
use super::text_diff::{MAX_TEXT_BYTES, unified};
use super::{Means, Step, measured, set_id, xattr};
use crate::Error;
use crate::journal::stamp::{Extent, Standing};
use crate::journal::{Journals, MAX_BYTES};

/// Mode of a file that did not exist, unless the arguments name one.
const NEW_MODE: u32 = 0o644;

/// With what privileges a program runs, by the name of its attribute (xattr(7)).
const CAPABILITY: &str = "security.capability";

/// A file of which only a part is written is handled whole.
pub(crate) const MAX_SPLICED_BYTES: u64 = 64 * 1024 * 1024;

/// Everything found out before the write, and what is to be written.
pub(crate) struct Replacement {
    spot: Spot,
    content: Vec<u8>,
    /// Permission bits that the file shall have.
    mode: u32,
    before: Option<Before>,
}

/// A file that is there.
pub(crate) struct Before {
    file: File,
    standing: Standing,
    pub(crate) stamp: Stamp,
    pub(crate) sha256: String,
    /// Content of a small file, for the diff.
    text: Vec<u8>,
}

impl Replacement {
    /// Looks at what is there and checks the caller's preconditions.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `PATH_EXISTS`, `CONTENT_CHANGED`,
    /// `UNSUPPORTED_CHANGE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, journals: &Journals, arguments: &Arguments) -> Result<Self, Error> {
        let spot = root.spot(&arguments.path()?)?;
        let mut content = content(arguments)?;
        let mode = mode(arguments)?;
        let before = Before::of(&spot, journals)?;
        let must_not_exist = match arguments.text("if_exists")? {
            None | Some("replace") => false,
            Some("fail") => true,
            Some(_) => return Err(invalid("if_exists", "`replace` or `fail`")),
        };
        if must_not_exist && before.is_some() {
            return Err(exists(&spot));
        }
        if let Some(expected) = arguments.text("expected_sha256")? {
            let found = before.as_ref().map_or("nothing", |before| &before.sha256);
            if !found.eq_ignore_ascii_case(expected) {
                return Err(changed(&spot, &format!("expected content {expected}, found {found}")));
            }
        }
        if let Some(offset) = arguments.number("offset")? {
            content = spliced(&spot, before.as_ref(), arguments, offset, &content)?;
        }
        let mode = mode.or(before.as_ref().map(|before| before.stamp.permissions())).unwrap_or(NEW_MODE);
        Self { spot, content, mode, before }.checked()
    }

    /// A file that keeps everything but its content.
    ///
    /// # Errors
    /// `UNSUPPORTED_CHANGE`.
    pub(crate) fn of_content(spot: Spot, before: Before, content: Vec<u8>) -> Result<Self, Error> {
        let mode = before.stamp.permissions();
        Self { spot, content, mode, before: Some(before) }.checked()
    }

    fn checked(self) -> Result<Self, Error> {
        let before = self.before.as_ref().filter(|_| !self.is_same_content());
        let before = before.map(|before| before.stamp.permissions());
        before.map_or(Ok(()), |before| set_id::check_content(&show(&self.spot.path), before, self.mode))?;
        Ok(self)
    }

    fn is_same_content(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.sha256 == sha256_of(&self.content))
    }

    fn is_same_mode(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.stamp.permissions() == self.mode)
    }

    /// The effects of going from what was there to a measured or planned state.
    fn effects_of(&self, after: &FileState, content: &[u8]) -> Vec<ObservedEffect> {
        let before = self.before.as_ref().map(Before::state);
        let effect = |kind: EffectKind, text_diff: String, text_diff_truncated, bytes| ObservedEffect {
            kind: kind.into(),
            target: escape(&self.spot.path),
            count: 1,
            bytes,
            reversible: before.as_ref().is_none_or(|before| before.size <= MAX_BYTES),
            file: Some(FileChange {
                before: before.clone(),
                after: Some(after.clone()),
                text_diff,
                text_diff_truncated,
                ..FileChange::default()
            }),
            network: None,
            process: None,
        };
        let text_before = self.before.as_ref().map_or(&[][..], |before| &before.text);
        let mut effects = Vec::new();
        match &before {
            None => {
                let (diff, cut) = unified(&self.spot.path, text_before, content);
                effects.push(effect(EffectKind::FileCreate, diff, cut, after.size));
            }
            Some(before) => {
                if before.sha256 != after.sha256 {
                    let is_small = before.size <= MAX_TEXT_BYTES;
                    let (diff, cut) =
                        if is_small { unified(&self.spot.path, text_before, content) } else { Default::default() };
                    effects.push(effect(EffectKind::FileModify, diff, cut, after.size));
                }
                if before.mode != after.mode {
                    effects.push(effect(EffectKind::FileChmod, String::new(), false, 0));
                }
                if (before.uid, before.gid) != (after.uid, after.gid) {
                    effects.push(effect(EffectKind::FileChown, String::new(), false, 0));
                }
            }
        }
        effects
    }

    /// Writes a complete file where nobody sees it.
    fn stage(&self, dir: &OwnedFd, name: &CStr) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let staged = openat(dir, name, flags, Mode::from_raw_mode(0o600));
        let mut staged = File::from(staged.map_err(|errno| refused(errno, &self.spot.path))?);
        if let Some(before) = &self.before {
            flags::keep(&before.file, &staged).map_err(|errno| refused(errno, &self.spot.path))?;
        }
        staged.write_all(&self.content).map_err(Error::io("write"))?;
        if let Some(before) = &self.before {
            self.keep_owner(&staged, &before.stamp)?;
            xattr::copy(&before.file, &staged, &self.spot.path)?;
        }
        // After the owner, whose change clears set-id bits (chown(2)), and the access list, which has bits of its own.
        rustix::fs::fchmod(&staged, Mode::from_raw_mode(self.mode)).map_err(|errno| refused(errno, &self.spot.path))?;
        staged.sync_all().map_err(Error::io("make durable"))
    }

    fn keep_owner(&self, staged: &File, before: &Stamp) -> Result<(), Error> {
        let now = Stamp::of(staged)?;
        if (now.uid, now.gid) == (before.uid, before.gid) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(before.uid), Gid::from_raw(before.gid));
        rustix::fs::fchown(staged, Some(uid), Some(gid))
            .map_err(|_| not_usable(&self.spot.path, "belongs to another user, and its owner could not be kept"))
    }

    /// Puts the staged file at its place, if what is there is still what was looked at.
    fn publish(&self, journals: &Journals, call_id: &str) -> Result<(), Error> {
        let path = &self.spot.path;
        let conflict = |error: Error| match error.reason() {
            Reason::CommitConflict => changed(&self.spot, "it was changed, made or moved away meanwhile"),
            _ => error,
        };
        let mut draft = journals.draft(call_id)?;
        match &self.before {
            None => {
                let nursery = Nursery::open(&mut draft, &self.spot).map_err(conflict)?;
                self.stage(nursery.dir(), nursery::NAME)?;
                nursery.leave(&mut draft, self.mode)?;
            }
            Some(before) => {
                let slot = draft.slot(path)?;
                let place = draft.staging(slot)?;
                self.stage(&place.parent, &place.name)?;
                draft.exchange(path, slot, before.standing.clone())?;
            }
        }
        draft.restore_times(&self.spot)?;
        draft.commit().map_err(conflict)
    }

    /// What a new file gets from its directory.
    fn inherited(&self) -> Inherited {
        Inherited::of(&self.spot.parent).unwrap_or_default()
    }

    /// What is at the place now.
    fn measure(&self) -> Result<(FileState, Vec<u8>), Error> {
        let mut now = file(self.spot.open(READ)?);
        let mut state = Stamp::of(&now)?.state();
        state.sha256 = sha256(&mut now)?;
        if self.before.is_none() {
            state.xattrs = inherited::found(&now, &self.spot.path).map_err(|errno| refused(errno, &self.spot.path))?;
        }
        let text = if state.size <= MAX_TEXT_BYTES { small_content(&now)? } else { Vec::new() };
        Ok((state, text))
    }
}

impl Step for Replacement {
    fn effects(&self) -> Vec<ObservedEffect> {
        let (owner, xattrs) = match &self.before {
            Some(before) => ((before.stamp.uid, before.stamp.gid), Vec::new()),
            None => (new_ids(&self.spot.parent), self.inherited().shown(&self.spot.path, FileType::Regular, self.mode)),
        };
        let after = FileState {
            xattrs,
            r#type: FileType::Regular.into(),
            size: self.content.len() as u64,
            mode: self.mode,
            uid: owner.0,
            gid: owner.1,
            sha256: sha256_of(&self.content),
            ..FileState::default()
        };
        self.effects_of(&after, &self.content)
    }

    fn result(&self) -> Value {
        json!({
            "size": self.content.len(),
            "sha256": sha256_of(&self.content),
            "created": self.before.is_none(),
        })
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        if let Some(before) = &self.before {
            before.stamp.digest_into(&mut digest, true);
            digest.update(&before.sha256);
        } else {
            self.inherited().digest_into(&mut digest);
        }
        digest.finalize().to_vec()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        if self.is_same_content() && self.is_same_mode() {
            return Ok((Vec::new(), None));
        }
        self.publish(with.journals, with.call_id)?;
        Ok(measured(self.effects(), || self.measure().map(|(state, text)| self.effects_of(&state, &text))))
    }
}

impl Before {
    /// Looks at it. `None` if nothing is there.
    ///
    /// # Errors
    /// `PATH_NOT_USABLE`, `UNSUPPORTED_CHANGE`, `CONTENT_CHANGED`.
    pub(crate) fn of(spot: &Spot, journals: &Journals) -> Result<Option<Self>, Error> {
        let held = match hold_child(&spot.parent, &spot.name) {
            Ok(held) => Stamp::of(held)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(refused(errno, &spot.path)),
        };
        match held.file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(not_usable(&spot.path, "is a directory")),
            FileType::Symlink => return Err(linked(&spot.path)),
            _ => return Err(not_usable(&spot.path, "is not a regular file")),
        }
        let names = journals.names_of(&held)?;
        if names > 1 {
            let message = format!(
                "{} has {} names; replacing it would break its hard links, so nothing was written",
                show(&spot.path),
                names
            );
            return Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"));
        }
        // Before its content is read, so that no change of that goes unseen.
        let standing = Standing::of(spot, Extent::Itself)?.ok_or_else(|| changed(spot, "it was moved away"))?;
        let mut file = readable(spot.open(READ)?, &spot.path)?;
        let stamp = Stamp::of(&file)?;
        if standing.ino != held.ino || (stamp.dev, stamp.ino) != (held.dev, held.ino) {
            return Err(changed(spot, "it is being replaced while it is opened"));
        }
        // Whoever wrote the new content would say what runs with them; a write in place takes them away.
        if xattr::has(&file, CAPABILITY, &spot.path)? {
            let message = format!(
                "{} has capabilities (capabilities(7)), which new content must not have; nothing was written",
                show(&spot.path)
            );
            return Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"));
        }
        let sha256 = sha256(&mut file)?;
        let text = if stamp.size <= MAX_TEXT_BYTES { small_content(&file)? } else { Vec::new() };
        Ok(Some(Self { file, standing, stamp, sha256, text }))
    }

    /// All of its content.
    ///
    /// # Errors
    /// `UNSUPPORTED_CHANGE` if it is larger than `most` bytes.
    pub(crate) fn whole(&self, spot: &Spot, most: u64) -> Result<Vec<u8>, Error> {
        use std::io::{Seek, SeekFrom};
        let (mut file, mut content) = (&self.file, Vec::new());
        file.seek(SeekFrom::Start(0)).map_err(Error::io("seek"))?;
        file.take(most + 1).read_to_end(&mut content).map_err(Error::io("read"))?;
        if content.len() as u64 > most {
            return Err(too_large(spot, most));
        }
        if sha256_of(&content) != self.sha256 {
            return Err(changed(spot, "it is being changed"));
        }
        Ok(content)
    }

    fn state(&self) -> FileState {
        FileState { sha256: self.sha256.clone(), ..self.stamp.state() }
    }
}

/// Content from the start, at most what a diff takes.
pub(crate) fn small_content(file: &File) -> Result<Vec<u8>, Error> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(Error::io("seek"))?;
    file.take(MAX_TEXT_BYTES).read_to_end(&mut content).map_err(Error::io("read"))?;
    Ok(content)
}

/// Who this process is.
pub(crate) fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Whose something new in a directory is: the set-group-id bit passes the group on.
pub(super) fn new_ids(above: &OwnedFd) -> (u32, u32) {
    let (uid, own) = own_ids();
    let above = Stamp::of(above).ok().filter(|above| above.permissions() & SET_GROUP != 0);
    (uid, above.map_or(own, |above| above.gid))
}

/// The bytes that the file shall hold.
///
/// # Errors
/// `INVALID_ARGUMENTS`.
pub(crate) fn content(arguments: &Arguments) -> Result<Vec<u8>, Error> {
    let content = arguments.required("content")?;
    match arguments.text("encoding")? {
        None | Some("utf-8") => Ok(content.as_bytes().to_vec()),
        Some("base64") => STANDARD.decode(content).map_err(|_| invalid("content", "base64 with padding (RFC 4648 §4)")),
        Some(_) => Err(invalid("encoding", "`utf-8` or `base64`")),
    }
}

/// The content of a file with a part of it replaced, or with more at its end.
fn spliced(
    spot: &Spot,
    before: Option<&Before>,
    arguments: &Arguments,
    offset: u64,
    part: &[u8],
) -> Result<Vec<u8>, Error> {
    if arguments.text("expected_sha256")?.is_none() {
        return Err(invalid("expected_sha256", "the digest of the file as it is now, because `offset` is given"));
    }
    let Some(before) = before else { return Err(refused(Errno::NOENT, &spot.path)) };
    let mut whole = before.whole(spot, MAX_SPLICED_BYTES)?;
    let at = usize::try_from(offset).ok().filter(|at| *at <= whole.len());
    let at = at.ok_or_else(|| invalid("offset", &format!("at most {}, the size of the file", whole.len())))?;
    let end = at.saturating_add(part.len()).min(whole.len());
    whole.splice(at..end, part.iter().copied());
    if whole.len() as u64 > MAX_SPLICED_BYTES {
        return Err(too_large(spot, MAX_SPLICED_BYTES));
    }
    Ok(whole)
}

fn too_large(spot: &Spot, most: u64) -> Error {
    let message = format!("{} would be handled whole and is larger than {most} bytes", show(&spot.path));
    Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec")
}

/// The permission bits that the arguments name.
///
/// # Errors
/// `INVALID_ARGUMENTS`.
pub(crate) fn mode(arguments: &Arguments) -> Result<Option<u32>, Error> {
    let Some(text) = arguments.text("mode")? else { return Ok(None) };
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => Err(invalid("mode", "octal permission bits such as 0644")),
    }
}

/// `PATH_EXISTS`.
pub(crate) fn exists(spot: &Spot) -> Error {
    let message = format!("{} exists already", show(&spot.path));
    Error::fix(Reason::PathExists, message, "/arguments/path", "a path that does not exist")
}

/// `CONTENT_CHANGED`, with why.
pub(crate) fn changed(spot: &Spot, why: &str) -> Error {
    let message = format!("{} is not as it was read: {why}; nothing was written", show(&spot.path));
    Error::fix(Reason::ContentChanged, message, "/arguments/expected_sha256", "the digest of the file as it is now")
}
