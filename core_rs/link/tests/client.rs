//! The client: calls by method and bytes, streams, and servers that are not there.

#![allow(clippy::result_large_err, reason = "errors are the wire's message")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use cmdop_contract::v1::{self, CallState, CallUpdate, ClientConfig, Reason, call_update};
use cmdop_link::client::Client;
use futures::StreamExt as _;
use prost::Message as _;
use support::{FakeHost, Server, client, get, propose, read, until, within};

const PROPOSE: &str = "/cmdop.v1.Calls/Propose";

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_is_used_once_it_is() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("address").to_string();
    drop(listener);
    let client = client(&address);
    let error = within(client.unary("/cmdop.v1.Hosts/List", Bytes::new())).await.expect_err("nobody there");
    assert_eq!(error.reason(), Reason::Unreachable, "{}", error.message);
    let mut stream = client.server_stream("/cmdop.v1.Approvals/Watch", Bytes::new()).boxed();
    let error = within(stream.next()).await.expect("an item").expect_err("nobody there");
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(within(stream.next()).await.is_none());
    let error = within(client.sessions("test")).await.err().expect("nobody there");
    assert_eq!(error.reason(), Reason::Unreachable);

    let server = Server::with(&address, |_| {}).await;
    within(client.unary("/cmdop.v1.Hosts/List", Bytes::new())).await.expect("now it is there");
    server.drained().await;
    let error = within(client.unary("/cmdop.v1.Hosts/List", Bytes::new())).await.expect_err("gone again");
    assert_eq!(error.reason(), Reason::Unreachable, "{}", error.message);
}

#[tokio::test]
async fn a_server_that_accepts_but_never_speaks_is_silent_for_sessions() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("address").to_string();
    let config = ClientConfig { address, connect_timeout_ms: 100, ..ClientConfig::default() };
    let client = Client::connect(&config).expect("client");
    let error = within(client.sessions("test")).await.err().expect("nobody speaks");
    assert_eq!(error.reason(), Reason::Unreachable, "{}", error.message);
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_before_it_is_sent() {
    let config = ClientConfig { address: "127.0.0.1:1".into(), max_frame_bytes: 8, ..ClientConfig::default() };
    let client = Client::connect(&config).expect("client");
    let error = within(client.unary(PROPOSE, Bytes::from_static(&[0; 9]))).await.expect_err("too large");
    assert_eq!(error.reason(), Reason::FrameTooLarge);
    assert!(error.message.contains("send less"), "{}", error.message);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_cut_or_said_to_be_the_answer() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let config = ClientConfig { address: server.address.clone(), max_frame_bytes: 10_000, ..ClientConfig::default() };
    let client = Client::connect(&config).expect("client");
    let answer = async {
        let permit = host.permit().await;
        host.started(&permit).await;
        host.report_content(&permit, &"x".repeat(200_000)).await;
    };
    let proposed = client.unary(PROPOSE, propose(read("web", "k")));
    let (call, ()) = within(futures::future::join(proposed, answer)).await;
    let call = v1::Call::decode(call.expect("a call, abridged")).expect("a call");
    assert!(!call.abridged.is_empty());
    let trace = v1::GetTraceRequest { id: call.call_id }.encode_to_vec().into();
    let trace = within(client.unary("/cmdop.v1.Traces/Get", trace)).await.expect("a trace, abridged");
    assert!(!v1::Trace::decode(trace).expect("a trace").abridged.is_empty());
    // Nobody cuts this one: the client's own decoder finds it.
    let error = within(client.unary("/cmdop.v1.Tools/List", Bytes::new())).await.expect_err("too large");
    assert_eq!(error.reason(), Reason::FrameTooLarge);
    let remedy = format!("{:?}", error.remedy);
    assert!(error.message.contains("the answer has") && !error.message.contains("send less"), "{}", error.message);
    assert!(remedy.contains("max_frame_bytes") && remedy.contains("cmdop-max-bytes"), "{remedy}");
    server.drained().await;
}

#[tokio::test]
async fn addresses_of_other_machines_are_refused() {
    for address in ["10.0.0.1:7717", "example.com:7717", "nonsense"] {
        let config = ClientConfig { address: address.into(), ..ClientConfig::default() };
        let error = Client::connect(&config).expect_err(address);
        assert_eq!(error.reason(), Reason::InvalidConfiguration, "{address}");
    }
}

