use super::*;

#[test]
fn what_is_read_is_what_serde_reads() {
    let text = r#"{"a":[1,-2,3.5,"x",null,true,18446744073709551615],"b":{"c":{}},"d":"\u00fc\ud83d\ude00"}"#;
    assert_eq!(parse(text).expect("valid"), serde_json::from_str::<Value>(text).expect("valid"));
    assert!(parse(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
}

#[test]
fn a_whole_number_is_one_however_it_is_written() {
    let read = parse("[1.0, -2.0, 1e3, 0.0, -0.0, 9007199254740991.0, 1.5, 9007199254740992.0]");
    let whole = r#"[1, -2, 1000, 0, 0, 9007199254740991, 1.5, 9007199254740992.0]"#;
    let expected: Value = serde_json::from_str(whole).expect("valid");
    assert_eq!(read.expect("valid"), expected);
}

#[test]
fn every_fault_is_told_apart_with_its_place_and_what_to_write_instead() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let deeper = "[".repeat(200_000);
    let (mut seen, mut wrong) = (std::collections::HashSet::new(), Vec::new());
    for (text, fault, said) in [
        ("", Fault::Empty, "the text is empty, at line 1 column 1"),
        (" \n", Fault::Empty, "the text is empty but for blanks, at line 1 column 1"),
        ("\u{feff}{}", Fault::ByteOrderMark, "a byte order mark at line 1 column 1"),
        ("{\n \"a\": ", Fault::Unfinished, "EOF while parsing a value at line 2 column 6"),
        ("{\"a\": \"x", Fault::Unfinished, "EOF while parsing a string at line 1 column 8"),
        ("{} x", Fault::Trailing, "trailing characters at line 1 column 4"),
        ("{\"a\": NaN}", Fault::NotFinite, "NaN and Infinity are no JSON numbers, at line 1 column 7"),
        ("{\"a\": -Infinity}", Fault::NotFinite, "NaN and Infinity are no JSON numbers, at line 1 column 8"),
        ("[1e400]", Fault::NumberTooLarge, "number out of range at line 1 column 6"),
        ("[18446744073709551616]", Fault::NumberTooLarge, "number too large to be held exactly at line 1 column 21"),
        (&deep, Fault::TooDeep, "nested deeper than 64 levels at line 1 column 66"),
        (&deeper, Fault::TooDeep, "nested deeper than 64 levels at line 1 column 65"),
        ("{\"a\":1,\n\"a\":2}", Fault::Twice, "the key `a` stands twice in one object at line 2 column 3"),
        ("[\"\\ud800\"]", Fault::LoneSurrogate, "unexpected end of hex escape at line 1 column 9"),
        ("{\"a\": 1,}", Fault::Syntax, "trailing comma at line 1 column 9"),
        ("{'a': 1}", Fault::Syntax, "key must be a string at line 1 column 2"),
        ("\n\nnone", Fault::Syntax, "expected ident at line 3 column 2"),
    ] {
        let error = parse(text).expect_err(said);
        if (error.fault(), error.to_string().as_str()) != (fault, said) {
            wrong.push((said, error.clone()));
        }
        seen.insert((fault, error.expected()));
    }
    assert_eq!(wrong, []);
    let error = parse_bytes(b"{\n\"a\": \"\xff\"}").expect_err("no UTF-8");
    assert_eq!(error.to_string(), "byte 0xff is no UTF-8 at line 2 column 7");
    seen.insert((error.fault(), error.expected()));
    assert_eq!(seen.len(), 11, "each fault has a remedy of its own: {seen:?}");
}

#[test]
fn a_key_is_quoted_shortly_and_without_control_characters() {
    let long = "k".repeat(100_000);
    let error = parse(&format!(r#"{{"{long}":1,"{long}":2}}"#)).expect_err("twice");
    assert!(error.to_string().len() < 200, "{error}");
    let error = parse(r#"{"\u001b[2J":1,"\u001b[2J":2}"#).expect_err("twice");
    assert!(!error.to_string().contains('\u{1b}') && error.to_string().contains("u{1b}"), "{error}");
}
