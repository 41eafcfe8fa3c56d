use super::*;
use crate::v1::{Actor, EffectKind, ExpectedEffect};

fn action(tool: &str, arguments: &str) -> Action {
    Action {
        tool: tool.into(),
        host: "local".into(),
        intent: "test".into(),
        arguments_json: arguments.into(),
        expect: Vec::new(),
    }
}

fn actor() -> Option<Actor> {
    Some(Actor { user: "ada".into(), ..Actor::default() })
}

fn check(action: Action) -> Result<Validated, Error> {
    let proposal = Proposal { action: Some(action), actor: actor(), ..Proposal::default() };
    validate(&Registry::builtin(), proposal, &Limits::default(), "/root")
}

fn pointers(error: &Error) -> Vec<&str> {
    error.violations.iter().map(|violation| violation.pointer.as_str()).collect()
}

#[test]
fn all_violations_come_at_once_with_pointers_and_remedies() {
    let mut bad = action("terminal.exec", r#"{"cwd":"srv","timeout_s":"x","colour":1}"#);
    bad.intent = " ".into();
    bad.expect = vec![
        ExpectedEffect { kind: EffectKind::FileDelete.into(), target: "~bob".into(), ..ExpectedEffect::default() },
        ExpectedEffect { kind: 999, target: "/x".into(), ..ExpectedEffect::default() },
    ];
    let error = check(bad).expect_err("malformed");
    let found = pointers(&error);
    for pointer in [
        "/intent",
        "/arguments/command",
        "/arguments/cwd",
        "/arguments/timeout_s",
        "/arguments/colour",
        "/expect/0/target",
        "/expect/1/kind",
    ] {
        assert!(found.contains(&pointer), "{pointer} in {found:?}");
    }
    assert!(error.violations.iter().all(|violation| violation.remedy.is_some() && !violation.expected.is_empty()));
}

#[test]
fn relative_targets_start_at_the_working_directory() {
    let mut good = action("terminal.exec", r#"{"command":"rm -rf ./logs","cwd":"/srv/app/"}"#);
    good.expect = vec![ExpectedEffect {
        kind: EffectKind::FileDelete.into(),
        target: "./logs".into(),
        ..ExpectedEffect::default()
    }];
    let validated = check(good).expect("well formed");
    assert_eq!(validated.declared()[0].to_string(), "file.delete:/srv/app/logs");
    assert_eq!(validated.cwd(), Some("/srv/app"));
}

#[test]
fn exact_tools_declare_for_the_caller() {
    let write = check(action("files.write", r#"{"path":"/srv/a","content":"x"}"#)).expect("well formed");
    let texts: Vec<_> = write.declared().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["file.create:/srv/a", "file.modify:/srv/a"]);
    let delete = check(action("files.delete", r#"{"path":"/srv/a"}"#)).expect("well formed");
    assert_eq!(delete.declared()[0].to_string(), "file.delete:/srv/a");
    assert!(check(action("files.read", r#"{"path":"/srv/a"}"#)).expect("well formed").declared().is_empty());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (arguments, reason) in [
        ("{", Reason::MalformedJson),
        (r#"{"command":"ls","command":"rm","cwd":"/"}"#, Reason::MalformedJson),
        (r#"{"command":"ls","cwd":"/srv/../etc"}"#, Reason::InvalidArguments),
        ("{\"command\":\"a\\u0000b\",\"cwd\":\"/\"}", Reason::InvalidArguments),
        ("[]", Reason::InvalidArguments),
    ] {
        assert_eq!(check(action("terminal.exec", arguments)).expect_err(arguments).reason(), reason, "{arguments}");
    }
    for (arguments, pointer) in [
        (r#"{"argv":["ls","a\u0000b"],"cwd":"/"}"#, "/arguments/argv/1"),
        (r#"{"argv":["ls"],"env":{"A/B":"a\u0000b"},"cwd":"/"}"#, "/arguments/env/A~1B"),
        (r#"{"command":"a\u0000b","cwd":"/"}"#, "/arguments/command"),
    ] {
        let error = check(action("terminal.exec", arguments)).expect_err(arguments);
        let told: Vec<_> = error.violations.iter().map(|it| (it.pointer.as_str(), it.reason())).collect();
        assert!(told.contains(&(pointer, Reason::InvalidArguments)), "{arguments}: {told:?}");
    }
    let large = format!(r#"{{"path":"/x","content":"{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(check(action("files.write", &large)).expect_err("large").reason(), Reason::ArgumentsTooLarge);
    assert_eq!(check(action("files.shred", "{}")).expect_err("unknown").reason(), Reason::UnknownTool);
    let mut wrong = action("files.shred", "{}");
    wrong.expect = vec![ExpectedEffect { unknown_kind: "file.delet".into(), ..ExpectedEffect::default() }];
    let error = check(wrong).expect_err("unknown, and more");
    let pointers: Vec<_> = error.violations.iter().map(|it| (it.pointer.as_str(), it.reason())).collect();
    assert_eq!(error.reason(), Reason::UnknownTool);
    assert_eq!(pointers[..2], [("/tool", Reason::UnknownTool), ("/expect/0/kind", Reason::InvalidEffect)]);
}

#[test]
fn a_proposal_of_nobody_is_refused() {
    for actor in [None, Some(Actor::default()), Some(Actor { agent: "janitor".into(), ..Actor::default() })] {
        let action = Some(action("files.read", r#"{"path":"/a"}"#));
        let proposal = Proposal { action, actor, ..Proposal::default() };
        let error = validate(&Registry::builtin(), proposal, &Limits::default(), "/root").expect_err("nobody");
        assert_eq!((error.reason(), pointers(&error)), (Reason::InvalidAction, vec!["/actor/user"]));
    }
}

#[test]
fn json_that_cannot_be_read_says_where_and_how_to_mend_it() {
    let mut said = std::collections::HashSet::new();
    for (arguments, place) in [
        ("{", "line 1 column 1"),
        ("{}\n{}", "line 2 column 1"),
        (" ", "line 1 column 1"),
        (r#"{"path": NaN}"#, "line 1 column 10"),
        (r#"{"path": 123456789012345678901234567890}"#, "line 1 column 39"),
        (r#"{"path":"/a","path":"/b"}"#, "line 1 column 19"),
    ] {
        let error = check(action("files.read", arguments)).expect_err(arguments);
        assert!(error.message.contains(place), "{place} in {}", error.message);
        let violation = &error.violations[0];
        assert!(violation.found.contains(place) && error.message.contains(&violation.expected), "{violation:?}");
        said.insert(violation.expected.clone());
    }
    assert_eq!(said.len(), 6, "each has a remedy of its own: {said:?}");
}

#[test]
fn a_command_is_a_line_or_its_words_and_not_both() {
    for (arguments, pointer) in [
        (r#"{"command":"ls","argv":["ls"],"cwd":"/"}"#, "/arguments/command"),
        (r#"{"cwd":"/"}"#, "/arguments/command"),
        (r#"{"argv":[],"cwd":"/"}"#, "/arguments/argv"),
        (r#"{"argv":["ls",1],"cwd":"/"}"#, "/arguments/argv/1"),
        (r#"{"argv":["ls"],"cwd":"/","memory_mb":0}"#, "/arguments/memory_mb"),
    ] {
        let error = check(action("terminal.exec", arguments)).expect_err(arguments);
        assert!(pointers(&error).contains(&pointer), "{arguments}: {:?}", pointers(&error));
    }
    check(action("terminal.exec", r#"{"argv":["ls"],"cwd":"/","pty":{}}"#)).expect("well formed");
}

#[test]
fn the_same_effect_twice_is_refused() {
    let mut twice = action("terminal.exec", r#"{"command":"rm x","cwd":"/srv"}"#);
    let effect =
        ExpectedEffect { kind: EffectKind::FileDelete.into(), target: "x".into(), ..ExpectedEffect::default() };
    twice.expect = vec![effect.clone(), ExpectedEffect { target: "/srv/x".into(), ..effect }];
    assert_eq!(pointers(&check(twice).expect_err("twice")), ["/expect/1"]);
}

#[test]
fn what_a_violation_shows_is_bounded_and_points_exactly() {
    let name = "x".repeat(10_000);
    let error = check(action("files.read", &format!(r#"{{"path":"/a","{name}":1,"a/~b":2}}"#))).expect_err("unknown");
    assert!(
        error.violations.iter().all(|it| it.expected.len() <= 800 && it.found.len() <= 200 && it.pointer.len() < 300)
    );

    let error = check(action("files.read", r#"{"path":"/a","a/~b":2}"#)).expect_err("unknown");
    assert_eq!(pointers(&error), ["/arguments/a~1~0b"]);

    let mut counts = action("terminal.exec", r#"{"command":"rm x","cwd":"/srv"}"#);
    let kind = EffectKind::FileDelete.into();
    counts.expect = vec![ExpectedEffect {
        kind,
        target: "x".into(),
        min_count: Some(2),
        max_count: Some(1),
        ..ExpectedEffect::default()
    }];
    assert_eq!(pointers(&check(counts).expect_err("counts")), ["/expect/0/min_count"]);
}

#[test]
fn sizes_beyond_the_limits_are_refused() {
    let limits = Limits::default();
    let mut large = action("terminal.exec", r#"{"command":"ls","cwd":"/"}"#);
    large.intent = "i".repeat(limits.intent_chars + 1);
    large.expect = vec![ExpectedEffect::default(); limits.expected_effects + 1];
    let idempotency_key = "k".repeat(crate::name::MAX_CHARS + 1);
    let proposal = Proposal { action: Some(large), actor: actor(), idempotency_key, ..Proposal::default() };
    let error = validate(&Registry::builtin(), proposal, &limits, "/root").expect_err("too large");
    assert_eq!(pointers(&error), ["/intent", "/idempotency_key", "/expect"]);
    assert!(error.violations.iter().all(|it| !it.found.contains("iii") && !it.found.contains("kkk")), "{error:?}");

    let deep = format!(r#"{{"command":{}1{}}}"#, "[".repeat(70), "]".repeat(70));
    assert_eq!(check(action("terminal.exec", &deep)).expect_err("deep").reason(), Reason::MalformedJson);
}

#[test]
fn what_was_expected_reads_as_an_instruction() {
    let error =
        check(action("terminal.exec", r#"{"command":"ls","cwd":"srv/app","timeout_s":"5"}"#)).expect_err("wrong");
    let said: Vec<_> = error.violations.iter().map(|one| (one.pointer.as_str(), one.expected.as_str())).collect();
    let cwd = ("/arguments/cwd", "a normalised absolute path, such as `/srv/app`");
    assert_eq!(said, [("/arguments/timeout_s", "a value of type integer"), cwd]);
    assert_eq!(error.message, r#"/arguments/timeout_s: found "5", expected a value of type integer (and 1 more)"#);

    for (tool, arguments, pointer, expected, found) in [
        ("terminal.exec", r#"{"command":"ls","cwd":"/","timeout":5}"#, "timeout", "did you mean `timeout_s`?", "5"),
        (
            "terminal.exec",
            r#"{"command":"ls","cwd":"/","colour":{"a":1}}"#,
            "colour",
            "; there are `argv`, `command`, `cpu_s`, ",
            r#"{"a":1}"#,
        ),
        ("terminal.exec", r#"{"cwd":"/"}"#, "command", "`command`, which is required: The command line", "nothing"),
        ("terminal.exec", r#"{"command":"ls","argv":["ls"],"cwd":"/"}"#, "command", "nothing: Either", r#""ls""#),
        ("files.write", r#"{"path":"/a","content":"","mode":"rw"}"#, "mode", "text that matches `", r#""rw""#),
        (
            "deploy.plan",
            r#"{"root":"/a","release":"a","source":"/b","check_before":{}}"#,
            "check_before/port",
            "Port on",
            "nothing",
        ),
    ] {
        let error = check(action(tool, arguments)).expect_err(arguments);
        let violation = &error.violations[0];
        assert_eq!(violation.pointer, format!("/arguments/{pointer}"), "{arguments}");
        assert!(violation.expected.contains(expected), "{expected} in {}", violation.expected);
        assert_eq!(violation.found, found);
    }
}

#[test]
fn an_unknown_kind_of_effect_is_answered_with_what_was_given_and_what_there_is() {
    for (kind, unknown_kind, found, meant) in [
        (0, "file.remove", "`file.remove`", "did you mean `file.delete`?"),
        (0, "nonsense", "`nonsense`", "a kind of effect; there are file.create, "),
        (0, "", "no kind", "there are file.create, "),
        (999, "", "the number 999", "there are file.create, "),
    ] {
        let mut wrong = action("terminal.exec", r#"{"command":"ls","cwd":"/"}"#);
        let unknown_kind = unknown_kind.into();
        wrong.expect = vec![ExpectedEffect { kind, target: "/x".into(), unknown_kind, ..ExpectedEffect::default() }];
        let error = check(wrong).expect_err(found);
        let violation = &error.violations[0];
        assert_eq!((violation.pointer.as_str(), violation.found.as_str()), ("/expect/0/kind", found));
        assert!(violation.expected.contains(meant) && violation.expected.ends_with("process.spawn"), "{violation:?}");
        assert!(error.message.contains(found), "{}", error.message);
    }
}

#[test]
fn writing_with_a_mode_declares_the_change_of_mode() {
    let kinds = |arguments: &str| {
        let validated = check(action("files.write", arguments)).expect("well formed");
        validated.declared().iter().map(|effect| effect.kind).collect::<Vec<_>>()
    };
    let written = [EffectKind::FileCreate, EffectKind::FileModify];
    assert_eq!(kinds(r#"{"path":"/x","content":""}"#), written);
    let with_mode = [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileChmod];
    assert_eq!(kinds(r#"{"path":"/x","content":"","mode":"0600"}"#), with_mode);
}

/// Every name of a proposal, with its pointer.
fn names(proposal: &mut Proposal) -> Vec<(&'static str, &mut String)> {
    let actor = proposal.actor.get_or_insert_default();
    let action = proposal.action.as_mut().expect("an action");
    vec![
        ("/tool", &mut action.tool),
        ("/host", &mut action.host),
        ("/idempotency_key", &mut proposal.idempotency_key),
        ("/actor/tenant", &mut actor.tenant),
        ("/actor/user", &mut actor.user),
        ("/actor/agent", &mut actor.agent),
        ("/actor/run", &mut actor.run),
        ("/actor/session", &mut actor.session),
    ]
}

#[test]
fn every_name_of_a_proposal_has_the_same_grammar_and_all_wrong_ones_are_told_at_once() {
    for bad in ["janitor\u{1b}[2J", "a\u{202e}b", "a b", &"n".repeat(50_000)] {
        let action = Some(action("files.read", r#"{"path":"relative"}"#));
        let mut proposal = Proposal { action, ..Proposal::default() };
        let mut expected: Vec<_> = names(&mut proposal)
            .into_iter()
            .map(|(pointer, name)| {
                bad.clone_into(name);
                pointer
            })
            .collect();
        let error = validate(&Registry::builtin(), proposal.clone(), &Limits::default(), "/root").expect_err("names");
        assert_eq!(pointers(&error), expected);
        assert!(error.violations.iter().all(|it| it.expected == crate::name::GRAMMAR && it.remedy.is_some()));
        // With a tool that is known its arguments are checked, too.
        "files.read".clone_into(&mut proposal.action.as_mut().expect("an action").tool);
        expected.remove(0);
        expected.push("/arguments/path");
        let error = validate(&Registry::builtin(), proposal, &Limits::default(), "/root").expect_err("names");
        assert_eq!(pointers(&error), expected);
    }
}

#[test]
fn what_is_refused_for_its_size_leaves_its_length_and_digest() {
    let limits = Limits::default();
    let fields: [fn(&mut Proposal, String); 8] = [
        |proposal, text| {
            let effect = ExpectedEffect { unknown_kind: text, ..ExpectedEffect::default() };
            proposal.action.as_mut().expect("an action").expect = vec![effect];
        },
        |proposal, text| proposal.action.as_mut().expect("an action").intent = text,
        |proposal, text| proposal.action.as_mut().expect("an action").arguments_json = text,
        |proposal, text| proposal.action.as_mut().expect("an action").tool = text,
        |proposal, text| {
            let kind = EffectKind::FileDelete.into();
            let effect = ExpectedEffect { kind, target: text, ..ExpectedEffect::default() };
            proposal.action.as_mut().expect("an action").expect = vec![effect];
        },
        |proposal, text| proposal.model_call_id = text,
        |proposal, text| proposal.idempotency_key = text,
        |proposal, text| proposal.actor.get_or_insert_default().agent = text,
    ];
    let whole =
        Proposal { action: Some(action("files.read", r#"{"path":"/a"}"#)), actor: actor(), ..Proposal::default() };
    assert_eq!(abridged(&whole, &limits), None);
    for (index, set) in fields.into_iter().enumerate() {
        let mut large = whole.clone();
        set(&mut large, "z".repeat(limits.arguments_bytes + 1));
        validate(&Registry::builtin(), large.clone(), &limits, "/root").expect_err("what is abridged is refused");
        let short = abridged(&large, &limits).unwrap_or_else(|| panic!("field {index} is too large"));
        assert!(prost::Message::encoded_len(&short) < 500, "{short:?}");
        let said = format!("{short:?}");
        assert!(said.contains("1048577-bytes:sha256:") && !said.contains("zzz"), "{said}");
    }
    let mut many = whole;
    many.action.as_mut().expect("an action").expect = vec![ExpectedEffect::default(); limits.expected_effects + 1];
    let short = abridged(&many, &limits).expect("too many");
    assert_eq!(short.action.expect("an action").expect.len(), 1);
}
