//! What a decision carries: the refusal its remedy, the permit what it names and masks, the approval what it showed.

use cmdop_contract::reason::is_said;
use cmdop_contract::v1::{ApprovalSubject, AutonomyLevel, Capability, Error, PolicyEffect, Reason, Stage, remedy};
use cmdop_policy::decide::{Decided, DiffDecided};

mod fixture;

use fixture::{Call, counted, engine, observed, summary};

const PREVIEW: &str = "go STAGE_PREVIEW";

#[test]
fn a_decision_says_of_a_tool_that_it_is_planned_and_of_a_command_that_it_runs_on_a_copy() {
    let reason = |call: Call| match call.decide(&engine()) {
        Decided::Go(grant) => grant.decision().reason.clone(),
        other => panic!("{}", summary(&other)),
    };
    let write = Call::native("files.write", serde_json::json!({"path": "/srv/app/x", "content": "x"}));
    let told = reason(write.unanalysable());
    assert!(told.ends_with("so it is planned first, and nothing changes before the plan is decided about"), "{told}");
    let told = reason(Call::command("./x").unanalysable());
    assert!(told.ends_with("so it runs on a private copy first"), "{told}");
}

#[test]
fn a_refusal_names_policy_reason_remedy_and_effect() {
    let call = Call::command("rm -rf /logs").does("file.delete:/logs");
    let Decided::Refuse(refusal) = call.decide(&engine()) else { panic!("not refused") };
    let (error, decision) = (refusal.error(), refusal.decision());
    assert_eq!(error.reason(), Reason::PolicyDenied);
    let policy = &error.policies[0];
    assert_eq!((policy.id.as_str(), policy.effect.as_str()), ("workspace.outside", "file.delete:/logs"));
    assert!(!policy.reason.is_empty() && !policy.remedy.is_empty());
    assert!(error.message.contains("workspace.outside") && error.message.contains("/srv/app"), "{}", error.message);
    let Some(remedy::Kind::NarrowEffect(narrow)) = error.remedy.as_ref().and_then(|remedy| remedy.kind.clone()) else {
        panic!("another remedy: {:?}", error.remedy)
    };
    assert_eq!((narrow.predicted.as_str(), narrow.declared.as_str()), ("file.delete:/logs", ""));
    assert_eq!(narrow.allowed_beneath, ["/srv/app"]);
    assert_eq!(decision.effect(), PolicyEffect::Deny);
    assert_eq!(decision.stage(), Stage::Unspecified);
    assert!(decision.permitted.is_empty());
}

#[test]
fn following_the_remedy_of_an_undeclared_effect_makes_the_call_acceptable() {
    let engine = engine();
    let call = Call::command("mv a b; echo > c")
        .predicts("file.rename:/srv/app/a")
        .predicts("file.create:/srv/app/b")
        .may("file.create:/srv/app/c")
        .may("file.modify:/srv/app/c")
        .may("file.delete:/srv/app/maybe");
    let Decided::Refuse(refusal) = call.decide(&engine) else { panic!("not refused") };
    let Some(remedy::Kind::DeclareEffect(declare)) =
        refusal.error().remedy.as_ref().and_then(|remedy| remedy.kind.clone())
    else {
        panic!("another remedy")
    };
    assert_eq!(declare.effects.len(), 4, "{:?}", declare.effects);
    assert_eq!(refusal.decision().effect(), PolicyEffect::Unspecified, "policy has nothing against it");
    let mended = Call { declared: declare.effects, ..call };
    assert_eq!(summary(&mended.decide(&engine)), PREVIEW);
}

#[test]
fn a_permit_carries_what_was_declared_and_the_files_that_are_read() {
    let call = Call::command("cp a b")
        .predicts("process.spawn:cp")
        .predicts("file.read:/srv/app/a")
        .predicts("file.create:/srv/app/b")
        .declares("file.create:/srv/app/b*");
    let Decided::Go(grant) = call.decide(&engine()) else { panic!("not granted") };
    let permitted: Vec<&str> = grant.decision().permitted.iter().map(|effect| effect.target.as_str()).collect();
    assert_eq!(permitted, ["/srv/app/b*", "/srv/app/a"]);
    assert_eq!(grant.action_digest(), call.validated().action_digest());
    assert_eq!(grant.observation_digest(), None);
}

