//! Every pack decides as its page in `docs/policy/` says: the tables there are read and tried.

use std::path::Path;

use cmdop_contract::effect::parse_kind;
use cmdop_contract::v1::{Actor, Host, Labels, Names, PolicyEntities, PolicyFile, PolicySet};
use cmdop_policy::decide::{Facts, Past};
use cmdop_policy::engine::{Engine, PACKS, pack};
use cmdop_policy::review::rule;

mod fixture;

use fixture::file;

/// `| agent | file.delete:/etc/x | deny | workspace.outside |`: who, effect, decision, one of the policies that decided.
struct Row {
    line: String,
    who: String,
    effect: String,
    decision: String,
    by: String,
}

fn page(pack: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/policy/{pack}.md"));
    std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

fn rows(pack: &str) -> Vec<Row> {
    let text = page(pack);
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let table = text.lines().filter(|line| line.starts_with("| agent |") || line.starts_with("| person |"));
    let row = |line: &str| match <[String; 4]>::try_from(cells(line)) {
        Ok([who, effect, decision, by]) => Row { line: line.to_owned(), who, effect, decision, by },
        Err(cells) => panic!("{pack}: {cells:?} are not four cells"),
    };
    table.map(row).collect()
}

fn host() -> Host {
    Host { name: "web-1".into(), workspaces: vec!["/srv/app".into()], home: "/home/ada".into(), ..Host::default() }
}

fn actor(who: &str) -> Actor {
    let agent = if who == "agent" { "janitor" } else { "" };
    Actor { tenant: "local".into(), user: "ada".into(), agent: agent.into(), ..Actor::default() }
}

/// The word, and the policies that decided.
fn decided(engine: &Engine, host: &Host, who: &str, effect: &str) -> (String, String) {
    let (kind, target) = effect.split_once(':').expect("an effect is kind:target");
    let kind = parse_kind(kind).expect("a kind of effect");
    let facts = Facts { actor: &actor(who), level: None, host, denied: &[], past: &Past::default() };
    let ruling = rule(engine, &facts, "terminal.exec", 1, (kind, target, None)).expect("a target");
    assert_eq!(ruling.failed, "");
    let by: Vec<&str> = ruling.policies.iter().map(|policy| policy.id.as_str()).collect();
    (ruling.word.as_str().to_owned(), if by.is_empty() { "–".to_owned() } else { by.join(" ") })
}

fn of_pack(name: &str) -> PolicyFile {
    PolicyFile { pack: name.into(), ..PolicyFile::default() }
}

#[test]
fn every_pack_decides_as_its_page_says() {
    for pack in &PACKS {
        let engine = Engine::load(&[of_pack(pack.name)]).expect(pack.name);
        assert_eq!(engine.warnings(), [""; 0], "{}", pack.name);
        let rows = rows(pack.name);
        let differing: Vec<String> = rows
            .iter()
            .filter_map(|row| {
                let (word, by) = decided(&engine, &host(), &row.who, &row.effect);
                let holds = word == row.decision && by.split(' ').any(|by| by == row.by);
                (!holds).then(|| format!("{}\n    is {word} {by}", row.line))
            })
            .collect();
        assert!(differing.is_empty(), "{}:\n{}", pack.name, differing.join("\n"));
        for decision in ["allow", "ask", "deny"] {
            let is_shown = rows.iter().any(|row| row.decision == decision);
            assert!(is_shown || (pack.name == "ci" && decision == "ask"), "{} shows no {decision}", pack.name);
        }
        let page = page(pack.name);
        let shown = |id: &str| page.split(['`', ' ']).any(|word| word == id);
        let mute: Vec<&str> = ids(pack.text).filter(|id| !shown(id)).collect();
        assert!(mute.is_empty(), "the page of {} does not explain {mute:?}", pack.name);
    }
}

fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("@id(\"")?.strip_suffix("\")"))
}

