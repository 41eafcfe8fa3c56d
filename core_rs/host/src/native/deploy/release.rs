//! `deploy.release`: copy, check, switch, check again, and back if that fails.

use cmdop_contract::path::is_beneath;
use cmdop_contract::v1::{EffectKind, FileType, ObservedEffect, Reason};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check::{Check, Checked};
use super::lock::{self, Lock};
use super::prune::Prune;
use super::refusal::{conflict, unhealthy};
use super::site::{Site, link_to};
use super::state::{Kind, Pending, Record, State};
use super::{checks, named, point, release_id, root_of, scope, spoken, tree_digest};
use crate::Error;
use crate::native::arguments::{Arguments, about, invalid};
use crate::native::beneath::{Root, Spot, hold_child, not_usable, refused, show};
use crate::native::census::Census;
use crate::native::copy::{self, Copy};
use crate::native::hidden::{hidden_name, remove_hidden};
use crate::native::measure::Stamp;
use crate::native::{Means, Step};

/// Fewer would take away what a rollback leads to.
const LEAST_KEPT: u64 = 2;

/// What is to become live.
pub(crate) struct Release {
    pub(super) site: Site,
    pub(super) id: String,
    pub(super) digest: String,
    /// What is copied; `None` if the release is there already.
    source: Option<(Spot, Stamp, Census)>,
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) prunes: Vec<Prune>,
    /// Old releases that hold too much for their effects to be listed, and those that could not be removed.
    pub(super) unpruned: Vec<String>,
    missing: Vec<&'static std::ffi::CStr>,
    before: Option<Check>,
    after: Option<Check>,
    base: Vec<u8>,
    /// The release that was live before.
    previous: Option<String>,
    /// It is live already, but its deployment died before the check after the switch was over.
    is_unproven: bool,
    went: Went,
}

/// How it went.
#[derive(Default)]
struct Went {
    checked_before: Option<Checked>,
    checked_after: Option<Checked>,
    is_rolled_back: bool,
    /// Text of the link that is back.
    back: Option<Vec<u8>>,
    pruned: Vec<String>,
    /// Why old releases stay.
    notes: Vec<String>,
}

