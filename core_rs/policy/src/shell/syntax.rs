//! The script as the resolver walks it: small, owned, free of any parser's types.

use std::rc::Rc;

/// Commands in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) lists: Vec<List>,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Debug)]
pub(super) struct List {
    pub(super) first: Pipeline,
    pub(super) rest: Vec<(Connector, Pipeline)>,
    /// Followed by `&`.
    pub(super) background: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connector {
    And,
    Or,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) negated: bool,
    pub(super) stages: Vec<Command>,
}

#[derive(Debug)]
pub(super) enum Command {
    Simple(Simple),
    Compound(Compound, Vec<Redirect>),
    Function { name: String, body: Rc<Command> },
}

/// Assignments, redirections and words.
#[derive(Debug, Default)]
pub(super) struct Simple {
    pub(super) assignments: Vec<Assignment>,
    pub(super) redirects: Vec<Redirect>,
    pub(super) words: Vec<Argument>,
    pub(super) source: String,
}

/// One word of a simple command.
#[derive(Debug)]
pub(super) enum Argument {
    Word(Word),
    /// Written like an assignment: `export A=b`, `declare a=(b c)`.
    Assignment(Assignment),
}

#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) name: String,
    /// `name[index]=…`; the index is an arithmetic expression.
    pub(super) index: Option<Arithmetic>,
    pub(super) append: bool,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar(Word),
    Array { indices: Vec<Arithmetic>, elements: Vec<Word> },
}

#[derive(Debug)]
pub(super) enum Compound {
    Group(Script),
    Subshell(Script),
    For { variable: String, words: Option<Vec<Word>>, body: Script },
    ArithmeticFor { expressions: Vec<Arithmetic>, body: Script },
    Case { subject: Word, arms: Vec<Arm> },
    If { branches: Vec<(Script, Script)>, otherwise: Option<Script> },
    While { until: bool, condition: Script, body: Script },
    Arithmetic(Arithmetic),
    Test(Test),
}

#[derive(Debug)]
pub(super) struct Arm {
    pub(super) patterns: Vec<Word>,
    pub(super) body: Script,
    /// Ends in `;&` or `;;&`, which lead into the next arm.
    pub(super) falls_through: bool,
}

/// `[[ … ]]`.
#[derive(Debug)]
pub(super) enum Test {
    Both(Box<Test>, Box<Test>),
    Not(Box<Test>),
    /// Its operands are only looked at.
    Look(Vec<Word>),
    /// Its operands are evaluated as arithmetic, so text in them may run commands.
    Evaluate(Vec<Word>),
}

#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) fd: Option<i32>,
    pub(super) kind: RedirectKind,
}

#[derive(Debug)]
pub(super) enum RedirectKind {
    Read(Word),
    /// `>`, `>|`, `>>`, `&>`, `&>>`.
    Write(Word),
    ReadWrite(Word),
    /// `<&` and `>&`: to a descriptor, or (`>& file`) to a file.
    Duplicate { word: Word, output: bool },
    /// From, or with `output` to, a process substitution.
    Process { script: Rc<Script>, output: bool },
    HereDocument(Word),
    HereString(Word),
}

/// A word before expansion.
#[derive(Debug, Default, Clone)]
pub(super) struct Word {
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Protected from splitting, globbing, tilde and brace expansion.
    pub(super) quoted: bool,
    pub(super) kind: PieceKind,
}

#[derive(Debug, Clone)]
pub(super) enum PieceKind {
    Text(String),
    Parameter(Rc<Parameter>),
    /// `$(…)` or backquotes.
    Command(Rc<Script>),
    /// `<(…)`, or with `output` `>(…)`.
    Process { script: Rc<Script>, output: bool },
    Arithmetic(Rc<Arithmetic>),
    /// Something that cannot be understood; the text says why.
    Opaque(String),
}

/// `$x`, `${x…}`.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: ParameterName,
    pub(super) operation: Operation,
}

#[derive(Debug)]
pub(super) enum ParameterName {
    Variable(String),
    /// `${name[expression]}`.
    Element(String, Arithmetic),
    /// `${name[@]}` or `${name[*]}`.
    Array { name: String, joined: bool },
    /// `$1`.
    Positional(usize),
    /// `$@` and, joined, `$*`.
    Arguments { joined: bool },
    /// `$?`, `$#`, `$$`, `$!`: always a number.
    Number,
    /// `$-`, `$0`, `$_`: text that is not known.
    Opaque,
}

#[derive(Debug)]
pub(super) enum Operation {
    None,
    /// `${#x}`.
    Length,
    /// `${x-word}`, `${x=word}`, `${x:-word}`, `${x:=word}`.
    Default { or_empty: bool, assign: bool, word: Word },
    /// `${x+word}`, `${x:+word}`.
    Alternative { or_empty: bool, word: Word },
    /// `${x?word}`: the word is only printed.
    Require { word: Word },
    /// Changes the value in a way that is not computed here. The words are expanded for what they run.
    Transform { words: Vec<Word>, arithmetic: Vec<Arithmetic> },
    /// `${x#pattern}` and `${x%pattern}`.
    Trim { suffix: bool, longest: bool, pattern: Word },
    /// `${!x}` and everything that may run text found in a value.
    Evaluates(String),
}

/// An arithmetic expression, its text split into what is expanded first and what is not.
#[derive(Debug)]
pub(super) struct Arithmetic {
    pub(super) text: Word,
}

impl ParameterName {
    /// May it stand for any number of words even within quotes?
    pub(super) fn is_several(&self) -> bool {
        matches!(self, Self::Arguments { joined: false } | Self::Array { joined: false, .. })
    }
}
