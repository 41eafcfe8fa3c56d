//! A tree as the test sees it, by its own measurement.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cmdop_contract::path::escape;
use cmdop_contract::v1::FileType;
use sha2::{Digest, Sha256};

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    pub kind: i32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub sha256: String,
    pub target: String,
    /// Digest by name.
    pub xattrs: BTreeMap<String, String>,
    /// Names of one file have one number.
    pub inode: u64,
}

/// By path from the tree's top, escaped as in effects, with a slash in front.
pub type Tree = BTreeMap<String, Node>;

/// Inode, seconds and nanoseconds by path.
pub type Identities = BTreeMap<String, (u64, i64, i64)>;

/// Everything beneath a directory.
pub fn seen(top: &Path) -> Tree {
    let mut tree = Tree::new();
    each(top, &mut |name, path, metadata| {
        tree.insert(name, node(path, metadata));
    });
    tree
}

/// The same with numbers of files that only say which names are of one.
pub fn grouped(mut tree: Tree) -> Tree {
    let mut first = BTreeMap::new();
    for (number, node) in (1..).zip(tree.values_mut()) {
        node.inode = *first.entry(node.inode).or_insert(number);
    }
    tree
}

/// Who everything is: inode, and the time of the last change.
pub fn identities(top: &Path) -> Identities {
    let mut found = BTreeMap::new();
    each(top, &mut |name, _, metadata| {
        found.insert(name, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
    });
    found
}

/// Blocks that its files take.
pub fn blocks(top: &Path) -> u64 {
    let mut blocks = 0;
    each(top, &mut |_, _, metadata| blocks += if metadata.is_file() { metadata.blocks() } else { 0 });
    blocks
}

/// Xfs takes blocks ahead, also within a hole, so that they tell nothing; and in an overlay over it a directory that
/// was renamed, and back, has another time of its last change than directly.
pub fn is_xfs(tree: &Path) -> bool {
    const XFS: i64 = 0x5846_5342;
    rustix::fs::statfs(tree).expect("a file system").f_type == XFS
}

/// A preview knows which names are of one file where its overlay has an index: root's has one, but not over
/// another overlay.
pub fn keeps_links(tree: &Path) -> bool {
    const OVERLAY: i64 = 0x794c_7630;
    rustix::process::geteuid().is_root() && rustix::fs::statfs(tree).expect("a file system").f_type != OVERLAY
}

/// Paths at which two trees differ, with both sides.
pub fn differences(one: &Tree, two: &Tree) -> String {
    let paths: std::collections::BTreeSet<_> = one.keys().chain(two.keys()).collect();
    let differ = paths.into_iter().filter(|path| one.get(*path) != two.get(*path));
    differ.map(|path| format!("{path}:\n  {:?}\n  {:?}\n", one.get(path), two.get(path))).collect()
}

/// SHA-256 in hex.
pub fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn node(path: &Path, metadata: &fs::Metadata) -> Node {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileType::Regular,
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_fifo() => FileType::Fifo,
        kind if kind.is_socket() => FileType::Socket,
        other => panic!("{}: {other:?}", path.display()),
    };
    let (mut sha256, mut target) = (String::new(), String::new());
    if metadata.is_file() {
        sha256 = digest(&fs::read(path).expect("read"));
    }
    if metadata.is_symlink() {
        target = escape(fs::read_link(path).expect("read").as_os_str().as_bytes());
    }
    let size = if metadata.is_file() || metadata.is_symlink() { metadata.len() } else { 0 };
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    Node { kind: kind.into(), mode, uid, gid, size, sha256, target, xattrs: xattrs(path), inode: metadata.ino() }
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 4096];
    let size = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let size = rustix::fs::lgetxattr(path, name, &mut value).expect("an attribute that was listed");
        digest(&value[..size])
    };
    names.map(|name| (escape(name), value(name))).collect()
}

fn each(top: &Path, visit: &mut impl FnMut(String, &Path, &fs::Metadata)) {
    let mut open: Vec<PathBuf> = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("list") {
            let path = entry.expect("entry").path();
            let metadata = path.symlink_metadata().expect("stat");
            let name = path.strip_prefix(top).expect("beneath").as_os_str().as_bytes();
            visit(format!("/{}", escape(name)), &path, &metadata);
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
}
