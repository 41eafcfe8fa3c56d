//! Whatever the text, resolving it neither panics nor takes long.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cmdop_policy::shell::{ShellContext, resolve};
use proptest::prelude::*;
use support::random::{Random, mutate, script};

/// The promise is half a second; a loaded machine may make a thread wait before it starts.
const BOUND: Duration = Duration::from_secs(3);

const SEEDS: &[&str] = &[
    "git commit -m \"$(cat <<'EOF'\nit's a message\nEOF\n)\"",
    "for f in *.log; do [ -f \"$f\" ] && rm -- \"$f\"; done",
    "cat <<E | sh -c \"$x\"\n$(rm x) `y`\nE",
    "x=${a[$(b)]:-${c#*/}} y=$((1 + ${#d})) z=$'\\x41\\n' cmd {a,b{1..3}} <(p) >(q) 2>&1 &> out",
    "case $1 in -h|--help) usage;; *) f \"$@\";; esac; f() { local v=$1; return; }",
    "[[ -v a && ( $b == c* || $d -eq 1 ) ]] && ((i++)) || until x; do y; done &",
    "set -euo pipefail; trap - EXIT; eval \"$cmd\"; declare -A m=([a]=b); read -r x <<< \"$y\"",
];

/// Resolves, and fails on a defect: one that a caught panic or an abandoned thread would hide.
fn survive(command: &str) -> Result<(), TestCaseError> {
    let env = BTreeMap::new();
    let ctx = ShellContext { cwd: "/w", home: "/home/u", env: &env };
    let started = Instant::now();
    let resolved = resolve(command, &ctx);
    prop_assert!(started.elapsed() < BOUND, "too slow: {command:?}");
    let reasons = resolved.map(|found| found.unanalysable).unwrap_or_default();
    let defect = reasons.iter().find(|why| why.starts_with("the analysis"));
    prop_assert!(defect.is_none(), "{defect:?}: {command:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        survive(&text)?;
    }

    #[test]
    fn any_heap_of_shell_characters_is_answered(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "$(", ")", "`", "'", "\"", "\\", "${", "}", "{", ",", "..", "((", "))", "[[", "]]", "<<", "E", "\n", "<<<",
                ";", "&", "|", "||", "&&", ">", "<", "#", "!", "*", "?", "[", "]", "~", "=", "$", "@", " ", " a ", "if ", "then ",
                "fi ", "for ", "in ", "do ", "done ", "case ", "esac ", "function ", "time ", "eval ", "x=", "$x", "é",
            ]),
            0..60,
        )
    ) {
        survive(&parts.concat())?;
    }

    #[test]
    fn mutants_of_real_commands_are_answered(seed in any::<u64>(), which in 0..SEEDS.len(), edits in 1..12usize) {
        let mut random = Random::new(seed);
        let mut text = SEEDS[which].to_owned();
        for _ in 0..edits {
            mutate(&mut random, &mut text);
        }
        survive(&text)?;
    }

    #[test]
    fn random_scripts_are_answered(seed in any::<u64>()) {
        survive(&script(&mut Random::new(seed)))?;
    }
}
