//! A refusal binds the effect for a whole run or session, through a crash, until policy changes.

mod support;

use std::sync::Arc;

use cmdop_contract::v1::{self, ApprovalVerdict, CallState, Outcome, PolicyFile, PolicySet, Proposal, Reason};
use cmdop_gate::{BoxFuture, PolicySource};
use cmdop_policy::engine::pack;
use support::{HostEnd, Life, proposal, touch, within, write};

fn of_run(mut proposal: Proposal, run: &str, session: &str) -> Proposal {
    let actor = proposal.actor.as_mut().expect("an actor");
    (actor.run, actor.session) = (run.into(), session.into());
    proposal
}

/// A person rejects what `asker` would do, which creates a file.
async fn reject(life: &Life, host: &mut HostEnd, run: &str, session: &str) {
    let (mut ticket, held) =
        life.held(of_run(touch("asker", &format!("{run}{session}first")), run, session), host).await;
    assert_eq!(held.state(), CallState::DiffHeld);
    life.decide(&held, ApprovalVerdict::Reject).await.expect("rejected");
    assert_eq!(reason(&life.settled(&mut ticket).await), Reason::ApprovalRejected);
    host.told_to("discard", &held.call_id).await;
}

fn reason(call: &v1::Call) -> Reason {
    call.error.as_ref().map_or(Reason::Unspecified, v1::Error::reason)
}

/// What comes of a call; a permit that it gets is reported as done.
async fn outcome(life: &Life, host: &mut HostEnd, proposal: Proposal) -> Reason {
    let mut ticket = life.gate.submit(proposal).await.expect("taken");
    let settled = ticket.settled_or_unknown();
    let call = tokio::select! {
        call = within(settled) => call.expect("settled"),
        permit = host.execute() => {
            host.report_created(&permit).await;
            host.acknowledged(&permit).await;
            within(ticket.settled_or_unknown()).await.expect("settled")
        }
    };
    assert_eq!(call.outcome() == Outcome::Applied, call.error.is_none());
    reason(&call)
}

#[test]
fn another_agent_with_another_tool_does_not_get_what_a_person_refused_to_the_run() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        reject(&life, &mut host, "r1", "").await;
        for (key, again) in [("native", write("auto", "a")), ("command", touch("auto", "b"))] {
            let said = outcome(&life, &mut host, of_run(again, "r1", "")).await;
            assert_eq!(said, Reason::DeniedBefore, "{key}");
        }
        // Another run, a call of no run, and a person are free.
        for free in [of_run(write("auto", "c"), "r2", ""), write("auto", "d"), of_run(write("", "e"), "r1", "")] {
            assert_eq!(outcome(&life, &mut host, free).await, Reason::Unspecified);
        }
    });
}

#[test]
fn a_refusal_binds_the_session_through_a_crash() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        reject(&life, &mut host, "", "s1").await;
    });
    life.crash();
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let again = of_run(write("auto", "a"), "r7", "s1");
        assert_eq!(outcome(&life, &mut host, again).await, Reason::DeniedBefore);
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "b"), "", "s2")).await, Reason::Unspecified);
    });
}

#[test]
fn what_policy_refused_to_one_agent_another_of_the_run_does_not_get() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mine = "@id(\"site.asker\") @reason(\"Not this one.\")\n\
                forbid (principal == Agent::\"asker\", action == Action::\"file.create\", resource);";
    let files = vec![
        PolicyFile { pack: "workspace".into(), ..PolicyFile::default() },
        PolicyFile { name: "mine.cedar".into(), text: mine.into(), ..PolicyFile::default() },
    ];
    let life = Life::with(&dir, |setup| setup.policies = files);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "a"), "r2", "")).await, Reason::Unspecified);
        assert_eq!(outcome(&life, &mut host, of_run(write("asker", "b"), "r1", "")).await, Reason::PolicyDenied);
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "c"), "r1", "")).await, Reason::DeniedBefore);
        // What is refused without being the same is refused by policy alone and binds nothing else.
        let elsewhere = proposal("auto", "d", "files.write", r#"{"path": "/srv/app/other.txt", "content": "x"}"#);
        let mut ticket = life.gate.submit(of_run(elsewhere, "r1", "")).await.expect("taken");
        let permit = host.execute().await;
        host.report(support::report(&permit, support::observed(&["file.create:/srv/app/other.txt"]))).await;
        assert_eq!(life.settled(&mut ticket).await.outcome(), Outcome::Applied);
    });
}

#[test]
fn who_takes_a_call_back_refuses_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let (_ticket, held) = life.held(of_run(touch("asker", "first"), "r1", ""), &mut host).await;
        within(life.gate.cancel(&held.call_id, "not needed")).await.expect("cancelled");
        host.told_to("discard", &held.call_id).await;
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "a"), "r1", "")).await, Reason::Unspecified);
    });
}

struct Files(PolicySet);

impl PolicySource for Files {
    fn read(&self) -> BoxFuture<Result<PolicySet, v1::Error>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

#[test]
fn another_policy_decides_anew() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        reject(&life, &mut host, "r1", "").await;
        let text = format!("{}\n// reviewed\n", pack("workspace").expect("it ships").text);
        let file = PolicyFile { name: "site.cedar".into(), text, ..PolicyFile::default() };
        life.gate.read_policy_from(Arc::new(Files(PolicySet { files: vec![file], entities: None })));
        within(life.gate.reload_policy()).await.expect("reloaded");
        assert_eq!(outcome(&life, &mut host, of_run(write("auto", "a"), "r1", "")).await, Reason::Unspecified);
    });
}
