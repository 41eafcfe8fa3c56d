//! What the author of a policy is told about rules that never decide.

use cmdop_contract::v1::PolicyFile;
use cmdop_policy::engine::{Engine, PACKS};

mod fixture;

use fixture::{Call, load};

fn found(text: &str) -> Vec<String> {
    let findings = load(text).review();
    findings.iter().map(|it| format!("{} {}:{} {}", it.kind, it.file, it.line, it.id)).collect()
}

const LOOK: &str = "@id(\"look\") @reason(\"R.\") permit (principal, action in Action::\"look\", resource);\n";

#[test]
fn the_packs_have_no_rule_that_never_decides() {
    for pack in &PACKS {
        let engine = Engine::load(&[PolicyFile { pack: pack.name.into(), ..PolicyFile::default() }]).expect(pack.name);
        assert_eq!(engine.review(), [], "{}", pack.name);
    }
}

#[test]
fn rules_that_never_decide_are_found_by_place() {
    let rule = |id: &str, rest: &str| format!("@id(\"{id}\") @reason(\"R.\") {rest};\n");
    let held =
        |id: &str, rest: &str| format!("@id(\"{id}\") @reason(\"R.\") @decision(\"require_approval\") {rest};\n");
    let rows: Vec<(String, &[&str])> = vec![
        (
            LOOK.to_owned()
                + &rule("db", "permit (principal, action == Action::\"file.read\", resource in Path::\"/srv/db\")"),
            &["shadowed site.cedar:2 db"],
        ),
        // A condition on the wider one may be false, one on the narrower one changes nothing.
        (
            rule("all", "permit (principal, action in Action::\"read\", resource) when { context.tool == \"x\" }")
                + &rule("db", "permit (principal, action == Action::\"file.read\", resource in Path::\"/srv/db\")"),
            &[],
        ),
        (
            LOOK.to_owned()
                + &rule(
                    "db",
                    "permit (principal, action in Action::\"read\", resource) when { context.tool == \"x\" }",
                ),
            &["shadowed site.cedar:2 db"],
        ),
        (
            rule("deny", "forbid (principal, action in Action::\"write\", resource in Path::\"/srv\")")
                + &rule(
                    "allow",
                    "permit (principal is Agent, action in Action::\"write\", resource in Path::\"/srv/app\")",
                ),
            &["shadowed site.cedar:2 allow"],
        ),
        // `/srv2` is not in `/srv`, and a parent not in its child.
        (
            rule("deny", "forbid (principal, action in Action::\"write\", resource in Path::\"/srv\")")
                + &rule("a", "permit (principal, action in Action::\"write\", resource in Path::\"/srv2\")")
                + &rule("b", "permit (principal, action in Action::\"write\", resource in Path::\"/\")"),
            &["shadowed site.cedar:2 a"],
        ),
        (
            rule("keys", "permit (principal, action in Action::\"change\", resource in PathClass::\"credentials\")"),
            &["floor site.cedar:1 keys"],
        ),
        (
            rule(
                "disk",
                "permit (principal is User, action == Action::\"file.modify\", resource == Path::\"/dev/sda\")",
            ),
            &["floor site.cedar:1 disk"],
        ),
        (held("ask", "forbid (principal, action in Action::\"service\", resource)"), &["unreachable site.cedar:1 ask"]),
        (
            rule("services", "permit (principal, action in Action::\"service\", resource)")
                + &held("ask", "forbid (principal, action == Action::\"service.stop\", resource)"),
            &[],
        ),
        // What a person may lift does not hide what nobody may.
        (
            rule("services", "permit (principal, action in Action::\"service\", resource)")
                + &held("ask", "forbid (principal, action in Action::\"service\", resource)")
                + &rule("never", "forbid (principal, action == Action::\"service.stop\", resource)"),
            &[],
        ),
        (
            rule("services", "permit (principal, action in Action::\"service\", resource)")
                + &rule("never", "forbid (principal, action in Action::\"service\", resource)")
                + &held("ask", "forbid (principal, action == Action::\"service.stop\", resource)"),
            &["shadowed site.cedar:1 services", "shadowed site.cedar:3 ask"],
        ),
        (rule("all", "permit (principal, action, resource)"), &["unscoped site.cedar:1 all"]),
        // Of two that say the same, one is told.
        (LOOK.to_owned() + &LOOK.replacen("look", "zook", 1), &["shadowed site.cedar:2 zook"]),
        (
            rule("agents", "forbid (principal is Agent, action in Action::\"write\", resource is Path)")
                + &rule("one", "forbid (principal == Agent::\"janitor\", action in Action::\"write\", resource)"),
            &["shadowed site.cedar:2 one"],
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(found(&text), *expected, "\n{text}");
    }
}

/// What is said to be shadowed decides nothing: without it every verdict is the same.
#[test]
fn a_rule_that_is_said_to_be_shadowed_makes_no_difference() {
    let with = "@id(\"deny\") @reason(\"R.\") forbid (principal, action in Action::\"write\", resource in Path::\"/srv/app\");\n\
                @id(\"look\") @reason(\"R.\") permit (principal, action in Action::\"look\", resource);\n\
                @id(\"write\") @reason(\"R.\") permit (principal, action in Action::\"write\", resource);\n";
    let shadowed = "@id(\"x\") @reason(\"R.\") permit (principal, action == Action::\"file.create\", resource in Path::\"/srv/app/x\");\n";
    assert_eq!(found(&format!("{with}{shadowed}")), ["shadowed site.cedar:4 x"]);
    let (one, two) = (load(with), load(&format!("{with}{shadowed}")));
    for effect in ["file.create:/srv/app/x/y", "file.create:/srv/app/y", "file.create:/opt/y", "file.read:/srv/app/x"] {
        let call = Call::command("x").in_person().does(effect);
        let word = |engine: &Engine| call.reviewed(engine);
        assert_eq!(word(&one), word(&two), "{effect}");
    }
}

#[test]
fn a_review_says_of_each_effect_who_decided() {
    let engine = Engine::load(&[]).expect("the default pack");
    let rows = [
        (Call::command("ls").predicts("file.read:/srv/app"), "allow"),
        (Call::command("touch").does("file.create:/srv/app/x"), "allow"),
        (Call::command("rm").does("file.delete:/srv/app/x"), "preview"),
        (Call::command("make").unanalysable(), "preview"),
        (Call::command("rm").does("file.delete:/srv/app/.git"), "ask"),
        (Call::command("curl").does("net.connect:example.com:443"), "ask"),
        (Call::command("rm").does("file.delete:/etc/hosts"), "deny"),
        (Call::command("rm").does("file.delete:/"), "deny"),
    ];
    for (call, word) in rows {
        assert_eq!(call.reviewed(&engine), word, "{call:?}");
    }
    let call = Call::command("rm").does("file.delete:/etc/hosts").does("file.create:/srv/app/x");
    let found = call.review(&engine);
    let said: Vec<String> = found
        .effects
        .iter()
        .map(|it| {
            format!(
                "{} {} {}",
                it.effect,
                it.ruling.word.as_str(),
                it.ruling.policies.iter().map(|it| it.id.as_str()).collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "file.delete:/etc/hosts deny workspace.outside",
            "file.create:/srv/app/x allow workspace.inside,workspace.person"
        ]
    );
    assert!(found.effects.iter().all(|it| it.declared && it.predicted));
    assert!(found.error.is_some());
}
