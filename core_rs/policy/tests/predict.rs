//! Prediction: what an action would do, judged by a vocabulary of a few words.

use cmdop_contract::effect::kind_name;
use cmdop_contract::tool::Registry;
use cmdop_contract::v1::{
    Action, Actor, EffectKind, Invocation, Judgement, NestedScript, PredictedEffect, Prediction, Proposal, Reason,
    remedy,
};
use cmdop_contract::validate::{Limits, Validated, validate};
use cmdop_policy::predict::{MAX_DEPTH, MAX_INVOCATIONS, Predictor, Step};

const HOME: &str = "/home/u";

fn validated(tool: &str, arguments: serde_json::Value) -> Validated {
    let action = Action {
        tool: tool.into(),
        host: "local".into(),
        intent: "a test".into(),
        arguments_json: arguments.to_string(),
        expect: Vec::new(),
    };
    let actor = Actor { user: "ada".into(), ..Actor::default() };
    let proposal = Proposal { action: Some(action), actor: Some(actor), author_attempt: 1, ..Proposal::default() };
    validate(&Registry::builtin(), proposal, &Limits::default(), HOME).unwrap_or_else(|error| panic!("{error:?}"))
}

fn command(command: &str) -> Validated {
    validated("terminal.exec", serde_json::json!({"command": command, "cwd": "/w"}))
}

/// Knows `rm`, `sh -c`, `sudo`, `twice` and `broken`; nothing else.
fn judge(invocation: &Invocation) -> Judgement {
    let words: Vec<&str> = invocation.argv.iter().map(String::as_str).collect();
    let delete = |path: &str| PredictedEffect {
        kind: EffectKind::FileDelete.into(),
        target: if path.starts_with('/') { path.into() } else { format!("{}/{path}", invocation.cwd) },
        certain: true,
        ..PredictedEffect::default()
    };
    let script = |command: &str| NestedScript {
        command: command.into(),
        cwd: invocation.cwd.clone(),
        env: invocation.env.clone().into_iter().collect(),
    };
    match words.as_slice() {
        ["rm", paths @ ..] => {
            Judgement { effects: paths.iter().map(|path| delete(path)).collect(), ..Judgement::default() }
        }
        ["sh", "-c", text] => Judgement { scripts: vec![script(text)], ..Judgement::default() },
        ["sh"] => match &invocation.stdin {
            Some(text) => Judgement { scripts: vec![script(text)], ..Judgement::default() },
            None => Judgement { unanalysable: "it reads what is not known".into(), ..Judgement::default() },
        },
        ["sudo", ..] => {
            let nested = Invocation { argv: invocation.argv[1..].to_vec(), certain: true, ..invocation.clone() };
            Judgement { invocations: vec![nested], ..Judgement::default() }
        }
        ["relative"] => {
            Judgement { effects: vec![PredictedEffect { target: "x".into(), ..delete("x") }], ..Judgement::default() }
        }
        ["true" | "echo" | "a", ..] => Judgement::default(),
        _ => Judgement { unanalysable: "nobody knows".into(), ..Judgement::default() },
    }
}

fn predicted(validated: &Validated) -> Prediction {
    let mut step = Predictor::start(validated, HOME);
    loop {
        match step {
            Step::Judge(predictor, invocations) => step = predictor.answer(invocations.iter().map(judge).collect()),
            Step::Done(prediction) => return prediction,
            Step::Malformed(error) => panic!("{error:?}"),
        }
    }
}

fn effects(prediction: &Prediction) -> Vec<String> {
    let text = |effect: &PredictedEffect| {
        let uncertain = if effect.certain { "" } else { "?" };
        format!("{uncertain}{}:{}", kind_name(effect.kind()), effect.target)
    };
    prediction.effects.iter().map(text).collect()
}

