//! The handle that everything outside talks to, and what all drivers share.

mod approvals;
mod approvers;
mod freezes;
mod grants;
mod policy;
mod reconcile;
mod runs;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cmdop_contract::reason;
use cmdop_contract::redact::Redacted;
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    self, Approval, Call, CallProposed, Event, Host, HostHello, Proposal, Reason, event, server_to_host,
};
use cmdop_contract::validate::{self, Limits, Violations};
use cmdop_contract::{digest, fold, life};
use cmdop_ledger::{Claim, Entry, Ledger};
use cmdop_policy::engine::Engine;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use crate::call::{Driver, Fresh, Ticket, awaits_measurement, internal};
use crate::hosts::{Attachment, Hosts};
use crate::judge::{Foresight, Judge};
use crate::live::{Input, Live};
use crate::options::Options;
use approvers::Approvers;
use policy::Policy;

pub(crate) use freezes::{changes, may_change};
pub use policy::PolicySource;

/// Changes of approvals that a slow watcher may lag behind before it must list them again.
const APPROVAL_BACKLOG: usize = 1_024;

/// The loop of every call on this server. A cheap handle.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

/// What all drivers share.
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) policy: Policy,
    pub(crate) approvers: Approvers,
    pub(crate) registry: Registry,
    pub(crate) limits: Limits,
    pub(crate) options: Options,
    pub(crate) foresight: Foresight,
    pub(crate) hosts: Hosts,
    live: Mutex<HashMap<String, Arc<Live>>>,
    drivers: Mutex<JoinSet<()>>,
    approvals: broadcast::Sender<Approval>,
    draining: AtomicBool,
}

impl Gate {
    /// Starts a gate over a ledger and gives the ledger's open calls drivers again.
    ///
    /// Must be called within a tokio runtime; the drivers run on it.
    ///
    /// # Errors
    /// What the ledger says if it cannot be read; INVALID_CONFIGURATION for approvers that are none.
    pub async fn start(
        options: Options,
        ledger: Ledger,
        engine: Engine,
        registry: Registry,
        judge: Arc<dyn Judge>,
    ) -> Result<Self, v1::Error> {
        let foresight = Foresight::new(
            judge,
            options.judgement_ttl,
            options.vocabulary_version.clone(),
            options.remembered_predictions,
        );
        let loaded_at = ledger.now();
        let shared = Shared {
            ledger,
            policy: Policy::new(engine, options.autonomy.clone(), loaded_at),
            approvers: Approvers::new(&options.approvers)?,
            registry,
            limits: Limits::default(),
            options,
            foresight,
            hosts: Hosts::default(),
            live: Mutex::default(),
            drivers: Mutex::default(),
            approvals: broadcast::Sender::new(APPROVAL_BACKLOG),
            draining: AtomicBool::new(false),
        };
        let gate = Self { shared: Arc::new(shared) };
        gate.shared.hosts.remember(gate.shared.ledger.hosts().await?);
        for call in gate.shared.ledger.open_calls().await? {
            gate.drive(&mut gate.shared.live.lock(), call, None);
        }
        let started = v1::ServerStarted {
            version: env!("CARGO_PKG_VERSION").into(),
            policy_version: gate.shared.policy.engine().version().into(),
            vocabulary_version: gate.shared.options.vocabulary_version.clone(),
        };
        gate.append(String::from("server"), event::Kind::ServerStarted(started)).await?;
        Ok(gate)
    }

    /// Takes a proposal and starts its driver. The call goes on whether or not anyone waits.
    ///
    /// The same key with the same action joins the call that has it, unless that is over, changed nothing and may
    /// come again: then it begins anew.
    ///
    /// # Errors
    /// DRAINING, LOAD_SHED, KEY_CONFLICT. What is wrong with the action comes through the ticket.
    pub async fn submit(&self, mut proposal: Proposal) -> Result<Ticket, v1::Error> {
        // Only a person who answers an approval puts something in a call's place.
        proposal.replaces = None;
        self.submit_instead(proposal).await
    }

