//! What the index does while its disk is full: it waits for room, and answers all the same.
//!
//! A transaction needs no room before it ends. So the index's own thread puts the records that wait into one,
//! answers from it what was asked, and takes it back.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::{Fed, PATIENCE, Question, Reached, Reader, fill, is_full, put};
use crate::Error;
use crate::log::Record;

/// Time between two tries of an index whose disk is full.
const FULL: Duration = Duration::from_millis(500);

/// Fills the index; as long as its disk is full it waits for room, takes in what comes and answers what is asked:
/// the log goes on meanwhile. Returns the last position that it holds then, if that is another.
pub(super) fn fill_in_time(
    writer: &mut Reader,
    mut records: Vec<Record>,
    fed: &Receiver<Fed>,
    reached: &watch::Sender<Reached>,
) -> Result<Option<u64>, Error> {
    if records.is_empty() {
        return Ok(None);
    }
    let mut is_told = false;
    loop {
        match fill(&mut writer.db, &records) {
            Err(error) if is_full(&error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(%error, "the index waits for room on its disk; the log goes on");
                    reached.send_modify(|reached| reached.waits_for_room = true);
                }
                if !wait(writer, &mut records, fed) {
                    // A restart catches up.
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
            Ok(()) => return Ok(records.last().map(|record| record.head.position)),
        }
    }
}

/// Asks the index's thread.
pub(super) async fn ask<T: Send + 'static>(
    queue: &SyncSender<Fed>,
    question: impl FnOnce(&mut Reader) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, answered) = oneshot::channel();
    let ask: Question = Box::new(move |reader| {
        // Nobody waits for it any more.
        let _ = answer.send(question(reader));
    });
    // A queue that is full is read by nobody in time.
    queue.try_send(Fed::Ask(ask)).map_err(|_| Error::Behind)?;
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.map_err(|_| Error::Behind)?.map_err(|_| Error::Behind)?
}

/// Until it is worth another try. False if nobody feeds the index any more.
fn wait(writer: &mut Reader, records: &mut Vec<Record>, fed: &Receiver<Fed>) -> bool {
    let until = Instant::now() + FULL;
    loop {
        match fed.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Fed::Records(more)) => records.extend(more),
            Ok(Fed::Wanted) => {}
            Ok(Fed::Ask(question)) => answer(writer, records, question),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// Answers from a transaction that is taken back. Without one nobody is answered, and who asks says so in time.
fn answer(writer: &mut Reader, records: &[Record], question: Question) {
    let begun = writer.db.execute_batch("BEGIN").map_err(Error::from).and_then(|()| put(&writer.db, records));
    match begun {
        Ok(()) => question(writer),
        Err(error) => tracing::error!(%error, "the index cannot be asked while its disk is full"),
    }
    if !writer.db.is_autocommit() {
        let undone = writer.db.execute_batch("ROLLBACK");
        debug_assert!(undone.is_ok(), "{undone:?}");
    }
}
