//! Undo: what taking a commit back would change, and doing it.

use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect, Reason};
use prost::Message;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::look::{self, Look};
use super::record::{Kind, Op, Record};
use super::run::slot_spot;
use super::values::Values;
use super::{BY, DONE, DROPPED, Journals, REDOING, UNDOING, UNDONE, durable, is_in, noted_by, read, rename};
use crate::Error;
use crate::native::beneath::{Spot, hold_child, open_child, refused, show};
use crate::native::text_diff::unified;
use crate::native::walk::{Next, Seen, Visitor, walk};
use crate::notable;

/// Paths that an error names.
const MAX_NAMED: usize = 20;

/// Effects that are listed; a larger undo is refused, because nobody could approve it.
const MAX_EFFECTS: usize = 100_000;
/// Directories above what has an effect of its own, and bytes of its path: nobody could decide about a target
/// that is longer. What lies deeper is counted with the directory above.
const MAX_LEVELS: usize = 100;
const MAX_NAMED_BYTES: usize = 1_000;

/// A commit about to be taken back.
#[derive(Debug)]
pub(crate) struct Undo<'a> {
    journals: &'a Journals,
    dir: PathBuf,
    record: Record,
    effects: Vec<ObservedEffect>,
}

impl Journals {
    /// Finds out what undoing a call would change. Changes nothing.
    ///
    /// # Errors
    /// `NOT_RESTORABLE`, naming every path that cannot be restored, or why there is nothing to restore.
    pub(crate) fn undo(&self, call_id: &str) -> Result<Undo<'_>, Error> {
        let dir = self.path(call_id);
        let Some(record) = read(&dir.join(DONE))? else { return Err(self.not_kept(call_id)) };
        let changed = self.changed_since(&record)?;
        if !changed.is_empty() {
            return Err(changed_since(&changed));
        }
        let mut undo = Undo { journals: self, dir, record, effects: Vec::new() };
        undo.list()?;
        Ok(undo)
    }

    /// Why there is nothing to undo.
    fn not_kept(&self, call_id: &str) -> Error {
        let dir = self.path(call_id);
        let is = |state: &str| dir.join(state).exists();
        let by = |dir: &Path| noted_by(dir).ok().flatten();
        let why = if is(UNDONE) || is(UNDOING) {
            format!("call {call_id} was undone by call {} already", by(&dir).unwrap_or_default())
        } else if is(DROPPED) {
            format!("what call {call_id} replaced is no longer kept: the time or the space for it was over")
        } else if self.all().any(|dir| by(&dir).as_deref() == Some(call_id)) {
            format!(
                "call {call_id} undid another one, and an undo is not undone: make the change again if it is wanted"
            )
        } else {
            format!(
                "this host keeps nothing of call {call_id} to put back: it changed no file here, or ran directly on the \
                 machine, or it was a release, which `deploy.rollback` takes back"
            )
        };
        Error::stop(Reason::NotRestorable, format!("{why}; nothing was restored"))
    }

    /// Places that are not as the commit left them.
    fn changed_since(&self, record: &Record) -> Result<Vec<Vec<u8>>, Error> {
        let (mut changed, times) = (Vec::new(), self.times.lock().clone());
        let comes: std::collections::HashSet<&[u8]> = record.of_kind(Kind::In).map(|op| &*op.path).collect();
        for op in &record.ops {
            let path = match op.kind() {
                Kind::Times => continue,
                Kind::Out => record.path_after(&op.path),
                _ => op.path.clone(),
            };
            let spot = self.spot(&path);
            let is_as_left = match (op.kind(), &op.left, spot) {
                // Something else of the commit stands where this one was.
                (Kind::Out, ..) if comes.contains(&*path) => true,
                (Kind::Out, _, Ok(spot)) => hold_child(&spot.parent, &spot.name).is_err(),
                (_, Some(left), Ok(spot)) => left.is_untouched_by(&spot, &times)?,
                _ => false,
            };
            if !is_as_left && !changed.contains(&path) {
                changed.push(path);
            }
        }
        Ok(changed)
    }
}

