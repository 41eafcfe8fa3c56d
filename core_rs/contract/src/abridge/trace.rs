//! Traces and runs cut to what a message may hold: texts first, and only where that is not enough the last events.

use prost::Message;

use super::knife::Knife;
use super::{
    CAPS, LEAST_BYTES, call, cut, cut_action, cut_approval, cut_error, cut_observation, cut_permit, cut_side_effects,
};
use crate::v1::{
    ApprovalDecision, CallDecided, CallSettled, Event, InstructionGiven, ModelTurn, Report, Run, RunFinished, Trace,
    event::Kind,
};

/// The run in at most `most` bytes, which are [`LEAST_BYTES`] or more.
#[must_use]
pub fn run(run: Run, most: usize) -> Run {
    cut(run, most, |knife, run| cut_run(knife, "", run), |run| &mut run.abridged, bare_run)
}

/// The trace in at most `most` bytes, which are [`LEAST_BYTES`] or more.
#[must_use]
pub fn trace(mut trace: Trace, most: usize) -> Trace {
    if trace.encoded_len() <= most {
        return trace;
    }
    let mut knife = Knife::default();
    for cap in CAPS.into_iter().filter(|cap| *cap < most) {
        knife.cap = cap;
        cut_parts(&mut knife, &mut trace);
        trace.abridged = knife.marks();
        if trace.encoded_len() <= most {
            return trace;
        }
    }
    // There are too many: of each kind what was first, and no mark of what is not there any more.
    let mut knife = Knife::default();
    knife.cap = most / 4;
    knife.list("/calls", &mut trace.calls);
    knife.list("/events", &mut trace.events);
    trace.abridged = knife.marks();
    trace
}

fn cut_parts(knife: &mut Knife, trace: &mut Trace) {
    if let Some(whole) = trace.run.take() {
        trace.run = Some(run(whole, knife.cap.max(LEAST_BYTES)));
    }
    for one in &mut trace.calls {
        *one = call(std::mem::take(one), knife.cap.max(LEAST_BYTES));
    }
    for (at, event) in trace.events.iter_mut().enumerate() {
        cut_event(knife, &format!("/events/{at}"), event);
    }
}

fn cut_event(knife: &mut Knife, at: &str, event: &mut Event) {
    match &mut event.kind {
        Some(Kind::CallProposed(proposed)) => {
            if let Some(action) = proposed.proposal.as_mut().and_then(|proposal| proposal.action.as_mut()) {
                cut_action(knife, &format!("{at}/call_proposed/proposal/action"), action);
            }
        }
        Some(Kind::CallRefused(refused)) => {
            cut_error(knife, &format!("{at}/call_refused/error"), refused.error.as_mut());
        }
        Some(Kind::CallDecided(decided)) => cut_decided(knife, &format!("{at}/call_decided"), decided),
        Some(Kind::CallHeld(held)) => {
            if let Some(approval) = &mut held.approval {
                cut_approval(knife, &format!("{at}/call_held/approval"), approval);
            }
        }
        Some(Kind::ApprovalDecided(decided)) => {
            let at = format!("{at}/approval_decided");
            if let Some(ApprovalDecision { action: Some(action), .. }) = &mut decided.decision {
                cut_action(knife, &format!("{at}/decision/action"), action);
            }
            knife.list(&format!("{at}/quorums"), &mut decided.quorums);
        }
        Some(Kind::CallPermitted(permitted)) => {
            if let Some(permit) = &mut permitted.permit {
                cut_permit(knife, &format!("{at}/call_permitted/permit"), permit);
            }
        }
        Some(Kind::CallPreviewed(previewed)) => {
            cut_report(knife, &format!("{at}/call_previewed/report"), previewed.report.as_mut());
            cut_side_effects(knife, &format!("{at}/call_previewed/beyond"), &mut previewed.beyond);
        }
        Some(Kind::CallSettled(settled)) => cut_settled(knife, &format!("{at}/call_settled"), settled),
        Some(Kind::RunStarted(started)) => {
            if let Some(run) = &mut started.run {
                cut_run(knife, &format!("{at}/run_started/run"), run);
            }
        }
        Some(Kind::TurnRecorded(recorded)) => {
            if let Some(ModelTurn { prompt_json, response_json, model_call_ids, .. }) = &mut recorded.turn {
                knife.json(&format!("{at}/turn_recorded/turn/prompt_json"), prompt_json);
                knife.json(&format!("{at}/turn_recorded/turn/response_json"), response_json);
                knife.texts(&format!("{at}/turn_recorded/turn/model_call_ids"), model_call_ids);
            }
        }
        Some(Kind::RunFinished(RunFinished { final_output, why, .. })) => {
            knife.text(&format!("{at}/run_finished/final_output"), final_output);
            knife.text(&format!("{at}/run_finished/why"), why);
        }
        Some(Kind::InstructionGiven(InstructionGiven { text, .. })) => {
            knife.text(&format!("{at}/instruction_given/text"), text);
        }
        _ => {}
    }
}

fn cut_decided(knife: &mut Knife, at: &str, decided: &mut CallDecided) {
    if let Some(decision) = &mut decided.decision {
        knife.list(&format!("{at}/decision/policies"), &mut decision.policies);
        knife.text(&format!("{at}/decision/reason"), &mut decision.reason);
        knife.list(&format!("{at}/decision/permitted"), &mut decision.permitted);
    }
    if let Some(prediction) = &mut decided.prediction {
        knife.list(&format!("{at}/prediction/effects"), &mut prediction.effects);
        knife.texts(&format!("{at}/prediction/unanalysable"), &mut prediction.unanalysable);
    }
    knife.list(&format!("{at}/declared"), &mut decided.declared);
}

fn cut_settled(knife: &mut Knife, at: &str, settled: &mut CallSettled) {
    cut_report(knife, &format!("{at}/report"), settled.report.as_mut());
    cut_side_effects(knife, &format!("{at}/side_effects"), &mut settled.side_effects);
    cut_error(knife, &format!("{at}/error"), settled.error.as_mut());
}

fn cut_report(knife: &mut Knife, at: &str, report: Option<&mut Report>) {
    let Some(report) = report else { return };
    if let Some(result) = &mut report.result {
        knife.json(&format!("{at}/result/result_json"), &mut result.result_json);
        cut_error(knife, &format!("{at}/result/error"), result.error.as_mut());
    }
    if let Some(observation) = &mut report.observation {
        cut_observation(knife, &format!("{at}/observation"), observation);
    }
    cut_error(knife, &format!("{at}/error"), report.error.as_mut());
}

fn cut_run(knife: &mut Knife, at: &str, run: &mut Run) {
    knife.text(&format!("{at}/task"), &mut run.task);
    knife.text(&format!("{at}/final_output"), &mut run.final_output);
    knife.text(&format!("{at}/why"), &mut run.why);
}

/// What no size of its parts can make too large.
fn bare_run(run: Run) -> Run {
    Run { task: String::new(), final_output: String::new(), why: String::new(), ..run }
}
