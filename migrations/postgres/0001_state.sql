-- Instants are microseconds since 1970 in UTC; ids are 16 bytes. Codes are explained in src/store/table.

CREATE TABLE meta (
    one        BIGINT PRIMARY KEY CHECK (one = 1),
    schema     BIGINT NOT NULL,
    secret     BYTEA   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE generation (
    one       BIGINT PRIMARY KEY CHECK (one = 1),
    hash      TEXT    NOT NULL,
    files     TEXT    NOT NULL,
    loaded_at BIGINT NOT NULL
);

CREATE TABLE rule_version (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule      TEXT    NOT NULL,
    hash      TEXT    NOT NULL,
    text      TEXT    NOT NULL,
    stored_at BIGINT NOT NULL,
    UNIQUE (rule, hash)
);

CREATE TABLE rule_state (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule          TEXT    NOT NULL,
    lane          TEXT    NOT NULL,
    tenant        TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    definition    TEXT    NOT NULL,
    baseline      BIGINT NOT NULL,
    watermark     BIGINT NOT NULL,
    swept_at      BIGINT NOT NULL,
    rechecked_at  BIGINT NOT NULL,
    reconciled_at BIGINT NOT NULL,
    paused        SMALLINT NOT NULL DEFAULT 0,
    removed       SMALLINT NOT NULL DEFAULT 0,
    held          TEXT,
    tripped       TEXT,
    left_out      BIGINT,
    populated     SMALLINT NOT NULL DEFAULT 0,
    seeded        SMALLINT NOT NULL DEFAULT 0,
    series        BIGINT NOT NULL DEFAULT 0,
    matches       BIGINT NOT NULL DEFAULT 0,
    epoch         BIGINT NOT NULL DEFAULT 0,
    owner         TEXT,
    lease_until   BIGINT NOT NULL DEFAULT 0,
    UNIQUE (rule, lane, tenant)
);

-- The ledger of matches. Lean, for it outlives everything else, and its ids come in no order: every
-- match touches a page of its own.
CREATE TABLE ledger (
    id         BYTEA  PRIMARY KEY,
    rule_state BIGINT NOT NULL,
    matched_at BIGINT NOT NULL
);

CREATE TABLE sweep (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       TEXT    UNIQUE,
    rule_state BIGINT NOT NULL,
    state      SMALLINT NOT NULL,
    reason     TEXT,
    crossed    BIGINT NOT NULL DEFAULT 0,
    entered    BIGINT NOT NULL DEFAULT 0,
    acting     BIGINT NOT NULL DEFAULT 0,
    at         BIGINT NOT NULL
);
CREATE INDEX sweep_rule ON sweep (rule_state, at);
CREATE INDEX sweep_unfinished ON sweep (state) WHERE state <> 1;

CREATE SEQUENCE enrollment_id;
CREATE TABLE enrollment (
    id            BIGINT PRIMARY KEY,
    match_id      BYTEA   NOT NULL,
    track         BYTEA   NOT NULL,
    rule_state    BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    entity        TEXT    NOT NULL,
    key           TEXT,
    occasion      TEXT,
    occasion_at   BIGINT,
    occasion_data TEXT    NOT NULL,
    entered_at    BIGINT NOT NULL,
    entry         INTEGER NOT NULL,
    state         SMALLINT NOT NULL,
    ended         TEXT,
    ended_at      BIGINT,
    saved         TEXT,
    hold          TEXT,
    sweep         BIGINT,
    node          INTEGER,
    due_at        BIGINT,
    planned_at    BIGINT,
    rematch       SMALLINT
) WITH (fillfactor = 85);
-- Finds a record's enrollments in one rule, and the greatest occasion among them.
CREATE INDEX enrollment_track ON enrollment (track, occasion_at);
-- `sweep` is set only while an enrollment is staged. Its `state` must not stand in an index: it changes.
CREATE INDEX enrollment_staged ON enrollment (sweep) WHERE sweep IS NOT NULL;

-- An enrollment stands at one step at a time, so its row here bears its id and moves from step to step.
CREATE TABLE outbox (
    id          BIGINT PRIMARY KEY,
    rule_state  BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    node        INTEGER NOT NULL,
    iteration   INTEGER NOT NULL DEFAULT 0,
    state       SMALLINT NOT NULL,
    due_at      BIGINT NOT NULL,
    planned_at  BIGINT NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    epoch       BIGINT NOT NULL DEFAULT 0,
    owner       TEXT,
    lease_until BIGINT NOT NULL DEFAULT 0,
    delivery    BYTEA,
    step        TEXT,
    kind        TEXT,
    repeatable  SMALLINT NOT NULL DEFAULT 0,
    discarded   SMALLINT NOT NULL DEFAULT 0,
    contact     BYTEA,
    priority    SMALLINT NOT NULL DEFAULT 0
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX outbox_due ON outbox (due_at, id) WHERE state = 0;
CREATE INDEX outbox_leased ON outbox (owner) WHERE state IN (1, 2);
CREATE INDEX outbox_parked ON outbox (state) WHERE state >= 3;
CREATE INDEX outbox_contact ON outbox (contact, due_at) WHERE contact IS NOT NULL;

CREATE TABLE attempt (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enrollment  BIGINT NOT NULL,
    delivery    BYTEA   NOT NULL,
    step        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    outcome     TEXT    NOT NULL,
    detail      TEXT    NOT NULL
);
CREATE INDEX attempt_enrollment ON attempt (enrollment);
CREATE INDEX attempt_finished ON attempt (finished_at);
CREATE INDEX attempt_task ON attempt (delivery) WHERE kind = 'task';

CREATE TABLE miss (
    key        TEXT    NOT NULL,
    entity     TEXT    NOT NULL,
    rule_state BIGINT NOT NULL,
    occasion   TEXT    NOT NULL,
    crossed_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    kind       SMALLINT NOT NULL,
    reason     TEXT    NOT NULL,
    PRIMARY KEY (key, entity, rule_state, occasion)
);
CREATE INDEX miss_seen ON miss (seen_at);

-- The latest episode of each record that ever had one. The key is kept only while it is open; `series`
-- counts the rule's baselines, so that a new definition ends what an older one opened.
CREATE TABLE episode (
    rule_state BIGINT NOT NULL,
    record     BYTEA  NOT NULL,
    series     BIGINT NOT NULL,
    ordinal    BIGINT NOT NULL,
    opened_at  BIGINT NOT NULL,
    closed_at  BIGINT,
    due_at     BIGINT NOT NULL,
    key        TEXT,
    value      BYTEA,
    PRIMARY KEY (rule_state, record)
);
CREATE INDEX episode_open ON episode (rule_state, due_at, record) WHERE closed_at IS NULL;

-- Episodes of sweeps larger than a batch, until these are closed.
CREATE TABLE episode_staged (
    rule_state BIGINT NOT NULL,
    sweep      BIGINT NOT NULL,
    record     BYTEA  NOT NULL,
    ordinal    BIGINT NOT NULL,
    opened_at  BIGINT NOT NULL,
    closed_at  BIGINT,
    due_at     BIGINT NOT NULL,
    key        TEXT,
    value      BYTEA,
    PRIMARY KEY (rule_state, sweep, record)
);

CREATE TABLE suppression (
    hash    BYTEA   PRIMARY KEY,
    channel TEXT    NOT NULL,
    address TEXT,
    reason  TEXT    NOT NULL,
    since   BIGINT NOT NULL
);
CREATE INDEX suppression_since ON suppression (since);

-- What people said about topics; the topic '' stands for all of them.
CREATE TABLE preference (
    hash    BYTEA   NOT NULL,
    topic   TEXT    NOT NULL,
    channel TEXT    NOT NULL,
    allowed BIGINT  NOT NULL,
    since   BIGINT  NOT NULL,
    source  TEXT    NOT NULL,
    PRIMARY KEY (hash, topic)
);
CREATE INDEX preference_since ON preference (since);

-- Whom we write to, as a keyed hash of tenant, channel and address. Its row is locked while a place under the caps
-- is taken, so that no two of a person's messages take the same one.
CREATE TABLE contact (
    id BYTEA PRIMARY KEY
);

-- Places taken, one a delivery. Those without a contact count for the daily budget alone.
CREATE TABLE contact_send (
    delivery BYTEA   PRIMARY KEY,
    contact  BYTEA,
    at       BIGINT NOT NULL,
    day      BIGINT
);
CREATE INDEX contact_send_contact ON contact_send (contact, at) WHERE contact IS NOT NULL;
CREATE INDEX contact_send_at ON contact_send (at);

CREATE TABLE send_day (
    day  BIGINT  PRIMARY KEY,
    used BIGINT NOT NULL
);

-- Versions of templates that were sent, for the copies to seed addresses.
CREATE TABLE template_sent (
    template TEXT NOT NULL,
    version  TEXT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (template, version)
);

CREATE TABLE task (
    reference      BYTEA   PRIMARY KEY,
    tenant         TEXT    NOT NULL,
    entity         TEXT    NOT NULL,
    key            TEXT    NOT NULL,
    title          TEXT    NOT NULL,
    body           TEXT,
    due            TEXT,
    assignee_key   TEXT,
    assignee_email TEXT,
    created_at     BIGINT NOT NULL,
    done_at        BIGINT
);
CREATE INDEX task_open ON task (key, entity, tenant) WHERE done_at IS NULL;

-- Signed events of other systems, kept before they are told so; each once.
CREATE TABLE inbox (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        TEXT   NOT NULL,
    event       TEXT   NOT NULL,
    received_at BIGINT NOT NULL,
    body        TEXT   NOT NULL,
    UNIQUE (name, event)
);
CREATE INDEX inbox_received ON inbox (name, received_at);