#[test]
fn what_a_command_does_in_its_private_directory_is_no_effect() {
    for line in ["rm $TMPDIR/x", "rm \"${TMPDIR}\"", "echo x > $TMPDIR/a/b", "rm /dev/shm/x"] {
        let prediction = predicted(&command(line));
        assert!(prediction.unanalysable.is_empty() && prediction.effects.is_empty(), "{line}: {prediction:?}");
    }
    for line in ["rm $TMPDIR/../sda", "rm /dev/shmx", "TMPDIR=/srv; rm $TMPDIR/x", "rm /dev/*"] {
        let prediction = predicted(&command(line));
        assert!(!prediction.unanalysable.is_empty() || !prediction.effects.is_empty(), "{line}");
    }
}

#[test]
fn native_tools_are_exact_and_ask_nobody() {
    let rows = [
        ("files.read", serde_json::json!({"path": "/a/*"}), vec!["file.read:/a/\\*"]),
        ("files.list", serde_json::json!({"path": "/a"}), vec!["file.read:/a"]),
        ("files.list", serde_json::json!({"path": "/a", "recursive": true}), vec!["file.read:/a/**"]),
        ("files.stat", serde_json::json!({"path": "/a"}), vec!["file.read:/a"]),
        ("files.search", serde_json::json!({"path": "/a", "pattern": "x"}), vec!["file.read:/a/**"]),
        ("files.write", serde_json::json!({"path": "/a", "content": "x"}), vec!["?file.create:/a", "?file.modify:/a"]),
        (
            "files.edit",
            serde_json::json!({"path": "/a", "edits": [{"old": "x", "new": "y"}]}),
            vec!["file.read:/a", "file.modify:/a"],
        ),
        (
            "files.mkdir",
            serde_json::json!({"path": "/a/b/c", "parents": 1}),
            vec!["file.create:/a/b/c", "?file.create:/a/b"],
        ),
        ("files.mkdir", serde_json::json!({"path": "/a/b", "parents": 9}), vec!["file.create:/a/b", "?file.create:/a"]),
        ("files.chmod", serde_json::json!({"path": "/a", "mode": "0600"}), vec!["file.chmod:/a"]),
        (
            "files.move",
            serde_json::json!({"from": "/a", "to": "/b"}),
            vec!["file.read:/a", "file.rename:/a", "file.create:/b/**"],
        ),
        (
            "files.move",
            serde_json::json!({"from": "/a", "to": "/b", "overwrite": true}),
            vec!["file.read:/a", "file.rename:/a", "file.create:/b/**", "?file.delete:/b"],
        ),
        ("files.copy", serde_json::json!({"from": "/a", "to": "/b"}), vec!["file.read:/a", "file.create:/b"]),
        (
            "files.copy",
            serde_json::json!({"from": "/a", "to": "/b", "recursive": true}),
            vec!["file.read:/a/**", "file.create:/b/**"],
        ),
        (
            "files.write",
            serde_json::json!({"path": "/a", "content": "x", "offset": 0, "expected_sha256": "0".repeat(64)}),
            vec!["file.modify:/a"],
        ),
        ("files.delete", serde_json::json!({"path": "/a/../b"}), vec!["file.delete:/b"]),
    ];
    for (tool, arguments, expected) in rows {
        let Step::Done(prediction) = Predictor::start(&validated(tool, arguments), HOME) else { panic!("{tool} asks") };
        assert_eq!(effects(&prediction), expected, "{tool}");
        assert!(prediction.unanalysable.is_empty() && prediction.effects.iter().all(|effect| effect.containable));
    }
}

#[test]
fn signals_and_services_are_named_and_nothing_holds_them_back() {
    let arguments = serde_json::json!({"pid": 7, "name": "nginx"});
    let prediction = predicted(&validated("process.signal", arguments));
    assert_eq!(effects(&prediction), ["process.signal:pid:7", "process.signal:nginx"]);
    assert!(prediction.effects.iter().all(|effect| !effect.containable));
    for verb in ["start", "stop", "restart", "reload"] {
        let service = predicted(&validated(&format!("service.{verb}"), serde_json::json!({"name": "web.service"})));
        assert_eq!(effects(&service), [format!("service.{verb}:web")]);
        assert!(service.effects.iter().all(|effect| !effect.containable));
    }
    let status = predicted(&validated("service.status", serde_json::json!({"name": "web"})));
    assert_eq!(effects(&status), ["process.inspect:web"]);
    let all = predicted(&validated("process.list", serde_json::json!({})));
    assert_eq!(effects(&all), ["process.inspect:*"]);
    let disguised = predicted(&validated("process.signal", serde_json::json!({"pid": 7, "name": "pid:8"})));
    assert!(!disguised.unanalysable.is_empty(), "a name that reads as another process's number");
}

