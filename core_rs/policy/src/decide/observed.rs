//! The decision on a preview's diff; its rows stand in `super::decide_observed`.

use cmdop_contract::digest::observation_digest;
use cmdop_contract::effect::{Class as EffectClass, Target, class, is_held_back};
use cmdop_contract::v1::{
    AutonomyLevel, Decision, EffectKind, Error, FileState, FileType, Observation, ObservedEffect, PermittedEffect,
    PolicyEffect, Prediction, Reason, SideEffect, Stage,
};
use cmdop_contract::validate::Validated;
use cmdop_contract::{reason, score};

use super::assess::{Assessment, ask_all, policies};
use super::bound::{bind, is_bound};
use super::verdict::{Ask, DiffDecided, Grant, Stakes};
use super::{Facts, explain, stakes, table};
use crate::classes::LISTS_NOTABLE;
use crate::engine::{About, Engine, Verdict, effect_text};
use crate::points::{Point, points};

pub(super) fn decide(
    engine: &Engine,
    validated: &Validated,
    prediction: &Prediction,
    observation: &Observation,
    facts: &Facts<'_>,
) -> DiffDecided {
    let refuse = |error| DiffDecided::Refuse(table::refuse(engine, facts, error));
    let digest = observation_digest(&observation.effects);
    if observation.digest != digest {
        let message = "the host's report does not fit its own digest; nothing is committed";
        return refuse(reason::error(Reason::HostError, message));
    }
    if observation.truncated {
        let message =
            "the preview showed more effects than can be listed, so nobody can decide on them; do it in smaller steps";
        return refuse(
            reason::error(Reason::UnsupportedChange, message)
                .fix_arguments("/arguments", "an action that changes less at once"),
        );
    }
    let found = match Assessment::of(engine, validated, prediction, observation.effects.len(), facts) {
        Ok(found) => found,
        Err(why) => return DiffDecided::Refuse(table::failed(engine, facts, &why)),
    };
    // Policy may have changed since the preview was permitted.
    if let Some(refusal) = table::refused(engine, &found, facts) {
        return DiffDecided::Refuse(refusal);
    }
    let seen: Vec<Seen<'_>> =
        observation.effects.iter().map(|effect| Seen::of(engine, &found, effect, &observation.effects)).collect();
    if let Some(error) = refused(engine, &found, &seen) {
        return refuse(error);
    }
    // Looks are authorised on prediction; what nobody foresaw is refused only where policy forbids it.
    let looks = observation.looks.iter().map(|look| Seen::of(engine, &found, look, &[]));
    let looks: Vec<Seen<'_>> =
        looks.filter(|seen| matches!(seen.verdict, Verdict::Forbidden(_) | Verdict::Failed(_))).collect();
    if let Some(error) = refused(engine, &found, &looks) {
        return refuse(error);
    }
    let blind: Vec<String> = observation
        .unobserved
        .iter()
        .filter(|missing| class(missing.kind()) != EffectClass::Look)
        .map(|missing| missing.why.clone())
        .collect();
    // A contact that nothing held back was made already: there is nothing of it to commit.
    let is_made = |kind| class(kind) == EffectClass::Contact && !is_held_back(validated.tool().name(), kind);
    let changes =
        seen.iter().any(|seen| class(seen.effect.kind()) != EffectClass::Look && !is_made(seen.effect.kind()));
    if !changes && blind.is_empty() {
        return DiffDecided::Nothing;
    }
    if facts.effective_level() == Some(AutonomyLevel::Shadow) {
        return DiffDecided::Shadow;
    }
    let permitted = table::permitted(&found.findings);
    let undeclared = score::side_effects(&permitted, observation, &facts.host.workspaces);
    // One that was declared was asked about before it was made; no answer now would undo it.
    let held: Vec<&Seen<'_>> = seen.iter().filter(|seen| !is_made(seen.effect.kind())).collect();
    let why = why(&undeclared, &held, &blind, facts);
    let is_as_declared = undeclared.is_empty() && blind.is_empty() && held.iter().all(|seen| seen.doubt.is_none());
    let asked = is_as_declared.then(|| asked(&held, facts));
    let beyond = beyond(undeclared, &held, &facts.host.workspaces);
    let mut decision = Decision { stage: Stage::Commit.into(), ..Decision::default() };
    decision.permitted = with_beyond(permitted, &beyond);
    match why {
        Some(why) => {
            let held = held.iter().map(|seen| &seen.verdict).filter(|verdict| !verdict.is_allowed());
            decision.policies = policies(held);
            let decision = complete(decision, engine, facts, PolicyEffect::RequireApproval, &why);
            let lost = seen.iter().filter(|seen| is_lost(seen.effect) && !is_made(seen.effect.kind()));
            let lost = lost.map(|seen| (seen.effect.kind(), seen.effect.target.clone()));
            let stakes = Stakes { asked, ..stakes::of(engine, &decision, lost) };
            let ask = Ask::about_diff(decision, validated.action_digest(), &digest, why, beyond);
            DiffDecided::Ask(ask.with_stakes(stakes))
        }
        None => {
            decision.policies = policies(seen.iter().map(|seen| &seen.verdict));
            let why = "everything that was observed was declared and is permitted";
            let decision = complete(decision, engine, facts, PolicyEffect::Allow, why);
            DiffDecided::Commit(Grant::new(decision, validated.action_digest(), Some(&digest)))
        }
    }
}

