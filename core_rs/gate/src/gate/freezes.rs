//! Freezes: nothing changes on some hosts until a person says so.

use cmdop_contract::effect::{Class, class, is_held_back};
use cmdop_contract::name::Name;
use cmdop_contract::reason;
use cmdop_contract::v1::{self, Freeze, FreezeLift, Permit, Reason, Stage, freeze_scope};
use cmdop_contract::validate::{Violations, check_actor};
use cmdop_ledger::Standing;

use super::{Gate, new_id};
use crate::live::Input;

/// Characters of a reason.
pub(super) const MAX_WHY_CHARS: usize = 2_000;

impl Gate {
    /// Freezes hosts: in force when it returns, and calls that are changing something there are stopped.
    ///
    /// # Errors
    /// INVALID_ACTION for a scope, an author or a reason that is none. Anything else means that it is
    /// in force and could not be recorded.
    pub async fn freeze(&self, request: v1::CreateFreezeRequest) -> Result<Freeze, v1::Error> {
        let author = request.author.unwrap_or_default();
        let mut found = Violations::new(self.shared.limits.violations);
        check_actor(&author, &mut found);
        found.check_text("/why", &request.why, MAX_WHY_CHARS);
        found.into_result()?;
        if request.why.trim().is_empty() {
            return Err(missing("/why", "why: whoever is refused reads it"));
        }
        if author.user.is_empty() {
            return Err(missing("/author/user", "who freezes"));
        }
        let scope = request.scope.filter(is_scope).ok_or_else(|| missing("/scope", "a host, a group or a label"))?;
        let freeze = Freeze {
            freeze_id: new_id(),
            scope: Some(scope),
            why: request.why,
            author: Some(author),
            created_at: self.shared.ledger.now(),
            lift: None,
        };
        let recorded = self.shared.ledger.freeze(freeze.clone()).await;
        // In force in any case, so what runs is stopped in any case.
        self.stop_frozen(&freeze);
        match recorded {
            Ok(freeze) => Ok(freeze),
            Err(error) => {
                let mut error = v1::Error::from(error);
                error.message =
                    format!("{}; the freeze is in force, but the server forgets it when it ends", error.message);
                Err(error)
            }
        }
    }

    /// Lifts a freeze.
    ///
    /// # Errors
    /// UNKNOWN_FREEZE; NOT_PERMITTED for an agent; INVALID_ACTION.
    pub async fn lift_freeze(&self, request: v1::LiftFreezeRequest) -> Result<Freeze, v1::Error> {
        let by = request.by.unwrap_or_default();
        let mut found = Violations::new(self.shared.limits.violations);
        check_actor(&by, &mut found);
        found.check_text("/why", &request.why, MAX_WHY_CHARS);
        found.into_result()?;
        if !by.agent.is_empty() {
            let message = format!("a person lifts a freeze; the agent `{}` does not", by.agent);
            return Err(reason::error(Reason::NotPermitted, message).stop("only a person lifts a freeze"));
        }
        if by.user.is_empty() {
            return Err(missing("/by/user", "who lifts it"));
        }
        let lift = FreezeLift { by: Some(by), why: request.why, lifted_at: self.shared.ledger.now() };
        Ok(self.shared.ledger.lift(&request.freeze_id, lift).await?)
    }

    /// Freezes in force, newest first; with those that were lifted if asked for.
    #[must_use]
    pub fn freezes(&self, lifted: bool) -> Vec<Freeze> {
        self.shared.ledger.freezes(lifted)
    }

    /// A host as freezes see it.
    pub(crate) fn standing(&self, host: &str) -> Standing {
        let engine = self.shared.policy.engine();
        let labels = self.shared.hosts.get(host).map(|host| engine.labelled(&host).labels).unwrap_or_default();
        Standing { host: host.to_owned(), labels, groups: engine.host_groups(host) }
    }

    /// Tells the calls of frozen hosts: whichever is changing something stops.
    fn stop_frozen(&self, freeze: &Freeze) {
        let open: Vec<_> = self.shared.live.lock().values().cloned().collect();
        for live in open {
            if self.standing(&live.host).is_in(freeze) {
                // Nobody waits for room in a driver's queue while others are to be told.
                self.shared.drivers.lock().spawn(async move {
                    let _ = live.inputs.send(Input::Frozen).await;
                });
            }
        }
    }
}

/// Can anything on the machine or beyond it be changed under this permit?
pub(crate) fn may_change(permit: &Permit) -> bool {
    let tool = permit.action.as_ref().map_or("", |action| &action.tool);
    changes(permit.stage(), tool, &permit.effects)
}

/// The same of what a permit would be made from.
pub(crate) fn changes(stage: Stage, tool: &str, permitted: &[v1::PermittedEffect]) -> bool {
    let mut effects = permitted.iter().map(v1::PermittedEffect::kind).filter(|kind| class(*kind) != Class::Look);
    match stage {
        // A private copy holds back the rest.
        Stage::Preview => effects.any(|kind| !is_held_back(tool, kind)),
        Stage::Apply => effects.next().is_some(),
        Stage::Commit | Stage::Unspecified => true,
    }
}

pub(super) fn is_scope(scope: &v1::FreezeScope) -> bool {
    use freeze_scope::Kind;
    match &scope.kind {
        Some(Kind::Host(name) | Kind::Group(name)) => Name::parse(name).is_ok(),
        Some(Kind::Label(label)) => !label.name.is_empty(),
        Some(Kind::Everything(everything)) => *everything,
        None => false,
    }
}

fn missing(path: &str, expected: &str) -> v1::Error {
    reason::error(Reason::InvalidAction, format!("a freeze needs {expected}")).fix_arguments(path, expected)
}
