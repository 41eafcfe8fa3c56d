//! What init or the worker reports of a command: the worker's groups at once, all else at the end.

/// Everything that only they know. It crosses the control socket, so it is a message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Told {
    #[prost(enumeration = "Kind", tag = "1")]
    pub(crate) kind: i32,
    /// Exit code or signal.
    #[prost(int32, tag = "2")]
    pub(crate) code: i32,
    /// What could not be made.
    #[prost(string, tag = "3")]
    pub(crate) text: String,
    /// Processor time of every process that was reaped, microseconds.
    #[prost(uint64, tag = "4")]
    pub(crate) user_us: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) system_us: u64,
    /// Largest resident set of a process, KiB; 0 if none is larger than what the command began as.
    #[prost(uint64, tag = "6")]
    pub(crate) max_rss_kib: u64,
    /// Writable directories that no overlay could cover: the command could only read them.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub(crate) read_only: Vec<Vec<u8>>,
    /// Unix sockets were refused, because the view shows directories in which outside ones lie.
    #[prost(bool, tag = "8")]
    pub(crate) no_unix: bool,
    /// Landlock kept writes within the layers.
    #[prost(bool, tag = "9")]
    pub(crate) has_landlock: bool,
    /// Said before anything else, by the worker.
    #[prost(message, optional, tag = "10")]
    pub(crate) held: Option<Held>,
    /// What still ran when the command ended.
    #[prost(message, repeated, tag = "11")]
    pub(crate) left: Vec<Left>,
    /// How many processes more.
    #[prost(uint64, tag = "12")]
    pub(crate) more_left: u64,
    /// All of these are stopped, and init waits for an [`Answer`].
    #[prost(bool, tag = "13")]
    pub(crate) asks: bool,
    /// Init's number on the machine, said by the worker of a command that may leave something running.
    #[prost(int32, tag = "14")]
    pub(crate) init: i32,
}

/// What init hears: first what of that which is left may stay; then, empty, that it may go on.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    /// Numbers in their own namespace.
    #[prost(int32, repeated, tag = "1")]
    pub(crate) stay: Vec<i32>,
    /// Somebody may still become the program that may stay: init lets them go on for a moment, and asks again.
    #[prost(bool, tag = "2")]
    pub(crate) is_early: bool,
}

/// A process that still ran when the command ended, as it shows itself (proc(5)).
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Left {
    /// Number in its own namespace.
    #[prost(int32, tag = "1")]
    pub(crate) pid: i32,
    /// Its program file.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) program: Vec<u8>,
    /// Its arguments, each with a zero byte behind it.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) arguments: Vec<u8>,
}

/// Directories of control groups by the limits and counters that they hold.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Held {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(crate) pids: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) memory: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) cpu: Option<Vec<u8>>,
}

impl Told {
    /// All that was said; silence about the end if that was cut off.
    pub(crate) fn read(mut said: &[u8]) -> Self {
        let mut told = Self::default();
        while !said.is_empty() && prost::Message::merge_length_delimited(&mut told, &mut said).is_ok() {}
        told
    }

    /// Did it tell the end? What comes after that is only the end of who said it.
    pub(crate) fn is_whole(&self) -> bool {
        self.kind() != Kind::Silent
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    /// Nobody said anything.
    Silent = 0,
    Exited = 1,
    Signalled = 2,
    /// It was killed because nobody waited for it any more.
    Killed = 3,
    /// The view could not be made; the command never ran.
    Failed = 4,
    /// The working directory cannot be entered; the command never ran.
    NoDirectory = 5,
    /// No such program can be executed; the command never ran.
    NoProgram = 6,
    /// Arguments and environment are larger than the kernel takes; the command never ran.
    TooLarge = 7,
    /// There is such a program, and it may not be executed; the command never ran.
    NotExecutable = 8,
}

/// Why the command could not be started.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl Failure {
    pub(crate) fn new(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self { kind: Kind::Failed, text: format!("{what}: {error}") }
    }
}

impl From<Failure> for Told {
    fn from(failure: Failure) -> Self {
        Self { kind: failure.kind.into(), text: failure.text, ..Self::default() }
    }
}
