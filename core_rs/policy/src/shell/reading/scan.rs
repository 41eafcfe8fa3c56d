//! Finds where a bracketed part of a word ends, by one linear scan and no parser.
//!
//! A wrong answer is not dangerous: the part is parsed again and its commands are compared with what
//! an independent parser saw, so a mistake here makes the script unanalysable.

/// Deeper than the guards let through.
const MAX_DEPTH: usize = 32;

/// Index of the `)` that closes a `$(`, `<(` or `>(` whose content starts at `start`.
pub(in crate::shell) fn end_of_command(text: &str, start: usize) -> Option<usize> {
    Scan { text: text.as_bytes(), depth: 0 }.command(start)
}

/// Index of the `}` that closes a `${` whose content starts at `start`.
pub(in crate::shell) fn end_of_parameter(text: &str, start: usize, in_double_quotes: bool) -> Option<usize> {
    Scan { text: text.as_bytes(), depth: 0 }.parameter(start, in_double_quotes)
}

/// Index of the backquote that closes one whose content starts at `start`.
pub(in crate::shell) fn end_of_backquote(text: &str, start: usize) -> Option<usize> {
    Scan { text: text.as_bytes(), depth: 0 }.until_backquote(start)
}

/// Index of the `]` that closes a subscript whose content starts at `start`.
pub(in crate::shell) fn end_of_subscript(text: &str, start: usize) -> Option<usize> {
    Scan { text: text.as_bytes(), depth: 0 }.subscript(start)
}

/// Index of the quote that closes `$'` whose content starts at `start`.
pub(in crate::shell) fn end_of_ansi_c(text: &str, start: usize) -> Option<usize> {
    Scan { text: text.as_bytes(), depth: 0 }.ansi_c(start)
}

struct Scan<'a> {
    text: &'a [u8],
    depth: usize,
}

/// What a scan of commands has to remember.
#[derive(Default)]
struct Commands {
    parentheses: usize,
    /// How many parentheses were open at each `case` that is open.
    cases: Vec<usize>,
    /// Delimiters of here-documents that start on this line, and whether tabs are stripped.
    documents: Vec<(Vec<u8>, bool)>,
    /// Start of the word being read.
    word: Option<usize>,
}

