//! A gate over a real ledger in a temporary directory, which can die and be started again; a host's
//! end of the link that does what a test says; a judge with a script.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod host;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cmdop_contract::digest::observation_digest;
use cmdop_contract::effect::{is_containable, parse_kind};
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    self, Action, Actor, ApprovalVerdict, AutonomyLevel, Call, CallState, ExpectedEffect, Judgement, JudgementReply,
    JudgementRequest, Observation, ObservedEffect, PolicyFile, PredictedEffect, Proposal, event,
};
use cmdop_gate::{BoxFuture, Gate, Judge, Options, Ticket};
use cmdop_ledger::clock::Machine;
use cmdop_ledger::{Ledger, Time};
use cmdop_policy::engine::Engine;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use host::{HostEnd, failure, hello, report};

pub const HOST: &str = "web";
pub const FILE: &str = "/srv/app/new.txt";

/// Waits for something that must happen soon.
pub async fn within<T>(act: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), act).await.expect("it happens in time")
}

/// Waits until a condition holds.
pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    within(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Answers with what a test says; by default every command creates `FILE`.
pub struct Script(Box<dyn Fn(JudgementRequest) -> BoxFuture<Option<JudgementReply>> + Send + Sync>);

impl Script {
    pub fn new(
        answer: impl Fn(JudgementRequest) -> BoxFuture<Option<JudgementReply>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self(Box::new(answer)))
    }

    /// Every invocation has these effects.
    pub fn does(effects: &'static [&'static str]) -> Arc<Self> {
        Self::new(move |request| Box::pin(std::future::ready(Some(judged(&request, effects)))))
    }
}

impl Judge for Script {
    fn judge(&self, request: JudgementRequest) -> BoxFuture<Option<JudgementReply>> {
        (self.0)(request)
    }
}

pub fn judged(request: &JudgementRequest, effects: &[&str]) -> JudgementReply {
    let effects: Vec<_> = effects.iter().map(|effect| predicted(effect)).collect();
    let judgement = Judgement { effects, ..Judgement::default() };
    JudgementReply { id: request.id, judgements: vec![judgement; request.invocations.len()] }
}

fn predicted(effect: &str) -> PredictedEffect {
    let (kind, target) = split(effect);
    PredictedEffect {
        kind: kind.into(),
        target,
        certain: true,
        containable: is_containable(kind),
        source: "test".into(),
        recoverable: false,
    }
}

fn split(effect: &str) -> (v1::EffectKind, String) {
    let (kind, target) = effect.split_once(':').expect("kind:target");
    (parse_kind(kind).expect("a kind"), target.to_owned())
}

/// How a life of the server is set up.
pub struct Setup {
    pub options: Options,
    pub policies: Vec<PolicyFile>,
    pub entities: v1::PolicyEntities,
    pub judge: Arc<dyn Judge>,
    pub time: Arc<dyn Time>,
}

impl Default for Setup {
    fn default() -> Self {
        let mut options = Options { host_grace: Duration::from_secs(5), ..Options::default() };
        for (agent, level) in
            [("asker", AutonomyLevel::Ask), ("auto", AutonomyLevel::Auto), ("shadow", AutonomyLevel::Shadow)]
        {
            options.autonomy.agents.insert(agent.into(), level.into());
        }
        Self {
            options,
            policies: Vec::new(),
            entities: v1::PolicyEntities::default(),
            judge: Script::does(&["file.create:/srv/app/new.txt"]),
            time: Arc::new(Machine),
        }
    }
}

/// One life of a server.
pub struct Life {
    pub gate: Gate,
    pub ledger: Ledger,
    runtime: Runtime,
}

impl Life {
    pub fn begin(dir: &TempDir) -> Self {
        Self::with(dir, |_| {})
    }

    /// Its ledger is in this directory.
    pub fn at(dir: &Path) -> Self {
        Self::with_at(dir, |_| {})
    }

    pub fn with(dir: &TempDir, set: impl FnOnce(&mut Setup)) -> Self {
        Self::with_at(dir.path(), set)
    }

    fn with_at(dir: &Path, set: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        set(&mut setup);
        let ledger = Ledger::open(dir, &cmdop_ledger::Options { time: setup.time }).expect("the ledger opens");
        let policy =
            v1::PolicySet { files: setup.policies, entities: Some(setup.entities), ..v1::PolicySet::default() };
        let engine = Engine::load_set(&policy).expect("the policies load");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let started = Gate::start(setup.options, ledger.clone(), engine, Registry::builtin(), setup.judge);
        let gate = runtime.block_on(within(started)).expect("the gate starts");
        Self { gate, ledger, runtime }
    }

    pub fn run<T>(&self, act: impl Future<Output = T>) -> T {
        self.runtime.block_on(act)
    }

    /// Ends it as `kill -9` would: no drain, every task dropped where it stands.
    pub fn crash(self) {
        let Self { gate, ledger, runtime } = self;
        drop((gate, ledger));
        runtime.shutdown_timeout(Duration::from_secs(20));
    }

    /// The settled call, which must be the very document that the ledger has.
    pub async fn settled(&self, ticket: &mut Ticket) -> Call {
        let told = within(ticket.settled_or_unknown()).await.expect("settled");
        let stored = within(self.ledger.call(&told.call_id)).await.expect("readable").expect("recorded");
        assert_eq!(*told, stored, "what is told is what is recorded");
        if let Some(approval) = &stored.approval {
            let listed = within(self.ledger.approval(&approval.approval_id)).await.expect("readable");
            assert_eq!(listed.as_ref(), Some(approval), "what is listed is what the call says");
        }
        self.permits_are_single(&told.call_id).await;
        stored
    }

