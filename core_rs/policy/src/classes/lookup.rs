//! Which shipped patterns can a path be in at all?
//!
//! A few hundred patterns hold on every host, and few of them can hold a given path: most begin at
//! a directory that it is not beneath, or need a name that it does not have.

use std::collections::HashMap;
use std::sync::LazyLock;

use cmdop_contract::path::{PathPattern, is_normal, normalise};

use super::{Class, SHIPPED};
use crate::points::ancestors;

type Entry = (Class, &'static PathPattern);

#[derive(Default)]
struct Lookup {
    /// By the directory beneath which everything of the pattern lies.
    rooted: HashMap<&'static [u8], Vec<Entry>>,
    /// Of patterns that may begin anywhere: by a name that every path of theirs has.
    named: HashMap<&'static [u8], Vec<Entry>>,
    /// All others.
    anywhere: Vec<Entry>,
    /// Bytes of the longest directory in `rooted`: of a deep path no more needs to be looked at.
    longest: usize,
}

static LOOKUP: LazyLock<Lookup> = LazyLock::new(|| {
    let mut lookup = Lookup::default();
    for class in Class::ALL {
        for pattern in &SHIPPED[class as usize].patterns {
            let entries = match (pattern.literal_root(), pattern.names().last()) {
                (b"/", Some(name)) => lookup.named.entry(name).or_default(),
                (b"/", None) => &mut lookup.anywhere,
                (root, _) => lookup.rooted.entry(root).or_default(),
            };
            entries.push((class, pattern));
        }
    }
    lookup.longest = lookup.rooted.keys().map(|root| root.len()).max().unwrap_or(0);
    lookup
});

/// Classes of which a shipped pattern covers the path, in no order, some twice.
pub(super) fn classes_of(path: &[u8]) -> Vec<Class> {
    if !is_normal(path) {
        return classes_of(&normalise(path));
    }
    let rooted = ancestors(within(path, LOOKUP.longest)).filter_map(|above| LOOKUP.rooted.get(above)).flatten();
    let named = path.split(|byte| *byte == b'/').filter_map(|name| LOOKUP.named.get(name)).flatten();
    let candidates = rooted.chain(named).chain(&LOOKUP.anywhere);
    candidates.filter(|(_, pattern)| pattern.covers(path)).map(|(class, _)| *class).collect()
}

/// The path, or its lowest ancestor of at most so many bytes.
fn within(path: &[u8], most: usize) -> &[u8] {
    if path.len() <= most {
        return path;
    }
    match path[..=most].iter().rposition(|byte| *byte == b'/') {
        Some(at) if at > 0 => &path[..at],
        _ => b"/",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Paths made of names that patterns mention, so that many are covered.
    pub(in crate::classes) fn paths() -> impl Strategy<Value = Vec<u8>> {
        let mentioned = Class::ALL.into_iter().flat_map(Class::patterns).flat_map(|pattern| pattern.split('/'));
        let mut names: Vec<String> = mentioned.map(|name| name.replace('*', "x")).collect();
        names.extend(["srv", "app", "a.pem", ".", ".."].map(str::to_owned));
        names.sort_unstable();
        names.dedup();
        prop::collection::vec(prop::sample::select(names), 0..6)
            .prop_map(|names| format!("/{}", names.join("/")).into())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_lookup_finds_what_every_pattern_on_its_own_finds(path in paths()) {
            let mut found = classes_of(&path);
            found.sort_unstable();
            found.dedup();
            let alone = |class: &Class| SHIPPED[*class as usize].patterns.iter().any(|pattern| pattern.covers(&path));
            let expected: Vec<Class> = Class::ALL.into_iter().filter(alone).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_shipped_pattern_is_found_by_its_own_paths() {
        for class in Class::ALL {
            for pattern in class.patterns() {
                let path = pattern.replace("/**/", "/srv/").replace("/**", "/x").replace('*', "x");
                assert!(classes_of(path.as_bytes()).contains(&class), "{path} of {pattern}");
            }
        }
    }
}
