use cmdop_contract::v1::{CallProposed, CallSettled};

use super::*;

fn record(position: u64) -> Record {
    let proposed = CallProposed { proposal: Some(v1::Proposal::default()), action_digest: "d".into() };
    let kind = if position == 1 { Kind::CallProposed(proposed) } else { Kind::CallSettled(CallSettled::default()) };
    let event = Event { subject: "call".into(), kind: Some(kind), ..Event::default() };
    Record {
        head: Head { position, hash: [7; 32] },
        place: Place { segment: 1, offset: position },
        payload: event.encode_to_vec().into(),
    }
}

fn held(filler: &Filler) -> (u64, Vec<u8>) {
    let one = |query: &str| filler.writer.query_row(query, [], |row| row.get::<_, u64>(0)).expect("a row");
    let trail = filler.writer.query_row("SELECT trail FROM call", [], |row| row.get::<_, Vec<u8>>(0)).expect("a call");
    (one("SELECT position FROM head"), trail)
}

#[test]
fn who_had_the_index_last_may_still_write_the_same_records() {
    let dir = tempfile::tempdir().expect("directory");
    let (mut last, _) = open(dir.path()).expect("opens");
    last.catch_up(&[record(1)]).expect("written");
    let (mut next, head) = open(dir.path()).expect("opens while another has it");
    assert_eq!(head.position, 1);

    last.writer.execute_batch("BEGIN IMMEDIATE").expect("begun");
    put(&last.writer, &[record(2)]).expect("put");
    let (begins, begun) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        begins.send(()).expect("heard");
        next.catch_up(&[record(2), record(3)]).map(|()| next)
    });
    begun.recv().expect("begins");
    std::thread::sleep(Duration::from_millis(200));
    last.writer.execute_batch("COMMIT").expect("written");
    let next = waiting.join().expect("no panic").expect("written when it is free");

    let alone = tempfile::tempdir().expect("directory");
    let (mut once, _) = open(alone.path()).expect("opens");
    once.catch_up(&[record(1), record(2), record(3)]).expect("written");
    assert_eq!(held(&next), held(&once), "each record once");
    last.catch_up(&[record(2)]).expect("nothing is left to write");
    assert_eq!(held(&last), held(&once), "and the head goes back for nobody");
}
