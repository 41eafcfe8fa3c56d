//! Deployments that die at every step, and what whoever looks finds meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use cmdop_contract::v1::{self, Outcome, Reason, remedy};
use serde_json::{Value, json};

use super::health::Service;
use super::{Place, effects, error, names, native, result, told, with};
use crate::admit::{Admitted, Interrupted};

/// The end of a process that no code of it notices.
struct Killed;

/// Every point that a release or a rollback may reach.
const POINTS: [&str; 11] = [
    "begun",
    "staged",
    "pending",
    "published",
    "link",
    "switched",
    "unhealthy",
    "checked",
    "concluded",
    "hidden",
    "never",
];

/// True if it was killed at the point.
fn killed_at(point: &'static str, run: impl FnOnce()) -> bool {
    let kill = move |name: &str| {
        if name == point {
            // No message: this is no failure.
            resume_unwind(Box::new(Killed));
        }
    };
    match catch_unwind(AssertUnwindSafe(|| with(kill, run))) {
        Ok(()) => false,
        Err(panic) if panic.is::<Killed>() => true,
        Err(panic) => resume_unwind(panic),
    }
}

/// Every way to die in a release that is checked and prunes: what is live is the release before or
/// the one after, the host's ledger gets the truth, and the next deployment goes through.
#[test]
fn a_release_that_dies_anywhere_leaves_the_release_before_or_the_one_after() {
    let mut deaths = 0;
    for is_healthy in [true, false] {
        for point in POINTS {
            let place = Place::new();
            let service = Service::start();
            for id in ["v1", "v2"] {
                place.release(id, &json!({}));
            }
            let before = place.tree();
            service.status.store(if is_healthy { 200 } else { 500 }, Ordering::Relaxed);
            let arguments = place.arguments("v3", &json!({"check_after": service.check(), "keep": 2}));
            let permit = place.permit("deploy.release", &arguments);
            let admitted = Admitted::for_tests(permit.clone());
            if !killed_at(point, || drop(native().apply(&admitted))) {
                continue;
            }
            deaths += 1;
            let live = place.live().expect("something is always live");
            assert!(["v2", "v3"].contains(&live.as_str()), "{point}: {live}");
            let status = place.status();
            assert_eq!(status["live"], json!(live), "{point}");
            if let Some(interrupted) = status["interrupted"].as_object() {
                assert_eq!(interrupted["became_live"], json!(live == "v3"), "{point}");
            }
            let interrupted = Interrupted::for_tests(permit);
            let became = native().became(&interrupted).expect("it can be told");
            let outcome = Some(became.outcome);
            assert_eq!(place.live().as_deref(), Some(live.as_str()), "{point}: settling switches nothing");
            let is_failed = place.status()["history"].to_string().contains("failed");
            let expected = if live == "v3" || is_failed { Outcome::Applied } else { Outcome::NotApplied };
            assert_eq!(outcome, Some(expected), "{point}");
            let history = place.status()["history"].to_string();
            let why = became.error.as_ref().map(v1::Error::reason);
            let reason = match (expected, history.contains("interrupted"), is_failed) {
                (Outcome::Applied, true, _) => Some(Reason::ResultLost),
                (Outcome::Applied, _, true) => Some(Reason::HealthCheckFailed),
                _ => None,
            };
            assert_eq!(why, reason, "{point}: {:?}", became.error);
            if let Some(error) = became.error.filter(|error| error.reason() == Reason::ResultLost) {
                assert!(error.message.contains("before it was checked"), "{point}: {error}");
                let remedy = error.remedy.and_then(|remedy| remedy.kind);
                assert!(matches!(&remedy, Some(remedy::Kind::UseTool(it)) if it.name == "deploy.status"), "{remedy:?}");
            }
            if expected == Outcome::NotApplied {
                assert_eq!(place.tree(), before, "{point}: as if it had not begun");
            }
            let tree = place.tree();
            assert!(!tree.iter().any(|it| it.contains(".cmdop-") || it.contains("holder")), "{point}: {tree:?}");
            service.status.store(200, Ordering::Relaxed);
            let next = place.release("v4", &json!({"check_after": service.check()}));
            assert!(next.result.ok, "{point}: {:?}", next.result.error);
            assert_eq!(told(&place.rollback(&json!({})))["live"], json!(live), "{point}");
        }
    }
    assert!(deaths >= 16, "{deaths} of the points were reached");
}

/// The host's ledger may be lost: the next deployment settles what it finds.
#[test]
fn the_next_deployment_settles_one_that_nobody_reconciled() {
    for point in ["staged", "pending", "published", "link", "switched", "checked"] {
        let place = Place::new();
        place.release("v1", &json!({}));
        let arguments = place.arguments("v2", &json!({}));
        let admitted = Admitted::for_tests(place.permit("deploy.release", &arguments));
        assert!(killed_at(point, || drop(native().apply(&admitted))), "{point}");
        let live = place.live().expect("live");
        let done = place.call("deploy.release", &arguments);
        assert!(done.result.ok, "{point}: {:?}", done.result.error);
        assert_eq!(place.live().as_deref(), Some("v2"), "{point}");
        let status = place.status();
        assert_eq!(status["interrupted"], Value::Null, "{point}");
        let said = status["history"].to_string().contains("interrupted");
        assert_eq!(said, live == "v2", "{point}: {status}");
        if point != "staged" {
            assert!(!place.tree().iter().any(|it| it.contains(".cmdop-")), "{point}: {:?}", place.tree());
        }
        assert_eq!(told(&place.rollback(&json!({})))["live"], json!("v1"), "{point}");
    }
}

