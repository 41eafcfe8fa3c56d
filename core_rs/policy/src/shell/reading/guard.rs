//! What is refused before any parser sees it.
//!
//! Parsers hang or run out of memory on hostile text, and a reader who approves a command must see
//! what bash sees. One linear pass over the characters, one over the structure.

/// Longest command that is looked at, in bytes.
pub(in crate::shell) const MAX_BYTES: usize = 64 * 1024;

/// Deepest nesting of parentheses, braces, substitutions and compound commands.
const MAX_NESTING: usize = 10;

/// # Errors
/// What is wrong with the text, and where.
pub(in crate::shell) fn check(command: &str) -> Result<(), String> {
    if command.len() > MAX_BYTES {
        return Err(format!("it is {} bytes long, at most {MAX_BYTES} are accepted", command.len()));
    }
    if let Some((at, char)) = command.char_indices().find(|(_, char)| is_deceptive(*char)) {
        return Err(format!("it holds the invisible or control character U+{:04X} at byte {at}", u32::from(char)));
    }
    let nesting = nesting(command);
    if nesting > MAX_NESTING {
        return Err(format!("it is nested {nesting} deep, at most {MAX_NESTING} is accepted"));
    }
    Ok(())
}

/// Why the text, though acceptable, must not be given to a parser.
pub(in crate::shell) fn hazard(command: &str) -> Option<&'static str> {
    if command.contains("$[") {
        return Some("`$[…]` is not understood");
    }
    if command.match_indices("$'").any(|(at, _)| continues_a_line(&command[at + 2..])) {
        return Some("a continued line within `$'…'` is not understood");
    }
    if command.lines().any(substitutes_after_here_document) {
        return Some("a substitution follows a here-document operator on its line");
    }
    None
}

/// Characters that change what a reader sees, or that no command needs.
fn is_deceptive(char: char) -> bool {
    match char {
        '\n' | '\t' => false,
        '\u{00ad}'
        | '\u{034f}'
        | '\u{061c}'
        | '\u{070f}'
        | '\u{08e2}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        _ => char.is_control(),
    }
}

/// Does `$'…'`, whose content starts here, hold a backslash before the end of a line? One parser drops
/// the pair, bash keeps it.
fn continues_a_line(content: &str) -> bool {
    let end = super::scan::end_of_ansi_c(content, 0).unwrap_or(content.len());
    content[..end].contains("\\\n")
}

/// A parser lost commands in the words that follow a here-document operator.
fn substitutes_after_here_document(line: &str) -> bool {
    let mut rest = line;
    while let Some(at) = rest.find("<<") {
        rest = &rest[at + 2..];
        match rest.strip_prefix('<') {
            Some(here_string) => rest = here_string,
            None => return rest.contains("$(") || rest.contains('`') || rest.contains("<(") || rest.contains(">("),
        }
    }
    false
}

pub(in crate::shell) fn has_here_document(text: &str) -> bool {
    text.replace("<<<", "").contains("<<")
}

/// How deep the text may be nested: what is quoted singly does not count, what looks like a keyword does.
///
/// An estimate, which a comment with an apostrophe can mislead: it keeps parsers from hanging, and the
/// first of them then measures the nesting exactly.
fn nesting(command: &str) -> usize {
    let bytes = command.as_bytes();
    let (mut brackets, mut keywords, mut deepest, mut at) = (0usize, 0usize, 0usize, 0usize);
    let mut in_double_quotes = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => in_double_quotes = !in_double_quotes,
            b'\'' if !in_double_quotes => at = skip_single_quotes(bytes, at),
            b'(' | b'{' => brackets += 1,
            b')' | b'}' => brackets = brackets.saturating_sub(1),
            _ if byte.is_ascii_alphabetic() && !in_double_quotes => {
                let word = word_at(bytes, at);
                match word {
                    b"if" | b"for" | b"while" | b"until" | b"select" | b"case" => keywords += 1,
                    b"fi" | b"done" | b"esac" => keywords = keywords.saturating_sub(1),
                    _ => {}
                }
                at += word.len() - 1;
            }
            _ => {}
        }
        deepest = deepest.max(brackets + keywords);
        at += 1;
    }
    deepest
}

/// Whatever the quotes, the text is nested no deeper than [`MAX_NESTING`].
pub(in crate::shell) fn is_surely_shallow(text: &str) -> bool {
    let brackets = text.bytes().filter(|byte| b"({`!".contains(byte)).count();
    let keywords = text.split(|char: char| !char.is_ascii_alphanumeric());
    let keywords = keywords.filter(|word| matches!(*word, "if" | "for" | "while" | "until" | "select" | "case"));
    brackets <= MAX_NESTING && brackets + keywords.count() <= MAX_NESTING
}

fn word_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = &bytes[at..];
    let length = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_' && *byte != b'-');
    &rest[..length.unwrap_or(rest.len())]
}

/// Index of the closing quote. An apostrophe that nothing closes is stepped over alone.
fn skip_single_quotes(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at + 1..].iter().position(|byte| *byte == b'\'');
    length.map_or(at, |length| at + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_reader_cannot_see() {
        for char in
            ['\0', '\r', '\u{7}', '\u{7f}', '\u{85}', '\u{202e}', '\u{200b}', '\u{feff}', '\u{e0041}', '\u{2066}']
        {
            assert!(check(&format!("echo a{char}b")).is_err(), "{char:?}");
        }
        assert_eq!(check("echo 'grüße 日本 🙂'\n\techo b"), Ok(()));
    }

    #[test]
    fn refuses_what_is_too_long_or_too_deep() {
        assert!(check(&"a".repeat(MAX_BYTES + 1)).is_err());
        assert!(check(&"( ".repeat(25)).is_err());
        assert!(check(&"case x in x) ".repeat(20)).is_err());
        assert!(check(&"$(".repeat(10_000)).is_err());
        assert!(check(&"{a,".repeat(16)).is_err());
        assert_eq!(check(&"(true); ".repeat(100)), Ok(()));
        assert_eq!(check("echo '((((((((((((((((((('"), Ok(()));
    }

    #[test]
    fn holds_what_parsers_are_known_to_get_wrong() {
        for command in [
            "cat <<E $(rm -rf /srv/db)\nE",
            "cat <<E | sh -c \"$(rm x)\"\nE",
            "cat <<E `rm x`\nE",
            "cat <<E <(rm x)\nE",
            "<<E$[\t\t",
            "echo $'a\\\nb'",
        ] {
            assert!(hazard(command).is_some(), "{command}");
        }
        for command in ["git commit -m \"$(cat <<'E'\nx\nE\n)\"", "cat <<<\"$(date)\"", "cat <<E\n$(date)\nE"] {
            assert_eq!(hazard(command), None, "{command}");
        }
    }
}
