//! The SQLite index: filled from the log off the commit path, it answers queries and can be rebuilt.
//!
//! It says where the records of a call or a run stand in the log; the records themselves are read
//! from there, and a call's document is folded from them when somebody asks. So a call costs one
//! small row, whatever it carried.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use cmdop_contract::fold;
use cmdop_contract::v1::{self, Approval, Call, CallState, Event, Host, Run, event::Kind};
use parking_lot::Mutex;
use prost::Message;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::watch;

use crate::Error;
use crate::error::is_index_full;
use crate::log::{self, Head, Place, Record};

mod approvals;
mod outline;
mod query;
mod room;
mod spare;
#[cfg(test)]
mod tests;
mod trail;

use spare::Spare;

/// Changes when the tables do; another number means that the index is made anew.
const SCHEMA_VERSION: i64 = 3;
/// Writes of the log that may wait for the index. Beyond it the log waits: memory is finite.
const BACKLOG: usize = 1_024;
/// How long a read waits for the index to catch up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long records are gathered while nobody reads: most calls are over by then, and written once.
const LULL: Duration = Duration::from_millis(200);
/// Records after which a transaction is written, whatever else waits.
const BATCH: usize = 16_384;
/// How long an index may be somebody else's still when it is opened.
const LAST_USER: Duration = Duration::from_secs(20);

const SCHEMA: &str = "
CREATE TABLE head (position INTEGER NOT NULL, hash BLOB NOT NULL);
CREATE TABLE call (position INTEGER PRIMARY KEY, call_id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, agent TEXT NOT NULL, run TEXT NOT NULL, trail BLOB NOT NULL);
CREATE INDEX call_run ON call (run, position) WHERE run <> '';
CREATE TABLE approval (approval_id TEXT PRIMARY KEY, call_id TEXT NOT NULL, status INTEGER NOT NULL, created_at INTEGER NOT NULL, document BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX approval_call ON approval (call_id);
CREATE INDEX approval_status ON approval (status, created_at);
CREATE TABLE run (run_id TEXT PRIMARY KEY, started_at INTEGER NOT NULL, document BLOB NOT NULL, trail BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE host (name TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
";

/// Questions to the index. A cheap handle.
#[derive(Clone)]
pub struct Index {
    path: PathBuf,
    log: PathBuf,
    readers: Arc<Mutex<Vec<Reader>>>,
    reached: watch::Receiver<Reached>,
    queue: SyncSender<Fed>,
}

/// How far the index has come.
#[derive(Clone, Copy, Default)]
struct Reached {
    /// The last record that it holds.
    position: u64,
    /// Its disk is full: what is behind that only its thread can answer.
    waits_for_room: bool,
}

/// The side that the log fills.
pub(crate) struct Feed {
    queue: SyncSender<Fed>,
}

/// What answers one question at a time.
pub(crate) struct Reader {
    db: Connection,
    log: log::Reader,
}

/// What the index's thread is told.
enum Fed {
    Records(Vec<Record>),
    /// Somebody waits for what was recorded.
    Wanted,
    /// Somebody asks what only the thread can answer: the disk is full.
    Ask(Question),
}

/// Answers whoever asks, and keeps the answer to itself.
type Question = Box<dyn FnOnce(&mut Reader) + Send>;

impl Feed {
    /// Hands over durable records. Waits if the index is far behind.
    pub(crate) fn records(&self, records: Vec<Record>) {
        // The index's thread has ended: reads say so, and the log goes on being the truth.
        let _ = self.queue.send(Fed::Records(records));
    }
}

/// Opens the index of a directory.
///
/// Returns where it stands; it must be fed every record after that.
pub(crate) fn open(dir: &Path) -> Result<(Filler, Head), Error> {
    let path = dir.join("index.db");
    let mut spare = Spare::of(dir);
    let writer = when_free(&path).or_else(|error| {
        // It is as good as before; and it knows what was acknowledged.
        if is_full(&error) {
            return if spare.give_up() { usable(&path) } else { Err(error) };
        }
        tracing::warn!(%error, "the index is made anew from the log");
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        when_free(&path)
    })?;
    let head = writer
        .query_row("SELECT position, hash FROM head", [], |row| Ok(Head { position: row.get(0)?, hash: row.get(1)? }));
    let head = head.optional()?.unwrap_or_default();
    Ok((Filler { path, writer, spare }, head))
}

/// Whoever had it last may not be done with it: SQLite does not wait for that where the journal's mode is concerned.
fn when_free(path: &Path) -> Result<Connection, Error> {
    let begun = Instant::now();
    loop {
        match usable(path) {
            Err(error) if is_busy(&error) && begun.elapsed() < LAST_USER => std::thread::sleep(LAST_USER / 100),
            done => return done,
        }
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Index(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy))
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Index(error) if is_index_full(error))
}

fn usable(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    // 64 MiB of pages in memory, and 32 MiB of log between checkpoints: else a busy server reads and
    // writes the same pages over and over.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;
         PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 8192;",
    )?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    } else if version != SCHEMA_VERSION {
        return Err(Error::Index(rusqlite::Error::InvalidQuery));
    }
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check == "ok" { Ok(connection) } else { Err(Error::Index(rusqlite::Error::InvalidQuery)) }
}

