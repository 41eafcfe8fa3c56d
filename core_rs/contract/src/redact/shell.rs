//! What a shell would run of a text: whoever approves sees that, whatever it is called. In doubt a secret is shown.

use std::cell::Cell;
use std::sync::LazyLock;

use regex::Regex;

use super::entropy;
use super::forms::pattern;

/// Words of a shell behind which it runs what comes next.
const KEYWORDS: [&str; 11] = ["then", "do", "else", "elif", "if", "while", "until", "!", "{", "time", "coproc"];
/// Programs that run one of their words.
const RUNNERS: &str = r"^(?:sudo|doas|su|runuser|exec|command|builtin|env|nohup|xargs|parallel|eval|source|\.|bash|sh|dash|ash|ksh|zsh|fish|busybox|python[0-9.]*|perl|ruby|node|php|lua|timeout|setsid|nice|ionice|chrt|taskset|stdbuf|unbuffer|watch|strace|ltrace|gdb|flock|chroot|unshare|nsenter|setpriv|systemd-run|script|sshpass|ssh|start-stop-daemon|at|batch|trap|alias|find|-c|-exec|-execdir)$";

static RUNNER: LazyLock<Regex> = LazyLock::new(|| pattern(RUNNERS));
/// Text is decoded, or read by something that runs it.
static RUNS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:^|[\s;|&(`'"{/])(?:eval|source|alias|trap|xargs|parallel|mapfile|readarray|enable|bind|fc|coproc|uudecode|openssl|xxd|rev|(?:base64|base32|basenc)\s+(?:[^|;&\n]*\s)?(?:-\w*[dD]\w*|--d\w*))(?:[\s;|&)`'"]|$)|(?:^|[;|&(`{\n])\s*\.\s|b64decode|unhexlify|fromhex|\batob\b|(?:\|[^|;&\n]*[\s|&/]|\|)(?:sh|bash|dash|ash|ksh|zsh|fish|busybox|python[0-9.]*|perl|ruby|node|php|lua|at|batch)(?:[\s;|&)`'"]|$)|\b(?:sh|bash|dash|ash|ksh|zsh|fish)\b[^|;&\n<]*<(?:<<|\()"#,
    )
});
static SCRIPT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\.(?:sh|bash|zsh|ksh|fish|py|pl|rb|js|mjs|ts|php|lua|bin|exe|run|out|so|ps1|bat|cmd|jar)$")
});
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\w+\+?="));
static EXPANDED: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$(?:[\w@*#!?-]|\{)"));
/// A line of a key.
static ARMOUR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:-----(?:BEGIN|END) [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|(?:Proc-Type|DEK-Info|Version|Comment): [\w ,.-]*)?$",
    )
});
static BASE64: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z0-9+/]+={0,2}$"));
/// No program's name among the runners is longer.
const LONGEST_RUNNER: usize = 24;
/// A key's lines but the last are so long.
const LINE_OF_KEY: usize = 32;

/// Before a word no more of a text is read.
const LONGEST: usize = 1 << 14;
/// Bytes that are read again for all that one text holds.
pub(super) const ROOM: usize = 2 << 20;

/// What is left to be read of one text: it may hold ten thousands of values, and each asks what stands before it.
/// Without room nobody can tell what a shell would run, so it is shown.
pub(super) struct Room(Cell<usize>);

impl Room {
    pub(super) fn of_a_text() -> Self {
        Self(Cell::new(ROOM))
    }

    /// True if so much may still be read, which then counts.
    pub(super) fn has(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    pub(super) fn has_before(&self, before: &str) -> bool {
        self.has(before.len().min(LONGEST))
    }
}

/// Tests count what is read of a text besides what patterns read once.
#[cfg(not(test))]
pub(super) fn count(_: usize) {}

#[cfg(test)]
pub(super) use counted::count;

/// One simple command as far as it is read: what its words were, without their quotes.
struct Simple {
    /// All of them set variables.
    only_assigns: bool,
    /// The next one is run, but for variables that are set for it.
    is_at_program: bool,
    /// One of them runs another.
    has_runner: bool,
    /// Words behind the last that does, without options and variables.
    behind: usize,
    /// What is begun of the next one.
    begun: String,
    is_begun: bool,
    quote: Option<char>,
}

impl Simple {
    fn begin(quote: Option<char>) -> Self {
        let (begun, is_begun) = Default::default();
        Self { only_assigns: true, is_at_program: true, has_runner: false, behind: 0, begun, is_begun, quote }
    }

