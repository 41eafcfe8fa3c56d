//! Freezes: nothing changes until a person says so.

use cmdop_contract::v1::{self, Freeze};
use tonic::{Request, Response, Status};

use super::{Context, identity::user, refused};
use crate::proto::freezes_server::Freezes;

#[tonic::async_trait]
impl Freezes for Context {
    async fn create(&self, request: Request<v1::CreateFreezeRequest>) -> Result<Response<Freeze>, Status> {
        self.identified(&request, user(request.get_ref().author.as_ref()))?;
        // What is in force is recorded, though whoever asked goes away.
        let gate = self.gate.clone();
        let created = tokio::spawn(async move { gate.freeze(request.into_inner()).await }).await;
        created.map_err(|_| super::draining())?.map(Response::new).map_err(refused)
    }

    async fn list(
        &self,
        request: Request<v1::ListFreezesRequest>,
    ) -> Result<Response<v1::ListFreezesResponse>, Status> {
        Ok(Response::new(v1::ListFreezesResponse { freezes: self.gate.freezes(request.get_ref().lifted) }))
    }

    async fn lift(&self, request: Request<v1::LiftFreezeRequest>) -> Result<Response<Freeze>, Status> {
        self.identified(&request, user(request.get_ref().by.as_ref()))?;
        let gate = self.gate.clone();
        let lifted = tokio::spawn(async move { gate.lift_freeze(request.into_inner()).await }).await;
        lifted.map_err(|_| super::draining())?.map(Response::new).map_err(refused)
    }
}