#[test]
fn no_file_relaxes_the_floor_whatever_pack_it_stands_beside() {
    let permit_all = file(r#"@id("site.all") @reason("All.") permit (principal, action, resource);"#);
    let floor = [
        "file.delete:/",
        "file.delete:/*",
        "file.delete:/etc",
        "file.delete:/home/*",
        "file.modify:/dev/sda",
        "file.modify:/etc/shadow",
        "file.create:/home/ada/.ssh/authorized_keys",
        "file.delete:/home/ada/.cmdop/server",
    ];
    let sets = PACKS.map(|pack| vec![of_pack(pack.name), permit_all.clone()]);
    for files in sets.into_iter().chain([vec![permit_all.clone()]]) {
        let engine = Engine::load(&files).expect("it loads");
        for effect in floor {
            for who in ["agent", "person"] {
                let (word, by) = decided(&engine, &host(), who, effect);
                assert!(word == "deny" && by.contains("floor."), "{who} {effect}: {word} {by}");
            }
        }
    }
}

#[test]
fn the_hard_forbids_of_a_pack_stay_beside_any_file() {
    let permit_all = file(r#"@id("site.all") @reason("All.") permit (principal, action, resource);"#);
    let engine = Engine::load(&[of_pack("read-only"), of_pack("workspace"), permit_all]).expect("it loads");
    assert_eq!(decided(&engine, &host(), "person", "file.create:/srv/app/x").0, "deny");
    assert_eq!(decided(&engine, &host(), "agent", "service.stop:nginx").0, "deny");
    assert_eq!(decided(&engine, &host(), "agent", "file.read:/srv/app/x").0, "allow");
}

#[test]
fn an_unknown_pack_is_refused_and_the_others_named() {
    let error = Engine::load(&[of_pack("prod")]).expect_err("no such pack");
    assert!(error.to_string().contains("read-only, production, ci"), "{error}");
    assert!(pack("prod").is_none());
}

const GROUPED: &str = r#"
@id("site.look") @reason("Look.") permit (principal, action in Action::"look", resource);
@id("site.ops") @reason("Operators change web hosts in staging.")
permit (principal in UserGroup::"operators", action in Action::"write", resource is Path)
when { context.host in HostGroup::"web" && context.host.hasTag("env") && context.host.getTag("env") == "staging" };
@id("site.fleet") @reason("So do the agents of the fleet, for them.")
permit (principal in AgentGroup::"fleet", action in Action::"write", resource is Path);
"#;

fn entities(env: &str) -> PolicyEntities {
    let names = |names: &[&str]| Names { names: names.iter().map(|name| (*name).to_owned()).collect() };
    PolicyEntities {
        user_groups: [("operators".to_owned(), names(&["ada"]))].into(),
        agent_groups: [("fleet".to_owned(), names(&["janitor"]))].into(),
        host_groups: [("web".to_owned(), names(&["web-1", "web-2"]))].into(),
        host_labels: [("web-1".to_owned(), Labels { labels: [("env".to_owned(), env.to_owned())].into() })].into(),
    }
}

#[test]
fn groups_and_labels_come_from_the_operator() {
    let load = |entities| {
        let set = PolicySet { files: vec![file(GROUPED)], entities: Some(entities), ..PolicySet::default() };
        Engine::load_set(&set).expect("it loads")
    };
    let (staging, production) = (load(entities("staging")), load(entities("production")));
    assert_ne!(staging.version(), production.version(), "labels are a part of what was decided by");
    // A host that says of itself that it is staging is not believed against the operator.
    let mut liar = host();
    liar.labels.insert("env".into(), "staging".into());
    let elsewhere = Host { name: "db-1".into(), ..liar.clone() };
    for (engine, host, who, expected) in [
        (&staging, &host(), "person", "allow"),
        (&staging, &host(), "agent", "allow"),
        (&production, &host(), "person", "deny"),
        (&production, &liar, "person", "deny"),
        (&staging, &elsewhere, "person", "deny"),
        (&staging, &elsewhere, "agent", "deny"),
    ] {
        let (word, by) = decided(engine, host, who, "file.create:/srv/app/x");
        assert_eq!(word, expected, "{who} on {} by {by}", host.name);
    }
    assert_eq!(production.labelled(&liar).labels.get("env").map(String::as_str), Some("production"));
    assert_eq!(staging.host_groups("web-2"), ["web"]);
}

#[test]
fn entities_that_cannot_be_meant_are_refused() {
    let names = |name: &str| Names { names: vec![name.to_owned()] };
    let rows = [
        (
            PolicyEntities { user_groups: [("users".to_owned(), names("ada"))].into(), ..Default::default() },
            "everybody",
        ),
        (PolicyEntities { user_groups: [("ops".to_owned(), names("a b"))].into(), ..Default::default() }, "no name"),
        (PolicyEntities { host_groups: [("a b".to_owned(), names("x"))].into(), ..Default::default() }, "no name"),
        (
            PolicyEntities {
                host_labels: [(
                    "web".to_owned(),
                    Labels { labels: [("cmdop.path.x".to_owned(), "/x".to_owned())].into() },
                )]
                .into(),
                ..Default::default()
            },
            "reserved",
        ),
    ];
    for (entities, problem) in rows {
        let error =
            Engine::load_set(&PolicySet { files: Vec::new(), entities: Some(entities), ..PolicySet::default() })
                .expect_err(problem);
        assert!(error.to_string().contains(problem) && error.file == "entities.toml", "{error}");
    }
}
