//! What is kept of a stream that may be longer than memory: its head and its tail.

use cmdop_contract::redact;

/// What is kept of a stream.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    /// Bytes written in all.
    pub total: u64,
    most: usize,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(2), ..Self::default() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let half = self.most / 2;
        let (head, rest) = bytes.split_at(bytes.len().min(half.saturating_sub(self.head.len())));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(self.most - half);
        self.tail.drain(..excess);
    }

    /// Was something left out?
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.total > (self.head.len() + self.tail.len()) as u64
    }

    /// Head and tail as text, with a line between them that says what is missing. Bytes that are
    /// not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if !self.is_truncated() {
            return String::from_utf8_lossy(&[&*self.head, &tail].concat()).into_owned();
        }
        let missing = self.total - (self.head.len() + tail.len()) as u64;
        format!(
            "{}\n[… {missing} bytes left out …]\n{}",
            String::from_utf8_lossy(&self.head),
            String::from_utf8_lossy(&tail)
        )
    }

    /// What a command said last of why it failed: on standard error, or else on standard output.
    pub(crate) fn last_words(stderr: &Self, stdout: &Self) -> String {
        let last = |stream: &Self| {
            let text = stream.text();
            // Whole, before a part of it is taken.
            let text = redact::text(&text);
            let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
            Some(line.chars().take(300).collect::<String>())
        };
        last(stderr)
            .or_else(|| {
                last(stdout).map(|line| format!("it said nothing on standard error, and last on the other: {line}"))
            })
            .unwrap_or_else(|| "it said nothing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_of_a_long_stream_are_kept() {
        let mut kept = Kept::new(10);
        for byte in b'a'..=b'z' {
            kept.push(&[byte]);
        }
        assert_eq!(kept.text(), "abcde\n[… 16 bytes left out …]\nvwxyz");
        let mut short = Kept::new(10);
        short.push(b"0123456789");
        assert!(!short.is_truncated());
        assert_eq!(short.text(), "0123456789");
    }

    #[test]
    fn the_last_words_of_a_command_are_looked_for_on_both_streams() {
        let said = |text: &str| {
            let mut kept = Kept::new(100);
            kept.push(text.as_bytes());
            kept
        };
        let nothing = || said("\n \n");
        assert_eq!(Kept::last_words(&said("a\nno such file\n\n"), &said("out")), "no such file");
        let out = "it said nothing on standard error, and last on the other: 3 tests failed";
        assert_eq!(Kept::last_words(&nothing(), &said("1\n3 tests failed\n")), out);
        assert_eq!(Kept::last_words(&nothing(), &nothing()), "it said nothing");
    }
}
