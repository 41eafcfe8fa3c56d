//! Shell resolution, by feature: what bash would run, in which directory, under which conditions.

mod support;

use support::{held, resolved, table, told};

#[test]
fn quotes_join_split_and_hide_nothing() {
    table(&[
        ("r'm' -\"r\"f \\x", "rm -rf x"),
        ("\\rm x", "rm x"),
        ("$'\\x72m' x", "rm x"),
        ("rm 'a b' \"c d\"", "rm a b c d"),
        ("echo '$(rm x)' \"\\$(rm x)\" \\$x", "echo $(rm x) $(rm x) $x"),
        ("rm ''", "rm "),
        ("rm a\\\nb", "rm ab"),
        ("rm # -rf /", "rm"),
        ("printf '%s' 'it'\\''s'", "printf %s it's"),
    ]);
}

#[test]
fn lists_and_pipelines_keep_order_and_conditions() {
    table(&[
        ("a; b && c || d", "a | b | c | ?d"),
        ("a || rm x", "a | ?rm x"),
        ("a | b |& c", "a | b <?> | c <?>"),
        ("! a && (b; c) && { d; }", "a | b | c | d"),
        ("a & b", "a | b"),
        ("time -p a", "a"),
        ("exit 0; rm x", "?rm x"),
        ("a || exit 1; rm x", "a | rm x"),
        ("if a; then b; elif c; then d; else e; fi", "a | ?b | ?c | ?d | ?e"),
        ("while a; do b; done", "a | ?b"),
        ("until a; do b; break; c; done", "a | ?b | ?c"),
        ("case $1 in a) b;; *) c;; esac", "?b | ?c"),
    ]);
    assert_eq!(resolved("sleep 9 & echo").notes.len(), 1);
}

#[test]
fn the_working_directory_is_followed_and_a_failed_change_is_possible() {
    table(&[
        ("cd /tmp && rm x", "rm x @/tmp"),
        ("cd sub && rm x", "rm x @/w/sub"),
        ("cd ../a/./b && rm x", "rm x @/a/b"),
        ("cd && rm x", "rm x @/home/u"),
        ("cd ~/a && rm x", "rm x @/home/u/a"),
        ("cd /tmp; rm x", "rm x @/tmp | ?rm x"),
        ("cd /tmp || exit; rm x", "rm x @/tmp"),
        ("cd /tmp || true; rm x", "?true | rm x @/tmp | ?rm x"),
        ("set -e; cd /tmp; rm x", "rm x @/tmp"),
        ("if cd /tmp; then rm x; fi; rm y", "?rm x @/tmp | rm y | ?rm y @/tmp"),
        ("(cd /tmp && a); rm x", "a @/tmp | rm x"),
        ("cd /tmp | a; rm x", "a <?> | rm x"),
        ("pushd /tmp && a && popd && rm x", "a @/tmp | rm x"),
        ("cd \"$(a)\" && rm x", "a | rm x @?"),
        ("cd - && rm x", "rm x @?"),
        ("f() { cd /tmp || return 1; rm x; }; f", "rm x @/tmp"),
    ]);
}

#[test]
fn variables_are_known_while_every_path_agrees() {
    table(&[
        ("x=a; rm $x", "rm a"),
        ("x='a b'; rm $x \"$x\"", "rm a b a b"),
        ("x='*'; rm $x \"$x\"", "rm {*} *"),
        ("x=a; x+=b; rm ${x}c", "rm abc"),
        ("rm $HOME/x", "rm /home/u/x"),
        ("X=1 cmd $X", "?X=1 cmd {**} | !"),
        ("X=0; X=1 cmd $X; cmd $X", "X=1 cmd 0 | cmd 0"),
        ("export A=b; cmd", "A=b cmd"),
        ("A=b; export A; cmd; unset A; cmd", "A=b cmd | cmd"),
        ("a && x=1 || x=b; rm $x", "a | ?rm {**} | !"),
        ("(x=b); rm $x", "?rm {**} | !"),
        ("x=b; (x=c); rm $x", "rm b"),
        ("unset x; rm a$x", "rm a"),
        ("x=a.tar.gz; rm ${x%.gz} ${x%%.*} ${x#a.} ${x##*.}", "rm a.tar a tar.gz gz"),
        ("unset x; rm ${x:-d} ${x+no}", "rm d"),
        ("x=a; rm ${x:-d} ${x:+e} ${#x}", "rm a e {*}"),
        ("readonly x=a; x=b; rm $x", "?rm {**} | !"),
        ("local_() { local x=b; rm $x; }; x=a; local_; rm $x", "rm b | rm a"),
        ("set -- a b; rm $1 \"$@\"; shift; rm $*", "rm a a b | rm b"),
        ("a=(b 'c d'); rm \"${a[@]}\" ${a[0]} $a", "rm b c d b b"),
        ("read x; rm $x", "?rm {**} | !"),
        ("echo $UNKNOWN $(date)", "date | ?echo {**} {**}"),
    ]);
}

