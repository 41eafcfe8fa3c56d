//! The decision table before anything runs; its rows stand in `super::decide`.

use cmdop_contract::effect::{Effect, is_irreversible};
use cmdop_contract::v1::{
    AutonomyLevel, Decision, EffectKind, EffectSource, Error, ExpectedEffect, Idempotency, PermittedEffect,
    PolicyEffect, Prediction, Reason, Stage,
};
use cmdop_contract::validate::Validated;
use cmdop_contract::{reason, score};

use super::assess::{Assessment, Finding, Origin, policies};
use super::verdict::{Ask, Decided, Grant, Refusal};
use super::{Facts, blind, explain, masks, stakes};
use crate::engine::{Engine, Verdict};

/// What a host says that can do it.
const OPENS_NETWORK: &str = "network.permits";

pub(super) fn decide(engine: &Engine, validated: &Validated, prediction: &Prediction, facts: &Facts<'_>) -> Decided {
    let found = match Assessment::of(engine, validated, prediction, 0, facts) {
        Ok(found) => found,
        Err(why) => return Decided::Refuse(failed(engine, facts, &why)),
    };
    let findings = &found.findings;
    if let Some(refusal) = refused(engine, &found, facts) {
        return Decided::Refuse(refusal);
    }
    let undeclared = undeclared(validated, findings);
    if !undeclared.is_empty() {
        return Decided::Refuse(refuse(engine, facts, explain::undeclared(&undeclared)));
    }
    let digest = validated.action_digest();
    if let Some(blind) = blind::of(validated, findings, facts) {
        if let Some(refusal) = refused_blindly(engine, &found, facts) {
            return Decided::Refuse(refusal);
        }
        if facts.effective_level() == Some(AutonomyLevel::Shadow) {
            return Decided::Refuse(refuse(engine, facts, blind.shadowed(facts)));
        }
        let why = blind.why(findings, facts);
        let mut decision = ask(engine, facts, findings, Stage::Apply, &why);
        decision.masks = if blind.can_mask() { masks::of(&found, validated, prediction) } else { None };
        let lost: Vec<&Finding> =
            findings.iter().filter(|finding| !finding.is_look() && blind.takes_nothing_back(finding.kind)).collect();
        let lost = lost.into_iter().map(|finding| (finding.kind, finding.target.to_string()));
        let stakes = stakes::of(engine, &decision, lost);
        return Decided::Ask(Ask::before_execution(decision, digest, why).with_stakes(stakes));
    }
    let stage = stage(validated, prediction, findings, facts);
    let loose: Vec<&Finding> = findings.iter().filter(|finding| !finding.containable).collect();
    if !loose.is_empty() {
        if facts.effective_level() == Some(AutonomyLevel::Shadow) {
            let error = explain::shadowed(&loose);
            return Decided::Refuse(refuse(engine, facts, error));
        }
        if stage == Stage::Preview && lacks_network(facts) {
            let contacts = loose.iter().filter(|finding| finding.kind == EffectKind::NetConnect);
            let contacts: Vec<&Finding> = contacts.copied().collect();
            if !contacts.is_empty() {
                return Decided::Refuse(refuse(engine, facts, explain::no_network(&contacts)));
            }
        }
        let why = explain::irreversible(&loose);
        let mut decision = ask(engine, facts, findings, stage, &why);
        decision.masks = masks::of(&found, validated, prediction);
        return Decided::Ask(before_execution(engine, decision, digest, why, (findings, &loose)));
    }
    let looks: Vec<&Finding> = held(findings).filter(|finding| finding.is_look()).collect();
    if !looks.is_empty() {
        let why = explain::held(&looks);
        let mut decision = ask(engine, facts, findings, stage, &why);
        decision.masks = masks::of(&found, validated, prediction);
        return Decided::Ask(before_execution(engine, decision, digest, why, (findings, &[])));
    }
    let mut decision = outline(engine, facts, PolicyEffect::Allow);
    decision.policies = policies(findings.iter().map(|finding| &finding.verdict));
    decision.permitted = permitted(findings);
    decision.masks = masks::of(&found, validated, prediction);
    decision.stage = stage.into();
    decision.reason = explain::goes(validated, stage, prediction, findings);
    Decided::Go(Grant::new(decision, digest, None))
}

/// `loose` is what no private copy holds back.
fn before_execution(
    engine: &Engine,
    decision: Decision,
    digest: &str,
    why: String,
    (findings, loose): (&[Finding], &[&Finding]),
) -> Ask {
    let lost = loose.iter().filter(|finding| is_irreversible(finding.kind));
    let mut stakes = stakes::of(engine, &decision, lost.map(|finding| (finding.kind, finding.target.to_string())));
    let is_in_doubt = |finding: &&Finding| finding.uncertain.as_ref().is_some_and(|doubt| !doubt.is_allowed());
    let mut asked = loose.iter().copied().chain(held(findings)).peekable();
    let is_clear = asked.peek().is_some() && !loose.iter().any(is_in_doubt);
    stakes.asked = is_clear.then(|| asked.map(Finding::permitted).collect());
    Ask::before_execution(decision, digest, why).with_stakes(stakes)
}

