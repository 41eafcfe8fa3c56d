//! One question to Cedar, and every answer that is not a clear yes told apart.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Context, Decision, Entities, Entity, EntityUid, Request, Response, RestrictedExpression};
use cmdop_contract::v1::{AutonomyLevel, EffectKind, PolicyRef};

use super::memory::{Answer, Answers, Judged, Wanted, recall, recall_effect, remember, remember_effect};
use super::name::action_uid;
use super::slice::Place;
use super::{Engine, Group, uid};
use crate::decide::{Facts, Known};
use crate::points::Point;

/// What policy says about one point. Ordered from best to worst: the worst of several answers counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Permitted, with the policies that permit it.
    Allowed(Vec<PolicyRef>),
    /// Permitted once a person agrees.
    Held(Vec<PolicyRef>),
    /// No policy permits it.
    NotPermitted,
    /// Forbidden, whoever agrees.
    Forbidden(Vec<PolicyRef>),
    /// Policy could not be evaluated, which is a refusal.
    Failed(String),
}

impl Verdict {
    fn rank(&self) -> u8 {
        match self {
            Self::Allowed(_) => 0,
            Self::Held(_) => 1,
            Self::NotPermitted => 2,
            Self::Forbidden(_) => 3,
            Self::Failed(_) => 4,
        }
    }

    /// The worse of two; policies of equally bad ones are put together.
    pub(crate) fn worst(self, other: Self) -> Self {
        match (self, other) {
            (Self::Allowed(a), Self::Allowed(b)) => Self::Allowed(union(a, b)),
            (Self::Held(a), Self::Held(b)) => Self::Held(union(a, b)),
            (Self::Forbidden(a), Self::Forbidden(b)) => Self::Forbidden(union(a, b)),
            (a, b) if a.rank() >= b.rank() => a,
            (_, b) => b,
        }
    }

    /// True if no other point can make it worse: an error, or the floor.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Failed(_) => true,
            Self::Forbidden(by) => by.iter().any(super::is_floor),
            _ => false,
        }
    }

    /// True if nothing stands in the way.
    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

fn union(mut a: Vec<PolicyRef>, b: Vec<PolicyRef>) -> Vec<PolicyRef> {
    for policy in b {
        if !a.iter().any(|known| known.id == policy.id && known.effect == policy.effect) {
            a.push(policy);
        }
    }
    a
}

/// A principal with the groups it is in.
struct Principal {
    uid: EntityUid,
    groups: Vec<EntityUid>,
}

/// What a question says of its effect beside kind and place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct About {
    /// How often it happens at most, where that is known.
    pub(crate) count: Option<u64>,
    /// A host measured it.
    pub(crate) observed: bool,
    /// What the run or session has to do with it.
    pub(crate) known: Known,
}

/// One call's questions: who asks, on which host, with which tool.
pub(crate) struct Inquiry<'a> {
    engine: &'a Engine,
    facts: Facts<'a>,
    tool: String,
    /// How many effects the call has, if policy asks about that, as of what follows: what it does not ask
    /// about must not make two calls different.
    effects: i64,
    /// Calls of the run or session that failed and that were refused.
    failed: i64,
    denials: i64,
    /// What calls like this one were answered before.
    answers: Arc<Answers>,
    /// Made for the first question that was not answered before.
    prepared: OnceCell<Result<Prepared, String>>,
}

/// A call in Cedar's terms.
struct Prepared {
    /// The user, and the agent if one acts: an agent's rights are the lesser of the two.
    principals: Vec<Principal>,
    /// Actions, principals and the host.
    base: Entities,
    pairs: Vec<(String, RestrictedExpression)>,
}

