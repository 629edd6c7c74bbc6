-- Answers to surveys that the source hasn't got yet. What was answered is in enrollment.saved, and is erased with it.
CREATE TABLE answer_due (
    delivery   bytea  PRIMARY KEY,
    enrollment bigint NOT NULL,
    version    bigint NOT NULL,
    due_at     bigint NOT NULL
);
