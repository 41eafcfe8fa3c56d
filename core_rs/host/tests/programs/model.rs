//! Effects as a model: applied to the tree before they give the tree after, or they do not explain it.

use std::collections::BTreeMap;

use cmdop_contract::v1::{EffectKind, FileChange, FileState, FileType, ObservedEffect};

use super::tree::{Node, Tree};

/// An effect on one tree: its path from the tree's top.
pub struct Named<'a> {
    pub path: String,
    pub effect: &'a ObservedEffect,
}

impl Named<'_> {
    fn change(&self) -> &FileChange {
        self.effect.file.as_ref().expect("a change of a file")
    }
}

/// The effects beneath a tree's top, which is escaped as they are.
pub fn beneath<'a>(effects: &'a [ObservedEffect], top: &str) -> Vec<Named<'a>> {
    let named = effects.iter().filter_map(|effect| Some((effect.target.strip_prefix(top)?, effect)));
    named.filter(|(path, _)| path.starts_with('/')).map(|(path, effect)| Named { path: path.into(), effect }).collect()
}

/// The tree after the effects.
///
/// # Errors
/// What is wrong with them: an effect that names what is not there, says something untrue about before
/// or after, or says nothing.
pub fn explain(before: &Tree, effects: &[Named<'_>], top: &str) -> Result<Tree, String> {
    let of = |kind| effects.iter().filter(move |named| named.effect.kind() == kind);
    let inside = |path: &str| path.strip_prefix(top).map(str::to_owned).ok_or(format!("{path} is outside"));
    // Where everything that leaves its place goes; nowhere if it is deleted.
    let mut leaving = BTreeMap::new();
    for named in of(EffectKind::FileDelete) {
        went(before, named, true)?;
        once(leaving.insert(&*named.path, None), named)?;
    }
    for named in of(EffectKind::FileRename) {
        went(before, named, false)?;
        once(leaving.insert(&*named.path, Some(inside(&named.change().renamed)?)), named)?;
    }
    let mut after = Tree::new();
    for (path, node) in before {
        if let Some(now) = now_at(path, &leaving)
            && after.insert(now.clone(), node.clone()).is_some()
        {
            return Err(format!("two things are at {now}"));
        }
    }
    let stayed = after.clone();
    let mut next = u64::MAX;
    for named in of(EffectKind::FileCreate) {
        let change = named.change();
        if !change.renamed.is_empty() {
            let from = inside(&change.renamed)?;
            if leaving.get(&*from) != Some(&Some(named.path.clone())) {
                return Err(format!("{}: nothing says that it came from {from}", named.path));
            }
            continue;
        }
        let node = made(change.after.as_ref().ok_or("a creation of nothing")?, next);
        next -= 1;
        if change.before.is_some() || after.insert(named.path.clone(), node).is_some() {
            return Err(format!("{} is created where something is", named.path));
        }
    }
    for named in effects.iter() {
        if matches!(named.effect.kind(), EffectKind::FileModify | EffectKind::FileChmod | EffectKind::FileChown) {
            alter(&stayed, &mut after, named)?;
        }
    }
    for named in effects.iter().filter(|named| !named.change().linked.is_empty()) {
        let other = inside(&named.change().linked)?;
        let inode = after.get(&other).ok_or(format!("{} is a name of {other}, which is not there", named.path))?.inode;
        after.get_mut(&named.path).ok_or(format!("{} is not there", named.path))?.inode = inode;
    }
    for named in effects.iter().filter(|named| named.effect.kind() != EffectKind::FileDelete) {
        let change = named.change();
        let Some(state) = &change.after else { continue };
        let node = after.get(&named.path).ok_or(format!("{}: nothing is there afterwards", named.path))?;
        agrees(node, state).map_err(|what| format!("{} afterwards: {what}", named.path))?;
    }
    Ok(after)
}

fn once<T>(earlier: Option<T>, named: &Named<'_>) -> Result<(), String> {
    earlier.map_or(Ok(()), |_| Err(format!("{} leaves its place twice", named.path)))
}

/// Something that leaves its place is there, and it and its size are as told.
fn went(before: &Tree, named: &Named<'_>, counts_bytes: bool) -> Result<(), String> {
    let node = before.get(&named.path).ok_or(format!("{} goes and was not there", named.path))?;
    let state = named.change().before.as_ref().ok_or("something goes that was nothing")?;
    agrees(node, state).map_err(|what| format!("{} before: {what}", named.path))?;
    let beneath = format!("{}/", named.path);
    let all: Vec<_> = before
        .iter()
        .filter(|(path, _)| **path == named.path || path.starts_with(&beneath))
        .map(|(_, node)| node)
        .collect();
    let regular = all.iter().filter(|node| node.kind == i32::from(FileType::Regular));
    let bytes: u64 = regular.map(|node| node.size).sum();
    let told = (named.effect.count, named.effect.bytes);
    let found = (all.len() as u64, if counts_bytes { bytes } else { told.1 });
    if told == found { Ok(()) } else { Err(format!("{}: {told:?} entries and bytes go, not {found:?}", named.path)) }
}

/// Where something is afterwards: the nearest thing above it that leaves its place takes it along.
fn now_at(path: &str, leaving: &BTreeMap<&str, Option<String>>) -> Option<String> {
    let mut above = path;
    loop {
        if let Some(left) = leaving.get(above) {
            return left.as_ref().map(|to| format!("{to}{}", &path[above.len()..]));
        }
        match above.rfind('/') {
            Some(0) | None => return Some(path.to_owned()),
            Some(end) => above = &above[..end],
        }
    }
}

fn made(state: &FileState, inode: u64) -> Node {
    let xattrs = state.xattrs.iter().map(|xattr| (xattr.name.clone(), xattr.sha256.clone())).collect();
    Node {
        kind: state.r#type,
        mode: state.mode,
        uid: state.uid,
        gid: state.gid,
        size: if is_sized(state.r#type) { state.size } else { 0 },
        sha256: state.sha256.clone(),
        target: state.link_target.clone(),
        xattrs,
        inode,
    }
}

fn is_sized(kind: i32) -> bool {
    kind == i32::from(FileType::Regular) || kind == i32::from(FileType::Symlink)
}

/// Changes what stays in its place or was moved there.
fn alter(stayed: &Tree, after: &mut Tree, named: &Named<'_>) -> Result<(), String> {
    let change = named.change();
    let (Some(old), Some(new)) = (&change.before, &change.after) else {
        return Err(format!("{} changes without a before and after", named.path));
    };
    let original = stayed.get(&named.path).ok_or(format!("{} changes and was not there", named.path))?;
    agrees(original, old).map_err(|what| format!("{} before: {what}", named.path))?;
    let new = made(new, 0);
    let is_access = |name: &str| name.starts_with("security.") || name.starts_with("system.posix_acl_");
    let node = after.get_mut(&named.path).expect("it stayed");
    let was = node.clone();
    match named.effect.kind() {
        EffectKind::FileModify => {
            (node.size, node.sha256, node.target) = (new.size, new.sha256.clone(), new.target.clone());
            node.xattrs.retain(|name, _| is_access(name));
            node.xattrs.extend(new.xattrs.clone().into_iter().filter(|(name, _)| !is_access(name)));
            // Of a change of attributes alone content was not looked at.
            if new.sha256.is_empty() && new.target.is_empty() {
                node.sha256.clone_from(&was.sha256);
                node.target.clone_from(&was.target);
            }
        }
        EffectKind::FileChmod => {
            node.mode = new.mode;
            node.xattrs.retain(|name, _| !is_access(name));
            node.xattrs.extend(new.xattrs.clone().into_iter().filter(|(name, _)| is_access(name)));
        }
        _ => (node.uid, node.gid) = (new.uid, new.gid),
    }
    if *node == was {
        Err(format!("{}: an effect that changes nothing: {:?}", named.path, named.effect))
    } else {
        Ok(())
    }
}

/// A state says nothing untrue of a node. Digests, links and attributes may be left unsaid.
fn agrees(node: &Node, state: &FileState) -> Result<(), String> {
    let told = made(state, node.inode);
    let is_same = (told.kind, told.mode, told.uid, told.gid) == (node.kind, node.mode, node.uid, node.gid)
        && told.size == node.size
        && (told.sha256.is_empty() || told.sha256 == node.sha256)
        && (told.target.is_empty() || told.target == node.target)
        && (told.xattrs.is_empty() || told.xattrs == node.xattrs);
    if is_same { Ok(()) } else { Err(format!("told {told:?}, found {node:?}")) }
}
