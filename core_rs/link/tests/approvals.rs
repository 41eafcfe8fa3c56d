//! A held call over the wire: previewed by its host, approved by a person, committed.

mod support;

use bytes::Bytes;
use cmdop_contract::v1::{self, ApprovalStatus, ApprovalVerdict, CallState, Reason, Stage, remedy};
use cmdop_link::client::{Client, Update};
use futures::StreamExt as _;
use prost::Message as _;
use support::{FakeHost, Server, actor, within, write};

const FILE: &str = "/srv/app/new.txt";

async fn decide(client: &Client, approval: &v1::Approval, digest: &str) -> Result<v1::Approval, v1::Error> {
    decide_as("grace", client, approval, digest).await
}

async fn decide_as(
    approver: &str,
    client: &Client,
    approval: &v1::Approval,
    digest: &str,
) -> Result<v1::Approval, v1::Error> {
    let request = v1::DecideApprovalRequest {
        approval_id: approval.approval_id.clone(),
        verdict: ApprovalVerdict::Approve.into(),
        approver: approver.into(),
        comment: String::new(),
        digest: digest.into(),
        ..v1::DecideApprovalRequest::default()
    };
    let answer = client.unary("/cmdop.v1.Approvals/Decide", request.encode_to_vec().into()).await?;
    Ok(v1::Approval::decode(answer).expect("an approval"))
}

async fn call(updates: &mut (impl futures::Stream<Item = Result<Update, v1::Error>> + Unpin)) -> v1::Call {
    match within(updates.next()).await.expect("an update").expect("no error") {
        Update::Call(call) => *call,
        Update::Output(output) => panic!("unexpected {output:?}"),
    }
}

#[tokio::test]
async fn an_agent_that_decides_on_its_own_call_is_told_that_somebody_else_does() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let client = server.client();
    let sessions = within(client.sessions("held")).await.expect("sessions");
    let session = within(sessions.open(Some(actor()))).await.expect("session");
    let mut updates = within(session.follow(write("web", "k", FILE))).await.expect("follows");
    let preview = host.permit().await;
    host.started(&preview).await;
    host.report_created(&preview, FILE).await;
    let approval = call(&mut updates).await.approval.expect("an approval");

    let error = within(decide_as("writer", &client, &approval, &approval.digest)).await.expect_err("its own");
    assert_eq!((error.reason(), &error.call_id), (Reason::OwnApproval, &approval.call_id));
    let asks = v1::RequestApproval { approval_id: approval.approval_id.clone() };
    assert_eq!(error.remedy.and_then(|it| it.kind), Some(remedy::Kind::RequestApproval(asks)));
    let decided = within(decide(&client, &approval, &approval.digest)).await.expect("it is pending still");
    assert_eq!(decided.status(), ApprovalStatus::Approved);
    server.drained().await;
}

#[tokio::test]
async fn a_held_call_is_told_watched_decided_and_committed() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let client = server.client();
    let mut approvals = client.server_stream("/cmdop.v1.Approvals/Watch", Bytes::new());
    let sessions = within(client.sessions("held")).await.expect("sessions");
    let session = within(sessions.open(Some(actor()))).await.expect("session");
    let mut updates = within(session.follow(write("web", "k", FILE))).await.expect("follows");

    let preview = host.permit().await;
    assert_eq!(preview.stage(), Stage::Preview);
    host.started(&preview).await;
    host.report_created(&preview, FILE).await;
    let held = call(&mut updates).await;
    assert_eq!(held.state(), CallState::DiffHeld);
    let approval = held.approval.expect("an approval");
    let watched = within(approvals.next()).await.expect("an approval").expect("no error");
    let watched = v1::Approval::decode(watched).expect("an approval");
    assert_eq!((&watched.approval_id, watched.status()), (&approval.approval_id, ApprovalStatus::Pending));

    let error = within(decide(&client, &approval, "another digest")).await.expect_err("not what was asked");
    assert_eq!(error.reason(), Reason::ApprovalVoid);
    let decided = within(decide(&client, &approval, &approval.digest)).await.expect("decided");
    assert_eq!(decided.status(), ApprovalStatus::Approved);
    let commit = host.permit().await;
    assert_eq!((commit.stage(), &commit.call_id), (Stage::Commit, &preview.call_id));
    host.started(&commit).await;
    host.report_created(&commit, FILE).await;
    let settled = call(&mut updates).await;
    assert_eq!((settled.state(), settled.outcome()), (CallState::Applied, v1::Outcome::Applied));
    assert!(within(updates.next()).await.is_none());
    server.drained().await;
}
