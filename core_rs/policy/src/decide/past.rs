//! What a run or session did before, as far as hosts measured it: facts that policy may ask about.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use cmdop_contract::effect::Target;
use cmdop_contract::path::{PathPattern, is_beneath, unescape};
use cmdop_contract::v1::{EffectKind, FileState, FileType, Observation, ObservedEffect};

use crate::engine::Subject;

/// Paths that are remembered of one run or session on one host. What it made beyond that counts as made by
/// somebody else; if it moved more, everything there counts as moved.
const MOST: usize = 4_096;

/// What a path was, as it was measured last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    is_directory: bool,
    size: u64,
    sha256: String,
    link_target: String,
    /// Which of the run's calls made it so.
    call: u64,
}

impl Made {
    fn of(state: &FileState, call: u64) -> Self {
        Self {
            is_directory: state.r#type() == FileType::Directory,
            size: if state.r#type() == FileType::Regular { state.size } else { 0 },
            sha256: state.sha256.clone(),
            link_target: state.link_target.clone(),
            call,
        }
    }

    /// Is it still what was made, as far as the host said?
    fn is(&self, now: &FileState) -> bool {
        let now = Self::of(now, self.call);
        let same = |one: &str, other: &str| one.is_empty() || other.is_empty() || one == other;
        self.is_directory == now.is_directory
            && self.size == now.size
            && same(&self.sha256, &now.sha256)
            && same(&self.link_target, &now.link_target)
    }
}

/// What happened to a file, distilled from what a host measured.
#[derive(Clone, Debug)]
pub struct Deed {
    kind: EffectKind,
    path: Vec<u8>,
    /// The other end of a rename.
    other: Option<Vec<u8>>,
    is_linked: bool,
    before: Option<FileState>,
    after: Option<FileState>,
    /// Entries and bytes of a tree.
    extent: (u64, u64),
}

/// What a settled call did to the files of its host.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    deeds: Vec<Deed>,
    /// Something else may have changed: what was known of any file may be so no more.
    is_partial: bool,
}

impl Measured {
    /// What is remembered of an observation.
    #[must_use]
    pub fn of(observation: &Observation) -> Self {
        let deeds: Vec<_> = observation.effects.iter().map(Deed::of).collect();
        let unseen = |kind| matches!(Subject::of(kind), Some(Subject::Path) | None);
        let is_partial = observation.truncated
            || deeds.iter().any(Option::is_none)
            || observation
                .unobserved
                .iter()
                .any(|missing| unseen(missing.kind()) && missing.kind() != EffectKind::FileRead);
        let mut deeds: Vec<Deed> = deeds.into_iter().flatten().collect();
        deeds.retain(|deed| deed.is_of_files());
        Self { deeds, is_partial }
    }

    /// Of a call of which nobody can tell what it did.
    #[must_use]
    pub fn unknown() -> Self {
        Self { deeds: Vec::new(), is_partial: true }
    }

    /// Nothing that is remembered changes by it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.deeds.is_empty() && !self.is_partial
    }

    /// How much there is to fold.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deeds.len()
    }

    /// Nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deeds.is_empty()
    }
}

impl Deed {
    /// `None` for a target that cannot be read.
    fn of(effect: &ObservedEffect) -> Option<Self> {
        let kind = effect.kind();
        let extent = (effect.count, effect.bytes);
        let mut deed =
            Self { kind, path: Vec::new(), other: None, is_linked: false, before: None, after: None, extent };
        if !deed.is_of_files() {
            return Some(deed);
        }
        deed.path = unescape(&effect.target).ok()?;
        if let Some(file) = &effect.file {
            deed.other = if file.renamed.is_empty() { None } else { Some(unescape(&file.renamed).ok()?) };
            deed.is_linked = !file.linked.is_empty();
            (deed.before, deed.after) = (file.before.clone(), file.after.clone());
        }
        Some(deed)
    }

    fn is_of_files(&self) -> bool {
        matches!(
            self.kind,
            EffectKind::FileCreate | EffectKind::FileModify | EffectKind::FileDelete | EffectKind::FileRename
        )
    }
}

