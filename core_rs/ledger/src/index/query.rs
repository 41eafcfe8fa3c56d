//! Questions to the index.

use cmdop_contract::v1::{
    Approval, ApprovalStatus, Call, CallState, Event, Host, ListApprovalsRequest, ListApprovalsResponse,
    ListCallsRequest, ListCallsResponse, ListRunsRequest, ListRunsResponse, Reason, Run, Trace, event::Kind,
};
use cmdop_contract::{abridge, fold};
use prost::Message;
use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::{Reader, trail};
use crate::{Error, log};

/// Rows of one answer at most.
const MOST: u32 = 1_000;

/// Bytes around one entry of a list, at most.
const FRAMING: usize = 8;

pub(super) fn call(reader: &mut Reader, call_id: &str) -> Result<Option<Call>, Error> {
    let trail = one_trail(&reader.db, call_id)?;
    trail.map(|trail| folded(&mut reader.log, &trail)).transpose()
}

pub(super) fn call_at(reader: &mut Reader, position: u64) -> Result<Option<Call>, Error> {
    let mut question = reader.db.prepare_cached("SELECT trail FROM call WHERE position = ?1")?;
    let trail: Option<Vec<u8>> = question.query_row([position], |row| row.get(0)).optional()?;
    trail.map(|trail| folded(&mut reader.log, &trail)).transpose()
}

pub(super) fn calls(reader: &mut Reader, request: &ListCallsRequest) -> Result<ListCallsResponse, Error> {
    let mut filter = Filter::default();
    if !request.run.is_empty() {
        filter.add("run = ? AND run <> ''", Value::Text(request.run.clone()));
    }
    if !request.agent.is_empty() {
        filter.add("agent = ?", Value::Text(request.agent.clone()));
    }
    if !request.before_call_id.is_empty() {
        let before = one_trail(&reader.db, &request.before_call_id)?;
        before.ok_or_else(|| unknown(Reason::UnknownCall, "call", &request.before_call_id))?;
        filter.add(
            "position < (SELECT position FROM call WHERE call_id = ?)",
            Value::Text(request.before_call_id.clone()),
        );
    }
    filter.add_any("state", &request.states);
    let limit = rows(request.limit);
    let trails: Vec<Vec<u8>> = filter.run(&reader.db, "trail", "call", "position DESC", limit + 1)?;
    let (calls, is_more) =
        page(trails, limit, |trail| Ok(Some(abridge::call(folded(&mut reader.log, &trail)?, abridge::ENTRY_BYTES))))?;
    let next = calls.last().filter(|_| is_more).map(|last| last.call_id.clone());
    Ok(ListCallsResponse { calls, next_before_call_id: next.unwrap_or_default() })
}

/// The entries of one page, read one by one until it is full, and whether there are more.
fn page<K, M: Message>(
    keys: Vec<K>,
    limit: u32,
    mut read: impl FnMut(K) -> Result<Option<M>, Error>,
) -> Result<(Vec<M>, bool), Error> {
    let (all, limit) = (keys.len(), limit as usize);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for key in keys.into_iter().take(limit) {
        let Some(entry) = read(key)? else { continue };
        bytes += entry.encoded_len() + FRAMING;
        if bytes > abridge::PAGE_BYTES {
            return Ok((entries, true));
        }
        entries.push(entry);
    }
    Ok((entries, all > limit))
}

/// Rows that are asked for.
fn rows(limit: u32) -> u32 {
    if limit == 0 { 100 } else { limit.min(MOST) }
}

pub(super) fn open_calls(reader: &mut Reader) -> Result<Vec<Call>, Error> {
    let settled = [CallState::Applied as i32, CallState::NotApplied as i32];
    let sql = format!("SELECT trail FROM call WHERE state NOT IN ({}, {}) ORDER BY position", settled[0], settled[1]);
    let trails = many_bytes(&reader.db, &sql, Vec::new())?;
    trails.iter().map(|trail| folded(&mut reader.log, trail)).collect()
}

/// A call's document, from its records.
fn folded(log: &mut log::Reader, trail: &[u8]) -> Result<Call, Error> {
    Ok(fold_all(trail::events(log, trail)?.into_values()))
}