/// An index that is being caught up.
pub(crate) struct Filler {
    path: PathBuf,
    writer: Connection,
    spare: Spare,
}

impl Filler {
    /// Adds records that the log already had. On a full disk this is what the spare room is for.
    pub(crate) fn catch_up(&mut self, records: &[Record]) -> Result<(), Error> {
        match fill(&mut self.writer, records) {
            Err(error) if is_full(&error) && self.spare.give_up() => fill(&mut self.writer, records),
            done => done,
        }
    }

    /// Starts the thread that follows the log.
    pub(crate) fn follow(self, log: &Path, head: Head) -> Result<(Index, Feed), Error> {
        let (queue, fed) = sync_channel(BACKLOG);
        let (reached_tx, reached) = watch::channel(Reached { position: head.position, ..Reached::default() });
        let mut spare = self.spare;
        spare.keep();
        let writer = Reader { db: self.writer, log: log::Reader::new(log) };
        std::thread::Builder::new()
            .name("ledger-index".into())
            .spawn(move || run(writer, spare, &fed, &reached_tx))
            .map_err(Error::io("start the index's thread"))?;
        let index = Index { path: self.path, log: log.into(), readers: Arc::default(), reached, queue: queue.clone() };
        Ok((index, Feed { queue }))
    }
}

fn run(mut writer: Reader, mut spare: Spare, fed: &Receiver<Fed>, reached: &watch::Sender<Reached>) {
    while let Some((records, questions)) = gather(fed) {
        match room::fill_in_time(&mut writer, records, fed, reached) {
            Ok(Some(position)) => {
                reached.send_replace(Reached { position, waits_for_room: false });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the index stops; the log goes on, and a restart catches up");
                return;
            }
        }
        // They were asked while there was no room, and there is again.
        for question in questions {
            question(&mut writer);
        }
        spare.keep();
    }
}

