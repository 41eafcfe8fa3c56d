//! What a deployment tells of the files that it made: what is there, which is what its plan said.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use cmdop_contract::v1::{FileChange, Observation, Permit};
use serde_json::json;

use super::{Place, native, told};
use crate::admit::Admitted;

/// What the last switch and the making of the layout left, each as a plan tells it.
#[test]
fn what_a_deployment_makes_is_told_as_it_is_and_as_it_was_planned() {
    for is_handed_down in [false, true] {
        let place = Place::new();
        if is_handed_down {
            chown(place.root(), None, Some(1234)).expect("chown");
            fs::set_permissions(place.root(), fs::Permissions::from_mode(0o2775)).expect("chmod");
        }
        for id in ["v1", "v2"] {
            if is_handed_down && id == "v2" {
                // As an administrator may have it.
                chown(place.root().join("releases"), None, Some(4321)).expect("chown");
                fs::set_permissions(place.root().join("releases"), fs::Permissions::from_mode(0o2755)).expect("chmod");
            }
            let permit = place.permit("deploy.release", &place.arguments(id, &json!({})));
            let (planned, held) = native().plan(&Admitted::for_tests(permit.clone()));
            let preview_digest = planned.observation.digest.clone();
            let commit = Admitted::for_tests(Permit { preview_digest, ..permit });
            let done = native().commit(&commit, &held.expect("held")).expect("committed");
            told(&done);
            assert_as_it_is(&done.observation);
            assert_eq!(files(&planned.observation), files(&done.observation), "as planned");
        }
        let back = place.permit("deploy.rollback", &json!({"root": place.root()}));
        let (planned, _) = native().plan(&Admitted::for_tests(back.clone()));
        let done = native().apply(&Admitted::for_tests(back)).expect("rolled back");
        assert_as_it_is(&done.observation);
        assert_eq!(files(&planned.observation), files(&done.observation), "as planned");
        let link = files(&done.observation).into_iter().find(|(target, _)| target.ends_with("/current"));
        let change = link.expect("the link").1.expect("its states");
        assert_eq!(change.before.map(|it| (it.mode, it.size, it.link_target)), Some((0o777, 11, "releases/v2".into())));
    }
}

/// What is told of each file, sorted.
fn files(observation: &Observation) -> Vec<(String, Option<FileChange>)> {
    let mut files: Vec<_> = observation.effects.iter().map(|it| (it.target.clone(), it.file.clone())).collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

fn assert_as_it_is(observation: &Observation) {
    let mut looked_at = 0;
    for (target, change) in files(observation) {
        let Some(after) = change.and_then(|it| it.after) else { continue };
        let is = fs::symlink_metadata(&target).expect("it is there");
        let size = if is.is_dir() { 0 } else { is.len() };
        let found = (is.permissions().mode() & 0o7777, is.uid(), is.gid(), size);
        assert_eq!((after.mode, after.uid, after.gid, after.size), found, "{target}");
        looked_at += 1;
    }
    assert!(looked_at > 0, "{observation:?}");
}
