//! What a native tool is about to do stays within its permit, or nothing is done.

use cmdop_contract::score;
use cmdop_contract::v1::{DeclareEffect, ExpectedEffect, Observation, ObservedEffect, Reason, remedy};

use crate::Error;
use crate::admit::Admitted;

/// Compares what a tool is about to do with its permit.
///
/// # Errors
/// `EFFECT_NOT_PERMITTED` naming every effect that the permit does not cover.
pub(crate) fn within_permit(admitted: &Admitted, observation: &Observation) -> Result<(), Error> {
    let beyond = score::side_effects(&admitted.effects, observation, &[]);
    if beyond.is_empty() {
        return Ok(());
    }
    let effects: Vec<_> = beyond.into_iter().filter_map(|side| side.effect).collect();
    let named: Vec<_> = effects.iter().map(|effect| effect.target.as_str()).collect();
    let message = format!("it would change {}, which its permit does not cover; nothing was changed", named.join(", "));
    let declare = |effect: &ObservedEffect| ExpectedEffect {
        kind: effect.kind,
        target: effect.target.clone(),
        ..ExpectedEffect::default()
    };
    let remedy = remedy::Kind::DeclareEffect(DeclareEffect { effects: effects.iter().map(declare).collect() });
    Err(Error::with(Reason::EffectNotPermitted, message, remedy))
}
