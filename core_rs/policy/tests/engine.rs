//! Loading refuses what would silently protect nothing; evaluation fails closed.

use cmdop_contract::v1::{Names, PolicyEntities, PolicyFile, PolicySet, Reason};
use cmdop_policy::engine::Engine;

mod fixture;

use fixture::{Call, engine, file, load, summary};

const PERMIT_ALL: &str = r#"@id("site.all") @reason("All.") permit (principal, action, resource);"#;

#[test]
fn the_shipped_policies_load_without_a_warning() {
    let engine = engine();
    assert_eq!(engine.warnings(), [""; 0]);
    assert!(engine.len() > 15);
    assert!(!engine.is_empty());
}

#[test]
fn the_version_follows_every_change_of_a_file_and_nothing_else() {
    let version = |text: &str| load(text).version().to_owned();
    assert_eq!(engine().version(), engine().version());
    assert_eq!(engine().version().len(), 64);
    assert_eq!(version(PERMIT_ALL), version(PERMIT_ALL));
    assert_ne!(version(PERMIT_ALL), version(&PERMIT_ALL.replace("All.", "Everything.")));
    assert_ne!(version(PERMIT_ALL), engine().version());
}

#[test]
fn what_would_protect_nothing_is_refused_with_its_file_line_and_mend() {
    let forbid =
        |resource: &str| format!("\n\n@id(\"x\") @reason(\"X.\")\nforbid (principal, action, resource in {resource});");
    let rows: Vec<(String, usize, &str)> = vec![
        ("permit (principal, action, resource".into(), 1, "does not parse"),
        ("\n\npermit (principal, action, ressource);".into(), 3, "does not parse"),
        ("\npermit (principal, action, resource);".into(), 2, "no @id"),
        ("\n@id(\"x\") permit (principal, action, resource);".into(), 2, "no @reason"),
        ("@id(\"floor.x\") @reason(\"X.\") permit (principal, action, resource);".into(), 1, "reserved"),
        ("@id(\"session.denied\") @reason(\"X.\") permit (principal, action, resource);".into(), 1, "reserved"),
        (format!("{PERMIT_ALL}\n{PERMIT_ALL}"), 2, "taken"),
        ("@id(\"x\") @reason(\"X.\") @decision(\"ask\") forbid (principal, action, resource);".into(), 1, "@decision"),
        (
            "@id(\"x\") @reason(\"X.\") @decision(\"require_approval\") permit (principal, action, resource);".into(),
            1,
            "not a forbid",
        ),
        (
            "@id(\"x\") @reason(\"X.\") @desicion(\"require_approval\") forbid (principal, action, resource);".into(),
            1,
            "unknown annotation",
        ),
        ("@id(\"x\") @reason(\"X.\")\npermit (principal == ?principal, action, resource);".into(), 1, "templates"),
        (forbid("Path::\"etc/\""), 3, "not absolute"),
        (forbid("Path::\"/etc/\""), 3, "not normalised"),
        (forbid("Path::\"/srv/../etc\""), 3, "not normalised"),
        (forbid("Path::\"/srv//x\""), 3, "not normalised"),
        (forbid("Path::\"/srv/*\""), 3, "literal"),
        (forbid("PathClass::\"secret\""), 3, "no such class"),
        (forbid("Endpoint::\"no port\""), 3, "host:port"),
        (
            "@id(\"x\") @reason(\"X.\")\nforbid (principal in AgentGroup::\"interns\", action, resource);".into(),
            1,
            "no such group",
        ),
        (
            "@id(\"x\") @reason(\"X.\")\nforbid (principal, action == Action::\"file.destroy\", resource);".into(),
            2,
            "file.destroy",
        ),
        (
            "@id(\"x\") @reason(\"X.\")\nforbid (principal, action, resource)\nwhen { context.tols == \"x\" };".into(),
            3,
            "tols",
        ),
        (
            "@id(\"x\") @reason(\"X.\")\nforbid (principal, action == Action::\"file.read\", resource is Service);"
                .into(),
            1,
            "",
        ),
        ("@id(\"x\") @reason(\"X.\")\nforbid (principal, action, resource)\nwhen { false };".into(), 1, "impossible"),
        (
            "@id(\"x\") @reason(\"X.\")\nforbid (principal, action, resource) when { resource like \"/etc*\" };".into(),
            2,
            "",
        ),
    ];
    for (text, line, problem) in rows {
        let error = Engine::load(&[file(&text)]).expect_err(&text);
        assert_eq!((error.file.as_str(), error.line), ("site.cedar", line), "{error}\n{text}");
        assert!(error.to_string().contains(problem), "{error}\n{text}");
        assert!(!error.mend.is_empty(), "{error}");
        assert_eq!(error.reason(), Reason::InvalidConfiguration);
    }
}

