//! What a run did, call by call: what is its own by that, and what is the only copy.

use cmdop_contract::v1::FileChange;

use super::*;

fn state(kind: FileType, size: u64, sha256: &str) -> FileState {
    FileState { r#type: kind.into(), size, sha256: sha256.into(), ..FileState::default() }
}

fn file(size: u64, sha256: &str) -> FileState {
    state(FileType::Regular, size, sha256)
}

fn effect(kind: EffectKind, path: &str, before: Option<FileState>, after: Option<FileState>) -> ObservedEffect {
    let bytes = before.as_ref().or(after.as_ref()).map_or(0, |state| state.size);
    let file = Some(FileChange { before, after, ..FileChange::default() });
    ObservedEffect { kind: kind.into(), target: path.into(), count: 1, bytes, file, ..ObservedEffect::default() }
}

fn create(path: &str, size: u64, sha256: &str) -> ObservedEffect {
    effect(EffectKind::FileCreate, path, None, Some(file(size, sha256)))
}

fn mkdir(path: &str) -> ObservedEffect {
    effect(EffectKind::FileCreate, path, None, Some(state(FileType::Directory, 0, "")))
}

fn delete(path: &str, size: u64) -> ObservedEffect {
    effect(EffectKind::FileDelete, path, Some(file(size, "")), None)
}

fn delete_tree(path: &str, count: u64, bytes: u64) -> ObservedEffect {
    let mut gone = effect(EffectKind::FileDelete, path, Some(state(FileType::Directory, 0, "")), None);
    (gone.count, gone.bytes) = (count, bytes);
    gone
}

fn rename(from: &str, to: &str) -> [ObservedEffect; 2] {
    let mut old = effect(EffectKind::FileRename, from, Some(file(5, "")), None);
    old.file.as_mut().expect("a file").renamed = to.into();
    let mut new = effect(EffectKind::FileCreate, to, None, Some(file(5, "")));
    new.file.as_mut().expect("a file").renamed = from.into();
    [old, new]
}

fn measured(effects: &[ObservedEffect]) -> Measured {
    Measured::of(&Observation { effects: effects.to_vec(), ..Observation::default() })
}

fn past(deeds: &Deeds) -> Past {
    Past { scopes: vec![Arc::new(deeds.clone())] }
}

fn known(deeds: &Deeds, effect: &ObservedEffect) -> (bool, bool) {
    let known = past(deeds).measured("web", effect, std::slice::from_ref(effect));
    (known.made, known.only_copy)
}

#[test]
fn what_was_created_is_made_until_it_is_replaced() {
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&[create("/t/a", 5, "aa"), create("/t/b", 7, "bb")]), false);
    assert_eq!(known(&deeds, &delete("/t/a", 5)), (true, false));
    assert_eq!(known(&deeds, &delete("/t/a", 6)), (false, false), "somebody replaced it by hand");
    assert_eq!(known(&deeds, &delete("/t/c", 5)), (false, false));
    assert!(!past(&deeds).measured("db", &delete("/t/a", 5), &[]).made, "another host");
    deeds.others("web", &measured(&[effect(EffectKind::FileModify, "/t/a", Some(file(5, "aa")), Some(file(5, "cc")))]));
    assert_eq!(known(&deeds, &delete("/t/a", 5)), (false, false), "another run replaced it");
    deeds.own("web", &measured(&[delete("/t/b", 7)]), false);
    assert_eq!(known(&deeds, &delete("/t/b", 7)), (false, false), "it is gone");
}

#[test]
fn what_an_undo_gives_back_or_another_name_of_a_file_was_not_made() {
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&[create("/t/a", 5, "aa")]), true);
    let mut linked = create("/t/b", 5, "aa");
    linked.file.as_mut().expect("a file").linked = "/srv/b".into();
    deeds.own("web", &measured(&[linked]), false);
    assert_eq!(known(&deeds, &delete("/t/a", 5)), (false, false));
    assert_eq!(known(&deeds, &delete("/t/b", 5)), (false, false));
}

