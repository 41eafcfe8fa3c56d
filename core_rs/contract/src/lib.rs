//! What a guarded call is: actions, effects, schemas, errors and the life of a call. Pure.
//!
//! | module | answers |
//! |---|---|
//! | [`path`] | which paths does this pattern mean, does it hold that one, may they meet? |
//! | [`effect`], [`target`] | what would change, where, how often; does this region hold what was observed? |
//! | [`tool`] | what may be called, with which arguments; what follows exactly from them? |
//! | [`mod@derive`] | what follows exactly from the arguments of a native tool? |
//! | [`name`] | which texts name an actor, a host or a key? |
//! | [`words`] | what would deceive a person who reads a text? |
//! | [`validate`] | is this proposal well formed, and if not: everything that is wrong with it |
//! | [`life`], [`fold`] | which state follows; a call out of its events |
//! | [`score`] | side effects, success, severity, clean |
//! | [`json`] | JSON read strictly |
//! | [`abridge`] | calls and approvals that are too large for a message, cut |
//! | [`digest`] | what an idempotency key, an approval and a permit bind to |
//! | [`redact`] | secrets, taken out of what is recorded or told |
//! | [`reason`] | the table of errors and how to build one |

#![allow(clippy::result_large_err, reason = "errors are the wire's message")]

pub mod abridge;
pub mod approval;
pub mod derive;
pub mod digest;
pub mod effect;
pub mod fold;
pub mod json;
pub mod life;
mod matching;
pub mod name;
pub mod near;
pub mod path;
pub mod reason;
pub mod redact;
pub mod score;
pub mod target;
pub mod tool;
pub mod validate;
pub mod words;

/// The messages of `proto/cmdop/v1`, generated.
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod v1 {
    include!("_gen/cmdop.v1.rs");
}
