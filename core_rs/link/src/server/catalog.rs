//! Tools and hosts: what there is.

use cmdop_contract::v1;
use tonic::{Request, Response, Status};

use super::{Context, refused};
use crate::proto::hosts_server::Hosts;
use crate::proto::tools_server::Tools;

#[tonic::async_trait]
impl Tools for Context {
    async fn list(&self, _: Request<v1::ListToolsRequest>) -> Result<Response<v1::ListToolsResponse>, Status> {
        let tools = self.gate.registry().list().map(|tool| tool.contract().clone()).collect();
        Ok(Response::new(v1::ListToolsResponse { tools }))
    }

    async fn describe(&self, request: Request<v1::DescribeToolRequest>) -> Result<Response<v1::ToolContract>, Status> {
        let tool = self.gate.registry().find(&request.get_ref().name).map_err(refused)?;
        Ok(Response::new(tool.contract().clone()))
    }
}

#[tonic::async_trait]
impl Hosts for Context {
    async fn list(&self, _: Request<v1::ListHostsRequest>) -> Result<Response<v1::ListHostsResponse>, Status> {
        Ok(Response::new(v1::ListHostsResponse { hosts: self.gate.hosts() }))
    }

    async fn get(&self, request: Request<v1::GetHostRequest>) -> Result<Response<v1::Host>, Status> {
        let host = self.gate.host(&request.get_ref().name).map_err(refused)?;
        Ok(Response::new(v1::Host::clone(&host)))
    }
}
