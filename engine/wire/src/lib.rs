//! Every message that crosses a process boundary, as plain data.
