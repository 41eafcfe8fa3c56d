//! Values of extended attributes, as whoever approves a change of them reads them.

use std::fmt::Write;

use cmdop_contract::digest::hex;
use cmdop_contract::path::escape;
use cmdop_contract::redact;
use cmdop_contract::v1::FileAttribute;
use cmdop_policy::classes::is_secret;

use super::attributes::Xattr;
use super::look::is_access;
use crate::native::measure::sha256_of;

/// What is shown of a value: of text, and of what is none half as much, in twice as many digits.
const MAX_SHOWN_BYTES: usize = 256;
/// Of an access list more, as of a text difference: whom it names last counts as much as whom it names first.
const MAX_LIST_BYTES: usize = 4 * 1024;

/// As the kernel writes a list (`linux/posix_acl_xattr.h`): a version, then entries of tag, permissions and id.
const LIST_VERSION: [u8; 4] = [2, 0, 0, 0];
const ENTRY_BYTES: usize = 8;

/// May the values of a file's attributes be read? Those of a secret may not, as its content: a report goes into
/// records, and to an agent that need not have read the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values {
    is_secret: bool,
}

impl Values {
    /// Of what is at a place.
    pub(crate) fn of(place: &[u8]) -> Self {
        Self { is_secret: is_secret(place) }
    }

    /// Of what was at another place: one that was a secret there is one here.
    pub(crate) fn of_both(was: &[u8], place: &[u8]) -> Self {
        Self { is_secret: is_secret(was) || is_secret(place) }
    }

    /// An extended attribute as it is reported.
    pub(crate) fn shown(self, xattr: &Xattr) -> FileAttribute {
        let (name, value) = (escape(&xattr.name), xattr.value.as_deref().unwrap_or_default());
        // Who may do what with a secret is none itself.
        let is_shown = !self.is_secret || is_access(&name);
        FileAttribute { shown: is_shown.then(|| written(&name, value)), sha256: sha256_of(value), name }
    }

    /// The same of attributes that were looked at where this was not known.
    pub(crate) fn hide(self, xattrs: &mut [FileAttribute]) {
        let hidden = xattrs.iter_mut().filter(|xattr| self.is_secret && !is_access(&xattr.name));
        hidden.for_each(|xattr| xattr.shown = None);
    }
}

/// As getfattr(1) and getfacl(1) would write it.
fn written(name: &str, value: &[u8]) -> String {
    let list = name.starts_with("system.posix_acl_").then(|| access_list(value)).flatten();
    if let Some(list) = list {
        return match list.get(..MAX_LIST_BYTES).and_then(|part| part.rfind(',')) {
            Some(end) if list.len() > MAX_LIST_BYTES => cut(&list[..end], value),
            _ => list,
        };
    }
    match std::str::from_utf8(value) {
        Ok(text) => {
            let clean = without_secrets(name, text);
            let part = &clean[..clean.floor_char_boundary(MAX_SHOWN_BYTES)];
            let quoted = quoted(part);
            let whole = if part.len() < clean.len() { cut(&quoted, value) } else { quoted };
            // As whoever records it will read it: nothing may be left to take out there.
            redact::text(&whole).into_owned()
        }
        Err(_) => {
            let part = &value[..value.len().min(MAX_SHOWN_BYTES / 2)];
            let digits = format!("0x{}", hex(part));
            if part.len() < value.len() { cut(&digits, value) } else { digits }
        }
    }
}

fn cut(part: &str, value: &[u8]) -> String {
    format!("{part}… {} bytes", value.len())
}

