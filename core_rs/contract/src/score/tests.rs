use super::*;
use crate::effect::Base;
use crate::v1::{ExpectedEffect, ProcessChange, Unobserved};

fn observed(kind: EffectKind, target: &str, count: u64) -> ObservedEffect {
    ObservedEffect { kind: kind.into(), target: target.into(), count, reversible: true, ..ObservedEffect::default() }
}

fn workspaces() -> Vec<String> {
    vec!["/srv/app".to_owned()]
}

fn seen(effects: Vec<ObservedEffect>) -> Observation {
    Observation { effects, ..Observation::default() }
}

fn permitted(kind: EffectKind, target: &str, max_count: Option<u32>) -> PermittedEffect {
    PermittedEffect { kind: kind.into(), target: target.into(), max_count }
}

#[test]
fn what_nobody_could_observe_is_not_missing_and_not_clean() {
    let expected = |kind: EffectKind| {
        Effect::new(kind, crate::effect::Target::parse(kind, "/a/b", &Base::default()).expect("a target"))
    };
    let unseen = Unobserved { kind: EffectKind::FileModify.into(), why: "nobody looked".into() };
    let blind = Observation { unobserved: vec![unseen], ..Observation::default() };
    let done = ToolResult { ok: true, ..ToolResult::default() };
    check_success(&[expected(EffectKind::FileModify)], &blind, &done).expect("nobody knows that it is missing");
    let error = check_success(&[expected(EffectKind::FileDelete)], &blind, &done).expect_err("that was looked for");
    assert_eq!(error.reason(), Reason::EffectMissing);
    let evidence =
        Evidence { valid: true, first_attempt: true, success: Some(true), side_effects: &[], observation: &blind };
    assert!(!score(&evidence).clean);
}

#[test]
fn a_signal_by_number_is_one_to_the_process_of_that_name() {
    let to = |target: &str| {
        let kind = EffectKind::ProcessSignal;
        Effect::new(kind, crate::effect::Target::parse(kind, target, &Base::default()).expect("a target"))
    };
    let named = |name: &str| ObservedEffect {
        process: Some(ProcessChange { name: name.into(), ..ProcessChange::default() }),
        ..observed(EffectKind::ProcessSignal, "pid:7", 1)
    };
    let done = ToolResult { ok: true, ..ToolResult::default() };
    let is_met = |declared: &[&str], effect: ObservedEffect| {
        let declared: Vec<_> = declared.iter().map(|target| to(target)).collect();
        check_success(&declared, &seen(vec![effect]), &done).is_ok()
    };
    assert!(is_met(&["pid:7", "sleep", "sl*", "*"], named("sleep")));
    assert!(!is_met(&["pid:7", "nginx"], named("sleep")));
    // What a host did not look at is not told apart.
    assert!(is_met(&["pid:7", "*"], named("")) && !is_met(&["sleep"], named("")));
    // A process may call itself what it likes: it is no other one for that.
    assert!(!is_met(&["pid:8"], named("pid:8")));
}

#[test]
fn side_effects_are_what_was_observed_beyond_the_permit() {
    let observation = seen(vec![
        observed(EffectKind::FileDelete, "/srv/app/logs/a.gz", 1),
        observed(EffectKind::FileDelete, "/srv/app/data/app.db", 1),
        observed(EffectKind::FileRead, "/etc/shadow", 1),
    ]);
    let beyond =
        side_effects(&[permitted(EffectKind::FileDelete, "/srv/app/logs/*", None)], &observation, &workspaces());
    assert_eq!(beyond.len(), 1);
    assert_eq!(beyond[0].effect.as_ref().map(|it| it.target.as_str()), Some("/srv/app/data/app.db"));
    assert_eq!(beyond[0].severity(), Severity::High);
}

#[test]
fn exceeding_a_count_is_a_side_effect() {
    let observation = seen(vec![observed(EffectKind::FileDelete, "/a/b", 3)]);
    assert_eq!(side_effects(&[permitted(EffectKind::FileDelete, "/a", Some(3))], &observation, &workspaces()).len(), 0);
    assert_eq!(side_effects(&[permitted(EffectKind::FileDelete, "/a", Some(2))], &observation, &workspaces()).len(), 1);
}

