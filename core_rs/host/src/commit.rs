//! Applying a layer: checked against what was measured, journalled, each step atomic or repeatable.
//!
//! First everything that is to come is staged beside its place, durably. Then the intent is written
//! durably; from then on the commit is only ever finished, by this life or the next.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cmdop_contract::digest::observation_digest;
use cmdop_contract::score;
use cmdop_contract::v1::{Observation, Reason};
use prost::Message;

use crate::differ::{Change, Difference, Kind, base, tree_base};
use crate::{Admitted, Error};

/// Name of the saved difference in a layer's directory.
const DIFFERENCE: &str = "difference";
/// Name of the journal: while it is there, the commit is not over.
const INTENT: &str = "intent";
/// Name of the journal of a commit that is over: how a restart tells it from one that never began.
const DONE: &str = "done";

/// Keeps a difference with its layer, so that exactly this can be committed later.
///
/// # Errors
/// If it cannot be made durable.
pub fn save(dir: &Path, difference: &Difference) -> Result<(), Error> {
    durable(&dir.join(DIFFERENCE), &difference.encode_to_vec())
}

/// Applies the layer of a directory. Returns what was applied.
///
/// # Errors
/// PREVIEW_LOST, UNSUPPORTED_CHANGE, EFFECT_NOT_PERMITTED, COMMIT_CONFLICT: nothing was changed.
pub fn commit(admitted: &Admitted, dir: &Path) -> Result<Observation, Error> {
    let lost = || Error::later(Reason::PreviewLost, "the preview is gone; nothing was applied; propose the call again");
    let bytes = fs::read(dir.join(DIFFERENCE)).map_err(|_| lost())?;
    let difference = Difference::decode(&*bytes).map_err(|_| lost())?;
    let observation = difference.observation.clone().unwrap_or_default();
    check_permitted(admitted, &observation)?;
    if let Some(why) = difference.unsupported.first() {
        let message = format!("the preview holds a change that cannot be applied exactly ({why}); nothing was applied");
        return Err(Error::use_tool(Reason::UnsupportedChange, message, "files.write"));
    }
    difference.changes.iter().try_for_each(check_base)?;
    let staged = Staged { id: &admitted.call_id };
    let done = stage(&difference.changes, &staged).and_then(|()| {
        // Staging took time: what changed meanwhile is a conflict, too.
        difference.changes.iter().try_for_each(check_base)?;
        durable(&dir.join(INTENT), admitted.call_id.as_bytes())
    });
    if let Err(error) = done {
        difference.changes.iter().for_each(|change| staged.remove(change));
        return Err(error);
    }
    apply(&difference.changes, &staged)?;
    finish(dir)?;
    Ok(observation)
}

/// Finishes a commit that a crash interrupted. False if there was none to finish.
///
/// # Errors
/// If it cannot be finished: then nobody can tell how far it came.
pub fn resume(dir: &Path) -> Result<bool, Error> {
    let Ok(call_id) = fs::read_to_string(dir.join(INTENT)) else { return Ok(false) };
    let bytes = fs::read(dir.join(DIFFERENCE)).map_err(Error::io("read an interrupted commit"))?;
    let difference = Difference::decode(&*bytes)
        .map_err(|error| Error::io("read an interrupted commit")(std::io::Error::other(error)))?;
    apply(&difference.changes, &Staged { id: &call_id })?;
    finish(dir)?;
    Ok(true)
}

fn check_permitted(admitted: &Admitted, observation: &Observation) -> Result<(), Error> {
    if observation.truncated || observation_digest(&observation.effects) != admitted.preview_digest {
        let message = "the permit is for another preview than the one that is held; nothing was applied";
        return Err(Error::stop(Reason::PermitInvalid, message));
    }
    match score::side_effects(&admitted.effects, observation).first() {
        None => Ok(()),
        Some(beyond) => {
            let message = format!("{} is beyond the permit; nothing was applied", score::describe(beyond));
            Err(Error::stop(Reason::EffectNotPermitted, message))
        }
    }
}

fn check_base(change: &Change) -> Result<(), Error> {
    let path = path(&change.path);
    let there = path.symlink_metadata().is_ok();
    let same = match (there, change.base.is_empty()) {
        (false, expected_nothing) => expected_nothing,
        // Something that goes first makes room for what comes: its own step checks it.
        (true, true) => change.kind() == Kind::MakeDirectory && path.is_dir() || change.kind() == Kind::Place,
        (true, false) if change.kind() == Kind::Remove => tree_base(path)? == change.base,
        (true, false) => base(path)? == change.base,
    };
    if same {
        return Ok(());
    }
    let message =
        format!("`{}` changed between preview and commit; nothing was applied; propose the call again", path.display());
    Err(Error::later(Reason::CommitConflict, message))
}

/// Names of what waits beside its place.
struct Staged<'a> {
    id: &'a str,
}

