//! Of most events of a call the index needs hardly more than that they happened: the rest of them is
//! passed over unread.

use cmdop_contract::v1::{
    self, CallDecided, CallPermitted, CallPreviewed, CallProposed, CallRefused, CallSettled, CallStarted, Event,
    Outcome, Stage, event::Kind,
};
use prost::{DecodeError, Message};

/// An event with as much of its content as the index looks at.
pub(super) fn read(payload: &[u8]) -> Result<Event, DecodeError> {
    let outline = Outline::decode(payload)?;
    let Outline { at, subject, .. } = outline;
    let kind = if let Some(proposed) = outline.proposed {
        let Actor { agent, run } = proposed.proposal.and_then(|proposal| proposal.actor).unwrap_or_default();
        let actor = Some(v1::Actor { agent, run, ..v1::Actor::default() });
        let proposal = Some(v1::Proposal { actor, ..v1::Proposal::default() });
        Kind::CallProposed(CallProposed { proposal, ..CallProposed::default() })
    } else if let Some(permitted) = outline.permitted {
        let permit = permitted.permit.map(|permit| v1::Permit { stage: permit.stage, ..v1::Permit::default() });
        Kind::CallPermitted(CallPermitted { permit, approval_id: permitted.approval_id, grants: Vec::new() })
    } else if let Some(settled) = outline.settled {
        let word = |word: Word| v1::Reconciliation { measured: word.measured, ..v1::Reconciliation::default() };
        let reconciliation = settled.reconciliation.map(word);
        Kind::CallSettled(CallSettled { outcome: settled.outcome, reconciliation, ..CallSettled::default() })
    } else if outline.decided.is_some() {
        Kind::CallDecided(CallDecided::default())
    } else if outline.started.is_some() {
        Kind::CallStarted(CallStarted::default())
    } else if outline.previewed.is_some() {
        Kind::CallPreviewed(CallPreviewed::default())
    } else if outline.refused.is_some() {
        Kind::CallRefused(CallRefused::default())
    } else {
        return Event::decode(payload);
    };
    Ok(Event { at, subject, kind: Some(kind) })
}

// Numbers and types of fields as in proto/cmdop/v1/ledger.proto, action.proto and permit.proto.

#[derive(Clone, PartialEq, Message)]
struct Outline {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(message, optional, tag = "10")]
    proposed: Option<Proposed>,
    #[prost(message, optional, tag = "11")]
    refused: Option<Unread>,
    #[prost(message, optional, tag = "12")]
    decided: Option<Unread>,
    #[prost(message, optional, tag = "15")]
    permitted: Option<Permitted>,
    #[prost(message, optional, tag = "16")]
    started: Option<Unread>,
    #[prost(message, optional, tag = "17")]
    previewed: Option<Unread>,
    #[prost(message, optional, tag = "18")]
    settled: Option<Settled>,
}

#[derive(Clone, PartialEq, Message)]
struct Unread {}

#[derive(Clone, PartialEq, Message)]
struct Proposed {
    #[prost(message, optional, tag = "1")]
    proposal: Option<Proposal>,
}

#[derive(Clone, PartialEq, Message)]
struct Proposal {
    #[prost(message, optional, tag = "2")]
    actor: Option<Actor>,
}

#[derive(Clone, PartialEq, Message)]
struct Actor {
    #[prost(string, tag = "3")]
    agent: String,
    #[prost(string, tag = "4")]
    run: String,
}

