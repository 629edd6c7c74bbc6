-- Decisions of readers that the CRM is still to learn. What was decided stands in `preference`.
CREATE TABLE consent_owed (
    hash     BYTEA  NOT NULL,
    topic    TEXT   NOT NULL,
    delivery BYTEA  NOT NULL,
    since    BIGINT NOT NULL,
    due_at   BIGINT NOT NULL,
    tries    BIGINT NOT NULL,
    PRIMARY KEY (hash, topic)
);
CREATE INDEX consent_owed_due ON consent_owed (due_at);

-- A link names its mail, which leads to the record and from there to the person's row.
CREATE INDEX attempt_mail ON attempt (delivery) WHERE kind = 'email' AND outcome = 'sent';
