-- What happened to enrollments between their attempts; `behind` is the newest attempt before it, for their order.
CREATE TABLE timeline (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    enrollment INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    step       TEXT,
    what       TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    until      INTEGER,
    behind     INTEGER NOT NULL
) STRICT;
CREATE INDEX timeline_enrollment ON timeline (enrollment);

-- When the wait began that a row stands at.
ALTER TABLE outbox ADD COLUMN since INTEGER;
