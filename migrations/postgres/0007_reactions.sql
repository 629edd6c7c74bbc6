-- What readers did with a mail, in its timeline: once for each of its links, which this names by a hash.
ALTER TABLE timeline ADD COLUMN seen bytea;
CREATE UNIQUE INDEX timeline_seen ON timeline (seen, what) WHERE seen IS NOT NULL;
