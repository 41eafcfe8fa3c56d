//! The pure parts of the path, one at a time and in one thread: validation, prediction, decision.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    Action, Actor, AutonomyLevel, Host, JudgementReply, JudgementRequest, PolicyFile, Prediction, Proposal,
};
use cmdop_contract::validate::{Limits, Validated, validate};
use cmdop_gate::{BoxFuture, Foresight, Judge};
use cmdop_policy::decide::{Decided, Facts, Past, decide};
use cmdop_policy::engine::Engine;
use cmdop_policy::predict::{Predictor, Step};
use cmdop_policy::shell::{ShellContext, THREAD_STACK_BYTES, resolve};
use prost::Message as _;
use serde::Deserialize;
use serde_json::json;

use crate::Fallible;
use crate::contracts::{AGENT, DISTINCT, HOST, document, proposal};

/// Prints microseconds for one of each.
pub(crate) fn run(seconds: f64) -> Fallible<()> {
    let span = Duration::from_secs_f64(seconds);
    let registry = Registry::builtin();
    let wire: Vec<Vec<u8>> = (0..DISTINCT).map(|number| proposal(number, "k".into()).0.encode_to_vec()).collect();
    let documents: Vec<Vec<u8>> = (0..DISTINCT).map(|number| document(number, "k").0).collect();
    let validation = each(span, |turn| {
        let proposal = Proposal::decode(&*wire[turn % DISTINCT]).expect("encoded above");
        black_box(validate(&registry, proposal, &Limits::default(), "/root").is_ok());
    });
    let typed = each(span, |turn| {
        black_box(serde_json::from_slice::<Typed<'_>>(&documents[turn % DISTINCT]).is_ok());
    });
    let shell = shell(&registry);
    let prediction = each(span, |_| {
        black_box(Predictor::start(&shell, "/root"));
    });
    let (resolution, tail) = resolution(span)?;
    println!(
        "{}",
        json!({
            "resolution_p50_us": resolution, "resolution_p99_us": tail, "remembered_us": remembered(&shell, span)?,
            "validation_us": validation, "typed_serde_us": typed, "shell_resolution_us": prediction,
            "decision_us": decision(&registry, span, 0)?, "decision_1000_us": decision(&registry, span, 1_000)?,
        })
    );
    Ok(())
}

/// Mean microseconds of an act, repeated for a span. Clocks are read once in 64.
fn each(span: Duration, mut act: impl FnMut(usize)) -> f64 {
    (0..256).for_each(&mut act);
    let (started, mut turns) = (Instant::now(), 0);
    while started.elapsed() < span {
        (turns..turns + 64).for_each(&mut act);
        turns += 64;
    }
    started.elapsed().as_secs_f64() * 1e6 / turns as f64
}

/// Commands of an everyday, and commands that were run to see what they do.
const REAL: [&str; 2] =
    [include_str!("../../tests/policy/everyday.txt"), include_str!("../../tests/policy/foreseen.txt")];

/// Microseconds in which half of the real commands are resolved, and 99 of 100: each command's least of a few turns,
/// which is what it costs, and not what else ran on the machine.
///
/// It has a stack like the threads of a server.
fn resolution(span: Duration) -> Fallible<(f64, f64)> {
    let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(move || resolved(span))?;
    thread.join().map_err(|_| "resolution panicked")?.ok_or_else(|| "no commands".into())
}

fn resolved(span: Duration) -> Option<(f64, f64)> {
    let env = BTreeMap::new();
    let context = ShellContext { cwd: "/srv/app", home: "/root", env: &env };
    let lines = REAL.iter().flat_map(|file| file.lines()).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let commands: Vec<String> = lines.map(|line| line.replace('⏎', "\n")).collect();
    let mut least = vec![f64::INFINITY; commands.len()];
    let (started, mut turns) = (Instant::now(), 0);
    while started.elapsed() < span || turns < 5 {
        for (command, least) in commands.iter().zip(&mut least) {
            let began = Instant::now();
            black_box(resolve(command, &context).is_ok());
            *least = least.min(began.elapsed().as_secs_f64() * 1e6);
        }
        turns += 1;
    }
    least.sort_by(f64::total_cmp);
    let at = |share: usize| least.get(least.len() * share / 100).copied();
    at(50).zip(at(99))
}

/// Knows nothing of any command, and says so.
struct Silent;

impl Judge for Silent {
    fn judge(&self, request: JudgementRequest) -> BoxFuture<Option<JudgementReply>> {
        let judgements = vec![Default::default(); request.invocations.len()];
        Box::pin(std::future::ready(Some(JudgementReply { id: request.id, judgements })))
    }
}

/// A prediction that is remembered, found by its digest.
fn remembered(shell: &Validated, span: Duration) -> Fallible<f64> {
    let foresight = Foresight::new(Arc::new(Silent), Duration::from_secs(2), "1".into(), 4_096);
    let host = Host { name: HOST.into(), home: "/root".into(), workspaces: vec!["/srv/app".into()], ..Host::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut turns = 0;
        black_box(foresight.predict(shell, &host).await.is_ok());
        let started = Instant::now();
        while started.elapsed() < span {
            for _ in 0..64 {
                black_box(foresight.predict(shell, &host).await.is_ok());
            }
            turns += 64;
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(turns)
    }))
}

