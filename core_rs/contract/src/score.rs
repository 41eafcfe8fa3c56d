//! Scoring a call on three axes: validity, success, side effects (DESIGN §6).

use std::sync::LazyLock;

use crate::effect::{Class, Effect, class, kind_name};
use crate::path::{PathPattern, is_beneath, unescape};
use crate::reason;
use crate::v1::{
    EffectKind, Error, FileState, FileType, Observation, ObservedEffect, PermittedEffect, Reason, Score, Severity,
    SideEffect, ToolResult,
};

/// What a score rests on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Was the call well formed, and did it declare what it certainly does?
    pub valid: bool,
    /// Was it valid at its author's first attempt?
    pub first_attempt: bool,
    /// Did the tool succeed and every declared effect come true? `None` if nothing ran.
    pub success: Option<bool>,
    /// What was observed beyond what was permitted.
    pub side_effects: &'a [SideEffect],
    /// What was measured.
    pub observation: &'a Observation,
}

/// The score of a call.
#[must_use]
pub fn score(evidence: &Evidence<'_>) -> Score {
    let severity = evidence.side_effects.iter().map(SideEffect::severity).max().unwrap_or(Severity::None);
    let unobserved = evidence.observation.truncated
        || evidence.observation.unobserved.iter().any(|it| class(it.kind()) != Class::Look);
    Score {
        validity: f64::from(u8::from(evidence.valid)),
        success: evidence.success.map(|success| f64::from(u8::from(success))),
        side_effects: u32::try_from(evidence.side_effects.len()).unwrap_or(u32::MAX),
        side_effect_weight: evidence.side_effects.iter().map(|it| weight(it.severity())).sum(),
        severity: severity.into(),
        clean: evidence.valid
            && evidence.first_attempt
            && evidence.success == Some(true)
            && evidence.side_effects.is_empty()
            && !unobserved,
    }
}

/// The score of a call that was refused before anything ran.
#[must_use]
pub fn refused(valid: bool) -> Score {
    score(&Evidence {
        valid,
        first_attempt: true,
        success: None,
        side_effects: &[],
        observation: &Observation::default(),
    })
}

/// Is this a reason of a call that is not well formed or does not declare what it does? A conflict of
/// keys is not: a runtime mints them.
#[must_use]
pub fn is_malformed(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::MalformedJson
            | Reason::InvalidArguments
            | Reason::InvalidAction
            | Reason::InvalidEffect
            | Reason::ArgumentsTooLarge
            | Reason::MalformedCommand
            | Reason::UnknownTool
            | Reason::UnknownHost
            | Reason::UndeclaredEffect
    )
}

/// Weight of one side effect in the weighted sum.
#[must_use]
pub fn weight(severity: Severity) -> f64 {
    match severity {
        Severity::None => 0.0,
        Severity::Low => 1.0,
        Severity::Medium => 3.0,
        Severity::High => 10.0,
        Severity::Critical => 30.0,
    }
}

/// Observed changes and contacts that no permitted effect covers, or that exceed its count, on a host with these
/// workspaces.
#[must_use]
pub fn side_effects(
    permitted: &[PermittedEffect],
    observation: &Observation,
    workspaces: &[String],
) -> Vec<SideEffect> {
    let mut changes = observation.effects.iter().filter(|it| class(it.kind()) != Class::Look).peekable();
    if changes.peek().is_none() {
        return Vec::new();
    }
    // A permit that does not parse permits nothing.
    let mut permitted: Vec<_> = permitted.iter().filter_map(|it| Effect::try_from(it).ok()).collect();
    if permitted.len() > 1 {
        // Where regions overlap, the narrow one is used up first: the wide one may be needed elsewhere.
        let held_by =
            |effect: &Effect| permitted.iter().filter(|wide| wide.covers(effect.kind, effect.reach())).count();
        let widths: Vec<usize> = permitted.iter().map(held_by).collect();
        let mut order: Vec<usize> = (0..permitted.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(widths[*at]));
        permitted = order.into_iter().map(|at| permitted[at].clone()).collect();
    }
    let mut room: Vec<Option<u64>> = permitted.iter().map(|it| it.max_count.map(u64::from)).collect();
    let mut beyond = Vec::new();
    for observed in changes {
        let places: Vec<usize> = (0..permitted.len()).filter(|at| permitted[*at].covers_observed(observed)).collect();
        let why = match places.last() {
            None if is_replacement(&permitted, observed) => continue,
            None => "nothing permitted covers it".to_owned(),
            Some(widest) => {
                let left = use_up(&mut room, &places, observed.count.max(1));
                let Some(max) = permitted[*widest].max_count.filter(|_| left > 0) else { continue };
                format!("{left} more than the {max} that `{}` permits", permitted[*widest])
            }
        };
        beyond.push(SideEffect {
            effect: Some(observed.clone()),
            severity: severity(observed, workspaces).into(),
            why,
        });
    }
    beyond
}

