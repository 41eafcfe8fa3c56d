//! What a measured effect is beside what it is called, and what policy says about that.

use cmdop_contract::digest::observation_digest;
use cmdop_contract::v1::{AutonomyLevel, FileAttribute, FileChange, FileState, FileType, Observation};

mod fixture;

use fixture::{Call, diff_summary, engine, observed};

/// A diff of one file, as a host measured it.
fn diff_of(effect: &str, file: FileChange) -> Observation {
    let mut diff = observed(&[effect]);
    diff.effects[0].file = Some(file);
    diff.digest = observation_digest(&diff.effects);
    diff
}

#[test]
fn a_program_that_comes_to_run_with_rights_of_its_own_is_held() {
    let engine = engine();
    let script = Call::command("./x.sh").unanalysable().at(AutonomyLevel::Preview);
    let script = script.declares("file.create:/srv/app/**").declares("file.modify:/srv/app/**");
    let script = script.declares("file.chmod:/srv/app/**").declares("file.rename:/srv/app/**");
    let state = |mode, sha256: &str| FileState {
        r#type: FileType::Regular.into(),
        mode,
        sha256: sha256.into(),
        ..FileState::default()
    };
    let capable = |sha256: &str| {
        let capability = FileAttribute { name: "security.capability".into(), sha256: "c".into(), shown: None };
        FileState { xattrs: vec![capability], ..state(0o755, sha256) }
    };
    let directory = FileState { r#type: FileType::Directory.into(), ..state(0o2775, "") };
    for (effect, before, after, expected) in [
        ("file.create", None, state(0o755, "a"), "commit"),
        ("file.create", None, state(0o4755, "a"), "ask 1"),
        ("file.create", None, state(0o2755, "a"), "ask 1"),
        ("file.create", None, capable("a"), "ask 1"),
        // Without the right to run it, the group's bit means a lock that must be kept.
        ("file.create", None, state(0o2644, "a"), "commit"),
        ("file.create", None, directory, "commit"),
        ("file.chmod", Some(state(0o755, "a")), state(0o6755, "a"), "ask 1"),
        ("file.chmod", Some(state(0o6755, "a")), state(0o755, "a"), "commit"),
        ("file.chmod", Some(state(0o755, "a")), capable("a"), "ask 1"),
        ("file.modify", Some(state(0o4755, "a")), state(0o4755, "b"), "ask 1"),
        ("file.modify", Some(capable("a")), capable("b"), "ask 1"),
        ("file.modify", Some(state(0o755, "a")), state(0o755, "b"), "commit"),
    ] {
        let file = FileChange { before: before.clone(), after: Some(after.clone()), ..FileChange::default() };
        let diff = diff_of(&format!("{effect}:/srv/app/x"), file);
        let said = diff_summary(&script.decide_observed(&engine, &diff));
        assert_eq!(said, expected, "{effect} {before:?} {after:?}");
    }
    // Moved, it is what it was.
    let moved = FileChange { after: Some(state(0o4755, "a")), renamed: "/srv/app/y".into(), ..FileChange::default() };
    let diff = diff_of("file.create:/srv/app/x", moved);
    assert_eq!(diff_summary(&script.decide_observed(&engine, &diff)), "commit");
}

#[test]
fn a_further_name_of_a_file_is_a_change_of_that_file() {
    let engine = engine();
    let script = Call::command("./x.sh").unanalysable().at(AutonomyLevel::Auto).declares("file.create:/srv/app/**");
    for (linked, expected) in [
        ("/srv/app/y", "commit"),
        ("/etc/hostname", "refuse POLICY_DENIED workspace.outside"),
        ("/home/ada/x", "refuse POLICY_DENIED workspace.outside"),
    ] {
        let diff = diff_of("file.create:/srv/app/x", FileChange { linked: linked.into(), ..FileChange::default() });
        assert_eq!(diff_summary(&script.decide_observed(&engine, &diff)), expected, "{linked}");
    }
}
