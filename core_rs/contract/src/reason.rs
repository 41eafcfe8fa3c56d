//! The table of reasons, and typed errors made from it.

use std::fmt;

use crate::v1::{
    DeclareEffect, Error, ExpectedEffect, FixArguments, NarrowEffect, PolicyRef, Reason, Reconcile, Remedy,
    RequestApproval, RetryAfter, RetryClass, Stop, UseTool, Violation, remedy, use_tool,
};

pub use crate::v1::fix_arguments::Change;

/// One row of the table; it derives from the options in `error.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The reason.
    pub reason: Reason,
    /// Its text form: `POLICY_DENIED`.
    pub name: &'static str,
    /// Canonical gRPC status code.
    pub grpc_code: u32,
    /// What may be done about it without changing what the call means.
    pub retry: RetryClass,
    /// Field name in `Remedy` of the remedy that usually comes with it.
    pub remedy: &'static str,
    /// One sentence for documentation.
    pub summary: &'static str,
    /// What to do in words, if the error says nothing better.
    pub mend: &'static str,
    /// May following the remedy be enough, with nothing asked of who wrote the call?
    pub mechanical: bool,
}

static TABLE: &[Spec] = include!("_gen/reasons.rs");

/// All rows, in the order of the wire's enum.
#[must_use]
pub fn table() -> &'static [Spec] {
    TABLE
}

/// The row of a reason.
#[must_use]
pub fn spec(reason: Reason) -> &'static Spec {
    TABLE.iter().find(|spec| spec.reason == reason).unwrap_or(&TABLE[0])
}

/// A typed error with the remedy that usually comes with its reason. Who knows the details replaces it; without them
/// it says in words what to do, so that no remedy is empty.
#[must_use]
pub fn error(reason: Reason, message: impl Into<String>) -> Error {
    let row = spec(reason);
    let fix = |path: &str| remedy::Kind::FixArguments(fixed(path, row.mend));
    let remedy = match row.remedy {
        "retry_after" => remedy::Kind::RetryAfter(RetryAfter { ms: 1_000, ..RetryAfter::default() }),
        "request_approval" => remedy::Kind::RequestApproval(RequestApproval::default()),
        // Which effects, which tool: without them it is said in words.
        "fix_arguments" | "use_tool" | "narrow_effect" => fix(""),
        "declare_effect" => fix("/expect"),
        _ => stop(row.mend),
    };
    Error { reason: reason.into(), message: message.into(), ..Error::default() }.with(remedy)
}

/// The remedy that there is none, and why.
#[must_use]
pub fn stop(why: &str) -> remedy::Kind {
    remedy::Kind::Stop(Stop { why: why.into() })
}

/// A remedy that names a place and says what should stand there.
#[must_use]
pub fn fixed(path: &str, expected: &str) -> FixArguments {
    FixArguments { path: path.into(), expected: expected.into(), change: None }
}

/// The change that puts a value in its place.
#[must_use]
pub fn value(value: impl Into<serde_json::Value>) -> Change {
    Change::ValueJson(value.into().to_string())
}

/// Is there something to this remedy? It names what to mend, to use or to wait for, or why there is nothing.
#[must_use]
pub fn is_said(remedy: &remedy::Kind) -> bool {
    match remedy {
        remedy::Kind::FixArguments(fix) => !fix.expected.is_empty(),
        remedy::Kind::NarrowEffect(narrow) => {
            !(narrow.declared.is_empty() && narrow.allowed_beneath.is_empty() && narrow.refused.is_empty())
        }
        remedy::Kind::DeclareEffect(declare) => !declare.effects.is_empty(),
        remedy::Kind::UseTool(tool) => !tool.name.is_empty(),
        remedy::Kind::RetryAfter(retry) => retry.ms > 0,
        remedy::Kind::Reconcile(reconcile) => !reconcile.call_id.is_empty(),
        // Without an approval there is one to be asked for.
        remedy::Kind::RequestApproval(_) => true,
        remedy::Kind::Stop(stop) => !stop.why.is_empty(),
    }
}

/// May the same action come again under the key of a call that changed nothing and ended with this error? It passes
/// by itself, and nothing else came of it.
#[must_use]
pub fn may_come_again(error: &Error) -> bool {
    let waits = matches!(error.remedy.as_ref().and_then(|it| it.kind.as_ref()), Some(remedy::Kind::RetryAfter(_)));
    waits && matches!(spec(error.reason()).retry, RetryClass::SameKey | RetryClass::AfterDelay)
}

impl Error {
    /// Replaces the remedy.
    #[must_use]
    pub fn with(mut self, remedy: remedy::Kind) -> Self {
        self.remedy = Some(Remedy { kind: Some(remedy), new_key: false });
        self
    }

    /// Mend what this JSON pointer names.
    #[must_use]
    pub fn fix_arguments(self, path: &str, expected: &str) -> Self {
        self.with(remedy::Kind::FixArguments(fixed(path, expected)))
    }

