//! The machine: confine, preview, commit, observe. Nothing here runs without a permit.
