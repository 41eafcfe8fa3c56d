//! A host's end of the link: it checks permits as a host does, and reports what a test says.

use cmdop_contract::reason;
use cmdop_contract::v1::{
    self, HostHello, HostToServer, Observation, Outcome, Permit, Reason, Report, ServerToHost, Stage, ToolResult,
    host_to_server, server_to_host,
};
use cmdop_gate::{Attachment, Gate};
use cmdop_ledger::permit;
use tokio::sync::mpsc;

use super::{HOST, Life, observed, within};

pub fn hello(name: &str) -> HostHello {
    let host = v1::Host {
        name: name.into(),
        workspaces: vec!["/srv/app".into()],
        tools: ["files.read", "files.write", "terminal.exec"].map(String::from).into(),
        home: "/root".into(),
        ..v1::Host::default()
    };
    HostHello { min_protocol: 1, max_protocol: 1, host: Some(host) }
}

pub struct HostEnd {
    pub attachment: Attachment,
    pub frames: mpsc::Receiver<ServerToHost>,
    key: [u8; 32],
}

impl HostEnd {
    pub async fn attach(life: &Life) -> Self {
        Self::named(&life.gate, life.ledger.verifying_key(), HOST).await
    }

    /// A host that says that it holds a command to its permit.
    pub async fn confining(life: &Life) -> Self {
        let mut hello = hello(HOST);
        let capability =
            v1::Capability { name: cmdop_policy::decide::CONFINES.into(), available: true, detail: String::new() };
        hello.host.as_mut().expect("a host").capabilities.push(capability);
        Self::greeting(&life.gate, life.ledger.verifying_key(), hello).await
    }

    /// A host with the tools of deployments.
    pub async fn deploying(life: &Life) -> Self {
        let mut hello = hello(HOST);
        hello.host.as_mut().expect("a host").tools.push("deploy.release".into());
        Self::greeting(&life.gate, life.ledger.verifying_key(), hello).await
    }

    pub async fn named(gate: &Gate, key: [u8; 32], name: &str) -> Self {
        Self::greeting(gate, key, hello(name)).await
    }

    async fn greeting(gate: &Gate, key: [u8; 32], hello: HostHello) -> Self {
        let (frames, received) = mpsc::channel(64);
        let (attachment, _) = gate.attach(hello, frames).expect("attached");
        attachment.ready().await;
        Self { attachment, frames: received, key }
    }

    pub async fn next(&mut self) -> server_to_host::Kind {
        within(self.frames.recv()).await.expect("a frame").kind.expect("content")
    }

    /// The next frame, which must be a permit that a host would admit.
    pub async fn execute(&mut self) -> Permit {
        match self.next().await {
            server_to_host::Kind::Execute(execute) => {
                let signed = execute.permit.expect("a permit");
                let verified = permit::verify(&signed, &self.key, self.attachment.name(), cmdop_ledger::now());
                (*verified.expect("a valid permit")).clone()
            }
            other => panic!("expected a permit, got {other:?}"),
        }
    }

    /// The next frame, which must acknowledge this permit's report. A driver that starts while the host
    /// attaches may ask about its permit once more at the news of the attachment.
    pub async fn acknowledged(&mut self, permit: &Permit) {
        loop {
            match self.next().await {
                server_to_host::Kind::Acknowledge(told) => return assert_eq!(told.permit_id, permit.permit_id),
                server_to_host::Kind::Inquire(_) => {}
                other => panic!("expected an acknowledgement, got {other:?}"),
            }
        }
    }

    /// The next frame, which must ask about this permit.
    pub async fn inquired(&mut self, permit: &Permit) {
        match self.next().await {
            server_to_host::Kind::Inquire(inquire) => assert_eq!(inquire.permit_id, permit.permit_id),
            other => panic!("expected an inquiry, got {other:?}"),
        }
    }

    /// The next frame, which must cancel or discard for this call.
    pub async fn told_to(&mut self, what: &str, call_id: &str) {
        let (told, about) = match self.next().await {
            server_to_host::Kind::Cancel(cancel) => ("cancel", cancel.call_id),
            server_to_host::Kind::Discard(discard) => ("discard", discard.call_id),
            other => panic!("expected to be told to {what}, got {other:?}"),
        };
        assert_eq!((told, &*about), (what, call_id));
    }

    /// All frames that are there now.
    pub fn waiting(&mut self) -> Vec<server_to_host::Kind> {
        std::iter::from_fn(|| self.frames.try_recv().ok()).filter_map(|frame| frame.kind).collect()
    }

    /// Is no permit among the frames that are there now?
    pub fn got_no_permit(&mut self) -> bool {
        !self.waiting().iter().any(|frame| matches!(frame, server_to_host::Kind::Execute(_)))
    }

    pub async fn send(&self, kind: host_to_server::Kind) {
        within(self.attachment.frame(HostToServer { kind: Some(kind) })).await;
    }

    pub async fn started(&self, permit: &Permit) {
        let started = v1::Started { permit_id: permit.permit_id.clone(), call_id: permit.call_id.clone() };
        self.send(host_to_server::Kind::Started(started)).await;
    }

    pub async fn forgotten(&self, permit: &Permit) {
        self.forgotten_by(permit, 0).await;
    }

    /// Says that this ledger has no trace of a permit.
    pub async fn forgotten_by(&self, permit: &Permit, ledger: i64) {
        let (permit_id, call_id) = (permit.permit_id.clone(), permit.call_id.clone());
        let forgotten = v1::Forgotten { permit_id, call_id, ledger };
        self.send(host_to_server::Kind::Forgotten(forgotten)).await;
    }

    pub async fn report(&self, report: Report) {
        self.send(host_to_server::Kind::Report(report)).await;
    }

    /// Reports that `FILE` was created, or would be if this is a preview.
    pub async fn report_created(&self, permit: &Permit) {
        self.report(report(permit, observed(&["file.create:/srv/app/new.txt"]))).await;
    }

    /// Reports a look that changed nothing.
    pub async fn report_look(&self, permit: &Permit) {
        self.report(report(permit, observed(&[]))).await;
    }
}

/// What a host reports that did what the permit says and measured this.
pub fn report(permit: &Permit, observation: Observation) -> Report {
    let preview = permit.stage() == Stage::Preview;
    let outcome = if preview { Outcome::NotApplied } else { Outcome::Applied };
    let result = ToolResult { ok: true, result_json: "{}".into(), ..ToolResult::default() };
    Report {
        permit_id: permit.permit_id.clone(),
        call_id: permit.call_id.clone(),
        stage: permit.stage,
        outcome: outcome.into(),
        result: Some(result),
        observation: Some(observation),
        layer_held: preview,
        error: None,
    }
}

/// What a host reports that failed.
pub fn failure(permit: &Permit, outcome: Outcome, why: Reason) -> Report {
    let error = reason::error(why, "the host says why");
    Report {
        outcome: outcome.into(),
        result: None,
        observation: None,
        layer_held: false,
        error: Some(error),
        ..report(permit, observed(&[]))
    }
}
