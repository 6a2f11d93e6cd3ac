//! The command `fact`: arguments, configuration, run, exit code.
fn main() {}
