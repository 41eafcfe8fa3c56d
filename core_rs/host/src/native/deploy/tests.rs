//! Deployments on a real directory, with a real server on loopback and a kill at every step.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use cmdop_contract::derive::derive;
use cmdop_contract::effect::{Class, class, kind_name};
use cmdop_contract::v1::{Action, Observation, Outcome, Permit, PermittedEffect, Reason};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Error;
use crate::admit::Admitted;
use crate::journal::Journals;
use crate::native::{Done, Native};

mod deaths;
mod health;
mod measured;
mod prune;

type Then = Box<dyn FnMut(&str)>;

thread_local! {
    /// What a test does when a deployment of its thread reaches a point.
    static AT: RefCell<Option<Then>> = const { RefCell::new(None) };
}

pub(super) fn reached(name: &str) {
    // Taken out meanwhile, so that what it does may reach points as well.
    if let Some(mut then) = AT.with(|at| at.borrow_mut().take()) {
        then(name);
        AT.with(|at| *at.borrow_mut() = Some(then));
    }
}

/// Runs with something that happens at each point.
fn with<T>(then: impl FnMut(&str) + 'static, run: impl FnOnce() -> T) -> T {
    AT.with(|at| *at.borrow_mut() = Some(Box::new(then)));
    let done = catch_unwind(AssertUnwindSafe(run));
    AT.with(|at| *at.borrow_mut() = None);
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

struct Place {
    dir: TempDir,
    calls: AtomicU16,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().expect("directory");
        fs::create_dir(dir.path().join("web")).expect("root");
        Self { dir, calls: AtomicU16::new(0) }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("web")
    }

    /// A source with a file, a program and a link.
    fn source(&self, content: &str) -> PathBuf {
        let source = self.dir.path().join(format!("source-{content}"));
        if !source.exists() {
            fs::create_dir_all(source.join("bin")).expect("source");
            fs::write(source.join("version"), content).expect("file");
            fs::write(source.join("bin/run"), "#!/bin/sh\n").expect("file");
            fs::set_permissions(source.join("bin/run"), fs::Permissions::from_mode(0o750)).expect("mode");
            symlink("../version", source.join("bin/which")).expect("link");
        }
        source
    }

    fn arguments(&self, id: &str, more: &Value) -> Value {
        let mut arguments = json!({"root": self.root(), "release": id, "source": self.source(id)});
        merge(&mut arguments, more);
        let plan = told(&self.call("deploy.plan", &arguments));
        merge(&mut arguments, &json!({"digest": plan["digest"]}));
        arguments
    }

    /// A permit for exactly what follows from the arguments.
    fn permit(&self, tool: &str, arguments: &Value) -> Permit {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let derived = derive(tool, arguments).expect("derived").into_iter().filter(|it| class(it.kind) != Class::Look);
        let effect = |it: cmdop_contract::derive::Derived| PermittedEffect {
            kind: it.kind.into(),
            target: it.target.to_string(),
            max_count: None,
        };
        Permit {
            permit_id: format!("permit-{number}"),
            action: Some(Action { tool: tool.into(), arguments_json: arguments.to_string(), ..Action::default() }),
            effects: derived.map(effect).collect(),
            ..Permit::default()
        }
    }

    fn call(&self, tool: &str, arguments: &Value) -> Done {
        native().apply(&Admitted::for_tests(self.permit(tool, arguments))).expect("within its permit")
    }

    fn release(&self, id: &str, more: &Value) -> Done {
        self.call("deploy.release", &self.arguments(id, more))
    }

    fn rollback(&self, more: &Value) -> Done {
        let mut arguments = json!({"root": self.root()});
        merge(&mut arguments, more);
        self.call("deploy.rollback", &arguments)
    }

    fn status(&self) -> Value {
        told(&self.call("deploy.status", &json!({"root": self.root()})))
    }

    /// What whoever follows the link finds.
    fn live(&self) -> Option<String> {
        fs::read_to_string(self.root().join("current/bin/which")).ok()
    }

    /// Everything beneath the root but for what is remembered, hidden names included.
    fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut left = vec![self.root()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(&dir).expect("list").map(|entry| entry.expect("entry").path()) {
                let link = fs::read_link(&entry).map(|to| to.display().to_string()).unwrap_or_default();
                let shown = entry.strip_prefix(self.root()).expect("beneath").display().to_string();
                if shown != ".deploy/state" {
                    found.push(format!("{shown} {link}"));
                }
                if entry.is_dir() && !entry.is_symlink() {
                    left.push(entry);
                }
            }
        }
        found.sort();
        found
    }
}

