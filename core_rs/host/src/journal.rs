//! The journal of a commit: durable before anything moves, kept afterwards so that it can be undone.
//!
//! Old inodes lie in slots, staged ones wait there; a step is one rename between a slot and its place.
//! The name of the journal's file is its state, so that every change of state is one rename, too:
//!
//! ```text
//! (slots)   ─▶ intent ─▶ done ─▶ undoing ─▶ undone
//!                │         ▲        │
//!                ▼         └────────▼
//!             rollback           redoing
//!                │
//!                ▼
//!           taken-back ─▶ (gone)
//! ```

pub(crate) mod attributes;
mod closed;
mod draft;
pub(crate) mod kept;
pub(crate) mod look;
mod mark;
pub(crate) mod record;
mod renew;
mod retention;
mod run;
pub(crate) mod stamp;
mod stores;
mod undo;
pub(crate) mod values;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cmdop_contract::v1::{Outcome, Reason};
use parking_lot::Mutex;
use prost::Message;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::admit::{Interrupted, Start};
use crate::native::beneath::{Root, Spot};
use crate::native::walk::{Remover, walk};
pub(crate) use draft::{Draft, Slot};
use record::{Kind, Record};
pub use retention::MAX_BYTES;
use run::Run;
pub(crate) use run::conflict;
use stamp::{Extent, Standing, Times};
pub(crate) use stores::mount_of;
pub(crate) use undo::Undo;

/// Where slots are, while the journal is not yet written.
const DRAFT: &str = "draft";
const INTENT: &str = "intent";
const ROLLBACK: &str = "rollback";
/// Nothing of it is on the machine any more: slots that go now must not look like steps that were done.
const TAKEN_BACK: &str = "taken-back";
const DONE: &str = "done";
const UNDOING: &str = "undoing";
const REDOING: &str = "redoing";
const UNDONE: &str = "undone";
/// Done, and its slots are gone: too old, or no space was left for it.
const DROPPED: &str = "dropped";
/// The call that undoes it.
const BY: &str = "by";

/// Slots on the mount of the host's state.
const SLOTS: &str = "slots";

/// All journals of a host.
#[derive(Debug)]
pub struct Journals {
    root: Root,
    dir: PathBuf,
    /// Name of private directories on other mounts.
    name: String,
    /// Those directories.
    stores: Mutex<BTreeSet<PathBuf>>,
    /// Held while the state of a finished journal changes.
    turn: Mutex<()>,
    /// Times of last changes that undos gave to what is as it was earlier.
    times: Mutex<Times>,
    /// Permits whose journals may have been lost.
    lost: BTreeSet<String>,
}

