//! The life of a call: one table of states. What is not in it is an error.

use crate::v1::CallState;

/// What moves a call on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It is malformed, undeclared or denied: nothing ran.
    Refuse,
    /// Policy decided; the call stays where it is until that has a consequence.
    Decide,
    /// A person is asked.
    Hold,
    /// The person's answer is recorded; a permit or a settlement follows.
    Answer,
    /// A permit to preview or to run is durable; policy alone granted it.
    Permit,
    /// A permit to preview or to run is durable; it consumed an approval.
    PermitApproved,
    /// A permit to commit is durable; policy alone granted it.
    PermitCommit,
    /// A permit to commit is durable; it consumed an approval.
    PermitCommitApproved,
    /// The host noted the permit.
    Start,
    /// The host reported a private layer.
    Preview,
    /// The outcome is that the effects are on the machine, or that there were none to have.
    Apply,
    /// The outcome is that the machine is as it was.
    Leave,
    /// Nobody can tell.
    Lose,
    /// After a person's word: the host is back, and measured that the effects are on the machine.
    MeasureApplied,
    /// After a person's word: the host is back, and its ledger says that the machine is as it was.
    MeasureLeft,
    /// After a person's word: the host is back and cannot tell either.
    MeasureNothing,
}

/// All inputs, for tests and documentation.
pub const INPUTS: &[Input] = &[
    Input::Refuse,
    Input::Decide,
    Input::Hold,
    Input::Answer,
    Input::Permit,
    Input::PermitApproved,
    Input::PermitCommit,
    Input::PermitCommitApproved,
    Input::Start,
    Input::Preview,
    Input::Apply,
    Input::Leave,
    Input::Lose,
    Input::MeasureApplied,
    Input::MeasureLeft,
    Input::MeasureNothing,
];

/// The table. A state without a row for an input refuses it.
pub const TABLE: &[(CallState, Input, CallState)] = {
    use CallState as S;
    use Input as I;
    &[
        // After a restart an undecided call is decided anew.
        (S::Proposed, I::Decide, S::Proposed),
        (S::Proposed, I::Refuse, S::NotApplied),
        (S::Proposed, I::Hold, S::Held),
        (S::Proposed, I::Permit, S::Permitted),
        // Cancelled before any permit: nothing can have run, so no other outcome is possible.
        (S::Proposed, I::Leave, S::NotApplied),
        (S::Held, I::Answer, S::Held),
        (S::Held, I::PermitApproved, S::Permitted),
        (S::Held, I::Leave, S::NotApplied),
        (S::Permitted, I::Start, S::Running),
        // The host's note may be overtaken by its report.
        (S::Permitted, I::Preview, S::Previewed),
        (S::Permitted, I::Apply, S::Applied),
        (S::Permitted, I::Leave, S::NotApplied),
        (S::Permitted, I::Lose, S::Unknown),
        // The host cannot run it directly, and nothing ran: decided anew, for a preview.
        (S::Permitted, I::Decide, S::Proposed),
        (S::Running, I::Decide, S::Proposed),
        (S::Running, I::Preview, S::Previewed),
        (S::Running, I::Apply, S::Applied),
        (S::Running, I::Leave, S::NotApplied),
        (S::Running, I::Lose, S::Unknown),
        (S::Previewed, I::Hold, S::DiffHeld),
        (S::Previewed, I::PermitCommit, S::Committing),
        // Nothing to commit: a look, or a command without effects.
        (S::Previewed, I::Apply, S::Applied),
        (S::Previewed, I::Leave, S::NotApplied),
        (S::DiffHeld, I::Answer, S::DiffHeld),
        (S::DiffHeld, I::PermitCommitApproved, S::Committing),
        (S::DiffHeld, I::Leave, S::NotApplied),
        (S::Committing, I::Start, S::Committing),
        (S::Committing, I::Apply, S::Applied),
        (S::Committing, I::Leave, S::NotApplied),
        (S::Committing, I::Lose, S::Unknown),
        // Reconciliation settles what was lost.
        (S::Unknown, I::Apply, S::Applied),
        (S::Unknown, I::Leave, S::NotApplied),
        // The host is back and cannot tell either; its report is evidence.
        (S::Unknown, I::Lose, S::Unknown),
        // What a host measured is more than a person's word, whenever it comes. The fold lets it follow nothing else.
        (S::Applied, I::MeasureApplied, S::Applied),
        (S::Applied, I::MeasureLeft, S::NotApplied),
        (S::Applied, I::MeasureNothing, S::Applied),
        (S::NotApplied, I::MeasureApplied, S::Applied),
        (S::NotApplied, I::MeasureLeft, S::NotApplied),
        (S::NotApplied, I::MeasureNothing, S::NotApplied),
    ]
};