impl Release {
    /// Looks at the source and at the root. With no digest expected any source will do, for a plan.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `CONTENT_CHANGED`, `RELEASE_CONFLICT`,
    /// `UNSUPPORTED_CHANGE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(root: &Root, arguments: &Arguments) -> Result<Self, Error> {
        let expected = arguments.text("digest")?.map(str::to_ascii_lowercase);
        let id = release_id(arguments, "release")?.ok_or_else(|| invalid("release", "an id"))?;
        let site = Site::open(root, &root_of(arguments)?)?;
        let from = arguments.path_of("source")?;
        let mut base = Sha256::new();
        site.digest_into(&mut base)?;
        let (source, digest, files, bytes) = match site.release(&id)? {
            // What is there is what counts: the source may be gone by now.
            Some((spot, stamp)) => {
                let census = Census::take(&spot, &stamp, scope(&spot.path)).map_err(|error| about("release", error))?;
                census.digest_into(&mut base);
                let found = tree_digest(&census);
                let wanted = match &expected {
                    Some(expected) => expected.clone(),
                    None => tree_digest(&source(root, &site, &from, &id)?.2),
                };
                if found != wanted {
                    return Err(conflict(&site, &id, &found, &wanted));
                }
                (None, found, census.entries.len(), census.bytes)
            }
            None => {
                let (spot, stamp, census) = source(root, &site, &from, &id)?;
                stamp.digest_into(&mut base, true);
                census.digest_into(&mut base);
                let found = tree_digest(&census);
                if expected.as_ref().is_some_and(|expected| *expected != found) {
                    let message = format!("{} is not the tree that was planned: its digest is {found}", show(&from));
                    return Err(Error::fix(Reason::ContentChanged, message, "/arguments/digest", &found));
                }
                let (files, bytes) = (census.entries.len(), census.bytes);
                (Some((spot, stamp, census)), found, files, bytes)
            }
        };
        let keep = arguments.number("keep")?;
        if keep.is_some_and(|keep| keep < LEAST_KEPT) {
            return Err(invalid("keep", "a whole number from 2: the live release and the one before it"));
        }
        let mut release = Self {
            missing: site.missing()?,
            before: Check::of(arguments, "check_before")?,
            after: Check::of(arguments, "check_after")?,
            site,
            id,
            digest,
            source,
            files,
            bytes,
            prunes: Vec::new(),
            unpruned: Vec::new(),
            base: Vec::new(),
            previous: None,
            is_unproven: false,
            went: Went::default(),
        };
        release.know_before();
        if let Some(keep) = keep.filter(|_| !release.is_idle()) {
            release.choose(usize::try_from(keep).unwrap_or(usize::MAX))?;
        }
        release.prunes.iter().for_each(|prune| prune.census.digest_into(&mut base));
        release.base = base.finalize().to_vec();
        Ok(release)
    }

    /// True if it is live already, and nothing is left to be settled.
    pub(super) fn is_idle(&self) -> bool {
        self.source.is_none() && self.is_live() && self.site.state.pending.is_none() && !self.is_unproven
    }

    fn is_live(&self) -> bool {
        self.site.live() == Some(&self.id)
    }

    /// Finds out what was live before, which of a release that is live is a matter of memory.
    fn know_before(&mut self) {
        let state = self.site.settled();
        self.is_unproven = self.is_live() && state.is_unproven(&self.id);
        self.previous = match self.site.live() {
            Some(live) if live == self.id => state.record(live).and_then(|record| record.after.clone()),
            live => live.map(str::to_owned),
        };
    }

    /// `new`, `present` or `live`.
    pub(super) fn standing(&self) -> &'static str {
        match (&self.source, self.is_live()) {
            (Some(_), _) => "new",
            (None, true) => "live",
            (None, false) => "present",
        }
    }

    /// The release to which a rollback would lead.
    pub(super) fn previous(&self) -> Option<&str> {
        self.previous.as_deref()
    }

    /// Chooses what goes, the oldest first; only what was released here, never what a rollback needs.
    fn choose(&mut self, keep: usize) -> Result<(), Error> {
        let state = self.site.settled();
        let (live, before) = (self.site.live(), self.previous());
        let is_needed = |id: &str| id == self.id || Some(id) == live || Some(id) == before;
        let mut others: Vec<_> = state.records.iter().rev().filter(|record| !is_needed(&record.id)).collect();
        let needed = 1 + usize::from(before.is_some());
        let goes = others.split_off(keep.saturating_sub(needed).min(others.len()));
        let leftovers = self.site.leftovers()?;
        for id in goes.into_iter().rev().map(|record| record.id.clone()).chain(leftovers) {
            match Prune::of(&self.site, &id)? {
                Some(Ok(prune)) => self.prunes.push(prune),
                Some(Err(_)) => self.unpruned.push(id),
                None => {}
            }
        }
        Ok(())
    }

    fn pending(&self, permit_id: &str) -> Pending {
        Pending {
            permit_id: permit_id.to_owned(),
            release: self.id.clone(),
            digest: self.digest.clone(),
            from: if self.is_unproven { self.previous.clone() } else { self.site.live().map(str::to_owned) },
            is_new: self.source.is_some(),
            is_rollback: false,
        }
    }

    /// Everything before the switch. Whatever fails, the root is as it was.
    fn ready(&mut self, with: &Means<'_>, pending: &Pending) -> Result<Vec<ObservedEffect>, Error> {
        let permit_id = with.permit_id;
        if let Some(check) = &self.before {
            let checked = check.run(with);
            let why = checked.why.clone();
            self.went.checked_before = Some(checked);
            if !why.is_empty() {
                let message = format!(
                    "the health check before the switch failed: {why}; nothing was applied and {} stays live",
                    spoken(self.site.live())
                );
                return Err(unhealthy(message));
            }
        }
        let mut state = self.site.settled();
        state.pending = Some(pending.clone());
        let Some((from, stamp, census)) = self.source.take() else {
            return self.site.remember(&state, permit_id).map(|()| Vec::new());
        };
        let to = self.site.release_spot(&self.id)?;
        let hidden = hidden_name(permit_id, "new");
        let spot = self.site.release_spot(&self.id)?;
        let copy = Copy::of(from, to, stamp, census);
        let published = copy.stage(&hidden).and_then(|()| {
            point("staged");
            self.site.remember(&state, permit_id)?;
            point("pending");
            copy.publish(&hidden)
        });
        if let Err(error) = published {
            // What has the name by now is somebody else's.
            let _ = remove_hidden(&spot, &hidden, FileType::Directory);
            self.undo(permit_id, false);
            return Err(error);
        }
        point("published");
        let measured = spot.sync_parent().and_then(|()| copy.measure());
        measured.inspect_err(|_| self.undo(permit_id, true))
    }

    /// Back to what was there before anything was switched.
    fn undo(&self, permit_id: &str, is_new: bool) {
        if is_new && let Err(error) = self.site.remove(&self.id, permit_id) {
            tracing::warn!(release = self.id, %error, "a release that did not become live cannot be removed");
        }
        self.site.forget(permit_id);
    }

    /// The check after the switch, and the way back if it fails.
    fn prove(&mut self, with: &Means<'_>) -> Option<Error> {
        let checked = self.after.as_ref()?.run(with);
        let why = checked.why.clone();
        self.went.checked_after = Some(checked);
        if why.is_empty() {
            return None;
        }
        point("unhealthy");
        let failed = format!("the health check after the switch to {} failed: {why}", self.id);
        let (back, live) = match self.way_back() {
            Ok(back) => back,
            Err(why) => return Some(unhealthy(format!("{failed}; {why}, so it stays"))),
        };
        match self.site.switch(Some(&link_to(&self.id)), back.as_deref(), with.permit_id) {
            Ok(_) => {
                self.went.is_rolled_back = true;
                self.went.back = back;
                Some(unhealthy(format!("{failed}; it was rolled back and {} is live", spoken(live.as_deref()))))
            }
            Err(error) => {
                Some(unhealthy(format!("{failed}; it could not be rolled back ({error}) and {} is live", self.id)))
            }
        }
    }

    /// Text of the link to go back to, and the release that it leads to; or why there is none.
    fn way_back(&self) -> Result<(Option<Vec<u8>>, Option<String>), &'static str> {
        if !self.is_live() {
            return Ok((self.site.link.clone(), self.site.live().map(str::to_owned)));
        }
        if !self.is_unproven {
            return Err("it was live before, too");
        }
        let before = self.previous().ok_or("nobody knows what was live before")?;
        let is_there = self.site.release(before).is_ok_and(|found| found.is_some());
        if is_there { Ok((Some(link_to(before)), Some(before.to_owned()))) } else { Err("the release before is gone") }
    }

    fn contacts(&self) -> Vec<ObservedEffect> {
        checks([(&self.before, &self.went.checked_before), (&self.after, &self.went.checked_after)])
    }

    /// The check of a release that is live and stays.
    fn look_again(&mut self, with: &Means<'_>) -> Option<Error> {
        let checked = self.after.as_ref()?.run(with);
        let why = checked.why.clone();
        self.went.checked_after = Some(checked);
        let message = || format!("the health check of {} failed: {why}; it was live before, too, and stays", self.id);
        (!why.is_empty()).then(|| unhealthy(message()))
    }

    /// Notes how it ended.
    fn conclude(&self, pending: &Pending, why: &str) -> Result<(), Error> {
        let mut state: State = self.site.settled();
        if self.went.is_rolled_back {
            state.was_live(&self.id, &self.digest);
            state.happened(Kind::Failed, pending, why);
        } else {
            state.is_live_now(&self.id, &self.digest, pending.from.as_deref());
            state.happened(Kind::Released, pending, why);
        }
        // One that is still to go keeps its record, or nobody would know later that it may.
        state.records.retain(|record| self.site.release(&record.id).is_ok_and(|found| found.is_some()));
        if why.is_empty() {
            let goes = |record: &Record| self.prunes.iter().any(|prune| prune.id == record.id);
            state.records.iter_mut().filter(|record| goes(record)).for_each(|record| record.is_going = true);
        }
        self.site.remember(&state, &pending.permit_id)
    }

    /// Removes old releases. What fails is no failure of the release, and left for the next time.
    fn prune(&mut self, permit_id: &str) -> Vec<ObservedEffect> {
        let mut effects = Vec::new();
        for prune in &self.prunes {
            let (went, failure) = prune.perform(&self.site, permit_id);
            effects.extend(went);
            match failure {
                None => self.went.pruned.push(prune.id.clone()),
                Some(why) => {
                    self.went.notes.push(why);
                    self.unpruned.push(prune.id.clone());
                }
            }
        }
        effects
    }

    /// Everything from the switch on. Nothing before has changed what is live.
    fn go(&mut self, with: &Means<'_>, pending: &Pending, effects: &mut Vec<ObservedEffect>) -> Option<Error> {
        let link = link_to(&self.id);
        let unhealthy = self.prove(with);
        point("checked");
        let why = unhealthy.as_ref().map(ToString::to_string).unwrap_or_default();
        let noted = self.conclude(pending, &why);
        point("concluded");
        effects.push(self.site.remembered());
        effects.extend(self.contacts());
        effects.push(named(EffectKind::DeployRelease, &self.site.path));
        if self.went.is_rolled_back {
            effects.push(named(EffectKind::DeployRollback, &self.site.path));
            // Of one that was not live, the link is as it was.
            effects.extend(self.went.back.as_deref().filter(|_| self.is_live()).map(|back| self.site.switched(back)));
        } else if self.site.link.as_deref() != Some(&link) {
            effects.push(self.site.switched(&link));
        }
        if let Some(error) = unhealthy.or(noted.err()) {
            return Some(error);
        }
        effects.extend(self.prune(with.permit_id));
        None
    }
}