/// What no person can lift: errors of evaluation, the floor, hard forbids, no permit.
///
/// A change that is only possible is left to the preview, whose observation is authorised for
/// certain; but never one that the floor refuses.
pub(super) fn refused(engine: &Engine, found: &Assessment<'_>, facts: &Facts<'_>) -> Option<Refusal> {
    let findings = &found.findings;
    if let Some(why) = findings.iter().find_map(|finding| match &finding.verdict {
        Verdict::Failed(why) => Some(why),
        _ => None,
    }) {
        return Some(failed(engine, facts, why));
    }
    let forbidden = |finding: &&Finding| match &finding.verdict {
        Verdict::Forbidden(by) => finding.certain || by.iter().any(crate::engine::is_floor),
        _ => false,
    };
    let forbidden: Vec<&Finding> = findings.iter().filter(forbidden).collect();
    if !forbidden.is_empty() {
        return Some(refuse(engine, facts, explain::forbidden(engine, found, &forbidden, facts)));
    }
    let not_permitted = |finding: &&Finding| finding.certain && matches!(finding.verdict, Verdict::NotPermitted);
    let not_permitted: Vec<&Finding> = findings.iter().filter(not_permitted).collect();
    if !not_permitted.is_empty() {
        return Some(refuse(engine, facts, explain::not_permitted(engine, found, &not_permitted, facts)));
    }
    None
}

/// What is only possible no preview will show, and what was done no report: nobody can look at it later.
fn refused_blindly(engine: &Engine, found: &Assessment<'_>, facts: &Facts<'_>) -> Option<Refusal> {
    let is_change = |finding: &&Finding| !finding.is_look() && !is_sink(finding);
    let changes: Vec<&Finding> = found.findings.iter().filter(is_change).collect();
    let of =
        |is: fn(&Finding) -> bool| -> Vec<&Finding> { changes.iter().copied().filter(|finding| is(finding)).collect() };
    let forbidden = of(|it| matches!(it.verdict, Verdict::Forbidden(_)));
    // Nor will anybody see whether what the run made still stands there.
    let not_permitted = of(|it| matches!(it.verdict, Verdict::NotPermitted) || it.is_foretold);
    let error = match (forbidden.is_empty(), not_permitted.is_empty()) {
        (true, true) => return None,
        (false, _) => explain::forbidden(engine, found, &forbidden, facts),
        _ => explain::not_permitted(engine, found, &not_permitted, facts),
    };
    Some(refuse(engine, facts, error))
}

/// Certain changes and contacts that the declaration does not cover, as declarations that would.
fn undeclared(validated: &Validated, findings: &[Finding]) -> Vec<ExpectedEffect> {
    let predicted: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.origin == Origin::Predicted && finding.certain && !finding.is_look())
        .filter(|finding| !is_sink(finding))
        .collect();
    uncovered(validated, &predicted)
}

/// Which of these the declaration does not cover, as declarations that would.
fn uncovered(validated: &Validated, predicted: &[&Finding]) -> Vec<ExpectedEffect> {
    let declared = validated.declared();
    let covered = |finding: &Finding| {
        let predicted = Effect::new(finding.kind, finding.target.clone());
        declared.iter().any(|effect| effect.covers(finding.kind, predicted.reach()))
    };
    let mut missing: Vec<ExpectedEffect> = Vec::new();
    for finding in predicted {
        // Of `>`, which creates or modifies, declaring one is enough.
        let other = |other: &&&Finding| other.either && other.target == finding.target && covered(other);
        if covered(finding) || (finding.either && predicted.iter().any(|candidate| other(&candidate))) {
            continue;
        }
        let effect = ExpectedEffect {
            kind: finding.kind.into(),
            target: finding.target.to_string(),
            min_count: finding.either.then_some(0),
            ..ExpectedEffect::default()
        };
        if !missing.contains(&effect) {
            missing.push(effect);
        }
    }
    missing
}

/// Writing to `/dev/null` or a terminal is no change that anyone could observe.
pub(super) fn is_sink(finding: &Finding) -> bool {
    let write = matches!(finding.kind, EffectKind::FileCreate | EffectKind::FileModify);
    write && crate::classes::is_sink(&finding.target)
}

/// Did the host say that it cannot open a network to what a permit names and to nothing else? Whoever
/// approved a contact there would approve what is refused.
fn lacks_network(facts: &Facts<'_>) -> bool {
    facts.host.capabilities.iter().any(|capability| capability.name == OPENS_NETWORK && !capability.available)
}

