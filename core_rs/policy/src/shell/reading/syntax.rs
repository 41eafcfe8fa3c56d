//! The script as the resolver walks it: small, owned, free of any parser's types.

use std::rc::Rc;

/// Commands in the order in which they are written.
#[derive(Debug, Default)]
pub(in crate::shell) struct Script {
    pub(in crate::shell) lists: Vec<List>,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Debug)]
pub(in crate::shell) struct List {
    pub(in crate::shell) first: Pipeline,
    pub(in crate::shell) rest: Vec<(Connector, Pipeline)>,
    /// Followed by `&`.
    pub(in crate::shell) background: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shell) enum Connector {
    And,
    Or,
}

#[derive(Debug)]
pub(in crate::shell) struct Pipeline {
    pub(in crate::shell) negated: bool,
    pub(in crate::shell) stages: Vec<Command>,
}

#[derive(Debug)]
pub(in crate::shell) enum Command {
    Simple(Simple),
    Compound(Compound, Vec<Redirect>),
    Function { name: String, body: Rc<Command> },
}

/// Assignments, redirections and words.
#[derive(Debug, Default)]
pub(in crate::shell) struct Simple {
    pub(in crate::shell) assignments: Vec<Assignment>,
    pub(in crate::shell) redirects: Vec<Redirect>,
    pub(in crate::shell) words: Vec<Argument>,
    pub(in crate::shell) source: String,
}

/// One word of a simple command.
#[derive(Debug)]
pub(in crate::shell) enum Argument {
    Word(Word),
    /// Written like an assignment: `export A=b`, `declare a=(b c)`.
    Assignment(Assignment),
}

#[derive(Debug)]
pub(in crate::shell) struct Assignment {
    pub(in crate::shell) name: String,
    /// `name[index]=…`; the index is an arithmetic expression.
    pub(in crate::shell) index: Option<Arithmetic>,
    pub(in crate::shell) append: bool,
    pub(in crate::shell) value: Value,
}

#[derive(Debug)]
pub(in crate::shell) enum Value {
    Scalar(Word),
    Array { indices: Vec<Arithmetic>, elements: Vec<Word> },
}

#[derive(Debug)]
pub(in crate::shell) enum Compound {
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
pub(in crate::shell) struct Arm {
    pub(in crate::shell) patterns: Vec<Word>,
    pub(in crate::shell) body: Script,
    /// Ends in `;&` or `;;&`, which lead into the next arm.
    pub(in crate::shell) falls_through: bool,
}

/// `[[ … ]]`.
#[derive(Debug)]
pub(in crate::shell) enum Test {
    Both(Box<Test>, Box<Test>),
    Not(Box<Test>),
    /// Its operands are only looked at.
    Look(Vec<Word>),
    /// Its operands are evaluated as arithmetic, so text in them may run commands.
    Evaluate(Vec<Word>),
}

#[derive(Debug)]
pub(in crate::shell) struct Redirect {
    pub(in crate::shell) fd: Option<i32>,
    pub(in crate::shell) kind: RedirectKind,
}

#[derive(Debug)]
pub(in crate::shell) enum RedirectKind {
    Read(Word),
    /// `>`, `>|`, `>>`, `&>`, `&>>`.
    Write(Word),
    ReadWrite(Word),
    /// `<&` and `>&`: to a descriptor, or (`>& file`) to a file.
    Duplicate {
        word: Word,
        output: bool,
    },
    /// From, or with `output` to, a process substitution.
    Process {
        script: Rc<Script>,
        output: bool,
    },
    HereDocument(Word),
    HereString(Word),
}

/// A word before expansion.
#[derive(Debug, Default, Clone)]
pub(in crate::shell) struct Word {
    pub(in crate::shell) pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
pub(in crate::shell) struct Piece {
    /// Protected from splitting, globbing, tilde and brace expansion.
    pub(in crate::shell) quoted: bool,
    pub(in crate::shell) kind: PieceKind,
}

#[derive(Debug, Clone)]
pub(in crate::shell) enum PieceKind {
    Text(String),
    Parameter(Rc<Parameter>),
    /// `$(…)` or backquotes.
    Command(Rc<Script>),
    /// `<(…)`, or with `output` `>(…)`.
    Process {
        script: Rc<Script>,
        output: bool,
    },
    Arithmetic(Rc<Arithmetic>),
    /// Something that cannot be understood; the text says why.
    Opaque(String),
}

/// `$x`, `${x…}`.
#[derive(Debug)]
pub(in crate::shell) struct Parameter {
    pub(in crate::shell) name: ParameterName,
    pub(in crate::shell) operation: Operation,
}

#[derive(Debug)]
pub(in crate::shell) enum ParameterName {
    Variable(String),
    /// `${name[expression]}`.
    Element(String, Arithmetic),
    /// `${name[@]}` or `${name[*]}`.
    Array {
        name: String,
        joined: bool,
    },
    /// `$1`.
    Positional(usize),
    /// `$@` and, joined, `$*`.
    Arguments {
        joined: bool,
    },
    /// `$?`, `$#`, `$$`, `$!`: always a number.
    Number,
    /// `$-`, `$0`, `$_`: text that is not known.
    Opaque,
}

#[derive(Debug)]
pub(in crate::shell) enum Operation {
    None,
    /// `${#x}`.
    Length,
    /// `${x-word}`, `${x=word}`, `${x:-word}`, `${x:=word}`.
    Default {
        or_empty: bool,
        assign: bool,
        word: Word,
    },
    /// `${x+word}`, `${x:+word}`.
    Alternative {
        or_empty: bool,
        word: Word,
    },
    /// `${x?word}`: the word is only printed.
    Require {
        word: Word,
    },
    /// Changes the value in a way that is not computed here. The words are expanded for what they run.
    Transform {
        words: Vec<Word>,
        arithmetic: Vec<Arithmetic>,
    },
    /// `${x#pattern}` and `${x%pattern}`.
    Trim {
        suffix: bool,
        longest: bool,
        pattern: Word,
    },
    /// `${!x}` and everything that may run text found in a value.
    Evaluates(String),
}

/// An arithmetic expression, its text split into what is expanded first and what is not.
#[derive(Debug)]
pub(in crate::shell) struct Arithmetic {
    pub(in crate::shell) text: Word,
}

impl ParameterName {
    /// May it stand for any number of words even within quotes?
    pub(in crate::shell) fn is_several(&self) -> bool {
        matches!(self, Self::Arguments { joined: false } | Self::Array { joined: false, .. })
    }
}
