//! What a host reports, as it is recorded.

use super::*;
use crate::v1::{FileAttribute, FileChange, FileState, Observation, ObservedEffect, Report};

#[test]
fn the_value_of_an_attribute_that_a_host_reports_is_redacted_like_a_text_difference() {
    let state = |value: &str| {
        let xattr = FileAttribute { shown: Some(value.into()), ..FileAttribute::default() };
        Some(FileState { xattrs: vec![xattr], ..FileState::default() })
    };
    let (before, after) = (state("\"password=hunter2hunter2\""), state("\"plain\""));
    let file = Some(FileChange { before, after, ..FileChange::default() });
    let effects = vec![ObservedEffect { file, ..ObservedEffect::default() }];
    let mut told = Report { observation: Some(Observation { effects, ..Observation::default() }), ..Report::default() };
    report(&mut told, &Known::default());
    let file = told.observation.expect("an observation").effects.remove(0).file.expect("a file");
    let value = |state: Option<FileState>| state.expect("a state").xattrs.remove(0).shown.expect("a value");
    let before = value(file.before);
    assert!(before.contains(MARK) && !before.contains("hunter2"), "{before}");
    assert_eq!(value(file.after), "\"plain\"");
}
