//! Processes: listed as the kernel tells of them, signalled only as the ones that were listed.

mod list;
mod signal;
mod table;

pub(crate) use list::list;
pub(crate) use signal::Signalling;
