//! Which files a command must find unreadable: what policy would not let its actor look at unasked.
//!
//! A command's looks are authorised on prediction, and nobody can foresee all of them. So the classes
//! of which policy permits no look are masked as a whole, but for what the permit names.

use cmdop_contract::effect::Target;
use cmdop_contract::v1::{EffectKind, EffectSource, Masks, Prediction};
use cmdop_contract::validate::Validated;

use super::assess::{Assessment, Finding, Origin};
use crate::classes::{Class, Classes, MASKABLE};
use crate::engine::{About, Engine, Inquiry, Subject, uid};
use crate::points::Point;

/// Is it a command, of whose looks only the foreseen are known?
pub(super) fn is_command(validated: &Validated) -> bool {
    validated.tool().contract().effect_source() == EffectSource::Declared
}

/// Classes of which a member may not be read unasked.
pub(super) fn classes(engine: &Engine, inquiry: &Inquiry<'_>) -> Vec<Class> {
    let member = |class: Class| Point {
        uid: uid(Subject::Path.type_name(), "/**"),
        parents: vec![class.uid()],
        certain: false,
        text: format!("what is of the class {}", class.name()),
    };
    let is_open = |class: &Class| inquiry.ask(EffectKind::FileRead, &member(*class), About::default()).is_allowed();
    let mentioned = |class: &Class| engine.anchors().mentions(*class);
    // One that no policy mentions is read like any file.
    MASKABLE.into_iter().filter(|class| mentioned(class) && !is_open(class)).collect()
}

/// A change whose outcome depends on what the file holds, so that the command must see it.
pub(super) fn sees_content(kind: EffectKind) -> bool {
    use EffectKind as K;
    matches!(kind, K::FileCreate | K::FileModify | K::FileRename | K::FileChmod | K::FileChown)
}

/// True if the target names members of these classes and nothing else: then policy was asked about them.
pub(super) fn names(classes: &Classes, masked: &[Class], target: &Target) -> bool {
    target.as_path().is_some_and(|region| classes.hold(region, masked))
}

/// What a permit hides; none for a native tool, which looks at what it names.
pub(super) fn of(found: &Assessment<'_>, validated: &Validated, prediction: &Prediction) -> Option<Masks> {
    if !is_command(validated) || found.masked.is_empty() {
        return None;
    }
    // Where nothing is unanalysable a change was foreseen to be no look. Elsewhere it counts as one,
    // and policy was asked about that.
    let is_seen = |finding: &&Finding| match finding.origin {
        _ if finding.kind == EffectKind::FileRead => true,
        Origin::Declared => prediction.unanalysable.is_empty() && sees_content(finding.kind),
        Origin::Predicted => false,
    };
    // Policy is asked about what the wildcards of a look spell, and of nothing else.
    let is_meant = |finding: &&Finding| {
        names(&found.classes, &found.masked, &finding.target)
            || (finding.is_look()
                && finding.target.as_path().is_some_and(|region| found.classes.are_spelled(region, &found.masked)))
    };
    let meant = found.findings.iter().filter(is_seen).filter(is_meant);
    let mut shown: Vec<String> = meant.map(|finding| finding.target.to_string()).collect();
    shown.sort();
    shown.dedup();
    Some(Masks { classes: found.masked.iter().map(|class| class.name().to_owned()).collect(), shown })
}
