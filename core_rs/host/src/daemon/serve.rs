//! The daemon's loop: frames in, one task per permit, reports out, drain.

use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::v1::{
    Execute, Forgotten, HostDraining, HostToServer, Inquire, Permit, Reason, ServerToHost, host_to_server,
    server_to_host,
};
use prost::Message;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Arrived, Daemon, Shared, execute};
use crate::Error;
use crate::admit::Known;

/// How long running commands may take to end by themselves when the daemon drains.
const DRAIN: Duration = Duration::from_secs(10);

/// How long what was killed may take to be measured and reported.
const KILL: Duration = Duration::from_secs(5);

/// Tasks at the same time, answers that wait for the link included. Beyond it frames wait.
const MAX_TASKS: usize = 1_024;

/// How often old layers are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

impl Daemon {
    /// Serves permits until `drain` is cancelled and what runs has ended, or `inbound` closes.
    ///
    /// Each attachment begins with the server's welcome; unacknowledged reports are sent again
    /// then. Frames may be lost between the daemon and the server: everything that matters is
    /// durable first.
    ///
    /// # Errors
    /// A ledger that takes no more records: the daemon must not go on, and what it left without a
    /// report is settled when it starts again.
    pub async fn run(
        self,
        mut inbound: Receiver<ServerToHost>,
        outbound: Sender<HostToServer>,
        drain: CancellationToken,
    ) -> Result<(), Error> {
        let shared = self.shared;
        shared.machine.recover(&shared.keys).await?;
        let mut serving = Serving { shared, outbound, tasks: JoinSet::new(), taken: 0, is_draining: false };
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = Instant::now();
        // What came before the drain is still taken in, acknowledgements above all.
        while !(serving.is_draining && serving.tasks.is_empty() && inbound.is_empty()) {
            tokio::select! {
                frame = inbound.recv(), if serving.tasks.len() < MAX_TASKS => match frame {
                    Some(frame) => serving.take(frame),
                    None => break,
                },
                Some(ended) = serving.tasks.join_next() => settled(ended)?,
                _ = housekeeping.tick() => {
                    let shared = serving.shared.clone();
                    serving.tasks.spawn(async move { shared.machine.tidy(&shared.keys).await });
                }
                () = drain.cancelled(), if !serving.is_draining => {
                    serving.is_draining = true;
                    deadline = Instant::now() + DRAIN;
                    // A full queue means that nobody reads; the link ends with the daemon anyway.
                    let _ = serving.outbound.try_send(frame(host_to_server::Kind::Draining(HostDraining {})));
                }
                () = sleep_until(deadline), if serving.is_draining => break,
            }
        }
        serving.stop().await
    }
}

/// The loop's own state.
struct Serving {
    shared: Arc<Shared>,
    outbound: Sender<HostToServer>,
    /// Every task that the daemon started. An error in one means that the ledger is lost.
    tasks: JoinSet<Result<(), Error>>,
    /// Permits so far.
    taken: u64,
    is_draining: bool,
}

impl Serving {
    /// Never waits: whatever takes time becomes a task.
    fn take(&mut self, frame: ServerToHost) {
        use server_to_host::Kind;
        let (shared, outbound) = (self.shared.clone(), self.outbound.clone());
        match frame.kind {
            Some(Kind::Welcome(_)) => {
                self.tasks.spawn(async move { resend(&shared, &outbound).await });
            }
            Some(Kind::Execute(Execute { permit })) => {
                let permit = permit.unwrap_or_default();
                let is_draining = self.is_draining;
                let (number, stop) = (self.taken, CancellationToken::new());
                self.taken += 1;
                // An inquiry or a cancel may be right behind, and be met before the task has begun.
                let Permit { permit_id, call_id, .. } = Permit::decode(permit.permit.as_slice()).unwrap_or_default();
                shared.arrived.lock().insert(number, Arrived { permit_id, call_id, stop: stop.clone() });
                self.tasks.spawn(async move {
                    let done = execute::execute(shared.clone(), permit, stop, outbound, is_draining).await;
                    shared.arrived.lock().remove(&number);
                    done
                });
            }
            Some(Kind::Discard(discard)) => {
                self.tasks.spawn(async move { shared.machine.drop_held(&shared.keys, &discard.call_id).await });
            }
            Some(Kind::Cancel(cancel)) => shared.cancel(&cancel.call_id),
            Some(Kind::Acknowledge(acknowledge)) => {
                self.tasks.spawn(async move { shared.keys.acknowledged(&acknowledge.permit_id).await });
            }
            Some(Kind::Inquire(inquire)) => {
                self.tasks.spawn(async move { answer(&shared, &outbound, inquire).await });
            }
            Some(Kind::Error(error)) => tracing::warn!(error = error.message, "the server ends the link"),
            Some(Kind::Heartbeat(_)) | None => {}
        }
    }

    /// Kills what still runs and waits for its reports, within bounds.
    async fn stop(mut self) -> Result<(), Error> {
        self.shared.cancel_all();
        let ended = timeout(KILL, async {
            while let Some(ended) = self.tasks.join_next().await {
                settled(ended)?;
            }
            Ok(())
        });
        let done = ended.await.unwrap_or_else(|_| {
            tracing::warn!(tasks = self.tasks.len(), "stopping although not everything has ended");
            Ok(())
        });
        if timeout(KILL, self.shared.machine.end_all()).await.is_err() {
            tracing::warn!("stopping although not everything that was left running has ended");
        }
        done
    }
}

/// A task that failed or panicked stops the daemon: the truth about it is found at the next start.
fn settled(ended: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
    match ended {
        Ok(done) => done,
        Err(error) => Err(Error::stop(Reason::Internal, format!("a task of the host daemon failed: {error}"))),
    }
}

/// Sends every unacknowledged report again.
async fn resend(shared: &Shared, outbound: &Sender<HostToServer>) -> Result<(), Error> {
    for report in shared.keys.unacknowledged() {
        send(outbound, host_to_server::Kind::Report(report)).await;
    }
    Ok(())
}

async fn answer(shared: &Shared, outbound: &Sender<HostToServer>, inquire: Inquire) -> Result<(), Error> {
    match shared.keys.inquire(&inquire.permit_id) {
        Known::Settled(report) => send(outbound, host_to_server::Kind::Report(*report)).await,
        // Its report follows.
        Known::Running => {}
        Known::Nothing if shared.arrived.lock().values().any(|it| it.permit_id == inquire.permit_id) => {}
        Known::Nothing => {
            let forgotten =
                Forgotten { permit_id: inquire.permit_id, call_id: inquire.call_id, ledger: shared.keys.since() };
            send(outbound, host_to_server::Kind::Forgotten(forgotten)).await;
        }
    }
    Ok(())
}

/// Hands a frame to the link. What is lost there is sent again or asked for again.
pub(super) async fn send(outbound: &Sender<HostToServer>, kind: host_to_server::Kind) {
    if outbound.send(frame(kind)).await.is_err() {
        tracing::debug!("the link is gone");
    }
}

pub(super) fn frame(kind: host_to_server::Kind) -> HostToServer {
    HostToServer { kind: Some(kind) }
}

impl Shared {
    fn cancel(&self, call_id: &str) {
        self.arrived.lock().values().filter(|it| it.call_id == call_id).for_each(|it| it.stop.cancel());
    }

    fn cancel_all(&self) {
        self.arrived.lock().values().for_each(|it| it.stop.cancel());
    }
}
