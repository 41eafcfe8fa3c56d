//! Once a server knows its approvers, nobody decides over the wire who does not show who they are.

mod support;

use cmdop_contract::v1::{
    self, Actor, ApprovalVerdict, ClientConfig, FreezeScope, PermittedEffect, Proposal, Reason, freeze_scope,
    server_frame, session_update,
};
use cmdop_link::client::Client;
use prost::Message;
use support::{FakeHost, RawSessions, Server, client_with, propose, read, within, write};

const GRACE: (&str, &str) = ("grace", "grace.secret-of-grace");
const LINUS: (&str, &str) = ("linus", "linus.secret-of-linus");

async fn ask<T: Message + Default>(client: &Client, method: &str, request: &impl Message) -> Result<T, v1::Error> {
    let answer = within(client.unary(&format!("/cmdop.v1.{method}"), request.encode_to_vec().into())).await?;
    Ok(T::decode(answer).expect("the answer"))
}

fn person(user: &str) -> Option<Actor> {
    Some(Actor { user: user.into(), ..Actor::default() })
}

fn scope() -> Option<FreezeScope> {
    Some(FreezeScope { kind: Some(freeze_scope::Kind::Host("web".into())) })
}

fn freezing(user: &str) -> v1::CreateFreezeRequest {
    v1::CreateFreezeRequest { scope: scope(), why: "an incident".into(), author: person(user) }
}

fn granting(user: &str) -> v1::CreateGrantRequest {
    let kind = v1::EffectKind::FileDelete.into();
    v1::CreateGrantRequest {
        agent: "writer".into(),
        hosts: scope(),
        effect: Some(PermittedEffect { kind, target: "/srv/app/logs/*".into(), max_count: None }),
        uses: 1,
        ttl_ms: 60_000,
        why: "nightly".into(),
        author: person(user),
    }
}

fn reconciling(call_id: &str) -> v1::ReconcileCallRequest {
    let outcome = v1::Outcome::Applied.into();
    let (call_id, why) = (call_id.into(), "I looked".into());
    v1::ReconcileCallRequest { call_id, outcome, by: person("grace"), why, without_host: false }
}

async fn held(server: &Server) -> v1::Approval {
    let mut host = FakeHost::attach(&server.address, "web").await;
    let client = server.client();
    let mut request = v1::ProposeRequest::decode(propose(write("web", "k", "/srv/app/new.txt"))).expect("a request");
    request.wait_for_decision = false;
    let proposed = tokio::spawn(async move { ask::<v1::Call>(&client, "Calls/Propose", &request).await });
    let preview = host.permit().await;
    host.started(&preview).await;
    host.report_created(&preview, "/srv/app/new.txt").await;
    within(proposed).await.expect("proposed").expect("held").approval.expect("an approval")
}

fn deciding(approval: &v1::Approval, approver: &str, verdict: ApprovalVerdict) -> v1::DecideApprovalRequest {
    v1::DecideApprovalRequest {
        approval_id: approval.approval_id.clone(),
        verdict: verdict.into(),
        approver: approver.into(),
        digest: approval.digest.clone(),
        ..v1::DecideApprovalRequest::default()
    }
}

