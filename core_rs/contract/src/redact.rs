//! Secrets that people, programs and models hand over: taken out before anything is recorded or told.
//!
//! What a text means is known to its reader alone, so this goes by what secrets are called and look like: known
//! forms, values under telling names, and words that nobody would choose. It finds no secret that is called
//! nothing and looks like something else, and leaves names (of files, hosts, people) as they are: policy, refusals
//! and undo go by them.
//!
//! A secret leaves `[redacted:LENGTH:DIGEST]`. The digest is keyed by whoever keeps the records, so that the same
//! secret is known again and a weak one is not found by trying. A mark is no secret: redacting twice is redacting
//! once.

mod code;
mod entropy;
mod forms;
mod headers;
mod json;
mod known;
mod message;
mod shell;

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, OnceLock};

use regex::Regex;
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::v1::Action;
use forms::Manner;

pub use forms::words;
pub use known::Known;
pub use message::{Redacted, action, error, prediction, report};

/// Is told of each secret that is taken out.
type Taken<'t> = &'t mut dyn FnMut(&str);

/// What a secret leaves begins so.
const MARK: &str = "[redacted:";

static MARKS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[redacted:[0-9]+:[0-9a-f]{16}\]").expect("a constant that a test compiles"));

/// The key of this process's digests. It is chosen once, before anything is redacted.
static KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// Chooses the key of the digests, so that marks of an earlier life of the process mean the same. The first choice
/// holds; without one the key is a new one in every process.
pub fn use_key(secret: &[u8]) {
    let key = Sha256::new().chain_update(b"cmdop.redaction\0").chain_update(secret).finalize();
    let _ = KEY.set(key.into());
}

/// What somebody wrote, or a program put out, without its secrets. A text of JSON stays one, and is otherwise as it
/// is written.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    text_knowing(text, &Known::default())
}

/// The same of what belongs to a call, some secrets of which are known from elsewhere.
#[must_use]
pub fn text_knowing<'t>(text: &'t str, known: &Known) -> Cow<'t, str> {
    json::without_secrets(text, Manner::Content, known, &mut |_| {})
}

/// The secrets of an action by which they are known wherever they come again in its call.
#[must_use]
pub fn known(action: &Action) -> Known {
    without_own(action, &Known::default()).2
}

/// Intent and arguments of an action without its secrets and those that are known, and all of these.
fn without_own<'a>(action: &'a Action, known: &Known) -> (Cow<'a, str>, Cow<'a, str>, Known) {
    let mut found = Vec::new();
    let mut once = |text| json::without_secrets(text, Manner::Content, known, &mut |it| found.push(it.to_owned()));
    let (intent, arguments) = (once(&action.intent), once(&action.arguments_json));
    let mut all = known.clone();
    all.add(found);
    if all == *known {
        return (intent, arguments, all);
    }
    let again = |once: Cow<'a, str>| match text_knowing(&once, &all) {
        Cow::Owned(clean) => Cow::Owned(clean),
        Cow::Borrowed(_) => once,
    };
    (again(intent), again(arguments), all)
}

/// What a shell or a program is given, without its secrets: here a word under a telling name is always one.
#[must_use]
pub fn command(text: &str) -> Cow<'_, str> {
    command_knowing(text, &Known::default())
}

fn command_knowing<'t>(text: &'t str, known: &Known) -> Cow<'t, str> {
    json::without_secrets(text, Manner::Command, known, &mut |_| {})
}

/// The same of an argument that no shell is given.
fn argument_knowing<'t>(text: &'t str, known: &Known) -> Cow<'t, str> {
    json::without_secrets(text, Manner::Word, known, &mut |_| {})
}

/// Takes the secrets out of what somebody wrote, where it is.
pub fn in_place(written: &mut String) {
    if let Cow::Owned(clean) = text(written) {
        *written = clean;
    }
}

/// Does the text hold what a secret left?
#[must_use]
pub fn is_marked(text: &str) -> bool {
    text.contains(MARK) && MARKS.is_match(text)
}

/// The JSON text with the secrets of the JSON text `whole` where it has their marks: what a person who was shown
/// marks meant. A mark of no secret of `whole`, and of none that is known, stays.
#[must_use]
pub fn restored(text: &str, whole: &str, known: &Known) -> String {
    let mut restored = text.to_owned();
    if is_marked(text) {
        let (mut secrets, mut known) = (Vec::new(), known.clone());
        json::without_secrets(whole, Manner::Content, &Known::default(), &mut |secret| secrets.push(secret.to_owned()));
        known.add(secrets.iter().cloned());
        // One that was found in what an earlier one left of the text stands within a later one's mark.
        for secret in secrets.iter().rev() {
            restored = restored.replace(&mark(secret), &escaped(secret));
        }
        for secret in known.iter() {
            restored = restored.replace(&mark(secret), &escaped(secret));
        }
    }
    restored
}

/// A secret as it stands within a text of JSON.
fn escaped(secret: &str) -> String {
    let quoted = serde_json::Value::from(secret).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// What a secret leaves.
fn mark(secret: &str) -> String {
    let key = KEY.get_or_init(|| {
        let chance = RandomState::new();
        let mut key = [0; 32];
        for (number, eight) in key.chunks_exact_mut(8).enumerate() {
            eight.copy_from_slice(&chance.hash_one(number).to_le_bytes());
        }
        key
    });
    let digest = Sha256::new().chain_update(key).chain_update(secret).finalize();
    format!("{MARK}{}:{}]", secret.len(), hex(&digest[..8]))
}

#[cfg(test)]
mod handed;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod reported;
#[cfg(test)]
mod tests;
