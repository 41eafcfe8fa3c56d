//! `files.read`: a window of a regular file, with the digest of all of it.

use std::fs::File;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cmdop_contract::digest::hex;
use cmdop_contract::v1::FileType;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::beneath::{READ, Root, file, not_usable};
use super::measure::{Stamp, check_size};
use crate::Error;

const MAX_LIMIT: u64 = 1024 * 1024;

/// Text may grow by escapes in JSON; beyond twice its size it travels as base64.
const MAX_ESCAPED: usize = 2;

/// Reads what the arguments name.
///
/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(crate) fn read(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let offset = arguments.number("offset")?.unwrap_or(0);
    let limit = arguments.number("limit")?.unwrap_or(MAX_LIMIT);
    if limit > MAX_LIMIT {
        return Err(invalid("limit", "at most 1048576"));
    }
    let mut file = open_regular(root, &path)?;
    let (mut window, size, sha256) = window(&mut file, offset, limit)?;
    if offset + (window.len() as u64) < size {
        cut_to_character(&mut window);
    }
    let eof = offset.saturating_add(window.len() as u64) >= size;
    let (content, encoding) = encoded(window);
    Ok(json!({"content": content, "encoding": encoding, "size": size, "sha256": sha256, "eof": eof}))
}

/// Opens a regular file; anything else is never opened, so that no device hears of it.
pub(crate) fn open_regular(root: &Root, path: &[u8]) -> Result<File, Error> {
    let held = root.open(path, rustix::fs::OFlags::PATH)?;
    let stamp = Stamp::of(&held)?;
    match stamp.file_type() {
        FileType::Regular => {}
        FileType::Directory => return Err(not_usable(path, "is a directory; use files.list")),
        _ => return Err(not_usable(path, "is not a regular file")),
    }
    let opened = root.open(path, READ)?;
    let now = Stamp::of(&opened)?;
    if (now.dev, now.ino) != (stamp.dev, stamp.ino) {
        return Err(not_usable(path, "is being replaced while it is opened"));
    }
    Ok(file(opened))
}

/// One pass: the bytes asked for, the size and the digest of what was read.
fn window(file: &mut File, offset: u64, limit: u64) -> Result<(Vec<u8>, u64, String), Error> {
    let (mut window, mut size, mut digest) = (Vec::new(), 0u64, Sha256::new());
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read"))?;
        if read == 0 {
            return Ok((window, size, hex(&digest.finalize())));
        }
        digest.update(&buffer[..read]);
        let from = offset.saturating_sub(size).min(read as u64);
        let to = offset.saturating_add(limit).saturating_sub(size).min(read as u64);
        if from < to {
            // Both are at most `read`, which is a usize.
            window.extend_from_slice(&buffer[from as usize..to as usize]);
        }
        size += read as u64;
        check_size(size)?;
    }
}

/// Leaves out a character of which only the first bytes are in the window.
fn cut_to_character(window: &mut Vec<u8>) {
    if let Err(error) = std::str::from_utf8(window)
        && error.error_len().is_none()
        && error.valid_up_to() > 0
    {
        window.truncate(error.valid_up_to());
    }
}

fn encoded(window: Vec<u8>) -> (String, &'static str) {
    match String::from_utf8(window) {
        Ok(text) if text.bytes().filter(u8::is_ascii_control).count() * 6 <= text.len() * MAX_ESCAPED => {
            (text, "utf-8")
        }
        Ok(text) => (STANDARD.encode(text), "base64"),
        Err(error) => (STANDARD.encode(error.as_bytes()), "base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_on_the_edge_is_left_for_the_next_read() {
        let mut window = "aé".as_bytes()[..2].to_vec();
        cut_to_character(&mut window);
        assert_eq!(window, b"a");
    }

    #[test]
    fn bytes_that_are_not_text_travel_as_base64() {
        assert_eq!(encoded(vec![0xff]), ("/w==".to_owned(), "base64"));
        assert_eq!(encoded(b"text\n".to_vec()), ("text\n".to_owned(), "utf-8"));
        assert_eq!(encoded(vec![0; 9]).1, "base64");
    }
}
