//! The known word that a mistaken one was likely meant to be.

/// Characters of a word that are compared.
const COMPARED: usize = 128;
/// Characters of a word of which a slip away there are not many others.
const SHORTEST: usize = 4;

/// The known word at the least distance; none if there are none.
#[must_use]
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|word| distance(word, text))
}

/// The nearest known word, if it is one slip or two away and not merely the least different one.
#[must_use]
pub fn meant<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(text, known).filter(|word| distance(word, text) <= (word.chars().count() / 4).clamp(1, 3))
}

/// The known word that can only have been meant: a slip away from it, with the same digits, and no other is nearly as
/// near.
#[must_use]
pub fn surely<'a>(text: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let word = meant(text, known.clone()).filter(|word| word.chars().count() >= SHORTEST)?;
    let least = distance(word, text);
    let is_alone = known.into_iter().all(|other| other == word || distance(other, text) > least + 1);
    // `web-1` is no slip of `web-2`.
    (is_alone && digits(word) == digits(text)).then_some(word)
}

/// Edit distance (Levenshtein 1966).
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().take(COMPARED).collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.chars().take(COMPARED).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in two.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["timeout_s", "cwd", "command"];
        assert_eq!(meant("timeout", known), Some("timeout_s"));
        assert_eq!(meant("comand", known), Some("command"));
        assert_eq!(meant("cdw", known), None);
        assert_eq!(meant("nonsense", known), None);
        assert_eq!(nearest("nonsense", []), None);
    }

    #[test]
    fn what_may_have_been_another_word_is_not_sure() {
        assert_eq!(surely("locl", ["local", "web-1"]), Some("local"));
        assert_eq!(surely("web-2", ["local", "web-1"]), None);
        assert_eq!(surely("USR3", ["USR1", "USR2"]), None);
        assert_eq!(surely("HUB", ["HUP", "TERM"]), None);
        assert_eq!(surely("cache", ["caches", "cached"]), None);
    }
}
