//! Secrets within JSON: by the names of its members, and within its texts. Everything else stays as it is written.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use super::forms::{self, Manner};
use super::shell::{self, Room};
use super::{Known, Taken, code, mark};

/// Texts of JSON that stand within texts of JSON are looked into so deep.
const DEEPEST: u32 = 4;
/// Of a longer name only the end is read.
const LONGEST_NAME: usize = 256;
/// Members that hold what a shell or a program is given.
const COMMANDS: [&str; 6] = ["command", "env", "argv", "args", "arguments", "script"];

/// Where in a value the reader is.
struct Place {
    is_object: bool,
    manner: Manner,
    /// The name of the member that is next, or of the list.
    name: String,
    /// All texts within are secrets: it stands under such a name.
    is_secret: bool,
    /// The first word of a list and the one before this.
    first: String,
    before: String,
    /// The members of the object say that its content is written in base64.
    content: Option<Range<usize>>,
    is_base64: bool,
}

/// The value without its secrets; of what is no JSON, the text without its secrets.
pub(super) fn without_secrets<'t>(text: &'t str, manner: Manner, known: &Known, taken: Taken<'_>) -> Cow<'t, str> {
    let mut found = Vec::new();
    let once = clean(text, manner, known, &Room::of_a_text(), DEEPEST, &mut |secret| found.push(secret.to_owned()));
    if found.is_empty() {
        return once;
    }
    found.iter().for_each(|secret| taken(secret));
    // What is a secret in one place is one in the others.
    let mut all = known.clone();
    all.add(found);
    match clean(&once, manner, &all, &Room::of_a_text(), DEEPEST, &mut |_| {}) {
        Cow::Owned(clean) => Cow::Owned(clean),
        Cow::Borrowed(_) => once,
    }
}

