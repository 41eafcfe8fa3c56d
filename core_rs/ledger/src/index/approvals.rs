//! The approvals' rows: what events of calls do to them.

use cmdop_contract::approval;
use cmdop_contract::v1::{Approval, ApprovalStatus, CallState, event::Kind};
use prost::Message;
use rusqlite::{Connection, params};

use super::query;
use crate::Error;

/// What still may become something else.
const OPEN: [ApprovalStatus; 2] = [ApprovalStatus::Pending, ApprovalStatus::Approved];

/// Takes in an event of a call that was in a state, as [`cmdop_contract::fold`] does for the approval
/// in the call's document.
pub(super) fn note(db: &Connection, call_id: &str, was: CallState, kind: Option<&Kind>) -> Result<(), Error> {
    match kind {
        Some(Kind::CallHeld(held)) => held.approval.as_ref().map_or(Ok(()), |approval| put(db, approval)),
        Some(Kind::ApprovalDecided(decided)) => change(db, &decided.approval_id, |it| approval::answered(it, decided)),
        Some(Kind::CallPermitted(permitted)) if !permitted.approval_id.is_empty() => {
            change(db, &permitted.approval_id, |approval| approval.status = ApprovalStatus::Used.into())
        }
        // A question that nobody needs answered any more.
        Some(Kind::CallSettled(_)) if matches!(was, CallState::Held | CallState::DiffHeld) => {
            for mut ended in query::approvals_of(db, call_id, &OPEN)? {
                approval::call_ended(&mut ended);
                put(db, &ended)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn put(db: &Connection, approval: &Approval) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO approval VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        approval.approval_id,
        approval.call_id,
        approval.status,
        approval.created_at,
        approval.encode_to_vec()
    ])?;
    Ok(())
}

fn change(db: &Connection, approval_id: &str, change: impl FnOnce(&mut Approval)) -> Result<(), Error> {
    if let Some(mut approval) = query::approval(db, approval_id)? {
        change(&mut approval);
        put(db, &approval)?;
    }
    Ok(())
}
