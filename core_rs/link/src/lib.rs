//! What crosses the network: the gRPC listener and client, sessions, the host link.

#![allow(
    clippy::result_large_err,
    reason = "`v1::Error` is the wire's message; failures are rare and never in a tight loop"
)]

/// The services of `proto/cmdop/v1`, generated.
#[allow(missing_docs, clippy::all)]
mod proto {
    include!("_gen/cmdop.v1.rs");
}

mod address;
mod answer;
pub mod client;
mod codec;
mod error;
mod frame;
pub mod host;
pub mod server;
mod session;
pub mod status;

pub use error::Error;
pub use session::SessionLimits;

/// The descriptors of `proto/cmdop/v1`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("_gen/descriptor.bin");
