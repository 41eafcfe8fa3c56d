//! Settling what a crash left: does the expected effect hold, or was nothing touched?

use cmdop_contract::v1::{Outcome, Stage};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::arguments::Arguments;
use super::beneath::{Spot, hold_child};
use super::delete::remove_hidden;
use super::measure::{Stamp, sha256, sha256_of};
use super::read::open_regular;
use super::write::content;
use super::{Native, hidden_name};
use crate::Error;
use crate::admit::Interrupted;

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
        if sha256(&mut file)? == expected {
            return Ok(Some(Outcome::Applied));
        }
        Ok(now.is_untouched_since(interrupted.noted_at()).then_some(Outcome::NotApplied))
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

fn stamp(spot: &Spot) -> Result<Option<Stamp>, Error> {
    match hold_child(&spot.parent, &spot.name) {
        Ok(held) => Stamp::of(held).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("look at what was being changed")(errno.into())),
    }
}
