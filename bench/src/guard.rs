//! The host of the measured server: it answers every permit at once and touches no machine, so that
//! what is measured is the server.

use cmdop_contract::digest::observation_digest;
use cmdop_contract::v1::{
    self, EffectKind, HostHello, HostToServer, ObservedEffect, Outcome, Permit, Report, ServerToHost, Stage, Started,
    ToolResult, host_to_server, server_to_host,
};
use cmdop_link::host::{Ends, LinkOptions, LinkState, attach};
use prost::Message as _;
use tokio::sync::{mpsc, watch};

use crate::Fallible;
use crate::contracts::HOST;

/// Frames under way in each direction.
const FRAMES: usize = 4_096;

/// Attaches and answers until it is killed. Prints one line when it is attached.
pub(crate) async fn host(address: &str) -> Fallible<()> {
    let (inbound, frames) = mpsc::channel(FRAMES);
    let (outbound, queued) = mpsc::channel(FRAMES);
    let (state, _) = watch::channel(LinkState::Dialling);
    let host = v1::Host {
        name: HOST.into(),
        workspaces: vec!["/srv/app".into()],
        tools: ["files.write", "files.read", "files.list", "files.delete"].map(str::to_owned).into(),
        ..v1::Host::default()
    };
    let hello = HostHello { min_protocol: 1, max_protocol: 1, host: Some(host) };
    let ends = Ends { inbound, outbound: queued, state };
    tokio::spawn(answer(frames, outbound));
    attach(LinkOptions::new(address), hello, ends, std::future::pending()).await.map_err(|error| error.message.into())
}

async fn answer(mut frames: mpsc::Receiver<ServerToHost>, outbound: mpsc::Sender<HostToServer>) {
    while let Some(frame) = frames.recv().await {
        match frame.kind {
            Some(server_to_host::Kind::Welcome(_)) => println!("attached"),
            Some(server_to_host::Kind::Execute(execute)) => {
                let signed = execute.permit.unwrap_or_default();
                let permit = Permit::decode(&*signed.permit).expect("the server signs permits");
                for kind in replies(&permit) {
                    let _ = outbound.send(HostToServer { kind: Some(kind) }).await;
                }
            }
            _ => {}
        }
    }
}

fn replies(permit: &Permit) -> [host_to_server::Kind; 2] {
    let started = Started { permit_id: permit.permit_id.clone(), call_id: permit.call_id.clone() };
    let action = permit.action.clone().unwrap_or_default();
    let (effects, result) = outcome(&action, permit);
    let observation = v1::Observation { digest: observation_digest(&effects), effects, ..Default::default() };
    let previewed = permit.stage() == Stage::Preview;
    let report = Report {
        permit_id: permit.permit_id.clone(),
        call_id: permit.call_id.clone(),
        stage: permit.stage,
        outcome: if previewed { Outcome::NotApplied } else { Outcome::Applied }.into(),
        result: Some(ToolResult { ok: true, result_json: result.into(), ..ToolResult::default() }),
        observation: Some(observation),
        layer_held: previewed,
        error: None,
    };
    [host_to_server::Kind::Started(started), host_to_server::Kind::Report(report)]
}

fn outcome(action: &v1::Action, permit: &Permit) -> (Vec<ObservedEffect>, &'static str) {
    let target = permit.effects.first().map(|effect| effect.target.clone()).unwrap_or_default();
    let effect = |kind: EffectKind| {
        vec![ObservedEffect {
            kind: kind.into(),
            target: target.clone(),
            count: 1,
            bytes: 256,
            reversible: true,
            file: None,
            network: None,
            process: None,
        }]
    };
    const DIGEST: &str =
        r#"{"size":256,"sha256":"0000000000000000000000000000000000000000000000000000000000000000","created":true}"#;
    const CONTENT: &str = r#"{"content":"{}","encoding":"utf-8","size":2,"sha256":"0000000000000000000000000000000000000000000000000000000000000000","eof":true}"#;
    match action.tool.as_str() {
        "files.write" => (effect(EffectKind::FileCreate), DIGEST),
        "files.delete" => (effect(EffectKind::FileDelete), r#"{"count":1,"bytes":256}"#),
        "files.list" => (Vec::new(), r#"{"entries":[],"truncated":false}"#),
        _ => (Vec::new(), CONTENT),
    }
}