#[test]
fn braces_tildes_and_globs_become_words_or_regions() {
    table(&[
        ("rm {a,b}.txt", "rm a.txt b.txt"),
        ("rm f{1..3}", "rm f1 f2 f3"),
        ("rm '{a,b}' {a} \"{a,b}\"", "rm {a,b} {a} {a,b}"),
        ("rm ~/x ~ '~' a~ --dir=~/x dir=~/x", "rm /home/u/x /home/u ~ a~ --dir=~/x dir=/home/u/x"),
        ("rm ~root/x", "?rm {**} | !"),
        ("rm *.log 'a*' a\\?", "rm {*.log} a* a?"),
        ("rm [ab].txt [x", "rm {*.txt} [x"),
        ("rm */[!a]*/c**", "rm {*/*/c*}"),
        ("x=/srv; rm -rf \"$x\"/*", "rm -rf {/srv/*}"),
        ("for f in *.log; do rm \"$f\" \"$f.gz\"; done", "?rm {*.log} {*.log.gz}"),
        ("for f in *.log; do rm $f; done", "?rm {**} | !"),
    ]);
}

#[test]
fn loops_settle_on_what_every_round_shares() {
    table(&[
        ("for f in a b; do rm $f; done; rm $f", "rm a | rm b | rm b"),
        ("for i in {1..500}; do touch f$i; done", "?touch {f*}"),
        ("x=1; while [ $x -lt 3 ]; do touch f$x; x=$((x+1)); done", "[ {*} -lt 3 ] | ?touch {f*}"),
        ("for ((i=0; i<3; i++)); do touch f$i; done", "?touch {f*}"),
        ("x=a; while c; do rm $x; x=b; done", "c | ?rm {**} | !"),
        ("while c; do cd sub; done; rm x", "c @? | rm x @?"),
        ("for f in a b; do a && break; cd /tmp; done; rm x", "a | a @/tmp | ?a | rm x @/tmp | ?rm x"),
    ]);
}

#[test]
fn functions_and_eval_resolve_to_what_they_run() {
    table(&[
        ("f() { rm \"$1\"; }; f a; f b", "rm a | rm b"),
        ("function ls { rm x; }; ls", "rm x"),
        ("cd() { rm x; }; cd /tmp", "rm x"),
        ("a && f() { rm x; }; f", "a | ?rm x | ?f"),
        ("ls() { command ls \"$@\"; }; ls -l", "ls -l"),
        ("ls() { rm x; }; unset -f ls; ls", "ls"),
        ("eval 'rm' \"x y\"", "rm x y"),
        ("x='rm -rf y'; eval $x; $x", "rm -rf y | rm -rf y"),
        ("eval cd /tmp && rm x", "rm x @/tmp"),
        ("command -p rm x; command -v rm; builtin echo a", "rm x | echo a"),
        ("exec rm x; ls", "rm x | ?ls"),
        ("f() { f; }; f", "!"),
    ]);
}

#[test]
fn what_the_oracle_found_stays_found() {
    table(&[
        ("export v={a,b}; c $v", "v=b c b"),
        ("set --; rm \"$@\" x", "rm x"),
        ("v='a b'; export w=${v:-x}; c \"$w\"", "w=a b c a b"),
        ("for i in 1 2; do a && break; done; rm $i", "a | a | rm {*}"),
        ("for i in 1 2; do for j in x; do a; break 2; done; done; rm $i", "a | a | rm {*}"),
        ("f() { a; until return; do :; done; rm x; }; f", "a | ?: | rm x"),
        ("set -- a < missing; rm \"$1\"", "?rm {**} | file.read:/w/missing | !"),
    ]);
    held(&[
        "f() { rm \"$2\"; }; f *.x b",
        "f() { rm \"$2\"; }; f ${v:-$(a)} b",
        "v='a b'; rm $v$",
        "c {1..\"3\"}",
        "v=(a b); v=c; rm \"${v[@]}\"",
    ]);
}

