//! Filters of system calls (seccomp(2)) as trees: the kernel tries a new filter with every number there is,
//! and the command waits for that.

use std::collections::BTreeMap;

use seccompiler::sock_filter;

/// Calls of the x32 interface have the architecture of x86-64 but other numbers, which no rule matches.
const X32: u32 = 0x4000_0000;
/// Offset of the number in `struct seccomp_data`, and of the first argument, whose lower half goes first
/// where this runs.
const NUMBER: u32 = 0;
const ARGUMENTS: u32 = 16;

/// A question about half of an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Test {
    offset: u32,
    mask: u32,
    comparison: u32,
    value: u32,
    /// What the comparison must say.
    is: bool,
}

impl Test {
    fn new(argument: u32, comparison: u32, value: u32, is: bool) -> Self {
        Self { offset: ARGUMENTS + 8 * argument, mask: u32::MAX, comparison, value, is }
    }

    pub(super) fn is(argument: u32, value: u32) -> Self {
        Self::new(argument, libc::BPF_JEQ, value, true)
    }

    pub(super) fn is_not(argument: u32, value: u32) -> Self {
        Self::new(argument, libc::BPF_JEQ, value, false)
    }

    /// Of an argument that the kernel takes as a signed number.
    pub(super) fn is_negative(argument: u32) -> Self {
        Self::new(argument, libc::BPF_JGE, 1 << 31, true)
    }

    pub(super) fn is_positive(argument: u32) -> [Self; 2] {
        [Self::new(argument, libc::BPF_JGE, 1 << 31, false), Self::is_not(argument, 0)]
    }

    /// Are the bits of the mask these?
    pub(super) fn has(argument: u32, mask: u32, value: u32) -> Self {
        Self { mask, ..Self::is(argument, value) }
    }

    /// The other half, which only a pointer or a size has.
    pub(super) fn upper(self) -> Self {
        Self { offset: self.offset + 4, ..self }
    }
}

/// What becomes of a call of which everything is so.
#[derive(Debug, Clone)]
struct Rule {
    tests: Vec<Test>,
    action: u32,
}

/// The first rule of a call that fits counts; what none is about is allowed.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<u32, Vec<Rule>>);

impl Rules {
    pub(super) fn add(&mut self, call: libc::c_long, tests: impl Into<Vec<Test>>, action: u32) {
        let number = u32::try_from(call).expect("a system call has a small number");
        self.0.entry(number).or_default().push(Rule { tests: tests.into(), action });
    }

    /// The whole program; `x32` is what becomes of the calls of that interface. Numbers of other
    /// architectures are for a filter beside this one.
    pub(super) fn program(&self, x32: u32) -> Vec<sock_filter> {
        let bodies: Vec<_> = self.0.iter().map(|(number, rules)| (*number, body(rules))).collect();
        let mut program = vec![load(NUMBER)];
        if cfg!(target_arch = "x86_64") {
            program.extend([jump(libc::BPF_JGE, X32, 0, 1), end(x32)]);
        }
        program.extend(tree(&bodies));
        program
    }
}

/// Finds a call by halves.
fn tree(bodies: &[(u32, Vec<sock_filter>)]) -> Vec<sock_filter> {
    let [first, .., _] = bodies else {
        let Some((number, body)) = bodies.first() else { return vec![end(libc::SECCOMP_RET_ALLOW)] };
        let no = [jump(libc::BPF_JEQ, *number, 1, 0), end(libc::SECCOMP_RET_ALLOW)];
        return no.into_iter().chain(body.iter().cloned()).collect();
    };
    let (lower, upper) = bodies.split_at(bodies.len() / 2);
    let least = upper.first().map_or(first.0, |(number, _)| *number);
    let lower = tree(lower);
    // Conditional jumps are short ones.
    let choice = match u8::try_from(lower.len()) {
        Ok(length) => vec![jump(libc::BPF_JGE, least, length, 0)],
        Err(_) => {
            let skip = statement(libc::BPF_JMP | libc::BPF_JA, lower.len() as u32);
            vec![jump(libc::BPF_JGE, least, 0, 1), skip]
        }
    };
    choice.into_iter().chain(lower).chain(tree(upper)).collect()
}

