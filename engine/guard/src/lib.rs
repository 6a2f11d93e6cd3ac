//! May this statement or path be used? Pure decisions, no I/O.
