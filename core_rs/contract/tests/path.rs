//! Path patterns against a naive matcher and against every path of a small world.

use std::time::{Duration, Instant};

use cmdop_contract::path::{Descent, PathPattern, TargetError, escape, is_normal, normalise, unescape};
use proptest::prelude::*;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text, Some(b"/base"), Some(b"/home/me")).expect(text)
}

/// Matches by trying everything. Knows no escapes.
fn naive(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", rest)) => (0..=path.len()).any(|taken| naive(rest, &path[taken..])),
        Some((name, rest)) => path
            .split_first()
            .is_some_and(|(first, others)| naive_name(name.as_bytes(), first.as_bytes()) && naive(rest, others)),
    }
}

fn naive_name(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|taken| naive_name(rest, &name[taken..])),
        Some((b'?', rest)) => name.split_first().is_some_and(|(_, others)| naive_name(rest, others)),
        Some((byte, rest)) => {
            name.split_first().is_some_and(|(first, others)| first == byte && naive_name(rest, others))
        }
    }
}

/// Every path of at most three names of at most two of the letters `a`, `b`, `c`. The patterns do
/// not use `c`: it is what only a wildcard can match.
fn world() -> Vec<String> {
    let letters = ["a", "b", "c"];
    let mut names: Vec<String> = letters.map(String::from).into();
    names.extend(letters.iter().flat_map(|one| letters.map(|two| format!("{one}{two}"))));
    let mut paths = vec![String::new()];
    let mut deepest = paths.clone();
    for _ in 0..3 {
        deepest = deepest.iter().flat_map(|path| names.iter().map(move |name| format!("{path}/{name}"))).collect();
        paths.extend_from_slice(&deepest);
    }
    paths[0].push('/');
    paths
}

