//! What a process asks about itself and its machine, before any thread exists.

use std::io::{self, Write};

use cmdop_contract::{json, redact, tool, v1};
use parking_lot::Mutex;
use prost::Message;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tracing_subscriber::EnvFilter;

create_exception!(cmdop._core, CoreError, PyException, "Carries an encoded cmdop.v1.Error as its only argument.");

/// The helper that spawns commands, until a daemon takes it.
#[pyclass(frozen, module = "cmdop._core")]
pub struct Spawner {
    inner: Mutex<Option<cmdop_host::Spawner>>,
}

impl Spawner {
    /// The helper, for the one daemon that it serves.
    pub(crate) fn take(&self) -> PyResult<cmdop_host::Spawner> {
        self.inner.lock().take().ok_or_else(|| PyRuntimeError::new_err("this spawner was taken by another daemon"))
    }
}

/// Forks the helper that spawns commands. Must run before this process has threads.
#[pyfunction]
pub fn start_spawner(py: Python<'_>) -> PyResult<Spawner> {
    let spawner = cmdop_host::Spawner::start().map_err(|error| raise(py, error.into()))?;
    Ok(Spawner { inner: Mutex::new(Some(spawner)) })
}

/// What this machine can confine and observe: an encoded `Host` with its capabilities.
#[pyfunction]
pub fn probe(py: Python<'_>) -> Bound<'_, PyBytes> {
    let capabilities = py.detach(cmdop_host::probe::probe);
    let host = v1::Host { capabilities, ..v1::Host::default() };
    PyBytes::new(py, &host.encode_to_vec())
}

/// Presents a directory tree at its place, to this process and its children; what lies beneath
/// `keep` stays. Must run before this process has threads.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "Python's list becomes a vector anyway")]
pub fn enter_fixture(py: Python<'_>, directory: &str, keep: Vec<String>) -> PyResult<()> {
    #[cfg(target_os = "linux")]
    return cmdop_host::fixture::enter(directory.as_ref(), &keep).map_err(|error| raise(py, error.into()));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (directory, keep);
        let message = "a fixture is shown in a view of its own, which only Linux can make";
        let remedy = "start the host without a fixture, or on Linux";
        let error = cmdop_contract::reason::error(v1::Reason::InvalidConfiguration, message);
        Err(raise(py, error.fix_arguments("/fixture", remedy)))
    }
}

/// Ends this process when the one that started it does; at once if `parent` is not its parent any more.
///
/// On Linux the kernel does it, on other Unix systems a thread that looks each second; Windows keeps no
/// parents.
#[pyfunction]
pub fn die_with_parent(parent: i32) -> PyResult<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| pyo3::exceptions::PyOSError::new_err(error.to_string()))?;
        // The parent may have ended before the kernel was told.
        if getppid() != Pid::from_raw(parent) {
            std::process::exit(1);
        }
    }
    #[cfg(all(unix, not(target_os = "linux")))]
    std::thread::spawn(move || {
        while u32::try_from(parent).is_ok_and(|parent| std::os::unix::process::parent_id() == parent) {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        std::process::exit(1);
    });
    #[cfg(not(unix))]
    let _ = parent;
    Ok(())
}

/// Reads JSON as strictly as a server reads arguments, and says what is wrong with it.
#[pyfunction]
pub fn check_json(py: Python<'_>, name: &str, text: &[u8]) -> PyResult<()> {
    json::parse_bytes(text).map(drop).map_err(|error| raise(py, error.typed(name)))
}

/// The index of the tool that a name means most likely, of these contracts.
#[pyfunction]
pub fn meant_tool(name: &str, contracts: Vec<Vec<u8>>) -> Option<usize> {
    // What cannot be read stands for no tool and keeps its place.
    let contracts: Vec<_> =
        contracts.iter().map(|bytes| v1::ToolContract::decode(&bytes[..]).unwrap_or_default()).collect();
    let meant = tool::meant(name, &contracts)?;
    contracts.iter().position(|contract| std::ptr::eq(contract, meant))
}

/// Writes the core's log to standard error, as directives like `warn,cmdop_gate=debug` say.
#[pyfunction]
pub fn start_logging(filter: &str) {
    let mut filter = EnvFilter::try_from_env("CMDOP_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    // A parser tells of commands word by word, and in a word alone no secret is known.
    for parser in ["brush_parser=off", "parse=off", "tokenize=off"] {
        filter = filter.add_directive(parser.parse().expect("a constant that is a directive"));
    }
    // A second call finds a subscriber and leaves it.
    let _already = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| CleanLog).try_init();
}

/// Standard error, on which no secret is written. It is given whole lines.
struct CleanLog;

impl Write for CleanLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(redact::text(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Our own error as Python raises it, and somebody prints it.
pub(crate) fn raise(py: Python<'_>, mut error: v1::Error) -> PyErr {
    redact::error(&mut error);
    CoreError::new_err(PyBytes::new(py, &error.encode_to_vec()).unbind())
}
