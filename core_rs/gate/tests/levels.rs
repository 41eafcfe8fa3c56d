//! Levels of agents are read with the policy: from then on every call is decided by the new ones.

mod support;

use std::sync::Arc;

use cmdop_contract::v1::{self, ApprovalVerdict, AutonomyConfig, AutonomyLevel, CallState, PolicySet, Reason, Stage};
use cmdop_gate::{BoxFuture, PolicySource};
use parking_lot::Mutex;
use support::{HostEnd, Life, within, write};

struct Files(Mutex<Result<PolicySet, v1::Error>>);

impl PolicySource for Files {
    fn read(&self) -> BoxFuture<Result<PolicySet, v1::Error>> {
        Box::pin(std::future::ready(self.0.lock().clone()))
    }
}

fn levels(default: AutonomyLevel, agents: &[(&str, AutonomyLevel)]) -> PolicySet {
    let agents = agents.iter().map(|(name, level)| ((*name).to_owned(), (*level).into())).collect();
    PolicySet { autonomy: Some(AutonomyConfig { default_level: default.into(), agents }), ..PolicySet::default() }
}

#[test]
fn an_agent_that_is_lowered_is_asked_from_the_next_call_on() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let before = life.gate.policy();
        let files = Arc::new(Files(Mutex::new(Ok(levels(AutonomyLevel::Ask, &[("auto", AutonomyLevel::Ask)])))));
        life.gate.read_policy_from(files.clone());
        let mut ticket = life.gate.submit(write("auto", "a")).await.expect("taken");
        let permit = host.execute().await;
        assert_eq!(permit.stage(), Stage::Apply, "nobody is asked");
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
        host.acknowledged(&permit).await;

        let after = within(life.gate.reload_policy()).await.expect("read");
        assert_eq!(after.version, before.version, "the policy is the same");
        assert_eq!(after.autonomy, levels(AutonomyLevel::Ask, &[("auto", AutonomyLevel::Ask)]).autonomy);
        let (_ticket, held) = life.held(write("auto", "b"), &mut host).await;
        assert_eq!(held.decision.expect("decided").level(), AutonomyLevel::Ask);

        // What cannot be read, or names no policy, leaves the levels as they are.
        for broken in [
            Err(cmdop_contract::reason::error(Reason::InvalidConfiguration, "autonomy.toml:2")),
            Ok(PolicySet {
                files: vec![v1::PolicyFile { text: "permit (".into(), ..v1::PolicyFile::default() }],
                ..levels(AutonomyLevel::Auto, &[("auto", AutonomyLevel::Auto)])
            }),
            Ok(PolicySet {
                approvers: vec![v1::KnownApprover { name: "no name".into(), token_sha256: Vec::new() }],
                ..levels(AutonomyLevel::Auto, &[("auto", AutonomyLevel::Auto)])
            }),
        ] {
            *files.0.lock() = broken;
            let error = within(life.gate.reload_policy()).await.expect_err("broken");
            assert_eq!(error.reason(), Reason::InvalidConfiguration);
            assert_eq!(life.gate.policy().autonomy, after.autonomy);
        }
    });
}

#[test]
fn what_waits_for_a_person_goes_on_waiting_when_only_levels_change() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let mut host = HostEnd::attach(&life).await;
        let files = Files(Mutex::new(Ok(levels(AutonomyLevel::Auto, &[]))));
        life.gate.read_policy_from(Arc::new(files));
        let (mut ticket, held) = life.held(write("asker", "a"), &mut host).await;
        within(life.gate.reload_policy()).await.expect("read");
        let mut other = life.gate.submit(write("asker", "b")).await.expect("taken");
        let permit = host.execute().await;
        assert_eq!(permit.stage(), Stage::Apply, "the next one is decided by the new level");
        host.report_created(&permit).await;
        life.settled(&mut other).await;
        host.acknowledged(&permit).await;

        let waiting = within(life.ledger.call(&held.call_id)).await.expect("readable").expect("recorded");
        assert_eq!(waiting.state(), held.state());
        within(life.decide(&held, ApprovalVerdict::Approve)).await.expect("it is the same question");
        let permit = host.execute().await;
        host.report_created(&permit).await;
        assert_eq!(life.settled(&mut ticket).await.state(), CallState::Applied);
    });
}
