//! What a person says became of a call when nobody could tell.

use std::sync::Arc;

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Call, CallState, Outcome, Reason, Reconciliation};
use cmdop_contract::validate::{Violations, check_actor};
use tokio::sync::oneshot;

use super::freezes::MAX_WHY_CHARS;
use super::{Gate, internal};
use crate::live::{Found, Input};

impl Gate {
    /// Settles a call whose outcome is unknown. Returns once that is durable; the call's key stays spent.
    ///
    /// # Errors
    /// UNKNOWN_CALL; NOT_PERMITTED for an agent; INVALID_ACTION without an author, an outcome or what was seen, or for
    /// a call of which it is known what became of it.
    pub async fn reconcile(&self, request: v1::ReconcileCallRequest) -> Result<Arc<Call>, v1::Error> {
        let outcome = request.outcome();
        let by = request.by.unwrap_or_default();
        let mut found = Violations::new(self.shared.limits.violations);
        check_actor(&by, &mut found);
        found.check_text("/why", &request.why, MAX_WHY_CHARS);
        found.into_result()?;
        if !by.agent.is_empty() {
            let message = format!("a person says what became of a call; the agent `{}` does not", by.agent);
            return Err(reason::error(Reason::NotPermitted, message).stop("only a person settles what is unknown"));
        }
        if by.user.is_empty() {
            return Err(missing("/by/user", "who looked"));
        }
        if request.why.trim().is_empty() {
            return Err(missing("/why", "what was seen on the machine: it is all that anybody has"));
        }
        if !matches!(outcome, Outcome::Applied | Outcome::NotApplied) {
            return Err(missing("/outcome", "what was found: applied or not applied"));
        }
        let call_id = request.call_id;
        let call = self.call(&call_id).await?;
        if call.state() != CallState::Unknown {
            return Err(is_known(&call));
        }
        let (taken, told) = oneshot::channel();
        let found = Found { outcome, word: Reconciliation { by: Some(by), why: request.why }, taken };
        self.notify(&call_id, Input::Reconciled(Box::new(found))).await;
        match told.await {
            Ok(call) => Ok(call),
            // Its host was faster, or it cannot be recorded.
            Err(_) => match self.call(&call_id).await? {
                call if call.state() == CallState::Unknown => {
                    Err(internal("nothing works on this call any more; it is taken up again when the server starts"))
                }
                call => Err(is_known(&call)),
            },
        }
    }
}

fn missing(path: &str, expected: &str) -> v1::Error {
    reason::error(Reason::InvalidAction, format!("to settle a call needs {expected}")).fix_arguments(path, expected)
}

fn is_known(call: &Call) -> v1::Error {
    let state = call.state().as_str_name().trim_start_matches("CALL_STATE_").to_lowercase();
    let message = format!("the call is {state}: nobody has to say what became of it");
    reason::error(Reason::InvalidAction, message).fix_arguments("/call_id", "a call whose outcome is unknown")
}