/// What a run or session did on one host.
#[derive(Clone, Debug, Default)]
struct OnHost {
    /// What it created and nobody replaced since.
    made: BTreeMap<Vec<u8>, Made>,
    /// What it moved, and where that was before: the only copies.
    moved: BTreeMap<Vec<u8>, Vec<u8>>,
    /// It moved more than is remembered.
    moved_more: bool,
}

/// What a run or session did. Only what hosts measured in calls that were applied counts.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    hosts: BTreeMap<String, OnHost>,
    /// Calls that were folded, to tell what came together.
    calls: u64,
    /// Calls that did not do what they were meant to.
    pub failed: u32,
    /// Calls that policy or a person refused.
    pub denials: u32,
}

impl Deeds {
    /// Is anything known of a host?
    #[must_use]
    pub fn is_on(&self, host: &str) -> bool {
        self.hosts.contains_key(host)
    }

    /// Is something known that must not be forgotten: the only copies of what it moved?
    #[must_use]
    pub fn holds_copies(&self) -> bool {
        self.hosts.values().any(|host| !host.moved.is_empty() || host.moved_more)
    }

    /// Takes in what a call of it did. What is given back by `files.undo` was not made by it.
    pub fn own(&mut self, host: &str, measured: &Measured, is_undo: bool) {
        self.calls += 1;
        let call = self.calls;
        let host = self.hosts.entry(host.to_owned()).or_default();
        if measured.is_partial {
            host.made.clear();
        }
        host.lose(measured);
        host.relocate(measured);
        for deed in measured.deeds.iter().filter(|deed| !measured.is_partial && !is_undo && deed.other.is_none()) {
            host.make(deed, call);
        }
        // Only now is it known what of it was made in the same call.
        host.keep_copies(measured, Some(call));
    }

    /// Takes in what somebody else's call did: what it touched is not what was made any more.
    pub fn others(&mut self, host: &str, measured: &Measured) {
        let Some(host) = self.hosts.get_mut(host) else { return };
        if measured.is_partial {
            host.made.clear();
        }
        for deed in &measured.deeds {
            host.forget_made(&deed.path);
        }
        host.keep_copies(measured, None);
    }

    /// Nobody knows any more what of it still stands.
    pub fn forget_made(&mut self, host: &str) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.made.clear();
        }
    }
}

impl OnHost {
    /// What is deleted is neither made nor moved any more.
    fn lose(&mut self, measured: &Measured) {
        for deed in measured.deeds.iter().filter(|deed| deed.kind == EffectKind::FileDelete) {
            self.moved.retain(|path, _| !is_beneath(path, &deed.path));
        }
    }

    /// What was moved is elsewhere, and so is what was made.
    fn relocate(&mut self, measured: &Measured) {
        let renames = measured.deeds.iter().filter(|deed| deed.kind == EffectKind::FileRename);
        let renames: Vec<(&[u8], &[u8])> =
            renames.filter_map(|deed| Some((&*deed.path, deed.other.as_deref()?))).collect();
        let mut made = BTreeMap::new();
        let mut moved = BTreeMap::new();
        for (from, to) in renames {
            let elsewhere = |path: &[u8]| [to, &path[from.len()..]].concat();
            let is_made = self.made.contains_key(from);
            for (path, what) in taken(&mut self.made, from) {
                made.insert(elsewhere(&path), what);
            }
            let earlier = taken(&mut self.moved, from);
            let is_moved_on = earlier.iter().any(|(path, _)| path == from);
            for (path, origin) in earlier {
                moved.insert(elsewhere(&path), origin);
            }
            if !is_made && !is_moved_on {
                moved.insert(to.to_vec(), from.to_vec());
            }
        }
        // What is back where it was is not moved.
        moved.retain(|path, origin| path != origin);
        self.made.extend(made);
        self.moved.extend(moved);
        self.bound();
    }

