//! Whatever the text, resolving it neither panics nor takes long, and says the same on any machine.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cmdop_policy::shell::{Malformed, Resolution, ShellContext, resolve};
use proptest::prelude::*;
use support::random::{Random, mutate, script};

/// What is bounded is the work. This only tells it from a hang, in a debug build on a loaded machine.
const BOUND: Duration = Duration::from_secs(60);

const SEEDS: &[&str] = &[
    "git commit -m \"$(cat <<'EOF'\nit's a message\nEOF\n)\"",
    "for f in *.log; do [ -f \"$f\" ] && rm -- \"$f\"; done",
    "cat <<E | sh -c \"$x\"\n$(rm x) `y`\nE",
    "x=${a[$(b)]:-${c#*/}} y=$((1 + ${#d})) z=$'\\x41\\n' cmd {a,b{1..3}} <(p) >(q) 2>&1 &> out",
    "case $1 in -h|--help) usage;; *) f \"$@\";; esac; f() { local v=$1; return; }",
    "[[ -v a && ( $b == c* || $d -eq 1 ) ]] && ((i++)) || until x; do y; done &",
    "set -euo pipefail; trap - EXIT; eval \"$cmd\"; declare -A m=([a]=b); read -r x <<< \"$y\"",
];

/// Resolves, and fails on a defect: one that a caught panic would hide.
fn survive(command: &str) -> Result<(), TestCaseError> {
    let started = Instant::now();
    let resolved = answer(command);
    prop_assert!(started.elapsed() < BOUND, "too slow: {command:?}");
    let reasons = resolved.map(|found| found.unanalysable).unwrap_or_default();
    let defect = reasons.iter().find(|why| why.starts_with("the analysis"));
    prop_assert!(defect.is_none(), "{defect:?}: {command:?}");
    Ok(())
}

/// Text that would take a parser or the walk minutes, or for ever, if nobody counted.
fn hostile() -> Vec<String> {
    let nested = |open: &str, body: &str, close: &str, depth: usize| {
        format!("{}{body}{}", open.repeat(depth), close.repeat(depth))
    };
    // Guards take the lines between the apostrophes for quoted.
    let hidden = |text: String| format!("# it's\n{text}\n# it's\n");
    let long = format!("x={}; ", "a".repeat(30_000));
    vec![
        "a ".repeat(500_000),
        "$(".repeat(10_000),
        "( ".repeat(10_000),
        "word ".repeat(1_000_000),
        "a|".repeat(32_000) + "a",
        "<".repeat(64_000),
        "<<E\nE\n".repeat(10_000),
        "cat <<E\nE\n".repeat(6_000),
        nested("case x in x) ", &"a ".repeat(4_000), ";; esac", 8),
        // Arguments, not ends: for the parser that backtracks, hundreds of these are within one another.
        (nested("case x in x) ", "a", " esac", 10) + ";").repeat(300),
        nested("( ", &("a ".repeat(4_000) + ";"), " )", 9),
        hidden(nested("case x in x) ", "a", ";; esac", 18)),
        hidden(nested("( ", "a;", " )", 18)),
        hidden(format!("echo {},", "{".repeat(50_000))),
        hidden(format!("echo {}", "{a,b}".repeat(10_000))),
        long.clone() + "echo " + &"$x ".repeat(10_000),
        long.clone() + "echo " + &"$x".repeat(15_000),
        long.clone() + &"y=${x#*b*c};".repeat(2_000),
        long + "for i in {1..60}; do for j in {1..60}; do echo $x $x $x; done; done",
        (0..4_000).map(|at| format!("v{at}=1;")).collect(),
        "e='eval \"$e\"; eval \"$e\"'; eval \"$e\"".to_owned(),
        format!("e='{}'; {}", "a b c;".repeat(5_000), "eval \"$e\";".repeat(2_000)),
        "(".repeat(9)
            + &"b='c+c+c+c+c+c+c+c';c='d+d+d+d+d+d+d+d';d='e+e+e+e';e='b+b+b';".repeat(9)
            + "((b))"
            + &")".repeat(9),
    ]
}

