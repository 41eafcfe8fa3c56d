//! Old releases that cannot be removed whole.

use std::fs;
use std::path::PathBuf;

use cmdop_contract::v1::{Outcome, Reason};
use serde_json::{Value, json};

use super::{Done, Place, effects, error, names, told, with};

/// A release during which somebody writes into the old release `v1` while it is removed, so that this fails.
fn disturbed(place: &Place, id: &str) -> Done {
    let arguments = place.arguments(id, &json!({"keep": 2}));
    let releases = place.root().join("releases");
    let mut seen = 0;
    let disturb = move |name: &str| {
        if name == "taking" {
            seen += 1;
        }
        // After `bin`, which is then found not to be empty.
        if name == "taking" && seen == 2 {
            let hidden = |path: &PathBuf| path.to_string_lossy().ends_with("-gone");
            let found = fs::read_dir(&releases).expect("list").map(|it| it.expect("entry").path()).find(hidden);
            fs::write(found.expect("it is out of sight").join("bin/late"), "late").expect("write");
        }
    };
    with(disturb, || place.call("deploy.release", &arguments))
}

#[test]
fn what_is_left_of_an_old_release_is_told_as_it_is_and_removed_later() {
    let place = Place::new();
    for id in ["v1", "v2"] {
        place.release(id, &json!({}));
    }
    let done = disturbed(&place, "v3");
    let said = told(&done);
    assert_eq!((done.outcome, &said["outcome"], &said["live"]), (Outcome::Applied, &json!("released"), &json!("v3")));
    assert_eq!((&said["pruned"], &said["unpruned"]), (&json!([]), &json!(["v1"])));
    let note = said["notes"][0].as_str().expect("a note");
    assert!(note.contains("2 of its 5 entries are gone"), "{note}");
    let deleted: Vec<_> = effects(&place, &done.observation).into_iter().filter(|it| it.contains("delete")).collect();
    assert_eq!(deleted, ["file.delete releases/v1/bin/run", "file.delete releases/v1/bin/which"]);
    // It is where it was, and nobody takes it for whole.
    assert_eq!(names(&place.root().join("releases")), ["v1", "v2", "v3"]);
    assert_eq!(names(&place.root().join("releases/v1")), ["bin", "version"]);
    let whole: Vec<_> =
        place.status()["releases"].as_array().expect("list").iter().map(|it| it["whole"].clone()).collect();
    assert_eq!(whole, [json!(false), json!(true), json!(true)]);
    let back = place.rollback(&json!({"release": "v1"}));
    assert_eq!((back.outcome, error(&back).reason()), (Outcome::NotApplied, Reason::PathNotUsable));
    // The next one takes it away, and tells of it.
    let next = place.release("v4", &json!({"keep": 2}));
    assert_eq!((&told(&next)["pruned"], &told(&next)["notes"]), (&json!(["v1", "v2"]), &json!([])));
    let list = effects(&place, &next.observation);
    assert!(list.contains(&"file.delete releases/v1/bin/late".to_owned()), "{list:?}");
    assert!(!list.contains(&"file.delete releases/v1/bin/run".to_owned()), "{list:?}");
    assert_eq!(names(&place.root().join("releases")), ["v3", "v4"]);
}

#[test]
fn what_a_deployment_hid_and_could_not_remove_is_removed_by_the_next_and_counted() {
    let place = Place::new();
    for id in ["v1", "v2"] {
        place.release(id, &json!({}));
    }
    let releases = place.root().join("releases");
    let name = format!(".cmdop-{}-gone", "0123456789ab".repeat(2));
    fs::create_dir(releases.join(&name)).expect("directory");
    fs::write(releases.join(&name).join("left"), "left").expect("write");
    fs::create_dir(releases.join(".cmdop-mine-gone")).expect("directory");
    let plan = told(&place.call("deploy.plan", &place.arguments("v3", &json!({"keep": 3}))));
    assert_eq!(plan["prunes"], json!([name]));
    let done = place.release("v3", &json!({"keep": 3}));
    assert_eq!(told(&done)["pruned"], json!([name]));
    let deleted: Vec<_> = effects(&place, &done.observation).into_iter().filter(|it| it.contains("delete")).collect();
    assert_eq!(deleted, [format!("file.delete releases/{name}"), format!("file.delete releases/{name}/left")]);
    assert_eq!(names(&releases), [".cmdop-mine-gone", "v1", "v2", "v3"]);
    assert_eq!(place.status()["interrupted"], Value::Null);
}
