//! Calls: propose, read, follow, cancel.

use std::sync::Arc;

use cmdop_contract::v1::{self, Call, CallState, CallUpdate, call_update};
use cmdop_gate::{OutputReader, Ticket};
use futures::stream;
use tonic::{Request, Response, Status};

use super::identity::user;
use super::{BoxStream, Context, refused, until_drained};
use crate::answer::Room;
use crate::frame::SharedCall;
use crate::proto::calls_server::Calls;

#[tonic::async_trait]
impl Calls for Context {
    type WatchStream = BoxStream<CallUpdate>;

    /// The call is driven by the gate: a client that goes away only stops waiting for it.
    async fn propose(&self, request: Request<v1::ProposeRequest>) -> Result<Response<SharedCall>, Status> {
        self.proposes(&request)?;
        let room = Room::of(request.metadata());
        let v1::ProposeRequest { proposal, wait_for_decision } = request.into_inner();
        // A missing proposal is an empty one, which validation answers with all that is missing.
        let call = self.gate.propose(proposal.unwrap_or_default(), wait_for_decision).await;
        answer(call, room).await
    }

    async fn get(&self, request: Request<v1::GetCallRequest>) -> Result<Response<SharedCall>, Status> {
        let room = Room::of(request.metadata());
        answer(self.gate.call(&request.get_ref().call_id).await, room).await
    }

    async fn list(&self, request: Request<v1::ListCallsRequest>) -> Result<Response<v1::ListCallsResponse>, Status> {
        self.gate.calls(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn watch(&self, request: Request<v1::WatchCallRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let room = Room::of(request.metadata());
        let v1::WatchCallRequest { call_id, output_from } = request.into_inner();
        let ticket = self.gate.follow(&call_id).await.map_err(refused)?;
        let watch = Watch { output: ticket.output(output_from), ticket, told: None, next: None, room };
        let updates = stream::unfold(Some(watch), |watch| async { watch?.step().await });
        Ok(Response::new(until_drained(updates, self.streams.clone())))
    }

    async fn cancel(&self, request: Request<v1::CancelCallRequest>) -> Result<Response<SharedCall>, Status> {
        let room = Room::of(request.metadata());
        let v1::CancelCallRequest { call_id, why } = request.into_inner();
        answer(self.gate.cancel(&call_id, &why).await, room).await
    }

    async fn reconcile(&self, request: Request<v1::ReconcileCallRequest>) -> Result<Response<SharedCall>, Status> {
        self.identified(&request, user(request.get_ref().by.as_ref()))?;
        let room = Room::of(request.metadata());
        answer(self.gate.reconcile(request.into_inner()).await, room).await
    }
}

async fn answer(call: Result<Arc<Call>, v1::Error>, room: Room) -> Result<Response<SharedCall>, Status> {
    Ok(Response::new(SharedCall(room.call(call.map_err(refused)?).await)))
}

/// Follows one call. It takes what there is when the client has room for it: of a call's states a
/// slow client sees the latest, of its output what is still kept. Nothing waits for it.
struct Watch {
    ticket: Ticket,
    output: Option<OutputReader>,
    /// The state that was told last.
    told: Option<Arc<Call>>,
    /// A state to tell after the output that came before it.
    next: Option<Arc<Call>>,
    room: Room,
}

type Step = Option<(Result<CallUpdate, Status>, Option<Watch>)>;

impl Watch {
    async fn step(mut self) -> Step {
        if self.told.is_none() {
            let now = self.ticket.now();
            return self.tell(now).await;
        }
        loop {
            if let Some(call) = self.next.take() {
                if is_final(&call)
                    && let Some(output) = self.output.as_mut().and_then(OutputReader::ready)
                {
                    self.next = Some(call);
                    return self.pass(output);
                }
                return self.tell(call).await;
            }
            tokio::select! {
                biased;
                changed = self.ticket.changed() => match changed {
                    Some(call) if self.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &call)) => {}
                    Some(call) => self.next = Some(call),
                    None => return self.last_words().await,
                },
                Some(output) = next_output(self.output.as_mut()) => return self.pass(output),
            }
        }
    }

    async fn tell(mut self, call: Arc<Call>) -> Step {
        self.told = Some(call.clone());
        let kind = call_update::Kind::Call(Arc::unwrap_or_clone(self.room.call(call).await));
        Some((Ok(CallUpdate { kind: Some(kind) }), Some(self)))
    }

    fn pass(self, output: v1::Output) -> Step {
        let kind = call_update::Kind::Output(output);
        Some((Ok(CallUpdate { kind: Some(kind) }), Some(self)))
    }

    /// The call changes no more: what is left of its output, and why it failed to be taken.
    async fn last_words(mut self) -> Step {
        if let Some(output) = self.output.as_mut().and_then(OutputReader::ready) {
            return self.pass(output);
        }
        let failure = self.ticket.settled_or_unknown().await.err()?;
        Some((Err(refused(failure)), None))
    }
}

async fn next_output(output: Option<&mut OutputReader>) -> Option<v1::Output> {
    match output {
        Some(output) => output.next().await,
        None => std::future::pending().await,
    }
}

fn is_final(call: &Call) -> bool {
    matches!(call.state(), CallState::Applied | CallState::NotApplied)
}
