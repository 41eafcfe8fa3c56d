//! Only the policies whose scope can hold are evaluated: a thousand policies cost like twenty.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{
    ActionConstraint, Effect, Entities, EntityTypeName, EntityUid, Policy, PolicySet, PolicySetError,
    PrincipalConstraint, ResourceConstraint,
};

/// Slices kept. The key is made of what policies mention, so there are few; a set that mentions
/// thousands of places starts over when this is reached.
const KEPT: usize = 4_096;

/// The policies that may speak about a request, and of them the permits.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) all: PolicySet,
    /// Asked alone when only forbids that a person may lift stand in the way.
    pub(super) permits: PolicySet,
}

/// One entity of a request as scopes see it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) uid: &'a EntityUid,
    pub(super) ancestors: &'a [EntityUid],
}

impl Place<'_> {
    fn is_in(&self, other: &EntityUid) -> bool {
        self.uid == other || self.ancestors.contains(other)
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    principal: (EntityTypeName, Option<u32>, Vec<u32>),
    action: EntityUid,
    resource: (EntityTypeName, Option<u32>, Vec<u32>),
}

/// All policies, by what their scopes mention.
#[derive(Debug)]
pub(super) struct Slices {
    policies: Vec<Policy>,
    /// Entities in scopes of principals and resources, numbered.
    scoped: HashMap<EntityUid, u32>,
    /// Groups that each action is in.
    action_groups: HashMap<EntityUid, HashSet<EntityUid>>,
    known: RwLock<HashMap<Key, Arc<Slice>>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} {:?}", self.principal, self.action, self.resource)
    }
}

impl Slices {
    pub(super) fn new(policies: Vec<Policy>, actions: &Entities) -> Self {
        let mut scoped = HashMap::new();
        for policy in &policies {
            let principal = match policy.principal_constraint() {
                PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) | PrincipalConstraint::IsIn(_, uid) => {
                    Some(uid)
                }
                PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            };
            let resource = match policy.resource_constraint() {
                ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) | ResourceConstraint::IsIn(_, uid) => {
                    Some(uid)
                }
                ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            };
            for uid in principal.into_iter().chain(resource) {
                let next = u32::try_from(scoped.len()).unwrap_or(u32::MAX);
                scoped.entry(uid).or_insert(next);
            }
        }
        let action_groups = actions
            .iter()
            .map(|action| {
                let groups = actions.ancestors(&action.uid()).into_iter().flatten().cloned().collect();
                (action.uid(), groups)
            })
            .collect();
        Self { policies, scoped, action_groups, known: RwLock::default() }
    }

    /// All of them, as they stand in the files.
    pub(super) fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The policies whose scope holds for the request.
    ///
    /// Exact: a policy is left out only if its scope is false. Places that no scope mentions cannot
    /// make a difference, so they are not part of the key.
    ///
    /// # Errors
    /// If two policies had the same id, which loading rules out.
    pub(super) fn of(
        &self,
        principal: Place<'_>,
        action: &EntityUid,
        resource: Place<'_>,
    ) -> Result<Arc<Slice>, Box<PolicySetError>> {
        let key = Key { principal: self.key(principal), action: action.clone(), resource: self.key(resource) };
        if let Some(slice) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(slice.clone());
        }
        let fitting = self.policies.iter().filter(|policy| self.holds(policy, principal, action, resource));
        let (mut all, mut permits) = (PolicySet::new(), PolicySet::new());
        for policy in fitting {
            all.add(policy.clone()).map_err(Box::new)?;
            if policy.effect() == Effect::Permit {
                permits.add(policy.clone()).map_err(Box::new)?;
            }
        }
        let slice = Arc::new(Slice { all, permits });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, slice.clone());
        Ok(slice)
    }

    fn key(&self, place: Place<'_>) -> (EntityTypeName, Option<u32>, Vec<u32>) {
        let mut ancestors: Vec<u32> = place.ancestors.iter().filter_map(|uid| self.scoped.get(uid).copied()).collect();
        ancestors.sort_unstable();
        (place.uid.type_name().clone(), self.scoped.get(place.uid).copied(), ancestors)
    }

    fn holds(&self, policy: &Policy, principal: Place<'_>, action: &EntityUid, resource: Place<'_>) -> bool {
        let is = |place: Place<'_>, type_name: &EntityTypeName| place.uid.type_name() == type_name;
        let principal_holds = match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::In(uid) => principal.is_in(&uid),
            PrincipalConstraint::Eq(uid) => *principal.uid == uid,
            PrincipalConstraint::Is(name) => is(principal, &name),
            PrincipalConstraint::IsIn(name, uid) => is(principal, &name) && principal.is_in(&uid),
        };
        let action_is_in = |uid: &EntityUid| {
            action == uid || self.action_groups.get(action).is_some_and(|groups| groups.contains(uid))
        };
        let action_holds = match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::In(uids) => uids.iter().any(action_is_in),
            ActionConstraint::Eq(uid) => *action == uid,
        };
        let resource_holds = match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::In(uid) => resource.is_in(&uid),
            ResourceConstraint::Eq(uid) => *resource.uid == uid,
            ResourceConstraint::Is(name) => is(resource, &name),
            ResourceConstraint::IsIn(name, uid) => is(resource, &name) && resource.is_in(&uid),
        };
        principal_holds && action_holds && resource_holds
    }
}
