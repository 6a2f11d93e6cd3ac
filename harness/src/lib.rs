//! Scenarios replayed against a target, and judged.
