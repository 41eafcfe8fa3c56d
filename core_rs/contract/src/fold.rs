//! A call is the fold of its events. This is the only place where a call's document is made.

use crate::life::{Input, NotInTable, next};
use crate::v1::{ApprovalStatus, Call, CallState, Event, Outcome, Report, Stage, event::Kind};

/// Why an event does not belong to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call's state does not allow it.
    #[error(transparent)]
    NotInTable(#[from] NotInTable),
    /// A call is proposed once.
    #[error("the call exists already")]
    Exists,
    /// Not an event of a call, or one without its content.
    #[error("the event is not one of a call, or lacks its content")]
    NotOfCall,
}

/// Does this event belong to a call?
#[must_use]
pub fn is_of_call(event: &Event) -> bool {
    matches!(
        event.kind,
        Some(
            Kind::CallProposed(_)
                | Kind::CallRefused(_)
                | Kind::CallDecided(_)
                | Kind::CallHeld(_)
                | Kind::ApprovalDecided(_)
                | Kind::CallPermitted(_)
                | Kind::CallStarted(_)
                | Kind::CallPreviewed(_)
                | Kind::CallSettled(_)
        )
    )
}

/// Applies one event to a call. `Call::default()` is a call before its first event.
///
/// # Errors
/// The event is not possible now; the call is then as it was.
pub fn apply(call: &mut Call, event: &Event) -> Result<(), Error> {
    let kind = event.kind.as_ref().ok_or(Error::NotOfCall)?;
    if let Kind::CallProposed(proposed) = kind {
        if call.state() != CallState::Unspecified {
            return Err(Error::Exists);
        }
        *call = Call {
            call_id: event.subject.clone(),
            proposal: proposed.proposal.clone(),
            state: CallState::Proposed.into(),
            action_digest: proposed.action_digest.clone(),
            attempt: 1,
            proposed_at: event.at,
            ..Call::default()
        };
        return Ok(());
    }
    let state = next(call.state(), input(kind)?)?;
    match kind {
        Kind::CallRefused(refused) => {
            call.error.clone_from(&refused.error);
            call.score = refused.score;
            call.outcome = Outcome::NotApplied.into();
            call.settled_at = event.at;
        }
        Kind::CallDecided(decided) => {
            call.decision.clone_from(&decided.decision);
            call.prediction.clone_from(&decided.prediction);
            call.declared.clone_from(&decided.declared);
        }
        Kind::CallHeld(held) => call.approval.clone_from(&held.approval),
        Kind::ApprovalDecided(decided) => {
            if let Some(approval) = &mut call.approval {
                approval.status = decided.status;
                approval.decision.clone_from(&decided.decision);
            }
        }
        Kind::CallPermitted(permitted) => {
            call.permits.extend(permitted.permit.clone());
            if let Some(approval) = call.approval.as_mut().filter(|it| it.approval_id == permitted.approval_id) {
                approval.status = ApprovalStatus::Used.into();
            }
        }
        Kind::CallPreviewed(previewed) => {
            take(call, previewed.report.as_ref());
            call.side_effects.clone_from(&previewed.beyond);
        }
        Kind::CallSettled(settled) => {
            call.outcome = settled.outcome;
            take(call, settled.report.as_ref());
            call.side_effects.clone_from(&settled.side_effects);
            call.score = settled.score;
            call.error.clone_from(&settled.error);
            call.settled_at = event.at;
        }
        _ => {}
    }
    call.state = state.into();
    Ok(())
}

fn input(kind: &Kind) -> Result<Input, Error> {
    Ok(match kind {
        Kind::CallRefused(_) => Input::Refuse,
        Kind::CallDecided(_) => Input::Decide,
        Kind::CallHeld(_) => Input::Hold,
        Kind::ApprovalDecided(_) => Input::Answer,
        Kind::CallPermitted(permitted) => match permitted.permit.as_ref().ok_or(Error::NotOfCall)?.stage() {
            Stage::Commit => Input::PermitCommit,
            Stage::Preview | Stage::Apply => Input::Permit,
            Stage::Unspecified => return Err(Error::NotOfCall),
        },
        Kind::CallStarted(_) => Input::Start,
        Kind::CallPreviewed(_) => Input::Preview,
        Kind::CallSettled(settled) => match settled.outcome() {
            Outcome::Applied => Input::Apply,
            Outcome::NotApplied => Input::Leave,
            Outcome::Unknown => Input::Lose,
            Outcome::Unspecified => return Err(Error::NotOfCall),
        },
        _ => return Err(Error::NotOfCall),
    })
}

/// Keeps what a report measured. A commit reports no output of its own: the preview's stays.
fn take(call: &mut Call, report: Option<&Report>) {
    let Some(report) = report else { return };
    if report.stage() != Stage::Commit && report.result.is_some() {
        call.result.clone_from(&report.result);
    }
    if report.observation.is_some() {
        call.observation.clone_from(&report.observation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{CallPermitted, CallProposed, CallSettled, CallStarted, Permit, Proposal};

    fn event(kind: Kind) -> Event {
        Event { at: 7, subject: "c".into(), kind: Some(kind) }
    }

    #[test]
    fn a_call_is_the_fold_of_its_events() {
        let mut call = Call::default();
        let permit = Permit { stage: Stage::Apply.into(), ..Permit::default() };
        for kind in [
            Kind::CallProposed(CallProposed { proposal: Some(Proposal::default()), action_digest: "d".into() }),
            Kind::CallPermitted(CallPermitted { permit: Some(permit), approval_id: String::new() }),
            Kind::CallStarted(CallStarted::default()),
            Kind::CallSettled(CallSettled { outcome: Outcome::Applied.into(), ..CallSettled::default() }),
        ] {
            apply(&mut call, &event(kind)).expect("the event fits");
        }
        assert_eq!((call.state(), call.outcome(), call.settled_at), (CallState::Applied, Outcome::Applied, 7));
        assert_eq!((call.call_id.as_str(), call.permits.len()), ("c", 1));
    }

    #[test]
    fn an_impossible_event_leaves_the_call_as_it_was() {
        let mut call = Call::default();
        let settled = event(Kind::CallSettled(CallSettled { outcome: Outcome::Applied.into(), ..CallSettled::default() }));
        assert!(apply(&mut call, &settled).is_err());
        assert_eq!(call, Call::default());
        let proposed = event(Kind::CallProposed(CallProposed::default()));
        apply(&mut call, &proposed).expect("first");
        assert_eq!(apply(&mut call, &proposed), Err(Error::Exists));
        assert!(matches!(apply(&mut call, &settled), Err(Error::NotInTable(_))));
    }
}
