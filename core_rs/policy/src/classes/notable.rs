//! Classes of which no member may go unseen in a tree that goes or moves.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cmdop_contract::path::{Descent, Place};

use super::{Class, SHIPPED};

/// Classes that policy may speak about wherever a path lies: credentials, secrets, databases, repositories,
/// start-up files, cmdop's own data. Deleting one of them as part of a tree must not go unseen.
const NOTABLE: [Class; 6] =
    [Class::Credentials, Class::Secrets, Class::Cmdop, Class::Persistence, Class::Database, Class::Repository];

static NOTABLE_PATTERNS: LazyLock<(Descent<'static>, Vec<Class>)> = LazyLock::new(|| {
    let members = |class: Class| SHIPPED[class as usize].patterns.iter().map(move |pattern| (pattern, class));
    let (patterns, classes): (Vec<_>, Vec<_>) = NOTABLE.into_iter().flat_map(members).unzip();
    (Descent::of(patterns), classes)
});

/// Which of the notable classes a path is of, and what tells it of the paths beneath.
#[derive(Debug, Clone)]
pub struct Notable(Place);

impl Notable {
    /// Of a normalised absolute path.
    #[must_use]
    pub fn at(path: &[u8]) -> Self {
        Self(NOTABLE_PATTERNS.0.at(path))
    }

    /// Of a name in the directory that this is of.
    #[must_use]
    pub fn below(&self, name: &[u8]) -> Self {
        Self(NOTABLE_PATTERNS.0.below(&self.0, name))
    }

    /// The classes.
    #[must_use]
    pub fn classes(&self) -> BTreeSet<Class> {
        let (descent, classes) = &*NOTABLE_PATTERNS;
        descent.covering(&self.0).map(|number| classes[number]).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lookup::{classes_of, tests::paths};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn going_down_finds_what_looking_a_path_up_finds(path in paths()) {
            let path = cmdop_contract::path::normalise(&path);
            let expected: BTreeSet<Class> = classes_of(&path).into_iter().filter(|it| NOTABLE.contains(it)).collect();
            prop_assert_eq!(Notable::at(&path).classes(), expected);
        }
    }
}
