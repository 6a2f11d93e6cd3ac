//! A finished run, rendered. Knows nothing of how a run is made.

pub mod run;
