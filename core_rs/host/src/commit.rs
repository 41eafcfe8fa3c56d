//! Applying a layer: checked against what was measured, staged, journalled, then moved into place.

mod stage;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cmdop_contract::digest::observation_digest;
use cmdop_contract::path::escape;
use cmdop_contract::score;
use cmdop_contract::v1::{Observation, Reason};
use prost::Message;

use crate::differ::{Change, Difference, Kind};
use crate::journal::attributes::Attributes;
use crate::journal::{Draft, Journals, Slot};
use crate::{Admitted, Error};
use stage::Stager;

/// Name of the saved difference in a layer's directory.
const DIFFERENCE: &str = "difference";

/// Keeps a difference with its layer, so that exactly this can be committed later.
///
/// # Errors
/// If it cannot be made durable.
pub fn save(dir: &Path, difference: &Difference) -> Result<(), Error> {
    let file = dir.join(DIFFERENCE);
    let doing = || Error::io(format!("write {}", file.display()));
    let mut open =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file).map_err(doing())?;
    open.write_all(&difference.encode_to_vec()).and_then(|()| open.sync_all()).map_err(doing())?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(doing())
}

/// Applies the layer of a directory. Returns what was applied.
///
/// # Errors
/// PREVIEW_LOST, UNSUPPORTED_CHANGE, EFFECT_NOT_PERMITTED, COMMIT_CONFLICT: nothing was changed.
/// OUTCOME_UNKNOWN: it could be neither finished nor taken back.
pub fn commit(admitted: &Admitted, dir: &Path, journals: &Journals) -> Result<Observation, Error> {
    let lost = || {
        Error::later(
            Reason::PreviewLost,
            "the preview is gone; nothing was applied: propose it again under a new key, this one is spent",
        )
    };
    let bytes = fs::read(dir.join(DIFFERENCE)).map_err(|_| lost())?;
    let difference = Difference::decode(&*bytes).map_err(|_| lost())?;
    let observation = difference.observation.clone().unwrap_or_default();
    check_permitted(admitted, &observation)?;
    if let Some(why) = refusal(&difference) {
        return Err(why);
    }
    let mut draft = journals.draft(&admitted.call_id)?;
    fill(&mut draft, &difference.changes)?;
    draft.open_directories()?;
    draft.commit()?;
    Ok(observation)
}

/// Why it cannot be applied, whatever is permitted.
pub(crate) fn refusal(difference: &Difference) -> Option<Error> {
    if let Some(changed) = difference.conflicts.first() {
        let message = format!(
            "`{}` changed while the command ran on its copy; nothing was applied; propose the call again",
            escape(changed)
        );
        return Some(Error::later(Reason::CommitConflict, message));
    }
    let why = difference.unsupported.first()?;
    let message = format!("the preview holds a change that cannot be applied exactly ({why}); nothing was applied");
    Some(Error::use_tool(Reason::UnsupportedChange, message, "files.write"))
}

fn check_permitted(admitted: &Admitted, observation: &Observation) -> Result<(), Error> {
    if observation.truncated || observation_digest(&observation.effects) != admitted.preview_digest {
        let message = "the permit is for another preview than the one that is held; nothing was applied";
        return Err(Error::stop(Reason::PermitInvalid, message));
    }
    match score::side_effects(&admitted.effects, observation, &[]).first() {
        None => Ok(()),
        Some(beyond) => {
            let message = format!("{} is beyond the permit; nothing was applied", score::describe(beyond));
            Err(Error::stop(Reason::EffectNotPermitted, message))
        }
    }
}

/// Stages what comes, and lists the steps.
fn fill(draft: &mut Draft<'_>, changes: &[Change]) -> Result<(), Error> {
    let mut stager = Stager::new(changes.len());
    let mut tops: Vec<(&Change, Slot)> = Vec::new();
    // Where what is new is staged, by its place: what comes into a new directory is staged in it.
    let mut new: HashMap<&[u8], PathBuf> = HashMap::new();
    for change in changes {
        let from = path(&change.from);
        let standing = || change.standing.clone().ok_or_else(|| lost_standing(change));
        match change.kind() {
            Kind::Remove => draft.take_out(&change.path, standing()?, None)?,
            Kind::Rename => draft.take_out(&change.from, standing()?, Some(&change.path))?,
            Kind::MakeDirectory | Kind::Place => {
                let parent = path(&change.path).parent().unwrap_or(Path::new("/")).as_os_str().as_bytes();
                let staged = match new.get(parent) {
                    Some(parent) => parent.join(path(&change.path).file_name().unwrap_or_default()),
                    None => {
                        let slot = draft.slot(&change.path)?;
                        tops.push((change, slot));
                        path(&draft.staging(slot)?.path).to_owned()
                    }
                };
                stager.stage(draft, change, from, &staged)?;
                if change.standing.is_none() {
                    new.insert(&change.path, staged);
                }
            }
            Kind::Attributes => {
                let (before, after) = stage::attributes(draft, change)?;
                draft.attributes(&change.path, standing()?, before, after);
            }
            Kind::Times => {}
        }
    }
    stager.finish()?;
    for (change, slot) in tops {
        match &change.standing {
            Some(standing) => draft.exchange(&change.path, slot, standing.clone())?,
            None => draft.put_in(&change.path, slot)?,
        }
    }
    if stager.is_bulk() {
        draft.sync()?;
    }
    times(draft, changes)
}

/// Directories in which something moves keep the times that the command left them with: those that it left
/// alone, where a file with several names has another, the times that they have.
fn times(draft: &mut Draft<'_>, changes: &[Change]) -> Result<(), Error> {
    let of_kind = |kind| changes.iter().filter(move |change| change.kind() == kind);
    let told: HashMap<&[u8], &Change> = of_kind(Kind::Times).map(|change| (&*change.path, change)).collect();
    let made: HashMap<&[u8], &Change> = of_kind(Kind::MakeDirectory).map(|change| (&*change.path, change)).collect();
    for parent in draft.parents() {
        let known = told.get(&*parent).or_else(|| made.get(&*parent));
        if let Some(change) = known {
            let after = stage::stamp_of(path(&change.from))?;
            let before = change.before.clone();
            draft.times(&parent, Some(Attributes::times_of(&after)), &change.path_before, before);
        } else if let Some(now) = draft.times_now(&parent)? {
            let before = draft.path_before(&parent);
            draft.times(&parent, Some(now.clone()), &before, Some(now));
        }
    }
    Ok(())
}

fn lost_standing(change: &Change) -> Error {
    Error::io(format!("change {}", path(&change.path).display()))(std::io::Error::other("its base is missing"))
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
