//! Exact effects of the shipped tools that run no command.

use cmdop_contract::effect::is_containable;
use cmdop_contract::path::PathPattern;
use cmdop_contract::v1::{EffectKind, PredictedEffect, Prediction};
use cmdop_contract::validate::Validated;

pub(super) fn predict(validated: &Validated) -> Prediction {
    let tool = validated.tool().name();
    if tool == "files.undo" {
        let why = "what an undo restores is what the host kept of that call".to_owned();
        return Prediction { unanalysable: vec![why], ..Prediction::default() };
    }
    let Some(path) = validated.text("path").filter(|path| path.starts_with('/')) else {
        return unknown(tool);
    };
    let pattern = PathPattern::literal(path.as_bytes());
    let recursive = validated.arguments().get("recursive").and_then(serde_json::Value::as_bool) == Some(true);
    let write: &[EffectKind] = match validated.arguments().get("mode") {
        None => &[EffectKind::FileCreate, EffectKind::FileModify],
        Some(_) => &[EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileChmod],
    };
    let (kinds, certain, pattern): (&[EffectKind], bool, PathPattern) = match tool {
        "files.read" => (&[EffectKind::FileRead], true, pattern),
        "files.list" => (&[EffectKind::FileRead], true, if recursive { pattern.tree() } else { pattern }),
        // Which of them it is depends on the file that is there.
        "files.write" => (write, false, pattern),
        "files.delete" => (&[EffectKind::FileDelete], true, pattern),
        _ => return unknown(tool),
    };
    let effects = kinds.iter().map(|kind| PredictedEffect {
        kind: (*kind).into(),
        target: pattern.to_string(),
        certain,
        source: format!("{tool} {path}"),
        containable: is_containable(*kind),
    });
    Prediction { effects: effects.collect(), ..Prediction::default() }
}

fn unknown(tool: &str) -> Prediction {
    Prediction { unanalysable: vec![format!("nobody knows what `{tool}` does")], ..Prediction::default() }
}
