//! Tools and hosts: what there is.

use cmdop_contract::reason;
use cmdop_contract::v1::{self, Reason};
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
        let name = &request.get_ref().name;
        let registry = self.gate.registry();
        if let Some(tool) = registry.get(name) {
            return Ok(Response::new(tool.contract().clone()));
        }
        let known: Vec<_> = registry.list().map(|tool| tool.contract().name.clone()).collect();
        let message = format!("no tool named `{name}` is registered; there are {}", known.join(", "));
        Err(refused(reason::error(Reason::UnknownTool, message).into()))
    }
}

#[tonic::async_trait]
impl Hosts for Context {
    async fn list(&self, _: Request<v1::ListHostsRequest>) -> Result<Response<v1::ListHostsResponse>, Status> {
        Ok(Response::new(v1::ListHostsResponse { hosts: self.gate.hosts() }))
    }

    async fn get(&self, request: Request<v1::GetHostRequest>) -> Result<Response<v1::Host>, Status> {
        self.gate.host(&request.get_ref().name).map(Response::new).map_err(refused)
    }
}
