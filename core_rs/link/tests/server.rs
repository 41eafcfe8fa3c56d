//! The listener: what is on it, whom it serves, and how it ends.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use cmdop_contract::v1::{self, Reason};
use cmdop_link::server;
use futures::StreamExt as _;
use prost::Message as _;
use support::{FakeHost, Server, propose, read, until, within, write};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};
use tonic_reflection::pb::{v1 as reflection, v1alpha};

async fn health(server: &Server, service: &str) -> Result<ServingStatus, v1::Error> {
    let request = HealthCheckRequest { service: service.into() }.encode_to_vec();
    let bytes = server.client().unary("/grpc.health.v1.Health/Check", request.into()).await?;
    Ok(HealthCheckResponse::decode(bytes).expect("health").status())
}

/// Sends bytes as they are and gives back all that comes.
async fn speak(address: &str, text: &str) -> String {
    let mut socket = within(TcpStream::connect(address)).await.expect("connects");
    within(socket.write_all(text.as_bytes())).await.expect("writes");
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.expect("reads");
    answer
}

fn http(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n")
}

#[tokio::test]
async fn health_is_told_for_the_server_and_each_service() {
    let server = Server::start().await;
    for service in ["", "cmdop.v1.Calls", "cmdop.v1.Sessions", "cmdop.v1.HostLink", "cmdop.v1.Traces"] {
        assert_eq!(health(&server, service).await.expect(service), ServingStatus::Serving);
    }
    assert!(health(&server, "cmdop.v1.Nothing").await.is_err());
    let answer = speak(&server.address, &http("GET", "/healthz", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
    server.drained().await;
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions() {
    let server = Server::start().await;
    let mut v1_client = reflection::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let ask = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let answers = within(v1_client.server_reflection_info(tokio_stream::iter([ask]))).await.expect("reflection");
    let answer = within(answers.into_inner().next()).await.expect("an answer").expect("no error");
    use reflection::server_reflection_response::MessageResponse;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["Calls", "Tools", "Hosts", "Approvals", "Runs", "Traces", "HostLink", "Sessions"] {
        assert!(names.contains(&format!("cmdop.v1.{name}")), "{name} is not in {names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health".into()), "{names:?}");

    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "cmdop.v1.Call".into(),
        )),
    };
    let answers = within(older.server_reflection_info(tokio_stream::iter([ask]))).await.expect("reflection");
    let answer = within(answers.into_inner().next()).await.expect("an answer").expect("no error");
    use v1alpha::server_reflection_response::MessageResponse as Older;
    assert!(matches!(answer.message_response, Some(Older::FileDescriptorResponse(_))), "{answer:?}");
    server.drained().await;
}

#[tokio::test]
async fn nobody_calls() {
    let server = Server::start().await;
    let _host = FakeHost::attach(&server.address, "web").await;
    let client = server.client();
    let sessions = within(client.sessions("nobody")).await.expect("sessions");
    let session = within(sessions.open(None)).await.expect("session");
    for (key, actor) in [("a", None), ("b", Some(v1::Actor::default()))] {
        let mut proposal = read("web", key);
        proposal.actor = actor;
        let request = v1::ProposeRequest { proposal: Some(proposal.clone()), wait_for_decision: false };
        let unary = client.unary("/cmdop.v1.Calls/Propose", request.encode_to_vec().into()).await.expect_err("nobody");
        proposal.idempotency_key.push('s');
        let streamed = within(session.propose(proposal)).await.expect_err("nobody");
        for error in [unary, streamed] {
            assert_eq!((error.reason(), error.violations.len()), (Reason::InvalidAction, 1));
            assert_eq!(error.violations[0].pointer, "/actor/user");
        }
    }
    server.drained().await;
}

#[tokio::test]
async fn tools_are_listed_with_their_contracts_and_unknown_ones_are_typed() {
    let server = Server::start().await;
    let client = server.client();
    let tools = client.unary("/cmdop.v1.Tools/List", Bytes::new()).await.expect("tools");
    let tools = v1::ListToolsResponse::decode(tools).expect("tools").tools;
    assert!(tools.iter().any(|tool| tool.name == "terminal.exec"));
    let ask = v1::DescribeToolRequest { name: "no.such".into() }.encode_to_vec();
    let error = client.unary("/cmdop.v1.Tools/Describe", ask.into()).await.expect_err("no such tool");
    assert_eq!(error.reason(), Reason::UnknownTool);
    assert!(error.message.contains("terminal.exec"), "{}", error.message);
    server.drained().await;
}

