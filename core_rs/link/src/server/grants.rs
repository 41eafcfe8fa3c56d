//! Standing grants: what people agreed to beforehand.

use cmdop_contract::v1::{self, StandingGrant};
use tonic::{Request, Response, Status};

use super::{Context, identity::user, refused};
use crate::proto::grants_server::Grants;

#[tonic::async_trait]
impl Grants for Context {
    async fn create(&self, request: Request<v1::CreateGrantRequest>) -> Result<Response<StandingGrant>, Status> {
        self.identified(&request, user(request.get_ref().author.as_ref()))?;
        let gate = self.gate.clone();
        let created = tokio::spawn(async move { gate.create_grant(request.into_inner()).await }).await;
        created.map_err(|_| super::draining())?.map(Response::new).map_err(refused)
    }

    async fn list(&self, request: Request<v1::ListGrantsRequest>) -> Result<Response<v1::ListGrantsResponse>, Status> {
        Ok(Response::new(v1::ListGrantsResponse { grants: self.gate.grants(request.get_ref().all) }))
    }

    async fn get(&self, request: Request<v1::GetGrantRequest>) -> Result<Response<StandingGrant>, Status> {
        self.gate.grant(&request.get_ref().grant_id).map(Response::new).map_err(refused)
    }

    async fn revoke(&self, request: Request<v1::RevokeGrantRequest>) -> Result<Response<StandingGrant>, Status> {
        self.identified(&request, user(request.get_ref().by.as_ref()))?;
        // What is revoked is recorded, though whoever asked goes away.
        let gate = self.gate.clone();
        let revoked = tokio::spawn(async move { gate.revoke_grant(request.into_inner()).await }).await;
        revoked.map_err(|_| super::draining())?.map(Response::new).map_err(refused)
    }
}
