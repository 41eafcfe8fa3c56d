//! What secrets are called and look like.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Known, MARK, Taken, code, entropy, headers, mark, shell};

/// What a secret is called, at the end of a name.
const CALLED: &str = "(?:password|passwd|passphrase|passcode|secret|token|credential|api[-_]?key|secret[-_]?key\
                      |access[-_]?key|private[-_]?key|auth[-_]?key|account[-_]?key|authorization|cookie)s?";
/// The same of short names, which are a part of many others.
const CALLED_SHORTLY: &str = "(?:pass|pwd|pw|psk|auth|pin|sid|sig|signature)";
/// A value in quotes, or to the next thing that ends a word of a shell or of a URL.
const VALUE: &str = r#"(?:"[^"]*"|'[^']*'|\$'[^']*'|[^\s"'&;|<>]+)"#;

/// One of these stands in every text that has a secret of a known form.
static HINT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)pass|pwd|pw|psk|secret|token|credential|key|auth|cookie|pin|sid|sig|bearer|basic|digest|negotiate|://|identified|gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|sk-|npm_|hf_|dop_v1_|AKIA|ASIA|eyJ|AIza|ya29|SG\.|pypi-|hvs\.|k_live_|k_test_|hooks\.slack|curl|mysql|mariadb|redis-cli|ldap|docker|podman|helm",
    )
});
/// `NAME=value` and `--name=value`, wherever in a word.
static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)((?:[\w.-]*{CALLED}|(?:^|[^A-Za-z]){CALLED_SHORTLY})\\?[\x22']?([ \t]*)(?:=|:=|:[ \t])([ \t]*)\\?)({VALUE})"
    ))
});
/// `--name value` in a line of words.
static FOLLOWED: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)((?:^|\s)--?(?:[\w.-]*{CALLED}|{CALLED_SHORTLY})()()[ \t]+)({VALUE})")));
/// A header of HTTP, to the first letter of its value: others may follow within it.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)((?:^|[^\w-])(?:-H)?(?:[\w-]*(?:{CALLED}|[-_]auth|[-_]key))[\x22']?()()[ \t]*:)([ \t]*[^\s"'\r\n])"#
    ))
});
/// The same in quotes, which may have the others within.
static QUOTED_HEADER: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    ["'", "\""].map(|quote| {
        pattern(&format!(
            r"(?i)({quote}[\w-]*(?:{CALLED}|[-_]auth|[-_]key)()()[ \t]*:)([ \t]*[^\s{quote}][^{quote}\r\n]*){quote}"
        ))
    })
});
/// The same in content, where a colon follows many words: only headers that are known.
static KNOWN_HEADER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)((?:^|[^\w-])(?:(?-i:-H)?(?:(?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:token|key|auth|secret)|private-token|api-key))[\x22']?()()[ \t]*:)([ \t]*[^\s"'\r\n\[])"#,
    )
});
/// `scheme://user:password@host`.
static IN_URL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"((?i)[a-z][a-z0-9+.-]*://[^\s/:@]*()():)([^\s/"'<>]+)(?:@)"#));
/// What follows the name of a scheme of HTTP authentication.
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(\b(?:bearer|basic|digest|negotiate)()()[ \t]+)([\w.~+/=-]{6,})"));
/// The same in content, where those are words as well.
static LONG_SCHEME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\b(?:[Bb]earer|BEARER|[Bb]asic|BASIC)()()[ \t]+)([\w.~+/=-]*[0-9][\w.~+/=-]*)"));
/// What is known by its look: tokens of GitHub, GitLab, Slack, AWS, Google, Stripe, model services and package
/// registries, private keys.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"()()()(\b(?:gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|sk-|[rs]k_(?:live|test)_|npm_|hf_|dop_v1_|pypi-|hvs\.|SG\.|ya29\.)[\w.-]{16,}|\bAIza[\w-]{35}|\bhooks\.slack\.com/services/[\w/]+|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z))",
    )
});
/// JSON web tokens. In one pattern with others each of those would be looked for to the end of what may become one.
static WEB_TOKEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"()()()(\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"));
/// `login NAME password SECRET` of a netrc, and a password in SQL.
static SPOKEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)((?:\blogin\s+\S+\s+(?:account\s+\S+\s+)?password()()[ \t]+|\b(?:identified\s+by|with\s+(?:encrypted\s+)?password)[ \t]+))({VALUE})"
    ))
});
/// What a shell puts something else for.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r#"^(?:\$\w+"?$|\$\{\w+\}"?$|\$\(|`)"#));
/// What stands in a private key besides its base64, in a diff as well.
static KEY_LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^[+-]?(?:-----(?:BEGIN|END) [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|(?:Proc-Type|DEK-Info|Version|Comment): [\w ,.-]*)$",
    )
});
/// An option whose next word is a secret.
static OPTION: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i)^--?(?:[\w.-]*{CALLED}|{CALLED_SHORTLY})$")));
/// The name of a secret.
static NAME: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)(?:{CALLED}|(?:^|[^A-Za-z]){CALLED_SHORTLY})$")));

