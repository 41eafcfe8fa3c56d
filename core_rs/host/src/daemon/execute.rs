//! One permit, from its arrival to its report.

use std::sync::Arc;

use cmdop_contract::v1::{HostToServer, Outcome, Permit, Reason, Report, SignedPermit, Stage, Started, host_to_server};
use cmdop_contract::{reason, redact};
use prost::Message;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::output::OutputSender;
use super::serve::{frame, send};
use crate::Error;
use crate::admit::{Admission, Admitted, Known};

/// Admits a permit and does what it says, unless it was stopped before.
///
/// # Errors
/// Only a ledger that takes no more records.
pub(super) async fn execute(
    shared: Arc<Shared>,
    signed: SignedPermit,
    stop: CancellationToken,
    outbound: Sender<HostToServer>,
    is_draining: bool,
) -> Result<(), Error> {
    // Not trusted before it is verified; until then only to name what an answer is about.
    let named = Permit::decode(signed.permit.as_slice()).unwrap_or_default();
    let place = shared.places.clone().try_acquire_owned();
    if is_draining || place.is_err() {
        turn_away(&shared, &named, &outbound, is_draining).await;
        return Ok(());
    }
    let admitted = match shared.keys.admit(&signed).await {
        Ok(Admission::Fresh(admitted)) => admitted,
        Ok(Admission::Settled(report)) => {
            send(&outbound, host_to_server::Kind::Report(*report)).await;
            return Ok(());
        }
        // Its report follows.
        Ok(Admission::Running) => return Ok(()),
        Err(error) => return refuse(&named, error, &outbound).await,
    };
    let started = Started { permit_id: admitted.permit_id.clone(), call_id: admitted.call_id.clone() };
    // Good to know, and not worth waiting for.
    let _ = outbound.try_send(frame(host_to_server::Kind::Started(started)));
    let (call_id, stage) = (admitted.call_id.clone(), admitted.stage());
    let known = admitted.action.as_ref().map(redact::known).unwrap_or_default();
    let mut report = work(&shared, admitted, known.clone(), stop, outbound.clone()).await;
    // What a command said or a file held is told to nobody else than the command.
    redact::report(&mut report, &known);
    shared.keys.report(report.clone()).await?;
    if stage == Stage::Commit && report.outcome() != Outcome::Unknown {
        // Applied, conflicting or failed: a layer is committed at most once. One that broke half-way
        // is kept, so that the next start can finish it.
        shared.keys.layer_dropped(&call_id, "committed").await?;
        shared.machine.discard(&call_id);
    }
    drop(place);
    send(&outbound, host_to_server::Kind::Report(report)).await;
    Ok(())
}

/// Runs the tool. The machine is touched from here on and nowhere else.
async fn work(
    shared: &Shared,
    admitted: Admitted,
    known: redact::Known,
    stop: CancellationToken,
    outbound: Sender<HostToServer>,
) -> Report {
    if stop.is_cancelled() {
        return failure(&admitted, cancelled());
    }
    let output = OutputSender::new(outbound, admitted.call_id.clone(), known);
    shared.machine.work(admitted, output, stop).await
}

/// No place is free, or the daemon drains. What is known already is still answered.
async fn turn_away(shared: &Shared, named: &Permit, outbound: &Sender<HostToServer>, is_draining: bool) {
    let report = match shared.keys.inquire(&named.permit_id) {
        Known::Settled(report) => *report,
        Known::Running => return,
        Known::Nothing if is_draining => {
            failure(named, Error::later(Reason::Draining, "the host is stopping and took nothing; nothing was done"))
        }
        Known::Nothing => {
            let message = "the host has as much work as it accepts; nothing was done";
            failure(named, Error::later(Reason::LoadShed, message))
        }
    };
    send(outbound, host_to_server::Kind::Report(report)).await;
}

/// # Errors
/// The ledger's, which stops the daemon once the server was told that nothing ran; but not that its
/// disk is full, which passes.
async fn refuse(named: &Permit, error: Error, outbound: &Sender<HostToServer>) -> Result<(), Error> {
    let is_lost = matches!(error, Error::Ledger(_)) && error.reason() != Reason::HostStorageFull;
    let message = error.to_string();
    send(outbound, host_to_server::Kind::Report(failure(named, error))).await;
    if is_lost { Err(Error::later(Reason::StorageError, message)) } else { Ok(()) }
}

pub(crate) fn report(permit: &Permit) -> Report {
    Report {
        permit_id: permit.permit_id.clone(),
        call_id: permit.call_id.clone(),
        stage: permit.stage,
        ..Report::default()
    }
}

/// Refused or failed with nothing changed.
pub(crate) fn failure(permit: &Permit, error: Error) -> Report {
    let mut error = cmdop_contract::v1::Error::from(error);
    error.call_id.clone_from(&permit.call_id);
    Report { outcome: Outcome::NotApplied.into(), error: Some(error), ..report(permit) }
}

/// The tool itself broke after it began to act, and nobody can tell where.
pub(crate) fn unknown(permit: &Permit, why: &str) -> Report {
    let message = format!("the tool broke while it acted: {why}");
    let error = reason::error(Reason::OutcomeUnknown, message).reconcile(&permit.call_id);
    Report { outcome: Outcome::Unknown.into(), error: Some(error), ..report(permit) }
}

fn cancelled() -> Error {
    Error::stop(Reason::Cancelled, "the call was cancelled before it ran; nothing was done")
}
