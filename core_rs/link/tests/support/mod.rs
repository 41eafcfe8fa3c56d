//! A server on a free port with a real gate, and a host daemon that does what a test says.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::result_large_err, reason = "errors are the wire's message")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cmdop_contract::digest::observation_digest;
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    self, Action, Actor, Call, ClientConfig, ClientFrame, HostHello, HostToServer, Output, Permit, Proposal, Report,
    ServerFrame, ServerToHost, host_to_server, server_to_host,
};
use cmdop_gate::{Gate, NoJudge, Options};
use cmdop_ledger::Ledger;
use cmdop_link::client::Client;
use cmdop_link::host::{self, Ends, LinkOptions, LinkState};
use cmdop_link::server::{self, ServeOptions};
use cmdop_policy::engine::Engine;
use prost::Message;
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// Waits for something that must happen soon.
pub async fn within<T>(act: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), act).await.expect("it happens in time")
}

/// Waits until a condition holds.
pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    within(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub struct Server {
    pub address: String,
    pub gate: Gate,
    drain: CancellationToken,
    served: JoinHandle<Result<(), v1::Error>>,
    _data: Arc<TempDir>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with("127.0.0.1:0", |_| {}).await
    }

    pub async fn with(address: &str, set: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::of(address, Options::default(), set).await
    }

    /// One that knows these approvers, by name and token.
    pub async fn knowing(approvers: &[(&str, &str)]) -> Self {
        let known = |(name, token): &(&str, &str)| v1::KnownApprover {
            name: (*name).into(),
            token_sha256: sha2::Sha256::digest(token.as_bytes()).to_vec(),
        };
        let options = Options { approvers: approvers.iter().map(known).collect(), ..Options::default() };
        Self::of("127.0.0.1:0", options, |_| {}).await
    }

    async fn of(address: &str, gate: Options, set: impl FnOnce(&mut ServeOptions)) -> Self {
        let data = Arc::new(tempfile::tempdir().expect("temporary directory"));
        let ledger = Ledger::open(data.path(), &cmdop_ledger::Options::default()).expect("ledger opens");
        let engine = Engine::load(&[]).expect("default policy loads");
        let gate = Gate::start(gate, ledger, engine, Registry::builtin(), Arc::new(NoJudge));
        let gate = gate.await.expect("gate starts");
        let listener = server::bind(address).await.expect("listener");
        let address = listener.local_addr().expect("address").to_string();
        let mut options = ServeOptions::new(listener);
        options.drain = Duration::from_secs(2);
        set(&mut options);
        let drain = CancellationToken::new();
        let served = tokio::spawn(server::serve(gate.clone(), options, drain.clone().cancelled_owned()));
        Self { address, gate, drain, served, _data: data }
    }

    pub fn client(&self) -> Client {
        client(&self.address)
    }

    /// Begins the drain without waiting for its end.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    pub async fn drained(self) {
        self.drain.cancel();
        within(self.served).await.expect("server task").expect("server ends well");
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("address");
        // The smallest window: a test that does not read is noticed early.
        let endpoint = endpoint.initial_stream_window_size(65_535);
        within(endpoint.connect()).await.expect("connects")
    }
}

pub fn client(address: &str) -> Client {
    let config = ClientConfig { address: address.into(), ..ClientConfig::default() };
    Client::connect(&config).expect("client")
}

pub fn client_with(address: &str, token: &str) -> Client {
    let config = ClientConfig { address: address.into(), token: token.into(), ..ClientConfig::default() };
    Client::connect(&config).expect("client")
}

pub fn actor() -> Actor {
    Actor { tenant: "local".into(), user: "ada".into(), ..Actor::default() }
}

/// Reads a file, which the default policy permits at once.
pub fn read(host: &str, key: &str) -> Proposal {
    let action = Action {
        tool: "files.read".into(),
        host: host.into(),
        intent: "see what is there".into(),
        arguments_json: r#"{"path": "/srv/app/readme.txt"}"#.into(),
        expect: Vec::new(),
    };
    Proposal {
        action: Some(action),
        actor: Some(actor()),
        idempotency_key: key.into(),
        author_attempt: 1,
        ..Proposal::default()
    }
}

