//! What a journal holds: the steps of one commit, each of which can be told done from not done.

use prost::Message;

use super::attributes::Attributes;
use super::stamp::Standing;

/// What a step does. Steps run in this order, and back in the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    /// What stands at the place moves into the slot.
    Out = 0,
    /// What waits in the slot moves to the place.
    In = 1,
    /// What waits in the slot changes places with what stands there.
    Exchange = 2,
    /// Attributes change where they are.
    Attributes = 3,
    /// A directory gets the time of its last change back that the steps before moved.
    Times = 4,
}

/// One step.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Op {
    #[prost(enumeration = "Kind", tag = "1")]
    pub(crate) kind: i32,
    /// Where: for what moves out as the tree was before the commit, else as it is after.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) path: Vec<u8>,
    /// Number of the store whose slot takes part.
    #[prost(uint32, tag = "3")]
    pub(crate) store: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) slot: u32,
    /// What moves, or comes in an exchange.
    #[prost(message, optional, tag = "5")]
    pub(crate) moving: Option<Standing>,
    /// What stands there before an exchange or a change of attributes.
    #[prost(message, optional, tag = "6")]
    pub(crate) standing: Option<Standing>,
    /// True for both halves of a rename: what moved out of the slot's place moves in elsewhere, or changes places with
    /// what stands there.
    #[prost(bool, tag = "7")]
    pub(crate) is_half: bool,
    #[prost(message, optional, tag = "8")]
    pub(crate) before: Option<Attributes>,
    #[prost(message, optional, tag = "9")]
    pub(crate) after: Option<Attributes>,
    /// What stands there as the commit left it.
    #[prost(message, optional, tag = "10")]
    pub(crate) left: Option<Standing>,
    /// For times: where the directory is before the commit; empty if it is not.
    #[prost(bytes = "vec", tag = "11")]
    pub(crate) path_before: Vec<u8>,
    /// Of a directory: the time of its last change of metadata before the commit.
    #[prost(message, optional, tag = "12")]
    pub(crate) directory: Option<Changed>,
    /// Directories that move although their owner may not write them.
    #[prost(message, repeated, tag = "13")]
    pub(crate) closed: Vec<Closed>,
}

/// A directory that its owner may not write, and so may not move either: only while it moves it is open.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Closed {
    #[prost(uint64, tag = "1")]
    pub(crate) ino: u64,
    /// Permission bits that it has, but for that moment.
    #[prost(uint32, tag = "2")]
    pub(crate) mode: u32,
}

/// When something last changed, with its metadata.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Changed {
    #[prost(uint64, tag = "1")]
    pub(crate) ino: u64,
    #[prost(int64, tag = "2")]
    pub(crate) ctime_s: i64,
    #[prost(int64, tag = "3")]
    pub(crate) ctime_ns: i64,
    /// The same after the commit.
    #[prost(int64, tag = "4")]
    pub(crate) left_s: i64,
    #[prost(int64, tag = "5")]
    pub(crate) left_ns: i64,
}

/// A time of last change that an undo gave to what last changed earlier, and is as it was then.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Renewed {
    #[prost(uint64, tag = "1")]
    pub(crate) ino: u64,
    #[prost(int64, tag = "2")]
    pub(crate) now_s: i64,
    #[prost(int64, tag = "3")]
    pub(crate) now_ns: i64,
    #[prost(int64, tag = "4")]
    pub(crate) was_s: i64,
    #[prost(int64, tag = "5")]
    pub(crate) was_ns: i64,
}

impl Op {
    /// The inode that waits in the slot before the step, or lies there after a move out.
    pub(crate) fn moving_identity(&self) -> Option<u64> {
        self.moving.as_ref().map(|moving| moving.ino)
    }
}

/// A journal.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    pub(crate) call_id: String,
    /// Directories that hold the slots, one per mount.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) stores: Vec<Vec<u8>>,
    /// In the order in which they run.
    #[prost(message, repeated, tag = "3")]
    pub(crate) ops: Vec<Op>,
    /// Bytes that the slots hold once it is done.
    #[prost(uint64, tag = "4")]
    pub(crate) bytes: u64,
    /// All that is kept of one that was undone.
    #[prost(message, repeated, tag = "5")]
    pub(crate) renewed: Vec<Renewed>,
}

impl Record {
    /// Puts the steps in order: out deepest first, in shallow first, then what stays where it is.
    pub(crate) fn sort(&mut self) {
        let depth = |op: &Op| op.path.iter().filter(|byte| **byte == b'/').count();
        self.ops.sort_by_cached_key(|op| {
            let depth = if op.kind() == Kind::Out { usize::MAX - depth(op) } else { depth(op) };
            (op.kind(), depth, op.path.clone())
        });
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Op> {
        self.ops.iter().filter(move |op| op.kind() == kind)
    }

    pub(crate) fn has_renames(&self) -> bool {
        self.ops.iter().any(|op| op.is_half)
    }

    /// True of what the commit makes at a path.
    pub(crate) fn is_new(&self, path: &[u8]) -> bool {
        self.of_kind(Kind::In).any(|op| !op.is_half && op.path == path)
    }

    /// Where something that stood at a path before the commit is, or was, after it: directories
    /// above it may have been renamed.
    pub(crate) fn path_after(&self, path: &[u8]) -> Vec<u8> {
        let renames = self.of_kind(Kind::Out).filter(|op| op.is_half);
        let beneath = |op: &&Op| path.strip_prefix(&*op.path).is_some_and(|rest| rest.first() == Some(&b'/'));
        let Some(nearest) = renames.filter(beneath).max_by_key(|op| op.path.len()) else { return path.to_vec() };
        let other =
            self.of_kind(Kind::In).find(|op| op.is_half && (op.store, op.slot) == (nearest.store, nearest.slot));
        let to = other.map_or(&nearest.path, |op| &op.path);
        [&**to, &path[nearest.path.len()..]].concat()
    }
}
