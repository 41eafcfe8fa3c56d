//! What a guarded call is: actions, effects, schemas, errors and the life of a call. Pure.

/// The messages of `proto/cmdop/v1`, generated.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!("_gen/cmdop.v1.rs");
}
