//! Whether an action may run, and whether what it did to a private copy may be committed.

use cmdop_contract::v1::{Actor, AutonomyLevel, Host};

mod verdict;

pub use verdict::{Ask, Decided, DiffDecided, Grant, Refusal};

/// What a decision rests on beside the action itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who acts.
    pub actor: &'a Actor,
    /// The agent's level; `None` when a person calls under their own name. An agent without a
    /// level is treated as one at `ask`.
    pub level: Option<AutonomyLevel>,
    /// The host it would run on, as it said of itself.
    pub host: &'a Host,
}
