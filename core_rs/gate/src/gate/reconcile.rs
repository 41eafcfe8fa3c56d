//! What a person says became of a call when nobody could tell.

use std::sync::Arc;

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Call, CallState, Outcome, Reason, Reconciliation};
use cmdop_contract::validate::{Violations, check_actor};
use tokio::sync::oneshot;

use super::freezes::MAX_WHY_CHARS;
use super::{Gate, internal};
use crate::live::{Found, Input};

/// When a host whose daemon was started is likely to have said what it knows.
const RETURN_MS: u64 = 5_000;

impl Gate {
    /// Settles a call whose outcome is unknown. Returns once that is durable; the call's key stays spent.
    ///
    /// # Errors
    /// UNKNOWN_CALL; NOT_PERMITTED for an agent; INVALID_ACTION without an author, an outcome or what was seen, or for
    /// a call of which it is known what became of it; HOST_UNAVAILABLE while its host is away, without the word that it
    /// is to be settled all the same.
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
        let host = call.proposal.as_ref().and_then(|it| it.action.as_ref()).map_or("", |action| &action.host);
        let is_away = !self.shared.hosts.is_linked(host);
        if is_away && !request.without_host {
            return Err(away(host, &call_id));
        }
        let (taken, told) = oneshot::channel();
        let word = Reconciliation {
            by: Some(by),
            why: request.why,
            outcome: outcome.into(),
            at: self.shared.ledger.now(),
            without_host: is_away,
            ..Reconciliation::default()
        };
        let found = Found { word, taken };
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

/// Who was not asked. It comes before anything is recorded: a word that nobody needed is one that may be wrong.
fn away(host: &str, call_id: &str) -> v1::Error {
    let message = format!(
        "host `{host}` is away, and its own ledger may tell what became of the call: start its daemon, and what it \
         measured settles the call; if it will not come back, settle it without the host (`without_host`, \
         `--without-host`)"
    );
    reason::error(Reason::HostUnavailable, message).retry_after(RETURN_MS).call_id(call_id)
}

fn missing(path: &str, expected: &str) -> v1::Error {
    reason::error(Reason::InvalidAction, format!("to settle a call needs {expected}")).fix_arguments(path, expected)
}

fn is_known(call: &Call) -> v1::Error {
    let state = call.state().as_str_name().trim_start_matches("CALL_STATE_").to_lowercase();
    let message = format!("the call is {state}: nobody has to say what became of it");
    reason::error(Reason::InvalidAction, message).fix_arguments("/call_id", "a call whose outcome is unknown")
}
