//! The policy: what it is, and reading it anew.

use cmdop_contract::v1::{self, PolicyStatus};
use tonic::{Request, Response, Status};

use super::{Context, refused};
use crate::proto::policies_server::Policies;

#[tonic::async_trait]
impl Policies for Context {
    async fn get(&self, _: Request<v1::GetPolicyRequest>) -> Result<Response<PolicyStatus>, Status> {
        Ok(Response::new(self.gate.policy()))
    }

    async fn reload(&self, _: Request<v1::ReloadPolicyRequest>) -> Result<Response<PolicyStatus>, Status> {
        // A reload that has begun is not left half done by whoever asked going away.
        let gate = self.gate.clone();
        let reloaded = tokio::spawn(async move { gate.reload_policy().await }).await;
        reloaded.map_err(|_| super::draining())?.map(Response::new).map_err(refused)
    }
}
