//! Losses: each returns its value and its gradient together.
