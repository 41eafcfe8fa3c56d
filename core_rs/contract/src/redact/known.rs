//! What is known for a secret by one place of a call is one in every other.

use std::cell::OnceCell;

use super::forms::Manner;
use super::{MARK, code, shell};

/// A shorter one may stand anywhere by chance.
const SHORTEST: usize = 6;
/// One of letters alone may be a word.
const SHORTEST_OF_LETTERS: usize = 12;
/// Each is looked for in all of a call: of more only the longest are known.
const MOST: usize = 64;

/// Secrets that were found in a call, longest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known(Vec<String>);

impl Known {
    /// Adds those that nobody would write for anything else.
    pub(super) fn add(&mut self, secrets: impl IntoIterator<Item = String>) {
        for secret in secrets {
            // Of `user:secret` the secret may come alone.
            let alone = secret.split_once(':').map(|(_, alone)| alone.to_owned());
            self.0.extend([Some(secret), alone].into_iter().flatten().filter(|secret| is_telling(secret)));
        }
        self.0.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        self.0.dedup();
        self.0.truncate(MOST);
    }

    /// Is nothing known?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, longest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// The text without them; `None` if it has none of them.
    pub(super) fn without(&self, text: &str, manner: Manner, room: &shell::Room) -> Option<String> {
        if manner == Manner::Command && !self.is_empty() && code::may_be_run(text) {
            return None;
        }
        let mut clean = None::<String>;
        for secret in &self.0 {
            let said = clean.as_deref().unwrap_or(text);
            if let Some(less) = without(said, secret, manner, room) {
                clean = Some(less);
            }
        }
        clean
    }
}

fn without(text: &str, secret: &str, manner: Manner, room: &shell::Room) -> Option<String> {
    let (mut clean, mut copied, mark) = (String::new(), 0, OnceCell::new());
    for (at, _) in text.match_indices(secret) {
        // Whoever approves must see what a shell would run, whatever it is called elsewhere.
        if at < copied || (manner == Manner::Command && shell::is_run_after(&text[..at], room)) {
            continue;
        }
        clean.push_str(&text[copied..at]);
        clean.push_str(mark.get_or_init(|| super::mark(secret)));
        copied = at + secret.len();
    }
    (copied > 0).then(|| clean + &text[copied..])
}

/// Would nobody write it for anything but this secret?
fn is_telling(secret: &str) -> bool {
    let letters = secret.chars().filter(|it| it.is_alphabetic()).count();
    let is_plain = letters == secret.chars().count() && !has_both_cases(secret);
    let is_path = secret.starts_with(['/', '~', '.', '$', '-']) || shell::is_file(secret);
    let long_enough = if is_plain { SHORTEST_OF_LETTERS } else { SHORTEST };
    letters >= 2 && secret.len() >= long_enough && !is_path && !secret.contains(MARK)
}

fn has_both_cases(secret: &str) -> bool {
    secret.chars().skip(1).any(char::is_uppercase) && secret.chars().any(char::is_lowercase)
}
