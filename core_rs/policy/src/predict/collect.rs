//! Gathers effects and reasons, each once, every target absolute.

use std::collections::BTreeMap;

use cmdop_contract::effect::{Base, Target, is_containable};
use cmdop_contract::path::PathPattern;
use cmdop_contract::v1::{EffectKind, Invocation, PredictedEffect, Prediction};

use crate::shell::PRIVATE_DIRECTORY;

/// Most effects of one action.
const MAX_EFFECTS: usize = 4_096;

/// Most reasons; more say nothing new.
const MAX_REASONS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Collected {
    effects: Vec<PredictedEffect>,
    /// Places of effects by kind and target.
    places: BTreeMap<(i32, String), usize>,
    unanalysable: Vec<String>,
}

impl Collected {
    /// Notes why the effects cannot be known, and of what.
    pub(super) fn unanalysable(&mut self, source: &str, why: &str) {
        let reason = if source.is_empty() { why.to_owned() } else { format!("`{source}`: {why}") };
        if self.unanalysable.len() < MAX_REASONS && !self.unanalysable.contains(&reason) {
            self.unanalysable.push(reason);
        }
    }

    /// An effect of the shell itself.
    pub(super) fn resolved(&mut self, mut effect: PredictedEffect, certain: bool) {
        effect.certain &= certain;
        self.add(effect);
    }

    /// An effect that someone says an invocation has. A target that is none makes it unanalysable.
    pub(super) fn judged(&mut self, effect: PredictedEffect, invocation: &Invocation) {
        let kind = effect.kind();
        let target = Target::parse(kind, &effect.target, &Base::default());
        match target {
            Ok(target) if kind != EffectKind::Unspecified => self.add(PredictedEffect {
                kind: kind.into(),
                target: target.to_string(),
                certain: effect.certain && invocation.certain,
                source: invocation.source.clone(),
                containable: is_containable(kind),
                recoverable: effect.recoverable,
            }),
            Ok(_) => self.unanalysable(&invocation.source, "it was judged to have an effect without a kind"),
            Err(error) => {
                let why =
                    format!("it was judged to have an effect on `{}`, which is no target: {error}", effect.target);
                self.unanalysable(&invocation.source, &why);
            }
        }
    }

    /// The same effect twice is certain if either is, and recoverable if both are.
    fn add(&mut self, effect: PredictedEffect) {
        if is_private(&effect) {
            return;
        }
        let key = (effect.kind, effect.target.clone());
        if let Some(place) = self.places.get(&key) {
            let known = &mut self.effects[*place];
            let recoverable = known.recoverable && effect.recoverable;
            if effect.certain && !known.certain {
                *known = effect;
            }
            known.recoverable = recoverable;
            return;
        }
        if self.effects.len() >= MAX_EFFECTS {
            return self.unanalysable("", &format!("the action has more than {MAX_EFFECTS} effects"));
        }
        self.places.insert(key, self.effects.len());
        self.effects.push(effect);
    }

    pub(super) fn into_prediction(self) -> Prediction {
        Prediction { effects: self.effects, unanalysable: self.unanalysable, vocabulary_version: String::new() }
    }
}

/// Is it about a file that nobody but the command itself ever sees?
fn is_private(effect: &PredictedEffect) -> bool {
    let Ok(target) = Target::parse(effect.kind(), &effect.target, &Base::default()) else { return false };
    target.as_path().is_some_and(|region| {
        let root = PathPattern::literal(PRIVATE_DIRECTORY.as_bytes());
        root.tree().covers_pattern(region)
    })
}
