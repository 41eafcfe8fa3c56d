//! The decision table, row by row, with the shipped policies and the real validation in front.

use cmdop_contract::v1::{ApprovalSubject, AutonomyLevel, Capability, PolicyEffect, Reason, Stage, Unobserved, remedy};
use cmdop_policy::decide::{Decided, DiffDecided};

mod fixture;

use fixture::{Call, counted, diff_summary, engine, host, load, observed, summary};

const PREVIEW: &str = "go STAGE_PREVIEW";
const APPLY: &str = "go STAGE_APPLY";

#[test]
fn the_decision_table_holds_row_by_row() {
    let engine = engine();
    let delete = |target: &str| Call::command("rm").does(&format!("file.delete:{target}"));
    let write = |path: &str| Call::native("files.write", serde_json::json!({"path": path, "content": ""}));
    let wrote = |path: &str| write(path).may(&format!("file.create:{path}")).may(&format!("file.modify:{path}"));
    let read = |path: &str| {
        Call::native("files.read", serde_json::json!({"path": path})).predicts(&format!("file.read:{path}"))
    };
    let signal = || {
        Call::native("process.signal", serde_json::json!({"pid": 7, "name": "sleep"}))
            .does("process.signal:pid:7")
            .does("process.signal:sleep")
    };
    let write_x = || {
        Call::command("tee x")
            .may("file.create:/srv/app/x")
            .may("file.modify:/srv/app/x")
            .declares("file.create:/srv/app/x")
    };
    let leaves = || Call::command("nohup ./x > x &").does("process.leave_running:x").does("file.create:/srv/app/x");
    let confined = |call: Call| {
        let mut call = call.at(AutonomyLevel::Auto);
        let name = cmdop_policy::decide::CONFINES.to_owned();
        call.host.capabilities.push(Capability { name, available: true, detail: String::new() });
        call
    };
    let rows: Vec<(&str, Call, &str)> = vec![
        // The floor and hard forbids, for a person too.
        ("deletes the root", delete("/"), "refuse FLOOR_DENIED floor.root"),
        ("a person deletes the root", delete("/").in_person(), "refuse FLOOR_DENIED floor.root"),
        ("everything in the root", delete("/*"), "refuse FLOOR_DENIED floor.mass_deletion"),
        ("a person empties /home", delete("/home/*").in_person(), "refuse FLOOR_DENIED floor.mass_deletion"),
        ("a person empties /tmp", delete("/tmp/*").in_person(), PREVIEW),
        ("all logs anywhere", delete("/**/*.log").in_person(), "refuse FLOOR_DENIED floor.mass_deletion"),
        ("a top-level directory", delete("/etc").in_person(), "refuse FLOOR_DENIED floor.tree_root"),
        ("a system tree", delete("/var/lib").in_person(), "refuse FLOOR_DENIED floor.tree_root"),
        (
            "chmod of everything",
            Call::command("chmod").in_person().does("file.chmod:/**"),
            "refuse FLOOR_DENIED floor.root",
        ),
        ("a disk", Call::command("dd").in_person().does("file.modify:/dev/sda"), "refuse FLOOR_DENIED floor.devices"),
        (
            "a key",
            Call::command("cp").in_person().does("file.modify:/home/ada/.ssh/authorized_keys"),
            "refuse FLOOR_DENIED floor.credentials",
        ),
        (
            "the sudoers by pattern",
            Call::command("sed").in_person().does("file.modify:/etc/sudo*"),
            "refuse FLOOR_DENIED floor.credentials",
        ),
        ("the ledger", delete("/home/ada/.cmdop/ledger/0001.log").in_person(), "refuse FLOOR_DENIED floor.ledger"),
        (
            "what may hit the floor",
            Call::command("x || rm").may("file.delete:/usr"),
            "refuse FLOOR_DENIED floor.tree_root",
        ),
        (
            "a declaration that is too wide",
            Call::command("rm").predicts("file.delete:/srv/app/x").declares("file.delete:/**"),
            "refuse FLOOR_DENIED floor.mass_deletion",
        ),
        ("outside the workspace", delete("/logs"), "refuse POLICY_DENIED workspace.outside"),
        ("above the workspace", delete("/srv/**"), "refuse FLOOR_DENIED floor.mass_deletion"),
        ("next to the workspace", delete("/srv/app2/x"), "refuse POLICY_DENIED workspace.outside"),
        (
            "a redirection outside",
            Call::command("echo > /opt/x").may("file.create:/opt/x").may("file.modify:/opt/x"),
            "refuse POLICY_DENIED workspace.outside",
        ),
        // Undeclared.
        ("undeclared", Call::command("rm").predicts("file.delete:/srv/app/logs"), "refuse UNDECLARED_EFFECT"),
        (
            "declared too narrowly",
            Call::command("rm").predicts("file.delete:/srv/app/logs").declares("file.delete:/srv/app/logs/a"),
            "refuse UNDECLARED_EFFECT",
        ),
        (
            "an undeclared contact",
            Call::command("curl").predicts("net.connect:example.com:443"),
            "refuse UNDECLARED_EFFECT",
        ),
        (
            "half of a redirection declared",
            Call::command("echo > x")
                .may("file.create:/srv/app/x")
                .may("file.modify:/srv/app/x")
                .declares("file.create:/srv/app/x"),
            PREVIEW,
        ),
        (
            "nothing of a redirection declared",
            Call::command("echo > x").may("file.create:/srv/app/x").may("file.modify:/srv/app/x"),
            "refuse UNDECLARED_EFFECT",
        ),
        (
            "looks and processes need no declaration",
            Call::command("ls").predicts("file.read:/srv/app").predicts("process.spawn:ls"),
            PREVIEW,
        ),
        (
            "nothing changes in /dev/null",
            Call::command("x > /dev/null").may("file.create:/dev/null").may("file.modify:/dev/null"),
            PREVIEW,
        ),
        // What no private copy holds back.
        (
            "the network",
            Call::command("curl").does("net.connect:example.com:443"),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "a signal, unanalysable besides",
            Call::command("x; kill").unanalysable().does("process.signal:nginx"),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "a service in person",
            Call::command("systemctl").in_person().does("service.stop:nginx"),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "a contact that is only possible",
            Call::command("npm").may("net.connect:*:443"),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "a contact that is only declared",
            Call::command("./x").unanalysable().declares("external:api.stripe.com"),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "the network at level shadow",
            Call::command("curl").at(AutonomyLevel::Shadow).does("net.connect:example.com:443"),
            "refuse SHADOW_ONLY workspace.irreversible",
        ),
        // Looks.
        (
            "an agent reads a secret",
            Call::command("cat").predicts("file.read:/srv/app/.env"),
            "ask STAGE_PREVIEW workspace.secrets",
        ),
        ("a signal is asked about once", signal(), "ask STAGE_APPLY workspace.irreversible"),
        ("at level ask, too", signal().at(AutonomyLevel::Ask), "ask STAGE_APPLY workspace.irreversible"),
        ("a person's, too", signal().in_person(), "ask STAGE_APPLY workspace.irreversible"),
        ("natively, too", read("/home/ada/.ssh/id_ed25519"), "ask STAGE_APPLY workspace.secrets"),
        (
            "by a pattern that surely is one",
            Call::command("cat").predicts("file.read:/home/*/.ssh/*"),
            "ask STAGE_PREVIEW workspace.secrets",
        ),
        ("a person reads their own", read("/home/ada/.ssh/id_ed25519").in_person(), APPLY),
        ("an agent looks anywhere else", read("/etc/hosts"), APPLY),
        ("even at level ask", read("/etc/hosts").at(AutonomyLevel::Ask), APPLY),
        ("even at level shadow", read("/etc/hosts").at(AutonomyLevel::Shadow), APPLY),
        // Native and exact.
        ("a file in the workspace", wrote("/srv/app/x"), APPLY),
        ("a file in the workspace at level ask", wrote("/srv/app/x").at(AutonomyLevel::Ask), PREVIEW),
        ("a file in the workspace at level shadow", wrote("/srv/app/x").at(AutonomyLevel::Shadow), PREVIEW),
        ("a file in the workspace in person", wrote("/srv/app/x").in_person(), APPLY),
        ("a file outside in person", wrote("/opt/x").in_person(), PREVIEW),
        ("a git hook", wrote("/srv/app/.git/hooks/pre-commit"), PREVIEW),
        // The rest.
        ("a delete in the workspace", delete("/srv/app/logs"), PREVIEW),
        ("a delete outside in person", delete("/opt/app/logs").in_person(), PREVIEW),
        ("a database", delete("/srv/app/data/app.db"), PREVIEW),
        (
            "an unanalysable command",
            Call::command("./cleanup.sh").unanalysable().declares("file.delete:/srv/app/logs/*.gz"),
            PREVIEW,
        ),
        ("what may happen outside", Call::command("npm ci").may("file.create:/home/ada/.npm/**"), PREVIEW),
        ("a level that was never set", Call { level: None, ..delete("/srv/app/logs") }, PREVIEW),
        // Direct mode.
        ("at level auto, on a host that confines", confined(write_x()), APPLY),
        ("on a host that does not", write_x().at(AutonomyLevel::Auto), PREVIEW),
        ("at level preview", Call { level: Some(AutonomyLevel::Preview), ..confined(write_x()) }, PREVIEW),
        ("in person", confined(write_x()).in_person(), PREVIEW),
        ("unanalysable", confined(write_x()).unanalysable(), PREVIEW),
        ("undeclared in part", confined(write_x().may("file.delete:/srv/app/y")), PREVIEW),
        (
            "possible and declared",
            confined(write_x().may("file.create:/srv/app/y").declares("file.create:/srv/app/y")),
            APPLY,
        ),
        ("a tree that may hold more than is known", confined(delete("/srv/app/logs")), PREVIEW),
        (
            "a tree that may hold more, of which nothing is lost",
            confined(Call::command("git switch x").may("file.delete:/srv/app/*/**").recoverable())
                .declares("file.delete:/srv/app/*/**"),
            APPLY,
        ),
        (
            "the same, with something of it gone for good",
            confined(Call::command("git switch x").may("file.delete:/srv/app/*/**").recoverable())
                .declares("file.delete:/srv/app/*/**")
                .does("file.delete:/srv/app/logs"),
            PREVIEW,
        ),
        (
            "kept elsewhere, and not permitted",
            confined(Call::command("git switch x").predicts("file.delete:/srv/other").recoverable()),
            "refuse POLICY_DENIED workspace.outside",
        ),
        ("what policy holds", confined(write_x().does("file.modify:/srv/app/.git/hooks/pre-commit")), PREVIEW),
        (
            "a contact, once it was approved",
            confined(write_x().does("net.connect:example.com:443")),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        ("what stays, once it was approved", confined(leaves()), "ask STAGE_APPLY workspace.irreversible"),
        ("what stays, in person", confined(leaves()).in_person(), "ask STAGE_APPLY workspace.irreversible"),
        (
            "what stays and changes what policy holds",
            confined(leaves().does("file.modify:/srv/app/.git/hooks/pre-commit")),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "what stays, at level preview",
            Call { level: Some(AutonomyLevel::Preview), ..confined(leaves()) },
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "what stays, where nothing is confined",
            leaves().at(AutonomyLevel::Auto),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        (
            "what stays and contacts somebody",
            confined(leaves().does("net.connect:example.com:443")),
            "ask STAGE_PREVIEW workspace.irreversible",
        ),
        ("only looks", confined(Call::command("ls").predicts("file.read:/srv/app")), APPLY),
    ];
    let mut wrong = Vec::new();
    for (name, call, expected) in rows {
        let found = summary(&call.decide(&engine));
        if found != expected {
            wrong.push(format!("{name}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_diff_table_holds_row_by_row() {
    let engine = engine();
    let listing = |mut call: Call| {
        let name = cmdop_policy::classes::LISTS_NOTABLE.to_owned();
        call.host.capabilities.push(Capability { name, available: true, detail: String::new() });
        call
    };
    let rm = |level| Call::command("rm -rf ./logs").at(level).does("file.delete:/srv/app/logs");
    let script = Call::command("./cleanup.sh").unanalysable().declares("file.delete:/srv/app/logs/*.gz");
    let logs = counted(&[("file.delete:/srv/app/logs", 4)]);
    let rows = vec![
        ("nothing happened", rm(AutonomyLevel::Ask), observed(&[]), "nothing"),
        ("a person looks at every diff at level ask", rm(AutonomyLevel::Ask), logs.clone(), "ask 0"),
        ("shadow never commits", rm(AutonomyLevel::Shadow), logs.clone(), "shadow"),
        (
            "declared and permitted commits",
            rm(AutonomyLevel::Preview),
            observed(&["file.delete:/srv/app/logs/a"]),
            "commit",
        ),
        ("in person, too", rm(AutonomyLevel::Ask).in_person(), observed(&["file.delete:/srv/app/logs/a"]), "commit"),
        ("a tree whose entries nobody listed", rm(AutonomyLevel::Preview), logs.clone(), "ask 0"),
        ("in person, too", rm(AutonomyLevel::Ask).in_person(), logs.clone(), "ask 0"),
        ("a tree of which a host lists what matters", listing(rm(AutonomyLevel::Preview)), logs.clone(), "commit"),
        (
            "and something that matters",
            listing(rm(AutonomyLevel::Preview)),
            counted(&[("file.delete:/srv/app/logs", 4), ("file.delete:/srv/app/logs/old.db", 1)]),
            "ask 1",
        ),
        (
            "and something on the floor",
            listing(rm(AutonomyLevel::Preview)),
            counted(&[("file.delete:/srv/app/logs", 4), ("file.delete:/srv/app/logs/.ssh/id", 1)]),
            "refuse FLOOR_DENIED floor.credentials",
        ),
        (
            "beyond the declaration",
            script.clone(),
            observed(&["file.delete:/srv/app/logs/a.gz", "file.delete:/srv/app/data/app.db"]),
            "ask 1",
        ),
        (
            "beyond at a level that commits",
            script.clone().at(AutonomyLevel::Auto),
            observed(&["file.delete:/srv/app/logs/b.txt"]),
            "ask 1",
        ),
        (
            "declared and held by policy",
            rm(AutonomyLevel::Auto).declares("file.delete:/srv/app/data"),
            observed(&["file.delete:/srv/app/data/app.db"]),
            "ask 1",
        ),
        (
            "outside the workspace",
            script.clone(),
            observed(&["file.delete:/srv/app/logs/a.gz", "file.modify:/opt/x"]),
            "refuse POLICY_DENIED workspace.outside",
        ),
        (
            "the floor",
            script.clone().in_person(),
            observed(&["file.delete:/home/ada/.ssh"]),
            "refuse FLOOR_DENIED floor.credentials",
        ),
        (
            "outside in person",
            Call::command("x").in_person().does("file.create:/opt/x"),
            observed(&["file.create:/opt/x"]),
            "ask 1",
        ),
        (
            "a tree above a workspace",
            script.clone().in_person(),
            counted(&[("file.delete:/srv", 9)]),
            "refuse FLOOR_DENIED floor.tree_root",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, call, observation, expected) in rows {
        let found = diff_summary(&call.decide_observed(&engine, &observation));
        if found != expected {
            wrong.push(format!("{name}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn contacts_are_asked_about_before_they_are_made_and_not_again() {
    let engine = engine();
    let fetch = Call::command("curl -o x").at(AutonomyLevel::Auto).does("net.connect:example.com:443");
    let both = fetch.clone().does("file.create:/srv/app/x");
    let saved = ["net.connect:example.com:443", "file.create:/srv/app/x"];
    let rows = [
        ("a contact alone", fetch.clone(), &saved[..1], "nothing"),
        ("with a declared change", both.clone(), &saved[..], "commit"),
        ("with an undeclared change", fetch.clone(), &saved[..], "ask 1"),
        ("beyond the declaration", both, &["net.connect:192.0.2.1:25", "file.create:/srv/app/x"], "ask 1"),
    ];
    for (name, call, seen, expected) in rows {
        assert_eq!(diff_summary(&call.decide_observed(&engine, &observed(seen))), expected, "{name}");
        let Decided::Ask(ask) = call.decide(&engine) else { panic!("{name}: not asked before") };
        let permitted: Vec<_> = ask.decision().permitted.iter().map(|effect| effect.target.as_str()).collect();
        assert!(permitted.contains(&"example.com:443"), "{name}: {permitted:?}");
    }
    // What is only possible and was not declared is not opened by the approval.
    let possible = Call::command("npm").may("net.connect:*:443");
    let Decided::Ask(ask) = possible.decide(&engine) else { panic!("not asked") };
    assert!(ask.decision().permitted.is_empty(), "{:?}", ask.decision().permitted);
}

#[test]
fn a_contact_is_not_asked_about_where_the_host_cannot_open_just_that() {
    let engine = engine();
    let on = |available| {
        let mut call = Call::command("curl").does("net.connect:example.com:443");
        let name = "network.permits".to_owned();
        call.host.capabilities.push(Capability { name, available, detail: String::new() });
        summary(&call.decide(&engine))
    };
    assert_eq!(on(true), "ask STAGE_PREVIEW workspace.irreversible");
    assert_eq!(on(false), "refuse PREVIEW_UNAVAILABLE");
}

#[test]
fn what_could_not_be_measured_is_never_committed_by_itself() {
    let engine = engine();
    let call = Call::command("rm -rf ./logs").at(AutonomyLevel::Auto).does("file.delete:/srv/app/logs");
    let mut blind = counted(&[("file.delete:/srv/app/logs", 4)]);
    blind.unobserved.push(Unobserved { kind: 2, why: "/srv/app/shared cannot be overlaid".into() });
    assert_eq!(diff_summary(&call.decide_observed(&engine, &blind)), "ask 0");
    blind.effects.clear();
    blind.digest = observed(&[]).digest;
    assert_eq!(diff_summary(&call.decide_observed(&engine, &blind)), "ask 0");
    let mut truncated = observed(&["file.delete:/srv/app/logs"]);
    truncated.truncated = true;
    assert_eq!(diff_summary(&call.decide_observed(&engine, &truncated)), "refuse UNSUPPORTED_CHANGE");
    let mut forged = observed(&["file.delete:/srv/app/logs"]);
    forged.effects.clear();
    assert_eq!(diff_summary(&call.decide_observed(&engine, &forged)), "refuse HOST_ERROR");
    let unreadable = observed(&["file.delete:relative"]);
    assert_eq!(diff_summary(&call.decide_observed(&engine, &unreadable)), "refuse POLICY_ERROR");
}

#[test]
fn a_program_that_policy_forbids_is_refused_when_it_is_seen_and_others_need_no_permit() {
    let files = r#"
        @id("files") @reason("r")
        permit (principal, action in Action::"change", resource);
        @id("reads") @reason("r")
        permit (principal, action in [Action::"file.read"], resource);
    "#;
    let no_nc = r#"
        @id("no-nc") @reason("nobody listens here")
        forbid (principal, action == Action::"process.spawn", resource == Process::"nc");
    "#;
    let call = Call::command("touch x").at(AutonomyLevel::Auto).does("file.create:/srv/app/x");
    let mut seen = observed(&["file.create:/srv/app/x"]);
    seen.looks = counted(&[("process.spawn:touch", 1), ("process.spawn:nc", 1)]).effects;
    assert_eq!(diff_summary(&call.decide_observed(&load(files), &seen)), "commit");
    assert_eq!(
        diff_summary(&call.decide_observed(&load(&format!("{files}{no_nc}")), &seen)),
        "refuse POLICY_DENIED no-nc"
    );
}

#[test]
fn a_refusal_names_policy_reason_remedy_and_effect() {
    let call = Call::command("rm -rf /logs").does("file.delete:/logs");
    let Decided::Refuse(refusal) = call.decide(&engine()) else { panic!("not refused") };
    let (error, decision) = (refusal.error(), refusal.decision());
    assert_eq!(error.reason(), Reason::PolicyDenied);
    let policy = &error.policies[0];
    assert_eq!((policy.id.as_str(), policy.effect.as_str()), ("workspace.outside", "file.delete:/logs"));
    assert!(!policy.reason.is_empty() && !policy.remedy.is_empty());
    assert!(error.message.contains("workspace.outside") && error.message.contains("/srv/app"), "{}", error.message);
    let Some(remedy::Kind::NarrowEffect(narrow)) = error.remedy.as_ref().and_then(|remedy| remedy.kind.clone()) else {
        panic!("another remedy: {:?}", error.remedy)
    };
    assert_eq!((narrow.predicted.as_str(), narrow.declared.as_str()), ("file.delete:/logs", "file.delete:/srv/app/*"));
    assert_eq!(decision.effect(), PolicyEffect::Deny);
    assert_eq!(decision.stage(), Stage::Unspecified);
    assert!(decision.permitted.is_empty());
}

#[test]
fn following_the_remedy_of_an_undeclared_effect_makes_the_call_acceptable() {
    let engine = engine();
    let call = Call::command("mv a b; echo > c")
        .predicts("file.rename:/srv/app/a")
        .predicts("file.create:/srv/app/b")
        .may("file.create:/srv/app/c")
        .may("file.modify:/srv/app/c")
        .may("file.delete:/srv/app/maybe");
    let Decided::Refuse(refusal) = call.decide(&engine) else { panic!("not refused") };
    let Some(remedy::Kind::DeclareEffect(declare)) =
        refusal.error().remedy.as_ref().and_then(|remedy| remedy.kind.clone())
    else {
        panic!("another remedy")
    };
    assert_eq!(declare.effects.len(), 4, "{:?}", declare.effects);
    let mended = Call { declared: declare.effects, ..call };
    assert_eq!(summary(&mended.decide(&engine)), PREVIEW);
}

#[test]
fn a_permit_carries_what_was_declared_and_the_files_that_are_read() {
    let call = Call::command("cp a b")
        .predicts("process.spawn:cp")
        .predicts("file.read:/srv/app/a")
        .predicts("file.create:/srv/app/b")
        .declares("file.create:/srv/app/b*");
    let Decided::Go(grant) = call.decide(&engine()) else { panic!("not granted") };
    let permitted: Vec<&str> = grant.decision().permitted.iter().map(|effect| effect.target.as_str()).collect();
    assert_eq!(permitted, ["/srv/app/b*", "/srv/app/a"]);
    assert_eq!(grant.action_digest(), call.validated().action_digest());
    assert_eq!(grant.observation_digest(), None);
}

#[test]
fn approving_a_diff_permits_exactly_that_diff() {
    let script = Call::command("./cleanup.sh").unanalysable().declares("file.delete:/srv/app/logs/*.gz");
    let diff = observed(&["file.delete:/srv/app/logs/a.gz", "file.delete:/srv/app/data/app.db"]);
    let DiffDecided::Ask(ask) = script.decide_observed(&engine(), &diff) else { panic!("not asked") };
    assert_eq!(ask.subject(), ApprovalSubject::Diff);
    assert_eq!(ask.observation_digest(), Some(diff.digest.as_str()));
    assert_eq!(ask.decision().stage(), Stage::Commit);
    let permitted: Vec<&str> = ask.decision().permitted.iter().map(|effect| effect.target.as_str()).collect();
    assert_eq!(permitted, ["/srv/app/logs/*.gz", "/srv/app/data/app.db"]);
    assert!(ask.why().contains("/srv/app/data/app.db"), "{}", ask.why());
    let beyond = ask.beyond()[0].effect.as_ref().map(|effect| effect.target.as_str());
    assert_eq!(beyond, Some("/srv/app/data/app.db"));
    assert!(ask.beyond()[0].why.contains("workspace.database"), "{}", ask.beyond()[0].why);
}

#[test]
fn the_same_question_has_the_same_digest_and_any_other_another() {
    let engine = engine();
    let base = Call::command("./cleanup.sh").unanalysable().declares("file.delete:/srv/app/logs/*");
    let diff = observed(&["file.delete:/srv/app/logs/a.gz"]);
    let digest = |call: &Call, diff| match call.decide_observed(&engine, diff) {
        DiffDecided::Ask(ask) => ask.digest(),
        other => panic!("not asked: {other:?}"),
    };
    let first = digest(&base, &diff);
    assert_eq!(first, digest(&base, &diff));
    assert_eq!(first.len(), 64);
    let reloaded = fixture::engine();
    let DiffDecided::Ask(again) = base.decide_observed(&reloaded, &diff) else { panic!("not asked") };
    assert_eq!(again.digest(), first, "a new engine with the same policies asks the same");

    let mut others = vec![
        digest(&base, &observed(&["file.delete:/srv/app/logs/b.gz"])),
        digest(&base, &counted(&[("file.delete:/srv/app/logs/a.gz", 2)])),
        digest(&Call { arguments: base.arguments.replace("cleanup", "other"), ..base.clone() }, &diff),
        digest(&base.clone().declares("file.create:/srv/app/x"), &diff),
    ];
    let contact = Call::command("curl").does("net.connect:example.com:443");
    let Decided::Ask(before) = contact.decide(&engine) else { panic!("not asked") };
    others.push(before.digest());
    let stricter = fixture::load(&format!(
        "{}\n@id(\"site.more\") @reason(\"More.\") forbid (principal, action == Action::\"file.read\", resource in Path::\"/x\");",
        include_str!("../src/cedar/workspace.cedar")
    ));
    let DiffDecided::Ask(under_other_policy) = base.decide_observed(&stricter, &diff) else { panic!("not asked") };
    others.push(under_other_policy.digest());
    others.push(first);
    let distinct: std::collections::HashSet<_> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());
}

#[test]
fn a_host_without_workspaces_lets_agents_change_nothing() {
    let engine = engine();
    for workspaces in [&[][..], &["srv/app"], &[""]] {
        let call = Call { host: host(workspaces), ..Call::command("touch").does("file.create:/srv/app/x") };
        assert_eq!(summary(&call.decide(&engine)), "refuse POLICY_DENIED workspace.outside", "{workspaces:?}");
    }
}

#[test]
fn deleting_a_workspace_itself_is_held() {
    let engine = engine();
    let call = Call::command("rm -rf .").at(AutonomyLevel::Auto).does("file.delete:/srv/app");
    assert_eq!(summary(&call.decide(&engine)), PREVIEW);
    let diff = counted(&[("file.delete:/srv/app", 20)]);
    assert_eq!(diff_summary(&call.decide_observed(&engine, &diff)), "ask 1");
}

#[test]
fn every_class_that_lies_anywhere_is_notable() {
    for path in
        ["/a/.env", "/a/id_rsa", "/x/y.db", "/x/.git", "/x/.bashrc", "/x/.cmdop/key", "/x/.git/hooks/pre-commit"]
    {
        assert!(!cmdop_policy::classes::notable(path.as_bytes()).is_empty(), "{path}");
    }
    for path in ["/srv/app/main.rs", "/x/.git/hooks/pre-commit.sample", "/x/environment", "/x/y.dbx"] {
        assert!(cmdop_policy::classes::notable(path.as_bytes()).is_empty(), "{path}");
    }
}

#[test]
fn directories_that_a_host_labels_as_cmdops_own_are_on_the_floor() {
    let engine = engine();
    let mut call = Call::command("rm").in_person().does("file.delete:/opt/x/state/ledger");
    assert_eq!(summary(&call.decide(&engine)), PREVIEW);
    call.host.labels.insert("cmdop.path.state".into(), "/opt/x/state".into());
    assert_eq!(summary(&call.decide(&engine)), "refuse FLOOR_DENIED floor.ledger");
    let above = Call { host: call.host.clone(), ..Call::command("rm").in_person().does("file.delete:/opt/x") };
    assert_eq!(summary(&above.decide(&engine)), "refuse FLOOR_DENIED floor.ledger");
}

/// Classes and shown regions of the permit that a decision would make.
fn masks(call: &Call, engine: &cmdop_policy::engine::Engine) -> Option<(Vec<String>, Vec<String>)> {
    let masks = match call.decide(engine) {
        Decided::Go(grant) => grant.decision().masks.clone(),
        Decided::Ask(ask) => ask.decision().masks.clone(),
        Decided::Refuse(refusal) => panic!("refused: {}", refusal.error().message),
    };
    masks.map(|masks| (masks.classes, masks.shown))
}

#[test]
fn secrets_are_masked_from_an_agents_command_and_not_from_a_persons() {
    let engine = engine();
    let masked = |shown: &[&str]| {
        let text = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        Some((text(&["secrets", "cmdop"]), text(shown)))
    };
    let script = Call::command("./cleanup.sh").unanalysable();
    assert_eq!(masks(&script, &engine), masked(&[]));
    assert_eq!(masks(&script.clone().in_person(), &engine), None);
    assert_eq!(masks(&Call::command("ls").predicts("file.read:/srv/app/**"), &engine), masked(&[]));
    let native = Call::native("files.read", serde_json::json!({"path": "/srv/app/x"})).predicts("file.read:/srv/app/x");
    assert_eq!(masks(&native, &engine), None);
    // A look at a secret is asked about, and shown to who was permitted it; a wide one shows none.
    let cat = Call::command("cat .env").predicts("file.read:/srv/app/.env").predicts("file.read:/srv/app/*");
    assert_eq!(summary(&cat.decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
    assert_eq!(masks(&cat, &engine), masked(&["/srv/app/.env"]));
    let tree = Call::command("ls").predicts("file.read:/srv/app/keys/*.pem");
    assert_eq!(masks(&tree, &engine), masked(&["/srv/app/keys/*.pem"]));
    // A foreseen change of a secret needs its content; a deletion, or a tree, does not name it.
    let change = Call::command("tee -a .env").does("file.modify:/srv/app/.env");
    assert_eq!(masks(&change, &engine), masked(&["/srv/app/.env"]));
    assert_eq!(masks(&Call::command("rm .env").does("file.delete:/srv/app/.env"), &engine), masked(&[]));
    assert_eq!(masks(&script.clone().declares("file.modify:/srv/app/**"), &engine), masked(&[]));
    // Under another name it would be open to every later look, so who moves it looks at it.
    for moves in [
        Call::command("mv .env x").does("file.rename:/srv/app/.env").does("file.create:/srv/app/x"),
        Call::command("mv .env x").may("file.rename:/srv/app/.env").does("file.delete:/srv/app/.env"),
    ] {
        assert_eq!(summary(&moves.decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
        assert_eq!(masks(&moves, &engine), masked(&["/srv/app/.env"]));
        assert_ne!(summary(&moves.in_person().decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
    }
    // Nobody foresaw what a script does with a secret that it says it changes: policy is asked about a look.
    let edits = script.clone().declares("file.modify:/srv/app/.env");
    assert_eq!(summary(&edits.decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
    assert_eq!(masks(&edits, &engine), masked(&["/srv/app/.env"]));
    assert_eq!(summary(&edits.in_person().decide(&engine)), PREVIEW);
}

#[test]
fn nothing_moves_where_a_command_could_see_what_is_masked() {
    // A tree that moves may hold what the floor keeps, so that it is previewed, where masks move with it.
    let call = |target: &str| {
        let mut call = Call::command("mv").at(AutonomyLevel::Auto).does(&format!("file.rename:{target}"));
        let name = cmdop_policy::decide::CONFINES.to_owned();
        call.host.capabilities.push(Capability { name, available: true, detail: String::new() });
        summary(&call.decide(&engine()))
    };
    assert_eq!([call("/srv/app/old"), call("/srv/app/.e*")], [PREVIEW, PREVIEW]);
}

#[test]
fn what_is_masked_follows_the_policies() {
    let script = Call::command("./cleanup.sh").unanalysable();
    let look = "permit(principal, action in Action::\"look\", resource);";
    let policy = |more: &str| fixture::load(&format!("@id(\"look\") @reason(\"r\") {look} {more}"));
    assert_eq!(masks(&script, &policy("")), None);
    let people = policy(
        "@id(\"no\") @reason(\"r\") forbid(principal, action == Action::\"file.read\", resource in PathClass::\"database\");",
    );
    let database = Some((vec!["database".to_owned()], Vec::new()));
    assert_eq!(masks(&script, &people), database);
    assert_eq!(masks(&script.in_person(), &people), database);
}

#[test]
fn an_approval_holds_only_for_what_it_showed() {
    let engine = engine();
    let call = |path: &str| Call::command("cat x").predicts("file.read:/srv/app/.env").predicts(path);
    let digest = |call: Call| match call.decide(&engine) {
        Decided::Ask(ask) => ask.digest(),
        other => panic!("not asked: {}", summary(&other)),
    };
    assert_ne!(digest(call("file.read:/srv/app/a.pem")), digest(call("file.read:/srv/app/b.pem")));
}

/// The effect that a refusal's remedy proposes instead; `None` if the remedy is to stop.
fn instead(call: &Call) -> Option<String> {
    let Decided::Refuse(refusal) = call.decide(&engine()) else { panic!("refused") };
    match refusal.error().remedy.clone().and_then(|remedy| remedy.kind).expect("a remedy") {
        remedy::Kind::NarrowEffect(narrow) => Some(narrow.declared),
        remedy::Kind::Stop(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_proposes_what_would_be_allowed_or_to_stop() {
    let outside = Call::command("rm -rf /logs").at(AutonomyLevel::Ask).does("file.delete:/logs");
    let proposed = instead(&outside).expect("there is a workspace");
    assert_eq!(proposed, "file.delete:/srv/app/*");
    // The remedy, followed, is not refused.
    let followed = Call::command("rm x").at(AutonomyLevel::Ask).predicts("file.delete:/srv/app/x").declares(&proposed);
    assert!(matches!(followed.decide(&engine()), Decided::Go(_)));
    // What of the declaration is allowed is nearer.
    let both = outside.declares("file.delete:/srv/app/logs/*");
    assert_eq!(instead(&both).as_deref(), Some("file.delete:/srv/app/logs/*"));
    let mut nowhere = Call::command("rm -rf /logs").at(AutonomyLevel::Ask).does("file.delete:/logs");
    nowhere.host.workspaces.clear();
    assert_eq!(instead(&nowhere), None);
}