/// `<password>SECRET</password>`, with attributes and as CDATA.
static ELEMENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)(<(?:[\w:.-]*{CALLED}|(?:[\w.-]+[:_.-])?{CALLED_SHORTLY})(?:\s[^<>]*)?>\s*(?:<!\[CDATA\[)?()())([^<>]*?[^<>\s\]])(?:\s*(?:\]\]>)?\s*</)"
    ))
});
/// `<add key="password" value="SECRET"/>`.
static KEYED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)(<[\w:.-]+\s[^<>]*\b(?:name|key|id)=["'](?:[\w:.-]*{CALLED}|(?:[\w.-]*[:_.-])?{CALLED_SHORTLY})["'][^<>]*?\svalue=()())("[^"<>]*"|'[^'<>]*')"#
    ))
});
/// `<string name="password">SECRET</string>`, and `<key>Password</key><string>SECRET</string>`.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let name = format!("(?:[\\w:. -]*{CALLED}|(?:[\\w. -]*[:_. -])?{CALLED_SHORTLY})");
    pattern(&format!(
        r#"(?i)((?:<[\w:.-]+\s[^<>]*\b(?:name|key|id)=["']{name}["'](?:\s[^<>]*)?[^/<>]?>|<key>\s*{name}\s*</key>\s*<string>)\s*()())([^<>]*?[^<>\s])(?:\s*</)"#
    ))
});

/// Programs, their options without a value, which may stand before another in one word, and those of which the word attached, or the next one, is a secret or `user:secret`.
const OPTIONS: &[(&[&str], &str, &[&str])] = &[
    (&["curl"], CURL_FLAGS, &["-u", "--user", "-U", "--proxy-user", "-b"]),
    (
        &["mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "sshpass", "smbclient"],
        "BCEHNVXfnqstv",
        &["-p"],
    ),
    (&["redis-cli"], "", &["-a"]),
    (&["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete"], LDAP_FLAGS, &["-w"]),
    (&["docker", "podman", "helm", "az", "7z", "unzip", "zip", "xfreerdp"], "", &["-p", "-P"]),
    (&["openssl"], "", &["-pass", "-passin", "-passout", "-k", "-K"]),
    (&["psql"], "", &["-d"]),
];
const CURL_FLAGS: &str = "#012346:BGIJLMNOSRZafgijklnpqsv";
const LDAP_FLAGS: &str = "ACILMNPQWZcntuvx";
/// The same within a line of a shell, where a word attached to an option could be anything: what is meant beyond doubt.
/// A pattern for each program: one for all would read to the end of the line behind each name of another.
static IN_LINE: LazyLock<[Regex; 6]> = LazyLock::new(|| {
    const WORDS: &str = r"[ \t](?:(?:[^|;&\n]|\\\n)*[ \t])?";
    [
        format!(r"curl{WORDS}(?:-[{CURL_FLAGS}]*[uU]|--user|--proxy-user)[ \t=]*"),
        r"sshpass[ \t]+-v?p[ \t]*".to_owned(),
        format!(r"ldap(?:search|modify|add|delete){WORDS}-[{LDAP_FLAGS}]*w[ \t]*"),
        format!(r"(?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump){WORDS}-p"),
        format!(r"redis-cli{WORDS}-a[ \t]+"),
        format!(r"(?:docker|podman|helm){WORDS}login{WORDS}-p[ \t]+"),
    ]
    .map(|before| pattern(&format!(r"(\b{before}()())({VALUE})")))
});

/// What each value of a line of a shell takes of the room of its text, besides what is read for it.
const VALUE_COST: usize = 256;

/// How a text is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As a command, where what stands under a telling name is a secret.
    Command,
    /// The same of one word that a program is given.
    Word,
    /// As prose, program text or output, where it may as well be talked about.
    Content,
}

pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant that a test compiles")
}

/// Is a value under this name a secret?
pub(super) fn is_name(name: &str) -> bool {
    NAME.is_match(name)
}

/// Is this the directory that every shell and `env` name so? Under the same name a connection string has a password:
/// `UID=sa;PWD=…`.
pub(super) fn is_directory(name: &str, value: &str) -> bool {
    name == "PWD" && value.trim_start_matches(['"', '\'']).starts_with('/')
}

/// Is the word after this one a secret, in a list of words that `program` is given?
pub(super) fn announces(program: &str, word: &str) -> bool {
    OPTION.is_match(word) || option(program, word).is_some_and(str::is_empty)
}

/// A word of a program whose end is a secret, without it.
pub(super) fn attached(program: &str, word: &str, taken: Taken<'_>) -> Option<String> {
    let secret = option(program, word).filter(|rest| rest.len() > 1)?;
    Some(format!("{}{}", &word[..word.len() - secret.len()], whole(secret, taken)))
}

/// Is the word after this one a script of a shell?
pub(super) fn is_before_script(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
}

/// What is attached to an option whose value is a secret; nothing, if its value is the next word.
fn option<'w>(program: &str, word: &'w str) -> Option<&'w str> {
    let name = program.rsplit('/').next().unwrap_or_default();
    let of_program = OPTIONS.iter().filter(|(names, _, _)| names.contains(&name));
    let mut all = of_program.flat_map(|(_, flags, options)| options.iter().map(move |option| (*flags, *option)));
    all.find_map(|(flags, option)| match option.strip_prefix('-').filter(|letter| letter.len() == 1) {
        Some(letter) => word.strip_prefix('-')?.trim_start_matches(|it| flags.contains(it)).strip_prefix(letter),
        None if word == option => Some(""),
        None => word.strip_prefix(option)?.strip_prefix('='),
    })
}

/// Words of a program without their secrets.
#[must_use]
pub fn words(words: Vec<String>) -> Vec<String> {
    words_knowing(words, &Known::default())
}

/// The same of a program of a call, some secrets of which are known.
pub(super) fn words_knowing(words: Vec<String>, known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    let once = words_once(words, known, &mut |secret| found.push(secret.to_owned()));
    let mut all = known.clone();
    all.add(found);
    if all == *known { once } else { words_once(once, &all, &mut |_| {}) }
}

fn words_once(words: Vec<String>, known: &Known, taken: Taken<'_>) -> Vec<String> {
    let program = words.first().cloned().unwrap_or_default();
    let (mut is_next, mut is_script, room) = (false, false, shell::Room::of_a_text());
    let redact = |(number, word): (usize, String)| {
        let is_secret = std::mem::take(&mut is_next) && !word.is_empty();
        if is_secret {
            return whole(&word, taken);
        }
        is_next = number > 0 && announces(&program, &word);
        let manner = if std::mem::take(&mut is_script) || number == 0 { Manner::Command } else { Manner::Word };
        is_script = is_before_script(&word);
        let attached = if number > 0 { attached(&program, &word, taken) } else { None };
        attached.unwrap_or_else(|| within(&word, manner, known, &room, taken).into_owned())
    };
    words.into_iter().enumerate().map(redact).collect()
}

