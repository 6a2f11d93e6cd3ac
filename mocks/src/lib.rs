//! Claude and Arcade that do as the scenario says, a relay before Postgres, and the books over all three.

pub mod clock;
pub mod journal;
pub mod relay;
pub mod script;
