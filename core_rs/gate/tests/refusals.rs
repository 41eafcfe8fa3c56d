//! What is refused for a name or its size: at every door, with everything that is wrong, and not kept.

mod support;

use cmdop_contract::name::GRAMMAR;
use cmdop_contract::v1::{Actor, Approval, ApprovalVerdict, Proposal, Reason, StartRunRequest, remedy};
use prost::Message as _;
use support::{HostEnd, Life, hello, proposal, read, read_secret, verdict_on, within};
use tokio::sync::mpsc;

const BAD: [&str; 3] = ["jan\u{1b}[2Jitor", "jan\u{202e}itor", "jan itor"];

fn person() -> Actor {
    Actor { user: "ada".into(), ..Actor::default() }
}

fn pointers(error: &cmdop_contract::v1::Error) -> Vec<&str> {
    error.violations.iter().map(|violation| violation.pointer.as_str()).collect()
}

#[test]
fn what_is_refused_for_its_size_is_recorded_by_length_and_digest_only() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let text = "zyx".repeat(200_000);
    let mut large = read("k");
    large.action.as_mut().expect("an action").intent.clone_from(&text);
    large.actor.get_or_insert_default().agent.clone_from(&text);
    large.idempotency_key.clone_from(&text);
    let error = failure_of(&life, large);
    let all = ["/intent", "/idempotency_key", "/actor/agent", "/host"];
    assert_eq!(pointers(&error), all, "an unknown host hides nothing and is told");
    let trace = life.run(within(life.gate.trace(&error.call_id))).expect("recorded");
    let recorded = trace.encode_to_vec();
    assert!(recorded.len() < 8_192, "{} bytes", recorded.len());
    assert!(!String::from_utf8_lossy(&recorded).contains("zyxzyx"));
    assert!(String::from_utf8_lossy(&recorded).contains("600000-bytes:sha256:"));
    for entry in std::fs::read_dir(dir.path().join("log")).expect("the log") {
        let length = entry.expect("an entry").metadata().expect("its size").len();
        assert!(length < 100_000, "the log holds {length} bytes");
    }
}

#[test]
fn a_name_that_is_none_is_refused_at_every_door() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let long = "n".repeat(5_000_000);
    for bad in BAD.into_iter().chain([long.as_str()]) {
        let named = |set: fn(&mut Proposal, String)| {
            let mut proposal = proposal("asker", "", "files.read", r#"{"path": "/a"}"#);
            set(&mut proposal, bad.to_owned());
            failure_of(&life, proposal)
        };
        // Nobody knows the host, which is told beside.
        assert_eq!(pointers(&named(|it, name| it.actor.get_or_insert_default().user = name)), ["/actor/user", "/host"]);
        assert_eq!(pointers(&named(|it, name| it.idempotency_key = name)), ["/idempotency_key", "/host"]);
        assert_eq!(pointers(&named(|it, name| it.action.as_mut().expect("an action").host = name)), ["/host"]);

        let actor = Some(Actor { agent: bad.into(), session: bad.into(), ..person() });
        let run = StartRunRequest { actor, ..StartRunRequest::default() };
        let error = life.run(within(life.gate.start_run(run))).expect_err("a run");
        assert_eq!(pointers(&error), ["/actor/agent", "/actor/session"]);

        let error = life.gate.attach(hello(bad), mpsc::channel(1).0).err().expect("a host");
        assert!(error.message.contains(GRAMMAR) && error.message.len() < 500, "{}", error.message);

        let verdict = verdict_on(&Approval::default(), ApprovalVerdict::Approve);
        let verdict = cmdop_contract::v1::DecideApprovalRequest { approver: bad.into(), ..verdict };
        let error = life.run(within(life.gate.decide_approval(verdict))).expect_err("an approver");
        assert_eq!(pointers(&error), ["/approver"]);
    }
    // The same doors are open to names.
    let run = StartRunRequest { actor: Some(person()), ..StartRunRequest::default() };
    life.run(within(life.gate.start_run(run))).expect("a run");
    let nobody = life.run(within(life.gate.start_run(StartRunRequest::default()))).expect_err("nobody's run");
    assert_eq!(pointers(&nobody), ["/actor/user"]);
    assert_eq!(failure_of(&life, read_secret("")).reason(), Reason::UnknownHost);
}

#[test]
fn whoever_has_to_mend_a_call_hears_of_its_host_with_everything_else() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let mut wrong = read_secret("");
    wrong.action.get_or_insert_default().arguments_json = r#"{"path": 5}"#.into();
    let error = failure_of(&life, wrong);
    assert_eq!(error.reason(), Reason::InvalidArguments);
    assert_eq!(pointers(&error), ["/arguments/path", "/host"]);
    assert_eq!(error.violations[1].reason(), Reason::UnknownHost);
}

#[test]
fn what_the_host_has_not_is_refused_before_anybody_is_asked() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    let error = life.run(async {
        let _host = HostEnd::attach(&life).await;
        let start = proposal("asker", "", "service.start", r#"{"name": "web"}"#);
        within(life.gate.propose(start, false)).await.expect_err("refused")
    });
    assert_eq!(error.reason(), Reason::UnknownTool);
    assert!(error.message.contains("has no tool `service.start`"), "{}", error.message);
    let trace = life.run(within(life.gate.trace(&error.call_id))).expect("recorded");
    assert!(trace.calls.iter().all(|call| call.approval.is_none() && call.permits.is_empty()));
    let Some(remedy::Kind::FixArguments(fix)) = error.remedy.as_ref().and_then(|remedy| remedy.kind.as_ref()) else {
        panic!("{error:?}");
    };
    assert_eq!((&*fix.path, &*fix.expected), ("/tool", "a tool of this host: files.read, files.write, terminal.exec"));
}

fn failure_of(life: &Life, proposal: Proposal) -> cmdop_contract::v1::Error {
    life.run(within(life.gate.propose(proposal, false))).expect_err("refused")
}
