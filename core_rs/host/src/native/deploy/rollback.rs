//! `deploy.rollback`: an earlier release is live again.

use cmdop_contract::v1::{EffectKind, ObservedEffect, Reason};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check::{Check, Checked};
use super::lock::{self, Lock};
use super::site::{Site, link_to};
use super::state::{Kind, Pending};
use super::{checks, named, point, release_id, root_of, spoken};
use crate::Error;
use crate::native::arguments::{Arguments, about};
use crate::native::beneath::{Root, not_usable, show};
use crate::native::{Means, Step};

/// What was live and what shall be.
pub(crate) struct Rollback {
    site: Site,
    to: String,
    check: Option<Check>,
    checked: Option<Checked>,
    base: Vec<u8>,
}

impl Rollback {
    /// Finds the release to go back to.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND` if there is none, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let site = Site::open(root, &root_of(arguments)?)?;
        let state = site.settled();
        let before = |live: &str| state.record(live).and_then(|record| record.after.clone());
        let to = match release_id(arguments, "release")? {
            Some(id) => id,
            None => site.live().and_then(before).ok_or_else(|| {
                let message = format!("nobody knows which release of {} was live before", show(&site.path));
                Error::fix(Reason::PathNotFound, message, "/arguments/release", "the id of a release that is there")
            })?,
        };
        // Whoever goes back from one release must not throw out another that somebody made live since.
        if let Some(expected) = release_id(arguments, "only_if_live")?
            && site.live() != Some(&expected)
            && site.live() != Some(&to)
        {
            let message = format!("{} is live, and not {expected}; nothing was applied", spoken(site.live()));
            let mend = site.live().unwrap_or("a release that is live").to_owned();
            return Err(Error::fix(Reason::ContentChanged, message, "/arguments/only_if_live", &mend));
        }
        if site.release(&to)?.is_none() {
            let message = format!("{} does not exist", show(&site.release_path(&to)));
            let expected = "the id of a release that is there; `deploy.status` lists them";
            return Err(Error::fix(Reason::PathNotFound, message, "/arguments/release", expected));
        }
        if !site.is_whole(&to).map_err(|error| about("release", error))? {
            let why = "was being removed, and parts of it are gone";
            return Err(about("release", not_usable(&site.release_path(&to), why)));
        }
        let mut base = Sha256::new();
        site.digest_into(&mut base)?;
        let check = Check::of(arguments, "check_after")?;
        Ok(Self { site, to, check, checked: None, base: base.finalize().to_vec() })
    }

    fn is_idle(&self) -> bool {
        self.site.live() == Some(&self.to) && self.site.state.pending.is_none()
    }

    fn pending(&self, permit_id: &str) -> Pending {
        let digest = self.site.state.record(&self.to).map(|record| record.digest.clone()).unwrap_or_default();
        Pending {
            permit_id: permit_id.to_owned(),
            release: self.to.clone(),
            digest,
            from: self.site.live().map(str::to_owned),
            is_new: false,
            is_rollback: true,
        }
    }

    fn switch(&self, permit_id: &str, pending: &Pending) -> Result<Option<Error>, Error> {
        let mut state = self.site.settled();
        state.pending = Some(pending.clone());
        self.site.remember(&state, permit_id)?;
        point("pending");
        let switched = self.site.switch(self.site.link.as_deref(), Some(&link_to(&self.to)), permit_id);
        switched.inspect_err(|_| self.site.forget(permit_id))
    }
}

impl Step for Rollback {
    fn effects(&self) -> Vec<ObservedEffect> {
        if self.is_idle() {
            return Vec::new();
        }
        let mut effects = self.site.made(&self.site.missing().unwrap_or_default());
        effects.push(self.site.remembered());
        effects.extend(checks([(&self.check, &self.checked)]));
        effects.push(named(EffectKind::DeployRollback, &self.site.path));
        if self.site.live() != Some(&self.to) {
            effects.push(self.site.switched(&link_to(&self.to)));
        }
        effects
    }

    fn result(&self) -> Value {
        json!({
            "outcome": if self.is_idle() { "unchanged" } else { "rolled_back" },
            "live": self.to,
            "from": self.site.live(),
            "check_after": self.checked.as_ref().map(Checked::told),
        })
    }

    fn base(&self) -> Vec<u8> {
        self.base.clone()
    }

    fn in_the_way(&self) -> Option<Error> {
        lock::in_the_way(&self.site)
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        let permit_id = with.permit_id;
        if self.is_idle() {
            return Ok((Vec::new(), None));
        }
        point("planned");
        let lock = Lock::take(&self.site)?;
        self.site.check_unmoved()?;
        let pending = self.pending(permit_id);
        if let Some(dead) = &self.site.state.pending {
            self.site.sweep(&dead.permit_id);
        }
        let mut effects = self.effects();
        let missing = self.site.missing()?;
        self.site.make(&missing)?;
        lock.tell(&self.site, permit_id, &self.to);
        let durable = match self.switch(permit_id, &pending) {
            Ok(durable) => durable,
            Err(error) => {
                lock::forget(&self.site);
                self.site.unmake(&missing);
                return Err(error);
            }
        };
        point("switched");
        self.checked = self.check.as_ref().map(|check| check.run(with));
        effects.retain(|effect| effect.kind() != EffectKind::NetConnect);
        effects.extend(checks([(&self.check, &self.checked)]));
        let why = self.checked.as_ref().map(|checked| checked.why.clone()).unwrap_or_default();
        let mut state = self.site.settled();
        state.happened(Kind::RolledBack, &pending, &why);
        let noted = self.site.remember(&state, permit_id);
        lock::forget(&self.site);
        let told = self.site.measured(&mut effects);
        let failure = if why.is_empty() {
            noted.err().or(durable).or(told.err())
        } else {
            let message = format!("release {} is live again, but its health check failed: {why}", self.to);
            let expected = "a release that answers its health check";
            Some(Error::fix(Reason::HealthCheckFailed, message, "/arguments/release", expected))
        };
        Ok((effects, failure))
    }
}
