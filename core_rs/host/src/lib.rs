//! The machine: confine, preview, commit, observe. Nothing here runs without a permit.

pub mod admit;
pub mod commit;
pub mod daemon;
pub mod differ;
pub mod error;
pub mod exec;
pub mod fixture;
pub mod journal;
pub mod masks;
mod missing;
pub mod native;
pub mod network;
mod notable;
mod notify;
pub mod observe;
pub mod probe;
pub mod sandbox;
mod service;
pub mod spawned;
pub mod spawner;
mod trapped;

pub use admit::Admitted;
pub use daemon::Daemon;
pub use error::Error;
pub use spawner::Spawner;
