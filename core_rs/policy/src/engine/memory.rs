//! Verdicts that were reached already.
//!
//! Paths and the other subjects have no attributes, so a policy can tell two of them apart only by
//! what it mentions: a place, a class, the entity itself. Questions that agree in this and in
//! everything about the call have the same answer, and most questions about a wide region do.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{EntityUid, Policy};
use cmdop_contract::v1::EffectKind;

use super::{About, Verdict};
use crate::decide::{Facts, Known};
use crate::points::Point;

/// Kinds of calls that are remembered, and questions of each. Full, they start over.
const MOST_CALLS: usize = 1_024;
const MOST_QUESTIONS: usize = 4_096;

/// A verdict without its point's text: the policies by id, as they decided.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Allowed(Arc<[String]>),
    Held(Arc<[String]>),
    NotPermitted,
    Forbidden(Arc<[String]>),
}

impl Answer {
    fn rank(&self) -> u8 {
        match self {
            Self::Allowed(_) => 0,
            Self::Held(_) => 1,
            Self::NotPermitted => 2,
            Self::Forbidden(_) => 3,
        }
    }

    /// The worse of two; policies of equally bad ones are put together.
    pub(super) fn worst(self, other: Self) -> Self {
        let union = |a: Arc<[String]>, b: &[String]| -> Arc<[String]> {
            let more = b.iter().filter(|id| !a.contains(id)).cloned();
            a.iter().cloned().chain(more).collect()
        };
        match (self, other) {
            (Self::Allowed(a), Self::Allowed(b)) => Self::Allowed(union(a, &b)),
            (Self::Held(a), Self::Held(b)) => Self::Held(union(a, &b)),
            (Self::Forbidden(a), Self::Forbidden(b)) => Self::Forbidden(union(a, &b)),
            (a, b) if a.rank() >= b.rank() => a,
            (_, b) => b,
        }
    }
}

/// Everything about a call that reaches policy, but its effects' targets.
#[derive(PartialEq, Eq, Hash)]
struct Caller {
    user: String,
    agent: String,
    tenant: String,
    level: &'static str,
    tool: String,
    effects: i64,
    /// Calls of the run or session that failed and that were refused.
    past: (i64, i64),
    host: String,
    labels: Vec<(String, String)>,
    workspaces: Vec<String>,
}

/// A question as far as policies can tell questions apart.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Question {
    kind: EffectKind,
    about: About,
    itself: Option<u32>,
    within: Vec<u32>,
}

/// What is remembered for one kind of call.
#[derive(Default)]
pub(super) struct Answers {
    questions: RwLock<HashMap<Question, Answer>>,
    /// Whole effects: most calls are about targets that were asked about before.
    effects: RwLock<HashMap<Wanted, Judged>>,
}

/// An effect that was judged before it happened: kind, target, most that it may count, and what the run has to do with it.
pub(crate) type Wanted = (EffectKind, String, Option<u32>, Known);

/// What policy says about the points that an effect surely has, and about those that it may have.
pub(crate) type Judged = (Verdict, Option<Verdict>);

/// The memory of an engine. Another set of policies has another engine, and so another memory.
#[derive(Default)]
pub(super) struct Memory {
    /// Entities that policies mention, numbered.
    mentioned: HashMap<EntityUid, u32>,
    calls: RwLock<HashMap<Caller, Arc<Answers>>>,
}

impl Memory {
    pub(super) fn of<'p>(policies: impl Iterator<Item = &'p Policy>) -> Self {
        let mut mentioned = HashMap::new();
        for uid in policies.flat_map(Policy::entity_literals) {
            let next = u32::try_from(mentioned.len()).unwrap_or(u32::MAX);
            mentioned.entry(uid).or_insert(next);
        }
        Self { mentioned, calls: RwLock::default() }
    }

    /// What is remembered for calls like this one.
    pub(super) fn answers(
        &self,
        facts: &Facts<'_>,
        level: &'static str,
        tool: &str,
        effects: i64,
        past: (i64, i64),
    ) -> Arc<Answers> {
        let mut labels: Vec<_> = facts.host.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        labels.sort_unstable();
        let caller = Caller {
            user: facts.actor.user.clone(),
            agent: facts.actor.agent.clone(),
            tenant: facts.actor.tenant.clone(),
            level,
            tool: tool.to_owned(),
            effects,
            past,
            host: facts.host.name.clone(),
            labels,
            workspaces: facts.host.workspaces.clone(),
        };
        if let Some(answers) = self.calls.read().unwrap_or_else(PoisonError::into_inner).get(&caller) {
            return answers.clone();
        }
        let mut calls = self.calls.write().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= MOST_CALLS {
            calls.clear();
        }
        calls.entry(caller).or_default().clone()
    }

    pub(super) fn question(&self, kind: EffectKind, point: &Point, about: About) -> Question {
        let number = |uid: &EntityUid| self.mentioned.get(uid).copied();
        let mut within: Vec<u32> = point.parents.iter().filter_map(number).collect();
        within.sort_unstable();
        Question { kind, about, itself: number(&point.uid), within }
    }
}

pub(super) fn recall(answers: &Answers, question: &Question) -> Option<Answer> {
    answers.questions.read().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
}

pub(super) fn remember(answers: &Answers, question: Question, answer: Answer) {
    keep(&answers.questions, question, answer);
}

pub(super) fn recall_effect(answers: &Answers, wanted: &Wanted) -> Option<Judged> {
    answers.effects.read().unwrap_or_else(PoisonError::into_inner).get(wanted).cloned()
}

pub(super) fn remember_effect(answers: &Answers, wanted: Wanted, judged: Judged) {
    keep(&answers.effects, wanted, judged);
}

fn keep<K: Eq + std::hash::Hash, V>(known: &RwLock<HashMap<K, V>>, key: K, value: V) {
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= MOST_QUESTIONS {
        known.clear();
    }
    known.insert(key, value);
}
