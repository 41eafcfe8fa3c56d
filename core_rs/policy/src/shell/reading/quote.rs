//! Decodes `$'…'` (bash manual, "ANSI-C Quoting").

/// The decoded text, or `None` if it is not UTF-8 or uses a form that is not decoded here.
pub(in crate::shell) fn ansi_c(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            out.push(b'\\');
            break;
        };
        rest = after;
        match simple(escape) {
            Some(decoded) => out.push(decoded),
            None => rest = escaped(escape, rest, &mut out)?,
        }
    }
    // bash keeps what stands before a NUL.
    out.truncate(out.iter().position(|byte| *byte == 0).unwrap_or(out.len()));
    String::from_utf8(out).ok()
}

fn simple(escape: u8) -> Option<u8> {
    Some(match escape {
        b'a' => 0x07,
        b'b' => 0x08,
        b'e' | b'E' => 0x1b,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'\'' | b'"' | b'?' => escape,
        _ => return None,
    })
}

/// Decodes an escape with digits; returns what follows it.
fn escaped<'a>(escape: u8, rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    match escape {
        b'0'..=b'7' => {
            let (value, used) = digits(rest, 8, 2);
            let value = u32::from(escape - b'0') * 8u32.pow(u32::try_from(used).ok()?) + value;
            out.push((value & 0xff) as u8);
            Some(&rest[used..])
        }
        b'x' if rest.first() == Some(&b'{') => None,
        b'x' | b'u' | b'U' => {
            let (value, used) = digits(
                rest,
                16,
                match escape {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                },
            );
            if used == 0 {
                out.extend([b'\\', escape]);
            } else if escape == b'x' {
                out.push((value & 0xff) as u8);
            } else {
                out.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Some(&rest[used..])
        }
        b'c' => None,
        _ => {
            out.extend([b'\\', escape]);
            Some(rest)
        }
    }
}

fn digits(text: &[u8], radix: u32, most: usize) -> (u32, usize) {
    let mut value = 0u32;
    let mut used = 0;
    for byte in text.iter().take(most) {
        let Some(digit) = char::from(*byte).to_digit(radix) else { break };
        value = value.wrapping_mul(radix).wrapping_add(digit);
        used += 1;
    }
    (value, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_as_bash_does() {
        for (text, expected) in [
            (r"\x72\155", "rm"),
            (r"a\tb\n", "a\tb\n"),
            (r"\u00e9\U0001F600", "é😀"),
            (r"\'\\", r"'\"),
            (r"a\0b", "a"),
            (r"\q\xg", r"\q\xg"),
            (r"\1016", "A6"),
        ] {
            assert_eq!(ansi_c(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn gives_up_on_bytes_that_are_no_text() {
        for text in [r"\xff", r"\x{41}", r"\ca", r"\ud800"] {
            assert_eq!(ansi_c(text), None, "{text}");
        }
    }
}
