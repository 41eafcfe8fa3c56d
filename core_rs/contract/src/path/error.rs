//! What can be wrong with a target, and how to mend it.

use super::{MAX_PATTERN_BYTES, MAX_PATTERN_SEGMENTS};

/// Why a text is not a target of its kind. The message says how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing stands there.
    #[error("the target is empty; name what the effect is on")]
    Empty,
    /// A NUL byte, also as `\x00`.
    #[error("the target holds a NUL byte, which no path or name has; leave it out")]
    Nul,
    /// A relative path, and nothing it could be relative to.
    #[error("the path `{text}` is relative and the call has no `cwd`; write it from `/` on")]
    Relative {
        /// What was given.
        text: String,
    },
    /// `~user`.
    #[error("`~{user}` cannot be resolved; write the directory from `/` on, or `~/` for your own home")]
    UnknownUser {
        /// The name after the tilde.
        user: String,
    },
    /// `~`, and nobody knows the home directory.
    #[error("`~` cannot be resolved: the host has named no home directory; write the path from `/` on")]
    NoHome,
    /// Longer than [`MAX_PATTERN_BYTES`].
    #[error(
        "the target is {bytes} bytes long, at most {MAX_PATTERN_BYTES} are accepted; name a directory above and use `**`"
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// More than [`MAX_PATTERN_SEGMENTS`].
    #[error(
        "the pattern has more than {MAX_PATTERN_SEGMENTS} segments from its first wildcard on; use one `**` for them"
    )]
    TooDeep,
    /// `**/..`.
    #[error("`..` after `**` has no single meaning; write the directory that is meant")]
    ParentOfAny,
    /// A backslash at the end.
    #[error("a backslash at the end escapes nothing; write `\\\\` for a backslash")]
    DanglingEscape,
    /// `\x` without two hexadecimal digits.
    #[error("`\\x` needs two hexadecimal digits, such as `\\x0a`; write `\\\\x` for a backslash and an x")]
    BadHex,
    /// A wildcard where one exact path or name is needed.
    #[error(
        "a wildcard stands where one exact path or name is needed; escape it with a backslash if it is meant literally"
    )]
    NotLiteral,
    /// The kind of effect is not one of the language.
    #[error("the effect has no kind; use one of the kinds of the effect language, such as `file.modify`")]
    NoKind,
    /// A name that no unit, package, deployment or program has.
    #[error(
        "`{text}` is no name; write the bare name without spaces or control characters, `*` for any run of characters"
    )]
    BadName {
        /// What was given.
        text: String,
    },
    /// `pid:` without a process number.
    #[error("`{text}` is no process number; write `pid:` and a number from 1 on")]
    BadPid {
        /// What was given.
        text: String,
    },
    /// No port.
    #[error("`{text}` names no port; write `host:port`, `host:*` for any port, and `[address]:port` for IPv6")]
    NoPort {
        /// What was given.
        text: String,
    },
    /// Not a port or a range.
    #[error("`{text}` is no port; write a number from 1 to 65535, a range such as `8000-8099`, or `*`")]
    BadPort {
        /// What was given.
        text: String,
    },
    /// Not a host.
    #[error("`{text}` is no host; write a name, an address, a block such as `10.0.0.0/8`, or `*`")]
    BadHost {
        /// What was given.
        text: String,
    },
    /// `min_count` above `max_count`.
    #[error("`min_count` is {min} and `max_count` is {max}; the least cannot be above the most")]
    Counts {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
}

impl TargetError {
    /// What should stand there, in a few words.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        match self {
            Self::Empty | Self::Nul | Self::DanglingEscape | Self::BadHex => "a target of the effect language",
            Self::Relative { .. } | Self::UnknownUser { .. } | Self::NoHome | Self::ParentOfAny => "an absolute path",
            Self::TooLong { .. } => "at most 4096 bytes",
            Self::TooDeep => "at most 128 segments after the first wildcard",
            Self::NotLiteral => "one exact path or name",
            Self::NoKind => "a kind of the effect language",
            Self::BadName { .. } => "a name",
            Self::BadPid { .. } => "pid:<number>",
            Self::NoPort { .. } | Self::BadHost { .. } => "host:port",
            Self::BadPort { .. } => "a port, a range or *",
            Self::Counts { .. } => "min_count not above max_count",
        }
    }
}
