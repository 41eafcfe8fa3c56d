//! A refusal binds the effect: by another tool, wider, after `cd`, by a sub-agent, or in parts.

use cmdop_contract::v1::{AutonomyLevel, Reason, remedy};
use cmdop_policy::decide::{Decided, DiffDecided};

mod fixture;

use fixture::{Call, diff_summary, engine, observed, summary};

fn auto(call: Call) -> Call {
    call.at(AutonomyLevel::Auto)
}

#[test]
fn what_was_refused_is_refused_by_every_way_to_it() {
    let engine = engine();
    let denied = "file.delete:/srv/app/data/notes.txt";
    let rm = |target: &str| auto(Call::command("rm").does(&format!("file.delete:{target}")));
    let rows: Vec<(&str, Call)> = vec![
        ("the same again", rm("/srv/app/data/notes.txt")),
        ("a directory above", rm("/srv/app/data")),
        ("a directory above moved away", auto(Call::command("mv").does("file.rename:/srv/app/data"))),
        ("by pattern", rm("/srv/app/data/*")),
        ("moved away", auto(Call::command("mv").does("file.rename:/srv/app/data/notes.txt"))),
        ("emptied", auto(Call::command("truncate").does("file.modify:/srv/app/data/notes.txt"))),
        (
            "by a native tool",
            auto(Call::native("files.delete", serde_json::json!({"path": "/srv/app/data/notes.txt"}))).does(denied),
        ),
    ];
    for by_person in [true, false] {
        for (what, call) in &rows {
            let said = summary(&call.clone().after(denied, by_person).decide(&engine));
            assert_eq!(said, "refuse DENIED_BEFORE session.denied", "{what}");
            assert_ne!(summary(&call.decide(&engine)), said, "{what}, refused without the denial too");
        }
    }
}

#[test]
fn what_only_the_preview_shows_is_refused_too() {
    let engine = engine();
    let denied = "file.delete:/srv/app/data/notes.txt";
    let call = auto(Call::command("./x").unanalysable().declares("file.delete:/srv/app/data/*"));
    let call = Call { denied: Vec::new(), ..call };
    let open = diff_summary(&call.decide_observed(&engine, &observed(&[denied])));
    assert!(open.starts_with("commit"), "{open}");
    let decided = call.after(denied, true).decide_observed(&engine, &observed(&[denied]));
    let DiffDecided::Refuse(refusal) = decided else { panic!("{decided:?}") };
    assert_eq!(refusal.error().reason(), Reason::DeniedBefore);
}

#[test]
fn a_part_of_what_a_person_refused_is_looked_at_by_a_person() {
    let engine = engine();
    let refused = "file.delete:/srv/app/data/*";
    let part = "file.delete:/srv/app/data/a.txt";
    let call = auto(Call::command("rm").does(part));
    let open = diff_summary(&call.decide_observed(&engine, &observed(&[part])));
    assert!(open.starts_with("commit"), "{open}");
    let DiffDecided::Ask(ask) = call.clone().after(refused, true).decide_observed(&engine, &observed(&[part])) else {
        panic!("a person is asked");
    };
    assert!(ask.decision().policies.iter().any(|policy| policy.id == "session.rejected_part"), "{:?}", ask.decision());
    // Policy itself decides about a part of what it refused: to aim at less is its remedy.
    let free = diff_summary(&call.after(refused, false).decide_observed(&engine, &observed(&[part])));
    assert!(free.starts_with("commit"), "{free}");
}

#[test]
fn what_is_not_the_same_is_free() {
    let engine = engine();
    let denied = "file.delete:/srv/app/data/notes.txt";
    for call in [
        auto(Call::command("rm").does("file.delete:/srv/app/data/other.txt")),
        auto(Call::command("touch").does("file.create:/srv/app/data/notes.txt")),
        Call::command("cat").predicts("file.read:/srv/app/data/notes.txt"),
        // A person is not bound by what an agent was refused.
        Call::command("rm").does(denied).in_person(),
    ] {
        let open = summary(&call.decide(&engine));
        assert_eq!(summary(&call.after(denied, true).decide(&engine)), open);
    }
}

#[test]
fn the_floor_speaks_first_and_an_agent_that_is_bound_stops() {
    let engine = engine();
    let call = Call::command("rm").does("file.delete:/etc").after("file.delete:/etc", false);
    assert_eq!(summary(&call.decide(&engine)), "refuse FLOOR_DENIED floor.tree_root");
    let bound = Call::command("rm").does("file.delete:/srv/app/a").after("file.delete:/srv/app/a", true);
    let Decided::Refuse(refusal) = bound.decide(&engine) else { panic!("refused") };
    let remedy = refusal.error().remedy.clone().and_then(|remedy| remedy.kind);
    assert!(matches!(remedy, Some(remedy::Kind::Stop(_))), "{remedy:?}");
}
