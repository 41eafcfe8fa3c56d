//! `files.write`: a whole file at once. Observers see the old content or the new, nothing between.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::beneath::{READ, Root, Spot, file, hold_child, not_usable, refused, show};
use super::measure::{Stamp, sha256, sha256_of};
use super::text_diff::{MAX_TEXT_BYTES, unified};
use super::{Step, hidden_name, xattr};
use crate::Error;

/// Mode of a file that did not exist, unless the arguments name one.
const NEW_MODE: u32 = 0o644;

/// Everything found out before the write, and what is to be written.
pub(crate) struct Replacement {
    spot: Spot,
    content: Vec<u8>,
    /// Permission bits that the file shall have.
    mode: u32,
    before: Option<Before>,
}

struct Before {
    file: File,
    stamp: Stamp,
    sha256: String,
    /// Content of a small file, for the diff.
    text: Vec<u8>,
}

impl Replacement {
    /// Looks at what is there and checks the caller's preconditions.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `PATH_EXISTS`, `CONTENT_CHANGED`,
    /// `UNSUPPORTED_CHANGE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let spot = root.spot(&arguments.path()?)?;
        let content = content(arguments)?;
        let mode = mode(arguments)?;
        let before = Before::of(&spot)?;
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
        let mode = mode.or(before.as_ref().map(|before| before.stamp.permissions())).unwrap_or(NEW_MODE);
        Ok(Self { spot, content, mode, before })
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
            // Removing what was created restores the state before; of a replaced file nothing is kept.
            reversible: before.is_none() || kind == EffectKind::FileChmod,
            file: Some(FileChange {
                before: before.clone(),
                after: Some(after.clone()),
                text_diff,
                text_diff_truncated,
            }),
            network: None,
        };
        let text_before = self.before.as_ref().map_or(&[][..], |before| &before.text);
        let mut effects = Vec::new();
        match &before {
            None => {
                let (diff, cut) = unified(text_before, content);
                effects.push(effect(EffectKind::FileCreate, diff, cut, after.size));
            }
            Some(before) => {
                if before.sha256 != after.sha256 {
                    let is_small = before.size <= MAX_TEXT_BYTES;
                    let (diff, cut) = if is_small { unified(text_before, content) } else { Default::default() };
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

    /// Writes a complete hidden file beside the place.
    fn stage(&self, temporary: &CStr) -> Result<File, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let staged = openat(&self.spot.parent, temporary, flags, Mode::from_raw_mode(0o600));
        let mut staged = File::from(staged.map_err(|errno| refused(errno, &self.spot.path))?);
        staged.write_all(&self.content).map_err(Error::io("write"))?;
        if let Some(before) = &self.before {
            xattr::copy(&before.file, &staged, &self.spot.path)?;
            self.keep_owner(&staged, &before.stamp)?;
        }
        // After the owner: changing that clears the set-id bits.
        rustix::fs::fchmod(&staged, Mode::from_raw_mode(self.mode)).map_err(|errno| refused(errno, &self.spot.path))?;
        staged.sync_all().map_err(Error::io("make durable"))?;
        Ok(staged)
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
    fn publish(&self, temporary: &CStr) -> Result<(), Error> {
        let Spot { parent, name, path } = &self.spot;
        let Some(before) = &self.before else {
            return match renameat_with(parent, temporary, parent, name.as_c_str(), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => Err(changed(&self.spot, "something was created there meanwhile")),
                done => done.map_err(|errno| refused(errno, path)),
            };
        };
        let now = hold_child(parent, name).map_err(|_| changed(&self.spot, "it was moved away meanwhile"))?;
        if !Stamp::of(now)?.is_same_content(&before.stamp) {
            return Err(changed(&self.spot, "it was changed meanwhile"));
        }
        renameat_with(parent, temporary, parent, name.as_c_str(), RenameFlags::EXCHANGE)
            .map_err(|errno| refused(errno, path))?;
        // What was exchanged lies under the temporary name now: the last chance to see a lost update.
        let replaced = hold_child(parent, temporary).map_err(|errno| refused(errno, path))?;
        if !Stamp::of(replaced)?.is_same_content(&before.stamp) {
            renameat_with(parent, temporary, parent, name.as_c_str(), RenameFlags::EXCHANGE)
                .map_err(|errno| refused(errno, path))?;
            return Err(changed(&self.spot, "it was changed meanwhile"));
        }
        Ok(())
    }

    /// What is at the place now.
    fn measure(&self) -> Result<(FileState, Vec<u8>), Error> {
        let mut now = file(self.spot.open(READ)?);
        let mut state = Stamp::of(&now)?.state();
        state.sha256 = sha256(&mut now)?;
        let text = if state.size <= MAX_TEXT_BYTES { small_content(&now)? } else { Vec::new() };
        Ok((state, text))
    }
}

impl Step for Replacement {
    fn effects(&self) -> Vec<ObservedEffect> {
        let owner = self.before.as_ref().map_or_else(own_ids, |before| (before.stamp.uid, before.stamp.gid));
        let after = FileState {
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
        }
        digest.finalize().to_vec()
    }

    fn perform(&mut self, permit_id: &str) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        if self.is_same_content() && self.is_same_mode() {
            return Ok((Vec::new(), None));
        }
        let temporary: CString = hidden_name(permit_id, "new");
        let published = self.stage(&temporary).and_then(|_| self.publish(&temporary));
        // Holds the replaced file, or what could not be published, or nothing.
        let _ = unlinkat(&self.spot.parent, temporary.as_c_str(), AtFlags::empty());
        published?;
        let durable = self.spot.sync_parent().err();
        let (state, text) = self.measure()?;
        Ok((self.effects_of(&state, &text), durable))
    }
}

impl Before {
    fn of(spot: &Spot) -> Result<Option<Self>, Error> {
        let held = match hold_child(&spot.parent, &spot.name) {
            Ok(held) => Stamp::of(held)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(refused(errno, &spot.path)),
        };
        match held.file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(not_usable(&spot.path, "is a directory")),
            FileType::Symlink => return Err(not_usable(&spot.path, "is a symbolic link; name the real path")),
            _ => return Err(not_usable(&spot.path, "is not a regular file")),
        }
        if held.nlink > 1 {
            let message = format!(
                "{} has {} names; replacing it would break its hard links, so nothing was written",
                show(&spot.path),
                held.nlink
            );
            return Err(Error::use_tool(Reason::UnsupportedChange, message, "terminal.exec"));
        }
        let mut file = file(spot.open(READ)?);
        let stamp = Stamp::of(&file)?;
        if (stamp.dev, stamp.ino) != (held.dev, held.ino) {
            return Err(changed(spot, "it is being replaced while it is opened"));
        }
        let sha256 = sha256(&mut file)?;
        let text = if stamp.size <= MAX_TEXT_BYTES { small_content(&file)? } else { Vec::new() };
        Ok(Some(Self { file, stamp, sha256, text }))
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

fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
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

fn mode(arguments: &Arguments) -> Result<Option<u32>, Error> {
    let Some(text) = arguments.text("mode")? else { return Ok(None) };
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => Err(invalid("mode", "octal permission bits such as 0644")),
    }
}

fn exists(spot: &Spot) -> Error {
    let message = format!("{} exists already", show(&spot.path));
    Error::fix(Reason::PathExists, message, "/arguments/path", "a path that does not exist")
}

fn changed(spot: &Spot, why: &str) -> Error {
    let message = format!("{} is not as it was read: {why}; nothing was written", show(&spot.path));
    Error::fix(Reason::ContentChanged, message, "/arguments/expected_sha256", "the digest of the file as it is now")
}
