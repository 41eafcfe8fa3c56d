//! Brace expansion, bounded (bash manual, "Brace Expansion"): the first step of an expansion.

use std::rc::Rc;

use crate::shell::reading::syntax::{Operation, Parameter, ParameterName, Piece, PieceKind, Word};

/// Most words that one word may become.
const MAX_WORDS: usize = 256;

/// Longest sequence that is written out; a longer one of numbers becomes "some number".
const MAX_SEQUENCE: usize = 64;

/// Longest word whose braces are expanded, in characters, and most braces that it may open.
const MAX_UNITS: usize = 4 * 1024;
const MAX_OPEN: usize = 64;

#[derive(Clone)]
enum Unit {
    /// An unquoted character.
    Bare(char),
    Fixed(Piece),
}

/// # Errors
/// Why the word cannot be expanded.
pub(in crate::shell) fn expand(word: &Word) -> Result<Vec<Word>, String> {
    let has = |wanted: &str| {
        word.pieces
            .iter()
            .any(|piece| matches!(&piece.kind, PieceKind::Text(text) if !piece.quoted && text.contains(wanted)))
    };
    if !has("{") || !(has(",") || has("..")) {
        return Ok(vec![word.clone()]);
    }
    let mut units = Vec::new();
    for piece in &word.pieces {
        match &piece.kind {
            PieceKind::Text(text) if !piece.quoted => units.extend(text.chars().map(Unit::Bare)),
            _ => units.push(Unit::Fixed(piece.clone())),
        }
    }
    if units.len() > MAX_UNITS || units.iter().filter(|unit| matches!(unit, Unit::Bare('{'))).count() > MAX_OPEN {
        return Err(format!("a word with braces has more than {MAX_UNITS} characters or opens more than {MAX_OPEN}"));
    }
    Ok(alternatives(&units)?.into_iter().map(assemble).collect())
}

fn assemble(units: Vec<Unit>) -> Word {
    let mut pieces: Vec<Piece> = Vec::new();
    for unit in units {
        match (unit, pieces.last_mut()) {
            (Unit::Bare(char), Some(Piece { quoted: false, kind: PieceKind::Text(text) })) => text.push(char),
            (Unit::Bare(char), _) => pieces.push(Piece { quoted: false, kind: PieceKind::Text(char.to_string()) }),
            (Unit::Fixed(piece), _) => pieces.push(piece),
        }
    }
    Word { pieces }
}

fn alternatives(units: &[Unit]) -> Result<Vec<Vec<Unit>>, String> {
    for open in (0..units.len()).filter(|at| is(units, *at, '{')) {
        let Some((close, commas)) = matching(units, open) else { continue };
        let inner = &units[open + 1..close];
        let middle = if commas.is_empty() {
            match sequence(inner)? {
                Some(middle) => middle,
                None => continue,
            }
        } else {
            parts(units, open, close, &commas)?
        };
        let endings = alternatives(&units[close + 1..])?;
        if middle.len().saturating_mul(endings.len()) > MAX_WORDS {
            return Err(format!("a brace expansion makes more than {MAX_WORDS} words"));
        }
        let mut words = Vec::with_capacity(middle.len() * endings.len());
        for part in &middle {
            for ending in &endings {
                words.push([&units[..open], part, ending].concat());
            }
        }
        return Ok(words);
    }
    Ok(vec![units.to_vec()])
}

fn is(units: &[Unit], at: usize, wanted: char) -> bool {
    matches!(units.get(at), Some(Unit::Bare(char)) if *char == wanted)
}

/// The matching brace and the commas between that belong to it.
fn matching(units: &[Unit], open: usize) -> Option<(usize, Vec<usize>)> {
    let mut depth = 0usize;
    let mut commas = Vec::new();
    for (at, unit) in units.iter().enumerate().skip(open) {
        match unit {
            Unit::Bare('{') => depth += 1,
            Unit::Bare('}') => {
                depth -= 1;
                if depth == 0 {
                    return Some((at, commas));
                }
            }
            Unit::Bare(',') if depth == 1 => commas.push(at),
            _ => {}
        }
    }
    None
}

fn parts(units: &[Unit], open: usize, close: usize, commas: &[usize]) -> Result<Vec<Vec<Unit>>, String> {
    let mut parts = Vec::new();
    let mut start = open + 1;
    for end in commas.iter().copied().chain([close]) {
        parts.extend(alternatives(&units[start..end])?);
        if parts.len() > MAX_WORDS {
            return Err(format!("a brace expansion makes more than {MAX_WORDS} words"));
        }
        start = end + 1;
    }
    Ok(parts)
}