/// Where it runs first. A native tool's effects are exact enough to be had directly; a command is
/// held to its permit by the host, if that can.
fn stage(validated: &Validated, prediction: &Prediction, findings: &[Finding], facts: &Facts<'_>) -> Stage {
    let contract = validated.tool().contract();
    let native = contract.effect_source() == EffectSource::Template;
    if !prediction.unanalysable.is_empty() {
        return Stage::Preview;
    }
    if !native {
        return if is_confinable(validated, findings, facts) { Stage::Apply } else { Stage::Preview };
    }
    // What nothing holds back is asked about before it runs, so that a preview would only ask twice.
    let is_loose = findings.iter().any(|finding| !finding.containable);
    if contract.idempotency() == Idempotency::Pure || is_loose {
        return Stage::Apply;
    }
    let watched = matches!(
        facts.effective_level(),
        Some(AutonomyLevel::Shadow | AutonomyLevel::Ask | AutonomyLevel::Unspecified)
    );
    if watched || !findings.iter().all(Finding::is_clear) { Stage::Preview } else { Stage::Apply }
}

/// May a command run on the machine itself? Its agent is trusted with that, the host can confine it,
/// and everything that it may change are files that were declared and are permitted beyond doubt:
/// what a private copy would have shown afterwards is then known before.
///
/// What leaves a process running is asked about before, and nothing outlives a private copy: so it runs
/// directly in person, too.
fn is_confinable(validated: &Validated, findings: &[Finding], facts: &Facts<'_>) -> bool {
    let is_able = |name: &str| facts.host.capabilities.iter().any(|found| found.name == name && found.available);
    let changes: Vec<&Finding> = findings.iter().filter(|finding| !finding.is_look() && !is_sink(finding)).collect();
    let predicted: Vec<&Finding> =
        changes.iter().copied().filter(|finding| finding.origin == Origin::Predicted).collect();
    let is_trusted = match facts.effective_level() {
        None => findings.iter().any(stays),
        level => level == Some(AutonomyLevel::Auto),
    };
    let is_held = |finding: &Finding| stays(finding) && matches!(finding.verdict, Verdict::Held(_));
    is_trusted
        && is_able(super::CONFINES)
        && findings.iter().all(|finding| finding.is_harmless() || is_held(finding))
        && changes.iter().all(|finding| finding.containable || stays(finding))
        && uncovered(validated, &predicted).is_empty()
}

/// Is it a process that stays when its command has ended?
fn stays(finding: &Finding) -> bool {
    finding.kind == EffectKind::ProcessLeaveRunning
}

/// Effects that a person may permit.
pub(super) fn held(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Held(_)))
}

/// The declared regions, and the files that are looked at.
pub(super) fn permitted(findings: &[Finding]) -> Vec<PermittedEffect> {
    let mut permitted: Vec<PermittedEffect> = Vec::new();
    let declared = findings.iter().filter(|finding| finding.origin == Origin::Declared);
    let looks = findings.iter().filter(|finding| finding.kind == EffectKind::FileRead);
    for effect in declared.chain(looks).map(Finding::permitted) {
        if !permitted.contains(&effect) {
            permitted.push(effect);
        }
    }
    permitted
}

fn ask(engine: &Engine, facts: &Facts<'_>, findings: &[Finding], stage: Stage, why: &str) -> Decision {
    let mut decision = outline(engine, facts, PolicyEffect::RequireApproval);
    decision.policies = policies(held(findings).map(|finding| &finding.verdict));
    decision.permitted = permitted(findings);
    decision.stage = stage.into();
    decision.reason = why.to_owned();
    decision
}

pub(super) fn outline(engine: &Engine, facts: &Facts<'_>, effect: PolicyEffect) -> Decision {
    Decision {
        effect: effect.into(),
        policy_version: engine.version().to_owned(),
        level: facts.effective_level().unwrap_or_default().into(),
        ..Decision::default()
    }
}

pub(super) fn refuse(engine: &Engine, facts: &Facts<'_>, error: Error) -> Refusal {
    // Policy has nothing against a call that is malformed: it is the call that says too little.
    let is_malformed = score::is_malformed(error.reason());
    let effect = if is_malformed { PolicyEffect::Unspecified } else { PolicyEffect::Deny };
    let mut decision = outline(engine, facts, effect);
    decision.policies.clone_from(&error.policies);
    decision.reason.clone_from(&error.message);
    Refusal::new(decision, error)
}

pub(super) fn failed(engine: &Engine, facts: &Facts<'_>, why: &str) -> Refusal {
    let message = format!("policy could not be evaluated, so nothing runs: {why}");
    refuse(engine, facts, reason::error(Reason::PolicyError, message))
}
