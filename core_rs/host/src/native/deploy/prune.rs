//! Old releases go: what is removed is known path by path, and what stays is found again.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, ObservedEffect};
use rustix::fs::{AtFlags, Dir, OFlags, RenameFlags, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::site::{RELEASES, Site};
use super::{scope, tree_digest};
use crate::Error;
use crate::native::arguments::about;
use crate::native::beneath::{hold_child, open_child, open_child_same_mount, refused};
use crate::native::census::{Census, Scope};
use crate::native::hidden::hidden_name;
use crate::native::walk::{Next, Remover, Seen, Visitor, walk};

/// An old release that goes, or what an earlier deployment could not remove.
pub(super) struct Prune {
    /// Its name in `releases`.
    pub(super) id: String,
    pub(super) census: Census,
}

/// Removes everything beneath a directory, and knows what it removed.
struct Taking {
    gone: Vec<Vec<u8>>,
}

impl Prune {
    /// Looks at what goes; the second error says why its effects cannot be listed.
    ///
    /// # Errors
    /// `PATH_NOT_USABLE`.
    pub(super) fn of(site: &Site, id: &str) -> Result<Option<Result<Self, Error>>, Error> {
        let Some((spot, stamp)) = site.release(id)? else { return Ok(None) };
        let scope = Scope { to: &spot.path, is_copied: false, max_bytes: u64::MAX };
        let census = Census::take(&spot, &stamp, scope);
        Ok(Some(census.map(|census| Self { id: id.to_owned(), census })))
    }

    /// Removes it: what really went, and why the rest stays.
    pub(super) fn perform(&self, site: &Site, permit_id: &str) -> (Vec<ObservedEffect>, Option<String>) {
        let (gone, failure) = site.take_away(&self.id, permit_id);
        let gone: BTreeSet<String> = gone.iter().map(|path| escape(path)).collect();
        let listed = self.effects(site);
        let (of_it, before) = (listed.iter().map(|it| it.target.clone()).collect::<BTreeSet<_>>(), listed.len());
        let mut went: Vec<_> = listed.into_iter().filter(|it| gone.contains(&it.target)).collect();
        let why = failure.map(|error| {
            let (id, count) = (&self.id, went.len());
            format!(
                "the old release {id} could not be removed: {error}; {count} of its {before} entries are gone, and a \
                 later release with `keep` removes the rest"
            )
        });
        // What appeared in it since it was looked at went with it.
        went.extend(gone.difference(&of_it).cloned().map(deleted));
        (went, why)
    }

    pub(super) fn effects(&self, site: &Site) -> Vec<ObservedEffect> {
        // Each by itself, so that whoever decides knows all that goes.
        let mut effects = self.census.created(&site.release_path(&self.id), |entry| entry.state.clone());
        for effect in &mut effects {
            effect.set_kind(EffectKind::FileDelete);
            effect.reversible = false;
            if let Some(change) = &mut effect.file {
                change.before = change.after.take();
            }
        }
        effects
    }
}

impl Site {
    /// Removes a release, or what is left of one, and says which paths went. If not all of it can be removed,
    /// the rest has its name again: what has another name nobody would find.
    pub(super) fn take_away(&self, id: &str, permit_id: &str) -> (Vec<Vec<u8>>, Option<Error>) {
        let spot = match self.release(id) {
            Ok(Some((spot, _))) => spot,
            Ok(None) => return (Vec::new(), None),
            Err(error) => return (Vec::new(), Some(error)),
        };
        let hidden = hidden_name(permit_id, "gone");
        // A rename would put it into the place of an empty directory.
        let is_free = matches!(hold_child(&spot.parent, &hidden), Err(Errno::NOENT));
        let from = if is_free { Ok(()) } else { Err(Errno::EXIST) };
        let moved = from.and_then(|()| renameat(&spot.parent, &*spot.name, &spot.parent, &*hidden));
        if let Err(errno) = moved {
            return (Vec::new(), Some(refused(errno, &spot.path)));
        }
        super::point("hidden");
        let mut taking = Taking { gone: Vec::new() };
        let emptied = open_child_same_mount(&spot.parent, &hidden, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| refused(errno, &spot.path))
            .and_then(|top| walk(top, &spot.path, &mut taking))
            .and_then(|()| unlinkat(&spot.parent, &hidden, AtFlags::REMOVEDIR).map_err(|it| refused(it, &spot.path)));
        let failure = match emptied {
            Ok(()) => {
                taking.gone.push(spot.path.clone());
                None
            }
            Err(error) => {
                let back = renameat_with(&spot.parent, &*hidden, &spot.parent, &*spot.name, RenameFlags::NOREPLACE);
                if let Err(errno) = back {
                    tracing::warn!(release = id, %errno, "what is left of an old release keeps its hidden name");
                }
                Some(error)
            }
        };
        let synced = spot.sync_parent().err();
        (taking.gone, failure.or(synced))
    }

    /// Names of what earlier deployments hid and could not remove.
    ///
    /// # Errors
    /// `PATH_NOT_USABLE`.
    pub(super) fn leftovers(&self) -> Result<Vec<String>, Error> {
        let listed = open_child(&self.dir, RELEASES, OFlags::RDONLY | OFlags::DIRECTORY).and_then(Dir::new);
        let listed = match listed {
            Ok(listed) => listed,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(about("root", refused(errno, &self.at(RELEASES)))),
        };
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|errno| about("root", refused(errno, &self.at(RELEASES))))?;
            let name = entry.file_name().to_str().unwrap_or_default();
            if is_gone(name) && matches!(self.release(name), Ok(Some(_))) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// False if parts of a release are gone, because its removal had begun.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    pub(super) fn is_whole(&self, id: &str) -> Result<bool, Error> {
        let Some(record) = self.state.record(id).filter(|record| record.is_going) else { return Ok(true) };
        let Some((spot, stamp)) = self.release(id)? else { return Ok(false) };
        Ok(tree_digest(&Census::take(&spot, &stamp, scope(&spot.path))?) == record.digest)
    }
}

impl Visitor for Taking {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        super::point("taking");
        let next = Remover.entry(seen)?;
        if next == Next::Skip {
            self.gone.push(seen.path.to_vec());
        }
        Ok(next)
    }

    fn leave(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        Remover.leave(dir, name, path)?;
        self.gone.push(path.to_vec());
        Ok(())
    }
}

/// A name that [`hidden_name`] gives to what is being removed.
fn is_gone(name: &str) -> bool {
    let unique = name.strip_prefix(".cmdop-").and_then(|rest| rest.strip_suffix("-gone"));
    unique.is_some_and(|unique| unique.len() == 24 && unique.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn deleted(target: String) -> ObservedEffect {
    ObservedEffect { kind: EffectKind::FileDelete.into(), target, count: 1, ..ObservedEffect::default() }
}
