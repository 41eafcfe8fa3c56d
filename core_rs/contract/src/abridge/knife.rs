//! Cuts texts, lists and JSON, and marks what they were.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::v1::{Abridged, Action};

/// Members of a value of JSON that are marked each by itself.
const MEMBERS: usize = 16;

#[derive(Default)]
pub(super) struct Knife {
    /// Bytes that one text or list may keep.
    pub(super) cap: usize,
    /// By pointer. What was cut first was whole.
    marks: BTreeMap<String, Abridged>,
}

impl Knife {
    pub(super) fn marks(&self) -> Vec<Abridged> {
        self.marks.values().cloned().collect()
    }

    /// Head and tail of a text, with a note between them.
    pub(super) fn text(&mut self, pointer: &str, text: &mut String) {
        if text.len() > self.cap {
            *text = ends(text, self.cap, self.mark_text(pointer, text), char::len_utf8);
        }
    }

    /// The same for the text of a value of JSON, which stays one.
    pub(super) fn json(&mut self, pointer: &str, text: &mut String) {
        if text.len() <= self.cap {
            return;
        }
        let mark = self.mark_text(pointer, text);
        *text = match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                self.value(pointer, 0, &mut value);
                value.to_string()
            }
            // It never was one.
            Err(_) => ends(text, self.cap, mark, char::len_utf8),
        };
    }

    /// Leaves out the arguments of an action if they stand elsewhere in the same message.
    pub(super) fn once(&mut self, pointer: &str, elsewhere: &str, action: &mut Action) {
        if !elsewhere.is_empty() && action.arguments_json == elsewhere {
            self.mark_text(&format!("{pointer}/arguments_json"), elsewhere);
            "{}".clone_into(&mut action.arguments_json);
        }
    }

    /// The first elements of a list.
    pub(super) fn list<M: Message>(&mut self, pointer: &str, list: &mut Vec<M>) {
        if size(list) > self.cap {
            self.mark_list(pointer, list);
            list.truncate(fitting(list.iter().map(framed), self.cap));
        }
    }

    /// Makes the elements of a list lighter, if it is too large.
    pub(super) fn lightened<M: Message>(&mut self, pointer: &str, list: &mut [M], lighten: impl Fn(&mut M)) {
        if size(list) > self.cap {
            self.mark_list(pointer, list);
            list.iter_mut().for_each(lighten);
        }
    }

    /// The first texts of a list of them.
    pub(super) fn texts(&mut self, pointer: &str, texts: &mut Vec<String>) {
        if texts.iter().map(|text| text.len() + 2).sum::<usize>() > self.cap {
            let whole = || texts.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
            self.mark(pointer, texts.len(), whole);
            texts.truncate(fitting(texts.iter().map(|text| text.len() + 2), self.cap));
        }
    }

    fn value(&mut self, pointer: &str, depth: u32, value: &mut Value) {
        let room = (self.cap / 2) >> depth.saturating_sub(1).min(4);
        match value {
            Value::String(text) if escaped(text) > room => {
                let mark = if depth == 1 { self.mark_text(pointer, text) } else { Abridged::default() };
                *text = ends(text, room, mark, escaped_char);
            }
            Value::Array(entries) => {
                let before = entries.len();
                entries.iter_mut().for_each(|entry| self.value("", depth + 1, entry));
                entries.truncate(fitting(entries.iter().map(written), room));
                if depth == 1 && entries.len() < before {
                    self.mark_count(pointer, before);
                }
            }
            Value::Object(members) => {
                let (before, room) = (members.len(), if depth == 0 { 4 * self.cap } else { room });
                for (at, (name, member)) in members.iter_mut().enumerate() {
                    let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                    // Below that many it is one thing that was cut.
                    self.value(&pointer, if at < MEMBERS { depth + 1 } else { depth + 2 }, member);
                }
                let kept = fitting(members.iter().map(|(name, member)| escaped(name) + 4 + written(member)), room);
                let names: Vec<_> = members.keys().skip(kept).cloned().collect();
                names.iter().for_each(|name| drop(members.remove(name)));
                if depth == 1 && kept < before {
                    self.mark_count(pointer, before);
                }
            }
            _ => {}
        }
    }

    fn mark_text(&mut self, pointer: &str, text: &str) -> Abridged {
        self.mark(pointer, 0, || text.as_bytes().to_vec())
    }

    fn mark_list<M: Message>(&mut self, pointer: &str, list: &[M]) {
        self.mark(pointer, list.len(), || list.iter().flat_map(Message::encode_length_delimited_to_vec).collect());
    }

    /// Of a part of a value of JSON: the digest is that of the whole text.
    fn mark_count(&mut self, pointer: &str, count: usize) {
        let mark = || Abridged { pointer: pointer.to_owned(), count: count as u64, ..Abridged::default() };
        self.marks.entry(pointer.to_owned()).or_insert_with(mark);
    }

    fn mark(&mut self, pointer: &str, count: usize, whole: impl FnOnce() -> Vec<u8>) -> Abridged {
        let mark = || {
            let whole = whole();
            let sha256 = hex(&Sha256::digest(&whole));
            Abridged { pointer: pointer.to_owned(), bytes: whole.len() as u64, count: count as u64, sha256 }
        };
        self.marks.entry(pointer.to_owned()).or_insert_with(mark).clone()
    }
}

/// Head and tail of a text in about so many bytes, of which each character takes what `cost` says.
fn ends(text: &str, most: usize, of: Abridged, cost: impl Fn(char) -> usize) -> String {
    let note = match of.bytes {
        0 => "[… cut here …]".to_owned(),
        bytes => format!("\n[… cut here: all {bytes} bytes have the SHA-256 {} …]\n", of.sha256),
    };
    let half = most.saturating_sub(note.len()) / 2;
    let head = reach(text.char_indices().map(|(at, it)| (at + it.len_utf8(), it)), half, &cost).unwrap_or(0);
    let tail = reach(text.char_indices().rev(), half, &cost).unwrap_or(text.len());
    format!("{}{note}{}", &text[..head], &text[tail.max(head)..])
}

/// How far one gets over these characters before they cost more than `most`.
fn reach(characters: impl Iterator<Item = (usize, char)>, most: usize, cost: impl Fn(char) -> usize) -> Option<usize> {
    let mut spent = 0;
    let affordable = characters.take_while(|(_, it)| {
        spent += cost(*it);
        spent <= most
    });
    affordable.last().map(|(at, _)| at)
}

/// How many of these sizes fit.
fn fitting(sizes: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut spent = 0;
    let fit = |size: &usize| {
        spent += size;
        spent <= most
    };
    sizes.take_while(fit).count()
}

fn size<M: Message>(list: &[M]) -> usize {
    list.iter().map(framed).sum()
}

/// Bytes of an element with its length.
fn framed<M: Message>(element: &M) -> usize {
    let length = element.encoded_len();
    length + prost::length_delimiter_len(length)
}

/// Bytes of a value as text.
fn written(value: &Value) -> usize {
    match value {
        Value::String(text) => escaped(text) + 3,
        value => value.to_string().len() + 1,
    }
}

/// Bytes of a text within JSON.
fn escaped(text: &str) -> usize {
    text.chars().map(escaped_char).sum()
}

fn escaped_char(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}
