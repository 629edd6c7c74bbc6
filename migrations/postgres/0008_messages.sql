-- Messages as they left, where `retention.messages` keeps them. One that tells of several matches stands with the
-- enrollment that sent it, and the others have a row without a body: whoever of them is erased takes it along.
CREATE TABLE message (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enrollment BIGINT NOT NULL,
    delivery   BYTEA NOT NULL,
    kind       TEXT NOT NULL,
    sent_at    BIGINT NOT NULL,
    recipient  TEXT,
    body       TEXT
);
CREATE INDEX message_enrollment ON message (enrollment);
CREATE INDEX message_delivery ON message (delivery);
CREATE INDEX message_sent ON message (sent_at);
