//! Approvals: what waits for a person.

use cmdop_contract::v1::{self, Approval, ApprovalStatus};
use cmdop_gate::Gate;
use futures::{StreamExt as _, stream};
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::{Request, Response, Status};

use super::{BoxStream, Context, refused, until_drained};
use crate::answer::Room;
use crate::error::Error;
use crate::proto::approvals_server::Approvals;

#[tonic::async_trait]
impl Approvals for Context {
    type WatchStream = BoxStream<Approval>;

    async fn list(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        self.gate.approvals(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn get(&self, request: Request<v1::GetApprovalRequest>) -> Result<Response<Approval>, Status> {
        let room = Room::of(request.metadata());
        let approval = self.gate.approval(&request.get_ref().approval_id).await.map_err(refused)?;
        Ok(Response::new(room.approval(approval).await))
    }

    async fn decide(&self, request: Request<v1::DecideApprovalRequest>) -> Result<Response<Approval>, Status> {
        self.identified(&request, &request.get_ref().approver)?;
        let room = Room::of(request.metadata());
        // A decision that has begun is not undone by its approver going away.
        let gate = self.gate.clone();
        let decided = tokio::spawn(async move { gate.decide_approval(request.into_inner()).await }).await;
        let approval = decided.map_err(|_| super::draining())?.map_err(refused)?;
        Ok(Response::new(room.approval(approval).await))
    }

    async fn watch(&self, request: Request<v1::WatchApprovalsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let room = Room::of(request.metadata());
        // First subscribe, then list: a change in between is told twice and never missed.
        let changes = self.gate.watch_approvals();
        let mut pending = pending(&self.gate).await.map_err(refused)?;
        pending.reverse();
        let gate = self.gate.clone();
        // Each is read when its turn comes: together they may be larger than memory.
        let pending = stream::iter(pending).then(move |id| {
            let gate = gate.clone();
            async move { gate.approval(&id).await.map_err(refused) }
        });
        // What was answered by then is told as a change.
        let still = |found: &Result<Approval, Status>| {
            std::future::ready(!found.as_ref().is_ok_and(|it| it.status() != ApprovalStatus::Pending))
        };
        let pending = pending.filter(still);
        let stream = pending.chain(stream::unfold(Some(changes), change)).then(move |told| async move {
            match told {
                Ok(approval) => Ok(room.approval(approval).await),
                Err(status) => Err(status),
            }
        });
        Ok(Response::new(until_drained(stream, self.streams.clone())))
    }
}

/// The ids of all pending approvals, newest first.
async fn pending(gate: &Gate) -> Result<Vec<String>, v1::Error> {
    let mut ids = Vec::new();
    let mut request = v1::ListApprovalsRequest { limit: 1_000, ..v1::ListApprovalsRequest::default() };
    loop {
        let page = gate.approvals(request.clone()).await?;
        ids.extend(page.approvals.into_iter().map(|approval| approval.approval_id));
        if page.next_before_approval_id.is_empty() {
            return Ok(ids);
        }
        request.before_approval_id = page.next_before_approval_id;
    }
}

type Changes = broadcast::Receiver<Approval>;

async fn change(changes: Option<Changes>) -> Option<(Result<Approval, Status>, Option<Changes>)> {
    let mut changes = changes?;
    match changes.recv().await {
        Ok(approval) => Some((Ok(approval), Some(changes))),
        Err(RecvError::Closed) => None,
        Err(RecvError::Lagged(missed)) => Some((Err(refused(Error::Missed(missed).into())), None)),
    }
}
