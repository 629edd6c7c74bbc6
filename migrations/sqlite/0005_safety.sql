-- How many sends were ever reserved. `halted`: a node found that the state was restored, and nobody sends until an
-- operator confirms. What was planned up to `doubt_until` is given up, for it may have left before a restore.
CREATE TABLE send_sequence (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    reserved    INTEGER NOT NULL,
    halted      INTEGER NOT NULL,
    doubt_until INTEGER
) STRICT;
INSERT INTO send_sequence (one, reserved, halted) VALUES (1, 0, 0);

-- Where this state is at work, by a hash of the machine and of the file beside it; and what a place objects to.
CREATE TABLE send_place (
    place     TEXT    PRIMARY KEY,
    admitted  INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL,
    objection TEXT,
    known     INTEGER,
    lost      INTEGER,
    until     INTEGER,
    found_at  INTEGER
) STRICT, WITHOUT ROWID;

-- How much of which suppression journal is in the state.
CREATE TABLE journal_read (
    journal  TEXT    PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
