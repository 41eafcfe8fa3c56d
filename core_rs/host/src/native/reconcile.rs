//! Settling what a crash left: by the journal, or by what only this tool can have left. Else nobody can tell.

use cmdop_contract::redact;
use cmdop_contract::v1::{self, Outcome, Stage};

use super::arguments::Arguments;
use super::{Native, deploy, service};
use crate::Error;
use crate::admit::{Became, Interrupted};
use crate::service::State;

impl Native {
    /// What became of a tool whose process died, and the removal of what it left half-way.
    /// `None` if nobody can tell.
    #[must_use]
    pub fn reconcile(&self, interrupted: &Interrupted) -> Option<Outcome> {
        let permit = interrupted.permit();
        if permit.stage() == Stage::Preview {
            return None;
        }
        let action = permit.action.as_ref()?;
        let settled = match action.tool.as_str() {
            "files.write" | "files.edit" | "files.delete" | "files.chmod" | "files.mkdir" | "files.move"
            | "files.copy" => Ok(self.journals.recover(interrupted)),
            // Secrets were taken out of what was kept: nobody knows any more which place that was.
            _ if redact::is_marked(&action.arguments_json) => return None,
            "files.undo" => {
                let arguments = Arguments::of(action).ok()?;
                Ok(self.journals.recover_undo(arguments.required("call").ok()?, interrupted))
            }
            "service.start" => self.reconcile_service(&Arguments::of(action).ok()?, true),
            "service.stop" => self.reconcile_service(&Arguments::of(action).ok()?, false),
            "deploy.release" | "deploy.rollback" => {
                deploy::settle(&self.root, &Arguments::of(action).ok()?, &permit.permit_id)
            }
            _ => return None,
        };
        settled.unwrap_or_else(|error| {
            tracing::warn!(permit = permit.permit_id, %error, "an interrupted tool could not be reconciled");
            None
        })
    }

    /// What became of it, and what is to be told of that.
    pub(crate) fn became(&self, interrupted: &Interrupted) -> Option<Became> {
        let outcome = self.reconcile(interrupted)?;
        let permit = interrupted.permit();
        let action = permit.action.as_ref()?;
        let is_deployment = matches!(action.tool.as_str(), "deploy.release" | "deploy.rollback");
        let error = if is_deployment && outcome == Outcome::Applied {
            Arguments::of(action).ok().and_then(|it| deploy::cut_short(&self.root, &it, &permit.permit_id))
        } else {
            None
        };
        Some(Became { outcome, error: error.map(v1::Error::from) })
    }

    /// A service that is as it was to become is; of any other nobody knows why.
    fn reconcile_service(&self, arguments: &Arguments, shall_run: bool) -> Result<Option<Outcome>, Error> {
        let status = self.supervisor.status(&service::name(arguments)?)?;
        let runs = status.state == State::Running;
        Ok((runs == shall_run && status.state != State::Changing).then_some(Outcome::Applied))
    }
}
