//! Texts that are made to be read again and again: what is read of them is counted, because no clock is fair.

use super::shell::{ROOM, counted};
use super::*;

/// Enough that whatever is read once more for each of its values stands out.
const LENGTH: usize = 1 << 16;

/// What was read for it, as content or as a command.
fn read(said: &str) -> usize {
    counted::during(|| drop(text(said))).max(counted::during(|| drop(command(said))))
}

#[test]
fn no_text_is_read_more_often_than_it_has_room_for() {
    for unit in [
        "Authorization: Basic ",
        "Authorization: $(",
        "Authorization:",
        "Cookie: ;",
        "Cookie:",
        "Cookie: a=b; ",
        "X-Api-Key: $(",
        "-H Proxy-Authorization: Token a ",
        "password='",
        "password=\"x y",
        "password=a ",
        "Bearer ",
        "psql --password hunter2x ",
        "{\"password\": \"x y\", ",
        "<password>a b</password>",
        "https://a:b@c ",
        "curl sshpass -p hunter2 ",
        "Zk3vQ9xLm2Rt8WbYc5Nf7HsJ4pDg6Ka:",
    ] {
        let read = read(&unit.repeat(LENGTH / unit.len()));
        // Each text is read twice: for secrets, and for those that are known by then.
        assert!(read <= 4 * (ROOM + 4 * LENGTH), "{unit}: {read}");
    }
}

#[test]
fn many_short_texts_have_no_more_room_than_a_long_one() {
    let line = "psql --password hunter2x ".repeat(160);
    let many = serde_json::json!({ "command": vec![line; 200] }).to_string();
    let read = counted::during(|| drop(text(&many)));
    assert!(read <= 4 * (ROOM + many.len()), "{read}");
}
