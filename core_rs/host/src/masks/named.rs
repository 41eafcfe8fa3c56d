//! Which secrets, masked from a command that failed, it spoke of.

use cmdop_contract::path::escape;
use cmdop_contract::v1::{EffectKind, Error, ExpectedEffect};

use super::Masked;

/// Paths that one error names.
const MAX_NAMED: usize = 8;
/// Bytes of a name without its directory that is taken for one.
const SHORTEST: usize = 4;

impl Masked {
    /// Says which masked paths what it printed names, and what would open them; of the others only how many
    /// there are. Whether a mask is why it failed nobody knows.
    pub(crate) fn explain(&self, error: Error, printed: &[&str]) -> Error {
        if self.paths.is_empty() {
            return error;
        }
        let said =
            |path: &&Vec<u8>| std::str::from_utf8(path).is_ok_and(|path| printed.iter().any(|text| names(text, path)));
        let named: Vec<String> = self.paths.iter().filter(said).take(MAX_NAMED).map(|path| escape(path)).collect();
        let mut error = error;
        if named.is_empty() {
            let count = self.paths.len();
            error.message += &format!(
                "; {count} path{} masked from it as secrets, and its output names none of them",
                if count == 1 { " is" } else { "s are" }
            );
            return error;
        }
        error.message += &format!(
            "; its output names {}, which {} masked from it as a secret: declare `file.read` of what it must read, which policy may put to a person",
            named.join(", "),
            if named.len() == 1 { "is" } else { "are each" },
        );
        let read = |target: String| ExpectedEffect { kind: EffectKind::FileRead.into(), target, ..Default::default() };
        error.declare_effect(named.into_iter().map(read).collect())
    }
}

/// Does a text name this path, wholly or by its end?
fn names(text: &str, path: &str) -> bool {
    let is_between = |character: char| character.is_whitespace() || "'\"`:,;()[]<>=".contains(character);
    text.split(is_between).any(|word| {
        let word = word.trim_start_matches("./");
        word == path || (is_telling(word) && path.strip_suffix(word).is_some_and(|above| above.ends_with('/')))
    })
}

/// A number or a letter stands in many texts that mean no file.
fn is_telling(word: &str) -> bool {
    word.len() >= SHORTEST && !word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use cmdop_contract::reason;
    use cmdop_contract::v1::{Reason, remedy};

    use super::*;

    fn explained(printed: &str) -> Error {
        let masked = Masked { paths: vec![b"/srv/app/.env".to_vec(), b"/root/.ssh/1".to_vec()], ..Masked::default() };
        masked.explain(reason::error(Reason::CommandFailed, "exit code 1"), &[printed, ""])
    }

    #[test]
    fn a_masked_path_that_the_output_names_is_told_with_what_opens_it() {
        for printed in
            ["cat: .env: Permission denied", "[Errno 13] Permission denied: '/srv/app/.env'", "open ./.env: EACCES"]
        {
            let error = explained(printed);
            assert!(error.message.contains("names /srv/app/.env, which is masked"), "{}", error.message);
            let Some(remedy::Kind::DeclareEffect(declare)) = error.remedy.and_then(|remedy| remedy.kind) else {
                panic!("another remedy for {printed}");
            };
            assert_eq!(declare.effects.len(), 1);
            assert_eq!(
                (declare.effects[0].kind(), &*declare.effects[0].target),
                (EffectKind::FileRead, "/srv/app/.env")
            );
        }
    }

    #[test]
    fn what_the_output_does_not_name_is_only_counted() {
        let error = explained("line 1, cat: my.env: No such file or directory");
        assert!(error.message.ends_with("2 paths are masked from it as secrets, and its output names none of them"));
        assert!(!matches!(error.remedy.and_then(|it| it.kind), Some(remedy::Kind::DeclareEffect(_))));
    }
}
