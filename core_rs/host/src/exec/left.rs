//! What still ran when a command had ended, from what init saw.

use cmdop_contract::v1::{EffectKind, ObservedEffect};

use crate::sandbox::{Left, Told};
use crate::spawned::{Started, words};

/// Everything that was killed with its command, once for each that is different.
pub(super) fn ended(told: &Told) -> Vec<ObservedEffect> {
    let mut ended: Vec<(Started, u64)> = Vec::new();
    for process in &told.left {
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

fn started(left: &Left) -> Started {
    let (arguments, is_truncated) = words(left.arguments.clone());
    Started { program: left.program.clone(), arguments, is_truncated, ..Started::default() }
}