#[test]
fn a_tree_is_made_if_all_of_it_was() {
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&[mkdir("/t/d"), create("/t/d/a", 5, "aa"), create("/t/d/b", 7, "bb")]), false);
    assert_eq!(known(&deeds, &delete_tree("/t/d", 3, 12)), (true, false));
    assert_eq!(known(&deeds, &delete_tree("/t/d", 4, 12)), (false, false), "somebody put something in");
    assert_eq!(known(&deeds, &delete_tree("/t/d", 3, 13)), (false, false), "somebody changed something in it");
    // What a host lists by itself counts with it.
    let both = [delete_tree("/t/d", 2, 5), delete("/t/d/b", 7)];
    assert!(past(&deeds).measured("web", &both[0], &both).made);
}

#[test]
fn what_was_moved_is_the_only_copy_until_it_is_back() {
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&rename("/srv/app.db", "/t/old.db")), false);
    assert_eq!(known(&deeds, &delete("/t/old.db", 5)), (false, true));
    assert_eq!(known(&deeds, &delete_tree("/t", 2, 5)), (false, true), "a directory above");
    deeds.own("web", &measured(&rename("/t/old.db", "/t/older.db")), false);
    assert_eq!(known(&deeds, &delete("/t/older.db", 5)), (false, true));
    assert_eq!(known(&deeds, &delete("/t/old.db", 5)), (false, false));
    deeds.own("web", &measured(&rename("/t/older.db", "/srv/app.db")), false);
    assert_eq!(known(&deeds, &delete("/srv/app.db", 5)), (false, false), "it is back where it was");
}

#[test]
fn what_was_made_stays_so_when_it_is_moved() {
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&[create("/t/a", 5, "")]), false);
    deeds.own("web", &measured(&rename("/t/a", "/t/b")), false);
    assert_eq!(known(&deeds, &delete("/t/b", 5)), (true, false));
    assert_eq!(known(&deeds, &delete("/t/a", 5)), (false, false));
}

#[test]
fn a_copy_whose_original_is_gone_is_the_only_copy() {
    for original_gone in [
        delete("/srv/app.db", 5),
        effect(EffectKind::FileModify, "/srv/app.db", Some(file(5, "aa")), Some(file(0, ""))),
    ] {
        let mut deeds = Deeds::default();
        deeds.own("web", &measured(&[create("/t/app.db", 5, "aa"), create("/t/mine", 9, "cc")]), false);
        assert_eq!(known(&deeds, &delete("/t/app.db", 5)), (true, false));
        deeds.own("web", &measured(&[original_gone]), false);
        assert_eq!(known(&deeds, &delete("/t/app.db", 5)), (false, true));
        assert_eq!(known(&deeds, &delete("/t/mine", 9)), (true, false));
    }
    // Of a whole tree nobody says what was in it.
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&[create("/t/app.db", 5, "aa")]), false);
    deeds.own("web", &measured(&[delete_tree("/srv/data", 9, 90)]), false);
    assert_eq!(known(&deeds, &delete("/t/app.db", 5)), (false, false));
    // In one call, as `mv` does it across file systems.
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&[create("/t/x", 5, "aa"), delete("/srv/app.db", 5)]), false);
    assert_eq!(known(&deeds, &delete("/t/x", 5)), (false, true));
}

#[test]
fn what_nobody_saw_may_have_replaced_everything() {
    let mut deeds = Deeds::default();
    deeds.own("web", &measured(&[create("/t/a", 5, "aa")]), false);
    let mut other = deeds.clone();
    deeds.own("web", &Measured::unknown(), false);
    other.others("web", &Measured::unknown());
    for deeds in [deeds, other] {
        assert_eq!(known(&deeds, &delete("/t/a", 5)), (false, false));
    }
}

#[test]
fn what_is_remembered_is_bounded_and_beyond_it_nothing_is_permitted() {
    let mut deeds = Deeds::default();
    let many: Vec<_> = (0..MOST + 10).map(|at| create(&format!("/t/{at:06}"), 5, "")).collect();
    deeds.own("web", &measured(&many), false);
    assert_eq!(known(&deeds, &delete("/t/000000", 5)), (true, false));
    assert_eq!(known(&deeds, &delete(&format!("/t/{:06}", MOST + 1), 5)), (false, false));
    for at in 0..MOST + 10 {
        deeds.own("web", &measured(&rename(&format!("/srv/{at:06}"), &format!("/u/{at:06}"))), false);
    }
    assert_eq!(known(&deeds, &delete("/elsewhere", 5)), (false, true), "nobody knows what else was moved");
}
