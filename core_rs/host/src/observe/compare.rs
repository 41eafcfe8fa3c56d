//! From two looks to the exact list of what changed in between.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cmdop_contract::digest::observation_digest;
use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileType, Observation, ObservedEffect, Unobserved};

use super::scan::{Entry, Scan, hash};
use crate::Error;
use crate::journal::look;
use crate::native::text_diff;

/// Effects that are listed.
const MAX_EFFECTS: usize = 100_000;

/// Everything that is different between two looks.
pub(super) fn compare(before: &Scan, after: &Scan) -> Result<Observation, Error> {
    let (were, are, untold) = apart(before, after);
    let came_from = moved(before, after, &were, &are);
    let moved_to = came_from.iter().map(|(new, old)| (*old, *new)).collect();
    let observation = Observation::default();
    let mut difference = Difference { before, after, were, are, untold, came_from, moved_to, observation };
    difference.gone();
    difference.present()?;
    let mut observation = difference.observation;
    observation.effects.sort_by(|one, two| (&one.target, one.kind).cmp(&(&two.target, two.kind)));
    observation.digest = observation_digest(&observation.effects);
    Ok(observation)
}

/// Entries of a look by path, in order.
type Entries<'a> = Vec<(&'a [u8], &'a Entry)>;

struct Difference<'a> {
    before: &'a Scan,
    after: &'a Scan,
    /// Those of `before` that are not the same in `after`, and the other way round.
    were: Entries<'a>,
    are: Entries<'a>,
    /// Of how many that look the same nobody can tell whether they are.
    untold: u64,
    /// Old path of what has a new one, by its new path.
    came_from: HashMap<&'a [u8], &'a [u8]>,
    /// The other way round.
    moved_to: HashMap<&'a [u8], &'a [u8]>,
    observation: Observation,
}

/// Leaves out what is the same in both, which is nearly everything: side by side, as both are in order.
fn apart<'a>(before: &'a Scan, after: &'a Scan) -> (Entries<'a>, Entries<'a>, u64) {
    let (mut were, mut are, mut untold) = (Vec::new(), Vec::new(), 0);
    let mut now = after.entries.iter().map(|(place, entry)| (place.as_slice(), entry)).peekable();
    for (place, entry) in before.entries.iter().map(|(place, entry)| (place.as_slice(), entry)) {
        while let Some(new) = now.next_if(|(other, _)| *other < place) {
            are.push(new);
        }
        match now.next_if(|(other, _)| *other == place) {
            Some((_, same)) if same == entry => untold += u64::from(!entry.is_told),
            Some(changed) => {
                were.push((place, entry));
                are.push(changed);
            }
            None => were.push((place, entry)),
        }
    }
    are.extend(now);
    (were, are, untold)
}

/// What has another path than before, by device, inode and time of birth.
fn moved<'a>(before: &'a Scan, after: &'a Scan, were: &Entries<'a>, are: &Entries<'a>) -> HashMap<&'a [u8], &'a [u8]> {
    let is_gone =
        |place: &[u8], entry: &Entry| after.entries.get(place).is_none_or(|now| now.identity != entry.identity);
    let gone: HashMap<_, &[u8]> = were
        .iter()
        .filter(|(place, entry)| is_gone(place, entry))
        .map(|(place, entry)| (entry.identity, *place))
        .collect();
    let is_new =
        |place: &[u8], entry: &Entry| before.entries.get(place).is_none_or(|was| was.identity != entry.identity);
    // Without a time of birth a reused inode number would look like a rename.
    are.iter()
        .filter(|(place, entry)| entry.identity.2 != 0 && is_new(place, entry))
        .filter_map(|(place, entry)| Some((*place, *gone.get(&entry.identity)?)))
        .filter(|(new, old)| after.entries[*new].file_type() == before.entries[*old].file_type())
        .collect()
}

