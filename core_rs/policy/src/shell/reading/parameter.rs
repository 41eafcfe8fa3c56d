//! Reads what stands between `${` and `}` (bash manual, "Shell Parameter Expansion").

use super::scan;
use super::syntax::{Operation, Parameter, ParameterName, Word};
use super::word::{Quoting, Scripts, read_arithmetic, read_word};

/// # Errors
/// Why it cannot be understood.
pub(in crate::shell) fn read_parameter(
    text: &str,
    in_quotes: bool,
    scripts: &mut dyn Scripts,
) -> Result<Parameter, String> {
    if let Some(rest) = text.strip_prefix('!').filter(|rest| !rest.is_empty()) {
        return Ok(indirect(rest));
    }
    if let Some(rest) = text.strip_prefix('#').filter(|rest| !rest.is_empty()) {
        let (name, after) = read_name(rest, scripts)?;
        return match after {
            "" => Ok(Parameter { name, operation: Operation::Length }),
            _ => Err(format!("`${{{text}}}` is not understood")),
        };
    }
    let (name, after) = read_name(text, scripts)?;
    let operation = read_operation(after, in_quotes, scripts)?;
    Ok(Parameter { name, operation })
}

/// `${!x}` takes the name of a variable, or an array element with code in its subscript, from a value.
fn indirect(rest: &str) -> Parameter {
    let lists_names = rest.ends_with(['*', '@']) || rest.ends_with("[@]") || rest.ends_with("[*]");
    let operation = if lists_names && !rest.contains(['$', '`']) {
        Operation::Transform { words: Vec::new(), arithmetic: Vec::new() }
    } else {
        Operation::Evaluates("`${!…}` takes a name from a value".to_owned())
    };
    // Names are not tracked: whatever the list holds is unknown, and any number of words.
    Parameter { name: ParameterName::Array { name: "!".to_owned(), joined: rest.ends_with(['*', '!']) }, operation }
}

fn read_name<'a>(text: &'a str, scripts: &mut dyn Scripts) -> Result<(ParameterName, &'a str), String> {
    let first = text.chars().next().ok_or("an empty parameter")?;
    if first.is_ascii_alphabetic() || first == '_' {
        let length = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(text.len());
        let (name, after) = text.split_at(length);
        return if after.starts_with('[') { read_element(name, after, scripts) } else { Ok((variable(name), after)) };
    }
    if first.is_ascii_digit() {
        let length = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
        let index: usize = text[..length].parse().map_err(|_| "a positional parameter is out of range")?;
        let name = if index == 0 { ParameterName::Opaque } else { ParameterName::Positional(index) };
        return Ok((name, &text[length..]));
    }
    let name = match first {
        '@' | '*' => ParameterName::Arguments { joined: first == '*' },
        '#' | '?' | '$' | '!' => ParameterName::Number,
        '-' => ParameterName::Opaque,
        _ => return Err(format!("`${{{text}}}` is not understood")),
    };
    Ok((name, &text[first.len_utf8()..]))
}

fn variable(name: &str) -> ParameterName {
    match name {
        "_" | "DIRSTACK" | "FUNCNAME" | "GROUPS" | "OLDPWD" | "PIPESTATUS" | "SHELLOPTS" => ParameterName::Opaque,
        _ if name.starts_with("BASH_") || name.starts_with("COMP_") => ParameterName::Opaque,
        _ if is_number(name) => ParameterName::Number,
        _ => ParameterName::Variable(name.to_owned()),
    }
}

/// Variables that hold a number whatever is assigned to them.
pub(in crate::shell) fn is_number(name: &str) -> bool {
    matches!(name, "RANDOM" | "SRANDOM" | "SECONDS" | "LINENO" | "BASHPID" | "PPID" | "UID" | "EUID" | "EPOCHSECONDS")
}

fn read_element<'a>(name: &str, after: &'a str, scripts: &mut dyn Scripts) -> Result<(ParameterName, &'a str), String> {
    let end = scan::end_of_subscript(after, 1).ok_or("a subscript is not closed")?;
    let index = &after[1..end];
    let name = match index {
        "@" | "*" => ParameterName::Array { name: name.to_owned(), joined: index == "*" },
        _ => ParameterName::Element(name.to_owned(), read_arithmetic(index, scripts)?),
    };
    Ok((name, &after[end + 1..]))
}

fn read_operation(text: &str, in_quotes: bool, scripts: &mut dyn Scripts) -> Result<Operation, String> {
    let quoting = if in_quotes { Quoting::Double } else { Quoting::None };
    let Some(first) = text.chars().next() else { return Ok(Operation::None) };
    let (or_empty, operator, rest) = match text.strip_prefix(':') {
        Some(rest) if rest.starts_with(['-', '=', '?', '+']) => (true, rest.chars().next().unwrap_or(':'), &rest[1..]),
        _ => (false, first, &text[first.len_utf8()..]),
    };
    let mut word = |text: &str| read_inner(text, quoting, scripts);
    Ok(match operator {
        '-' => Operation::Default { or_empty, assign: false, word: word(rest)? },
        '=' => Operation::Default { or_empty, assign: true, word: word(rest)? },
        '+' => Operation::Alternative { or_empty, word: word(rest)? },
        '?' => Operation::Require { word: word(rest)? },
        '#' | '%' => {
            let longest = rest.starts_with(operator);
            let pattern = &rest[usize::from(longest)..];
            if in_quotes && pattern.contains('\'') {
                return Err("a quote within a quoted parameter expansion is not understood".to_owned());
            }
            let pattern = read_word(pattern, Quoting::None, scripts)?;
            Operation::Trim { suffix: operator == '%', longest, pattern }
        }
        '/' | '^' | ',' | '~' => Operation::Transform { words: vec![word(rest)?], arithmetic: Vec::new() },
        ':' => Operation::Transform { words: Vec::new(), arithmetic: vec![read_arithmetic(rest, scripts)?] },
        '@' if matches!(rest, "Q" | "E" | "U" | "u" | "L" | "A" | "a" | "K" | "k") => {
            Operation::Transform { words: Vec::new(), arithmetic: Vec::new() }
        }
        '@' if rest == "P" => Operation::Evaluates("`@P` expands a value as a prompt, which runs commands".to_owned()),
        _ => return Err(format!("the parameter expansion `{text}` is not understood")),
    })
}

/// The word of an operation. Within double quotes, double quotes still quote and single ones may not:
/// where both readings are possible, none is chosen.
fn read_inner(text: &str, quoting: Quoting, scripts: &mut dyn Scripts) -> Result<Word, String> {
    if quoting == Quoting::Double && text.contains('"') {
        if text.contains('\'') {
            return Err("quotes of both kinds within a quoted parameter expansion are not understood".to_owned());
        }
        return read_word(text, Quoting::None, scripts);
    }
    read_word(text, quoting, scripts)
}
