//! The reference FACT engine.
