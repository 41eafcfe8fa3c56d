//! The order in which things become true: intent, permit, effect, result, acknowledgement.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::digest::observation_digest;
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    self, Action, Actor, EffectKind, Host, HostHello, ObservedEffect, Outcome, Permit, Proposal, Report, Started,
    ToolResult, host_to_server, server_to_host,
};
use cmdop_gate::{Gate, NoJudge, Options};
use cmdop_ledger::Ledger;
use cmdop_policy::engine::Engine;
use prost::Message as _;
use tokio::sync::mpsc;

async fn within<T>(act: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), act).await.expect("it happens in time")
}

/// How often a text stands in the log's files, as another process would find it there.
fn on_disk(dir: &Path, text: &str) -> usize {
    let segments = std::fs::read_dir(dir.join("log")).expect("log directory").flatten();
    let count = |path: std::path::PathBuf| {
        let bytes = std::fs::read(path).expect("a segment");
        bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    };
    segments.map(|entry| count(entry.path())).sum()
}

fn hello() -> HostHello {
    let host = Host {
        name: "local".into(),
        workspaces: vec!["/srv/app".into()],
        tools: vec!["files.write".into()],
        ..Host::default()
    };
    HostHello { min_protocol: 1, max_protocol: 1, host: Some(host) }
}

fn write() -> Proposal {
    let action = Action {
        tool: "files.write".into(),
        host: "local".into(),
        intent: "leave a mark".into(),
        arguments_json: r#"{"path": "/srv/app/mark", "content": "x"}"#.into(),
        expect: Vec::new(),
    };
    let actor = Actor { user: "ada".into(), ..Actor::default() };
    Proposal { action: Some(action), actor: Some(actor), idempotency_key: "mark".into(), ..Proposal::default() }
}

fn created(permit: &Permit) -> Report {
    let effects = vec![ObservedEffect {
        kind: EffectKind::FileCreate.into(),
        target: "/srv/app/mark".into(),
        count: 1,
        bytes: 1,
        reversible: true,
        file: None,
        network: None,
        process: None,
    }];
    let result = format!(r#"{{"size":1,"sha256":"{}","created":true}}"#, "0".repeat(64));
    Report {
        permit_id: permit.permit_id.clone(),
        call_id: permit.call_id.clone(),
        stage: permit.stage,
        outcome: Outcome::Applied.into(),
        result: Some(ToolResult { ok: true, result_json: result, ..ToolResult::default() }),
        observation: Some(v1::Observation {
            digest: observation_digest(&effects),
            effects,
            ..v1::Observation::default()
        }),
        layer_held: false,
        error: None,
    }
}

async fn gate(dir: &Path, engine: Engine) -> Gate {
    let ledger = Ledger::open(dir, &cmdop_ledger::Options::default()).expect("ledger opens");
    let gate = Gate::start(Options::default(), ledger, engine, Registry::builtin(), Arc::new(NoJudge));
    gate.await.expect("gate starts")
}

#[tokio::test]
async fn the_intent_is_durable_before_the_host_hears_of_it_and_the_result_before_its_acknowledgement() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let gate = gate(dir.path(), Engine::load(&[]).expect("default policy")).await;
    let (frames, mut heard) = mpsc::channel(16);
    let (attachment, _) = gate.attach(hello(), frames).expect("attaches");
    let mut ticket = within(gate.submit(write())).await.expect("submitted");

    let permit = loop {
        let frame = within(heard.recv()).await.expect("a frame").kind.expect("content");
        if let server_to_host::Kind::Execute(execute) = frame {
            break Permit::decode(&*execute.permit.expect("a permit").permit).expect("permit decodes");
        }
    };
    let intents = on_disk(dir.path(), &permit.permit_id);
    assert_eq!(intents, 1, "the intent is on disk when its permit reaches the host");
    assert_eq!(on_disk(dir.path(), "leave a mark"), 2, "so are the proposal and the permit's action");

    let started = Started { permit_id: permit.permit_id.clone(), call_id: permit.call_id.clone() };
    attachment.frame(v1::HostToServer { kind: Some(host_to_server::Kind::Started(started)) }).await;
    assert!(ticket.now().outcome() == Outcome::Unspecified, "nobody is told an outcome before the host reported one");
    attachment.frame(v1::HostToServer { kind: Some(host_to_server::Kind::Report(created(&permit))) }).await;

    loop {
        let frame = within(heard.recv()).await.expect("a frame").kind.expect("content");
        if let server_to_host::Kind::Acknowledge(acknowledged) = frame {
            assert_eq!(acknowledged.permit_id, permit.permit_id);
            break;
        }
    }
    let recorded = on_disk(dir.path(), &permit.permit_id);
    assert!(recorded > intents, "the result is on disk when its report is acknowledged");
    let call = within(ticket.settled_or_unknown()).await.expect("settles");
    assert_eq!(call.outcome(), Outcome::Applied);
    // What was observed is what the host measured, to the letter.
    assert_eq!(call.observation, created(&permit).observation);
}

#[tokio::test]
async fn an_error_of_policy_permits_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let failing = v1::PolicyFile {
        name: "failing.cedar".into(),
        // Passes validation, and overflows when it is evaluated.
        text: "@id(\"all\") @reason(\"All.\") permit (principal, action, resource is Path);\n\
               @id(\"odd\") @reason(\"Odd.\") @remedy(\"None.\") forbid (principal, action, resource is Path) \
               when { context.effects * 9223372036854775807 + 9223372036854775807 > 0 };"
            .into(),
        ..Default::default()
    };
    let gate = gate(dir.path(), Engine::load(&[failing]).expect("it loads")).await;
    let (frames, mut heard) = mpsc::channel(16);
    let _attachment = gate.attach(hello(), frames).expect("attaches");
    let call = within(gate.propose(write(), true)).await.expect("an answer");
    assert_eq!(call.error.as_ref().map(v1::Error::reason), Some(v1::Reason::PolicyError), "{call:?}");
    assert!(call.permits.is_empty());
    while let Ok(frame) = heard.try_recv() {
        assert!(!matches!(frame.kind, Some(server_to_host::Kind::Execute(_))), "nothing reaches the host");
    }
}
