//! The declaration of an action: effects of the effect language, each once.

use super::{Limits, Violations, abridge};
use crate::effect::{Base, Effect, KINDS, Target, meant_kind};
use crate::path::TargetError;
use crate::reason::{self, Change};
use crate::v1::{Action, EffectKind, ExpectedEffect, Reason};

/// Ports that are known by a name.
const PORTS: &[(&str, u16)] =
    &[("http", 80), ("https", 443), ("ssh", 22), ("ftp", 21), ("postgres", 5432), ("redis", 6379)];

pub(super) fn check(action: &Action, base: &Base<'_>, limits: &Limits, found: &mut Violations) -> Vec<Effect> {
    if action.expect.len() > limits.expected_effects {
        let expected = format!("at most {} effects; use patterns", limits.expected_effects);
        found.add(Reason::InvalidEffect, "/expect", &expected, &format!("{} effects", action.expect.len()));
        return Vec::new();
    }
    let mut declared: Vec<Effect> = Vec::with_capacity(action.expect.len());
    for (index, expected) in action.expect.iter().enumerate() {
        let at = format!("/expect/{index}");
        let mut add = |place: &str, expected: &str, shown: &str, change: Option<Change>| {
            found.add_mended(Reason::InvalidEffect, &format!("{at}{place}"), expected, shown, change);
        };
        if expected.target.len() > limits.target_bytes {
            let expectation = format!("at most {} bytes; use a pattern", limits.target_bytes);
            add("/target", &expectation, &abridge::stand_in(&expected.target), None);
            continue;
        }
        if EffectKind::try_from(expected.kind).is_err() || expected.kind() == EffectKind::Unspecified {
            let meant = meant_kind(&expected.unknown_kind).map(reason::value);
            add("/kind", &expected_kind(&expected.unknown_kind), &found_kind(expected), meant);
            continue;
        }
        match Effect::parse(expected, base) {
            Ok(effect) => match declared.iter().find(|it| it.kind == effect.kind && it.target == effect.target) {
                Some(twin) => {
                    // With other counts only the author knows which were meant.
                    let is_same = (twin.min_count, twin.max_count) == (effect.min_count, effect.max_count);
                    add("", "each effect once", &effect.to_string(), is_same.then_some(Change::Remove(true)));
                }
                None => declared.push(effect),
            },
            // The least is taken down to the most: the declaration gets no wider.
            Err(error @ TargetError::Counts { min, max }) => {
                add("/min_count", &told(&error), &min.to_string(), Some(reason::value(max)));
            }
            Err(error) => {
                let parses = |text: &String| Target::parse(expected.kind(), text, base).is_ok();
                let meant = meant_target(&expected.target, &error).filter(parses).map(reason::value);
                let shown = if expected.target.is_empty() { "nothing" } else { &expected.target };
                add("/target", &told(&error), shown, meant);
            }
        }
    }
    declared
}

/// What should stand there, what is wrong with what does, and how to mend it.
fn told(error: &TargetError) -> String {
    format!("{}: {error}", error.expected())
}

/// The target that a text can only mean.
fn meant_target(text: &str, error: &TargetError) -> Option<String> {
    match error {
        TargetError::BadPid { .. } => {
            let number: u32 = text.strip_prefix("pid:")?.trim().parse().ok()?;
            Some(format!("pid:{number}"))
        }
        TargetError::NoPort { .. } | TargetError::BadHost { .. } | TargetError::BadPort { .. } => endpoint(text),
        TargetError::BadName { .. } => Some(text.trim().to_owned()),
        TargetError::Nul => Some(text.trim_end_matches('\0').to_owned()),
        TargetError::DanglingEscape => Some(format!("{text}\\")),
        TargetError::Relative { .. } => text.strip_prefix("file://").or(Some(text.trim_start())).map(str::to_owned),
        _ => None,
    }
}

/// `host:port` of an address of the web, or with a port by its name.
fn endpoint(text: &str) -> Option<String> {
    let port = |name: &str| PORTS.iter().find(|(known, _)| *known == name).map(|(_, port)| *port);
    if let Some((scheme, rest)) = text.trim().split_once("://") {
        let authority = rest.split(['/', '?', '#']).next()?;
        let authority = authority.rsplit('@').next()?;
        let ends_in_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        return if ends_in_port { Some(authority.to_owned()) } else { Some(format!("{authority}:{}", port(scheme)?)) };
    }
    let (host, name) = text.trim().rsplit_once(':')?;
    Some(format!("{host}:{}", port(name).map_or_else(|| name.to_owned(), |port| port.to_string())))
}

/// The kinds that may be declared, and the one that was likely meant.
fn expected_kind(given: &str) -> String {
    let listed: Vec<&str> = KINDS.iter().map(|(_, name)| *name).collect();
    let meant = meant_kind(given).map_or(";".to_owned(), |kind| format!("; did you mean `{kind}`?"));
    format!("a kind of effect{meant} there are {}", listed.join(", "))
}

fn found_kind(expected: &ExpectedEffect) -> String {
    match (expected.unknown_kind.as_str(), expected.kind) {
        ("", 0) => "no kind".to_owned(),
        ("", number) => format!("the number {number}"),
        (text, _) => format!("`{}`", abridge::quoted(text)),
    }
}
