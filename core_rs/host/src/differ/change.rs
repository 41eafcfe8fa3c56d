//! What a layer changes, as it is kept until somebody decides on it.

use cmdop_contract::v1::Observation;

use crate::journal::attributes::Attributes;
use crate::journal::stamp::Standing;

/// One change that a commit makes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Change {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    /// What was there when the difference was measured; absent if nothing was.
    #[prost(message, optional, tag = "2")]
    pub(crate) standing: Option<Standing>,
    /// The layer's own, from which content or attributes are taken; of a rename, the old place.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) from: Vec<u8>,
    #[prost(enumeration = "Kind", tag = "4")]
    pub(crate) kind: i32,
    /// Where it was before the commit, if a directory above it was renamed.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) path_before: Vec<u8>,
    /// Of a file that is a further name of one that stays: that one.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) linked: Vec<u8>,
    /// Of times: those before.
    #[prost(message, optional, tag = "7")]
    pub(crate) before: Option<Attributes>,
    /// What `linked` was when the difference was measured.
    #[prost(message, optional, tag = "8")]
    pub(crate) linked_standing: Option<Standing>,
}

/// What a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    Remove = 0,
    /// From `from`; what changes besides has steps of its own.
    Rename = 1,
    MakeDirectory = 2,
    Place = 3,
    Attributes = 4,
    /// Of a directory in which something changes.
    Times = 5,
}

/// What a layer changes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Difference {
    /// Exact effects, sorted by path.
    #[prost(message, optional, tag = "1")]
    pub observation: Option<Observation>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) changes: Vec<Change>,
    /// Why the layer cannot be committed exactly; empty if it can.
    #[prost(string, repeated, tag = "3")]
    pub unsupported: Vec<String>,
    /// What somebody else changed while the command ran on its copy: it may rest on either state.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) conflicts: Vec<Vec<u8>>,
}