#[tokio::test]
async fn a_client_gone_mid_call_leaves_the_call_to_be_read_later() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let waiting = {
        let client = server.client();
        tokio::spawn(async move { client.unary(PROPOSE, propose(read("web", "k"))).await })
    };
    let permit = host.permit().await;
    waiting.abort();
    assert!(within(waiting).await.is_err_and(|error| error.is_cancelled()));
    host.started(&permit).await;
    host.report(&permit).await;
    let client = server.client();
    until(async || get(&client, &permit.call_id).await.state() == CallState::Applied).await;
    let again = within(client.unary(PROPOSE, propose(read("web", "k")))).await.expect("the same call");
    assert_eq!(v1::Call::decode(again).expect("a call").call_id, permit.call_id);
    server.drained().await;
}

fn watch(client: &Client, call_id: &str) -> futures::stream::BoxStream<'static, Result<CallUpdate, v1::Error>> {
    let request = v1::WatchCallRequest { call_id: call_id.into(), output_from: 0 }.encode_to_vec();
    let updates = client.server_stream("/cmdop.v1.Calls/Watch", request.into());
    updates.map(|update| update.map(|bytes| CallUpdate::decode(bytes).expect("an update"))).boxed()
}

#[tokio::test]
async fn a_watcher_sees_changes_and_output_and_the_end() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let client = server.client();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.unary(PROPOSE, propose(read("web", "k"))).await })
    };
    let permit = host.permit().await;
    let mut updates = watch(&client, &permit.call_id);
    let first = within(updates.next()).await.expect("an update").expect("no error");
    assert!(matches!(first.kind, Some(call_update::Kind::Call(_))), "{first:?}");
    host.started(&permit).await;
    for sequence in 1..=3 {
        host.output(&permit, sequence, b"line").await;
    }
    host.report(&permit).await;
    let (mut outputs, mut last) = (Vec::new(), None);
    while let Some(update) = within(updates.next()).await {
        match update.expect("no error").kind.expect("content") {
            call_update::Kind::Output(output) => outputs.push(output.sequence),
            call_update::Kind::Call(call) => last = Some(call.state()),
        }
    }
    assert_eq!((outputs, last), (vec![1, 2, 3], Some(CallState::Applied)));
    within(waiting).await.expect("task").expect("answered");

    let settled: Vec<_> = within(watch(&client, &permit.call_id).collect()).await;
    assert_eq!(settled.len(), 1, "{settled:?}");
    let unknown = within(watch(&client, "no-such-call").next()).await.expect("an item").expect_err("an error");
    assert_eq!(unknown.reason(), Reason::UnknownCall);
    server.drained().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_loses_output_and_never_stalls_the_call() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let client = server.client();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.unary(PROPOSE, propose(read("web", "k"))).await })
    };
    let permit = host.permit().await;
    let mut updates = watch(&client, &permit.call_id);
    within(updates.next()).await.expect("an update").expect("no error");
    host.started(&permit).await;
    // Many times what sockets, windows and the gate keep together.
    let piece = vec![b'x'; 64 * 1024];
    for sequence in 1..=1_000 {
        host.output(&permit, sequence, &piece).await;
    }
    host.report(&permit).await;
    let call = within(waiting).await.expect("task").expect("the call is not held up");
    assert_eq!(v1::Call::decode(call).expect("a call").state(), CallState::Applied);
    let (mut seen, mut dropped, mut last) = (0_u64, 0, None);
    while let Some(update) = tokio::time::timeout(Duration::from_secs(20), updates.next()).await.expect("in time") {
        match update.expect("no error").kind.expect("content") {
            call_update::Kind::Output(output) => (seen, dropped) = (seen + 1, dropped + output.dropped),
            call_update::Kind::Call(call) => last = Some(call.state()),
        }
    }
    assert!(seen < 1_000 && dropped > 0, "{seen} pieces came, {dropped} bytes were dropped");
    assert_eq!(last, Some(CallState::Applied));
    server.drained().await;
}
