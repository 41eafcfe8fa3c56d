//! Runs: what an agent does for one task, and its exchanges with a model.

use cmdop_contract::v1::{self, Reason, event};
use cmdop_contract::validate::{Violations, check_caller};
use cmdop_contract::{reason, redact};
use cmdop_ledger::DEEPEST_RUN;

use super::{Gate, new_id};

/// Characters of what an agent is told to do.
const MAX_TASK_CHARS: usize = 100_000;
/// Characters of a model's name.
const MAX_MODEL_CHARS: usize = 256;

impl Gate {
    /// Opens a run. A run that the actor works in began it: what is refused to one of them is refused to the other.
    ///
    /// # Errors
    /// INVALID_ACTION for a name that is none, a text that is too long or a run that begins none; UNKNOWN_RUN; what
    /// the ledger says.
    pub async fn start_run(&self, request: v1::StartRunRequest) -> Result<v1::Run, v1::Error> {
        let run_id = new_id();
        let mut actor = request.actor.unwrap_or_default();
        let mut task = request.task;
        let mut found = Violations::new(self.shared.limits.violations);
        check_caller(&actor, &mut found);
        found.check_text("/task", &task, MAX_TASK_CHARS);
        found.check_text("/model", &request.model, MAX_MODEL_CHARS);
        found.into_result()?;
        let parent = std::mem::take(&mut actor.run);
        if !parent.is_empty() {
            self.check_parent(&parent, &actor).await?;
        }
        actor.run.clone_from(&run_id);
        redact::in_place(&mut task);
        let run = v1::Run {
            run_id: run_id.clone(),
            actor: Some(actor),
            task,
            model: request.model,
            status: v1::RunStatus::Running.into(),
            started_at: self.shared.ledger.now(),
            parent,
            ..v1::Run::default()
        };
        self.append_sparing(run_id, event::Kind::RunStarted(v1::RunStarted { run: Some(run.clone()) })).await?;
        Ok(run)
    }

    /// May a run of this actor be begun from another one?
    async fn check_parent(&self, parent: &str, actor: &v1::Actor) -> Result<(), v1::Error> {
        let (mut above, mut depth) = (self.run(parent).await?, 1);
        let whose = above.actor.clone().unwrap_or_default();
        let is_alike =
            |one: &str, other: &str| one == other || [one, other].iter().all(|it| matches!(*it, "" | "local"));
        if whose.user != actor.user || !is_alike(&whose.tenant, &actor.tenant) {
            let message = format!("run `{parent}` is another user's, so it begins none of this one's");
            return Err(reason::error(Reason::InvalidAction, message).fix_arguments("/actor/run", "a run of this user"));
        }
        if above.status() != v1::RunStatus::Running {
            let message = format!("run `{parent}` is over, so nothing is begun from it");
            return Err(reason::error(Reason::InvalidAction, message).fix_arguments("/actor/run", "a run that goes on"));
        }
        while !above.parent.is_empty() {
            depth += 1;
            if depth >= DEEPEST_RUN {
                let message = format!("runs are begun one from another at most {DEEPEST_RUN} deep");
                return Err(reason::error(Reason::InvalidAction, message).fix_arguments("/actor/run", "a run above"));
            }
            above = self.run(&above.parent).await?;
        }
        Ok(())
    }

    /// Records one exchange with a model.
    ///
    /// # Errors
    /// UNKNOWN_RUN.
    pub async fn record_turn(&self, turn: v1::ModelTurn) -> Result<(), v1::Error> {
        self.run(&turn.run_id).await?;
        let recorded = event::Kind::TurnRecorded(v1::TurnRecorded { turn: Some(turn.clone()) });
        self.append_sparing(turn.run_id, recorded).await
    }

    /// Closes a run.
    ///
    /// # Errors
    /// UNKNOWN_RUN.
    pub async fn finish_run(&self, request: v1::FinishRunRequest) -> Result<v1::Run, v1::Error> {
        let run = self.run(&request.run_id).await?;
        if run.status() == v1::RunStatus::Terminated {
            // A person's word, whatever the agent makes of its end.
            return Ok(run);
        }
        let run_id = request.run_id.clone();
        let finished = v1::RunFinished {
            run_id: request.run_id,
            status: request.status,
            final_output: request.final_output,
            why: request.why,
        };
        self.append(run_id.clone(), event::Kind::RunFinished(finished)).await?;
        self.run(&run_id).await
    }

    /// One run.
    ///
    /// # Errors
    /// UNKNOWN_RUN.
    pub async fn run(&self, run_id: &str) -> Result<v1::Run, v1::Error> {
        let found = self.shared.ledger.run(run_id).await?;
        found.ok_or_else(|| reason::error(Reason::UnknownRun, format!("no run `{run_id}`")))
    }

    /// A page of runs, newest first, each abridged.
    ///
    /// # Errors
    /// What the ledger says; UNKNOWN_RUN if there is none for the page to begin behind.
    pub async fn runs(&self, request: v1::ListRunsRequest) -> Result<v1::ListRunsResponse, v1::Error> {
        Ok(self.shared.ledger.runs(request).await?)
    }
}
