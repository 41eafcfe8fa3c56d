//! `Sessions.Connect` over real sockets.

mod support;

use std::time::{Duration, Instant};

use cmdop_contract::v1::{self, CallState, ClientConfig, Reason, client_frame, server_frame, session_update};
use cmdop_link::client::{Client, Update};
use futures::StreamExt as _;
use support::{FakeHost, RawSessions, Server, actor, client_hello, get, read, until, within};

#[tokio::test]
async fn an_unknown_protocol_version_is_refused_with_both_ranges() {
    let server = Server::start().await;
    let mut stream = RawSessions::connect(&server).await;
    stream.send(0, client_frame::Kind::Hello(client_hello(7, 9)));
    assert_eq!(stream.closed(0).await.reason(), Reason::UnsupportedProtocol);
    let status = within(stream.inbound.message()).await.expect_err("the stream ends with the reason");
    assert_eq!(cmdop_link::status::to_error(&status).reason(), Reason::UnsupportedProtocol);
    server.drained().await;
}

#[tokio::test]
async fn frames_that_may_not_come_end_the_stream() {
    let server = Server::start().await;
    let mut stream = RawSessions::connect(&server).await;
    stream.open(1, 0);
    assert_eq!(stream.closed(0).await.reason(), Reason::ProtocolViolation);
    server.drained().await;
}

