//! Access lists (acl(5)): what is committed has those that were shown, and inherits none besides.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use cmdop_contract::digest::hex;
use cmdop_contract::v1::{ObservedEffect, Outcome, Report, Stage};
use rustix::fs::XattrFlags;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::ALL;
use super::support::host::{Host, on_runtime};
use super::support::inside::{effects, is_root};
use super::support::{commit_of, with_effects};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// Gives everything to one more user: version 2, then tag, permissions and id of each entry.
fn list() -> Vec<u8> {
    // The namespace of an ordinary user's command knows nobody else.
    let own = rustix::process::geteuid();
    let named = if own.is_root() { 1_234 } else { own.as_raw() };
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, id) in [(1_u16, u32::MAX), (2, named), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)] {
        list.extend([tag.to_le_bytes(), 7_u16.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    list
}

fn give(path: &Path, name: &str) {
    rustix::fs::setxattr(path, name, &list(), XattrFlags::empty()).expect("a file system with access lists");
}

/// Mode, group and digests of attributes, by path.
type Told = BTreeMap<String, (u32, u32, BTreeMap<String, String>)>;

/// What is beneath a directory now.
fn there(top: &Path) -> Told {
    let (mut found, mut open) = (Told::new(), vec![top.to_owned()]);
    while let Some(path) = open.pop() {
        let metadata = path.symlink_metadata().expect("stat");
        let mut names = vec![0; 4096];
        let size = rustix::fs::llistxattr(&path, &mut names).expect("attributes");
        let names = names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let value = |name: &[u8]| {
            let mut value = vec![0; 4096];
            let size = rustix::fs::lgetxattr(&path, name, &mut value).expect("an attribute");
            (String::from_utf8_lossy(name).into_owned(), hex(&Sha256::digest(&value[..size])))
        };
        let mode = metadata.mode() & 0o7777;
        found.insert(path.display().to_string(), (mode, metadata.gid(), names.map(value).collect()));
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("an entry").path()));
        }
    }
    found
}

/// What a command does whose children come before the list of their directory, and after it.
const PROGRAM: &str = "
import os, sys
given = bytes.fromhex(sys.argv[1])
def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
for top in ['new', 'old/new']:
    os.mkdir(top)
    write(top + '/secret')
    os.mkdir(top + '/sub')
    write(top + '/sub/secret')
    os.setxattr(top, 'system.posix_acl_default', given)
    write(top + '/after')
    os.mkdir(top + '/sub/after')
os.removexattr('old/new/after', 'system.posix_acl_access')
write('plain')
write('old/inherits')
write('old/bare')
os.removexattr('old/bare', 'system.posix_acl_access')
open('old/replaced', 'w').write('new')
";

