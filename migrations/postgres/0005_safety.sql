-- How many sends were ever reserved. `halted`: a node found that the state was restored, and nobody sends until an
-- operator confirms. What was planned up to `doubt_until` is given up, for it may have left before a restore.
CREATE TABLE send_sequence (
    one         BIGINT PRIMARY KEY CHECK (one = 1),
    reserved    BIGINT NOT NULL,
    halted      SMALLINT NOT NULL,
    doubt_until BIGINT
);
INSERT INTO send_sequence (one, reserved, halted) VALUES (1, 0, 0);

-- Where this state is at work, by a hash of the machine and of the file beside it; and what a place objects to.
CREATE TABLE send_place (
    place     TEXT    PRIMARY KEY,
    admitted  SMALLINT NOT NULL,
    confirmed SMALLINT NOT NULL,
    seen_at   BIGINT NOT NULL,
    objection TEXT,
    known     BIGINT,
    lost      BIGINT,
    until     BIGINT,
    found_at  BIGINT
);

-- How much of which suppression journal is in the state.
CREATE TABLE journal_read (
    journal  TEXT    PRIMARY KEY,
    position BIGINT NOT NULL
);
