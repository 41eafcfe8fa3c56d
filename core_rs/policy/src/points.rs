//! From a region to the points that must all pass, so that a directory above a protected path is as
//! protected as the path.
//!
//! A point is an ordinary Cedar request. A region gives: itself; something new inside it, if it is
//! recursive; every place that a policy mentions and the region covers; and, marked *uncertain*,
//! one member of each class (and of two, and of all) that may occur in it and one path beneath each
//! mentioned place that it may reach into. Of a look, what its wildcards spell counts as certain. If a point is allowed for a wide region then it is for every narrower one that
//! has it, so widening a target never turns a refusal into a permission.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use cedar_policy::EntityUid;
use cmdop_contract::effect::{Class as EffectClass, Target, class};
use cmdop_contract::path::{PathPattern, escape, is_beneath};
use cmdop_contract::v1::EffectKind;

use crate::classes::{Class, Classes, shipped_roots};
use crate::engine::{Subject, path_uid, uid};

/// More points than this and the target is too wide to be decided. A region that covers a few
/// hundred mentioned places times a handful of classes stays below.
const MOST: usize = 4_096;

/// One request to policy.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) uid: EntityUid,
    /// Mentioned places that hold it, and its classes.
    pub(crate) parents: Vec<EntityUid>,
    /// False if nobody knows whether the region has such a member.
    pub(crate) certain: bool,
    /// For people: the path, or what may occur in which region.
    pub(crate) text: String,
}

/// The points of one target: certain ones first.
#[derive(Debug, Default)]
pub(crate) struct Points {
    pub(crate) list: Vec<Point>,
    /// False if the target reaches more than can be asked: whatever the rest says, it is not permitted.
    pub(crate) complete: bool,
}

/// A path at which policy may change its mind.
#[derive(Debug)]
struct Anchor {
    /// Set if a policy mentions the path, not only a class.
    mentioned: Option<EntityUid>,
    here: PathPattern,
    beneath: PathPattern,
}

/// Everything that policies mention.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    paths: BTreeMap<Vec<u8>, Anchor>,
    named: HashMap<Subject, Vec<(Target, EntityUid)>>,
    classes: BTreeSet<Class>,
}

impl Anchors {
    /// The places at which shipped classes begin.
    pub(crate) fn shipped() -> Self {
        let mut anchors = Self::default();
        for root in shipped_roots() {
            anchors.insert(root, None);
        }
        anchors
    }

    pub(crate) fn mention_path(&mut self, path: &[u8]) {
        self.insert(path, Some(path_uid(path)));
    }

    pub(crate) fn mention_named(&mut self, subject: Subject, target: Target, uid: EntityUid) {
        let known = self.named.entry(subject).or_default();
        if !known.iter().any(|(_, mentioned)| *mentioned == uid) {
            known.push((target, uid));
        }
    }

    pub(crate) fn mention_class(&mut self, class: Class) {
        self.classes.insert(class);
    }

    pub(crate) fn mentions(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }

    fn insert(&mut self, path: &[u8], mentioned: Option<EntityUid>) {
        let here = PathPattern::literal(path);
        let beneath = here.tree();
        let anchor = self.paths.entry(path.to_vec()).or_insert(Anchor { mentioned: None, here, beneath });
        anchor.mentioned = anchor.mentioned.take().or(mentioned);
    }

    /// Mentioned paths that hold this one, itself left out.
    fn above(&self, path: &[u8]) -> impl Iterator<Item = EntityUid> {
        ancestors(path).skip(1).filter_map(|above| self.paths.get(above)?.mentioned.clone())
    }

    /// Anchors at or beneath a directory.
    fn beneath<'a>(&'a self, directory: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a Anchor)> {
        let from = (Bound::Included(directory), Bound::Unbounded);
        let inside = move |path: &[u8]| is_beneath(path, directory);
        self.paths
            .range::<[u8], _>(from)
            // Siblings such as `/a-b` sort between `/a` and `/a/b`.
            .take_while(move |(path, _)| path.starts_with(directory))
            .map(|(path, anchor)| (path.as_slice(), anchor))
            .filter(move |(path, _)| inside(path))
    }
}

/// `path`, its parent, and so on up to `/`.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| {
        if *path == b"/" {
            return None;
        }
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        Some(if slash == 0 { &b"/"[..] } else { &path[..slash] })
    })
}

/// The points of an effect's target, with everything beneath each path of it or without; none for a
/// kind that is none.
pub(crate) fn points(kind: EffectKind, target: &Target, beneath: bool, anchors: &Anchors, classes: &Classes) -> Points {
    let mut list = match (target, Subject::of(kind)) {
        (Target::Path(region), Some(Subject::Path)) => {
            Region { region, anchors, classes, is_look: class(kind) == EffectClass::Look }.points(beneath)
        }
        (_, Some(subject)) => named_points(subject, target, anchors),
        (_, None) => Vec::new(),
    };
    list.sort_by_key(|point| !point.certain);
    let complete = list.len() <= MOST;
    list.truncate(MOST);
    Points { list, complete }
}

/// Deleting or moving a directory does so to everything beneath it.
pub(crate) fn carries_subtree(kind: EffectKind) -> bool {
    matches!(kind, EffectKind::FileDelete | EffectKind::FileRename)
}