impl Prepared {
    fn new(inquiry: &Inquiry<'_>) -> Result<Self, String> {
        let facts = &inquiry.facts;
        let user = uid("User", &facts.actor.user);
        let host = uid("Host", &facts.host.name);
        let known = &inquiry.engine.known;
        let groups = known.groups_of(&user).chain([Group::Users.uid()]).collect();
        let mut principals = vec![Principal { uid: user.clone(), groups }];
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let tenant = if facts.actor.tenant.is_empty() { "local" } else { &facts.actor.tenant };
        let mut pairs = vec![
            ("tool".to_owned(), text(&inquiry.tool)),
            ("host".to_owned(), RestrictedExpression::new_entity_uid(host.clone())),
            ("tenant".to_owned(), text(tenant)),
            ("user".to_owned(), RestrictedExpression::new_entity_uid(user)),
            ("level".to_owned(), text(level_name(facts.effective_level()))),
            ("effects".to_owned(), RestrictedExpression::new_long(inquiry.effects)),
            ("failed".to_owned(), RestrictedExpression::new_long(inquiry.failed)),
            ("denials".to_owned(), RestrictedExpression::new_long(inquiry.denials)),
        ];
        if !facts.actor.agent.is_empty() {
            let agent = uid("Agent", &facts.actor.agent);
            pairs.push(("agent".to_owned(), RestrictedExpression::new_entity_uid(agent.clone())));
            let groups = known.groups_of(&agent).chain([Group::Agents.uid()]).collect();
            principals.push(Principal { uid: agent, groups });
        }
        let mut labels: BTreeMap<&str, &str> =
            facts.host.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        labels.extend(known.labels(&facts.host.name));
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), text(value)));
        let groups: Vec<EntityUid> = known.groups_of(&host).collect();
        let host = Entity::new_with_tags(host, [], groups, labels).map_err(|error| error.to_string())?;
        let people = principals
            .iter()
            .map(|principal| Entity::new_no_attrs(principal.uid.clone(), principal.groups.iter().cloned().collect()));
        let actions = inquiry.engine.actions.clone();
        let base = actions.add_entities(people.chain([host]), None).map_err(|error| error.to_string())?;
        Ok(Self { principals, base, pairs })
    }
}

impl<'a> Inquiry<'a> {
    pub(crate) fn new(engine: &'a Engine, facts: &Facts<'a>, tool: &str, effects: usize) -> Self {
        let counted = |is_asked: bool, count: i64| if is_asked { count } else { 0 };
        let effects = counted(engine.asked.effects, i64::try_from(effects).unwrap_or(i64::MAX));
        let failed = counted(engine.asked.failed, facts.past.failed().into());
        let denials = counted(engine.asked.denials, facts.past.denials().into());
        let level = level_name(facts.effective_level());
        let answers = engine.memory.answers(facts, level, tool, effects, (failed, denials));
        let (facts, tool) = (*facts, tool.to_owned());
        Self { engine, facts, tool, effects, failed, denials, answers, prepared: OnceCell::new() }
    }

    /// Of what is known of an effect's target, what policy asks about.
    pub(crate) fn asked(&self, known: Known) -> Known {
        let Known { made, only_copy } = known;
        Known { made: made && self.engine.asked.made, only_copy: only_copy && self.engine.asked.only_copy }
    }

    pub(crate) fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// What calls like this one were told about a whole effect before.
    pub(crate) fn recall(&self, wanted: &Wanted) -> Option<Judged> {
        recall_effect(&self.answers, wanted)
    }

    /// Remembers what was said about a whole effect. Errors are not remembered: the next may go well.
    pub(crate) fn remember(&self, wanted: Wanted, judged: Judged) {
        let failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
        if !failed(&judged.0) && !judged.1.as_ref().is_some_and(failed) {
            remember_effect(&self.answers, wanted, judged);
        }
    }

    /// How often an effect happens at most, if policy asks about that.
    pub(crate) fn counted<T>(&self, count: Option<T>) -> Option<T> {
        count.filter(|_| self.engine.asked.count)
    }

    /// The worst answer of all principals about one point.
    pub(crate) fn ask(&self, kind: EffectKind, point: &Point, about: About) -> Verdict {
        let about = About { count: self.counted(about.count), ..about };
        let question = self.engine.memory.question(kind, point, about);
        if let Some(answer) = recall(&self.answers, &question) {
            return self.said(&answer, kind, &point.text);
        }
        match self.try_ask(kind, point, about) {
            Ok(answer) => {
                let verdict = self.said(&answer, kind, &point.text);
                remember(&self.answers, question, answer);
                verdict
            }
            Err(why) => Verdict::Failed(why),
        }
    }