/// All of it is a secret.
pub(super) fn whole(secret: &str, taken: Taken<'_>) -> String {
    if secret.starts_with(MARK) {
        return secret.to_owned();
    }
    taken(secret);
    mark(secret)
}

/// A word, a script or any other text without its secrets.
pub(super) fn within<'t>(
    text: &'t str,
    manner: Manner,
    known: &Known,
    room: &shell::Room,
    taken: Taken<'_>,
) -> Cow<'t, str> {
    let mut clean = Cow::Borrowed(text);
    // Of what makes a text that is then run, nothing is hidden but what can be nothing else.
    let runs_text = manner == Manner::Command && code::may_be_run(text);
    if HINT.is_match(text) {
        // A mark has nothing in it that a later pattern could take for a secret.
        // Of what content says under a telling name, not all is meant as a value.
        let patterns: Vec<(&Regex, bool)> = match manner {
            Manner::Command if runs_text => strict(&SCHEME),
            Manner::Command | Manner::Word => strict(&SCHEME).into_iter().chain(named(false)).collect(),
            Manner::Content => strict(&LONG_SCHEME).into_iter().chain(named(true)).collect(),
        };
        let of_headers: &[&Regex] = match manner {
            Manner::Command if runs_text => &[],
            Manner::Command | Manner::Word => &[&QUOTED_HEADER[0], &QUOTED_HEADER[1], &HEADER],
            Manner::Content => &[&KNOWN_HEADER],
        };
        // Tokens of known forms are taken out first, within headers as well.
        for pattern in of_headers {
            let is_script = clean.contains(char::is_whitespace);
            if let Some(less) = headers::without(&clean, pattern, manner, is_script, room, taken) {
                clean = Cow::Owned(less);
            }
        }
        for (pattern, doubts) in patterns {
            if let Some(less) = without(&clean, pattern, manner, doubts, room, taken) {
                clean = Cow::Owned(less);
            }
        }
    }
    if !runs_text && let Some(less) = entropy::without_chance(&clean, manner, room, taken) {
        clean = Cow::Owned(less);
    }
    match known.without(&clean, manner, room) {
        Some(less) => Cow::Owned(less),
        None => clean,
    }
}

/// A word of a program that runs it: nothing is hidden in it but what can be nothing else.
pub(super) fn within_code(text: &str, room: &shell::Room, taken: Taken<'_>) -> String {
    let mut clean = text.to_owned();
    for (pattern, doubts) in strict(&SCHEME) {
        if let Some(less) = without(&clean, pattern, Manner::Word, doubts, room, taken) {
            clean = less;
        }
    }
    clean
}

/// What has a form that nothing else has, by a name of schemes of authentication as well.
fn strict(scheme: &'static Regex) -> Vec<(&'static Regex, bool)> {
    vec![(&KNOWN, false), (&WEB_TOKEN, false), (scheme, false), (&IN_URL, false)]
}

/// What stands under telling names, with doubts if it may as well be talked about.
fn named(doubts: bool) -> impl Iterator<Item = (&'static Regex, bool)> {
    let spoken = IN_LINE.iter().chain([&*ASSIGNED, &*FOLLOWED, &*SPOKEN]).map(move |pattern| (pattern, doubts));
    spoken.chain([&*ELEMENT, &*KEYED, &*NAMED].map(|pattern| (pattern, false)))
}

