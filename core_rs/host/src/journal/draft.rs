//! A journal being written: slots are filled and steps are listed, and nothing is changed yet.

use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cmdop_contract::v1::Reason;
use prost::Message;
use rustix::fs::OFlags;

use super::attributes::Attributes;
use super::closed;
use super::record::{Changed, Closed, Kind, Op, Record};
use super::run::{self, conflict, slot_spot};
use super::stamp::{Extent, Standing};
use super::{DRAFT, INTENT, Journals, ROLLBACK, SLOTS, durable, remove_file, rename, stores};
use crate::native::beneath::{Spot, open_child, refused, show};
use crate::native::measure::Stamp;
use crate::{Error, barren};

/// A place in a private directory on the mount of what moves there or waits there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    store: u32,
    number: u32,
}

/// A journal being written. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    journals: &'a Journals,
    dir: PathBuf,
    record: Record,
    /// Directories of the slots with the mount that each lies on.
    stores: Vec<(u64, OwnedFd)>,
    slots: u32,
    is_intent: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(journals: &'a Journals, call_id: &str, dir: PathBuf) -> Result<Self, Error> {
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(Error::io("create a journal"))?;
        let record = Record { call_id: call_id.to_owned(), ..Record::default() };
        Ok(Self { journals, dir, record, stores: Vec::new(), slots: 0, is_intent: false })
    }

    /// The place.
    ///
    /// # Errors
    /// As [`Journals::spot`].
    pub(crate) fn spot(&self, path: &[u8]) -> Result<Spot, Error> {
        self.journals.spot(path)
    }

    /// Makes sure that a place still lies in the directory that was looked at.
    ///
    /// # Errors
    /// `COMMIT_CONFLICT`.
    pub(crate) fn check_place(&self, place: &Spot) -> Result<(), Error> {
        let (then, now) = (Stamp::of(&place.parent)?, self.spot(&place.path).and_then(|now| Stamp::of(now.parent)));
        let is_same = now.is_ok_and(|now| (now.dev, now.ino) == (then.dev, then.ino));
        if is_same { Ok(()) } else { Err(conflict(&place.path)) }
    }

    /// A free slot on the mount of a place.
    ///
    /// # Errors
    /// `UNSUPPORTED_CHANGE` if there is nowhere to put it.
    pub(crate) fn slot(&mut self, place: &[u8]) -> Result<Slot, Error> {
        let (above, path) = stores::nearest(&self.journals.root, run::parent(place))?;
        let mount = stores::mount_of(&above)?;
        let known = self.stores.iter().position(|(found, _)| *found == mount);
        let store = match known {
            Some(known) => known,
            None => self.add_store(mount, &path)?,
        };
        self.slots += 1;
        Ok(Slot { store: u32::try_from(store).unwrap_or(u32::MAX), number: self.slots })
    }

    fn add_store(&mut self, mount: u64, below: &std::path::Path) -> Result<usize, Error> {
        let journals = self.journals;
        let open = |path: &PathBuf| journals.root.open(path.as_os_str().as_bytes(), OFlags::PATH | OFlags::DIRECTORY);
        let name = self.dir.file_name().unwrap_or_default();
        let path = if stores::mount_of(open(&self.dir)?)? == mount {
            self.dir.join(SLOTS)
        } else {
            stores::private_directory(&journals.root, below, mount, &journals.name)?.join(name)
        };
        self.record.stores.push(path.as_os_str().as_bytes().to_vec());
        journals.remember(&self.record.stores);
        // So that a later life finds what this one leaves.
        fs::write(self.dir.join(DRAFT), self.record.encode_to_vec()).map_err(Error::io("write a journal"))?;
        super::remove_tree(&path)?;
        let made = barren::create(&path);
        made.map_err(Error::io(format!("change {}", show(below.as_os_str().as_bytes()))))?;
        self.stores.push((mount, open(&path)?));
        Ok(self.stores.len() - 1)
    }

    /// The slot as a place, to stage what shall wait there.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(crate) fn staging(&self, slot: Slot) -> Result<Spot, Error> {
        slot_spot(&self.stores[slot.store as usize].1, &self.record.stores[slot.store as usize], slot.number)
    }

    /// What stands at `path` goes, or with `to` moves elsewhere.
    ///
    /// # Errors
    /// If there is no slot for it.
    pub(crate) fn take_out(&mut self, path: &[u8], standing: Standing, to: Option<&[u8]>) -> Result<(), Error> {
        let slot = self.slot(path)?;
        if to.is_none() {
            self.record.bytes += standing.room();
        }
        let closed = if to.is_none() { closed::at(&self.spot(path)?)? } else { None };
        let closed = closed.into_iter().collect();
        let op = Op { is_half: to.is_some(), moving: Some(standing), closed, ..self.op(Kind::Out, path, slot) };
        if let Some(to) = to {
            self.record.ops.push(Op { kind: Kind::In.into(), path: to.to_vec(), ..op.clone() });
        }
        self.record.ops.push(op);
        Ok(())
    }

    /// What stands at `path` takes the place of what stands at `to`, in one step for whoever looks there.
    ///
    /// # Errors
    /// If there is no slot for it.
    pub(crate) fn take_over(
        &mut self,
        path: &[u8],
        standing: Standing,
        to: &[u8],
        replaced: Standing,
    ) -> Result<(), Error> {
        let slot = self.slot(path)?;
        self.record.bytes += replaced.room();
        let op = Op { is_half: true, moving: Some(standing), ..self.op(Kind::Out, path, slot) };
        let comes = Op { kind: Kind::Exchange.into(), path: to.to_vec(), standing: Some(replaced), ..op.clone() };
        self.record.ops.extend([op, comes]);
        Ok(())
    }

    /// What was staged comes to a place that is free by then.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub(crate) fn put_in(&mut self, path: &[u8], slot: Slot) -> Result<(), Error> {
        let moving = self.staged(slot)?;
        let closed = closed::at(&self.staging(slot)?)?.into_iter().collect();
        self.record.ops.push(Op { moving: Some(moving), closed, ..self.op(Kind::In, path, slot) });
        Ok(())
    }

    /// What was staged takes the place of what stands there.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub(crate) fn exchange(&mut self, path: &[u8], slot: Slot, standing: Standing) -> Result<(), Error> {
        let moving = self.staged(slot)?;
        self.record.bytes += standing.room();
        let there = self.spot(&self.path_before(path)).ok();
        let closed = closed::at(&self.staging(slot)?)?.into_iter();
        let closed = closed.chain(there.map(|there| closed::at(&there)).transpose()?.flatten()).collect();
        let op = Op { moving: Some(moving), standing: Some(standing), closed, ..self.op(Kind::Exchange, path, slot) };
        self.record.ops.push(op);
        Ok(())
    }

    /// Attributes of what stands there change.
    pub(crate) fn attributes(&mut self, path: &[u8], standing: Standing, before: Attributes, after: Attributes) {
        let (before, after) = (Some(before), Some(after));
        let op = self.op(Kind::Attributes, path, Slot { store: 0, number: 0 });
        let directory = self.last_changed(&self.path_before(path));
        self.record.ops.push(Op { standing: Some(standing), before, after, directory, ..op });
    }

    /// What was staged gets these permission bits at its place: with them it could not be moved there, nor back.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub(crate) fn attributes_of_new(&mut self, path: &[u8], slot: Slot, before: u32, after: u32) -> Result<(), Error> {
        let standing = Some(self.staged(slot)?);
        let only = |mode| Some(Attributes { mode: Some(mode), ..Attributes::default() });
        let op = self.op(Kind::Attributes, path, Slot { store: 0, number: 0 });
        self.record.ops.push(Op { standing, before: only(before), after: only(after), ..op });
        Ok(())
    }

    /// A directory has this time of its last change after the commit, and had that one before.
    pub(crate) fn times(
        &mut self,
        path: &[u8],
        after: Option<Attributes>,
        path_before: &[u8],
        before: Option<Attributes>,
    ) {
        let op = self.op(Kind::Times, path, Slot { store: 0, number: 0 });
        let directory = self.last_changed(path_before);
        self.record.ops.push(Op { before, after, path_before: path_before.to_vec(), directory, ..op });
    }

    /// The directory of a place has the time of its last change back after an undo.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub(crate) fn restore_times(&mut self, place: &Spot) -> Result<(), Error> {
        let before = Attributes::times_of(&Stamp::of(&place.parent)?);
        let parent = run::parent(&place.path).to_vec();
        self.times(&parent, None, &parent, Some(before));
        Ok(())
    }

    /// The times that a directory has, by its path after the commit; none if nothing is there yet.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub(crate) fn times_now(&self, path: &[u8]) -> Result<Option<Attributes>, Error> {
        let held = self.journals.root.open(&self.path_before(path), OFlags::PATH | OFlags::DIRECTORY);
        held.ok().map(|held| Ok(Attributes::times_of(&Stamp::of(held)?))).transpose()
    }

    /// When a directory last changed; none of what is no directory, whose standing says it.
    fn last_changed(&self, path: &[u8]) -> Option<Changed> {
        let held = self.journals.root.open(path, OFlags::PATH | OFlags::DIRECTORY).ok().filter(|_| !path.is_empty());
        let stamp = Stamp::of(held?).ok()?;
        let (ctime_s, ctime_ns) = stamp.ctime();
        Some(Changed { ino: stamp.ino, ctime_s, ctime_ns, ..Changed::default() })
    }

    /// Makes everything that was staged durable.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        run::sync_all(&self.journals.root, &self.record.stores)
    }

    /// Where directories change, by their paths after the commit.
    pub(crate) fn parents(&self) -> Vec<Vec<u8>> {
        let moved = self.record.ops.iter().filter(|op| !matches!(op.kind(), Kind::Attributes | Kind::Times));
        let after = |op: &Op| match op.kind() {
            Kind::Out => run::parent(&self.record.path_after(&op.path)).to_vec(),
            _ => run::parent(&op.path).to_vec(),
        };
        let mut parents: Vec<_> = moved.map(after).collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    fn op(&self, kind: Kind, path: &[u8], slot: Slot) -> Op {
        Op { kind: kind.into(), path: path.to_vec(), store: slot.store, slot: slot.number, ..Op::default() }
    }

    fn staged(&self, slot: Slot) -> Result<Standing, Error> {
        let staged = Standing::of(&self.staging(slot)?, Extent::Itself)?;
        staged.ok_or_else(|| Error::io("stage")(std::io::ErrorKind::NotFound.into()))
    }

    /// Lets the steps change what is in directories that their owner may not write, as the command did that opened
    /// and closed them again.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(crate) fn open_directories(&mut self) -> Result<(), Error> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let moves = |op: &Op| matches!(op.kind(), Kind::Out | Kind::In | Kind::Exchange);
        let above = |op: &Op| (op.kind() == Kind::Out, run::parent(&op.path).to_vec());
        let all: BTreeSet<_> = self.record.ops.iter().filter(|op| moves(op)).map(above).collect();
        let comes = |op: &&Op| !op.is_half && matches!(op.kind(), Kind::In | Kind::Exchange);
        let comes = self.record.ops.iter().filter(comes);
        let new: HashMap<&[u8], Slot> =
            comes.map(|op| (&*op.path, Slot { store: op.store, number: op.slot })).collect();
        let mut found = HashMap::new();
        for (is_before, path) in all {
            if let Some(closed) = self.closed_at(&path, is_before, &new)? {
                found.insert((is_before, path), closed);
            }
        }
        for op in self.record.ops.iter_mut().filter(|op| moves(op)) {
            op.closed.extend(found.get(&above(op)).cloned());
        }
        Ok(())
    }

    /// The directory at a path before or after the commit, if its owner may not write it: one that is new waits in its
    /// slot, or in that of one above it.
    fn closed_at(&self, path: &[u8], is_before: bool, new: &HashMap<&[u8], Slot>) -> Result<Option<Closed>, Error> {
        let above = Path::new(std::ffi::OsStr::from_bytes(path)).ancestors().map(|above| above.as_os_str().as_bytes());
        let waits = above.filter_map(|above| Some((above.len(), *new.get(above)?))).next().filter(|_| !is_before);
        let held = match waits {
            Some((length, slot)) => {
                let slot = self.staging(slot)?;
                let there = [slot.name.to_bytes(), &path[length..]].concat();
                let there = CString::new(there).map_err(|_| conflict(path))?;
                open_child(&slot.parent, &there, OFlags::PATH).map_err(|errno| refused(errno, path))?
            }
            None => {
                let before = if is_before { path.to_vec() } else { self.path_before(path) };
                self.journals.root.open(&before, OFlags::PATH | OFlags::DIRECTORY)?
            }
        };
        closed::of(held)
    }

    /// Makes the journal durable and runs it.
    ///
    /// # Errors
    /// `COMMIT_CONFLICT` and others if nothing was changed; `OUTCOME_UNKNOWN` if it could be neither
    /// finished nor taken back.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        if self.record.ops.is_empty() {
            return Ok(());
        }
        self.record.sort();
        self.check()?;
        let (journals, dir) = (self.journals, self.dir.clone());
        // Whatever can fail without a step being done does so while there is no intent yet.
        let run = journals.run(&dir, &self.record)?;
        self.keep_slots()?;
        durable(&dir.join("intent.new"), &self.record.encode_to_vec())?;
        self.is_intent = true;
        if let Err(stopped) = rename(&dir, "intent.new", INTENT) {
            // It may have its name nevertheless, and the next start would go by that.
            remove_file(&dir.join(INTENT)).map_err(unknown)?;
            self.is_intent = false;
            return Err(stopped);
        }
        let stopped = match run.forwards() {
            Ok(()) => return journals.finish(&dir, std::mem::take(&mut self.record), INTENT).map_err(unknown),
            Err(stopped) => stopped,
        };
        rename(&dir, INTENT, ROLLBACK).map_err(unknown)?;
        run.back().map_err(unknown)?;
        journals.end_rollback(&dir).map_err(unknown)?;
        Err(stopped)
    }

    /// Makes the names of slots durable, and the directories that lead to them.
    fn keep_slots(&self) -> Result<(), Error> {
        let doing = || Error::io("make the journal durable");
        let stores = self.record.stores.iter().map(|store| PathBuf::from(std::ffi::OsStr::from_bytes(store)));
        let above = stores.flat_map(|store| store.ancestors().take(3).map(Path::to_owned).collect::<Vec<_>>());
        let all: BTreeSet<_> = above.chain([self.journals.dir.clone()]).collect();
        for directory in all {
            match fs::File::open(&directory) {
                Ok(directory) => directory.sync_all().map_err(doing())?,
                // One above the private directory may be only passed through.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(doing()(error)),
            }
        }
        Ok(())
    }

    /// Everything that is about to be touched is as it was measured.
    fn check(&self) -> Result<(), Error> {
        for op in &self.record.ops {
            let expected = match op.kind() {
                Kind::Out => &op.moving,
                // It waits in its slot, which nobody else can reach.
                Kind::Attributes if self.record.is_new(&op.path) => continue,
                Kind::Exchange | Kind::Attributes => &op.standing,
                Kind::In | Kind::Times => continue,
            };
            // Paths of what does not move out are those after the commit.
            let Some(expected) = expected else { continue };
            let path = if op.kind() == Kind::Out { op.path.clone() } else { self.path_before(&op.path) };
            let spot = self.journals.spot(&path).map_err(|_| conflict(&path))?;
            if !expected.is_untouched(&spot)? {
                return Err(conflict(&path));
            }
        }
        Ok(())
    }

    /// Where something that stands at a path after the commit is before it.
    pub(crate) fn path_before(&self, path: &[u8]) -> Vec<u8> {
        let mut path = path.to_vec();
        // At most one directory above it is the nearest that moves, and what is above that one moves
        // it, too; going back from path to path ends at the oldest name.
        let moved_in = self.record.of_kind(Kind::In).filter(|op| op.is_half);
        let covers = |op: &&Op, path: &[u8]| {
            path.strip_prefix(&*op.path).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
        };
        if let Some(nearest) = moved_in.filter(|op| covers(op, &path)).max_by_key(|op| op.path.len()) {
            let from = self
                .record
                .of_kind(Kind::Out)
                .find(|op| op.is_half && (op.store, op.slot) == (nearest.store, nearest.slot));
            if let Some(from) = from {
                path = [&*from.path, &path[nearest.path.len()..]].concat();
            }
        }
        path
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.is_intent
            && let Err(error) = self.journals.remove(&self.dir)
        {
            tracing::warn!(%error, "what was staged stays on disk");
        }
    }
}

fn unknown(error: Error) -> Error {
    let message = format!("the commit could be neither finished nor taken back: {error}");
    Error::stop(Reason::OutcomeUnknown, message)
}