/// Is it what a deletion and a creation at the same path leave behind, both of them among these and uncounted? What
/// is observed is the difference between before and after, which shows such a pair as a change.
fn is_replacement(among: &[Effect], observed: &ObservedEffect) -> bool {
    let both = [EffectKind::FileDelete, EffectKind::FileCreate];
    matches!(observed.kind(), EffectKind::FileModify | EffectKind::FileChmod | EffectKind::FileChown)
        && both
            .iter()
            .all(|kind| among.iter().any(|it| it.kind == *kind && it.max_count.is_none() && it.reaches(observed)))
}

/// Takes a count from the room at these places. What is left found none.
fn use_up(room: &mut [Option<u64>], places: &[usize], mut count: u64) -> u64 {
    if places.iter().any(|at| room[*at].is_none()) {
        return 0;
    }
    for at in places {
        if let Some(room) = &mut room[*at] {
            let taken = count.min(*room);
            *room -= taken;
            count -= taken;
        }
    }
    count
}

/// Did the tool succeed, and did every declared effect come true within its counts?
///
/// A deleted tree counts with its entries. Looks need not come true: hosts do not measure them. Of a kind that
/// the host could not observe nobody knows that it is missing; the call is not clean.
///
/// # Errors
/// COMMAND_FAILED or the tool's own error; EFFECT_MISSING with the effect and what was seen.
pub fn check_success(declared: &[Effect], observation: &Observation, result: &ToolResult) -> Result<(), Error> {
    if !result.ok {
        let failed = || reason::error(Reason::CommandFailed, "the tool reported failure");
        return Err(result.error.clone().unwrap_or_else(failed));
    }
    let is_unseen = |kind: EffectKind| observation.unobserved.iter().any(|unseen| unseen.kind() == kind);
    for (index, effect) in declared.iter().enumerate().filter(|(_, it)| class(it.kind) == Class::Change) {
        let is_half_of = |it: &ObservedEffect| {
            matches!(effect.kind, EffectKind::FileDelete | EffectKind::FileCreate)
                && it.kind() == EffectKind::FileModify
                && effect.reaches(it)
                && is_replacement(declared, it)
        };
        let came_true = observation.effects.iter().filter(|it| effect.covers_observed(it) || is_half_of(it));
        let seen: u64 = came_true.map(|it| it.count.max(1)).sum();
        let most = effect.max_count.map_or(u64::MAX, u64::from);
        let is_missing = seen < u64::from(effect.min_count) && !is_unseen(effect.kind);
        if is_missing || seen > most {
            let expected = match effect.max_count {
                Some(max) => format!("{} to {max}", effect.min_count),
                None => format!("at least {}", effect.min_count),
            };
            let message = format!("`{effect}` was expected {expected} times and observed {seen} times");
            let pointer = format!("/expect/{index}");
            let error = reason::error(Reason::EffectMissing, message);
            return Err(match u32::try_from(seen) {
                // The declaration gets no wider: it asks for less, or for nothing. Taken out it may be missed before
                // the action runs, which could have had the effect.
                Ok(seen) if is_missing => error
                    .fix_arguments(&format!("{pointer}/min_count"), "as often as the effect happens")
                    .by(reason::value(seen)),
                _ => error.fix_arguments(&pointer, "an effect that the action has, as often as it has it"),
            });
        }
    }
    Ok(())
}

