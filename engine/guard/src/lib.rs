//! May this statement or path be used? Decides; runs and opens nothing.

pub mod path;
mod rules;
pub mod sql;

pub use rules::{Refusal, Rule};
