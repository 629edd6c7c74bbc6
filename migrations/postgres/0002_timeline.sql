-- What happened to enrollments between their attempts; `behind` is the newest attempt before it, for their order.
CREATE TABLE timeline (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enrollment BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    step       TEXT,
    what       TEXT   NOT NULL,
    detail     TEXT   NOT NULL,
    until      BIGINT,
    behind     BIGINT NOT NULL
);
CREATE INDEX timeline_enrollment ON timeline (enrollment);

-- When the wait began that a row stands at.
ALTER TABLE outbox ADD COLUMN since BIGINT;