    fn make(&mut self, deed: &Deed, call: u64) {
        match deed.kind {
            EffectKind::FileCreate => {
                self.forget_made(&deed.path);
                // A further name of a file is not that file.
                if let Some(after) = deed.after.as_ref().filter(|_| !deed.is_linked && self.made.len() < MOST) {
                    self.made.insert(deed.path.clone(), Made::of(after, call));
                }
            }
            EffectKind::FileModify => {
                let Some(known) = self.made.get_mut(&deed.path) else { return };
                match (&deed.before, &deed.after) {
                    (Some(before), Some(after)) if known.is(before) => *known = Made::of(after, call),
                    _ => self.forget_made(&deed.path),
                }
            }
            _ => {}
        }
    }

    /// What was lost elsewhere may have been copied to here before: then this is the only copy.
    ///
    /// Of a deleted file hosts say the size and no digest, of a deleted tree nothing of what it held. What may be a
    /// copy counts as one if it has the same digest, or the same size and either the same name or the same call.
    /// Otherwise nobody knows; whoever lost it in a call of their own did not make it then.
    fn keep_copies(&mut self, measured: &Measured, own_call: Option<u64>) {
        for deed in &measured.deeds {
            let Some(before) = deed.before.as_ref().filter(|_| self.loses(deed)) else { continue };
            if before.r#type() == FileType::Directory {
                self.made.retain(|_, made| made.is_directory || made.size == 0 || own_call.is_none());
                continue;
            }
            let name = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
            let is_alike = |path: &[u8], made: &Made| {
                let may_be = made.sha256.is_empty() || before.sha256.is_empty() || made.sha256 == before.sha256;
                path != deed.path && made.size == before.size && before.size > 0 && may_be
            };
            let alike = self.made.iter().filter(|(path, made)| is_alike(path, made)).map(|(path, _)| path.clone());
            for path in alike.collect::<Vec<_>>() {
                let made = &self.made[&path];
                let is_sure = !before.sha256.is_empty() && made.sha256 == before.sha256;
                let is_copy = is_sure || Some(made.call) == own_call || name(&path) == name(&deed.path);
                if is_copy || own_call.is_some() {
                    self.made.remove(&path);
                }
                if is_copy {
                    self.moved.insert(path, deed.path.clone());
                }
            }
        }
        self.bound();
    }

    /// Did it take away content that was not made here? What was made and is gone is forgotten.
    fn loses(&mut self, deed: &Deed) -> bool {
        let is_made = |made: &Made| deed.before.as_ref().is_some_and(|before| made.is(before));
        match deed.kind {
            EffectKind::FileDelete => {
                let gone = taken(&mut self.made, &deed.path);
                let extent = gone.iter().fold((0, 0), |(count, bytes), (_, it)| (count + 1, bytes + it.size));
                let is_own = gone.iter().any(|(path, made)| *path == deed.path && is_made(made));
                !is_own || extent != deed.extent
            }
            // What it is now was noted before this.
            EffectKind::FileModify => !self.made.contains_key(&deed.path),
            _ => false,
        }
    }

    fn forget_made(&mut self, path: &[u8]) {
        taken(&mut self.made, path);
    }

    fn bound(&mut self) {
        while self.moved.len() > MOST {
            self.moved.pop_first();
            self.moved_more = true;
        }
    }
}

/// Takes a path and everything beneath it out of a map.
fn taken<V>(map: &mut BTreeMap<Vec<u8>, V>, top: &[u8]) -> Vec<(Vec<u8>, V)> {
    let beneath: Vec<Vec<u8>> = beneath(map, top).map(|(path, _)| path.clone()).collect();
    beneath.into_iter().filter_map(|path| map.remove_entry(&path)).collect()
}

fn beneath<'m, V>(map: &'m BTreeMap<Vec<u8>, V>, top: &'m [u8]) -> impl Iterator<Item = (&'m Vec<u8>, &'m V)> {
    let from = (Bound::Included(top), Bound::Unbounded);
    // Siblings such as `/a-b` sort between `/a` and `/a/b`.
    map.range::<[u8], _>(from)
        .take_while(move |(path, _)| path.starts_with(top))
        .filter(move |(path, _)| is_beneath(path, top))
}

