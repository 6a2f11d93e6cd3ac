-- What outlives a restart, whatever it is: the same in Postgres (in a schema of its own) and in SQLite.
CREATE TABLE state (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    -- Seconds since 1970; null never.
    expires_at BIGINT,
    PRIMARY KEY (kind, name)
);
CREATE INDEX state_expires_at ON state (expires_at);
