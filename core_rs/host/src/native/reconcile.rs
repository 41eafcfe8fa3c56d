//! Settling what a crash left: the journal tells, or else whether the expected effect holds.

use cmdop_contract::v1::{FileType, Outcome, Reason, Stage};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::arguments::Arguments;
use super::beneath::{Spot, hold_child};
use super::hidden::{hidden_name, remove_hidden};
use super::measure::Stamp;
use super::write::mode;
use super::{Native, deploy, service};
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
            "files.write" | "files.edit" | "files.delete" => Ok(self.journals.recover(interrupted)),
            "files.undo" => {
                let arguments = Arguments::of(action).ok()?;
                Ok(self.journals.recover_undo(arguments.required("call").ok()?, interrupted))
            }
            "files.mkdir" => self.reconcile_mkdir(interrupted, &Arguments::of(action).ok()?),
            "files.chmod" => self.reconcile_chmod(interrupted, &Arguments::of(action).ok()?),
            "files.move" => self.reconcile_move(&Arguments::of(action).ok()?),
            "files.copy" => self.reconcile_copy(interrupted, &Arguments::of(action).ok()?),
            "service.start" => self.reconcile_service(&Arguments::of(action).ok()?, true),
            "service.stop" => self.reconcile_service(&Arguments::of(action).ok()?, false),
            "deploy.release" | "deploy.rollback" => {
                deploy::settle(&self.root, &Arguments::of(action).ok()?, &permit.permit_id)
            }
            _ => return None,
        };
        settled.unwrap_or_else(|error| {
            tracing::warn!(permit = permit.permit_id, %error, "an interrupted tool could not be reconciled");
            None
        })
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
}

fn stamp(spot: &Spot) -> Result<Option<Stamp>, Error> {
    match hold_child(&spot.parent, &spot.name) {
        Ok(held) => Stamp::of(held).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("look at what was being changed")(errno.into())),
    }
}
