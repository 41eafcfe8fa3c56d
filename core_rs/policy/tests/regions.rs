//! Targets are regions: what holds for each path of one must hold for all of it, and what policy
//! protects is protected from above.

use cmdop_contract::path::PathPattern;
use cmdop_policy::decide::Decided;
use cmdop_policy::engine::Engine;
use proptest::prelude::*;

mod fixture;

use fixture::{Call, summary};

/// Every way in which a policy can depend on where a path is.
const SITE: &str = r#"
@id("site.srv") @reason("S.") permit (principal, action in Action::"write", resource in Path::"/srv");
@id("site.data") @reason("D.") permit (principal, action in Action::"write", resource in Path::"/data")
  unless { resource in PathClass::"secrets" };
@id("site.one") @reason("O.") permit (principal, action, resource == Path::"/opt/one");
@id("site.home") @reason("H.") permit (principal, action, resource in Path::"/home");
@id("site.db") @reason("B.") forbid (principal, action in Action::"write", resource in Path::"/srv/db")
  unless { resource in Path::"/srv/db/tmp" };
@id("site.both") @reason("B.") forbid (principal, action in Action::"write", resource in Path::"/srv/db/tmp")
  when { resource in PathClass::"database" };
@id("site.pair") @reason("P.") forbid (principal, action in Action::"write", resource in PathClass::"secrets")
  when { resource in PathClass::"workspace" };
@id("site.hold") @decision("require_approval") @reason("H.")
  forbid (principal, action in Action::"write", resource in Path::"/srv/app/conf");
@id("site.exact") @reason("E.") forbid (principal, action in Action::"write", resource == Path::"/data/exact");
"#;

const KINDS: [&str; 5] = ["file.create", "file.modify", "file.delete", "file.rename", "file.chmod"];

fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "srv", "data", "opt", "home", "app", "db", "tmp", "conf", "one", "exact", "ada", ".ssh", ".env", "x", "x.db",
        "*", "a*", "*.db", "?", "**",
    ])
}

fn region() -> impl Strategy<Value = String> {
    let first = prop::sample::select(vec!["srv", "data", "opt", "home", "etc", "*", "**"]);
    (first, prop::collection::vec(segment(), 0..5))
        .prop_map(|(first, rest)| format!("/{first}{}", rest.iter().map(|name| format!("/{name}")).collect::<String>()))
}

/// A region that holds this one: a wildcard for a name, or everything beneath an ancestor.
fn widened(region: &str, place: usize, how: u8) -> String {
    let mut names: Vec<&str> = region.trim_start_matches('/').split('/').collect();
    let place = place % names.len();
    match how % 3 {
        0 => names[place] = if names[place] == "**" { "**" } else { "*" },
        1 => {
            names.truncate(place);
            names.push("**");
        }
        _ => names[place] = "**",
    }
    format!("/{}", names.join("/"))
}

/// A path that the region holds: each wildcard is replaced.
fn member(region: &str, fill: &[&'static str]) -> String {
    let mut fill = fill.iter().cycle();
    let mut names: Vec<String> = Vec::new();
    for name in region.trim_start_matches('/').split('/') {
        let next = fill.next().copied().unwrap_or("x");
        match name {
            "**" if next == "x" => {}
            "**" | "*" => names.push(next.into()),
            _ => names.push(name.replace('*', "y").replace('?', "z")),
        }
    }
    format!("/{}", names.join("/"))
}

/// True if policy lets it happen directly, with nobody looking.
fn is_clear(engine: &Engine, effect: &str) -> bool {
    let tool = Call::native("files.write", serde_json::json!({"path": "/srv/app/x", "content": ""})).in_person();
    matches!(tool.does(effect).decide(engine), Decided::Go(grant) if grant.decision().stage().as_str_name() == "STAGE_APPLY")
}

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text, None, None).expect("a pattern")
}

thread_local! {
    static ENGINES: [Engine; 2] = [fixture::load(SITE), fixture::engine()];
}