/// Paths whose loss or change takes a machine or its secrets down.
const CRITICAL: &[&str] = &[
    "/",
    "/etc/**",
    "/usr/**",
    "/bin/**",
    "/sbin/**",
    "/lib/**",
    "/lib64/**",
    "/boot/**",
    "/dev/**",
    "/proc/**",
    "/sys/**",
    "/var/lib/**",
    "/**/.ssh/**",
    "/**/.aws/**",
    "/**/.gnupg/**",
    "/**/.kube/**",
];
/// Directories that anybody may fill and empty.
const SCRATCH: &[&str] = &["/tmp", "/var/tmp"];
/// Paths that hold what cannot be built again.
const PRECIOUS: &[&str] = &[
    "/**/*.db",
    "/**/*.db-*",
    "/**/*.sqlite*",
    "/**/data/**",
    "/**/.git/**",
    "/**/.env",
    "/**/*.pem",
    "/**/*.key",
    "/**/backup*/**",
    "/root/**",
    "/home/**",
    "/var/**",
];

/// How bad an effect is that nobody permitted, on a host with these workspaces. Outside of them it is as bad as on
/// something precious inside: what lies there was given to no agent.
///
/// | | in a workspace or `/tmp` | outside, or precious (data, history, homes) | critical (system, credentials) |
/// |---|---|---|---|
/// | create, rename's target | low | medium | high |
/// | modify, chmod, chown, rename | medium | high | critical |
/// | delete | medium, a tree high | high, irreversible critical | critical |
/// | other changes and contacts | high | | |
///
/// A file that gains set-user-id or set-group-id is high at least, wherever it is.
#[must_use]
pub fn severity(observed: &ObservedEffect, workspaces: &[String]) -> Severity {
    use EffectKind as K;
    let kind = observed.kind();
    if class(kind) == Class::Look {
        return Severity::None;
    }
    let is_file =
        matches!(kind, K::FileCreate | K::FileModify | K::FileDelete | K::FileRename | K::FileChmod | K::FileChown);
    let rank = match unescape(&observed.target) {
        Ok(path) if is_file => rank(&path, kind == K::FileDelete, workspaces),
        _ => return Severity::High,
    };
    let by_place = match (kind, rank) {
        (K::FileCreate, 0) => Severity::Low,
        (K::FileCreate, 1) => Severity::Medium,
        (K::FileCreate, _) => Severity::High,
        (K::FileDelete, 0) if observed.count <= 1 => Severity::Medium,
        (K::FileDelete, 0) => Severity::High,
        (K::FileDelete, 1) if observed.reversible => Severity::High,
        (_, 0) => Severity::Medium,
        (K::FileDelete, _) => Severity::Critical,
        (_, 1) => Severity::High,
        _ => Severity::Critical,
    };
    if gains_privilege(observed) { by_place.max(Severity::High) } else { by_place }
}

/// Does a file begin to run as its owner or group (set-user-id, set-group-id), whoever starts it?
fn gains_privilege(observed: &ObservedEffect) -> bool {
    const SET_ID: u32 = 0o6000;
    let Some(change) = &observed.file else { return false };
    let set = |state: Option<&FileState>| {
        state.filter(|it| it.r#type() == FileType::Regular).map_or(0, |it| it.mode & SET_ID)
    };
    set(change.after.as_ref()) & !set(change.before.as_ref()) != 0
}

/// 2 for a critical path, 1 for a precious one or one outside. What is deleted takes along what lies beneath.
fn rank(path: &[u8], takes_tree: bool, workspaces: &[String]) -> u8 {
    static REGIONS: LazyLock<[Vec<PathPattern>; 2]> = LazyLock::new(|| {
        let region = |text: &&str| PathPattern::parse(text, None, None).expect("the table holds patterns");
        [CRITICAL.iter().map(region).collect(), PRECIOUS.iter().map(region).collect()]
    });
    let [critical, precious] = &*REGIONS;
    // Directories at which a region begins; `**` at the start of one begins anywhere.
    let beneath =
        |region: &PathPattern| takes_tree && region.literal_root() != b"/" && is_beneath(region.literal_root(), path);
    let within = |regions: &[PathPattern]| regions.iter().any(|region| region.covers(path) || beneath(region));
    let mut given = workspaces.iter().map(|workspace| workspace.trim_end_matches('/')).chain(SCRATCH.iter().copied());
    let is_given = given.any(|directory| is_beneath(path, directory.as_bytes()));
    if within(critical) { 2 } else { u8::from(within(precious) || !is_given) }
}

/// One line about a side effect, for people.
#[must_use]
pub fn describe(side_effect: &SideEffect) -> String {
    let effect = side_effect.effect.clone().unwrap_or_default();
    format!("{}:{} ({})", kind_name(effect.kind()), effect.target, side_effect.why)
}

#[cfg(test)]
mod tests;