impl Step for Release {
    fn effects(&self) -> Vec<ObservedEffect> {
        if self.is_idle() {
            return checks([(&self.after, &self.went.checked_after)]);
        }
        let mut effects = self.site.made(&self.missing);
        if let Some((_, _, census)) = &self.source {
            let (owner, inherited) = (self.site.owner_of_releases(), self.site.inherited_by_releases());
            effects.extend(copy::planned(census, &self.site.release_path(&self.id), owner, &inherited));
        }
        effects.push(self.site.remembered());
        effects.extend(self.contacts());
        effects.push(named(EffectKind::DeployRelease, &self.site.path));
        let link = link_to(&self.id);
        if self.site.link.as_deref() != Some(&link) {
            effects.push(self.site.switched(&link));
        }
        effects.extend(self.prunes.iter().flat_map(|prune| prune.effects(&self.site)));
        effects
    }

    fn result(&self) -> Value {
        let told = |checked: &Option<Checked>| checked.as_ref().map(Checked::told);
        let outcome = match (self.is_idle(), self.went.is_rolled_back) {
            (_, true) => "rolled_back",
            (true, _) => "unchanged",
            _ => "released",
        };
        let back = if self.is_live() { self.previous() } else { self.site.live() };
        let live = if self.went.is_rolled_back { back } else { Some(self.id.as_str()) };
        json!({
            "outcome": outcome,
            "release": self.id,
            "digest": self.digest,
            "live": live,
            "previous": self.previous(),
            "check_before": told(&self.went.checked_before),
            "check_after": told(&self.went.checked_after),
            "pruned": self.went.pruned,
            "unpruned": self.unpruned,
            "notes": self.went.notes,
        })
    }