#[test]
fn what_may_be_deleted_and_made_anew_may_be_another_afterwards() {
    let effects = [EffectKind::FileModify, EffectKind::FileChmod, EffectKind::FileChown];
    let observation = seen(effects.iter().map(|kind| observed(*kind, "/srv/app/a", 1)).collect());
    let beyond = |permitted: &[PermittedEffect]| side_effects(permitted, &observation, &workspaces()).len();
    let delete = permitted(EffectKind::FileDelete, "/srv/app/a", None);
    let create = permitted(EffectKind::FileCreate, "/srv/app/*", None);
    assert_eq!(beyond(&[delete.clone(), create.clone()]), 0);
    assert_eq!(beyond(std::slice::from_ref(&delete)), 3);
    assert_eq!(beyond(std::slice::from_ref(&create)), 3);
    assert_eq!(beyond(&[delete.clone(), permitted(EffectKind::FileCreate, "/srv/app/b", None)]), 3);
    assert_eq!(beyond(&[permitted(EffectKind::FileDelete, "/srv/app/a", Some(1)), create]), 3);
}

#[test]
fn a_deletion_and_a_creation_at_the_same_path_come_true_as_a_change() {
    let declared = |kind: EffectKind| {
        let expected = ExpectedEffect { kind: kind.into(), target: "/srv/app/a".into(), ..ExpectedEffect::default() };
        Effect::parse(&expected, &Base::default()).expect("an effect")
    };
    let (delete, create) = (declared(EffectKind::FileDelete), declared(EffectKind::FileCreate));
    let observation = seen(vec![observed(EffectKind::FileModify, "/srv/app/a", 1)]);
    let ok = ToolResult { ok: true, ..ToolResult::default() };
    assert!(check_success(&[delete.clone(), create], &observation, &ok).is_ok());
    assert!(check_success(&[delete], &observation, &ok).is_err());
}

#[test]
fn overlapping_permits_add_up_and_an_unlimited_one_holds_everything() {
    let observation =
        seen(vec![observed(EffectKind::FileDelete, "/a/x", 1), observed(EffectKind::FileDelete, "/a/b", 2)]);
    let wide = permitted(EffectKind::FileDelete, "/a/*", Some(1));
    let narrow = permitted(EffectKind::FileDelete, "/a/b", Some(2));
    assert_eq!(side_effects(&[wide.clone(), narrow.clone()], &observation, &workspaces()), []);
    assert_eq!(side_effects(&[narrow, wide.clone()], &observation, &workspaces()), []);
    let beyond = side_effects(std::slice::from_ref(&wide), &observation, &workspaces());
    assert_eq!(
        beyond.iter().map(|it| it.why.as_str()).collect::<Vec<_>>(),
        ["2 more than the 1 that `file.delete:/a/*` permits"]
    );
    assert_eq!(side_effects(&[wide, permitted(EffectKind::FileDelete, "/**", None)], &observation, &workspaces()), []);
}

#[test]
fn success_needs_every_declared_effect_within_its_counts() {
    let declared = |min, max| {
        let expected = ExpectedEffect {
            kind: EffectKind::FileDelete.into(),
            target: "/a/*".into(),
            min_count: Some(min),
            max_count: max,
            ..ExpectedEffect::default()
        };
        vec![Effect::parse(&expected, &Base::default()).expect("an effect")]
    };
    let observation =
        seen(vec![observed(EffectKind::FileDelete, "/a/x", 1), observed(EffectKind::FileDelete, "/a/d", 4)]);
    let ok = ToolResult { ok: true, ..ToolResult::default() };
    assert!(check_success(&declared(5, Some(5)), &observation, &ok).is_ok());
    for (min, max) in [(6, None), (0, Some(4))] {
        let error = check_success(&declared(min, max), &observation, &ok).expect_err("out of counts");
        assert_eq!(error.reason(), Reason::EffectMissing);
    }
    let failed = check_success(&[], &observation, &ToolResult::default()).expect_err("failed");
    assert_eq!(failed.reason(), Reason::CommandFailed);
}

