//! What the author of a policy supposes of a run or session, where no server knows one.

use std::sync::LazyLock;

use cmdop_contract::effect::{Effect, Target, parse_kind};
use cmdop_policy::decide::{Denied, Past, Supposed};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What a run did before, and what was refused to it.
#[pyclass(frozen, module = "cmdop._core")]
#[derive(Default)]
pub struct Session {
    pub(crate) past: Past,
    pub(crate) denied: Vec<Denied>,
}

#[pymethods]
impl Session {
    /// Takes the paths that it made on a host, what it moved (to, from), the numbers of its failed and of its refused
    /// calls, and what was refused to it, each as `kind:target` with whether a person said no. Raises for what is none.
    #[new]
    fn new(
        host: &str,
        made: Vec<String>,
        moved: Vec<(String, String)>,
        failed: u32,
        denials: u32,
        denied: Vec<(String, bool)>,
    ) -> PyResult<Self> {
        let past = Past::supposed(host, &Supposed { made, moved, failed, denials }).map_err(PyValueError::new_err)?;
        let denied = denied.iter().map(|(effect, by_person)| refused(effect, *by_person)).collect::<PyResult<_>>()?;
        Ok(Self { past, denied })
    }
}

/// Of whoever has done nothing yet.
pub(crate) fn nobodys() -> &'static Session {
    static NOBODYS: LazyLock<Session> = LazyLock::new(Session::default);
    &NOBODYS
}

fn refused(text: &str, by_person: bool) -> PyResult<Denied> {
    let wrong = |why: &str| PyValueError::new_err(format!("`{text}` is no effect: {why}"));
    let (kind, target) = text.split_once(':').ok_or_else(|| wrong("write KIND:TARGET"))?;
    let kind = parse_kind(kind).ok_or_else(|| wrong("there is no such kind"))?;
    let target = Target::parse(kind, target, &Default::default()).map_err(|error| wrong(&error.to_string()))?;
    Ok(Denied { effect: Effect::new(kind, target), by_person, call_id: "of an earlier call".into() })
}
