//! The ledger: the log and its index, with the rules that hold between records.
//!
//! What must be decided at once (is this key new, is this approval still unused) is decided in
//! memory under one lock; the memory is the fold of the log and is made anew at every start.

mod answers;
mod approvals;
mod deeds;
mod denials;
mod freezes;
mod grants;
mod memory;
mod permits;
mod scope;
mod spent;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cmdop_contract::redact::Redacted;
use cmdop_contract::v1::{self, Approval, Call, Event, Host, Run};
use parking_lot::Mutex;
use prost::Message;

use crate::clock::{Clock, Machine, Time};
use crate::index::{self, Feed, Index};
use crate::log::{End, Follower, Head, Log, Place, Record, Recovery, segment_path};
use crate::permit::Key;
use crate::signing::Signer;
use crate::{Error, choose_redaction, disk};

pub use answers::voided;
pub use approvals::{Answered, Held};
pub use denials::{CANCELLED, Denial};
pub use freezes::Standing;
use memory::{Memory, Note};
pub use permits::{Clearance, Issued, PermitRequest};
pub use scope::DEEPEST as DEEPEST_RUN;
pub use spent::Mark;

/// How a ledger is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the time comes from.
    pub time: Arc<dyn Time>,
}

impl Default for Options {
    fn default() -> Self {
        Self { time: Arc::new(Machine) }
    }
}

/// Whose an idempotency key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's now.
    New,
    /// An earlier call with the same action has it.
    Same(String),
    /// An earlier call with another action has it.
    Conflict(String),
    /// A call that is over probably has it. [`Ledger::spender`] knows.
    Spent(Mark),
}

impl Claim {
    fn of(held_digest: &str, holder: &str, action_digest: &str) -> Self {
        if held_digest == action_digest { Self::Same(holder.to_owned()) } else { Self::Conflict(holder.to_owned()) }
    }
}

/// An event on its way into the ledger, encoded already.
#[derive(Debug)]
pub struct Entry {
    payload: Bytes,
    note: Note,
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        Self::from(&Redacted::of(event.clone()))
    }
}

impl From<&Redacted> for Entry {
    fn from(event: &Redacted) -> Self {
        Self { payload: event.encode_to_vec().into(), note: Note::of(event) }
    }
}

/// The durable truth of a server. A cheap handle.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    log: Log,
    index: Index,
    signer: Signer,
    memory: Mutex<Memory>,
    clock: Clock,
    /// Held while an answer becomes durable: the next one sees it whole, or not at all.
    answering: tokio::sync::Mutex<()>,
    recovery: Recovery,
}

/// Records kept in memory while the index is caught up at a start.
const CATCH_UP: usize = 8_192;

