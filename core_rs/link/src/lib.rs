//! What crosses the network: the gRPC listener and client, sessions, the host link.

/// The services of `proto/cmdop/v1`, generated.
#[allow(missing_docs, clippy::all)]
mod proto {
    include!("_gen/cmdop.v1.rs");
}

mod address;
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
