//! Who sent a request, as far as they show it.

use cmdop_contract::v1;
use tonic::{Request, Status};

use super::{Context, refused};

/// The token of a request: `authorization: Bearer TOKEN` (RFC 6750).
pub(super) fn bearer<T>(request: &Request<T>) -> Option<&str> {
    let value = request.metadata().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The user of an actor.
pub(super) fn user(actor: Option<&v1::Actor>) -> &str {
    actor.map_or("", |actor| &actor.user)
}

impl Context {
    /// Lets only those decide who are who they say.
    pub(super) fn identified<T>(&self, request: &Request<T>, said: &str) -> Result<(), Status> {
        self.gate.check_approver(said, bearer(request)).map_err(refused)
    }

    /// Lets nobody propose under a name that has a token but who shows it.
    pub(super) fn proposes(&self, request: &Request<v1::ProposeRequest>) -> Result<(), Status> {
        let actor = request.get_ref().proposal.as_ref().and_then(|proposal| proposal.actor.as_ref());
        self.gate.check_proposer(actor, bearer(request)).map_err(refused)
    }
}
