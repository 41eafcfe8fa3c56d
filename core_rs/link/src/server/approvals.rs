//! Approvals: what waits for a person.

use cmdop_contract::v1::{self, Approval};
use futures::{StreamExt as _, stream};
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::{Request, Response, Status};

use super::{BoxStream, Context, refused, until_drained};
use crate::error::Error;
use crate::proto::approvals_server::Approvals;

#[tonic::async_trait]
impl Approvals for Context {
    type WatchStream = BoxStream<Approval>;

    async fn list(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let approvals = self.gate.approvals(request.into_inner()).await.map_err(refused)?;
        Ok(Response::new(v1::ListApprovalsResponse { approvals }))
    }

    async fn get(&self, request: Request<v1::GetApprovalRequest>) -> Result<Response<Approval>, Status> {
        self.gate.approval(&request.get_ref().approval_id).await.map(Response::new).map_err(refused)
    }

    async fn decide(&self, request: Request<v1::DecideApprovalRequest>) -> Result<Response<Approval>, Status> {
        self.identified(&request, &request.get_ref().approver)?;
        // A decision that has begun is not undone by its approver going away.
        let gate = self.gate.clone();
        let decided = tokio::spawn(async move { gate.decide_approval(request.into_inner()).await }).await;
        decided.map_err(|_| super::draining())?.map(Response::new).map_err(refused)
    }

    async fn watch(&self, _: Request<v1::WatchApprovalsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        // First subscribe, then list: a change in between is told twice and never missed.
        let changes = self.gate.watch_approvals();
        let all = v1::ListApprovalsRequest { limit: 1_000, ..v1::ListApprovalsRequest::default() };
        let mut pending = self.gate.approvals(all).await.map_err(refused)?;
        pending.reverse();
        let stream = stream::iter(pending.into_iter().map(Ok)).chain(stream::unfold(Some(changes), change));
        Ok(Response::new(until_drained(stream, self.streams.clone())))
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