#[test]
fn what_could_not_be_observed_is_never_clean() {
    let clean = |observation: &Observation| {
        score(&Evidence { valid: true, first_attempt: true, success: Some(true), side_effects: &[], observation }).clean
    };
    assert!(clean(&Observation::default()));
    assert!(!clean(&Observation { truncated: true, ..Observation::default() }));
    let unobserved = vec![Unobserved { kind: EffectKind::NetConnect.into(), why: "no kernel support".into() }];
    assert!(!clean(&Observation { unobserved, ..Observation::default() }));
}

#[test]
fn a_file_that_gains_set_id_bits_is_severe_wherever_it_is() {
    let state = |mode, kind: FileType| Some(FileState { mode, r#type: kind.into(), ..FileState::default() });
    let of = |kind, before, after| {
        let file = Some(crate::v1::FileChange { before, after, ..crate::v1::FileChange::default() });
        severity(&ObservedEffect { file, ..observed(kind, "/srv/app/tool", 1) }, &workspaces())
    };
    for mode in [0o4755, 0o2755, 0o6755] {
        assert_eq!(of(EffectKind::FileCreate, None, state(mode, FileType::Regular)), Severity::High);
        let chmod = of(EffectKind::FileChmod, state(0o755, FileType::Regular), state(mode, FileType::Regular));
        assert_eq!(chmod, Severity::High);
        let kept = of(EffectKind::FileModify, state(mode, FileType::Regular), state(mode, FileType::Regular));
        assert_eq!(kept, Severity::Medium, "it was so before");
    }
    assert_eq!(of(EffectKind::FileCreate, None, state(0o755, FileType::Regular)), Severity::Low);
    assert_eq!(of(EffectKind::FileCreate, None, state(0o2775, FileType::Directory)), Severity::Low);
}

#[test]
fn severity_follows_kind_place_and_reversibility() {
    let of = |kind, target: &str| severity(&observed(kind, target, 1), &workspaces());
    assert_eq!(of(EffectKind::FileCreate, "/srv/app/x"), Severity::Low);
    assert_eq!(of(EffectKind::FileModify, "/etc/passwd"), Severity::Critical);
    assert_eq!(of(EffectKind::FileDelete, "/home/me/.ssh/id_rsa"), Severity::Critical);
    assert_eq!(of(EffectKind::NetConnect, "evil.example:443"), Severity::High);
    assert_eq!(of(EffectKind::FileRead, "/etc/shadow"), Severity::None);
    assert_eq!(of(EffectKind::FileDelete, "/var"), Severity::Critical, "it takes /var/lib along");
    assert_eq!(of(EffectKind::FileModify, "/srv/app/app.sqlite-wal"), Severity::High);
    let lost = ObservedEffect { reversible: false, ..observed(EffectKind::FileDelete, "/srv/app/data/app.db", 1) };
    assert_eq!(severity(&lost, &workspaces()), Severity::Critical);
}

#[test]
fn outside_the_workspaces_nothing_is_less_severe_than_inside() {
    let kinds = [
        EffectKind::FileCreate,
        EffectKind::FileModify,
        EffectKind::FileDelete,
        EffectKind::FileRename,
        EffectKind::FileChmod,
        EffectKind::FileChown,
    ];
    let of = |kind, target: String, count, reversible| {
        severity(&ObservedEffect { reversible, ..observed(kind, &target, count) }, &workspaces())
    };
    for name in ["x", "data/x", "app.db", ".env", ".git/config", ".ssh/id_rsa", "backup/x"] {
        for (kind, count, reversible) in
            kinds.iter().flat_map(|kind| [(*kind, 1, true), (*kind, 1, false), (*kind, 9, true)])
        {
            let inside = of(kind, format!("/srv/app/{name}"), count, reversible);
            for outside in ["/logs", "/srv/apple", "/opt", "/home/me"] {
                let outside = of(kind, format!("{outside}/{name}"), count, reversible);
                assert!(outside >= inside, "{kind:?} {name} {count}: {outside:?} outside, {inside:?} inside");
            }
        }
    }
    assert_eq!(of(EffectKind::FileCreate, "/logs/sneaky".into(), 1, true), Severity::Medium);
    assert_eq!(of(EffectKind::FileCreate, "/tmp/x".into(), 1, true), Severity::Low);
    assert_eq!(severity(&observed(EffectKind::FileCreate, "/srv/app/x", 1), &[]), Severity::Medium);
}
