//! What redirections open, create and feed.

use cmdop_contract::effect::is_containable;
use cmdop_contract::path::{self, PathPattern};
use cmdop_contract::v1::{EffectKind, PredictedEffect};

use super::expand::Expansion;
use super::state::Field;
use super::{Stdin, Walker};
use crate::shell::reading::syntax::{Redirect, RedirectKind, Word};

impl Walker<'_> {
    /// Predicts the effects of redirections and sets what a command would read.
    pub(in crate::shell) fn redirects(&mut self, redirects: &[Redirect]) {
        for redirect in redirects {
            let feeds = redirect.fd.unwrap_or(0) == 0;
            match &redirect.kind {
                RedirectKind::Read(word) => {
                    self.open(word, true, false);
                    self.feed(feeds, Stdin::Unknown);
                }
                RedirectKind::Write(word) => self.open(word, false, true),
                RedirectKind::ReadWrite(word) => {
                    self.open(word, true, true);
                    self.feed(feeds, Stdin::Unknown);
                }
                RedirectKind::Duplicate { word, output } => self.duplicate(word, *output, redirect.fd),
                RedirectKind::Process { script, output } => {
                    self.process(script);
                    self.feed(feeds && !output, Stdin::Unknown);
                }
                RedirectKind::HereDocument(word) => self.here(word, feeds, ""),
                RedirectKind::HereString(word) => self.here(word, feeds, "\n"),
            }
        }
    }

    fn feed(&mut self, feeds: bool, stdin: Stdin) {
        if feeds {
            self.stdin = stdin;
        }
    }

    fn here(&mut self, word: &Word, feeds: bool, ending: &str) {
        let field = self.field(word, Expansion::Single);
        let stdin = field.as_literal().map_or(Stdin::Unknown, |text| Stdin::Known(format!("{text}{ending}")));
        self.feed(feeds, stdin);
    }

    /// `>&2`, `2>&-`, and `>& file`, which writes.
    fn duplicate(&mut self, word: &Word, output: bool, fd: Option<i32>) {
        let field = self.field(word, Expansion::Target);
        let is_descriptor = |text: &str| text.trim_end_matches('-').bytes().all(|byte| byte.is_ascii_digit());
        match field.as_literal() {
            Some(text) if is_descriptor(text) => {
                if !output && fd.unwrap_or(0) == 0 {
                    self.stdin = Stdin::Unknown;
                }
            }
            _ if output => self.opened(&field, false, true),
            _ => self.unanalysable("a descriptor that is not known is duplicated"),
        }
    }

    fn open(&mut self, word: &Word, reads: bool, writes: bool) {
        let field = self.field(word, Expansion::Target);
        self.opened(&field, reads, writes);
    }

    fn opened(&mut self, field: &Field, reads: bool, writes: bool) {
        if field.is_unknown() {
            self.unanalysable("the target of a redirection is not known");
            return;
        }
        let text = &field.text;
        if field.is_pattern() && text.starts_with("/dev/") {
            self.unanalysable("a redirection names a device by a pattern");
        }
        if let Some(endpoint) = text.strip_prefix("/dev/tcp/").or_else(|| text.strip_prefix("/dev/udp/")) {
            return self.connect(endpoint);
        }
        if is_harmless_device(text) {
            return;
        }
        for (index, target) in self.targets(field).into_iter().enumerate() {
            let source = format!("{} {text}", if writes { ">" } else { "<" });
            if reads {
                let certain = self.is_certain() && index == 0;
                self.predict(EffectKind::FileRead, target.clone(), certain, &source);
            }
            if writes {
                // Which of the two it is depends on whether the file is there.
                self.predict(EffectKind::FileCreate, target.clone(), false, &source);
                self.predict(EffectKind::FileModify, target, false, &source);
            }
        }
    }

    /// The absolute regions that a word means, one for each directory the shell may be in.
    fn targets(&mut self, field: &Field) -> Vec<String> {
        let pattern = if field.is_pattern() { field.text.clone() } else { path::escape(field.text.as_bytes()) };
        let directories: Vec<Option<String>> = match self.state.directories() {
            _ if field.text.starts_with('/') => vec![None],
            [] => Vec::new(),
            several => several.iter().cloned().map(Some).collect(),
        };
        if directories.is_empty() {
            self.unanalysable("a redirection is relative to a directory that is not known");
        }
        let mut targets = Vec::with_capacity(directories.len());
        for directory in &directories {
            // Without a home: a `~` that is left is text.
            match PathPattern::parse(&literal_tilde(&pattern), directory.as_ref().map(|path| path.as_bytes()), None) {
                Ok(target) => targets.push(target.to_string()),
                Err(error) => self.unanalysable(format!("the target of a redirection is not a path: {error}")),
            }
        }
        targets
    }

    fn connect(&mut self, endpoint: &str) {
        let target = endpoint.replacen('/', ":", 1);
        let target = if target.contains(':') { target } else { format!("{target}:*") };
        let certain = self.is_certain();
        self.predict(EffectKind::NetConnect, target, certain, "a redirection to /dev/tcp");
    }

    pub(in crate::shell) fn predict(&mut self, kind: EffectKind, target: String, certain: bool, source: &str) {
        let containable = is_containable(kind);
        let source = source.to_owned();
        let effect = PredictedEffect { kind: kind.into(), target, certain, source, containable, recoverable: false };
        if self.found.effects.len() < 4 * super::MAX_INVOCATIONS {
            self.found.effects.push(effect);
        } else {
            self.unanalysable("the script has too many redirections to follow");
        }
    }
}

fn literal_tilde(pattern: &str) -> String {
    if pattern.starts_with('~') { format!("./{pattern}") } else { pattern.to_owned() }
}

fn is_harmless_device(path: &str) -> bool {
    matches!(
        path,
        "/dev/null"
            | "/dev/zero"
            | "/dev/full"
            | "/dev/tty"
            | "/dev/stdin"
            | "/dev/stdout"
            | "/dev/stderr"
            | "/dev/urandom"
            | "/dev/random"
    ) || path.strip_prefix("/dev/fd/").is_some_and(|fd| fd.bytes().all(|byte| byte.is_ascii_digit()))
}
