//! Who answers for people is read with the policy: added, replaced and removed while the server goes on, never all gone.

mod support;

use std::sync::Arc;

use cmdop_contract::v1::{self, KnownApprover, PolicySet, Reason};
use cmdop_gate::{BoxFuture, PolicySource};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use support::{Life, within};

#[derive(Default)]
struct Files(Mutex<Vec<KnownApprover>>);

impl PolicySource for Files {
    fn read(&self) -> BoxFuture<Result<PolicySet, v1::Error>> {
        let set = PolicySet { approvers: self.0.lock().clone(), ..PolicySet::default() };
        Box::pin(std::future::ready(Ok(set)))
    }
}

fn known(name: &str, token: &str) -> KnownApprover {
    KnownApprover { name: name.into(), token_sha256: Sha256::digest(token.as_bytes()).to_vec() }
}

fn reason(checked: Result<(), v1::Error>) -> Reason {
    checked.map_or_else(|error| error.reason(), |()| Reason::Unspecified)
}

#[test]
fn approvers_are_read_with_the_policy_and_the_last_ones_are_never_forgotten() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::begin(&dir);
    life.run(async {
        let files = Arc::new(Files::default());
        life.gate.read_policy_from(files.clone());
        let check = |name: &str, token: Option<&str>| reason(life.gate.check_approver(name, token));
        assert_eq!(check("anybody", None), Reason::Unspecified, "without approvers everybody is believed");
        let reload = async |now: Vec<KnownApprover>| {
            *files.0.lock() = now;
            within(life.gate.reload_policy()).await.map(|_| ()).map_err(|error| error.reason())
        };
        reload(vec![known("grace", "one")]).await.expect("read");
        assert_eq!(check("grace", Some("one")), Reason::Unspecified);
        for (name, token) in
            [("grace", None), ("grace", Some("two")), ("grace", Some("")), ("anybody", Some("one")), ("", Some("one"))]
        {
            assert_eq!(check(name, token), Reason::Unauthenticated, "{name} {token:?}");
        }
        // Another token takes the place of one that was lost.
        reload(vec![known("grace", "two"), known("linus", "three")]).await.expect("read");
        assert_eq!(check("grace", Some("one")), Reason::Unauthenticated);
        assert_eq!(
            (check("grace", Some("two")), check("linus", Some("three"))),
            (Reason::Unspecified, Reason::Unspecified)
        );
        // A file that is gone, or broken, changes nothing.
        for broken in [
            Vec::new(),
            vec![known("no name", "x")],
            vec![known("grace", "x"), known("grace", "y")],
            vec![known("grace", "x"), known("linus", "x")],
            vec![KnownApprover { name: "grace".into(), token_sha256: vec![0; 31] }],
        ] {
            assert_eq!(reload(broken).await, Err(Reason::InvalidConfiguration));
            assert_eq!(check("linus", Some("three")), Reason::Unspecified);
            assert_eq!(check("anybody", None), Reason::Unauthenticated);
        }
        reload(vec![known("grace", "two")]).await.expect("read");
        assert_eq!(check("linus", Some("three")), Reason::Unauthenticated, "who was removed decides no more");
    });
}

#[test]
fn a_server_starts_only_with_approvers_that_are_some() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let life = Life::with(&dir, |setup| setup.options.approvers = vec![known("grace", "one")]);
    assert_eq!(reason(life.gate.check_approver("grace", None)), Reason::Unauthenticated);
    assert_eq!(reason(life.gate.check_approver("grace", Some("one"))), Reason::Unspecified);
}
