//! What a deployment remembers, in `.deploy/state`: whole and durable before anything depends on it.

/// The content of the file.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct State {
    /// Releases that were live, the last one last.
    #[prost(message, repeated, tag = "1")]
    pub(super) records: Vec<Record>,
    /// What happened, the last event last; no more than [`MAX_EVENTS`].
    #[prost(message, repeated, tag = "2")]
    pub(super) events: Vec<Event>,
    /// Written before the first step of a deployment and removed after its last.
    #[prost(message, optional, tag = "3")]
    pub(super) pending: Option<Pending>,
}

/// One release.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Record {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    /// Of its tree, as it was released.
    #[prost(string, tag = "2")]
    pub(super) digest: String,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub(super) released_ms: i64,
    /// The release that was live when it became live, to which a rollback leads.
    #[prost(string, optional, tag = "4")]
    pub(super) after: Option<String>,
    /// Its removal has begun: parts of it may be gone.
    #[prost(bool, tag = "5")]
    pub(super) is_going: bool,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Event {
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub(super) at_ms: i64,
    #[prost(enumeration = "Kind", tag = "2")]
    pub(super) kind: i32,
    /// The release that it is about.
    #[prost(string, tag = "3")]
    pub(super) release: String,
    /// The release that was live before.
    #[prost(string, optional, tag = "4")]
    pub(super) from: Option<String>,
    #[prost(string, tag = "5")]
    pub(super) permit_id: String,
    #[prost(string, tag = "6")]
    pub(super) why: String,
}

/// A deployment that has begun.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Pending {
    #[prost(string, tag = "1")]
    pub(super) permit_id: String,
    #[prost(string, tag = "2")]
    pub(super) release: String,
    #[prost(string, tag = "3")]
    pub(super) digest: String,
    /// The release that was live.
    #[prost(string, optional, tag = "4")]
    pub(super) from: Option<String>,
    /// The release's directory is its work.
    #[prost(bool, tag = "5")]
    pub(super) is_new: bool,
    #[prost(bool, tag = "6")]
    pub(super) is_rollback: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Kind {
    /// Nothing that this version knows.
    Other = 0,
    /// A release became live and stayed.
    Released = 1,
    /// A release became live, failed its check, and is no longer live.
    Failed = 2,
    /// An earlier release was made live again.
    RolledBack = 3,
    /// The host died after the release became live and before it was checked.
    Interrupted = 4,
}

/// Events that are kept.
const MAX_EVENTS: usize = 200;

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Released => "released",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Interrupted => "interrupted",
        }
    }
}

impl State {
    pub(super) fn record(&self, id: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.id == id)
    }

    /// Notes that a release is the live one.
    pub(super) fn is_live_now(&mut self, id: &str, digest: &str, after: Option<&str>) {
        // What it replaced at first is where a rollback leads, unless it replaced another one since.
        let before = self.record(id).and_then(|record| record.after.clone());
        let after = after.filter(|after| *after != id).map(str::to_owned).or(before);
        self.records.retain(|record| record.id != id);
        let (id, digest) = (id.to_owned(), digest.to_owned());
        self.records.push(Record { id, digest, released_ms: now_ms(), after, is_going: false });
    }

    /// Notes a release that was live and failed: the first to go when old ones do.
    pub(super) fn was_live(&mut self, id: &str, digest: &str) {
        if self.record(id).is_none() {
            let (id, digest) = (id.to_owned(), digest.to_owned());
            self.records.insert(0, Record { id, digest, released_ms: now_ms(), after: None, is_going: false });
        }
    }

    /// True if a release became live and its deployment died before that was proved.
    pub(super) fn is_unproven(&self, id: &str) -> bool {
        let after = |id| self.record(id).and_then(|record| record.after.clone());
        // The last that is known of it. A rollback that died came from elsewhere.
        let last = self.events.iter().rev().find(|event| event.release == id);
        last.is_some_and(|event| event.kind() == Kind::Interrupted && event.from == after(id))
    }

    pub(super) fn happened(&mut self, kind: Kind, pending: &Pending, why: &str) {
        self.events.push(Event {
            at_ms: now_ms(),
            kind: kind.into(),
            release: pending.release.clone(),
            from: pending.from.clone(),
            permit_id: pending.permit_id.clone(),
            why: why.to_owned(),
        });
        let surplus = self.events.len().saturating_sub(MAX_EVENTS);
        self.events.drain(..surplus);
    }

    /// The state without a deployment that died: what is live says how far it came.
    pub(super) fn settled(mut self, live: Option<&str>) -> Self {
        let Some(pending) = self.pending.take() else { return self };
        if live == Some(pending.release.as_str()) && live != pending.from.as_deref() {
            if !pending.is_rollback {
                self.is_live_now(&pending.release, &pending.digest, pending.from.as_deref());
            }
            self.happened(Kind::Interrupted, &pending, "the host died before the release was checked");
        }
        self
    }
}

fn now_ms() -> i64 {
    cmdop_ledger::now() / 1_000_000
}