/// The name may be what tells that the value is a secret.
fn without_secrets(name: &str, text: &str) -> String {
    let clean = redact::text(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    let line = format!("{last}={clean}");
    match redact::text(&line).strip_prefix(last).and_then(|rest| rest.strip_prefix('=')) {
        Some(rest) => rest.to_owned(),
        None => clean.into_owned(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if character.is_control() => {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    write!(out, "\\x{byte:02x}").expect("a string takes all text");
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

/// An access list in the short text form of acl(5), with numeric ids; none if it is no list.
fn access_list(value: &[u8]) -> Option<String> {
    let entries = value.strip_prefix(&LIST_VERSION)?;
    if entries.len() % ENTRY_BYTES != 0 {
        return None;
    }
    let entry = |entry: &[u8]| {
        let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let id = || u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]).to_string();
        // `linux/posix_acl.h`
        let (who, id) = match number(0) {
            0x01 => ("user", String::new()),
            0x02 => ("user", id()),
            0x04 => ("group", String::new()),
            0x08 => ("group", id()),
            0x10 => ("mask", String::new()),
            0x20 => ("other", String::new()),
            _ => return None,
        };
        let may = |bit: u16, letter: char| if number(2) & bit == 0 { '-' } else { letter };
        Some(format!("{who}:{id}:{}{}{}", may(4, 'r'), may(2, 'w'), may(1, 'x')))
    };
    let entries: Option<Vec<String>> = entries.chunks_exact(ENTRY_BYTES).map(entry).collect();
    entries.map(|entries| entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(place: &str, name: &str, value: &[u8]) -> Option<String> {
        let xattr = Xattr { name: name.into(), value: Some(value.to_vec()) };
        Values::of(place.as_bytes()).shown(&xattr).shown
    }

    fn of(name: &str, value: &[u8]) -> String {
        shown("/srv/app/a", name, value).expect("it is shown")
    }

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entry = |(tag, may, id): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &may.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
        };
        LIST_VERSION.into_iter().chain(entries.iter().flat_map(entry)).collect()
    }

    #[test]
    fn an_access_list_says_who_may_do_what() {
        let value = list(&[(1, 6, u32::MAX), (2, 6, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]);
        let said = "user::rw-,user:1000:rw-,group::r-x,mask::rwx,other::---";
        assert_eq!(of("system.posix_acl_access", &value), said);
        assert_eq!(of("system.posix_acl_default", &value), said);
        assert_eq!(of("system.posix_acl_access", b"\xff\xff"), "0xffff", "no list");
        let long: Vec<_> = (0..1_000).map(|id| (2, 6, id)).collect();
        let said = of("system.posix_acl_access", &list(&long));
        assert!(said.len() <= MAX_LIST_BYTES + 20 && said.ends_with(":rw-… 8004 bytes"), "{said}");
    }

    #[test]
    fn text_is_quoted_and_what_is_none_is_hex() {
        assert_eq!(of("user.t", b"zzz"), "\"zzz\"");
        assert_eq!(of("user.t", b""), "\"\"");
        assert_eq!(of("user.t", b"0x01"), "\"0x01\"", "no other value reads alike");
        assert_eq!(of("user.t", "a\"\\\n\u{85}é".as_bytes()), "\"a\\\"\\\\\\x0a\\xc2\\x85é\"");
        assert_eq!(of("user.t", b"\xff\x00"), "0xff00");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let text = of("user.t", "é".repeat(200).as_bytes());
        assert_eq!(text, format!("\"{}\"… 400 bytes", "é".repeat(128)));
        assert_eq!(of("user.t", &[0xff; 129]), format!("0x{}… 129 bytes", "ff".repeat(128)));
    }

    #[test]
    fn of_a_secret_file_only_who_may_do_what_is_shown() {
        assert_eq!(shown("/srv/app/.env", "user.t", b"zzz"), None);
        let value = list(&[(2, 6, 1000)]);
        assert_eq!(shown("/srv/app/.env", "system.posix_acl_access", &value).as_deref(), Some("user:1000:rw-"));
        let moved = Values::of_both(b"/srv/app/.env", b"/srv/app/plain");
        assert_eq!(moved.shown(&Xattr { name: b"user.t".into(), value: Some(b"zzz".into()) }).shown, None);
    }

    #[test]
    fn a_secret_in_a_value_or_under_a_telling_name_is_taken_out_once() {
        for (name, value) in [
            ("user.t", "password=hunter2hunter2"),
            ("user.api_token", "hunter2hunter2hunter2"),
            ("user.t", "{\"password\": \"hunter2hunter2\"}"),
        ] {
            let said = of(name, value.as_bytes());
            assert!(!said.contains("hunter2") && said.contains("[redacted:"), "{name}: {said}");
            assert_eq!(redact::text(&said), said);
        }
    }
}
