//! The declaration of a caller who foresees exactly what we do.

use cmdop_contract::v1::{ExpectedEffect, Prediction};
use cmdop_contract::validate::Validated;

use super::Facts;
use super::assess::{Assessment, Finding};
use super::table::is_sink;
use crate::engine::Engine;

pub(super) fn of(
    engine: &Engine,
    validated: &Validated,
    prediction: &Prediction,
    facts: &Facts<'_>,
) -> Vec<ExpectedEffect> {
    // Where policy cannot be asked the decision says so.
    let Ok(found) = Assessment::of(engine, validated, prediction, 0, facts) else { return Vec::new() };
    let is_worth_it = |finding: &&Finding| !finding.is_look() && !is_sink(finding);
    let is_meant = |finding: &&Finding| finding.certain || finding.is_harmless();
    let meant = found.findings.iter().filter(is_worth_it).filter(is_meant);
    meant
        .map(|finding| ExpectedEffect {
            kind: finding.kind.into(),
            target: finding.target.to_string(),
            min_count: Some(0),
            ..ExpectedEffect::default()
        })
        .collect()
}
