//! A log whose disk is full: what begins is refused, what is under way fits, nothing is lost, and it
//! goes on by itself.

#[path = "support/small_disk.rs"]
mod small_disk;

use std::path::Path;

use cmdop_ledger::Error;
use cmdop_ledger::log::Log;
use small_disk::on_small_disk;

/// Payloads of every record of a log, read anew; fails if the chain is broken.
fn read(dir: &Path) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let read = Log::open(dir, |_, payload| {
        records.push(payload.to_vec());
        Ok(())
    });
    read.expect("an unbroken chain");
    records
}

fn open(dir: &Path) -> Log {
    Log::open(dir, |_, _| Ok(())).expect("opens").0
}

fn block_on<T>(act: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(act)
}

/// Appends results until even the reserve is used up; returns how many there was room for.
async fn exhaust(log: &Log) -> usize {
    for count in 0.. {
        match log.append(vec![vec![b'r'; 60_000]]).await {
            Ok(_) => {}
            Err(Error::Full(_)) => return count,
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("a disk is finite")
}

#[test]
fn what_begins_is_refused_and_results_have_a_reserve() {
    on_small_disk("what_begins_is_refused_and_results_have_a_reserve", 16, |disk| {
        block_on(async {
            let log = open(&disk.place());
            assert_eq!(log.append_sparing(vec![b"before".to_vec()]).await.expect("durable"), 1);
            std::thread::sleep(std::time::Duration::from_millis(150));
            disk.fill();
            for _ in 0..3 {
                let refused = log.append_sparing(vec![b"intent".to_vec()]).await;
                assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
            }
            assert_eq!(log.append(vec![vec![b'r'; 500_000]]).await.expect("there is a reserve"), 2);
            // Both in one batch: one is refused, the other is not.
            let (intent, result) =
                tokio::join!(log.append_sparing(vec![b"intent".to_vec()]), log.append(vec![b"result".to_vec()]));
            assert!(matches!(intent, Err(Error::Full(_))), "{intent:?}");
            assert_eq!(result.expect("there is a reserve"), 3);
            disk.free();
            assert_eq!(log.append_sparing(vec![b"after".to_vec()]).await.expect("goes on by itself"), 4);
        });
        let records = read(&disk.place());
        assert_eq!(records.len(), 4);
        assert_eq!((&*records[0], &*records[2], &*records[3]), (&b"before"[..], &b"result"[..], &b"after"[..]));
    });
}

#[test]
fn a_reserve_that_is_used_up_loses_nothing_that_was_acknowledged() {
    on_small_disk("a_reserve_that_is_used_up_loses_nothing_that_was_acknowledged", 16, |disk| {
        let log = open(&disk.place());
        disk.fill();
        let fitted = block_on(exhaust(&log));
        assert!(fitted >= 16, "a sixteenth of the disk is a mebibyte, and {fitted} results of 60 kB fitted");
        // It ends as `kill -9` ends it: nothing is tidied up. Half a record is behind the others.
        drop(log);
        let segment = disk.place().join(format!("{:020}.log", 1));
        let whole = std::fs::metadata(&segment).expect("the segment").len();
        {
            use std::io::Write;
            let mut file = std::fs::File::options().append(true).open(&segment).expect("the segment");
            let _ = file.write(b"\x40\x00\x00\x00half");
        }
        assert_eq!(read(&disk.place()).len(), fitted);
        assert_eq!(std::fs::metadata(&segment).expect("the segment").len(), whole, "the torn tail is cut");
        let log = open(&disk.place());
        block_on(async {
            let refused = log.append_sparing(vec![vec![b'i'; 100]]).await;
            assert!(matches!(refused, Err(Error::Full(_))), "still full after a restart: {refused:?}");
            disk.free();
            assert_eq!(log.append_sparing(vec![b"after".to_vec()]).await.expect("goes on"), fitted as u64 + 1);
        });
    });
}

#[test]
fn a_restart_on_a_full_disk_finds_the_reserve_of_the_life_before() {
    on_small_disk("a_restart_on_a_full_disk_finds_the_reserve_of_the_life_before", 16, |disk| {
        let log = open(&disk.place());
        block_on(log.append(vec![b"before".to_vec()])).expect("durable");
        drop(log);
        disk.fill();
        let log = open(&disk.place());
        assert!(block_on(exhaust(&log)) >= 16, "the reserve is there");
    });
}

#[test]
fn a_segment_for_which_there_is_no_room_leaves_the_one_before_to_go_on() {
    on_small_disk("a_segment_for_which_there_is_no_room_leaves_the_one_before_to_go_on", 100, |disk| {
        let log = open(&disk.place());
        let mut count = 0;
        block_on(async {
            // Just past the size at which a segment ends.
            for _ in 0..5 {
                count = log.append(vec![vec![0; 13 << 20]]).await.expect("durable");
            }
            disk.fill();
            count = log.append(vec![b"result".to_vec()]).await.expect("the old segment takes it");
            let segments = || {
                let entries =
                    std::fs::read_dir(disk.place()).expect("the log").map(|entry| entry.expect("an entry").path());
                entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).count()
            };
            let before = segments();
            disk.free();
            count = log.append_sparing(vec![b"next".to_vec()]).await.expect("goes on");
            assert_eq!(segments(), before + 1, "a new segment began");
        });
        drop(log);
        assert_eq!(read(&disk.place()).len() as u64, count);
    });
}