impl Scan<'_> {
    fn peek(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn deeper<T>(&mut self, scan: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let found = scan(self);
        self.depth -= 1;
        found
    }

    fn command(&mut self, start: usize) -> Option<usize> {
        let mut commands = Commands::default();
        let mut at = start;
        loop {
            let byte = self.peek(at)?;
            if byte.is_ascii_alphanumeric() || byte == b'_' {
                commands.word.get_or_insert(at);
                at += 1;
                continue;
            }
            self.finish_word(&mut commands, start, at);
            match byte {
                b')' if commands.cases.last() == Some(&commands.parentheses) => at += 1,
                b')' if commands.parentheses == 0 => return Some(at),
                b')' => {
                    commands.parentheses -= 1;
                    at += 1;
                }
                b'(' => {
                    commands.parentheses += 1;
                    at += 1;
                }
                b'#' if at == start
                    || self.text[at - 1].is_ascii_whitespace()
                    || b";&|(".contains(&self.text[at - 1]) =>
                {
                    at = self.end_of_line(at);
                }
                b'<' if self.text[at..].starts_with(b"<<<") => at += 3,
                b'<' if self.text[at..].starts_with(b"<<") => at = self.here_document(at + 2, &mut commands)?,
                b'\n' => at = self.here_documents(at + 1, &mut commands)?,
                _ => at = self.element(at, false)?,
            }
        }
    }

    fn finish_word(&self, commands: &mut Commands, start: usize, end: usize) {
        let Some(from) = commands.word.take() else { return };
        let bare = from == start || b" \t\n;&|(".contains(&self.text[from - 1]);
        match &self.text[from..end] {
            b"case" if bare => commands.cases.push(commands.parentheses),
            b"esac" if bare => {
                commands.cases.pop();
            }
            _ => {}
        }
    }

    /// Steps over one character, quotation or expansion.
    fn element(&mut self, at: usize, in_double_quotes: bool) -> Option<usize> {
        match self.peek(at)? {
            b'\\' => self.peek(at + 1).map(|_| at + 2),
            b'\'' if !in_double_quotes => self.find(at + 1, b'\'').map(|end| end + 1),
            b'"' if !in_double_quotes => self.double_quotes(at + 1).map(|end| end + 1),
            b'`' => self.until_backquote(at + 1).map(|end| end + 1),
            b'$' => match self.peek(at + 1) {
                Some(b'(') => self.deeper(|scan| scan.command(at + 2)).map(|end| end + 1),
                Some(b'{') => self.deeper(|scan| scan.parameter(at + 2, in_double_quotes)).map(|end| end + 1),
                Some(b'\'') if !in_double_quotes => self.ansi_c(at + 2).map(|end| end + 1),
                _ => Some(at + 1),
            },
            _ => Some(at + 1),
        }
    }

    fn double_quotes(&mut self, start: usize) -> Option<usize> {
        let mut at = start;
        while self.peek(at)? != b'"' {
            at = self.element(at, true)?;
        }
        Some(at)
    }

    fn parameter(&mut self, start: usize, in_double_quotes: bool) -> Option<usize> {
        let mut at = start;
        loop {
            match self.peek(at)? {
                b'}' => return Some(at),
                // A quotation may stand within the braces even when they are within one.
                b'"' if in_double_quotes => at = self.double_quotes(at + 1)? + 1,
                _ => at = self.element(at, in_double_quotes)?,
            }
        }
    }

    fn subscript(&mut self, start: usize) -> Option<usize> {
        let mut open = 0usize;
        let mut at = start;
        loop {
            match self.peek(at)? {
                b']' if open == 0 => return Some(at),
                b']' => {
                    open -= 1;
                    at += 1;
                }
                b'[' => {
                    open += 1;
                    at += 1;
                }
                _ => at = self.element(at, false)?,
            }
        }
    }

    fn until_backquote(&self, start: usize) -> Option<usize> {
        let mut at = start;
        while self.peek(at)? != b'`' {
            at += if self.text[at] == b'\\' { 2 } else { 1 };
        }
        Some(at)
    }

    fn ansi_c(&self, start: usize) -> Option<usize> {
        let mut at = start;
        while self.peek(at)? != b'\'' {
            at += if self.text[at] == b'\\' { 2 } else { 1 };
        }
        Some(at)
    }

    fn find(&self, start: usize, wanted: u8) -> Option<usize> {
        self.text[start..].iter().position(|byte| *byte == wanted).map(|offset| start + offset)
    }

    fn end_of_line(&self, at: usize) -> usize {
        self.find(at, b'\n').unwrap_or(self.text.len())
    }

    /// Notes the delimiter of a here-document whose operator ends at `at`.
    fn here_document(&self, mut at: usize, commands: &mut Commands) -> Option<usize> {
        let strip_tabs = self.peek(at) == Some(b'-');
        at += usize::from(strip_tabs);
        while matches!(self.peek(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        let mut delimiter = Vec::new();
        while let Some(byte) = self.peek(at) {
            match byte {
                b'\'' | b'"' => {
                    let end = self.find(at + 1, byte)?;
                    delimiter.extend_from_slice(&self.text[at + 1..end]);
                    at = end + 1;
                }
                b'\\' => {
                    delimiter.push(self.peek(at + 1)?);
                    at += 2;
                }
                _ if byte.is_ascii_whitespace() || b"|&;()<>".contains(&byte) => break,
                _ => {
                    delimiter.push(byte);
                    at += 1;
                }
            }
        }
        commands.documents.push((delimiter, strip_tabs));
        Some(at)
    }

    /// Steps over the bodies that follow a line; `at` is the start of the next one.
    fn here_documents(&self, mut at: usize, commands: &mut Commands) -> Option<usize> {
        for (delimiter, strip_tabs) in std::mem::take(&mut commands.documents) {
            loop {
                let end = self.find(at, b'\n')?;
                let mut line = &self.text[at..end];
                while strip_tabs && line.first() == Some(&b'\t') {
                    line = &line[1..];
                }
                at = end + 1;
                if line == delimiter {
                    break;
                }
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_parenthesis_that_closes_a_substitution() {
        for (text, rest) in [
            ("a) b", " b"),
            ("a ')' b) c", " c"),
            ("a \")\" $(b) `c )`) d", " d"),
            ("case x in a) b;; (c) d;; esac) e", " e"),
            ("a # b )\n) c", " c"),
            ("cat <<'E'\nit's )\nE\n) d", " d"),
            ("cat <<-E\n\t)\n\tE\n) d", " d"),
            ("echo \"${x:-)}\") d", " d"),
            ("echo $'\\')') d", " d"),
        ] {
            let end = end_of_command(text, 0).expect(text);
            assert_eq!(&text[end + 1..], rest, "{text}");
        }
    }

    #[test]
    fn says_nothing_when_nothing_closes() {
        for text in ["a", "a 'b)", "cat <<E\n)\n", "echo case)", "$(a)"] {
            assert_eq!(end_of_command(text, 0), None, "{text}");
        }
    }
}
