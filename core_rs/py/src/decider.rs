//! Decisions without a server: the same table as the server's, about what [`crate::review::Forecast`] foresaw.

use cmdop_contract::v1::{Error, Host, PolicyFile, Prediction, Proposal};
use cmdop_contract::validate::{Limits, Validated, validate};
use cmdop_policy::decide::{Decided, Facts, decide, declaration};
use cmdop_policy::engine::Engine;
use prost::Message;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::machine::raise;
use crate::review::{decoded, level_of, registry};
use crate::session::{Session, nobodys};

/// A set of policies and the host that decisions are about.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Decider {
    engine: Engine,
    host: Host,
    limits: Limits,
}

#[pymethods]
impl Decider {
    /// Takes an encoded `Host` and encoded `PolicyFile`s; none of them means the default policy.
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list becomes a vector anyway")]
    fn new(py: Python<'_>, host: &[u8], policies: Vec<Vec<u8>>) -> PyResult<Self> {
        let host: Host = decoded(host)?;
        let files: Vec<PolicyFile> = policies.iter().map(|file| decoded(file)).collect::<PyResult<_>>()?;
        let engine = Engine::load(&files).map_err(|error| {
            let typed = cmdop_contract::reason::error(error.reason(), error.to_string());
            raise(py, typed.fix_arguments(&format!("{}:{}", error.file, error.line), &error.mend))
        })?;
        // What is foreseen is declared, and that may be more than people declare.
        let limits = Limits { expected_effects: 8_192, ..Limits::default() };
        Ok(Self { engine, host, limits })
    }

    /// Digest of the policies, as decisions record it.
    fn policy_version(&self) -> &str {
        self.engine.version()
    }

    /// Decides as the server does about an encoded `Proposal` with this prediction, for an agent at that level or, with
    /// 0, a person, with this behind it. What declares nothing is taken to declare what it is foreseen to do. Returns an encoded `Decision`
    /// and, if it is refused, an `Error`; raises if the proposal is not well formed.
    fn decide<'py>(
        &self,
        py: Python<'py>,
        proposal: &[u8],
        prediction: &[u8],
        level: i32,
        session: Option<&Session>,
    ) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>)> {
        let (proposal, prediction): (Proposal, Prediction) = (decoded(proposal)?, decoded(prediction)?);
        let session = session.unwrap_or(nobodys());
        let decided = py.detach(|| self.decided(proposal, &prediction, level, session));
        let (decision, error) = match decided.map_err(|error| raise(py, error))? {
            Decided::Go(grant) => (grant.decision().clone(), None),
            Decided::Ask(ask) => (ask.decision().clone(), None),
            Decided::Refuse(refusal) => (refusal.decision().clone(), Some(refusal.error().clone())),
        };
        let error = error.map(|error| PyBytes::new(py, &error.encode_to_vec()));
        Ok((PyBytes::new(py, &decision.encode_to_vec()), error))
    }
}

impl Decider {
    fn decided(
        &self,
        mut proposal: Proposal,
        prediction: &Prediction,
        level: i32,
        session: &Session,
    ) -> Result<Decided, Error> {
        let actor = proposal.actor.clone().unwrap_or_default();
        let Session { past, denied } = session;
        let facts = Facts { actor: &actor, level: level_of(level), host: &self.host, denied, past };
        let mut validated = self.validate(proposal.clone())?;
        if validated.declared().is_empty() {
            let expect = declaration(&self.engine, &validated, prediction, &facts);
            if !expect.is_empty() {
                proposal.action.get_or_insert_default().expect = expect;
                validated = self.validate(proposal)?;
            }
        }
        Ok(decide(&self.engine, &validated, prediction, &facts))
    }

    fn validate(&self, proposal: Proposal) -> Result<Validated, Error> {
        validate(registry(), proposal, &self.limits, &self.host.home)
    }
}
