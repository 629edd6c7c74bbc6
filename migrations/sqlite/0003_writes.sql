-- Values that a rule watches and that our own writes change, so that no rule takes them for somebody's work. `became` is
-- missing as long as it isn't known that it was written.
CREATE TABLE own_write (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery BLOB    NOT NULL,
    rule     TEXT    NOT NULL,
    record   BLOB    NOT NULL,
    was      BLOB    NOT NULL,
    became   BLOB,
    at       INTEGER NOT NULL,
    settled_at INTEGER
) STRICT;
-- In doubt once at most.
CREATE UNIQUE INDEX own_write_doubt ON own_write (delivery, rule) WHERE became IS NULL;
CREATE INDEX own_write_record ON own_write (record, rule);
CREATE INDEX own_write_at ON own_write (at);

-- When the last own write was intended that an episode's value holds.
ALTER TABLE episode ADD COLUMN own INTEGER NOT NULL DEFAULT -9000000000000000;
ALTER TABLE episode_staged ADD COLUMN own INTEGER NOT NULL DEFAULT -9000000000000000;

-- How many turns a rotation has had; its row is locked while the next is given.
CREATE TABLE rotation (
    name TEXT    PRIMARY KEY,
    turn INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Whom a delivery was given to.
CREATE TABLE assignment (
    delivery   BLOB    PRIMARY KEY,
    enrollment INTEGER NOT NULL,
    rotation   TEXT    NOT NULL,
    member     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX assignment_rotation ON assignment (rotation);
CREATE INDEX assignment_enrollment ON assignment (enrollment);

-- Pools whose owner was told that they are low.
CREATE TABLE low_pool (
    name  TEXT    PRIMARY KEY,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
