//! What still ran when a command had ended, from what init saw.

use cmdop_contract::score;
use cmdop_contract::v1::{EffectKind, Observation, ObservedEffect, PermittedEffect};

use crate::sandbox::{Left, Told};
use crate::spawned::{Started, words};

/// Which of them may stay by a permit, by their numbers in their own namespace.
pub(super) fn choose(left: &[Left], permitted: &[PermittedEffect]) -> Vec<i32> {
    let mut staying = Observation::default();
    let mut may_stay = |process: &&Left| {
        staying.effects.push(started(process).effect(EffectKind::ProcessLeaveRunning, 1, 0));
        let is_permitted = score::side_effects(permitted, &staying, &[]).is_empty();
        if !is_permitted {
            staying.effects.pop();
        }
        is_permitted
    };
    left.iter().filter(|process| may_stay(process)).map(|process| process.pid).collect()
}

/// Everything that was killed with its command, once for each that is different.
pub(super) fn ended(told: &Told, stay: &[i32]) -> Vec<ObservedEffect> {
    let mut ended: Vec<(Started, u64)> = Vec::new();
    for process in told.left.iter().filter(|process| !stay.contains(&process.pid)) {
        let process = started(process);
        match ended.iter_mut().find(|(known, _)| *known == process) {
            Some((_, count)) => *count += 1,
            None => ended.push((process, 1)),
        }
    }
    let kind = EffectKind::ProcessLeaveRunning;
    let rest = (told.more_left > 0).then(|| ObservedEffect {
        kind: kind.into(),
        target: "*".to_owned(),
        count: told.more_left,
        ..ObservedEffect::default()
    });
    ended.iter().map(|(process, count)| process.effect(kind, *count, 0)).chain(rest).collect()
}

pub(super) fn started(left: &Left) -> Started {
    let (arguments, is_truncated) = words(left.arguments.clone());
    Started { program: left.program.clone(), arguments, is_truncated, ..Started::default() }
}