#[test]
fn redirections_are_effects_with_absolute_targets() {
    table(&[
        ("a > out", "a | ?file.create:/w/out | ?file.modify:/w/out"),
        ("cd /tmp && a >> ../out 2>&1", "a @/tmp | ?file.create:/out | ?file.modify:/out"),
        ("a < in", "a <?> | file.read:/w/in"),
        ("a > /dev/null 2>&1 < /dev/null >&2 2>&-", "a <?>"),
        ("a &> ~/x", "a | ?file.create:/home/u/x | ?file.modify:/home/u/x"),
        ("a >& x", "a | ?file.create:/w/x | ?file.modify:/w/x"),
        ("> x", "?file.create:/w/x | ?file.modify:/w/x"),
        ("{ a; b; } > 'x*'", "a | b | ?file.create:/w/x\\* | ?file.modify:/w/x\\*"),
        ("a > /dev/tcp/10.0.0.1/80", "a | net.connect:10.0.0.1:80"),
        (
            "cd /tmp; a > x",
            "a @/tmp | ?a | ?file.create:/tmp/x | ?file.modify:/tmp/x | ?file.create:/w/x | ?file.modify:/w/x",
        ),
        ("a || b < in", "a | ?b <?> | ?file.read:/w/in"),
        ("a > $(b)", "b | a | !"),
        ("a > >(rm x)", "rm x <?> | a"),
        ("exec 3> log; a >&3", "a | ?file.create:/w/log | ?file.modify:/w/log"),
    ]);
}

#[test]
fn standard_input_is_known_where_the_script_writes_it() {
    table(&[
        ("sh <<'E'\nrm $x\nE", "sh <rm $x\\n>"),
        ("x=a; sh <<E\nrm $x \"q\"\nE", "sh <rm a \"q\"\\n>"),
        ("sh <<-E\n\trm x\n\tE", "sh <rm x\\n>"),
        ("sh <<< 'rm x'", "sh <rm x\\n>"),
        ("echo rm x | sh", "echo rm x | sh <rm x\\n>"),
        ("printf '%s\\n' 'rm x' | cat | sh", "printf %s\\n rm x | cat <rm x\\n> | sh <rm x\\n>"),
        ("echo -e 'rm x' | sh", "echo -e rm x | sh <?>"),
        ("echo cm0geAo= | base64 -d | sh", "echo cm0geAo= | base64 -d <cm0geAo=\\n> | sh <?>"),
        ("{ a; sh; } <<E\nx\nE", "a <?> | sh <?>"),
        ("{ sh; } <<E\nx\nE", "sh <x\\n>"),
        ("echo() { rm x; }; echo a | sh", "rm x | sh <?>"),
        ("rm $(echo a b) \"$(printf c)\"", "echo a b | printf c | rm a b c"),
        ("cat <<E\n$(rm x)\nE", "rm x | cat <?>"),
    ]);
}

#[test]
fn substitutions_run_wherever_they_stand() {
    table(&[
        ("echo \"a $(rm x) `rm y`\"", "rm x | rm y | ?echo {**}"),
        ("x=$(rm a)", "rm a"),
        ("X=$(rm a) cmd", "rm a | cmd"),
        ("for f in $(rm a); do :; done", "rm a | ?:"),
        ("case $(rm a) in $(rm b)) :;; esac", "rm a | ?rm b | ?:"),
        ("[[ -n $(rm a) ]]", "rm a"),
        ("[[ a && -f $(rm a) ]]", "?rm a"),
        ("echo ${x:-$(rm a)}", "?rm a | ?echo {**}"),
        ("echo \"${x:-\"$(rm a)\"}\"", "?rm a | ?echo {**}"),
        ("diff <(rm a) b", "rm a <?> | diff {/dev/fd/*} b"),
        ("echo $(echo $(echo $(rm a)))", "rm a | ?echo {**} | ?echo {**} | ?echo {**}"),
        (
            "git commit -m \"$(cat <<'E'\nit's (a) message\nE\n)\"",
            "cat <it's (a) message\\n> | git commit -m it's (a) message",
        ),
    ]);
}

