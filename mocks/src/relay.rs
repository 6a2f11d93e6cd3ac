//! A relay before Postgres that journals every statement with its time.
