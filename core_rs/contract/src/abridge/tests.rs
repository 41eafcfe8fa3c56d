//! Whatever is in a call or approval, it is cut to size, and each cut is marked.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::digest::hex;
use crate::v1::event::Kind;
use crate::v1::{
    EffectKind, Event, ExpectedEffect, FileAttribute, FileChange, FileState, PolicyRef, Reason, Run, Trace, Violation,
};

const MOST: [usize; 4] = [ANSWER_BYTES, 256 << 10, ENTRY_BYTES, LEAST_BYTES];

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn result(stdout: &str) -> Call {
    let result = serde_json::json!({"exit_code": 0, "stdout": stdout, "stderr": "", "timed_out": false});
    let result = ToolResult { ok: true, result_json: result.to_string(), ..ToolResult::default() };
    Call { call_id: "c".into(), result: Some(result), ..Call::default() }
}

fn effects(count: usize) -> Vec<ObservedEffect> {
    let after = || {
        let xattr = FileAttribute { name: "user.t".into(), shown: Some("v".repeat(256)), ..FileAttribute::default() };
        FileState { xattrs: vec![xattr], ..FileState::default() }
    };
    let effect = |at| ObservedEffect {
        kind: EffectKind::FileModify.into(),
        target: format!("/srv/app/{at}.txt"),
        file: Some(FileChange { after: Some(after()), text_diff: "+line\n".repeat(600), ..FileChange::default() }),
        ..ObservedEffect::default()
    };
    (0..count).map(effect).collect()
}

/// A call of which everything is large.
fn large() -> Call {
    let arguments_json = serde_json::json!({"path": "/srv/app/a", "content": "x".repeat(1 << 20)}).to_string();
    let target = format!("/srv/{}", "t".repeat(16_000));
    let expect = vec![ExpectedEffect { target: target.clone(), ..ExpectedEffect::default() }; 256];
    let action = Action { tool: "files.write".into(), arguments_json, expect: expect.clone(), ..Action::default() };
    let observation = Observation { effects: effects(400), looks: effects(400), ..Observation::default() };
    let beyond = effects(400).into_iter().map(|it| SideEffect { effect: Some(it), ..SideEffect::default() });
    let approval = Approval {
        approval_id: "a".into(),
        action: Some(action.clone()),
        diff: Some(observation.clone()),
        beyond: beyond.collect(),
        irreversible: vec![target; 100],
        ..Approval::default()
    };
    let declare = remedy::Kind::DeclareEffect(v1::DeclareEffect { effects: expect.clone() });
    let error = Error {
        reason: Reason::UndeclaredEffect.into(),
        message: "m".repeat(1 << 20),
        violations: vec![Violation { expected: "e".repeat(2_000), ..Violation::default() }; 64],
        policies: vec![PolicyRef { reason: "r".repeat(2_000), ..PolicyRef::default() }; 64],
        ..Error::default()
    }
    .with(declare);
    Call {
        permits: vec![Permit { action: Some(action.clone()), ..Permit::default() }; 3],
        proposal: Some(Proposal { action: Some(action), ..Proposal::default() }),
        declared: expect,
        observation: Some(observation),
        approval: Some(approval),
        error: Some(error),
        ..result(&"\0".repeat(1 << 18))
    }
}

#[test]
fn what_fits_is_left_as_it_is() {
    let small = result("done\n");
    assert_eq!(call(small.clone(), LEAST_BYTES), small);
}

#[test]
fn whatever_a_call_or_approval_holds_it_is_cut_to_size() {
    for most in MOST {
        let short = call(large(), most);
        assert!(short.encoded_len() <= most, "{} of {most}", short.encoded_len());
        assert!(!short.abridged.is_empty());
        assert_eq!(short.call_id, "c");
        assert_eq!(short.error.as_ref().expect("why").reason(), Reason::UndeclaredEffect);
        let short = approval(large().approval.expect("an approval"), most);
        assert!(short.encoded_len() <= most, "{} of {most}", short.encoded_len());
        assert_eq!((&*short.approval_id, short.abridged.is_empty()), ("a", false));
    }
}

#[test]
fn output_of_control_bytes_is_cut_by_what_it_takes_as_text() {
    let stdout = "\0".repeat(1 << 20);
    let whole = result(&stdout);
    assert!(whole.encoded_len() > 6 << 20);
    let short = call(whole.clone(), ANSWER_BYTES);
    assert!(short.encoded_len() <= ANSWER_BYTES);
    let text = &short.result.as_ref().expect("a result").result_json;
    let kept: serde_json::Value = serde_json::from_str(text).expect("still JSON");
    assert_eq!((&kept["exit_code"], &kept["timed_out"]), (&0.into(), &false.into()));
    let kept = kept["stdout"].as_str().expect("text");
    assert!(kept.starts_with("\0\0") && kept.ends_with("\0\0") && kept.contains("cut here: all 1048576 bytes"));
    let marks: Vec<_> = short.abridged.iter().map(|it| (&*it.pointer, it.bytes, &*it.sha256)).collect();
    let all = whole.result.expect("a result").result_json;
    let (all_digest, stdout_digest) = (sha256(&all), sha256(&stdout));
    let expected = [
        ("/result/result_json", all.len() as u64, &*all_digest),
        ("/result/result_json/stdout", 1 << 20, &*stdout_digest),
    ];
    assert_eq!(marks, expected);
}

