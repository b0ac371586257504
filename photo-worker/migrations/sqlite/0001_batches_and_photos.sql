-- Times are milliseconds since the Unix epoch. Each change of a batch raises its version in the same transaction;
-- a photo carries the version at which it last changed.
CREATE TABLE batches (
  id         TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  owner      TEXT,
  epoch      INTEGER NOT NULL,
  version    INTEGER NOT NULL,
  status     TEXT NOT NULL,
  total      INTEGER NOT NULL,
  queued     INTEGER NOT NULL,
  processing INTEGER NOT NULL,
  completed  INTEGER NOT NULL,
  failed     INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX batches_of_project ON batches (project_id, created_at);
CREATE INDEX batches_by_change ON batches (updated_at);

CREATE TABLE photos (
  id          TEXT PRIMARY KEY,
  batch_id    TEXT NOT NULL REFERENCES batches (id),
  name        TEXT NOT NULL,
  status      TEXT NOT NULL,
  version     INTEGER NOT NULL,
  result      TEXT,
  error       TEXT,
  received_at INTEGER,           -- NULL: not uploaded yet
  expires_at  INTEGER NOT NULL   -- until when the upload must have come
) STRICT;

CREATE INDEX photos_of_batch ON photos (batch_id, version);
CREATE INDEX photos_awaited ON photos (expires_at) WHERE status = 'QUEUED' AND received_at IS NULL;
