//! Every effect of a call, authorised point by point.

use cmdop_contract::effect::{Class as EffectClass, Effect, Target, class, is_held_back};
use cmdop_contract::v1::{EffectKind, NarrowEffect, PermittedEffect, PolicyRef, Prediction};
use cmdop_contract::validate::Validated;

use super::bound::bind;
use super::past::Known;
use super::{Facts, masks};
use crate::classes::{Class as PathClass, Classes};
use crate::engine::{About, Engine, Inquiry, Judged, Verdict, effect_text, is_floor};
use crate::points::{Point, carries_subtree, points};

/// Where an effect comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Predicted,
    Declared,
}

/// An effect and what policy says about it.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) kind: EffectKind,
    pub(super) target: Target,
    pub(super) origin: Origin,
    /// It happens if the action does what it aims at. Looks always count as certain: a private
    /// copy does not hold them back.
    pub(super) certain: bool,
    /// One of a pair of which only one happens: `>` creates or modifies.
    pub(super) either: bool,
    /// A private copy holds it back.
    pub(super) containable: bool,
    /// What it takes away is kept elsewhere, so that what else may lie in its target makes no difference.
    pub(super) recoverable: bool,
    pub(super) max_count: Option<u32>,
    /// The worst answer over the points that the target surely has.
    pub(super) verdict: Verdict,
    /// The worst answer over the points that it may have.
    pub(super) uncertain: Option<Verdict>,
    /// It is permitted only because the run or session made what it is about, which the host has not confirmed.
    pub(super) is_foretold: bool,
}

impl Finding {
    pub(super) fn text(&self) -> String {
        effect_text(self.kind, &self.target.to_string())
    }

    pub(super) fn is_look(&self) -> bool {
        class(self.kind) == EffectClass::Look
    }

    /// True if neither the effect nor a point of it is in doubt and nothing stands in the way.
    pub(super) fn is_clear(&self) -> bool {
        self.verdict.is_allowed() && !self.is_foretold && self.uncertain.as_ref().is_none_or(Verdict::is_allowed)
    }

    /// True if it is clear, or only in doubt about what its target may hold and nothing of that would be lost.
    pub(super) fn is_harmless(&self) -> bool {
        self.is_clear() || (self.recoverable && self.verdict.is_allowed() && !self.is_foretold)
    }

    pub(super) fn permitted(&self) -> PermittedEffect {
        PermittedEffect { kind: self.kind.into(), target: self.target.to_string(), max_count: self.max_count }
    }
}

/// What is known of a call's effects before it runs.
pub(super) struct Assessment<'a> {
    pub(super) findings: Vec<Finding>,
    pub(super) inquiry: Inquiry<'a>,
    pub(super) classes: Classes,
    /// Of a command: classes of which it may read nothing unasked.
    pub(super) masked: Vec<PathClass>,
}

impl<'a> Assessment<'a> {
    /// # Errors
    /// Why policy could not be asked at all; nothing is then allowed.
    pub(super) fn of(
        engine: &'a Engine,
        validated: &Validated,
        prediction: &Prediction,
        observed: usize,
        facts: &Facts<'a>,
    ) -> Result<Self, String> {
        let declared = validated.declared();
        let tool = validated.tool().name();
        let effects = observed.max(declared.len() + prediction.effects.len());
        let inquiry = Inquiry::new(engine, facts, tool, effects);
        let masked = if masks::is_command(validated) { masks::classes(engine, &inquiry) } else { Vec::new() };
        let mut assessment = Self { findings: Vec::new(), inquiry, classes: Classes::of(facts.host), masked };
        for effect in &prediction.effects {
            let target = Target::parse(effect.kind(), &effect.target, &Default::default())
                .map_err(|error| format!("the predicted effect `{}` cannot be read: {error}", effect.target))?;
            let look = class(effect.kind()) == EffectClass::Look;
            let containable = look || (effect.containable && is_held_back(tool, effect.kind()));
            let certain = look || effect.certain;
            let draft = Draft {
                kind: effect.kind(),
                target,
                origin: Origin::Predicted,
                certain,
                containable,
                recoverable: effect.recoverable,
                max_count: None,
            };
            assessment.add(engine, draft);
        }
        assessment.add_implied_looks(engine, declared, !prediction.unanalysable.is_empty());
        for Effect { kind, target, max_count, .. } in declared {
            let look = class(*kind) == EffectClass::Look;
            let containable = look || is_held_back(tool, *kind);
            // Declared as it was foreseen, it is the same effect.
            let is_same = |it: &Finding| it.recoverable && it.kind == *kind && it.target == *target;
            let draft = Draft {
                kind: *kind,
                target: target.clone(),
                origin: Origin::Declared,
                certain: true,
                containable,
                recoverable: assessment.findings.iter().any(is_same),
                max_count: *max_count,
            };
            assessment.add(engine, draft);
        }
        assessment.settle_writes();
        Ok(assessment)
    }

