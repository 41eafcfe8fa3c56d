//! Wildcard sequences: does one match an input, hold another, meet another? Each with bounded cost.
//!
//! The same three questions are asked twice: of the segments of a path, where the element that
//! matches many is `**`, and of the bytes of a name, where it is `*`.

/// One element of a wildcard sequence.
pub(crate) trait Element {
    /// True if it matches any number of units, also none.
    fn is_many(&self) -> bool;
}

/// Does the sequence match the input? At most `pattern × input` steps.
///
/// Only the last `many` is ever reconsidered: an earlier one that took more could not reach an end
/// that the later one cannot reach as well.
pub(crate) fn matches<P: Element, I>(pattern: &[P], input: &[I], one: impl Fn(&P, &I) -> bool) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while read < input.len() {
        match pattern.get(at) {
            Some(element) if element.is_many() => {
                at += 1;
                retry = Some((at, read));
            }
            Some(element) if one(element, &input[read]) => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((after, from)) = retry else { return false };
                at = after;
                read = from + 1;
                retry = Some((after, from + 1));
            }
        }
    }
    pattern[at..].iter().all(Element::is_many)
}

/// Does `wide` match everything that `narrow` matches? Sound: never true without it being so.
/// `wide × narrow` steps.
///
/// It looks for one way to lay `narrow` out along `wide`. An element of `narrow` that stands for
/// many can only be taken up by one of `wide` that does, too.
pub(crate) fn covers<P: Element>(wide: &[P], narrow: &[P], holds: impl Fn(&P, &P) -> bool) -> bool {
    let mut below = vec![false; narrow.len() + 1];
    below[narrow.len()] = true;
    for element in wide.iter().rev() {
        let mut row = vec![false; narrow.len() + 1];
        if element.is_many() {
            row[narrow.len()] = below[narrow.len()];
            for at in (0..narrow.len()).rev() {
                row[at] = below[at] || row[at + 1];
            }
        } else {
            for at in (0..narrow.len()).rev() {
                row[at] = !narrow[at].is_many() && below[at + 1] && holds(element, &narrow[at]);
            }
        }
        below = row;
    }
    below[0]
}

/// Is there anything that both match? Exact if `meet` is. `left × right` steps.
pub(crate) fn overlaps<P: Element>(left: &[P], right: &[P], meet: impl Fn(&P, &P) -> bool) -> bool {
    // The row beneath the last: nothing of `left` remains, so `right` must be able to match nothing.
    let mut below = vec![true; right.len() + 1];
    for at in (0..right.len()).rev() {
        below[at] = below[at + 1] && right[at].is_many();
    }
    for element in left.iter().rev() {
        let mut row = vec![false; right.len() + 1];
        row[right.len()] = element.is_many() && below[right.len()];
        for at in (0..right.len()).rev() {
            let other = &right[at];
            row[at] = if element.is_many() || other.is_many() {
                below[at] || row[at + 1]
            } else {
                below[at + 1] && meet(element, other)
            };
        }
        below = row;
    }
    below[0]
}