impl Ledger {
    /// Opens or creates the ledger in a directory, which is made with mode 0700.
    ///
    /// # Errors
    /// [`Error::Broken`] with the place if the log is damaged or ends before what the index has
    /// seen; [`Error::Locked`] if another process has it.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        disk::private_directory(dir).map_err(Error::io(format!("create {}", dir.display())))?;
        choose_redaction(&dir.join("redact.key"))?;
        let key = Key::load(&dir.join("permit.key"))?;
        let (mut filler, indexed) = index::open(dir)?;
        let mut memory = Memory::default();
        let mut latest = 0;
        let mut behind = Vec::new();
        // The record that the index saw last, as it stands in the log now.
        let seen = Cell::new(None::<(Head, Place)>);
        let visit = |head: Head, place: Place, payload: &[u8]| {
            if let Ok(event) = Event::decode(payload) {
                latest = latest.max(event.at);
                memory.take_in(Note::of(&event), head.position);
            }
            if head.position == indexed.position {
                seen.set(Some((head, place)));
            }
            if head.position > indexed.position {
                behind.push(Record { head, place, payload: Bytes::copy_from_slice(payload) });
                if behind.len() >= CATCH_UP {
                    filler.catch_up(&behind)?;
                    behind.clear();
                }
            }
            Ok(())
        };
        // The feed exists only once the index is caught up; nothing is appended before that.
        let feed = Arc::new(Mutex::new(None::<Feed>));
        let fed = feed.clone();
        let follower: Follower = Box::new(move |records| {
            if let Some(feed) = fed.lock().as_ref() {
                feed.records(records);
            }
        });
        let segments = dir.join("log");
        let mut end = Head::default();
        let (log, recovery) = Log::open_with(&segments, visit, |found| {
            end = found.head;
            // Before a torn tail is cut: it may be what is left of a record that was acknowledged.
            check_end(&segments, found, indexed, seen.get())?;
            Ok(follower)
        })?;
        filler.catch_up(&behind)?;
        let (index, following) = filler.follow(&segments, end)?;
        *feed.lock() = Some(following);
        Ok(Self {
            inner: Arc::new(Inner {
                log,
                index,
                signer: Signer::new(key),
                memory: Mutex::new(memory),
                clock: Clock::new(options.time.clone(), latest),
                answering: tokio::sync::Mutex::default(),
                recovery,
            }),
        })
    }

    /// What opening found: the bytes of a torn tail that were cut.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.inner.recovery
    }

    /// The time by which it decides what is over, in nanoseconds since the Unix epoch. It never goes back.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.inner.clock.now()
    }

    /// Key with which hosts verify permits.
    #[must_use]
    pub fn verifying_key(&self) -> [u8; 32] {
        self.inner.signer.verifying_key()
    }

    /// Appends entries together and empties the list once they are durable; returns the last one's
    /// position.
    ///
    /// For what became of something that has begun: on a full disk it may use the log's reserve.
    ///
    /// # Errors
    /// [`Error::Full`], after which nothing is recorded and the list is as it was; [`Error::Poisoned`]
    /// after a failed fsync.
    pub async fn append(&self, entries: &mut Vec<Entry>) -> Result<u64, Error> {
        let position = self.inner.log.append(payloads(entries)).await?;
        self.note(entries, position);
        Ok(position)
    }

    /// As [`Ledger::append`], for what begins something: on a full disk it leaves the reserve alone.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    pub async fn append_sparing(&self, entries: &mut Vec<Entry>) -> Result<u64, Error> {
        let position = self.inner.log.append_sparing(payloads(entries)).await?;
        self.note(entries, position);
        Ok(position)
    }

    /// Takes in what is durable now; entries that were appended together stand in a row.
    fn note(&self, entries: &mut Vec<Entry>, last: u64) {
        let mut memory = self.inner.memory.lock();
        let first = (last + 1).saturating_sub(entries.len() as u64);
        entries.drain(..).zip(first..).for_each(|(entry, position)| memory.take_in(entry.note, position));
    }

    /// Claims an idempotency key of a tenant for a call that is about to be proposed. `clear` is a position
    /// of which [`Ledger::spender`] said that nothing stands in the way there.
    #[must_use]
    pub fn claim(&self, key: (&str, &str), action_digest: &str, call_id: &str, clear: Option<u64>) -> Claim {
        self.inner.memory.lock().claim(key, action_digest, call_id, clear)
    }

    /// Whose a marked key of a tenant is; `None` if nothing stands in the way: the mark is another key's, or the
    /// same action changed nothing under this one and may come again.
    ///
    /// # Errors
    /// If the index cannot answer, or has no call there: then nobody can say that the key is new.
    pub async fn spender(
        &self,
        (tenant, key): (&str, &str),
        action_digest: &str,
        mark: Mark,
    ) -> Result<Option<Claim>, Error> {
        let Some(call) = self.inner.index.call_at(self.inner.log.durable(), mark.position).await? else {
            return Err(Error::io("find the call that used a key")(std::io::ErrorKind::NotFound.into()));
        };
        let proposal = call.proposal.unwrap_or_default();
        let is_it = proposal.idempotency_key == key && proposal.actor.unwrap_or_default().tenant == tenant;
        let is_free = mark.may_come_again && call.action_digest == action_digest;
        Ok((is_it && !is_free).then(|| Claim::of(&call.action_digest, &call.call_id, action_digest)))
    }

    /// Gives up the key of a call of which nothing could be recorded.
    pub fn release(&self, call_id: &str) {
        self.inner.memory.lock().close(call_id, true);
    }

    /// One call.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn call(&self, call_id: &str) -> Result<Option<Call>, Error> {
        self.inner.index.call(self.inner.log.durable(), call_id.to_owned()).await
    }

    /// A page of calls, newest first, each abridged.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn calls(&self, request: v1::ListCallsRequest) -> Result<v1::ListCallsResponse, Error> {
        self.inner.index.calls(self.inner.log.durable(), request).await
    }

    /// Calls that are not settled, oldest first.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn open_calls(&self) -> Result<Vec<Call>, Error> {
        self.inner.index.open_calls(self.inner.log.durable()).await
    }

    /// One approval.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn approval(&self, approval_id: &str) -> Result<Option<Approval>, Error> {
        self.inner.index.approval(self.inner.log.durable(), approval_id.to_owned()).await
    }

    /// A page of approvals, newest first, each abridged; pending ones if no status is asked for.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn approvals(&self, request: v1::ListApprovalsRequest) -> Result<v1::ListApprovalsResponse, Error> {
        self.inner.index.approvals(self.inner.log.durable(), request).await
    }

    /// One run.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn run(&self, run_id: &str) -> Result<Option<Run>, Error> {
        self.inner.index.run(self.inner.log.durable(), run_id.to_owned()).await
    }

    /// A page of runs, newest first, each abridged.
    ///
    /// # Errors
    /// If the index cannot answer; UNKNOWN_RUN if there is none for the page to begin behind.
    pub async fn runs(&self, request: v1::ListRunsRequest) -> Result<v1::ListRunsResponse, Error> {
        self.inner.index.runs(self.inner.log.durable(), request).await
    }

    /// Hosts that ever attached, as they last said of themselves.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn hosts(&self) -> Result<Vec<Host>, Error> {
        self.inner.index.hosts(self.inner.log.durable()).await
    }

    /// Everything recorded about a call or a run.
    ///
    /// # Errors
    /// If the index cannot answer.
    pub async fn trace(&self, id: &str) -> Result<Option<v1::Trace>, Error> {
        self.inner.index.trace(self.inner.log.durable(), id.to_owned()).await
    }
}

fn payloads(entries: &[Entry]) -> impl Iterator<Item = Bytes> {
    entries.iter().map(|entry| entry.payload.clone())
}

/// The index has seen only what was durable: a log that ends before it, or has another record
/// there, lost or changed records that had been acknowledged.
fn check_end(dir: &Path, end: End, indexed: Head, seen: Option<(Head, Place)>) -> Result<(), Error> {
    let Head { position, hash } = indexed;
    let (segment, offset, position, why) = match seen {
        _ if position == 0 => return Ok(()),
        Some((head, _)) if head.hash == hash => return Ok(()),
        Some((_, place)) => {
            let why = "the record here is not the one that was acknowledged".to_owned();
            (segment_path(dir, place.segment), place.offset, position, why)
        }
        None => {
            let why = format!("the log ends here, yet {position} records were acknowledged");
            (end.segment, end.offset, end.head.position + 1, why)
        }
    };
    Err(Error::Broken { segment, offset, position, why })
}