#[test]
fn arithmetic_and_tests_that_run_text_are_held() {
    held(&[
        "echo $((a[$(rm x)]))",
        "x='a[$(rm x)]'; echo $((x))",
        "read y; ((y))",
        "((BASH_COMMAND))",
        "((_))",
        "((Y))",
        "x='a[$(rm x)]'; ((x > 1))",
        "x='a[$(rm x)]'; let x+=1",
        "[[ $y -eq 1 ]]",
        "x='a[$(rm x)]'; [[ $x -eq 1 ]]",
        "[[ -v 'a[$(rm x)]' ]]",
        "test -v 'a[$(rm x)]'",
        "[ -v \"$y\" ]",
        "[ $y ]",
        "printf -v 'a[$(rm x)]' b",
        "printf \"$y\" 'a[$(rm x)]'",
        "unset 'a[$(rm x)]'",
        "read 'a[$(rm x)]'",
        "declare 'a[$(rm x)]=1'",
        "x='$(rm x)'; echo ${x@P}",
        "x='a[$(rm x)]'; echo ${!x}",
        "declare -i n; n=$y",
    ]);
    assert!(resolved("echo ${a[$(rm x)]}").invocations.iter().any(|found| found.argv == ["rm", "x"]));
    table(&[
        ("echo $((1 + 2)) $((RANDOM % 6))", "echo {*} {*}"),
        // The host sets five variables and no more, all in capitals.
        ("((y)); echo $((never + 1))", "echo {*}"),
        ("n=4; ((n++)); head -n $n f", "head -n {*} f"),
        ("[ -n \"$y\" ] && [ \"$y\" = a ]", "?[ -n {**} ] | ?[ {**} = a ]"),
    ]);
}

#[test]
fn what_cannot_be_known_is_held() {
    held(&[
        "$x -rf /",
        "$(echo rm | tr a b) y",
        "rm -rf $x/",
        "rm -rf \"$(mktemp -d)\"",
        "rm ~other/x",
        "eval \"$x\"",
        "source ./x.sh",
        ". x",
        "trap 'rm x' EXIT",
        "alias ls='rm x'; ls",
        "PATH=/evil:$PATH ls",
        "LD_PRELOAD=/x.so ls",
        "export BASH_ENV=/x; bash -c :",
        "IFS=/; rm $x",
        "GIT_SSH_COMMAND='rm x' git fetch",
        "PYTHONPATH=. python3 -c pass",
        "for PATH in a; do ls; done",
        "read PATH < x; ls",
        "export \"$x\"",
        "set -k; ls",
        "shopt -s extglob",
        "enable -f ./x.so x",
        "hash -p /evil ls; ls",
        "mapfile -C 'rm x' -c 1 a < f",
        "coproc rm x",
        "jobs -x rm x",
        "hash -rp /evil ls; ls",
        "wait -np 'a[$(rm x)]'",
        "printf 'ab%n' PATH",
        "printf '%-5.*ln' 'a[$(rm x)]'",
        "printf *",
        "command_not_found_handle() { rm x; }; nothing",
        "ls() { rm x; }; export -f ls; bash -c ls",
        "ls() { rm x; }; declare -fx ls; bash -c ls",
        "set -a; ls() { rm x; }; bash -c ls",
        "x='a\\*'; rm $x",
        "a > $x",
        "TMPDIR=/opt rm -rf $TMPDIR/x",
        "TMPDIR=/opt rm -rf \"${TMPDIR}/x\"",
        "unset HISTFILE",
        "RIPGREP_CONFIG_PATH=x rg y",
        "rm {a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}",
    ]);
}

