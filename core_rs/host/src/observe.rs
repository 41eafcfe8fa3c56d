//! What a command in direct mode did, from the host's measurement alone.
//!
//! Nothing outside the openings can be written, so two looks at these see every change: one before,
//! one after. Nobody else's word is needed. What others change in the same time is seen, too.

mod compare;
mod scan;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, Observation, Unobserved};

use crate::Error;
use crate::sandbox::Opening;
pub use scan::Scan;
use scan::Wanted;

/// The openings as they were before the command.
#[derive(Debug)]
pub struct Before {
    openings: Vec<Opening>,
    scan: Scan,
    wanted: Wanted,
}

impl Before {
    /// Looks at everything that the command will be able to change.
    ///
    /// # Errors
    /// `DIRECT_UNAVAILABLE` if a file there has another name, or is a socket or a fifo by which others
    /// could be reached, or if there is too much to look at; what the operating system refuses.
    pub fn look(openings: &[Opening], permitted: &[cmdop_contract::v1::PermittedEffect]) -> Result<Self, Error> {
        let wanted = Wanted::of(permitted);
        let scan = Scan::take(openings, |place| wanted.covers(place))?;
        scan.check()?;
        Ok(Self { openings: openings.to_vec(), scan, wanted })
    }

    /// What is different now. The command and all that it started must be dead.
    ///
    /// # Errors
    /// If something cannot be measured: then nobody knows what the command did.
    pub fn compare(self) -> Result<Observation, Error> {
        let hashed = |place: &[u8]| self.scan.is_hashed(place) || self.wanted.covers(place);
        let after = Scan::take(&self.openings, hashed)?;
        let mut observation = compare::compare(&self.scan, &after)?;
        observation.unobserved.extend(self.lost(&after));
        Ok(observation)
    }

    /// The command keeps what was opened to it, wherever somebody else moves that meanwhile; the second look finds what
    /// has its name by then.
    fn lost<'a>(&'a self, after: &'a Scan) -> impl Iterator<Item = Unobserved> {
        // Not by the time of birth: copied by an overlay, a directory has another and is the same.
        let identity = |scan: &Scan, place: &[u8]| scan.entries.get(place).map(|it| (it.identity.0, it.identity.1));
        let bound = self.openings.iter().filter(|opening| opening.bound).map(|opening| &*opening.path);
        let lost = bound.filter(move |place| {
            let was = identity(&self.scan, place);
            was.is_some() && was != identity(after, place)
        });
        lost.map(|place| {
            let place = escape(place);
            let why = format!(
                "`{place}` was moved or replaced while the command ran, which had it open as it was: what the command did \
                 in it was not measured"
            );
            Unobserved { kind: EffectKind::FileModify.into(), why }
        })
    }
}

#[cfg(test)]
mod tests;
