use crate::reason::{Change, value};
use crate::tool::Registry;
use crate::v1::{Action, Actor, EffectKind, Error, ExpectedEffect, Proposal, Violation, remedy};
use crate::validate::{Limits, validate};

fn ann() -> Actor {
    Actor { user: "ann".into(), ..Actor::default() }
}

fn refused(action: Action) -> Error {
    let proposal = Proposal { action: Some(action), actor: Some(ann()), ..Proposal::default() };
    validate(&Registry::builtin(), proposal, &Limits::default(), "/home/ann").expect_err("malformed")
}

fn action(tool: &str, arguments: &str) -> Action {
    let (tool, host) = (tool.into(), "local".into());
    Action { tool, host, intent: "test".into(), arguments_json: arguments.into(), expect: Vec::new() }
}

fn change_of(violation: &Violation) -> Option<Change> {
    match violation.remedy.clone()?.kind? {
        remedy::Kind::FixArguments(fix) => fix.change,
        _ => None,
    }
}

fn changes(error: &Error) -> Vec<(String, Option<Change>)> {
    error.violations.iter().map(|it| (it.pointer.clone(), change_of(it))).collect()
}

fn rename(to: &str) -> Option<Change> {
    Some(Change::Rename(to.to_owned()))
}

fn put(it: impl Into<serde_json::Value>) -> Option<Change> {
    Some(value(it))
}

const REMOVE: Option<Change> = Some(Change::Remove(true));

