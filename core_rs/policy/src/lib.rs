//! What an action would do and whether it may: shell resolution, exact effects, Cedar, grants. Pure.

pub mod classes;
pub mod decide;
pub mod engine;
mod points;
pub mod predict;
pub mod review;
pub mod shell;
