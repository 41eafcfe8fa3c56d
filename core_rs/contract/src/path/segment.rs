//! One segment of a path pattern.

use std::fmt;

use super::text::{Token, write_escaped};
use crate::matching::{self, Element};

/// One segment of a path pattern. A name in a path is never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// Exactly this name.
    Literal(Box<[u8]>),
    /// `*`: any name.
    Any,
    /// A name with wildcards that is not any name.
    Glob(Box<[Token]>),
    /// `**`: any number of names.
    Deep,
}

impl Element for Segment {
    fn is_many(&self) -> bool {
        matches!(self, Self::Deep)
    }
}

impl Element for Token {
    fn is_many(&self) -> bool {
        matches!(self, Self::Many)
    }
}

impl Segment {
    pub(super) fn literal(name: &[u8]) -> Self {
        Self::Literal(name.into())
    }

    /// The segment that these tokens mean; none of them separates.
    pub(super) fn new(tokens: &[Token]) -> Self {
        if tokens == [Token::Many, Token::Many] {
            return Self::Deep;
        }
        let literal: Option<Vec<u8>> = tokens
            .iter()
            .map(|token| match token {
                Token::Byte(byte) => Some(*byte),
                _ => None,
            })
            .collect();
        if let Some(name) = literal {
            return Self::Literal(name.into());
        }
        let mut tokens = tokens.to_vec();
        order_wildcards(&mut tokens, |token| *token == Token::One, |token| *token == Token::Many);
        match tokens[..] {
            // A name is never empty, so it always has the one byte.
            [Token::Many] | [Token::One, Token::Many] => Self::Any,
            _ => Self::Glob(tokens.into()),
        }
    }

    pub(super) fn as_literal(&self) -> Option<&[u8]> {
        match self {
            Self::Literal(name) => Some(name),
            _ => None,
        }
    }

    /// True if the segment matches this name.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => **literal == *name,
            Self::Any | Self::Deep => true,
            Self::Glob(tokens) => matching::matches(tokens, name, matches_byte),
        }
    }

    /// False if no path with this end can match a pattern whose last segment this is.
    pub(super) fn may_end(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        matches!(self, Self::Deep) || (!name.is_empty() && self.matches(name))
    }

    /// True if every name that `narrow` matches is matched. Neither is `**`.
    pub(super) fn covers(&self, narrow: &Self) -> bool {
        match (self, narrow) {
            (Self::Any, _) => true,
            (wide, Self::Literal(name)) => wide.matches(name),
            (Self::Glob(wide), Self::Glob(narrow)) => matching::covers(wide, narrow, |wide, narrow| match wide {
                Token::One => true,
                wide => wide == narrow,
            }),
            _ => false,
        }
    }

    /// True if some name is matched by both. Neither is `**`.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Literal(name), pattern) | (pattern, Self::Literal(name)) => pattern.matches(name),
            (Self::Glob(left), Self::Glob(right)) => matching::overlaps(left, right, |left, right| {
                left == right || *left == Token::One || *right == Token::One
            }),
            (Self::Deep, _) | (_, Self::Deep) => true,
        }
    }

    /// True if this is a name with wildcards whose beginning and end say at least half of what `name` says, and which
    /// `name` may be.
    pub(super) fn spells_half_of(&self, name: &Self) -> bool {
        let Self::Glob(glob) = self else { return false };
        let name: Vec<Token> = match name {
            Self::Literal(name) => name.iter().map(|byte| Token::Byte(*byte)).collect(),
            Self::Glob(tokens) => tokens.to_vec(),
            Self::Any | Self::Deep => return false,
        };
        let said = name.iter().filter(|token| matches!(token, Token::Byte(_))).count();
        let spelled = shared(glob.iter(), name.iter()) + shared(glob.iter().rev(), name.iter().rev());
        spelled * 2 >= said && self.meets(&Self::Glob(name.into()))
    }
}

/// How many bytes two names share from where they are read on; what both leave open does not end it.
fn shared<'t>(left: impl Iterator<Item = &'t Token>, right: impl Iterator<Item = &'t Token>) -> usize {
    let same = left.zip(right).take_while(|(left, right)| left == right);
    same.filter(|(token, _)| matches!(token, Token::Byte(_))).count()
}

fn matches_byte(token: &Token, byte: &u8) -> bool {
    match token {
        Token::Byte(literal) => literal == byte,
        Token::One | Token::Many => true,
        Token::Separator => false,
    }
}

/// Gives patterns that differ only in the order of neighbouring wildcards one form.
pub(super) fn canonicalise(segments: &mut Vec<Segment>) {
    order_wildcards(segments, |segment| *segment == Segment::Any, |segment| *segment == Segment::Deep);
}

/// In each run of wildcards: those that take one first, then at most one that takes many.
fn order_wildcards<T: Clone>(items: &mut Vec<T>, is_one: impl Fn(&T) -> bool, is_many: impl Fn(&T) -> bool) {
    let mut ordered: Vec<T> = Vec::with_capacity(items.len());
    let mut many: Option<T> = None;
    for item in items.drain(..) {
        if is_many(&item) {
            many = Some(item);
            continue;
        }
        if !is_one(&item) {
            ordered.extend(many.take());
        }
        ordered.push(item);
    }
    ordered.extend(many);
    *items = ordered;
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_wildcard = |character| matches!(character, '*' | '?');
        match self {
            Self::Literal(name) => write_escaped(f, name, is_wildcard),
            Self::Any => f.write_str("*"),
            Self::Deep => f.write_str("**"),
            Self::Glob(tokens) => {
                for run in tokens.chunk_by(|a, b| matches!((a, b), (Token::Byte(_), Token::Byte(_)))) {
                    match run {
                        [Token::One] => f.write_str("?")?,
                        [Token::Many] => f.write_str("*")?,
                        bytes => {
                            let bytes: Vec<u8> = bytes
                                .iter()
                                .filter_map(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None })
                                .collect();
                            write_escaped(f, &bytes, is_wildcard)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}
