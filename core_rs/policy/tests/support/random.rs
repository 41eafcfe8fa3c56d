//! Random bash scripts: by a grammar, then with some characters changed.

/// A small generator (xorshift64*), so that a seed means the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// A script whose programs are called `c0` to `c9`. It holds no `/`.
pub fn script(random: &mut Random) -> String {
    let mut text = random
        .pick(&["w=c3 v='*'; set -- a; ", "v=c1 w=b; ", "v='a b' w=c2; set -- p 'q r'; ", "v= w=*; set --; "])
        .to_owned();
    for _ in 0..1 + random.below(3) {
        text = closed(text + &list(random, 0));
    }
    if random.below(5) == 0 {
        for _ in 0..1 + random.below(3) {
            mutate(random, &mut text);
        }
    }
    text
}

/// Removes, doubles, adds or swaps a character.
pub fn mutate(random: &mut Random, text: &mut String) {
    let characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return;
    }
    let at = random.below(characters.len());
    let mut changed = characters.clone();
    match random.below(4) {
        0 => drop(changed.remove(at)),
        1 => changed.insert(at, characters[random.below(characters.len())]),
        2 => changed.insert(
            at,
            random
                .pick(&[
                    "'", "\"", "\\", "`", "$", "(", ")", "{", "}", "[", "]", ";", "&", "|", "<", ">", "#", "!", "*",
                    "~", "=", " ", "\n", "$(", "<<", "${",
                ])
                .chars()
                .next()
                .unwrap_or(' '),
        ),
        _ => {
            let other = random.below(characters.len());
            changed.swap(at, other);
        }
    }
    *text = changed.into_iter().collect();
}

/// Ends a list, so that another may follow.
fn closed(text: String) -> String {
    if text.ends_with(['\n', '&', ' ']) { text } else { text + "; " }
}

fn list(random: &mut Random, depth: usize) -> String {
    let mut text = command(random, depth);
    for _ in 0..random.below(3 - depth.min(2)) {
        if text.ends_with('\n') {
            text += &command(random, depth);
            continue;
        }
        text += random.pick(&[" && ", " || ", "; ", " | ", " |& ", "\n", " & "]);
        text += &command(random, depth);
    }
    text
}

fn command(random: &mut Random, depth: usize) -> String {
    if depth >= 2 || random.below(4) > 0 {
        return simple(random, depth);
    }
    let plain = simple(random, depth + 1);
    let inner = closed(list(random, depth + 1));
    let other = closed(list(random, depth + 1));
    let word = word(random, depth + 1);
    match random.below(16) {
        0 => format!("( {inner} )"),
        1 => format!("{{ {inner}}}"),
        2 => format!("if {inner}then {other}fi"),
        3 => format!("if {inner}then {other}else {}fi", closed(simple(random, depth + 1))),
        4 => format!("while {inner}do {other}break; done"),
        5 => format!("until {inner}do {other}break; done"),
        6 => format!("for v in {word} {}; do {inner}done", self::word(random, depth + 1)),
        7 => format!("case {word} in a|b) {inner}\n;; *) {other}\n;; esac"),
        8 => format!("f() {{ {inner}}}; f {word}"),
        9 => format!("f() {{ local v={word}; {inner}return; {other}}}; f a; c1 $v"),
        10 => format!("[[ -n {word} && a == b ]] || {plain}"),
        11 => format!("! {plain}"),
        12 => format!("{} <<E\n{} $v\nE\n", name(random), substitution(random, depth + 1)),
        13 => format!("{} <<'E'\n$(c1)\nE\n", name(random)),
        14 => format!("(( 1 + {} ))  || {plain}", random.below(9)),
        _ => format!("time {plain}"),
    }
}