#[tokio::test]
async fn messages_over_the_limit_unknown_methods_and_garbage_get_typed_errors() {
    let server = Server::with("127.0.0.1:0", |options| options.max_frame_bytes = 10_000).await;
    let client = server.client();
    let large = Bytes::from(vec![0; 10_001]);
    let cases = [
        ("/cmdop.v1.Calls/Propose", large, Reason::FrameTooLarge),
        ("/cmdop.v1.Calls/Undo", Bytes::new(), Reason::UnsupportedProtocol),
        ("/cmdop.v1.Nothing/At", Bytes::new(), Reason::UnsupportedProtocol),
        ("/cmdop.v1.Calls/Get", Bytes::from_static(&[0xff; 9]), Reason::ProtocolViolation),
        ("not a path", Bytes::new(), Reason::UnsupportedProtocol),
    ];
    for (method, request, reason) in cases {
        let error = within(client.unary(method, request)).await.expect_err(method);
        assert_eq!(error.reason(), reason, "{method}: {}", error.message);
    }
    let error = within(client.unary("/cmdop.v1.Calls/Propose", vec![0; 10_001].into())).await.expect_err("large");
    assert!(error.message.contains("10001") && error.message.contains("10000"), "{}", error.message);
    server.drained().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_resource_exhausted_for_any_grpc_client() {
    let server = Server::with("127.0.0.1:0", |options| options.max_frame_bytes = 10_000).await;
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    within(grpc.ready()).await.expect("ready");
    let request = v1::CancelCallRequest { call_id: String::new(), why: "x".repeat(10_001) };
    let codec = tonic_prost::ProstCodec::<v1::CancelCallRequest, v1::Call>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/cmdop.v1.Calls/Cancel");
    let status = within(grpc.unary(tonic::Request::new(request), path, codec)).await.expect_err("too large");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
    assert!(!status.details().is_empty());
    server.drained().await;
}

#[tokio::test]
async fn web_pages_cannot_make_a_browser_propose() {
    let server = Server::start().await;
    let grpc = "content-type: application/grpc\r\n";
    for headers in ["", "content-type: text/plain\r\n", grpc] {
        let answer = speak(&server.address, &http("POST", "/cmdop.v1.Calls/Propose", headers)).await;
        assert!(answer.starts_with("HTTP/1.1 415"), "{headers}: {answer}");
    }
    server.drained().await;
}

#[tokio::test]
async fn only_loopback_addresses_are_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "nonsense", "127.0.0.1"] {
        let error = server::bind(address).await.expect_err(address);
        assert_eq!(error.reason(), Reason::InvalidConfiguration, "{address}");
    }
    let taken = server::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("address").to_string();
    let error = server::bind(&address).await.expect_err("taken");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
    assert!(error.message.contains(&address), "{}", error.message);
}

#[tokio::test]
async fn a_drain_lets_open_calls_finish_and_tells_whoever_comes_that_it_drains() {
    let server = Server::with("127.0.0.1:0", |options| options.drain = Duration::from_secs(15)).await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let client = server.client();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.unary("/cmdop.v1.Calls/Propose", propose(read("web", "k"))).await })
    };
    let permit = host.permit().await;
    server.begin_drain();
    until(async || {
        // Each by a connection of its own; until it drains the same is malformed.
        let newcomer = server.client();
        let nothing = v1::ProposeRequest::default().encode_to_vec().into();
        let refused = newcomer.unary("/cmdop.v1.Calls/Propose", nothing).await.expect_err("refused");
        assert_ne!(refused.reason(), Reason::Unreachable);
        refused.reason() == Reason::Draining
    })
    .await;
    host.started(&permit).await;
    host.report(&permit).await;
    let call = within(waiting).await.expect("task").expect("the call was answered");
    let call = v1::Call::decode(call).expect("a call");
    assert_eq!((call.call_id, call.state), (permit.call_id, v1::CallState::Applied.into()));
    let address = server.address.clone();
    server.drained().await;
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");
    within(host.state.wait_for(|state| matches!(state, cmdop_link::host::LinkState::Detached(_))))
        .await
        .expect("state");
}

#[tokio::test]
async fn a_drain_ends_streams_that_would_go_on_for_ever() {
    let server = Server::start().await;
    let client = server.client();
    let mut approvals = client.server_stream("/cmdop.v1.Approvals/Watch", Bytes::new()).boxed();
    let watching = tokio::spawn(async move { approvals.next().await });
    let sessions = within(client.sessions("test")).await.expect("sessions");
    let session = within(sessions.open(None)).await.expect("session");
    server.drained().await;
    let refused = within(session.propose(read("web", "k"))).await.expect_err("drained");
    assert_eq!(refused.reason(), Reason::Draining, "{}", refused.message);
    let last = within(watching).await.expect("task").expect("a last item").expect_err("an error");
    assert_eq!(last.reason(), Reason::Draining, "{}", last.message);
}

#[tokio::test]
async fn a_drain_waits_for_calls_that_work_though_nobody_is_connected() {
    let drain = Duration::from_millis(300);
    let server = Server::with("127.0.0.1:0", |options| options.drain = drain).await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let ticket = server.gate.submit(write("web", "k", "/srv/app/new.txt")).await.expect("taken");
    let permit = host.permit().await;
    assert_eq!(ticket.call_id(), permit.call_id);
    host.started(&permit).await;
    host.stopped().await;
    until(async || !server.gate.host("web").expect("known").attached).await;
    let gate = server.gate.clone();
    let began = Instant::now();
    server.drained().await;
    assert!(began.elapsed() >= drain);
    let refused = gate.submit(read("web", "k2")).await.err().expect("refused");
    assert_eq!(refused.reason(), Reason::Draining);
}

#[tokio::test]
async fn a_peer_that_leaves_pings_unanswered_is_dropped() {
    let server = Server::with("127.0.0.1:0", |options| options.ping = Duration::from_millis(100)).await;
    let mut socket = within(TcpStream::connect(&server.address)).await.expect("connects");
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    within(socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).await.expect("writes");
    within(socket.write_all(&empty_settings)).await.expect("writes");
    let mut answer = Vec::new();
    let _reset_or_closed = within(socket.read_to_end(&mut answer)).await;
    assert!(!answer.is_empty());
    server.drained().await;
}
