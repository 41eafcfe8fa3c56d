//! `files.mkdir`: a directory, with as many above it as were asked for, all at once.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use rustix::fs::{Mode, OFlags, mkdirat};
use rustix::io::Errno;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::Arguments;
use super::beneath::{Root, Spot, hold_child, open_child, refused, show};
use super::chmod::SET_GROUP;
use super::inherited::{self, Inherited};
use super::measure::Stamp;
use super::nursery::{self, Nursery};
use super::write::{changed, exists, mode, own_ids};
use super::{Means, Step, measured};
use crate::Error;

const DEFAULT_MODE: u32 = 0o755;

/// Directories to make, the topmost first. Empty if nothing is to be done.
pub(crate) struct Making {
    /// Where the topmost lies.
    spot: Spot,
    /// The directory above it.
    above: Stamp,
    /// What that gives to all of them.
    inherited: Inherited,
    paths: Vec<Vec<u8>>,
    mode: u32,
}

impl Making {
    /// Finds out what is missing.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND` if more is missing than may be made, `PATH_EXISTS`, `PATH_NOT_USABLE`,
    /// `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let path = arguments.path()?;
        let parents = arguments.number("parents")?.unwrap_or(0);
        let (spot, mut paths) = missing(root, &path, parents)?;
        match hold_child(&spot.parent, &spot.name) {
            Ok(held) if paths.len() == 1 && Stamp::of(&held)?.file_type() == FileType::Directory => paths.clear(),
            Ok(_) => return Err(exists(&spot)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(refused(errno, &spot.path)),
        }
        let above = Stamp::of(&spot.parent)?;
        // The kernel passes the bit on, and with it the group.
        let mode = mode(arguments)?.unwrap_or(DEFAULT_MODE) | (above.permissions() & SET_GROUP);
        let inherited = Inherited::of(&spot.parent).map_err(|errno| refused(errno, &spot.path))?;
        Ok(Self { spot, above, inherited, paths, mode })
    }

    fn effect(&self, path: &[u8], after: FileState) -> ObservedEffect {
        ObservedEffect {
            kind: EffectKind::FileCreate.into(),
            target: escape(path),
            count: 1,
            bytes: 0,
            reversible: true,
            file: Some(FileChange { after: Some(after), ..FileChange::default() }),
            network: None,
            process: None,
        }
    }

    /// Makes all of them where nobody sees them.
    fn stage(&self, dir: &OwnedFd) -> Result<(), Error> {
        let mut here = make(dir, nursery::NAME, self.mode, &self.spot.path)?;
        for path in &self.paths[1..] {
            here = make(&here, &last_name(path), self.mode, path)?;
        }
        Ok(())
    }

    /// All of them appear, if the directory above is still what was looked at.
    fn publish(&self, with: &Means<'_>) -> Result<(), Error> {
        let mut draft = with.journals.draft(with.call_id)?;
        let replaced = || changed(&self.spot, "the directory above it was replaced or given to others meanwhile");
        let above = Stamp::of(&self.spot.parent)?;
        let inherited = Inherited::of(&self.spot.parent).map_err(|errno| refused(errno, &self.spot.path))?;
        if (above.mode, above.gid, &inherited) != (self.above.mode, self.above.gid, &self.inherited) {
            return Err(replaced());
        }
        let nursery = Nursery::open(&mut draft, &self.spot).map_err(|error| match error.reason() {
            Reason::CommitConflict => replaced(),
            _ => error,
        })?;
        self.stage(nursery.dir())?;
        nursery.leave(&mut draft, self.mode)?;
        draft.restore_times(&self.spot)?;
        draft.commit().map_err(|error| match error.reason() {
            Reason::CommitConflict => changed(&self.spot, "something was created there meanwhile"),
            _ => error,
        })
    }

    fn measure(&self) -> Result<Vec<ObservedEffect>, Error> {
        let mut effects = Vec::new();
        let mut here = self.spot.open(OFlags::PATH)?;
        for (index, path) in self.paths.iter().enumerate() {
            if index > 0 {
                here = open_child(&here, &last_name(path), OFlags::PATH).map_err(|errno| refused(errno, path))?;
            }
            let xattrs = inherited::found(&here, path).map_err(|errno| refused(errno, path))?;
            effects.push(self.effect(path, FileState { xattrs, ..Stamp::of(&here)?.state() }));
        }
        Ok(effects)
    }
}

/// The first missing directory and the paths from it down to the one that is wanted.
fn missing(root: &Root, path: &[u8], parents: u64) -> Result<(Spot, Vec<Vec<u8>>), Error> {
    let mut paths = vec![path.to_vec()];
    loop {
        let here = paths[0].clone();
        match root.spot(&here) {
            Ok(spot) => return Ok((spot, paths)),
            Err(error) if error.reason() == Reason::PathNotFound => {
                let at = here.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                let above = here[..at].to_vec();
                if paths.len() as u64 > parents {
                    let message = format!("{} does not exist, nor may it be made", show(&above));
                    let expected = format!("more than {parents}, or a path whose directory exists");
                    return Err(Error::fix(Reason::PathNotFound, message, "/arguments/parents", &expected));
                }
                paths.insert(0, above);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes and holds one directory with exactly these permission bits, whatever the umask says.
fn make(parent: impl AsFd, name: &CStr, mode: u32, path: &[u8]) -> Result<OwnedFd, Error> {
    let made = mkdirat(&parent, name, Mode::from_raw_mode(0o700));
    made.map_err(|errno| refused(errno, path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let opened = open_child(&parent, name, flags).map_err(|errno| refused(errno, path))?;
    rustix::fs::fchmod(&opened, Mode::from_raw_mode(mode)).map_err(|errno| refused(errno, path))?;
    rustix::fs::fsync(&opened).map_err(|errno| Error::io("make durable")(errno.into()))?;
    Ok(opened)
}

fn last_name(path: &[u8]) -> CString {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    CString::new(&path[at..]).expect("a path that was looked up holds no NUL")
}

impl Step for Making {
    fn effects(&self) -> Vec<ObservedEffect> {
        let (uid, own) = own_ids();
        let gid = if self.mode & SET_GROUP == 0 { own } else { self.above.gid };
        let kind = FileType::Directory.into();
        let after = |path: &[u8]| {
            let xattrs = self.inherited.shown(path, FileType::Directory, self.mode);
            FileState { r#type: kind, mode: self.mode, uid, gid, xattrs, ..FileState::default() }
        };
        self.paths.iter().map(|path| self.effect(path, after(path))).collect()
    }

    fn result(&self) -> Value {
        json!({"created": self.paths.iter().map(|path| escape(path)).collect::<Vec<_>>()})
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        // Not its times: siblings may come and go.
        for part in [self.above.dev, self.above.ino, u64::from(self.above.mode)] {
            digest.update(part.to_le_bytes());
        }
        self.inherited.digest_into(&mut digest);
        digest.finalize().to_vec()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        if self.paths.is_empty() {
            return Ok((Vec::new(), None));
        }
        self.publish(with)?;
        Ok(measured(self.effects(), || self.measure()))
    }
}
