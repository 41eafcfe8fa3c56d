//! Permits whose intents became durable together are signed together: one signature costs more than
//! all the rest of a permit.

use cmdop_contract::v1::SignedPermit;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::permit::Key;

/// Permits that one signature covers, at most.
const MOST: usize = 1_024;

/// Signs permits.
pub(crate) struct Signer {
    key: Key,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    permit: Vec<u8>,
    signed: oneshot::Sender<SignedPermit>,
}

impl Signer {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, waiting: Mutex::default() }
    }

    pub(crate) fn verifying_key(&self) -> [u8; 32] {
        self.key.verifying_key()
    }

    /// Signs an encoded permit, together with those that come while other tasks have their turn. Nobody
    /// waits for a permit that is not here yet.
    pub(crate) async fn sign(&self, permit: Vec<u8>) -> Option<SignedPermit> {
        let (signed, told) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            waiting.push(Waiting { permit, signed });
            waiting.len() == 1
        };
        if is_first {
            // The others rely on it, whether or not this task is given up meanwhile.
            let _turn = Turn(self);
            tokio::task::yield_now().await;
        }
        told.await.ok()
    }

    fn sign_waiting(&self) {
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(MOST));
            let (permits, told): (Vec<_>, Vec<_>) = waiting.into_iter().map(|it| (it.permit, it.signed)).unzip();
            for (permit, told) in self.key.sign(permits).into_iter().zip(told) {
                // Whoever was given up needs no permit.
                let _ = told.send(permit);
            }
            waiting = rest;
        }
    }
}

/// Signs what waits when it is over.
struct Turn<'a>(&'a Signer);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.sign_waiting();
    }
}