impl Journals {
    /// Opens the journals in a private directory.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(dir: PathBuf) -> Result<Self, Error> {
        Self::open_after(dir, &[])
    }

    /// Opens the journals of an earlier life, which left these permits. Where they are not those that it wrote, nobody
    /// can tell what became of a permit without one.
    ///
    /// # Errors
    /// As [`Journals::open`].
    pub fn open_after(dir: PathBuf, interrupted: &[Interrupted]) -> Result<Self, Error> {
        let doing = || Error::io(format!("create {}", dir.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(doing())?;
        let dir = fs::canonicalize(&dir).map_err(doing())?;
        let journals = Self {
            root: Root::machine()?,
            name: stores::private_name(&dir),
            lost: mark::lost(&dir, interrupted)?,
            dir,
            stores: Mutex::default(),
            turn: Mutex::default(),
            times: Mutex::default(),
        };
        for dir in journals.all() {
            journals.remember(&journals.stores_of(&dir));
            journals.remember_times(&dir);
        }
        Ok(journals)
    }

    /// Private directories outside the host's state, which no command and no tool may see.
    #[must_use]
    pub fn private_directories(&self) -> Vec<PathBuf> {
        self.stores.lock().iter().cloned().collect()
    }

    /// True if a path leads into a private directory, made or not.
    #[must_use]
    pub fn is_private(&self, path: &Path) -> bool {
        path.components().any(|part| part.as_os_str() == &*self.name)
    }

    /// Starts a journal. What an earlier one of this call staged is dropped.
    ///
    /// # Errors
    /// If the call has changed the machine already, or no directory can be made.
    pub(crate) fn draft(&self, call_id: &str) -> Result<Draft<'_>, Error> {
        let dir = self.path(call_id);
        if is_in(&dir, &[DONE, UNDOING, REDOING, UNDONE, DROPPED, INTENT, ROLLBACK])? {
            return Err(Error::stop(
                Reason::PermitInvalid,
                "this call has changed the machine already; nothing was done",
            ));
        }
        self.remove(&dir)?;
        Draft::new(self, call_id, dir)
    }

    /// What became of the commit that an earlier life was permitted, after it was finished or taken back if a crash
    /// cut it short. `None` if it can be neither.
    #[must_use]
    pub fn recover(&self, interrupted: &Interrupted) -> Option<Outcome> {
        let call_id = &interrupted.permit().call_id;
        let dir = self.path(call_id);
        match self.settle(&dir).and_then(|()| is_in(&dir, &[DONE, UNDONE, DROPPED])) {
            Ok(true) => Some(Outcome::Applied),
            Ok(false) => self.without_journal(interrupted),
            Err(error) => {
                tracing::error!(call = call_id, %error, "an interrupted commit can neither be finished nor taken back");
                None
            }
        }
    }

    /// What became of the call of an earlier life that was to undo `call_id`.
    #[must_use]
    pub fn recover_undo(&self, call_id: &str, by: &Interrupted) -> Option<Outcome> {
        let (dir, interrupted) = (self.path(call_id), by);
        let by = &*by.permit().call_id;
        match self.settle(&dir).and_then(|()| Ok(is_in(&dir, &[UNDONE])? && noted_by(&dir)?.as_deref() == Some(by))) {
            Ok(true) => Some(Outcome::Applied),
            Ok(false) => self.without_journal(interrupted),
            Err(error) => {
                tracing::error!(call = call_id, %error, "an interrupted undo can neither be finished nor taken back");
                None
            }
        }
    }

    /// It came to no journal, unless that was lost.
    fn without_journal(&self, interrupted: &Interrupted) -> Option<Outcome> {
        (!self.lost.contains(&interrupted.permit().permit_id)).then_some(Outcome::NotApplied)
    }

    /// Directories of all journals.
    fn all(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|found| found.is_dir())).map(|entry| entry.path())
    }

    /// Brings a journal to rest: done, undone or gone.
    fn settle(&self, dir: &Path) -> Result<(), Error> {
        if is_in(dir, &[DONE])? {
            remove_file(&dir.join(INTENT))?;
            return remove_file(&dir.join(REDOING));
        }
        if let Some(record) = read(&dir.join(INTENT))? {
            let Err(stopped) = self.run(dir, &record)?.forwards() else { return self.finish(dir, record, INTENT) };
            tracing::warn!(call = record.call_id, %stopped, "a commit is taken back");
            rename(dir, INTENT, ROLLBACK)?;
        }
        if let Some(record) = read(&dir.join(ROLLBACK))? {
            self.run(dir, &record)?.back()?;
            return self.end_rollback(dir);
        }
        if let Some(record) = read(&dir.join(UNDOING))? {
            let Err(stopped) = self.run(dir, &record)?.back() else {
                return self.end_undo(dir, &record, &BTreeSet::new());
            };
            tracing::warn!(call = record.call_id, %stopped, "an undo is taken back");
            rename(dir, UNDOING, REDOING)?;
        }
        if let Some(record) = read(&dir.join(REDOING))? {
            self.run(dir, &record)?.forwards()?;
            return self.finish(dir, record, REDOING);
        }
        for state in [UNDONE, DROPPED] {
            if is_in(dir, &[state])? {
                return self.free(dir, state);
            }
        }
        self.remove(dir)
    }

    /// Notes how the commit left everything, for whoever undoes it.
    fn finish(&self, dir: &Path, mut record: Record, from: &str) -> Result<(), Error> {
        self.note_directories(&mut record);
        let times = self.times.lock().clone();
        for op in &mut record.ops {
            let extent = match op.kind() {
                Kind::In if !op.is_half => Extent::Tree,
                Kind::In | Kind::Exchange | Kind::Attributes => Extent::Itself,
                Kind::Out | Kind::Times => continue,
            };
            op.left =
                self.root.spot(&op.path).and_then(|spot| Standing::of_times(&spot, extent, &times)).ok().flatten();
        }
        let staged = dir.join("done.new");
        durable(&staged, &record.encode_to_vec())?;
        rename(dir, "done.new", DONE)?;
        remove_file(&dir.join(from))?;
        if retention::is_much(&record)
            && let Err(error) = self.enforce_retention()
        {
            tracing::warn!(%error, "old journals stay for now");
        }
        Ok(())
    }

    fn end_rollback(&self, dir: &Path) -> Result<(), Error> {
        rename(dir, ROLLBACK, TAKEN_BACK)?;
        // What stays is removed at the next start.
        if let Err(error) = self.remove(dir) {
            tracing::warn!(%error, "what was taken back stays on disk");
        }
        Ok(())
    }

    /// `quiet` are directories that nobody else had changed.
    fn end_undo(&self, dir: &Path, record: &Record, quiet: &BTreeSet<u64>) -> Result<(), Error> {
        rename(dir, UNDOING, UNDONE)?;
        self.remove_slots(dir, &record.stores);
        if let Err(error) = self.renew(dir, record, quiet) {
            tracing::warn!(%error, "an earlier commit may count as changed since");
        }
        Ok(())
    }

    /// Brings everything to rest that no permit asks about, and sweeps what nobody owns. Only a start may: what is at
    /// work now looks the same.
    pub fn settle_all(&self, _start: &Start) {
        for dir in self.all() {
            if let Err(error) = self.settle(&dir) {
                tracing::error!(%error, journal = %dir.display(), "a journal does not come to rest");
            }
        }
        if let Err(error) = self.enforce_retention() {
            tracing::warn!(%error, "old journals stay for now");
        }
    }

    fn run<'a>(&'a self, dir: &'a Path, record: &'a Record) -> Result<Run<'a>, Error> {
        Run::new(&self.root, dir, record)
    }

    /// Ids come from elsewhere, so their digest makes the name.
    fn path(&self, call_id: &str) -> PathBuf {
        let digest = Sha256::digest(call_id.as_bytes());
        self.dir.join(cmdop_contract::digest::hex(&digest[..16]))
    }

    /// Directories with slots of a journal, whatever its state.
    fn stores_of(&self, dir: &Path) -> Vec<Vec<u8>> {
        let states = [DONE, INTENT, ROLLBACK, TAKEN_BACK, UNDOING, REDOING, UNDONE, DROPPED];
        let record = states.iter().find_map(|state| read(&dir.join(state)).ok().flatten());
        // One that is over was shortened to nothing, if it came so far.
        let written = record.map(|record| record.stores).filter(|stores| !stores.is_empty());
        written.unwrap_or_else(|| {
            let drafted = fs::read(dir.join(DRAFT)).unwrap_or_default();
            Record::decode(&*drafted).map(|record| record.stores).unwrap_or_default()
        })
    }

    fn remember(&self, stores: &[Vec<u8>]) {
        let outside = stores.iter().map(|store| Path::new(std::ffi::OsStr::from_bytes(store)));
        let outside = outside.filter(|store| !store.starts_with(&self.dir)).filter_map(Path::parent);
        self.stores.lock().extend(outside.map(Path::to_owned));
    }

    /// Removes a journal with all its slots.
    fn remove(&self, dir: &Path) -> Result<(), Error> {
        self.remove_slots(dir, &self.stores_of(dir));
        remove_tree(dir)
    }

    fn remove_slots(&self, dir: &Path, stores: &[Vec<u8>]) {
        let stores = stores.iter().map(|store| PathBuf::from(std::ffi::OsStr::from_bytes(store)));
        for store in stores.chain([dir.join(SLOTS)]) {
            if let Err(error) = remove_tree(&store) {
                tracing::warn!(%error, "what a journal kept stays on disk");
            }
            // The private directory of the mount goes with its last journal.
            if let Some(above) = store.parent().filter(|above| !above.starts_with(&self.dir))
                && fs::remove_dir(above).is_ok()
            {
                self.stores.lock().remove(above);
            }
        }
    }

    /// The place, which must not be the journals' own.
    pub(crate) fn spot(&self, path: &[u8]) -> Result<Spot, Error> {
        if self.is_private(Path::new(std::ffi::OsStr::from_bytes(path))) {
            let message = "it would change the host's own journal; nothing was applied";
            return Err(Error::stop(Reason::UnsupportedChange, message));
        }
        self.root.spot(path)
    }
}