/// The next records to write together, and what is asked behind them; `None` once nobody feeds any more and all are
/// written.
fn gather(fed: &Receiver<Fed>) -> Option<(Vec<Record>, Vec<Question>)> {
    let mut records: Vec<Record> = Vec::new();
    let mut questions = Vec::new();
    let mut until: Option<Instant> = None;
    while records.len() < BATCH {
        let next = match until {
            None => fed.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => fed.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(Fed::Records(more)) => {
                until = until.or_else(|| Some(Instant::now() + LULL));
                records.extend(more);
            }
            // What is in the queue by now is all that a read can wait for.
            Ok(Fed::Wanted) => until = until.map(|_| Instant::now()),
            Ok(Fed::Ask(question)) => {
                questions.push(question);
                until = Some(Instant::now());
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) if records.is_empty() => return None,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Some((records, questions))
}

fn fill(writer: &mut Connection, records: &[Record]) -> Result<(), Error> {
    // It writes for certain. One that begins by reading is refused at once where somebody else writes meanwhile.
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    put(&transaction, records)?;
    Ok(transaction.commit()?)
}

/// Puts records into the tables, in the transaction that is open. Whoever had the index last may still be at it, with
/// the same records: what it holds already is left out.
fn put(db: &Connection, records: &[Record]) -> Result<(), Error> {
    let held = db.query_row("SELECT position FROM head", [], |row| row.get::<_, u64>(0)).optional()?.unwrap_or(0);
    let records = &records[records.partition_point(|record| record.head.position <= held)..];
    let mut touched = Touched::default();
    for record in records {
        // What cannot be read is still counted: the log holds it, and nothing can be said about it.
        if let Ok(event) = outline::read(&record.payload) {
            add(db, record, event, &mut touched)?;
        }
    }
    touched.write(db)?;
    if let Some(Record { head, .. }) = records.last() {
        db.execute("DELETE FROM head", [])?;
        db.execute("INSERT INTO head VALUES (?1, ?2)", params![head.position, head.hash])?;
    }
    Ok(())
}

/// The calls that a batch of records changed: each is read and written once, however many of its
/// events are in the batch.
#[derive(Default)]
struct Touched {
    calls: HashMap<String, Row>,
}

/// A call's row.
#[derive(Default)]
struct Row {
    position: u64,
    state: CallState,
    agent: String,
    run: String,
    trail: Vec<u8>,
}

impl Touched {
    fn call(&mut self, db: &Connection, call_id: &str) -> Result<&mut Row, Error> {
        if !self.calls.contains_key(call_id) {
            let stored = db
                .prepare_cached("SELECT position, state, trail FROM call WHERE call_id = ?1")?
                .query_row([call_id], |row| {
                    let state = CallState::try_from(row.get::<_, i32>(1)?).unwrap_or_default();
                    Ok(Row { position: row.get(0)?, state, trail: row.get(2)?, ..Row::default() })
                })
                .optional()?;
            self.calls.insert(call_id.to_owned(), stored.unwrap_or_default());
        }
        Ok(self.calls.get_mut(call_id).expect("inserted above"))
    }

    fn write(self, db: &Connection) -> Result<(), Error> {
        let mut put = db.prepare_cached(
            "INSERT INTO call VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (position) DO UPDATE SET state = excluded.state, trail = excluded.trail",
        )?;
        let mut rows: Vec<_> = self.calls.into_iter().filter(|(_, row)| row.position > 0).collect();
        // In the order of the log every new row goes to the end of its tree.
        rows.sort_unstable_by_key(|(_, row)| row.position);
        for (call_id, row) in rows {
            put.execute(params![row.position, call_id, row.state as i32, row.agent, row.run, row.trail])?;
        }
        Ok(())
    }
}

fn add(db: &Connection, record: &Record, event: Event, touched: &mut Touched) -> Result<(), Error> {
    if fold::is_of_call(&event) {
        return add_to_call(db, record, event, touched);
    }
    match event.kind {
        Some(Kind::RunStarted(started)) => put_run(db, &started.run.unwrap_or_default(), &trail::step(record.place)),
        Some(Kind::TurnRecorded(recorded)) => {
            let turn = recorded.turn.unwrap_or_default();
            change_run(db, &turn.run_id, record.place, |run| run.turns = run.turns.max(turn.turn))
        }
        Some(Kind::RunFinished(finished)) => change_run(db, &finished.run_id, record.place, |run| {
            run.status = finished.status;
            run.final_output = finished.final_output;
            run.why = finished.why;
            run.finished_at = event.at;
        }),
        Some(Kind::InstructionGiven(_)) => change_run(db, &event.subject, record.place, |_| {}),
        Some(Kind::HostAttached(attached)) => {
            let host = attached.host.unwrap_or_default();
            db.prepare_cached("INSERT OR REPLACE INTO host VALUES (?1, ?2)")?
                .execute(params![host.name, host.encode_to_vec()])?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn add_to_call(db: &Connection, record: &Record, event: Event, touched: &mut Touched) -> Result<(), Error> {
    let row = touched.call(db, &event.subject)?;
    let was = row.state;
    match fold::advance(was, &event) {
        Ok(state) => row.state = state,
        Err(error) => {
            tracing::error!(call = %event.subject, %error, "a recorded event does not fit its call");
            return Ok(());
        }
    }
    row.trail.extend(trail::step(record.place));
    if row.position == 0 {
        row.position = record.head.position;
    }
    match event.kind {
        Some(Kind::CallProposed(proposed)) => {
            let actor = proposed.proposal.and_then(|proposal| proposal.actor).unwrap_or_default();
            (row.agent, row.run) = (actor.agent, actor.run);
            Ok(())
        }
        kind => approvals::note(db, &event.subject, was, kind.as_ref()),
    }
}

fn put_run(db: &Connection, run: &Run, trail: &[u8]) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO run VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        run.run_id,
        run.started_at,
        run.encode_to_vec(),
        trail
    ])?;
    Ok(())
}

fn change_run(db: &Connection, run_id: &str, place: Place, change: impl FnOnce(&mut Run)) -> Result<(), Error> {
    if let Some((mut run, mut trail)) = query::run_with_trail(db, run_id)? {
        change(&mut run);
        trail.extend(trail::step(place));
        put_run(db, &run, &trail)?;
    }
    Ok(())
}

impl Index {
    /// Runs a question on a reader connection, once the index has reached a position.
    async fn ask<T: Send + 'static>(
        &self,
        position: u64,
        question: impl FnOnce(&mut Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut reached = self.reached.clone();
        if reached.borrow().position < position {
            // A full queue means that the thread does not rest anyway.
            let _ = self.queue.try_send(Fed::Wanted);
        }
        let is_near = |reached: &Reached| reached.position >= position || reached.waits_for_room;
        let waited = tokio::time::timeout(PATIENCE, reached.wait_for(is_near)).await;
        let reached = *waited.map_err(|_| Error::Behind)?.map_err(|_| Error::Behind)?;
        if reached.position < position {
            return room::ask(&self.queue, question).await;
        }
        let index = self.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let mut reader = match index.readers.lock().pop() {
                Some(reader) => reader,
                None => Reader {
                    db: Connection::open_with_flags(&index.path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?,
                    log: log::Reader::new(&index.log),
                },
            };
            let answer = question(&mut reader);
            index.readers.lock().push(reader);
            answer
        });
        answered.await.map_err(|error| Error::io("ask the index")(std::io::Error::other(error)))?
    }

    /// See [`crate::Ledger::call`].
    pub(crate) async fn call(&self, after: u64, call_id: String) -> Result<Option<Call>, Error> {
        self.ask(after, move |reader| query::call(reader, &call_id)).await
    }

    /// The call that was proposed at a position of the log.
    pub(crate) async fn call_at(&self, after: u64, position: u64) -> Result<Option<Call>, Error> {
        self.ask(after, move |reader| query::call_at(reader, position)).await
    }

    pub(crate) async fn calls(
        &self,
        after: u64,
        request: v1::ListCallsRequest,
    ) -> Result<v1::ListCallsResponse, Error> {
        self.ask(after, move |reader| query::calls(reader, &request)).await
    }

    pub(crate) async fn open_calls(&self, after: u64) -> Result<Vec<Call>, Error> {
        self.ask(after, query::open_calls).await
    }

    pub(crate) async fn approval(&self, after: u64, approval_id: String) -> Result<Option<Approval>, Error> {
        self.ask(after, move |reader| query::approval(&reader.db, &approval_id)).await
    }

    pub(crate) async fn approvals(
        &self,
        after: u64,
        request: v1::ListApprovalsRequest,
    ) -> Result<v1::ListApprovalsResponse, Error> {
        self.ask(after, move |reader| query::approvals(&reader.db, &request)).await
    }

    pub(crate) async fn run(&self, after: u64, run_id: String) -> Result<Option<Run>, Error> {
        self.ask(after, move |reader| query::run(&reader.db, &run_id)).await
    }

    pub(crate) async fn runs(&self, after: u64, request: v1::ListRunsRequest) -> Result<v1::ListRunsResponse, Error> {
        self.ask(after, move |reader| query::runs(&reader.db, &request)).await
    }

    pub(crate) async fn hosts(&self, after: u64) -> Result<Vec<Host>, Error> {
        self.ask(after, |reader| query::hosts(&reader.db)).await
    }

    pub(crate) async fn trace(&self, after: u64, id: String) -> Result<Option<v1::Trace>, Error> {
        self.ask(after, move |reader| query::trace(reader, &id)).await
    }
}