/// An input that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a call that is {state:?} does not take {input:?}")]
pub struct NotInTable {
    /// Where the call is.
    pub state: CallState,
    /// What came.
    pub input: Input,
}

/// The state after an input.
///
/// # Errors
/// [`NotInTable`], and the call stays where it is.
pub fn next(state: CallState, input: Input) -> Result<CallState, NotInTable> {
    let row = TABLE.iter().find(|(from, by, _)| *from == state && *by == input);
    row.map(|(_, _, to)| *to).ok_or(NotInTable { state, input })
}

/// Is the call over? Nothing follows but what its host measured, if a person's word settled it.
#[must_use]
pub fn is_final(state: CallState) -> bool {
    matches!(state, CallState::Applied | CallState::NotApplied)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &[CallState] = &[
        CallState::Unspecified,
        CallState::Proposed,
        CallState::Held,
        CallState::Permitted,
        CallState::Running,
        CallState::Previewed,
        CallState::DiffHeld,
        CallState::Committing,
        CallState::Applied,
        CallState::NotApplied,
        CallState::Unknown,
    ];

    #[test]
    fn every_pair_is_in_the_table_once_or_refused() {
        for state in STATES {
            for input in INPUTS {
                let rows = TABLE.iter().filter(|(from, by, _)| from == state && by == input).count();
                assert!(rows <= 1, "{state:?} {input:?}");
                assert_eq!(next(*state, *input).is_ok(), rows == 1);
            }
        }
    }

    #[test]
    fn nothing_follows_a_final_state_but_what_was_measured() {
        let measured = [Input::MeasureApplied, Input::MeasureLeft, Input::MeasureNothing];
        for state in STATES {
            for input in INPUTS {
                let is_measured = measured.contains(input);
                assert!(!is_final(*state) || next(*state, *input).is_ok() == is_measured, "{state:?} {input:?}");
                assert!(is_final(*state) || !is_measured || next(*state, *input).is_err(), "{state:?} {input:?}");
            }
        }
        for state in [CallState::Applied, CallState::NotApplied] {
            assert_eq!(next(state, Input::MeasureApplied), Ok(CallState::Applied));
            assert_eq!(next(state, Input::MeasureLeft), Ok(CallState::NotApplied));
            assert_eq!(next(state, Input::MeasureNothing), Ok(state));
        }
    }

    #[test]
    fn the_machine_changes_only_behind_a_permit() {
        let behind = |state| TABLE.iter().filter(move |(_, input, to)| *to == state && *input != Input::Start);
        assert!(
            behind(CallState::Permitted).all(|(_, input, _)| matches!(input, Input::Permit | Input::PermitApproved))
        );
        let commits = |input| matches!(input, Input::PermitCommit | Input::PermitCommitApproved);
        assert!(behind(CallState::Committing).all(|(_, input, _)| commits(*input)));
        let unpermitted = [CallState::Proposed, CallState::Held, CallState::DiffHeld];
        assert!(behind(CallState::Applied).all(|(from, _, _)| !unpermitted.contains(from)));
    }

    #[test]
    fn what_a_person_was_asked_about_runs_only_on_an_approval() {
        for held in [CallState::Held, CallState::DiffHeld] {
            assert!(next(held, Input::Permit).is_err() && next(held, Input::PermitCommit).is_err(), "{held:?}");
        }
        assert_eq!(next(CallState::Held, Input::PermitApproved), Ok(CallState::Permitted));
        assert_eq!(next(CallState::DiffHeld, Input::PermitCommitApproved), Ok(CallState::Committing));
        let approved = |input| matches!(input, Input::PermitApproved | Input::PermitCommitApproved);
        let rows = TABLE.iter().filter(|(_, input, _)| approved(*input));
        assert_eq!(rows.filter(|(from, _, _)| !matches!(from, CallState::Held | CallState::DiffHeld)).count(), 0);
    }

    #[test]
    fn every_state_can_still_end() {
        for state in STATES.iter().filter(|state| **state != CallState::Unspecified && !is_final(**state)) {
            let ends = [Input::Leave, Input::Refuse];
            assert!(ends.iter().any(|input| next(*state, *input) == Ok(CallState::NotApplied)), "{state:?}");
        }
    }
}
