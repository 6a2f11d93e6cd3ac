//! May this statement, path or URL be used? Decides; runs, opens and connects to nothing.

pub mod path;
mod rules;
pub mod sql;
pub mod url;

pub use rules::{Refusal, Rule};
