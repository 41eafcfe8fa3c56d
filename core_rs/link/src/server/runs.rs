//! Runs of agents, and traces of runs and calls.

use cmdop_contract::v1;
use tonic::{Request, Response, Status};

use super::{Context, refused};
use crate::answer::Room;
use crate::proto::runs_server::Runs;
use crate::proto::traces_server::Traces;

#[tonic::async_trait]
impl Runs for Context {
    async fn start(&self, request: Request<v1::StartRunRequest>) -> Result<Response<v1::Run>, Status> {
        self.gate.start_run(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn record_turn(
        &self,
        request: Request<v1::RecordTurnRequest>,
    ) -> Result<Response<v1::RecordTurnResponse>, Status> {
        let turn = request.into_inner().turn.unwrap_or_default();
        self.gate.record_turn(turn).await.map_err(refused)?;
        Ok(Response::new(v1::RecordTurnResponse {}))
    }

    async fn finish(&self, request: Request<v1::FinishRunRequest>) -> Result<Response<v1::Run>, Status> {
        self.gate.finish_run(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn instruct(&self, request: Request<v1::InstructRequest>) -> Result<Response<v1::InstructResponse>, Status> {
        // An instruction that has begun is not undone by its user going away.
        let gate = self.gate.clone();
        let given = tokio::spawn(async move { gate.instruct(request.into_inner()).await }).await;
        let superseded = given.map_err(|_| super::draining())?.map_err(refused)?;
        Ok(Response::new(v1::InstructResponse { superseded }))
    }

    async fn get(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::Run>, Status> {
        self.gate.run(&request.get_ref().run_id).await.map(Response::new).map_err(refused)
    }

    async fn list(&self, request: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        self.gate.runs(request.into_inner()).await.map(Response::new).map_err(refused)
    }
}

#[tonic::async_trait]
impl Traces for Context {
    async fn get(&self, request: Request<v1::GetTraceRequest>) -> Result<Response<v1::Trace>, Status> {
        let room = Room::of(request.metadata());
        let trace = self.gate.trace(&request.get_ref().id).await.map_err(refused)?;
        Ok(Response::new(room.trace(trace).await))
    }
}
