//! A window of a file's content as `files.read` tells it, with the digest of all of it.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cmdop_contract::digest::hex;
use cmdop_contract::v1::Reason;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Error;

/// Bytes that are told at most.
pub(crate) const MAX_LIMIT: u64 = 1024 * 1024;

/// No larger file is read: files of a kernel may have no end.
const MAX_HASHED_BYTES: u64 = 4 << 30;

/// Text may grow by escapes in JSON; beyond twice its size it travels as base64.
const MAX_ESCAPED: usize = 2;

/// The result of reading a part of an open file.
///
/// # Errors
/// A failed read; `PATH_NOT_USABLE` if the file is too large.
pub(crate) fn told(file: &mut impl Read, offset: u64, limit: u64) -> Result<Value, Error> {
    let (mut window, size, sha256) = window(file, offset, limit)?;
    if offset + (window.len() as u64) < size {
        cut_to_character(&mut window);
    }
    let eof = offset.saturating_add(window.len() as u64) >= size;
    let (content, encoding) = encoded(window);
    Ok(json!({"content": content, "encoding": encoding, "size": size, "sha256": sha256, "eof": eof}))
}

/// Refuses to read on when a file turns out to be too large.
///
/// # Errors
/// `PATH_NOT_USABLE` beyond what a file tool reads.
pub(crate) fn check_size(bytes: u64) -> Result<(), Error> {
    if bytes <= MAX_HASHED_BYTES {
        return Ok(());
    }
    let message = "the file is larger than 4 GiB, more than a file tool reads";
    Err(Error::use_tool(Reason::PathNotUsable, message, "terminal.exec"))
}

/// One pass: the bytes asked for, the size and the digest of what was read.
fn window(file: &mut impl Read, offset: u64, limit: u64) -> Result<(Vec<u8>, u64, String), Error> {
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
