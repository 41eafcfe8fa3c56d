//! `deploy.plan` and `deploy.status`: what would be done, and what is.

use cmdop_contract::derive::derive;
use cmdop_contract::effect::kind_name;
use cmdop_contract::v1::ObservedEffect;
use serde_json::{Value, json};

use super::check::{Check, Checked};
use super::release::Release;
use super::root_of;
use super::site::Site;
use super::state::{Event, Record};
use super::{checks, lock};
use crate::Error;
use crate::native::arguments::Arguments;
use crate::native::beneath::{Root, show};
use crate::native::{Means, Step};

/// Changes that are listed one by one.
const MAX_CHANGES: usize = 200;

/// Everything that `deploy.release` would do with the same arguments.
///
/// # Errors
/// As [`Release::prepare`].
pub(crate) fn plan(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let release = Release::prepare(root, arguments)?;
    let changes = release.effects();
    let listed: Vec<_> = changes.iter().take(MAX_CHANGES).map(change).collect();
    let declared: Vec<_> = derive("deploy.release", &arguments.value())
        .unwrap_or_default()
        .iter()
        .map(|it| json!({"effect": kind_name(it.kind), "target": it.target.to_string(), "min_count": it.least}))
        .collect();
    Ok(json!({
        "root": show(&release.site.path),
        "release": release.id,
        "digest": release.digest,
        "standing": release.standing(),
        "entries": release.files,
        "bytes": release.bytes,
        "live": release.site.live(),
        "previous": release.previous(),
        "prunes": release.prunes.iter().map(|prune| prune.id.as_str()).collect::<Vec<_>>(),
        "unpruned": release.unpruned,
        "declares": declared,
        "changes": listed,
        "changes_total": changes.len(),
        "held_by": lock::held_by(&release.site)?,
    }))
}

/// How a deployment is. A check of it is a contact, all else only looks.
pub(crate) struct Status {
    site: Site,
    check: Option<Check>,
    checked: Option<Checked>,
}

impl Status {
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let check = Check::of(arguments, "check")?;
        Ok(Self { site: Site::open(root, &root_of(arguments)?)?, check, checked: None })
    }
}

impl Step for Status {
    fn effects(&self) -> Vec<ObservedEffect> {
        checks([(&self.check, &self.checked)])
    }

    fn result(&self) -> Value {
        let (site, state) = (&self.site, self.site.settled());
        let live = site.live();
        let interrupted = site.state.pending.as_ref().map(|pending| {
            let became_live = live == Some(pending.release.as_str()) && live != pending.from.as_deref();
            json!({"release": pending.release, "from": pending.from, "became_live": became_live})
        });
        let held_by = lock::held_by(site).ok().flatten();
        let is_there = |record: &&Record| site.release(&record.id).is_ok_and(|found| found.is_some());
        let releases: Vec<_> = state.records.iter().filter(is_there).map(|record| told(site, record, live)).collect();
        json!({
            "root": show(&site.path),
            "live": live,
            "link": site.link.as_deref().map(show),
            "previous": live.and_then(|live| state.record(live)).and_then(|record| record.after.clone()),
            "releases": releases,
            "history": state.events.iter().map(happened).collect::<Vec<_>>(),
            // Under way, if somebody holds the lock.
            "interrupted": interrupted.filter(|_| held_by.is_none()),
            "held_by": held_by,
            "check": self.checked.as_ref().map(Checked::told),
        })
    }

    fn base(&self) -> Vec<u8> {
        Vec::new()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        self.checked = self.check.as_ref().map(|check| check.run(with));
        Ok((self.effects(), None))
    }
}

fn change(effect: &ObservedEffect) -> Value {
    json!({"effect": kind_name(effect.kind()), "target": effect.target, "count": effect.count, "bytes": effect.bytes})
}

fn told(site: &Site, record: &Record, live: Option<&str>) -> Value {
    json!({
        "id": record.id,
        "digest": record.digest,
        "released_ms": record.released_ms,
        "after": record.after,
        "live": live == Some(record.id.as_str()),
        "whole": site.is_whole(&record.id).unwrap_or(false),
    })
}

fn happened(event: &Event) -> Value {
    json!({
        "at_ms": event.at_ms,
        "what": event.kind().name(),
        "release": event.release,
        "from": event.from,
        "why": event.why,
    })
}