#[test]
fn who_approves_is_checked_when_it_is_loaded() {
    let names = |names: &[&str]| Names { names: names.iter().map(|name| (*name).to_owned()).collect() };
    let load = |annotations: &str| {
        let text = format!(
            "@id(\"x\") @reason(\"X.\") {annotations}\nforbid (principal, action in Action::\"write\", resource);"
        );
        let mut entities = PolicyEntities::default();
        entities.user_groups.insert("operators".into(), names(&["grace", "linus"]));
        entities.user_groups.insert("leads".into(), names(&["barbara", "linus"]));
        Engine::load_set(&PolicySet { files: vec![file(&text)], entities: Some(entities), ..PolicySet::default() })
    };
    let holds = "@decision(\"require_approval\")";
    for (annotations, problem) in [
        ("@approvals(\"2\")".to_owned(), "holds nothing"),
        (format!("{holds} @approvals(\"0\")"), "no number of people"),
        (format!("{holds} @approvals(\"two\")"), "no number of people"),
        (format!("{holds} @approvals(\"21\")"), "no number of people"),
        (format!("{holds} @approvers(\"\")"), "no group with its time"),
        (format!("{holds} @approvers(\"operators,,leads\")"), "no group with its time"),
        (format!("{holds} @approvers(\"operators 15m 1h\")"), "no group with its time"),
        (format!("{holds} @approvers(\"operators 15\")"), "no time"),
        (format!("{holds} @approvers(\"operators 0s\")"), "no time"),
        (format!("{holds} @approvers(\"operators 999999999999999d\")"), "no time"),
        (format!("{holds} @approvers(\"operator 15m\")"), "no user is in"),
        (format!("{holds} @approvals(\"3\") @approvers(\"operators\")"), "only 2 people"),
        (format!("{holds} @approvals(\"4\") @approvers(\"operators 1h, leads\")"), "only 3 people"),
    ] {
        let error = load(&annotations).expect_err(&annotations);
        assert!(error.to_string().contains(problem), "{error}\n{annotations}");
    }
    for annotations in
        ["@approvals(\"20\")", "@approvals(\"3\") @approvers(\"operators 1h, leads\")", "@approvers(\"users 1d\")"]
    {
        load(&format!("{holds} {annotations}")).expect(annotations);
    }
}

#[test]
fn a_broken_second_file_is_named() {
    let broken = PolicyFile { name: "b.cedar".into(), text: "\npermit (".into(), ..PolicyFile::default() };
    let error = Engine::load(&[file(PERMIT_ALL), broken]).expect_err("broken");
    assert_eq!(error.file, "b.cedar");
}

#[test]
fn a_policy_without_scope_is_warned_about_by_place() {
    let warnings = load(PERMIT_ALL).warnings().to_vec();
    assert!(warnings[0].starts_with("site.cedar:1: policy `site.all`"), "{warnings:?}");
}

#[test]
fn nothing_is_permitted_by_default() {
    let nothing = Engine::load(&[file("")]).expect("an empty set");
    for call in [
        Call::command("ls").predicts("file.read:/srv/app"),
        Call::command("x").in_person().does("file.create:/srv/app/x"),
    ] {
        assert_eq!(summary(&call.decide(&nothing)), "refuse NOT_PERMITTED");
    }
}

/// Cedar skips a forbid whose evaluation errors: the permit beside it would then win.
#[test]
fn a_forbid_that_errors_refuses() {
    let engine = load(&format!(
        "{PERMIT_ALL}\n@id(\"site.sum\") @reason(\"S.\") forbid (principal, action == Action::\"file.create\", resource) \
         when {{ context.effects + 9223372036854775807 < 0 }};"
    ));
    let call = Call::command("x").does("file.create:/srv/app/x");
    assert_eq!(summary(&call.decide(&engine)), "refuse POLICY_ERROR");
    let other = Call::command("x").does("file.modify:/srv/app/x");
    assert_eq!(summary(&other.decide(&engine)), "go STAGE_PREVIEW");
    let diff = fixture::observed(&["file.create:/srv/app/x"]);
    let unforeseen = Call::command("x").unanalysable();
    assert_eq!(fixture::diff_summary(&unforeseen.decide_observed(&engine, &diff)), "refuse POLICY_ERROR");
}