#[tokio::test]
async fn a_frame_for_an_unknown_session_leaves_the_others_alone() {
    let server = Server::start().await;
    let host = FakeHost::attach(&server.address, "web").await.obey();
    let mut stream = RawSessions::welcomed(&server).await;
    stream.open(1, 0);
    stream.next().await;
    stream.propose(2, 1, read("web", "a"));
    assert_eq!(stream.closed(2).await.reason(), Reason::ProtocolViolation);
    stream.propose(1, 1, read("web", "b"));
    let frame = stream.next().await;
    assert_eq!((frame.session, frame.sequence), (1, 2), "{frame:?}");
    host.abort();
    server.drained().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_the_stream_with_its_reason() {
    let server = Server::with("127.0.0.1:0", |options| options.max_frame_bytes = 10_000).await;
    let mut stream = RawSessions::welcomed(&server).await;
    stream.open(1, 0);
    stream.next().await;
    let mut proposal = read("web", "k");
    proposal.model_call_id = "x".repeat(10_001);
    stream.propose(1, 1, proposal);
    assert_eq!(stream.closed(0).await.reason(), Reason::FrameTooLarge);
    server.drained().await;
}

#[tokio::test]
async fn a_session_without_credits_is_cut_while_its_neighbour_is_served_and_its_calls_go_on() {
    let server = Server::with("127.0.0.1:0", |options| options.sessions.stall = Duration::from_secs(1)).await;
    let host = FakeHost::attach(&server.address, "web").await.obey();
    let mut stream = RawSessions::welcomed(&server).await;
    stream.open(1, 1);
    stream.open(2, 100);
    for (session, request_id, key) in [(1, 1, "a"), (1, 2, "b"), (1, 3, "c")] {
        stream.propose(session, request_id, read("web", key));
    }
    let mut answered = Vec::new();
    let error = loop {
        let frame = stream.next().await;
        match frame.kind.expect("content") {
            server_frame::Kind::Opened(_) => {}
            server_frame::Kind::Update(update) => {
                assert_eq!(frame.session, 1);
                let Some(session_update::Kind::Call(call)) = update.kind else { panic!("{update:?}") };
                answered.push(call.call_id);
            }
            server_frame::Kind::Closed(closed) => {
                assert_eq!(frame.session, 1);
                break closed.error.expect("a reason");
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((answered.len(), error.reason()), (1, Reason::SlowConsumer), "{}", error.message);
    stream.propose(2, 9, read("web", "d"));
    let frame = stream.next().await;
    assert_eq!(frame.session, 2, "{frame:?}");
    // The same keys answer with the calls that went on without a listener.
    for key in ["b", "c"] {
        stream.propose(2, 10, read("web", key));
        let frame = stream.next().await;
        let Some(server_frame::Kind::Update(update)) = frame.kind else { panic!("{frame:?}") };
        let Some(session_update::Kind::Call(call)) = update.kind else { panic!("{update:?}") };
        assert_eq!(call.state(), CallState::Applied);
    }
    host.abort();
    server.drained().await;
}

#[tokio::test]
async fn a_client_that_goes_away_mid_call_leaves_the_call_alone() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let sessions = within(server.client().sessions("gone")).await.expect("sessions");
    let session = within(sessions.open(Some(actor()))).await.expect("session");
    let waiting = tokio::spawn(async move {
        let _sessions = sessions;
        session.propose(read("web", "k")).await
    });
    let permit = host.permit().await;
    waiting.abort();
    assert!(within(waiting).await.is_err_and(|error| error.is_cancelled()));
    host.started(&permit).await;
    host.report(&permit).await;
    let client = server.client();
    until(async || get(&client, &permit.call_id).await.state() == CallState::Applied).await;
    server.drained().await;
}

#[tokio::test]
async fn many_sessions_share_a_stream_and_each_gets_its_own_answers() {
    let server = Server::start().await;
    let host = FakeHost::attach(&server.address, "web").await.obey();
    let sessions = within(server.client().sessions("many")).await.expect("sessions");
    assert_eq!(sessions.welcome().protocol, 1);
    let opened = (0..100).map(|_| sessions.open(Some(actor())));
    let opened: Vec<_> = within(futures::future::try_join_all(opened)).await.expect("sessions open");
    let proposed = opened.iter().enumerate().map(async |(index, session)| {
        let key = index.to_string();
        (key.clone(), session.propose(read("web", &key)).await.expect("an outcome"))
    });
    for (key, call) in within(futures::future::join_all(proposed)).await {
        assert_eq!(call.proposal.expect("its proposal").idempotency_key, key);
    }
    // More answers than the client grants at first. The key is the same, so the call is, too.
    for _ in 0..100 {
        let call = within(opened[0].propose(read("web", "0"))).await.expect("an outcome");
        assert_eq!(call.state(), CallState::Applied);
    }
    host.abort();
    server.drained().await;
}

#[tokio::test]
async fn an_action_that_cannot_be_taken_answers_its_proposal_with_the_reason() {
    let server = Server::start().await;
    let host = FakeHost::attach(&server.address, "web").await.obey();
    let sessions = within(server.client().sessions("typed")).await.expect("sessions");
    let session = within(sessions.open(Some(actor()))).await.expect("session");
    let error = within(session.propose(read("nowhere", "k"))).await.expect_err("no such host");
    assert_eq!(error.reason(), Reason::UnknownHost);
    let mut proposal = read("web", "k2");
    proposal.action.as_mut().expect("action").tool = "no.such".into();
    let error = within(session.propose(proposal)).await.expect_err("no such tool");
    assert_eq!(error.reason(), Reason::UnknownTool);
    host.abort();
    server.drained().await;
}

#[tokio::test]
async fn output_is_followed_in_order_before_the_outcome() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let sessions = within(server.client().sessions("follow")).await.expect("sessions");
    let session = within(sessions.open(Some(actor()))).await.expect("session");
    let mut updates = within(session.follow(read("web", "k"))).await.expect("follows").boxed();
    let permit = host.permit().await;
    host.started(&permit).await;
    for sequence in 1..=300 {
        host.output(&permit, sequence, b"line").await;
    }
    host.report(&permit).await;
    let mut sequence = 0;
    loop {
        match within(updates.next()).await.expect("an update").expect("no error") {
            Update::Output(output) => {
                sequence += 1;
                assert_eq!((output.sequence, output.dropped), (sequence, 0));
            }
            Update::Call(call) => {
                assert_eq!((call.call_id, sequence), (permit.call_id, 300));
                break;
            }
        }
    }
    assert!(within(updates.next()).await.is_none());
    server.drained().await;
}

#[tokio::test]
async fn a_stream_that_is_half_closed_is_answered_and_then_ended() {
    let server = Server::start().await;
    let host = FakeHost::attach(&server.address, "web").await.obey();
    let stream = RawSessions::welcomed(&server).await;
    stream.open(1, 0);
    stream.propose(1, 1, read("web", "k"));
    let RawSessions { frames, mut inbound } = stream;
    drop(frames);
    let mut last = None;
    while let Some(frame) = within(inbound.message()).await.expect("ends well") {
        last = frame.kind;
    }
    assert!(matches!(last, Some(server_frame::Kind::Update(v1::SessionUpdate { request_id: 1, .. }))), "{last:?}");
    host.abort();
    server.drained().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_costs_the_server_a_bounded_queue() {
    let server = Server::with("127.0.0.1:0", |options| options.sessions.stall = Duration::from_secs(1)).await;
    let mut stream = RawSessions::welcomed(&server).await;
    for nonce in 0..100_000 {
        stream.send(0, client_frame::Kind::Ping(v1::Ping { nonce: u64::MAX - nonce }));
    }
    // Whoever reads is served all the while.
    let other = within(server.client().sessions("other")).await.expect("sessions");
    let patience = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < patience {
        within(other.open(None)).await.expect("a session");
    }
    let mut pongs = 0_u64;
    let error = loop {
        match stream.next().await.kind.expect("content") {
            server_frame::Kind::Pong(pong) => {
                assert_eq!(pong.nonce, u64::MAX - pongs);
                pongs += 1;
            }
            server_frame::Kind::Closed(closed) => break closed.error.expect("a reason"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error.reason(), Reason::SlowConsumer);
    assert!(pongs < 100_000, "the server kept {pongs} answers for a client that did not read");
    server.drained().await;
}

#[tokio::test]
async fn a_call_too_large_for_a_client_is_abridged_and_its_stream_goes_on() {
    let server = Server::start().await;
    let mut host = FakeHost::attach(&server.address, "web").await;
    let small = ClientConfig { address: server.address.clone(), max_frame_bytes: 100_000, ..ClientConfig::default() };
    let small = Client::connect(&small).expect("a client");
    for (client, key, is_whole) in [(small, "small", false), (server.client(), "large", true)] {
        let sessions = within(client.sessions("large")).await.expect("sessions");
        let session = within(sessions.open(Some(actor()))).await.expect("session");
        for (size, fits) in [(200_000, is_whole), (10, true)] {
            let answer = async {
                let permit = host.permit().await;
                host.started(&permit).await;
                host.report_content(&permit, &"x".repeat(size)).await;
                permit.call_id
            };
            let proposed = session.propose(read("web", &format!("{key}-{size}")));
            let (call, call_id) = within(futures::future::join(proposed, answer)).await;
            let call = call.expect("a call");
            assert_eq!((&call.call_id, call.abridged.is_empty()), (&call_id, fits), "{key} {size}");
        }
    }
    server.drained().await;
}

#[tokio::test]
async fn a_frame_that_is_no_protobuf_ends_its_stream_with_a_reason_and_no_other() {
    let server = Server::start().await;
    let mut neighbour = RawSessions::welcomed(&server).await;
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    within(grpc.ready()).await.expect("ready");
    // Its first field is text where a frame has a number.
    let garbage = v1::CancelCallRequest { call_id: "x".into(), why: String::new() };
    let codec = tonic_prost::ProstCodec::<v1::CancelCallRequest, v1::ServerFrame>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/cmdop.v1.Sessions/Connect");
    let request = tonic::Request::new(futures::stream::iter([garbage]).chain(futures::stream::pending()));
    let mut inbound = within(grpc.streaming(request, path, codec)).await.expect("stream").into_inner();
    let frame = within(inbound.message()).await.expect("a last word").expect("a frame");
    let Some(server_frame::Kind::Closed(closed)) = frame.kind else { panic!("{frame:?}") };
    assert_eq!(closed.error.expect("a reason").reason(), Reason::ProtocolViolation);
    assert!(within(inbound.message()).await.is_err(), "and the stream is over");
    neighbour.open(1, 0);
    assert_eq!(neighbour.next().await.session, 1);
    server.drained().await;
}

#[tokio::test]
async fn credits_beyond_what_can_be_counted_are_no_end_of_them() {
    let server = Server::start().await;
    let host = FakeHost::attach(&server.address, "web").await.obey();
    let mut stream = RawSessions::welcomed(&server).await;
    stream.open(1, u32::MAX);
    stream.next().await;
    for _ in 0..3 {
        stream.send(1, client_frame::Kind::Grant(v1::GrantCredits { credits: u32::MAX }));
    }
    for request_id in 1..=3 {
        stream.propose(1, request_id, read("web", &request_id.to_string()));
        let frame = stream.next().await;
        assert!(matches!(frame.kind, Some(server_frame::Kind::Update(_))), "{frame:?}");
    }
    host.abort();
    server.drained().await;
}
