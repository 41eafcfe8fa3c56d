//! The loop of one call: validate, decide, hold, permit, dispatch, observe, score.