/// Writes a file as an agent, which asks a person by default.
pub fn write(host: &str, key: &str, path: &str) -> Proposal {
    let mut proposal = read(host, key);
    proposal.actor = Some(Actor { agent: "writer".into(), ..actor() });
    let action = proposal.action.as_mut().expect("action");
    action.tool = "files.write".into();
    action.arguments_json = format!(r#"{{"path": "{path}", "content": "x"}}"#);
    proposal
}

pub fn propose(proposal: Proposal) -> Bytes {
    let request = v1::ProposeRequest { proposal: Some(proposal), wait_for_decision: true };
    request.encode_to_vec().into()
}

pub async fn get(client: &Client, call_id: &str) -> Call {
    let request = v1::GetCallRequest { call_id: call_id.into() };
    let bytes = client.unary("/cmdop.v1.Calls/Get", request.encode_to_vec().into()).await.expect("call");
    Call::decode(bytes).expect("a call")
}

/// A host daemon without a machine.
pub struct FakeHost {
    pub frames: mpsc::Receiver<ServerToHost>,
    pub outbound: mpsc::Sender<HostToServer>,
    pub state: watch::Receiver<LinkState>,
    pub link: JoinHandle<Result<(), v1::Error>>,
    stop: CancellationToken,
}

pub fn hello(name: &str) -> HostHello {
    let host = v1::Host {
        name: name.into(),
        workspaces: vec!["/srv/app".into()],
        tools: vec!["files.read".into(), "files.write".into(), "terminal.exec".into()],
        home: "/root".into(),
        ..v1::Host::default()
    };
    HostHello { min_protocol: 1, max_protocol: 1, host: Some(host) }
}

impl FakeHost {
    /// Dials; does not wait to be attached.
    pub fn dial(address: &str, hello: HostHello) -> Self {
        let (inbound, frames) = mpsc::channel(64);
        let (outbound, queued) = mpsc::channel(64);
        let (state, seen) = watch::channel(LinkState::Dialling);
        let stop = CancellationToken::new();
        let mut options = LinkOptions::new(address);
        options.backoff = (Duration::from_millis(5), Duration::from_millis(50));
        let ends = Ends { inbound, outbound: queued, state };
        let link = tokio::spawn(host::attach(options, hello, ends, stop.clone().cancelled_owned()));
        Self { frames, outbound, state: seen, link, stop }
    }

    pub async fn attach(address: &str, name: &str) -> Self {
        let mut host = Self::dial(address, hello(name));
        host.welcomed().await;
        host
    }

    pub async fn welcomed(&mut self) -> v1::ServerWelcome {
        match self.next().await {
            server_to_host::Kind::Welcome(welcome) => welcome,
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    pub async fn next(&mut self) -> server_to_host::Kind {
        within(self.frames.recv()).await.expect("a frame").kind.expect("content")
    }

    /// The next permit to execute.
    pub async fn permit(&mut self) -> Permit {
        loop {
            match self.next().await {
                server_to_host::Kind::Execute(execute) => {
                    let permit = execute.permit.expect("a permit").permit;
                    return Permit::decode(&*permit).expect("permit decodes");
                }
                server_to_host::Kind::Acknowledge(_) => {}
                other => panic!("expected a permit, got {other:?}"),
            }
        }
    }

    pub async fn send(&self, kind: host_to_server::Kind) {
        within(self.outbound.send(HostToServer { kind: Some(kind) })).await.expect("link lives");
    }

    pub async fn started(&self, permit: &Permit) {
        let started = v1::Started { permit_id: permit.permit_id.clone(), call_id: permit.call_id.clone() };
        self.send(host_to_server::Kind::Started(started)).await;
    }

    pub async fn output(&self, permit: &Permit, sequence: u64, data: &[u8]) {
        let output = Output {
            call_id: permit.call_id.clone(),
            stream: v1::OutputStream::Stdout.into(),
            sequence,
            data: data.to_vec(),
            dropped: 0,
        };
        self.send(host_to_server::Kind::Output(output)).await;
    }

    pub async fn report(&self, permit: &Permit) {
        self.report_content(permit, "hi").await;
    }

    pub async fn report_content(&self, permit: &Permit, content: &str) {
        let size = content.len();
        let result = format!(
            r#"{{"content":"{content}","encoding":"utf-8","size":{size},"sha256":"{}","eof":true}}"#,
            "0".repeat(64)
        );
        let report = Report {
            permit_id: permit.permit_id.clone(),
            call_id: permit.call_id.clone(),
            stage: permit.stage,
            outcome: v1::Outcome::Applied.into(),
            result: Some(v1::ToolResult { ok: true, result_json: result, ..v1::ToolResult::default() }),
            observation: Some(v1::Observation::default()),
            layer_held: false,
            error: None,
        };
        self.send(host_to_server::Kind::Report(report)).await;
    }

    /// Reports that a file was created, or would be if the permit is for a preview.
    pub async fn report_created(&self, permit: &Permit, path: &str) {
        let effects = vec![v1::ObservedEffect {
            kind: v1::EffectKind::FileCreate.into(),
            target: path.into(),
            count: 1,
            bytes: 1,
            reversible: true,
            file: None,
            network: None,
            process: None,
        }];
        let previewed = permit.stage() == v1::Stage::Preview;
        let outcome = if previewed { v1::Outcome::NotApplied } else { v1::Outcome::Applied };
        let result = format!(r#"{{"size":1,"sha256":"{}","created":true}}"#, "0".repeat(64));
        let report = Report {
            permit_id: permit.permit_id.clone(),
            call_id: permit.call_id.clone(),
            stage: permit.stage,
            outcome: outcome.into(),
            result: Some(v1::ToolResult { ok: true, result_json: result, ..v1::ToolResult::default() }),
            observation: Some(v1::Observation {
                digest: observation_digest(&effects),
                effects,
                ..v1::Observation::default()
            }),
            layer_held: previewed,
            error: None,
        };
        self.send(host_to_server::Kind::Report(report)).await;
    }

    /// Answers every permit at once, until stopped.
    pub fn obey(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(frame) = self.frames.recv().await {
                if let Some(server_to_host::Kind::Execute(execute)) = frame.kind {
                    let permit = Permit::decode(&*execute.permit.expect("a permit").permit).expect("permit decodes");
                    self.started(&permit).await;
                    self.report(&permit).await;
                }
            }
        })
    }

    pub async fn stopped(self) {
        self.stop.cancel();
        within(self.link).await.expect("link task").expect("link ends well");
    }
}

/// A `Sessions.Connect` stream spoken frame by frame.
pub struct RawSessions {
    pub frames: mpsc::UnboundedSender<ClientFrame>,
    pub inbound: Streaming<ServerFrame>,
}

impl RawSessions {
    pub async fn connect(server: &Server) -> Self {
        let (frames, queued) = mpsc::unbounded_channel();
        let mut grpc = Grpc::new(server.channel().await);
        within(grpc.ready()).await.expect("ready");
        let codec = tonic_prost::ProstCodec::<ClientFrame, ServerFrame>::default();
        let path = PathAndQuery::from_static("/cmdop.v1.Sessions/Connect");
        let request = tonic::Request::new(UnboundedReceiverStream::new(queued));
        let inbound = within(grpc.streaming(request, path, codec)).await.expect("stream").into_inner();
        Self { frames, inbound }
    }

    /// Says hello and is welcomed.
    pub async fn welcomed(server: &Server) -> Self {
        let mut stream = Self::connect(server).await;
        stream.send(0, v1::client_frame::Kind::Hello(client_hello(1, 1)));
        let welcome = stream.next().await;
        assert!(matches!(welcome.kind, Some(v1::server_frame::Kind::Welcome(_))), "{welcome:?}");
        stream
    }

    pub fn send(&self, session: u32, kind: v1::client_frame::Kind) {
        self.frames.send(ClientFrame { session, kind: Some(kind) }).expect("stream is open");
    }

    pub fn open(&self, session: u32, credits: u32) {
        self.send(session, v1::client_frame::Kind::Open(v1::OpenSession { actor: Some(actor()), credits }));
    }

    pub fn propose(&self, session: u32, request_id: u64, proposal: Proposal) {
        let proposal = v1::SessionProposal { request_id, proposal: Some(proposal), ..v1::SessionProposal::default() };
        self.send(session, v1::client_frame::Kind::Propose(proposal));
    }

    pub async fn next(&mut self) -> ServerFrame {
        within(self.inbound.message()).await.expect("no error").expect("a frame")
    }

    /// The next frame, which must close that session with an error.
    pub async fn closed(&mut self, session: u32) -> v1::Error {
        let frame = self.next().await;
        match frame.kind {
            Some(v1::server_frame::Kind::Closed(closed)) if frame.session == session => closed.error.expect("an error"),
            _ => panic!("expected session {session} to be closed, got {frame:?}"),
        }
    }
}

pub fn client_hello(min_protocol: u32, max_protocol: u32) -> v1::ClientHello {
    v1::ClientHello { min_protocol, max_protocol, client: "test".into() }
}