fn clean<'t>(text: &'t str, manner: Manner, known: &Known, room: &Room, depth: u32, taken: Taken<'_>) -> Cow<'t, str> {
    let is_json = text.trim_start().starts_with(['{', '[', '"']);
    if !is_json || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return forms::within(text, manner, known, room, taken);
    }
    let mut reader =
        Reader { text, places: Vec::new(), changes: Vec::new(), depth, known, room, taken, runs: OnceCell::new() };
    reader.read(manner);
    let mut changes = reader.changes;
    if changes.is_empty() {
        return Cow::Borrowed(text);
    }
    changes.sort_by_key(|(range, _)| range.start);
    let (mut clean, mut copied) = (String::with_capacity(text.len()), 0);
    for (range, instead) in changes {
        if range.start >= copied {
            clean.push_str(&text[copied..range.start]);
            clean.push_str(&instead);
            copied = range.end;
        }
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

struct Reader<'t, 'k> {
    text: &'t str,
    places: Vec<Place>,
    /// What stands where in the place of which text.
    changes: Vec<(Range<usize>, String)>,
    depth: u32,
    known: &'k Known,
    /// Of all its texts: each may be short, and they may be many.
    room: &'k Room,
    taken: Taken<'k>,
    /// Something in it is text that is made and then run, once somebody asked.
    runs: OnceCell<bool>,
}

impl Reader<'_, '_> {
    /// Reads the whole value, which is well formed.
    fn read(&mut self, manner: Manner) {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'{' | b'[' => self.enter(*byte == b'{', manner),
                b'}' | b']' => self.leave(),
                b'"' => {
                    let end = end_of_text(bytes, at);
                    self.take(at..end, manner);
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn enter(&mut self, is_object: bool, manner: Manner) {
        let (manner, name, is_secret) = match self.places.last() {
            Some(place) => (place.within(), place.name.clone(), place.is_secret || place.is_called_secret()),
            None => (manner, String::new(), false),
        };
        let (first, before) = Default::default();
        self.places.push(Place {
            is_object,
            manner,
            name: if is_object { String::new() } else { name },
            is_secret: is_secret && !is_object,
            first,
            before,
            content: None,
            is_base64: false,
        });
    }

    fn leave(&mut self) {
        let Some(Place { is_base64: true, content: Some(content), .. }) = self.places.pop() else { return };
        let Ok(written) = serde_json::from_str::<String>(&self.text[content.clone()]) else { return };
        let Some(bytes) = from_base64(&written) else { return };
        let said = String::from_utf8_lossy(&bytes);
        if matches!(forms::within(&said, Manner::Content, self.known, self.room, &mut |_| {}), Cow::Owned(_)) {
            (self.taken)(&written);
            self.changes.push((content, format!("\"{}\"", mark(&written))));
        }
    }

    /// Takes a text in quotes.
    fn take(&mut self, range: Range<usize>, manner: Manner) {
        let Ok(said) = serde_json::from_str::<String>(&self.text[range.clone()]) else { return };
        let rest = self.text[range.end..].trim_start();
        let Some(place) = self.places.last_mut() else {
            let clean =
                clean(&said, manner, self.known, self.room, self.depth.saturating_sub(1), self.taken).into_owned();
            return self.change(range, &said, clean);
        };
        if place.is_object && rest.starts_with(':') {
            place.name = tail(&said).to_owned();
            return;
        }
        let mut attached = None;
        let is_script = !place.is_object && (place.first.is_empty() || forms::is_before_script(&place.before));
        let is_told = match place.is_object {
            true => {
                place.is_called_secret()
                    && !forms::is_directory(&place.name, &said)
                    && !(place.within() == Manner::Command && may_run(&said, self.text, &self.runs))
            }
            false => {
                let is_told =
                    place.is_called_secret() || place.is_secret || forms::announces(&place.first, &place.before);
                if place.first.is_empty() {
                    tail(&said).clone_into(&mut place.first);
                } else {
                    attached = forms::attached(&place.first, &said, self.taken);
                }
                place.before.clone_from(&said);
                is_told
            }
        };
        if place.is_object && place.name == "encoding" && said == "base64" {
            place.is_base64 = true;
        }
        if place.is_object && place.name == "content" {
            place.content = Some(range.clone());
        }
        let is_long = place.is_object && place.name == "content" && from_base64(&said).is_some();
        let manner = place.manner_of(is_script);
        let clean = if is_told && !said.is_empty() && !is_placeholder(&said) {
            forms::whole(&said, self.taken)
        } else if let Some(clean) = attached {
            clean
        } else if place.is_read_by_program() {
            forms::within_code(&said, self.room, self.taken)
        } else if is_long {
            // Whether it is base64 its object says.
            return;
        } else if self.depth > 1 {
            clean(&said, manner, self.known, self.room, self.depth - 1, self.taken).into_owned()
        } else {
            forms::within(&said, manner, self.known, self.room, self.taken).into_owned()
        };
        self.change(range, &said, clean);
    }

    fn change(&mut self, range: Range<usize>, said: &str, clean: String) {
        if clean != said {
            self.changes.push((range, serde_json::Value::from(clean).to_string()));
        }
    }
}

impl Place {
    fn within(&self) -> Manner {
        if COMMANDS.contains(&&*self.name) { Manner::Command } else { self.manner }
    }

    /// Of a text in it: a word that a program is given, or a variable, is no line of a shell.
    fn manner_of(&self, is_script: bool) -> Manner {
        match self.within() {
            // What is written and sent is no line of a shell.
            Manner::Command if self.is_object && matches!(&*self.name, "content" | "text" | "stdin") => Manner::Content,
            Manner::Command if self.is_list_of_words() && !is_script => Manner::Word,
            manner => manner,
        }
    }

    fn is_list_of_words(&self) -> bool {
        !self.is_object || !COMMANDS.contains(&&*self.name)
    }

    /// Is it a word of a program that runs what its words say?
    fn is_read_by_program(&self) -> bool {
        !self.is_object && self.within() == Manner::Command && code::is_reader(&self.first)
    }

    fn is_called_secret(&self) -> bool {
        forms::is_name(&self.name)
    }
}

/// Could a shell run the value of a variable, as its command stands in the same value of JSON?
fn may_run(value: &str, whole: &str, is_run: &OnceCell<bool>) -> bool {
    fn runs(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => shell::runs_text(text),
            serde_json::Value::Array(values) => values.iter().any(runs),
            serde_json::Value::Object(members) => members.values().any(runs),
            _ => false,
        }
    }
    let is_run = || *is_run.get_or_init(|| serde_json::from_str(whole).is_ok_and(|whole| runs(&whole)));
    shell::is_file(value) || is_run()
}

/// The end of a name, which is asked for each value under it: in more of it no secret and no program is called.
fn tail(name: &str) -> &str {
    &name[name.ceil_char_boundary(name.len().saturating_sub(LONGEST_NAME))..]
}

/// A type, a description or nothing: what schemas and samples have under such names.
fn is_placeholder(said: &str) -> bool {
    matches!(said, "string" | "boolean" | "number" | "integer" | "object" | "array" | "null" | "true" | "false")
}

/// Behind the quote that ends the text which begins at `start`.
fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// What is written in base64; `None` if it is not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    if text.is_empty() || text.len() % 4 == 1 {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0_u32);
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).expect("eight bits"));
        }
    }
    Some(bytes)
}
