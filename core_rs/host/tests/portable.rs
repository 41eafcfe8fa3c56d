//! The host of systems that confine and observe nothing, attached to a real server, does nothing that a person
//! did not agree to, does what was agreed, and claims to have seen none of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    self, Action, Actor, ApprovalStatus, ApprovalVerdict, AutonomyConfig, AutonomyLevel, Call, CallState, ClientConfig,
    EffectKind, ExpectedEffect, HostConfig, Outcome, Proposal, Reason, Stage,
};
use cmdop_gate::{Gate, NoJudge, Options};
use cmdop_host::{Daemon, Spawner};
use cmdop_ledger::Ledger;
use cmdop_link::client::Client;
use cmdop_link::host::{Ends, LinkOptions, LinkState, attach};
use cmdop_link::server::{self, ServeOptions};
use cmdop_policy::engine::Engine;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const HOST: &str = "laptop";

/// Reads while a link is swapped in and out.
const TRIES: usize = 100;

/// A server, its only host, and the tree in which agents may work.
struct World {
    client: Client,
    tree: PathBuf,
    dir: TempDir,
    keys: AtomicU32,
}

/// Waits for something that must happen soon.
async fn within<T>(act: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), act).await.expect("it happens in time")
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let real = dir.path().canonicalize().expect("a path");
        let tree = real.join("work");
        fs::create_dir(&tree).expect("a workspace");
        let ledger = Ledger::open(&real.join("server"), &cmdop_ledger::Options::default()).expect("ledger opens");
        let permit_key = ledger.verifying_key().to_vec();
        let autonomy = AutonomyConfig { default_level: AutonomyLevel::Auto.into(), ..AutonomyConfig::default() };
        let options = Options { autonomy, ..Options::default() };
        let engine = Engine::load(&[]).expect("default policy loads");
        let gate = Gate::start(options, ledger, engine, Registry::builtin(), Arc::new(NoJudge)).await.expect("gate");
        let listener = server::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("address").to_string();
        let forever = CancellationToken::new();
        tokio::spawn(server::serve(gate, ServeOptions::new(listener), forever.clone().cancelled_owned()));
        let config = HostConfig {
            name: HOST.into(),
            server: address.clone(),
            state_dir: real.join("state").to_string_lossy().into_owned(),
            permit_key,
            workspaces: vec![tree.to_string_lossy().into_owned(), real.join("state").to_string_lossy().into_owned()],
            ..HostConfig::default()
        };
        let daemon = Daemon::open(config, Spawner::start().expect("a spawner")).expect("a daemon");
        let (to_daemon, from_server) = mpsc::channel(64);
        let (to_server, from_daemon) = mpsc::channel(64);
        let (state, mut states) = watch::channel(LinkState::Dialling);
        let ends = Ends { inbound: to_daemon, outbound: from_daemon, state };
        tokio::spawn(attach(LinkOptions::new(&address), daemon.hello(), ends, std::future::pending()));
        tokio::spawn(daemon.run(from_server, to_server, forever));
        within(states.wait_for(|state| matches!(state, LinkState::Attached(_)))).await.expect("it attaches");
        let client = Client::connect(&ClientConfig { address, ..ClientConfig::default() }).expect("a client");
        Self { client, tree, dir, keys: AtomicU32::new(0) }
    }

    fn path(&self, name: &str) -> String {
        self.tree.join(name).to_string_lossy().into_owned()
    }

    async fn ask<T: Message + Default>(&self, method: &str, request: impl Message) -> Result<T, v1::Error> {
        let answer = within(self.client.unary(method, request.encode_to_vec().into())).await?;
        Ok(T::decode(answer).expect("an answer"))
    }

    /// Proposes as an agent at level `auto`, and answers once it is decided or over.
    async fn propose(&self, tool: &str, arguments: Value, expect: Vec<ExpectedEffect>) -> Call {
        self.propose_as("builder", tool, arguments, expect).await
    }

    async fn propose_as(&self, agent: &str, tool: &str, arguments: Value, expect: Vec<ExpectedEffect>) -> Call {
        let key = self.keys.fetch_add(1, Ordering::Relaxed);
        let action = Action {
            tool: tool.into(),
            host: HOST.into(),
            intent: "try what such a host does".into(),
            arguments_json: arguments.to_string(),
            expect,
        };
        let proposal = Proposal {
            action: Some(action),
            actor: Some(Actor { tenant: "local".into(), user: "ada".into(), agent: agent.into(), ..Actor::default() }),
            idempotency_key: format!("key-{key}"),
            author_attempt: 1,
            ..Proposal::default()
        };
        let request = v1::ProposeRequest { proposal: Some(proposal), wait_for_decision: false };
        self.ask("/cmdop.v1.Calls/Propose", request).await.expect("an answer")
    }

    async fn decide(&self, call: &Call, verdict: ApprovalVerdict) -> Call {
        let approval = call.approval.as_ref().unwrap_or_else(|| panic!("nobody was asked: {call:?}"));
        assert_eq!(approval.status(), ApprovalStatus::Pending);
        let request = v1::DecideApprovalRequest {
            approval_id: approval.approval_id.clone(),
            verdict: verdict.into(),
            approver: "grace".into(),
            comment: String::new(),
            digest: approval.digest.clone(),
            confirm: approval.confirm.clone(),
            ..v1::DecideApprovalRequest::default()
        };
        let _decided: v1::Approval = self.ask("/cmdop.v1.Approvals/Decide", request).await.expect("decided");
        self.over(&call.call_id).await
    }

    /// The call once it is over.
    async fn over(&self, call_id: &str) -> Call {
        within(async {
            loop {
                let request = v1::GetCallRequest { call_id: call_id.into() };
                let call: Call = self.ask("/cmdop.v1.Calls/Get", request).await.expect("the call");
                if call.score.is_some() {
                    return call;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// A change that a person is asked about first, and agrees to.
    async fn agreed(&self, tool: &str, arguments: Value, expect: Vec<ExpectedEffect>) -> Call {
        let held = self.propose(tool, arguments, expect).await;
        assert_eq!(held.state(), CallState::Held, "{tool}: {held:?}");
        let why = held.approval.as_ref().map(|approval| approval.why.clone()).unwrap_or_default();
        assert!(why.contains("a person decides before it runs"), "{tool}: {why}");
        self.decide(&held, ApprovalVerdict::Approve).await
    }
}

fn told(call: &Call) -> Value {
    let result = call.result.as_ref().unwrap_or_else(|| panic!("no result: {call:?}"));
    serde_json::from_str(&result.result_json).unwrap_or_else(|_| panic!("no result: {result:?}"))
}

fn reason(call: &Call) -> Reason {
    call.error.as_ref().map_or(Reason::Unspecified, v1::Error::reason)
}

/// It was done, nobody saw it, and that is what is recorded.
fn is_done_unseen(call: &Call, kinds: &[EffectKind]) {
    assert_eq!((call.outcome(), reason(call)), (Outcome::Applied, Reason::Unspecified), "{:?}", call.error);
    let observation = call.observation.as_ref().expect("an observation");
    assert!(observation.effects.is_empty(), "{:?}", observation.effects);
    for kind in kinds {
        assert!(observation.unobserved.iter().any(|unseen| unseen.kind() == *kind), "{kind:?}: {observation:?}");
    }
    let score = call.score.as_ref().expect("a score");
    assert!(!score.clean && score.success == Some(1.0), "{score:?}");
    assert_eq!(call.result.as_ref().map(|result| result.confinement.as_str()), Some("unconfined"));
    assert!(call.permits.iter().all(|permit| permit.stage() == Stage::Apply), "{:?}", call.permits);
}

fn expects(kind: EffectKind, target: &str) -> ExpectedEffect {
    ExpectedEffect { kind: kind.into(), target: target.into(), ..ExpectedEffect::default() }
}

#[tokio::test]
async fn the_host_says_what_it_cannot() {
    let world = World::new().await;
    let host: v1::Host =
        world.ask("/cmdop.v1.Hosts/Get", v1::GetHostRequest { name: HOST.into() }).await.expect("the host");
    let says = |name: &str| host.capabilities.iter().find(|found| found.name == name).map(|found| found.available);
    for missing in ["preview.overlay", "direct.landlock", "isolate.network", "observe.effects", "observe.processes"] {
        assert_eq!(says(missing), Some(false), "{missing}");
    }
    assert_eq!(says("execute.unconfined"), Some(true));
    assert!(host.tools.iter().any(|tool| tool == "files.write") && !host.tools.iter().any(|it| it == "files.undo"));
}

#[tokio::test]
async fn looks_run_at_once() {
    let world = World::new().await;
    fs::write(world.tree.join("a.txt"), "one\ntwo\n").expect("a file");
    fs::create_dir(world.tree.join("sub")).expect("a directory");
    let read = world.propose("files.read", json!({"path": world.path("a.txt")}), Vec::new()).await;
    assert_eq!(told(&world.over(&read.call_id).await)["content"], "one\ntwo\n");
    let stat = world.propose("files.stat", json!({"path": world.path("a.txt"), "digest": true}), Vec::new()).await;
    assert_eq!(told(&world.over(&stat.call_id).await)["size"], 8);
    let list = world.propose("files.list", json!({"path": world.path("")}), Vec::new()).await;
    assert_eq!(told(&world.over(&list.call_id).await)["entries"].as_array().map(Vec::len), Some(2));
    let search = json!({"path": world.path(""), "pattern": "^tw", "glob": "**/*.txt"});
    let search = world.propose("files.search", search, Vec::new()).await;
    let found = told(&world.over(&search.call_id).await);
    assert_eq!((&found["matches"][0]["line"], found["matches"].as_array().map(Vec::len)), (&json!(2), Some(1)));
}

#[tokio::test]
async fn every_change_is_asked_about_even_at_level_auto_and_done_as_agreed() {
    let world = World::new().await;
    let file = world.path("a.txt");
    let held = world.propose("files.write", json!({"path": file, "content": "one\n"}), Vec::new()).await;
    assert_eq!(held.state(), CallState::Held);
    assert!(!Path::new(&file).exists(), "nothing is done before somebody agreed");
    let denied = world.decide(&held, ApprovalVerdict::Reject).await;
    assert_eq!(denied.outcome(), Outcome::NotApplied);
    assert!(!Path::new(&file).exists());

    let write = world.agreed("files.write", json!({"path": file, "content": "one\ntwo\n"}), Vec::new()).await;
    is_done_unseen(&write, &[EffectKind::FileCreate]);
    let edits = json!([{"old": "two", "new": "three"}]);
    let edit = world.agreed("files.edit", json!({"path": file, "edits": edits}), Vec::new()).await;
    is_done_unseen(&edit, &[EffectKind::FileModify]);
    assert_eq!(fs::read_to_string(&file).expect("the file"), "one\nthree\n");
    let mkdir = world.agreed("files.mkdir", json!({"path": world.path("x/y"), "parents": 1}), Vec::new()).await;
    is_done_unseen(&mkdir, &[EffectKind::FileCreate]);
    let copy = json!({"from": file, "to": world.path("x/y/b.txt")});
    is_done_unseen(&world.agreed("files.copy", copy, Vec::new()).await, &[EffectKind::FileCreate]);
    let tree = json!({"from": world.path("x"), "to": world.path("z"), "recursive": true});
    is_done_unseen(&world.agreed("files.copy", tree, Vec::new()).await, &[EffectKind::FileCreate]);
    let moved = json!({"from": world.path("z/y/b.txt"), "to": world.path("c.txt")});
    is_done_unseen(&world.agreed("files.move", moved, Vec::new()).await, &[EffectKind::FileRename]);
    let delete = json!({"path": world.path("x"), "recursive": true});
    let delete = world.agreed("files.delete", delete, Vec::new()).await;
    is_done_unseen(&delete, &[EffectKind::FileDelete]);
    assert_eq!(told(&delete)["count"], 3);
    assert!(!world.tree.join("x").exists() && world.tree.join("z/y").is_dir());
    assert_eq!(fs::read_to_string(world.tree.join("c.txt")).expect("the file"), "one\nthree\n");
    let left: Vec<_> = fs::read_dir(&world.tree).expect("the tree").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 3, "nothing of the way there is left: {left:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_runs_as_another_gets_no_other_content() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    let file = world.path("program");
    fs::write(&file, "old").expect("write");
    let edits = json!([{"old": "old", "new": "new"}]);
    for (bits, is_refused) in [(0o4755, true), (0o2755, true), (0o2745, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(bits)).expect("chmod");
        let edit = world.agreed("files.edit", json!({"path": file, "edits": edits}), Vec::new()).await;
        let text = fs::read_to_string(&file).expect("the file");
        let (why, expected) =
            if is_refused { (Reason::UnsupportedChange, "old") } else { (Reason::Unspecified, "new") };
        assert_eq!((reason(&edit), text.as_str()), (why, expected), "{bits:o}: {:?}", edit.error);
    }
}

#[tokio::test]
async fn a_command_runs_only_with_a_persons_word_and_is_never_told_as_seen() {
    let world = World::new().await;
    let file = world.path("made");
    let command = json!({"command": "echo hello; echo made > made; echo oops >&2", "cwd": world.path("")});
    let expect = || vec![expects(EffectKind::FileCreate, &file)];
    let held = world.propose("terminal.exec", command.clone(), expect()).await;
    assert_eq!(held.state(), CallState::Held, "{:?}", held.error);
    assert!(!Path::new(&file).exists());
    world.decide(&held, ApprovalVerdict::Reject).await;
    assert!(!Path::new(&file).exists());

    let ran = world.agreed("terminal.exec", command, expect()).await;
    is_done_unseen(&ran, &[EffectKind::FileCreate, EffectKind::NetConnect, EffectKind::ProcessLeaveRunning]);
    let told = told(&ran);
    assert_eq!(
        (&told["stdout"], &told["stderr"], &told["exit_code"]),
        (&json!("hello\n"), &json!("oops\n"), &json!(0))
    );
    assert_eq!(fs::read_to_string(&file).expect("the file"), "made\n");

    let failed = json!({"argv": ["/bin/false"], "cwd": world.path("")});
    let failed = world.agreed("terminal.exec", failed, Vec::new()).await;
    assert_eq!(reason(&failed), Reason::CommandFailed);
}

#[tokio::test]
async fn a_command_ends_in_time_with_its_process_group_and_limits_that_nobody_holds_are_refused() {
    let world = World::new().await;
    let started = Instant::now();
    let pid = world.path("pid");
    let slow = json!({"command": "sleep 300 & echo $! > pid; wait", "cwd": world.path(""), "timeout_s": 1});
    let slow = world.agreed("terminal.exec", slow, vec![expects(EffectKind::FileCreate, &pid)]).await;
    assert_eq!(reason(&slow), Reason::TimedOut, "{:?}", slow.error);
    assert!(started.elapsed() < Duration::from_secs(20));
    let child = fs::read_to_string(&pid).expect("its number");
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "what it started still runs: {stat}");

    let limited = json!({"argv": ["/bin/true"], "cwd": world.path(""), "memory_mb": 64});
    let limited = world.agreed("terminal.exec", limited, Vec::new()).await;
    assert_eq!((limited.outcome(), reason(&limited)), (Outcome::NotApplied, Reason::InvalidArguments));
}

#[tokio::test]
async fn what_no_policy_permits_is_refused_and_nobody_is_asked() {
    let world = World::new().await;
    let write = json!({"path": "/opt/outside", "content": "x"});
    let refused = world.propose("files.write", write, Vec::new()).await;
    assert_eq!(
        (refused.state(), reason(&refused)),
        (CallState::NotApplied, Reason::PolicyDenied),
        "{:?}",
        refused.error
    );
    let floor = json!({"path": "/etc", "recursive": true});
    let refused = world.propose_as("", "files.delete", floor, Vec::new()).await;
    assert_eq!((refused.state(), reason(&refused)), (CallState::NotApplied, Reason::FloorDenied));
}

#[tokio::test]
async fn no_tool_follows_a_link_or_reaches_the_hosts_own_state() {
    let world = World::new().await;
    let outside = world.dir.path().canonicalize().expect("a path").join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("secret"), "s").expect("a file");
    std::os::unix::fs::symlink(&outside, world.tree.join("link")).expect("a link");
    std::os::unix::fs::symlink(outside.join("secret"), world.tree.join("file")).expect("a link");
    for path in ["link/secret", "file"] {
        let read = world.propose("files.read", json!({"path": world.path(path)}), Vec::new()).await;
        let read = world.over(&read.call_id).await;
        assert_eq!((reason(&read), read.outcome()), (Reason::PathNotUsable, Outcome::NotApplied), "{path}");
    }
    let write = json!({"path": world.path("link/new"), "content": "x"});
    let write = world.agreed("files.write", write, Vec::new()).await;
    assert_eq!((reason(&write), write.outcome()), (Reason::PathNotUsable, Outcome::NotApplied));
    let replaced = world.agreed("files.write", json!({"path": world.path("file"), "content": "x"}), Vec::new()).await;
    assert_eq!(reason(&replaced), Reason::PathNotUsable);
    assert_eq!(fs::read_to_string(outside.join("secret")).expect("the file"), "s");
    assert!(!outside.join("new").exists());

    let state = world.dir.path().canonicalize().expect("a path").join("state");
    let list = world.propose("files.list", json!({"path": state.to_string_lossy()}), Vec::new()).await;
    assert_eq!(reason(&world.over(&list.call_id).await), Reason::PathNotUsable);
    let above = json!({"path": world.dir.path().canonicalize().expect("a path").to_string_lossy()});
    let above = world.propose("files.list", above, Vec::new()).await;
    let listed = told(&world.over(&above.call_id).await).to_string();
    assert!(listed.contains("/work\"") && !listed.contains("/state\""), "{listed}");
    let write = json!({"path": state.join("x").to_string_lossy(), "content": "x"});
    let write = world.agreed("files.write", write, Vec::new()).await;
    assert_eq!((reason(&write), write.outcome()), (Reason::PathNotUsable, Outcome::NotApplied));
}

#[tokio::test]
async fn a_link_that_is_swapped_in_meanwhile_leads_nowhere() {
    let world = World::new().await;
    let outside = world.dir.path().canonicalize().expect("a path").join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("f"), "outside").expect("a file");
    fs::create_dir(world.tree.join("real")).expect("a directory");
    fs::write(world.tree.join("real/f"), "inside").expect("a file");
    let (tree, over) = (world.tree.clone(), CancellationToken::new());
    let stop = over.clone();
    let swapping = std::thread::spawn(move || {
        let (here, link, away) = (tree.join("here"), tree.join("link"), tree.join("real"));
        while !stop.is_cancelled() {
            let _ = std::os::unix::fs::symlink(&outside, &link);
            let _ = fs::rename(&link, &here);
            let _ = fs::remove_file(&here);
            let _ = fs::rename(&away, &here);
            let _ = fs::rename(&here, &away);
        }
    });
    let mut seen = 0;
    for _ in 0..TRIES {
        let read = world.propose("files.read", json!({"path": world.path("here/f")}), Vec::new()).await;
        let read = world.over(&read.call_id).await;
        if read.outcome() == Outcome::Applied {
            assert_eq!(told(&read)["content"], "inside");
            seen += 1;
        } else {
            assert!(matches!(reason(&read), Reason::PathNotUsable | Reason::PathNotFound), "{:?}", read.error);
        }
    }
    over.cancel();
    swapping.join().expect("it ends");
    assert!(seen < TRIES, "nothing was ever swapped");
}