fn named_points(subject: Subject, target: &Target, anchors: &Anchors) -> Vec<Point> {
    let text = target.to_string();
    let mentioned = anchors.named.get(&subject).map_or(&[][..], Vec::as_slice);
    let holding = |region: &Target| -> Vec<EntityUid> {
        mentioned.iter().filter(|(place, _)| place.covers(region)).map(|(_, uid)| uid.clone()).collect()
    };
    let own = uid(subject.type_name(), &text);
    let above = holding(target);
    let mut points = vec![Point {
        parents: above.iter().filter(|place| **place != own).cloned().collect(),
        uid: own.clone(),
        certain: true,
        text: text.clone(),
    }];
    for (place, uid) in mentioned.iter().filter(|(_, uid)| *uid != own) {
        if target.covers(place) {
            let parents = holding(place).into_iter().filter(|other| other != uid).collect();
            points.push(Point { uid: uid.clone(), parents, certain: true, text: place.to_string() });
        } else if target.overlaps(place) && !place.covers(target) {
            let parents = above.iter().chain([uid]).cloned().collect();
            let certain = surely_meets(subject, &text, &place.to_string());
            points.push(Point { uid: own.clone(), parents, certain, text: format!("{text} where it meets {place}") });
        }
    }
    points
}

/// Of two regions that overlap: false if they do so only as far as anyone knows, because a name may
/// resolve to that address and a process number may belong to that program.
fn surely_meets(subject: Subject, one: &str, other: &str) -> bool {
    let is_pid = |text: &str| text.starts_with("pid:");
    let is_host_name = |text: &str| {
        text.rsplit_once(':').is_some_and(|(host, _)| {
            let host = host.trim_matches(['[', ']']);
            host != "*" && !host.contains('/') && host.parse::<std::net::IpAddr>().is_err()
        })
    };
    match subject {
        Subject::Process => is_pid(one) == is_pid(other),
        Subject::Endpoint => is_host_name(one) == is_host_name(other),
        _ => true,
    }
}

struct Region<'a> {
    region: &'a PathPattern,
    anchors: &'a Anchors,
    classes: &'a Classes,
    is_look: bool,
}

impl Region<'_> {
    fn points(&self, carries_subtree: bool) -> Vec<Point> {
        let mut points = Vec::new();
        // Of a literal, the root of the region is all of it.
        let literal = self.region.is_literal().then(|| self.region.literal_root());
        points.extend(literal.map(|path| self.at(path)));
        if carries_subtree {
            self.inside(&self.region.tree(), literal, &mut points);
        } else if literal.is_none() {
            self.inside(self.region, None, &mut points);
        }
        points
    }

    /// A literal path with its exact classes.
    fn at(&self, path: &[u8]) -> Point {
        let classes = self.classes.of_path(path, |class| self.anchors.mentions(class));
        let parents = self.anchors.above(path).chain(classes.into_iter().map(Class::uid)).collect();
        Point { uid: path_uid(path), parents, certain: true, text: escape(path) }
    }

    /// Points of a region that is not one path; `asked` is one of it that is a point already.
    fn inside(&self, region: &PathPattern, asked: Option<&[u8]>, points: &mut Vec<Point>) {
        let root = region.literal_root();
        let membership = self.classes.of_region(region, |class| self.anchors.mentions(class));
        let above = ancestors(root).filter_map(|above| self.anchors.paths.get(above)?.mentioned.clone());
        let inside = Inside {
            uid: uid(Subject::Path.type_name(), &region.to_string()),
            above: above.chain(membership.certain.iter().map(|class| class.uid())).collect(),
            anchors: self.anchors,
        };
        points.push(inside.some(None, &[]));
        // Mentioned places that it reaches into, and so classes within them.
        let mut reached = vec![None];
        for (path, anchor) in self.anchors.beneath(root) {
            let covered = region.covers_pattern(&anchor.here);
            if covered && asked != Some(path) {
                points.push(self.at(path));
            }
            let new = anchor.mentioned.as_ref().is_some_and(|place| !inside.above.contains(place));
            if new && region.overlaps(&anchor.beneath) {
                reached.push(Some((path, anchor)));
                if !covered {
                    points.push(inside.some(Some((path, anchor)), &[]));
                }
            }
        }
        let here = self.classes.roots().filter(|path| region.covers(path) && asked != Some(*path));
        points.extend(here.map(|path| self.at(path)));
        // A change is seen in a preview before it is committed; a look is not, so what it spells counts as named.
        let aimed = if self.is_look { membership.aimed.as_slice() } else { &[] };
        points.extend(aimed.iter().map(|class| Point { certain: true, ..inside.some(None, &[*class]) }));
        let possible = &membership.possible;
        for (index, class) in possible.iter().enumerate() {
            if points.len() > MOST {
                return;
            }
            points.extend(reached.iter().map(|place| inside.some(*place, &[*class])));
            points.extend(possible[index + 1..].iter().map(|other| inside.some(None, &[*class, *other])));
        }
        if possible.len() > 2 {
            points.push(inside.some(None, possible));
        }
    }
}

/// Unnamed members of a region.
struct Inside<'a> {
    uid: EntityUid,
    /// Mentioned places and classes that hold all of it.
    above: Vec<EntityUid>,
    anchors: &'a Anchors,
}

impl Inside<'_> {
    /// One that lies also beneath that place and in those classes, of which nobody knows whether it exists.
    fn some(&self, place: Option<(&[u8], &Anchor)>, classes: &[Class]) -> Point {
        let mut text = self.uid.id().unescaped().to_owned();
        let mut parents = self.above.clone();
        if let Some((path, anchor)) = place {
            text.push_str(&format!(" where it meets {}", anchor.here));
            parents.extend(self.anchors.above(path).filter(|above| !self.above.contains(above)));
            parents.extend(anchor.mentioned.clone());
        }
        if !classes.is_empty() {
            let names: Vec<&str> = classes.iter().map(|class| class.name()).collect();
            text.push_str(&format!(" (what it may hold of {})", names.join(" and ")));
            parents.extend(classes.iter().map(|class| class.uid()));
        }
        Point { uid: self.uid.clone(), parents, certain: place.is_none() && classes.is_empty(), text }
    }
}