    /// The same for what a person put in the place of another call.
    pub(crate) async fn submit_instead(&self, mut proposal: Proposal) -> Result<Ticket, v1::Error> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(reason::error(Reason::Draining, "the server is stopping; try again with the same key"));
        }
        complete(&mut proposal);
        let call_id = new_id();
        let action_digest = digest::action_digest(proposal.action.get_or_insert_default());
        // What is refused for its size is recorded by its length and digest; the driver is told the whole once.
        let oversized = validate::abridged(&proposal, &self.shared.limits)
            .map(|short| Box::new(std::mem::replace(&mut proposal, short)));
        let tenant = proposal.actor.as_ref().map(|actor| actor.tenant.clone()).unwrap_or_default();
        let key = proposal.idempotency_key.clone();
        let proposed = CallProposed { proposal: Some(proposal), action_digest: action_digest.clone() };
        let event = Event {
            at: self.shared.ledger.now(),
            subject: call_id.clone(),
            kind: Some(event::Kind::CallProposed(proposed)),
        };
        let (event, whole) = Redacted::proposed(event);
        let entry = Entry::from(&event);
        let mut call = Call::default();
        fold::apply(&mut call, event.into_inner()).map_err(|error| internal(&error.to_string()))?;
        let mut clear = None;
        loop {
            let claim = {
                // One lock over claim and driver: whoever finds the key taken finds its call, too.
                let mut live = self.shared.live.lock();
                if live.len() >= self.shared.options.max_open_calls {
                    return Err(
                        reason::error(Reason::LoadShed, "too many calls are open; try again later").retry_after(500)
                    );
                }
                let claim = self.shared.ledger.claim((&tenant, &key), &action_digest, &call_id, clear);
                if claim == Claim::New {
                    return Ok(self.drive(&mut live, call, Some(Fresh { entry, oversized, whole })));
                }
                claim
            };
            let whose = match claim {
                Claim::Spent(mark) => {
                    clear = Some(mark.position);
                    self.shared.ledger.spender((&tenant, &key), &action_digest, mark).await?
                }
                claim => Some(claim),
            };
            match whose {
                Some(Claim::Same(earlier)) => return self.join(&earlier).await,
                Some(Claim::Conflict(earlier)) => return Err(conflict(&key, &earlier)),
                Some(Claim::New | Claim::Spent(_)) | None => {}
            }
        }
    }

    /// Proposes and waits: until the call is settled or held, or with `for_decision` only until it
    /// is settled or unknown.
    ///
    /// # Errors
    /// Why the call could not be taken: malformed, unknown tool or host, storage.
    pub async fn propose(&self, proposal: Proposal, for_decision: bool) -> Result<Arc<Call>, v1::Error> {
        let mut ticket = self.submit(proposal).await?;
        if for_decision { ticket.settled_or_unknown().await } else { ticket.held_or_settled().await }
    }

    /// A ticket for a call that exists.
    ///
    /// # Errors
    /// UNKNOWN_CALL.
    pub async fn follow(&self, call_id: &str) -> Result<Ticket, v1::Error> {
        let Some(live) = self.live(call_id) else { return self.join(call_id).await };
        let ticket = Ticket::follow(live);
        if ticket.lags() { Ok(ticket.caught_up(self.stored(call_id).await?)) } else { Ok(ticket) }
    }

    /// A ticket for the end of a call that exists.
    async fn join(&self, call_id: &str) -> Result<Ticket, v1::Error> {
        match self.live(call_id) {
            Some(live) => Ok(Ticket::wait(live)),
            None => Ok(Ticket::settled(self.stored(call_id).await?)),
        }
    }

    /// A call as it is now.
    ///
    /// # Errors
    /// UNKNOWN_CALL.
    pub async fn call(&self, call_id: &str) -> Result<Arc<Call>, v1::Error> {
        Ok(self.follow(call_id).await?.now())
    }

    /// A page of the calls that are durable, newest first, each abridged.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn calls(&self, request: v1::ListCallsRequest) -> Result<v1::ListCallsResponse, v1::Error> {
        Ok(self.shared.ledger.calls(request).await?)
    }

    /// Stops a call: a held one is rejected, a running one killed. Settled calls stay as they are.
    ///
    /// # Errors
    /// UNKNOWN_CALL, INVALID_ACTION for a reason that is too long.
    pub async fn cancel(&self, call_id: &str, why: &str) -> Result<Arc<Call>, v1::Error> {
        let mut found = Violations::new(1);
        found.check_text("/why", why, self.shared.limits.intent_chars);
        found.into_result()?;
        self.notify(call_id, Input::Cancel { why: why.to_owned() }).await;
        self.join(call_id).await?.settled_or_unknown().await
    }

    /// Attaches a host; frames for it go into `frames`.
    ///
    /// # Errors
    /// UNSUPPORTED_PROTOCOL, or PROTOCOL_VIOLATION if the name is none or taken.
    pub fn attach(
        &self,
        hello: HostHello,
        frames: mpsc::Sender<v1::ServerToHost>,
    ) -> Result<(Attachment, u32), v1::Error> {
        Attachment::new(self.clone(), hello, frames)
    }

    /// All hosts that ever attached.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        let engine = self.shared.policy.engine();
        self.shared.hosts.list().iter().map(|host| engine.labelled(host)).collect()
    }

    /// One host.
    ///
    /// # Errors
    /// UNKNOWN_HOST.
    pub fn host(&self, name: &str) -> Result<Arc<Host>, v1::Error> {
        let host = self.shared.hosts.get(name)?;
        Ok(Arc::new(self.shared.policy.engine().labelled(&host)))
    }

    /// The registered tools.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Everything recorded about a call or a run.
    ///
    /// # Errors
    /// UNKNOWN_CALL.
    pub async fn trace(&self, id: &str) -> Result<v1::Trace, v1::Error> {
        let found = self.shared.ledger.trace(id).await?;
        found.ok_or_else(|| unknown_call(id))
    }

    /// Takes no new calls and waits until none works any more. Held calls are left to the next life.
    pub async fn drain(&self, deadline: Duration) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let working: Vec<_> = self.shared.live.lock().values().cloned().collect();
        let all = async {
            for live in working {
                // An error is an end, too.
                let _ = Ticket::wait(live).held_or_settled().await;
            }
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("calls were still working when the drain ended; the next start goes on with them");
        }
        self.shared.drivers.lock().abort_all();
    }

    /// Calls that are open now.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.shared.live.lock().len()
    }
}