/// The text without what a pattern finds; `None` if that is nothing.
fn without(
    text: &str,
    pattern: &Regex,
    manner: Manner,
    doubts: bool,
    room: &shell::Room,
    taken: Taken<'_>,
) -> Option<String> {
    let (mut clean, mut copied) = (String::new(), 0);
    let mut is_script = None;
    for found in pattern.captures_iter(text) {
        if manner == Manner::Command && !is_certain(pattern) && !room.has(VALUE_COST) {
            break;
        }
        if manner == Manner::Command && is_run(text, pattern, &found, room) {
            continue;
        }
        // Only a script says by a variable what is no secret itself.
        let is_script = *is_script.get_or_insert_with(|| text.contains(char::is_whitespace));
        let all = found.get(0).map_or(0..0, |all| all.range());
        clean.push_str(&text[copied..all.start]);
        clean.push_str(&replaced(&found, manner, is_script, doubts, taken));
        copied = all.end;
    }
    (copied > 0).then(|| clean + &text[copied..])
}

/// Can nothing else look like that?
fn is_certain(pattern: &Regex) -> bool {
    is_same(pattern, &KNOWN) || is_same(pattern, &WEB_TOKEN)
}

/// Could what was found be, or hold, something that a shell runs?
fn is_run(text: &str, pattern: &Regex, found: &Captures<'_>, room: &shell::Room) -> bool {
    let Some(value) = found.get(4) else { return false };
    let (before, value) = (&text[..value.start()], value.as_str());
    if is_certain(pattern) {
        return value.starts_with("-----BEGIN") && !shell::is_key(value);
    }
    let is_of_xml = before.ends_with('>') || before.ends_with("CDATA[");
    if is_of_xml {
        return shell::is_file(value);
    }
    // `NAME= program`: the variable is set to nothing.
    let is_empty = |group, is_empty| found.get(group).is_some_and(|it| it.is_empty() == is_empty);
    if is_empty(2, true) && is_empty(3, false) && before.trim_end().ends_with('=') {
        return true;
    }
    // In a line of a program that is known the option takes the word.
    let is_word_of_its_own = before.ends_with([' ', '\t']) && !IN_LINE.iter().any(|it| is_same(pattern, it));
    shell::may_run(before, value, room) || (is_word_of_its_own && shell::is_program_after(before, room))
}

fn is_same(one: &Regex, other: &Regex) -> bool {
    one.as_str() == other.as_str()
}

fn replaced(found: &Captures<'_>, manner: Manner, is_script: bool, doubts: bool, taken: Taken<'_>) -> String {
    let (before, secret) = (&found[1], &found[4]);
    let after = &found[0][before.len() + secret.len()..];
    let bare = secret.trim_start_matches([' ', '"', '\t', '\'']);
    let is_variable = is_script && is_variable(bare);
    // An element of XML or words of a shell between two redirections?
    let is_element = before.ends_with('>') || before.ends_with("CDATA[");
    let is_spaced = |group| found.get(group).is_some_and(|it| !it.as_str().is_empty());
    let is_kept = bare.starts_with(MARK)
        || headers::is_read(before, bare)
        || is_variable
        || is_directory(assigned_to(before), bare)
        || hides_code(secret)
        || (manner == Manner::Content && is_spaced(3) && shell::is_file(bare))
        || (is_element && manner != Manner::Content && is_line(secret))
        || (doubts && !is_value(secret, is_spaced(2) || is_spaced(3) || before.ends_with(char::is_whitespace)));
    if is_kept {
        return found[0].to_owned();
    }
    // Quotes stay, so that what is around is read as before.
    let quote =
        secret.chars().next().filter(|it| secret.len() > 2 && matches!(it, '"' | '\'') && secret.ends_with(*it));
    let inner = quote.map_or(secret, |_| &secret[1..secret.len() - 1]);
    let inner = if quote.is_some() { inner.trim_end_matches('\\') } else { inner };
    let at = secret.len() - secret.trim_start_matches(|it| Some(it) == quote).len();
    let behind = &secret[at + inner.len()..];
    format!("{before}{}{}{behind}{after}", &secret[..at], whole(inner, taken))
}

