//! Effects: what an action says, may, or did change.

use std::fmt;

use crate::digest::observation_digest;
use crate::near;
use crate::path::{TargetError, unescape};
pub use crate::target::{Base, Target};
use crate::v1::{
    EffectKind, ExpectedEffect, Observation, ObservedEffect, PermittedEffect, PredictedEffect, Unobserved,
};

/// What an effect does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Changes the machine.
    Change,
    /// Reaches beyond the machine.
    Contact,
    /// Only looks.
    Look,
}

/// All kinds with their text forms.
pub const KINDS: &[(EffectKind, &str)] = &[
    (EffectKind::FileCreate, "file.create"),
    (EffectKind::FileModify, "file.modify"),
    (EffectKind::FileDelete, "file.delete"),
    (EffectKind::FileRename, "file.rename"),
    (EffectKind::FileChmod, "file.chmod"),
    (EffectKind::FileChown, "file.chown"),
    (EffectKind::ProcessSignal, "process.signal"),
    (EffectKind::ProcessLeaveRunning, "process.leave_running"),
    (EffectKind::ServiceStart, "service.start"),
    (EffectKind::ServiceStop, "service.stop"),
    (EffectKind::ServiceRestart, "service.restart"),
    (EffectKind::ServiceReload, "service.reload"),
    (EffectKind::PackageInstall, "package.install"),
    (EffectKind::PackageRemove, "package.remove"),
    (EffectKind::DeployRelease, "deploy.release"),
    (EffectKind::DeployRollback, "deploy.rollback"),
    (EffectKind::NetConnect, "net.connect"),
    (EffectKind::NetListen, "net.listen"),
    (EffectKind::External, "external"),
    (EffectKind::FileRead, "file.read"),
    (EffectKind::ProcessInspect, "process.inspect"),
    (EffectKind::ProcessSpawn, "process.spawn"),
];

/// Text form of a kind: `file.delete`.
#[must_use]
pub fn kind_name(kind: EffectKind) -> &'static str {
    KINDS.iter().find(|(each, _)| *each == kind).map_or("unspecified", |(_, name)| name)
}

/// The kind of a text form.
#[must_use]
pub fn parse_kind(name: &str) -> Option<EffectKind> {
    KINDS.iter().find(|(_, each)| *each == name).map(|(kind, _)| *kind)
}

/// What others call some kinds.
const ALSO: &[(&str, &str)] = &[
    ("file.write", "file.modify"),
    ("file.overwrite", "file.modify"),
    ("file.permissions", "file.chmod"),
    ("file.owner", "file.chown"),
    ("file.edit", "file.modify"),
    ("file.update", "file.modify"),
    ("file.append", "file.modify"),
    ("file.remove", "file.delete"),
    ("file.unlink", "file.delete"),
    ("file.move", "file.rename"),
    ("file.mkdir", "file.create"),
    ("file.mv", "file.rename"),
    ("file.rm", "file.delete"),
    ("directory.create", "file.create"),
    ("directory.delete", "file.delete"),
    ("process.kill", "process.signal"),
    ("process.start", "process.leave_running"),
    ("network.connect", "net.connect"),
    ("network.listen", "net.listen"),
    ("package.uninstall", "package.remove"),
];

/// The text form that a text was likely meant to be.
#[must_use]
pub fn meant_kind(text: &str) -> Option<&'static str> {
    let folded = text.trim().to_lowercase().replace([':', '/', '-', ' '], ".");
    let folded = folded.trim_start_matches("effect_kind_");
    // `file_delete` and `process.leave-running`: which of the separators is the dot, its kind says.
    let same = |kind: &str| kind.replace('_', ".") == folded.replace('_', ".");
    let plain = || KINDS.iter().map(|(_, name)| *name).find(|kind| same(kind));
    let also = || ALSO.iter().find(|(other, _)| same(other)).map(|(_, kind)| *kind);
    plain().or_else(also).or_else(|| near::meant(text, KINDS.iter().map(|(_, name)| *name)))
}

/// What effects of this kind do to the world.
#[must_use]
pub fn class(kind: EffectKind) -> Class {
    match kind as i32 {
        64.. => Class::Look,
        32.. => Class::Contact,
        _ => Class::Change,
    }
}

/// Does running on a private copy of the machine hold effects of this kind back?
#[must_use]
pub fn is_containable(kind: EffectKind) -> bool {
    class(kind) == Class::Look
        || matches!(
            kind,
            EffectKind::FileCreate
                | EffectKind::FileModify
                | EffectKind::FileDelete
                | EffectKind::FileRename
                | EffectKind::FileChmod
                | EffectKind::FileChown
        )
}