/// What a hand-written, unvalidated struct would cost: the floor of reading the document at all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only the reading is measured")]
struct Typed<'a> {
    tool: &'a str,
    host: &'a str,
    intent: &'a str,
    arguments: Arguments<'a>,
    expect: Vec<Expect<'a>>,
    idempotency_key: &'a str,
    agent: &'a str,
    user: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only the reading is measured")]
struct Arguments<'a> {
    path: &'a str,
    content: Option<&'a str>,
    if_exists: Option<&'a str>,
    recursive: Option<bool>,
    offset: Option<u64>,
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only the reading is measured")]
struct Expect<'a> {
    kind: &'a str,
    target: &'a str,
}

fn shell(registry: &Registry) -> Validated {
    let command = r#"cd /srv/app && for f in logs/*.gz; do rm -f "$f"; done && tar czf /tmp/a.tgz data | tee out.log"#;
    let action = Action {
        tool: "terminal.exec".into(),
        host: HOST.into(),
        intent: "measure".into(),
        arguments_json: json!({"command": command, "cwd": "/srv/app"}).to_string(),
        expect: Vec::new(),
    };
    valid(registry, action)
}

fn valid(registry: &Registry, action: Action) -> Validated {
    let proposal = Proposal { action: Some(action), actor: Some(actor()), ..Proposal::default() };
    validate(registry, proposal, &Limits::default(), "/root").expect("a valid contract")
}

fn actor() -> Actor {
    Actor { user: "ada".into(), agent: AGENT.into(), ..Actor::default() }
}

/// One whole decision about `files.delete` by an agent: predicted and declared effect, each at all
/// its points, the agent's and the user's rights, beneath the shipped policies and some more.
fn decision(registry: &Registry, span: Duration, more: usize) -> Fallible<f64> {
    let mut files = Vec::new();
    if more > 0 {
        let rule = |n: usize| {
            format!(
                "@id(\"team.{n}\")\n@reason(\"Team {n} works there.\")\npermit (principal == Agent::\"team-{n}\", \
                 action == Action::\"file.modify\", resource in Path::\"/data/{n}\");\n"
            )
        };
        let text: String = (0..more).map(rule).collect();
        files = vec![
            PolicyFile { pack: cmdop_policy::engine::DEFAULT_PACK.into(), ..PolicyFile::default() },
            PolicyFile { name: "teams.cedar".into(), text, ..PolicyFile::default() },
        ];
    }
    let engine = Engine::load(&files)?;
    let action = Action {
        tool: "files.delete".into(),
        host: HOST.into(),
        intent: "measure".into(),
        arguments_json: json!({"path": "/srv/app/logs/old.log"}).to_string(),
        expect: Vec::new(),
    };
    let validated = valid(registry, action);
    let Step::Done(prediction) = Predictor::start(&validated, "/root") else { return Err("not a native tool".into()) };
    let actor = actor();
    let host = Host { name: HOST.into(), workspaces: vec!["/srv/app".into()], ..Host::default() };
    let facts =
        Facts { actor: &actor, level: Some(AutonomyLevel::Auto), host: &host, denied: &[], past: &Past::default() };
    let go = |prediction: &Prediction| matches!(decide(&engine, &validated, prediction, &facts), Decided::Go(_));
    if !go(&prediction) {
        return Err("the decision is not the one that is measured".into());
    }
    Ok(each(span, |_| {
        black_box(go(&prediction));
    }))
}