    /// The remedy of a refusal, unless there is none: what of the declaration policy allows, and the workspaces
    /// in which it allows the same kind of change.
    pub(super) fn narrowed(&self, engine: &Engine, refused: &[EffectKind], predicted: &str) -> Option<NarrowEffect> {
        let kind = refused.iter().copied().find(|kind| class(*kind) == EffectClass::Change)?;
        let declared = |finding: &&Finding| finding.origin == Origin::Declared && finding.kind == kind;
        let allowed = self.findings.iter().filter(declared).find(|finding| finding.verdict.is_allowed());
        let is_allowed = |workspace: &&String| {
            let inside = format!("{}/*", workspace.trim_end_matches('/'));
            let target = Target::parse(kind, &inside, &Default::default()).ok();
            target.filter(|target| target.as_path().is_some()).is_some_and(|target| {
                let (origin, max_count) = (Origin::Declared, None);
                let draft =
                    Draft { kind, target, origin, certain: true, containable: true, recoverable: false, max_count };
                self.authorise(engine, &draft, Known::default()).0.is_allowed()
            })
        };
        let workspaces = &self.inquiry.facts().host.workspaces;
        let narrow = NarrowEffect {
            predicted: predicted.to_owned(),
            declared: allowed.map(Finding::text).unwrap_or_default(),
            allowed_beneath: workspaces.iter().filter(is_allowed).cloned().collect(),
            refused: self.only_declared(),
        };
        let is_empty = narrow.declared.is_empty() && narrow.allowed_beneath.is_empty() && narrow.refused.is_empty();
        (!is_empty).then_some(narrow)
    }

    /// The declared effects that policy refuses, if it refuses nothing that was foreseen: then the declaration is
    /// too wide, and not the action.
    fn only_declared(&self) -> Vec<u32> {
        let is_refused = |it: &&Finding| matches!(it.verdict, Verdict::Forbidden(_) | Verdict::NotPermitted);
        let by_floor = |it: &Finding| matches!(&it.verdict, Verdict::Forbidden(by) if by.iter().any(is_floor));
        let mut refused = self.findings.iter().filter(is_refused);
        if refused.any(|it| it.origin != Origin::Declared || by_floor(it)) {
            return Vec::new();
        }
        let declared = self.findings.iter().filter(|it| it.origin == Origin::Declared);
        (0..).zip(declared).filter(|(_, it)| is_refused(it)).map(|(index, _)| index).collect()
    }

    /// What a command must see to change what is masked, policy is asked about as a look: what it moves,
    /// which under another name is open to others, and whatever it says that it changes where nobody
    /// foresaw what it looks at.
    fn add_implied_looks(&mut self, engine: &Engine, declared: &[Effect], is_unforeseen: bool) {
        let declared = declared
            .iter()
            .filter(|it| it.kind == EffectKind::FileRename || (is_unforeseen && masks::sees_content(it.kind)));
        let moved = self.findings.iter().filter(|finding| finding.kind == EffectKind::FileRename);
        let targets = declared.map(|effect| &effect.target).chain(moved.map(|finding| &finding.target));
        let named: Vec<Target> =
            targets.filter(|target| masks::names(&self.classes, &self.masked, target)).cloned().collect();
        for target in named {
            let (kind, origin) = (EffectKind::FileRead, Origin::Predicted);
            let draft =
                Draft { kind, target, origin, certain: true, containable: true, recoverable: false, max_count: None };
            self.add(engine, draft);
        }
    }

    fn add(&mut self, engine: &Engine, draft: Draft) {
        let known = self.known(&draft);
        let (verdict, uncertain) = self.judged(engine, &draft, known);
        let is_foretold = known.made
            && verdict.is_allowed()
            && !self.judged(engine, &draft, Known { made: false, ..known }).0.is_allowed();
        let Draft { kind, target, origin, certain, containable, recoverable, max_count } = draft;
        let verdict = bind(verdict, kind, &target, self.inquiry.facts());
        self.findings.push(Finding {
            kind,
            target,
            origin,
            certain,
            either: false,
            containable,
            recoverable,
            max_count,
            verdict,
            uncertain,
            is_foretold,
        });
    }

    /// What the run or session has to do with it. On a host that measures nothing, nothing is known.
    fn known(&self, draft: &Draft) -> Known {
        let facts = self.inquiry.facts();
        self.inquiry.asked(facts.past.foretold(&facts.host.name, draft.kind, &draft.target))
    }