/// What is assigned to, where nothing but a blank or a quote stands before it.
fn assigned_to(before: &str) -> &str {
    let name = before.trim_end_matches([' ', '\t', '=', ':', '\\', '"', '\'']);
    name.strip_prefix(|it: char| it.is_whitespace() || matches!(it, '"' | '\'')).unwrap_or(name)
}

/// Does a shell put something else for it?
pub(super) fn is_variable(text: &str) -> bool {
    VARIABLE.is_match(text)
}

/// Could it be words that a shell reads one by one?
fn is_line(text: &str) -> bool {
    static ENTITY: LazyLock<Regex> = LazyLock::new(|| pattern("&(?:amp|lt|gt|quot|apos|#[0-9]+);"));
    ENTITY.replace_all(text, "").contains([' ', '\t', '\n', ';', '|', '&', '(', ')', '/'])
}

/// Would something that a shell runs go unseen with it? Whoever approves must see that, whatever it is called.
pub(super) fn hides_code(secret: &str) -> bool {
    let mut lines = secret.split('\n').flat_map(|line| line.split("\\n")).map(str::trim);
    let is_of_a_key = |line: &str| {
        KEY_LINE.is_match(line) || !line.contains([' ', '\t', ';', '|', '&', '<', '>', '$', '(', '{', '.', '~'])
    };
    secret.contains("$(") || secret.contains('`') || (secret.starts_with("-----BEGIN") && !lines.all(is_of_a_key))
}

/// Does this stand for itself, in content that may as well be a program, its types or a sentence?
fn is_value(text: &str, is_spaced: bool) -> bool {
    let is_quoted = text.starts_with(['"', '\'']) || text.starts_with("$'");
    let bare = text.trim_matches(['"', '\'', '$', ',', '\\']);
    let is_shown = |mark: char| !bare.is_empty() && bare.chars().all(|it| it == mark);
    if bare.len() < 4 || bare.starts_with(['<', '$', '{', '%', '(', '[']) || "*x.-".chars().any(is_shown) {
        return false;
    }
    if is_quoted {
        return !bare.contains(char::is_whitespace) || bare.chars().any(|it| it.is_ascii_digit());
    }
    // A call, an index, a place in memory.
    if bare.contains(['(', ')', '[', ']', '{', '}']) || bare.ends_with(':') {
        return false;
    }
    let is_number = bare.chars().all(|it| it.is_ascii_digit() || matches!(it, '.' | ',' | '_'));
    let is_plain = bare.chars().all(|it| it.is_alphabetic() || matches!(it, '_' | '.' | ',' | '-'));
    if is_number || matches!(bare, "true" | "false" | "null" | "none" | "None") {
        return false;
    }
    !(is_spaced && is_plain)
}

#[cfg(test)]
mod tests {
    use crate::redact::{command, text};

    #[test]
    fn the_directory_of_a_shell_is_no_password() {
        let environment = "SHELL=/bin/sh\nPWD=/srv/app\nOLDPWD=/srv\nHOME=/root\n";
        for said in [environment, "PWD=/srv/app", "env 'PWD=/srv/app' make", "PWD=\"/srv/my app\" make"] {
            assert_eq!((&*text(said), &*command(said)), (said, said));
        }
        let arguments = r#"{"env": {"PWD": "/srv/app", "OLDPWD": "/srv"}}"#;
        assert_eq!(&*text(arguments), arguments);
        for said in [
            "DB_PWD=/hunter2hunter2",
            "Server=db;UID=sa;PWD=/hunter2hunter2;",
            "PWD=hunter2hunter2",
            "pwd=/hunter2hunter2",
            "DB-PWD=/hunter2hunter2",
        ] {
            assert!(!text(said).contains("hunter2"), "{}", text(said));
        }
        for said in [r#"{"env": {"DB_PWD": "hunter2hunter2"}}"#, r#"{"env": {"PWD": "hunter2hunter2"}}"#] {
            assert!(!text(said).contains("hunter2"), "{said}");
        }
    }
}
