//! Prediction and decision together: a real command, resolved, judged and decided.

use cmdop_contract::effect::parse_kind;
use cmdop_contract::v1::{AutonomyLevel, Invocation, Judgement, PredictedEffect};
use cmdop_policy::predict::{Predictor, Step};

mod fixture;

use fixture::{Call, diff_summary, engine, observed, summary};

/// What a vocabulary of two commands would say.
fn judge(invocation: &Invocation) -> Judgement {
    let effect = |kind: &str, target: &str| PredictedEffect {
        kind: parse_kind(kind).expect("a kind").into(),
        target: target.into(),
        certain: true,
        ..PredictedEffect::default()
    };
    let operands = || invocation.argv[1..].iter().filter(|word| !word.starts_with('-'));
    let absolute = |word: &String| match word.strip_prefix("./") {
        _ if word.starts_with('/') => word.clone(),
        Some(rest) => format!("{}/{rest}", invocation.cwd),
        None => format!("{}/{word}", invocation.cwd),
    };
    match invocation.argv[0].as_str() {
        "rm" => Judgement {
            effects: operands().map(|word| effect("file.delete", &absolute(word))).collect(),
            ..Judgement::default()
        },
        "echo" => Judgement::default(),
        other => Judgement { unanalysable: format!("nobody knows `{other}`"), ..Judgement::default() },
    }
}

fn decided(command: &str, declared: &[&str]) -> String {
    let mut call = declared.iter().fold(Call::command(command), |call, effect| call.declares(effect));
    let mut step = Predictor::start(&call.validated(), "/home/ada");
    loop {
        match step {
            Step::Judge(predictor, invocations) => step = predictor.answer(invocations.iter().map(judge).collect()),
            Step::Done(prediction) => {
                call.prediction = prediction;
                return summary(&call.decide(&engine()));
            }
            Step::Malformed(error) => return format!("malformed: {}", error.message),
        }
    }
}

#[test]
fn one_character_decides() {
    let slash = decided("rm -rf /logs", &["file.delete:/logs"]);
    assert_eq!(slash, "refuse POLICY_DENIED workspace.outside");
    assert_eq!(decided("rm -rf ./logs", &["file.delete:./logs"]), "go STAGE_PREVIEW");
    assert_eq!(decided("rm -rf ./logs", &[]), "refuse UNDECLARED_EFFECT");
}

#[test]
fn the_same_effect_by_another_way_is_decided_alike() {
    for command in ["cd / && rm -rf logs", "rm -rf $PWD/../../logs", "x=/lo; rm -rf ${x}gs", "rm -r''f /logs/"] {
        let found = decided(command, &["file.delete:/srv/app/logs"]);
        assert!(found.starts_with("refuse POLICY_DENIED workspace.outside"), "{command}: {found}");
    }
}

#[test]
fn redirections_are_effects_too() {
    assert_eq!(decided("echo x > /opt/y", &[]), "refuse POLICY_DENIED workspace.outside");
    assert_eq!(decided("echo x > /etc/sudoers", &[]), "refuse FLOOR_DENIED floor.credentials");
    assert_eq!(decided("echo x > y", &[]), "refuse UNDECLARED_EFFECT");
    assert_eq!(decided("echo x > y", &["file.create:y"]), "go STAGE_PREVIEW");
    assert_eq!(decided("echo x > /dev/null", &[]), "go STAGE_PREVIEW");
}

#[test]
fn a_script_that_nobody_knows_is_tried_on_a_copy() {
    assert_eq!(decided("./cleanup.sh", &["file.delete:./logs/*.gz"]), "go STAGE_PREVIEW");
    assert_eq!(
        decided("./cleanup.sh; rm -rf /logs", &["file.delete:/srv/app/**"]),
        "refuse POLICY_DENIED workspace.outside"
    );
}

/// A native tool with what it really predicts and declares.
fn native(tool: &'static str, arguments: serde_json::Value) -> Call {
    let mut call = Call::native(tool, arguments);
    match Predictor::start(&call.validated(), "/home/ada") {
        Step::Done(prediction) => call.prediction = prediction,
        _ => panic!("{tool} asks somebody"),
    }
    call
}

#[test]
fn people_deploy_inside_a_workspace_and_agents_ask() {
    let check = serde_json::json!({"port": 8080, "path": "/health"});
    let release = |root: &str| {
        let arguments = serde_json::json!({"root": root, "release": "v1", "source": "/srv/app/new",
            "digest": "0".repeat(64), "check_after": check});
        native("deploy.release", arguments)
    };
    let status = || native("deploy.status", serde_json::json!({"root": "/srv/app/web", "check": check}));
    let rollback = || native("deploy.rollback", serde_json::json!({"root": "/srv/app/web"}));
    let decided = |call: Call| summary(&call.decide(&engine()));
    assert_eq!(decided(rollback().in_person()), "go STAGE_APPLY");
    assert_eq!(decided(status().in_person()), "go STAGE_APPLY");
    // Of all that may lie in a release some may be held, so it is looked at first.
    assert_eq!(decided(release("/srv/app/web").in_person()), "go STAGE_PREVIEW");
    let files =
        ["file.create:/srv/app/web/releases/v1/run", "deploy.release:/srv/app/web", "net.connect:127.0.0.1:8080"];
    let diff = |call: Call, effects: &[&str]| diff_summary(&call.decide_observed(&engine(), &observed(effects)));
    assert_eq!(diff(release("/srv/app/web").in_person(), &files), "commit");
    let outside = ["file.create:/opt/web/releases/v1/run", "deploy.release:/opt/web"];
    assert_eq!(diff(release("/opt/web").in_person(), &outside), "ask 1");
    // An agent's is planned, shown and held: never asked about blindly, never done unasked.
    for level in [AutonomyLevel::Ask, AutonomyLevel::Preview, AutonomyLevel::Auto] {
        assert_eq!(decided(release("/srv/app/web").at(level)), "go STAGE_PREVIEW", "{level:?}");
        assert_eq!(diff(release("/srv/app/web").at(level), &files), "ask 2", "{level:?}");
        assert_eq!(decided(rollback().at(level)), "go STAGE_PREVIEW", "{level:?}");
        assert_eq!(decided(status().at(level)), "go STAGE_PREVIEW", "{level:?}");
        assert_eq!(diff(status().at(level), &files[2..]), "ask 1", "{level:?}");
    }
    assert_eq!(decided(release("/opt/web")), "refuse POLICY_DENIED workspace.outside");
    // By a command it is still what nothing holds back, whoever it is.
    let command = Call::command("ship").in_person().does("deploy.release:/srv/app/web");
    assert_eq!(decided(command), "ask STAGE_PREVIEW workspace.irreversible");
}

#[test]
fn a_tool_that_gives_a_program_rights_of_its_own_asks_as_a_command_does() {
    let decided = |call: Call| summary(&call.at(AutonomyLevel::Auto).decide(&engine()));
    let write =
        |mode: &str| native("files.write", serde_json::json!({"path": "/srv/app/x", "content": "x", "mode": mode}));
    let chmod = |mode: &str| native("files.chmod", serde_json::json!({"path": "/srv/app/x", "mode": mode}));
    for mode in ["644", "0755", "1755"] {
        for call in [write(mode), chmod(mode)] {
            assert!(decided(call).starts_with("go "), "{mode}");
        }
    }
    for mode in ["4755", "2755", "6711"] {
        for call in [write(mode), chmod(mode)] {
            let said = decided(call);
            assert!(said.starts_with("ask ") && said.ends_with(" workspace.irreversible"), "{mode}: {said}");
        }
    }
}