/// What is observed where nobody could see the effects of these kinds, each of which is named once; looks are none.
#[must_use]
pub fn unseen(kinds: impl IntoIterator<Item = EffectKind>, why: &str) -> Observation {
    let mut kinds: Vec<_> = kinds.into_iter().filter(|kind| class(*kind) != Class::Look).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let unobserved = kinds.iter().map(|kind| Unobserved { kind: (*kind).into(), why: why.into() }).collect();
    Observation { unobserved, digest: observation_digest(&[]), ..Observation::default() }
}

/// Does the host know this effect of the tool before it has it, and hold it back until it may?
///
/// A deployment is a tree and a link until it is live, and its checks ask nobody before that.
#[must_use]
pub fn is_held_back(tool: &str, kind: EffectKind) -> bool {
    let is_planned = matches!(tool, "deploy.release" | "deploy.rollback" | "deploy.status")
        && matches!(kind, EffectKind::DeployRelease | EffectKind::DeployRollback | EffectKind::NetConnect);
    is_planned || is_containable(kind)
}

/// Of what runs before anybody can measure it: can nothing take effects of this kind back?
///
/// Files are kept for an undo, a service is started again, a package installed again, and a deployment has a release
/// to go back to. What was killed or sent away stays so.
#[must_use]
pub fn is_irreversible(kind: EffectKind) -> bool {
    matches!(
        kind,
        EffectKind::ProcessSignal | EffectKind::PackageRemove | EffectKind::NetConnect | EffectKind::External
    )
}

/// A declared effect, parsed once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Effect {
    /// What kind of thing happens.
    pub kind: EffectKind,
    /// What it happens to.
    pub target: Target,
    /// How often it must be observed at least.
    pub min_count: u32,
    /// How often at most; `None` is no limit.
    pub max_count: Option<u32>,
    /// What of the world it covers: for deletes the target's whole subtrees.
    reach: Target,
}

impl Effect {
    /// An effect that must happen at least once.
    #[must_use]
    pub fn new(kind: EffectKind, target: Target) -> Self {
        let reach = match (&target, kind) {
            (Target::Path(pattern), EffectKind::FileDelete) => Target::Path(pattern.tree()),
            _ => target.clone(),
        };
        Self { kind, target, min_count: 1, max_count: None, reach }
    }

    /// The same effect with another least count.
    #[must_use]
    pub fn at_least(mut self, min_count: u32) -> Self {
        self.min_count = min_count;
        self
    }

    /// Parses a declared effect.
    ///
    /// # Errors
    /// A sentence that says how to mend it.
    pub fn parse(expected: &ExpectedEffect, base: &Base<'_>) -> Result<Self, TargetError> {
        let mut effect = Self::new(expected.kind(), Target::parse(expected.kind(), &expected.target, base)?);
        effect.min_count = expected.min_count.unwrap_or(1);
        effect.max_count = expected.max_count;
        if effect.max_count.is_some_and(|max| max < effect.min_count) {
            return Err(TargetError::Counts { min: effect.min_count, max: effect.max_count.unwrap_or(0) });
        }
        Ok(effect)
    }

    /// Does it surely cover everything of this kind and target?
    #[must_use]
    pub fn covers(&self, kind: EffectKind, target: &Target) -> bool {
        self.kind == kind && self.reach.covers(target)
    }

    /// Does it cover what was observed? A target that does not parse is not covered.
    #[must_use]
    pub fn covers_observed(&self, observed: &ObservedEffect) -> bool {
        self.kind == observed.kind() && self.reaches(observed)
    }

    /// Does it reach what an effect was observed at, whatever its kind?
    pub(crate) fn reaches(&self, observed: &ObservedEffect) -> bool {
        match &self.reach {
            // One literal of which a call may have very many: nothing is compiled for it.
            Target::Path(reach) => unescape(&observed.target).is_ok_and(|path| reach.covers(&path)),
            reach => texts(observed)
                .any(|text| Target::parse(self.kind, text, &Base::default()).is_ok_and(|target| reach.covers(&target))),
        }
    }

    /// Does it cover what was predicted? A predicted delete is one of whole subtrees.
    #[must_use]
    pub fn covers_predicted(&self, predicted: &PredictedEffect) -> bool {
        let target = Target::parse(predicted.kind(), &predicted.target, &Base::default());
        target.is_ok_and(|target| {
            let predicted = Self::new(predicted.kind(), target);
            self.covers(predicted.kind, &predicted.reach)
        })
    }

