//! What Cedar's own validation lets pass and must not: ids, annotations, entities that cannot exist.

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use cmdop_contract::effect::Target;

use super::known::Known;
use super::load::Source;
use super::quorum::Approvers;
use super::{Error, FLOOR_PREFIX, Rule, SESSION_PREFIX, Subject};
use crate::classes::Class;
use crate::points::Anchors;

const ANNOTATIONS: [&str; 6] = ["id", "reason", "remedy", "decision", "approvals", "approvers"];

/// A policy that may be added.
pub(super) struct Checked {
    pub(super) id: String,
    pub(super) rule: Rule,
    pub(super) unscoped: bool,
}

pub(super) fn check(
    source: &Source<'_>,
    offset: usize,
    policy: &Policy,
    known: &Known,
    anchors: &mut Anchors,
) -> Result<Checked, Error> {
    let error = |problem: String, mend: &str| source.error(offset, problem, mend);
    let annotation =
        |key: &str| policy.annotation(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let Some(id) = annotation("id") else {
        return Err(error("a policy has no @id".into(), "add @id(\"file.what_it_is_about\")"));
    };
    if id.starts_with(FLOOR_PREFIX) != source.is_floor {
        return Err(error(
            format!("the policy id `{id}` is reserved for the floor"),
            "choose an @id with another beginning",
        ));
    }
    if id.starts_with(SESSION_PREFIX) {
        let problem = format!("the policy id `{id}` is reserved for what was refused before");
        return Err(error(problem, "choose an @id with another beginning"));
    }
    let Some(reason) = annotation("reason") else {
        return Err(error(
            format!("policy `{id}` has no @reason"),
            "add @reason(\"…\"): it is what a refused caller reads",
        ));
    };
    if let Some((unknown, _)) = policy.annotations().find(|(key, _)| !ANNOTATIONS.contains(key)) {
        let problem = format!("policy `{id}` has the unknown annotation @{unknown}");
        return Err(error(problem, "use @id, @reason, @remedy, @decision, @approvals and @approvers"));
    }
    let decision = policy.annotation("decision");
    if let Some(decision) = decision
        && decision != "require_approval"
    {
        let problem = format!("policy `{id}` has @decision(\"{decision}\")");
        return Err(error(problem, "the only decision is \"require_approval\"; a forbid without it denies"));
    }
    if decision.is_some() && (policy.effect() == Effect::Permit || source.is_floor) {
        let problem = format!("policy `{id}` has a @decision and is not a forbid that a person may lift");
        return Err(error(problem, "put @decision(\"require_approval\") on a forbid, beside a permit"));
    }
    let approvers = Approvers::parse(policy.annotation("approvals"), policy.annotation("approvers"), known)
        .map_err(|(problem, mend)| error(format!("policy `{id}`: {problem}"), &mend))?;
    if approvers.is_some() && decision.is_none() {
        let problem = format!("policy `{id}` says who approves and holds nothing");
        return Err(error(problem, "put @decision(\"require_approval\") beside it"));
    }
    for mentioned in policy.entity_literals() {
        mention(&mentioned, known, anchors)
            .map_err(|(problem, mend)| error(format!("policy `{id}` names {mentioned}: {problem}"), &mend))?;
    }
    let remedy = annotation("remedy").unwrap_or_default();
    let rule = Rule { id: id.clone(), reason, remedy, holds: decision.is_some(), approvers };
    Ok(Checked { id, rule, unscoped: is_unscoped(policy) })
}

fn is_unscoped(policy: &Policy) -> bool {
    policy.principal_constraint() == PrincipalConstraint::Any
        && policy.action_constraint() == ActionConstraint::Any
        && policy.resource_constraint() == ResourceConstraint::Any
}

/// Takes note of an entity that a policy names, or says why it would never match.
fn mention(entity: &EntityUid, known: &Known, anchors: &mut Anchors) -> Result<(), (String, String)> {
    let id: &str = entity.id().unescaped();
    let type_name = entity.type_name().to_string();
    match type_name.as_str() {
        "Path" => {
            lint_path(id).map_err(|(problem, mend)| (problem.to_owned(), mend))?;
            anchors.mention_path(id.as_bytes());
        }
        "PathClass" => match Class::parse(id) {
            Some(class) => anchors.mention_class(class),
            None => return Err(("no such class of paths".to_owned(), one_of(Class::ALL.map(Class::name)))),
        },
        "UserGroup" | "AgentGroup" | "HostGroup" => {
            if !known.has_group(entity) {
                let groups = known.groups().collect::<Vec<_>>().join(", ");
                return Err(("no such group has members".to_owned(), format!("use one of {groups}, or add it")));
            }
        }
        _ => {
            if let Some(subject) = Subject::NAMED.into_iter().find(|subject| subject.type_name() == type_name) {
                let target = Target::parse(subject.sample_kind(), id, &Default::default());
                let target =
                    target.map_err(|error| (error.to_string(), "write it as an effect's target".to_owned()))?;
                anchors.mention_named(subject, target, entity.clone());
            }
        }
    }
    Ok(())
}

fn one_of<const N: usize>(names: [impl AsRef<str>; N]) -> String {
    format!("use one of {}", names.each_ref().map(AsRef::as_ref).join(", "))
}

/// A path that is not written as cmdop writes it would match nothing, and a forbid with it protect nothing.
fn lint_path(path: &str) -> Result<(), (&'static str, String)> {
    let Some(relative) = path.strip_prefix('/') else {
        return Err(("it is not absolute", "begin it with `/`".to_owned()));
    };
    if path.contains(['*', '?', '\\']) {
        let mend = format!("use a class, such as PathClass::\"{}\"", Class::Secrets.name());
        return Err(("a path in a policy is literal: it has no patterns and no escapes", mend));
    }
    if path.contains('\0') {
        return Err(("it contains NUL", "no path does".to_owned()));
    }
    if relative.is_empty() {
        return Ok(());
    }
    if relative.split('/').any(|segment| segment.is_empty() || segment == "." || segment == "..") {
        let segments = relative.split('/').filter(|segment| !segment.is_empty() && *segment != ".");
        let mut kept: Vec<&str> = Vec::new();
        for segment in segments {
            if segment == ".." {
                kept.pop();
            } else {
                kept.push(segment);
            }
        }
        return Err(("it is not normalised", format!("write Path::\"/{}\"", kept.join("/"))));
    }
    Ok(())
}
