//! A deployment root, held open: what is live, what is remembered, and the steps that change either.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use prost::Message;
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fsync, mkdirat, openat, readlinkat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::is_release_id;
use crate::Error;
use crate::native::arguments::about;
use crate::native::beneath::{READ, Root, Spot, file, hold_child, not_usable, open_child, refused, show};
use crate::native::chmod::SET_GROUP;
use crate::native::hidden::{hidden_name, remove_hidden};
use crate::native::inherited::Inherited;
use crate::native::measure::Stamp;
use crate::native::walk::join;
use crate::native::write::own_ids;

use super::state::State;

pub(super) const RELEASES: &CStr = c"releases";

pub(super) const OWN: &CStr = c".deploy";

pub(super) const CURRENT: &CStr = c"current";

const STATE: &CStr = c"state";

/// What is remembered never grows beyond this.
const MAX_STATE: u64 = 4 * 1024 * 1024;

const DIR_MODE: u32 = 0o755;

/// Nobody can give a link another.
const LINK_MODE: u32 = 0o777;

/// A deployment root and what was found in it.
pub(super) struct Site {
    pub(super) path: Vec<u8>,
    pub(super) dir: OwnedFd,
    /// As it is remembered, an interrupted deployment included.
    pub(super) state: State,
    state_bytes: Option<Vec<u8>>,
    /// Text of `current`, if it is there.
    pub(super) link: Option<Vec<u8>>,
    /// `current` as it was found.
    link_state: Option<FileState>,
}

impl Site {
    /// Looks at a root.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`.
    pub(super) fn open(root: &Root, path: &[u8]) -> Result<Self, Error> {
        if let Some(other) = around(root, path) {
            let why = format!("lies in a release of the deployment {}, which nothing may change", show(&other));
            return Err(about("root", not_usable(path, &why)));
        }
        let dir = root.open(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|error| about("root", error))?;
        let state = State::default();
        let mut site = Self { path: path.to_vec(), dir, state, state_bytes: None, link: None, link_state: None };
        site.link = site.read_link()?;
        site.link_state = site.link.is_some().then(|| site.measure(CURRENT)).transpose()?;
        site.state_bytes = site.read_state()?;
        if let Some(bytes) = &site.state_bytes {
            let damaged = |_| site.refuse(OWN, "holds a state that cannot be read; move it away to begin anew");
            site.state = State::decode(bytes.as_slice()).map_err(damaged)?;
        }
        Ok(site)
    }

    /// Makes sure that nothing changed since it was looked at. Only sensible under the lock.
    ///
    /// # Errors
    /// `CONTENT_CHANGED`.
    pub(super) fn check_unmoved(&self) -> Result<(), Error> {
        if self.read_link()? == self.link && self.read_state()? == self.state_bytes {
            return Ok(());
        }
        let message = format!("{} was deployed to meanwhile; nothing was applied; plan anew", show(&self.path));
        Err(Error::fix(Reason::ContentChanged, message, "/arguments/root", "a root that nobody else deploys to"))
    }

    /// The release that `current` points at; `None` if there is no link or it leads elsewhere.
    pub(super) fn live(&self) -> Option<&str> {
        let link = self.link.as_deref()?;
        let relative = link.strip_prefix(self.path.as_slice()).and_then(|rest| rest.strip_prefix(b"/")).unwrap_or(link);
        let id = relative.strip_prefix(b"releases/")?;
        std::str::from_utf8(id).ok().filter(|id| is_release_id(id.as_bytes()))
    }

    /// The state without a deployment that died.
    pub(super) fn settled(&self) -> State {
        self.state.clone().settled(self.live())
    }

    /// Feeds everything that a deployment rests on into a digest.
    pub(super) fn digest_into(&self, digest: &mut Sha256) -> Result<(), Error> {
        let top = Stamp::of(&self.dir)?;
        for part in [top.dev, top.ino] {
            digest.update(part.to_le_bytes());
        }
        for part in [&self.link, &self.state_bytes] {
            digest.update((part.as_ref().map_or(u64::MAX, |part| part.len() as u64)).to_le_bytes());
            digest.update(part.as_deref().unwrap_or_default());
        }
        Ok(())
    }

    pub(super) fn at(&self, name: &CStr) -> Vec<u8> {
        join(&self.path, name.to_bytes())
    }

    pub(super) fn release_path(&self, id: &str) -> Vec<u8> {
        join(&self.at(RELEASES), id.as_bytes())
    }

    /// The place of a release.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND` if there is no `releases` yet, `PATH_NOT_USABLE`.
    pub(super) fn release_spot(&self, id: &str) -> Result<Spot, Error> {
        let opened = open_child(&self.dir, RELEASES, OFlags::PATH | OFlags::DIRECTORY);
        let parent = opened.map_err(|errno| about("root", refused(errno, &self.at(RELEASES))))?;
        let name = CString::new(id).expect("an id holds no NUL");
        Ok(Spot { parent, name, path: self.release_path(id) })
    }