#[test]
fn a_deployment_is_predicted_whole_and_the_host_holds_all_of_it_back() {
    let release = serde_json::json!({"root": "/srv/web/", "release": "v1", "source": "/srv/new",
        "digest": "0".repeat(64), "keep": 3, "check_before": {"port": 81}, "check_after": {"port": 80}});
    let prediction = predicted(&validated("deploy.release", release.clone()));
    let expected = [
        "file.read:/srv/new/**",
        "file.read:/srv/web/**",
        "file.create:/srv/web/releases/v1/**",
        "?file.create:/srv/web/releases",
        "?file.create:/srv/web/current",
        "?file.modify:/srv/web/current",
        "?file.create:/srv/web/.deploy",
        "?file.create:/srv/web/.deploy/state",
        "?file.modify:/srv/web/.deploy/state",
        "deploy.release:/srv/web",
        "?deploy.rollback:/srv/web",
        "?file.delete:/srv/web/releases/*",
        "net.connect:127.0.0.1:81",
        "net.connect:127.0.0.1:80",
    ];
    assert_eq!(effects(&prediction), expected);
    assert!(prediction.unanalysable.is_empty() && prediction.effects.iter().all(|effect| effect.containable));
    let mut plain = release;
    for name in ["keep", "check_before", "check_after"] {
        plain.as_object_mut().expect("object").remove(name);
    }
    let fewer = effects(&predicted(&validated("deploy.release", plain)));
    assert!(!fewer.iter().any(|it| ["delete", "rollback", "net."].iter().any(|word| it.contains(word))), "{fewer:?}");
    let rollback = predicted(&validated("deploy.rollback", serde_json::json!({"root": "/srv/web"})));
    assert!(effects(&rollback).contains(&"deploy.rollback:/srv/web".to_owned()));
    let many = predicted(&validated("deploy.rollback", serde_json::json!({"root": "/srv/*"})));
    assert!(!many.unanalysable.is_empty(), "a star would be the name of many deployments");
    let command = predicted(&command("a"));
    assert!(command.effects.iter().all(|effect| effect.kind() != EffectKind::DeployRelease));
}

#[test]
fn commands_are_judged_and_what_they_run_is_judged_again() {
    for (text, expected) in [
        ("rm x /y", vec!["file.delete:/w/x", "file.delete:/y"]),
        ("a || rm x", vec!["?file.delete:/w/x"]),
        ("sudo sudo rm x", vec!["file.delete:/w/x"]),
        ("sh -c 'cd /tmp && sh -c \"rm x\"'", vec!["file.delete:/tmp/x"]),
        ("a && sh -c 'a || rm x'", vec!["?file.delete:/w/x"]),
        ("a || sudo rm x", vec!["?file.delete:/w/x"]),
        ("a || sh -c 'rm x'", vec!["?file.delete:/w/x"]),
        ("echo rm x | sh", vec!["file.delete:/w/x"]),
        ("rm x; a || rm x", vec!["file.delete:/w/x"]),
        ("a > out < in", vec!["file.read:/w/in", "?file.create:/w/out", "?file.modify:/w/out"]),
    ] {
        let prediction = predicted(&command(text));
        let mut found = effects(&prediction);
        found.sort_by_key(|effect| expected.iter().position(|known| known == effect));
        assert_eq!(found, expected, "{text}");
        assert!(prediction.unanalysable.is_empty(), "{text}: {:?}", prediction.unanalysable);
    }
}

