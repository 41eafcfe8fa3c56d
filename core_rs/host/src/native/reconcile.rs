//! Settling what a crash left: does the expected effect hold, or was nothing touched?

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use cmdop_contract::v1::{FileType, Outcome, Reason, Stage};
use rustix::fs::{AtFlags, OFlags, unlinkat};
use rustix::io::Errno;

use super::arguments::Arguments;
use super::beneath::{Spot, hold_child};
use super::delete::remove_hidden;
use super::measure::{Stamp, sha256, sha256_of};
use super::read::open_regular;
use super::write::{MAX_SPLICED_BYTES, content, mode};
use super::{Native, deploy, hidden_name, service};
use crate::Error;
use crate::admit::Interrupted;
use crate::service::State;

impl Native {
    /// What became of a tool whose process died, and the removal of what it left half-way.
    /// `None` if nobody can tell.
    #[must_use]
    pub fn reconcile(&self, interrupted: &Interrupted) -> Option<Outcome> {
        let permit = interrupted.permit();
        if permit.stage() == Stage::Preview {
            return None;
        }
        let action = permit.action.as_ref()?;
        let settled = match action.tool.as_str() {
            "files.write" => self.reconcile_write(interrupted, &Arguments::of(action).ok()?),
            "files.edit" => self.reconcile_edit(interrupted, &Arguments::of(action).ok()?),
            "files.mkdir" => self.reconcile_mkdir(interrupted, &Arguments::of(action).ok()?),
            "files.chmod" => self.reconcile_chmod(interrupted, &Arguments::of(action).ok()?),
            "files.move" => self.reconcile_move(&Arguments::of(action).ok()?),
            "files.copy" => self.reconcile_copy(interrupted, &Arguments::of(action).ok()?),
            "service.start" => self.reconcile_service(&Arguments::of(action).ok()?, true),
            "service.stop" => self.reconcile_service(&Arguments::of(action).ok()?, false),
            "deploy.release" | "deploy.rollback" => {
                deploy::settle(&self.root, &Arguments::of(action).ok()?, &permit.permit_id)
            }
            "files.delete" => self.reconcile_delete(interrupted, &Arguments::of(action).ok()?),
            _ => return None,
        };
        settled.unwrap_or_else(|error| {
            tracing::warn!(permit = permit.permit_id, %error, "an interrupted tool could not be reconciled");
            None
        })
    }

    fn reconcile_write(&self, interrupted: &Interrupted, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
        let spot = self.root.spot(&arguments.path()?)?;
        let expected = sha256_of(&content(arguments)?);
        let temporary = hidden_name(&interrupted.permit().permit_id, "new");
        // Half written, complete and not yet in place, or the replaced file: in no case needed.
        let left = unlinkat(&spot.parent, temporary.as_c_str(), AtFlags::empty()).is_ok();
        let Some(now) = stamp(&spot)? else {
            // To create is one rename of the temporary file, so it cannot have happened.
            return Ok(left.then_some(Outcome::NotApplied));
        };
        let mut file = open_regular(&self.root, &spot.path)?;
        let found = sha256(&mut file)?;
        if let Some(offset) = arguments.number("offset")? {
            return part(&mut file, &found, offset, arguments);
        }
        if found == expected {
            return Ok(Some(Outcome::Applied));
        }
        Ok(now.is_untouched_since(interrupted.noted_at()).then_some(Outcome::NotApplied))
    }

    /// Nobody remembers what the file held: only one that nobody touched is surely as it was.
    fn reconcile_edit(&self, interrupted: &Interrupted, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
        let spot = self.root.spot(&arguments.path()?)?;
        let temporary = hidden_name(&interrupted.permit().permit_id, "new");
        let _ = unlinkat(&spot.parent, temporary.as_c_str(), AtFlags::empty());
        let Some(now) = stamp(&spot)? else { return Ok(None) };
        let found = sha256(&mut open_regular(&self.root, &spot.path)?)?;
        let is_expected =
            arguments.text("expected_sha256")?.is_some_and(|expected| expected.eq_ignore_ascii_case(&found));
        let is_untouched = is_expected || now.is_untouched_since(interrupted.noted_at());
        Ok(is_untouched.then_some(Outcome::NotApplied))
    }

