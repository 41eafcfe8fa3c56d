//! Questions to the index.

use std::collections::BTreeMap;

use cmdop_contract::v1::{
    Approval, ApprovalStatus, Call, CallState, Event, Host, ListApprovalsRequest, ListCallsRequest, Run, Trace,
    event::Kind,
};
use prost::Message;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::Error;

/// Rows of one answer at most.
const MOST: u32 = 1_000;

pub(super) fn call(db: &Connection, call_id: &str) -> Result<Option<Call>, Error> {
    one(db, "SELECT document FROM call WHERE call_id = ?1", call_id)
}

pub(super) fn calls(db: &Connection, request: &ListCallsRequest) -> Result<Vec<Call>, Error> {
    let mut filter = Filter::default();
    if !request.run.is_empty() {
        filter.add("run = ? AND run <> ''", Value::Text(request.run.clone()));
    }
    if !request.agent.is_empty() {
        filter.add("agent = ?", Value::Text(request.agent.clone()));
    }
    if !request.before_call_id.is_empty() {
        filter.add(
            "position < (SELECT position FROM call WHERE call_id = ?)",
            Value::Text(request.before_call_id.clone()),
        );
    }
    filter.add_any("state", &request.states);
    filter.run(db, "call", "position DESC", request.limit)
}

pub(super) fn open_calls(db: &Connection) -> Result<Vec<Call>, Error> {
    let settled = [CallState::Applied as i32, CallState::NotApplied as i32];
    let sql =
        format!("SELECT document FROM call WHERE state NOT IN ({}, {}) ORDER BY position", settled[0], settled[1]);
    many(db, &sql, Vec::new())
}

pub(super) fn approval(db: &Connection, approval_id: &str) -> Result<Option<Approval>, Error> {
    one(db, "SELECT document FROM approval WHERE approval_id = ?1", approval_id)
}

pub(super) fn approvals(db: &Connection, request: &ListApprovalsRequest) -> Result<Vec<Approval>, Error> {
    let mut filter = Filter::default();
    let status = if request.status.is_empty() { vec![ApprovalStatus::Pending.into()] } else { request.status.clone() };
    filter.add_any("status", &status);
    if !request.call_id.is_empty() {
        filter.add("call_id = ?", Value::Text(request.call_id.clone()));
    }
    filter.run(db, "approval", "created_at DESC", request.limit)
}

pub(super) fn run(db: &Connection, run_id: &str) -> Result<Option<Run>, Error> {
    one(db, "SELECT document FROM run WHERE run_id = ?1", run_id)
}

pub(super) fn runs(db: &Connection, limit: u32) -> Result<Vec<Run>, Error> {
    Filter::default().run(db, "run", "started_at DESC", limit)
}

pub(super) fn hosts(db: &Connection) -> Result<Vec<Host>, Error> {
    many(db, "SELECT document FROM host ORDER BY name", Vec::new())
}

/// The trace of a run with all its calls, or of a call with the model turn that asked for it.
pub(super) fn trace(db: &Connection, id: &str) -> Result<Option<Trace>, Error> {
    if let Some(run) = run(db, id)? {
        let calls: Vec<Call> = many(
            db,
            "SELECT document FROM call WHERE run = ?1 AND run <> '' ORDER BY position",
            vec![Value::Text(id.into())],
        )?;
        let mut events = events(db, id)?;
        for call in &calls {
            events.extend(self::events(db, &call.call_id)?);
        }
        return Ok(Some(Trace { run: Some(run), calls, events: events.into_values().collect() }));
    }
    let Some(call) = call(db, id)? else { return Ok(None) };
    let mut events = events(db, id)?;
    let proposal = call.proposal.clone().unwrap_or_default();
    let run_id = proposal.actor.unwrap_or_default().run;
    let run = run(db, &run_id)?;
    if run.is_some() {
        events.extend(
            self::events(db, &run_id)?.into_iter().filter(|(_, event)| asked_for(event, &proposal.model_call_id)),
        );
    }
    Ok(Some(Trace { run, calls: vec![call], events: events.into_values().collect() }))
}

fn asked_for(event: &Event, model_call_id: &str) -> bool {
    let Some(Kind::TurnRecorded(recorded)) = &event.kind else { return false };
    recorded.turn.as_ref().is_some_and(|turn| turn.model_call_ids.iter().any(|id| id == model_call_id))
}

fn events(db: &Connection, subject: &str) -> Result<BTreeMap<u64, Event>, Error> {
    let mut statement = db.prepare_cached("SELECT position, body FROM event WHERE subject = ?1")?;
    let rows = statement.query_map([subject], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut events = BTreeMap::new();
    for row in rows {
        let (position, body) = row?;
        events.insert(position, decoded(&body)?);
    }
    Ok(events)
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

    fn run<M: Message + Default>(self, db: &Connection, table: &str, order: &str, limit: u32) -> Result<Vec<M>, Error> {
        let limit = if limit == 0 { 100 } else { limit.min(MOST) };
        let filter = if self.clauses.is_empty() { "1".to_owned() } else { self.clauses.join(" AND ") };
        many(db, &format!("SELECT document FROM {table} WHERE {filter} ORDER BY {order} LIMIT {limit}"), self.values)
    }
}

fn one<M: Message + Default>(db: &Connection, sql: &str, id: &str) -> Result<Option<M>, Error> {
    let bytes: Option<Vec<u8>> = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    bytes.map(|bytes| decoded(&bytes)).transpose()
}

fn many<M: Message + Default>(db: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<M>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| row.get::<_, Vec<u8>>(0))?;
    let mut documents = Vec::new();
    for row in rows {
        documents.push(decoded(&row?)?);
    }
    Ok(documents)
}

fn decoded<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|error| Error::io("read the index")(std::io::Error::other(error)))
}
