//! How large an answer may be: as large as its receiver takes.

use std::sync::Arc;

use cmdop_contract::abridge::{self, ANSWER_BYTES, LEAST_BYTES};
use cmdop_contract::v1::{Approval, Call, Trace};
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};

/// Metadata of a request by which a client says how many bytes of a message it takes.
pub(crate) const MAX_BYTES: &str = "cmdop-max-bytes";

/// Bytes of a message around the call or approval in it, at most.
const AROUND: usize = 64;

/// How many bytes an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room(usize);

impl Room {
    /// What a client says that it takes; what everyone takes if it says nothing that can be read.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let said = metadata.get(MAX_BYTES).and_then(|value| value.to_str().ok()?.parse().ok());
        Self(said.map_or(ANSWER_BYTES, |bytes: usize| bytes.saturating_sub(AROUND)).max(LEAST_BYTES))
    }

    /// The call, abridged if it is too large.
    pub(crate) async fn call(self, call: Arc<Call>) -> Arc<Call> {
        if call.encoded_len() <= self.0 {
            return call;
        }
        let cut = tokio::task::spawn_blocking(move || abridge::call(Arc::unwrap_or_clone(call), self.0));
        Arc::new(cut.await.expect("cutting does not panic, and the runtime waits for it"))
    }

    /// The approval, abridged if it is too large.
    pub(crate) async fn approval(self, approval: Approval) -> Approval {
        if approval.encoded_len() <= self.0 {
            return approval;
        }
        let cut = tokio::task::spawn_blocking(move || abridge::approval(approval, self.0));
        cut.await.expect("cutting does not panic, and the runtime waits for it")
    }

    /// The trace, abridged if it is too large.
    pub(crate) async fn trace(self, trace: Trace) -> Trace {
        if trace.encoded_len() <= self.0 {
            return trace;
        }
        let cut = tokio::task::spawn_blocking(move || abridge::trace(trace, self.0));
        cut.await.expect("cutting does not panic, and the runtime waits for it")
    }
}

/// Says in a request how many bytes its answer may have.
pub(crate) fn say(metadata: &mut MetadataMap, bytes: usize) {
    metadata.insert(MAX_BYTES, MetadataValue::from(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_gets_what_everyone_takes() {
        let mut metadata = MetadataMap::new();
        assert_eq!(Room::of(&metadata), Room(ANSWER_BYTES));
        say(&mut metadata, 64 << 20);
        assert_eq!(Room::of(&metadata), Room((64 << 20) - AROUND));
        for (said, room) in [("0", LEAST_BYTES), ("-1", ANSWER_BYTES), ("much", ANSWER_BYTES)] {
            metadata.insert(MAX_BYTES, said.parse().expect("ASCII"));
            assert_eq!(Room::of(&metadata), Room(room), "{said}");
        }
    }
}
