//! Commands of the tests: previewed by a daemon, some of them this program itself within the view.

use std::path::Path;

use cmdop_contract::v1::{ObservedEffect, Permit, Report, Stage};
use serde_json::{Value, json};

use super::host::Host;

/// A preview of a line for bash.
pub fn line(host: &Host, call: &str, line: &str) -> Permit {
    with(host, call, json!({"command": line}))
}

/// A preview with these arguments, in the host's tree.
pub fn with(host: &Host, call: &str, mut arguments: Value) -> Permit {
    let given = arguments.as_object_mut().expect("an object");
    given.entry("cwd").or_insert_with(|| json!(host.tree));
    given.entry("timeout_s").or_insert_with(|| json!(20));
    host.permit(call, Stage::Preview, "terminal.exec", &arguments)
}

/// A preview of one of this program's own helpers.
pub fn helper(host: &Host, call: &str, name: &str) -> Permit {
    let program = std::env::current_exe().expect("this program");
    with(host, call, json!({"argv": [program, "--case", name, host.directory]}))
}

/// The tool's result.
pub fn told(report: &Report) -> Value {
    let result = report.result.as_ref().unwrap_or_else(|| panic!("no result: {report:?}"));
    serde_json::from_str(&result.result_json).expect("a result is JSON")
}

/// Standard output.
pub fn stdout(report: &Report) -> String {
    told(report)["stdout"].as_str().expect("text").to_owned()
}

pub fn effects(report: &Report) -> &[ObservedEffect] {
    &report.observation.as_ref().expect("an observation").effects
}

/// What the host's confinement refused, with how often.
pub fn attempted(report: &Report) -> std::collections::BTreeMap<String, u64> {
    let attempts = &report.observation.as_ref().expect("an observation").attempts;
    let mut counts = std::collections::BTreeMap::new();
    for attempt in attempts {
        *counts.entry(attempt.what.clone()).or_default() += attempt.count;
    }
    counts
}

/// All of these were tried, and are told.
pub fn assert_attempted<'a>(report: &Report, expected: impl IntoIterator<Item = &'a str>) {
    let told = attempted(report);
    let missing: Vec<_> = expected.into_iter().filter(|what| !told.contains_key(*what)).collect();
    assert!(missing.is_empty(), "not told: {missing:?} of {told:?}\n{report:?}");
}

/// Every effect as kind and target.
pub fn seen(report: &Report) -> Vec<String> {
    effects(report).iter().map(|effect| format!("{:?} {}", effect.kind(), effect.target)).collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// No layer is left on disk.
pub fn assert_no_layer(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory.join("state/layers")).expect("layers").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
