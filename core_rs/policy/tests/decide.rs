//! The decision table, row by row, with the shipped policies and the real validation in front.

use cmdop_contract::v1::{AutonomyLevel, Capability, Unobserved};
use cmdop_policy::classes::Notable;
use cmdop_policy::decide::Decided;

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
fn on_a_host_that_confines_and_observes_nothing_a_person_decides_before_anything_changes() {
    let engine = engine();
    let blind = |mut call: Call| {
        let says = |name: &str, available| Capability { name: name.into(), available, detail: String::new() };
        call.host.capabilities = vec![
            says("preview.overlay", false),
            says(cmdop_policy::decide::CONFINES, false),
            says(cmdop_policy::decide::OBSERVES, false),
            says(cmdop_policy::decide::UNCONFINED, true),
        ];
        summary(&call.decide(&engine))
    };
    let write = |path: &str| {
        Call::native("files.write", serde_json::json!({"path": path, "content": ""}))
            .may(&format!("file.create:{path}"))
            .may(&format!("file.modify:{path}"))
    };
    let read = |path: &str| {
        Call::native("files.read", serde_json::json!({"path": path})).predicts(&format!("file.read:{path}"))
    };
    let look = || Call::command("ls").predicts("file.read:/srv/app");
    let create = || Call::command("mkdir").does("file.create:/srv/app/x");
    let rows: Vec<(&str, Call, &str)> = vec![
        ("a look of a tool", read("/srv/app/x").at(AutonomyLevel::Auto), APPLY),
        ("a write", write("/srv/app/x").at(AutonomyLevel::Auto), "ask STAGE_APPLY"),
        ("at level preview", write("/srv/app/x").at(AutonomyLevel::Preview), "ask STAGE_APPLY"),
        ("at level ask", write("/srv/app/x").at(AutonomyLevel::Ask), "ask STAGE_APPLY"),
        ("a person's", write("/srv/app/x").in_person(), "ask STAGE_APPLY"),
        ("at level shadow", write("/srv/app/x").at(AutonomyLevel::Shadow), "refuse SHADOW_ONLY"),
        ("a write outside", write("/opt/x").at(AutonomyLevel::Auto), "refuse POLICY_DENIED workspace.outside"),
        ("a command that looks", look().at(AutonomyLevel::Auto), "ask STAGE_APPLY"),
        ("a command that changes", create().at(AutonomyLevel::Auto), "ask STAGE_APPLY"),
        ("a person's command", create().in_person(), "ask STAGE_APPLY"),
        ("nobody knows what it does", Call::command("./x").unanalysable().at(AutonomyLevel::Auto), "ask STAGE_APPLY"),
        ("a command at level shadow", look().at(AutonomyLevel::Shadow), "refuse SHADOW_ONLY"),
        (
            "what hits the floor",
            Call::command("rm").in_person().does("file.delete:/"),
            "refuse FLOOR_DENIED floor.root",
        ),
        (
            "what may only perhaps be forbidden",
            Call::command("x || rm").may("file.delete:/opt/x"),
            "refuse POLICY_DENIED workspace.outside",
        ),
        ("undeclared", Call::command("rm").predicts("file.delete:/srv/app/x"), "refuse UNDECLARED_EFFECT"),
    ];
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(name, call, expected)| {
            let got = blind(call);
            (got.trim_end() != expected).then(|| format!("{name}: {got}, not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_promised_to_be_masked_where_nothing_is_confined() {
    let engine = engine();
    let mut call = Call::command("./x").unanalysable().at(AutonomyLevel::Auto);
    let masks = |call: &Call| match call.decide(&engine) {
        Decided::Ask(ask) => ask.decision().masks.clone(),
        Decided::Go(grant) => grant.decision().masks.clone(),
        Decided::Refuse(refusal) => panic!("{:?}", refusal.error()),
    };
    assert!(masks(&call).is_some(), "a private copy hides secrets");
    let name = cmdop_policy::decide::UNCONFINED.to_owned();
    call.host.capabilities.push(Capability { name, available: true, detail: String::new() });
    assert!(masks(&call).is_none());
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
fn a_host_without_workspaces_lets_agents_change_nothing() {
    let engine = engine();
    for workspaces in [&[][..], &["srv/app"], &[""]] {
        let call = Call { host: host(workspaces), ..Call::command("touch").does("file.create:/srv/app/x") };
        assert_eq!(summary(&call.decide(&engine)), "refuse POLICY_DENIED workspace.outside", "{workspaces:?}");
    }
}

#[test]
fn a_path_as_deep_as_a_host_measures_is_decided_like_any_other() {
    let engine = engine();
    let script = Call::command("./x.sh").unanalysable().at(AutonomyLevel::Preview);
    let decided = |kind: &str, path: String| {
        let literal = Call::command("x").does(&format!("{kind}:{path}")).at(AutonomyLevel::Auto);
        let script = script.clone().declares(&format!("{kind}:/srv/app/d/**"));
        let diff = observed(&[&*format!("{kind}:{path}")]);
        (summary(&literal.decide(&engine)), diff_summary(&script.decide_observed(&engine, &diff)))
    };
    let mut met = std::collections::BTreeSet::new();
    for kind in ["file.modify", "file.create", "file.delete", "file.chmod"] {
        for name in ["file", ".env", "app.db"] {
            let deep = decided(kind, format!("/srv/app{}/{name}", "/d".repeat(600)));
            assert_eq!(deep, decided(kind, format!("/srv/app/d/{name}")), "{kind} {name}");
            met.insert(deep.1);
        }
    }
    assert!(met.contains("commit") && met.len() > 1, "{met:?}");
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
        assert!(!Notable::at(path.as_bytes()).classes().is_empty(), "{path}");
    }
    for path in ["/srv/app/main.rs", "/x/.git/hooks/pre-commit.sample", "/x/environment", "/x/y.dbx"] {
        assert!(Notable::at(path.as_bytes()).classes().is_empty(), "{path}");
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
