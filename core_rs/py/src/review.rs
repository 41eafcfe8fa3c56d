//! Policy without a server: for its authors, who load it, try it and compare it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use cmdop_contract::redact;
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{self, AutonomyLevel, Event, Host, JudgementReply, JudgementRequest, Prediction, event};
use cmdop_contract::validate::{Limits, Validated, validate};
use cmdop_ledger::log::read_all;
use cmdop_policy::decide::{Facts, Past};
use cmdop_policy::engine::{Engine, PACKS};
use cmdop_policy::predict::{Predictor, Step};
use cmdop_policy::review::{Review, Ruling, review, rule};
use parking_lot::Mutex;
use prost::Message;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::machine::raise;
use crate::session::{Session, nobodys};

type Bytes = Py<PyBytes>;
/// Word, policies, error of evaluation.
type Ruled = (&'static str, Vec<Bytes>, String);
/// A call with what this and another policy say about it.
type Differing = (Bytes, Told, Told);
/// Kind, file, line, id, problem, mend.
type Found = (&'static str, String, usize, String, String, String);
/// Effect, whether it was predicted and declared, word, policies, error of evaluation.
type Row = (String, bool, bool, &'static str, Vec<Bytes>, String);
/// Word, decision, refusal, effects.
type Told = (&'static str, Bytes, Option<Bytes>, Vec<Row>);

/// A policy that is loaded as a server loads it.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Policy {
    engine: Engine,
}

#[pymethods]
impl Policy {
    /// Loads an encoded `PolicySet`. Raises with file and line.
    #[new]
    fn new(py: Python<'_>, set: &[u8]) -> PyResult<Self> {
        let set: v1::PolicySet = decoded(set)?;
        let engine = py.detach(|| Engine::load_set(&set));
        let engine = engine.map_err(|error| raise(py, crate::server::configuration(error.to_string())))?;
        Ok(Self { engine })
    }

    fn version(&self) -> &str {
        self.engine.version()
    }

    /// What its author may want to mend.
    fn findings(&self) -> Vec<Found> {
        let found = self.engine.review().into_iter();
        found.map(|it| (it.kind, it.file, it.line, it.id, it.problem, it.mend)).collect()
    }

    /// What it says about one effect of a call, given by its proposal and the level of its decision.
    fn rule(
        &self,
        py: Python<'_>,
        call: &[u8],
        effect: &[u8],
        host: &[u8],
        session: Option<&Session>,
    ) -> PyResult<Ruled> {
        let (call, host): (v1::Call, Host) = (decoded(call)?, decoded(host)?);
        let effect: v1::ExpectedEffect = decoded(effect)?;
        let proposal = call.proposal.unwrap_or_default();
        let actor = proposal.actor.unwrap_or_default();
        let level = call.decision.map(|decision| decision.level());
        let Session { past, denied } = session.unwrap_or(nobodys());
        let facts = Facts { actor: &actor, level, host: &host, denied, past };
        let tool = proposal.action.unwrap_or_default().tool;
        let ruling = rule(&self.engine, &facts, &tool, 1, (effect.kind(), &effect.target, effect.max_count));
        Ok(told(py, ruling.map_err(PyValueError::new_err)?))
    }

    /// What it says about a proposal with this prediction.
    fn review(
        &self,
        py: Python<'_>,
        proposal: &[u8],
        prediction: &[u8],
        level: i32,
        host: &[u8],
        session: Option<&Session>,
    ) -> PyResult<Told> {
        let (proposal, host): (v1::Proposal, Host) = (decoded(proposal)?, decoded(host)?);
        let prediction: Prediction = decoded(prediction)?;
        let actor = proposal.actor.clone().unwrap_or_default();
        let validated = validated(registry(), proposal, &host).map_err(|error| raise(py, error))?;
        let Session { past, denied } = session.unwrap_or(nobodys());
        let facts = Facts { actor: &actor, level: level_of(level), host: &host, denied, past };
        Ok(told_whole(py, review(&self.engine, &validated, &prediction, &facts)))
    }

    /// Decides about every call of a ledger by both policies: calls that were decided by their predicted effects,
    /// calls of which too little is recorded, and those about which the two differ, each as the encoded call and what
    /// this and the other policy say.
    fn compare(&self, py: Python<'_>, other: &Self, ledger: &str) -> PyResult<(usize, usize, Vec<Differing>)> {
        let compared = py.detach(|| self.differing(other, Path::new(ledger)));
        let Compared { decided, skipped, differing } = compared.map_err(|error| raise(py, error))?;
        let row = |(call, one, two): (v1::Call, Review, Review)| {
            let call = PyBytes::new(py, &call.encode_to_vec()).unbind();
            (call, told_whole(py, one), told_whole(py, two))
        };
        Ok((decided, skipped, differing.into_iter().map(row).collect()))
    }
}

#[derive(Default)]
struct Compared {
    decided: usize,
    skipped: usize,
    differing: Vec<(v1::Call, Review, Review)>,
}

impl Policy {
    fn differing(&self, other: &Self, ledger: &Path) -> Result<Compared, v1::Error> {
        let mut compared = Compared::default();
        let mut hosts: HashMap<String, Host> = HashMap::new();
        let mut proposals: HashMap<String, v1::Proposal> = HashMap::new();
        read_all(&ledger.join("log"), |payload| {
            let Ok(Event { subject, kind: Some(kind), .. }) = Event::decode(payload) else { return Ok(()) };
            match kind {
                event::Kind::HostAttached(attached) => {
                    let host = attached.host.unwrap_or_default();
                    hosts.insert(host.name.clone(), host);
                }
                event::Kind::CallProposed(proposed) => {
                    proposals.insert(subject, proposed.proposal.unwrap_or_default());
                }
                event::Kind::CallDecided(decided) => {
                    let Some(proposal) = proposals.remove(&subject) else { return Ok(()) };
                    let action = proposal.action.clone().unwrap_or_default();
                    match hosts.get(&action.host) {
                        Some(host) => self.compare_one(other, &subject, proposal, &decided, host, &mut compared),
                        None => compared.skipped += 1,
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(compared)
    }

    fn compare_one(
        &self,
        other: &Self,
        call_id: &str,
        proposal: v1::Proposal,
        decided: &v1::CallDecided,
        host: &Host,
        compared: &mut Compared,
    ) {
        let actor = proposal.actor.clone().unwrap_or_default();
        let (Ok(validated), Some(prediction)) =
            (validated(registry(), proposal.clone(), host), decided.prediction.as_ref())
        else {
            compared.skipped += 1;
            return;
        };
        compared.decided += 1;
        let level = decided.decision.as_ref().map(v1::Decision::level);
        let facts = Facts { actor: &actor, level, host, denied: &[], past: &Past::default() };
        let one = review(&self.engine, &validated, prediction, &facts);
        let two = review(&other.engine, &validated, prediction, &facts);
        if one.word != two.word {
            let call = v1::Call {
                call_id: call_id.to_owned(),
                proposal: Some(proposal),
                decision: decided.decision.clone(),
                prediction: Some(prediction.clone()),
                ..v1::Call::default()
            };
            compared.differing.push((call, one, two));
        }
    }
}

/// Finds out what an action would do, with the vocabulary of whoever asks: see `cmdop_policy::predict`.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Forecast {
    host: Host,
    state: Mutex<State>,
}

enum State {
    Asked(Box<Predictor>, Vec<v1::Invocation>),
    Done(Prediction),
    /// An answer is on its way through.
    Taken,
}

#[pymethods]
impl Forecast {
    /// Begins with an encoded proposal, for an encoded host. Raises if it is not well formed.
    #[new]
    fn new(py: Python<'_>, proposal: &[u8], host: &[u8]) -> PyResult<Self> {
        let host: Host = decoded(host)?;
        let validated = validated(registry(), decoded(proposal)?, &host).map_err(|error| raise(py, error))?;
        let step = py.detach(|| Predictor::start(&validated, &host.home));
        let state = State::of(step).map_err(|error| raise(py, *error))?;
        Ok(Self { host, state: Mutex::new(state) })
    }

    /// The encoded `JudgementRequest` that must be answered next; none if everything that can be said is said.
    fn question(&self, py: Python<'_>) -> Option<Bytes> {
        let state = self.state.lock();
        let State::Asked(_, invocations) = &*state else { return None };
        let request = JudgementRequest {
            id: 1,
            invocations: invocations.clone(),
            home: self.host.home.clone(),
            workspaces: self.host.workspaces.clone(),
        };
        Some(PyBytes::new(py, &request.encode_to_vec()).unbind())
    }

    /// Answers the question with an encoded `JudgementReply`.
    fn answer(&self, py: Python<'_>, reply: &[u8]) -> PyResult<()> {
        let reply: JudgementReply = decoded(reply)?;
        let asked = std::mem::replace(&mut *self.state.lock(), State::Taken);
        let State::Asked(predictor, _) = asked else {
            *self.state.lock() = asked;
            return Err(PyRuntimeError::new_err("nothing was asked"));
        };
        // Without the lock: who waits for it may hold the interpreter.
        let step = py.detach(|| predictor.answer(reply.judgements));
        *self.state.lock() = State::of(step).map_err(|error| raise(py, *error))?;
        Ok(())
    }

    /// The encoded `Prediction`.
    fn prediction(&self, py: Python<'_>) -> PyResult<Bytes> {
        match &*self.state.lock() {
            State::Done(prediction) => {
                // Whoever asked prints it, with the parts of the command that it speaks of.
                let mut prediction = prediction.clone();
                redact::prediction(&mut prediction);
                Ok(PyBytes::new(py, &prediction.encode_to_vec()).unbind())
            }
            _ => Err(PyRuntimeError::new_err("a question is not answered yet")),
        }
    }
}

impl State {
    fn of(step: Step) -> Result<Self, Box<v1::Error>> {
        match step {
            Step::Judge(predictor, invocations) => Ok(Self::Asked(Box::new(predictor), invocations)),
            Step::Done(prediction) => Ok(Self::Done(prediction)),
            Step::Malformed(error) => Err(Box::new(error)),
        }
    }
}

/// Name, summary and text of every policy that ships.
#[pyfunction]
pub fn packs() -> Vec<(&'static str, &'static str, &'static str)> {
    PACKS.iter().map(|pack| (pack.name, pack.summary, pack.text)).collect()
}

/// The shipped tools, which are the same for everybody.
pub(crate) fn registry() -> &'static Registry {
    static SHIPPED: OnceLock<Registry> = OnceLock::new();
    SHIPPED.get_or_init(Registry::builtin)
}

fn validated(registry: &Registry, proposal: v1::Proposal, host: &Host) -> Result<Validated, v1::Error> {
    validate(registry, proposal, &Limits::default(), &host.home)
}

fn told_whole(py: Python<'_>, review: Review) -> Told {
    let row = |it: cmdop_policy::review::Reviewed| {
        let (word, policies, failed) = told(py, it.ruling);
        (it.effect, it.predicted, it.declared, word, policies, failed)
    };
    let effects = review.effects.into_iter().map(row).collect();
    let bytes = |bytes: Vec<u8>| PyBytes::new(py, &bytes).unbind();
    let error = review.error.map(|error| bytes(error.encode_to_vec()));
    (review.word, bytes(review.decision.encode_to_vec()), error, effects)
}

fn told(py: Python<'_>, ruling: Ruling) -> Ruled {
    let policies = ruling.policies.iter().map(|policy| PyBytes::new(py, &policy.encode_to_vec()).unbind());
    (ruling.word.as_str(), policies.collect(), ruling.failed)
}

pub(crate) fn level_of(level: i32) -> Option<AutonomyLevel> {
    AutonomyLevel::try_from(level).ok().filter(|level| *level != AutonomyLevel::Unspecified)
}

pub(crate) fn decoded<M: Message + Default>(bytes: &[u8]) -> PyResult<M> {
    M::decode(bytes).map_err(|error| PyValueError::new_err(error.to_string()))
}
