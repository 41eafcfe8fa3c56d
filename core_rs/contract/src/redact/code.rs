//! Programs that run what a variable, an argument or their input says: a shell does not, so it is not in what it runs.

use std::sync::LazyLock;

use regex::Regex;

use super::forms::pattern;
use super::shell;

/// Programs that run what their variables, options or scripts say, whatever those are called.
const READERS: [&str; 18] = [
    "make", "gmake", "bmake", "remake", "ninja", "crontab", "ed", "vi", "vim", "nvim", "emacs", "tclsh", "wish",
    "expect", "m4", "guile", "Rscript", "julia",
];
/// `git` runs what its settings say.
const GIT: &str = r"git\s+(?:[^|;&\n]*\s)?(?:-c|--config-env|config)";
/// A program that only passes on, or asks for, what a here-document says.
const KEEPERS: [&str; 10] = ["cat", "tee", "dd", "curl", "wget", "jq", "grep", "wc", "sort", "sha256sum"];

/// A program that runs what it is told, one that reads a variable by its name, or one that starts another.
static READS: LazyLock<Regex> = LazyLock::new(|| {
    let readers = READERS.join("|");
    pattern(&format!(
        r#"(?:^|[\s;|&(`'"{{/])(?:{readers}|{GIT})(?:[\s;|&)`'"<]|$)|\bENVIRON\b|\benviron\b|getenv|\bENV\s*[\[{{(.:]|process\.env|printenv|\bgetline\b|\bsystem\b|popen|\bexec[lv]p?e?\s*\(|subprocess|spawn"#
    ))
});
/// The flag and the command `e` of a script of `sed`, which runs what it has made.
static SED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"\bsed\b[^\n]*(?:[^\s\w-][0-9gpiImMw]*e[0-9gpiImMw]*(?:[\s'"};]|$)|\be\s)|\bsed\b[^\n]*\bs[\w-]\S*\w*e\w*['"]"#,
    )
});
static HERE: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?:^|[^<])<<-?\s*[\\'"]?\w"#));

/// Could a program that a line of a shell starts run what it is handed under any name?
pub(super) fn may_be_run(text: &str) -> bool {
    shell::runs_text(text) || READS.is_match(text) || SED.is_match(text) || is_fed(text)
}

/// Does it run what its words say?
pub(super) fn is_reader(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    name == "git" || READERS.contains(&name)
}

/// Is a here-document the input of a program that may do with it what it says?
fn is_fed(text: &str) -> bool {
    let lines = text.split('\n').filter(|line| line.contains("<<") && HERE.is_match(line));
    lines.flat_map(|line| line.split([';', '|', '&', '('])).filter(|command| command.contains("<<")).any(|command| {
        let program = command.split_whitespace().next().unwrap_or_default();
        !KEEPERS.contains(&program.rsplit('/').next().unwrap_or_default())
    })
}
