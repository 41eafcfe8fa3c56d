//! `files.undo`: takes back what a call changed, if everything still is as that call left it.

use cmdop_contract::v1::ObservedEffect;
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::{Means, Step};
use crate::Error;
use crate::journal::{Journals, Undo};

/// The undo, until it is performed.
pub(crate) struct Restoration<'a> {
    undo: Option<Undo<'a>>,
    effects: Vec<ObservedEffect>,
    call_id: String,
    paths: usize,
    base: Vec<u8>,
}

impl<'a> Restoration<'a> {
    /// Looks at what would be restored.
    ///
    /// # Errors
    /// `NOT_RESTORABLE`, `INVALID_ARGUMENTS`.
    pub(crate) fn prepare(journals: &'a Journals, arguments: &Arguments) -> Result<Self, Error> {
        let call_id = arguments.required("call")?.to_owned();
        let undo = journals.undo(&call_id)?;
        let (effects, paths, base) = (undo.effects().to_vec(), undo.paths(), undo.base());
        Ok(Self { undo: Some(undo), effects, call_id, paths, base })
    }
}

impl Step for Restoration<'_> {
    fn effects(&self) -> Vec<ObservedEffect> {
        self.effects.clone()
    }

    fn result(&self) -> Value {
        json!({"call": self.call_id, "paths": self.paths})
    }

    fn base(&self) -> Vec<u8> {
        self.base.clone()
    }

    fn perform(&mut self, with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        let undo = self.undo.take().expect("a step is performed once");
        undo.perform(with.call_id)?;
        Ok((self.effects.clone(), None))
    }
}
