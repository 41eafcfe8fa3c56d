//! Settling what nobody could tell by what a person found, and what the host measured if that comes later.

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Call, CallState, Outcome, Reason, Reconciliation, Report};

use super::execute::{Ordered, has_unseen_contacts};
use super::{Driver, internal};
use crate::live::Found;

/// When the same action may come again, under a new key.
const AGAIN_MS: u64 = 1_000;

impl Driver {
    /// UNKNOWN: a person looked. What they say is recorded as their word, beside what was measured before.
    pub(super) async fn reconcile(&mut self, found: Found) -> Result<(), v1::Error> {
        let Found { word, taken } = found;
        let outcome = word.outcome();
        let error = (outcome == Outcome::NotApplied).then(|| {
            let who = word.by.as_ref().map_or("", |by| &by.user);
            let message =
                format!("nobody could tell what became of it; {who} found that nothing was applied: {}", word.why);
            // The key stays spent: what nobody saw end must never begin again under it.
            reason::error(Reason::OutcomeUnknown, message).retry_after(AGAIN_MS)
        });
        self.reconciliation = Some(word);
        self.settle(outcome, None, error).await?;
        // Whoever said so may have gone.
        let _ = taken.send(self.call.clone());
        Ok(())
    }

    /// Records what the host of a call measured that a person's word had settled by then: it is the outcome, whatever
    /// they said.
    pub(crate) async fn run_measured(mut self: Box<Self>, report: Report) {
        if let Err(error) = self.measured(report).await {
            tracing::error!(call = %self.call.call_id, error = %error.message, "what its host measured is not recorded yet");
        }
        self.gate.retire(&self.live.call_id);
    }

    async fn measured(&mut self, report: Report) -> Result<(), v1::Error> {
        // By now nobody else works on it; before, somebody may have.
        self.call = self.gate.stored(&self.live.call_id).await?.into();
        let Some(mut word) = awaits_measurement(&self.call, &report) else {
            self.acknowledge_earlier(report.permit_id);
            return Ok(());
        };
        let permit = self.call.permits.last().ok_or_else(|| internal("permitted without a permit"))?;
        let permit = Ordered::of(permit, self.is_pure());
        if !permit.is_reported_by(&report) {
            tracing::warn!(call = %self.call.call_id, "a report that contradicts its permit, of a call that a person settled");
            return Ok(());
        }
        let reported = super::execute::outcome_of(&report);
        let (_, observation) = self.as_folded(reported, Some(&report));
        let measured = match reported {
            Outcome::NotApplied if observation.as_deref().is_some_and(has_unseen_contacts) => Outcome::Unknown,
            outcome => outcome,
        };
        if measured == Outcome::Unknown && word.measured() == Outcome::Unknown {
            self.acknowledge_earlier(report.permit_id);
            return Ok(());
        }
        word.measured = measured.into();
        word.measured_at = self.gate.shared().ledger.now();
        self.tell_of(&word);
        self.unacknowledged.push(report.permit_id.clone());
        let failed = || report.result.as_ref().and_then(|result| result.error.clone());
        let (outcome, error) = match measured {
            // The word stands, and so does what followed from it.
            Outcome::Unknown => (word.outcome(), self.call.error.clone()),
            measured => (measured, report.error.clone().or_else(failed)),
        };
        self.reconciliation = Some(word);
        self.settle(outcome, Some(report), error).await
    }

    fn tell_of(&self, word: &Reconciliation) {
        let (said, measured) = (word.outcome().as_str_name(), word.measured().as_str_name());
        let by = word.by.as_ref().map_or("", |by| &by.user);
        let (call, host) = (&self.call.call_id, &self.live.host);
        match word.measured() {
            Outcome::Unknown => tracing::info!(call, host, by, said, "the host cannot tell what a person settled"),
            outcome if outcome == word.outcome() => {
                tracing::info!(call, host, by, said, "the host measured what a person had settled");
            }
            _ => tracing::warn!(
                call,
                host,
                by,
                said,
                measured,
                "the host measured otherwise than a person had settled; what it measured is the outcome"
            ),
        }
    }
}

/// The word that settled the call, if this is the report of its last permit and the first that tells more.
pub(crate) fn awaits_measurement(call: &Call, report: &Report) -> Option<Reconciliation> {
    let word = call.reconciliation.as_ref()?;
    let is_over = matches!(call.state(), CallState::Applied | CallState::NotApplied);
    let is_last = call.permits.last().is_some_and(|permit| permit.permit_id == report.permit_id);
    let is_open = matches!(word.measured(), Outcome::Unspecified | Outcome::Unknown);
    (is_over && is_last && is_open).then(|| word.clone())
}