/// True if a journal is in one of these states. A disk that cannot say is no answer.
fn is_in(dir: &Path, states: &[&str]) -> Result<bool, Error> {
    for state in states {
        if is_there(&dir.join(state))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_there(file: &Path) -> Result<bool, Error> {
    file.try_exists().map_err(Error::io("read the state of the journal"))
}

/// The call that undoes it, if any does.
fn noted_by(dir: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(dir.join(BY)) {
        Ok(by) => Ok(Some(by)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read the state of the journal")(error)),
    }
}

fn read(file: &Path) -> Result<Option<Record>, Error> {
    let doing = || Error::io(format!("read {}", file.display()));
    match fs::read(file) {
        Ok(bytes) => Record::decode(&*bytes).map(Some).map_err(|error| doing()(std::io::Error::other(error))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(doing()(error)),
    }
}

fn rename(dir: &Path, from: &str, to: &str) -> Result<(), Error> {
    let renamed = fs::rename(dir.join(from), dir.join(to)).and_then(|()| fs::File::open(dir)?.sync_all());
    renamed.map_err(Error::io("change the state of the journal"))
}

fn durable(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let doing = || Error::io(format!("write {}", file.display()));
    let mut open =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file).map_err(doing())?;
    open.write_all(bytes).and_then(|()| open.sync_all()).map_err(doing())?;
    let parent = file.parent().unwrap_or(Path::new("/"));
    fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(doing())
}

fn truncate(file: &Path) -> Result<(), Error> {
    fs::File::create(file).map(drop).map_err(Error::io("shorten the journal"))
}

fn remove_file(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(Error::io(format!("remove {}", file.display()))),
    }
}

/// Removes a tree of any depth, or nothing.
fn remove_tree(path: &Path) -> Result<(), Error> {
    let doing = || Error::io(format!("remove {}", path.display()));
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    {
        Ok(top) => walk(top, path.as_os_str().as_bytes(), &mut Remover)?,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(doing()(errno.into())),
    }
    fs::remove_dir(path).map_err(doing())
}
