-- Answers to surveys that the source hasn't got yet. What was answered is in enrollment.saved, and is erased with it.
CREATE TABLE answer_due (
    delivery   BLOB    PRIMARY KEY,
    enrollment INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    due_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