impl Difference<'_> {
    /// What is not where it was: renamed, or deleted as whole trees.
    fn gone(&mut self) {
        let mut deleted: BTreeMap<&[u8], &Entry> = BTreeMap::new();
        let mut found = Vec::new();
        for &(place, entry) in &self.were {
            if self.moved_to.contains_key(place) {
                // What moved along with its directory is part of that.
                if !self.moved_along(place) {
                    found.push((EffectKind::FileRename, place, 1, 0));
                }
            } else if self.after.entries.get(place).is_none_or(|now| now.file_type() != entry.file_type()) {
                deleted.insert(place, entry);
            }
        }
        let mut trees: BTreeMap<&[u8], (u64, u64)> = BTreeMap::new();
        for (place, entry) in &deleted {
            let mut top: &[u8] = place;
            while let Some((parent, _)) = split(top).filter(|(parent, _)| deleted.contains_key(parent)) {
                top = parent;
            }
            let bytes = if entry.file_type() == FileType::Regular { entry.size } else { 0 };
            let tree = trees.entry(top).or_default();
            *tree = (tree.0 + 1, tree.1 + bytes);
        }
        found.extend(trees.into_iter().map(|(top, (count, bytes))| (EffectKind::FileDelete, top, count, bytes)));
        for (kind, place, count, bytes) in found {
            let before = self.before.entries.get(place).map(Entry::state);
            let renamed = self.moved_to.get(place).copied().map(escape).unwrap_or_default();
            self.note(kind, place, count, bytes, FileChange { before, renamed, ..FileChange::default() });
        }
    }

    /// Did the directory of this old path move, and this with it?
    fn moved_along(&self, old: &[u8]) -> bool {
        let new = self.moved_to.get(old).copied();
        let (Some((old_parent, old_name)), Some((new_parent, new_name))) = (split(old), new.and_then(split)) else {
            return false;
        };
        old_name == new_name && self.moved_to.get(old_parent).is_some_and(|to| *to == new_parent)
    }

    /// What is there now: new, changed or as before.
    fn present(&mut self) -> Result<(), Error> {
        let mut untold = self.untold;
        for (place, now) in std::mem::take(&mut self.are) {
            let came_from = self.came_from.get(place).copied();
            let moved = came_from.map(|old| now.moved_from(old));
            let now = moved.as_ref().unwrap_or(now);
            let was_here = self.before.entries.get(place).filter(|was| was.file_type() == now.file_type());
            if came_from.is_none() && was_here.is_none() {
                self.created(place, now)?;
                continue;
            }
            if let Some(old) = came_from
                && was_here.is_none()
                && !self.moved_along(old)
            {
                let (after, renamed) = (Some(now.state()), escape(old));
                let change = FileChange { after, renamed, ..FileChange::default() };
                self.note(EffectKind::FileCreate, place, 1, 0, change);
            }
            // Content and attributes are compared with what it was, or with what it took the place of.
            let base = was_here.or_else(|| came_from.and_then(|old| self.before.entries.get(old)));
            let Some(was) = base else { continue };
            untold += u64::from(!self.changed(place, was, now, came_from.is_some())?);
        }
        if untold > 0 {
            let why = format!(
                "whether the content of {untold} files changed: their times do not tell, and there was too much to hash"
            );
            self.observation.unobserved.push(Unobserved { kind: EffectKind::FileModify.into(), why });
        }
        Ok(())
    }

    fn created(&mut self, place: &[u8], now: &Entry) -> Result<(), Error> {
        let mut state = now.state();
        let mut change = FileChange::default();
        if now.file_type() == FileType::Regular {
            if state.sha256.is_empty() {
                state.sha256 = hash(place)?.unwrap_or_default();
            }
            if state.size <= text_diff::MAX_TEXT_BYTES {
                let content = std::fs::read(Path::new(OsStr::from_bytes(place))).unwrap_or_default();
                (change.text_diff, change.text_diff_truncated) = text_diff::unified(place, b"", &content);
            }
        }
        change.after = Some(state);
        let bytes = if now.file_type() == FileType::Regular { now.size } else { 0 };
        self.note(EffectKind::FileCreate, place, 1, bytes, change);
        Ok(())
    }

    /// False if nobody can tell whether its content is as before.
    fn changed(&mut self, place: &[u8], was: &Entry, now: &Entry, is_moved: bool) -> Result<bool, Error> {
        let mode = was.mode != now.mode && now.file_type() != FileType::Symlink;
        let owner = (was.uid, was.gid) != (now.uid, now.gid);
        let (old, new) = (was.state(), now.state());
        let access = look::access_xattrs(&old) != look::access_xattrs(&new);
        let beside = look::other_xattrs(&old) != look::other_xattrs(&new);
        let both = || FileChange { before: Some(was.state()), after: Some(now.state()), ..FileChange::default() };
        if mode || access {
            self.note(EffectKind::FileChmod, place, 1, 0, both());
        }
        if owner {
            self.note(EffectKind::FileChown, place, 1, 0, both());
        }
        if now.file_type() == FileType::Regular {
            return self.rewritten(place, was, now, (is_moved || mode || owner || access, beside));
        }
        if beside || was.link_target != now.link_target {
            self.note(EffectKind::FileModify, place, 1, 0, both());
        }
        Ok(true)
    }

    /// The same for the content of a file. A new name, mode, owner or attribute moves the same time as
    /// new content with its times put back; one that is content `beside` the content is a change, too.
    fn rewritten(
        &mut self,
        place: &[u8],
        was: &Entry,
        now: &Entry,
        (is_moved, beside): (bool, bool),
    ) -> Result<bool, Error> {
        let both = |after| FileChange { before: Some(was.state()), after: Some(after), ..FileChange::default() };
        let is_same_file = was.identity == now.identity;
        let is_still = is_same_file && was.ctime_ns == now.ctime_ns && was.size == now.size;
        if was.sha256.is_none() && is_still {
            return Ok(was.is_told);
        }
        let mut state = now.state();
        if state.sha256.is_empty() {
            state.sha256 = hash(place)?.unwrap_or_default();
        }
        let is_as_before = was.sha256.as_ref().is_some_and(|digest| *digest == state.sha256);
        let is_explained = is_same_file && (is_moved || beside) && was.size == now.size;
        let is_untold = was.sha256.is_none() && is_explained && was.mtime_ns == now.mtime_ns;
        if !(is_as_before || is_untold) {
            self.note(EffectKind::FileModify, place, 1, now.size, both(state));
        } else if beside {
            self.note(EffectKind::FileModify, place, 1, 0, both(state));
        }
        // A change that is told anyway leaves nothing to tell.
        Ok(!is_untold || beside)
    }

    fn note(&mut self, kind: EffectKind, place: &[u8], count: u64, bytes: u64, change: FileChange) {
        if self.observation.effects.len() >= MAX_EFFECTS {
            self.observation.truncated = true;
            return;
        }
        // Nothing is kept by which it could be undone.
        let (target, file) = (escape(place), Some(change));
        let effect = ObservedEffect {
            kind: kind.into(),
            target,
            count,
            bytes,
            reversible: false,
            file,
            network: None,
            process: None,
        };
        self.observation.effects.push(effect);
    }
}

fn split(place: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = place.iter().rposition(|byte| *byte == b'/')?;
    Some((&place[..at], &place[at + 1..]))
}