#[test]
fn one_slip_in_the_arguments_is_mended() {
    for (tool, arguments, pointer, expected) in [
        ("files.read", r#"{"pth":"/a"}"#, "pth", rename("path")),
        ("terminal.exec", r#"{"args":["ls"],"cwd":"/"}"#, "args", rename("argv")),
        ("files.read", r#"{"file_path":"/a"}"#, "file_path", rename("path")),
        ("files.read", r#"{"path":"/a","encoding":"utf-8"}"#, "encoding", REMOVE),
        ("files.write", r#"{"path":"/a","content":"","note":"x"}"#, "note", REMOVE),
        ("files.write", r#"{"path":"/a","content":"","file":"/a"}"#, "file", REMOVE),
        ("files.delete", r#"{"path":"/a","dry_run":null}"#, "dry_run", REMOVE),
        ("files.delete", r#"{"path":"/a","cwd":"/srv"}"#, "cwd", REMOVE),
        ("files.read", r#"{"path":"/a","limit":null}"#, "limit", REMOVE),
        ("files.read", r#"{"path":"/a","limit":"10"}"#, "limit", put(10)),
        ("files.read", r#"{"path":"/a","limit":10.5}"#, "limit", put(10)),
        ("files.read", r#"{"path":"/a","limit":99999999}"#, "limit", put(1_048_576)),
        ("files.list", r#"{"path":"/a","recursive":"True"}"#, "recursive", put(true)),
        ("files.list", r#"{"path":["/a"]}"#, "path", put("/a")),
        ("files.list", r#"{"path":"~/x"}"#, "path", put("/home/ann/x")),
        ("files.list", r#"{"path":"file:///srv"}"#, "path", put("/srv")),
        ("files.list", r#"{"path":" /srv\n"}"#, "path", put("/srv")),
        ("files.chmod", r#"{"path":"/a","mode":"0o644"}"#, "mode", put("644")),
        ("files.chmod", r#"{"path":"/a","mode":"-rw-r--r--"}"#, "mode", put("644")),
        (
            "files.edit",
            r#"{"path":"/a","edits":{"old":"a","new":"b"}}"#,
            "edits",
            put(serde_json::json!([{"old": "a", "new": "b"}])),
        ),
        ("terminal.exec", r#"{"command":"ls","cwd":"/srv/../etc"}"#, "cwd", put("/etc")),
        ("terminal.exec", r#"{"command":"ls","cwd":"/","timeout_s":"2 min"}"#, "timeout_s", put(120)),
        ("terminal.exec", r#"{"command":"ls","cwd":"/","memory_mb":"1GB"}"#, "memory_mb", put(1024)),
        ("terminal.exec", r#"{"command":"ls","cwd":"/","timeout_s":0}"#, "timeout_s", put(1)),
        ("terminal.exec", r#"{"command":"ls","cwd":"/","env":["A=1"]}"#, "env", put(serde_json::json!({"A": "1"}))),
        ("terminal.exec", r#"{"command":"ls","cwd":"/","env":{"A":1}}"#, "env/A", put("1")),
        ("terminal.exec", r#"{"command":["ls","-l"],"cwd":"/"}"#, "command", rename("argv")),
        ("terminal.exec", r#"{"command":"ls -l","argv":["ls","-l"],"cwd":"/"}"#, "command", REMOVE),
        ("process.signal", r#"{"pid":5,"name":"x","signal":"SIGTERM"}"#, "signal", put("TERM")),
    ] {
        let found = changes(&refused(action(tool, arguments)));
        assert_eq!(found, [(format!("/arguments/{pointer}"), expected)], "{tool} {arguments}");
    }
}

#[test]
fn what_the_author_may_have_meant_otherwise_is_not_mended() {
    for (tool, arguments) in [
        // It may have been meant to hold the call back.
        ("files.delete", r#"{"path":"/a","dry_run":true}"#),
        ("files.write", r#"{"path":"/a","content":"","backup":true}"#),
        // A relative path starts somewhere, and not at the root.
        ("files.delete", r#"{"path":"logs/old"}"#),
        ("terminal.exec", r#"{"command":"rm -rf *","cwd":"logs"}"#),
        ("files.delete", r#"{"path":"~bob/x"}"#),
        // Numbers that name something are no quantities.
        ("process.signal", r#"{"pid":0,"name":"x"}"#),
        ("process.signal", r#"{"pid":5,"name":"x","signal":"USR3"}"#),
        ("deploy.status", r#"{"root":"/srv/d","check":{"port":0}}"#),
        // Octal digits or a number?
        ("files.chmod", r#"{"path":"/a","mode":420}"#),
        ("terminal.exec", r#"{"command":"ls *","argv":["ls","*"],"cwd":"/"}"#),
        ("terminal.exec", r#"{"command":"rm x","argv":["ls"],"cwd":"/"}"#),
        ("files.write", r#"{"path":"/a"}"#),
        ("files.delete", "[]"),
        ("files.delete", r#"{"path":"/a""#),
        ("files.delete", r#"{"path":"/a","path":"/b"}"#),
    ] {
        let error = refused(action(tool, arguments));
        assert!(error.violations.iter().all(|it| change_of(it).is_none()), "{tool} {arguments}: {error:?}");
    }
}

#[test]
fn one_slip_in_a_declaration_is_mended() {
    let effect = |unknown_kind: &str, kind: EffectKind, target: &str, counts: (Option<u32>, Option<u32>)| {
        let (unknown_kind, target) = (unknown_kind.to_owned(), target.to_owned());
        ExpectedEffect { kind: kind.into(), target, min_count: counts.0, max_count: counts.1, unknown_kind }
    };
    let any = (None, None);
    for (expect, pointer, expected) in [
        (vec![effect("file.remove", EffectKind::Unspecified, "/a", any)], "0/kind", put("file.delete")),
        (vec![effect("FILE_DELETE", EffectKind::Unspecified, "/a", any)], "0/kind", put("file.delete")),
        (
            vec![effect("process:leave-running", EffectKind::Unspecified, "x", any)],
            "0/kind",
            put("process.leave_running"),
        ),
        (vec![effect("nonsense", EffectKind::Unspecified, "/a", any)], "0/kind", None),
        (vec![effect("", EffectKind::NetConnect, "https://a.org/x", any)], "0/target", put("a.org:443")),
        (vec![effect("", EffectKind::NetConnect, "http://a.org:8080", any)], "0/target", put("a.org:8080")),
        (vec![effect("", EffectKind::NetConnect, "a.org:https", any)], "0/target", put("a.org:443")),
        (vec![effect("", EffectKind::NetConnect, "a.org", any)], "0/target", None),
        (vec![effect("", EffectKind::ProcessSignal, "pid: 012", any)], "0/target", put("pid:12")),
        (vec![effect("", EffectKind::ServiceStart, "nginx\n", any)], "0/target", put("nginx")),
        (vec![effect("", EffectKind::FileDelete, "~bob", any)], "0/target", None),
        (vec![effect("", EffectKind::FileDelete, "/a", (Some(3), Some(2)))], "0/min_count", put(2)),
        (
            vec![effect("", EffectKind::FileDelete, "/a", any), effect("", EffectKind::FileDelete, "a", any)],
            "1",
            REMOVE,
        ),
        (
            vec![
                effect("", EffectKind::FileDelete, "/a", any),
                effect("", EffectKind::FileDelete, "a", (None, Some(1))),
            ],
            "1",
            None,
        ),
    ] {
        let mut wrong = action("terminal.exec", r#"{"command":"true","cwd":"/"}"#);
        wrong.expect = expect;
        assert_eq!(changes(&refused(wrong.clone())), [(format!("/expect/{pointer}"), expected)], "{wrong:?}");
    }
}

#[test]
fn one_slip_around_the_arguments_is_mended() {
    let mut wrong = action(" `files.read`", r#"{"path":"/a"}"#);
    wrong.intent = String::new();
    let found = changes(&refused(wrong));
    assert_eq!(found[1], ("/tool".to_owned(), put("files.read")));
    let Some(Change::ValueJson(intent)) = &found[0].1 else { panic!("{found:?}") };
    assert!(intent.contains("gave no reason"), "an approver must see that there is none: {intent}");

    let named = Action { intent: "i".repeat(3_000), ..action("files.read", "{'path': '/a'}") };
    let error = refused(named);
    let found = changes(&error);
    assert!(matches!(&found[0].1, Some(Change::ValueJson(intent)) if intent.contains("3000-bytes:sha256:")));
    assert_eq!(found[1], ("/arguments".to_owned(), Some(Change::ValueJson(r#"{"path":"/a"}"#.to_owned()))));
    // The error itself says the same as its first violation.
    assert_eq!(error.remedy, error.violations[0].remedy);

    let action = Some(action("files.read", r#"{"path":"/a"}"#));
    let long = Proposal {
        action,
        idempotency_key: "a b".into(),
        model_call_id: "x".repeat(300),
        actor: Some(ann()),
        ..Proposal::default()
    };
    let error = validate(&Registry::builtin(), long, &Limits::default(), "/root").expect_err("names");
    assert!(error.violations.iter().all(|it| change_of(it) == REMOVE), "{error:?}");
}
