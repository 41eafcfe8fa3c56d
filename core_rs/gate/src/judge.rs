//! What commands do is judged outside: here is the port, and the memory of what was judged.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::tool::COMMAND;
use cmdop_contract::v1::{self, Host, JudgementReply, JudgementRequest, Prediction, Reason};
use cmdop_contract::validate::Validated;
use cmdop_policy::predict::{Predictor, Step};
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::runtime::{Handle, RuntimeFlavor};

/// A future without a name.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Whoever knows what commands do.
pub trait Judge: Send + Sync + 'static {
    /// Answers a request, or `None` if nobody can be asked. The caller sets the deadline.
    fn judge(&self, request: JudgementRequest) -> BoxFuture<Option<JudgementReply>>;
}

/// Knows no command at all: every shell command is unanalysable.
#[derive(Debug, Clone, Copy)]
pub struct NoJudge;

impl Judge for NoJudge {
    fn judge(&self, request: JudgementRequest) -> BoxFuture<Option<JudgementReply>> {
        Box::pin(std::future::ready(Some(JudgementReply { id: request.id, judgements: Vec::new() })))
    }
}

/// Predicts effects, asking the judge only for what it has not judged before.
pub struct Foresight {
    judge: Arc<dyn Judge>,
    deadline: Duration,
    vocabulary_version: String,
    next_id: AtomicU64,
    remembered: Mutex<LruCache<[u8; 32], Prediction>>,
}

impl Foresight {
    /// Asks this judge, waits so long for an answer, and remembers so many predictions of that vocabulary.
    #[must_use]
    pub fn new(judge: Arc<dyn Judge>, deadline: Duration, vocabulary_version: String, size: usize) -> Self {
        let size = NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN);
        Self {
            judge,
            deadline,
            vocabulary_version,
            next_id: AtomicU64::new(1),
            remembered: Mutex::new(LruCache::new(size)),
        }
    }

    /// Predicts what a call would do on a host.
    ///
    /// # Errors
    /// MALFORMED_COMMAND from the gates; PREDICTION_FAILED if the judge does not answer in time.
    pub async fn predict(&self, validated: &Validated, host: &Host) -> Result<Prediction, v1::Error> {
        // What a native tool does follows from its arguments; nothing is worth remembering.
        if validated.tool().name() != COMMAND
            && let Step::Done(prediction) = Predictor::start(validated, &host.home)
        {
            return Ok(prediction);
        }
        let key = digest(validated, host, &self.vocabulary_version);
        if let Some(prediction) = self.remembered.lock().get(&key) {
            return Ok(prediction.clone());
        }
        let step = aside(|| Predictor::start(validated, &host.home));
        let (prediction, complete) = tokio::time::timeout(self.deadline, self.converse(step, host))
            .await
            .unwrap_or_else(|_| Err(unanswered("no answer came in time")))?;
        // What was left unanswered may be answered the next time.
        if complete {
            self.remembered.lock().put(key, prediction.clone());
        }
        Ok(prediction)
    }

    /// The prediction, and whether every question was answered.
    async fn converse(&self, mut step: Step, host: &Host) -> Result<(Prediction, bool), v1::Error> {
        let mut complete = true;
        loop {
            let (predictor, invocations) = match step {
                Step::Judge(predictor, invocations) => (predictor, invocations),
                Step::Done(mut prediction) => {
                    prediction.vocabulary_version.clone_from(&self.vocabulary_version);
                    return Ok((prediction, complete));
                }
                Step::Malformed(error) => return Err(error),
            };
            let asked = invocations.len();
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let request =
                JudgementRequest { id, invocations, home: host.home.clone(), workspaces: host.workspaces.clone() };
            let reply = self.judge.judge(request).await.ok_or_else(|| unanswered("it is not running"))?;
            complete &= reply.judgements.len() >= asked;
            step = aside(|| predictor.answer(reply.judgements));
        }
    }
}

/// Reading a command is bounded work, but a hostile one may need a good part of a second: nobody else waits.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn unanswered(why: &str) -> v1::Error {
    let message = format!("the command vocabulary could not be asked ({why}), so nothing runs; try again");
    reason::error(Reason::PredictionFailed, message)
}

/// What a prediction depends on, besides the code: the arguments, the host's directories, the vocabulary.
fn digest(validated: &Validated, host: &Host, vocabulary_version: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    let action = validated.proposal().action.as_ref();
    let (tool, arguments) = action.map_or(("", ""), |action| (action.tool.as_str(), action.arguments_json.as_str()));
    let named = [tool, arguments, &host.home, vocabulary_version];
    for part in named.into_iter().chain(host.workspaces.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