/// A permit that errors is no permit either, even where another one holds.
#[test]
fn a_permit_that_errors_refuses() {
    let engine = load(&format!(
        "{PERMIT_ALL}\n@id(\"site.sum\") @reason(\"S.\") permit (principal, action == Action::\"file.create\", resource) \
         when {{ context.effects + 9223372036854775807 < 0 }};"
    ));
    assert_eq!(summary(&Call::command("x").does("file.create:/srv/app/x").decide(&engine)), "refuse POLICY_ERROR");
}

/// Without action entities in the store, a forbid on a group of actions silently does nothing.
#[test]
fn a_forbid_on_a_group_of_actions_forbids_its_members() {
    for (group, effect) in [
        ("destructive", "file.delete:/srv/app/x"),
        ("write", "file.create:/srv/app/x"),
        ("change", "file.chmod:/srv/app/x"),
        ("look", "file.read:/srv/app/x"),
        ("network", "net.connect:example.com:443"),
        ("contact", "external:stripe"),
        ("service", "service.stop:nginx"),
        ("package", "package.install:curl"),
        ("deploy", "deploy.release:web"),
        ("process", "process.signal:nginx"),
    ] {
        let engine = load(&format!(
            "{PERMIT_ALL}\n@id(\"site.group\") @reason(\"G.\") forbid (principal, action in Action::\"{group}\", resource);"
        ));
        let call = Call::command("x").does(effect);
        assert_eq!(summary(&call.decide(&engine)), "refuse POLICY_DENIED site.group", "{group}");
    }
}

#[test]
fn an_approval_cannot_cover_what_nobody_permitted() {
    let held = r#"@id("site.hold") @decision("require_approval") @reason("H.")
        forbid (principal, action == Action::"net.connect", resource);"#;
    let call = Call::command("curl").does("net.connect:example.com:443");
    assert_eq!(summary(&call.decide(&load(held))), "refuse NOT_PERMITTED");
    assert_eq!(summary(&call.decide(&load(&format!("{PERMIT_ALL}\n{held}")))), "ask STAGE_PREVIEW site.hold");
}

#[test]
fn an_agent_has_the_lesser_of_its_own_and_its_users_rights() {
    let permit = |who: &str| {
        format!(
            "@id(\"site.{who}\") @reason(\"P.\") permit (principal is {who}, action in Action::\"write\", resource);"
        )
    };
    let call = Call::command("x").does("file.create:/srv/app/x");
    assert_eq!(summary(&call.decide(&load(&permit("Agent")))), "refuse NOT_PERMITTED");
    assert_eq!(summary(&call.decide(&load(&permit("User")))), "refuse NOT_PERMITTED");
    assert_eq!(summary(&call.clone().in_person().decide(&load(&permit("User")))), "go STAGE_PREVIEW");
    let both = format!("{}{}", permit("Agent"), permit("User"));
    assert_eq!(summary(&call.decide(&load(&both))), "go STAGE_PREVIEW");
    let ada = format!(
        "{PERMIT_ALL} @id(\"site.ada\") @reason(\"A.\") forbid (principal == User::\"ada\", action in Action::\"write\", resource);"
    );
    assert_eq!(summary(&call.decide(&load(&ada))), "refuse POLICY_DENIED site.ada");
    let cleaner = ada.replace("User::\"ada\"", "Agent::\"cleaner\"");
    assert_eq!(summary(&call.decide(&load(&cleaner))), "refuse POLICY_DENIED site.ada");
    assert_eq!(summary(&call.in_person().decide(&load(&cleaner))), "go STAGE_PREVIEW");
}

