//! Whether an action may run, and whether what it did to a private copy may be committed.

use cmdop_contract::v1::{Actor, AutonomyLevel, ExpectedEffect, Host, Observation, Prediction};
use cmdop_contract::validate::Validated;

use crate::engine::Engine;

mod assess;
mod blind;
mod bound;
mod declaration;
mod explain;
mod masks;
mod observed;
mod past;
mod stakes;
mod supposed;
mod table;
mod verdict;

pub(crate) use assess::authorise;
pub use bound::Denied;
pub(crate) use bound::bind;
pub(crate) use past::Known;
pub use past::{Deeds, Measured, Past};
pub use supposed::Supposed;
pub(crate) use verdict::hex;
pub use verdict::{Ask, Decided, DiffDecided, Grant, Refusal};

/// Name of the capability of hosts that run a command on the machine itself, confined to its permit.
pub const CONFINES: &str = "direct.landlock";

/// Name of the capability of hosts that measure what their tools change. One that says that it is not
/// available is asked for nothing that changes something before a person agreed.
pub const OBSERVES: &str = "observe.effects";

/// Name of the capability of hosts that run commands although nothing confines or observes them.
pub const UNCONFINED: &str = "execute.unconfined";

/// What a decision rests on beside the action itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who acts.
    pub actor: &'a Actor,
    /// The agent's level; `None` when a person calls under their own name. An agent without a
    /// level is treated as one at `ask`, and a level without an agent is ignored.
    pub level: Option<AutonomyLevel>,
    /// The host it would run on, as it said of itself.
    pub host: &'a Host,
    /// What was refused to the agent's run or session before.
    pub denied: &'a [Denied],
    /// What the run or session did before.
    pub past: &'a Past,
}

impl Facts<'_> {
    /// The level that applies; `None` for a person.
    pub(crate) fn effective_level(&self) -> Option<AutonomyLevel> {
        if self.actor.agent.is_empty() {
            return None;
        }
        Some(match self.level {
            None | Some(AutonomyLevel::Unspecified) => AutonomyLevel::Ask,
            Some(level) => level,
        })
    }
}

/// Decides about a proposal before anything runs.
///
/// Every predicted and every declared effect is authorised. The first row that fits wins:
///
/// | what is found | answer |
/// |---|---|
/// | policy cannot be evaluated | refuse, `POLICY_ERROR` |
/// | the floor or a hard forbid on a certain point | refuse, `FLOOR_DENIED`, `POLICY_DENIED` |
/// | a certain effect that nothing permits | refuse, `NOT_PERMITTED` |
/// | a certain change or contact that is not declared | refuse, `UNDECLARED_EFFECT` |
/// | a command on a host that confines none, or anything but a look on one that measures nothing | ask first (at level `shadow`: refuse) |
/// | a contact by name or address on a host that cannot open just that | refuse, `PREVIEW_UNAVAILABLE` |
/// | an effect that no private copy can hold back | ask first (at level `shadow`: refuse) |
/// | a look that policy holds | ask first |
/// | a native tool that only looks | run |
/// | a native tool, all permitted for certain, above level `ask` or a person | run |
/// | a command of an agent at level `auto`, all foreseen, declared, containable and permitted for certain, on a host that confines | run, confined |
/// | the same in person or at level `auto`, with processes that stay, once they were asked about | run, confined |
/// | the rest | preview, then [`decide_observed`] |
pub fn decide(engine: &Engine, validated: &Validated, prediction: &Prediction, facts: &Facts<'_>) -> Decided {
    table::decide(engine, validated, prediction, facts)
}

/// What a caller who knew the prediction would declare: everything that is certain, and of the rest what
/// policy permits. So a command can be decided about of which nobody said what it is for.
pub fn declaration(
    engine: &Engine,
    validated: &Validated,
    prediction: &Prediction,
    facts: &Facts<'_>,
) -> Vec<ExpectedEffect> {
    declaration::of(engine, validated, prediction, facts)
}

/// Decides about what a preview showed, before anything changes. The first row that fits wins:
///
/// | what is found | answer |
/// |---|---|
/// | the report does not fit its digest, is truncated, or policy cannot be evaluated | refuse |
/// | the floor, a hard forbid or no permit for an observed effect | refuse: nobody can approve it |
/// | no change, nothing unobserved; contacts were asked about before they were made | nothing to commit |
/// | level `shadow` | never commits |
/// | beyond the declaration, held by policy, unobserved, or level `ask` | ask with the diff |
/// | a deleted or moved tree whose notable entries nobody listed | ask with the diff |
/// | the rest | commit |
pub fn decide_observed(
    engine: &Engine,
    validated: &Validated,
    prediction: &Prediction,
    observation: &Observation,
    facts: &Facts<'_>,
) -> DiffDecided {
    observed::decide(engine, validated, prediction, observation, facts)
}