#[test]
fn a_text_is_cut_between_its_characters_and_keeps_head_and_tail() {
    let stdout = format!("begin {} end", "ü€🦀".repeat(400_000));
    let short = call(result(&stdout), ENTRY_BYTES);
    let text = short.result.expect("a result").result_json;
    let kept: serde_json::Value = serde_json::from_str(&text).expect("still JSON");
    let kept = kept["stdout"].as_str().expect("text");
    assert!(kept.starts_with("begin ü€🦀") && kept.ends_with("🦀 end"), "{kept}");
    assert!(short.abridged.iter().any(|it| it.bytes == stdout.len() as u64 && it.sha256 == sha256(&stdout)));
}

#[test]
fn what_stands_twice_is_left_out_before_anything_else_is_cut() {
    let arguments_json = serde_json::json!({"content": "x".repeat(1 << 20)}).to_string();
    let action = Action { arguments_json: arguments_json.clone(), ..Action::default() };
    let whole = Call {
        permits: vec![Permit { action: Some(action.clone()), ..Permit::default() }; 2],
        approval: Some(Approval { action: Some(action.clone()), ..Approval::default() }),
        proposal: Some(Proposal { action: Some(action.clone()), ..Proposal::default() }),
        ..Call::default()
    };
    let short = call(whole, ANSWER_BYTES);
    assert!(short.proposal.expect("a proposal").action == Some(action), "it still stands where it was said");
    let pointers: Vec<_> = short.abridged.iter().map(|it| &*it.pointer).collect();
    let places = ["/approval/action", "/permits/0/action", "/permits/1/action"];
    assert_eq!(pointers, places.map(|place| format!("{place}/arguments_json")));
    assert!(short.abridged.iter().all(|it| it.sha256 == sha256(&arguments_json)));
}

#[test]
fn an_entry_of_a_list_says_which_effects_there_are_before_it_says_what_became_of_their_text() {
    let diff = Observation { effects: effects(50), digest: "d".into(), ..Observation::default() };
    let short = approval(Approval { diff: Some(diff), ..Approval::default() }, ENTRY_BYTES);
    let diff = short.diff.expect("a diff");
    assert_eq!((diff.effects.len(), &*diff.digest), (50, "d"));
    let file = diff.effects[49].file.as_ref().expect("a file");
    assert!(file.text_diff.is_empty() && file.text_diff_truncated);
    let xattr = &file.after.as_ref().expect("a state").xattrs[0];
    assert_eq!((&*xattr.name, xattr.shown.as_deref()), ("user.t", None));
    let (mark, whole) = (&short.abridged[0], effects(50));
    let encoded: Vec<u8> = whole.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    assert_eq!((&*mark.pointer, mark.count, mark.bytes), ("/diff/effects", 50, encoded.len() as u64));
    assert_eq!(mark.sha256, hex(&Sha256::digest(encoded)));
}

/// A run of many turns with calls of much output.
fn trace_of(turns: usize) -> Trace {
    let turn = v1::ModelTurn { prompt_json: format!("[\"{}\"]", "p".repeat(4_000)), ..v1::ModelTurn::default() };
    let recorded = Kind::TurnRecorded(v1::TurnRecorded { turn: Some(turn) });
    let call = result(&"x".repeat(1 << 20));
    let observation = Some(Observation { effects: effects(100), ..Observation::default() });
    let report = v1::Report { result: call.result.clone(), observation, ..v1::Report::default() };
    let settled = Kind::CallSettled(v1::CallSettled { report: Some(report), ..v1::CallSettled::default() });
    let kinds = std::iter::repeat_n(settled, 3).chain(std::iter::repeat_n(recorded, turns));
    let run =
        Run { run_id: "r".into(), task: "t".repeat(100_000), final_output: "f".repeat(1 << 20), ..Run::default() };
    Trace {
        run: Some(run),
        calls: vec![call; 3],
        events: kinds.map(|kind| Event { kind: Some(kind), ..Event::default() }).collect(),
        ..Trace::default()
    }
}

#[test]
fn whatever_a_trace_holds_it_is_cut_to_size() {
    for turns in [0, 400] {
        for most in [ANSWER_BYTES, LEAST_BYTES] {
            let whole = trace_of(turns);
            let events = whole.events.len();
            let short = trace(whole, most);
            assert!(short.encoded_len() <= most, "{} of {most}, {turns} turns", short.encoded_len());
            assert_eq!(short.run.as_ref().expect("the run").run_id, "r");
            let is_all = short.events.len() == events;
            assert!(is_all || short.abridged.iter().any(|it| it.pointer == "/events" && it.count == events as u64));
        }
    }
    // Of a plain client's answer all events are told: their texts go first.
    assert_eq!(trace(trace_of(400), ANSWER_BYTES).events.len(), 403);
    let small = Trace { calls: vec![result("done\n")], ..Trace::default() };
    assert_eq!(trace(small.clone(), LEAST_BYTES), small);
}

#[test]
fn a_run_in_a_list_keeps_what_it_was_about() {
    let short = run(trace_of(0).run.expect("a run"), ENTRY_BYTES);
    assert!(short.encoded_len() <= ENTRY_BYTES);
    assert!(short.task.starts_with("ttt") && short.final_output.starts_with("fff"));
    let marks: Vec<_> = short.abridged.iter().map(|it| (&*it.pointer, it.bytes)).collect();
    assert_eq!(marks, [("/final_output", 1 << 20), ("/task", 100_000)]);
}
