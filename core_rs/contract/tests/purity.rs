//! The pure crates stay pure: no runtime, network, database or Python in what they are built from, and no
//! clock, file, socket, process or thread in what they say themselves. Parsers that they are built from may
//! bring more (brush-parser a temporary directory for its own tests, Cedar a calendar); nothing here calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PURE: [&str; 2] = ["cmdop-contract", "cmdop-policy"];

/// Packages that do input and output.
const IMPURE: [&str; 8] = ["tokio", "mio", "pyo3", "rusqlite", "async-std", "smol", "hyper", "tonic"];

/// What reads files, clocks, sockets, processes or the environment, or waits for a thread: an answer
/// must not depend on the machine. Addresses (`std::net::IpAddr`) do not.
const FORBIDDEN: [&str; 14] = [
    "std::fs",
    "std::time",
    "SystemTime",
    "Instant",
    "recv_timeout",
    "std::net::Tcp",
    "std::net::Udp",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "std::process",
    "std::env",
    "thread::",
    "include_bytes!(\"/",
];

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

/// Source without comments, and without the tests at its end.
fn spoken(text: &str) -> String {
    let own = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    own.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_pure_crates_never_name_a_clock_a_file_a_socket_or_a_process() {
    for pure in PURE {
        let folder = root().join("core_rs").join(pure.trim_start_matches("cmdop-")).join("src");
        let mut files = Vec::new();
        sources(&folder, &mut files);
        assert!(files.len() > 3, "{pure}: the sources were not found");
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            let text = spoken(&std::fs::read_to_string(file).expect("source is text"));
            let found: Vec<_> = FORBIDDEN.iter().filter(|word| text.contains(**word)).collect();
            assert!(found.is_empty(), "{} names {found:?}", file.display());
        }
    }
}
