//! Rules that do nothing, or less than they seem to: told to their author by place.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use cmdop_contract::path::PathPattern;
use cmdop_contract::v1::{EffectKind, Host};

use super::name::action_uid;
use super::{Engine, FLOOR_PREFIX, Subject};
use crate::classes::{Class, Classes};

/// Something that the author of a policy may want to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `unreachable`, `shadowed`, `floor` or `unscoped`.
    pub kind: &'static str,
    /// Name of the policy file.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// The policy's id.
    pub id: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub mend: String,
}

/// What a policy's scope lets through; conditions narrow it further.
struct Scope<'a> {
    id: String,
    policy: &'a Policy,
    principal: PrincipalConstraint,
    actions: BTreeSet<EffectKind>,
    resource: ResourceConstraint,
    /// Nothing narrows it.
    is_whole: bool,
}

impl Engine {
    /// Policies that can never decide anything, in the order of the files.
    pub fn review(&self) -> Vec<Finding> {
        let scopes: Vec<Scope<'_>> = self.slices.policies().iter().map(|policy| self.scope(policy)).collect();
        let mut findings = Vec::new();
        for scope in scopes.iter().filter(|scope| !scope.id.starts_with(FLOOR_PREFIX)) {
            findings.extend(self.review_one(scope, &scopes));
        }
        findings
    }

    fn review_one(&self, scope: &Scope<'_>, all: &[Scope<'_>]) -> Option<Finding> {
        let found = |kind, problem: String, mend: &str| {
            let (file, line) = self.places.get(&scope.id).cloned().unwrap_or_default();
            Some(Finding { kind, file, line, id: scope.id.clone(), problem, mend: mend.to_owned() })
        };
        let id = &scope.id;
        let is_permit = scope.policy.effect() == Effect::Permit;
        let others = || all.iter().filter(|other| other.id != *id && other.is_whole && self.covers(other, scope));
        if let Some(forbid) = others().find(|other| self.is_hard(other)) {
            let by = &forbid.id;
            if by.starts_with(FLOOR_PREFIX) {
                let what = if is_permit { "permits" } else { "is about" };
                let problem = format!("policy `{id}` {what} only what the floor forbids by `{by}`");
                return found("floor", problem, "remove it: no file relaxes the floor, and none need repeat it");
            }
            // Two that say the same: the first is let stand.
            if is_permit || !self.is_hard(scope) || !self.covers(scope, forbid) || forbid.id < *id {
                let problem = format!("policy `{id}` never decides: `{by}` forbids everything that it is about");
                return found("shadowed", problem, "remove it, or narrow the one that forbids");
            }
        }
        let same = |other: &&Scope<'_>| {
            other.policy.effect() == scope.policy.effect()
                && self.is_hard(other) == self.is_hard(scope)
                && (!self.covers(scope, other) || !scope.is_whole || other.id < *id)
        };
        if let Some(wider) = others().find(same) {
            let problem =
                format!("policy `{id}` adds nothing: `{}` says the same about everything that it is about", wider.id);
            return found("shadowed", problem, "remove it, or narrow the wider one");
        }
        let permits = || all.iter().filter(|other| other.policy.effect() == Effect::Permit);
        if self.holds_by_id(id) && !permits().any(|permit| self.meets(permit, scope)) {
            let problem = format!("policy `{id}` holds what nothing permits, so nobody is ever asked");
            return found("unreachable", problem, "add a permit for what an approval is to allow");
        }
        if self.warnings.iter().any(|warning| warning.contains(&format!("policy `{id}` has no scope"))) {
            let problem = format!("policy `{id}` has no scope and is asked for every effect");
            return found("unscoped", problem, "name a principal, action or resource");
        }
        None
    }

    fn scope<'a>(&self, policy: &'a Policy) -> Scope<'a> {
        let groups = |action: &EntityUid, group: &EntityUid| {
            action == group || self.actions.ancestors(action).is_some_and(|mut above| above.any(|it| it == group))
        };
        let constraint = policy.action_constraint();
        let is_meant = |kind: &EffectKind| {
            let action = action_uid(*kind);
            match &constraint {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(uid) => *uid == action,
                ActionConstraint::In(uids) => uids.iter().any(|uid| groups(&action, uid)),
            }
        };
        let conditions = policy.to_json().ok().and_then(|json| json["conditions"].as_array().map(Vec::len));
        Scope {
            id: policy.id().to_string(),
            policy,
            principal: policy.principal_constraint(),
            actions: kinds().filter(is_meant).collect(),
            resource: policy.resource_constraint(),
            is_whole: conditions == Some(0),
        }
    }

    /// A forbid that no person lifts.
    fn is_hard(&self, scope: &Scope<'_>) -> bool {
        scope.policy.effect() == Effect::Forbid && !self.holds_by_id(&scope.id)
    }

    fn holds_by_id(&self, id: &str) -> bool {
        self.rules.get(id).is_some_and(|rule| rule.holds)
    }

    /// Does one scope let through everything that the other does?
    fn covers(&self, wide: &Scope<'_>, narrow: &Scope<'_>) -> bool {
        narrow.actions.is_subset(&wide.actions)
            && covers_principal(&wide.principal, &narrow.principal)
            && covers_resource(wide, narrow)
    }

    /// May both scopes let through the same request? When in doubt they may.
    fn meets(&self, one: &Scope<'_>, other: &Scope<'_>) -> bool {
        use PrincipalConstraint as P;
        let kind = |principal: &P| match principal {
            P::Any => None,
            P::Is(name) | P::IsIn(name, _) => Some(name.to_string()),
            P::Eq(uid) => Some(uid.type_name().to_string()),
            P::In(uid) => uid.type_name().to_string().strip_suffix("Group").map(str::to_owned),
        };
        // An agent acts for a user, and both must be permitted: a rule on one meets a permit for that one.
        let same_kind = match (kind(&one.principal), kind(&other.principal)) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        same_kind && one.actions.intersection(&other.actions).next().is_some()
    }
}

