use std::fs;

use super::*;

fn read(dir: &Path) -> Result<(Vec<Vec<u8>>, Recovery), Error> {
    let mut records = Vec::new();
    let (_, recovery) = Log::open(dir, |_, payload| {
        records.push(payload.to_vec());
        Ok(())
    })?;
    Ok((records, recovery))
}

async fn filled(dir: &Path, count: u8) -> PathBuf {
    let (log, _) = Log::open(dir, |_, _| Ok(())).expect("opens");
    for number in 1..=count {
        assert_eq!(log.append(vec![vec![number; 10 + usize::from(number)]]).await.expect("durable"), u64::from(number));
    }
    segment_path(dir, 1)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), 20).await;
    let (records, recovery) = read(dir.path()).expect("opens again");
    assert_eq!(records.len(), 20);
    assert_eq!(recovery, Recovery::default());
    assert_eq!(records[4], vec![5; 15]);
}

#[tokio::test]
async fn a_torn_tail_is_cut_to_the_records_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = filled(dir.path(), 5).await;
    let whole = fs::read(&segment).expect("the segment");
    let last = FRAME_5;
    for missing in 1..last {
        fs::write(&segment, &whole[..whole.len() - missing]).expect("truncate");
        // As a loss of power leaves it, when the record was not acknowledged.
        let _ = fs::remove_file(dir.path().join("acknowledged"));
        let (records, recovery) = read(dir.path()).expect("a torn tail is no damage");
        assert_eq!(records.len(), 4, "{missing} bytes missing");
        assert_eq!(recovery.cut_bytes, (last - missing) as u64);
    }
    let (log, _) = Log::open(dir.path(), |_, _| Ok(())).expect("opens");
    assert_eq!(log.append(vec![b"next".to_vec()]).await.expect("goes on"), 5);
}

/// Bytes of the fifth record of [`filled`].
const FRAME_5: usize = layout::FRAME + 15;

#[tokio::test]
async fn any_flipped_byte_before_the_last_record_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = filled(dir.path(), 5).await;
    let whole = fs::read(&segment).expect("the segment");
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(&segment, &flipped).expect("flip");
        match read(dir.path()) {
            Err(Error::Broken { segment: named, .. }) => assert_eq!(named, segment),
            Err(other) => panic!("byte {at}: {other}"),
            Ok(_) => panic!("byte {at} went unnoticed"),
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_and_is_gone_is_refused_wherever_the_log_ends_now() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = filled(dir.path(), 5).await;
    let whole = fs::read(&segment).expect("the segment");
    for length in (0..whole.len()).rev().step_by(7).chain([0]) {
        fs::write(&segment, &whole[..length]).expect("truncate");
        match read(dir.path()) {
            Err(Error::Broken { why, .. }) => assert!(why.contains("5 records were acknowledged"), "{length}: {why}"),
            other => panic!("{length} bytes were taken for the whole: {other:?}"),
        }
        assert_eq!(fs::read(&segment).expect("the segment").len(), length, "what is refused stays as it is");
    }
    fs::remove_file(&segment).expect("removed");
    assert!(matches!(read(dir.path()), Err(Error::Broken { .. })));
}

#[tokio::test]
async fn a_log_that_is_begun_anew_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let born = || Log::open(dir.path(), |_, _| Ok(())).expect("opens").0.born();
    let first = born();
    assert_eq!(born(), first);
    fs::remove_file(dir.path().join("acknowledged")).expect("removed");
    assert!(born() > first);
}

#[tokio::test]
async fn removed_or_reordered_records_break_the_chain() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = filled(dir.path(), 3).await;
    let whole = fs::read(&segment).expect("the segment");
    let first = layout::HEADER..layout::HEADER + layout::FRAME + 11;
    let without = [&whole[..first.start], &whole[first.end..]].concat();
    fs::write(&segment, without).expect("remove");
    assert!(matches!(read(dir.path()), Err(Error::Broken { position: 1, .. })));
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_log, _) = Log::open(dir.path(), |_, _| Ok(())).expect("opens");
    assert!(matches!(Log::open(dir.path(), |_, _| Ok(())), Err(Error::Locked(_))));
}

#[tokio::test]
async fn concurrent_appends_share_syncs_and_keep_their_own_positions() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = Log::open(dir.path(), |_, _| Ok(())).expect("opens");
    let appends = (0..500_u32).map(|number| {
        let log = log.clone();
        tokio::spawn(async move { log.append(vec![number.to_le_bytes().to_vec(), b"second".to_vec()]).await })
    });
    let mut positions = Vec::new();
    for append in appends.collect::<Vec<_>>() {
        positions.push(append.await.expect("task").expect("durable"));
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=500).map(|pair| pair * 2).collect::<Vec<_>>());
    assert_eq!(log.durable(), 1_000);
}

#[tokio::test]
async fn a_record_is_read_back_by_its_place_while_the_log_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (told, records) = std::sync::mpsc::channel();
    let follow = |_| -> Result<Follower, Error> {
        Ok(Box::new(move |more| more.into_iter().for_each(|it| told.send(it).expect("heard"))))
    };
    let (log, _) = Log::open_with(dir.path(), |_, _, _| Ok(()), follow).expect("opens");
    // Around the length of the first read, frame included, and far beyond it.
    let sizes = [0, 1, 4_055, 4_056, 4_057, 300_000, 7];
    log.append(sizes.iter().map(|&size| vec![0x5a_u8; size])).await.expect("durable");
    log.append(vec![b"last".to_vec()]).await.expect("durable");

    let mut reader = Reader::new(dir.path());
    let records: Vec<Record> = records.try_iter().collect();
    assert_eq!(records.len(), sizes.len() + 1);
    for record in &records {
        assert_eq!(reader.payload(record.place).expect("whole"), record.payload);
    }
    let mut scanned = Vec::new();
    drop(log);
    let visit = |_, place, payload: &[u8]| {
        scanned.push((place, payload.to_vec()));
        Ok(())
    };
    let again = Log::open_with(dir.path(), visit, |_| Ok(Box::new(|_| {})));
    again.expect("opens again");
    assert_eq!(scanned, records.into_iter().map(|record| (record.place, record.payload.to_vec())).collect::<Vec<_>>());

    let segment = segment_path(dir.path(), 1);
    let mut bytes = fs::read(&segment).expect("the segment");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&segment, bytes).expect("flip");
    let place = scanned.last().expect("the last record").0;
    assert!(matches!(reader.payload(place), Err(Error::Broken { .. })));
}
