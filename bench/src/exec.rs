//! Starting commands: plainly, confined as the host does it, and by bubblewrap.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cmdop_contract::digest::action_digest;
use cmdop_contract::v1::{Action, Actor, EffectKind, Permit, PermittedEffect, SignedPermit, Stage};
use cmdop_host::admit::{Admission, Keys};
use cmdop_host::attempts::Attempts;
use cmdop_host::exec::{self, Command, End, Program};
use cmdop_host::observe::Before;
use cmdop_host::sandbox::Layer;
use cmdop_host::spawned::{Processes, Programs};
use cmdop_host::{Admitted, Spawner};
use ed25519_dalek::{Signer, SigningKey};
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{Fallible, client};

const HOST: &str = "bench";
/// What a shell does when it has nothing to do.
const LINE: &str = ":";
/// What the host gives a command, so that every shell finds the same: what it loads depends on the language.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LANG", "C.UTF-8"),
    ("SHELL", "/bin/bash"),
    ("TERM", "dumb"),
    ("TMPDIR", "/dev/shm"),
    ("HOME", "/"),
    ("USER", "root"),
    ("LOGNAME", "root"),
];
/// Between two starts.
const PAUSE: Duration = Duration::from_millis(50);
/// Starts, or looks at a whole tree, that are measured at least.
const MIN_STARTS: usize = 5;
const MIN_SCANS: usize = 2;
/// As large as a daemon may get.
const BALLAST_BYTES: usize = 500 << 20;

/// Measures one kind for a while and prints its median, and the least that it took.
pub(crate) fn run(kind: &str, dir: &str, seconds: f64) -> Fallible<()> {
    let spawner = Spawner::start()?;
    let bench = Bench::lay_out(Path::new(dir), spawner)?;
    let mut took_us = Vec::new();
    let files = kind.strip_prefix("scan-").map(str::parse).transpose()?;
    let bench = match files {
        Some(files) => bench.with_files(Path::new(dir), files)?,
        None => bench,
    };
    let least = if files.is_some() { MIN_SCANS } else { MIN_STARTS };
    let ends = Instant::now() + Duration::from_secs_f64(seconds);
    let ballast = kind.ends_with("-large").then(|| vec![1_u8; BALLAST_BYTES]);
    let runtime = client()?;
    runtime.block_on(async {
        while took_us.len() < least || Instant::now() < ends {
            took_us.push(bench.once(kind).await?.as_secs_f64() * 1e6);
            // Calls of a daemon come one by one; what a start leaves to be done is done in between.
            tokio::time::sleep(PAUSE).await;
        }
        Fallible::Ok(())
    })?;
    drop(ballast);
    took_us.sort_unstable_by(f64::total_cmp);
    let at = |part: usize| took_us[(took_us.len() - 1) * part / 100];
    println!("{}", json!({"calls": took_us.len(), "least_us": at(0), "p50_us": at(50), "p99_us": at(99)}));
    Ok(())
}

/// A host's ledger, and a tree to change.
pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    /// Where the command may change everything.
    pub(crate) tree: PathBuf,
    spawner: Spawner,
    pub(crate) keys: Keys,
    key: SigningKey,
    programs: Programs,
}

impl Bench {
    pub(crate) fn lay_out(dir: &Path, spawner: Spawner) -> Fallible<Self> {
        let dir = tempfile::Builder::new().prefix("exec-").tempdir_in(dir)?.keep();
        let tree = dir.join("tree");
        fs::create_dir(&tree)?;
        let key = SigningKey::from_bytes(&[7; 32]);
        let keys = Keys::open(&dir.join("ledger"), HOST, &key.verifying_key().to_bytes())?;
        Ok(Self { dir, tree, spawner, keys, key, programs: Programs::default() })
    }