fn complete(decision: Decision, engine: &Engine, facts: &Facts<'_>, effect: PolicyEffect, why: &str) -> Decision {
    let outline = table::outline(engine, facts, effect);
    Decision {
        stage: decision.stage,
        permitted: decision.permitted,
        policies: decision.policies,
        reason: why.into(),
        ..outline
    }
}

/// An observed effect and what policy says about it.
struct Seen<'a> {
    effect: &'a ObservedEffect,
    verdict: Verdict,
    /// What policy says about what a deleted or moved tree may have held, if nobody listed it.
    doubt: Option<Verdict>,
}

impl<'a> Seen<'a> {
    /// Authorises a measured effect: a literal, and for a tree the mentioned places beneath.
    fn of(engine: &Engine, found: &Assessment<'_>, effect: &'a ObservedEffect, all: &[ObservedEffect]) -> Self {
        let (kind, facts) = (effect.kind(), found.inquiry.facts());
        let target = match Target::parse(kind, &effect.target, &Default::default()) {
            Ok(target) => target,
            Err(error) => {
                let why = format!("the observed effect `{}` cannot be read: {error}", effect.target);
                return Self { effect, verdict: Verdict::Failed(why), doubt: None };
            }
        };
        let points = points(kind, &target, is_tree(effect), engine.anchors(), &found.classes);
        let (certain, uncertain): (Vec<_>, Vec<_>) = points.list.iter().partition(|point| point.certain);
        let known = found.inquiry.asked(facts.past.measured(&facts.host.name, effect, all));
        let about = About { count: Some(effect.count), observed: true, known };
        let ask = |point: &Point| found.inquiry.ask(kind, point, about);
        let verdict = ask_all(certain.into_iter(), ask, Verdict::is_settled);
        let mut verdict = verdict.unwrap_or_else(|| Verdict::Failed("the target has no point to ask about".to_owned()));
        if !points.complete {
            verdict = verdict.worst(Verdict::NotPermitted);
        }
        for (kind, target) in besides(effect) {
            verdict = verdict.worst(asked_besides(engine, found, kind, target));
        }
        let verdict = bind(verdict, kind, &target, facts);
        let doubt = if lists_notable(facts) {
            None
        } else {
            ask_all(uncertain.into_iter(), ask, |verdict| !verdict.is_allowed()).filter(|doubt| !doubt.is_allowed())
        };
        Self { effect, verdict, doubt }
    }

    fn text(&self) -> String {
        effect_text(self.effect.kind(), &self.effect.target)
    }
}

/// What a measured effect is beside what it is called. A further name of a file is a way to change it wherever else it
/// lies, and what runs with the rights of its owner, whoever starts it, is more than a file.
fn besides(effect: &ObservedEffect) -> impl Iterator<Item = (EffectKind, &str)> {
    let linked = effect.file.as_ref().map(|file| &*file.linked).filter(|linked| !linked.is_empty());
    let linked = linked.map(|linked| (EffectKind::FileModify, linked));
    linked.into_iter().chain(gives_rights(effect).then_some((EffectKind::External, SETUID)))
}