fn names(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

fn any_pattern() -> impl Strategy<Value = String> {
    let name = prop_oneof![2 => "[ab]{1,2}", 2 => "[ab*?]{1,3}", 1 => Just("*".to_owned()), 2 => Just("**".to_owned())];
    prop::collection::vec(name, 0..4).prop_map(|names| format!("/{}", names.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_descent_finds_at_every_path_what_each_pattern_covers(texts in prop::collection::vec(any_pattern(), 1..6)) {
        let patterns: Vec<PathPattern> = texts.iter().map(|text| pattern(text)).collect();
        let descent = Descent::of(patterns.iter().collect());
        for path in world() {
            let found: Vec<usize> = descent.covering(&descent.at(path.as_bytes())).collect();
            let covers = |number: &usize| patterns[*number].covers(path.as_bytes());
            let expected: Vec<usize> = (0..patterns.len()).filter(covers).collect();
            prop_assert_eq!(found, expected, "{} of {:?}", path, &texts);
        }
    }

    #[test]
    fn a_pattern_covers_exactly_the_paths_that_a_naive_matcher_accepts(text in any_pattern()) {
        let compiled = pattern(&text);
        let parts = names(&text);
        for path in world() {
            prop_assert_eq!(compiled.covers(path.as_bytes()), naive(&parts, &names(&path)), "{} {}", text, path);
        }
    }

    #[test]
    fn what_covers_a_pattern_covers_every_path_of_it(wide in any_pattern(), narrow in any_pattern()) {
        let (wide, narrow) = (pattern(&wide), pattern(&narrow));
        if wide.covers_pattern(&narrow) {
            for path in world() {
                prop_assert!(!narrow.covers(path.as_bytes()) || wide.covers(path.as_bytes()), "{} {} {}", wide, narrow, path);
            }
        }
    }

    #[test]
    fn patterns_that_share_a_path_overlap(left in any_pattern(), right in any_pattern()) {
        let (left, right) = (pattern(&left), pattern(&right));
        let shared = world().into_iter().find(|path| left.covers(path.as_bytes()) && right.covers(path.as_bytes()));
        prop_assert!(shared.is_none() || left.overlaps(&right), "{} {} {:?}", left, right, shared);
        prop_assert_eq!(left.overlaps(&right), right.overlaps(&left));
    }

    #[test]
    fn a_pattern_covers_itself_and_its_tree_covers_it(text in any_pattern()) {
        let own = pattern(&text);
        prop_assert!(own.covers_pattern(&own) && own.overlaps(&own));
        prop_assert!(own.tree().covers_pattern(&own) && own.tree().is_recursive());
        let root = PathPattern::literal(own.literal_root());
        prop_assert!(root.tree().covers_pattern(&own));
    }

    #[test]
    fn the_canonical_text_reads_back_as_the_same_pattern(text in any_pattern()) {
        let own = pattern(&text);
        prop_assert_eq!(&pattern(&own.to_string()), &own);
    }

    #[test]
    fn any_bytes_survive_their_text_form(raw in prop::collection::vec(1_u8.., 0..40)) {
        let path = [b"/", &raw[..]].concat();
        let text = escape(&path);
        prop_assert_eq!(unescape(&text).expect("what was escaped"), path.clone());
        prop_assert!(!text.chars().any(char::is_control));
        let literal = PathPattern::literal(&path);
        prop_assert!(literal.is_literal() && literal.covers(&path));
        prop_assert_eq!(&pattern(&text), &literal);
        prop_assert_eq!(literal.literal_root(), normalise(&path));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}", base in prop::option::of("/[a-z/.]{0,8}")) {
        if let Ok(read) = PathPattern::parse(&text, base.as_deref().map(str::as_bytes), None) {
            prop_assert!(is_normal(read.literal_root()));
            prop_assert_eq!(&pattern(&read.to_string()), &read);
        }
    }
}

#[test]
fn a_recursive_region_is_its_directory_and_everything_beneath() {
    let tree = pattern("/srv/app/**");

    for inside in ["/srv/app", "/srv/app/", "/srv/app/x", "/srv/app/.x/y/z"] {
        assert!(tree.covers(inside.as_bytes()), "{inside}");
    }
    for outside in ["/srv", "/srv/apple", "/srv/app/../x", "srv/app/x", "", "/srv/app/\0"] {
        assert!(!tree.covers(outside.as_bytes()), "{outside:?}");
    }
    assert!(pattern("/**").covers(b"/"));
    assert_eq!(tree.literal_root(), b"/srv/app");
}

#[test]
fn paths_are_resolved_lexically() {
    for (text, canonical) in [
        ("/", "/"),
        ("/a//b/./c/", "/a/b/c"),
        ("/a/../../b", "/b"),
        ("logs/*.gz", "/base/logs/*.gz"),
        ("../x", "/x"),
        (".", "/base"),
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        (r"\~/x", "/base/~/x"),
        ("/a/*/../b", "/a/b"),
        ("/a/[b]/{c}", "/a/[b]/{c}"),
        (r"/a\*\?\\", r"/a\*\?\\"),
        (r"/\x2e\x2e/a", "/a"),
        ("/a\nb\u{202e}", r"/a\x0ab\xe2\x80\xae"),
        ("/a/**/**/*/x***", "/a/*/**/x*"),
    ] {
        assert_eq!(pattern(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn what_is_not_a_path_is_refused_with_a_way_to_mend_it() {
    let refused = |text: &str| PathPattern::parse(text, None, None).expect_err(text);

    assert_eq!(refused(""), TargetError::Empty);
    assert_eq!(refused("/a\0"), TargetError::Nul);
    assert_eq!(refused(r"/a\x00"), TargetError::Nul);
    assert_eq!(refused("a/b"), TargetError::Relative { text: "a/b".into() });
    assert_eq!(refused("~/a"), TargetError::NoHome);
    assert_eq!(refused("~bob/a"), TargetError::UnknownUser { user: "bob".into() });
    assert_eq!(refused(r"/a\"), TargetError::DanglingEscape);
    assert_eq!(refused(r"/a\xg0"), TargetError::BadHex);
    assert_eq!(refused("/a/**/../b"), TargetError::ParentOfAny);
    assert_eq!(refused(&format!("/{}", "a".repeat(4_096))), TargetError::TooLong { bytes: 4_097 });
    assert_eq!(refused(&format!("/a{}", r"\x61".repeat(4_095))), TargetError::TooLong { bytes: 4_097 });
    assert_eq!(refused(&format!("/{}", r"\x61".repeat(5_000))), TargetError::TooLong { bytes: 20_001 });
    assert_eq!(refused(&format!("/*{}", "/a".repeat(128))), TargetError::TooDeep);
    assert_eq!(unescape("/a/*").expect_err("a wildcard"), TargetError::NotLiteral);
}

#[test]
fn every_path_that_a_kernel_takes_is_a_target() {
    for name in [&b"a"[..], b"\xff", b"*"] {
        let path = [b"/", name].concat().repeat(2_047);
        let literal = pattern(&escape(&path));
        assert_eq!(literal.literal_root(), &*path);
        assert!(literal.is_literal() && literal.covers(&path));
        assert!(pattern("/**").covers_pattern(&literal) && literal.tree().covers_pattern(&literal));
        assert_eq!(pattern(&literal.to_string()), literal);
    }
    let beneath = pattern(&format!("{}/*{}", "/a".repeat(1_000), "/b".repeat(127)));
    assert!(beneath.covers(format!("{}/x{}", "/a".repeat(1_000), "/b".repeat(127)).as_bytes()));
}

#[test]
fn the_worst_patterns_are_answered_at_once() {
    let deep = pattern(&"/**/a".repeat(64));
    let wide = pattern(&format!("/{}b", "*a".repeat(2_047)));
    let other = pattern(&format!("/{}c", "*?".repeat(2_047)));
    let path = "/a".repeat(2_000);
    let name = format!("/{}", "a".repeat(4_000));
    let started = Instant::now();

    assert!(deep.covers(path.as_bytes()));
    assert!(!deep.covers(format!("{path}/b").as_bytes()));
    assert!(!wide.covers(name.as_bytes()));
    assert!(deep.covers_pattern(&deep) && deep.overlaps(&pattern(&"/b/**".repeat(60))));
    assert!(!wide.covers_pattern(&other) && !wide.overlaps(&other));
    let long = pattern(&format!("{path}/*{}", "/b".repeat(40)));
    assert!(!deep.covers_pattern(&long) && !deep.overlaps(&long) && !long.covers_pattern(&deep));

    // Exponential matching would outlive the machine; this is room for a slow and busy one.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn wildcards_aim_at_the_names_of_which_they_spell_half() {
    let aims = |glob: &str, name: &str| pattern(glob).aims_at(&pattern(name));
    for (glob, name) in [
        ("/srv/.en*", "/**/.env"),
        ("/srv/.e?v", "/**/.env"),
        ("/home/a/.s*/id*", "/**/.ssh/**"),
        ("/home/a/x/id_rs?", "/**/id_rsa*"),
        ("/srv/Login*Data", "/**/Login?Data"),
        ("/srv/*.tfstat*", "/**/*.tfstate*"),
        ("/etc/shad*", "/etc/shadow"),
        ("/**/*.env", "/**/.env"),
    ] {
        assert!(aims(glob, name), "{glob} {name}");
    }
    for (glob, name) in [
        ("/srv/*", "/**/.env"),
        ("/srv/**", "/**/.env"),
        ("/srv/.*", "/**/.env"),
        ("/srv/*.json", "/**/secrets.json"),
        ("/srv/app*", "/**/*.key"),
        ("/srv/log*", "/**/logins.json"),
        // Spelled, and somewhere else.
        ("/srv/shad*", "/etc/shadow"),
        ("/srv/.env*.md", "/**/.env"),
        // Without a wildcard it is that file or it is not.
        ("/srv/.env", "/**/.env"),
    ] {
        assert!(!aims(glob, name), "{glob} {name}");
    }
}
