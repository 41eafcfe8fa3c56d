//! What goes wrong between two processes, and how it is told.

use std::net::SocketAddr;
use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Reason};

use crate::answer;

/// Failures of the link itself. Callers get them as [`v1::Error`] with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Without tokens only this machine may be spoken to.
    #[error(
        "`{0}` is not a loopback address, and without tokens only this machine is trusted; use 127.0.0.1:PORT or [::1]:PORT"
    )]
    NotLoopback(String),
    /// The address is no address.
    #[error("`{0}` is not an address; expected HOST:PORT such as 127.0.0.1:7717")]
    BadAddress(String),
    /// The token cannot be sent.
    #[error("the token is none: it is what `cmdop approvers add` printed, without spaces")]
    BadToken,
    /// The listener could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The services could not be put together or the listener failed.
    #[error("the listener failed: {0}")]
    Serve(String),
    /// Nobody answers, or the connection broke.
    #[error("cannot reach the server: {0}; check that it runs and that CMDOP_ADDRESS names it")]
    Unreachable(String),
    /// The connection broke after a proposal was sent.
    #[error("{}", lost(key, cause))]
    Lost {
        /// The proposal's idempotency key; empty if it has none.
        key: String,
        /// What the system said.
        cause: String,
    },
    /// A method that the other side does not have.
    #[error("the server does not know `{0}`; update the older side")]
    UnknownMethod(String),
    /// A request over the limit of who is asked.
    #[error("a message of {found} bytes is larger than the {limit} that the receiver accepts; send less at once")]
    RequestTooLarge {
        /// Its size.
        found: usize,
        /// The receiver's limit.
        limit: usize,
    },
    /// An answer over the limit of who asks.
    #[error(
        "the answer has {found} bytes, more than the {limit} that this client takes; what it is about is as it is, and \
         nothing was sent too much: ask for less at once, or take more and say so as `{}`",
        answer::MAX_BYTES
    )]
    AnswerTooLarge {
        /// Its size.
        found: usize,
        /// The limit of who asks.
        limit: usize,
    },
    /// Bytes that are no message of the expected type.
    #[error("the bytes are not the protobuf message that belongs here: {0}")]
    Undecodable(prost::DecodeError),
    /// A frame that may not come now.
    #[error("{0}")]
    Violation(String),
    /// The reader does not read.
    #[error("frames waited {0:?} without being taken; read faster or grant more credits. Calls go on: see Calls.Get")]
    SlowConsumer(Duration),
    /// More frames wait than a session may have waiting.
    #[error(
        "{0} frames wait, which is all that a session may have; read faster or grant more credits. Calls go on: see Calls.Get"
    )]
    OutboxFull(usize),
    /// A watcher fell behind what is kept for it.
    #[error("{0} changes were missed because they were not read in time; watch again to get all that is pending")]
    Missed(u64),
    /// The other side says nothing, not even that it is there.
    #[error("nothing came from the other side for {0:?}")]
    Silent(Duration),
    /// A limit of the connection.
    #[error("{0}")]
    TooMany(String),
    /// The server stops.
    #[error("the server is stopping; connect again and propose with the same key")]
    Draining,
    /// Answers came that the protocol does not allow, or a status without a reason.
    #[error("the server answered {code}: {message}")]
    Untyped {
        /// The gRPC code by name.
        code: String,
        /// The message that came with it.
        message: String,
    },
}

impl Error {
    /// The row of the reason table it belongs to.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotLoopback(_) | Self::BadAddress(_) | Self::BadToken | Self::Bind { .. } => {
                Reason::InvalidConfiguration
            }
            Self::Serve(_) | Self::Untyped { .. } => Reason::Internal,
            Self::Unreachable(_) | Self::Silent(_) => Reason::Unreachable,
            Self::Lost { .. } => Reason::OutcomeUnknown,
            Self::UnknownMethod(_) => Reason::UnsupportedProtocol,
            Self::RequestTooLarge { .. } | Self::AnswerTooLarge { .. } => Reason::FrameTooLarge,
            Self::Undecodable(_) | Self::Violation(_) => Reason::ProtocolViolation,
            Self::SlowConsumer(_) | Self::OutboxFull(_) | Self::Missed(_) => Reason::SlowConsumer,
            Self::TooMany(_) => Reason::LoadShed,
            Self::Draining => Reason::Draining,
        }
    }
}

impl From<Error> for v1::Error {
    fn from(error: Error) -> Self {
        let built = reason::error(error.reason(), error.to_string());
        match error {
            Error::NotLoopback(_) | Error::BadAddress(_) => built.fix_arguments("/listen", "127.0.0.1:7717"),
            Error::BadToken => built.fix_arguments("/token", "the token of an approver"),
            Error::RequestTooLarge { limit, .. } => {
                built.fix_arguments("", &format!("a message of at most {limit} bytes; send large content in parts"))
            }
            Error::AnswerTooLarge { found, .. } => {
                let expected = format!(
                    "a question with a smaller answer, or a client that takes {found} bytes (`max_frame_bytes`; a plain \
                     gRPC client raises its own limit and says it in its metadata, `{}`)",
                    answer::MAX_BYTES
                );
                built.fix_arguments("", &expected)
            }
            Error::Bind { .. } => built.fix_arguments("/listen", "a free port; 0 picks one"),
            Error::SlowConsumer(_) | Error::OutboxFull(_) | Error::Missed(_) | Error::TooMany(_) => {
                built.retry_after(500)
            }
            // There is no call id to ask about; the key does as well.
            Error::Lost { key, .. } if !key.is_empty() => built.retry_after(1_000),
            _ => built,
        }
    }
}

fn lost(key: &str, cause: &str) -> String {
    let again = if key.is_empty() {
        "it had no idempotency key, so look among the calls whether it is there".to_owned()
    } else {
        format!("propose it again with the same key `{key}`, which runs it at most once")
    };
    format!("the server went away, and nobody knows whether it took the call; {again}: {cause}")
}

/// The last cause of an error: what a person wants to read of a failed connection.
pub(crate) fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}
