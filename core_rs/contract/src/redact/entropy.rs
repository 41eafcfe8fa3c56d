//! Words that nobody would choose: made by chance, so most likely to be a secret.
//!
//! Digests are made so, too, and stay: they are written in hexadecimal digits, or behind the name of their algorithm.
//! So do public keys, certificates and content that is only written so (base64 of more than [`LONGEST`] bytes).

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::forms::Manner;
use super::{Taken, mark, shell};

/// A shorter word may look like chance by chance.
const SHORTEST: usize = 20;
/// Of two kinds of characters only a longer one is taken for chance.
const SHORTEST_OF_TWO: usize = 24;
const LONGEST: usize = 256;
/// Bits of chance in each character, at least.
const BITS: f64 = 3.5;

/// What is public although it looks like chance: what stands in armour but no private key.
static PUBLIC: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"-----BEGIN (?:CERTIFICATE|PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE REQUEST|X509 CRL|PGP PUBLIC KEY BLOCK|PGP SIGNATURE|PGP MESSAGE|SSH SIGNATURE)-----(?s:.*?)-----END ",
    )
    .expect("a constant that a test compiles")
});

/// The text without such words; `None` if it has none.
pub(super) fn without_chance(text: &str, manner: Manner, room: &shell::Room, taken: Taken<'_>) -> Option<String> {
    let mut clean = None::<String>;
    let mut copied = 0;
    let mut public = None::<Vec<Range<usize>>>;
    for word in candidates(text) {
        if !is_chance(&text[word.clone()])
            || is_digest(text, &word)
            || (manner == Manner::Command && is_program(text, &word, room))
        {
            continue;
        }
        let public = public.get_or_insert_with(|| PUBLIC.find_iter(text).map(|found| found.range()).collect());
        let behind = public.partition_point(|range| range.end <= word.start);
        if public.get(behind).is_some_and(|range| range.contains(&word.start)) {
            continue;
        }
        let clean = clean.get_or_insert_with(|| String::with_capacity(text.len()));
        let secret = &text[word.clone()];
        taken(secret);
        clean.push_str(&text[copied..word.start]);
        clean.push_str(&mark(secret));
        copied = word.end;
    }
    clean.as_mut()?.push_str(&text[copied..]);
    clean
}

/// Runs of the letters of base64 and its variant for URLs, with its padding.
fn candidates(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-');
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += bytes[at..].iter().position(is_letter)?;
            let start = at;
            at += bytes[at..].iter().position(|byte| !is_letter(byte)).unwrap_or(bytes.len() - at);
            let length = at - start;
            while at - start - length < 2 && bytes.get(at) == Some(&b'=') {
                at += 1;
            }
            if (SHORTEST..=LONGEST).contains(&length) {
                return Some(start..at);
            }
        }
    })
}

pub(super) fn is_chance(word: &str) -> bool {
    let kinds = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let (mut seen, mut alike, mut changes, mut last) = ([0_u32; 4], [0_u32; 256], 0_u32, 3);
    for byte in word.bytes() {
        let kind = kinds(byte);
        seen[kind] += 1;
        alike[usize::from(byte)] += 1;
        changes += u32::from(kind != last && kind != 3 && last != 3);
        last = kind;
    }
    let letters = f64::from(seen[0] + seen[1] + seen[2]);
    let of_kinds = seen[..3].iter().filter(|count| **count > 0).count();
    let often = f64::from(changes) / letters.max(1.0);
    let is_mixed = match of_kinds {
        3 => often >= 0.4,
        2 => seen[3] == 0 && word.len() >= SHORTEST_OF_TWO && often >= 0.3 && !is_hex(word),
        _ => false,
    };
    is_mixed && letters >= f64::from(u32::try_from(SHORTEST).unwrap_or_default()) * 0.9 && bits(&alike) >= BITS
}

/// Would a shell run it, or is it the name of a file?
fn is_program(text: &str, word: &Range<usize>, room: &shell::Room) -> bool {
    let before = &text[..word.start];
    if !room.has_before(before) {
        return true;
    }
    let near = shell::end_of(before);
    let begins = near.rfind([' ', '\t', '\n', ';', '|', '&', '(', '"', '\'', '=']).map_or(0, |at| at + 1);
    shell::is_file(&text[word.start - near.len() + begins..word.end]) || shell::is_run_after(before, room)
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Shannon's entropy of one character, by how often each occurs.
fn bits(alike: &[u32; 256]) -> f64 {
    let all: f64 = alike.iter().map(|count| f64::from(*count)).sum();
    let part = |count: &u32| {
        let share = f64::from(*count) / all;
        -share * share.log2()
    };
    alike.iter().filter(|count| **count > 0).map(part).sum()
}

/// Is it the digest of something, by the name of the algorithm in front of it, or a public key?
fn is_digest(text: &str, word: &Range<usize>) -> bool {
    let said = &text[word.clone()];
    let algorithms = ["sha1-", "sha256-", "sha384-", "sha512-", "h1-"];
    if algorithms.iter().any(|name| said.starts_with(name)) || said.starts_with("AAAA") {
        return true;
    }
    let before = &text[text.floor_char_boundary(word.start.saturating_sub(8))..word.start];
    ["sha1:", "sha256:", "sha384:", "sha512:", "SHA256:", "SHA512:", "h1:", "md5:"]
        .iter()
        .any(|name| before.ends_with(name))
}
