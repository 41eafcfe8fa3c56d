//! A host daemon in this process, and the server's end of its link.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmdop_contract::v1::{
    EffectKind, Execute, HostConfig, HostToServer, Permit, Reason, Report, ServerToHost, SignedPermit, Stage,
    host_to_server, server_to_host,
};
use cmdop_host::{Daemon, Spawner};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{HOST, Server, permit, with_effects};

/// Runs a case with spawners made before there were threads, and an empty tree to work in.
pub fn on_runtime<F: Future<Output = ()>>(directory: &Path, case: impl FnOnce(Host) -> F) {
    let spawners = (0..3).map(|_| Spawner::start().expect("spawner")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let tree = directory.join("srv");
    fs::create_dir_all(&tree).expect("directory");
    runtime.block_on(case(Host {
        directory: directory.to_owned(),
        tree,
        spawners,
        max_running: 0,
        server: String::new(),
    }));
}

/// A machine on which daemons can be started, one after the other.
pub struct Host {
    pub directory: PathBuf,
    /// Where the calls of the tests work.
    pub tree: PathBuf,
    pub spawners: Vec<Spawner>,
    pub max_running: u32,
    /// Where its server is said to listen.
    pub server: String,
}

/// A running daemon, seen from the server's end of the link.
pub struct Link {
    to_host: mpsc::Sender<ServerToHost>,
    from_host: mpsc::Receiver<HostToServer>,
    pub drain: CancellationToken,
    daemon: JoinHandle<Result<(), cmdop_host::Error>>,
}

impl Host {
    pub fn config(&self) -> HostConfig {
        HostConfig {
            name: HOST.into(),
            state_dir: self.directory.join("state").to_string_lossy().into_owned(),
            permit_key: Server::new(1).verifying_key(),
            max_running: self.max_running,
            server: self.server.clone(),
            ..HostConfig::default()
        }
    }

    pub fn start(&mut self) -> Link {
        let daemon = self.open();
        self.serve(daemon)
    }

    pub fn open(&mut self) -> Daemon {
        Daemon::open(self.config(), self.spawners.pop().expect("a spawner")).expect("open")
    }

    pub fn serve(&self, daemon: Daemon) -> Link {
        let (to_host, inbound) = mpsc::channel(16);
        let (outbound, from_host) = mpsc::channel(64);
        let drain = CancellationToken::new();
        let daemon = tokio::spawn(daemon.run(inbound, outbound, drain.clone()));
        Link { to_host, from_host, drain, daemon }
    }

    /// A permit for a native tool with changes anywhere in the tree.
    pub fn permit(&self, call: &str, stage: Stage, tool: &str, arguments: &Value) -> Permit {
        let kinds = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete];
        with_effects(permit(call, stage, tool, arguments), &kinds, &format!("{}/**", self.tree.display()))
    }

    pub fn write(&self, call: &str, stage: Stage, content: &str) -> Permit {
        let arguments = json!({"path": self.tree.join("file"), "content": content});
        self.permit(call, stage, "files.write", &arguments)
    }

    pub fn content(&self) -> Option<String> {
        fs::read_to_string(self.tree.join("file")).ok()
    }
}

impl Link {
    pub async fn send(&self, kind: server_to_host::Kind) {
        self.to_host.send(ServerToHost { kind: Some(kind) }).await.expect("the daemon runs");
    }

    pub async fn sign_and_send(&self, permit: &Permit) {
        self.execute(Server::new(1).sign(permit)).await;
    }

    pub async fn execute(&self, permit: SignedPermit) {
        self.send(server_to_host::Kind::Execute(Execute { permit: Some(permit) })).await;
    }

    pub async fn next(&mut self) -> host_to_server::Kind {
        let frame = tokio::time::timeout(Duration::from_secs(90), self.from_host.recv()).await;
        frame.expect("a frame in time").expect("the daemon runs").kind.expect("a kind")
    }

    pub async fn report(&mut self) -> Report {
        loop {
            if let host_to_server::Kind::Report(report) = self.next().await {
                return report;
            }
        }
    }

    /// The report about a permit that is sent now.
    pub async fn report_of(&mut self, permit: &Permit) -> Report {
        self.sign_and_send(permit).await;
        self.report().await
    }

    /// Drains the daemon; what it still had to say.
    pub async fn stop(mut self) -> Vec<host_to_server::Kind> {
        self.drain.cancel();
        let mut rest = Vec::new();
        while let Some(frame) = self.from_host.recv().await {
            rest.extend(frame.kind);
        }
        self.daemon.await.expect("no panic").expect("a clean end");
        rest
    }
}

/// Why a report says that nothing was done.
pub fn reason(report: &Report) -> Reason {
    report.error.as_ref().map_or(Reason::Unspecified, cmdop_contract::v1::Error::reason)
}