/// `1..9`, `a..e`, `01..10..2`.
fn sequence(inner: &[Unit]) -> Result<Option<Vec<Vec<Unit>>>, String> {
    let mut text = String::new();
    for unit in inner {
        match unit {
            Unit::Bare(char) => text.push(*char),
            Unit::Fixed(_) => text.push('?'),
        }
    }
    if inner.iter().any(|unit| matches!(unit, Unit::Fixed(_))) {
        // bash looks for the ends before it looks at quotes.
        return if text.contains("..") {
            Err("a sequence in braces is quoted or computed".to_owned())
        } else {
            Ok(None)
        };
    }
    let mut ends = text.split("..");
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else { return Ok(None) };
    let step = ends.next();
    if ends.next().is_some() || step.is_some_and(|step| step.parse::<i64>().is_err()) {
        return Ok(None);
    }
    let step = step.and_then(|step| step.parse::<i64>().ok()).map_or(1, i64::unsigned_abs).max(1);
    if let (Ok(from), Ok(to)) = (first.parse::<i64>(), last.parse::<i64>()) {
        let padded =
            |text: &str| text.trim_start_matches('-').len() > 1 && text.trim_start_matches('-').starts_with('0');
        let width = if padded(first) || padded(last) { first.len().max(last.len()) } else { 0 };
        return Ok(Some(numbers(from, to, step, width)));
    }
    letters(first, last, step)
}

fn numbers(from: i64, to: i64, step: u64, width: usize) -> Vec<Vec<Unit>> {
    let count = from.abs_diff(to) / step;
    if count >= MAX_SEQUENCE as u64 {
        let number = Parameter { name: ParameterName::Number, operation: Operation::None };
        return vec![vec![Unit::Fixed(Piece { quoted: true, kind: PieceKind::Parameter(Rc::new(number)) })]];
    }
    let value = |index: u64| {
        let distance = i64::try_from(index * step).unwrap_or(0);
        if from <= to { from.wrapping_add(distance) } else { from.wrapping_sub(distance) }
    };
    (0..=count).map(|index| format!("{:0width$}", value(index)).chars().map(Unit::Bare).collect()).collect()
}

fn letters(first: &str, last: &str, step: u64) -> Result<Option<Vec<Vec<Unit>>>, String> {
    let (&[from], &[to]) = (first.as_bytes(), last.as_bytes()) else { return Ok(None) };
    if !from.is_ascii_alphabetic() || !to.is_ascii_alphabetic() {
        return Ok(None);
    }
    if from.is_ascii_lowercase() != to.is_ascii_lowercase() {
        return Err("a sequence of letters runs through punctuation".to_owned());
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    let range: Vec<u8> = if from <= to { (from..=to).collect() } else { (to..=from).rev().collect() };
    Ok(Some(range.into_iter().step_by(step).map(|letter| vec![Unit::Bare(char::from(letter))]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        let word = Word { pieces: vec![Piece { quoted: false, kind: PieceKind::Text(text.to_owned()) }] };
        let text = |word: Word| match word.pieces.as_slice() {
            [] => String::new(),
            [Piece { kind: PieceKind::Text(text), .. }] => text.clone(),
            _ => "?".to_owned(),
        };
        expand(&word).expect("within bounds").into_iter().map(text).collect()
    }

    #[test]
    fn expands_as_bash_does() {
        for (text, expected) in [
            ("a{b,c}d", "abd acd"),
            ("{a,b}{1,2}", "a1 a2 b1 b2"),
            ("{a,{b,c}}", "a b c"),
            ("{1..3}", "1 2 3"),
            ("{3..1}", "3 2 1"),
            ("{01..3}", "01 02 03"),
            ("{1..5..2}", "1 3 5"),
            ("{a..c}", "a b c"),
            ("{a}", "{a}"),
            ("{}", "{}"),
            ("{{a,b}", "{a {b"),
            ("{a,b}}", "a} b}"),
            ("{a,b", "{a,b"),
            ("{1..1000}", "?"),
        ] {
            assert_eq!(expanded(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn gives_up_before_it_becomes_expensive() {
        let word = |text: String| Word { pieces: vec![Piece { quoted: false, kind: PieceKind::Text(text) }] };
        assert!(expand(&word("{a,b}".repeat(20))).is_err());
        assert!(expand(&word("{a,b}".repeat(12_000))).is_err());
        assert!(expand(&word("{,".repeat(32_000))).is_err());
        assert_eq!(expand(&word("{a,".repeat(16))).map(|words| words.len()), Ok(1));
    }
}
