//! Decisions without a server: the same prediction and the same table, for whoever brings the judgements.

use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    Actor, AutonomyLevel, Decision, Error, Host, Invocation, JudgementReply, JudgementRequest, PolicyFile, Prediction,
    Proposal,
};
use cmdop_contract::validate::{Limits, Validated, validate};
use cmdop_policy::decide::{Decided, Facts, decide, declaration};
use cmdop_policy::engine::Engine;
use cmdop_policy::predict::{Predictor, Step};
use parking_lot::Mutex;
use prost::Message;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

use crate::machine::raise;

/// A set of policies and the host that decisions are about.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Decider {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    registry: Registry,
    host: Host,
    limits: Limits,
}

/// A decision under way: questions are answered until there are none.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Foresight {
    shared: Arc<Shared>,
    proposal: Proposal,
    level: Option<AutonomyLevel>,
    state: Mutex<State>,
}

enum State {
    Asking(Box<Predictor>, Vec<Invocation>),
    Decided(Box<Verdict>),
    /// Between a question and its answer.
    Moving,
}

#[derive(Default)]
struct Verdict {
    decision: Decision,
    prediction: Prediction,
    error: Option<Error>,
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
        Ok(Self { shared: Arc::new(Shared { engine, registry: Registry::builtin(), host, limits }) })
    }

    /// Digest of the policies, as decisions record it.
    fn policy_version(&self) -> &str {
        self.shared.engine.version()
    }

    /// Begins to decide about an encoded `Proposal`, for an agent at that level or, with 0, a person.
    fn propose(&self, py: Python<'_>, proposal: &[u8], level: i32) -> PyResult<Foresight> {
        let proposal: Proposal = decoded(proposal)?;
        let level = AutonomyLevel::try_from(level).ok().filter(|level| *level != AutonomyLevel::Unspecified);
        let shared = Arc::clone(&self.shared);
        let foresight = Foresight { shared, proposal, level, state: Mutex::new(State::Moving) };
        py.detach(|| foresight.begin());
        Ok(foresight)
    }
}

#[pymethods]
impl Foresight {
    /// An encoded `JudgementRequest` that has to be answered next; none once it is decided.
    fn question<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &*self.state.lock() {
            State::Asking(_, invocations) => {
                let home = self.shared.host.home.clone();
                let request = JudgementRequest { id: 0, invocations: invocations.clone(), home };
                Some(PyBytes::new(py, &request.encode_to_vec()))
            }
            _ => None,
        }
    }

    /// Takes an encoded `JudgementReply`.
    fn answer(&self, py: Python<'_>, reply: &[u8]) -> PyResult<()> {
        let reply: JudgementReply = decoded(reply)?;
        let asking = std::mem::replace(&mut *self.state.lock(), State::Moving);
        let State::Asking(predictor, _) = asking else {
            *self.state.lock() = asking;
            return Err(PyRuntimeError::new_err("nothing was asked"));
        };
        py.detach(|| self.settle(predictor.answer(reply.judgements)));
        Ok(())
    }

    /// Encoded `Decision`, `Prediction` and, if it is refused, `Error`.
    fn verdict<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        match &*self.state.lock() {
            State::Decided(verdict) => Ok((
                PyBytes::new(py, &verdict.decision.encode_to_vec()),
                PyBytes::new(py, &verdict.prediction.encode_to_vec()),
                PyBytes::new(py, &verdict.error.as_ref().map(Message::encode_to_vec).unwrap_or_default()),
            )),
            _ => Err(PyRuntimeError::new_err("it is not decided yet; answer its question")),
        }
    }
}

impl Foresight {
    fn begin(&self) {
        match self.validate(self.proposal.clone()) {
            Ok(validated) => self.settle(Predictor::start(&validated, &self.shared.host.home)),
            Err(error) => self.refuse(error),
        }
    }

    fn settle(&self, step: Step) {
        let state = match step {
            Step::Judge(predictor, invocations) => State::Asking(Box::new(predictor), invocations),
            Step::Malformed(error) => return self.refuse(error),
            Step::Done(prediction) => match self.decide(prediction) {
                Ok(verdict) => State::Decided(Box::new(verdict)),
                Err(error) => return self.refuse(error),
            },
        };
        *self.state.lock() = state;
    }

    /// Decides as the server does, about a call that declares what it was foreseen to do.
    fn decide(&self, prediction: Prediction) -> Result<Verdict, Error> {
        let actor = self.proposal.actor.clone().unwrap_or_default();
        let facts = Facts { actor: &actor, level: self.level, host: &self.shared.host, denied: &[] };
        let engine = &self.shared.engine;
        let mut validated = self.validate(self.proposal.clone())?;
        if validated.declared().is_empty() {
            let expect = declaration(engine, &validated, &prediction, &facts);
            if !expect.is_empty() {
                let mut proposal = self.proposal.clone();
                proposal.action.get_or_insert_default().expect = expect;
                validated = self.validate(proposal)?;
            }
        }
        let (decision, error) = match decide(engine, &validated, &prediction, &facts) {
            Decided::Go(grant) => (grant.decision().clone(), None),
            Decided::Ask(ask) => (ask.decision().clone(), None),
            Decided::Refuse(refusal) => (refusal.decision().clone(), Some(refusal.error().clone())),
        };
        Ok(Verdict { decision, prediction, error })
    }

    fn validate(&self, proposal: Proposal) -> Result<Validated, Error> {
        validate(&self.shared.registry, proposal, &self.shared.limits, &self.shared.host.home)
    }

    /// What is malformed is refused, and what it does is not known.
    fn refuse(&self, error: Error) {
        let actor: Actor = self.proposal.actor.clone().unwrap_or_default();
        let decision = Decision {
            effect: cmdop_contract::v1::PolicyEffect::Deny.into(),
            reason: error.message.clone(),
            policy_version: self.shared.engine.version().to_owned(),
            level: self.level.filter(|_| !actor.agent.is_empty()).unwrap_or_default().into(),
            ..Decision::default()
        };
        let prediction = Prediction { unanalysable: vec![error.message.clone()], ..Prediction::default() };
        *self.state.lock() = State::Decided(Box::new(Verdict { decision, prediction, error: Some(error) }));
    }
}

fn decoded<M: Message + Default>(bytes: &[u8]) -> PyResult<M> {
    M::decode(bytes).map_err(|error| PyValueError::new_err(format!("it is no such message: {error}")))
}
