//! Health checks before and after the switch, against a real server on loopback.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use cmdop_contract::v1::{EffectKind, Outcome, Reason};
use serde_json::{Value, json};

use super::{Place, effects, error, result, told};

/// A server whose status the test sets.
pub(super) struct Service {
    pub(super) port: u16,
    pub(super) status: Arc<AtomicU16>,
}

impl Service {
    /// Answers with what `decide` says about the status that was set.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let status = Arc::new(AtomicU16::new(200));
        let shown = status.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = write!(stream, "HTTP/1.1 {} Told\r\n\r\n", shown.load(Ordering::Relaxed));
            }
        });
        Self { port, status }
    }

    pub(super) fn check(&self) -> Value {
        json!({"port": self.port, "path": "/health", "retries": 1, "interval_ms": 1})
    }
}

#[test]
fn a_check_that_fails_before_the_switch_leaves_everything_as_it_was() {
    let place = Place::new();
    let service = Service::start();
    service.status.store(503, Ordering::Relaxed);
    let done = place.release("v1", &json!({"check_before": service.check()}));
    assert_eq!((done.outcome, error(&done).reason()), (Outcome::NotApplied, Reason::HealthCheckFailed));
    assert!(error(&done).message.contains("status 503 instead of 200"), "{}", error(&done).message);
    let contact = format!("net.connect 127.0.0.1:{}", service.port);
    assert_eq!(effects(&place, &done.observation), [contact], "whom it asked stays asked");
    assert!(place.tree().is_empty());
    let arguments = place.arguments("v1", &json!({"check_before": service.check()}));
    fs::write(place.root().join("releases"), "").expect("in the way");
    let done = place.call("deploy.release", &arguments);
    assert_eq!((done.outcome, done.observation.effects.len()), (Outcome::NotApplied, 0), "it came to no check");
    fs::remove_file(place.root().join("releases")).expect("out of the way");
    service.status.store(200, Ordering::Relaxed);
    let done = place.release("v1", &json!({"check_before": service.check()}));
    assert_eq!(told(&done)["check_before"]["status"], json!(200));
    assert!(effects(&place, &done.observation).contains(&format!("net.connect 127.0.0.1:{}", service.port)));
}

#[test]
fn a_check_that_fails_after_the_switch_brings_the_release_before_back() {
    let place = Place::new();
    let service = Service::start();
    place.release("v1", &json!({"check_after": service.check()}));
    service.status.store(500, Ordering::Relaxed);
    let done = place.release("v2", &json!({"check_after": service.check(), "keep": 2}));
    assert_eq!((done.outcome, error(&done).reason()), (Outcome::Applied, Reason::HealthCheckFailed));
    assert!(error(&done).message.ends_with("it was rolled back and release v1 is live"), "{}", error(&done).message);
    let told = result(&done);
    assert_eq!((&told["outcome"], &told["live"]), (&json!("rolled_back"), &json!("v1")));
    assert_eq!(
        told["check_after"],
        json!({"healthy": false, "attempts": 2, "status": 500, "why": "status 500 instead of 200"})
    );
    assert_eq!(place.live().as_deref(), Some("v1"));
    let contact = done.observation.effects.iter().find(|effect| effect.kind() == EffectKind::NetConnect);
    assert_eq!(contact.map(|contact| contact.count), Some(2), "as many as attempts");
    let found = effects(&place, &done.observation);
    for effect in ["deploy.release", "deploy.rollback", "file.create releases/v2"] {
        assert!(found.iter().any(|it| it == effect), "{effect} in {found:?}");
    }
    assert!(!found.iter().any(|it| it.ends_with("current")), "it is as it was");
    assert_eq!(place.status()["history"][1]["what"], json!("failed"));
}

#[test]
fn a_release_that_is_live_is_checked_again_and_stays() {
    let (place, service) = (Place::new(), Service::start());
    place.release("v1", &json!({}));
    let arguments = place.arguments("v2", &json!({"check_after": service.check()}));
    place.call("deploy.release", &arguments);
    let contact = [format!("net.connect {}", format_args!("127.0.0.1:{}", service.port))];
    let again = place.call("deploy.release", &arguments);
    assert_eq!(told(&again)["outcome"], json!("unchanged"));
    assert_eq!((&told(&again)["previous"], effects(&place, &again.observation)), (&json!("v1"), contact.to_vec()));
    service.status.store(500, Ordering::Relaxed);
    let ill = place.call("deploy.release", &arguments);
    assert_eq!(error(&ill).reason(), Reason::HealthCheckFailed);
    assert!(error(&ill).message.ends_with("it was live before, too, and stays"), "{}", error(&ill).message);
    assert_eq!((place.live().as_deref(), effects(&place, &ill.observation)), (Some("v2"), contact.to_vec()));
}

#[test]
fn a_first_release_that_fails_its_check_leaves_nothing_live() {
    let place = Place::new();
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let check = json!({"port": nobody, "retries": 0});
    let done = place.release("v1", &json!({"check_after": check}));
    assert_eq!(error(&done).reason(), Reason::HealthCheckFailed);
    assert_eq!(result(&done)["live"], Value::Null);
    assert!(!place.root().join("current").is_symlink());
}

#[test]
fn a_link_that_led_elsewhere_comes_back_as_it_was() {
    let place = Place::new();
    let service = Service::start();
    symlink("/srv/old version", place.root().join("current")).expect("link");
    service.status.store(404, Ordering::Relaxed);
    let done = place.release("v1", &json!({"check_after": service.check()}));
    assert_eq!(error(&done).reason(), Reason::HealthCheckFailed);
    assert_eq!(fs::read_link(place.root().join("current")).expect("link"), Path::new("/srv/old version"));
}

#[test]
fn checks_are_bounded_and_read_no_answer_but_http() {
    let place = Place::new();
    let check = |check: Value| place.call("deploy.status", &json!({"root": place.root(), "check": check}));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let open = told(&check(json!({"port": port})));
    assert_eq!(open["check"]["healthy"], json!(true), "an open port is enough without a path");
    let slow = told(&check(json!({"port": port, "path": "/", "timeout_ms": 50, "retries": 0})));
    assert_eq!(slow["check"]["why"], json!("no answer in time"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        }
    });
    let other = told(&check(json!({"port": port, "path": "/", "retries": 0, "timeout_ms": 500})));
    assert_eq!(other["check"]["healthy"], json!(false));
    for wrong in [
        json!({"port": 0}),
        json!({"port": port, "path": "/a b"}),
        json!({"port": port, "path": "/a\r\nX: y"}),
        json!({"port": port, "retries": 100, "interval_ms": 10_000}),
    ] {
        assert_eq!(error(&check(wrong)).reason(), Reason::InvalidArguments);
    }
}