    /// A tree of directories appears in one rename.
    fn reconcile_mkdir(&self, interrupted: &Interrupted, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
        let hidden = hidden_name(&interrupted.permit().permit_id, "new");
        let path = arguments.path()?;
        let mut here = path.as_slice();
        for _ in 0..=arguments.number("parents")?.unwrap_or(0) {
            if let Ok(spot) = self.root.spot(here)
                && hold_child(&spot.parent, &hidden).is_ok()
            {
                remove_hidden(&spot, &hidden, FileType::Directory)?;
            }
            here = &here[..here.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        }
        match self.root.open(&path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(Some(Outcome::Applied)),
            Err(error) if error.reason() == Reason::PathNotFound => Ok(Some(Outcome::NotApplied)),
            Err(_) => Ok(None),
        }
    }

    fn reconcile_chmod(&self, interrupted: &Interrupted, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
        let spot = self.root.spot(&arguments.path()?)?;
        let Some(now) = stamp(&spot)? else { return Ok(None) };
        if mode(arguments)? == Some(now.permissions()) {
            return Ok(Some(Outcome::Applied));
        }
        Ok(now.is_untouched_since(interrupted.noted_at()).then_some(Outcome::NotApplied))
    }

    /// Where both names are taken or free, nobody can tell whether what was moved is what is there.
    fn reconcile_move(&self, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
        let from = self.root.spot(&arguments.path_of("from")?)?;
        let to = self.root.spot(&arguments.path_of("to")?)?;
        Ok(match (stamp(&from)?, stamp(&to)?) {
            (None, Some(_)) => Some(Outcome::Applied),
            (Some(_), None) => Some(Outcome::NotApplied),
            _ => None,
        })
    }

    fn reconcile_copy(&self, interrupted: &Interrupted, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
        let to = self.root.spot(&arguments.path_of("to")?)?;
        let hidden = hidden_name(&interrupted.permit().permit_id, "new");
        if let Ok(left) = hold_child(&to.parent, &hidden) {
            remove_hidden(&to, &hidden, Stamp::of(left)?.file_type())?;
            // The copy appears when it is renamed, so it did not.
            return Ok(Some(Outcome::NotApplied));
        }
        Ok(if stamp(&to)?.is_none() { Some(Outcome::NotApplied) } else { None })
    }

    /// A service that is as it was to become is; of any other nobody knows why.
    fn reconcile_service(&self, arguments: &Arguments, shall_run: bool) -> Result<Option<Outcome>, Error> {
        let status = self.supervisor.status(&service::name(arguments)?)?;
        let runs = status.state == State::Running;
        Ok((runs == shall_run && status.state != State::Changing).then_some(Outcome::Applied))
    }

    fn reconcile_delete(&self, interrupted: &Interrupted, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
        let spot = self.root.spot(&arguments.path()?)?;
        let hidden = hidden_name(&interrupted.permit().permit_id, "gone");
        match hold_child(&spot.parent, &hidden) {
            Ok(left) => {
                remove_hidden(&spot, &hidden, Stamp::of(left)?.file_type())?;
                return Ok(Some(Outcome::Applied));
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::io("look for what was being deleted")(errno.into())),
        }
        Ok(match stamp(&spot)? {
            None => Some(Outcome::Applied),
            Some(now) => now.is_untouched_since(interrupted.noted_at()).then_some(Outcome::NotApplied),
        })
    }
}

/// What became of a part that was written into a file of a known digest.
fn part(file: &mut File, found: &str, offset: u64, arguments: &Arguments) -> Result<Option<Outcome>, Error> {
    let expected = arguments.required("expected_sha256")?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(Some(Outcome::NotApplied));
    }
    let mut whole = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(Error::io("seek"))?;
    file.take(MAX_SPLICED_BYTES).read_to_end(&mut whole).map_err(Error::io("read"))?;
    // Of what was put at the end, what stood before it tells.
    let at = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
    let (before, added) = whole.split_at(at);
    let is_appended = sha256_of(before).eq_ignore_ascii_case(expected) && added == content(arguments)?;
    Ok(is_appended.then_some(Outcome::Applied))
}

fn stamp(spot: &Spot) -> Result<Option<Stamp>, Error> {
    match hold_child(&spot.parent, &spot.name) {
        Ok(held) => Stamp::of(held).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("look at what was being changed")(errno.into())),
    }
}
