//! Secrets in a call: the host gets them, and nobody else does, however the call goes on.

mod support;

use std::path::Path;

use cmdop_contract::v1::{self, ApprovalStatus, ApprovalVerdict, Call, CallState, Outcome, Reason, Stage, ToolResult};
use prost::Message;
use support::{FILE, HostEnd, Life, observed, proposal, report, until, verdict_on, within};
use tempfile::TempDir;

const SECRET: &str = "hunter2-correct-horse";
const OTHER: &str = "Zk3vQ9xLm2Rt8WbYc5Nf7HsJ4pDg6Ka";

fn directory() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

/// A write with a secret, which is previewed and held for `asker`.
fn write_secret(agent: &str) -> v1::Proposal {
    let arguments = format!(r#"{{"path": "{FILE}", "content": "user = me\npassword = \"{SECRET}\"\n"}}"#);
    proposal(agent, "k", "files.write", &arguments)
}

fn arguments(permit: &v1::Permit) -> &str {
    permit.action.as_ref().map_or("", |action| &action.arguments_json)
}

/// Does any of these files have one of these texts?
fn written(dir: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(written(&path, texts));
        } else {
            let content = match std::fs::read(&path) {
                // The index tidies up behind itself.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                content => content.expect("readable"),
            };
            let has = |text: &&&str| content.windows(text.len()).any(|bytes| bytes == text.as_bytes());
            found.extend(texts.iter().filter(has).map(|text| format!("{text} in {}", path.display())));
        }
    }
    found
}

/// Does a message say one of these texts?
fn says(message: &impl Message, texts: &[&str]) -> bool {
    let bytes = message.encode_to_vec();
    texts.iter().any(|text| bytes.windows(text.len()).any(|found| found == text.as_bytes()))
}

#[test]
fn the_host_gets_the_secrets_of_a_call_and_nobody_else_does() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut watched = life.gate.watch_approvals();
        let mut ticket = life.gate.submit(write_secret("asker")).await.expect("taken");
        let preview = host.execute().await;
        assert!(arguments(&preview).contains(SECRET), "{preview:?}");
        // What the host says of it has another one, which that host left in.
        let measured = observed(&["file.create:/srv/app/new.txt"]);
        let result =
            ToolResult { ok: true, result_json: format!(r#"{{"stdout":"seed {OTHER}"}}"#), ..ToolResult::default() };
        host.report(v1::Report { result: Some(result), ..report(&preview, measured) }).await;
        host.acknowledged(&preview).await;
        let held = within(ticket.held_or_settled()).await.expect("held");
        assert_eq!(held.state(), CallState::DiffHeld);
        let approval = held.approval.clone().expect("an approval");
        let shown = approval.action.clone().expect("an action").arguments_json;
        assert!(shown.contains(r#"password = \"[redacted:21:"#), "{shown}");
        let told = within(watched.recv()).await.expect("announced");
        let decided =
            within(life.gate.decide_approval(verdict_on(&approval, ApprovalVerdict::Approve))).await.expect("decided");
        let commit = host.execute().await;
        assert_eq!(commit.stage(), Stage::Commit);
        assert_eq!(arguments(&commit), arguments(&preview), "what was approved is what runs");
        host.report_created(&commit).await;
        let call = life.settled(&mut ticket).await;
        assert_eq!(call.state(), CallState::Applied);
        let trace = within(life.ledger.trace(&call.call_id)).await.expect("readable").expect("recorded");
        let all = [SECRET, OTHER];
        for (name, found) in [
            ("held", says(&*held, &all)),
            ("announced", says(&told, &all)),
            ("decided", says(&decided, &all)),
            ("call", says(&call, &all)),
            ("trace", says(&trace, &all)),
        ] {
            assert!(!found, "{name}");
        }
        // The same again is the same call.
        let again = within(life.gate.propose(write_secret("asker"), true)).await.expect("joined");
        assert_eq!(again.call_id, call.call_id);
    });
    life.crash();
    assert_eq!(written(dir.path(), &[SECRET, OTHER]), Vec::<String>::new());
}

#[test]
fn a_mark_that_an_approver_leaves_stands_for_its_secret() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (mut ticket, held) = life.held(write_secret("asker"), &mut host).await;
        host.waiting();
        let approval = held.approval.clone().expect("an approval");
        let mut action = approval.action.clone().expect("an action");
        action.arguments_json = action.arguments_json.replace("user = me", &format!("token = '{OTHER}'"));
        let modify =
            v1::DecideApprovalRequest { action: Some(action), ..verdict_on(&approval, ApprovalVerdict::Modify) };
        let modified = within(life.gate.decide_approval(modify)).await.expect("modified");
        let old = within(life.settled(&mut ticket)).await;
        host.told_to("discard", &old.call_id).await;
        let preview = host.execute().await;
        assert!(arguments(&preview).contains(SECRET) && arguments(&preview).contains(OTHER), "{preview:?}");
        let new = within(life.gate.call(&old.replaced_by)).await.expect("there");
        assert!(!says(&modified, &[SECRET, OTHER]) && !says(&old, &[SECRET, OTHER]) && !says(&*new, &[SECRET, OTHER]));
    });
    life.crash();
    assert_eq!(written(dir.path(), &[SECRET, OTHER]), Vec::<String>::new());
}

