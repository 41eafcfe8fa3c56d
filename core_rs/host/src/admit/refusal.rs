//! Why a permit does not run here.

use cmdop_contract::effect::unseen;
use cmdop_contract::reason;
use cmdop_contract::tool::COMMAND;
use cmdop_contract::v1::{self, Observation, Outcome, Permit, PermittedEffect, Reason, Report, Stage};

use super::{Became, is_harmless, tool};
use crate::Error;

/// Checks what the signature does not vouch for: that the permit is whole.
pub(super) fn check(permit: &Permit) -> Result<(), Error> {
    let Some(action) = &permit.action else { return Err(not_valid("it has no action")) };
    if permit.permit_id.is_empty() || permit.call_id.is_empty() {
        return Err(not_valid("it has no id"));
    }
    check_masks(permit).map_err(|why| not_valid(&why))?;
    if action.host != permit.host {
        return Err(not_valid("its action is meant for another host"));
    }
    Ok(())
}

/// Can this host hide what the permit hides?
#[cfg(not(portable))]
fn check_masks(permit: &Permit) -> Result<(), String> {
    crate::masks::Masks::read(permit.masks.as_ref()).map(drop)
}

#[cfg(portable)]
fn check_masks(permit: &Permit) -> Result<(), String> {
    match permit.masks.as_ref().filter(|masks| !masks.classes.is_empty()) {
        Some(_) => Err("it hides secrets from its command, which this host cannot".to_owned()),
        None => Ok(()),
    }
}

/// Whom what did not end may have contacted: nobody, if it only planned to, or was the commit of a command that ran in
/// its preview. Where there are no previews, nobody either.
pub(crate) fn contacts(permit: &Permit) -> Option<Observation> {
    #[cfg(not(portable))]
    return crate::network::Network::unobserved(&permit.effects)
        .filter(|_| super::may_contact(permit) && !is_shown(permit));
    #[cfg(portable)]
    {
        let _ = permit;
        None
    }
}

/// A command ran in its preview, which showed what its commit does. What a tool said there it only planned.
fn is_shown(permit: &Permit) -> bool {
    permit.stage() == Stage::Commit && tool(permit) == COMMAND
}

/// What is to be said of a tool that died: it was done, and nobody measured what it did.
fn unmeasured(permit: &Permit, outcome: Outcome) -> Option<Observation> {
    let kinds = permit.effects.iter().map(PermittedEffect::kind);
    let is_unmeasured = outcome == Outcome::Applied && !is_shown(permit);
    is_unmeasured.then(|| unseen(kinds, "the host died while the tool ran, and found only that it was done"))
}

fn result_lost() -> v1::Error {
    let message = "the host died while the tool ran; when it started again it found the effects on the machine, so the \
                   call is applied, but what the tool returned is lost";
    reason::error(Reason::ResultLost, message)
}

pub(super) fn not_valid(why: &str) -> Error {
    Error::stop(Reason::PermitInvalid, format!("the host refused the permit: {why}; nothing was done"))
}

pub(super) fn preview_lost(why: &str) -> Error {
    Error::later(
        Reason::PreviewLost,
        format!("{why}; nothing was applied: propose it again under a new key, this one is spent"),
    )
}

pub(super) fn bad_key(length: usize) -> Error {
    let message = format!("the server's verifying key has {length} bytes, it must have 32; copy it from the server");
    Error::fix(Reason::InvalidConfiguration, message, "/permit_key", "32 bytes")
}

pub(super) fn unreadable(error: &prost::DecodeError) -> cmdop_ledger::Error {
    let message = format!("a record of the host's ledger cannot be read: {error}; was it written by a newer cmdop?");
    cmdop_ledger::Error::Typed(Box::new(reason::error(Reason::LedgerCorrupt, message)))
}

/// The report about a permit that an earlier life noted and never reported.
pub(super) fn interrupted(permit: &Permit, settled: Option<Became>) -> Report {
    let (outcome, error) = if permit.stage() == Stage::Preview {
        (Outcome::NotApplied, preview_lost("the host stopped during the preview").into())
    } else if is_harmless(permit) {
        let message = "the host stopped while it looked; nothing was changed";
        (Outcome::NotApplied, reason::error(Reason::HostError, message))
    } else {
        match settled.map(|became| (became.outcome, became.error)) {
            Some((Outcome::Applied, Some(error))) => (Outcome::Applied, error),
            Some((Outcome::Applied, None)) if is_shown(permit) => (Outcome::Applied, v1::Error::default()),
            Some((Outcome::Applied, None)) => (Outcome::Applied, result_lost()),
            Some((Outcome::NotApplied, _)) => {
                let message = "the host stopped before the change was made, or took it back when it started again";
                (Outcome::NotApplied, reason::error(Reason::HostError, message))
            }
            _ => {
                let message = "the host stopped while it acted, and cannot tell how far it came";
                (Outcome::Unknown, reason::error(Reason::OutcomeUnknown, message).reconcile(&permit.call_id))
            }
        }
    };
    Report {
        permit_id: permit.permit_id.clone(),
        call_id: permit.call_id.clone(),
        stage: permit.stage,
        outcome: outcome.into(),
        error: (error.reason() != Reason::Unspecified).then_some(error),
        // What changed nothing may have contacted somebody.
        observation: unmeasured(permit, outcome)
            .or_else(|| contacts(permit).filter(|_| outcome == Outcome::NotApplied)),
        ..Report::default()
    }
}