impl Gate {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn drive(&self, open: &mut HashMap<String, Arc<Live>>, call: Call, fresh: Option<Fresh>) -> Ticket {
        let call = Arc::new(call);
        let (live, reins) = Live::new(call.clone());
        open.insert(call.call_id.clone(), live.clone());
        let driver = Driver::new(self.clone(), live.clone(), reins, call, fresh);
        let mut drivers = self.shared.drivers.lock();
        while drivers.try_join_next().is_some() {}
        // In a box of its own: as part of its task it would be copied about, and aligned like one.
        drivers.spawn(Box::pin(driver.run()));
        Ticket::wait(live)
    }

    fn live(&self, call_id: &str) -> Option<Arc<Live>> {
        self.shared.live.lock().get(call_id).cloned()
    }

    /// Does a driver still work on it?
    pub(crate) fn is_open(&self, call_id: &str) -> bool {
        self.live(call_id).is_some()
    }

    pub(crate) fn retire(&self, call_id: &str) {
        self.shared.live.lock().remove(call_id);
    }

    pub(crate) async fn stored(&self, call_id: &str) -> Result<Call, v1::Error> {
        self.shared.ledger.call(call_id).await?.ok_or_else(|| unknown_call(call_id))
    }

    /// Hands an input to a call's driver. False if the call has none.
    pub(crate) async fn notify(&self, call_id: &str, input: Input) -> bool {
        let Some(live) = self.live(call_id) else { return false };
        live.inputs.send(input).await.is_ok()
    }

    /// Hands what a host says to the driver of one of its own calls. Gives it back if there is none.
    pub(crate) async fn notify_from(&self, host: &str, call_id: &str, input: Input) -> Result<(), Input> {
        let Some(live) = self.live(call_id).filter(|live| live.host == host) else { return Err(input) };
        live.inputs.send(input).await.map_err(|unsent| unsent.0)
    }

    /// Answers a report that no driver waits for. Only what the ledger knows to be over is
    /// acknowledged: a call whose driver failed still needs the report in its next life.
    pub(crate) async fn answer_late(&self, host: &str, report: &v1::Report) {
        let Ok(Some(call)) = self.shared.ledger.call(&report.call_id).await else { return };
        let own = call.permits.iter().any(|permit| permit.permit_id == report.permit_id && permit.host == host);
        if !own || !life::is_final(call.state()) {
            tracing::warn!(host, call = %report.call_id, "a report that belongs to no settled call of this host");
            return;
        }
        if report.layer_held {
            let discard = v1::Discard { call_id: report.call_id.clone() };
            let _ = self.shared.hosts.send(host, server_to_host::Kind::Discard(discard));
        }
        if awaits_measurement(&call, report).is_some() {
            return self.take_measured(call, report.clone());
        }
        self.acknowledge(host, report.permit_id.clone());
    }

