//! Headers of HTTP: their secrets are hidden, and nothing of a line that stands behind them.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::forms::{Manner, hides_code, is_variable, pattern, whole};
use super::shell::Room;
use super::{MARK, Taken, shell};

/// Schemes of authentication behind which one word is the secret, and all else is none.
static ONE_WORD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^(?:bearer|basic|negotiate|ntlm|token|apikey|api-key|key)[ \t]+"));
/// Parts of a cookie that say how it is kept.
static ABOUT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^\s*(?:path|domain|expires|max-age|samesite|priority|version)\s*$"));

/// A header that begins its line has no more before its value.
const LONGEST_BEFORE: usize = 4_096;

/// The text without the secrets of the headers that a pattern finds: what stands before the value is its first group,
/// the value its fourth. `None` if there are none.
pub(super) fn without(
    text: &str,
    pattern: &Regex,
    manner: Manner,
    is_script: bool,
    room: &Room,
    taken: Taken<'_>,
) -> Option<String> {
    let (mut clean, mut copied, mut from, mut line_end) = (String::new(), 0, 0, 0);
    while let Some(found) = pattern.captures_at(text, from) {
        let Some(value) = found.get(4) else { break };
        // Headers may stand within values of others, all of which end together.
        if line_end < value.end() {
            let rest = &text[value.end()..];
            line_end = value.end() + rest.find(['"', '\'', '\r', '\n']).unwrap_or(rest.len());
            shell::count(line_end - value.end());
        }
        let has_room = room.has(line_end - value.start());
        if !has_room && manner == Manner::Command {
            break;
        }
        let (secrets, read) = secrets(text, &found[1], value.start()..line_end, manner, room);
        // Without room none is looked for within the value of another.
        from = if has_room { value.start() + 1 } else { read.max(value.start() + 1) };
        for (start, end) in secrets {
            let secret = &text[start..end];
            if hides_code(secret) || is_run(text, start, secret, manner, room) || (is_script && is_variable(secret)) {
                continue;
            }
            clean.push_str(&text[copied..start]);
            clean.push_str(&whole(secret, taken));
            copied = end;
            // What follows may hold another header.
            from = from.max(end);
        }
        while !text.is_char_boundary(from) {
            from += 1;
        }
    }
    (copied > 0).then(|| clean + &text[copied..])
}

/// Is it what reading headers left of one: the name of a scheme, or a cookie without its secret?
pub(super) fn is_read(before: &str, value: &str) -> bool {
    let is_header = before.trim_end_matches([' ', '\t', '"', '\'']).ends_with(':');
    is_header && (ONE_WORD.is_match(&format!("{value} ")) || value.contains(&format!("={MARK}")))
}

/// Could a shell run it?
fn is_run(text: &str, start: usize, secret: &str, manner: Manner, room: &Room) -> bool {
    let before = &text[..start];
    let may = || !open_quote(before, room) && shell::is_program_after(before, room);
    shell::is_file(secret) || (manner == Manner::Command && may())
}

/// Where the secrets of a header stand, and how far its value was read for them.
fn secrets(text: &str, before: &str, value: Range<usize>, manner: Manner, room: &Room) -> (Vec<(usize, usize)>, usize) {
    let is_data = manner != Manner::Command && is_data(text, value.start, before, room);
    let name = before.trim_end_matches([' ', '\t', ':', '"', '\'']).to_lowercase();
    let said = &text[value.clone()];
    // Without a blank behind the colon it is one word of a shell.
    let said = match said.starts_with([' ', '\t']) || is_data {
        true => said,
        false => &said[..said.find(char::is_whitespace).unwrap_or(said.len())],
    };
    let at = |part: &str| value.start + (part.as_ptr() as usize - text[value.start..].as_ptr() as usize);
    let ended = |part: &str| at(part) + part.len();
    let span = |part: &str| (!part.is_empty()).then(|| (at(part), ended(part)));
    if name.ends_with("cookie") || name.ends_with("cookies") {
        let parts = said.split(';').enumerate();
        shell::count(said.len());
        return (parts.filter_map(|(number, part)| span(in_cookie(part, number == 0, is_data))).collect(), value.end);
    }
    let said = said.trim_start_matches([' ', '\t']);
    if let Some(scheme) = ONE_WORD.find(said) {
        let word = upto(&said[scheme.end()..], |it| it.is_whitespace() || is_end(it, is_data));
        shell::count(word.len());
        return (span(word).into_iter().collect(), ended(word));
    }
    let word = upto(said, |it| is_end(it, is_data));
    shell::count(word.len());
    (span(word.trim_end()).into_iter().collect(), ended(word))
}

/// The secret of one part of a cookie.
fn in_cookie(part: &str, is_first: bool, is_data: bool) -> &str {
    let word = |text| upto(text, |it: char| it.is_whitespace() || is_end(it, is_data));
    match part.split_once('=') {
        Some((name, _)) if ABOUT.is_match(name) => "",
        // `; ./x`, `; A=b x`: a variable and a program, where the header was not in quotes.
        Some((name, _)) if name.trim().contains(char::is_whitespace) && !is_first => "",
        Some((_, value)) if value.starts_with(['/', '.', '~']) => "",
        Some((_, value)) => word(value),
        None if is_first => word(part.trim_start()),
        None => "",
    }
}

/// Does the value end here, as far as it may be hidden? In a line of a shell what follows would be run.
fn is_end(it: char, is_data: bool) -> bool {
    it == ';' || (!is_data && matches!(it, '|' | '&' | '<' | '>' | '(' | ')'))
}

fn upto(text: &str, ends: impl Fn(char) -> bool) -> &str {
    &text[..text.find(ends).unwrap_or(text.len())]
}

/// Is it certain that no shell reads the value word by word? It stands in quotes that are open there, or its line
/// begins with the header, as in what a server answered.
fn is_data(text: &str, at: usize, before: &str, room: &Room) -> bool {
    let near = &text[text.ceil_char_boundary(at.saturating_sub(LONGEST_BEFORE))..at];
    let begins = near.rsplit_once('\n').is_some_and(|(_, line)| {
        line[..line.len() - before.len().min(line.len())].trim_start_matches(['>', '<', '*', ' ']).is_empty()
    });
    // Without room nobody can tell, and what is only recorded is rather hidden.
    begins || !room.has(at) || is_quote_open(&text[..at])
}

/// Is a quote of a shell surely open at the end of the text?
fn open_quote(text: &str, room: &Room) -> bool {
    room.has(text.len()) && is_quote_open(text)
}

fn is_quote_open(text: &str) -> bool {
    shell::count(text.len());
    let (mut open, mut is_escaped) = (None, false);
    for it in text.chars() {
        match (open, it) {
            _ if std::mem::take(&mut is_escaped) => {}
            (None | Some('"'), '\\') => is_escaped = true,
            (None, '"' | '\'') => open = Some(it),
            (Some(quote), it) if quote == it => open = None,
            _ => {}
        }
    }
    open.is_some()
}
