//! The loop of one call: validate, decide, hold, permit, dispatch, observe, score.
//!
//! [`Gate`] owns every call from its proposal to its outcome. Nothing here touches a machine or a
//! socket: hosts come in through [`Gate::attach`], clients through [`Gate::submit`], people through
//! [`Gate::decide_approval`], and what commands do is asked through [`Judge`].

mod call;
mod gate;
mod hosts;
mod judge;
mod live;
mod options;
mod output;

pub use call::Ticket;
pub use gate::{Gate, PolicySource};
pub use hosts::Attachment;
pub use judge::{BoxFuture, Foresight, Judge, NoJudge};
pub use options::Options;
pub use output::OutputReader;

/// Range of protocol versions that this build speaks, with clients and with hosts.
pub const PROTOCOL: std::ops::RangeInclusive<u32> = 1..=1;

/// Picks the newest version that both sides speak.
///
/// # Errors
/// UNSUPPORTED_PROTOCOL, naming both ranges, if there is none.
pub fn negotiate(min: u32, max: u32) -> Result<u32, cmdop_contract::v1::Error> {
    let version = max.min(*PROTOCOL.end());
    if version >= min.max(*PROTOCOL.start()) {
        return Ok(version);
    }
    Err(cmdop_contract::reason::error(
        cmdop_contract::v1::Reason::UnsupportedProtocol,
        format!(
            "this side speaks protocol {} to {}, the other {min} to {max}; update the older one",
            PROTOCOL.start(),
            PROTOCOL.end()
        ),
    ))
}