#[tokio::test]
async fn nobody_decides_without_their_own_token() {
    let server = Server::knowing(&[GRACE, LINUS]).await;
    let approval = held(&server).await;
    let freeze: v1::Freeze =
        ask(&client_with(&server.address, GRACE.1), "Freezes/Create", &freezing("grace")).await.expect("frozen");
    let grant: v1::StandingGrant =
        ask(&client_with(&server.address, GRACE.1), "Grants/Create", &granting("grace")).await.expect("granted");
    let strangers = [
        ("no token", server.client()),
        ("nobody's", client_with(&server.address, "grace.secret-of-grac")),
        ("longer", client_with(&server.address, "grace.secret-of-gracee")),
        ("another's", client_with(&server.address, LINUS.1)),
    ];
    for (what, client) in &strangers {
        let lift =
            v1::LiftFreezeRequest { freeze_id: freeze.freeze_id.clone(), by: person("grace"), why: String::new() };
        let revoke =
            v1::RevokeGrantRequest { grant_id: grant.grant_id.clone(), by: person("grace"), why: String::new() };
        let mut refused = vec![
            ask::<v1::Freeze>(client, "Freezes/Create", &freezing("grace")).await.map(drop),
            ask::<v1::Freeze>(client, "Freezes/Lift", &lift).await.map(drop),
            ask::<v1::StandingGrant>(client, "Grants/Create", &granting("grace")).await.map(drop),
            ask::<v1::StandingGrant>(client, "Grants/Revoke", &revoke).await.map(drop),
            ask::<v1::Call>(client, "Calls/Reconcile", &reconciling(&approval.call_id)).await.map(drop),
        ];
        for verdict in [
            ApprovalVerdict::Approve,
            ApprovalVerdict::Reject,
            ApprovalVerdict::Modify,
            ApprovalVerdict::Escalate,
            ApprovalVerdict::Terminate,
        ] {
            let request = deciding(&approval, "grace", verdict);
            refused.push(ask::<v1::Approval>(client, "Approvals/Decide", &request).await.map(drop));
        }
        for (index, refused) in refused.into_iter().enumerate() {
            let error = refused.expect_err(what);
            assert_eq!(error.reason(), Reason::Unauthenticated, "{what} {index}: {}", error.message);
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }
    assert_eq!((server.gate.freezes(false).len(), server.gate.grants(false).len()), (1, 1));
    assert_eq!(server.gate.approval(&approval.approval_id).await.expect("there").status(), v1::ApprovalStatus::Pending);
    let grace = client_with(&server.address, GRACE.1);
    let known = ask::<v1::Call>(&grace, "Calls/Reconcile", &reconciling(&approval.call_id)).await.expect_err("held");
    assert_eq!(known.reason(), Reason::InvalidAction, "she may, and nothing is unknown");
    let rejecting = deciding(&approval, "grace", ApprovalVerdict::Reject);
    let decided: v1::Approval = ask(&grace, "Approvals/Decide", &rejecting).await.expect("decided");
    assert_eq!(decided.status(), v1::ApprovalStatus::Rejected);
    // Looking needs no token.
    let listed: v1::ListFreezesResponse =
        ask(&server.client(), "Freezes/List", &v1::ListFreezesRequest::default()).await.expect("listed");
    assert_eq!(listed.freezes.len(), 1);
    server.drained().await;
}

/// A look at a host that is not there: refused as soon as it is believed to be this user's.
fn look(user: &str, agent: &str) -> Proposal {
    let actor = Actor { user: user.into(), agent: agent.into(), ..Actor::default() };
    Proposal { actor: Some(actor), ..read("nowhere", "k") }
}

#[tokio::test]
async fn nobody_proposes_under_a_name_that_has_a_token_without_it() {
    let server = Server::knowing(&[GRACE, LINUS]).await;
    let nobody = server.client();
    let (grace, linus) = (client_with(&server.address, GRACE.1), client_with(&server.address, LINUS.1));
    let unknown = client_with(&server.address, "grace.secret-of-grac");
    for (client, user, agent, believed) in [
        (&nobody, "grace", "", false),
        (&linus, "grace", "", false),
        (&linus, "ada", "", false),
        (&linus, "grace", "writer", false),
        (&unknown, "ada", "", false),
        (&nobody, "ada", "", true),
        (&grace, "grace", "", true),
        // What runs an agent for her need not be able to decide as she does.
        (&nobody, "grace", "writer", true),
        (&grace, "grace", "writer", true),
    ] {
        let request = v1::ProposeRequest::decode(propose(look(user, agent))).expect("a request");
        let error = ask::<v1::Call>(client, "Calls/Propose", &request).await.expect_err("no such host");
        assert_eq!(error.reason() != Reason::Unauthenticated, believed, "{user} {agent}: {}", error.message);
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
    let mut stream = RawSessions::welcomed(&server).await;
    stream.open(1, 100);
    for (request_id, user, believed) in [(1, "grace", false), (2, "ada", true)] {
        stream.propose(1, request_id, look(user, ""));
        let error = loop {
            match stream.next().await.kind.expect("content") {
                server_frame::Kind::Opened(_) => {}
                server_frame::Kind::Update(v1::SessionUpdate {
                    kind: Some(session_update::Kind::Error(error)),
                    ..
                }) => {
                    break error;
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(error.reason() != Reason::Unauthenticated, believed, "{user}: {}", error.message);
    }
    server.drained().await;
}

#[tokio::test]
async fn a_server_that_knows_nobody_believes_everybody() {
    let server = Server::start().await;
    for client in [server.client(), client_with(&server.address, GRACE.1)] {
        ask::<v1::Freeze>(&client, "Freezes/Create", &freezing("anybody")).await.expect("frozen");
    }
    server.drained().await;
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_refused_before_anything_is() {
    for token in ["two words", "line\nbreak", "\u{e9}"] {
        let config = ClientConfig { address: "127.0.0.1:1".into(), token: token.into(), ..ClientConfig::default() };
        let error = Client::connect(&config).expect_err(token);
        assert_eq!(error.reason(), Reason::InvalidConfiguration);
        assert!(!error.message.contains(token), "{}", error.message);
    }
}