    /// An answer about a point, with the policies' own words.
    fn said(&self, answer: &Answer, kind: EffectKind, target: &str) -> Verdict {
        let words = |ids: &[String]| ids.iter().map(|id| self.engine.reference(id, kind, target)).collect();
        match answer {
            Answer::Allowed(by) => Verdict::Allowed(words(by)),
            Answer::Held(by) => Verdict::Held(words(by)),
            Answer::NotPermitted => Verdict::NotPermitted,
            Answer::Forbidden(by) => Verdict::Forbidden(words(by)),
        }
    }

    fn try_ask(&self, kind: EffectKind, point: &Point, about: About) -> Result<Answer, String> {
        let prepared = self.prepared.get_or_init(|| Prepared::new(self)).as_ref().map_err(Clone::clone)?;
        let parents: HashSet<EntityUid> = point.parents.iter().cloned().collect();
        let resource = Entity::new_no_attrs(point.uid.clone(), parents);
        let entities = prepared.base.clone().add_entities([resource], None).map_err(|error| error.to_string())?;
        let About { count, observed, known } = about;
        let count = count.map(|count| RestrictedExpression::new_long(i64::try_from(count).unwrap_or(i64::MAX)));
        let pairs = prepared
            .pairs
            .iter()
            .cloned()
            .chain([
                ("observed".to_owned(), RestrictedExpression::new_bool(observed)),
                ("made".to_owned(), RestrictedExpression::new_bool(known.made)),
                ("only_copy".to_owned(), RestrictedExpression::new_bool(known.only_copy)),
            ])
            .chain(count.map(|count| ("count".to_owned(), count)));
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        let mut worst: Option<Answer> = None;
        for principal in &prepared.principals {
            let answer = self.ask_for(principal, kind, point, context.clone(), &entities)?;
            worst = Some(match worst {
                Some(so_far) => so_far.worst(answer),
                None => answer,
            });
        }
        worst.ok_or_else(|| "nobody asks".to_owned())
    }

    fn ask_for(
        &self,
        principal: &Principal,
        kind: EffectKind,
        point: &Point,
        context: Context,
        entities: &Entities,
    ) -> Result<Answer, String> {
        let action = action_uid(kind);
        let who = Place { uid: &principal.uid, ancestors: &principal.groups };
        let what = Place { uid: &point.uid, ancestors: &point.parents };
        let slice = self.engine.slices.of(who, &action, what).map_err(|error| error.to_string())?;
        let request =
            Request::new(principal.uid.clone(), action, point.uid.clone(), context, Some(&self.engine.schema))
                .map_err(|error| error.to_string())?;
        let response = self.engine.authorizer.is_authorized(&request, &slice.all, entities);
        let ids = reasons(&response)?;
        if response.decision() == Decision::Allow {
            return Ok(Answer::Allowed(ids.into()));
        }
        if ids.is_empty() {
            return Ok(Answer::NotPermitted);
        }
        let (held, hard): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| self.holds(id));
        if !hard.is_empty() {
            return Ok(Answer::Forbidden(hard.into()));
        }
        // Cedar names the forbids only: an approval must not cover what nobody permitted.
        let alone = self.engine.authorizer.is_authorized(&request, &slice.permits, entities);
        reasons(&alone)?;
        Ok(if alone.decision() == Decision::Allow { Answer::Held(held.into()) } else { Answer::NotPermitted })
    }

    fn holds(&self, id: &str) -> bool {
        self.engine.rules.get(id).is_some_and(|rule| rule.holds)
    }
}

/// Ids of the policies that decided. Any error of evaluation makes the answer void, because Cedar
/// skips a forbid that errors.
fn reasons(response: &Response) -> Result<Vec<String>, String> {
    if let Some(error) = response.diagnostics().errors().next() {
        return Err(error.to_string());
    }
    let ids = response.diagnostics().reason().map(AsRef::<str>::as_ref);
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    // The order of a hash table would make equal decisions look different.
    ids.sort();
    Ok(ids)
}

fn level_name(level: Option<AutonomyLevel>) -> &'static str {
    match level {
        None => "person",
        Some(AutonomyLevel::Shadow) => "shadow",
        Some(AutonomyLevel::Unspecified | AutonomyLevel::Ask) => "ask",
        Some(AutonomyLevel::Preview) => "preview",
        Some(AutonomyLevel::Auto) => "auto",
    }
}
