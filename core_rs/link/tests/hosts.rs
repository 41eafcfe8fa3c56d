//! The link between a host and its server: attach, lose each other, find each other again.

mod support;

use std::time::Duration;

use cmdop_contract::v1::{self, HostToServer, Reason, ServerToHost, host_to_server};
use cmdop_link::host::LinkState;
use prost::Message as _;
use support::{FakeHost, Server, hello, propose, read, until, within};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;

/// A host that speaks frame by frame and does nothing by itself.
struct RawHost {
    frames: mpsc::UnboundedSender<HostToServer>,
    inbound: Streaming<ServerToHost>,
}

impl RawHost {
    async fn attach(server: &Server, first: host_to_server::Kind) -> Result<Self, v1::Error> {
        let (frames, queued) = mpsc::unbounded_channel();
        frames.send(HostToServer { kind: Some(first) }).expect("queue is open");
        let mut grpc = Grpc::new(server.channel().await);
        within(grpc.ready()).await.expect("ready");
        let codec = tonic_prost::ProstCodec::<HostToServer, ServerToHost>::default();
        let path = PathAndQuery::from_static("/cmdop.v1.HostLink/Attach");
        let opened =
            within(grpc.streaming(tonic::Request::new(UnboundedReceiverStream::new(queued)), path, codec)).await;
        let inbound = opened.map_err(|status| cmdop_link::status::to_error(&status))?.into_inner();
        Ok(Self { frames, inbound })
    }
}

fn attached(server: &Server, name: &str) -> bool {
    server.gate.host(name).is_ok_and(|host| host.attached)
}

#[tokio::test]
async fn a_host_attaches_is_listed_and_detaches() {
    let server = Server::start().await;
    let mut host = FakeHost::dial(&server.address, hello("web"));
    assert_eq!(host.welcomed().await.protocol, 1);
    assert!(matches!(*host.state.borrow(), LinkState::Attached(_)));
    let hosts = server.client().unary("/cmdop.v1.Hosts/List", bytes::Bytes::new()).await.expect("hosts");
    let hosts = v1::ListHostsResponse::decode(hosts).expect("hosts").hosts;
    assert_eq!(hosts.iter().map(|host| (&*host.name, host.attached)).collect::<Vec<_>>(), [("web", true)]);
    host.stopped().await;
    until(async || !attached(&server, "web")).await;
    server.drained().await;
}

#[tokio::test]
async fn a_host_of_another_protocol_is_told_and_does_not_try_again() {
    let server = Server::start().await;
    let mut newer = hello("web");
    (newer.min_protocol, newer.max_protocol) = (8, 9);
    let host = FakeHost::dial(&server.address, newer);
    let error = within(host.link).await.expect("link task").expect_err("refused");
    assert_eq!(error.reason(), Reason::UnsupportedProtocol);
    server.drained().await;
}

#[tokio::test]
async fn a_host_must_say_hello_first() {
    let server = Server::start().await;
    let first = host_to_server::Kind::Heartbeat(v1::Heartbeat { sequence: 1 });
    let error = RawHost::attach(&server, first).await.err().expect("refused");
    assert_eq!(error.reason(), Reason::ProtocolViolation);
    server.drained().await;
}

#[tokio::test]
async fn a_silent_host_is_told_and_detached_while_one_that_beats_stays() {
    let server = Server::with("127.0.0.1:0", |options| {
        options.heartbeat = Duration::from_millis(50);
        options.silence = Duration::from_millis(1_500);
    })
    .await;
    let beating = FakeHost::attach(&server.address, "beating").await;
    let mut silent = RawHost::attach(&server, host_to_server::Kind::Hello(hello("silent"))).await.expect("attached");
    assert!(attached(&server, "silent"));
    let mut heartbeats = 0;
    let mut told = None;
    while let Some(frame) = within(silent.inbound.message()).await.expect("ends well") {
        match frame.kind.expect("content") {
            v1::server_to_host::Kind::Heartbeat(_) => heartbeats += 1,
            v1::server_to_host::Kind::Error(error) => told = Some(error.reason()),
            _ => {}
        }
    }
    assert_eq!(told, Some(Reason::Unreachable));
    assert!(heartbeats >= 3, "{heartbeats} heartbeats");
    assert!(!attached(&server, "silent"));
    assert!(attached(&server, "beating"));
    assert!(matches!(*beating.state.borrow(), LinkState::Attached(_)));
    drop(silent.frames);
    server.drained().await;
}

#[tokio::test]
async fn a_host_finds_its_server_again_and_says_hello_again() {
    let first = Server::start().await;
    let address = first.address.clone();
    let mut host = FakeHost::attach(&address, "web").await;
    first.drained().await;
    within(host.state.wait_for(|state| matches!(state, LinkState::Detached(_)))).await.expect("state");
    // Nobody listens now. What the daemon says is thrown away, and it never waits.
    for sequence in 0..500 {
        host.send(host_to_server::Kind::Heartbeat(v1::Heartbeat { sequence })).await;
    }
    let second = Server::with(&address, |_| {}).await;
    host.welcomed().await;
    assert!(attached(&second, "web"));
    let obeying = host.obey();
    let answer = within(second.client().unary("/cmdop.v1.Calls/Propose", propose(read("web", "k")))).await;
    let call = v1::Call::decode(answer.expect("answered")).expect("a call");
    assert_eq!(call.state(), v1::CallState::Applied);
    obeying.abort();
    second.drained().await;
}

#[tokio::test]
async fn a_bad_server_address_is_an_error_at_once() {
    let host = FakeHost::dial("10.1.2.3:7717", hello("web"));
    let error = within(host.link).await.expect("link task").expect_err("refused");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
}

#[tokio::test]
async fn a_link_ends_when_its_daemon_has_left() {
    let server = Server::start().await;
    let FakeHost { frames, outbound, link, .. } = FakeHost::attach(&server.address, "web").await;
    drop((frames, outbound));
    within(link).await.expect("link task").expect("ends well");
    until(async || !attached(&server, "web")).await;
    server.drained().await;
}