    /// Adds what mends the arguments that the remedy names, where that is certain.
    #[must_use]
    pub fn by(mut self, change: Change) -> Self {
        if let Some(remedy::Kind::FixArguments(fix)) = self.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()) {
            fix.change = Some(change);
        }
        self
    }

    /// Takes the change out again: what it mends was done already.
    #[must_use]
    pub fn unmended(mut self) -> Self {
        if let Some(remedy::Kind::FixArguments(fix)) = self.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()) {
            fix.change = None;
        }
        self
    }

    /// Aim at less, or elsewhere.
    #[must_use]
    pub fn narrow_effect(self, narrow: NarrowEffect) -> Self {
        self.with(remedy::Kind::NarrowEffect(narrow))
    }

    /// Declare these effects, if they are meant.
    #[must_use]
    pub fn declare_effect(self, effects: Vec<ExpectedEffect>) -> Self {
        self.with(remedy::Kind::DeclareEffect(DeclareEffect { effects }))
    }

    /// Let a person decide.
    #[must_use]
    pub fn request_approval(self, approval_id: &str) -> Self {
        self.with(remedy::Kind::RequestApproval(RequestApproval { approval_id: approval_id.into() }))
    }

    /// Use another tool; what to give it the author knows.
    #[must_use]
    pub fn use_tool(self, name: &str) -> Self {
        self.with(remedy::Kind::UseTool(UseTool { name: name.into(), arguments: None }))
    }

    /// Use another tool, with the same arguments.
    #[must_use]
    pub fn call_it(self, name: &str) -> Self {
        let arguments = Some(use_tool::Arguments::Same(true));
        self.with(remedy::Kind::UseTool(UseTool { name: name.into(), arguments }))
    }

    /// Try again after so many milliseconds.
    #[must_use]
    pub fn retry_after(self, ms: u64) -> Self {
        self.with(remedy::Kind::RetryAfter(RetryAfter { ms, ..RetryAfter::default() }))
    }

    /// Find out what became of this call first.
    #[must_use]
    pub fn reconcile(self, call_id: &str) -> Self {
        self.with(remedy::Kind::Reconcile(Reconcile { call_id: call_id.into() }))
    }

    /// Adds what is wrong with a malformed call.
    #[must_use]
    pub fn violations(mut self, violations: Vec<Violation>) -> Self {
        self.violations = violations;
        self
    }

    /// Adds the policies that refused.
    #[must_use]
    pub fn policies(mut self, policies: Vec<PolicyRef>) -> Self {
        self.policies = policies;
        self
    }

    /// Nothing that the caller can do helps; says why.
    #[must_use]
    pub fn stop(self, why: &str) -> Self {
        self.with(stop(why))
    }

    /// As the end of a call: it names the call, and says if the key is spent with it.
    #[must_use]
    pub fn ends(mut self, call_id: &str) -> Self {
        let is_spent = !may_come_again(&self);
        let remedy = self.remedy.get_or_insert_default();
        match &mut remedy.kind {
            Some(remedy::Kind::RetryAfter(retry)) => retry.new_key = is_spent,
            Some(remedy::Kind::Reconcile(reconcile)) if reconcile.call_id.is_empty() => {
                call_id.clone_into(&mut reconcile.call_id);
            }
            // Another action than the one that the key names.
            Some(
                remedy::Kind::FixArguments(_)
                | remedy::Kind::NarrowEffect(_)
                | remedy::Kind::DeclareEffect(_)
                | remedy::Kind::UseTool(_),
            ) => remedy.new_key = true,
            _ => {}
        }
        self.call_id(call_id)
    }

    /// The key is spent, whatever else the error says.
    #[must_use]
    pub fn under_new_key(mut self) -> Self {
        if let Some(remedy::Kind::RetryAfter(retry)) = self.remedy.as_mut().and_then(|remedy| remedy.kind.as_mut()) {
            retry.new_key = true;
        }
        self
    }

    /// Names the call it is about.
    #[must_use]
    pub fn call_id(mut self, call_id: &str) -> Self {
        self.call_id = call_id.into();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", spec(self.reason()).name, self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_row_with_a_known_remedy() {
        let mut rows = 0;
        for number in 0..200 {
            if let Ok(reason) = Reason::try_from(number) {
                let row = spec(reason);
                assert_eq!(row.reason, reason);
                assert!(row.grpc_code > 0 && row.grpc_code <= 16, "{}", row.name);
                assert!(row.summary.ends_with('.'), "{}", row.name);
                assert!(row.mend.ends_with('.'), "{}", row.name);
                let made = error(reason, "x").remedy.expect("a remedy").kind.expect("a kind");
                assert!(is_said(&made), "{}: {made:?}", row.name);
                let stops = matches!(made, remedy::Kind::Stop(_));
                assert_eq!(stops, matches!(row.remedy, "stop" | "reconcile"), "{}", row.name);
                rows += 1;
            }
        }
        assert_eq!(rows, table().len());
    }

    #[test]
    fn the_end_of_a_call_says_whether_its_key_is_spent() {
        let away = error(Reason::HostUnavailable, "away").ends("c");
        assert!(may_come_again(&away));
        let again = RetryAfter { ms: 1_000, new_key: false };
        assert_eq!(away.remedy.clone().and_then(|it| it.kind), Some(remedy::Kind::RetryAfter(again)));
        assert!(!may_come_again(&away.reconcile("c")), "it had done something by then");

        let lost = error(Reason::PreviewLost, "gone").ends("c");
        let again = RetryAfter { ms: 1_000, new_key: true };
        assert_eq!(lost.remedy.and_then(|it| it.kind), Some(remedy::Kind::RetryAfter(again)));
        assert_eq!(lost.call_id, "c");
    }

    #[test]
    fn what_is_mended_of_a_call_that_ended_has_a_new_key() {
        for reason in [Reason::EffectMissing, Reason::UndeclaredEffect, Reason::InvalidArguments, Reason::UnknownTool] {
            let alone = error(reason, "x");
            assert!(!alone.remedy.as_ref().expect("a remedy").new_key, "no call has its key");
            assert!(alone.ends("c").remedy.expect("a remedy").new_key, "{reason:?}");
        }
        for reason in [Reason::HostUnavailable, Reason::ApprovalRejected, Reason::OutcomeUnknown] {
            assert!(!error(reason, "x").ends("c").remedy.expect("a remedy").new_key, "{reason:?}");
        }
    }
}
