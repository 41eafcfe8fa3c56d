//! Exact effects of the shipped tools that run no command.

use cmdop_contract::derive::derive;
use cmdop_contract::effect::is_held_back;
use cmdop_contract::v1::{PredictedEffect, Prediction};
use cmdop_contract::validate::Validated;

pub(super) fn predict(validated: &Validated) -> Prediction {
    let tool = validated.tool().name();
    if tool == "files.undo" {
        let why = "what an undo restores is what the host kept of that call".to_owned();
        return Prediction { unanalysable: vec![why], ..Prediction::default() };
    }
    let Some(derived) = derive(tool, validated.arguments()) else { return unknown(tool) };
    let effects = derived.into_iter().map(|effect| PredictedEffect {
        kind: effect.kind.into(),
        target: effect.target.to_string(),
        certain: effect.certain,
        source: format!("{tool} {}", effect.target),
        containable: is_held_back(tool, effect.kind),
        recoverable: false,
    });
    Prediction { effects: effects.collect(), ..Prediction::default() }
}

fn unknown(tool: &str) -> Prediction {
    Prediction { unanalysable: vec![format!("nobody knows what `{tool}` does")], ..Prediction::default() }
}