#[test]
fn a_held_call_whose_secrets_went_with_the_server_is_void_and_may_be_proposed_again() {
    let dir = directory();
    let life = Life::begin(&dir);
    let held = life.run(async {
        let mut host = HostEnd::attach(&life).await;
        life.held(write_secret("asker"), &mut host).await.1
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let mut found = Call::default();
        until(async || {
            found = (*within(life.gate.call(&held.call_id)).await.expect("there")).clone();
            found.state() == CallState::NotApplied
        })
        .await;
        let error = found.error.clone().expect("an error");
        assert_eq!((found.outcome(), error.reason()), (Outcome::NotApplied, Reason::ApprovalVoid));
        assert!(error.message.contains("secrets"), "{}", error.message);
        assert_eq!(found.approval.expect("an approval").status(), ApprovalStatus::Void);
        assert!(host.got_no_permit());
        let again = v1::Proposal { idempotency_key: "another".into(), ..write_secret("asker") };
        let (_, again) = life.held(again, &mut host).await;
        assert_ne!(again.call_id, held.call_id);
    });
}

#[test]
fn nothing_is_done_with_a_mark_in_the_place_of_a_secret() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let marked = format!(r#"{{"path": "{FILE}", "content": "password = [redacted:21:0123456789abcdef]"}}"#);
        let refused = within(life.gate.propose(proposal("auto", "k", "files.write", &marked), true)).await;
        let error = refused.expect_err("refused");
        assert_eq!(error.reason(), Reason::InvalidArguments);
        assert!(host.got_no_permit());
    });
}

#[test]
fn what_is_wrong_with_a_call_is_said_without_its_secrets() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let _host = HostEnd::attach(&life).await;
        let arguments =
            format!(r#"{{"path": "{FILE}", "contents": "password={SECRET}", "token": "{SECRET}", "mode": "{OTHER}"}}"#);
        let refused = within(life.gate.propose(proposal("auto", "k", "files.write", &arguments), true)).await;
        let error = refused.expect_err("malformed");
        assert!(error.violations.len() > 1, "{error:?}");
        assert!(!says(&error, &[SECRET, OTHER]), "{error:?}");
    });
    life.crash();
    assert_eq!(written(dir.path(), &[SECRET, OTHER]), Vec::<String>::new());
}

#[test]
fn what_people_and_models_say_is_recorded_without_its_secrets() {
    let dir = directory();
    let life = Life::begin(&dir);
    life.run(async {
        let actor = v1::Actor { user: "ada".into(), agent: "asker".into(), ..v1::Actor::default() };
        let request = v1::StartRunRequest {
            actor: Some(actor.clone()),
            task: format!("log in with password={SECRET}"),
            model: "m".into(),
        };
        let run = within(life.gate.start_run(request)).await.expect("started");
        assert!(!says(&run, &[SECRET]));
        let call = format!(r#"{{\"command\": \"curl -H 'Authorization: Bearer {OTHER}'\"}}"#);
        let turn = v1::ModelTurn {
            run_id: run.run_id.clone(),
            turn: 1,
            prompt_json: format!(r#"[{{"role": "user", "content": "my password: {SECRET}"}}]"#),
            response_json: format!(r#"{{"output": [{{"type": "function_call", "arguments": "{call}"}}]}}"#),
            ..v1::ModelTurn::default()
        };
        within(life.gate.record_turn(turn)).await.expect("recorded");
        let instruct = v1::InstructRequest {
            actor: Some(v1::Actor { run: run.run_id.clone(), ..actor }),
            text: format!("use TOKEN={OTHER}"),
        };
        within(life.gate.instruct(instruct)).await.expect("recorded");
        let finish = v1::FinishRunRequest {
            run_id: run.run_id.clone(),
            status: v1::RunStatus::Finished.into(),
            final_output: format!("password: {SECRET}"),
            why: format!("pwd={SECRET}"),
        };
        let run = within(life.gate.finish_run(finish)).await.expect("finished");
        assert!(!says(&run, &[SECRET, OTHER]), "{run:?}");
        let trace = within(life.ledger.trace(&run.run_id)).await.expect("readable").expect("recorded");
        assert!(!says(&trace, &[SECRET, OTHER]), "{trace:?}");
    });
    life.crash();
    assert_eq!(written(dir.path(), &[SECRET, OTHER]), Vec::<String>::new());
}
