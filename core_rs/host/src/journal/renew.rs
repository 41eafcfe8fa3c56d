//! What an undo puts back is what was there before, only that it moved, and with it the time of its last change of
//! metadata. So that an earlier commit can be undone after a later one, it is remembered which times mean the same.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;
use rustix::fs::OFlags;

use super::record::{Kind, Op, Record, Renewed};
use super::stamp::Times;
use super::{Journals, UNDONE, durable, read, rename};
use crate::Error;
use crate::native::beneath::hold_child;
use crate::native::measure::Stamp;

type Time = (i64, i64);

impl Journals {
    /// Reads what earlier undos noted.
    pub(super) fn remember_times(&self, dir: &Path) {
        let undone = read(&dir.join(UNDONE)).ok().flatten();
        self.times.lock().extend(undone.iter().flat_map(|record| &record.renewed).map(Renewed::pair));
    }

    /// Directories that are as a commit left them: what somebody else did to them since must show after its undo.
    pub(super) fn quiet(&self, record: &Record) -> BTreeSet<u64> {
        let of_directories = record.ops.iter().filter_map(|op| Some((&op.path, op.directory.as_ref()?)));
        let times = self.times.lock().clone();
        let is_quiet = |path: &[u8], left: Time| {
            let held = self.root.open(path, OFlags::PATH | OFlags::DIRECTORY);
            let is_as_left = |now: Stamp| meant(&times, now.ino, now.ctime()) == meant(&times, now.ino, left);
            held.and_then(Stamp::of).is_ok_and(is_as_left)
        };
        of_directories
            .filter(|(path, found)| is_quiet(path, (found.left_s, found.left_ns)))
            .map(|(_, found)| found.ino)
            .collect()
    }

    /// Notes when the directories that a commit touched last changed, once all is done.
    pub(super) fn note_directories(&self, record: &mut Record) {
        for op in &mut record.ops {
            let Some(found) = &mut op.directory else { continue };
            let held = self.root.open(&op.path, OFlags::PATH | OFlags::DIRECTORY);
            if let Ok(now) = held.and_then(Stamp::of) {
                (found.left_s, found.left_ns) = now.ctime();
            }
        }
    }

    /// All that is remembered of an undone commit: which times of last changes mean earlier ones.
    ///
    /// # Errors
    /// If it cannot be written; then what an earlier commit left counts as changed since.
    pub(super) fn renew(&self, dir: &Path, undone: &Record, quiet: &BTreeSet<u64>) -> Result<(), Error> {
        let renewed: Vec<_> = undone.ops.iter().filter_map(|op| self.renewed(op, quiet)).collect();
        self.times.lock().extend(renewed.iter().map(Renewed::pair));
        durable(&dir.join("undone.new"), &Record { renewed, ..Record::default() }.encode_to_vec())?;
        rename(dir, "undone.new", UNDONE)
    }

    fn renewed(&self, op: &Op, quiet: &BTreeSet<u64>) -> Option<Renewed> {
        let (ino, was) = moved(op, quiet)?;
        let path = if op.path_before.is_empty() { &op.path } else { &op.path_before };
        let spot = self.root.spot(path).ok()?;
        let now = hold_child(&spot.parent, &spot.name).ok().and_then(|held| Stamp::of(held).ok())?;
        let (now_s, now_ns) = now.ctime();
        let is_other = now.ino == ino && now.ctime() != was;
        is_other.then_some(Renewed { ino, now_s, now_ns, was_s: was.0, was_ns: was.1 })
    }
}

/// When what a commit touched had last changed before it.
fn moved(op: &Op, quiet: &BTreeSet<u64>) -> Option<(u64, Time)> {
    if let Some(found) = &op.directory {
        return quiet.contains(&found.ino).then_some((found.ino, (found.ctime_s, found.ctime_ns)));
    }
    let was = match op.kind() {
        Kind::Out => op.moving.as_ref(),
        Kind::Exchange | Kind::Attributes => op.standing.as_ref(),
        Kind::In | Kind::Times => None,
    }?;
    Some(was.last_changed()).filter(|(_, time)| *time != (0, 0))
}

impl Renewed {
    fn pair(&self) -> ((u64, Time), Time) {
        ((self.ino, (self.now_s, self.now_ns)), (self.was_s, self.was_ns))
    }
}

/// The time that one means, by what undos noted.
pub(super) fn meant(times: &Times, ino: u64, mut time: Time) -> Time {
    for _ in 0..=times.len() {
        match times.get(&(ino, time)) {
            Some(earlier) => time = *earlier,
            None => break,
        }
    }
    time
}