    /// Everything the effect may touch: for deletes the target's whole subtrees.
    #[must_use]
    pub fn reach(&self) -> &Target {
        &self.reach
    }
}

/// What an effect was observed at: a process that was signalled by its number has a name, too.
fn texts(observed: &ObservedEffect) -> impl Iterator<Item = &str> {
    let name = observed.process.as_ref().map(|process| process.name.as_str());
    // A process may call itself by the number of another.
    let name = name.filter(|name| !name.is_empty() && !name.starts_with("pid:"));
    std::iter::once(observed.target.as_str()).chain(name)
}

impl fmt::Display for Effect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", kind_name(self.kind), self.target)
    }
}

impl From<&Effect> for ExpectedEffect {
    fn from(effect: &Effect) -> Self {
        Self {
            kind: effect.kind.into(),
            target: effect.target.to_string(),
            min_count: Some(effect.min_count),
            max_count: effect.max_count,
            ..Self::default()
        }
    }
}

impl From<&Effect> for PermittedEffect {
    fn from(effect: &Effect) -> Self {
        Self { kind: effect.kind.into(), target: effect.target.to_string(), max_count: effect.max_count }
    }
}

impl TryFrom<&PermittedEffect> for Effect {
    type Error = TargetError;

    fn try_from(permitted: &PermittedEffect) -> Result<Self, TargetError> {
        let expected = ExpectedEffect {
            kind: permitted.kind,
            target: permitted.target.clone(),
            min_count: Some(0),
            max_count: permitted.max_count,
            ..ExpectedEffect::default()
        };
        Self::parse(&expected, &Base::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(kind: EffectKind, target: &str) -> Effect {
        Effect::new(kind, Target::parse(kind, target, &Base::default()).expect("a target"))
    }

    fn observed(kind: EffectKind, target: &str) -> ObservedEffect {
        ObservedEffect { kind: kind.into(), target: target.into(), count: 1, ..ObservedEffect::default() }
    }

    #[test]
    fn every_kind_has_one_text_form() {
        for number in 1..128 {
            if let Ok(kind) = EffectKind::try_from(number) {
                assert_eq!(parse_kind(kind_name(kind)), Some(kind));
                let from_wire =
                    kind.as_str_name().trim_start_matches("EFFECT_KIND_").to_lowercase().replacen('_', ".", 1);
                assert_eq!(kind_name(kind), from_wire);
            }
        }
        assert_eq!(parse_kind("file.destroy"), None);
        assert!(ALSO.iter().all(|(other, kind)| parse_kind(other).is_none() && parse_kind(kind).is_some()));
        assert_eq!((meant_kind("file.remove"), meant_kind("file.deleted")), (Some("file.delete"), Some("file.delete")));
        assert_eq!(meant_kind("nonsense"), None);
    }

    #[test]
    fn deleting_a_directory_covers_what_lies_beneath_and_nothing_else_does() {
        let delete = effect(EffectKind::FileDelete, "/srv/app/logs");
        assert!(delete.covers_observed(&observed(EffectKind::FileDelete, "/srv/app/logs/a/b")));
        assert!(!delete.covers_observed(&observed(EffectKind::FileDelete, "/srv/app")));
        assert!(!delete.covers_observed(&observed(EffectKind::FileModify, "/srv/app/logs")));
        let modify = effect(EffectKind::FileModify, "/srv/app/logs");
        assert!(!modify.covers_observed(&observed(EffectKind::FileModify, "/srv/app/logs/a")));
    }

    #[test]
    fn a_predicted_delete_is_covered_only_with_all_its_subtrees() {
        let predicted = |target: &str| PredictedEffect {
            kind: EffectKind::FileDelete.into(),
            target: target.into(),
            ..PredictedEffect::default()
        };
        assert!(effect(EffectKind::FileDelete, "/a/*").covers_predicted(&predicted("/a/b")));
        assert!(!effect(EffectKind::FileDelete, "/a/*").covers_predicted(&predicted("/a")));
    }

    #[test]
    fn counts_that_cannot_be_met_are_refused() {
        let expected = ExpectedEffect {
            kind: EffectKind::FileDelete.into(),
            target: "/a".into(),
            min_count: None,
            max_count: Some(0),
            ..ExpectedEffect::default()
        };
        assert!(Effect::parse(&expected, &Base::default()).is_err());
    }
}