impl Undo<'_> {
    /// What it changes, sorted by path.
    pub(crate) fn effects(&self) -> &[ObservedEffect] {
        &self.effects
    }

    /// Paths that change, without those beneath them.
    pub(crate) fn paths(&self) -> usize {
        let of_new = |op: &Op| op.kind() == Kind::Attributes && self.record.is_new(&op.path);
        self.record.ops.iter().filter(|op| op.kind() != Kind::Times && !of_new(op)).count()
    }

    /// Digest of everything that it rests on.
    pub(crate) fn base(&self) -> Vec<u8> {
        Sha256::digest(self.record.encode_to_vec()).to_vec()
    }

    /// Takes the commit back, for the call `by`.
    ///
    /// # Errors
    /// `COMMIT_CONFLICT` and others if nothing was restored; `OUTCOME_UNKNOWN`.
    pub(crate) fn perform(self, by: &str) -> Result<(), Error> {
        let unknown = |error: Error| {
            Error::stop(Reason::OutcomeUnknown, format!("the undo could be neither finished nor taken back: {error}"))
        };
        // Whatever can fail without a step being done does so while nothing is noted yet.
        let run = self.journals.run(&self.dir, &self.record)?;
        let quiet = self.journals.quiet(&self.record);
        {
            // Of two calls that undo the same one, one comes first and is noted.
            let _turn = self.journals.turn.lock();
            if !is_in(&self.dir, &[DONE])? {
                return Err(self.journals.not_kept(&self.record.call_id));
            }
            durable(&self.dir.join(BY), by.as_bytes())?;
            if let Err(stopped) = rename(&self.dir, DONE, UNDOING) {
                // It may have its name nevertheless, and the next start would go by that.
                if is_in(&self.dir, &[UNDOING]).map_err(unknown)? {
                    rename(&self.dir, UNDOING, DONE).map_err(unknown)?;
                }
                return Err(stopped);
            }
        }
        let Err(stopped) = run.back() else {
            return self.journals.end_undo(&self.dir, &self.record, &quiet).map_err(unknown);
        };
        rename(&self.dir, UNDOING, REDOING).map_err(unknown)?;
        run.forwards().map_err(unknown)?;
        drop(run);
        self.journals.finish(&self.dir, self.record, REDOING).map_err(unknown)?;
        Err(stopped)
    }

    fn list(&mut self) -> Result<(), Error> {
        let mut effects = Vec::new();
        for op in &self.record.ops {
            self.effects_of(op, &mut effects)?;
            if effects.len() > MAX_EFFECTS {
                let message = format!("undoing it has more than {MAX_EFFECTS} effects, more than can be shown");
                return Err(Error::stop(Reason::NotRestorable, message));
            }
        }
        effects.sort_by(|one, two| (&one.target, one.kind).cmp(&(&two.target, two.kind)));
        self.effects = effects;
        Ok(())
    }

    fn effects_of(&self, op: &Op, effects: &mut Vec<ObservedEffect>) -> Result<(), Error> {
        match op.kind() {
            Kind::In if op.is_half => self.moved_back(op, effects)?,
            Kind::In => {
                let now = look::at(&self.journals.spot(&op.path)?, Values::of(&op.path))?;
                let found = notable::beneath(&self.journals.spot(&op.path)?)?;
                let (count, bytes) = op.left.as_ref().map_or((1, 0), |left| (left.entries, left.bytes));
                let listed = notable::listed(&found);
                let (count, bytes) = (count.saturating_sub(listed.0), bytes.saturating_sub(listed.1));
                effects.extend(found.iter().map(|one| one.effect(EffectKind::FileDelete, false)));
                let change = change(&op.path, Some(&now), None);
                effects.push(ObservedEffect { count, bytes, ..effect(EffectKind::FileDelete, &op.path, change) });
            }
            Kind::Out if op.is_half => {}
            Kind::Out => self.restored(op, effects)?,
            Kind::Exchange if op.is_half => {
                self.moved_back(op, effects)?;
                effects.push(created(&op.path, &look::at(&self.slot(op)?, Values::of(&op.path))?));
            }
            Kind::Exchange => {
                let values = Values::of(&op.path);
                let now = look::at(&self.journals.spot(&op.path)?, values)?;
                let old = look::at(&self.slot(op)?, values)?;
                let is_read = now.is_read() && old.is_read();
                compared(&op.path, &now, &old, is_read, effects);
            }
            // It goes.
            Kind::Attributes if self.record.is_new(&op.path) => {}
            Kind::Attributes => {
                let now = look::at(&self.journals.spot(&op.path)?, Values::of(&op.path))?;
                let old = now.with(op.before.as_ref(), Values::of(&op.path));
                // It is one file.
                compared(&op.path, &now, &old, true, effects);
            }
            Kind::Times => {}
        }
        Ok(())
    }

    fn moved_back(&self, op: &Op, effects: &mut Vec<ObservedEffect>) -> Result<(), Error> {
        let from = self.half(op).map_or_else(Vec::new, |out| out.path.clone());
        let now = look::at(&self.journals.spot(&op.path)?, Values::of_both(&op.path, &from))?;
        let entries = op.left.as_ref().map_or(1, |left| left.entries);
        effects.push(renamed(EffectKind::FileRename, &op.path, &from, Some(now.state.clone()), None, entries));
        effects.push(renamed(EffectKind::FileCreate, &from, &op.path, None, Some(now.state), 1));
        Ok(())
    }

    /// Everything that comes back with what was deleted.
    fn restored(&self, op: &Op, effects: &mut Vec<ObservedEffect>) -> Result<(), Error> {
        let slot = self.slot(op)?;
        let top = look::at(&slot, Values::of(&op.path))?;
        let is_directory = top.state.r#type() == FileType::Directory;
        effects.push(created(&op.path, &top));
        if !is_directory {
            return Ok(());
        }
        let opened = open_child(&slot.parent, &slot.name, OFlags::RDONLY | OFlags::DIRECTORY);
        let opened = opened.map_err(|errno| refused(errno, &slot.path))?;
        walk(opened, &slot.path, &mut Restored { slot: &slot.path, place: &op.path, effects })
    }

    fn half(&self, op: &Op) -> Option<&Op> {
        self.record.of_kind(Kind::Out).find(|out| out.is_half && (out.store, out.slot) == (op.store, op.slot))
    }

    fn slot(&self, op: &Op) -> Result<Spot, Error> {
        let path = &self.record.stores[op.store as usize];
        let store = self.journals.root.open(path, OFlags::PATH | OFlags::DIRECTORY)?;
        slot_spot(&store, path, op.slot)
    }
}

