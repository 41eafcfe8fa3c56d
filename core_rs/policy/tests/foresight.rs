//! Prediction and decision together: a real command, resolved, judged and decided.

use cmdop_contract::effect::parse_kind;
use cmdop_contract::v1::{Invocation, Judgement, PredictedEffect};
use cmdop_policy::predict::{Predictor, Step};

mod fixture;

use fixture::{Call, engine, summary};

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
