//! The machine: confine, preview, commit, observe. Nothing here runs without a permit.

pub mod admit;
#[cfg(not(portable))]
pub mod attempts;
#[cfg(not(portable))]
mod barren;
#[cfg(not(portable))]
pub mod commit;
pub mod daemon;
#[cfg(not(portable))]
pub mod differ;
pub mod error;
#[cfg(not(portable))]
pub mod exec;
#[cfg(not(portable))]
pub mod fixture;
#[cfg(not(portable))]
pub mod journal;
#[cfg(not(portable))]
pub mod masks;
#[cfg(not(portable))]
mod missing;
#[cfg(not(portable))]
pub mod native;
#[cfg(not(portable))]
pub mod network;
#[cfg(not(portable))]
mod notable;
#[cfg(not(portable))]
mod notify;
#[cfg(not(portable))]
pub mod observe;
#[cfg(portable)]
mod portable;
#[cfg(not(portable))]
pub mod probe;
#[cfg(not(portable))]
pub mod sandbox;
#[cfg(not(portable))]
mod service;
#[cfg(not(portable))]
pub mod spawned;
#[cfg(not(portable))]
pub mod spawner;
#[cfg(not(portable))]
mod trapped;

pub use admit::Admitted;
pub use daemon::Daemon;
pub use error::Error;
#[cfg(portable)]
pub use portable::{Spawner, probe};
#[cfg(not(portable))]
pub use spawner::Spawner;
