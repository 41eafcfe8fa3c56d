//! Threads do not survive a fork: what lives on them is usable only in the process that made it.

use std::process;

use pyo3::exceptions::PyRuntimeError;
use pyo3::{PyErr, create_exception};

create_exception!(cmdop._core, ForkedError, PyRuntimeError, "The object was made before the process forked.");

/// A value of the process that made it. In a forked child it cannot be reached, and is forgotten
/// instead of dropped: its threads are not there to be joined, its locks may be held forever.
#[derive(Debug)]
pub struct Homebound<T> {
    process: u32,
    value: Option<T>,
}

impl<T> Homebound<T> {
    /// Binds a value to this process.
    pub fn new(value: T) -> Self {
        Self { process: process::id(), value: Some(value) }
    }

    /// The value.
    ///
    /// # Errors
    /// `ForkedError` in any other process than the one that made it.
    pub fn get(&self) -> Result<&T, PyErr> {
        match &self.value {
            Some(value) if self.process == process::id() => Ok(value),
            _ => Err(ForkedError::new_err(format!(
                "this was opened in process {} and cannot be used in process {}, forked from it; open a new one here",
                self.process,
                process::id()
            ))),
        }
    }
}

impl<T> Drop for Homebound<T> {
    fn drop(&mut self) {
        if self.process != process::id() {
            std::mem::forget(self.value.take());
        }
    }
}
