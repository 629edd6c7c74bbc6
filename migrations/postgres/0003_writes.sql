-- Values that a rule watches and that our own writes change, so that no rule takes them for somebody's work. `became` is
-- missing as long as it isn't known that it was written.
CREATE TABLE own_write (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery BYTEA  NOT NULL,
    rule     TEXT   NOT NULL,
    record   BYTEA  NOT NULL,
    was      BYTEA  NOT NULL,
    became   BYTEA,
    at       BIGINT NOT NULL,
    settled_at BIGINT
);
-- In doubt once at most.
CREATE UNIQUE INDEX own_write_doubt ON own_write (delivery, rule) WHERE became IS NULL;
CREATE INDEX own_write_record ON own_write (record, rule);
CREATE INDEX own_write_at ON own_write (at);

-- When the last own write was intended that an episode's value holds.
ALTER TABLE episode ADD COLUMN own BIGINT NOT NULL DEFAULT -9000000000000000;
ALTER TABLE episode_staged ADD COLUMN own BIGINT NOT NULL DEFAULT -9000000000000000;

-- How many turns a rotation has had; its row is locked while the next is given.
CREATE TABLE rotation (
    name TEXT   PRIMARY KEY,
    turn BIGINT NOT NULL
);

-- Whom a delivery was given to.
CREATE TABLE assignment (
    delivery   BYTEA  PRIMARY KEY,
    enrollment BIGINT NOT NULL,
    rotation   TEXT   NOT NULL,
    member     TEXT   NOT NULL
);
CREATE INDEX assignment_rotation ON assignment (rotation);
CREATE INDEX assignment_enrollment ON assignment (enrollment);

-- Pools whose owner was told that they are low.
CREATE TABLE low_pool (
    name  TEXT   PRIMARY KEY,
    since BIGINT NOT NULL
);
