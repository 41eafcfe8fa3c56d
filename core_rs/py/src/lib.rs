//! The bridge to Python: cmdop._core.
