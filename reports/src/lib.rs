//! A finished run, rendered.