    fn end_word(&mut self) {
        if !std::mem::take(&mut self.is_begun) {
            return;
        }
        let word = std::mem::take(&mut self.begun);
        if self.only_assigns && KEYWORDS.contains(&&*word) {
            return;
        }
        let assigns = word.contains('=') && ASSIGNMENT.is_match(&word);
        self.only_assigns &= assigns;
        self.is_at_program &= assigns || is_redirection(&word);
        match is_runner(&word) {
            true => (self.has_runner, self.behind) = (true, 0),
            false => self.behind += usize::from(!word.starts_with('-') && !assigns),
        }
    }
}

fn is_redirection(word: &str) -> bool {
    word.trim_start_matches(|it: char| it.is_ascii_digit()).starts_with(['<', '>'])
}

fn is_runner(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    (name.len() <= LONGEST_RUNNER && RUNNER.is_match(name)) || word.starts_with('-') && word.ends_with('c')
}

/// Is it unsure where quotes begin?
fn is_tangled(text: &str) -> bool {
    text.len() > LONGEST || ["$'", "#", "<<"].iter().any(|it| text.contains(it))
}

/// What of a text that ends here is read: it may be long, and hold many words.
pub(super) fn end_of(before: &str) -> &str {
    match before.len() > LONGEST {
        true => &before[before.ceil_char_boundary(before.len() - LONGEST)..],
        false => before,
    }
}

/// Reads to the end of the text, and tells of each word that ends.
fn read(text: &str, mut told: impl FnMut(&Simple)) -> Simple {
    count(text.len());
    let mut simple = Simple::begin(None);
    let mut is_escaped = false;
    for it in text.chars() {
        match (simple.quote, it) {
            _ if std::mem::take(&mut is_escaped) => {
                simple.is_begun |= it != '\n';
                if it != '\n' {
                    simple.begun.push(it);
                }
            }
            (None | Some('"'), '\\') => is_escaped = true,
            (None, '"' | '\'') => (simple.quote, simple.is_begun) = (Some(it), true),
            (Some(quote), it) if quote == it => simple.quote = None,
            (None, ' ' | '\t') => {
                told(&simple);
                simple.end_word();
            }
            (None, ';' | '|' | '&' | '(' | ')' | '`' | '\n') | (Some('"'), '`') => {
                told(&simple);
                simple = Simple::begin(simple.quote);
            }
            _ => (simple.is_begun, _) = (true, simple.begun.push(it)),
        }
    }
    told(&simple);
    simple
}

/// Is text run that this one only makes: decoded, read by a shell, or put for a variable where a program stands?
pub(super) fn runs_text(text: &str) -> bool {
    let mut is_run = false;
    if EXPANDED.is_match(text) {
        read(text, |simple| {
            is_run |= simple.begun.contains('$')
                && EXPANDED.is_match(&simple.begun)
                && !ASSIGNMENT.is_match(&simple.begun)
                && (simple.is_at_program || simple.has_runner);
        });
    }
    is_run || RUNS.is_match(text)
}

/// Would a shell run the word that goes on after this?
pub(super) fn is_run_after(before: &str, room: &Room) -> bool {
    if !room.has_before(before) {
        return true;
    }
    let (is_unsure, before) = (is_tangled(before), end_of(before));
    // Of quotes that are not read as a shell does, any word may be outside.
    let line = &before[before.rfind('\n').filter(|_| !before.contains("$'")).map_or(0, |at| at + 1)..];
    let mut words = line.split([' ', '\t', '\n', ';', '|', '&', '(', ')', '`', '"', '\'']);
    if is_unsure && words.any(is_runner) {
        return true;
    }
    let simple = read(before, |_| {});
    let is_script = simple.quote.is_some() && simple.begun.contains([' ', '\t', '\n', ';', '|', '&', '(', '`']);
    if simple.has_runner && (is_script || !simple.begun.contains('=')) {
        return true;
    }
    if is_script {
        let set = ASSIGNMENT.find(&simple.begun).map_or(0, |name| name.end());
        return is_run_after(&simple.begun[set..], room);
    }
    !simple.begun.contains('=') && simple.is_at_program
}

/// Is the word after this one run by a program before it, which has had none but options yet?
pub(super) fn is_program_after(before: &str, room: &Room) -> bool {
    if !room.has_before(before) {
        return true;
    }
    let simple = read(end_of(before), |_| {});
    simple.has_runner && simple.behind < 2
}

/// Is it called like a file that can be run?
pub(super) fn is_file(text: &str) -> bool {
    let word = text.trim_matches(['"', '\'']);
    ["/", "./", "../", "~"].iter().any(|start| word.starts_with(start)) || SCRIPT.is_match(word)
}

/// Could the value, as it stands in a line of a shell behind this, be or hold something that is run?
pub(super) fn may_run(before: &str, value: &str, room: &Room) -> bool {
    let quote = value.chars().next().filter(|it| matches!(it, '"' | '\''));
    let bare = value.trim_start_matches('$').trim_matches(['"', '\'']).trim_end_matches('\\');
    const SYNTAX: [char; 14] = ['\n', ';', '|', '&', '$', '<', '>', '(', ')', '{', '}', '`', '\\', '"'];
    if is_file(bare) || bare.starts_with('!') || bare.contains(SYNTAX) || bare.contains('\'') {
        return true;
    }
    let Some((first, _)) = bare.split_once([' ', '\t']) else { return false };
    // A program that gets it may run it, as a shell would: only a secret has digits where a program is named.
    if is_runner(first) || !first.bytes().any(|it| it.is_ascii_digit()) {
        return true;
    }
    if !room.has_before(before) {
        return true;
    }
    // Quotes that close here what was open before have words of the shell between them.
    let is_closing = quote.is_some() && read(end_of(before), |_| {}).quote == quote;
    let is_told = |word: &str| word.is_empty() || word.starts_with('-') || is_file(word) || word.contains('&');
    is_closing || is_tangled(before) || bare.split([' ', '\t']).any(is_told)
}

/// Is each line of it one of a private key, which no shell would run?
pub(super) fn is_key(text: &str) -> bool {
    let lines: Vec<_> = text.split('\n').flat_map(|line| line.split("\\n")).map(str::trim).collect();
    let body = lines.iter().filter(|line| !ARMOUR.is_match(line)).collect::<Vec<_>>();
    body.iter().enumerate().all(|(number, line)| {
        let is_long = line.len() >= LINE_OF_KEY && (!line.contains('/') || is_of_chance(line));
        let is_last = number > 0 && number + 1 == body.len();
        BASE64.is_match(line) && (is_long || (is_last && (line.ends_with('=') || is_of_chance(line))))
    })
}

/// A line that nobody would call a file.
fn is_of_chance(line: &str) -> bool {
    let has = |is: fn(&u8) -> bool| line.bytes().any(|it| is(&it));
    let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    match line.len() {
        48.. => !line.starts_with('/') && is_mixed || matches!(line.len(), 64 | 70 | 76) && entropy::is_chance(line),
        _ => is_mixed && !line.contains('/') && line.len() >= 8,
    }
}

#[cfg(test)]
pub(super) mod counted {
    use std::cell::Cell;

    thread_local! {
        static READ: Cell<usize> = const { Cell::new(0) };
    }

    pub(in super::super) fn count(bytes: usize) {
        READ.with(|read| read.set(read.get() + bytes));
    }

    /// What was read for this.
    pub(in super::super) fn during(what: impl FnOnce()) -> usize {
        let before = READ.with(Cell::get);
        what();
        READ.with(Cell::get) - before
    }
}
