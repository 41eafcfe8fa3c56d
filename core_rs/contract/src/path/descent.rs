//! Patterns matched name by name on the way down a tree: what a name costs does not grow with the path above it.

use std::collections::HashMap;

use super::PathPattern;
use super::segment::Segment;
use crate::matching::Element;

/// A pattern by its number, and how many of its segments are behind.
type State = (usize, usize);

/// Patterns that are matched together.
#[derive(Debug)]
pub struct Descent<'p> {
    patterns: Vec<&'p PathPattern>,
    /// Of patterns that may begin anywhere, by the name that follows.
    named: HashMap<&'p [u8], Vec<usize>>,
    /// The same where a wildcard follows.
    wild: Vec<usize>,
    start: Place,
}

/// How far the patterns have come at one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(Vec<State>);

impl<'p> Descent<'p> {
    /// From `/` on.
    #[must_use]
    pub fn of(patterns: Vec<&'p PathPattern>) -> Self {
        let mut descent = Self { patterns, named: HashMap::new(), wild: Vec::new(), start: Place::default() };
        let mut start = Vec::new();
        for (number, pattern) in descent.patterns.iter().enumerate() {
            match &*pattern.segments {
                // It can begin at every name, so that no place needs to remember it.
                [Segment::Deep, Segment::Literal(name), ..] => descent.named.entry(name).or_default().push(number),
                [Segment::Deep, _, ..] => descent.wild.push(number),
                _ => reach(pattern, (number, 0), &mut start),
            }
        }
        descent.start = Place::of(start);
        descent
    }

    /// The place of a normalised absolute path.
    #[must_use]
    pub fn at(&self, path: &[u8]) -> Place {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.fold(self.start.clone(), |place, name| self.below(&place, name))
    }

    /// The place of a name in the directory of another.
    #[must_use]
    pub fn below(&self, place: &Place, name: &[u8]) -> Place {
        let mut states = Vec::new();
        for (number, behind) in &place.0 {
            let pattern = self.patterns[*number];
            match pattern.segments.get(*behind) {
                Some(segment) if segment.is_many() => reach(pattern, (*number, *behind), &mut states),
                Some(segment) if segment.matches(name) => reach(pattern, (*number, behind + 1), &mut states),
                _ => {}
            }
        }
        let named = self.named.get(name).into_iter().flatten();
        let wild = self.wild.iter().filter(|number| self.patterns[**number].segments[1].matches(name));
        named.chain(wild).for_each(|number| reach(self.patterns[*number], (*number, 2), &mut states));
        Place::of(states)
    }

    /// Numbers of the patterns that cover the path of a place, in their order.
    pub fn covering(&self, place: &Place) -> impl Iterator<Item = usize> {
        place.0.iter().filter(|(number, behind)| *behind == self.patterns[*number].segments.len()).map(|(it, _)| *it)
    }
}

impl Place {
    fn of(mut states: Vec<State>) -> Self {
        states.sort_unstable();
        states.dedup();
        Self(states)
    }
}

/// Adds a state, and the next one if no name need stand between.
fn reach(pattern: &PathPattern, (number, behind): State, states: &mut Vec<State>) {
    states.push((number, behind));
    // Of wildcards in a row one at most takes many names, and it is the last.
    if pattern.segments.get(behind).is_some_and(Element::is_many) {
        states.push((number, behind + 1));
    }
}