#[test]
fn traps_of_the_parsers_are_held() {
    held(&[
        "cat <<E $(rm -rf /srv/db)\nE",
        "cat <<E | sh -c \"$(rm x)\"\nE",
        "echo \"$(cat <<E $(rm x)\nE\n)\"",
        "<<E$[\t\t",
        "echo $[ 1 + 1 ]",
        "echo $'a\\\nb'",
        "echo a\rb",
        "echo a\u{202e}b",
        "echo a\0b",
        "rm x; )",
        "rm x; 'unclosed",
        "( ( ( ( ( ( ( ( ( ( ( a",
        "case x in x) case x in x) a",
        "\"${x:-'$(rm x)'\"a\"}\"",
        "echo $(a <<'E'\nb\nE\nv=c6; $v x)",
        "a=(b)- rm x",
        "rm a$(b)<(c)$",
    ]);
}

#[test]
fn everyday_commands_resolve_completely() {
    for command in [
        "git status --short && git log --oneline -5 | head -3",
        "find . -name '*.py' -not -path './.venv/*' | xargs grep -n TODO | sort | uniq -c | sort -rn | head",
        "cd src && ls -la && cat main.rs | wc -l",
        "for f in src/*.rs; do wc -l \"$f\"; done",
        "if [ -f Makefile ]; then make test; else echo 'no Makefile' >&2; fi",
        "docker ps --format '{{.Names}}\\t{{.Status}}'",
        "awk '{ print $1 }' access.log | sort -u > hosts.txt",
        "tar -czf backup.tgz --exclude='*.log' data/ && ls -lh backup.tgz",
        "curl -sS http://localhost:8080/healthz | jq -r '.status'",
        "sed -n '1,20p' file.txt",
        "python3 - <<'EOF'\nimport os\nprint(os.listdir('.'))\nEOF",
        "while IFS= read -r line; do echo \"$line\"; done < file.txt",
        "set -euo pipefail\ncd /srv/app\nls",
        "test -d build || mkdir -p build",
        "echo \"exit: $?\"; date +%s; sleep 1 & wait",
        "ps aux | grep -v grep | grep nginx",
        "LC_ALL=C sort -k1,1 file | cut -d' ' -f1",
        "[[ -f a && $(wc -l < a) != 0 ]] && echo yes",
    ] {
        assert_eq!(resolved(command).unanalysable, Vec::<String>::new(), "{command}");
    }
}

#[test]
fn a_huge_or_hostile_command_is_answered_in_bounded_time() {
    let hostile = [
        "$(".repeat(10_000),
        "( ".repeat(25),
        "case x in x) ".repeat(20),
        "{a,".repeat(16),
        "a ".repeat(30_000),
        "a;".repeat(30_000),
        "a|".repeat(10_000) + "a",
        "\"".repeat(60_000),
        "${x:-".repeat(2_000),
        "x=a; ".to_owned() + &"x=$x$x; ".repeat(60) + "echo $x",
        "for i in {1..99}; do for j in {1..99}; do for k in {1..99}; do a; done; done; done".to_owned(),
        "f() { f; f; }; f".to_owned(),
        "a".repeat(1_000_000),
        "a && ".repeat(13_000) + "a",
        "! ".repeat(30_000) + "a",
        "time ".repeat(13_000) + "a",
        "[[ ".to_owned() + &"! ".repeat(30_000) + "a ]]",
        "[[ ".to_owned() + &"a && ".repeat(13_000) + "a ]]",
        "# it's\n".to_owned() + &"( ".repeat(10_000) + "a" + &" )".repeat(10_000) + " # it's",
        "# it's\n".to_owned() + &"$(".repeat(10_000) + "a" + &")".repeat(10_000) + " # it's",
        "# it's\n".to_owned() + &"{ ".repeat(5_000) + "a" + &"; }".repeat(5_000) + " # it's",
        "# it's\n".to_owned() + &"if ".repeat(3_000) + "a" + &"; then b; fi".repeat(3_000) + " # it's",
        "a <<E ".repeat(5_000),
        "f() { ".repeat(9) + "a" + &"; }".repeat(9),
    ];
    for command in hostile {
        let env = std::collections::BTreeMap::new();
        let ctx = cmdop_policy::shell::ShellContext { cwd: "/w", home: "/home/u", env: &env };
        let started = std::time::Instant::now();
        let _ = cmdop_policy::shell::resolve(&command, &ctx);
        // What is bounded is the work; this only tells it from a hang, on a loaded machine too.
        assert!(started.elapsed().as_secs() < 60, "{:.40}", command);
    }
    assert!(told("true").starts_with("true"));
}