#[test]
fn approving_a_diff_permits_exactly_that_diff() {
    let script = Call::command("./cleanup.sh").unanalysable().declares("file.delete:/srv/app/logs/*.gz");
    let diff = observed(&["file.delete:/srv/app/logs/a.gz", "file.delete:/srv/app/data/app.db"]);
    let DiffDecided::Ask(ask) = script.decide_observed(&engine(), &diff) else { panic!("not asked") };
    assert_eq!(ask.subject(), ApprovalSubject::Diff);
    assert_eq!(ask.observation_digest(), Some(diff.digest.as_str()));
    assert_eq!(ask.decision().stage(), Stage::Commit);
    let permitted: Vec<&str> = ask.decision().permitted.iter().map(|effect| effect.target.as_str()).collect();
    assert_eq!(permitted, ["/srv/app/logs/*.gz", "/srv/app/data/app.db"]);
    assert!(ask.why().contains("/srv/app/data/app.db"), "{}", ask.why());
    let beyond = ask.beyond()[0].effect.as_ref().map(|effect| effect.target.as_str());
    assert_eq!(beyond, Some("/srv/app/data/app.db"));
    assert!(ask.beyond()[0].why.contains("workspace.database"), "{}", ask.beyond()[0].why);
}

#[test]
fn the_same_question_has_the_same_digest_and_any_other_another() {
    let engine = engine();
    let base = Call::command("./cleanup.sh").unanalysable().declares("file.delete:/srv/app/logs/*");
    let diff = observed(&["file.delete:/srv/app/logs/a.gz"]);
    let digest = |call: &Call, diff| match call.decide_observed(&engine, diff) {
        DiffDecided::Ask(ask) => ask.digest(),
        other => panic!("not asked: {other:?}"),
    };
    let first = digest(&base, &diff);
    assert_eq!(first, digest(&base, &diff));
    assert_eq!(first.len(), 64);
    let reloaded = fixture::engine();
    let DiffDecided::Ask(again) = base.decide_observed(&reloaded, &diff) else { panic!("not asked") };
    assert_eq!(again.digest(), first, "a new engine with the same policies asks the same");

    let mut others = vec![
        digest(&base, &observed(&["file.delete:/srv/app/logs/b.gz"])),
        digest(&base, &counted(&[("file.delete:/srv/app/logs/a.gz", 2)])),
        digest(&Call { arguments: base.arguments.replace("cleanup", "other"), ..base.clone() }, &diff),
        digest(&base.clone().declares("file.create:/srv/app/x"), &diff),
    ];
    let contact = Call::command("curl").does("net.connect:example.com:443");
    let Decided::Ask(before) = contact.decide(&engine) else { panic!("not asked") };
    others.push(before.digest());
    let stricter = fixture::load(&format!(
        "{}\n@id(\"site.more\") @reason(\"More.\") forbid (principal, action == Action::\"file.read\", resource in Path::\"/x\");",
        include_str!("../src/cedar/workspace.cedar")
    ));
    let DiffDecided::Ask(under_other_policy) = base.decide_observed(&stricter, &diff) else { panic!("not asked") };
    others.push(under_other_policy.digest());
    others.push(first);
    let distinct: std::collections::HashSet<_> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());
}

/// Classes and shown regions of the permit that a decision would make.
fn masks(call: &Call, engine: &cmdop_policy::engine::Engine) -> Option<(Vec<String>, Vec<String>)> {
    let masks = match call.decide(engine) {
        Decided::Go(grant) => grant.decision().masks.clone(),
        Decided::Ask(ask) => ask.decision().masks.clone(),
        Decided::Refuse(refusal) => panic!("refused: {}", refusal.error().message),
    };
    masks.map(|masks| (masks.classes, masks.shown))
}