    /// At most one permit for each attempt's stage was ever recorded.
    pub async fn permits_are_single(&self, call_id: &str) {
        let trace = within(self.ledger.trace(call_id)).await.expect("readable").expect("recorded");
        let mut permits = BTreeMap::new();
        for event in trace.events {
            if let Some(event::Kind::CallPermitted(permitted)) = event.kind {
                let permit = permitted.permit.expect("a permit");
                *permits.entry((permit.attempt, permit.stage)).or_insert(0) += 1;
            }
        }
        assert!(permits.values().all(|count| *count == 1), "{permits:?}");
    }

    pub async fn decide(&self, call: &Call, verdict: ApprovalVerdict) -> Result<v1::Approval, v1::Error> {
        let approval = call.approval.clone().expect("an approval");
        self.gate.decide_approval(verdict_on(&approval, verdict)).await
    }

    /// Proposes and waits until the call is held.
    pub async fn held(&self, proposal: Proposal, host: &mut HostEnd) -> (Ticket, Call) {
        let mut ticket = self.gate.submit(proposal).await.expect("taken");
        let waiting = ticket.held_or_settled();
        let call = tokio::select! {
            call = within(waiting) => call.expect("held"),
            preview = host.execute() => {
                host.report_created(&preview).await;
                host.acknowledged(&preview).await;
                within(ticket.held_or_settled()).await.expect("held")
            }
        };
        assert!(matches!(call.state(), CallState::Held | CallState::DiffHeld), "{call:?}");
        (ticket, (*call).clone())
    }
}

pub fn verdict_on(approval: &v1::Approval, verdict: ApprovalVerdict) -> v1::DecideApprovalRequest {
    v1::DecideApprovalRequest {
        approval_id: approval.approval_id.clone(),
        verdict: verdict.into(),
        approver: "grace".into(),
        comment: "as seen".into(),
        digest: approval.digest.clone(),
        confirm: approval.confirm.clone(),
        ..v1::DecideApprovalRequest::default()
    }
}

/// What the files of a ledger say now to someone who has nothing else: a copy of its log, read anew.
pub async fn on_disk(dir: &Path, call_id: &str) -> Option<Call> {
    let copy = tempfile::tempdir().expect("temporary directory");
    std::fs::copy(dir.join("permit.key"), copy.path().join("permit.key")).expect("the key");
    std::fs::create_dir(copy.path().join("log")).expect("a directory");
    for entry in std::fs::read_dir(dir.join("log")).expect("the log") {
        let entry = entry.expect("an entry");
        // How far it was acknowledged may be told of later than the log was copied.
        if entry.path().extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        std::fs::copy(entry.path(), copy.path().join("log").join(entry.file_name())).expect("a copy");
    }
    let reader = Ledger::open(copy.path(), &cmdop_ledger::Options::default()).expect("the copy opens");
    within(reader.call(call_id)).await.expect("readable")
}

pub fn proposal(agent: &str, key: &str, tool: &str, arguments: &str) -> Proposal {
    let action = Action {
        tool: tool.into(),
        host: HOST.into(),
        intent: "for a test".into(),
        arguments_json: arguments.into(),
        expect: Vec::new(),
    };
    let actor = Actor { tenant: "local".into(), user: "ada".into(), agent: agent.into(), ..Actor::default() };
    Proposal {
        action: Some(action),
        actor: Some(actor),
        idempotency_key: key.into(),
        author_attempt: 1,
        ..Proposal::default()
    }
}

/// A look, which is permitted at once.
pub fn read(key: &str) -> Proposal {
    proposal("asker", key, "files.read", r#"{"path": "/srv/app/readme.txt"}"#)
}

/// A look that a person decides on before it runs.
pub fn read_secret(key: &str) -> Proposal {
    proposal("asker", key, "files.read", r#"{"path": "/root/.ssh/id_ed25519"}"#)
}

/// A write: at once for a person and an agent at `auto`, previewed and held for `asker`.
pub fn write(agent: &str, key: &str) -> Proposal {
    proposal(agent, key, "files.write", &format!(r#"{{"path": "{FILE}", "content": "x"}}"#))
}

/// A command that says that it creates `FILE`.
pub fn touch(agent: &str, key: &str) -> Proposal {
    let arguments = format!(r#"{{"command": "touch {FILE}", "cwd": "/srv/app"}}"#);
    let mut proposal = proposal(agent, key, "terminal.exec", &arguments);
    let (kind, target) = split("file.create:/srv/app/new.txt");
    let expect = ExpectedEffect { kind: kind.into(), target, ..ExpectedEffect::default() };
    proposal.action.as_mut().expect("an action").expect.push(expect);
    proposal
}

/// What a host measured, digest and all.
pub fn observed(effects: &[&str]) -> Observation {
    let effects: Vec<_> = effects
        .iter()
        .map(|effect| {
            let (kind, target) = split(effect);
            ObservedEffect {
                kind: kind.into(),
                target,
                count: 1,
                bytes: 1,
                reversible: true,
                ..ObservedEffect::default()
            }
        })
        .collect();
    Observation { digest: observation_digest(&effects), effects, ..Observation::default() }
}
