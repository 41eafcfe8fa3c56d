//! Texts that a person reads, such as an intent or a comment: what would deceive them may not stand there.

/// The first character of a text that a terminal would obey, that reorders what is around it or that nobody sees,
/// and the number of characters before it.
#[must_use]
pub fn deceptive(text: &str) -> Option<(usize, char)> {
    text.chars().enumerate().find(|(_, character)| is_deceptive(*character))
}

/// The text without these characters.
#[must_use]
pub fn cleaned(text: &str) -> String {
    text.chars().filter(|character| !is_deceptive(*character)).collect()
}

/// Controls but for line breaks and tabs, what embeds, overrides or isolates a direction (UAX #9), separators and
/// annotations of lines, and tags. Marks that scripts and emoji need, such as joiners, are none of these.
fn is_deceptive(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_told_apart_from_what_scripts_need() {
        for (text, found) in [
            ("free disk space\n\tnow", None),
            ("👩‍💻 می‌خواهم \u{200e}ok", None),
            ("a\u{1b}[2J", Some((1, '\u{1b}'))),
            ("é\r", Some((1, '\r'))),
            ("\u{9b}31m", Some((0, '\u{9b}'))),
            ("ab\u{202e}cd", Some((2, '\u{202e}'))),
            ("\u{2066}", Some((0, '\u{2066}'))),
            ("x\u{e0041}", Some((1, '\u{e0041}'))),
        ] {
            assert_eq!(deceptive(text), found, "{text:?}");
            assert_eq!(deceptive(&cleaned(text)), None);
        }
        assert_eq!(cleaned("a\u{202e}b\u{1b}c"), "abc");
    }
}