#[test]
fn policies_speak_of_hosts_tools_levels_and_counts() {
    let engine = load(&format!(
        "{PERMIT_ALL}
         @id(\"site.production\") @reason(\"P.\") forbid (principal in AgentGroup::\"agents\", action in Action::\"write\", resource)
         when {{ context.host.hasTag(\"env\") && context.host.getTag(\"env\") == \"production\" && context.level != \"auto\" }};
         @id(\"site.many\") @reason(\"M.\") forbid (principal, action == Action::\"file.delete\", resource)
         when {{ context.observed && context has count && context.count > 10 && context.tool == \"terminal.exec\" }};
         @id(\"site.broad\") @reason(\"B.\") forbid (principal, action == Action::\"file.create\", resource)
         when {{ context.effects > 4 }};"
    ));
    // What was answered for a narrow call is not the answer for a broad one.
    let narrow = Call::command("x").does("file.create:/srv/app/x");
    assert_eq!(summary(&narrow.decide(&engine)), "go STAGE_PREVIEW");
    let broad = narrow.does("file.create:/srv/app/y").does("file.create:/srv/app/z");
    assert_eq!(summary(&broad.decide(&engine)), "refuse POLICY_DENIED site.broad");
    let call = Call::command("rm").does("file.delete:/srv/app/x");
    assert_eq!(summary(&call.decide(&engine)), "go STAGE_PREVIEW");
    let mut production = call.clone();
    production.host.labels.insert("env".into(), "production".into());
    assert_eq!(summary(&production.decide(&engine)), "refuse POLICY_DENIED site.production");
    assert_eq!(summary(&production.in_person().decide(&engine)), "go STAGE_PREVIEW");
    let few = fixture::counted(&[("file.delete:/srv/app/x", 10)]);
    let many = fixture::counted(&[("file.delete:/srv/app/x", 11)]);
    assert_eq!(fixture::diff_summary(&call.decide_observed(&engine, &few)), "ask 0");
    assert_eq!(fixture::diff_summary(&call.decide_observed(&engine, &many)), "refuse POLICY_DENIED site.many");
}

#[test]
fn names_and_endpoints_are_regions_too() {
    let engine = load(&format!(
        "{PERMIT_ALL}
         @id(\"site.db\") @reason(\"D.\") forbid (principal, action in Action::\"process\", resource in Process::\"postgres*\");
         @id(\"site.meta\") @reason(\"M.\") forbid (principal, action, resource in Endpoint::\"169.254.0.0/16:*\");"
    ));
    let rows = [
        ("process.signal:postgres", "refuse POLICY_DENIED site.db"),
        ("process.signal:postgresql-15", "refuse POLICY_DENIED site.db"),
        ("process.signal:*", "refuse POLICY_DENIED site.db"),
        ("process.signal:*sql", "refuse POLICY_DENIED site.db"),
        ("process.signal:nginx", "ask STAGE_PREVIEW"),
        ("process.signal:pid:77", "ask STAGE_PREVIEW"),
        ("net.connect:169.254.169.254:80", "refuse POLICY_DENIED site.meta"),
        ("net.connect:*:80", "refuse POLICY_DENIED site.meta"),
        ("net.connect:169.0.0.0/8:80", "refuse POLICY_DENIED site.meta"),
        ("net.connect:10.0.0.0/8:80", "ask STAGE_PREVIEW"),
        ("net.connect:example.com:80", "ask STAGE_PREVIEW"),
    ];
    for (effect, expected) in rows {
        assert_eq!(summary(&Call::command("x").does(effect).decide(&engine)), expected, "{effect}");
    }
}

#[test]
fn a_thousand_policies_about_other_places_change_no_answer() {
    let others: String = (0..1_000)
        .map(|n| format!("@id(\"site.{n}\") @reason(\"R.\") forbid (principal, action in Action::\"write\", resource in Path::\"/srv/tenant{n}\");\n"))
        .collect();
    let engine = load(&format!("{}\n{others}", include_str!("../src/cedar/workspace.cedar")));
    let rows = [
        ("file.create:/srv/app/x", "go STAGE_PREVIEW"),
        ("file.create:/srv/tenant7/x", "refuse POLICY_DENIED site.7"),
        ("file.delete:/srv/tenant*", "refuse FLOOR_DENIED floor.mass_deletion"),
        ("file.create:/srv/tenant77", "refuse POLICY_DENIED site.77"),
    ];
    for (effect, expected) in rows {
        let call = Call::command("x").does(effect);
        let call = Call { host: fixture::host(&["/srv/app", "/srv/tenant7", "/srv/tenant77"]), ..call };
        assert_eq!(summary(&call.decide(&engine)), expected, "{effect}");
    }
}