impl Staged<'_> {
    fn path(&self, change: &Change) -> PathBuf {
        let place = path(&change.path);
        let mut name = std::ffi::OsString::from(".cmdop-");
        name.push(&self.id[self.id.len().saturating_sub(12)..]);
        name.push("-");
        name.push(cmdop_contract::digest::hex(&<sha2::Sha256 as sha2::Digest>::digest(&change.path)[..6]));
        // What comes into a directory that is itself new waits beside the nearest one that exists.
        let mut parent = place.parent().unwrap_or(Path::new("/"));
        while !parent.is_dir() {
            parent = parent.parent().unwrap_or(Path::new("/"));
        }
        parent.join(name)
    }

    fn remove(&self, change: &Change) {
        let _ = fs::remove_file(self.path(change));
    }
}

fn stage(changes: &[Change], staged: &Staged<'_>) -> Result<(), Error> {
    for change in changes.iter().filter(|change| change.kind() == Kind::Place) {
        let (from, to) = (path(&change.from), staged.path(change));
        let doing = || Error::io(format!("stage {}", path(&change.path).display()));
        let metadata = from.symlink_metadata().map_err(doing())?;
        staged.remove(change);
        if metadata.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from).map_err(doing())?, &to).map_err(doing())?;
        } else if metadata.is_file() {
            let mut source = fs::File::open(from).map_err(doing())?;
            let mut target =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to).map_err(doing())?;
            std::io::copy(&mut source, &mut target).map_err(doing())?;
            target
                .set_times(fs::FileTimes::new().set_modified(metadata.modified().map_err(doing())?))
                .map_err(doing())?;
            target.sync_all().map_err(doing())?;
        } else {
            let mode = rustix::fs::Mode::from_raw_mode(change.mode);
            let kind = rustix::fs::FileType::from_raw_mode(metadata.mode());
            rustix::fs::mknodat(rustix::fs::CWD, &to, kind, mode, 0).map_err(|errno| doing()(errno.into()))?;
        }
        attributes(&to, change)?;
    }
    Ok(())
}

/// Applies all steps. Each finds out whether an earlier life applied it already.
fn apply(changes: &[Change], staged: &Staged<'_>) -> Result<(), Error> {
    // Names of what is staged depend on which directories exist, so they are taken first.
    let waiting: Vec<_> = changes.iter().map(|change| staged.path(change)).collect();
    for (change, waiting) in changes.iter().zip(&waiting) {
        let place = path(&change.path);
        let doing = || Error::io(format!("change {}", place.display()));
        match change.kind() {
            Kind::Remove => remove(place).map_err(doing())?,
            Kind::MakeDirectory => {
                if !place.is_dir() {
                    fs::create_dir(place).map_err(doing())?;
                }
                attributes(place, change)?;
            }
            Kind::Place => {
                if waiting.symlink_metadata().is_ok() {
                    fs::rename(waiting, place).map_err(doing())?;
                }
            }
            Kind::Attributes => attributes(place, change)?,
        }
    }
    let mut parents: Vec<_> = changes.iter().filter_map(|change| path(&change.path).parent()).collect();
    parents.sort_unstable();
    parents.dedup();
    for parent in parents.into_iter().filter(|parent| parent.is_dir()) {
        fs::File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(Error::io("make the commit durable"))?;
    }
    Ok(())
}

fn remove(place: &Path) -> std::io::Result<()> {
    let removed = match place.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn attributes(place: &Path, change: &Change) -> Result<(), Error> {
    let doing = || Error::io(format!("set attributes of {}", place.display()));
    std::os::unix::fs::lchown(place, Some(change.uid), Some(change.gid)).map_err(doing())?;
    if !place.is_symlink() {
        fs::set_permissions(place, fs::Permissions::from_mode(change.mode)).map_err(doing())?;
    }
    Ok(())
}

/// Removes what a commit had staged that died before its intent. Nothing was changed by it.
///
/// # Errors
/// If the saved difference cannot be read.
pub fn abandon(dir: &Path, call_id: &str) -> Result<(), Error> {
    let bytes = match fs::read(dir.join(DIFFERENCE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(Error::io("read an interrupted commit"))?,
    };
    let read = Difference::decode(&*bytes);
    let difference = read.map_err(|error| Error::io("read an interrupted commit")(std::io::Error::other(error)))?;
    let staged = Staged { id: call_id };
    difference.changes.iter().for_each(|change| staged.remove(change));
    Ok(())
}

/// True if the layer of a directory was committed wholly.
#[must_use]
pub fn is_done(dir: &Path) -> bool {
    dir.join(DONE).exists()
}

fn finish(dir: &Path) -> Result<(), Error> {
    fs::rename(dir.join(INTENT), dir.join(DONE)).map_err(Error::io("end the commit's journal"))?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("end the commit's journal"))
}

fn durable(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let doing = || Error::io(format!("write {}", file.display()));
    let mut open =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file).map_err(doing())?;
    open.write_all(bytes).and_then(|()| open.sync_all()).map_err(doing())?;
    let parent = file.parent().unwrap_or(Path::new("/"));
    fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(doing())
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
