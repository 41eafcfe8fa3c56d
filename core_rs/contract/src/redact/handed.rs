//! What a program that is no shell would run of what it is handed: whoever approves sees that as well.

use super::*;

#[test]
fn what_a_program_runs_of_what_it_is_handed_is_shown() {
    for (line, shown) in [
        ("SECRET_TOKEN=\"touch pwned\" awk 'BEGIN{system(ENVIRON[\"SECRET_TOKEN\"])}'", "touch pwned"),
        ("SECRET_TOKEN=evil1234 awk 'BEGIN{system(ENVIRON[\"SECRET_TOKEN\"])}'", "evil1234"),
        ("TOKEN=evil1234 gawk 'BEGIN{ENVIRON[\"TOKEN\"] | getline}'", "evil1234"),
        ("TOKEN='touch x' make -s -f - <<'E'\nall:\n\t$(TOKEN)\nE", "touch x"),
        ("make PASSWORD=evil1234", "evil1234"),
        ("/usr/bin/gmake 'PASSWORD=evil1234 x'", "evil1234 x"),
        ("git -c alias.password=!evil1234 password", "!evil1234"),
        ("git -C /srv -c 'alias.password=!touch x' password", "!touch x"),
        ("sed -n 's/x/password: evil1234/e' x", "evil1234"),
        ("sed 's|x|password: evil1234|gep' x", "evil1234"),
        ("crontab - <<E\ntoken=evil1234\nE", "evil1234"),
        ("psql <<E\n\\! password=evil1234\nE", "evil1234"),
        ("TOKEN=evil1234 perl -e 'exec $ENV{TOKEN}'", "evil1234"),
        ("TOKEN=evil1234 python3 -c 'import os; os.system(os.environ[\"TOKEN\"])'", "evil1234"),
        ("TOKEN=evil1234 node -e 'f(process.env.TOKEN)'", "evil1234"),
        // Whatever the program is.
        ("TOKEN='touch pwned' ./x", "touch pwned"),
        ("./x PASSWORD='touch pwned'", "touch pwned"),
        ("./x -c x.password='python3 pwned'", "python3 pwned"),
        ("./x -c x.password=!evil1234", "!evil1234"),
        ("TOKEN='a1&evil1234' ./x", "evil1234"),
    ] {
        assert!(command(line).contains(shown), "{line}\n{}", command(line));
        let listed = serde_json::json!({ "command": line }).to_string();
        let shown = serde_json::Value::from(shown).to_string();
        assert!(text(&listed).contains(shown.trim_matches('"')), "{line}\n{}", text(&listed));
    }
    for argv in [&["make", "PASSWORD=evil1234 x"], &["/usr/bin/git", "-calias.password=!evil1234 x"]] {
        let listed = serde_json::json!({ "argv": argv }).to_string();
        assert_eq!(text(&listed), listed);
    }
}

#[test]
fn what_is_only_kept_or_sent_is_hidden() {
    for line in [
        "cat > .env <<E\nPASSWORD=hunter2hunter2\nE",
        "sed -i 's/password=.*/password=hunter2hunter2/' settings",
        "git clone https://me:hunter2hunter2@x.test/a.git",
        "TOKEN=hunter2hunter2 ./x | awk '{print $1}'",
        "make GITHUB=ghp_hunter2hunter2hunter2",
    ] {
        assert!(!command(line).contains("hunter2"), "{line}\n{}", command(line));
    }
    for (name, of) in [("content", "PASSWORD='correct horse'"), ("stdout", "password = \"correct horse 1\"")] {
        let listed = serde_json::json!({ name: of, "env": {"A_PASSWORD": "correct horse"} }).to_string();
        assert!(!text(&listed).contains("\"correct horse"), "{}", text(&listed));
    }
}
