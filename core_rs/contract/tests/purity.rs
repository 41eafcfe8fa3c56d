//! The pure crates stay pure: no runtime, network, database or Python in what they are built from, and no
//! clock, file, socket, process or thread in what they say themselves. Parsers that they are built from may
//! bring more (brush-parser a temporary directory for its own tests, Cedar a calendar); nothing here names it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde_json::Value;

const PURE: [&str; 2] = ["cmdop-contract", "cmdop-policy"];

/// Packages that do input and output.
const IMPURE: [&str; 8] = ["tokio", "mio", "pyo3", "rusqlite", "async-std", "smol", "hyper", "tonic"];

/// All that the crates may take of the standard library: an answer must not depend on the machine, so
/// there is no clock, file, socket, process, environment or thread among it. Addresses are only numbers.
const ALLOWED: [&str; 29] = [
    "std::borrow",
    "std::cell",
    "std::cmp",
    "std::collections",
    "std::convert",
    "std::error",
    "std::fmt",
    "std::hash",
    "std::hint",
    "std::iter",
    "std::marker",
    "std::mem",
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::num",
    "std::ops",
    "std::panic",
    "std::rc",
    "std::result",
    "std::slice",
    "std::str",
    "std::string",
    "std::sync::Arc",
    "std::sync::LazyLock",
    "std::sync::OnceLock",
    "std::sync::PoisonError",
    "std::sync::RwLock",
    "std::vec",
];

/// Macros and roots that reach the machine without a path of the standard library that says so.
const FORBIDDEN: [&str; 8] = ["print", "println", "eprint", "eprintln", "dbg", "extern", "core", "alloc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("crate lies in the repository")
}

/// Names of everything that the package is built from, directly or not, tests and builds left out.
fn closure<'a>(
    name: &str,
    nodes: &BTreeMap<&'a str, Vec<&'a str>>,
    names: &BTreeMap<&'a str, &'a str>,
) -> BTreeSet<&'a str> {
    let mut ids: Vec<&str> = names.iter().filter(|(_, known)| **known == name).map(|(id, _)| *id).collect();
    let mut seen: BTreeSet<&str> = ids.iter().copied().collect();
    while let Some(id) = ids.pop() {
        for dependency in nodes.get(id).into_iter().flatten() {
            if seen.insert(dependency) {
                ids.push(dependency);
            }
        }
    }
    seen.iter().filter_map(|id| names.get(id).copied()).collect()
}

fn metadata() -> Value {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

#[test]
fn nothing_that_does_input_or_output_is_built_into_the_pure_crates() {
    let metadata = metadata();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let is_normal = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let nodes: BTreeMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| {
            let dependencies = node["deps"].as_array()?.iter().filter(is_normal).filter_map(|it| it["pkg"].as_str());
            Some((node["id"].as_str()?, dependencies.collect()))
        })
        .collect();

    for pure in PURE {
        let built_from = closure(pure, &nodes, &names);
        assert!(built_from.contains("prost"), "{pure}: the dependencies were not read");
        let found: Vec<_> = IMPURE.iter().filter(|name| built_from.contains(**name)).collect();
        assert!(found.is_empty(), "{pure} is built from {found:?}");
    }
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("source folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_pure_crates_never_name_a_clock_a_file_a_socket_or_a_process() {
    for pure in PURE {
        let folder = root().join("core_rs").join(pure.trim_start_matches("cmdop-")).join("src");
        let mut files = Vec::new();
        sources(&folder, &mut files);
        assert!(files.len() > 3, "{pure}: the sources were not found");
        // Generated code names the same things by other paths; what it is generated by is in the closure.
        let own =
            |file: &&PathBuf| !file.ends_with("tests.rs") && !file.components().any(|it| it.as_os_str() == "_gen");
        for file in files.iter().filter(own) {
            let text = std::fs::read_to_string(file).expect("source is text");
            let found = impure(text.parse().expect("Rust"));
            assert!(found.is_empty(), "{} names {found:?}", file.display());
        }
    }
}

#[test]
fn what_reaches_the_machine_is_found_however_it_is_written() {
    for source in [
        "fn f() { std::fs::read(\"x\"); }",
        "use std::{fmt, fs};",
        "use std::{collections::{BTreeMap, BTreeSet}, time::{self, Instant}};",
        "use std::*;",
        "use std as other;",
        "use ::std::{self as other};",
        "extern crate std as other;",
        "use core::time::Duration;",
        "use std::sync::{Arc, Condvar};",
        "use std::net::{IpAddr, TcpStream};",
        "use std::{net::*};",
        "some_macro! { deep [ in { std :: process :: Command } ] }",
        "fn f() { println!(\"x\") }",
        "#[cfg(test)] mod tests { use std::fs; } use std::env;",
        "#[cfg(test)] mod tests; fn f() { std::thread::spawn(g); }",
    ] {
        assert!(!impure(source.parse().expect("tokens")).is_empty(), "{source}");
    }
    for source in [
        "/// Says `std::fs`.\nuse std::{fmt, net::{IpAddr, Ipv4Addr}, sync::Arc}; // std::fs",
        "fn f() -> std::fmt::Result { g(\"std::fs\") }",
        "#[cfg(test)] mod tests { use std::fs; } fn f() {}",
        "#[cfg(test)] mod tests;",
    ] {
        assert_eq!(impure(source.parse().expect("tokens")), Vec::<String>::new(), "{source}");
    }
}

/// What stands in the tokens and is not allowed: macros included, comments, texts and tests not.
fn impure(tokens: TokenStream) -> Vec<String> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < trees.len() {
        if is_for_tests(&trees[at..]) {
            // As far as the item goes.
            at += 2;
            while at < trees.len() && !ends_item(&trees[at]) {
                at += 1;
            }
        } else if trees[at].to_string() == "std" {
            let mut named = Vec::new();
            paths("std", &trees[at + 1..], &mut named);
            found.extend(named.into_iter().filter(|path| !is_allowed(path)));
        } else if let TokenTree::Group(group) = &trees[at] {
            found.extend(impure(group.stream()));
        } else if FORBIDDEN.contains(&&*trees[at].to_string()) {
            found.push(trees[at].to_string());
        }
        at += 1;
    }
    found
}

/// Every path that begins there, by the tokens after its beginning: one, or one for each that is grouped.
fn paths(beginning: &str, rest: &[TokenTree], into: &mut Vec<String>) {
    let texts: Vec<String> = rest.iter().take(3).map(ToString::to_string).collect();
    match (texts.first().map(String::as_str), texts.get(1).map(String::as_str), rest.get(2)) {
        (Some(":"), Some(":"), Some(TokenTree::Group(group))) => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            for one in inner.split(|tree| tree.to_string() == ",").filter(|one| !one.is_empty()) {
                paths(&format!("{beginning}::{}", one[0]), &one[1..], into);
            }
        }
        (Some(":"), Some(":"), Some(next)) => paths(&format!("{beginning}::{next}"), &rest[3..], into),
        _ => into.push(beginning.to_owned()),
    }
}

fn is_allowed(path: &str) -> bool {
    ALLOWED
        .iter()
        .any(|allowed| path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

/// `#[cfg(test)]` begins here.
fn is_for_tests(trees: &[TokenTree]) -> bool {
    matches!(trees, [first, TokenTree::Group(second), ..]
        if first.to_string() == "#" && second.to_string().replace(' ', "") == "[cfg(test)]")
}

fn ends_item(tree: &TokenTree) -> bool {
    matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace) || tree.to_string() == ";"
}
