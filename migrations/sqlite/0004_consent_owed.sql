-- Decisions of readers that the CRM is still to learn. What was decided stands in `preference`.
CREATE TABLE consent_owed (
    hash     BLOB    NOT NULL,
    topic    TEXT    NOT NULL,
    delivery BLOB    NOT NULL,
    since    INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    PRIMARY KEY (hash, topic)
) STRICT, WITHOUT ROWID;
CREATE INDEX consent_owed_due ON consent_owed (due_at);

-- A link names its mail, which leads to the record and from there to the person's row.
CREATE INDEX attempt_mail ON attempt (delivery) WHERE kind = 'email' AND outcome = 'sent';