    /// What is at the place of a release.
    ///
    /// # Errors
    /// `PATH_NOT_USABLE` if it is not a directory.
    pub(super) fn release(&self, id: &str) -> Result<Option<(Spot, Stamp)>, Error> {
        let spot = match self.release_spot(id) {
            Ok(spot) => spot,
            Err(error) if error.reason() == Reason::PathNotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp = match hold_child(&spot.parent, &spot.name) {
            Ok(held) => Stamp::of(held)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(about("release", refused(errno, &spot.path))),
        };
        if stamp.file_type() != FileType::Directory {
            return Err(about("release", not_usable(&spot.path, "is not a directory")));
        }
        Ok(Some((spot, stamp)))
    }

    pub(super) fn own_dir(&self) -> Result<OwnedFd, Error> {
        open_child(&self.dir, OWN, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| about("root", refused(errno, &self.at(OWN))))
    }

    /// Directories of the layout that are missing.
    ///
    /// # Errors
    /// `PATH_NOT_USABLE` if something else has the name.
    pub(super) fn missing(&self) -> Result<Vec<&'static CStr>, Error> {
        let mut missing = Vec::new();
        for name in [OWN, RELEASES] {
            match hold_child(&self.dir, name) {
                Ok(held) if Stamp::of(&held)?.file_type() == FileType::Directory => {}
                Ok(_) => return Err(self.refuse(name, "is not a directory")),
                Err(Errno::NOENT) => missing.push(name),
                Err(errno) => return Err(about("root", refused(errno, &self.at(name)))),
            }
        }
        Ok(missing)
    }