fn body(rules: &[Rule]) -> Vec<sock_filter> {
    let mut program = Vec::new();
    for rule in rules {
        let mut tests: Vec<Vec<sock_filter>> = Vec::new();
        // Where a test fails everything up to the end of the rule is left out.
        let mut behind = 1_u8;
        for test in rule.tests.iter().rev() {
            let (yes, no) = if test.is { (0, behind) } else { (behind, 0) };
            let mut one = vec![load(test.offset)];
            if test.mask != u32::MAX {
                one.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, test.mask));
            }
            one.push(jump(test.comparison, test.value, yes, no));
            behind += one.len() as u8;
            tests.push(one);
        }
        program.extend(tests.into_iter().rev().flatten());
        program.push(end(rule.action));
        if rule.tests.is_empty() {
            return program;
        }
    }
    program.push(end(libc::SECCOMP_RET_ALLOW));
    program
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn end(action: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(comparison: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | comparison | libc::BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program says of a call (the kernel's bpf_prog_run, as far as it is used here).
    fn run(program: &[sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let one = &program[at];
            at += 1;
            let code = u32::from(one.code);
            let jump = |is: bool| usize::from(if is { one.jt } else { one.jf });
            match code & 0x07 {
                libc::BPF_LD if one.k == NUMBER => word = number,
                libc::BPF_LD => {
                    let from = (one.k - ARGUMENTS) as usize;
                    let half = arguments[from / 8] >> (8 * (from % 8));
                    word = (half & u64::from(u32::MAX)) as u32;
                }
                libc::BPF_ALU => word &= one.k,
                libc::BPF_RET => return one.k,
                _ => match code & 0xf0 {
                    libc::BPF_JA => at += one.k as usize,
                    libc::BPF_JEQ => at += jump(word == one.k),
                    _ => at += jump(word >= one.k),
                },
            }
        }
    }

    #[test]
    fn a_tree_says_what_its_rules_say() {
        const NO: u32 = libc::SECCOMP_RET_ERRNO | 1;
        const ASK: u32 = libc::SECCOMP_RET_USER_NOTIF;
        const YES: u32 = libc::SECCOMP_RET_ALLOW;
        let mut rules = Rules::default();
        (0..300).filter(|number| number % 3 == 0).for_each(|number| rules.add(number, [], NO));
        rules.add(400, [Test::has(0, 0xf0, 0x10), Test::is_not(1, 7)], NO);
        rules.add(400, [Test::is(2, 5)], ASK);
        rules.add(401, Test::is_positive(0), ASK);
        rules.add(401, [Test::is_negative(1)], NO);
        rules.add(402, [Test::is_not(4, 0).upper()], ASK);
        let program = rules.program(ASK);
        assert!(program.len() < 4_096, "{}", program.len());
        for number in 0..500 {
            let refused = if number < 300 && number % 3 == 0 { NO } else { YES };
            assert_eq!(run(&program, number, [0; 6]), refused, "{number}");
        }
        for (number, arguments, expected) in [
            (400, [0x1f, 6, 5, 0, 0, 0], NO),
            (400, [0x1f, 7, 5, 0, 0, 0], ASK),
            (400, [0x2f, 6, 4, 0, 0, 0], YES),
            (401, [1, 0, 0, 0, 0, 0], ASK),
            (401, [0xffff_ffff, 0, 0, 0, 0, 0], YES),
            (401, [0, 0x8000_0000, 0, 0, 0, 0], NO),
            (402, [0, 0, 0, 0, 1 << 40, 0], ASK),
            (402, [0, 0, 0, 0, 1, 0], YES),
        ] {
            assert_eq!(run(&program, number, arguments), expected, "{number} {arguments:x?}");
        }
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(&program, X32 | 1, [0; 6]), ASK);
        }
    }
}
