//! The gate's judge: asks Python through the queue, and hears the answer by id.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cmdop_contract::v1::{JudgementReply, JudgementRequest};
use cmdop_gate::{BoxFuture, Judge};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;

use crate::queue::{Item, Kind};
use crate::requests::Requests;

/// Judgements that Python has been asked for and has not given.
pub struct PythonJudge {
    requests: Arc<Requests>,
    asked: Arc<Asked>,
}

#[derive(Default)]
struct Asked(Mutex<HashMap<u64, oneshot::Sender<JudgementReply>>>);

impl PythonJudge {
    /// Asks over this queue.
    #[must_use]
    pub fn new(requests: Arc<Requests>) -> Self {
        Self { requests, asked: Arc::default() }
    }

    /// Hands an answer to whoever waits for it. False if nobody does any more.
    pub fn answer(&self, reply: JudgementReply) -> bool {
        let waiting = self.asked.0.lock().remove(&reply.id);
        waiting.is_some_and(|waiting| waiting.send(reply).is_ok())
    }
}

impl Judge for PythonJudge {
    fn judge(&self, request: JudgementRequest) -> BoxFuture<Option<JudgementReply>> {
        let (requests, asked) = (Arc::clone(&self.requests), Arc::clone(&self.asked));
        Box::pin(async move {
            let id = request.id;
            let (answer, answered) = oneshot::channel();
            asked.0.lock().insert(id, answer);
            // The gate drops this future at its deadline; nothing may stay behind then.
            let _forget = Forget { id, asked: &asked };
            let payload = Bytes::from(request.encode_to_vec());
            requests.queue().push(Item { kind: Kind::Judgement, id, payload }).await.ok()?;
            answered.await.ok()
        })
    }
}

struct Forget<'a> {
    id: u64,
    asked: &'a Asked,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.asked.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    fn judge() -> PythonJudge {
        PythonJudge::new(Arc::new(Requests::new(Queue::new(8).expect("queue"), 8)))
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked() {
        let judge = judge();
        let waiting = tokio::spawn(judge.judge(JudgementRequest { id: 7, ..JudgementRequest::default() }));
        let item = loop {
            if let Some(item) = judge.requests.drain(1).pop() {
                break item;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((item.kind, item.id), (Kind::Judgement, 7));
        assert!(judge.answer(JudgementReply { id: 7, judgements: Vec::new() }));
        assert_eq!(waiting.await.expect("not cancelled").map(|reply| reply.id), Some(7));
    }

    #[tokio::test]
    async fn an_answer_after_the_deadline_is_dropped() {
        let judge = judge();
        let mut waiting = judge.judge(JudgementRequest { id: 7, ..JudgementRequest::default() });
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(waiting);
        assert!(!judge.answer(JudgementReply { id: 7, judgements: Vec::new() }));
    }

    #[tokio::test]
    async fn a_closed_queue_means_that_nobody_can_be_asked() {
        let judge = judge();
        judge.requests.queue().close();
        assert!(judge.judge(JudgementRequest::default()).await.is_none());
    }
}
