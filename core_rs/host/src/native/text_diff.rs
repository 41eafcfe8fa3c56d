//! A bounded unified diff of small text files, for the person who approves.

use std::time::Duration;

use cmdop_contract::redact;
use cmdop_policy::classes::is_secret;
use similar::{Algorithm, TextDiff};

/// What a report carries at most.
const MAX_DIFF_BYTES: usize = 4 * 1024;

/// Larger files are not compared.
pub(crate) const MAX_TEXT_BYTES: u64 = 256 * 1024;

/// Unified diff of two contents of a file and whether it was cut; empty if either is not small text, or
/// if the file is a secret: a diff goes into records, and to an agent that need not have read the file.
pub(crate) fn unified(place: &[u8], before: &[u8], after: &[u8]) -> (String, bool) {
    if is_secret(place) {
        return (String::new(), true);
    }
    let (Some(before), Some(after)) = (text(before), text(after)) else { return Default::default() };
    // A deadline bounds the cost of texts that have nothing in common.
    let diff =
        TextDiff::configure().algorithm(Algorithm::Myers).timeout(Duration::from_millis(50)).diff_lines(before, after);
    let text = diff.unified_diff().context_radius(2).to_string();
    // Before it is cut, and before anybody makes a digest of it.
    let mut text = redact::text(&text).into_owned();
    if text.len() <= MAX_DIFF_BYTES {
        return (text, false);
    }
    let end = text.floor_char_boundary(MAX_DIFF_BYTES);
    let end = text[..end].rfind('\n').map_or(end, |newline| newline + 1);
    text.truncate(end);
    (text, true)
}

fn text(bytes: &[u8]) -> Option<&str> {
    let is_small = bytes.len() as u64 <= MAX_TEXT_BYTES;
    std::str::from_utf8(bytes).ok().filter(|text| is_small && !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_shows_with_its_neighbours() {
        let (diff, truncated) = unified(b"/srv/file", b"a\nb\nc\n", b"a\nB\nc\n");
        assert!(diff.contains("-b\n+B\n"), "{diff}");
        assert!(!truncated);
    }

    #[test]
    fn a_long_diff_is_cut_at_a_line() {
        let after = "line\n".repeat(5_000);
        let (diff, truncated) = unified(b"/srv/file", b"", after.as_bytes());
        assert!(truncated && diff.len() <= MAX_DIFF_BYTES && diff.ends_with("+line\n"));
    }

    #[test]
    fn binary_content_has_no_diff() {
        assert_eq!(unified(b"/srv/file", b"\xff\xfe", b"text"), (String::new(), false));
    }

    #[test]
    fn of_a_secret_nothing_is_shown() {
        assert_eq!(unified(b"/srv/app/.env", b"TOKEN=1\n", b"TOKEN=2\n"), (String::new(), true));
    }
}