#[test]
fn secrets_are_masked_from_an_agents_command_and_not_from_a_persons() {
    let engine = engine();
    let masked = |shown: &[&str]| {
        let text = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        Some((text(&["secrets", "cmdop"]), text(shown)))
    };
    let script = Call::command("./cleanup.sh").unanalysable();
    assert_eq!(masks(&script, &engine), masked(&[]));
    assert_eq!(masks(&script.clone().in_person(), &engine), None);
    assert_eq!(masks(&Call::command("ls").predicts("file.read:/srv/app/**"), &engine), masked(&[]));
    let native = Call::native("files.read", serde_json::json!({"path": "/srv/app/x"})).predicts("file.read:/srv/app/x");
    assert_eq!(masks(&native, &engine), None);
    // A look at a secret is asked about, and shown to who was permitted it; a wide one shows none.
    let cat = Call::command("cat .env").predicts("file.read:/srv/app/.env").predicts("file.read:/srv/app/*");
    assert_eq!(summary(&cat.decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
    assert_eq!(masks(&cat, &engine), masked(&["/srv/app/.env"]));
    let tree = Call::command("ls").predicts("file.read:/srv/app/keys/*.pem");
    assert_eq!(masks(&tree, &engine), masked(&["/srv/app/keys/*.pem"]));
    // What wildcards spell is named: with a letter left out it is the same secret.
    let spelled = Call::command("cat .en?").predicts("file.read:/srv/app/.en?");
    assert_eq!(summary(&spelled.decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
    assert_eq!(masks(&spelled, &engine), masked(&["/srv/app/.en?"]));
    assert_eq!(masks(&Call::command("ls").predicts("file.read:/srv/app/*.json"), &engine), masked(&[]));
    let and_its_own = Call::command("cat").predicts("file.read:/srv/*/.en?/*");
    assert_eq!(masks(&and_its_own, &engine), masked(&[]), "policy was not asked about cmdop's own");
    assert_eq!(masks(&script.clone().declares("file.modify:/srv/app/.en?"), &engine), masked(&[]));
    // A foreseen change of a secret needs its content; a deletion, or a tree, does not name it.
    let change = Call::command("tee -a .env").does("file.modify:/srv/app/.env");
    assert_eq!(masks(&change, &engine), masked(&["/srv/app/.env"]));
    assert_eq!(masks(&Call::command("rm .env").does("file.delete:/srv/app/.env"), &engine), masked(&[]));
    assert_eq!(masks(&script.clone().declares("file.modify:/srv/app/**"), &engine), masked(&[]));
    // Under another name it would be open to every later look, so who moves it looks at it.
    for moves in [
        Call::command("mv .env x").does("file.rename:/srv/app/.env").does("file.create:/srv/app/x"),
        Call::command("mv .env x").may("file.rename:/srv/app/.env").does("file.delete:/srv/app/.env"),
    ] {
        assert_eq!(summary(&moves.decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
        assert_eq!(masks(&moves, &engine), masked(&["/srv/app/.env"]));
        assert_ne!(summary(&moves.in_person().decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
    }
    // Nobody foresaw what a script does with a secret that it says it changes: policy is asked about a look.
    let edits = script.clone().declares("file.modify:/srv/app/.env");
    assert_eq!(summary(&edits.decide(&engine)), "ask STAGE_PREVIEW workspace.secrets");
    assert_eq!(masks(&edits, &engine), masked(&["/srv/app/.env"]));
    assert_eq!(summary(&edits.in_person().decide(&engine)), PREVIEW);
}

#[test]
fn nothing_moves_where_a_command_could_see_what_is_masked() {
    // A tree that moves may hold what the floor keeps, so that it is previewed, where masks move with it.
    let call = |target: &str| {
        let mut call = Call::command("mv").at(AutonomyLevel::Auto).does(&format!("file.rename:{target}"));
        let name = cmdop_policy::decide::CONFINES.to_owned();
        call.host.capabilities.push(Capability { name, available: true, detail: String::new() });
        summary(&call.decide(&engine()))
    };
    assert_eq!([call("/srv/app/old"), call("/srv/app/.e*")], [PREVIEW, PREVIEW]);
}

#[test]
fn what_is_masked_follows_the_policies() {
    let script = Call::command("./cleanup.sh").unanalysable();
    let look = "permit(principal, action in Action::\"look\", resource);";
    let policy = |more: &str| fixture::load(&format!("@id(\"look\") @reason(\"r\") {look} {more}"));
    assert_eq!(masks(&script, &policy("")), None);
    let people = policy(
        "@id(\"no\") @reason(\"r\") forbid(principal, action == Action::\"file.read\", resource in PathClass::\"database\");",
    );
    let database = Some((vec!["database".to_owned()], Vec::new()));
    assert_eq!(masks(&script, &people), database);
    assert_eq!(masks(&script.in_person(), &people), database);
}

#[test]
fn an_approval_holds_only_for_what_it_showed() {
    let engine = engine();
    let call = |path: &str| Call::command("cat x").predicts("file.read:/srv/app/.env").predicts(path);
    let digest = |call: Call| match call.decide(&engine) {
        Decided::Ask(ask) => ask.digest(),
        other => panic!("not asked: {}", summary(&other)),
    };
    assert_ne!(digest(call("file.read:/srv/app/a.pem")), digest(call("file.read:/srv/app/b.pem")));
}

/// What a refusal's remedy proposes instead; `None` if the remedy is to stop.
fn instead(error: &Error) -> Option<(String, Vec<String>)> {
    let kind = error.remedy.clone().and_then(|remedy| remedy.kind).expect("a remedy");
    assert!(is_said(&kind), "{kind:?}");
    match kind {
        remedy::Kind::NarrowEffect(narrow) => Some((narrow.declared, narrow.allowed_beneath)),
        remedy::Kind::Stop(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_says_what_of_the_declaration_and_where_else_is_allowed_or_to_stop() {
    let refused = |call: &Call| {
        let Decided::Refuse(refusal) = call.decide(&engine()) else { panic!("not refused") };
        instead(refusal.error())
    };
    let workspace = || vec!["/srv/app".to_owned()];
    let outside = Call::command("rm -rf /logs").at(AutonomyLevel::Ask).does("file.delete:/logs");
    // A target inside the workspace that nobody spoke of is no proposal: the directory is said.
    assert_eq!(refused(&outside), Some((String::new(), workspace())));
    let followed = Call::command("rm -rf /srv/app/logs").at(AutonomyLevel::Ask).does("file.delete:/srv/app/logs");
    assert!(matches!(followed.decide(&engine()), Decided::Go(_)));
    let both = outside.declares("file.delete:/srv/app/logs/*");
    assert_eq!(refused(&both), Some(("file.delete:/srv/app/logs/*".to_owned(), workspace())));
    let mut nowhere = Call::command("rm -rf /logs").at(AutonomyLevel::Ask).does("file.delete:/logs");
    nowhere.host.workspaces.clear();
    assert_eq!(refused(&nowhere), None);
}

#[test]
fn a_refusal_after_the_preview_says_the_same() {
    let engine = engine();
    let refused = |call: &Call| {
        let DiffDecided::Refuse(refusal) = call.decide_observed(&engine, &observed(&["file.delete:/logs"])) else {
            panic!("not refused")
        };
        instead(refusal.error())
    };
    let call = Call::command("./cleanup.sh").unanalysable().declares("file.delete:/srv/app/logs/*");
    let declared = "file.delete:/srv/app/logs/*".to_owned();
    assert_eq!(refused(&call), Some((declared, vec!["/srv/app".to_owned()])));
    let mut nowhere = Call::command("./cleanup.sh").unanalysable();
    nowhere.host.workspaces.clear();
    assert_eq!(refused(&nowhere), None);
}