fn fold_all(events: impl Iterator<Item = Event>) -> Call {
    let mut call = Call::default();
    for event in events {
        // What does not fit was logged when it was taken in, and changes nothing.
        let _ = fold::apply(&mut call, event);
    }
    call
}

fn one_trail(db: &Connection, call_id: &str) -> Result<Option<Vec<u8>>, Error> {
    let found = db.prepare_cached("SELECT trail FROM call WHERE call_id = ?1")?.query_row([call_id], |row| row.get(0));
    Ok(found.optional()?)
}

pub(super) fn approval(db: &Connection, approval_id: &str) -> Result<Option<Approval>, Error> {
    one(db, "SELECT document FROM approval WHERE approval_id = ?1", approval_id)
}

pub(super) fn approvals(db: &Connection, request: &ListApprovalsRequest) -> Result<ListApprovalsResponse, Error> {
    let mut filter = Filter::default();
    let status = if request.status.is_empty() { vec![ApprovalStatus::Pending.into()] } else { request.status.clone() };
    filter.add_any("status", &status);
    if !request.call_id.is_empty() {
        filter.add("call_id = ?", Value::Text(request.call_id.clone()));
    }
    if !request.before_approval_id.is_empty() {
        let before = approval(db, &request.before_approval_id)?;
        before.ok_or_else(|| unknown(Reason::UnknownApproval, "approval", &request.before_approval_id))?;
        let earlier =
            "(created_at, approval_id) < (SELECT created_at, approval_id FROM approval WHERE approval_id = ?)";
        filter.add(earlier, Value::Text(request.before_approval_id.clone()));
    }
    let limit = rows(request.limit);
    let order = "created_at DESC, approval_id DESC";
    let ids: Vec<String> = filter.run(db, "approval_id", "approval", order, limit + 1)?;
    let abridged = |found: Option<Approval>| found.map(|it| abridge::approval(it, abridge::ENTRY_BYTES));
    let (approvals, is_more) = page(ids, limit, |id| Ok(abridged(approval(db, &id)?)))?;
    let next = approvals.last().filter(|_| is_more).map(|last| last.approval_id.clone());
    Ok(ListApprovalsResponse { approvals, next_before_approval_id: next.unwrap_or_default() })
}

/// The approvals of a call that have one of these states.
pub(super) fn approvals_of(db: &Connection, call_id: &str, status: &[ApprovalStatus]) -> Result<Vec<Approval>, Error> {
    let mut filter = Filter::default();
    filter.add_any("status", &status.iter().map(|&status| status.into()).collect::<Vec<_>>());
    filter.add("call_id = ?", Value::Text(call_id.into()));
    decoded_all(filter.run(db, "document", "approval", "created_at DESC", MOST)?)
}

pub(super) fn run(db: &Connection, run_id: &str) -> Result<Option<Run>, Error> {
    Ok(run_with_trail(db, run_id)?.map(|(run, _)| run))
}

