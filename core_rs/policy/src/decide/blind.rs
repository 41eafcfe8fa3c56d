//! Hosts that can neither hold an action back nor see what it did: a person decides before anything runs.

use cmdop_contract::effect::is_irreversible;
use cmdop_contract::reason;
use cmdop_contract::v1::{EffectKind, EffectSource, Error, Reason};
use cmdop_contract::validate::Validated;

use super::assess::Finding;
use super::{Facts, OBSERVES, UNCONFINED};

/// What nobody confines or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blind {
    /// A command that runs with everything that the host's user may do.
    Command,
    /// A tool that does what it says, and whose word is all there is.
    Tool,
}

/// Is the action one that its host can only do blindly? What just looks has nothing to measure.
pub(super) fn of(validated: &Validated, findings: &[Finding], facts: &Facts<'_>) -> Option<Blind> {
    let says = |name: &str, is_available: bool| {
        facts.host.capabilities.iter().any(|found| found.name == name && found.available == is_available)
    };
    if validated.tool().contract().effect_source() != EffectSource::Template {
        // A command says little of what it does, so one that only looks as far as anybody knows counts, too.
        return (says(UNCONFINED, true) || says(OBSERVES, false)).then_some(Blind::Command);
    }
    let changes = findings.iter().any(|finding| !finding.is_look());
    (changes && says(OBSERVES, false)).then_some(Blind::Tool)
}

impl Blind {
    /// Can the host keep secrets from it? What is not confined reads what its user can read.
    pub(super) fn can_mask(self) -> bool {
        self == Self::Tool
    }

    /// Is an effect of this kind there for good? What a command did where nobody saw it nobody can undo.
    pub(super) fn takes_nothing_back(self, kind: EffectKind) -> bool {
        self == Self::Command || is_irreversible(kind)
    }

    /// Why a person decides first.
    pub(super) fn why(self, findings: &[Finding], facts: &Facts<'_>) -> String {
        let host = &facts.host.name;
        match self {
            Self::Command => format!(
                "host `{host}` cannot confine a command: it may change, read and contact everything that the host's \
                 user may, secrets included, whatever it declares, and nobody will see what it did; so a person \
                 decides before it runs"
            ),
            Self::Tool => {
                let changes: Vec<String> =
                    findings.iter().filter(|finding| !finding.is_look()).map(Finding::text).collect();
                format!(
                    "host `{host}` does not measure what its tools change, so nobody but the tool will say what \
                     became of {}; a person decides before it runs",
                    super::explain::list(&changes)
                )
            }
        }
    }

    /// The refusal at a level that changes nothing.
    pub(super) fn shadowed(self, facts: &Facts<'_>) -> Error {
        let what = match self {
            Self::Command => "run a command on a private copy",
            Self::Tool => "show a change without making it",
        };
        let message =
            format!("the agent's level is `shadow` and host `{}` cannot {what}; it was not tried", facts.host.name);
        reason::error(Reason::ShadowOnly, message)
    }
}
