//! What of a tree that goes or moves policy may speak about wherever it lies.
//!
//! A tree goes as one effect. Secrets, databases, repositories and the like in it are listed beside it,
//! with what lies beneath them, so that neither policy nor a person overlooks them.

use std::collections::BTreeSet;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect};
use cmdop_policy::classes::{Class, Notable};
use rustix::fs::OFlags;

use crate::Error;
use crate::native::beneath::{Spot, hold_child, open_child_same_mount, refused};
use crate::native::measure::Stamp;
use crate::native::walk::{Next, Seen, Visitor, walk};

/// A notable place beneath a tree.
pub(crate) struct Found {
    pub(crate) path: Vec<u8>,
    state: FileState,
    /// It and everything beneath it that is not listed itself.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Found {
    /// That it went or moved with the tree.
    pub(crate) fn effect(&self, kind: EffectKind, reversible: bool) -> ObservedEffect {
        let change = FileChange { before: Some(self.state.clone()), ..FileChange::default() };
        let (target, count, bytes) = (escape(&self.path), self.entries, self.bytes);
        ObservedEffect {
            kind: kind.into(),
            target,
            count,
            bytes,
            reversible,
            file: Some(change),
            network: None,
            process: None,
        }
    }
}

/// Lists them, in the order of their paths. A place is listed if it is of a class that the listed one
/// above it, or the tree itself, is not of.
///
/// # Errors
/// What keeps the tree from being read: then nobody knows what it holds.
pub(crate) fn beneath(spot: &Spot) -> Result<Vec<Found>, Error> {
    let stamp = Stamp::of(hold_child(&spot.parent, &spot.name).map_err(|errno| refused(errno, &spot.path))?)?;
    if stamp.file_type() != FileType::Directory {
        return Ok(Vec::new());
    }
    let top = open_child_same_mount(&spot.parent, &spot.name, OFlags::RDONLY | OFlags::DIRECTORY);
    let here = Notable::at(&spot.path);
    let above = vec![(spot.path.len(), here.classes(), None)];
    let mut list = List { above, directories: vec![(spot.path.len(), here)], found: Vec::new() };
    walk(top.map_err(|errno| refused(errno, &spot.path))?, &spot.path, &mut list)?;
    Ok(list.found)
}

/// Entries and bytes that are listed, and so not counted with the tree.
pub(crate) fn listed(found: &[Found]) -> (u64, u64) {
    found.iter().fold((0, 0), |(entries, bytes), one| (entries + one.entries, bytes + one.bytes))
}

struct List {
    /// The tree and the listed places above the current entry, outermost first: length of its path, classes,
    /// and which of those found it is.
    above: Vec<(usize, BTreeSet<Class>, Option<usize>)>,
    /// The tree and the directories above the current entry: length of its path, and what its classes tell of
    /// those beneath.
    directories: Vec<(usize, Notable)>,
    found: Vec<Found>,
}

impl Visitor for List {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        // Each comes after everything beneath the one before it, so what is as long as it is not above it.
        let around = seen.path.len() - seen.name.to_bytes().len();
        while self.above.len() > 1 && self.above.last().is_some_and(|(length, ..)| *length >= around) {
            self.above.pop();
        }
        while self.directories.len() > 1 && self.directories.last().is_some_and(|(length, _)| *length >= around) {
            self.directories.pop();
        }
        let bytes = if seen.stamp.file_type() == FileType::Regular { seen.stamp.size } else { 0 };
        let Some((_, directory)) = self.directories.last() else { return Ok(Next::Stop) };
        let here = directory.below(seen.name.to_bytes());
        let classes = here.classes();
        if seen.stamp.file_type() == FileType::Directory {
            self.directories.push((seen.path.len(), here));
        }
        let Some((_, around, within)) = self.above.last() else { return Ok(Next::Stop) };
        if !classes.is_subset(around) {
            let state = seen.stamp.state();
            self.above.push((seen.path.len(), classes, Some(self.found.len())));
            self.found.push(Found { path: seen.path.to_vec(), state, entries: 1, bytes });
        } else if let Some(within) = within {
            self.found[*within].entries += 1;
            self.found[*within].bytes += bytes;
        }
        Ok(Next::Enter)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::native::beneath::Root;

    #[test]
    fn secrets_databases_and_repositories_of_a_tree_are_listed_with_what_lies_beneath() {
        let dir = tempfile::tempdir().expect("directory");
        for path in ["pkg/.ssh/id_rsa", "pkg/.git/objects/a", "pkg/.git/objects/b", "pkg/src/main.rs", "pkg/app.db"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, "12").expect("write");
        }
        let tree = dir.path().join("pkg");
        let spot = Root::machine().and_then(|root| root.spot(tree.as_os_str().as_encoded_bytes())).expect("a place");
        let found = beneath(&spot).expect("listed");
        let shown: Vec<_> = found
            .iter()
            .map(|one| (String::from_utf8_lossy(&one.path[spot.path.len()..]).into_owned(), one.entries, one.bytes))
            .collect();
        let expected = [("/.git", 4, 4), ("/.ssh", 2, 2), ("/app.db", 1, 2)];
        assert_eq!(shown, expected.map(|(path, entries, bytes)| (path.to_owned(), entries, bytes)));
        assert_eq!(listed(&found), (7, 8));
    }
}
