-- Batches and their photos, for Postgres and SQLite alike. Times are milliseconds since the Unix epoch. Each change of a
-- batch raises its version in the same transaction; a photo carries the version at which it last changed.
CREATE TABLE IF NOT EXISTS batches (
  id         TEXT PRIMARY KEY,
  owner      TEXT,                -- the application's user; NULL: nobody's
  epoch      BIGINT NOT NULL,     -- when the batch was made, or opened again
  version    BIGINT NOT NULL,
  status     TEXT NOT NULL CHECK (status IN ('QUEUED', 'PROCESSING', 'COMPLETED', 'PARTIAL', 'FAILED', 'CANCELLED')),
  total      INTEGER NOT NULL,
  queued     INTEGER NOT NULL CHECK (queued >= 0),
  processing INTEGER NOT NULL CHECK (processing >= 0),
  completed  INTEGER NOT NULL CHECK (completed >= 0),
  failed     INTEGER NOT NULL CHECK (failed >= 0),
  updated_at BIGINT NOT NULL,
  CHECK (total = queued + processing + completed + failed)
);

CREATE INDEX IF NOT EXISTS batches_by_change ON batches (updated_at);
CREATE INDEX IF NOT EXISTS batches_open ON batches (id) WHERE status IN ('QUEUED', 'PROCESSING');

CREATE TABLE IF NOT EXISTS photos (
  batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  id       TEXT NOT NULL,
  status   TEXT NOT NULL CHECK (status IN ('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED')),
  version  BIGINT NOT NULL,
  result   TEXT,                  -- JSON: what the application found out
  error    TEXT,                  -- why it failed, in words
  PRIMARY KEY (batch_id, id)
);

CREATE INDEX IF NOT EXISTS photos_by_version ON photos (batch_id, version);
