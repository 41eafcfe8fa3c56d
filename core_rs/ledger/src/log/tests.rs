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
            // In the last record a flip looks like a torn write; the index tells them apart.
            Ok((records, _)) => assert!(records.len() == 4 && at >= whole.len() - FRAME_5, "byte {at} went unnoticed"),
        }
    }
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