    /// One measured start, with whatever it needs prepared beforehand.
    async fn once(&self, kind: &str) -> Fallible<Duration> {
        let watched = kind.ends_with("-watched").then(|| Processes::new(&self.programs));
        match kind.trim_end_matches("-large").trim_end_matches("-watched") {
            "plain" => Self::spawned("/bin/bash", &["--noprofile", "--norc", "-c", LINE]),
            "bwrap" | "bwrap-net" => {
                let unshared = if kind == "bwrap" { "--unshare-net" } else { "--share-net" };
                let shared = ["--unshare-all", unshared, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"];
                let shell = ["/bin/bash", "--noprofile", "--norc", "-c", LINE];
                Self::spawned("bwrap", &[&shared[..], &shell].concat())
            }
            "preview" => {
                let admitted = self.admit(Stage::Preview).await?;
                let layer = Layer::create(&self.fresh()?)?;
                self.confined(&admitted, &layer, watched).await
            }
            "direct" => {
                let admitted = self.admit(Stage::Apply).await?;
                let layer = Layer::direct(&self.fresh()?, &admitted.effects, &[])?;
                self.confined(&admitted, &layer, watched).await
            }
            "direct-whole" => {
                let admitted = self.admit(Stage::Apply).await?;
                let dir = self.fresh()?;
                let started = Instant::now();
                let layer = Layer::direct(&dir, &admitted.effects, &[])?;
                let before = Before::look(layer.openings(), &admitted.effects)?;
                self.confined(&admitted, &layer, watched).await?;
                before.compare()?;
                Ok(started.elapsed())
            }
            scan if scan.starts_with("scan-") => {
                let admitted = self.admit(Stage::Apply).await?;
                let layer = Layer::direct(&self.fresh()?, &admitted.effects, &[])?;
                let started = Instant::now();
                Before::look(layer.openings(), &admitted.effects)?.compare()?;
                Ok(started.elapsed())
            }
            unknown => Err(format!("unknown kind: {unknown}").into()),
        }
    }

    fn spawned(program: &str, arguments: &[&str]) -> Fallible<Duration> {
        let started = Instant::now();
        let mut command = std::process::Command::new(program);
        command.args(arguments).env_clear().envs(ENVIRONMENT).stdin(Stdio::null());
        let done = command.output()?;
        let took = started.elapsed();
        if done.status.success() { Ok(took) } else { Err(format!("{program}: {:?}", done.stderr).into()) }
    }

    async fn confined(&self, admitted: &Admitted, layer: &Layer, processes: Option<Processes>) -> Fallible<Duration> {
        let command = Command {
            program: Program::Line(LINE.into()),
            cwd: self.tree.to_string_lossy().into_owned(),
            env: HashMap::new(),
            stdin: Vec::new(),
            limits: exec::DEFAULT_LIMITS,
            terminal: None,
            kept_bytes: 1_024,
            hidden: Vec::new(),
            home: "/".into(),
            user: "root".into(),
            network: None,
            processes,
            leaves: Vec::new(),
            attempts: Attempts::default(),
        };
        let started = Instant::now();
        let finished =
            exec::run(&self.spawner, admitted, layer, &command, &CancellationToken::new(), |_, _| {}).await?;
        let took = started.elapsed();
        if finished.end == End::Exited(0) { Ok(took) } else { Err(format!("{finished:?}").into()) }
    }

    /// An empty directory for a view.
    pub(crate) fn fresh(&self) -> Fallible<PathBuf> {
        let dir = self.dir.join("view");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// A tree of that many files, made once for all rounds.
    fn with_files(mut self, dir: &Path, files: usize) -> Fallible<Self> {
        self.tree = dir.join(format!("files-{files}"));
        if !self.tree.exists() {
            self.fill(files)?;
        }
        Ok(self)
    }

    pub(crate) fn fill(&self, files: usize) -> Fallible<()> {
        for at in 0..files {
            let place = self.tree.join((at / 100).to_string());
            if at % 100 == 0 {
                fs::create_dir_all(&place)?;
            }
            fs::write(place.join(at.to_string()), "content\n")?;
        }
        // A file that has just changed is hashed, which is another cost than the one measured here.
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    }

    async fn admit(&self, stage: Stage) -> Fallible<Admitted> {
        self.admitted(&self.permit("terminal.exec", &json!({"command": LINE}), stage)).await
    }

    /// A permit for changes anywhere in the tree.
    pub(crate) fn permit(&self, tool: &str, arguments: &Value, stage: Stage) -> Permit {
        let action = Action { tool: tool.into(), host: HOST.into(), ..Action::default() };
        let action = Action { arguments_json: arguments.to_string(), ..action };
        let now = cmdop_ledger::now();
        let target = format!("{}/**", self.tree.display());
        let effect = |kind: EffectKind| PermittedEffect { kind: kind.into(), target: target.clone(), max_count: None };
        let id = now.to_string();
        Permit {
            permit_id: id.clone(),
            call_id: id.clone(),
            attempt: 1,
            host: HOST.into(),
            stage: stage.into(),
            action_digest: action_digest(&action),
            action: Some(action),
            idempotency_key: id,
            actor: Some(Actor { tenant: "local".into(), user: "me".into(), ..Actor::default() }),
            issued_at: now,
            expires_at: now + 60_000_000_000,
            effects: [EffectKind::FileCreate, EffectKind::FileModify].map(effect).into(),
            ..Permit::default()
        }
    }

    pub(crate) async fn admitted(&self, permit: &Permit) -> Fallible<Admitted> {
        let permit = permit.encode_to_vec();
        let signature = self.key.sign(&[b"cmdop.permit.v1\0", &permit[..]].concat()).to_bytes().to_vec();
        let key_id = Sha256::digest(self.key.verifying_key().to_bytes())[..8].to_vec();
        match self.keys.admit(&SignedPermit { permit, signature, key_id, ..SignedPermit::default() }).await? {
            Admission::Fresh(admitted) => Ok(admitted),
            other => Err(format!("{other:?}").into()),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}