/// A deployment keeps its way back itself, and nothing in a journal.
fn native() -> Native {
    let unused = TempDir::new().expect("directory");
    let journals = Journals::open(unused.path().join("journals")).expect("journals");
    Native::open(Vec::new(), Arc::new(journals)).expect("open /")
}

fn merge(into: &mut Value, more: &Value) {
    let Some(more) = more.as_object() else { return };
    for (key, value) in more {
        into[key] = value.clone();
    }
}

fn told(done: &Done) -> Value {
    assert!(done.result.ok, "{:?}", done.result.error);
    serde_json::from_str(&done.result.result_json).expect("a result is JSON")
}

fn result(done: &Done) -> Value {
    serde_json::from_str(&done.result.result_json).expect("a result is JSON")
}

fn error(done: &Done) -> &cmdop_contract::v1::Error {
    assert!(!done.result.ok);
    done.result.error.as_ref().expect("a failure has an error")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list");
    let mut names: Vec<_> = entries.map(|it| it.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// `file.create releases/a`, sorted.
fn effects(place: &Place, observation: &Observation) -> Vec<String> {
    let root = place.root().display().to_string();
    let text = |effect: &cmdop_contract::v1::ObservedEffect| {
        let target = effect.target.strip_prefix(&root).unwrap_or(&effect.target);
        format!("{} {}", kind_name(effect.kind()), target.trim_start_matches('/')).trim_end().to_owned()
    };
    let mut list: Vec<_> = observation.effects.iter().map(text).collect();
    list.sort();
    list
}

#[test]
fn a_release_is_copied_whole_and_made_live_by_a_link() {
    let place = Place::new();
    let arguments = place.arguments("v1", &json!({}));
    let permit = place.permit("deploy.release", &arguments);
    let (planned, held) = native().plan(&Admitted::for_tests(permit.clone()));
    assert!(place.tree().is_empty(), "a plan changes nothing");
    let preview_digest = planned.observation.digest.clone();
    let commit = Admitted::for_tests(Permit { preview_digest, ..permit });
    let done = native().commit(&commit, &held.expect("held")).expect("committed");
    assert_eq!((done.outcome, told(&done)["outcome"].clone()), (Outcome::Applied, json!("released")));
    assert_eq!(effects(&place, &planned.observation), effects(&place, &done.observation));
    assert_eq!(place.live().as_deref(), Some("v1"));
    assert_eq!(fs::read_link(place.root().join("current")).expect("link"), Path::new("releases/v1"));
    let mode = fs::metadata(place.root().join("current/bin/run")).expect("stat").permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
    let expected = [
        "deploy.release",
        "file.create .deploy",
        "file.create .deploy/state",
        "file.create current",
        "file.create releases",
        "file.create releases/v1",
        "file.create releases/v1/bin",
        "file.create releases/v1/bin/run",
        "file.create releases/v1/bin/which",
        "file.create releases/v1/version",
    ];
    assert_eq!(effects(&place, &done.observation), expected);
    assert!(!place.tree().iter().any(|name| name.contains(".cmdop-") || name.contains("holder")));
}

#[test]
fn a_plan_says_everything_that_a_release_does() {
    let place = Place::new();
    place.release("v1", &json!({}));
    let arguments = place.arguments("v2", &json!({}));
    let plan = told(&place.call("deploy.plan", &arguments));
    assert_eq!((&plan["standing"], &plan["live"], &plan["previous"]), (&json!("new"), &json!("v1"), &json!("v1")));
    assert_eq!(plan["entries"], json!(5));
    let done = place.call("deploy.release", &arguments);
    assert_eq!(plan["changes_total"], json!(done.observation.effects.len()));
    let mut planned: Vec<_> = plan["changes"].as_array().expect("list").iter().map(|it| it["target"].clone()).collect();
    let mut found: Vec<_> = done.observation.effects.iter().map(|it| json!(it.target)).collect();
    planned.sort_by_key(Value::to_string);
    found.sort_by_key(Value::to_string);
    assert_eq!(planned, found);
}

#[test]
fn the_same_release_again_changes_nothing_and_another_tree_under_its_id_is_refused() {
    let place = Place::new();
    let arguments = place.arguments("v1", &json!({}));
    place.call("deploy.release", &arguments);
    let before = place.tree();
    fs::remove_dir_all(place.source("v1")).expect("the source is needed once");
    let again = place.call("deploy.release", &arguments);
    assert_eq!(told(&again)["outcome"], json!("unchanged"));
    assert!(again.observation.effects.is_empty());
    let mut other = arguments.clone();
    merge(&mut other, &json!({"digest": "0".repeat(64)}));
    let refused = place.call("deploy.release", &other);
    assert_eq!(error(&refused).reason(), Reason::ReleaseConflict);
    fs::write(place.root().join("releases/v1/version"), "meddled").expect("write");
    let refused = place.call("deploy.release", &arguments);
    assert_eq!((refused.outcome, error(&refused).reason()), (Outcome::NotApplied, Reason::ReleaseConflict));
    assert_eq!(place.tree(), before);
}

#[test]
fn a_source_that_changed_since_the_plan_is_refused() {
    let place = Place::new();
    let arguments = place.arguments("v1", &json!({}));
    fs::write(place.source("v1").join("version"), "other").expect("write");
    let refused = place.call("deploy.release", &arguments);
    assert_eq!((refused.outcome, error(&refused).reason()), (Outcome::NotApplied, Reason::ContentChanged));
    assert!(place.tree().is_empty());
    // Times and places are no part of what a tree is.
    let (one, two) = (place.arguments("v2", &json!({})), place.arguments("v2", &json!({})));
    fs::write(place.source("v2").join("version"), "v2").expect("write");
    assert_eq!(one["digest"], two["digest"]);
    assert!(place.call("deploy.release", &one).result.ok);
    fs::set_permissions(place.source("v2").join("version"), fs::Permissions::from_mode(0o600)).expect("mode");
    let three =
        told(&place.call("deploy.plan", &json!({"root": place.root(), "release": "v3", "source": place.source("v2")})));
    assert_ne!(one["digest"], three["digest"]);
}

#[test]
fn a_rollback_leads_to_the_release_before_and_a_release_may_be_live_again() {
    let place = Place::new();
    for id in ["v1", "v2", "v3"] {
        place.release(id, &json!({}));
    }
    let done = place.rollback(&json!({}));
    assert_eq!(told(&done)["live"], json!("v2"));
    assert_eq!(
        effects(&place, &done.observation),
        ["deploy.rollback", "file.modify .deploy/state", "file.modify current"]
    );
    assert_eq!(told(&place.rollback(&json!({})))["live"], json!("v1"));
    let nowhere = place.rollback(&json!({}));
    assert_eq!(error(&nowhere).reason(), Reason::PathNotFound);
    assert_eq!(error(&place.rollback(&json!({"release": "v9"}))).reason(), Reason::PathNotFound);
    assert_eq!(told(&place.rollback(&json!({"release": "v1"})))["outcome"], json!("unchanged"));
    let again = place.release("v3", &json!({}));
    assert_eq!(
        effects(&place, &again.observation),
        ["deploy.release", "file.modify .deploy/state", "file.modify current"]
    );
    let status = place.status();
    assert_eq!((&status["live"], &status["previous"]), (&json!("v3"), &json!("v1")));
    let history: Vec<_> = status["history"].as_array().expect("list").iter().map(|it| it["what"].clone()).collect();
    assert_eq!(history, ["released", "released", "released", "rolled_back", "rolled_back", "released"]);
}

#[test]
fn a_rollback_from_one_release_leaves_another_that_is_live_by_now() {
    let place = Place::new();
    for id in ["v1", "v2", "v3"] {
        place.release(id, &json!({}));
    }
    let before = place.tree();
    let refused = place.rollback(&json!({"release": "v1", "only_if_live": "v2"}));
    assert_eq!((refused.outcome, error(&refused).reason()), (Outcome::NotApplied, Reason::ContentChanged));
    assert!(error(&refused).message.contains("release v3 is live, and not v2"), "{}", error(&refused).message);
    assert_eq!(place.tree(), before);
    assert_eq!(told(&place.rollback(&json!({"release": "v1", "only_if_live": "v3"})))["live"], json!("v1"));
    // Asked for again, it is as it shall be.
    let again = place.rollback(&json!({"release": "v1", "only_if_live": "v3"}));
    assert_eq!(told(&again)["outcome"], json!("unchanged"));
}

#[test]
fn old_releases_go_last_and_never_what_a_rollback_needs() {
    let place = Place::new();
    for id in ["v1", "v2", "v3"] {
        place.release(id, &json!({}));
    }
    fs::create_dir(place.root().join("releases/by-hand")).expect("directory");
    place.rollback(&json!({"release": "v1"}));
    let arguments = place.arguments("v4", &json!({"keep": 2}));
    let plan = told(&place.call("deploy.plan", &arguments));
    assert_eq!(plan["prunes"], json!(["v2", "v3"]), "v1 is what a rollback leads to");
    let done = place.call("deploy.release", &arguments);
    assert_eq!(told(&done)["pruned"], json!(["v2", "v3"]));
    assert_eq!(names(&place.root().join("releases")), ["by-hand", "v1", "v4"]);
    assert!(effects(&place, &done.observation).contains(&"file.delete releases/v2/bin/run".to_owned()));
    assert_eq!(told(&place.rollback(&json!({})))["live"], json!("v1"));
}

#[test]
fn a_second_deployment_is_refused_and_told_who_has_the_lock() {
    let place = Arc::new(Place::new());
    place.release("v1", &json!({}));
    let rival = place.clone();
    let arguments = place.arguments("v2", &json!({}));
    let other = place.arguments("v3", &json!({}));
    let refused = std::rc::Rc::new(RefCell::new(Vec::new()));
    let seen = refused.clone();
    let during = move |name: &str| {
        if matches!(name, "staged" | "switched") {
            let status = rival.status();
            assert_eq!(status["interrupted"], Value::Null, "it is under way");
            seen.borrow_mut().push((status["held_by"].to_string(), rival.call("deploy.release", &other)));
        }
    };
    let done = with(during, || place.call("deploy.release", &arguments));
    assert!(done.result.ok);
    let refused = refused.take();
    assert_eq!(refused.len(), 2);
    for (holder, done) in refused {
        assert_eq!((done.outcome, error(&done).reason()), (Outcome::NotApplied, Reason::DeployLocked));
        assert!(error(&done).message.contains(", release v2"), "{}", error(&done).message);
        assert!(holder.contains("release v2"), "{holder}");
    }
    assert_eq!(place.status()["held_by"], Value::Null);
    assert!(place.release("v3", &json!({})).result.ok);
}

#[test]
fn whoever_was_approved_while_another_deploys_is_told_who_has_the_lock() {
    let place = Arc::new(Place::new());
    place.release("v1", &json!({}));
    let arguments = place.arguments("v2", &json!({}));
    let permit = place.permit("deploy.release", &place.arguments("v3", &json!({})));
    let (planned, held) = native().plan(&Admitted::for_tests(permit.clone()));
    let commit = Admitted::for_tests(Permit { preview_digest: planned.observation.digest.clone(), ..permit });
    let held = held.expect("held");
    let refused = std::rc::Rc::new(RefCell::new(Vec::new()));
    let seen = refused.clone();
    let during = move |name: &str| {
        if name == "switched" {
            seen.borrow_mut().push(native().commit(&commit, &held).expect("a tool's failure"));
        }
    };
    assert!(with(during, || place.call("deploy.release", &arguments)).result.ok);
    let refused = refused.take();
    assert_eq!((refused[0].outcome, error(&refused[0]).reason()), (Outcome::NotApplied, Reason::DeployLocked));
    assert!(error(&refused[0]).message.contains(", release v2"), "{}", error(&refused[0]).message);
    assert_eq!(place.live().as_deref(), Some("v2"));
}

#[test]
fn no_deployment_has_its_root_in_a_release_of_another() {
    let place = Place::new();
    place.release("v1", &json!({}));
    let before = place.tree();
    for inside in ["releases/v1", "releases/v1/bin", "releases", ".deploy"] {
        let arguments = json!({"root": place.root().join(inside), "release": "x", "source": place.source("x")});
        for tool in ["deploy.plan", "deploy.rollback", "deploy.status"] {
            let refused = place.call(tool, &arguments);
            assert_eq!(
                (refused.outcome, error(&refused).reason()),
                (Outcome::NotApplied, Reason::PathNotUsable),
                "{inside}"
            );
        }
    }
    assert_eq!(place.tree(), before);
    // A name alone makes no release.
    let plain = place.dir.path().join("releases/other");
    fs::create_dir_all(&plain).expect("directory");
    let arguments = json!({"root": plain, "release": "x", "source": place.source("x")});
    assert_eq!(told(&place.call("deploy.plan", &arguments))["standing"], json!("new"));
}

#[test]
fn what_is_no_deployment_root_is_refused() {
    let place = Place::new();
    let status = |root: &Path| place.call("deploy.status", &json!({"root": root}));
    assert_eq!(error(&status(&place.dir.path().join("none"))).reason(), Reason::PathNotFound);
    assert_eq!(error(&status(&place.source("v1").join("version"))).reason(), Reason::PathNotUsable);
    fs::create_dir(place.root().join("current")).expect("directory");
    assert_eq!(error(&status(&place.root())).reason(), Reason::PathNotUsable);
    fs::remove_dir(place.root().join("current")).expect("remove");
    fs::create_dir(place.root().join(".deploy")).expect("directory");
    fs::write(place.root().join(".deploy/state"), [0xff; 40]).expect("write");
    let damaged = status(&place.root());
    assert!(error(&damaged).message.contains("move it away"), "{}", error(&damaged).message);
    let holds_root = json!({"root": place.root(), "release": "v1", "source": place.dir.path()});
    fs::remove_dir_all(place.root().join(".deploy")).expect("remove");
    assert_eq!(error(&place.call("deploy.plan", &holds_root)).reason(), Reason::InvalidArguments);
}

#[test]
fn beyond_its_permit_a_release_does_nothing() {
    let place = Place::new();
    let arguments = place.arguments("v1", &json!({}));
    let mut permit = place.permit("deploy.release", &arguments);
    permit.effects.retain(|effect| effect.kind() != cmdop_contract::v1::EffectKind::DeployRelease);
    let refused: Error = native().apply(&Admitted::for_tests(permit)).expect_err("not permitted");
    assert_eq!(refused.reason(), Reason::EffectNotPermitted);
    assert!(place.tree().is_empty());
}

#[test]
fn a_deployment_that_was_overtaken_since_it_was_planned_changes_nothing() {
    for (tool, more) in [("deploy.release", json!({})), ("deploy.rollback", json!({"release": "v1"}))] {
        let place = Arc::new(Place::new());
        for id in ["v1", "v2"] {
            place.release(id, &json!({}));
        }
        let mut arguments = if tool == "deploy.release" { place.arguments("v4", &json!({})) } else { more };
        merge(&mut arguments, &json!({"root": place.root()}));
        let rival = place.clone();
        let mut is_first = true;
        let overtake = move |name: &str| {
            if name == "planned" && std::mem::take(&mut is_first) {
                assert!(rival.release("v3", &json!({})).result.ok);
            }
        };
        let done = with(overtake, || place.call(tool, &arguments));
        assert_eq!((done.outcome, error(&done).reason()), (Outcome::NotApplied, Reason::ContentChanged), "{tool}");
        assert_eq!(place.live().as_deref(), Some("v3"), "{tool}");
        assert_eq!(names(&place.root().join("releases")), ["v1", "v2", "v3"], "{tool}");
        assert_eq!(place.status()["held_by"], Value::Null, "{tool}");
    }
}