    /// Has what a host measured recorded of a call that a person's word settled. It is acknowledged once it is durable;
    /// until then the host reports it with each attachment.
    fn take_measured(&self, call: Call, report: v1::Report) {
        let mut open = self.shared.live.lock();
        if open.contains_key(&call.call_id) {
            return;
        }
        let call = Arc::new(call);
        let (live, reins) = Live::new(call.clone());
        open.insert(call.call_id.clone(), live.clone());
        let driver = Driver::new(self.clone(), live, reins, call, None);
        self.shared.drivers.lock().spawn(Box::pin(driver.run_measured(report)));
    }

    pub(crate) async fn notify_host_calls(&self, host: &str, input: impl Fn() -> Input) {
        let concerned: Vec<_> = self.shared.live.lock().values().filter(|live| live.host == host).cloned().collect();
        for live in concerned {
            let _ = live.inputs.send(input()).await;
        }
    }

    pub(crate) fn push_output(&self, host: &str, output: v1::Output) {
        // A host speaks for its own calls only.
        if let Some(live) = self.live(&output.call_id).filter(|live| live.host == host) {
            live.output.push(output);
        }
    }

    pub(crate) fn acknowledge(&self, host: &str, permit_id: String) {
        // A host that is away asks again when it is back.
        let _ = self.shared.hosts.send(host, server_to_host::Kind::Acknowledge(v1::Acknowledge { permit_id }));
    }

    pub(crate) fn note_host_attached(&self, host: Host) {
        self.note(host.name.clone(), event::Kind::HostAttached(v1::HostAttached { host: Some(host) }));
    }

    pub(crate) fn note_host_detached(&self, name: &str) {
        let detached = v1::HostDetached { host: name.into(), why: "the link ended".into() };
        self.note(name.to_owned(), event::Kind::HostDetached(detached));
        let (gate, name) = (self.clone(), name.to_owned());
        self.shared.drivers.lock().spawn(async move { gate.notify_host_calls(&name, || Input::Detached).await });
    }

    /// Records what nobody waits for.
    fn note(&self, subject: String, kind: event::Kind) {
        let gate = self.clone();
        self.shared.drivers.lock().spawn(async move {
            if let Err(error) = gate.append_sparing(subject, kind).await {
                tracing::error!(error = %error.message, "an event could not be recorded");
            }
        });
    }

    async fn append(&self, subject: String, kind: event::Kind) -> Result<(), v1::Error> {
        let event = Event { at: self.shared.ledger.now(), subject, kind: Some(kind) };
        self.shared.ledger.append(&mut vec![Entry::from(&event)]).await?;
        Ok(())
    }

    /// As [`Self::append`], for what begins something or nobody waits for.
    async fn append_sparing(&self, subject: String, kind: event::Kind) -> Result<(), v1::Error> {
        let event = Event { at: self.shared.ledger.now(), subject, kind: Some(kind) };
        self.shared.ledger.append_sparing(&mut vec![Entry::from(&event)]).await?;
        Ok(())
    }
}

/// Fills what a proposal leaves to the server.
fn complete(proposal: &mut Proposal) {
    let actor = proposal.actor.get_or_insert_default();
    if actor.tenant.is_empty() {
        actor.tenant = "local".into();
    }
    if proposal.idempotency_key.is_empty() {
        proposal.idempotency_key = new_id();
    }
    proposal.author_attempt = proposal.author_attempt.max(1);
}

fn conflict(key: &str, earlier: &str) -> v1::Error {
    let message = format!("the key `{key}` belongs to call {earlier}, which is another action; use a new key");
    let error = reason::error(Reason::KeyConflict, message);
    let error = error.fix_arguments("/idempotency_key", "a new key, or none: this one names another action for good");
    error.call_id(earlier)
}

fn unknown_call(id: &str) -> v1::Error {
    reason::error(Reason::UnknownCall, format!("no call or run `{id}` is recorded"))
}

fn new_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