struct Restored<'a> {
    slot: &'a [u8],
    place: &'a [u8],
    effects: &'a mut Vec<ObservedEffect>,
}

impl Visitor for Restored<'_> {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        let path = [self.place, &seen.path[self.slot.len()..]].concat();
        let look = look::child(seen.dir, seen.name, &path, seen.stamp, Values::of(&path))?;
        let effect = created(&path, &look);
        match self.above(&path) {
            Some(above) => {
                above.count += 1;
                above.bytes += effect.bytes;
            }
            None => self.effects.push(effect),
        }
        Ok(if self.effects.len() > MAX_EFFECTS { Next::Stop } else { Next::Enter })
    }
}

impl Restored<'_> {
    /// What counts an entry with it, if that lies too deep to be named.
    fn above(&mut self, path: &[u8]) -> Option<&mut ObservedEffect> {
        let mut levels = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let deepest = levels.nth(MAX_LEVELS - 1).unwrap_or(path.len());
        let longest = path[..path.len().min(MAX_NAMED_BYTES)].iter().rposition(|byte| *byte == b'/');
        let longest = if path.len() <= MAX_NAMED_BYTES { path.len() } else { longest.unwrap_or_default() };
        let named = deepest.min(longest).max(self.place.len());
        if named == path.len() {
            return None;
        }
        let target = escape(&path[..named]);
        self.effects.iter_mut().rev().find(|effect| effect.target == target)
    }
}

fn created(path: &[u8], look: &Look) -> ObservedEffect {
    let bytes = if look.state.r#type() == FileType::Regular { look.state.size } else { 0 };
    ObservedEffect { bytes, ..effect(EffectKind::FileCreate, path, change(path, None, Some(look))) }
}

fn compared(path: &[u8], now: &Look, old: &Look, is_known: bool, effects: &mut Vec<ObservedEffect>) {
    let shallow = || change(path, Some(&now.without_text()), Some(&old.without_text()));
    let (one, two) = (&now.state, &old.state);
    // What nobody could read may be anything.
    let is_same_content = is_known
        && one.sha256 == two.sha256
        && one.link_target == two.link_target
        && (one.size == two.size || one.sha256.is_empty());
    if !is_same_content || look::other_xattrs(one) != look::other_xattrs(two) {
        let bytes = two.size;
        effects
            .push(ObservedEffect { bytes, ..effect(EffectKind::FileModify, path, change(path, Some(now), Some(old))) });
    }
    if one.mode != two.mode || look::access_xattrs(one) != look::access_xattrs(two) {
        effects.push(effect(EffectKind::FileChmod, path, shallow()));
    }
    if (one.uid, one.gid) != (two.uid, two.gid) {
        effects.push(effect(EffectKind::FileChown, path, shallow()));
    }
}

fn change(path: &[u8], before: Option<&Look>, after: Option<&Look>) -> FileChange {
    let text = |look: Option<&Look>| look.map_or(Some(Vec::new()), |look| look.text.clone());
    let (text_diff, text_diff_truncated) = match (text(before), text(after)) {
        (Some(before), Some(after)) => unified(path, &before, &after),
        _ => Default::default(),
    };
    let state = |look: Option<&Look>| look.map(|look| look.state.clone());
    FileChange { before: state(before), after: state(after), text_diff, text_diff_truncated, ..FileChange::default() }
}

/// An undo is not itself kept for another one.
fn effect(kind: EffectKind, path: &[u8], change: FileChange) -> ObservedEffect {
    ObservedEffect {
        kind: kind.into(),
        target: escape(path),
        count: 1,
        bytes: 0,
        reversible: false,
        file: Some(change),
        network: None,
        process: None,
    }
}

fn renamed(
    kind: EffectKind,
    path: &[u8],
    other: &[u8],
    before: Option<FileState>,
    after: Option<FileState>,
    count: u64,
) -> ObservedEffect {
    let change = FileChange { before, after, renamed: escape(other), ..FileChange::default() };
    ObservedEffect { count, ..effect(kind, path, change) }
}

fn changed_since(paths: &[Vec<u8>]) -> Error {
    let named: Vec<_> = paths.iter().take(MAX_NAMED).map(|path| format!("`{}`", show(path))).collect();
    let more = match paths.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message =
        format!("changed since the call and cannot be restored: {}{more}; nothing was restored", named.join(", "));
    Error::stop(Reason::NotRestorable, message)
}