fn simple(random: &mut Random, depth: usize) -> String {
    match random.below(44) {
        24 => format!("declare v={}; {} \"$v\"", word(random, depth), name(random)),
        25 => format!("readonly w=c7; w={}; $w", word(random, depth)),
        26 => format!("set -e; cd missing; {} a; set +e", name(random)),
        27 => format!("v=3; (( v++ )); {} $v $((v))", name(random)),
        28 => format!("for ((i=0; i<2; i++)); do {} $i x$i; done", name(random)),
        29 => format!("printf -v v '%s' {}; {} \"$v\"", word(random, depth), name(random)),
        30 => format!("v=4; [[ $v -eq 4 ]] && {} $v", name(random)),
        31 => format!("case a in a) {};& b) {};;& *) {};; esac", name(random), name(random), name(random)),
        32 => format!("pushd sub && {} && popd; {}", name(random), name(random)),
        33 => format!("cd sub; cd -; {}", name(random)),
        34 => format!(
            "for i in 1 2; do for j in a b; do {} $i$j; {}; done; done; c0 $i",
            name(random),
            random.pick(&["break 2", "break", "continue", "continue 2", "c1 && break", "(break)"])
        ),
        35 => format!("unset v; {} ${{v:=b}}; c3 $v", name(random)),
        36 => format!("v=banana; {} ${{v/a/o}} ${{v:1:2}} ${{v^}}", name(random)),
        37 => format!("v=(a 'b c'); {} \"${{v[1]}}\" ${{v[0]}} \"${{v[*]}}\" ${{#v[@]}}", name(random)),
        38 => format!("IFS=: read -r v <<< a:b; {} x", name(random)),
        39 => format!("eval \"eval '{} \\$v'\"", name(random)),
        40 => format!(
            "f() {{ {} \"$#\" \"$2\"; shift; {} \"$@\"; }}; f {} {}",
            name(random),
            name(random),
            word(random, depth),
            word(random, depth)
        ),
        41 => format!("g() {{ {} && return 1; {}; }}; g || {}", name(random), name(random), name(random)),
        42 => format!("v=a; v+={}; {} \"$v\"", word(random, depth), name(random)),
        43 => format!("{{ cd sub; {}; }} > out; {}", name(random), name(random)),
        22 => format!("{} a\\\nb", name(random).replace("$'", "'")),

        0 => format!("v={}", word(random, depth)),
        1 => format!("v={} {} $v", word(random, depth), name(random)),
        2 => format!("eval '{} $v' {}", name(random), random.pick(&["a", "\\;", "\\$v", "'x y'"])),
        3 => format!("cd {}", random.pick(&["sub", ".", "..", "missing", "\"$v\"", "sub && c3"])),
        4 => random
            .pick(&[
                "exit",
                "return",
                "break",
                "continue",
                "set -e",
                "shift",
                "unset v",
                "unset -f f",
                "set +e",
                "true",
                "false",
                ":",
            ])
            .to_owned(),
        5 => format!("set -- {} {}", word(random, depth), word(random, depth)),
        6 => format!("{} $1 \"$@\" $*", name(random)),
        7 => format!("export v={}; {} $v", word(random, depth), name(random)),
        8 => format!("echo {} | {}", word(random, depth), name(random)),
        9 => format!("command {} {}", name(random), word(random, depth)),
        10 => format!("v=$(echo {}); $v", name(random)),
        11 => format!("v={}; $v {}", name(random), word(random, depth)),
        12 => format!("f() {}", random.pick(&["{ c4 \"$1\"; }", "( c5; cd sub; c6 )", "{ c7 && return; c8; }"])),
        13 => "f a".to_owned(),
        14 => format!("v=({} {}); {} \"${{v[@]}}\"", word(random, depth), word(random, depth), name(random)),
        _ => {
            let mut text = name(random);
            for _ in 0..random.below(4) {
                text += " ";
                text += &word(random, depth);
            }
            if random.below(6) == 0 {
                text += random.pick(&[" > out", " 2>&1", " < in", " >> out", " <<< $v", " &> out", " >&2", " 2>&-"]);
            }
            text
        }
    }
}

fn name(random: &mut Random) -> String {
    let digit = random.below(10);
    match random.below(12) {
        0 => format!("'c{digit}'"),
        1 => format!("c\"{digit}\""),
        2 => format!("\\c{digit}"),
        3 => format!("$'c{digit}'"),
        4 => format!("${{w:-c{digit}}}"),
        5 => format!("c{{{digit},x}}"),
        _ => format!("c{digit}"),
    }
}

fn word(random: &mut Random, depth: usize) -> String {
    if depth < 2 && random.below(6) == 0 {
        return substitution(random, depth);
    }
    match random.below(22) {
        0 => "$v".to_owned(),
        1 => "\"$v\"".to_owned(),
        2 => "${v}x".to_owned(),
        3 => format!("\"a {}\"", if depth < 2 { substitution(random, depth + 1) } else { "b".to_owned() }),
        4 => "'$(c1) \"'".to_owned(),
        5 => "{a,b{1..3}}".to_owned(),
        6 => "*.x".to_owned(),
        7 => "[ab]".to_owned(),
        8 => "a\\ b".to_owned(),
        9 => "$((1+2))".to_owned(),
        10 => format!("${{v:-{}}}", if depth < 2 { substitution(random, depth + 1) } else { "d".to_owned() }),
        11 => "${v:+x}".to_owned(),
        12 => "${v%b}".to_owned(),
        13 => "${#v}".to_owned(),
        14 => "$'a\\tb'".to_owned(),
        15 => "\"\"".to_owned(),
        16 => "#x".to_owned(),
        17 => "\"${v#*a}\"".to_owned(),
        _ => random.pick(&["a", "b", "ab", "x=y", "-n", "a.b", "'it'\\''s'", "\"q 'q'\"", "$1", "!", "a"]).to_owned(),
    }
}

fn substitution(random: &mut Random, depth: usize) -> String {
    let inner = if depth < 2 { list(random, depth + 1) } else { simple(random, depth) };
    match random.below(6) {
        0 if !inner.contains(['`', '\\']) => format!("`{inner}`"),
        1 => format!("\"$({inner})\""),
        2 => format!("<({inner})"),
        _ => format!("$({inner})"),
    }
}
