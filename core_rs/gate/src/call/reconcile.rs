//! Settling what nobody could tell by what a person found.

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Outcome, Reason};

use super::Driver;
use crate::live::Found;

/// When the same action may come again, under a new key.
const AGAIN_MS: u64 = 1_000;

impl Driver {
    /// UNKNOWN: a person looked. What they say is recorded as their word, beside what was measured before.
    pub(super) async fn reconcile(&mut self, found: Found) -> Result<(), v1::Error> {
        let Found { outcome, word, taken } = found;
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
}
