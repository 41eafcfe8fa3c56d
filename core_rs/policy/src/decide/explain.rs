//! Decisions in words, for the person who reads them and the machine that follows the remedy.

use cmdop_contract::effect::{Class as EffectClass, class, kind_name};
use cmdop_contract::reason;
use cmdop_contract::v1::{EffectKind, EffectSource, Error, ExpectedEffect, PolicyRef, Prediction, Reason, Stage};
use cmdop_contract::validate::Validated;

use super::Facts;
use super::assess::{Assessment, Finding, policies};
use super::bound::is_bound;
use crate::engine::{Engine, Subject, Verdict, is_floor};

/// Effects of one refusal that bind, and their bytes together: an error stays small enough to be told.
const BOUND: usize = 64;
const BOUND_BYTES: usize = 32 * 1_024;

/// More examples than this are counted, not named.
const NAMED: usize = 3;

/// Names up to three and counts the rest.
pub(super) fn list(names: &[String]) -> String {
    let mut distinct: Vec<&String> = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    let shown: Vec<&str> = distinct.iter().take(NAMED).map(|name| name.as_str()).collect();
    match distinct.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What of a call binds its run from now on.
fn refused(findings: &[&Finding]) -> Vec<String> {
    bounded(findings.iter().map(|finding| finding.text()))
}

/// The first of these, as many as a refusal names.
pub(super) fn bounded(effects: impl Iterator<Item = String>) -> Vec<String> {
    let mut bytes = 0;
    let fits = |effect: &String| {
        bytes += effect.len();
        bytes <= BOUND_BYTES
    };
    effects.take(BOUND).take_while(fits).collect()
}

fn texts(findings: &[&Finding]) -> String {
    list(&findings.iter().map(|finding| finding.text()).collect::<Vec<_>>())
}

/// `policy `x` forbids file.delete:/etc: reason`, for the first policy; its remedy has a place of its own.
pub(super) fn rule(policy: &PolicyRef, verb: &str) -> String {
    format!("policy `{}` {verb} {}: {}", policy.id, policy.effect, policy.reason)
}

pub(super) fn forbidden(engine: &Engine, found: &Assessment<'_>, findings: &[&Finding], facts: &Facts<'_>) -> Error {
    let policies = policies(findings.iter().map(|finding| &finding.verdict));
    let reason = denied(&policies);
    let said = policies.first().map_or_else(|| texts(findings), |policy| rule(policy, "forbids"));
    if is_bound(&policies) {
        return reason::error(reason, said).policies(policies);
    }
    let refused = refused(findings);
    let message = format!("{said}{}", workspaces(findings, facts));
    let kinds = kinds(findings);
    let error = Error { refused, ..reason::error(reason, message).policies(policies) };
    narrow(error, engine, found, &kinds, &texts(findings))
}

/// Why what these policies forbid is refused.
pub(super) fn denied(policies: &[PolicyRef]) -> Reason {
    if policies.iter().any(is_floor) {
        Reason::FloorDenied
    } else if is_bound(policies) {
        Reason::DeniedBefore
    } else {
        Reason::PolicyDenied
    }
}

pub(super) fn not_permitted(
    engine: &Engine,
    found: &Assessment<'_>,
    findings: &[&Finding],
    facts: &Facts<'_>,
) -> Error {
    let message = format!(
        "no policy permits {}; aim at less or ask for a policy that permits it{}",
        texts(findings),
        workspaces(findings, facts)
    );
    let error = Error { refused: refused(findings), ..reason::error(Reason::NotPermitted, message) };
    narrow(error, engine, found, &kinds(findings), &texts(findings))
}

/// Where changes are possible, said with every refused change of a file.
fn workspaces(findings: &[&Finding], facts: &Facts<'_>) -> String {
    let file_change = |finding: &&Finding| Subject::of(finding.kind) == Some(Subject::Path) && !finding.is_look();
    if !findings.iter().any(file_change) {
        return String::new();
    }
    match facts.host.workspaces.as_slice() {
        [] => format!(" (host `{}` has no workspaces)", facts.host.name),
        all => format!(" (workspaces of host `{}`: {})", facts.host.name, list(all)),
    }
}

fn kinds(findings: &[&Finding]) -> Vec<EffectKind> {
    findings.iter().map(|finding| finding.kind).collect()
}

/// What reaches too far and what policy allows instead; or that it allows nothing.
pub(super) fn narrow(
    error: Error,
    engine: &Engine,
    found: &Assessment<'_>,
    refused: &[EffectKind],
    predicted: &str,
) -> Error {
    match found.narrowed(engine, refused, predicted) {
        Some(narrow) => error.narrow_effect(narrow),
        None => error.stop(&format!("policy allows nothing instead of {predicted}")),
    }
}

pub(super) fn undeclared(missing: &[ExpectedEffect]) -> Error {
    let is_either = |effect: &&ExpectedEffect| effect.min_count == Some(0);
    let text = |effect: &ExpectedEffect| format!("{}:{}", kind_name(effect.kind()), effect.target);
    let names: Vec<String> = missing
        .iter()
        .map(|effect| {
            let pair = missing.iter().filter(is_either).filter(|other| other.target == effect.target);
            let both: Vec<String> = pair.map(text).collect();
            if is_either(&effect) && both.len() > 1 { format!("either {}", both.join(" or ")) } else { text(effect) }
        })
        .collect();
    let choice = if missing.iter().any(|effect| is_either(&effect)) {
        "; of an `either`, the one that happens is enough, or both with `min_count` 0"
    } else {
        ""
    };
    let message = format!(
        "the action certainly has effects that it does not declare: {}; add them to `expect` if they are meant{choice}",
        list(&names)
    );
    reason::error(Reason::UndeclaredEffect, message).declare_effect(missing.to_vec())
}

pub(super) fn shadowed(loose: &[&Finding]) -> Error {
    let message =
        format!("the agent's level is `shadow` and no private copy holds back {}; it was not tried", texts(loose));
    reason::error(Reason::ShadowOnly, message).policies(policies(loose.iter().map(|finding| &finding.verdict)))
}

pub(super) fn no_network(contacts: &[&Finding]) -> Error {
    let message = format!(
        "the host cannot open a network to exactly {}, and never opens a wider one; it was not run",
        texts(contacts)
    );
    let expected = format!("an action without {}", contacts[0].text());
    reason::error(Reason::PreviewUnavailable, message).fix_arguments("/arguments", &expected)
}

pub(super) fn irreversible(loose: &[&Finding]) -> String {
    format!("no private copy can hold back {}, so a person decides before it runs", texts(loose))
}

pub(super) fn held(findings: &[&Finding]) -> String {
    let policies = policies(findings.iter().map(|finding| &finding.verdict));
    policies.first().map_or_else(|| format!("policy holds {}", texts(findings)), |policy| rule(policy, "holds"))
}

pub(super) fn goes(validated: &Validated, stage: Stage, prediction: &Prediction, findings: &[Finding]) -> String {
    // Of a tool it is worked out what it would do; only a command is run.
    let first = match validated.tool().contract().effect_source() {
        EffectSource::Template => "is planned first, and nothing changes before the plan is decided about",
        _ => "runs on a private copy first",
    };
    match (stage, prediction.unanalysable.first()) {
        (Stage::Preview, Some(why)) => format!("what it does cannot be known beforehand ({why}), so it {first}"),
        (Stage::Preview, None) => match findings.iter().find_map(doubt) {
            Some(doubt) => format!("{doubt}, so it {first}"),
            None => format!("everything foreseen is permitted; it {first}"),
        },
        _ => "everything that it does is permitted".to_owned(),
    }
}

fn doubt(finding: &Finding) -> Option<String> {
    if class(finding.kind) == EffectClass::Look || finding.is_clear() {
        return None;
    }
    if finding.verdict.is_allowed() {
        finding.uncertain.as_ref()?;
        return Some(format!("what exactly {} reaches is seen only when it runs", finding.text()));
    }
    let said = match &finding.verdict {
        Verdict::Held(by) => rule(by.first()?, "holds"),
        Verdict::Forbidden(by) => rule(by.first()?, "would forbid"),
        _ => format!("no policy permits all of {}", finding.text()),
    };
    Some(said.trim_end_matches('.').to_owned())
}