#[derive(Clone, PartialEq, Message)]
struct Permitted {
    #[prost(message, optional, tag = "1")]
    permit: Option<Permit>,
    #[prost(string, tag = "2")]
    approval_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Permit {
    #[prost(enumeration = "Stage", tag = "5")]
    stage: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Settled {
    #[prost(enumeration = "Outcome", tag = "1")]
    outcome: i32,
    #[prost(message, optional, tag = "7")]
    reconciliation: Option<Word>,
}

#[derive(Clone, PartialEq, Message)]
struct Word {
    #[prost(enumeration = "Outcome", tag = "6")]
    measured: i32,
}

#[cfg(test)]
mod tests {
    use cmdop_contract::fold;
    use cmdop_contract::v1::{
        Approval, ApprovalDecided, ApprovalStatus, CallHeld, CallState, Decision, HostAttached, Report,
    };

    use super::*;

    fn events() -> Vec<Event> {
        let actor = v1::Actor {
            tenant: "t".into(),
            user: "u".into(),
            agent: "a".into(),
            run: "r".into(),
            ..Default::default()
        };
        let action = Some(v1::Action { tool: "files.read".into(), ..Default::default() });
        let proposal = v1::Proposal { actor: Some(actor), action, idempotency_key: "k".into(), ..Default::default() };
        let proposed = CallProposed { proposal: Some(proposal), action_digest: "d".into() };
        let report = Some(Report { permit_id: "p".into(), layer_held: true, ..Report::default() });
        let permitted = |stage: Stage, approval_id: &str| {
            let permit =
                v1::Permit { permit_id: "p".into(), stage: stage.into(), host: "h".into(), ..Default::default() };
            Kind::CallPermitted(CallPermitted {
                permit: Some(permit),
                approval_id: approval_id.into(),
                ..CallPermitted::default()
            })
        };
        let settled = |outcome: Outcome| {
            Kind::CallSettled(CallSettled { outcome: outcome.into(), report: report.clone(), ..Default::default() })
        };
        let measured = |outcome: Outcome, measured: Outcome| {
            let word = v1::Reconciliation { measured: measured.into(), why: "seen".into(), ..Default::default() };
            let report = report.clone();
            let outcome = outcome.into();
            Kind::CallSettled(CallSettled { outcome, report, reconciliation: Some(word), ..Default::default() })
        };
        let decision = Some(Decision { reason: "because".into(), ..Default::default() });
        let approval = Some(Approval { approval_id: "x".into(), ..Default::default() });
        let decided =
            ApprovalDecided { approval_id: "x".into(), status: ApprovalStatus::Approved.into(), ..Default::default() };
        let kinds = [
            Kind::CallProposed(proposed),
            Kind::CallProposed(CallProposed::default()),
            Kind::CallDecided(CallDecided { decision, ..Default::default() }),
            Kind::CallRefused(CallRefused::default()),
            permitted(Stage::Preview, ""),
            permitted(Stage::Commit, "x"),
            permitted(Stage::Apply, "x"),
            Kind::CallPermitted(CallPermitted::default()),
            Kind::CallStarted(CallStarted { permit_id: "p".into() }),
            Kind::CallPreviewed(CallPreviewed { report: report.clone(), beyond: Vec::new() }),
            settled(Outcome::Applied),
            settled(Outcome::NotApplied),
            settled(Outcome::Unknown),
            measured(Outcome::Applied, Outcome::Unspecified),
            measured(Outcome::Applied, Outcome::Applied),
            measured(Outcome::Applied, Outcome::Unknown),
            measured(Outcome::NotApplied, Outcome::NotApplied),
            measured(Outcome::NotApplied, Outcome::Applied),
            Kind::CallHeld(CallHeld { approval }),
            Kind::ApprovalDecided(decided),
            Kind::HostAttached(HostAttached::default()),
        ];
        kinds.map(|kind| Event { at: 7, subject: "c".into(), kind: Some(kind) }).into()
    }

    #[test]
    fn an_outline_says_what_the_index_looks_at() {
        for event in events() {
            let read = read(&event.encode_to_vec()).expect("an event");
            assert_eq!((read.at, &read.subject), (7, &event.subject));
            assert_eq!(fold::is_of_call(&read), fold::is_of_call(&event));
            for state in (0..16).filter_map(|state| CallState::try_from(state).ok()) {
                assert_eq!(fold::advance(state, &read), fold::advance(state, &event), "{state:?}, {event:?}");
            }
            match (read.kind.expect("a kind"), event.kind.expect("a kind")) {
                (Kind::CallProposed(read), Kind::CallProposed(whole)) => {
                    let names = |proposed: CallProposed| {
                        let actor = proposed.proposal.and_then(|it| it.actor).unwrap_or_default();
                        (actor.agent, actor.run)
                    };
                    assert_eq!(names(read), names(whole));
                }
                (Kind::CallPermitted(read), Kind::CallPermitted(whole)) => {
                    assert_eq!(read.approval_id, whole.approval_id);
                }
                (read @ (Kind::CallHeld(_) | Kind::ApprovalDecided(_) | Kind::HostAttached(_)), whole) => {
                    assert_eq!(read, whole, "these are read whole");
                }
                _ => {}
            }
        }
    }
}
