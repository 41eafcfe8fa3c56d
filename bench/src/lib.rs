//! Measured figures, side by side with their floors.
