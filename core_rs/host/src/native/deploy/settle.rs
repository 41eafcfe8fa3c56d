//! What became of a deployment whose process died: what is live says so.

use cmdop_contract::v1::{Outcome, Reason};

use super::lock::{self, Lock};
use super::refusal::unhealthy;
use super::root_of;
use super::site::Site;
use super::state::Kind;
use crate::Error;
use crate::native::arguments::Arguments;
use crate::native::beneath::Root;

/// Ends an interrupted deployment: as done if its release is live, else as if it had not begun.
///
/// # Errors
/// `DEPLOY_LOCKED` if another one is under way by now, and whatever keeps the root from being read.
pub(crate) fn settle(root: &Root, arguments: &Arguments, permit_id: &str) -> Result<Option<Outcome>, Error> {
    let path = root_of(arguments)?;
    let lock = Lock::take(&Site::open(root, &path)?)?;
    // Looked at again, now that nobody else changes it.
    let site = Site::open(root, &path)?;
    // A copy that still has its hidden name never got that of the release.
    let is_unpublished = site.is_staged(permit_id);
    site.sweep(permit_id);
    let outcome = match site.state.pending.as_ref().filter(|pending| pending.permit_id == permit_id) {
        Some(pending) => {
            let is_live = site.live() == Some(pending.release.as_str());
            if !is_live && pending.is_new && !is_unpublished {
                site.remove(&pending.release, permit_id)?;
            }
            site.remember(&site.settled(), permit_id)?;
            if is_live { Outcome::Applied } else { Outcome::NotApplied }
        }
        None if site.state.events.iter().any(|event| event.permit_id == permit_id) => Outcome::Applied,
        // It is remembered before anything else is done that lasts.
        None => Outcome::NotApplied,
    };
    lock::forget(&site);
    if outcome == Outcome::NotApplied {
        site.unmake_unused();
    }
    drop(lock);
    Ok(Some(outcome))
}

/// What a deployment that is done, and whose process died, did not come to; or what its check had said by then.
pub(crate) fn cut_short(root: &Root, arguments: &Arguments, permit_id: &str) -> Option<Error> {
    let site = Site::open(root, &root_of(arguments).ok()?).ok()?;
    let event = site.state.events.iter().rev().find(|event| event.permit_id == permit_id)?;
    if event.kind() != Kind::Interrupted {
        return (!event.why.is_empty()).then(|| unhealthy(event.why.clone()));
    }
    let release = &event.release;
    let message = format!(
        "the host died after {release} became live and before it was checked: it is applied, nobody knows whether {release} \
         works, and what the tool returned is lost; `deploy.status` tells what is live, and `deploy.rollback` leads back"
    );
    Some(Error::use_tool(Reason::ResultLost, message, "deploy.status"))
}
