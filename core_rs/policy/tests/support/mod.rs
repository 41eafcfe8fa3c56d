//! What a command resolves to, written so that a table can hold it.

#![allow(dead_code)]

pub mod random;

use std::collections::BTreeMap;

use cmdop_contract::effect::kind_name;
use cmdop_policy::shell::{Resolution, ShellContext, resolve};

/// Resolves in `/w` with home `/home/u` and no variables.
pub fn resolved(command: &str) -> Resolution {
    let env = BTreeMap::new();
    let ctx = ShellContext { cwd: "/w", home: "/home/u", env: &env };
    resolve(command, &ctx).unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Invocations and effects, one each, joined by ` | `. A reason is `!` at the end.
///
/// `?` before an invocation: uncertain. `@dir`: another directory than `/w`. `<text>`: known
/// standard input, `<?>` unknown. A pattern word stands in braces.
pub fn told(command: &str) -> String {
    let found = resolved(command);
    let mut parts: Vec<String> = found.invocations.iter().map(invocation).collect();
    for effect in &found.effects {
        let uncertain = if effect.certain { "" } else { "?" };
        parts.push(format!("{uncertain}{}:{}", kind_name(effect.kind()), effect.target));
    }
    if !found.unanalysable.is_empty() {
        parts.push("!".to_owned());
    }
    parts.join(" | ")
}

fn invocation(invocation: &cmdop_contract::v1::Invocation) -> String {
    let mut out = String::new();
    if !invocation.certain {
        out.push('?');
    }
    for (name, value) in &invocation.env {
        out.push_str(&format!("{name}={value} "));
    }
    let words = invocation.argv.iter().enumerate().map(|(index, word)| {
        if invocation.globbed.contains(&(index as u32)) { format!("{{{word}}}") } else { word.clone() }
    });
    out.push_str(&words.collect::<Vec<_>>().join(" "));
    match invocation.cwd.as_str() {
        "/w" => {}
        "" => out.push_str(" @?"),
        other => out.push_str(&format!(" @{other}")),
    }
    if let Some(stdin) = &invocation.stdin {
        out.push_str(&format!(" <{}>", stdin.replace('\n', "\\n")));
    }
    if invocation.stdin_unknown {
        out.push_str(" <?>");
    }
    out
}

/// Compares every row and reports all that differ at once.
pub fn table(rows: &[(&str, &str)]) {
    let differing: Vec<String> = rows
        .iter()
        .filter_map(|(command, expected)| {
            let told = told(command);
            (told != *expected).then(|| format!("{command}\n    told     {told}\n    expected {expected}"))
        })
        .collect();
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}

/// Every command must be held: malformed, or unanalysable.
pub fn held(commands: &[&str]) {
    let env = BTreeMap::new();
    let ctx = ShellContext { cwd: "/w", home: "/home/u", env: &env };
    let passed: Vec<&str> = commands
        .iter()
        .copied()
        .filter(|command| resolve(command, &ctx).is_ok_and(|found| found.unanalysable.is_empty()))
        .collect();
    assert!(passed.is_empty(), "not held: {passed:#?}");
}
