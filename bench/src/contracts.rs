//! The calls that everyone is measured with: 64 distinct contracts, of which every tenth is invalid.

use cmdop_contract::v1::{Action, Actor, Proposal};
use serde_json::json;

/// Name of the host that the calls are for.
pub(crate) const HOST: &str = "bench";
/// Name of the agent that makes them.
pub(crate) const AGENT: &str = "bencher";
/// How many distinct contracts there are.
pub(crate) const DISTINCT: usize = 64;

/// The contract of a number, and whether it is valid.
pub(crate) fn action(number: usize) -> (Action, bool) {
    let number = number % DISTINCT;
    let valid = number % 10 != 9;
    let path = format!("/srv/app/shared/releases/{number:03}/config.json");
    let (tool, mut arguments) = match number % 4 {
        0 => ("files.write", json!({"path": path, "content": "x".repeat(256), "if_exists": "replace"})),
        1 => ("files.read", json!({"path": path, "offset": 0, "limit": 65_536})),
        2 => ("files.list", json!({"path": format!("/srv/app/{number}"), "recursive": false, "limit": 100})),
        _ => ("files.delete", json!({"path": path, "recursive": false})),
    };
    if !valid {
        arguments["path"] = json!("not absolute");
        arguments["colour"] = json!(7);
    }
    let action = Action {
        tool: tool.into(),
        host: HOST.into(),
        intent: "roll the configuration of a release forward, as the change request says".into(),
        arguments_json: arguments.to_string(),
        expect: Vec::new(),
    };
    (action, valid)
}

/// A proposal of the contract under a key of its own.
pub(crate) fn proposal(number: usize, key: String) -> (Proposal, bool) {
    let (action, valid) = action(number);
    let actor = Actor { tenant: "local".into(), user: "ada".into(), agent: AGENT.into(), ..Actor::default() };
    let proposal = Proposal {
        action: Some(action),
        actor: Some(actor),
        idempotency_key: key,
        author_attempt: 1,
        ..Proposal::default()
    };
    (proposal, valid)
}

/// The same as one JSON document, as a plain Python guard takes it.
pub(crate) fn document(number: usize, key: &str) -> (Vec<u8>, bool) {
    let (action, valid) = action(number);
    let arguments: serde_json::Value = serde_json::from_str(&action.arguments_json).expect("made above");
    let document = json!({
        "tool": action.tool, "host": action.host, "intent": action.intent, "arguments": arguments,
        "expect": [], "idempotency_key": key, "agent": AGENT, "user": "ada",
    });
    (document.to_string().into_bytes(), valid)
}