/// A run and where its own records stand.
pub(super) fn run_with_trail(db: &Connection, run_id: &str) -> Result<Option<(Run, Vec<u8>)>, Error> {
    let found: Option<(Vec<u8>, Vec<u8>)> = db
        .prepare_cached("SELECT document, trail FROM run WHERE run_id = ?1")?
        .query_row([run_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map(|(document, trail)| Ok((decoded(&document)?, trail))).transpose()
}

pub(super) fn runs(db: &Connection, request: &ListRunsRequest) -> Result<ListRunsResponse, Error> {
    let mut filter = Filter::default();
    if !request.before_run_id.is_empty() {
        run(db, &request.before_run_id)?.ok_or_else(|| unknown(Reason::UnknownRun, "run", &request.before_run_id))?;
        let earlier = "(started_at, run_id) < (SELECT started_at, run_id FROM run WHERE run_id = ?)";
        filter.add(earlier, Value::Text(request.before_run_id.clone()));
    }
    let limit = rows(request.limit);
    let ids: Vec<String> = filter.run(db, "run_id", "run", "started_at DESC, run_id DESC", limit + 1)?;
    let abridged = |found: Option<Run>| found.map(|it| abridge::run(it, abridge::ENTRY_BYTES));
    let (runs, is_more) = page(ids, limit, |id| Ok(abridged(run(db, &id)?)))?;
    let next = runs.last().filter(|_| is_more).map(|last| last.run_id.clone());
    Ok(ListRunsResponse { runs, next_before_run_id: next.unwrap_or_default() })
}

/// A page begins behind something that is not there.
fn unknown(reason: Reason, what: &str, id: &str) -> Error {
    Error::typed(reason, format!("no {what} `{id}` is recorded, so nothing was before it"))
}

pub(super) fn hosts(db: &Connection) -> Result<Vec<Host>, Error> {
    decoded_all(many_bytes(db, "SELECT document FROM host ORDER BY name", Vec::new())?)
}

/// The trace of a run with all its calls, or of a call with the model turn that asked for it.
pub(super) fn trace(reader: &mut Reader, id: &str) -> Result<Option<Trace>, Error> {
    if let Some((run, own)) = run_with_trail(&reader.db, id)? {
        let trails = many_bytes(
            &reader.db,
            "SELECT trail FROM call WHERE run = ?1 AND run <> '' ORDER BY position",
            vec![Value::Text(id.into())],
        )?;
        let mut events = trail::events(&mut reader.log, &own)?;
        let mut calls = Vec::with_capacity(trails.len());
        for trail in &trails {
            let of_call = trail::events(&mut reader.log, trail)?;
            calls.push(fold_all(of_call.values().cloned()));
            events.extend(of_call);
        }
        return Ok(Some(Trace { run: Some(run), calls, events: events.into_values().collect(), ..Trace::default() }));
    }
    let Some(trail) = one_trail(&reader.db, id)? else { return Ok(None) };
    let mut events = trail::events(&mut reader.log, &trail)?;
    let call = fold_all(events.values().cloned());
    let proposal = call.proposal.clone().unwrap_or_default();
    let run_id = proposal.actor.unwrap_or_default().run;
    let mut run = None;
    if let Some((found, own)) = run_with_trail(&reader.db, &run_id)? {
        let turns = trail::events(&mut reader.log, &own)?;
        events.extend(turns.into_iter().filter(|(_, event)| asked_for(event, &proposal.model_call_id)));
        run = Some(found);
    }
    Ok(Some(Trace { run, calls: vec![call], events: events.into_values().collect(), ..Trace::default() }))
}

fn asked_for(event: &Event, model_call_id: &str) -> bool {
    let Some(Kind::TurnRecorded(recorded)) = &event.kind else { return false };
    recorded.turn.as_ref().is_some_and(|turn| turn.model_call_ids.iter().any(|id| id == model_call_id))
}

#[derive(Default)]
struct Filter {
    clauses: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    fn add(&mut self, clause: &str, value: Value) {
        self.clauses.push(clause.to_owned());
        self.values.push(value);
    }

    fn add_any(&mut self, column: &str, values: &[i32]) {
        if !values.is_empty() {
            self.clauses.push(format!("{column} IN ({})", vec!["?"; values.len()].join(", ")));
            self.values.extend(values.iter().map(|value| Value::Integer(i64::from(*value))));
        }
    }

    fn run<T: FromSql>(
        self,
        db: &Connection,
        column: &str,
        table: &str,
        order: &str,
        limit: u32,
    ) -> Result<Vec<T>, Error> {
        let filter = if self.clauses.is_empty() { "1".to_owned() } else { self.clauses.join(" AND ") };
        let sql = format!("SELECT {column} FROM {table} WHERE {filter} ORDER BY {order} LIMIT {limit}");
        many(db, &sql, self.values)
    }
}

fn one<M: Message + Default>(db: &Connection, sql: &str, id: &str) -> Result<Option<M>, Error> {
    let bytes: Option<Vec<u8>> = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    bytes.map(|bytes| decoded(&bytes)).transpose()
}

fn many_bytes(db: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<Vec<u8>>, Error> {
    many(db, sql, values)
}

fn many<T: FromSql>(db: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<T>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn decoded_all<M: Message + Default>(documents: Vec<Vec<u8>>) -> Result<Vec<M>, Error> {
    documents.iter().map(|bytes| decoded(bytes)).collect()
}

fn decoded<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|error| Error::io("read the index")(std::io::Error::other(error)))
}
