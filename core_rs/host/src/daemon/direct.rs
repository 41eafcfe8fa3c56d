//! `terminal.exec` on the machine itself: confined to its permit, measured from outside.

use std::collections::BTreeSet;

use cmdop_contract::effect::{Class, class};
use cmdop_contract::v1::{EffectKind, Observation, Outcome, PermittedEffect, Reason, Report, Unobserved};
use tokio_util::sync::CancellationToken;

use super::beside::Beside;
use super::layers::Layers;
use super::machine::{broken, success};
use super::output::OutputSender;
use super::terminal::{Terminal, blocking, result};
use crate::native::Done;
use crate::observe::Before;
use crate::sandbox::{Layer, unavailable};
use crate::{Admitted, Error, exec};

impl Terminal {
    /// Runs the command where it changes the machine, and nothing else of it than its permit names.
    ///
    /// # Errors
    /// Why nothing ran.
    pub(super) async fn direct(
        &self,
        layers: &Layers,
        admitted: &Admitted,
        output: OutputSender,
        stop: &CancellationToken,
    ) -> Result<Report, Error> {
        let done = self.try_direct(layers, admitted, output, stop).await;
        if !matches!(&done, Ok((_, true))) {
            layers.discard(&admitted.call_id);
        }
        done.map(|(report, _)| report)
    }

    /// The report, and whether something still runs in the layer.
    async fn try_direct(
        &self,
        layers: &Layers,
        admitted: &Admitted,
        mut output: OutputSender,
        stop: &CancellationToken,
    ) -> Result<(Report, bool), Error> {
        if let Some(why) = &self.refused_directly {
            return Err(unavailable(why));
        }
        let mut command = self.command(admitted)?;
        command.leaves = admitted.effects.iter().filter(|effect| is_left(effect)).cloned().collect();
        let room = (!command.leaves.is_empty()).then(|| self.leftovers.reserve(&admitted.call_id)).transpose()?;
        let directory = layers.prepare(&admitted.call_id)?;
        let (permitted, hidden) = (admitted.effects.clone(), command.hidden.clone());
        let masked = self.masked(admitted, &command).await?;
        let hides = masked.clone();
        let (layer, before) = blocking(move || {
            let mut layer = Layer::direct(&directory, &permitted, &hidden)?;
            layer.mask(&hides)?;
            let before = Before::look(layer.openings(), &permitted)?;
            Ok((layer, before))
        })
        .await?;
        let push = |stream, piece: &[u8]| output.push(stream, piece);
        let mut finished = match exec::run(&self.spawner, admitted, &layer, &command, stop, push).await {
            Ok(finished) => finished,
            Err(error) if error.reason() == Reason::PreviewUnavailable => return Err(unavailable(&error.to_string())),
            // No such directory or program, or more arguments than one takes.
            Err(error)
                if matches!(
                    error.reason(),
                    Reason::PathNotFound | Reason::PathNotUsable | Reason::InvalidArguments
                ) =>
            {
                return Err(error);
            }
            // Its guard is gone, and nobody knows whether it ran.
            Err(error) => return Ok((broken(admitted, &error.to_string()), false)),
        };
        let result = result(&finished, &masked);
        // Nothing changes meanwhile: who may stay is stopped.
        let mut observation = blocking(move || before.compare()).await.unwrap_or_else(|error| unseen(&error));
        let is_unchanged = observation.effects.is_empty() && observation.unobserved.is_empty();
        masked.tell(&mut observation);
        Beside::of(&admitted.call_id, &command, Ok(&finished)).add_to(&mut observation);
        let left = finished.left.take();
        if left.is_some() {
            observation.unobserved.extend(goes_on(&admitted.effects));
        }
        let outcome = if is_unchanged && !result.ok { Outcome::NotApplied } else { Outcome::Applied };
        let is_left = left.is_some();
        if let Some((left, room)) = left.zip(room) {
            room.go_on(left, layers.path(&admitted.call_id));
        }
        Ok((success(admitted, Done { outcome, result, observation }, false), is_left))
    }
}

pub(super) fn is_left(effect: &PermittedEffect) -> bool {
    effect.kind() == EffectKind::ProcessLeaveRunning
}

/// What runs on may change what the permit opened, and nobody compares that.
fn goes_on(permitted: &[PermittedEffect]) -> Vec<Unobserved> {
    let opened = permitted.iter().filter(|effect| class(effect.kind()) == Class::Change && !is_left(effect));
    let kinds: BTreeSet<i32> = opened.map(|effect| effect.kind).collect();
    let why = "what was left running may go on to do what its permit names, which nobody measures";
    kinds.into_iter().map(|kind| Unobserved { kind, why: why.to_owned() }).collect()
}

/// The command ran, and what it did could not be measured.
fn unseen(error: &Error) -> Observation {
    let missing = Unobserved { kind: EffectKind::FileModify.into(), why: error.to_string() };
    let digest = cmdop_contract::digest::observation_digest(&[]);
    Observation { unobserved: vec![missing], digest, ..Observation::default() }
}