proptest! {
    // Unoptimised, a case takes some 20 ms; PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn widening_a_target_never_turns_a_refusal_into_a_permission(
        region in region(), place in 0_usize..6, how in 0_u8..3, kind in prop::sample::select(KINDS.to_vec()),
    ) {
        let wide = widened(&region, place, how);
        prop_assume!(pattern(&wide).covers_pattern(&pattern(&region)));
        ENGINES.with(|engines| {
            for engine in engines {
                if is_clear(engine, &format!("{kind}:{wide}")) {
                    prop_assert!(is_clear(engine, &format!("{kind}:{region}")), "{kind} {region} ⊆ {wide}");
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_region_is_clear_only_if_each_of_its_paths_is(
        region in region(),
        fill in prop::collection::vec(
            prop::sample::select(vec!["srv", "data", "db", "tmp", "conf", ".ssh", ".env", "x.db", "exact", "app", "x"]), 6),
        kind in prop::sample::select(KINDS.to_vec()),
    ) {
        let path = member(&region, &fill);
        prop_assume!(path.len() > 1 && pattern(&region).covers(path.as_bytes()));
        ENGINES.with(|engines| {
            for engine in engines {
                if is_clear(engine, &format!("{kind}:{region}")) {
                    prop_assert!(is_clear(engine, &format!("{kind}:{path}")), "{kind} {path} ∈ {region}");
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn nothing_that_covers_a_floor_path_is_ever_deleted(
        region in region(), place in 0_usize..6, agent in any::<bool>(),
        protected in prop::sample::select(vec![
            "/", "/etc", "/usr", "/home", "/var", "/var/lib", "/etc/shadow", "/etc/sudoers", "/dev/mem", "/etc/cmdop",
        ]),
    ) {
        for target in [protected.to_owned(), widened(protected, place, 2), widened(protected, place, 1), region] {
            if !pattern(&target).tree().covers(protected.as_bytes()) {
                continue;
            }
            let call = Call::command("rm").does(&format!("file.delete:{target}"));
            let call = if agent { call } else { call.in_person() };
            ENGINES.with(|engines| {
                for engine in engines {
                    let found = summary(&call.decide(engine));
                    prop_assert!(found.starts_with("refuse FLOOR_DENIED"), "{target}: {found}");
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn nothing_under_a_floor_path_is_ever_changed(
        beneath in prop::collection::vec(segment(), 0..3), kind in prop::sample::select(KINDS.to_vec()), agent in any::<bool>(),
        tree in prop::sample::select(vec!["/home/ada/.ssh", "/srv/app/.ssh", "/home/ada/.cmdop", "/etc/sudoers.d", "/dev/mapper"]),
    ) {
        let target = beneath.iter().fold(tree.to_owned(), |path, name| format!("{path}/{name}"));
        let call = Call::command("x").does(&format!("{kind}:{target}"));
        let call = if agent { call } else { call.in_person() };
        ENGINES.with(|engines| {
            for engine in engines {
                let found = summary(&call.decide(engine));
                prop_assert!(found.starts_with("refuse FLOOR_DENIED"), "{target}: {found}");
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_directory_above_a_protected_path_is_as_protected_as_the_path() {
    let engine = fixture::load(SITE);
    for target in ["/srv/db", "/srv/db/x", "/srv/*", "/srv/d?", "/srv/**"] {
        let found = summary(&Call::command("mkdir").in_person().does(&format!("file.create:{target}")).decide(&engine));
        assert_eq!(found, "refuse POLICY_DENIED site.db", "{target}");
    }
    assert!(is_clear(&engine, "file.chmod:/srv/db/tmp/x"));
    assert!(is_clear(&engine, "file.chmod:/srv/web/x"));
}

#[test]
fn a_delete_takes_what_lies_beneath_along() {
    let engine = fixture::load(
        r#"@id("site.all") @reason("A.") permit (principal, action in Action::"write", resource in Path::"/data");
           @id("site.deep") @reason("D.") forbid (principal, action in Action::"write", resource in Path::"/data/a/b/keep");"#,
    );
    let summary = |effect: &str| summary(&Call::command("x").does(effect).decide(&engine));
    assert_eq!(summary("file.delete:/data/a"), "refuse POLICY_DENIED site.deep");
    assert_eq!(summary("file.rename:/data/a"), "refuse POLICY_DENIED site.deep");
    assert_eq!(summary("file.delete:/data/a/*/keep/x"), "go STAGE_PREVIEW");
    assert_eq!(summary("file.delete:/data/a/b/keep/x"), "refuse POLICY_DENIED site.deep");
    assert_eq!(summary("file.modify:/data/a"), "go STAGE_PREVIEW");
}

#[test]
fn what_only_may_be_protected_is_tried_on_a_copy_first() {
    let engine = fixture::load(SITE);
    // Nobody knows whether there is a key or a database under it.
    assert!(!is_clear(&engine, "file.chmod:/data/**"));
    assert!(!is_clear(&engine, "file.delete:/data/x"));
    assert!(!is_clear(&engine, "file.chmod:/srv/*/tmp/x"));
    assert!(is_clear(&engine, "file.chmod:/data/x"));
    assert!(is_clear(&engine, "file.chmod:/data/x/a?"));
}