    fn judged(&self, engine: &Engine, draft: &Draft, known: Known) -> Judged {
        let count = self.inquiry.counted(draft.max_count);
        let wanted = (draft.kind, draft.target.to_string(), count, known);
        self.inquiry.recall(&wanted).unwrap_or_else(|| {
            let judged = self.authorise(engine, draft, known);
            self.inquiry.remember(wanted, judged.clone());
            judged
        })
    }

    fn authorise(&self, engine: &Engine, draft: &Draft, known: Known) -> Judged {
        authorise(engine, &self.inquiry, &self.classes, (draft.kind, &draft.target, draft.max_count), known)
    }

    /// `>` either creates or modifies: neither is certain, yet one of them is.
    fn settle_writes(&mut self) {
        let doubtful = |finding: &Finding| finding.origin == Origin::Predicted && !finding.certain;
        if !self.findings.iter().any(doubtful) {
            return;
        }
        let targets = |kind: EffectKind, findings: &[Finding]| -> Vec<String> {
            let of_kind = findings.iter().filter(|finding| finding.kind == kind && doubtful(finding));
            of_kind.map(|finding| finding.target.to_string()).collect()
        };
        let created = targets(EffectKind::FileCreate, &self.findings);
        let modified = targets(EffectKind::FileModify, &self.findings);
        for finding in &mut self.findings {
            let text = finding.target.to_string();
            let write = matches!(finding.kind, EffectKind::FileCreate | EffectKind::FileModify);
            if write && doubtful(finding) && created.contains(&text) && modified.contains(&text) {
                finding.certain = true;
                finding.either = true;
            }
        }
    }
}

struct Draft {
    kind: EffectKind,
    target: Target,
    origin: Origin,
    certain: bool,
    containable: bool,
    recoverable: bool,
    max_count: Option<u32>,
}

/// What policy says about the points that an effect surely has, and about those that it may have.
pub(crate) fn authorise(
    engine: &Engine,
    inquiry: &Inquiry<'_>,
    classes: &Classes,
    (kind, target, max_count): (EffectKind, &Target, Option<u32>),
    known: Known,
) -> Judged {
    let points = points(kind, target, carries_subtree(kind), engine.anchors(), classes);
    let count = max_count.map(u64::from);
    // Of what may lie in it nobody knows who made it.
    let ask = |point: &Point| {
        let known = Known { made: known.made && point.certain, ..known };
        inquiry.ask(kind, point, About { count, observed: false, known })
    };
    let (certain, uncertain): (Vec<_>, Vec<_>) = points.list.iter().partition(|point| point.certain);
    let verdict = ask_all(certain.into_iter(), ask, Verdict::is_settled);
    let mut verdict = verdict.unwrap_or_else(|| Verdict::Failed("the target has no point to ask about".to_owned()));
    if !points.complete {
        verdict = verdict.worst(Verdict::NotPermitted);
    }
    // What may be in a region makes no difference to a look: a private copy does not hide it, and
    // the host shows no secrets that were not named. One doubt is enough for everything else.
    if class(kind) == EffectClass::Look || matches!(verdict, Verdict::Forbidden(_) | Verdict::Failed(_)) {
        return (verdict, None);
    }
    let uncertain = ask_all(uncertain.into_iter(), ask, |verdict| !verdict.is_allowed());
    match uncertain {
        Some(Verdict::Failed(why)) => (Verdict::Failed(why), None),
        uncertain => (verdict, uncertain),
    }
}

/// The worst answer, asked until it cannot matter any more.
pub(super) fn ask_all<'p>(
    points: impl Iterator<Item = &'p Point>,
    ask: impl Fn(&Point) -> Verdict,
    enough: impl Fn(&Verdict) -> bool,
) -> Option<Verdict> {
    let mut worst: Option<Verdict> = None;
    for point in points {
        let verdict = ask(point);
        let so_far = match worst.take() {
            Some(so_far) => so_far.worst(verdict),
            None => verdict,
        };
        if enough(&so_far) {
            return Some(so_far);
        }
        worst = Some(so_far);
    }
    worst
}

/// The policies of many verdicts, each id once, the floor's first.
pub(super) fn policies<'v>(verdicts: impl Iterator<Item = &'v Verdict>) -> Vec<PolicyRef> {
    let mut seen: Vec<PolicyRef> = Vec::new();
    for verdict in verdicts {
        let (Verdict::Allowed(refs) | Verdict::Held(refs) | Verdict::Forbidden(refs)) = verdict else { continue };
        for policy in refs {
            if !seen.iter().any(|known| known.id == policy.id) {
                seen.push(policy.clone());
            }
        }
    }
    seen.sort_by_key(|policy| !crate::engine::is_floor(policy));
    seen
}