#[test]
fn what_would_take_for_ever_is_answered_and_never_called_harmless() {
    for command in hostile() {
        survive(&command).unwrap_or_else(|error| panic!("{error}"));
        let whole = answer(&command).is_ok_and(|found| found.unanalysable.is_empty());
        assert!(!whole, "{} bytes pass as analysed: {:.80}", command.len(), command);
    }
}

#[test]
fn what_is_only_long_is_analysed() {
    for command in ["pushd /a;".repeat(7_000), "a=b ".repeat(16_000), format!("echo {}", "word ".repeat(12_000))] {
        survive(&command).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(answer(&command).map(|found| found.unanalysable), Ok(Vec::new()), "{:.80}", command);
    }
}

#[test]
fn what_costs_too_much_says_so() {
    for (command, why) in [
        ("<<E\nE\n".repeat(10_000), "it takes too much work to parse"),
        ("case x in x) ".repeat(8) + &"a ".repeat(4_000) + &";; esac".repeat(8), "it takes too much work to parse"),
        (
            format!("x={}; echo {}", "a".repeat(30_000), "$x ".repeat(10_000)),
            "the words of the script become too much to follow",
        ),
        (
            format!("x={}; export x; {}", "a".repeat(30_000), "a;".repeat(9_000)),
            "the script runs too many commands to follow",
        ),
    ] {
        let reasons = answer(&command).map(|found| found.unanalysable).unwrap_or_default();
        assert!(reasons.iter().any(|reason| reason == why), "{reasons:?}");
    }
}

/// A clock would see a difference here: more analyses at a time than the machine has processors.
#[test]
fn the_answer_does_not_depend_on_how_busy_the_machine_is() {
    let commands = [
        "<<E\nE\n".repeat(10_000),
        format!("x={}; {}", "a".repeat(30_000), "echo $x $x;".repeat(2_000)),
        (0..4_000).map(|at| format!("v{at}=1;")).collect(),
    ];
    let alone = commands.each_ref().map(|command| answer(command));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(commands.each_ref().map(|command| answer(command)), alone));
        }
    });
}

/// Commands of an everyday, and those that were run to see what they do.
const REAL: [&str; 2] =
    [include_str!("../../../tests/policy/everyday.txt"), include_str!("../../../tests/policy/foreseen.txt")];

/// As many as `CMDOP_MUTANTS` says, from the seed that `CMDOP_SEED` says; what fails names its number.
#[test]
fn mutants_of_everyday_commands_are_answered() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |it| it.parse().expect("a number"));
    let (mutants, seed) = (number("CMDOP_MUTANTS", 1_000_u64), number("CMDOP_SEED", 1));
    let real: Vec<&str> =
        REAL.iter().flat_map(|file| file.lines()).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let commands: Vec<&str> = real.into_iter().chain(SEEDS.iter().copied()).collect();
    let mut slowest = Duration::ZERO;
    for mutant in 0..mutants {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(mutant));
        let mut text = commands[random.below(commands.len())].to_owned();
        // Two commands that meet are where one's quote takes in the other.
        if random.below(4) == 0 {
            text.push_str([" ", "\n", ";", "|"][random.below(4)]);
            text.push_str(commands[random.below(commands.len())]);
        }
        for _ in 0..=random.below(8) {
            mutate(&mut random, &mut text);
        }
        let began = Instant::now();
        survive(&text).unwrap_or_else(|error| panic!("mutant {mutant} of seed {seed}: {error}"));
        slowest = slowest.max(began.elapsed());
        if mutant % 100_000 == 99_999 {
            println!("{} mutants answered, the slowest in {slowest:?}", mutant + 1);
        }
    }
}

fn answer(command: &str) -> Result<Resolution, Malformed> {
    let env = BTreeMap::new();
    resolve(command, &ShellContext { cwd: "/w", home: "/home/u", env: &env })
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