    /// Makes directories of the layout.
    ///
    /// # Errors
    /// The operating system's refusal; none of them is left.
    pub(super) fn make(&self, missing: &[&'static CStr]) -> Result<(), Error> {
        let make = |name: &CStr| -> Result<(), Errno> {
            mkdirat(&self.dir, name, Mode::from_raw_mode(0o700))?;
            let made = open_child(&self.dir, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            fchmod(&made, Mode::from_raw_mode(DIR_MODE))?;
            fsync(&made)?;
            fsync(&self.dir)
        };
        for name in missing {
            if let Err(errno) = make(name) {
                self.unmake(missing);
                return Err(about("root", refused(errno, &self.at(name))));
            }
        }
        Ok(())
    }

    /// Removes directories of the layout, as far as they are empty.
    pub(super) fn unmake(&self, made: &[&'static CStr]) {
        for name in made {
            let _ = unlinkat(&self.dir, *name, AtFlags::REMOVEDIR);
        }
    }

    /// Removes the layout if nothing was ever deployed here.
    pub(super) fn unmake_unused(&self) {
        if unlinkat(&self.dir, OWN, AtFlags::REMOVEDIR).is_ok() {
            self.unmake(&[RELEASES]);
        }
    }

    /// What making directories of the layout does.
    pub(super) fn made(&self, missing: &[&'static CStr]) -> Vec<ObservedEffect> {
        let (uid, gid) = owner_in(&self.dir);
        let after = FileState { r#type: FileType::Directory.into(), mode: DIR_MODE, uid, gid, ..FileState::default() };
        let effect = |name: &&CStr| ObservedEffect {
            kind: EffectKind::FileCreate.into(),
            target: escape(&self.at(name)),
            count: 1,
            reversible: true,
            file: Some(FileChange { after: Some(after.clone()), ..FileChange::default() }),
            ..ObservedEffect::default()
        };
        missing.iter().map(effect).collect()
    }

    /// Replaces what is remembered, durably.
    ///
    /// # Errors
    /// The operating system's refusal; then the old state is there.
    pub(super) fn remember(&self, state: &State, permit_id: &str) -> Result<(), Error> {
        self.write_state(&state.encode_to_vec(), permit_id)
    }

    /// Puts back what was remembered before.
    pub(super) fn forget(&self, permit_id: &str) {
        let _ = match &self.state_bytes {
            Some(bytes) => self.write_state(bytes, permit_id),
            None => self.own_dir().map(|dir| {
                let _ = unlinkat(dir, STATE, AtFlags::empty());
            }),
        };
    }

    fn write_state(&self, bytes: &[u8], permit_id: &str) -> Result<(), Error> {
        let dir = self.own_dir()?;
        let hidden = hidden_name(permit_id, "new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |doing: &'static str| move |errno: Errno| Error::io(doing)(errno.into());
        let made = openat(&dir, &*hidden, flags, Mode::from_raw_mode(0o644));
        let mut made = File::from(made.map_err(failed("write the deployment's state"))?);
        let written = made.write_all(bytes).and_then(|()| made.sync_all());
        if let Err(error) = written {
            let _ = unlinkat(&dir, &*hidden, AtFlags::empty());
            return Err(Error::io("write the deployment's state")(error));
        }
        renameat(&dir, &*hidden, &dir, STATE).map_err(failed("replace the deployment's state"))?;
        fsync(&dir).map_err(failed("make the deployment's state durable"))
    }

    /// That what is remembered changes. The times in it are not known before.
    pub(super) fn remembered(&self) -> ObservedEffect {
        let kind = if self.state_bytes.is_some() { EffectKind::FileModify } else { EffectKind::FileCreate };
        ObservedEffect {
            kind: kind.into(),
            target: escape(&join(&self.at(OWN), STATE.to_bytes())),
            count: 1,
            reversible: true,
            ..ObservedEffect::default()
        }
    }

    /// Points `current` elsewhere in one step.
    ///
    /// # Errors
    /// `CONTENT_CHANGED` if it is not as it was expected, or the operating system's refusal: it was
    /// not moved. What comes back otherwise is why the move may not outlive a loss of power.
    pub(super) fn switch(
        &self,
        expected: Option<&[u8]>,
        to: Option<&[u8]>,
        permit_id: &str,
    ) -> Result<Option<Error>, Error> {
        let failed = |errno: Errno| about("root", refused(errno, &self.at(CURRENT)));
        if self.read_link()?.as_deref() != expected {
            let message = format!("{} was changed meanwhile; it was left as it is", show(&self.at(CURRENT)));
            let expected = "a root that nobody else deploys to";
            return Err(Error::fix(Reason::ContentChanged, message, "/arguments/root", expected));
        }
        match to {
            Some(to) => {
                let hidden = hidden_name(permit_id, "link");
                let to = CString::new(to).map_err(|_| failed(Errno::INVAL))?;
                let _ = unlinkat(&self.dir, &*hidden, AtFlags::empty());
                symlinkat(&to, &self.dir, &*hidden).map_err(failed)?;
                super::point("link");
                if let Err(errno) = renameat(&self.dir, &*hidden, &self.dir, CURRENT) {
                    let _ = unlinkat(&self.dir, &*hidden, AtFlags::empty());
                    return Err(failed(errno));
                }
            }
            None => unlinkat(&self.dir, CURRENT, AtFlags::empty()).map_err(failed)?,
        }
        Ok(fsync(&self.dir).err().map(|errno| Error::io("make the switch durable")(errno.into())))
    }

    /// What a switch does to `current`.
    pub(super) fn switched(&self, to: &[u8]) -> ObservedEffect {
        let (uid, gid) = owner_in(&self.dir);
        let after = FileState {
            r#type: FileType::Symlink.into(),
            size: to.len() as u64,
            mode: LINK_MODE,
            uid,
            gid,
            link_target: escape(to),
            ..FileState::default()
        };
        let kind = if self.link.is_some() { EffectKind::FileModify } else { EffectKind::FileCreate };
        ObservedEffect {
            kind: kind.into(),
            target: escape(&self.at(CURRENT)),
            count: 1,
            reversible: true,
            file: Some(FileChange { before: self.link_state.clone(), after: Some(after), ..FileChange::default() }),
            ..ObservedEffect::default()
        }
    }

    /// Of what was made and switched as planned, tells what is there now.
    ///
    /// # Errors
    /// What keeps it from being looked at: it is told as planned.
    pub(super) fn measured(&self, effects: &mut [ObservedEffect]) -> Result<(), Error> {
        for name in [OWN, RELEASES, CURRENT] {
            let target = escape(&self.at(name));
            let of_it = effects.iter_mut().filter(|effect| effect.target == target);
            for after in of_it.filter_map(|effect| effect.file.as_mut()?.after.as_mut()) {
                *after = self.measure(name)?;
            }
        }
        Ok(())
    }

    fn measure(&self, name: &CStr) -> Result<FileState, Error> {
        let failed = |errno| about("root", refused(errno, &self.at(name)));
        let held = hold_child(&self.dir, name).map_err(failed)?;
        let stamp = Stamp::of(&held)?;
        let link_target = match stamp.file_type() {
            FileType::Symlink => escape(readlinkat(held, c"", Vec::new()).map_err(failed)?.as_bytes()),
            _ => String::new(),
        };
        Ok(FileState { link_target, ..stamp.state() })
    }

    /// Who will own what is copied beneath `releases`.
    pub(super) fn owner_of_releases(&self) -> (u32, u32) {
        // One that is yet to be made hands its group to nobody.
        hold_child(&self.dir, RELEASES).map_or_else(|_| own_ids(), owner_in)
    }

    /// What is copied beneath `releases` inherits; one that is yet to be made passes on what it has from above.
    pub(super) fn inherited_by_releases(&self) -> Inherited {
        let there = hold_child(&self.dir, RELEASES).and_then(Inherited::of);
        there.or_else(|_| Inherited::of(&self.dir)).unwrap_or_default()
    }

    /// Is a copy there that was not given the name of its release?
    pub(super) fn is_staged(&self, permit_id: &str) -> bool {
        let spot = self.release_spot("x");
        spot.is_ok_and(|spot| hold_child(&spot.parent, &hidden_name(permit_id, "new")).is_ok())
    }

    /// Removes what a deployment that died left under names of its own.
    pub(super) fn sweep(&self, permit_id: &str) {
        let _ = unlinkat(&self.dir, &*hidden_name(permit_id, "link"), AtFlags::empty());
        if let Ok(own) = self.own_dir() {
            let _ = unlinkat(own, &*hidden_name(permit_id, "new"), AtFlags::empty());
        }
        for role in ["new", "gone"] {
            let hidden = hidden_name(permit_id, role);
            let Ok(spot) = self.release_spot("x") else { return };
            let Ok(held) = hold_child(&spot.parent, &hidden) else { continue };
            if let Ok(stamp) = Stamp::of(held)
                && let Err(error) = remove_hidden(&spot, &hidden, stamp.file_type())
            {
                tracing::warn!(root = show(&self.path), %error, "what a dead deployment left cannot be removed");
            }
        }
    }

    /// Removes a release that is not live: first out of sight, then for good.
    ///
    /// # Errors
    /// What keeps it from being removed.
    pub(super) fn remove(&self, id: &str, permit_id: &str) -> Result<(), Error> {
        let Some((spot, stamp)) = self.release(id)? else { return Ok(()) };
        let hidden = hidden_name(permit_id, "gone");
        renameat(&spot.parent, &*spot.name, &spot.parent, &*hidden).map_err(|errno| refused(errno, &spot.path))?;
        super::point("hidden");
        remove_hidden(&spot, &hidden, stamp.file_type())?;
        spot.sync_parent()
    }

    fn read_link(&self) -> Result<Option<Vec<u8>>, Error> {
        let held = match hold_child(&self.dir, CURRENT) {
            Ok(held) => held,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(about("root", refused(errno, &self.at(CURRENT)))),
        };
        if Stamp::of(&held)?.file_type() != FileType::Symlink {
            return Err(self.refuse(CURRENT, "is not a symbolic link, so it cannot be switched; move it away"));
        }
        let text = readlinkat(held, c"", Vec::new()).map_err(|errno| about("root", refused(errno, &self.at(CURRENT))));
        text.map(|text| Some(text.into_bytes()))
    }

    fn read_state(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = join(&self.at(OWN), STATE.to_bytes());
        let opened =
            open_child(&self.dir, OWN, OFlags::PATH | OFlags::DIRECTORY).and_then(|own| open_child(own, STATE, READ));
        let opened = match opened {
            Ok(opened) => file(opened),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(about("root", refused(errno, &path))),
        };
        let mut bytes = Vec::new();
        if Stamp::of(&opened)?.file_type() == FileType::Regular {
            opened.take(MAX_STATE + 1).read_to_end(&mut bytes).map_err(Error::io("read the deployment's state"))?;
            if bytes.len() as u64 <= MAX_STATE {
                return Ok(Some(bytes));
            }
        }
        Err(self.refuse(OWN, "holds a state that cannot be read; move it away to begin anew"))
    }

    fn refuse(&self, name: &CStr, why: &str) -> Error {
        about("root", not_usable(&self.at(name), why))
    }
}

/// The root whose releases, or whose memory, a path lies in.
fn around(root: &Root, path: &[u8]) -> Option<Vec<u8>> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let is_root = |above: &[u8], rest: &[u8]| {
        let name = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
        let is_own = name == RELEASES.to_bytes() || name == OWN.to_bytes();
        is_own && root.open(&join(above, OWN.to_bytes()), OFlags::PATH | OFlags::DIRECTORY).is_ok()
    };
    slashes
        .map(|at| (&path[..at], &path[at + 1..]))
        .find(|(above, rest)| is_root(above, rest))
        .map(|(it, _)| it.to_vec())
}

/// Owner and group of what this process makes in a directory.
fn owner_in(dir: impl AsFd) -> (u32, u32) {
    let (uid, own) = own_ids();
    let above = Stamp::of(dir).ok().filter(|above| above.permissions() & SET_GROUP != 0);
    (uid, above.map_or(own, |above| above.gid))
}

/// Text of the link to a release: relative, so that the root may be moved.
pub(super) fn link_to(id: &str) -> Vec<u8> {
    format!("releases/{id}").into_bytes()
}
