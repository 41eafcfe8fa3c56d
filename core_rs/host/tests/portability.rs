//! What other systems are given names nothing that only Linux has: every module that a host on macOS or Windows
//! is built from is read, but for what is marked as a system's own.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Crates that a host, and a server, are built from.
const CRATES: [&str; 6] = ["contract", "policy", "ledger", "gate", "link", "host"];

/// Names of what only Linux, or only Unix, has.
const FOREIGN: [&str; 13] = [
    "rustix",
    "libc",
    "landlock",
    "seccompiler",
    "nix",
    "OwnedFd",
    "BorrowedFd",
    "RawFd",
    "AsFd",
    "AsRawFd",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
];

/// Modules of the standard library that only some systems have.
const SYSTEMS: [&str; 4] = ["unix", "linux", "windows", "fd"];

/// Places of the file system that only Linux has. Policies speak of them everywhere.
const PLACES: [&str; 4] = ["/proc", "/sys", "/dev", "/etc"];

/// Crates whose own work is with files.
const TOUCHING: [&str; 3] = ["ledger", "link", "host"];

/// Conditions under which something is not built for every system.
const OWN: [&str; 6] =
    ["unix", "windows", "not(portable)", "test", "not(unix)", "all(target_os=\"linux\",not(feature=\"portable\"))"];

/// What is left of a file for every system, and the modules that it declares.
#[derive(Default)]
struct Common {
    words: Vec<String>,
    /// A module's name, and its file if it names one.
    modules: Vec<(String, Option<String>)>,
}

impl Common {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut path = None;
        while at < tokens.len() {
            if let Some(attribute) = attribute(&tokens[at..]) {
                let text = attribute.to_string().replace([' ', '\n'], "");
                at += 2;
                if let Some(condition) = text.strip_prefix("cfg(").and_then(|rest| rest.strip_suffix(')'))
                    && OWN.contains(&condition)
                {
                    at = end_of_item(&tokens, at);
                    path = None;
                } else if let Some(file) = text.strip_prefix("path=\"") {
                    path = Some(file.trim_end_matches('"').to_owned());
                }
                continue;
            }
            if let [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(end), ..] = &tokens[at..]
                && word == "mod"
                && end.as_char() == ';'
            {
                self.modules.push((name.to_string(), path.take()));
                at += 3;
                continue;
            }
            match &tokens[at] {
                TokenTree::Group(group) => self.read(group.stream()),
                other => self.words.push(other.to_string()),
            }
            at += 1;
        }
    }
}

/// The content of an attribute at the beginning.
fn attribute(tokens: &[TokenTree]) -> Option<TokenStream> {
    match tokens {
        [TokenTree::Punct(mark), TokenTree::Group(group), ..]
            if mark.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
        {
            Some(group.stream())
        }
        _ => None,
    }
}

/// Behind the item or statement that begins here, further attributes included.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while at < tokens.len() {
        let is_end = match &tokens[at] {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(mark) => mark.as_char() == ';',
            _ => false,
        };
        at += 1;
        if is_end {
            break;
        }
    }
    at
}

/// What of a crate every system is given, file by file.
fn common(file: &Path, folder: &Path, into: &mut Vec<(PathBuf, Common)>) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut common_part = Common::default();
    common_part.read(TokenStream::from_str(&text).expect("source is tokens"));
    for (name, path) in &common_part.modules {
        let below = match path {
            // Relative to the directory of the file that says so (reference, `path` attribute).
            Some(path) => file.parent().expect("a directory").join(path),
            None => folder.join(format!("{name}.rs")),
        };
        let inside = below.with_extension("");
        common(&below, &inside, into);
    }
    into.push((file.to_owned(), common_part));
}

fn sources(name: &str) -> Vec<(PathBuf, Common)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
    let mut files = Vec::new();
    common(&folder.join("lib.rs"), &folder, &mut files);
    files
}

#[test]
fn what_every_system_is_given_names_nothing_of_one_system() {
    for name in CRATES {
        let files = sources(name);
        assert!(files.len() > 5, "{name}: the sources were not found");
        for (file, Common { words, .. }) in &files {
            let foreign: Vec<&String> = words.iter().filter(|word| FOREIGN.contains(&word.as_str())).collect();
            assert!(foreign.is_empty(), "{} names {foreign:?}", file.display());
            let is_own = |window: &&[String]| window[0] == "os" && SYSTEMS.contains(&window[3].as_str());
            let own: Vec<&[String]> = words.windows(4).filter(is_own).collect();
            assert!(own.is_empty(), "{} names {own:?}", file.display());
            let is_place = |word: &&String| PLACES.iter().any(|place| word.starts_with(&format!("\"{place}")));
            let places: Vec<&String> = words.iter().filter(is_place).collect();
            assert!(places.is_empty() || !TOUCHING.contains(&name), "{} names {places:?}", file.display());
        }
    }
}

#[test]
fn the_portable_host_is_read_and_linuxs_own_is_not() {
    let files = sources("host");
    let has = |name: &str| files.iter().any(|(file, _)| file.ends_with(name));
    for read in ["portable.rs", "portable/place.rs", "native/arguments.rs", "daemon/serve.rs", "admit/memory.rs"] {
        assert!(has(read), "{read} was not read");
    }
    for own in ["sandbox.rs", "native.rs", "daemon/machine.rs"] {
        assert!(!has(own), "{own} was read");
    }
}

#[test]
fn what_is_foreign_is_noticed_unless_it_is_marked() {
    let words = |text: &str| {
        let mut common = Common::default();
        common.read(TokenStream::from_str(text).expect("tokens"));
        common.words.contains(&"rustix".to_owned())
    };
    assert!(words("fn f() { rustix::fs::sync(); }"));
    assert!(words("#[cfg(portable)] fn f() { rustix::fs::sync(); }"));
    assert!(words("#[cfg(unix)] use a::b; use rustix::fs;"));
    assert!(!words("#[cfg(unix)] fn f() { rustix::fs::sync(); }"));
    assert!(!words("#[cfg(not(portable))] use rustix::fs; /* rustix */"));
}
