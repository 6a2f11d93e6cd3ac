//! Claude and Arcade that do as the scenario says, a relay before Postgres, and the books over all three.
