//! What a run did before: what it made it may delete, and the only copy of what it moved is asked about.

use cmdop_contract::digest::observation_digest;
use cmdop_contract::v1::{AutonomyLevel, EffectKind, FileChange, FileState, FileType, Observation, ObservedEffect};
use cmdop_policy::decide::Decided;

mod fixture;

use fixture::{Call, diff_summary, engine, load, summary};

const SIZE: u64 = 5;

fn regular(size: u64) -> Option<FileState> {
    Some(FileState { r#type: FileType::Regular.into(), size, ..FileState::default() })
}

fn effect(kind: EffectKind, path: &str, file: FileChange) -> ObservedEffect {
    let (count, bytes) = (1, SIZE);
    let file = Some(file);
    ObservedEffect {
        kind: kind.into(),
        target: path.into(),
        count,
        bytes,
        reversible: true,
        file,
        ..ObservedEffect::default()
    }
}

fn saw(effects: Vec<ObservedEffect>) -> Observation {
    Observation { digest: observation_digest(&effects), effects, ..Observation::default() }
}

fn created(path: &str) -> Observation {
    saw(vec![effect(EffectKind::FileCreate, path, FileChange { after: regular(SIZE), ..FileChange::default() })])
}

fn moved(from: &str, to: &str) -> Observation {
    let gone = FileChange { before: regular(SIZE), renamed: to.into(), ..FileChange::default() };
    let come = FileChange { after: regular(SIZE), renamed: from.into(), ..FileChange::default() };
    saw(vec![effect(EffectKind::FileRename, from, gone), effect(EffectKind::FileCreate, to, come)])
}

fn deleted(path: &str, size: u64) -> Observation {
    let gone = FileChange { before: regular(size), ..FileChange::default() };
    saw(vec![effect(EffectKind::FileDelete, path, gone)])
}

fn rm(path: &str) -> Call {
    Call::command("rm").does(&format!("file.delete:{path}")).at(AutonomyLevel::Preview)
}

#[test]
fn what_a_run_made_it_deletes_without_a_person_and_nothing_else() {
    let engine = engine();
    let database = "/srv/app/data/test.db";
    let diff = deleted(database, SIZE);
    assert_eq!(diff_summary(&rm(database).decide_observed(&engine, &diff)), "ask 1", "nobody's");
    let own = rm(database).having(&[created(database)]);
    assert_eq!(summary(&own.decide(&engine)), "go STAGE_PREVIEW");
    assert_eq!(diff_summary(&own.decide_observed(&engine, &diff)), "commit");
    // Replaced by hand, and given back by an undo, it is somebody else's.
    assert_eq!(diff_summary(&own.decide_observed(&engine, &deleted(database, SIZE + 1))), "ask 1");
    let another = rm(database).having(&[created("/srv/app/data/other.db")]);
    assert_eq!(diff_summary(&another.decide_observed(&engine, &diff)), "ask 1");
}

#[test]
fn the_floor_and_the_workspaces_hold_whatever_a_run_made() {
    let engine = engine();
    for (path, said) in [
        ("/etc/shadow", "refuse FLOOR_DENIED floor.credentials"),
        ("/srv/other/x", "refuse POLICY_DENIED workspace.outside"),
    ] {
        let own = rm(path).having(&[created(path)]);
        assert_eq!(summary(&own.decide(&engine)), said);
        assert_eq!(diff_summary(&own.decide_observed(&engine, &deleted(path, SIZE))), said);
    }
}

#[test]
fn the_only_copy_of_what_a_run_moved_is_asked_about() {
    let engine = engine();
    let kept = "/srv/app/old/notes.txt";
    let call = rm(kept).having(&[moved("/srv/app/notes.txt", kept)]);
    assert_eq!(diff_summary(&rm(kept).decide_observed(&engine, &deleted(kept, SIZE))), "commit");
    assert_eq!(diff_summary(&call.decide_observed(&engine, &deleted(kept, SIZE))), "ask 1");
    // So is a directory above, and a pattern, before it runs: at no level does that run without a look.
    for wide in ["/srv/app/old", "/srv/app/old/*"] {
        let call = Call { past: call.past.clone(), ..rm(wide).at(AutonomyLevel::Auto) };
        assert_eq!(summary(&call.decide(&engine)), "go STAGE_PREVIEW", "{wide}");
        assert_eq!(diff_summary(&call.decide_observed(&engine, &deleted(kept, SIZE))), "ask 1", "{wide}");
    }
}

#[test]
fn what_is_permitted_only_because_a_run_made_it_is_looked_at_where_it_stands() {
    let mine = "@id(\"site.any\") @reason(\"any\") permit (principal, action, resource);\n\
                @id(\"site.mine\") @reason(\"Only what you made.\")\n\
                forbid (principal is Agent, action == Action::\"file.modify\", resource) unless { context.made };";
    let engine = load(mine);
    let path = "/srv/app/a.txt";
    let edit = || {
        let arguments = serde_json::json!({"path": path, "edits": [{"old": "a", "new": "b"}]});
        Call::native("files.edit", arguments).does(&format!("file.modify:{path}")).at(AutonomyLevel::Auto)
    };
    assert_eq!(summary(&edit().decide(&engine)), "refuse POLICY_DENIED site.mine");
    let own = edit().having(&[created(path)]);
    // Without a condition on what it made it would run at once.
    assert_eq!(summary(&own.decide(&engine)), "go STAGE_PREVIEW");
    let free = load("@id(\"site.any\") @reason(\"any\") permit (principal, action, resource);");
    assert_eq!(summary(&own.decide(&free)), "go STAGE_APPLY");
    let change = |size| {
        let change = FileChange { before: regular(size), after: regular(9), ..FileChange::default() };
        saw(vec![effect(EffectKind::FileModify, path, change)])
    };
    assert_eq!(diff_summary(&own.decide_observed(&engine, &change(SIZE))), "commit");
    assert_eq!(diff_summary(&own.decide_observed(&engine, &change(SIZE + 1))), "refuse POLICY_DENIED site.mine");
}

#[test]
fn policy_counts_what_failed_and_what_was_refused() {
    let text = |what: &str| {
        format!(
            "@id(\"site.any\") @reason(\"any\") permit (principal, action, resource);\n\
             @id(\"site.enough\") @reason(\"Enough.\") @decision(\"require_approval\")\n\
             forbid (principal is Agent, action in Action::\"change\", resource) when {{ context.{what} >= 3 }};"
        )
    };
    for what in ["failed", "denials"] {
        let engine = load(&text(what));
        for count in [0, 2, 3, 2] {
            let mut deeds = cmdop_policy::decide::Deeds::default();
            *(if what == "failed" { &mut deeds.failed } else { &mut deeds.denials }) = count;
            let mut call = Call::command("touch").does("file.create:/srv/app/x").at(AutonomyLevel::Preview);
            call.past.scopes.push(deeds.into());
            let said = diff_summary(&call.decide_observed(&engine, &created("/srv/app/x")));
            assert_eq!(said, if count < 3 { "commit" } else { "ask 1" }, "{what} {count}");
        }
    }
    let engine = load(&text("failed"));
    let person = Call::command("touch").does("file.create:/srv/app/x").in_person();
    assert!(matches!(person.decide(&engine), Decided::Go(_)));
}