fn asked_besides(engine: &Engine, found: &Assessment<'_>, kind: EffectKind, target: &str) -> Verdict {
    let Ok(target) = Target::parse(kind, target, &Default::default()) else {
        return Verdict::Failed(format!("`{target}`, which an observed effect names, cannot be read"));
    };
    let about = About { observed: true, ..About::default() };
    let points = points(kind, &target, false, engine.anchors(), &found.classes);
    let said = ask_all(points.list.iter(), |point| found.inquiry.ask(kind, point, about), Verdict::is_settled);
    said.unwrap_or(Verdict::NotPermitted)
}

/// What the vocabulary foresees of `chmod u+s`.
const SETUID: &str = "privilege/setuid";

/// True of a program that comes to run with rights of its own (set-user-id, set-group-id, capabilities), or that had them
/// and is another one now.
fn gives_rights(effect: &ObservedEffect) -> bool {
    let Some(file) = effect.file.as_ref().filter(|file| file.renamed.is_empty() && file.linked.is_empty()) else {
        return false;
    };
    let rights = |state: &FileState| {
        let set_group = if state.mode & 0o010 == 0 { 0 } else { 0o2000 };
        let capability = state.xattrs.iter().find(|xattr| xattr.name == "security.capability");
        (state.mode & (0o4000 | set_group), capability.map(|xattr| xattr.sha256.clone()))
    };
    let Some(after) = file.after.as_ref().filter(|after| after.r#type() == FileType::Regular) else { return false };
    let has_any = rights(after) != (0, None);
    let is_as_before = file.before.as_ref().is_some_and(|before| {
        rights(before) == rights(after)
            && before.uid == after.uid
            && before.gid == after.gid
            && before.sha256 == after.sha256
    });
    has_any && !is_as_before
}

/// True if more than one path went or moved.
fn is_tree(effect: &ObservedEffect) -> bool {
    let before = effect.file.as_ref().and_then(|file| file.before.as_ref());
    match effect.kind() {
        EffectKind::FileDelete => effect.count > 1,
        EffectKind::FileRename => before.is_none_or(|before| before.r#type() == FileType::Directory),
        _ => false,
    }
}

fn lists_notable(facts: &Facts<'_>) -> bool {
    facts.host.capabilities.iter().any(|capability| capability.name == LISTS_NOTABLE && capability.available)
}

/// A change of which not enough is kept to undo it. What was made can be deleted, whoever keeps nothing of it:
/// so giving back what was deleted takes nothing away.
fn is_lost(effect: &ObservedEffect) -> bool {
    class(effect.kind()) == EffectClass::Change && effect.kind() != EffectKind::FileCreate && !effect.reversible
}

/// What nobody can approve.
fn refused(engine: &Engine, found: &Assessment<'_>, seen: &[Seen<'_>]) -> Option<Error> {
    let failed =
        seen.iter().flat_map(|seen| [Some(&seen.verdict), seen.doubt.as_ref()]).find_map(|verdict| match verdict {
            Some(Verdict::Failed(why)) => Some(why),
            _ => None,
        });
    if let Some(why) = failed {
        let message =
            format!("policy could not be evaluated on what the preview showed, so nothing is committed: {why}");
        return Some(reason::error(Reason::PolicyError, message));
    }
    let forbidden: Vec<&Seen<'_>> = seen.iter().filter(|seen| matches!(seen.verdict, Verdict::Forbidden(_))).collect();
    if let Some(first) = forbidden.first() {
        let policies = policies(forbidden.iter().map(|seen| &seen.verdict));
        let reason = explain::denied(&policies);
        let said = policies.first().map_or_else(String::new, |policy| explain::rule(policy, "forbids"));
        let message =
            format!("the preview showed an effect that nobody can approve; {}: {said}", nothing_applied(first));
        if is_bound(&policies) {
            return Some(reason::error(reason, message).policies(policies));
        }
        let error = reason::error(reason, message).policies(policies);
        return Some(explain::narrow(error, engine, found, &[first.effect.kind()], &first.text()));
    }
    let not_permitted = || seen.iter().filter(|seen| matches!(seen.verdict, Verdict::NotPermitted));
    let loose = not_permitted().next()?;
    let message = format!("the preview showed {}, which no policy permits; {}", loose.text(), nothing_applied(loose));
    let refused = explain::bounded(not_permitted().map(Seen::text));
    let error = Error { refused, ..reason::error(Reason::EffectNotPermitted, message) };
    Some(explain::narrow(error, engine, found, &[loose.effect.kind()], &loose.text()))
}

/// What a refusal after the preview still holds back.
fn nothing_applied(seen: &Seen<'_>) -> &'static str {
    match class(seen.effect.kind()) {
        EffectClass::Contact => "no change was applied, but the contact was made",
        EffectClass::Change | EffectClass::Look => "nothing was applied",
    }
}

/// What of it a person must look at: at level `ask` everything, else what policy holds.
fn asked(held: &[&Seen<'_>], facts: &Facts<'_>) -> Vec<PermittedEffect> {
    let is_watched = facts.effective_level() == Some(AutonomyLevel::Ask);
    let changes = held.iter().filter(|seen| class(seen.effect.kind()) != EffectClass::Look);
    changes
        .filter(|seen| is_watched || !seen.verdict.is_allowed())
        .map(|seen| PermittedEffect {
            kind: seen.effect.kind,
            target: seen.effect.target.clone(),
            max_count: Some(u32::try_from(seen.effect.count).unwrap_or(u32::MAX)),
        })
        .collect()
}

/// What was observed beyond the declaration, and what of the rest policy holds.
fn beyond(mut beyond: Vec<SideEffect>, seen: &[&Seen<'_>], workspaces: &[String]) -> Vec<SideEffect> {
    for seen in seen {
        let Verdict::Held(by) = &seen.verdict else { continue };
        let why = by.first().map(|policy| explain::rule(policy, "holds")).unwrap_or_default();
        match beyond.iter_mut().find(|side| side.effect.as_ref() == Some(seen.effect)) {
            Some(side) => side.why = format!("{}; {why}", side.why),
            None => beyond.push(SideEffect {
                effect: Some(seen.effect.clone()),
                severity: score::severity(seen.effect, workspaces).into(),
                why,
            }),
        }
    }
    beyond
}

/// Approving a diff permits exactly what of it goes beyond, beside what was declared.
fn with_beyond(mut permitted: Vec<PermittedEffect>, beyond: &[SideEffect]) -> Vec<PermittedEffect> {
    for effect in beyond.iter().filter_map(|side| side.effect.as_ref()) {
        let literal = PermittedEffect {
            kind: effect.kind,
            target: effect.target.clone(),
            max_count: Some(u32::try_from(effect.count).unwrap_or(u32::MAX)),
        };
        if !permitted.contains(&literal) {
            permitted.push(literal);
        }
    }
    permitted
}

/// Why a person must look, if one must.
fn why(undeclared: &[SideEffect], seen: &[&Seen<'_>], blind: &[String], facts: &Facts<'_>) -> Option<String> {
    let mut reasons = Vec::new();
    if !undeclared.is_empty() {
        let effects = undeclared.iter().filter_map(|side| side.effect.as_ref());
        let names: Vec<String> = effects.map(|effect| effect_text(effect.kind(), &effect.target)).collect();
        reasons.push(format!("the preview showed effects beyond the declaration: {}", explain::list(&names)));
    }
    let held = seen.iter().find_map(|seen| match &seen.verdict {
        Verdict::Held(by) => by.first(),
        _ => None,
    });
    if let Some(policy) = held {
        reasons.push(explain::rule(policy, "holds").trim_end_matches('.').to_owned());
    }
    let unlisted = seen.iter().find(|seen| seen.doubt.is_some());
    if let Some(unlisted) = unlisted {
        reasons.push(format!(
            "nobody listed what {} held, and policy does not permit everything that it may have held",
            unlisted.text()
        ));
    }
    if !blind.is_empty() {
        reasons.push(format!("not everything could be observed: {}", explain::list(blind)));
    }
    if reasons.is_empty() && facts.effective_level() == Some(AutonomyLevel::Ask) {
        reasons.push("the agent's level is `ask`, so a person looks at the diff before it is committed".to_owned());
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
