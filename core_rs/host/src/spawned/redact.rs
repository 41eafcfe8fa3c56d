//! Secrets that people and programs hand over in arguments: taken out before anything is recorded.
//!
//! What a word means is known to its program alone, so this goes by what secrets are called and look
//! like. It takes out too much rather than too little, and finds no secret that is called nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What a secret is called, at the end of a name.
const CALLED: &str = "(?:password|passwd|passphrase|passcode|secret|token|credential|api[-_]?key|secret[-_]?key\
                      |access[-_]?key|private[-_]?key|auth[-_]?key|account[-_]?key|authorization|cookie)s?";
/// The same of short names, which are a part of many others.
const CALLED_SHORTLY: &str = "(?:pass|pwd|pw|psk|auth|pin|sid|sig|signature)";
/// A value in quotes, or to the next thing that ends a word of a shell or of a URL.
const VALUE: &str = r#"(?:"[^"]*"|'[^']*'|\$'[^']*'|[^\s"'&;|<>]+)"#;

/// `NAME=value` and `--name=value`, wherever in a word.
static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(r"(?i)((?:[\w.-]*{CALLED}|(?:^|[^A-Za-z]){CALLED_SHORTLY})[\x22']?\s*(?:=|:=|:\s))({VALUE})"))
});
/// `--name value` in a line of words.
static FOLLOWED: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)((?:^|\s)--?(?:[\w.-]*{CALLED}|{CALLED_SHORTLY})\s+)({VALUE})")));
/// A header of HTTP, to its end.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)((?:^|[^\w-])(?:-H)?[\w-]*(?:{CALLED}|[-_]auth|[-_]key)[\x22']?\s*:)(\s*[^\s"'\r\n][^"'\r\n]*)"#
    ))
});
/// `scheme://user:password@host`.
static IN_URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"((?i)[a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(?:@)"));
/// What follows the name of a scheme of HTTP authentication.
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(\b(?:bearer|basic|digest|negotiate)\s+)([\w.~+/=-]{6,})"));
/// What is known by its look: tokens of GitHub, GitLab, Slack, AWS, model services and npm, JSON web
/// tokens, private keys.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"()(\b(?:gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|sk-|npm_|hf_|dop_v1_)[\w-]{16,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*))",
    )
});
/// What a shell puts something else for.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r#"^(?:\$\w+"?$|\$\{\w+\}"?$|\$\(|`)"#));
/// An option whose next word is a secret.
static OPTION: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i)^--?(?:[\w.-]*{CALLED}|{CALLED_SHORTLY})$")));