/// It was never proved: whoever asks for it again has it proved, and gets back what was there if it is ill.
#[test]
fn a_release_that_died_unchecked_is_checked_when_it_is_asked_for_again() {
    for (is_settled, is_healthy) in [(true, true), (true, false), (false, true), (false, false)] {
        let case = format!("settled {is_settled}, healthy {is_healthy}");
        let (place, service) = (Place::new(), Service::start());
        place.release("v1", &json!({}));
        let arguments = place.arguments("v2", &json!({"check_after": service.check(), "keep": 2}));
        let permit = place.permit("deploy.release", &arguments);
        let admitted = Admitted::for_tests(permit.clone());
        assert!(killed_at("switched", || drop(native().apply(&admitted))), "{case}");
        if is_settled {
            let outcome = native().reconcile(&Interrupted::for_tests(permit));
            assert_eq!(outcome, Some(Outcome::Applied), "{case}");
        }
        service.status.store(if is_healthy { 200 } else { 500 }, Ordering::Relaxed);
        let done = place.call("deploy.release", &arguments);
        let said = result(&done);
        assert_eq!((done.result.ok, &said["previous"]), (is_healthy, &json!("v1")), "{case}: {said}");
        assert_eq!(said["check_after"]["healthy"], json!(is_healthy), "{case}");
        let live = if is_healthy { "v2" } else { "v1" };
        assert_eq!((place.live().as_deref(), &said["live"]), (Some(live), &json!(live)), "{case}");
        let found = effects(&place, &done.observation);
        let went_back = ["deploy.rollback", "file.modify current"].map(|it| found.contains(&it.to_owned()));
        assert_eq!(went_back, [!is_healthy; 2], "{case}: {found:?}");
        let events = place.status()["history"].as_array().expect("list").clone();
        let last = if is_healthy { "released" } else { "failed" };
        assert_eq!((&events[1]["what"], &events[2]["what"]), (&json!("interrupted"), &json!(last)), "{case}");
        // Proved, it is what it is.
        if is_healthy {
            assert_eq!(result(&place.call("deploy.release", &arguments))["outcome"], json!("unchanged"), "{case}");
            assert_eq!(told(&place.rollback(&json!({})))["live"], json!("v1"), "{case}");
        } else {
            let message = &error(&done).message;
            assert!(message.ends_with("it was rolled back and release v1 is live"), "{message}");
        }
    }
}

#[test]
fn a_rollback_that_dies_anywhere_leaves_the_release_before_or_the_one_after() {
    for point in ["pending", "link", "switched"] {
        let place = Place::new();
        for id in ["v1", "v2"] {
            place.release(id, &json!({}));
        }
        let permit = place.permit("deploy.rollback", &json!({"root": place.root()}));
        let admitted = Admitted::for_tests(permit.clone());
        assert!(killed_at(point, || drop(native().apply(&admitted))), "{point}");
        let live = place.live();
        assert_eq!(live.as_deref(), Some(if point == "switched" { "v1" } else { "v2" }), "{point}");
        let outcome = native().reconcile(&Interrupted::for_tests(permit));
        assert_eq!(outcome, Some(if point == "switched" { Outcome::Applied } else { Outcome::NotApplied }));
        assert_eq!((place.live(), place.status()["interrupted"].clone()), (live, Value::Null), "{point}");
    }
}

#[test]
fn whoever_looks_meanwhile_finds_a_whole_release() {
    let place = Arc::new(Place::new());
    place.release("v0", &json!({}));
    let stop = Arc::new(AtomicU16::new(0));
    let (looking, until) = (place.clone(), stop.clone());
    let reader = thread::spawn(move || {
        let mut looks = 0_u32;
        while until.load(Ordering::Relaxed) == 0 {
            // Opened by one look-up: the link is there, and what it names is complete.
            let seen = looking.live().expect("a release is always live");
            assert!(seen.starts_with('v'), "{seen}");
            looks += 1;
        }
        looks
    });
    for round in 1..=30 {
        place.release(&format!("v{round}"), &json!({}));
        if round % 3 == 0 {
            place.rollback(&json!({}));
        }
    }
    stop.store(1, Ordering::Relaxed);
    assert!(reader.join().expect("reader") > 30);
}

#[test]
fn what_a_kill_left_to_be_pruned_is_pruned_later() {
    for point in ["concluded", "hidden"] {
        let place = Place::new();
        for id in ["v1", "v2"] {
            place.release(id, &json!({}));
        }
        let permit = place.permit("deploy.release", &place.arguments("v3", &json!({"keep": 2})));
        let admitted = Admitted::for_tests(permit.clone());
        assert!(killed_at(point, || drop(native().apply(&admitted))), "{point}");
        let outcome = native().reconcile(&Interrupted::for_tests(permit));
        assert_eq!(outcome, Some(Outcome::Applied), "{point}");
        place.release("v4", &json!({"keep": 2}));
        let left = names(&place.root().join("releases"));
        assert_eq!(left, ["v3", "v4"], "{point}");
    }
}
