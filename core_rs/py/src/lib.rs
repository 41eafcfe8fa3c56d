//! The bridge to Python: `cmdop._core`, imported by `cmdop._bridge` and by nothing else.
//!
//! Bytes and handles cross, objects do not. Rust never calls Python: it pushes to a bounded
//! [`queue::Queue`] and rings its [`bell::Bell`]; a pump on the Python side drains batches. No task of the
//! runtime holds a Python object or attaches to the interpreter.

pub mod bell;
pub mod home;
pub mod judge;
pub mod queue;
pub mod requests;

mod client;
mod decider;
mod host;
mod machine;
mod policy;
mod review;
mod runtime;
mod server;
mod session;

// What a call allocates on one thread of the runtime is often freed on another, which costs the
// system's allocator a fifth of a call's processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The module as Python sees it. `python/cmdop/_core.pyi` describes it and is checked against it.
#[pyo3::pymodule(name = "_core")]
mod core {
    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::decider::Decider;
    #[pymodule_export]
    use crate::home::ForkedError;
    #[pymodule_export]
    use crate::host::HostDaemon;
    #[pymodule_export]
    use crate::machine::{
        CoreError, Spawner, check_json, die_with_parent, enter_fixture, meant_tool, probe, start_logging, start_spawner,
    };
    #[pymodule_export]
    use crate::review::{Forecast, Policy, packs};
    #[pymodule_export]
    use crate::runtime::{ClosedError, Runtime, Statistics};
    #[pymodule_export]
    use crate::server::Server;
    #[pymodule_export]
    use crate::session::Session;

    /// Version of the core.
    #[pyo3::pyfunction]
    fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}
