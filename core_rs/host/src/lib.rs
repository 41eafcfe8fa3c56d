//! The machine: confine, preview, commit, observe. Nothing here runs without a permit.

pub mod admit;
pub mod error;
pub mod fixture;
pub mod native;

pub use admit::Admitted;
pub use error::Error;