/// Neither from a new directory that gets its list later, nor from where it was staged.
pub fn exact(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        let old = host.tree.join("old");
        fs::create_dir(&old).expect("directory");
        fs::write(old.join("replaced"), "old").expect("write");
        give(&old, DEFAULT);
        // Beneath it what comes is staged.
        let state = host.directory.join("state");
        fs::create_dir(&state).expect("directory");
        if is_root() {
            chown(&state, None, Some(1_234)).expect("chown");
        }
        fs::set_permissions(&state, fs::Permissions::from_mode(0o2700)).expect("chmod");
        give(&state, DEFAULT);
        let mut link = host.start();
        let before = there(&host.tree);
        let given: String = list().iter().map(|byte| format!("{byte:02x}")).collect();
        let arguments = json!({"argv": ["/usr/bin/python3", "-c", PROGRAM, given], "cwd": host.tree});
        let every = format!("{}/**", host.tree.display());
        let permit = with_effects(host.permit("call", Stage::Preview, "terminal.exec", &arguments), &ALL, &every);
        let preview = link.report_of(&permit).await;
        assert!(preview.layer_held, "{preview:?}");
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        let mut shown = before.clone();
        for effect in effects(&preview) {
            let state = effect.file.clone().and_then(|file| file.after).expect("a state");
            let lists = state.xattrs.into_iter().map(|xattr| (xattr.name, xattr.sha256)).collect();
            shown.insert(effect.target.clone(), (state.mode, state.gid, lists));
        }
        let after = there(&host.tree);
        assert_eq!(after, shown, "nothing but what was shown");
        let lists_of = |path: &str| {
            let (_, _, lists) = &after[&host.tree.join(path).display().to_string()];
            lists.keys().map(String::as_str).collect::<Vec<_>>()
        };
        for (path, lists) in [
            ("new", &[DEFAULT][..]),
            ("new/secret", &[]),
            ("new/sub", &[]),
            ("new/sub/after", &[]),
            ("new/after", &[ACCESS]),
            ("old/new", &[ACCESS, DEFAULT]),
            ("old/new/secret", &[ACCESS]),
            ("old/new/after", &[]),
            ("plain", &[]),
            ("old/inherits", &[ACCESS]),
            ("old/bare", &[]),
            ("old/replaced", &[]),
        ] {
            assert_eq!(lists_of(path), lists, "{path}, as directly");
        }
        // A tool stages in the same place.
        for (tool, arguments) in [
            ("files.write", json!({"path": host.tree.join("by-write"), "content": "new"})),
            ("files.mkdir", json!({"path": host.tree.join("by-mkdir/sub"), "parents": 1})),
            ("files.copy", json!({"from": host.tree.join("plain"), "to": host.tree.join("by-copy")})),
        ] {
            let report = link.report_of(&host.permit(tool, Stage::Apply, tool, &arguments)).await;
            assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        }
        let made = there(&host.tree);
        for path in ["by-write", "by-mkdir", "by-mkdir/sub", "by-copy"] {
            let (mode, gid, lists) = &made[&host.tree.join(path).display().to_string()];
            assert_eq!((mode & 0o2000, *gid, lists.len()), (0, rustix::process::getegid().as_raw(), 0), "{path}");
            let path = host.tree.join(path);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        let undo =
            with_effects(host.permit("undo", Stage::Preview, "files.undo", &json!({"call": "call"})), &ALL, &every);
        let preview = link.report_of(&undo).await;
        let report = link.report_of(&commit_of(undo, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        assert_eq!(there(&host.tree), before);
        link.stop().await;
    });
}

/// Before anybody agrees to it, and again before it is undone. Of a secret file only who may do what is said.
pub fn told(directory: &Path) {
    on_runtime(directory, async |mut host: Host| {
        for name in ["plain", ".env"] {
            let path = host.tree.join(name);
            fs::write(&path, name).expect("write");
            give(&path, ACCESS);
            rustix::fs::setxattr(&path, "user.t", b"yyy", XattrFlags::empty()).expect("attributes");
        }
        let mut link = host.start();
        // The one who is named may only read from now on.
        let mut given = list();
        given[4 + 8 + 2] = 4;
        let program = "
import os, sys
for name in ['plain', '.env']:
    os.setxattr(name, 'system.posix_acl_access', bytes.fromhex(sys.argv[1]))
    os.setxattr(name, 'user.t', b'zzz')
";
        let given: String = given.iter().map(|byte| format!("{byte:02x}")).collect();
        let arguments = json!({"argv": ["/usr/bin/python3", "-c", program, given], "cwd": host.tree});
        let every = format!("{}/**", host.tree.display());
        let permit = with_effects(host.permit("call", Stage::Preview, "terminal.exec", &arguments), &ALL, &every);
        let preview = link.report_of(&permit).await;
        let who = rustix::process::geteuid();
        let who = if who.is_root() { 1_234 } else { who.as_raw() };
        let list = |may: &str| format!("user::rwx,user:{who}:{may},group::rwx,mask::rwx,other::rwx");
        let (old, new) = ((list("rwx"), "\"yyy\""), (list("r--"), "\"zzz\""));
        let expected = |(list, value): &(String, &str)| {
            let of = |name: &str, value: Option<&str>| {
                let list = (ACCESS.to_owned(), Some(list.clone()));
                [(format!("{name} {}", list.0), list.1), (format!("{name} user.t"), value.map(str::to_owned))]
            };
            [of(".env", None), of("plain", Some(value))].concat().into_iter().collect::<BTreeMap<_, _>>()
        };
        let told = |preview: &Report, is_after: bool| -> BTreeMap<String, Option<String>> {
            let of = |effect: &ObservedEffect| {
                let change = effect.file.clone().expect("a change");
                let state = if is_after { change.after } else { change.before }.expect("a state");
                let name = effect.target.rsplit('/').next().expect("a name").to_owned();
                state.xattrs.into_iter().map(move |xattr| (format!("{name} {}", xattr.name), xattr.shown))
            };
            effects(preview).iter().flat_map(of).collect()
        };
        assert_eq!((told(&preview, false), told(&preview, true)), (expected(&old), expected(&new)), "{preview:?}");
        let report = link.report_of(&commit_of(permit, &preview)).await;
        assert_eq!(report.outcome(), Outcome::Applied, "{report:?}");
        let undo = host.permit("undo", Stage::Preview, "files.undo", &json!({"call": "call"}));
        let preview = link.report_of(&with_effects(undo, &ALL, &every)).await;
        assert_eq!((told(&preview, false), told(&preview, true)), (expected(&new), expected(&old)), "{preview:?}");
        link.stop().await;
    });
}