fn kinds() -> impl Iterator<Item = EffectKind> {
    (1..=i32::from(u8::MAX)).filter_map(|number| EffectKind::try_from(number).ok())
}

fn covers_principal(wide: &PrincipalConstraint, narrow: &PrincipalConstraint) -> bool {
    use PrincipalConstraint as P;
    match (wide, narrow) {
        (P::Any, _) => true,
        (P::Is(wide), P::Is(narrow) | P::IsIn(narrow, _)) => wide == narrow,
        (P::Is(wide), P::Eq(uid)) => wide == uid.type_name(),
        // Only users are in groups of users.
        (P::Is(wide), P::In(uid)) => uid.type_name().to_string() == format!("{wide}Group"),
        (P::In(wide), P::In(narrow)) | (P::Eq(wide), P::Eq(narrow)) => wide == narrow,
        (P::IsIn(kind, wide), P::IsIn(other, narrow)) => kind == other && wide == narrow,
        _ => false,
    }
}

fn covers_resource(wide: &Scope<'_>, narrow: &Scope<'_>) -> bool {
    use ResourceConstraint as R;
    let only =
        |kind: &str| narrow.actions.iter().all(|action| Subject::of(*action).is_some_and(|it| it.type_name() == kind));
    match (&wide.resource, &narrow.resource) {
        (R::Any, _) => true,
        (R::Is(wide), R::Is(narrow) | R::IsIn(narrow, _)) => wide == narrow,
        (R::Is(wide), R::Eq(uid)) => wide == uid.type_name(),
        (R::Is(wide), R::Any | R::In(_)) => only(&wide.to_string()),
        (R::In(wide) | R::IsIn(_, wide), R::In(narrow) | R::IsIn(_, narrow)) => holds(wide, narrow, true),
        (R::In(wide) | R::IsIn(_, wide), R::Eq(narrow)) => holds(wide, narrow, false),
        (R::Eq(wide), R::Eq(narrow)) => wide == narrow,
        _ => false,
    }
}

/// Is everything in (or, of one path, is the path itself) of `narrow` in `wide` as well?
fn holds(wide: &EntityUid, narrow: &EntityUid, with_beneath: bool) -> bool {
    if wide == narrow {
        return true;
    }
    let is = |uid: &EntityUid, kind: &str| uid.type_name().to_string() == kind;
    if !is(narrow, "Path") {
        return false;
    }
    let literal = PathPattern::literal(narrow.id().unescaped().as_bytes());
    let region = if with_beneath { literal.tree() } else { literal };
    if is(wide, "Path") {
        return PathPattern::literal(wide.id().unescaped().as_bytes()).tree().covers_pattern(&region);
    }
    let class = Class::parse(wide.id().unescaped()).filter(|_| is(wide, "PathClass"));
    class.is_some_and(|class| Classes::of(&Host::default()).hold(&region, &[class]))
}