/// What is known of who acts: of its run, and of its session.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The narrower one first.
    pub scopes: Vec<Arc<Deeds>>,
}

/// What policy is told about one effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    /// The run or session made what it is about.
    pub(crate) made: bool,
    /// It is about what the run or session moved there: nothing else holds it.
    pub(crate) only_copy: bool,
}

impl Past {
    /// Calls of the run, or else of the session, that did not do what they were meant to.
    pub(crate) fn failed(&self) -> u32 {
        self.scopes.first().map_or(0, |deeds| deeds.failed)
    }

    /// Calls of the run, or else of the session, that were refused.
    pub(crate) fn denials(&self) -> u32 {
        self.scopes.first().map_or(0, |deeds| deeds.denials)
    }

    /// Before it runs. Whether somebody by hand replaced what was made is seen only then: so this promises nothing,
    /// and what is permitted by it alone is previewed.
    pub(crate) fn foretold(&self, host: &str, kind: EffectKind, target: &Target) -> Known {
        let Some(region) = target.as_path() else { return Known::default() };
        let hosts = || self.hosts(host);
        let made = match region.is_literal() {
            true => hosts().any(|host| host.made.contains_key(region.literal_root())),
            false => {
                hosts().any(|host| beneath(&host.made, region.literal_root()).any(|(path, _)| region.covers(path)))
            }
        };
        Known { made, only_copy: hosts().any(|host| host.meets_copy(region, kind)) }
    }

    /// What a preview showed, beside everything else that it showed.
    pub(crate) fn measured(&self, host: &str, effect: &ObservedEffect, all: &[ObservedEffect]) -> Known {
        let Ok(path) = unescape(&effect.target) else { return Known::default() };
        let region = PathPattern::literal(&path);
        let before = effect.file.as_ref().and_then(|file| file.before.as_ref());
        let made = |host: &OnHost| match (host.made.get(&path), before) {
            (Some(made), Some(before)) if made.is(before) => !made.is_directory || host.made_whole(&path, effect, all),
            _ => false,
        };
        Known {
            made: self.hosts(host).any(made),
            only_copy: self.hosts(host).any(|host| host.meets_copy(&region, effect.kind())),
        }
    }

    fn hosts<'p>(&'p self, host: &'p str) -> impl Iterator<Item = &'p OnHost> {
        self.scopes.iter().filter_map(move |deeds| deeds.hosts.get(host))
    }
}

impl OnHost {
    /// Does it reach what is the only copy? Of files that were made beside it nothing is lost.
    fn meets_copy(&self, region: &PathPattern, kind: EffectKind) -> bool {
        if !matches!(kind, EffectKind::FileDelete | EffectKind::FileModify | EffectKind::FileRename) {
            return false;
        }
        if self.moved_more {
            return true;
        }
        let is_own = region.is_literal() && self.made.contains_key(region.literal_root());
        let reach = if kind == EffectKind::FileModify { region.clone() } else { region.tree() };
        self.moved.keys().any(|moved| {
            let moved = PathPattern::literal(moved);
            reach.covers_pattern(&moved) || (!is_own && reach.overlaps(&moved.tree()))
        })
    }

    /// Was everything in a tree made, as far as its entries and bytes tell? Hosts list some of what a tree holds by
    /// itself; what they list counts with it.
    fn made_whole(&self, top: &[u8], effect: &ObservedEffect, all: &[ObservedEffect]) -> bool {
        if effect.kind() != EffectKind::FileDelete {
            return false;
        }
        let within = |it: &&ObservedEffect| {
            it.kind() == EffectKind::FileDelete && unescape(&it.target).is_ok_and(|path| is_beneath(&path, top))
        };
        let (count, bytes) =
            all.iter().filter(within).fold((0, 0), |(count, bytes), it| (count + it.count, bytes + it.bytes));
        let (made, size) = beneath(&self.made, top).fold((0, 0), |(made, size), (_, it)| (made + 1, size + it.size));
        (count, bytes) == (made, size)
    }
}

#[cfg(test)]
mod tests;
