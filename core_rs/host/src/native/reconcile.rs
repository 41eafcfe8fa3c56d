//! Settling what a crash left: the journal tells, and finishes or takes back what it can.

use cmdop_contract::v1::{Outcome, Stage};

use super::Native;
use super::arguments::Arguments;
use crate::admit::Interrupted;

impl Native {
    /// What became of a tool whose process died. `None` if nobody can tell.
    #[must_use]
    pub fn reconcile(&self, interrupted: &Interrupted) -> Option<Outcome> {
        let permit = interrupted.permit();
        if permit.stage() == Stage::Preview {
            return None;
        }
        let action = permit.action.as_ref()?;
        match action.tool.as_str() {
            "files.write" | "files.delete" => self.journals.recover(&permit.call_id),
            "files.undo" => {
                let arguments = Arguments::of(action).ok()?;
                self.journals.recover_undo(arguments.required("call").ok()?, &permit.call_id)
            }
            _ => None,
        }
    }
}