    fn base(&self) -> Vec<u8> {
        self.base.clone()
    }

    fn contacted(&self) -> Vec<ObservedEffect> {
        let Went { checked_before, checked_after, .. } = &self.went;
        let made = [(&self.before, checked_before), (&self.after, checked_after)];
        checks(made.into_iter().filter(|(_, checked)| checked.is_some()))
    }

    fn in_the_way(&self) -> Option<Error> {
        lock::in_the_way(&self.site)
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        let permit_id = with.permit_id;
        if self.is_idle() {
            let failure = self.look_again(with);
            return Ok((self.effects(), failure));
        }
        point("planned");
        let lock = Lock::take(&self.site)?;
        self.site.check_unmoved()?;
        let pending = self.pending(permit_id);
        if let Some(dead) = &self.site.state.pending {
            self.site.sweep(&dead.permit_id);
        }
        self.site.make(&self.missing)?;
        lock.tell(&self.site, permit_id, &self.id);
        point("begun");
        let mut effects = self.site.made(&self.missing);
        let link = link_to(&self.id);
        let switched = self.ready(with, &pending).and_then(|made| {
            effects.extend(made);
            let switched = self.site.switch(self.site.link.as_deref(), Some(&link), permit_id);
            switched.inspect_err(|_| self.undo(permit_id, pending.is_new))
        });
        let done = match switched {
            Ok(durable) => {
                point("switched");
                let failure = self.go(with, &pending, &mut effects).or(durable);
                let failure = failure.or(self.site.measured(&mut effects).err());
                Ok((effects, failure))
            }
            Err(error) => Err(error),
        };
        lock::forget(&self.site);
        if done.is_err() {
            self.site.unmake(&self.missing);
        }
        drop(lock);
        done
    }
}

fn source(root: &Root, site: &Site, from: &[u8], id: &str) -> Result<(Spot, Stamp, Census), Error> {
    let about = |error| about("source", error);
    let spot = root.spot(from).map_err(about)?;
    let to = site.release_path(id);
    if is_beneath(&to, from) {
        return Err(invalid("source", "a directory that does not hold the deployment root"));
    }
    let held = hold_child(&spot.parent, &spot.name).map_err(|errno| about(refused(errno, from)))?;
    let stamp = Stamp::of(held)?;
    if stamp.file_type() != FileType::Directory {
        return Err(about(not_usable(from, "is not a directory")));
    }
    let census = Census::take(&spot, &stamp, scope(&to)).map_err(about)?;
    Ok((spot, stamp, census))
}
