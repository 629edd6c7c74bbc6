-- Instants are microseconds since 1970 in UTC; ids are 16 bytes. Codes are explained in src/store/table.

CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    schema     INTEGER NOT NULL,
    secret     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE generation (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    hash      TEXT    NOT NULL,
    files     TEXT    NOT NULL,
    loaded_at INTEGER NOT NULL
) STRICT;

CREATE TABLE rule_version (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    rule      TEXT    NOT NULL,
    hash      TEXT    NOT NULL,
    text      TEXT    NOT NULL,
    stored_at INTEGER NOT NULL,
    UNIQUE (rule, hash)
) STRICT;

CREATE TABLE rule_state (
    id            INTEGER PRIMARY KEY,
    rule          TEXT    NOT NULL,
    lane          TEXT    NOT NULL,
    tenant        TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    definition    TEXT    NOT NULL,
    baseline      INTEGER NOT NULL,
    watermark     INTEGER NOT NULL,
    swept_at      INTEGER NOT NULL,
    rechecked_at  INTEGER NOT NULL,
    reconciled_at INTEGER NOT NULL,
    paused        INTEGER NOT NULL DEFAULT 0,
    removed       INTEGER NOT NULL DEFAULT 0,
    held          TEXT,
    tripped       TEXT,
    left_out      INTEGER,
    populated     INTEGER NOT NULL DEFAULT 0,
    seeded        INTEGER NOT NULL DEFAULT 0,
    series        INTEGER NOT NULL DEFAULT 0,
    matches       INTEGER NOT NULL DEFAULT 0,
    epoch         INTEGER NOT NULL DEFAULT 0,
    owner         TEXT,
    lease_until   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (rule, lane, tenant)
) STRICT;

-- The ledger of matches. Lean, for it outlives everything else, and its ids come in no order: every
-- match touches a page of its own.
CREATE TABLE ledger (
    id         BLOB    PRIMARY KEY,
    rule_state INTEGER NOT NULL,
    matched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sweep (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    UNIQUE,
    rule_state INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    reason     TEXT,
    crossed    INTEGER NOT NULL DEFAULT 0,
    entered    INTEGER NOT NULL DEFAULT 0,
    acting     INTEGER NOT NULL DEFAULT 0,
    at         INTEGER NOT NULL
) STRICT;
CREATE INDEX sweep_rule ON sweep (rule_state, at);
CREATE INDEX sweep_unfinished ON sweep (state) WHERE state <> 1;

CREATE TABLE enrollment (
    id            INTEGER PRIMARY KEY,
    match_id      BLOB    NOT NULL,
    track         BLOB    NOT NULL,
    rule_state    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    entity        TEXT    NOT NULL,
    key           TEXT,
    occasion      TEXT,
    occasion_at   INTEGER,
    occasion_data TEXT    NOT NULL,
    entered_at    INTEGER NOT NULL,
    entry         INTEGER NOT NULL,
    state         INTEGER NOT NULL,
    ended         TEXT,
    ended_at      INTEGER,
    saved         TEXT,
    hold          TEXT,
    sweep         INTEGER,
    node          INTEGER,
    due_at        INTEGER,
    planned_at    INTEGER,
    rematch       INTEGER
) STRICT;
-- Finds a record's enrollments in one rule, and the greatest occasion among them.
CREATE INDEX enrollment_track ON enrollment (track, occasion_at);
-- `sweep` is set only while an enrollment is staged. Its `state` must not stand in an index: it changes.
CREATE INDEX enrollment_staged ON enrollment (sweep) WHERE sweep IS NOT NULL;

-- An enrollment stands at one step at a time, so its row here bears its id and moves from step to step.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY,
    rule_state  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    node        INTEGER NOT NULL,
    iteration   INTEGER NOT NULL DEFAULT 0,
    state       INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    planned_at  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    epoch       INTEGER NOT NULL DEFAULT 0,
    owner       TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,
    delivery    BLOB,
    step        TEXT,
    kind        TEXT,
    repeatable  INTEGER NOT NULL DEFAULT 0,
    discarded   INTEGER NOT NULL DEFAULT 0,
    contact     BLOB,
    priority    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at, id) WHERE state = 0;
CREATE INDEX outbox_leased ON outbox (owner) WHERE state IN (1, 2);
CREATE INDEX outbox_parked ON outbox (state) WHERE state >= 3;
CREATE INDEX outbox_contact ON outbox (contact, due_at) WHERE contact IS NOT NULL;

CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    enrollment  INTEGER NOT NULL,
    delivery    BLOB    NOT NULL,
    step        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    outcome     TEXT    NOT NULL,
    detail      TEXT    NOT NULL
) STRICT;
CREATE INDEX attempt_enrollment ON attempt (enrollment);
CREATE INDEX attempt_finished ON attempt (finished_at);
CREATE INDEX attempt_task ON attempt (delivery) WHERE kind = 'task';

CREATE TABLE miss (
    key        TEXT    NOT NULL,
    entity     TEXT    NOT NULL,
    rule_state INTEGER NOT NULL,
    occasion   TEXT    NOT NULL,
    crossed_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    PRIMARY KEY (key, entity, rule_state, occasion)
) STRICT, WITHOUT ROWID;
CREATE INDEX miss_seen ON miss (seen_at);

-- The latest episode of each record that ever had one. The key is kept only while it is open; `series`
-- counts the rule's baselines, so that a new definition ends what an older one opened.
CREATE TABLE episode (
    rule_state INTEGER NOT NULL,
    record     BLOB    NOT NULL,
    series     INTEGER NOT NULL,
    ordinal    INTEGER NOT NULL,
    opened_at  INTEGER NOT NULL,
    closed_at  INTEGER,
    due_at     INTEGER NOT NULL,
    key        TEXT,
    value      BLOB,
    PRIMARY KEY (rule_state, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX episode_open ON episode (rule_state, due_at, record) WHERE closed_at IS NULL;

-- Episodes of sweeps larger than a batch, until these are closed.
CREATE TABLE episode_staged (
    rule_state INTEGER NOT NULL,
    sweep      INTEGER NOT NULL,
    record     BLOB    NOT NULL,
    ordinal    INTEGER NOT NULL,
    opened_at  INTEGER NOT NULL,
    closed_at  INTEGER,
    due_at     INTEGER NOT NULL,
    key        TEXT,
    value      BLOB,
    PRIMARY KEY (rule_state, sweep, record)
) STRICT, WITHOUT ROWID;

CREATE TABLE suppression (
    hash    BLOB    PRIMARY KEY,
    channel TEXT    NOT NULL,
    address TEXT,
    reason  TEXT    NOT NULL,
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX suppression_since ON suppression (since);

-- What people said about topics; the topic '' stands for all of them.
CREATE TABLE preference (
    hash    BLOB    NOT NULL,
    topic   TEXT    NOT NULL,
    channel TEXT    NOT NULL,
    allowed INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    source  TEXT    NOT NULL,
    PRIMARY KEY (hash, topic)
) STRICT, WITHOUT ROWID;
CREATE INDEX preference_since ON preference (since);

-- Whom we write to, as a keyed hash of tenant, channel and address. Its row is locked while a place under the caps
-- is taken, so that no two of a person's messages take the same one.
CREATE TABLE contact (
    id BLOB  PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Places taken, one a delivery. Those without a contact count for the daily budget alone.
CREATE TABLE contact_send (
    delivery BLOB    PRIMARY KEY,
    contact  BLOB,
    at       INTEGER NOT NULL,
    day      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_send_contact ON contact_send (contact, at) WHERE contact IS NOT NULL;
CREATE INDEX contact_send_at ON contact_send (at);

CREATE TABLE send_day (
    day  INTEGER PRIMARY KEY,
    used INTEGER NOT NULL
) STRICT;

-- Versions of templates that were sent, for the copies to seed addresses.
CREATE TABLE template_sent (
    template TEXT NOT NULL,
    version  TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (template, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE task (
    reference      BLOB    PRIMARY KEY,
    tenant         TEXT    NOT NULL,
    entity         TEXT    NOT NULL,
    key            TEXT    NOT NULL,
    title          TEXT    NOT NULL,
    body           TEXT,
    due            TEXT,
    assignee_key   TEXT,
    assignee_email TEXT,
    created_at     INTEGER NOT NULL,
    done_at        INTEGER
) STRICT;
CREATE INDEX task_open ON task (key, entity, tenant) WHERE done_at IS NULL;

-- Signed events of other systems, kept before they are told so; each once.
CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL,
    event       TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    UNIQUE (name, event)
) STRICT;
CREATE INDEX inbox_received ON inbox (name, received_at);
