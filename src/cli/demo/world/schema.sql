-- The CRM of Linden & Finch, a coffee roastery that does not exist.
-- Times are the wall time of the office in Vienna, as many real systems keep them.
CREATE TABLE users (
    id         INTEGER PRIMARY KEY,
    first_name TEXT NOT NULL,
    last_name  TEXT NOT NULL,
    email      TEXT NOT NULL,
    team       TEXT NOT NULL
);
CREATE TABLE accounts (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    kind         TEXT NOT NULL,              -- cafe, bakery, hotel, office
    city         TEXT NOT NULL,
    country_code TEXT NOT NULL,
    class        TEXT NOT NULL,              -- A+, A, B, C
    seasonal     BOOLEAN NOT NULL DEFAULT 0,
    is_active    BOOLEAN NOT NULL DEFAULT 1,
    is_sample    BOOLEAN NOT NULL DEFAULT 0,
    created_at   DATETIME NOT NULL
);
CREATE TABLE account_people (
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    user_id    INTEGER NOT NULL REFERENCES users (id),
    PRIMARY KEY (account_id, user_id)
);
CREATE TABLE contacts (
    id         INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    first_name TEXT NOT NULL,
    last_name  TEXT NOT NULL,
    email      TEXT,
    phone      TEXT,
    role       TEXT NOT NULL,                -- manager, billing
    is_primary BOOLEAN NOT NULL,
    tz         TEXT,
    lang       TEXT,
    news_ok    BOOLEAN,                      -- null: never asked
    news_ok_at DATETIME
);
CREATE INDEX contacts_account ON contacts (account_id);
CREATE TABLE orders (
    id         INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    placed_at  DATETIME NOT NULL,
    status     TEXT NOT NULL,                -- paid, shipped, cancelled
    total      DECIMAL(10, 2) NOT NULL
);
CREATE INDEX orders_placed ON orders (placed_at);
CREATE INDEX orders_account ON orders (account_id, placed_at);
CREATE TABLE subscriptions (
    id           INTEGER PRIMARY KEY,
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    contact_id   INTEGER NOT NULL REFERENCES contacts (id),
    manager_id   INTEGER NOT NULL REFERENCES users (id),
    plan         TEXT NOT NULL,              -- Basic, Comfort, Complete
    yearly_price INTEGER NOT NULL,
    status       TEXT NOT NULL,              -- active, ended
    auto_renew   BOOLEAN NOT NULL,
    renews_on    DATE NOT NULL
);
CREATE INDEX subscriptions_renews ON subscriptions (renews_on);
CREATE TABLE surveys (
    id          INTEGER PRIMARY KEY,
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    kind        TEXT NOT NULL,               -- nps, csat
    rating      INTEGER,
    comment     TEXT,
    answered_at DATETIME                     -- null: asked, not answered
);
CREATE INDEX surveys_answered ON surveys (answered_at);
CREATE INDEX surveys_account ON surveys (account_id, answered_at);
CREATE TABLE tickets (
    id         INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    subject    TEXT NOT NULL,
    status     TEXT NOT NULL,                -- open, closed
    opened_at  DATETIME NOT NULL,
    closed_at  DATETIME
);
CREATE INDEX tickets_account ON tickets (account_id, status);
CREATE TABLE tasks (
    id         TEXT PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    title      TEXT NOT NULL,
    notes      TEXT,
    due_date   DATE,
    status     TEXT NOT NULL,                -- New, Done, Cancelled
    created_at DATETIME NOT NULL,
    created_by TEXT NOT NULL,
    ref        TEXT UNIQUE
);
CREATE INDEX tasks_account ON tasks (account_id, status);
CREATE TABLE task_people (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    user_id INTEGER NOT NULL REFERENCES users (id)
);
CREATE TABLE blocked (
    address TEXT NOT NULL,
    reason  TEXT NOT NULL
);
CREATE INDEX blocked_address ON blocked (lower(trim(CAST(address AS TEXT), char(32, 9, 13, 10))));