#[test]
fn all_invocations_known_so_far_are_asked_about_at_once() {
    let Step::Judge(_, invocations) = Predictor::start(&command("rm a; rm b | rm c"), HOME) else {
        panic!("asks nobody")
    };
    assert_eq!(invocations.len(), 3);
}

#[test]
fn a_missing_judgement_is_unanalysable() {
    let Step::Judge(predictor, _) = Predictor::start(&command("rm a; rm b"), HOME) else { panic!("asks nobody") };
    let Step::Done(prediction) =
        predictor.answer(vec![judge(&Invocation { argv: vec!["rm".into(), "/a".into()], ..Invocation::default() })])
    else {
        panic!("asks again")
    };
    assert_eq!(prediction.unanalysable.len(), 1);
    assert!(prediction.unanalysable[0].contains("rm b"), "{:?}", prediction.unanalysable);
    assert_eq!(effects(&prediction), ["file.delete:/a"]);
}

#[test]
fn what_nobody_can_say_is_recorded_with_what_can() {
    for text in ["mystery; rm x", "relative; rm x", "rm x; rm $y", "sh -c \"'\"; rm x", "rm x; eval $y"] {
        let prediction = predicted(&command(text));
        assert!(!prediction.unanalysable.is_empty(), "{text}");
        assert!(effects(&prediction).iter().any(|effect| effect.contains("/w/x")), "{text}: {prediction:?}");
    }
}

#[test]
fn a_malformed_command_says_what_to_mend() {
    let Step::Malformed(error) = Predictor::start(&command("rm -rf x; 'unclosed"), HOME) else { panic!("accepted") };
    assert_eq!(error.reason(), Reason::MalformedCommand);
    let Some(remedy::Kind::FixArguments(fix)) = error.remedy.and_then(|remedy| remedy.kind) else {
        panic!("no remedy")
    };
    assert_eq!(fix.path, "/arguments/command");
}

#[test]
fn chains_and_crowds_end_at_their_bounds() {
    let chain = |depth: usize| "sudo ".repeat(depth) + "rm x";
    assert!(predicted(&command(&chain(MAX_DEPTH))).unanalysable.is_empty());
    assert!(!predicted(&command(&chain(MAX_DEPTH + 1))).unanalysable.is_empty());
    let crowd = "rm x; ".repeat(MAX_INVOCATIONS + 1);
    let prediction = predicted(&command(&crowd));
    assert!(!prediction.unanalysable.is_empty());
    assert_eq!(effects(&prediction), ["file.delete:/w/x"]);
}

#[test]
fn the_calls_own_standard_input_and_variables_reach_the_command() {
    let arguments =
        |command: &str| serde_json::json!({"command": command, "cwd": "/w", "stdin": "rm x", "env": {"D": "/d"}});
    assert_eq!(effects(&predicted(&validated("terminal.exec", arguments("sh")))), ["file.delete:/w/x"]);
    assert!(!predicted(&validated("terminal.exec", arguments("sh; sh"))).unanalysable.is_empty());
    assert_eq!(effects(&predicted(&validated("terminal.exec", arguments("rm $D/x")))), ["file.delete:/d/x"]);
    let evil = serde_json::json!({"command": "true", "cwd": "/w", "env": {"LD_PRELOAD": "/x.so"}});
    assert!(!predicted(&validated("terminal.exec", evil)).unanalysable.is_empty());
}

#[test]
fn the_words_of_an_argv_mean_nothing_to_a_shell() {
    let of = |argv: &[&str]| predicted(&validated("terminal.exec", serde_json::json!({"argv": argv, "cwd": "/w"})));
    assert_eq!(effects(&of(&["rm", "x"])), ["file.delete:/w/x"]);
    assert_eq!(effects(&of(&["rm", "it's; rm -rf $HOME"])), ["file.delete:/w/it's; rm -rf $HOME"]);
    assert_eq!(effects(&of(&["sudo", "rm", "$(rm y)"])), ["file.delete:/w/$(rm y)"]);
    assert_eq!(effects(&of(&["sh", "-c", "rm z"])), ["file.delete:/w/z"]);
}