/// Programs and their options of which the word attached, or the next one, is a secret or `user:secret`.
const OPTIONS: &[(&[&str], &[&str])] = &[
    (&["curl"], &["-u", "--user", "-U", "--proxy-user", "-b"]),
    (&["mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "sshpass", "smbclient"], &["-p"]),
    (&["redis-cli"], &["-a"]),
    (&["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete"], &["-w"]),
    (&["docker", "podman", "helm", "az", "7z", "unzip", "zip", "xfreerdp"], &["-p", "-P"]),
    (&["openssl"], &["-pass", "-passin", "-passout", "-k", "-K"]),
    (&["psql"], &["-d"]),
];

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant that a test compiles")
}

/// Words of a program without their secrets. Each leaves how many bytes it had and, for as long as this
/// process lives, by what another one is known to be the same: a digest that nobody could guess it by.
pub(crate) fn redacted(words: Vec<String>) -> Vec<String> {
    let name = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default().to_owned();
    let options = OPTIONS.iter().filter(|(names, _)| names.contains(&&*name)).flat_map(|(_, options)| *options);
    let options: Vec<&str> = options.copied().collect();
    let mut is_next = false;
    let redact = |(number, word): (usize, String)| {
        let is_secret = std::mem::take(&mut is_next) && !word.is_empty();
        if is_secret {
            return mark(&word);
        }
        is_next = number > 0 && (OPTION.is_match(&word) || options.contains(&&*word));
        let attached = options.iter().find_map(|option| Some((*option, word.strip_prefix(option)?)));
        match attached.filter(|(option, rest)| !option.starts_with("--") && option.len() == 2 && rest.len() > 1) {
            Some((option, rest)) if number > 0 => format!("{option}{}", mark(rest)),
            _ => within(word),
        }
    };
    words.into_iter().enumerate().map(redact).collect()
}

/// A word, which may be a whole script, without its secrets.
fn within(word: String) -> String {
    // A mark has nothing in it that a later pattern could take for a secret.
    [&KNOWN, &HEADER, &SCHEME, &IN_URL, &ASSIGNED, &FOLLOWED].into_iter().fold(word, |word, pattern| {
        if !pattern.is_match(&word) {
            return word;
        }
        // Only a script says by a variable what is no secret itself.
        let is_script = word.contains(char::is_whitespace);
        pattern.replace_all(&word, |found: &Captures<'_>| replaced(found, is_script)).into_owned()
    })
}

fn replaced(found: &Captures<'_>, is_script: bool) -> String {
    let (before, secret) = (&found[1], &found[2]);
    let after = &found[0][before.len() + secret.len()..];
    let bare = secret.trim_start_matches([' ', '"']);
    let is_variable = is_script && VARIABLE.is_match(bare);
    let kept = if bare.starts_with(MARK) || is_variable { secret.to_owned() } else { mark(secret) };
    format!("{before}{kept}{after}")
}

/// What a secret leaves begins so.
const MARK: &str = "[redacted:";

fn mark(secret: &str) -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    format!("{MARK}{}:{:016x}]", secret.len(), KEY.hash_one(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2hunter2";

    fn words(line: &[&str]) -> Vec<String> {
        redacted(line.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn secrets_are_taken_out_however_they_are_handed_over() {
        let lines: &[&[&str]] = &[
            &["x", "--password=hunter2hunter2"],
            &["x", "--password", SECRET],
            &["x", "-password", SECRET],
            &["x", "--api-key", SECRET, "file"],
            &["x", "--db-pass=hunter2hunter2"],
            &["x", "--password=$hunter2"],
            &["bash", "-c", "TOKEN=$'hunter2hunter2' ./x"],
            &["env", "GITHUB_TOKEN=hunter2hunter2", "gh", "pr"],
            &["env", "AWS_SECRET_ACCESS_KEY=hunter2hunter2", "aws"],
            &["curl", "-H", "Authorization: Bearer hunter2hunter2", "https://x.test"],
            &["curl", "-HX-Api-Key: hunter2hunter2", "https://x.test"],
            &["curl", "-H", "PRIVATE-TOKEN:hunter2hunter2"],
            &["curl", "--header", "Cookie: sid=1; session=hunter2hunter2"],
            &["curl", "-u", "me:hunter2hunter2", "https://x.test"],
            &["curl", "-ume:hunter2hunter2", "https://x.test"],
            &["curl", "https://me:hunter2hunter2@x.test/a"],
            &["curl", "https://x.test/a?access_token=hunter2hunter2&b=1"],
            &["curl", "-d", r#"{"user": "me", "password": "hunter2hunter2"}"#],
            &["git", "clone", "https://x:hunter2hunter2@x.test/a.git"],
            &["mysql", "-phunter2hunter2", "db"],
            &["/usr/bin/sshpass", "-p", SECRET, "ssh", "x"],
            &["psql", "postgres://me:hunter2hunter2@x.test/db"],
            &["openssl", "enc", "-pass", "pass:hunter2hunter2"],
            &["bash", "-c", "curl -H 'Authorization: Bearer hunter2hunter2' https://x.test && ls"],
            &["bash", "-c", "export DB_PASSWORD='hunter2hunter2'; ./x"],
            &["bash", "-c", "./x --token hunter2hunter2 && ./y"],
            &["bash", "-c", "./x --secret \"hunter2hunter2 hunter2\" && ./y"],
            &["x", "ghp_hunter2hunter2hunter2"],
            &["x", "sk-proj-hunter2hunter2hunter2"],
            &["x", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2hunter2\n"],
        ];
        let kept: Vec<_> = lines.iter().filter(|line| words(line).join(" ").contains("hunter2")).collect();
        assert!(kept.is_empty(), "{kept:#?}");
        let shown = words(&["curl", "-H", "Authorization: Bearer hunter2hunter2", "https://x.test"]);
        assert_eq!((shown[1].as_str(), shown[3].as_str()), ("-H", "https://x.test"));
        let shown = words(&["bash", "-c", "./x --token hunter2hunter2 && ./y"]);
        assert!(shown[2].starts_with("./x --token [redacted:14:") && shown[2].ends_with("] && ./y"), "{shown:?}");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let lines: &[&[&str]] = &[
            &["ls", "-la", "/srv/app"],
            &["cat", "/etc/passwd"],
            &["x", "--token-file=/run/token", "--password-stdin"],
            &["git", "log", "--author=me", "--oneline"],
            &["python3", "-c", "print(1 if x == 2 else 3)"],
            &["bash", "-c", "for i in 1 2 3; do echo $i; done"],
            &["bash", "-c", "export TOKEN=$(cat /run/token); curl --token $TOKEN https://x.test:8080/a"],
            &["sleep", "100000.25"],
            &["rsync", "-a", "me@x.test:/srv/", "."],
        ];
        for line in lines {
            assert_eq!(words(line), *line);
        }
    }

    #[test]
    fn the_same_secret_leaves_the_same_and_another_does_not() {
        let of = |secret: &str| words(&["x", "--password", secret])[2].clone();
        assert_eq!(of(SECRET), of(SECRET));
        assert_ne!(of(SECRET), of("hunter3hunter3"));
        assert!(of(SECRET).starts_with("[redacted:14:"), "{}", of(SECRET));
        assert_eq!(words(&["x", &of(SECRET)]), ["x", &of(SECRET)]);
    }
}
